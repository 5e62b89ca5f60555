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

/// Writes text to standard output. That whoever reads has seen enough (`ioward groups | head`) is no error.
pub fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    seen_enough(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
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
