use ioward_core::OwnedGroup;
use ioward_types::Platform;

fn twice<P: Platform>(group: &OwnedGroup<P>) -> OwnedGroup<P> {
    group.clone()
}

fn main() {}
