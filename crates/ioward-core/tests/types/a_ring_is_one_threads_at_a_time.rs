use ioward_core::{Coherent, Dma};
use ioward_types::Platform;

fn send<T: Send>(_: T) {}
fn share<T: Sync>(_: T) {}

fn from_two_threads<P: Platform>(ring: Coherent<P, &Dma<P>>, other: Coherent<P, &Dma<P>>)
where
    Dma<P>: Sync,
{
    send(ring);
    share(other);
}

fn main() {}
