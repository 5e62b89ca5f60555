//! ID mappings made safe: ranges that lie inside their node, do not wrap, and end where they should.

use super::node::{IdMapping, Iort, Node};

/// A checked mapping: `first..=last` becomes `output..=output + (last - first)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    pub at: u32,
    pub first: u32,
    pub last: u32,
    pub output: u32,
    pub to: u32,
    pub single: bool,
}

/// What is wrong with a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bad {
    /// It is not inside its node: bytes needed and there.
    Outside { at: u32, needs: u32, has: u32 },
    /// It runs beyond the largest ID.
    Wraps { at: u32, count: u32 },
}

/// Machines whose tables say the number of IDs where the number less one is meant: OEM ID, OEM table ID, OEM revision.
/// They predate the specification's clarification (also known to Linux's `apply_id_count_workaround`).
const FULL_COUNT: [(&[u8; 6], &[u8; 8], u32); 2] = [(b"HISI  ", b"HIP07   ", 0), (b"HISI  ", b"HIP08   ", 0)];

/// Whether the table's `ID Count` fields hold the number of IDs and not the number less one.
pub fn counts_in_full(table: &Iort<'_>) -> bool {
    let header = table.header();
    FULL_COUNT.iter().any(|(oem, machine, revision)| {
        header.oem_id() == **oem && header.oem_table_id() == **machine && header.oem_revision() == *revision
    })
}

/// The mappings of a node; the first that lies outside the node is the last to be shown.
pub fn mappings<'a>(
    table: &Iort<'a>,
    node: &Node<'a>,
) -> impl Iterator<Item = Result<Mapping, Bad>> + use<'a> {
    let full = counts_in_full(table);
    let end = node.at() + node.raw.len();
    let wanted = node.mapping_count();
    let start = node.at().saturating_add(node.mapping_offset());
    let mut inside = true;
    // A mapping that starts at the table's very end is not shown by the raw view, so it is counted here.
    let mut raw = node.mappings();
    (0..wanted).map_while(move |index| {
        if !inside {
            return None;
        }
        let at = u64::from(start) + u64::from(index) * u64::from(IdMapping::BYTES);
        match raw.next() {
            Some(mapping) if at + u64::from(IdMapping::BYTES) <= end.into() => Some(check(&mapping, full)),
            _ => {
                inside = false;
                let needs = wanted.saturating_sub(index).saturating_mul(IdMapping::BYTES);
                let has = u64::from(end).saturating_sub(at) as u32;
                Some(Err(Bad::Outside { at: at.min(end.into()) as u32, needs, has }))
            }
        }
    })
}

fn check(raw: &IdMapping<'_>, full: bool) -> Result<Mapping, Bad> {
    let at = raw.at();
    let (output, to) = (raw.output_base(), raw.output_reference());
    if raw.is_single() {
        return Ok(Mapping { at, first: 0, last: 0, output, to, single: true });
    }
    let more = if full { raw.id_count().saturating_sub(1) } else { raw.id_count() };
    let wraps = Bad::Wraps { at, count: more };
    let first = raw.input_base();
    let last = first.checked_add(more).ok_or(wraps)?;
    output.checked_add(more).ok_or(wraps)?;
    Ok(Mapping { at, first, last, output, to, single: false })
}

impl Mapping {
    /// The same mapping for only those of its IDs that lie in `first..=last`.
    pub fn within(&self, first: u32, last: u32) -> Option<Self> {
        let (low, high) = (self.first.max(first), self.last.min(last));
        (low <= high).then(|| Self {
            first: low,
            last: high,
            output: self.output + (low - self.first),
            ..*self
        })
    }

    /// The last output ID.
    pub fn last_output(&self) -> u32 {
        self.output + (self.last - self.first)
    }
}
