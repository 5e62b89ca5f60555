//! One line that tells what is going on, on a terminal only.

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

    /// Shows what is going on, if it was not shown a moment ago.
    pub fn show(&mut self, what: std::fmt::Arguments<'_>) {
        if !self.terminal || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        // A line that cannot be shown is not worth an error.
        let _ = write!(io::stderr(), "\r\x1b[K{what}");
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if self.terminal && self.last.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
