//! The register block, with the waits that its protocols ask for.

use super::config::BringUpError;
use crate::wait::Patience;
use ioward_core::driver::Hung;
use ioward_spec::{
    Field,
    riscv::registers::{self as spec, ddtp},
};
use ioward_types::{Mmio, Platform};

/// A field of a register of 32 bits, as a mask.
pub(super) fn bit(field: Field) -> u32 {
    field.mask() as u32
}

/// The registers of one IOMMU.
pub(super) struct Registers<M> {
    pub mmio: M,
    pub patience: Patience,
}

impl<M: Mmio> Registers<M> {
    /// Writes a register of 64 bits as two halves. An access of 8 bytes need not be one access to the IOMMU either, and the
    /// half that has an effect, the low one, must come last (5).
    pub fn write64(&self, at: usize, value: u64) {
        self.mmio.write32(at + 4, (value >> 32) as u32);
        self.mmio.write32(at, value as u32);
    }

    /// Waits until `ddtp.busy` is clear and tells what the register is (5.5).
    pub fn ddtp<P: Platform>(&self, platform: &P) -> Result<u64, Hung> {
        self.patience.wait(platform, "ddtp.busy", || {
            let value = self.mmio.read64(spec::DDTP);
            (ddtp::BUSY.of(value) == 0).then_some(value)
        })
    }

    /// Writes `ddtp` and tells what it kept.
    pub fn set_ddtp<P: Platform>(&self, platform: &P, mode: u64, ppn: u64) -> Result<u64, Hung> {
        self.ddtp(platform)?;
        self.write64(spec::DDTP, ddtp::IOMMU_MODE.put(mode) | ddtp::PPN.put(ppn));
        self.ddtp(platform)
    }

    /// No transaction is let through any more. The directory's address stays what it is, as it must (5.5).
    pub fn off<P: Platform>(&self, platform: &P) -> Result<(), BringUpError> {
        let now = self.ddtp(platform)?;
        if ddtp::IOMMU_MODE.of(now) == ddtp::mode::OFF {
            return Ok(());
        }
        // The mode and the low bits of the address share a half, so this is one access.
        self.mmio.write32(spec::DDTP, ddtp::IOMMU_MODE.with(now, ddtp::mode::OFF) as u32);
        let value = self.ddtp(platform)?;
        match ddtp::IOMMU_MODE.of(value) {
            ddtp::mode::OFF => Ok(()),
            _ => Err(BringUpError::Locked { register: "ddtp", value, what: "iommu_mode Off" }),
        }
    }
}

/// The control and status register of a queue: `cqcsr`, `fqcsr` and `pqcsr` have these bits in the same places (5.15 to
/// 5.17).
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueCsr {
    pub at: usize,
    /// What is waited for, for people.
    pub busy: &'static str,
    pub on: &'static str,
    pub off: &'static str,
}

impl QueueCsr {
    pub const COMMAND: Self =
        Self { at: spec::CQCSR, busy: "cqcsr.busy", on: "cqcsr.cqon to set", off: "cqcsr.cqon to clear" };
    pub const FAULT: Self =
        Self { at: spec::FQCSR, busy: "fqcsr.busy", on: "fqcsr.fqon to set", off: "fqcsr.fqon to clear" };
    pub const PAGE_REQUEST: Self =
        Self { at: spec::PQCSR, busy: "pqcsr.busy", on: "pqcsr.pqon to set", off: "pqcsr.pqon to clear" };

    pub const ENABLE: u32 = spec::cqcsr::CQEN.mask() as u32;
    pub const INTERRUPT: u32 = spec::cqcsr::CIE.mask() as u32;
    pub const ON: u32 = spec::cqcsr::CQON.mask() as u32;
    pub const BUSY: u32 = spec::cqcsr::BUSY.mask() as u32;

    pub fn read<M: Mmio>(self, registers: &Registers<M>) -> u32 {
        registers.mmio.read32(self.at)
    }

    /// Waits until a write would have its effect, and writes (5.15).
    pub fn write<M: Mmio, P: Platform>(
        self,
        platform: &P,
        registers: &Registers<M>,
        value: u32,
    ) -> Result<(), Hung> {
        let idle = || (self.read(registers) & Self::BUSY == 0).then_some(());
        registers.patience.wait(platform, self.busy, idle)?;
        registers.mmio.write32(self.at, value);
        Ok(())
    }

    /// Turns the queue off, whatever it is.
    pub fn disable<M: Mmio, P: Platform>(self, platform: &P, registers: &Registers<M>) -> Result<(), Hung> {
        self.write(platform, registers, 0)?;
        let off = || (self.read(registers) & (Self::BUSY | Self::ON) == 0).then_some(());
        registers.patience.wait(platform, self.off, off)
    }

    /// Turns the queue on, whose base is set; that clears what errors it had.
    pub fn enable<M: Mmio, P: Platform>(
        self,
        platform: &P,
        registers: &Registers<M>,
        interrupt: bool,
    ) -> Result<(), Hung> {
        self.write(platform, registers, Self::enabled(interrupt))?;
        let on = || (self.read(registers) & (Self::BUSY | Self::ON) == Self::ON).then_some(());
        registers.patience.wait(platform, self.on, on)
    }

    /// What the register holds while the queue is on.
    pub fn enabled(interrupt: bool) -> u32 {
        Self::ENABLE | if interrupt { Self::INTERRUPT } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::{cqcsr, fqcsr, pqcsr};

    #[test]
    fn the_three_registers_have_their_common_bits_in_the_same_places() {
        for (one, two, three) in [
            (cqcsr::CQEN, fqcsr::FQEN, pqcsr::PQEN),
            (cqcsr::CIE, fqcsr::FIE, pqcsr::PIE),
            (cqcsr::CQON, fqcsr::FQON, pqcsr::PQON),
            (cqcsr::BUSY, fqcsr::BUSY, pqcsr::BUSY),
            (cqcsr::CQMF, fqcsr::FQMF, pqcsr::PQMF),
        ] {
            assert_eq!((one, two), (two, three));
        }
        assert_eq!(fqcsr::FQOF, pqcsr::PQOF);
    }
}
