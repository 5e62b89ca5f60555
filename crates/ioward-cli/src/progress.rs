//! One line that tells what is going on, on a terminal only.

use ioward_machine::prove::Progress;
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(50);

/// The line.
pub struct Line {
    terminal: bool,
    last: Option<Instant>,
}

impl Line {
    /// A line on standard error, if that is a terminal.
    pub fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), last: None }
    }

    /// Shows where the proof is.
    pub fn show(&mut self, at: Progress) {
        if !self.terminal || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        // A line that cannot be shown is not worth an error.
        let _ = write!(io::stderr(), "\r\x1b[Kproving: {} ({} of {})", at.what, at.done + 1, at.of);
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if self.terminal && self.last.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
