//! A bench whose driver makes a mistake.

use super::{Mistake, driver::BrokenDriver};
use crate::{
    bench::{Bench, Facts, NotUp, TakeOver, Why},
    middleware::{Registers, Steps, Watched},
};
use ioward_core::driver::{Claim, Driver, Translation};
use ioward_models::IommuModel;
use ioward_types::{Mmio, PhysAddr, SourceId};
use std::sync::Arc;

/// `B`, with a driver that makes a [`Mistake`].
pub struct Broken<B> {
    under: B,
    mistake: Mistake,
}

impl<B: Bench> Broken<B> {
    /// This bench, and this mistake.
    pub fn new(under: B, mistake: Mistake) -> Self {
        Self { under, mistake }
    }

    /// Lets a source reach everything, for ever.
    fn open(&self, driver: &Arc<dyn Driver>) {
        let source = SourceId(self.facts().sources[0]);
        if let Ok(slot) = driver.claim(&Claim { source, pasid_bits: 0, ats: false }) {
            // SAFETY: the devices are a check's, and what an open one reaches is what the check is to find out.
            let _ = unsafe { driver.install(&slot, None, &Translation::Identity) };
        }
    }
}

impl<B: Bench> Bench for Broken<B> {
    type Platform = B::Platform;

    fn platform(&self) -> &B::Platform {
        self.under.platform()
    }
    fn model(&self) -> Arc<dyn IommuModel> {
        self.under.model()
    }
    fn registers(&self) -> Arc<dyn Mmio> {
        self.under.registers()
    }
    fn facts(&self) -> Facts {
        self.under.facts()
    }

    fn bring_up(
        &self,
        registers: Registers,
        platform: &Watched<B::Platform>,
        how: TakeOver<'_>,
    ) -> Result<Arc<dyn Driver>, NotUp> {
        let peek = |at| self.under.peek(at);
        let how = match (self.mistake, how) {
            (Mistake::AbortAdopts, TakeOver::Abort) | (Mistake::ColdAdopts, TakeOver::Cold) => {
                TakeOver::Adopt(&peek)
            }
            (Mistake::AdoptAborts, TakeOver::Adopt(_)) => TakeOver::Abort,
            (Mistake::AdoptReadsAnyway, TakeOver::Adopt(_)) => TakeOver::Adopt(&peek),
            (_, how) => how,
        };
        if self.mistake == Mistake::BypassesMeanwhile && !matches!(how, TakeOver::Cold) {
            let sound = Registers::new(self.under.registers(), Steps::default());
            if let Ok(driver) = self.under.bring_up(sound, platform, TakeOver::Abort) {
                self.open(&driver);
            }
            registers.read32(0);
        }
        let up = match self.under.bring_up(registers, platform, how) {
            Err(_) if self.mistake == Mistake::NeverFails => {
                platform.set_budget(None);
                self.under.hang(false);
                let sound = Registers::new(self.under.registers(), Steps::default());
                self.under.bring_up(sound, platform, how)
            }
            Err(error) if self.mistake == Mistake::NamesNoCause => Err(NotUp { why: Why::Unfit, ..error }),
            up => up,
        }?;
        if self.mistake == Mistake::StartsOpen {
            self.open(&up);
        }
        Ok(Arc::new(BrokenDriver::new(up, self.mistake, self.facts().sources)))
    }

    fn hang(&self, on: bool) {
        self.under.hang(on);
    }
    fn evict(&self) {
        self.under.evict();
    }
    fn audit(&self) {
        self.under.audit();
    }
    fn violations(&self) -> Vec<String> {
        self.under.violations()
    }
    fn peek(&self, at: PhysAddr) -> Option<u64> {
        self.under.peek(at)
    }
}
