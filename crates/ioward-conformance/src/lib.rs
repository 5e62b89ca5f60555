//! What every IOMMU driver must do, as tests that any driver can be run through.
//!
//! 1. **One trait to implement.** A driver's author writes a [`Bench`]: it makes a platform and hardware, brings the driver up,
//!    and says what the mode has ([`Facts`]). [`suite!`] then makes a test of every check in [`checks`], named by driver and
//!    mode.
//! 2. **Hardware is the judge.** Checks look at what requests of devices lead to, never at registers or entries: they know no
//!    vendor. The better the judge caches and complains, the more they find; see `ioward-models`.
//! 3. **What is confirmed must be true.** Whatever is lost, delayed, stuck or gone, a call ends, and where it ends in success
//!    what it promised is so.
//! 4. **Between any two steps.** The driver runs behind [`middleware`]: [`Watched`] tells of every store and wait, and
//!    [`Registers`] of every access, so that a check can look at what hardware sees in between.
//! 5. **Nothing is skipped in silence.** Where a mode lacks something, its checks hold the driver to refusing it.
//! 6. **Every check can fail.** [`broken`] has a driver for each way to be wrong, and this crate's own tests show which check
//!    turns red over which.
//!
//! # Adopting it
//!
//! In the driver's crate, as a dev-dependency, one file in `tests/`. Here the driver is the one of AMD-Vi, and the hardware its
//! model:
//!
//! ```
//! use ioward_conformance::{Bench, ColdOverRunning, Facts, FaultFacts, NotUp, Registers, TakeOver, Watched, Why};
//! use ioward_core::driver::Driver;
//! use ioward_drivers::amdvi::{AmdVi, BringUp, BringUpError, Config};
//! use ioward_models::{IommuModel, Memory, SimPlatform, Violations, amdvi::{AmdViConfig, AmdViModel}};
//! use ioward_types::{Format, IommuId, Nanos, PhysAddr, describe};
//! use std::sync::Arc;
//!
//! struct Unit { memory: Memory, platform: SimPlatform, model: Arc<AmdViModel> }
//!
//! impl Unit {
//!     fn new(config: AmdViConfig) -> Self {
//!         let memory = Memory::new(PhysAddr(0x8000_0000), 64 << 20, Violations::default());
//!         let model = Arc::new(AmdViModel::new(config, memory.clone()));
//!         model.poison();
//!         Self { platform: SimPlatform::new(memory.clone()), memory, model }
//!     }
//! }
//!
//! impl Bench for Unit {
//!     type Platform = SimPlatform;
//!     fn platform(&self) -> &SimPlatform { &self.platform }
//!     fn model(&self) -> Arc<dyn IommuModel> { self.model.clone() }
//!     fn facts(&self) -> Facts {
//!         Facts {
//!             iommu: IommuId(1),
//!             sources: [0x18, 0x19, 0x80],
//!             outside: Some(0x100),
//!             pasid_bits: 16,
//!             ats: true,
//!             coherent: true,
//!             plan_for_pasids: 0,
//!             plain: Some(Format::AmdV1),
//!             with_pasids: Some(Format::AmdV2),
//!             stores_are_seen: true,
//!             flush_after_map: false,
//!             identity: true,
//!             foreign: true,
//!             interrupts: false,
//!             cold_over_running: ColdOverRunning::Refused,
//!             adopts: true,
//!             faults: FaultFacts::default(),
//!         }
//!     }
//!     fn bring_up(
//!         &self, registers: Registers, platform: &Watched<SimPlatform>, how: TakeOver<'_>,
//!     ) -> Result<Arc<dyn Driver>, NotUp> {
//!         let described = describe::AmdVi { efr: Some(self.model.config().efr()), ..Default::default() };
//!         let mut config = Config::new(described, 0xff);
//!         config.capability_header = Some(self.model.config().capability()[0]);
//!         config.patience = Nanos(10_000_000);
//!         let how = match how {
//!             TakeOver::Cold => BringUp::Cold,
//!             TakeOver::Abort => BringUp::Abort,
//!             TakeOver::Adopt(memory) => BringUp::Adopt(memory),
//!         };
//!         match AmdVi::bring_up(IommuId(1), registers, config, platform, how) {
//!             Ok(driver) => Ok(Arc::new(driver)),
//!             Err(error) => Err(NotUp::new(match error {
//!                 BringUpError::Absent => Why::Absent,
//!                 BringUpError::Translating { .. } => Why::Translating,
//!                 BringUpError::Hung(_) => Why::Hung,
//!                 BringUpError::NoMemory(_) => Why::NoMemory,
//!                 _ => Why::Unfit,
//!             }, &error)),
//!         }
//!     }
//!     fn hang(&self, on: bool) { self.model.set_hung(on) }
//!     fn evict(&self) { self.model.evict() }
//!     fn audit(&self) { self.model.audit(true) }
//!     fn violations(&self) -> Vec<String> {
//!         self.memory.violations().take().iter().map(ToString::to_string).collect()
//!     }
//!     fn peek(&self, at: PhysAddr) -> Option<u64> { self.memory.read64("the next owner", at, true).ok() }
//! }
//!
//! // In a test file: `ioward_conformance::suite!(amdvi { v1 => Unit::new(AmdViConfig::default()) });`
//! // One by hand:
//! ioward_conformance::checks::install::attach(&|| Unit::new(AmdViConfig::default()));
//! ```

mod bench;
pub mod broken;
pub mod checks;
mod endpoint;
pub mod middleware;
mod rig;
mod space;
mod suite;

pub use bench::{Bench, ColdOverRunning, Facts, FaultFacts, NotUp, TakeOver, Why};
pub use endpoint::{Endpoint, Reach};
pub use middleware::{Registers, Steps, Watched};
pub use suite::{Check, all};
