//! Trees of files as a sysfs has them, made by the tests.
#![allow(dead_code)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// An empty folder of this test's own.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("host").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Writes a file, with the folders that it needs.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Makes a link that leads to `target`, with the folders that it needs.
pub fn link(path: &Path, target: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

/// Configuration space, byte by byte.
pub struct Config {
    bytes: Vec<u8>,
    /// Where the next conventional and extended capabilities go.
    next: (u8, u16),
    last: (usize, usize),
}

impl Config {
    pub fn new(vendor: u16, device: u16, class: u16) -> Self {
        let mut config = Self { bytes: vec![0; 4096], next: (0x40, 0x100), last: (0x34, 0) };
        config.put16(0, vendor);
        config.put16(2, device);
        config.put16(0x0a, class);
        config
    }

    pub fn put16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// A bridge: header type 1 with its buses.
    pub fn bridge(mut self, primary: u8, secondary: u8, subordinate: u8) -> Self {
        self.bytes[0x0e] = 1;
        self.bytes[0x18..0x1b].copy_from_slice(&[primary, secondary, subordinate]);
        self
    }

    /// One of several functions of a device.
    pub fn multifunction(mut self) -> Self {
        self.bytes[0x0e] |= 0x80;
        self
    }

    /// A PCI Express capability of a device/port type.
    pub fn express(mut self, kind: u16) -> Self {
        let at = usize::from(self.next.0);
        self.bytes[6] |= 0x10;
        self.bytes[self.last.0] = at as u8;
        self.bytes[at] = 0x10;
        self.put16(at + 2, kind << 4 | 2);
        (self.last.0, self.next.0) = (at + 1, self.next.0 + 0x3c);
        self
    }

    fn extended(&mut self, id: u16, bytes: u16) -> usize {
        let at = usize::from(self.next.1);
        self.put16(at, id);
        self.put16(at + 2, 1);
        if self.last.1 != 0 {
            self.put16(self.last.1 + 2, (at as u16) << 4 | 1);
        }
        (self.last.1, self.next.1) = (at, self.next.1 + bytes);
        at
    }

    pub fn acs(mut self, capability: u16, control: u16) -> Self {
        let at = self.extended(0x0d, 8);
        self.put16(at + 4, capability);
        self.put16(at + 6, control);
        self
    }

    pub fn sriov(mut self, count: u16, offset: u16, stride: u16, device: u16) -> Self {
        let at = self.extended(0x10, 0x40);
        self.put16(at + 8, 1);
        self.put16(at + 0x0e, count);
        self.put16(at + 0x10, count);
        self.put16(at + 0x14, offset);
        self.put16(at + 0x16, stride);
        self.put16(at + 0x1a, device);
        self
    }

    pub fn ats(mut self, enabled: bool) -> Self {
        let at = self.extended(0x0f, 8);
        self.put16(at + 6, u16::from(enabled) << 15);
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Writes a function as sysfs shows it to root.
pub fn function(root: &Path, at: &str, config: Config) -> PathBuf {
    let folder = root.join("bus/pci/devices").join(at);
    let bytes = config.bytes();
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    write(&folder.join("vendor"), format!("{:#06x}\n", word(0)));
    write(&folder.join("device"), format!("{:#06x}\n", word(2)));
    write(&folder.join("class"), format!("{:#08x}\n", u32::from(word(0x0a)) << 8));
    write(&folder.join("config"), &bytes);
    folder
}

/// Two root ports, of which only the first isolates, and an endpoint below each.
pub fn two_ports(root: &Path) {
    function(
        root,
        "0000:00:01.0",
        Config::new(0x1b36, 0x000c, 0x0604).bridge(0, 1, 1).express(4).acs(0x1f, 0x1d),
    );
    function(root, "0000:01:00.0", Config::new(0x8086, 0x1572, 0x0200).express(0));
    function(root, "0000:00:02.0", Config::new(0x1b36, 0x000c, 0x0604).bridge(0, 2, 2).express(4));
    function(root, "0000:02:00.0", Config::new(0x10de, 0x1b80, 0x0300).express(0));
}
