//! A bench with everything that checks use on it.

use crate::{
    bench::{Bench, Facts, NotUp, TakeOver},
    endpoint::{Endpoint, Reach},
    middleware::{Registers, Steps, Watched},
};
use ioward_core::driver::{
    AtcTarget, Blocked, Claim, Driver, Event, Fault, Hung, Refused, Slot, Translation,
};
use ioward_models::IommuModel;
use ioward_types::{Pasid, PhysAddr, Platform, SourceId, Tag};
use std::sync::{Arc, Mutex, PoisonError};

/// Physical memory has no end that matters.
pub(crate) const ANYWHERE: PhysAddr = PhysAddr(u64::MAX);

/// A bench, its platform and registers behind middlewares, and devices.
pub(crate) struct Rig<B: Bench> {
    pub bench: B,
    pub facts: Facts,
    pub platform: Watched<B::Platform>,
    pub registers: Registers,
    pub model: Arc<dyn IommuModel>,
    pub steps: Steps,
}

impl<B: Bench> Rig<B> {
    pub fn new(make: &dyn Fn() -> B) -> Self {
        let bench = make();
        let steps = Steps::default();
        Self {
            facts: bench.facts(),
            platform: Watched::new(bench.platform().clone(), steps.clone()),
            registers: Registers::new(bench.registers(), steps.clone()),
            model: bench.model(),
            steps,
            bench,
        }
    }

    pub fn bring_up(&self, how: TakeOver<'_>) -> Result<Arc<dyn Driver>, NotUp> {
        self.steps.restart();
        self.bench.bring_up(self.registers.clone(), &self.platform, how)
    }

    /// The driver on a machine that was just switched on.
    pub fn cold(&self) -> Arc<dyn Driver> {
        match self.bring_up(TakeOver::Cold) {
            Ok(driver) => driver,
            Err(error) => panic!("sound hardware, and the driver does not come up: {error}"),
        }
    }

    pub fn device(&self, source: u32) -> Endpoint {
        Endpoint::new(self.model.clone(), source)
    }

    /// A device with a cache of translations, in use.
    pub fn caching(&self, source: u32) -> Endpoint {
        let device = Endpoint::with_atc(self.model.clone(), source, |sink| sink);
        ioward_types::DeviceControl::ats(&device, Some(12));
        device
    }

    /// Whole granules of memory that a device may be let reach; never given back.
    pub fn memory(&self, bytes: u64) -> u64 {
        let align = (bytes as usize).next_power_of_two();
        let at = self.bench.platform().frames(bytes as usize, align, ANYWHERE);
        at.expect("the machine has memory enough for a check").0
    }

    /// What the driver reports.
    pub fn events(&self, driver: &Arc<dyn Driver>) -> Vec<Event> {
        let mut all = Vec::new();
        driver.poll(&mut |event| all.push(event));
        all
    }

    pub fn faults(&self, driver: &Arc<dyn Driver>) -> Vec<Fault> {
        let fault = |event| if let Event::Fault(fault) = event { Some(fault) } else { None };
        self.events(driver).into_iter().filter_map(fault).collect()
    }

    /// Nobody did what the specification forbids so far.
    #[track_caller]
    pub fn lawful(&self) {
        let all = self.bench.violations();
        assert!(all.is_empty(), "violations:\n  {}", all.join("\n  "));
    }

    /// The same, and no cache holds what memory contradicts.
    #[track_caller]
    pub fn settled(&self) {
        self.bench.audit();
        self.lawful();
    }

    /// Runs `act` while `look` is called between all steps that are made meanwhile; gives what it was that `look` objected
    /// to, without repetitions.
    pub fn between_steps<T>(
        &self,
        look: impl Fn() -> Option<String> + Send + Sync + 'static,
        act: impl FnOnce() -> T,
    ) -> (T, Vec<String>) {
        let objections: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = objections.clone();
        self.steps.watch(move || {
            if let Some(objection) = look() {
                let mut all = into.lock().unwrap_or_else(PoisonError::into_inner);
                if !all.contains(&objection) {
                    all.push(objection);
                }
            }
        });
        let result = act();
        self.steps.unwatch();
        let all = objections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (result, all)
    }
}

/// A claim that must succeed.
#[track_caller]
pub(crate) fn claim(driver: &Arc<dyn Driver>, source: u32, pasid_bits: u8, ats: bool) -> Slot {
    let what = Claim { source: SourceId(source), pasid_bits, ats };
    match driver.claim(&what) {
        Ok(slot) => slot,
        Err(refused) => panic!("source {source:#x} is nobody's, and is refused: {refused}"),
    }
}

pub(crate) fn install(
    driver: &Arc<dyn Driver>,
    slot: &Slot,
    pasid: Option<u32>,
    what: &Translation<'_>,
) -> Result<(), Refused> {
    // SAFETY: the devices are the check's, and nothing that Rust refers to is in the memory that a translation leads to.
    unsafe { driver.install(slot, pasid.map(Pasid), what) }
}

/// An installation that must succeed.
#[track_caller]
pub(crate) fn put(driver: &Arc<dyn Driver>, slot: &Slot, pasid: Option<u32>, what: &Translation<'_>) {
    if let Err(refused) = install(driver, slot, pasid, what) {
        panic!("{what:?} is what the driver planned, and is refused: {refused}");
    }
}

pub(crate) fn untag(driver: &Arc<dyn Driver>, tag: Tag) -> Result<(), Hung> {
    // SAFETY: checks give back what no entry holds; what a tag used again would let through is what they look for.
    unsafe { driver.untag(tag) }
}

/// Sound hardware confirms that a source is blocked.
#[track_caller]
pub(crate) fn block(driver: &Arc<dyn Driver>, slot: &Slot, pasid: Option<u32>) {
    assert_eq!(driver.block(slot, pasid.map(Pasid)), Blocked::Confirmed, "sound hardware, PASID {pasid:?}");
}

#[track_caller]
pub(crate) fn release(driver: &Arc<dyn Driver>, slot: Slot) {
    assert_eq!(driver.release(slot, false), Blocked::Confirmed, "sound hardware");
}

/// A request must not get through. Where it is ended, by whom, is all the same.
#[track_caller]
pub(crate) fn stays_out(reach: Reach, what: &str) {
    assert!(matches!(reach, Reach::Blocked | Reach::Silenced), "{what}: {reach:x?}");
}

pub(crate) fn target(source: u32, pasid: Option<u32>) -> AtcTarget {
    AtcTarget { source: SourceId(source), pasid: pasid.map(Pasid) }
}
