//! Why bytes of a mapping cannot be had.

use core::fmt;

/// Why an access of the CPU's was not made. It is a mistake of the caller's, and nothing has been read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AccessError {
    /// Some of the bytes are outside.
    Outside {
        /// The first byte that was asked for.
        offset: usize,
        /// How many were asked for.
        bytes: usize,
        /// How many there are.
        of: usize,
    },
    /// A word's offset is not a multiple of its size.
    Misaligned {
        /// The offset.
        offset: usize,
        /// The word's size in bytes.
        bytes: usize,
    },
}

impl AccessError {
    /// Whether `bytes` bytes from `offset` on are among `of` bytes.
    pub(super) fn check(offset: usize, bytes: usize, of: usize) -> Result<(), Self> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= of);
        if inside { Ok(()) } else { Err(Self::Outside { offset, bytes, of }) }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { offset, bytes, of } => {
                write!(f, "{bytes:#x} bytes at offset {offset:#x} are not all among {of:#x}")
            }
            Self::Misaligned { offset, bytes } => {
                write!(f, "offset {offset:#x} is not a multiple of the word's {bytes} bytes")
            }
        }
    }
}
impl core::error::Error for AccessError {}
