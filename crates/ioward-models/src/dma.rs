//! A device that does DMA: a source, an optional PASID, an optional cache of translations.

use crate::{
    memory::Memory,
    model::{Access, AtcSink, AtcSpan, IommuModel, Outcome, Request},
};
use ioward_types::{DeviceControl, Iova, Nanos, Pasid, PhysAddr, SourceId, Span};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// Why a device's access did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaError {
    /// Bus mastering is off: no request was made.
    Silenced,
    /// The device was not allowed to use PASIDs.
    NoPasid,
    /// The IOMMU ended it, at this address.
    Aborted(Iova),
    /// It was taken for an interrupt.
    Interrupt(Iova),
    /// It went on, to where there is no memory.
    Bus(PhysAddr),
    /// The length is zero or the end wraps.
    Length,
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silenced => f.write_str("bus mastering is off"),
            Self::NoPasid => f.write_str("PASIDs are not enabled"),
            Self::Aborted(at) => write!(f, "aborted at {at}"),
            Self::Interrupt(at) => write!(f, "taken for an interrupt at {at}"),
            Self::Bus(at) => write!(f, "no memory at {at}"),
            Self::Length => f.write_str("empty or wrapping length"),
        }
    }
}
impl std::error::Error for DmaError {}

type AtcKey = (Option<Pasid>, u64);

/// Translations that a device keeps: the page's first IOVA to (physical address, bytes, writable).
#[derive(Default)]
struct Atc {
    entries: BTreeMap<AtcKey, (u64, u64, bool)>,
    /// How many invalidations it was told of.
    told: u64,
}

struct Inner {
    name: String,
    source: SourceId,
    iommu: Option<Arc<dyn IommuModel>>,
    memory: Memory,
    has_atc: bool,
    bus_master: AtomicBool,
    pasid: AtomicBool,
    ats: AtomicBool,
    deaf: AtomicBool,
    atc: Mutex<Atc>,
    resets: Mutex<u32>,
}

/// A device. Clones are the same device. As a [`DeviceControl`] it obeys the subsystem.
#[derive(Clone)]
pub struct DmaEngine(Arc<Inner>);

impl DmaEngine {
    /// A device whose requests carry `source` and reach `iommu`, or memory directly where there is none. It starts with
    /// bus mastering on, PASIDs and ATS off, as some firmware leaves them.
    pub fn new(
        name: &str,
        source: SourceId,
        iommu: Option<Arc<dyn IommuModel>>,
        memory: Memory,
        has_atc: bool,
    ) -> Self {
        let engine = Self(Arc::new(Inner {
            name: name.into(),
            source,
            iommu,
            memory,
            has_atc,
            bus_master: AtomicBool::new(true),
            pasid: AtomicBool::new(false),
            ats: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            atc: Mutex::default(),
            resets: Mutex::new(0),
        }));
        if let (true, Some(iommu)) = (has_atc, &engine.0.iommu) {
            iommu.connect(source, Arc::new(Sink(Arc::downgrade(&engine.0))));
        }
        engine
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What its requests carry.
    pub fn source(&self) -> SourceId {
        self.0.source
    }

    /// Whether bus mastering is on.
    pub fn is_bus_master(&self) -> bool {
        self.0.bus_master.load(Ordering::SeqCst)
    }

    /// Whether it was told to cache translations.
    pub fn is_ats_on(&self) -> bool {
        self.0.ats.load(Ordering::SeqCst)
    }

    /// How often it was reset.
    pub fn resets(&self) -> u32 {
        *self.0.resets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it answers no invalidation, as a card that was pulled.
    pub fn set_deaf(&self, deaf: bool) {
        self.0.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Reads `into.len()` bytes at `at`. What was read before an error stays read.
    pub fn read(&self, pasid: Option<Pasid>, at: Iova, into: &mut [u8]) -> Result<(), DmaError> {
        let mut done = 0;
        self.pieces(pasid, at, into.len(), Access::Read, |to, bytes| {
            let result = self.0.memory.dma_read(&self.0.name, to, &mut into[done..done + bytes]);
            done += bytes;
            result.map_err(|error| DmaError::Bus(error.0))
        })
    }

    /// Writes `from.len()` bytes at `at`. What was written before an error stays written.
    pub fn write(&self, pasid: Option<Pasid>, at: Iova, from: &[u8]) -> Result<(), DmaError> {
        let mut done = 0;
        self.pieces(pasid, at, from.len(), Access::Write, |to, bytes| {
            let result = self.0.memory.dma_write(&self.0.name, to, &from[done..done + bytes]);
            done += bytes;
            result.map_err(|error| DmaError::Bus(error.0))
        })
    }

    fn pieces(
        &self,
        pasid: Option<Pasid>,
        at: Iova,
        bytes: usize,
        access: Access,
        mut each: impl FnMut(PhysAddr, usize) -> Result<(), DmaError>,
    ) -> Result<(), DmaError> {
        let span = Span::new(at, bytes as u64).ok_or(DmaError::Length)?;
        let mut next = span.start.0;
        loop {
            let last = span.last().0.min(next | 0xfff);
            let _under_way = self.0.memory.under_way();
            let to = self.translate(pasid, Iova(next), access)?;
            each(to, (last - next + 1) as usize)?;
            if last == span.last().0 {
                return Ok(());
            }
            next = last + 1;
        }
    }

    fn translate(&self, pasid: Option<Pasid>, at: Iova, access: Access) -> Result<PhysAddr, DmaError> {
        if !self.is_bus_master() {
            return Err(DmaError::Silenced);
        }
        if pasid.is_some() && !self.0.pasid.load(Ordering::SeqCst) {
            return Err(DmaError::NoPasid);
        }
        let Some(iommu) = &self.0.iommu else { return Ok(PhysAddr(at.0)) };
        let request = Request { source: self.0.source, pasid, at, access, privileged: false };
        if self.is_ats_on() {
            if let Some(to) = self.cached(pasid, at, access) {
                return self.outcome(iommu.translated(&Request { at: Iova(to.0), ..request }), at);
            }
            let told = self.atc().told;
            if let Outcome::To { at: to, page, writable } = iommu.translate_ahead(&request) {
                let mask = page - 1;
                let entry = (to.0 & !mask, page, writable);
                // What was being fetched when an invalidation came is used once and not kept (PCIe 10.3.1).
                let mut atc = self.atc();
                if atc.told == told {
                    atc.entries.insert((pasid, at.0 & !mask), entry);
                }
                drop(atc);
                if writable || access != Access::Write {
                    return self.outcome(iommu.translated(&Request { at: Iova(to.0), ..request }), at);
                }
            }
        }
        self.outcome(iommu.request(&request), at)
    }

    fn outcome(&self, outcome: Outcome, at: Iova) -> Result<PhysAddr, DmaError> {
        match outcome {
            Outcome::To { at, .. } => Ok(at),
            Outcome::Interrupt => Err(DmaError::Interrupt(at)),
            Outcome::Aborted => Err(DmaError::Aborted(at)),
        }
    }

    fn cached(&self, pasid: Option<Pasid>, at: Iova, access: Access) -> Option<PhysAddr> {
        let atc = self.atc();
        let (&(_, start), &(to, page, writable)) =
            atc.entries.range((pasid, 0)..=(pasid, at.0)).next_back()?;
        let hit = at.0 - start < page && (writable || access != Access::Write);
        hit.then_some(PhysAddr(to + (at.0 - start)))
    }

    fn atc(&self) -> std::sync::MutexGuard<'_, Atc> {
        self.0.atc.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DmaEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaEngine({}, source {})", self.0.name, self.0.source)
    }
}

impl DeviceControl for DmaEngine {
    fn bus_master(&self, on: bool) {
        self.0.bus_master.store(on, Ordering::SeqCst);
    }

    fn pasid(&self, bits: Option<u8>) {
        self.0.pasid.store(bits.is_some(), Ordering::SeqCst);
    }

    fn ats(&self, page_shift: Option<u8>) {
        // Turning ATS off empties nothing: an invalidation must have come before (PCIe 10.2.3).
        self.0.ats.store(self.0.has_atc && page_shift.is_some(), Ordering::SeqCst);
    }

    fn page_requests(&self, _: Option<u32>) {}

    fn reset(&self) -> Result<(), Nanos> {
        *self.0.resets.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.pasid.store(false, Ordering::SeqCst);
        self.0.ats.store(false, Ordering::SeqCst);
        self.0.bus_master.store(false, Ordering::SeqCst);
        self.atc().entries.clear();
        Ok(())
    }
}

struct Sink(Weak<Inner>);

impl AtcSink for Sink {
    fn invalidate(&self, what: AtcSpan) -> bool {
        let Some(device) = self.0.upgrade() else { return false };
        if device.deaf.load(Ordering::SeqCst) {
            return false;
        }
        let mut atc = device.atc.lock().unwrap_or_else(PoisonError::into_inner);
        atc.told += 1;
        atc.entries.retain(|&(pasid, start), &mut (_, page, _)| {
            let concerned = what.global || pasid == what.pasid;
            let inside =
                what.span.is_none_or(|span| span.overlaps(&Span { start: Iova(start), bytes: page }));
            !(concerned && inside)
        });
        true
    }
}
