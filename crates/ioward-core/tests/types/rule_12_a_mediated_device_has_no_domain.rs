use ioward_core::Mediated;

fn domain(device: &Mediated) {
    device.bind();
}

fn main() {}
