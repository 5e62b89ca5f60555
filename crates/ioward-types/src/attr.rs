//! What a mapping allows and how memory is reached.

/// Arguments of `map`. A format that cannot express one of them refuses the mapping or errs on the side of less access;
/// its documentation says which.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attributes {
    /// The device may read.
    pub read: bool,
    /// The device may write.
    pub write: bool,
    /// The device may fetch instructions.
    pub execute: bool,
    /// Only requests marked privileged may use it.
    pub privileged: bool,
    /// Accesses snoop CPU caches.
    pub coherent: bool,
    /// Device memory (registers, doorbells), not RAM.
    pub mmio: bool,
}

impl Attributes {
    /// Read and write of coherent RAM.
    pub const READ_WRITE: Self =
        Self { read: true, write: true, execute: false, privileged: false, coherent: true, mmio: false };
    /// Read of coherent RAM.
    pub const READ: Self = Self { write: false, ..Self::READ_WRITE };
    /// Write of coherent RAM.
    pub const WRITE: Self = Self { read: false, ..Self::READ_WRITE };
    /// Write of device registers, for a doorbell.
    pub const DOORBELL: Self = Self { read: false, coherent: false, mmio: true, ..Self::READ_WRITE };

    /// Coherent RAM with the rights that `direction` needs.
    pub const fn for_direction(direction: Direction) -> Self {
        match direction {
            Direction::ToDevice => Self::READ,
            Direction::FromDevice => Self::WRITE,
            Direction::Both => Self::READ_WRITE,
        }
    }
}

/// Which way data flows, seen from memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// The device reads memory.
    ToDevice,
    /// The device writes memory.
    FromDevice,
    /// The device reads and writes memory.
    Both,
}
