use ioward_core::AddressSpace;
use ioward_types::{Attributes, Iova, PhysAddr, Platform, Span};

fn any_memory<P: Platform>(space: &AddressSpace<P>) {
    let _ = space.map(Iova(0), Span { start: PhysAddr(0), bytes: 4096 }, Attributes::READ);
}

fn main() {}
