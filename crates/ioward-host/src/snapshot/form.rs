//! The document, as it is written. A member that does not stand here is refused.

use super::bytes::Rows;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `format` says.
pub const FORMAT: &str = "ioward-snapshot";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub format: String,
    pub version: u32,
    /// What was taken out, in words.
    pub removed: Vec<String>,
    /// What could not be read when it was made.
    pub unread: Vec<Unread>,
    /// Firmware tables that only root could have read.
    pub tables_denied: usize,
    pub functions: Vec<Function>,
    pub tables: Vec<Table>,
    pub kernel: Kernel,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    pub path: String,
    pub cause: String,
    pub needs_root: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<[Number; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<[Number; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buses: Option<[u8; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical: Option<String>,
    pub config: Rows,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub kind: String,
    pub file: String,
    pub content: Rows,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<String>>,
    pub groups: BTreeMap<u32, Group>,
    pub iommus: Vec<Iommu>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupts: Option<Interrupts>,
    pub thunderbolt: BTreeMap<String, bool>,
    pub allows_unsafe_interrupts: bool,
    /// Left out where it is false, so that a program that does not know it refuses only where it matters.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allows_no_iommu: bool,
    /// As before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub iommus_unseen: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub devices: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub reserved: Vec<Region>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub first: Number,
    pub last: Number,
    pub kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iommu {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registers: Option<[Number; 2]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interrupts {
    pub remapped: usize,
    pub plain: usize,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A number that people know in hexadecimal: text, `0x` and up to 16 digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(pub u64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("not a number like \"0x1f\" of at most 64 bits"))
    }
}
