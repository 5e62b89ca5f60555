//! The program `ioward`.
fn main() {}
