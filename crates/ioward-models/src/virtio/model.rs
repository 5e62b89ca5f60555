//! The face of the model: registers, accesses, and the switches that tests turn.

use super::{
    config::{Order, VirtioIommuConfig},
    queue::Queue,
    transport::Registers,
    unit::Unit,
};
use crate::{AtcSink, IommuModel, Memory, Outcome, Request};
use ioward_types::{Mmio, PhysAddr, SourceId};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is carried out.
    Process,
    /// It is answered with success, and nothing is done.
    Pretend,
    /// It is answered with this status, and nothing is done.
    Answer(u8),
    /// It is returned without a byte written.
    Unwritten,
    /// It is not answered until [`VirtioIommuModel::find`].
    Lose,
}

/// What a device may not do, once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trick {
    /// The next used element names this descriptor.
    UsedId(u32),
    /// The used index is so much further.
    IndexAhead(u16),
    /// The next request comes back twice.
    Twice,
}

/// Sees the number of a request, counted from the model's start, and what the device read of it.
pub type RequestFilter = Box<dyn FnMut(u64, &[u8]) -> Verdict + Send>;

/// One virtio-iommu.
pub struct VirtioIommuModel {
    unit: Mutex<Unit>,
}

impl fmt::Debug for VirtioIommuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtioIommuModel({})", self.unit().config.name)
    }
}

impl VirtioIommuModel {
    /// A device out of reset. Violations go where the memory's go.
    pub fn new(config: VirtioIommuConfig, memory: Memory) -> Self {
        let violations = memory.violations().clone();
        let registers = Registers { bypass: config.bypass, reset_latency: 2, ..Registers::default() };
        let unit = Unit {
            config,
            memory,
            violations,
            registers,
            queues: [Queue::default(), Queue::default()],
            work: Vec::new(),
            domains: Default::default(),
            endpoints: Default::default(),
            filter: None,
            requests: 0,
            interrupts: 0,
            lost_reports: 0,
            order: Order::First,
            latency: 0,
            waiting: 0,
            tells_address: true,
            trick: None,
            hung: false,
            gone: false,
        };
        Self { unit: Mutex::new(unit) }
    }

    pub(super) fn unit(&self) -> MutexGuard<'_, Unit> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it offers.
    pub fn config(&self) -> VirtioIommuConfig {
        self.unit().config.clone()
    }

    /// The device status, without the effects of reading it.
    pub fn status(&self) -> u8 {
        self.unit().registers.status
    }

    /// The features that the driver accepted.
    pub fn accepted(&self) -> u64 {
        self.unit().registers.accepted
    }

    /// The bypass field.
    pub fn bypass(&self) -> bool {
        self.unit().registers.bypass
    }

    /// Requests meet this when they are carried out.
    pub fn set_request_filter(&self, filter: Option<RequestFilter>) {
        self.unit().filter = filter;
    }

    /// Requests fetched so far.
    pub fn requests(&self) -> u64 {
        self.unit().requests
    }

    /// Interrupts raised so far.
    pub fn interrupts(&self) -> u64 {
        self.unit().interrupts
    }

    /// Reports dropped so far, for want of a buffer.
    pub fn lost_reports(&self) -> u64 {
        self.unit().lost_reports
    }

    /// The domain of an endpoint.
    pub fn domain_of(&self, source: SourceId) -> Option<u32> {
        self.unit().endpoints.get(&source.0)?.domain
    }

    /// How many domains there are, and how many mappings in them.
    pub fn counts(&self) -> (usize, usize) {
        let unit = self.unit();
        (unit.domains.len(), unit.domains.values().map(|domain| domain.mappings.len()).sum())
    }

    /// In which order requests are carried out.
    pub fn set_order(&self, order: Order) {
        self.unit().order = order;
    }

    /// So many reads of the status pass between a notification and the answers to what is there.
    pub fn set_latency(&self, reads: u32) {
        self.unit().latency = reads;
    }

    /// Whether faults tell their address.
    pub fn set_tells_address(&self, tells: bool) {
        self.unit().tells_address = tells;
    }

    /// Does this at the next opportunity.
    pub fn set_trick(&self, trick: Trick) {
        self.unit().trick = Some(trick);
    }

    /// Whether requests are left unanswered, as of hung hardware. Turned off, it goes on where it stopped.
    pub fn set_hung(&self, hung: bool) {
        let mut unit = self.unit();
        unit.hung = hung;
        if !hung {
            unit.take_requests();
            unit.carry_out();
        }
    }

    /// Answers what was lost.
    pub fn find(&self) {
        let mut unit = self.unit();
        unit.filter = None;
        unit.work.iter_mut().for_each(|work| work.lost = false);
        unit.carry_out();
    }

    /// Whether registers read as ones and take no writes, as of a device that has left the bus.
    pub fn set_gone(&self, gone: bool) {
        self.unit().gone = gone;
    }

    /// Sets DEVICE_NEEDS_RESET.
    pub fn needs_reset(&self) {
        self.unit().needs_reset();
    }

    /// Puts bytes into a buffer of the event queue, whatever they are.
    pub fn report(&self, bytes: &[u8]) {
        self.unit().report(bytes);
    }

    /// Sets the status, features and domains as an earlier owner left them: endpoints on domains with one mapping of
    /// the lower half of all addresses to itself.
    pub fn preset(&self, status: u8, accepted: u64, attached: &[SourceId]) {
        let mut unit = self.unit();
        unit.registers.status = status;
        unit.registers.accepted = accepted;
        for source in attached {
            let domain = super::unit::Domain::default();
            unit.domains.insert(source.0, domain);
            let mapping = super::unit::Mapping { end: u64::MAX >> 1, to: 0, flags: 3 };
            unit.domains.entry(source.0).or_default().mappings.insert(0, mapping);
            let endpoint = super::unit::Endpoint { domain: Some(source.0), probed: true };
            unit.endpoints.insert(source.0, endpoint);
        }
    }

    /// Makes the domain that somebody left an endpoint on pass everything.
    pub fn preset_bypass(&self, source: SourceId) {
        let mut unit = self.unit();
        unit.domains.insert(source.0, super::unit::Domain { bypass: true, ..Default::default() });
    }

    /// Reports every mapping that leads to memory which is not allocated. To be called when software owes no unmap.
    pub fn audit(&self) {
        let unit = self.unit();
        let all = unit.domains.iter().flat_map(|(number, domain)| {
            domain.mappings.iter().map(move |(at, mapping)| (number, at, mapping))
        });
        for (number, at, mapping) in all {
            let last = mapping.to + (mapping.end - at);
            let memory = unit.memory.span();
            let freed = [mapping.to, last].map(PhysAddr).into_iter();
            let mut freed = freed.filter(|to| memory.contains(*to) && !unit.memory.is_allocated(*to));
            if let Some(to) = freed.next() {
                unit.violation("use after free", format!("domain {number} maps {at:#x} to {to}"));
            }
        }
    }
}

impl Mmio for VirtioIommuModel {
    fn read32(&self, at: usize) -> u32 {
        if at.is_multiple_of(4) { self.unit().mmio_read(at) } else { u32::MAX }
    }
    fn write32(&self, at: usize, value: u32) {
        if at.is_multiple_of(4) {
            self.unit().mmio_write(at, value);
        }
    }
    fn read64(&self, at: usize) -> u64 {
        u64::from(self.read32(at)) | u64::from(self.read32(at + 4)) << 32
    }
    fn write64(&self, at: usize, value: u64) {
        self.write32(at, value as u32);
        self.write32(at + 4, (value >> 32) as u32);
    }
    fn read8(&self, at: usize) -> u8 {
        self.unit().mmio_read8(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.unit().mmio_write8(at, value);
    }
}

impl IommuModel for VirtioIommuModel {
    fn request(&self, request: &Request) -> Outcome {
        self.unit().translate(request)
    }

    fn translate_ahead(&self, _: &Request) -> Outcome {
        Outcome::Aborted
    }

    fn translated(&self, _: &Request) -> Outcome {
        Outcome::Aborted
    }

    fn connect(&self, _: SourceId, _: Arc<dyn AtcSink>) {}
}
