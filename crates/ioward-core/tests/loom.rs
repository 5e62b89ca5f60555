//! A live address space gets another carrier while others map and unmap: every interleaving of the locks, pins and the
//! published layout that the swap relies on (rule 7). And a table is freed while somebody looks into it.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p ioward-core --release --test loom`
#![cfg(loom)]

mod support;

use ioward_core::{
    DeviceDesc, Dma, FrameBuffer, PasidOffer, Status, Subsystem, Unbound,
    driver::{
        Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot,
        Translation,
    },
};
use ioward_pgtable::{ReadMemory, walk};
use ioward_types::{
    Attributes, Direction, Format, IommuId, Iova, Nanos, OutOfMemory, Pasid, PhysAddr, Platform, Root,
    SourceId, Span, TableConfig, Tag, control::Uncontrolled, hw,
};
use loom::{
    sync::atomic::{AtomicUsize, Ordering, fence},
    thread,
};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    ptr::NonNull,
    sync::{Arc, Mutex},
};
use support::Lock;

/// A platform whose locks and pins loom schedules. Frames are the host's.
#[derive(Clone)]
struct Sim(Arc<SimInner>);

struct SimInner {
    pinned: AtomicUsize,
    /// Counted at every access to a table while a carrier is being filled, or a table freed, so that loom may put others in
    /// between.
    crossing: AtomicUsize,
    /// Frames that were given back: they stay until the end, so that who still uses one is found.
    gone: Mutex<BTreeMap<u64, usize>>,
    filling: std::sync::atomic::AtomicBool,
}

struct Pin(Arc<SimInner>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pinned.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Sim {
    fn new() -> Self {
        Self(Arc::new(SimInner {
            pinned: AtomicUsize::new(0),
            crossing: AtomicUsize::new(0),
            gone: Mutex::default(),
            filling: Default::default(),
        }))
    }
}

impl Drop for SimInner {
    fn drop(&mut self) {
        for (&at, &bytes) in &*self.gone.lock().unwrap() {
            let layout = Layout::from_size_align(bytes, 4096).expect("allocated so");
            // SAFETY: from the allocator, which was asked for at least this alignment; given back once, and nobody is left.
            unsafe { dealloc(std::ptr::with_exposed_provenance_mut(at as usize), layout) }
        }
    }
}

// SAFETY: frames come zeroed from the host's allocator; there is one "CPU" a thread and nobody asks for its number.
unsafe impl Platform for Sim {
    type Lock = Lock;
    type Pin = Pin;
    fn pin(&self) -> (Pin, usize) {
        self.0.pinned.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        (Pin(self.0.clone()), 0)
    }
    fn synchronize(&self) {
        fence(Ordering::SeqCst);
        while self.0.pinned.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
    }
    fn frames(&self, bytes: usize, align: usize, _: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        let layout = Layout::from_size_align(bytes, align.max(4096)).map_err(|_| OutOfMemory)?;
        // SAFETY: the layout is not empty.
        Ok(PhysAddr(unsafe { alloc_zeroed(layout) }.expose_provenance() as u64))
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        self.0.gone.lock().unwrap().insert(at.0, bytes);
    }
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        if self.0.filling.load(std::sync::atomic::Ordering::Relaxed) {
            self.0.crossing.fetch_add(1, Ordering::Relaxed);
        }
        let used =
            self.0.gone.lock().unwrap().range(..=at.0).next_back().map(|(at, bytes)| at + *bytes as u64);
        assert!(used.is_none_or(|end| at.0 >= end), "{at} is in a frame that was freed");
        NonNull::new(std::ptr::with_exposed_provenance_mut(at.0 as usize)).expect("an allocated frame")
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn clean_for_device(&self, _: Span<PhysAddr>) {}
    fn invalidate_for_cpu(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(0)
    }
    fn relax(&self) {
        thread::yield_now();
    }
}

/// Remembers what is installed, and walks it as hardware would.
struct Fake {
    entries: Mutex<BTreeMap<SourceId, (Root, TableConfig)>>,
    platform: Sim,
}

struct Frames<'p>(&'p Sim);

impl ReadMemory for Frames<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        // SAFETY: the walk starts at an installed root, and what it leads to is not freed while it is installed.
        Some(unsafe { hw::load64(self.0, at) })
    }
}

impl Fake {
    /// Where a request of `source` for `at` goes.
    fn request(&self, source: SourceId, at: Iova) -> Option<PhysAddr> {
        let (root, config) = *self.entries.lock().unwrap().get(&source)?;
        match walk(&Frames(&self.platform), &config, root, at).ok()?.end() {
            ioward_pgtable::Meaning::Page { to, .. } => Some(to),
            _ => None,
        }
    }
}

const SIZES: u64 = 1 << 12 | 1 << 21;

// SAFETY: there are no caches; what is installed is what the walk below uses.
unsafe impl Driver for Fake {
    fn id(&self) -> IommuId {
        IommuId(0)
    }
    fn kind(&self) -> &'static str {
        "fake"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { pasid_bits: 8, coherent: true, ..Capabilities::default() }
    }
    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused> {
        let (format, in_bits) =
            if whole_group.pasid_bits == 0 { (Format::AmdV1, 48) } else { (Format::AmdV2, 47) };
        Ok(Plan::Tables(TableConfig {
            format,
            in_bits,
            out_bits: 52,
            page_sizes: SIZES,
            coherent: true,
            dirty: false,
            snoop: false,
        }))
    }
    fn can_walk(&self, _: &TableConfig) -> Result<(), Refused> {
        Ok(())
    }
    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        Ok(Slot { iommu: IommuId(0), source: what.source, index: what.source.0 })
    }
    fn release(&self, slot: Slot, _: bool) -> Blocked {
        self.block(&slot, None)
    }
    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        let Plan::Tables(config) = plan else { return Err(Refused::NoTag { iommu: IommuId(0) }) };
        let second = config.format == Format::AmdV2;
        self.platform.0.filling.store(second, std::sync::atomic::Ordering::Relaxed);
        Ok(Tag(config.format as u32))
    }
    unsafe fn untag(&self, _: Tag) -> Result<(), Hung> {
        Ok(())
    }
    unsafe fn install(&self, slot: &Slot, _: Option<Pasid>, what: &Translation<'_>) -> Result<(), Refused> {
        self.platform.0.filling.store(false, std::sync::atomic::Ordering::Relaxed);
        if let Translation::Table { root, config, .. } = what {
            self.entries.lock().unwrap().insert(slot.source, (*root, **config));
        }
        Ok(())
    }
    fn block(&self, slot: &Slot, _: Option<Pasid>) -> Blocked {
        self.entries.lock().unwrap().remove(&slot.source);
        Blocked::Confirmed
    }
    fn flush(&self, _: &[Flush<'_>]) -> Result<(), Hung> {
        Ok(())
    }
    fn poll(&self, _: &mut dyn FnMut(Event)) {}
}

/// Runs `f` on a loom thread with a stack for real code.
fn on_a_large_stack<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().stack_size(1 << 20).spawn(f).unwrap()
}

#[test]
fn carriers_are_swapped_under_maps_and_unmaps() {
    let mut model = loom::model::Builder::new();
    model.max_branches = 100_000;
    model.preemption_bound = Some(2);
    // There are more interleavings than minutes. A copy that is made without the lock is found in the first half of this.
    model.max_duration = Some(std::time::Duration::from_secs(60));
    model.check(|| on_a_large_stack(swap).join().unwrap());
}

fn swap() {
    {
        let platform = Sim::new();
        let subsystem = Subsystem::new(platform.clone());
        let fake = Arc::new(Fake { entries: Mutex::default(), platform: platform.clone() });
        subsystem.register(fake.clone()).unwrap();
        let sources = [(IommuId(0), SourceId(1)), (IommuId(0), SourceId(2))];
        let nic = subsystem.add(&DeviceDesc {
            joins: &sources,
            ..DeviceDesc::new("nic", &sources[..1], Arc::new(Uncontrolled))
        });
        let bound = nic.bind().unwrap();
        let page = || FrameBuffer::new(&platform, 4096, 4096).unwrap();
        let map =
            || Dma::map(bound.dma().clone(), page(), Direction::Both).map_err(|(error, _)| error).unwrap();
        let (kept, gone) = (map(), map());
        let kept_at = (kept.iova(), fake.request(SourceId(1), kept.iova()).unwrap());
        let gone_at = gone.iova();

        let (dma, buffer) = (bound.dma().clone(), page());
        let other = on_a_large_stack(move || {
            gone.unmap().unwrap();
            Dma::map(dma, buffer, Direction::Both).map_err(|(error, _)| error).unwrap()
        });
        let gpu = subsystem.add(&DeviceDesc {
            joins: &sources,
            pasid: PasidOffer::bits(8),
            ..DeviceDesc::new("gpu", &sources[1..], Arc::new(Uncontrolled))
        });
        assert_eq!(gpu.status(), Status::Served);
        assert_eq!(fake.request(SourceId(1), kept_at.0), Some(kept_at.1), "a live mapping is never missing");
        let made = other.join().unwrap();
        for source in [SourceId(1), SourceId(2)] {
            assert_eq!(fake.request(source, kept_at.0), Some(kept_at.1));
            assert!(
                fake.request(source, made.iova()).is_some(),
                "what was mapped meanwhile is in the new carrier"
            );
            if made.iova() != gone_at {
                assert_eq!(fake.request(source, gone_at), None, "what was unmapped meanwhile is not");
            }
        }
    }
}

#[test]
fn a_table_goes_while_somebody_looks_into_it() {
    let mut model = loom::model::Builder::new();
    model.max_branches = 100_000;
    model.preemption_bound = Some(2);
    model.check(|| on_a_large_stack(look).join().unwrap());
}

fn look() {
    const AT: Iova = Iova(0x20_0000);
    let platform = Sim::new();
    let subsystem = Subsystem::new(platform.clone());
    let fake = Arc::new(Fake { entries: Mutex::default(), platform: platform.clone() });
    subsystem.register(fake).unwrap();
    let source = [(IommuId(0), SourceId(1))];
    let nic = subsystem.add(&DeviceDesc::new("nic", &source, Arc::new(Uncontrolled)));
    let owned = subsystem.take(nic.info().group.unwrap(), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    owned.attach(&space).unwrap();
    let to = Span { start: platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap(), bytes: 4096 };
    // SAFETY: the page is used for nothing else, and never given back.
    unsafe { space.map(AT, to, Attributes::READ_WRITE) }.unwrap();
    platform.0.filling.store(true, std::sync::atomic::Ordering::Relaxed);
    let other = space.clone();
    let looks = on_a_large_stack(move || other.translate(Iova(AT.0 + 0x123)));
    // All that one table maps, so that the table goes.
    let span = Span { start: AT, bytes: 0x20_0000 };
    // SAFETY: mapped above by hand; nobody else maps here.
    unsafe { space.unmap(span, ()) }.map_err(|(error, ())| error).unwrap().finish().unwrap();
    let found = looks.join().unwrap();
    assert!(
        found.is_none_or(|found| found == PhysAddr(to.start.0 + 0x123)),
        "before or after, and nothing else"
    );
    assert_eq!(space.translate(AT), None);
    assert_eq!(platform.0.gone.lock().unwrap().len(), 1, "the table was freed");
}
