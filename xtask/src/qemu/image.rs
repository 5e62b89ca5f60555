//! Files behind a machine's drives: zeros at first, and held against what the kernel says that it wrote.
//!
//! A kernel that says `image ID START BYTES SUM` (decimal, decimal, hexadecimal) has written `BYTES` bytes from byte
//! `START` of the drive on, whose 64-bit FNV-1a hash over little-endian 64-bit words is `SUM`.

use super::machine::Drive;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// One drive's file; it is deleted when dropped.
pub struct Image {
    /// What devices call the drive.
    pub id: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

impl Image {
    /// A file of zeros, which takes no room before it is written to.
    pub fn new(drive: &Drive, folder: &Path, run: &str) -> Result<Self, String> {
        let path = folder.join(format!("{run}-{}.img", drive.id));
        let made = File::create(&path).and_then(|file| file.set_len(drive.mib << 20));
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { id: drive.id, path })
    }

    /// Whether bytes `start .. start + bytes` hash to `sum`.
    fn holds(&self, start: u64, bytes: u64, sum: u64) -> Result<(), String> {
        let name = |error| format!("{}: {error}", self.path.display());
        let mut file = File::open(&self.path).map_err(name)?;
        file.seek(SeekFrom::Start(start)).map_err(name)?;
        let (mut hash, mut left, mut buffer) = (Hash::default(), bytes, vec![0; 1 << 20]);
        while left != 0 {
            let part = &mut buffer[..left.min(1 << 20) as usize];
            file.read_exact(part).map_err(name)?;
            hash.add(part);
            left -= part.len() as u64;
        }
        if hash.0 == sum {
            return Ok(());
        }
        Err(format!(
            "drive {}: {bytes} bytes from {start} on hash to {:#018x}, the kernel says {sum:#018x}",
            self.id, hash.0
        ))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// FNV-1a with words of 64 bits in the place of bytes.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// A last part that is no whole word counts as one filled up with zeros.
    fn add(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let word = part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A run has said of as many images as it should.
pub fn count(said: usize, expected: usize) -> Result<(), String> {
    if said == expected {
        return Ok(());
    }
    Err(format!("it says {said} times what is on a drive, and not {expected} times"))
}

/// Holds a kernel's line, after the word `image`, against the files.
pub fn check(images: &[Image], line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split(' ').collect();
    let [id, start, bytes, sum] = words[..] else { return Err(format!("no line on an image: `{line}`")) };
    let sum = u64::from_str_radix(sum.trim_start_matches("0x"), 16).ok();
    let (Ok(start), Ok(bytes), Some(sum)) = (start.parse(), bytes.parse(), sum) else {
        return Err(format!("no numbers on an image: `{line}`"));
    };
    let image =
        images.iter().find(|image| image.id == id).ok_or_else(|| format!("no drive is called {id}"))?;
    image.holds(start, bytes, sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_run_that_says_nothing_of_its_drives_is_an_error() {
        assert_eq!(count(2, 2), Ok(()));
        assert!(count(0, 2).is_err() && count(3, 2).is_err());
    }

    #[test]
    fn what_a_kernel_says_is_held_against_the_file() {
        let run = format!("ioward-image-{}", std::process::id());
        let image = Image::new(&Drive { id: "disk", mib: 3 }, &std::env::temp_dir(), &run).expect("writable");
        let mut file = fs::OpenOptions::new().write(true).open(&image.path).expect("it is there");
        file.seek(SeekFrom::Start(4096)).expect("within the file");
        file.write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]).expect("writable");
        let (path, images) = (image.path.clone(), [image]);
        let one = (0xcbf2_9ce4_8422_2325_u64 ^ 1).wrapping_mul(0x0100_0000_01b3);
        let sum = (one ^ 2).wrapping_mul(0x0100_0000_01b3);
        assert_eq!(check(&images, &format!("disk 4096 16 {sum:#x}")), Ok(()));
        for wrong in [
            format!("disk 4096 16 {:#x}", sum ^ 1),
            format!("disk 4096 24 {sum:#x}"),
            format!("disk 4104 16 {sum:#x}"),
            format!("other 4096 16 {sum:#x}"),
            format!("disk 3145728 16 {sum:#x}"),
            format!("disk 4096 {sum:#x}"),
            "disk 1 2 none".into(),
        ] {
            assert!(check(&images, &wrong).is_err(), "{wrong}");
        }
        drop(images);
        assert!(!path.exists());
    }
}
