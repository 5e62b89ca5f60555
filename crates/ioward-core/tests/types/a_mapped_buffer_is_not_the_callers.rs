use ioward_core::{Dma, FrameBuffer};
use ioward_types::{Direction, Platform};

fn still_there<P: Platform>(dma: &Dma<P>, mut buffer: FrameBuffer<P>) {
    let mapping = Dma::map(dma, buffer, Direction::Both);
    buffer.write(0, b"while the device reads it");
    drop(mapping);
}

fn main() {}
