//! Bytes as rows of text, which people can read and `diff` can compare.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};
use std::collections::BTreeMap;

/// Bytes of a row.
const ROW: usize = 16;

/// Bytes: how many, and each row of 16 that is not all zero, by its offset. What is not written takes no memory before
/// [`Rows::expand`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    bytes: usize,
    rows: BTreeMap<usize, Vec<u8>>,
}

/// So many bytes are more than what is left of those that a document may stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany(pub usize);

impl Rows {
    /// Of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let rows = bytes.chunks(ROW).enumerate().filter(|(_, row)| row.iter().any(|byte| *byte != 0));
        let rows = rows.map(|(number, row)| (number * ROW, row.to_vec())).collect();
        Self { bytes: bytes.len(), rows }
    }

    /// How many bytes they stand for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes, which are taken off those that are left of a document's.
    pub fn expand(&self, left: &mut usize) -> Result<Vec<u8>, TooMany> {
        *left = left.checked_sub(self.bytes).ok_or(TooMany(self.bytes))?;
        let mut bytes = vec![0; self.bytes];
        for (at, row) in &self.rows {
            bytes[*at..at + row.len()].copy_from_slice(row);
        }
        Ok(bytes)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    bytes: usize,
    rows: BTreeMap<String, String>,
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(2))?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("rows", &Shown(&self.rows))?;
        map.end()
    }
}

struct Shown<'a>(&'a BTreeMap<usize, Vec<u8>>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (at, row) in self.0 {
            let pairs: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            map.serialize_entry(&format!("{at:04x}"), &pairs.join(" "))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Written { bytes, rows } = Written::deserialize(from)?;
        let mut read = Self { bytes, rows: BTreeMap::new() };
        for (offset, row) in &rows {
            let bad = |why: &str| D::Error::custom(format!("row {offset:?} {why}"));
            let is_hex = offset.bytes().all(|digit| digit.is_ascii_hexdigit());
            let at = usize::from_str_radix(offset, 16).ok().filter(|at| is_hex && at.is_multiple_of(ROW));
            let at = at.ok_or_else(|| bad("is not named by a multiple of 16 in hexadecimal"))?;
            let whole = bytes.checked_sub(at).filter(|left| *left != 0);
            let whole = whole.ok_or_else(|| bad(&format!("lies behind the last of {bytes} bytes")))?.min(ROW);
            let parsed: Option<Vec<u8>> = row.split(' ').map(pair).collect();
            let parsed = parsed.filter(|parsed| parsed.len() == whole);
            let parsed = parsed.ok_or_else(|| bad(&format!("is not {whole} bytes as pairs of digits")))?;
            read.rows.insert(at, parsed);
        }
        Ok(read)
    }
}

fn pair(digits: &str) -> Option<u8> {
    let is_pair = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_pair.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_zeros_are_not_written() {
        let mut bytes = vec![0; 50];
        (bytes[17], bytes[49]) = (0xab, 1);
        let text = serde_json::to_string(&Rows::of(&bytes)).unwrap();
        assert_eq!(
            text,
            r#"{"bytes":50,"rows":{"0010":"00 ab 00 00 00 00 00 00 00 00 00 00 00 00 00 00","0030":"00 01"}}"#
        );
        let read = serde_json::from_str::<Rows>(&text).unwrap();
        let mut left = 60;
        assert_eq!((read.expand(&mut left), left), (Ok(bytes), 10));
        assert_eq!((read.expand(&mut left), left), (Err(TooMany(50)), 10));
        assert_eq!(serde_json::to_string(&Rows::of(&[])).unwrap(), r#"{"bytes":0,"rows":{}}"#);
    }

    #[test]
    fn rows_that_cannot_be_are_named() {
        for (text, why) in [
            (r#"{"bytes":32,"rows":{"0008":"00"}}"#, "multiple of 16"),
            (r#"{"bytes":32,"rows":{"+0":"00"}}"#, "multiple of 16"),
            (r#"{"bytes":32,"rows":{"0020":"00"}}"#, "lies behind the last of 32 bytes"),
            (r#"{"bytes":32,"rows":{"0010":"00 01"}}"#, "is not 16 bytes"),
            (r#"{"bytes":2,"rows":{"0000":"00 +1"}}"#, "is not 2 bytes"),
            (r#"{"bytes":1,"rows":{},"more":1}"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<Rows>(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
