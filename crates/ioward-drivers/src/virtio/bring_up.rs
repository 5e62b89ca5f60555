//! Bringing one virtio-iommu up (virtio 1.3 §3.1.1 and §5.13.5).
//!
//! A device that is found running is reset, which is to detach every endpoint; where its bypass field was 1, those would
//! pass everything until it is written, so it is written before the reset too. What an earlier owner mapped cannot be
//! read back, so nothing is adopted. Some devices forget nothing when they are reset: see `left_over`.

use super::config::{BringUpError, Config};
use super::domain::Domains;
use super::driver::{State, VirtioIommu};
use super::event_queue::EventQueue;
use super::features::{self, Features};
use super::request_queue::RequestQueue;
use super::transport::Transport;
use super::unit::Unit;
use alloc::collections::BTreeMap;
use core::sync::atomic::AtomicBool;
use ioward_core::driver::Hung;
use ioward_spec::virtio::{
    DEVICE_ID, EVENT_QUEUE, REQUEST_QUEUE, config, features as bit, queue::MAX_ENTRIES, status,
};
use ioward_types::{IommuId, Mutex, Platform};

/// Bit 0 of the bypass field; the others are to be ignored.
const PASSES: u8 = 1;

impl<T: Transport, P: Platform> VirtioIommu<T, P> {
    /// Brings up the device behind `transport`. On success no endpoint passes anything, and none is attached to any domain,
    /// where the device forgets both when it is reset. Of one that does not (QEMU 10, cloud-hypervisor), endpoints stay on
    /// the domains that an earlier owner attached them to until they are claimed; those of low numbers are emptied, while
    /// one that passes everything ([`VirtioIommu::left_over`]), or has a number far from the others, still lets its
    /// endpoints through. A device whose status is zero cannot be told from one that nobody had, except by
    /// [`Config::used_before`].
    pub fn bring_up(id: IommuId, transport: T, settings: Config, platform: &P) -> Result<Self, BringUpError> {
        if !settings.entries.is_power_of_two() || !(2..=MAX_ENTRIES).contains(&settings.entries) {
            return Err(BringUpError::Config("a queue has 2 to 32768 entries, a power of two"));
        }
        match transport.device_id() {
            DEVICE_ID => {}
            u32::MAX => return Err(BringUpError::Absent),
            other => return Err(BringUpError::Kind(other)),
        }
        if transport.status() == u8::MAX {
            return Err(BringUpError::Absent);
        }
        let unit = Unit { id, transport, platform: platform.clone(), patience: settings.patience };
        let offered = unit.transport.device_features();
        let accepted = features::choose(offered)?;
        let running = status::DRIVER_OK | status::FEATURES_OK;
        let found = unit.transport.status();
        let left_over = found != 0 || settings.used_before;
        if found & running == running && accepted & bit::BYPASS_CONFIG != 0 {
            unit.transport.config_write8(config::BYPASS, 0);
        }
        unit.reset()?;
        unit.negotiate(accepted).inspect_err(|_| unit.fail(left_over))?;
        let made = Self::prepare(&unit, accepted, &settings).inspect_err(|_| unit.fail(left_over));
        let (features, requests, events) = made?;
        let mut driver = Self::start(unit, features, requests, events);
        if left_over {
            let kept = driver.empty_left_over().inspect_err(|_| driver.unit.fail(left_over))?;
            driver.left_over = Some(kept);
        }
        // The last steps are writes, which nobody answers.
        match driver.unit.transport.status() {
            u8::MAX => Err(BringUpError::Absent),
            _ => Ok(driver),
        }
    }

    /// What the device can do, and all memory, filled, with no device told of it.
    fn prepare(
        unit: &Unit<T, P>,
        accepted: u64,
        settings: &Config,
    ) -> Result<(Features, RequestQueue<P>, EventQueue<P>), BringUpError> {
        let features = Features::read(&unit.transport, accepted)?;
        if features.bypass_config {
            unit.transport.config_write8(config::BYPASS, 0);
            if unit.transport.config_read8(config::BYPASS) & PASSES != 0 {
                return Err(BringUpError::Bypass);
            }
        }
        let entries = |queue, least: u16| {
            let most = unit.transport.queue_size(queue).min(MAX_ENTRIES).min(settings.entries);
            let entries = if most == 0 { 0 } else { 1 << most.ilog2() };
            if entries < least { Err(BringUpError::Queue { queue, entries }) } else { Ok(entries) }
        };
        let (long, short) = (entries(REQUEST_QUEUE, 2)?, entries(EVENT_QUEUE, 1)?);
        let requests = RequestQueue::new(&unit.platform, long, features.probe_size, settings.coherent)?;
        match EventQueue::new(&unit.platform, short, settings.coherent) {
            Ok(events) => Ok((features, requests, events)),
            Err(error) => {
                // SAFETY: no device has been told of it.
                unsafe { requests.free() };
                Err(error.into())
            }
        }
    }

    fn start(unit: Unit<T, P>, features: Features, requests: RequestQueue<P>, events: EventQueue<P>) -> Self {
        // The queues are empty and visible before the device is told where they are.
        events.populate();
        unit.platform.fence();
        unit.transport.start_queue(REQUEST_QUEUE, &requests.setup());
        unit.transport.start_queue(EVENT_QUEUE, &events.setup());
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        unit.transport.set_status(ready);
        events.notify(&unit);
        let domains = Domains::new(features.domains);
        let state = State { claimed: BTreeMap::new(), owed: BTreeMap::new(), domains };
        Self {
            windows: features.windows(),
            unit,
            features,
            requests,
            events,
            state: Mutex::new(state),
            left_over: None,
            told: AtomicBool::new(false),
            reported: AtomicBool::new(false),
        }
    }
}

impl<T: Transport, P: Platform> Unit<T, P> {
    /// Resets the device, and waits until it says that it is (§2.4.2, §4.1.4.3.2).
    fn reset(&self) -> Result<(), Hung> {
        self.transport.set_status(0);
        self.wait("reset", || None, || self.transport.status() == 0)
    }

    fn negotiate(&self, accepted: u64) -> Result<(), BringUpError> {
        let driver = status::ACKNOWLEDGE | status::DRIVER;
        self.transport.set_status(status::ACKNOWLEDGE);
        self.transport.set_status(driver);
        self.transport.accept_features(accepted);
        self.transport.set_status(driver | status::FEATURES_OK);
        match self.transport.status() {
            u8::MAX => Err(BringUpError::Absent),
            status if status & status::FEATURES_OK == 0 => Err(BringUpError::Refuses { accepted }),
            _ => Ok(()),
        }
    }

    /// Tells the device that nobody drives it, and makes it forget what it was told. One that may not forget keeps a mark, by
    /// which whoever comes next finds that somebody had it.
    fn fail(&self, left_over: bool) {
        let old = self.transport.status();
        if old != u8::MAX {
            self.transport.set_status(old | status::FAILED);
            // Where it does not, there is nothing more to be done: what memory it was told of is not used again.
            if self.reset().is_ok() && left_over {
                self.transport.set_status(status::ACKNOWLEDGE);
            }
        }
    }
}
