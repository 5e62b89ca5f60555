use ioward_core::OwnedGroup;
use ioward_types::{Platform, Root, TableConfig};

fn everything<P: Platform>(group: &OwnedGroup<P>, root: Root, config: TableConfig) {
    let _ = group.attach_identity();
    let _ = group.attach_foreign(root, config);
}

fn main() {}
