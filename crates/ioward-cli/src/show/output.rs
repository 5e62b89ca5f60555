//! Standard output, and files.

use serde::Serialize;
use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Why a file is not written.
#[derive(Debug)]
pub enum FileError {
    /// It is there already, and nobody said that it may be written over.
    Exists(PathBuf),
    /// The system does not let us.
    Refused(PathBuf, io::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => {
                write!(f, "{}: it is there already; --force writes over it", path.display())
            }
            Self::Refused(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for FileError {}

/// Writes a file, over one that is there already only where `force` says so. A file that could be written in part only is
/// taken away again, unless it was there before.
pub fn file(path: &Path, bytes: &[u8], force: bool) -> Result<(), FileError> {
    let refused = |error| FileError::Refused(path.into(), error);
    if force {
        return fs::write(path, bytes).map_err(refused);
    }
    let mut file = File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists(path.into()),
        _ => refused(error),
    })?;
    file.write_all(bytes).map_err(|error| {
        // What is left of it would look like a whole one.
        let _ = fs::remove_file(path);
        refused(error)
    })
}

/// The text without what would do anything to a terminal but show it: of control characters only ends of lines, tabs and
/// the colours of [`Style`](super::Style) stay, whatever a foreign file holds.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && !matches!(c, '\n' | '\t')) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let colour = super::style::ESCAPES.iter().find(|escape| rest.starts_with(**escape));
        let one = rest.chars().next().map_or(0, char::len_utf8);
        match colour {
            Some(escape) => out.push_str(escape),
            None => out.push(char::REPLACEMENT_CHARACTER),
        }
        rest = &rest[colour.map_or(one, |escape| escape.len())..];
    }
    out.push_str(rest);
    out
}

/// Writes text to standard output. That whoever reads has seen enough (`ioward groups | head`) is no error.
pub fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    seen_enough(out.write_all(shown(text).as_bytes()).and_then(|()| out.flush()))
}

/// Writes a value as JSON to standard output.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    let mut out = io::stdout().lock();
    seen_enough(out.write_all(&bytes).and_then(|()| out.flush()))
}

fn seen_enough(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::Style;

    #[test]
    fn a_foreign_word_cannot_move_a_cursor() {
        assert_eq!(shown("a\tb\n\u{1b}[2Jc\u{9b}d\u{7f}\r"), "a\tb\n\u{fffd}[2Jc\u{fffd}d\u{fffd}\u{fffd}");
        let style = Style::coloured();
        let all: [String; 5] =
            [style.good("x"), style.bad("y"), style.odd("z"), style.faint("u"), style.head("v")];
        for painted in all {
            assert!(painted.contains('\u{1b}'), "{painted:?}");
            assert_eq!(shown(&painted), painted);
        }
    }

    #[test]
    fn nothing_is_written_over_without_force() {
        let folder = std::env::temp_dir().join(format!("ioward-output-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("page");
        file(&path, b"one", false).unwrap();
        assert!(matches!(file(&path, b"two", false), Err(FileError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        file(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // A folder cannot be written over, whatever is said.
        assert!(matches!(file(&folder, b"x", true), Err(FileError::Refused(..))));
        let error = file(&folder.join("no/such"), b"x", false).unwrap_err();
        assert!(error.to_string().contains("no/such"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
