//! The terminal while `top` has it, and how it gets it back.

use std::{
    io::{self, Write},
    panic,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    queue,
    style::Print,
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen,
    },
};

/// Whether the terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Our hold on the terminal. Dropped, it gives the terminal back as it was.
pub(super) struct Screen;

impl Screen {
    /// Takes the terminal: keys come at once and are not shown, and what stood there returns later.
    pub(super) fn take(out: &mut impl Write) -> Result<Self> {
        terminal::enable_raw_mode().context("take the terminal; --once prints one table")?;
        TAKEN.store(true, Ordering::SeqCst);
        let screen = Self;
        // What a panic says has to be read later.
        let ours = thread::current().id();
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            if thread::current().id() == ours {
                give_back();
            }
            earlier(information);
        }));
        queue!(out, EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        out.flush()?;
        Ok(screen)
    }

    /// Columns and rows that there are.
    pub(super) fn size(&self) -> (usize, usize) {
        let Self = self;
        // As terminals were.
        let (columns, rows) = terminal::size().unwrap_or((80, 24));
        (columns.into(), rows.into())
    }

    /// Shows these lines, which fit, and nothing else.
    pub(super) fn show(&self, lines: &[String], out: &mut impl Write) -> Result<()> {
        let Self = self;
        queue!(out, BeginSynchronizedUpdate)?;
        for (row, line) in lines.iter().enumerate() {
            let row = u16::try_from(row).unwrap_or(u16::MAX);
            queue!(out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        // A last line that is full leaves the cursor on it.
        if let Ok(below) = u16::try_from(lines.len())
            && lines.len() < self.size().1
        {
            queue!(out, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush().context("write to the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        // Where this fails the terminal is gone.
        let _shown: io::Result<()> = queue!(out, LeaveAlternateScreen, Show).and_then(|()| out.flush());
        let _restored: io::Result<()> = terminal::disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        fs::File,
        io::Read as _,
        process::{Command, Stdio},
    };

    use nix::{pty::openpty, sys::termios::tcgetattr};

    use super::*;

    /// Set where the test runs once more, on a terminal of its own, to panic there.
    const PANICS: &str = "FOOBAR_TEST_PANICS";

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if env::var_os(PANICS).is_some() {
            let screen = Screen::take(&mut io::stdout()).unwrap();
            screen.show(&["a line".to_owned()], &mut io::stdout()).unwrap();
            panic!("with the terminal in hand");
        }
        let pair = openpty(None, None).unwrap();
        let modes = || tcgetattr(&pair.slave).unwrap();
        let before = modes();
        let terminal = || Stdio::from(pair.slave.try_clone().unwrap());
        let name =
            module_path!().split_once("::").unwrap().1.to_owned() + "::a_panic_gives_the_terminal_back";
        let status = Command::new(env::current_exe().unwrap())
            .args(["--nocapture", "--exact", &name])
            .env(PANICS, "1")
            .stdin(terminal())
            .stdout(terminal())
            .stderr(terminal())
            .status()
            .unwrap();
        assert!(!status.success(), "it did not panic");
        assert_eq!(modes(), before, "modes of the terminal");
        let mut bytes = [0; 16_384];
        let length = File::from(pair.master.try_clone().unwrap()).read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]);
        let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?}: {text:?}"));
        let order = ["\x1b[?1049h", "a line", "\x1b[?1049l", "with the terminal in hand"].map(place);
        assert!(order.is_sorted(), "{order:?}: {text:?}");
    }
}
