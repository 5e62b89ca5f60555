//! One device: how it is reached, and for how long it is waited for.

use super::transport::Transport;
use ioward_core::driver::Hung;
use ioward_spec::virtio::status;
use ioward_types::{IommuId, Nanos, Platform};

/// Rounds of waiting between two looks at the device status: a look leaves the guest.
const ROUNDS: u32 = 64;

pub(super) struct Unit<T, P> {
    pub id: IommuId,
    pub transport: T,
    pub platform: P,
    pub patience: Nanos,
}

impl<T: Transport, P: Platform> Unit<T, P> {
    /// What keeps the device from ever answering.
    pub fn broken(&self) -> Option<&'static str> {
        match self.transport.status() {
            u8::MAX => Some("the device has left the bus"),
            status if status & status::NEEDS_RESET != 0 => Some("DEVICE_NEEDS_RESET"),
            status if status & status::DRIVER_OK == 0 => Some("the device was reset by somebody else"),
            _ => None,
        }
    }

    /// Waits until `done`, not longer than this device's patience, or until `broken` says why that is in vain.
    pub fn wait(
        &self,
        what: &'static str,
        mut broken: impl FnMut() -> Option<&'static str>,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), Hung> {
        let start = self.platform.now();
        let mut round = 0u32;
        loop {
            if done() {
                return Ok(());
            }
            let waited = Nanos(self.platform.now().0.saturating_sub(start.0));
            round = round.wrapping_add(1);
            let why = if round.is_multiple_of(ROUNDS) { broken() } else { None };
            if waited > self.patience || why.is_some() {
                // The last look counts: this CPU may have been away between the look and the clock.
                let what = why.unwrap_or(what);
                return if done() { Ok(()) } else { Err(Hung { iommu: self.id, what, waited }) };
            }
            self.platform.relax();
        }
    }

    pub fn hung(&self, what: &'static str) -> Hung {
        Hung { iommu: self.id, what, waited: Nanos(0) }
    }
}
