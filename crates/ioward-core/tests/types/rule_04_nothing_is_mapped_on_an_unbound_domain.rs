use ioward_core::Unbound;
use ioward_types::{Attributes, Iova, PhysAddr, Span};

fn main() {
    let unbound = Unbound::default();
    // SAFETY: does not compile, which is the test: nothing is ever mapped.
    unsafe { unbound.map(Iova(0), Span { start: PhysAddr(0), bytes: 4096 }, Attributes::READ) };
}
