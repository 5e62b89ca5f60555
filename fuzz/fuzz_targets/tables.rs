//! Any bytes as any table: every byte is shown once, by a field that holds what lies there; a device tree is shown at all.
#![no_main]

use ioward_study::tables::{Part, Value, acpi, tree};
use ioward_types::describe::Table;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [which, bytes @ ..] = bytes else { return };
    let kinds = [Table::Dmar, Table::Ivrs, Table::Iort, Table::Rimt, Table::Viot];
    match kinds.get(usize::from(which % 6)) {
        Some(kind) => hold(bytes, &acpi(*kind, bytes)),
        None => drop(tree(bytes)),
    }
});

fn hold(bytes: &[u8], table: &Part) {
    let mut at = 0;
    table.visit(&mut |part, _| {
        if !part.parts.is_empty() || part.bytes == 0 {
            return;
        }
        assert_eq!(part.offset, at, "{}", part.name);
        at += part.bytes;
        let there = &bytes[part.offset as usize..at as usize];
        match part.value.as_ref().expect("a field has a value") {
            Value::Number { value, .. } => {
                let number = there.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
                assert_eq!(*value, number, "{}", part.name);
            }
            Value::Text(text) => assert!(there.starts_with(text.as_bytes()), "{}", part.name),
            Value::Bytes(shown) => assert_eq!(shown, there, "{}", part.name),
        }
    });
    assert_eq!(at as usize, bytes.len());
}
