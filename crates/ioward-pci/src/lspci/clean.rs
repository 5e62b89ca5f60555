//! From a text to one record for each function: quotes and encodings off, wrapped lines joined.

use crate::Bdf;
use alloc::{string::String, vec::Vec};

/// The lines of a text as `lspci` wrote them, as far as that can be undone.
pub(super) struct Cleaned {
    pub lines: Vec<String>,
    pub quoted: bool,
    pub encoded: bool,
}

/// One function's part of a text.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub at: Bdf,
    /// All words of it but the hex dump, without the leading name of the function, separated by single spaces.
    pub words: String,
    /// The hex dump: offset and bytes of each line.
    pub dump: Vec<(u16, Vec<u8>)>,
}

pub(super) fn clean(text: &str) -> Cleaned {
    let full = text.lines().filter(|line| !line.trim().is_empty()).count();
    let quotes = text.lines().filter(|line| line.starts_with('>')).count();
    let quoted = quotes != 0 && quotes * 2 > full;
    // Three bytes that no text of lspci has, and that the encoding has all over.
    let encoded = text.contains("=20\n") || text.contains("=20\r\n") || text.contains("=3D");
    let mut lines: Vec<String> = Vec::new();
    let mut joined = false;
    for line in text.lines() {
        let mut line = line.trim_end_matches('\r');
        while let Some(rest) = line.strip_prefix('>').filter(|_| quoted) {
            line = rest.strip_prefix(' ').unwrap_or(rest);
        }
        let mut line = String::from(line);
        let mut soft = false;
        if encoded {
            soft = line.ends_with('=');
            if soft {
                line.pop();
            }
            line = decode(&line);
        }
        match lines.last_mut() {
            Some(last) if joined => last.push_str(&line),
            _ => lines.push(line),
        }
        joined = soft;
    }
    Cleaned { lines, quoted, encoded }
}

/// Undoes `=XY` for printable characters; anything else stays as it is.
fn decode(line: &str) -> String {
    let mut decoded = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('=') {
        decoded.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| (b' '..0x7f).contains(byte) || *byte == b'\t') {
            Some(byte) => {
                decoded.push(byte.into());
                rest = &after[2..];
            }
            None => {
                decoded.push('=');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The function that a line begins with, and the rest of the line.
fn heading(line: &str) -> Option<(Bdf, &str)> {
    let line = line.trim_start();
    let (name, rest) = line.split_once([' ', '\t'])?;
    let at = name.parse().ok()?;
    (!rest.trim().is_empty()).then_some((at, rest.trim_start()))
}

/// A line of a hex dump: two or three digits, a colon, one to sixteen bytes.
fn dump(line: &str) -> Option<(u16, Vec<u8>)> {
    let (offset, rest) = line.trim_start().split_once(": ")?;
    if !(2..=3).contains(&offset.len()) {
        return None;
    }
    let offset = u16::from_str_radix(offset, 16).ok()?;
    let byte = |word: &str| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten();
    let bytes: Option<Vec<u8>> = rest.split_whitespace().map(byte).collect();
    bytes.filter(|bytes| (1..=16).contains(&bytes.len())).map(|bytes| (offset, bytes))
}

/// Splits lines into records. `wrapped` counts the lines that only a mail program can have broken.
pub(super) fn records(lines: &[String], wrapped: &mut usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut open = false;
    let mut blank = false;
    for line in lines {
        if line.trim().is_empty() {
            blank = true;
            continue;
        }
        let indented = line.starts_with([' ', '\t']);
        if let Some((at, rest)) = heading(line) {
            records.push(Record { at, words: super::squeeze(rest), dump: Vec::new() });
            (open, blank) = (true, false);
            continue;
        }
        let dumped = dump(line);
        // After a blank line only what clearly continues belongs to the function above it.
        open &= !blank || indented || dumped.is_some();
        blank = false;
        let Some(record) = records.last_mut().filter(|_| open) else { continue };
        match dumped {
            Some(dumped) => record.dump.push(dumped),
            None => {
                if !indented && !begins_field(line) {
                    *wrapped += 1;
                }
                record.words.push(' ');
                record.words.push_str(&super::squeeze(line));
            }
        }
    }
    records
}

/// Whether a line that lost its indentation begins a field.
fn begins_field(line: &str) -> bool {
    line.split_once(':').is_some_and(|(key, _)| key.len() < 24) || line.starts_with("Kernel ")
}
