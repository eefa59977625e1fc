//! `foobar top` on a terminal: looks, keys and signals as they come, until somebody leaves.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use super::{screen::Screen, table};
use crate::{
    control::{
        client::Client,
        protocol::{TRAFFIC, Traffic},
    },
    env::Env,
    rates::view::View,
    state::unix_ms,
};

/// What can happen.
enum Happened {
    /// The counters were looked at.
    Looked(Box<Result<Traffic>>),
    /// The terminal has another size.
    Resized,
    /// Somebody wants to leave.
    Left,
    /// Keys can no longer be read.
    Deaf(anyhow::Error),
}

/// Shows what passes until somebody leaves.
///
/// # Errors
/// When the terminal cannot be had, or is gone.
pub(super) fn show(client: &Client, first: Traffic, interval: Duration, env: &mut Env<'_>) -> Result<()> {
    let (tell, happenings) = sync_channel(1);
    let screen = Screen::take(&mut env.out)?;
    spawn("keys", tell.clone(), read_keys)?;
    spawn("signals", tell.clone(), wait_for_signals)?;
    let looking = client.clone();
    spawn("looks", tell, move |tell| look(&looking, interval, tell))?;
    let shown = until_left(&screen, &happenings, first, env);
    drop(screen);
    shown
}

/// What stands on the terminal.
enum Shown {
    /// A text, which is wrapped.
    Text(String),
    /// What passed.
    Table(Box<View>),
}

impl Shown {
    fn lines(&self, columns: usize, rows: usize) -> Vec<String> {
        match self {
            Self::Text(text) => {
                table::cut(text.lines().flat_map(|line| wrapped(line, columns)).collect(), columns, rows)
            }
            Self::Table(view) => table::fitting(view, columns, rows),
        }
    }
}

fn until_left(
    screen: &Screen,
    happenings: &Receiver<Happened>,
    first: Traffic,
    env: &mut Env<'_>,
) -> Result<()> {
    let mut before = Some(first);
    let mut shown = Shown::Text("looking".to_owned());
    loop {
        let (columns, rows) = screen.size();
        screen.show(&shown.lines(columns, rows), &mut env.out)?;
        match happenings.recv().context("wait for what happens")? {
            Happened::Looked(looked) => match *looked {
                Ok(after) => {
                    let view = before.and_then(|before| View::between(&before, &after, unix_ms((env.now)())));
                    shown = match view {
                        Some(view) => Shown::Table(Box::new(view)),
                        None => Shown::Text("the daemon is back; looking".to_owned()),
                    };
                    before = Some(after);
                }
                // It may be ending, or busy with many rules.
                Err(error) => {
                    shown = Shown::Text(format!("{error:#}\n\nwaiting for it; q leaves"));
                    before = None;
                }
            },
            Happened::Resized => {}
            Happened::Left => return Ok(()),
            Happened::Deaf(error) => return Err(error),
        }
    }
}

/// A line in pieces that are as wide as the terminal at most.
fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(columns.max(1)).map(|piece| piece.iter().collect()).collect()
}

fn spawn(
    name: &str,
    tell: SyncSender<Happened>,
    body: impl FnOnce(&SyncSender<Happened>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let run = move || {
        if let Err(error) = body(&tell) {
            // Nobody listens at the end.
            drop(tell.send(Happened::Deaf(error)));
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).context("start a thread")?;
    Ok(())
}

/// Asks the daemon in every interval; as long as it takes, nothing else waits.
fn look(client: &Client, interval: Duration, tell: &SyncSender<Happened>) -> Result<()> {
    loop {
        thread::sleep(interval);
        if tell.send(Happened::Looked(Box::new(client.get(TRAFFIC)))).is_err() {
            return Ok(());
        }
    }
}

fn read_keys(tell: &SyncSender<Happened>) -> Result<()> {
    loop {
        let happened = match event::read().context("read from the terminal")? {
            Event::Key(key) if leaves(key) => Happened::Left,
            Event::Resize(..) => Happened::Resized,
            Event::Key(_) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) => continue,
        };
        if tell.send(happened).is_err() {
            return Ok(());
        }
    }
}

fn leaves(key: KeyEvent) -> bool {
    let KeyEvent { code, modifiers, kind, state: _ } = key;
    let interrupts = code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL);
    let leaves = interrupts || matches!(code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
    leaves && kind != KeyEventKind::Release
}

/// Ends in order where a signal would have ended the process with the terminal in our hands.
fn wait_for_signals(tell: &SyncSender<Happened>) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).context("listen for signals");
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hang_up = listen(SignalKind::hangup())?;
        let mut quit = listen(SignalKind::quit())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
            _ = quit.recv() => {}
        }
        tell.send(Happened::Left).map_err(|_gone| anyhow!("nobody listens"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_leave() {
        let key = |code, modifiers| leaves(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Up, KeyModifiers::NONE));
    }

    #[test]
    fn a_message_wraps() {
        let lines = |text: &str, columns, rows| Shown::Text(text.to_owned()).lines(columns, rows);
        assert_eq!(lines("abcde\n\nf", 2, 9), ["ab", "cd", "e", "", "f"]);
        assert_eq!(lines("abcde", 2, 1), ["ab"]);
        assert_eq!(lines("ab", 0, 2), ["", ""]);
    }
}
