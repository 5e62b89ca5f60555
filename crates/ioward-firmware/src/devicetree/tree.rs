//! The flattened form in place: tokens, nodes and properties.

use super::cells::Cells;
use crate::{Raw, raw::printable};
use core::ops::Range;
use ioward_types::describe::{Cause, Fact, Problem, Table};

/// Offsets in the header (section 5.2).
mod field {
    pub const MAGIC: u32 = 0;
    pub const TOTAL_SIZE: u32 = 4;
    pub const STRUCTURE: u32 = 8;
    pub const STRINGS: u32 = 12;
    pub const RESERVATIONS: u32 = 16;
    pub const VERSION: u32 = 20;
    pub const LAST_COMPATIBLE: u32 = 24;
    pub const STRINGS_SIZE: u32 = 32;
    pub const STRUCTURE_SIZE: u32 = 36;
    pub const BYTES: u32 = 40;
}

/// Tokens of the structure block (section 5.4.1).
mod token {
    pub const BEGIN_NODE: u32 = 1;
    pub const END_NODE: u32 = 2;
    pub const PROPERTY: u32 = 3;
    pub const NOP: u32 = 4;
    pub const END: u32 = 9;
}

/// The bytes of a memory reservation: address and size (section 5.3.2).
const RESERVATION_BYTES: usize = 16;

/// The magic number at the start of every tree.
const MAGIC: u32 = 0xd00d_feed;

/// The version of the form that this parser reads, and the oldest that such a tree may call itself compatible with.
const VERSION: u32 = 17;

/// A flattened device tree, in place.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    pub(super) whole: Raw<'a>,
    structure: Raw<'a>,
    strings: Raw<'a>,
}

/// One token and where the next one starts, both as offsets in the blob.
pub(super) enum Token<'a> {
    Begin(Node<'a>, u32),
    End(u32),
    Property(Property<'a>, u32),
    /// The end of the tree: behind its token, or the structure block's end.
    Finish(u32),
    /// Something that is no token, or one that the structure block's end cuts off: where.
    Bad(u32),
}

impl<'a> Tree<'a> {
    /// Opens a tree; `Err` where the blob cannot be read as one. A truncated blob is opened, and told to `sink`.
    pub fn open(bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) -> Result<Self, Problem> {
        let whole = Raw::new(bytes);
        let problem =
            |offset, cause| Problem { table: Table::DeviceTree, offset, structure: "header", cause };
        if whole.len() < field::BYTES {
            return Err(problem(0, Cause::Truncated { needs: field::BYTES, has: whole.len() }));
        }
        if whole.be32(field::MAGIC) != MAGIC {
            return Err(problem(field::MAGIC, Cause::Signature { found: whole.u32(field::MAGIC) }));
        }
        let (version, oldest) = (whole.be32(field::VERSION), whole.be32(field::LAST_COMPATIBLE));
        if version < VERSION {
            return Err(problem(field::VERSION, Cause::Version { found: version }));
        }
        if oldest > VERSION {
            return Err(problem(field::LAST_COMPATIBLE, Cause::Version { found: oldest }));
        }
        let total = whole.be32(field::TOTAL_SIZE);
        let cut = whole.window(0, total);
        if cut.len() < total {
            let cause = Cause::Truncated { needs: total, has: cut.len() };
            sink(Fact::Problem(problem(field::TOTAL_SIZE, cause)));
        }
        let mut block = |at, size| {
            let (start, bytes) = (whole.be32(at), whole.be32(size));
            let block = cut.window(start, bytes);
            if block.len() < bytes && cut.len() == total {
                let cause = Cause::Truncated { needs: bytes, has: block.len() };
                sink(Fact::Problem(problem(size, cause)));
            }
            block
        };
        let structure = block(field::STRUCTURE, field::STRUCTURE_SIZE);
        let strings = block(field::STRINGS, field::STRINGS_SIZE);
        let start = whole.be32(field::STRUCTURE);
        if !start.is_multiple_of(4) {
            let cause = Cause::Misaligned { found: start.into(), unit: 4 };
            sink(Fact::Problem(problem(field::STRUCTURE, cause)));
        }
        Ok(Self { whole: cut, structure, strings })
    }

    /// What of the blob the tree consists of, as ranges of offsets inside it: the header, the memory reservations (section
    /// 5.3), the structure to its end token or to where it stops making sense, and the strings. The rest means nothing.
    pub fn parts(&self) -> [Range<usize>; 4] {
        let reserved = self.whole.from(self.whole.be32(field::RESERVATIONS));
        // They end with an entry of zeros.
        let entries = reserved.bytes().chunks_exact(RESERVATION_BYTES);
        let full = entries.take_while(|entry| entry.iter().any(|byte| *byte != 0)).count();
        let mut end = self.start();
        let end = loop {
            match self.token(end) {
                Token::Begin(_, next) | Token::End(next) | Token::Property(_, next) => end = next,
                Token::Finish(end) | Token::Bad(end) => break end,
            }
        };
        let all = self.whole.bytes().len();
        let part = |start: u32, bytes: usize| start as usize..(start as usize).saturating_add(bytes).min(all);
        [
            part(0, field::BYTES as usize),
            part(reserved.at(), (full + 1) * RESERVATION_BYTES),
            part(self.start(), end.saturating_sub(self.start()) as usize),
            part(self.strings.at(), self.strings.bytes().len()),
        ]
    }

    /// Where the structure block starts in the blob.
    pub(super) fn start(&self) -> u32 {
        self.structure.at()
    }

    /// The token at an offset of the blob.
    pub(super) fn token(&self, at: u32) -> Token<'a> {
        let base = self.structure.at();
        let mut rest = self.structure.from(at.saturating_sub(base));
        while rest.len() >= 4 && rest.be32(0) == token::NOP {
            rest = rest.from(4);
        }
        let bad = Token::Bad(rest.at());
        if rest.len() < 4 {
            return if rest.is_empty() { Token::Finish(rest.at()) } else { bad };
        }
        match rest.be32(0) {
            token::BEGIN_NODE => {
                let Some(length) = rest.from(4).bytes().iter().position(|byte| *byte == 0) else {
                    return bad;
                };
                let next = 4 + aligned(length as u32 + 1);
                let name = printable(&rest.from(4).bytes()[..length]).unwrap_or("");
                Token::Begin(
                    Node { tree: *self, at: rest.at(), name, inner: rest.at() + next },
                    rest.at() + next,
                )
            }
            token::END_NODE => Token::End(rest.at() + 4),
            token::PROPERTY => {
                let (length, name) = (rest.be32(4), rest.be32(8));
                let value = rest.window(12, length);
                if rest.len() < 12 || value.len() < length {
                    return bad;
                }
                let next = rest.at() + 12 + aligned(length);
                let name = self.strings.text(name).unwrap_or("");
                Token::Property(Property { name, value, at: rest.at() }, next)
            }
            token::END => Token::Finish(rest.at() + 4),
            _ => bad,
        }
    }
}

/// Rounded up to whole tokens; a length that comes from inside the blob cannot wrap.
fn aligned(length: u32) -> u32 {
    length.saturating_add(3) & !3
}

/// A node, in place.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub(super) tree: Tree<'a>,
    at: u32,
    name: &'a str,
    inner: u32,
}

impl<'a> Node<'a> {
    /// The offset of its token in the blob.
    pub fn at(&self) -> u32 {
        self.at
    }
    /// Its name, with the unit address; empty for the root.
    pub fn name(&self) -> &'a str {
        self.name
    }
    /// Its properties. They come before its children (section 5.4.2), so the first node or end token ends them.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let (tree, mut at) = (self.tree, self.inner);
        core::iter::from_fn(move || match tree.token(at) {
            Token::Property(property, next) => {
                at = next;
                Some(property)
            }
            _ => None,
        })
    }
    /// The first property of a name.
    pub fn property(&self, name: &str) -> Option<Property<'a>> {
        self.properties().find(|property| property.name == name)
    }
    /// Whether it has a property of this name, whatever it holds.
    pub fn has(&self, name: &str) -> bool {
        self.property(name).is_some()
    }
    /// A property that is one cell.
    pub fn cell(&self, name: &str) -> Option<u32> {
        self.property(name).and_then(|property| property.cell())
    }
    /// The number by which other nodes refer to it; zero and all ones mean nothing.
    pub fn phandle(&self) -> Option<u32> {
        let phandle = self.cell("phandle").or_else(|| self.cell("linux,phandle"))?;
        (phandle != 0 && phandle != u32::MAX).then_some(phandle)
    }
    /// Whether `status` is absent, `okay` or `ok`.
    pub fn is_okay(&self) -> bool {
        match self.property("status") {
            None => true,
            Some(status) => matches!(status.text(), Some("okay" | "ok")),
        }
    }
    /// What it is, the most specific first.
    pub fn compatible(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.property("compatible").into_iter().flat_map(|property| property.texts())
    }
}

/// A property, in place.
#[derive(Clone, Copy, Debug)]
pub struct Property<'a> {
    name: &'a str,
    value: Raw<'a>,
    at: u32,
}

impl<'a> Property<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        self.name
    }
    /// The offset of its token in the blob.
    pub fn at(&self) -> u32 {
        self.at
    }
    /// Its bytes.
    pub fn value(&self) -> Raw<'a> {
        self.value
    }
    /// Its cells.
    pub fn cells(&self) -> Cells<'a> {
        Cells::new(self.value)
    }
    /// The cell that it is; none where it is anything else.
    pub fn cell(&self) -> Option<u32> {
        (self.value.len() == 4).then(|| self.value.be32(0))
    }
    /// The text that it is, or the first of several.
    pub fn text(&self) -> Option<&'a str> {
        self.value.text(0)
    }
    /// The texts that it is; ends at the first that is not printable or not ended.
    pub fn texts(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut rest = self.value;
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let text = rest.text(0)?;
            rest = rest.from(text.len() as u32 + 1);
            Some(text)
        })
    }
}
