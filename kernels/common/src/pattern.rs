//! Bytes that are known, and their sum.

/// The word at `index` of what is numbered `seed`.
fn word(seed: u64, index: usize) -> u64 {
    (seed << 32 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// Fills `bytes`, whole words of 64 bits, with what no other number gives.
pub fn fill(bytes: &mut [u8], seed: u64) {
    for (index, place) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *place = word(seed, index).to_le_bytes();
    }
}

/// Whether `bytes` are what [`fill`] makes of them.
pub fn holds(bytes: &[u8], seed: u64) -> bool {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .enumerate()
        .all(|(index, place)| *place == word(seed, index).to_le_bytes())
}

/// FNV-1a with words of 64 bits in the place of bytes: what `image ID START BYTES SUM` says of a drive.
pub struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    /// Adds whole words of 64 bits.
    pub fn add(&mut self, bytes: &[u8]) {
        for place in bytes.as_chunks::<8>().0 {
            self.0 = (self.0 ^ u64::from_le_bytes(*place)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The sum of what has been added.
    pub fn value(&self) -> u64 {
        self.0
    }
}
