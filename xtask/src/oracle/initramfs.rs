//! The guest's first file system: a cpio archive of the format `newc` (the kernel's `initramfs/buffer-format`), which the
//! kernel unpacks itself.

use crate::debian::Guest;
use std::fs;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;
/// Character device 5:1, which the kernel opens for the first program before there is anything that could make it.
const CONSOLE_NUMBER: (u32, u32) = (5, 1);

/// Writes the archive for a guest.
pub fn write(guest: &Guest, to: &Path) -> Result<(), String> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut archive = Archive::with_shell(&read(&guest.busybox)?);
    archive.program("stub.ko.xz", &read(&guest.stub)?);
    archive.program("init", include_bytes!("guest.sh"));
    fs::write(to, archive.finish()).map_err(|error| format!("{}: {error}", to.display()))
}

/// An archive that grows.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// One with folders, a console, and busybox.
    pub fn with_shell(busybox: &[u8]) -> Self {
        let mut archive = Self::default();
        for folder in ["bin", "dev", "proc", "sys"] {
            archive.entry(folder, DIRECTORY, (0, 0), &[]);
        }
        archive.entry("dev/console", CONSOLE, CONSOLE_NUMBER, &[]);
        archive.program("bin/busybox", busybox);
        archive
    }

    /// Adds a file that can be run.
    pub fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, (0, 0), content);
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = content.len() as u32;
        let name_length = name.len() as u32 + 1;
        // Inode, mode, owner, group, links, time, length, device (2), device of a special file (2), name's length, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_laid_out_as_the_format_says() {
        let mut archive = Archive::default();
        archive.entry("init", PROGRAM, (0, 0), b"abc");
        let bytes = archive.finish();
        let header = "070701\
                      00000001000081ed00000000000000000000000100000000\
                      0000000300000000000000000000000000000000\
                      0000000500000000init\0";
        assert_eq!(std::str::from_utf8(&bytes[..115]), Ok(header));
        // Header and name end at a multiple of 4, and so does the content.
        assert_eq!(&bytes[115..120], b"\0abc\0");
        assert_eq!(&bytes[120..126], b"070701");
        assert_eq!(&bytes[120 + 110..], b"TRAILER!!!\0\0\0\0");
    }
}
