//! A part of a table: a structure with parts of its own, or a field.

use ioward_firmware::Raw;
use serde::{Serialize, Serializer};

/// A structure or a field.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Part {
    /// Where it starts, in bytes from the table's first.
    pub offset: u32,
    /// How many bytes it has.
    pub bytes: u32,
    /// Its name in the specification's words.
    pub name: String,
    /// What a field holds; none of a structure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What it means, or what the structure is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// What the bits of a field are, from bit 0 up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bits: Vec<Setting>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Trouble>,
    /// What it consists of, by offset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// What a field holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// A little-endian number; its field's bytes say how wide it is shown.
    Number {
        /// The number.
        value: u64,
        /// Bytes of it, 1 to 8.
        bytes: u32,
    },
    /// Text of a fixed or ended length.
    Text(String),
    /// Bytes that are no number.
    Bytes(Vec<u8>),
}

/// What some bits of a field say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Setting {
    /// Their name in the specification's words.
    pub name: &'static str,
    /// The lowest bit, counted from 0.
    pub low: u8,
    /// How many bits.
    pub width: u8,
    /// What they hold.
    pub value: u64,
    /// What that means, where a number alone does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Trouble {
    /// `note`, `degraded` or `broken`.
    pub severity: &'static str,
    /// What, in words.
    pub text: String,
}

/// How the bits of a field are laid out: name, highest and lowest bit, what each value means.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    name: &'static str,
    high: u8,
    low: u8,
    values: &'static [&'static str],
}

/// One bit.
pub(super) const fn bit(at: u8, name: &'static str) -> Layout {
    Layout { name, high: at, low: at, values: &[] }
}

/// Several bits.
pub(super) const fn bits(high: u8, low: u8, name: &'static str) -> Layout {
    Layout { name, high, low, values: &[] }
}

impl Layout {
    /// What the values mean, from zero up; an empty one means nothing worth saying.
    pub(super) const fn values(self, values: &'static [&'static str]) -> Self {
        Self { values, ..self }
    }
}

impl Value {
    /// As a person reads it: hexadecimal, text in quotes, bytes with spaces between.
    pub fn shown(&self) -> String {
        match self {
            Self::Number { value, bytes } => format!("{value:#0width$x}", width = *bytes as usize * 2 + 2),
            Self::Text(text) => format!("{text:?}"),
            Self::Bytes(bytes) => hex(bytes),
        }
    }
}

/// Bytes as pairs of digits with spaces between.
fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

impl Serialize for Value {
    /// Numbers are text too, since not every reader of JSON has 64 bits.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            other => to.serialize_str(&other.shown()),
        }
    }
}

/// What a field can be made of: a number with its width, or bytes.
pub(super) struct Content {
    value: Value,
    bytes: u32,
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl From<$number> for Content {
            fn from(value: $number) -> Self {
                let bytes = size_of::<$number>() as u32;
                Self { value: Value::Number { value: value.into(), bytes }, bytes }
            }
        })*
    };
}
numbers!(u8, u16, u32, u64);

impl<const N: usize> From<[u8; N]> for Content {
    fn from(value: [u8; N]) -> Self {
        Self { value: Value::Bytes(value.to_vec()), bytes: N as u32 }
    }
}

impl From<&[u8]> for Content {
    fn from(value: &[u8]) -> Self {
        // Comes from a table, whose length fits.
        Self { value: Value::Bytes(value.to_vec()), bytes: value.len() as u32 }
    }
}

/// Text that takes up `bytes`, its end and padding included.
pub(super) fn text(text: impl Into<String>, bytes: u32) -> Content {
    Content { value: Value::Text(text.into()), bytes }
}

/// Text of a fixed length where it is printable, with zero bytes behind it; else the bytes.
pub(super) fn name<const N: usize>(bytes: [u8; N]) -> Content {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    match core::str::from_utf8(&bytes[..end]) {
        Ok(found) if found.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => text(found, N as u32),
        _ => bytes.into(),
    }
}

/// A field at an offset from the start of the structure that it is put into.
pub(super) fn field(offset: u32, name: impl Into<String>, content: impl Into<Content>) -> Part {
    let Content { value, bytes } = content.into();
    Part { value: Some(value), ..Part::new(offset, bytes, name) }
}

impl Part {
    fn new(offset: u32, bytes: u32, name: impl Into<String>) -> Self {
        let (value, meaning) = (None, None);
        Self {
            offset,
            bytes,
            name: name.into(),
            value,
            meaning,
            bits: Vec::new(),
            problems: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// A structure that has these bytes.
    pub(super) fn structure(raw: Raw<'_>, name: impl Into<String>) -> Self {
        Self::new(raw.at(), raw.len(), name)
    }

    /// With what it means.
    pub(super) fn says(self, meaning: impl Into<String>) -> Self {
        Self { meaning: Some(meaning.into()), ..self }
    }

    /// With what its bits mean. Bits that the layout does not have are told where one of them is set.
    pub(super) fn laid_out(mut self, layout: &[Layout]) -> Self {
        let Some(Value::Number { value, .. }) = self.value else { return self };
        let mut known = 0u64;
        for Layout { name, high, low, values } in layout {
            let mask = u64::MAX >> (63 - (high - low));
            known |= mask << low;
            let value = value >> low & mask;
            let meaning = usize::try_from(value).ok().and_then(|value| values.get(value).copied());
            let meaning = meaning.filter(|meaning| !meaning.is_empty());
            self.bits.push(Setting { name, low: *low, width: high - low + 1, value, meaning });
        }
        // Runs of bits that nobody laid out, where any of them is set.
        let mut low = 0u8;
        while low < 64 {
            let unknown = !known >> low;
            // The upper bits that shifting brought in are known to be nothing.
            let width = unknown.trailing_ones().min(64 - u32::from(low)) as u8;
            if width == 0 {
                low += unknown.trailing_zeros().min(64 - u32::from(low)) as u8;
                continue;
            }
            let value = value >> low & u64::MAX >> (64 - width);
            if value != 0 {
                self.bits.push(Setting { name: "reserved", low, width, value, meaning: None });
            }
            low += width;
        }
        self.bits.sort_by_key(|setting| setting.low);
        self
    }

    /// Takes in a field whose offset counts from this structure's start. One that the structure ends before is left out: its
    /// bytes are shown as bytes.
    pub(super) fn add(&mut self, mut field: Part) {
        if field.bytes != 0 && u64::from(field.offset) + u64::from(field.bytes) <= self.bytes.into() {
            field.offset += self.offset;
            self.parts.push(field);
        }
    }

    /// Takes in a structure, whose offset counts from the table's start. One without a byte is not there.
    pub(super) fn put(&mut self, part: Part) {
        self.parts.extend(Some(part).filter(|part| part.bytes != 0));
    }

    /// Says that something is wrong.
    pub(super) fn trouble(&mut self, severity: &'static str, text: impl Into<String>) {
        self.problems.push(Trouble { severity, text: text.into() });
    }

    /// One past its last byte.
    fn end(&self) -> u32 {
        self.offset.saturating_add(self.bytes)
    }

    /// Makes the parts tile it: in order, none over another, and bytes where there is none. `whole` is the table.
    pub(super) fn tile(&mut self, whole: Raw<'_>) {
        if self.value.is_some() {
            return;
        }
        let end = self.end();
        let mut parts = std::mem::take(&mut self.parts);
        // Of two that begin together the first one put in comes first.
        parts.sort_by_key(|part| part.offset);
        let mut at = self.offset;
        for mut part in parts {
            if part.offset < at || part.end() > end {
                let (name, offset) = (&part.name, part.offset);
                let how = if part.offset < at { "lies over other fields" } else { "does not fit in here" };
                self.trouble("broken", format!("{name} at {offset:#x} {how} and is not shown on its own"));
                continue;
            }
            self.unnamed(whole, at, part.offset);
            at = part.end();
            part.tile(whole);
            self.parts.push(part);
        }
        self.unnamed(whole, at, end);
    }

    /// Bytes that no field has, from one offset of the table up to another.
    fn unnamed(&mut self, whole: Raw<'_>, from: u32, to: u32) {
        if from < to {
            let bytes = whole.window(from, to - from).bytes();
            let zero = bytes.iter().all(|byte| *byte == 0);
            let name = if zero { "Reserved" } else { "Bytes without a field" };
            let mut part = field(0, name, bytes);
            part.offset = from;
            self.parts.push(part);
        }
    }

    /// Puts a problem where it belongs: the innermost part that has the byte, and the structure rather than a byte of it where
    /// it names the structure's own first byte.
    pub(super) fn blame(&mut self, offset: u32, trouble: Trouble) {
        let inside = |part: &&mut Part| part.offset <= offset && offset < part.end();
        let own = self.offset == offset && !self.parts.is_empty();
        match self.parts.iter_mut().find(inside) {
            Some(part) if !own || !part.parts.is_empty() => part.blame(offset, trouble),
            _ => self.problems.push(trouble),
        }
    }

    /// It and everything in it, a structure before its parts.
    pub fn visit<'p>(&'p self, see: &mut dyn FnMut(&'p Part, usize)) {
        self.visit_from(0, see);
    }

    fn visit_from<'p>(&'p self, depth: usize, see: &mut dyn FnMut(&'p Part, usize)) {
        see(self, depth);
        self.parts.iter().for_each(|part| part.visit_from(depth + 1, see));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(part: &Part) -> Vec<(u32, u32, &str)> {
        part.parts.iter().map(|part| (part.offset, part.bytes, part.name.as_str())).collect()
    }

    #[test]
    fn gaps_become_bytes_and_overlaps_trouble() {
        let bytes = [1u8, 0, 0, 0, 5, 6, 7, 8];
        let raw = Raw::new(&bytes);
        let mut part = Part::structure(raw, "thing");
        part.add(field(0, "first", 1u8));
        part.add(field(4, "last", 0x0605u16));
        part.add(field(5, "over", 0x0706u16));
        part.add(field(7, "beyond", 0u16));
        part.tile(raw);
        assert_eq!(
            names(&part),
            [(0, 1, "first"), (1, 3, "Reserved"), (4, 2, "last"), (6, 2, "Bytes without a field")]
        );
        assert_eq!(part.problems.len(), 1, "{:?}", part.problems);
        assert!(part.problems[0].text.starts_with("over at 0x5 lies over"));
    }

    #[test]
    fn bits_that_nobody_laid_out_are_told() {
        let part = field(0, "Flags", 0x8bu8).laid_out(&[bit(0, "A"), bits(2, 1, "B").values(&["", "one"])]);
        let shown: Vec<_> = part.bits.iter().map(|bit| (bit.name, bit.value, bit.meaning)).collect();
        assert_eq!(shown, [("A", 1, None), ("B", 1, Some("one")), ("reserved", 0b10001, None)]);
        assert_eq!(part.value.unwrap().shown(), "0x8b");
    }

    #[test]
    fn a_problem_goes_to_the_innermost_part() {
        let bytes = [0u8; 8];
        let raw = Raw::new(&bytes);
        let mut whole = Part::structure(raw, "table");
        let mut inner = Part::structure(raw.window(4, 4), "inner");
        inner.add(field(0, "a", 0u16));
        inner.add(field(2, "b", 0u16));
        whole.put(inner);
        whole.tile(raw);
        let trouble = |text: &str| Trouble { severity: "note", text: text.into() };
        whole.blame(6, trouble("b"));
        whole.blame(4, trouble("inner"));
        whole.blame(80, trouble("nowhere"));
        assert_eq!(whole.problems, [trouble("nowhere")]);
        assert_eq!(whole.parts[1].problems, [trouble("inner")]);
        assert_eq!(whole.parts[1].parts[1].problems, [trouble("b")]);
    }
}
