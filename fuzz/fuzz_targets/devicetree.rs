//! Any bytes as a device tree: the facts keep their promises, and the raw view walks whatever is there.
#![no_main]

use ioward_firmware::devicetree::Tree;
use ioward_types::describe::Table;
use libfuzzer_sys::fuzz_target;

#[path = "../promises.rs"]
mod promises;

fuzz_target!(|bytes: &[u8]| {
    promises::hold(Table::DeviceTree, bytes);
    let Ok(tree) = Tree::open(bytes, &mut |_| {}) else { return };
    let mut last = None;
    let _ = tree.walk(&mut |path| {
        let node = path.node().expect("a walk shows nodes");
        // Nodes come in the order of the blob: the walk moves on.
        assert!(last < Some(node.at()));
        last = Some(node.at());
        for property in node.properties() {
            let _ = (property.texts().count(), property.cells().len());
        }
        let _ = (path.registers(0), path.ranges().map(|ranges| ranges.count()), path.is_okay());
        true
    });
});
