//! Tables of real machines, taken apart: every byte is shown once, every value is what lies there, and whatever `iasl` says
//! of a table is said here too.

#[path = "../../ioward-firmware/tests/common/mod.rs"]
mod common;
mod made_up;

use common::{Value as Listed, corpus, files, listing as iasl};
use ioward_study::tables::{Listing, Part, Value, listing};
use ioward_types::describe::Table;
use proptest::prelude::*;
use std::{collections::BTreeMap, fs, path::Path};

const KINDS: [Table; 5] = [Table::Dmar, Table::Iort, Table::Ivrs, Table::Rimt, Table::Viot];

/// The fields that have no parts, in order.
fn leaves(part: &Part) -> Vec<&Part> {
    let mut leaves = Vec::new();
    part.visit(&mut |part, _| leaves.extend(part.parts.is_empty().then_some(part)));
    leaves
}

/// Every byte is in one field, and every field holds what lies there.
fn holds(bytes: &[u8], table: &Part, name: &str) {
    let mut at = 0;
    for leaf in leaves(table) {
        assert_eq!(leaf.offset, at, "{name}: {} leaves a gap or lies over another", leaf.name);
        at += leaf.bytes;
        let there = &bytes[leaf.offset as usize..at as usize];
        match leaf.value.as_ref().unwrap_or_else(|| panic!("{name}: {} has no value", leaf.name)) {
            Value::Number { value, bytes } => {
                assert_eq!(*bytes, leaf.bytes, "{name}: {}", leaf.name);
                let number = there.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                assert_eq!(*value, number, "{name}: {} at {:#x}", leaf.name, leaf.offset);
            }
            Value::Text(text) => {
                let (text_there, rest) = there.split_at(text.len());
                assert_eq!(text.as_bytes(), text_there, "{name}: {}", leaf.name);
                assert!(rest.iter().all(|byte| *byte == 0), "{name}: {} hides {rest:x?}", leaf.name);
            }
            Value::Bytes(shown) => assert_eq!(shown, there, "{name}: {}", leaf.name),
        }
        for bit in &leaf.bits {
            let Some(Value::Number { value, .. }) = leaf.value else { panic!("{name}: bits of no number") };
            let mask = u64::MAX >> (64 - bit.width);
            assert_eq!(bit.value, value >> bit.low & mask, "{name}: {} of {}", bit.name, leaf.name);
        }
    }
    assert_eq!(at as usize, bytes.len(), "{name}: the end is not shown");
}

fn table(bytes: &[u8]) -> Part {
    let Listing { table, .. } = listing(bytes).expect("a table of a known kind");
    table.expect("an ACPI table has parts")
}

#[test]
fn every_byte_of_every_table_is_shown_once() {
    let (mut tables, mut unnamed) = (0, 0);
    for kind in KINDS {
        let Some(folder) = corpus(&format!("acpi/{kind}")) else { return };
        for path in files(&folder, "dat") {
            let bytes = fs::read(&path).expect("the corpus can be read");
            let table = table(&bytes);
            holds(&bytes, &table, &path.display().to_string());
            unnamed += leaves(&table).iter().filter(|leaf| leaf.name == "Bytes without a field").count();
            tables += 1;
        }
    }
    println!("{tables} tables, {unnamed} stretches of bytes that nobody knows");
    assert!(tables > 100);
}

/// Whether a field says what a line of the listing says.
fn says(leaf: &Part, offset: u32, listed: &Listed) -> bool {
    let value = leaf.value.as_ref().expect("a field has a value");
    match (value, listed) {
        (Value::Number { value, .. }, Listed::Number(number)) => {
            // What is listed as one number may be several fields here: then the first one is compared, and `holds` has
            // compared all with the table.
            let number = number & u64::MAX >> (64 - 8 * leaf.bytes.min(8));
            leaf.offset == offset && (*value == number || leaf.bits.iter().any(|bit| bit.value == number))
        }
        (Value::Text(text), Listed::Text(listed)) => {
            let printed: String = listed.chars().map(|c| if c == '\u{fffd}' { ' ' } else { c }).collect();
            text.trim_end() == printed.trim_end()
        }
        (Value::Text(text), Listed::Number(0)) => text.is_empty(),
        (Value::Text(text), Listed::Number(number)) => {
            // A UID that the listing has as a number.
            text.bytes().fold(0, |all, byte| all << 8 | u64::from(byte)) == *number
        }
        (Value::Bytes(bytes), Listed::Number(number)) => {
            // Bytes in the table's order or the other, whatever the width.
            let there = &bytes[(offset - leaf.offset) as usize..];
            let widths = 1..=there.len().min(16);
            let shift = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
            widths.into_iter().any(|width| {
                let there = &there[..width];
                there.iter().fold(0, shift) == *number || there.iter().rev().fold(0, shift) == *number
            })
        }
        (Value::Bytes(bytes), Listed::Text(listed)) => {
            // A hop of a path, or text that holds what is none.
            let at = (offset - leaf.offset) as usize;
            let hop: Option<Vec<u8>> =
                listed.split(',').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
            hop.is_some_and(|hop| bytes[at..].starts_with(&hop))
                || bytes.iter().all(|byte| *byte == 0)
                || String::from_utf8_lossy(bytes).trim_end_matches('\0') == listed
                || listed.bytes().zip(bytes).all(|(listed, byte)| listed == *byte || listed == b' ')
        }
        _ => false,
    }
}

#[test]
fn whatever_iasl_says_of_a_table_is_said_here_at_the_same_place() {
    let (mut tables, mut lines) = (0, 0);
    for kind in KINDS {
        let Some(folder) = corpus(&format!("acpi/{kind}")) else { return };
        for path in files(&folder, "dat") {
            let bytes = fs::read(&path).expect("the corpus can be read");
            let table = table(&bytes);
            let by_offset: BTreeMap<u32, &Part> =
                leaves(&table).into_iter().map(|leaf| (leaf.offset, leaf)).collect();
            for (offset, name, value) in iasl(&path.with_extension("dsl")).lines {
                let (_, leaf) = by_offset.range(..=offset).next_back().expect("a field begins at 0");
                lines += 1;
                // Bits that the listing calls reserved stand in ours where they are set.
                let reserved = name == "Reserved" && value == Listed::Number(0);
                assert!(
                    says(leaf, offset, &value)
                        || reserved
                        || older(leaf, &name)
                        || lost(&path, offset, &name),
                    "{}: at {offset:#x} iasl says {name} {value:x?}, here is {leaf:x?}",
                    path.display()
                );
            }
            tables += 1;
        }
    }
    println!("{tables} tables, {lines} lines");
    assert!(lines > 10_000);
}

/// In nodes of an older revision ID mappings begin where later ones have more fields, and `iasl` lists both.
fn older(leaf: &Part, name: &str) -> bool {
    leaf.name == "Input base" && ["Memory Size Limit", "PASID Capabilities", "Reserved"].contains(&name)
}

/// In one broken table `iasl` reads an ITS identifier that lies behind its node's last byte, and then ID mappings where there are
/// interrupts and other nodes.
fn lost(path: &Path, offset: u32, name: &str) -> bool {
    path.to_string_lossy().contains("fwts-iort-0001")
        && ((offset, name) == (0x50, "Identifiers") || offset >= 0x110)
}

#[test]
fn every_device_tree_shows_its_references_with_paths() {
    let mut seen = 0;
    for folder in ["dtb", "dtb-qemu"] {
        let Some(folder) = corpus(folder) else { return };
        for path in files(&folder, "dtb") {
            let bytes = fs::read(&path).expect("the corpus can be read");
            let name = path.display();
            let tree = listing(&bytes).expect("a tree").tree.expect("a tree has nodes");
            assert!(!tree.nodes.is_empty() && tree.nodes_read > tree.nodes.len(), "{name}");
            for node in &tree.nodes {
                assert!(node.path.starts_with('/'), "{name}: {}", node.path);
                for property in &node.properties {
                    let refers = ["iommus", "iommu-map", "msi-map", "msi-parent"];
                    if refers.contains(&property.name.as_str()) && !property.value.is_empty() {
                        assert!(!property.meaning.is_empty(), "{name}: {} of {}", property.name, node.path);
                        let to_nodes = property.meaning.iter().all(|meaning| meaning.contains('/'));
                        assert!(
                            to_nodes,
                            "{name}: {} of {}: {:?}",
                            property.name, node.path, property.meaning
                        );
                        seen += property.meaning.len();
                    }
                }
            }
        }
    }
    println!("{seen} references");
    assert!(seen > 100);
}

#[test]
fn a_table_of_many_nodes_and_mappings_is_shown_and_compared() {
    let many = |ids: u32| {
        let mut table = made_up::builder();
        let mut its = 0;
        for _ in 0..500 {
            its = table.its(&[0]);
        }
        let mappings: Vec<[u32; 5]> = (0..1000).map(|at| [at, 0, at ^ ids, its, 0]).collect();
        table.root(0, 3, &mappings);
        table.build()
    };
    let (one, other) = (many(0), many(1));
    let mappings = leaves(&table(&one)).iter().filter(|leaf| leaf.name == "Input base").count();
    assert_eq!(mappings, 1000);
    let known = leaves(&table(&one))
        .iter()
        .filter(|leaf| leaf.meaning.as_deref() == Some("node 499, ITS group"))
        .count();
    assert_eq!(known, 1000);
    let machine = |name: &str, bytes: &[u8]| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.dat"));
        fs::write(&path, bytes).unwrap();
        ioward_host::Machine::open(&path).unwrap()
    };
    let (before, after) = (machine("many", &one), machine("many-others", &other));
    let found = ioward_study::diff::diff(&before, &after, &ioward::pci::groups::Linux);
    assert_eq!(found.tables.len(), 1);
    assert!(found.tables[0].differences.iter().any(|difference| difference.what.contains("Output base")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_table_with_any_bytes_broken_is_still_shown_whole(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let all = made_up::all();
        let mut bytes = which.get(&all).clone();
        for (at, byte) in changes {
            // The kind stays, so that there is something to show.
            let at = 4 + at.index(bytes.len() - 4);
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(4 + cut.index(bytes.len() - 3));
        }
        holds(&bytes, &table(&bytes), "made up");
    }
}
