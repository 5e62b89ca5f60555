use core::cell::Cell;
use ioward_types::{Guard, RawLock};

fn shared<T: Sync>(_: &T) {}

fn two_threads<L: RawLock>(guard: &Guard<'_, L, Cell<u32>>) {
    shared(guard);
}

fn main() {}
