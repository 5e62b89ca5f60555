use ioward_core::AddressSpace;
use ioward_types::{Iova, Platform, Span};

fn under_somebodys_mapping<P: Platform>(space: &AddressSpace<P>) {
    let _ = space.unmap(Span { start: Iova(0), bytes: 4096 }, ());
}

fn main() {}
