//! Prints what a firmware table says: `cargo run -p ioward-firmware --example facts FILE...`
use ioward_firmware::{facts, kind_of};

fn main() {
    for path in std::env::args().skip(1) {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                println!("{path}: {error}");
                continue;
            }
        };
        match kind_of(&bytes) {
            Some(table) => {
                println!("{path}: {table}");
                facts(table, &bytes, &mut |fact| println!("  {fact:x?}"));
            }
            None => println!("{path}: no table that describes IOMMUs"),
        }
    }
}
