//! Bounded reads of regular files and directories.

use crate::ReadError;
use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read},
    path::Path,
};

/// The bytes of a regular file of at most `most` bytes. A size that a file system tells is believed only where it is too
/// large: sysfs tells a page for whatever a file says, and files of `/proc` have none.
pub fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
    let failed = |error: io::Error| ReadError::io(path, &error);
    // Opening a device may do anything, so it is asked before; what is there may be another file by the time that it is
    // open, so it is asked again.
    regular(path, &fs::metadata(path).map_err(failed)?)?;
    let file = open(path).map_err(failed)?;
    if regular(path, &file.metadata().map_err(failed)?)? > most {
        return Err(ReadError::TooLarge { path: path.into(), most });
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(ReadError::TooLarge { path: path.into(), most });
    }
    Ok(bytes)
}

/// Opens a file so that neither that nor reading waits: a pipe has no writer, and some files of `/proc` no end.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path)
}

/// Only a regular file is read. Tells its size.
fn regular(path: &Path, metadata: &Metadata) -> Result<u64, ReadError> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(metadata.len());
    }
    let what = if kind.is_dir() { "a directory" } else { "a pipe, socket or device" };
    Err(ReadError::NotAFile { path: path.into(), what })
}

/// The same, where the file may be absent.
pub fn optional(path: &Path, most: u64) -> Result<Option<Vec<u8>>, ReadError> {
    match bytes(path, most) {
        Err(ReadError::Unreadable { kind: io::ErrorKind::NotFound, .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// The first words of a small file that may be absent, without white space around them.
pub fn word(path: &Path) -> Result<Option<String>, ReadError> {
    const MOST: u64 = 1 << 16;
    Ok(optional(path, MOST)?.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}

/// The names in a directory, ascending, of which at most `most` are looked at. A directory that is not there has none.
pub fn names(path: &Path, most: usize, errors: &mut Vec<ReadError>) -> Vec<OsString> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            errors.push(ReadError::io(path, &error));
            return Vec::new();
        }
    };
    let mut names = Vec::new();
    for entry in entries.take(most + 1) {
        match entry {
            Ok(entry) => names.push(entry.file_name()),
            Err(error) => errors.push(ReadError::io(path, &error)),
        }
    }
    names.sort();
    if names.len() > most {
        names.truncate(most);
        errors.push(ReadError::TooMany { path: path.into(), most });
    }
    names
}

/// The last name of where a symbolic link leads; none where there is no such link.
pub fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{process::Command, sync::mpsc, thread, time::Duration};

    /// What a pipe does that is put into a file's place after it was asked what it is.
    #[test]
    fn a_pipe_is_opened_without_waiting_and_not_read() {
        let folder = std::env::temp_dir().join(format!("ioward-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().expect("part of every system").success());
        let (tell, told) = mpsc::channel();
        let opened = path.clone();
        thread::spawn(move || drop(tell.send(open(&opened).and_then(|file| file.metadata()))));
        let metadata = told.recv_timeout(Duration::from_secs(20)).expect("opening it waits").unwrap();
        assert!(matches!(regular(&path, &metadata), Err(ReadError::NotAFile { .. })));
        fs::remove_dir_all(&folder).unwrap();
    }
}
