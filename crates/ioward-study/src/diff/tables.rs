//! What two firmware tables differ in.

use super::{Difference, How, TableChange};
use crate::tables::{Part, Tree, Value, listing};
use ioward::types::describe::Table;
use ioward_host::FirmwareTable;
use std::collections::BTreeMap;

/// The most differences that are told of one table: two that have nothing in common differ in every field.
const MOST: usize = 200;

/// What became of each table. Those of one kind are compared in their order.
pub fn changes(before: &[FirmwareTable], after: &[FirmwareTable]) -> Vec<TableChange> {
    let mut changes = Vec::new();
    let (old, new) = (by_kind(before), by_kind(after));
    let mut kinds: Vec<Table> = old.keys().chain(new.keys()).copied().collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let none = Vec::new();
        let (old, new) = (old.get(&kind).unwrap_or(&none), new.get(&kind).unwrap_or(&none));
        let many = old.len().max(new.len());
        for number in 0..many {
            let table = if many == 1 { kind.to_string() } else { format!("{kind} {}", number + 1) };
            let (how, differences) = match (old.get(number), new.get(number)) {
                (Some(old), Some(new)) if old.bytes == new.bytes => continue,
                (Some(old), Some(new)) => (How::Changed, of_bytes(&old.bytes, &new.bytes)),
                (Some(_), None) => (How::Removed, Vec::new()),
                (None, _) => (How::Added, Vec::new()),
            };
            changes.push(TableChange { table, how, differences });
        }
    }
    changes
}

fn by_kind(tables: &[FirmwareTable]) -> BTreeMap<Table, Vec<&FirmwareTable>> {
    let mut kinds: BTreeMap<Table, Vec<&FirmwareTable>> = BTreeMap::new();
    for table in tables {
        kinds.entry(table.kind).or_default().push(table);
    }
    kinds
}

fn of_bytes(old: &[u8], new: &[u8]) -> Vec<Difference> {
    let mut found = Vec::new();
    match (listing(old), listing(new)) {
        (Ok(old), Ok(new)) => {
            if let (Some(old), Some(new)) = (&old.table, &new.table) {
                of_parts("", old, new, &mut found);
                // A sum follows from everything else.
                if found.len() > 1 {
                    found.retain(|difference| difference.what != "Header: Checksum");
                }
            }
            if let (Some(old), Some(new)) = (&old.tree, &new.tree) {
                of_trees(old, new, &mut found);
            }
        }
        _ => found.push(Difference::new("content", "bytes", "other bytes")),
    }
    if found.is_empty() {
        found.push(Difference::new("content", "bytes that nothing is known of", "other bytes"));
    }
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(Difference::new("and more", format!("{more} differences"), "left out"));
    }
    found
}

/// Whether two parts say the same, wherever they lie.
fn same(one: &Part, other: &Part) -> bool {
    one.name == other.name
        && one.value == other.value
        && one.parts.len() == other.parts.len()
        && one.parts.iter().zip(&other.parts).all(|(one, other)| same(one, other))
}

fn of_parts(path: &str, old: &Part, new: &Part, found: &mut Vec<Difference>) {
    // What is the same in both is set aside first, so that something put in between does not make all that follows differ.
    let mut left: Vec<&Part> = new.parts.iter().collect();
    let mut changed: Vec<&Part> = Vec::new();
    for part in &old.parts {
        match left.iter().position(|other| same(part, other)) {
            Some(at) => drop(left.remove(at)),
            None => changed.push(part),
        }
    }
    for part in changed {
        let what = if path.is_empty() { part.name.clone() } else { format!("{path}: {}", part.name) };
        match left.iter().position(|other| other.name == part.name) {
            Some(at) => {
                let other = left.remove(at);
                match (&part.value, &other.value) {
                    (Some(_), Some(_)) => found.push(Difference::new(what, shown(part), shown(other))),
                    _ => of_parts(&what, part, other, found),
                }
            }
            None => found.push(Difference::new(what, shown(part), "not there")),
        }
    }
    for part in left {
        let what = if path.is_empty() { part.name.clone() } else { format!("{path}: {}", part.name) };
        found.push(Difference::new(what, "not there", shown(part)));
    }
}

fn shown(part: &Part) -> String {
    let meaning = part.meaning.as_deref().unwrap_or_default();
    match &part.value {
        Some(value @ Value::Number { .. }) if !meaning.is_empty() => format!("{} ({meaning})", value.shown()),
        Some(value) => value.shown(),
        None if meaning.is_empty() => "there".into(),
        None => meaning.to_owned(),
    }
}

fn of_trees(old: &Tree, new: &Tree, found: &mut Vec<Difference>) {
    let by_path = |tree: &Tree| -> BTreeMap<String, BTreeMap<String, String>> {
        let nodes = tree.nodes.iter().map(|node| {
            let properties = node.properties.iter();
            (
                node.path.clone(),
                properties.map(|property| (property.name.clone(), property.value.clone())).collect(),
            )
        });
        nodes.collect()
    };
    let (old, new) = (by_path(old), by_path(new));
    for (path, was) in &old {
        let Some(is) = new.get(path) else {
            found.push(Difference::new(path, "there", "not there"));
            continue;
        };
        for (name, value) in was {
            let now = is.get(name).map_or("not there", String::as_str);
            if now != value {
                found.push(Difference::new(format!("{path}: {name}"), value, now));
            }
        }
        for (name, value) in is.iter().filter(|(name, _)| !was.contains_key(*name)) {
            found.push(Difference::new(format!("{path}: {name}"), "not there", value));
        }
    }
    for path in new.keys().filter(|path| !old.contains_key(*path)) {
        found.push(Difference::new(path, "not there", "there"));
    }
}
