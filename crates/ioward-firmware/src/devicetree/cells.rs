//! Numbers of several cells, and the address translation that `ranges` describes.

use crate::Raw;

/// Cells of 32 bits, big-endian, read from the front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cells<'a>(Raw<'a>);

impl<'a> Cells<'a> {
    /// The whole cells of some bytes.
    pub fn new(raw: Raw<'a>) -> Self {
        Self(raw.window(0, raw.len() & !3))
    }
    /// The offset of the next cell in the blob.
    pub fn at(&self) -> u32 {
        self.0.at()
    }
    /// How many are left.
    pub fn len(&self) -> u32 {
        self.0.len() / 4
    }
    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Takes one.
    pub fn one(&mut self) -> Option<u32> {
        (!self.is_empty()).then(|| {
            let cell = self.0.be32(0);
            self.0 = self.0.from(4);
            cell
        })
    }
    /// Takes a number of `count` cells, of which the last two count. More than two are an address with a space code in
    /// front, as on PCI.
    pub fn number(&mut self, count: u32) -> Option<u64> {
        let cells = self.take(count)?;
        let mut number = 0u64;
        let mut rest = cells;
        while let Some(cell) = rest.one() {
            number = number << 32 | u64::from(cell);
        }
        Some(number)
    }
    /// Takes `count` of them.
    pub fn take(&mut self, count: u32) -> Option<Self> {
        if count > self.len() {
            return None;
        }
        let taken = Self(self.0.window(0, count * 4));
        self.0 = self.0.from(count * 4);
        Some(taken)
    }
}

/// The most cells that an address or a size may have; larger counts are nonsense.
pub(super) const MOST_CELLS: u32 = 4;

/// One entry of `ranges` or `dma-ranges`: a window of the child's addresses and where it lies in the parent's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// The first cell of a child address of three cells, which on PCI holds the space code; else zero.
    pub space: u32,
    /// The child's first address.
    pub child: u64,
    /// The parent's first address.
    pub parent: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Entries of `ranges` or `dma-ranges`.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a> {
    cells: Cells<'a>,
    child: u32,
    parent: u32,
    size: u32,
}

impl<'a> Ranges<'a> {
    /// Entries of `child` address cells, `parent` address cells and `size` cells.
    pub fn new(cells: Cells<'a>, child: u32, parent: u32, size: u32) -> Self {
        Self { cells, child, parent, size }
    }
    /// Where an address of the child lies in the parent; none where no entry holds it.
    pub fn translate(&self, address: u64) -> Option<u64> {
        self.clone_iter().find_map(|window| {
            let into = address.checked_sub(window.child).filter(|into| *into < window.bytes)?;
            window.parent.checked_add(into)
        })
    }
    fn clone_iter(&self) -> Self {
        *self
    }
}

impl Iterator for Ranges<'_> {
    type Item = Window;
    fn next(&mut self) -> Option<Window> {
        let mut peek = self.cells;
        let space = if self.child == 3 { peek.one()? } else { 0 };
        let child = self.cells.number(self.child)?;
        let parent = self.cells.number(self.parent)?;
        let bytes = self.cells.number(self.size)?;
        // An entry of no cells at all would never end.
        (self.child + self.parent + self.size != 0).then_some(Window { space, child, parent, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_moves_through_the_window_that_holds_it() {
        let cells: [u32; 8] = [0x10, 0, 0xa000, 0x10, 0x40, 1, 0xb000, 0x8];
        let bytes: std::vec::Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        let ranges = Ranges::new(Cells::new(Raw::new(&bytes)), 1, 2, 1);
        assert_eq!(ranges.translate(0x1f), Some(0xa00f));
        assert_eq!((ranges.translate(0x20), ranges.translate(0x0f)), (None, None));
        assert_eq!(ranges.translate(0x41), Some(0x1_0000_b001));
        assert_eq!(ranges.count(), 2);
    }

    #[test]
    fn numbers_take_whole_cells_only() {
        let bytes = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
        let mut cells = Cells::new(Raw::new(&bytes));
        assert_eq!(cells.number(3), None);
        assert_eq!(cells.number(2), Some(0x1_0000_0002));
        assert_eq!((cells.one(), cells.number(0)), (None, Some(0)));
        assert_eq!(Ranges::new(cells, 0, 0, 0).next(), None);
    }
}
