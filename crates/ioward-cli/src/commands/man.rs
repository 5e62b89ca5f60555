//! `ioward man`: the manual, a page for each command.

use super::UNWRITTEN;
use crate::show::output;
use clap::{Args, CommandFactory};
use clap_mangen::Man;
use std::{fs, io, path::PathBuf};

/// Shown below its help.
const EXAMPLES: &str = "\
Examples:
  ioward man ~/.local/share/man/man1     then: man ioward-groups

Exit codes:
  0  the pages are written
  1  a page is there already and --force is not, or it could not be written";

/// What `man` takes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The folder that the pages go into; it is made if it is not there
    folder: PathBuf,
    /// Write over pages that are there
    #[arg(long)]
    force: bool,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> io::Result<u8> {
    if let Err(error) = fs::create_dir_all(&arguments.folder) {
        eprintln!("ioward: {}: {error}", arguments.folder.display());
        return Ok(UNWRITTEN);
    }
    let mut program = crate::Arguments::command();
    program.build();
    let mut pages = vec![("ioward".to_owned(), program.clone())];
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("ioward-{}", command.get_name());
        pages.push((name, command.clone()));
    }
    let mut code = 0;
    for (name, command) in pages {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        let path = arguments.folder.join(format!("{name}.1"));
        if let Err(error) = output::file(&path, &page, arguments.force) {
            eprintln!("ioward: {error}");
            code = UNWRITTEN;
        }
    }
    Ok(code)
}
