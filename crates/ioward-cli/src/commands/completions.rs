//! `ioward completions`: what a shell needs to complete the program's words.

use crate::show::output;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use std::io;

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward completions bash > ~/.local/share/bash-completion/completions/ioward
  ioward completions zsh > ~/.zfunc/_ioward
  ioward completions fish > ~/.config/fish/completions/ioward.fish

Exit codes:
  0  they are printed";

/// What `completions` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Which shell
    shell: Shell,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    let mut text = Vec::new();
    generate(arguments.shell, &mut crate::Arguments::command(), "ioward", &mut text);
    output::text(&String::from_utf8_lossy(&text))?;
    Ok(0)
}
