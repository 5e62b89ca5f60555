//! A window of a table: total, permissive, and aware of where it lies.

/// Some bytes of a table, and their offset in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    at: u32,
}

impl<'a> Raw<'a> {
    /// A whole table. Bytes beyond the first 4 GiB cannot be named and are left out.
    pub fn new(bytes: &'a [u8]) -> Self {
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        Self { bytes: bytes.get(..most).unwrap_or(bytes), at: 0 }
    }

    /// The offset of the first byte in its table.
    pub fn at(&self) -> u32 {
        self.at
    }

    /// How many bytes there are.
    pub fn len(&self) -> u32 {
        // A window is at most as long as the table, which `new` cut to fit.
        self.bytes.len() as u32
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// At most `len` bytes from `from` on: as many of them as there are.
    pub fn window(&self, from: u32, len: u32) -> Self {
        let from = (from as usize).min(self.bytes.len());
        let to = from.saturating_add(len as usize).min(self.bytes.len());
        Self { bytes: &self.bytes[from..to], at: self.at + from as u32 }
    }

    /// Everything from `from` on.
    pub fn from(&self, from: u32) -> Self {
        self.window(from, u32::MAX)
    }

    /// `N` bytes at `at`, zero where there are none.
    pub fn array<const N: usize>(&self, at: u32) -> [u8; N] {
        let mut array = [0; N];
        let found = self.window(at, N as u32).bytes;
        array[..found.len()].copy_from_slice(found);
        array
    }

    /// The byte at `at`, or zero.
    pub fn u8(&self, at: u32) -> u8 {
        self.array::<1>(at)[0]
    }

    /// The little-endian number of 16 bits at `at`, zero bytes where there are none.
    pub fn u16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    /// The little-endian number of 32 bits at `at`, zero bytes where there are none.
    pub fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    /// The little-endian number of 64 bits at `at`, zero bytes where there are none.
    pub fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// The big-endian number of 32 bits at `at`, zero bytes where there are none.
    pub fn be32(&self, at: u32) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    /// Printable ASCII from `at` up to a zero byte; `None` where it holds anything else, or nothing ends it.
    pub fn text(&self, at: u32) -> Option<&'a str> {
        let bytes = self.from(at).bytes;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        printable(&bytes[..end])
    }
}

/// The bytes as text where all of them are printable ASCII.
pub(crate) fn printable(bytes: &[u8]) -> Option<&str> {
    let fits = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    core::str::from_utf8(bytes).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_reads_as_zero() {
        let raw = Raw::new(&[1, 2, 3, 4, 5]);
        assert_eq!((raw.u32(0), raw.u32(3), raw.u64(5), raw.u16(u32::MAX)), (0x0403_0201, 0x0504, 0, 0));
        assert_eq!(raw.be32(0), 0x0102_0304);
        assert_eq!(raw.window(4, 9).len(), 1);
        assert_eq!((raw.window(9, 9).at(), raw.window(9, 9).is_empty()), (5, true));
        assert_eq!(raw.from(2).window(1, 1).at(), 3);
    }

    #[test]
    fn text_is_printable_and_ended() {
        let raw = Raw::new(b"ab\0\x80c\0de");
        assert_eq!((raw.text(0), raw.text(2), raw.text(3), raw.text(6)), (Some("ab"), Some(""), None, None));
    }
}
