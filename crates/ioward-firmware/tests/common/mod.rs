//! Where the corpus is, and what `iasl` says of its tables.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod build;
pub mod tables;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A folder of the corpus; none, and a line that says so, where there is no corpus.
pub fn corpus(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("IOWARD_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("SKIPPED: no corpus at {} (set IOWARD_CORPUS)", path.display());
    None
}

/// The files of a folder with an extension, sorted.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus folder was found")
        .map(|entry| entry.expect("a folder that can be read has entries that can").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// A value as a listing has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value {
    Number(u64),
    Text(String),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}
impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}
impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
impl From<&[u8]> for Value {
    /// Text of a fixed length, which a listing shows as a number where it is none.
    fn from(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Number(0);
        }
        Self::Text(String::from_utf8_lossy(bytes).trim_end_matches('\0').into())
    }
}

/// One line: offset in the table, name, value. Flag bits have the offset of the field that they are part of.
pub type Line = (u32, String, Value);

/// What a listing says, and whether `iasl` gave up before the table's end.
pub struct Listing {
    pub lines: Vec<Line>,
    pub gave_up: bool,
}

/// Reads a listing; `[offset decimal length] name : value` and, without brackets, the bits of the field before.
pub fn listing(path: &Path) -> Listing {
    let text = fs::read_to_string(path).expect("every table has a listing beside it");
    let mut lines = Vec::new();
    let mut offset = None;
    let gave_up = ["terminate", "Unknown IVRS subtable"].iter().any(|words| text.contains(words));
    for line in text.lines().take_while(|line| !line.starts_with("Raw Table Data")) {
        let rest = match line.strip_prefix('[') {
            Some(rest) => {
                let (place, rest) = rest.split_once(']').expect("a bracket is closed");
                let hex = place.split('h').next().expect("the offset comes first");
                offset = Some(u32::from_str_radix(hex, 16).expect("an offset is hexadecimal"));
                rest
            }
            None => line,
        };
        let (Some(offset), Some((name, value))) = (offset, rest.split_once(" : ")) else { continue };
        if line.starts_with("/*") || line.starts_with("**") {
            continue;
        }
        let value = value.split("/*").next().expect("a split has a first part").trim();
        let value = match value.strip_prefix('"') {
            Some(text) => Value::Text(text.split('"').next().expect("as above").into()),
            None => {
                let digits: String = value.split('[').next().expect("as above").split_whitespace().collect();
                match u64::from_str_radix(&digits, 16) {
                    Ok(number) => Value::Number(number),
                    // A hop of a path: device and function.
                    Err(_) if digits.split(',').all(|byte| u8::from_str_radix(byte, 16).is_ok()) => {
                        Value::Text(digits)
                    }
                    Err(_) => continue,
                }
            }
        };
        lines.push((offset, name.trim().into(), value));
    }
    Listing { lines, gave_up }
}

/// What a parser shows, gathered to be compared with a listing.
#[derive(Default)]
pub struct Shown {
    pub lines: Vec<Line>,
}

impl Shown {
    pub fn field(&mut self, offset: u32, name: &str, value: impl Into<Value>) {
        self.lines.push((offset, name.into(), value.into()));
    }

    /// A field whose bits are listed below it, each as (name, first bit, width).
    pub fn bits(&mut self, offset: u32, name: &str, value: u32, bits: &[(&str, u32, u32)]) {
        self.field(offset, &format!("{name} (decoded below)"), value);
        for (bit, first, width) in bits {
            self.field(offset, bit, value >> first & ((1 << width) - 1));
        }
    }

    pub fn header(&mut self, header: &ioward_firmware::acpi::Header<'_>) {
        self.field(0, "Signature", text(&header.signature()));
        self.field(4, "Table Length", header.length());
        self.field(8, "Revision", header.revision());
        self.field(9, "Checksum", header.checksum());
        self.field(10, "Oem ID", text(&header.oem_id()));
        self.field(16, "Oem Table ID", text(&header.oem_table_id()));
        self.field(24, "Oem Revision", header.oem_revision());
        self.field(28, "Asl Compiler ID", text(&header.creator_id()));
        self.field(32, "Asl Compiler Revision", header.creator_revision());
    }
}

/// Text of a fixed length, which ends where a zero byte does. A listing has a space for what cannot be printed.
fn text(bytes: &[u8]) -> Value {
    let text = bytes.iter().take_while(|byte| **byte != 0);
    let printed = text.map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { ' ' });
    Value::Text(printed.collect())
}

/// Holds what a parser shows against a listing, both ways. Returns how many lines were compared.
///
/// `left_out` are names that say nothing (padding). `lost` is a line that the listing has and the parser must not have,
/// in a table so broken that `iasl` loses its way: then only the listing's lines are looked for.
pub fn compare(path: &Path, shown: &Shown, left_out: &[&str], lost: Option<(u32, &str)>) -> usize {
    let listing = listing(&path.with_extension("dsl"));
    let keep = |line: &&Line| !left_out.contains(&line.1.as_str());
    let theirs: Vec<Line> = listing.lines.iter().filter(keep).cloned().collect();
    let ours: BTreeSet<&Line> = shown.lines.iter().filter(keep).collect();
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    let mut missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
    if let Some(lost) = lost {
        let before = missing.len();
        missing.retain(|line| lost != (line.0, line.1.as_str()));
        assert_eq!(missing.len() + 1, before, "{name}: iasl found its way, or we lost ours");
    }
    assert!(missing.is_empty(), "{name}: the listing says, and we do not: {missing:x?}");
    let end = theirs.iter().map(|line| line.0).max().unwrap_or(0);
    let extra: Vec<_> = ours
        .into_iter()
        .filter(|line| !theirs.contains(line) && !(listing.gave_up && (line.0 > end || lost.is_some())))
        .collect();
    assert!(extra.is_empty(), "{name}: we say, and the listing does not: {extra:x?}");
    assert!(theirs.len() > 10, "{name}: an empty listing proves nothing");
    theirs.len()
}
