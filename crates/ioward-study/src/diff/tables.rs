//! What two firmware tables differ in.

use super::{Difference, How, TableChange};
use crate::tables::{Part, Tree, Value, listing};
use ioward::types::describe::Table;
use ioward_host::FirmwareTable;
use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

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

/// What a part says, wherever it lies, as one number: equal parts have equal ones.
fn fingerprint(part: &Part) -> u64 {
    // No key is secret here; the table's own bytes are compared before.
    let mut hasher = DefaultHasher::new();
    part.name.hash(&mut hasher);
    part.value.hash(&mut hasher);
    part.parts.len().hash(&mut hasher);
    part.parts.iter().for_each(|part| fingerprint(part).hash(&mut hasher));
    hasher.finish()
}

/// Places of parts in a list by some key, each given once and in order.
struct Places<K>(BTreeMap<K, VecDeque<usize>>);

impl<K: Ord> Places<K> {
    fn of(keys: impl Iterator<Item = (usize, K)>) -> Self {
        let mut places: BTreeMap<K, VecDeque<usize>> = BTreeMap::new();
        keys.for_each(|(place, key)| places.entry(key).or_default().push_back(place));
        Self(places)
    }

    fn take(&mut self, key: &K) -> Option<usize> {
        self.0.get_mut(key)?.pop_front()
    }
}

fn of_parts(path: &str, old: &Part, new: &Part, found: &mut Vec<Difference>) {
    // What is the same in both is set aside first, so that something put in between does not make all that follows differ.
    let mut alike = Places::of(new.parts.iter().map(fingerprint).enumerate());
    let mut is_left = vec![true; new.parts.len()];
    let mut changed: Vec<&Part> = Vec::new();
    for part in &old.parts {
        match alike.take(&fingerprint(part)) {
            Some(at) => is_left[at] = false,
            None => changed.push(part),
        }
    }
    let left = new.parts.iter().enumerate().filter(|(at, _)| is_left[*at]);
    let mut named = Places::of(left.map(|(at, part)| (at, part.name.as_str())));
    let called = |part: &Part| match path.is_empty() {
        true => part.name.clone(),
        false => format!("{path}: {}", part.name),
    };
    for part in changed {
        let what = called(part);
        match named.take(&part.name.as_str()) {
            Some(at) => {
                is_left[at] = false;
                let other = &new.parts[at];
                match (&part.value, &other.value) {
                    (Some(_), Some(_)) => found.push(Difference::new(what, shown(part), shown(other))),
                    _ => of_parts(&what, part, other, found),
                }
            }
            None => found.push(Difference::new(what, shown(part), "not there")),
        }
    }
    for (at, part) in new.parts.iter().enumerate() {
        if is_left[at] {
            found.push(Difference::new(called(part), "not there", shown(part)));
        }
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
