//! Memory in a file. Only the words that a walk asks for are read, so an image may be larger than this machine's memory.

use ioward_pgtable::ReadMemory;
use ioward_types::PhysAddr;
use std::{
    cell::RefCell,
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// A part of memory, and where it lies in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    start: u64,
    bytes: u64,
    offset: u64,
}

/// Memory in a file: raw bytes from an address on (`pmemsave` of QEMU's monitor, `/dev/mem` copied), or an ELF core
/// (`dump-guest-memory`, `/proc/vmcore`).
#[derive(Debug)]
pub struct Image {
    file: RefCell<File>,
    segments: Vec<Segment>,
    failed: RefCell<Option<String>>,
}

/// Why a file is no memory.
#[derive(Debug)]
pub enum ImageError {
    /// The system does not let it be read.
    Io(PathBuf, io::Error),
    /// It is a directory or a pipe.
    NotAFile(PathBuf),
    /// It is an ELF file, and not one that can be read as memory.
    Elf(PathBuf, &'static str),
    /// A base was given for an ELF core, which has addresses of its own.
    HasBases(PathBuf),
    /// Bytes from this base on would go beyond 64 bits.
    Base(PathBuf, u64),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotAFile(path) => write!(f, "{}: no regular file", path.display()),
            Self::Elf(path, what) => write!(f, "{}: an ELF file {what}", path.display()),
            Self::HasBases(path) => {
                write!(
                    f,
                    "{}: an ELF core has addresses of its own; --base is for raw memory",
                    path.display()
                )
            }
            Self::Base(path, base) => {
                write!(f, "{}: its bytes from {base:#x} on do not fit into 64 bits", path.display())
            }
        }
    }
}
impl std::error::Error for ImageError {}

/// The most program headers that are looked at: as many as the header can count.
const MOST_SEGMENTS: u16 = u16::MAX;
/// A part of memory that is in the file (ELF-64 object file format, 1.5).
const PT_LOAD: u32 = 1;

impl Image {
    /// Opens an image; `base` is the physical address of the first byte of raw memory, 0 where none is given.
    pub fn open(path: &Path, base: Option<u64>) -> Result<Self, ImageError> {
        let failed = |error| ImageError::Io(path.into(), error);
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(ImageError::NotAFile(path.into()));
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut magic = [0; 4];
        let is_elf = file.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF";
        let segments = if is_elf {
            if base.is_some() {
                return Err(ImageError::HasBases(path.into()));
            }
            core(&mut file, metadata.len()).map_err(|error| match error {
                Core::Io(error) => failed(error),
                Core::Odd(what) => ImageError::Elf(path.into(), what),
            })?
        } else {
            let start = base.unwrap_or(0);
            if start.checked_add(metadata.len()).is_none() {
                return Err(ImageError::Base(path.into(), start));
            }
            vec![Segment { start, bytes: metadata.len(), offset: 0 }]
        };
        Ok(Self { file: RefCell::new(file), segments, failed: RefCell::new(None) })
    }

    /// Which addresses the image has, first and last, both included.
    pub fn spans(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.segments.iter().filter(|segment| segment.bytes != 0).map(|segment| {
            // Its end was checked when it was taken in.
            (segment.start, segment.start + (segment.bytes - 1))
        })
    }

    /// What went wrong with reading the file, as opposed to memory that the image does not have.
    pub fn failure(&self) -> Option<String> {
        self.failed.borrow().clone()
    }
}

impl ReadMemory for Image {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| {
            at.0.checked_sub(segment.start)
                .is_some_and(|into| into.checked_add(8).is_some_and(|end| end <= segment.bytes))
        })?;
        let mut word = [0; 8];
        let mut file = self.file.borrow_mut();
        let read = file
            .seek(SeekFrom::Start(segment.offset + (at.0 - segment.start)))
            .and_then(|_| file.read_exact(&mut word));
        match read {
            Ok(()) => Some(u64::from_le_bytes(word)),
            Err(error) => {
                *self.failed.borrow_mut() = Some(format!("reading {at} of the image: {error}"));
                None
            }
        }
    }
}

enum Core {
    Io(io::Error),
    Odd(&'static str),
}

/// The parts of memory that an ELF core has. `length` is the file's.
fn core(file: &mut File, length: u64) -> Result<Vec<Segment>, Core> {
    let mut header = [0; 64];
    file.seek(SeekFrom::Start(0)).map_err(Core::Io)?;
    file.read_exact(&mut header).map_err(|_| Core::Odd("that ends in its header"))?;
    if (header[4], header[5]) != (2, 1) {
        return Err(Core::Odd("of another class than 64-bit little-endian"));
    }
    let word16 = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let (entry_bytes, count) = (word16(54), word16(56));
    let start =
        u64::from_le_bytes(header[32..40].try_into().map_err(|_| Core::Odd("that ends in its header"))?);
    if count == MOST_SEGMENTS {
        return Err(Core::Odd("with more program headers than its header can count"));
    }
    if entry_bytes != 56 {
        return Err(Core::Odd("whose program headers are not of 56 bytes"));
    }
    let mut segments = Vec::new();
    for index in 0..count {
        let mut entry = [0; 56];
        // Where an offset is beyond what a file can have, seeking fails with a word that names nothing.
        let at = start.checked_add(u64::from(index) * 56).filter(|at| *at <= length);
        let at = at.ok_or(Core::Odd("whose program headers lie behind its end"))?;
        file.seek(SeekFrom::Start(at)).map_err(Core::Io)?;
        file.read_exact(&mut entry).map_err(|_| Core::Odd("that ends in its program headers"))?;
        let word =
            |at: usize| entry[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        if word(0) as u32 != PT_LOAD {
            continue;
        }
        let (offset, physical, bytes) = (word(8), word(24), word(32));
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= length)
            && physical.checked_add(bytes).is_some();
        if !fits {
            return Err(Core::Odd("with a segment that its file does not hold"));
        }
        segments.push(Segment { start: physical, bytes, offset });
    }
    if segments.is_empty() {
        return Err(Core::Odd("without memory (no PT_LOAD segment)"));
    }
    Ok(segments)
}
