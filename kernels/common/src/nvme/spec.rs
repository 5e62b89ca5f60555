//! Registers, commands and structures: NVM Express Base Specification 2.0c and NVM Command Set Specification 1.0c.

/// Class code of an NVM Express I/O controller (PCI Code and ID Assignment 1.11, 1.9).
pub const CLASS: u32 = 0x01_08_02;

/// Controller registers (Base, 3.1.3), by byte offset.
pub mod regs {
    /// Capabilities, 64 bits.
    pub const CAP: usize = 0x00;
    /// Configuration.
    pub const CC: usize = 0x14;
    /// Status.
    pub const CSTS: usize = 0x1c;
    /// Sizes of the admin queues.
    pub const AQA: usize = 0x24;
    /// Base of the admin submission queue, 64 bits.
    pub const ASQ: usize = 0x28;
    /// Base of the admin completion queue, 64 bits.
    pub const ACQ: usize = 0x30;
    /// The first doorbell.
    pub const DOORBELLS: usize = 0x1000;

    /// CC: enabled.
    pub const CC_EN: u32 = 1;
    /// CC: entries of 64 bytes in submission queues (IOSQES) and of 16 in completion queues (IOCQES). Pages of 4 KiB, the
    /// NVM command set and round robin are zeros.
    pub const CC_ENTRIES: u32 = 6 << 16 | 4 << 20;
    /// CSTS: ready.
    pub const CSTS_RDY: u32 = 1;
    /// CSTS: fatal status.
    pub const CSTS_CFS: u32 = 2;
}

/// Opcodes of the admin command set (Base, figure 138).
pub mod admin {
    /// Create I/O Submission Queue.
    pub const CREATE_SQ: u8 = 0x01;
    /// Create I/O Completion Queue.
    pub const CREATE_CQ: u8 = 0x05;
    /// Identify.
    pub const IDENTIFY: u8 = 0x06;
    /// CNS of Identify: a namespace's structure.
    pub const CNS_NAMESPACE: u32 = 0;
    /// CNS of Identify: the controller's structure.
    pub const CNS_CONTROLLER: u32 = 1;
    /// Both Create commands: the queue lies in one piece.
    pub const CONTIGUOUS: u32 = 1;
}

/// Opcodes of the NVM command set (NVM, figure 12).
pub mod io {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write.
    pub const WRITE: u8 = 0x01;
    /// Read.
    pub const READ: u8 = 0x02;
}

/// Bytes of a submission queue's entry.
pub const SQ_ENTRY: usize = 64;
/// Bytes of a completion queue's entry.
pub const CQ_ENTRY: usize = 16;
