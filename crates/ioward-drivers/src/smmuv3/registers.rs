//! The register block, with the waits that its protocols ask for.

use crate::wait::Patience;
use ioward_core::driver::Hung;
use ioward_spec::smmuv3::registers::{self as spec, gbpa};
use ioward_types::{Mmio, Platform};

/// The registers of one SMMU.
pub(super) struct Registers<M> {
    pub mmio: M,
    /// Everything is in the first page (an erratum that firmware tells of).
    pub page0_only: bool,
    pub patience: Patience,
}

impl<M: Mmio> Registers<M> {
    /// Where a register of page 1 really is.
    pub fn in_page_1(&self, at: usize) -> usize {
        if self.page0_only { at - spec::PAGE_1 } else { at }
    }

    /// Writes CR0 or IRQ_CTRL and waits until the acknowledge register next to it agrees (6.3.9, 6.3.16).
    pub fn write_acknowledged<P: Platform>(
        &self,
        platform: &P,
        at: usize,
        acknowledge: usize,
        value: u32,
        what: &'static str,
    ) -> Result<(), Hung> {
        self.mmio.write32(at, value);
        self.patience.wait(platform, what, || (self.mmio.read32(acknowledge) == value).then_some(()))
    }

    pub fn set_cr0<P: Platform>(&self, platform: &P, value: u32) -> Result<(), Hung> {
        self.write_acknowledged(platform, spec::CR0, spec::CR0ACK, value, "CR0ACK")
    }

    /// From now on requests are aborted while SMMUEN is 0 (6.3.14).
    pub fn abort_when_off<P: Platform>(&self, platform: &P) -> Result<(), Hung> {
        let update = gbpa::UPDATE.mask() as u32;
        let settled = |what| {
            let read = || Some(self.mmio.read32(spec::GBPA)).filter(|value| value & update == 0);
            self.patience.wait(platform, what, read)
        };
        let now = settled("GBPA.UPDATE")?;
        self.mmio.write32(spec::GBPA, now | update | gbpa::ABORT.mask() as u32);
        settled("GBPA.ABORT").map(drop)
    }
}
