use ioward_core::Dma;
use ioward_types::{Direction, Platform};

fn still_there<P: Platform>(dma: &Dma<P>, mut bytes: Vec<u8>) {
    let mapping = Dma::map_bytes(dma, bytes, Direction::FromDevice);
    bytes[0] = 1;
    drop(mapping);
}

fn main() {}
