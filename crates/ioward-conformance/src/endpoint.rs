//! A device: a source whose requests a check makes, with a cache of translations if it is given one.

use ioward_models::{Access, AtcSink, AtcSpan, IommuModel, Outcome, Request};
use ioward_types::{DeviceControl, Iova, Nanos, Pasid, PhysAddr, SourceId, Span};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where an access went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reach {
    /// To this physical address.
    To(u64),
    /// Nowhere: the IOMMU ended it.
    Blocked,
    /// It was taken for an interrupt message.
    Interrupt,
    /// Nowhere: the device was told to make no requests.
    Silenced,
}

#[derive(Default)]
struct Cache {
    /// The first IOVA of a page by PASID, to (physical address, bytes, writable).
    pages: BTreeMap<(Option<Pasid>, u64), (u64, u64, bool)>,
    /// How often it was told to forget: an answer that was under way meanwhile is not kept.
    told: u64,
}

/// A device. Clones are the same device. It obeys the subsystem as a [`DeviceControl`], and starts with bus mastering on,
/// PASIDs allowed and ATS off.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    source: SourceId,
    model: Arc<dyn IommuModel>,
    bus_master: AtomicBool,
    ats: AtomicBool,
    cache: Arc<Mutex<Cache>>,
}

/// The device's cache, as the IOMMU reaches it.
struct Sink(Arc<Mutex<Cache>>);

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AtcSink for Sink {
    fn invalidate(&self, what: AtcSpan) -> bool {
        let mut cache = lock(&self.0);
        cache.told += 1;
        cache.pages.retain(|&(pasid, start), &mut (_, bytes, _)| {
            let concerned = what.global || pasid == what.pasid;
            let inside = what.span.is_none_or(|span| span.overlaps(&Span { start: Iova(start), bytes }));
            !(concerned && inside)
        });
        true
    }
}

impl Endpoint {
    /// A device without a cache of translations.
    pub fn new(model: Arc<dyn IommuModel>, source: u32) -> Self {
        Self(Arc::new(Inner {
            source: SourceId(source),
            model,
            bus_master: AtomicBool::new(true),
            ats: AtomicBool::new(false),
            cache: Arc::default(),
        }))
    }

    /// A device with one, which the IOMMU reaches through what `over` makes of it. It is used while ATS is on.
    pub fn with_atc(
        model: Arc<dyn IommuModel>,
        source: u32,
        over: impl FnOnce(Arc<dyn AtcSink>) -> Arc<dyn AtcSink>,
    ) -> Self {
        let device = Self::new(model.clone(), source);
        model.connect(SourceId(source), over(Arc::new(Sink(device.0.cache.clone()))));
        device
    }

    /// What its requests carry.
    pub fn source(&self) -> SourceId {
        self.0.source
    }

    /// Whether it may make requests.
    pub fn is_bus_master(&self) -> bool {
        self.0.bus_master.load(Ordering::SeqCst)
    }

    /// Whether it uses its cache.
    pub fn is_ats_on(&self) -> bool {
        self.0.ats.load(Ordering::SeqCst)
    }

    /// Where a read of the byte at an IOVA goes.
    pub fn read(&self, pasid: Option<u32>, at: u64) -> Reach {
        self.access(pasid, at, Access::Read)
    }

    /// Where a write of the byte at an IOVA goes.
    pub fn write(&self, pasid: Option<u32>, at: u64) -> Reach {
        self.access(pasid, at, Access::Write)
    }

    /// Fills its cache, if ATS is on: a device may ask for any translation at any time.
    pub fn look_ahead(&self, pasid: Option<u32>, at: u64) {
        if self.is_bus_master() && self.is_ats_on() {
            let _ = self.fetch(&self.request(pasid, at, Access::Read));
        }
    }

    fn request(&self, pasid: Option<u32>, at: u64, access: Access) -> Request {
        Request { source: self.0.source, pasid: pasid.map(Pasid), at: Iova(at), access, privileged: false }
    }

    fn fetch(&self, request: &Request) -> Option<(u64, bool)> {
        let told = lock(&self.0.cache).told;
        match self.0.model.translate_ahead(request) {
            Outcome::To { at, page, writable } => {
                let mask = page - 1;
                let entry = (at.0 & !mask, page, writable);
                let mut cache = lock(&self.0.cache);
                if cache.told == told {
                    cache.pages.insert((request.pasid, request.at.0 & !mask), entry);
                }
                Some((at.0, writable))
            }
            _ => None,
        }
    }

    fn cached(&self, request: &Request) -> Option<(u64, bool)> {
        let cache = lock(&self.0.cache);
        let first = (request.pasid, 0);
        let (&(_, start), &(to, bytes, writable)) =
            cache.pages.range(first..=(request.pasid, request.at.0)).next_back()?;
        (request.at.0 - start < bytes).then_some((to + (request.at.0 - start), writable))
    }

    fn access(&self, pasid: Option<u32>, at: u64, access: Access) -> Reach {
        if !self.is_bus_master() {
            return Reach::Silenced;
        }
        let request = self.request(pasid, at, access);
        if self.is_ats_on() {
            let fits = |found: &(u64, bool)| found.1 || access != Access::Write;
            let known = self.cached(&request).filter(fits).or_else(|| self.fetch(&request).filter(fits));
            if let Some((to, _)) = known {
                return reach(self.0.model.translated(&Request { at: Iova(to), ..request }));
            }
        }
        reach(self.0.model.request(&request))
    }
}

fn reach(outcome: Outcome) -> Reach {
    match outcome {
        Outcome::To { at: PhysAddr(at), .. } => Reach::To(at),
        Outcome::Interrupt => Reach::Interrupt,
        Outcome::Aborted => Reach::Blocked,
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0.source)
    }
}

impl DeviceControl for Endpoint {
    fn bus_master(&self, on: bool) {
        self.0.bus_master.store(on, Ordering::SeqCst);
    }
    fn pasid(&self, _: Option<u8>) {}
    fn ats(&self, page_shift: Option<u8>) {
        // Turning ATS off empties nothing: the invalidation must have come before (PCIe 10.2.3).
        self.0.ats.store(page_shift.is_some(), Ordering::SeqCst);
    }
    fn page_requests(&self, _: Option<u32>) {}
    fn reset(&self) -> Result<(), Nanos> {
        self.0.ats.store(false, Ordering::SeqCst);
        self.0.bus_master.store(false, Ordering::SeqCst);
        lock(&self.0.cache).pages.clear();
        Ok(())
    }
}
