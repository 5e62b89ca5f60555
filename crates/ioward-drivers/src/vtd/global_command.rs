//! The global command and status registers (11.4.4), and bounded waits.
//!
//! One command at a time: the next is written only when the status tells that the last has taken effect.

use ioward_core::driver::Hung;
use ioward_spec::{
    Field,
    vtd::registers::{self as spec, gcmd, gsts},
};
use ioward_types::{IommuId, Mmio, Mutex, Nanos, Platform};

/// Bits of GCMD that stay as they are; the others act once, or belong to advanced fault logging, which is turned off.
const LASTING: u64 = gcmd::TE.mask() | gcmd::QIE.mask() | gcmd::IRE.mask() | gcmd::CFI.mask();

/// One unit's registers, and who they belong to.
pub(super) struct Unit<M, P: Platform> {
    pub id: IommuId,
    pub registers: M,
    pub platform: P,
    pub patience: Nanos,
    command: Mutex<P::Lock, ()>,
}

impl<M: Mmio, P: Platform> Unit<M, P> {
    pub fn new(id: IommuId, registers: M, platform: P, patience: Nanos) -> Self {
        Self { id, registers, platform, patience, command: Mutex::new(()) }
    }

    /// Waits until `done`, not longer than this unit's patience. It is asked once more after the bound has passed, so
    /// that a waiter who was itself held up does not blame the hardware.
    pub fn wait(&self, what: &'static str, mut done: impl FnMut() -> bool) -> Result<(), Hung> {
        let start = self.platform.now();
        loop {
            let waited = Nanos(self.platform.now().0.saturating_sub(start.0));
            if done() {
                return Ok(());
            }
            if waited > self.patience {
                return Err(self.hung(what, waited));
            }
            self.platform.relax();
        }
    }

    pub fn hung(&self, what: &'static str, waited: Nanos) -> Hung {
        Hung { iommu: self.id, what, waited }
    }

    /// GSTS; none where the registers read all ones.
    pub fn status(&self) -> Option<u64> {
        match self.registers.read32(spec::GSTS) {
            u32::MAX => None,
            status => Some(status.into()),
        }
    }

    /// Whether a bit of GSTS is set.
    pub fn is(&self, bit: Field) -> bool {
        self.status().is_some_and(|status| bit.of(status) != 0)
    }

    /// Turns something on or off that lasts.
    pub fn set(&self, bit: Field, on: bool, what: &'static str) -> Result<(), Hung> {
        self.command(bit, on, bit, on, what)
    }

    /// Has RTADDR or IRTA taken over (SRTP, SIRTP), whose bit in GSTS is then set.
    pub fn take_over(&self, bit: Field, what: &'static str) -> Result<(), Hung> {
        self.command(bit, true, bit, true, what)
    }

    /// Has write buffers flushed (6.8): what was stored before is seen by the unit after.
    pub fn flush_write_buffer(&self) -> Result<(), Hung> {
        self.command(gcmd::WBF, true, gsts::WBFS, false, "a write-buffer flush (GSTS.WBFS)")
    }

    fn command(
        &self,
        bit: Field,
        on: bool,
        status_bit: Field,
        wanted: bool,
        what: &'static str,
    ) -> Result<(), Hung> {
        let _one_at_a_time = self.command.lock();
        let Some(status) = self.status() else {
            return Err(self.hung("registers that read all ones", Nanos(0)));
        };
        let command = bit.with(status & LASTING, on.into());
        self.registers.write32(spec::GCMD, command as u32);
        self.wait(what, || self.status().is_some_and(|status| (status_bit.of(status) != 0) == wanted))
    }
}
