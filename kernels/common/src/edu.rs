//! QEMU's `edu` device: a DMA engine that goes where it is told (QEMU, docs/specs/edu.rst).

use crate::pci::Pci;
use ioward::pci::Bdf;
use ioward::types::{Iova, Mmio as _, MmioPtr, Nanos, Platform};

/// Vendor in the lower half, device in the upper.
const ID: u32 = 0x11e8_1234;
/// What its identification register says, without the version.
const SIGNATURE: u32 = 0x00ed;

const REG_ID: usize = 0x00;
/// Writing it raises the interrupt, which lasts until the same bits are written to the other one.
const REG_RAISE: usize = 0x60;
const REG_ACKNOWLEDGE: usize = 0x64;
const REG_SOURCE: usize = 0x80;
const REG_TARGET: usize = 0x88;
const REG_COUNT: usize = 0x90;
const REG_COMMAND: usize = 0x98;
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
/// Where its own buffer of 4096 bytes is, as its DMA engine sees it.
const BUFFER: u64 = 0x4_0000;
/// A transfer takes 100 ms of the machine's time.
const LIMIT: Nanos = Nanos(3_000_000_000);

/// One of them.
pub struct Edu {
    /// Its place.
    pub function: Bdf,
    registers: MmioPtr,
}

/// What of a device did not work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EduError {
    /// It has no registers that answer with its signature.
    Signature(u32),
    /// Its engine did not finish.
    Hung,
}

impl Edu {
    /// Every one on the bus.
    pub fn all(pci: &Pci) -> impl Iterator<Item = Edu> + '_ {
        pci.with_id(ID).filter_map(|function| Some(Self { function, registers: pci.registers(function, 0)? }))
    }

    /// Whether it is one.
    pub fn identify(&self) -> Result<(), EduError> {
        let id = self.registers.read32(REG_ID);
        if id & 0xffff == SIGNATURE { Ok(()) } else { Err(EduError::Signature(id)) }
    }

    /// Raises its interrupt.
    pub fn raise(&self) {
        self.registers.write32(REG_RAISE, 1);
    }

    /// Ends it.
    pub fn acknowledge(&self) {
        self.registers.write32(REG_ACKNOWLEDGE, 1);
    }

    fn begin(&self, from: u64, to: u64, bytes: u64, command: u64) {
        self.registers.write64(REG_SOURCE, from);
        self.registers.write64(REG_TARGET, to);
        self.registers.write64(REG_COUNT, bytes);
        self.registers.write64(REG_COMMAND, command | START);
    }

    /// Whether a transfer runs.
    pub fn runs(&self) -> bool {
        self.registers.read64(REG_COMMAND) & START != 0
    }

    /// Waits until no transfer runs.
    pub fn finish<P: Platform>(&self, platform: &P) -> Result<(), EduError> {
        let start = platform.now().0;
        while self.runs() {
            if platform.now().0 - start > LIMIT.0 {
                return Err(EduError::Hung);
            }
            platform.relax();
        }
        Ok(())
    }

    /// As [`store`](Self::store), and does not wait: the transfer takes a while before it reaches memory.
    pub fn begin_store(&self, to: Iova, bytes: u64) {
        self.begin(BUFFER, to.0, bytes, TO_MEMORY);
    }

    /// As [`fetch`](Self::fetch), and does not wait.
    pub fn begin_fetch(&self, from: Iova, bytes: u64) {
        self.begin(from.0, BUFFER, bytes, 0);
    }

    /// Reads `bytes` bytes of memory, at most 4096, into its buffer.
    pub fn fetch<P: Platform>(&self, platform: &P, from: Iova, bytes: u64) -> Result<(), EduError> {
        self.begin_fetch(from, bytes);
        self.finish(platform)
    }

    /// Writes `bytes` bytes of its buffer, at most 4096, to memory.
    pub fn store<P: Platform>(&self, platform: &P, to: Iova, bytes: u64) -> Result<(), EduError> {
        self.begin_store(to, bytes);
        self.finish(platform)
    }
}
