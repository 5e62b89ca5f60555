//! One field: where a specification puts it.
//!
//! Specifications number the bits of a structure from zero through its last word, and so do we: `Field::bits(143, 128)`
//! is what the text calls `[143:128]`. A structure is a slice of 64-bit words, the first word holding bits 63 to 0;
//! a register is a single word. A field never crosses a word: where a specification lets one do that, it is two fields.

/// The bits of a field: which 64-bit word, from which bit, how many.
///
/// It knows positions and nothing of meaning; whoever encodes or decodes a structure owns that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Field {
    /// Index of the 64-bit word that holds the field.
    pub word: usize,
    /// The field's lowest bit within its word, 0 to 63.
    pub low: u8,
    /// How many bits it has, 1 to 64.
    pub bits: u8,
}

impl Field {
    /// Bits `[high:low]` of a structure, both included, numbered through all its words.
    ///
    /// # Panics
    /// Where `high < low` or the field crosses a 64-bit word; in a `const` that is a compile error.
    pub const fn bits(high: usize, low: usize) -> Self {
        assert!(high >= low && high / 64 == low / 64, "a field lies within one 64-bit word");
        Self { word: low / 64, low: (low % 64) as u8, bits: (high - low + 1) as u8 }
    }

    /// Bit `[at]` of a structure.
    pub const fn bit(at: usize) -> Self {
        Self::bits(at, at)
    }

    /// Bits `[high:low]` of the 32-bit word `dword`, both included.
    ///
    /// # Panics
    /// Where `high < low` or `high > 31`; in a `const` that is a compile error.
    pub const fn dword(dword: usize, high: usize, low: usize) -> Self {
        assert!(high < 32, "a 32-bit word has bits 31 to 0");
        Self::bits(dword * 32 + high, dword * 32 + low)
    }

    /// The largest value that fits.
    pub const fn max(self) -> u64 {
        u64::MAX >> (64 - self.bits as u32)
    }

    /// The field's bits within its word.
    pub const fn mask(self) -> u64 {
        self.max() << self.low
    }

    /// Whether `value` fits.
    pub const fn fits(self, value: u64) -> bool {
        value <= self.max()
    }

    /// The field's value in the word that holds it.
    pub const fn of(self, word: u64) -> u64 {
        word >> self.low & self.max()
    }

    /// The field's bits of the word that holds it, left in place: an address field as an address.
    pub const fn in_place(self, word: u64) -> u64 {
        word & self.mask()
    }

    /// `value` where the field is, zero elsewhere. What does not fit is cut off.
    pub const fn put(self, value: u64) -> u64 {
        (value & self.max()) << self.low
    }

    /// `word` with the field replaced by `value`. What does not fit is cut off.
    pub const fn with(self, word: u64, value: u64) -> u64 {
        word & !self.mask() | self.put(value)
    }

    /// The field's value in a structure.
    ///
    /// # Panics
    /// Where the structure is too short to have the field.
    pub const fn get(self, words: &[u64]) -> u64 {
        self.of(words[self.word])
    }

    /// The field's bits of a structure, left in place: an address field as an address.
    ///
    /// # Panics
    /// Where the structure is too short to have the field.
    pub const fn get_in_place(self, words: &[u64]) -> u64 {
        self.in_place(words[self.word])
    }

    /// Whether any of the field's bits is set in a structure.
    ///
    /// # Panics
    /// Where the structure is too short to have the field.
    pub const fn is_set(self, words: &[u64]) -> bool {
        self.get_in_place(words) != 0
    }

    /// Replaces the field in a structure by `value`. What does not fit is cut off.
    ///
    /// # Panics
    /// Where the structure is too short to have the field.
    pub const fn set(self, words: &mut [u64], value: u64) {
        words[self.word] = self.with(words[self.word], value);
    }

    /// Replaces the field in a structure by the same bits of `value`: an address field by an address. What lies outside
    /// the field is cut off.
    ///
    /// # Panics
    /// Where the structure is too short to have the field.
    pub const fn set_in_place(self, words: &mut [u64], value: u64) {
        words[self.word] = words[self.word] & !self.mask() | value & self.mask();
    }
}

/// The bits that some fields cover in word `word` of a structure: what is left is reserved.
pub const fn cover(fields: &[Field], word: usize) -> u64 {
    let (mut mask, mut n) = (0, 0);
    while n < fields.len() {
        if fields[n].word == word {
            mask |= fields[n].mask();
        }
        n += 1;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbering_runs_through_the_words() {
        assert_eq!(Field::bits(143, 128), Field { word: 2, low: 0, bits: 16 });
        assert_eq!(Field::bits(127, 127), Field { word: 1, low: 63, bits: 1 });
        assert_eq!(Field::dword(3, 31, 12), Field { word: 1, low: 44, bits: 20 });
        assert_eq!(Field::bits(63, 0).mask(), u64::MAX);
        assert_eq!(Field::bit(63).mask(), 0x8000_0000_0000_0000);
    }

    #[test]
    #[should_panic]
    fn a_field_across_words_is_refused() {
        let _ = Field::bits(64, 63);
    }

    #[test]
    fn reading_and_writing_touch_the_field_alone() {
        let field = Field::bits(51 + 64, 12 + 64);
        let mut words = [u64::MAX; 2];
        field.set(&mut words, 0x12345);
        assert_eq!(words, [u64::MAX, 0xfff0_0000_1234_5fff]);
        assert_eq!(field.get(&words), 0x12345);
        assert_eq!(field.get_in_place(&words), 0x1234_5000);
        field.set_in_place(&mut words, 0xabcd_ef00_0fff);
        assert_eq!(words[1], 0xfff0_abcd_ef00_0fff);
        assert!(field.is_set(&words) && !Field::bit(0).is_set(&[0]));
        assert_eq!(field.put(u64::MAX), field.mask());
        assert!(field.fits(0xff_ffff_ffff) && !field.fits(0x100_0000_0000));
    }

    #[test]
    fn what_fields_do_not_cover_is_reserved() {
        let fields = [Field::bits(7, 0), Field::bits(63, 32), Field::bits(64, 64)];
        assert_eq!(cover(&fields, 0), 0xffff_ffff_0000_00ff);
        assert_eq!(cover(&fields, 1), 1);
        assert_eq!(cover(&fields, 2), 0);
    }
}
