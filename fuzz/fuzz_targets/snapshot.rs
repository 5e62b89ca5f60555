//! Any bytes as a snapshot: what is read makes a machine, and that machine's snapshot is read to the same text.
#![no_main]

use ioward_host::{Origin, Parts, snapshot};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("snapshot.json");
    let mut parts = Parts::default();
    if snapshot::read(path, bytes, &mut parts).is_err() {
        return;
    }
    let Ok(machine) = parts.assemble(Origin::Snapshot(path.into())) else { return };
    let (text, _) = snapshot::snapshot(&machine).expect("what was read from records has records");
    let mut again = Parts::default();
    snapshot::read(path, text.as_bytes(), &mut again).expect("what was written can be read");
    let again = again.assemble(Origin::Snapshot(path.into())).expect("there was something");
    assert_eq!(snapshot::snapshot(&again).expect("as above").0, text);
});
