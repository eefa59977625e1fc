//! A terminal of a test's own, with what stands on it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    pty::openpty,
    sys::{
        signal::{Signal, kill},
        termios::{Termios, tcgetattr},
    },
    unistd::{Pid, ttyname},
};

use crate::{command::succeed, wait};

/// A terminal on which a program runs. Dropped, it ends the program.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: File,
    /// Kept open, so that what was written can be read after the program has ended.
    side: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
    size: (usize, usize),
    modes_before: Termios,
}

impl Terminal {
    /// Runs a command on a terminal of so many columns and rows, as a shell would.
    pub fn run(command: &Command, columns: usize, rows: usize) -> Result<Self> {
        let pair = openpty(None, None).context("make a terminal")?;
        let modes_before = tcgetattr(&pair.slave)?;
        resize(&pair.slave, columns, rows)?;
        let side = || -> Result<Stdio> { Ok(pair.slave.try_clone()?.into()) };
        // Signals of the terminal go to those whose controlling terminal it is.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm")
            .stdin(side()?)
            .stdout(side()?)
            .stderr(side()?)
            .spawn()
            .with_context(|| format!("run {command:?} on a terminal"))?;
        let written = Arc::new(Mutex::new(Vec::new()));
        let keys = File::from(pair.master);
        let (mut reader, into) = (keys.try_clone()?, Arc::clone(&written));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
                into.extend(&bytes[..length]);
            }
        });
        Ok(Self { child, keys, side: pair.slave, written, size: (columns, rows), modes_before })
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("press keys")
    }

    /// Makes it larger or smaller.
    pub fn resize(&mut self, columns: usize, rows: usize) -> Result<()> {
        self.size = (columns, rows);
        resize(&self.side, columns, rows)
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal).context("send a signal")
    }

    /// Everything that was written to it.
    pub fn written(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// What stands on it, row by row, without spaces at the end.
    pub fn rows(&self) -> Vec<String> {
        let (columns, rows) = self.size;
        rows_of(&self.written(), columns, rows)
    }

    /// Waits until something stands on it.
    pub fn wait_for(&self, what: &str) -> Result<()> {
        self.wait_until(what, |rows| rows.iter().any(|row| row.contains(what)))
    }

    /// Waits until something is true of its rows.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Result<()> {
        wait::until(what, Duration::from_secs(20), || Ok(is_so(&self.rows())))
            .with_context(|| format!("on the terminal:\n{}", self.rows().join("\n")))
    }

    /// Waits until the program ends.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let mut status = None;
        wait::until("the program ends", Duration::from_secs(10), || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })
        .with_context(|| format!("on the terminal:\n{}", self.rows().join("\n")))?;
        status.context("an exit status")
    }

    /// Whether its modes are those that it had before the program.
    pub fn is_as_before(&self) -> Result<bool> {
        Ok(tcgetattr(&self.side)? == self.modes_before)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn resize(side: &OwnedFd, columns: usize, rows: usize) -> Result<()> {
    let (columns, rows) = (columns.to_string(), rows.to_string());
    succeed(Command::new("stty").arg("-F").arg(ttyname(side)?).args(["cols", &columns, "rows", &rows]))
        .map(drop)
}

/// What stands on a terminal after this was written to it: texts, moves (`CUP`), and erasing to the end of the row (`EL`)
/// or of everything (`ED`), of ECMA-48. Other sequences change nothing that is seen.
fn rows_of(written: &str, columns: usize, rows: usize) -> Vec<String> {
    let mut cells = vec![vec![' '; columns]; rows];
    let (mut row, mut column) = (0, 0);
    let mut rest = written.chars();
    while let Some(character) = rest.next() {
        match character {
            '\x1b' => {
                if rest.next() != Some('[') {
                    continue;
                }
                let mut parameters = String::new();
                let kind = loop {
                    match rest.next() {
                        Some(byte @ ' '..='?') => parameters.push(byte),
                        kind => break kind,
                    }
                };
                match kind {
                    Some('H') => {
                        let mut numbers =
                            parameters.split(';').map(|number| number.parse().unwrap_or(1_usize));
                        (row, column) = (numbers.next().unwrap_or(1) - 1, numbers.next().unwrap_or(1) - 1);
                    }
                    Some('K') => erase(&mut cells, row, column, row + 1),
                    Some('J') if parameters == "2" => erase(&mut cells, 0, 0, rows),
                    Some('J') => erase(&mut cells, row, column, rows),
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row += 1,
            _ => {
                if let Some(cell) = cells.get_mut(row).and_then(|cells| cells.get_mut(column)) {
                    *cell = character;
                }
                column += 1;
            }
        }
    }
    cells.iter().map(|cells| cells.iter().collect::<String>().trim_end().to_owned()).collect()
}

fn erase(cells: &mut [Vec<char>], row: usize, column: usize, end: usize) {
    for (index, cells) in cells.iter_mut().enumerate().take(end).skip(row) {
        let first = if index == row { column } else { 0 };
        cells.iter_mut().skip(first).for_each(|cell| *cell = ' ');
    }
}
