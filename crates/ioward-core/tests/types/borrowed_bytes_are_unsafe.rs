use ioward_core::{Dma, RawBytes};
use ioward_types::{Direction, Platform};

fn lent<P: Platform>(dma: &Dma<P>, bytes: &mut [u8]) {
    // A mapping that is forgotten outlives the borrow.
    let mapping = Dma::map_bytes(dma, RawBytes::new(bytes.into()), Direction::FromDevice);
    core::mem::forget(mapping);
}

fn main() {}
