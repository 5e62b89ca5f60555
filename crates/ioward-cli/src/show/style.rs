//! Width and colours, as far as whoever reads wants them.

use anstyle::{AnsiColor, Style as Ansi};
use std::io::{self, IsTerminal};

/// What the colours below are made of.
pub const ESCAPES: [&str; 6] = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"];
/// The width of what is not a terminal.
const PLAIN_WIDTH: usize = 120;
/// Tables are not squeezed below this.
const LEAST_WIDTH: usize = 60;

/// How to print.
pub struct Style {
    /// Columns.
    pub width: usize,
    colours: bool,
}

impl Style {
    /// For standard output: colours only on a terminal, and never where `NO_COLOR` says so.
    pub fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok());
        let width = match terminal_size::terminal_size() {
            Some((width, _)) if terminal => width.0.into(),
            _ => asked.unwrap_or(PLAIN_WIDTH),
        };
        Self { width: width.max(LEAST_WIDTH), colours: terminal && !refused }
    }

    #[cfg(test)]
    pub fn coloured() -> Self {
        Self { width: PLAIN_WIDTH, colours: true }
    }

    #[cfg(test)]
    pub fn plain(width: usize) -> Self {
        Self { width, colours: false }
    }

    fn paint(&self, ansi: Ansi, text: &str) -> String {
        if self.colours { format!("{ansi}{text}{ansi:#}") } else { text.to_owned() }
    }

    /// Something that holds.
    pub fn good(&self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    /// Something that does not.
    pub fn bad(&self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    /// Something to look at.
    pub fn odd(&self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }

    /// Something that matters less than the rest.
    pub fn faint(&self, text: &str) -> String {
        self.paint(Ansi::new().dimmed(), text)
    }

    /// A heading.
    pub fn head(&self, text: &str) -> String {
        self.paint(Ansi::new().bold(), text)
    }
}
