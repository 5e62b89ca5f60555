//! One IOMMU's registers, with a bound on every wait.

use ioward_core::driver::Hung;
use ioward_spec::{
    Field,
    amdvi::registers::{offset, status},
};
use ioward_types::{IommuId, Mmio, Mutex, Nanos, Platform};

/// The registers, who they belong to, and the control register as it was last written.
pub(super) struct Unit<M, P: Platform> {
    pub id: IommuId,
    pub registers: M,
    pub platform: P,
    pub patience: Nanos,
    pub coherent: bool,
    control: Mutex<P::Lock, u64>,
}

impl<M: Mmio, P: Platform> Unit<M, P> {
    pub fn new(id: IommuId, registers: M, platform: P, patience: Nanos, coherent: bool) -> Self {
        let control = Mutex::new(registers.read64(offset::CONTROL));
        Self { id, registers, platform, patience, coherent, control }
    }

    /// Control as it was last written.
    pub fn control(&self) -> u64 {
        *self.control.lock()
    }

    /// Writes control with the bits of `clear` cleared and then those of `set` set.
    pub fn set_control(&self, clear: u64, set: u64) {
        let mut control = self.control.lock();
        *control = *control & !clear | set;
        self.registers.write64(offset::CONTROL, *control);
    }

    /// Whether a bit of the status register is set. False where the registers read all ones.
    pub fn status(&self, bit: Field) -> bool {
        let status = self.registers.read64(offset::STATUS);
        status != u64::MAX && bit.of(status) != 0
    }

    /// Clears status bits that are cleared by writing one.
    pub fn clear_status(&self, bits: u64) {
        self.registers.write64(offset::STATUS, bits);
    }

    /// Waits until `done`, not longer than this IOMMU's patience.
    pub fn wait(&self, what: &'static str, mut done: impl FnMut() -> bool) -> Result<(), Hung> {
        let start = self.platform.now();
        loop {
            if done() {
                return Ok(());
            }
            let waited = Nanos(self.platform.now().0.saturating_sub(start.0));
            if waited > self.patience {
                // The last look counts: this CPU may have been away between the look and the clock.
                return if done() { Ok(()) } else { Err(Hung { iommu: self.id, what, waited }) };
            }
            self.platform.relax();
        }
    }

    /// Waits until the bit of the status register is as asked.
    pub fn wait_status(&self, what: &'static str, bit: Field, set: bool) -> Result<(), Hung> {
        self.wait(what, || {
            let status = self.registers.read64(offset::STATUS);
            status != u64::MAX && (bit.of(status) != 0) == set
        })
    }

    /// Whether the registers read all ones: it has left the bus.
    pub fn is_gone(&self) -> bool {
        self.registers.read64(offset::STATUS) == u64::MAX
    }

    /// Whether commands are fetched.
    pub fn commands_run(&self) -> bool {
        self.status(status::CMD_BUF_RUN)
    }
}
