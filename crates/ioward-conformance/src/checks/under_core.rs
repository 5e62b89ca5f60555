//! The driver under the subsystem: who owns what until an invalidation is confirmed, and devices that come and go.

use crate::{
    bench::Bench,
    checks::{AT, Done},
    endpoint::{Endpoint, Reach},
    middleware::{DeafAtc, ToldAtc, Watched},
    rig::{Rig, stays_out},
};
use ioward_core::{
    Device, DeviceDesc, Dma, FrameBuffer, GroupId, PasidOffer, Region, RegionKind, Source, Status, Subsystem,
    Unbound,
    driver::{Blocked, Driver},
};
use ioward_types::{Attributes, Direction, Iova, PhysAddr, SourceId, Span};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

struct Machine<B: Bench> {
    rig: Rig<B>,
    driver: Arc<dyn Driver>,
    subsystem: Subsystem<Watched<B::Platform>>,
}

impl<B: Bench> Machine<B> {
    fn new(make: &dyn Fn() -> B) -> Self {
        let rig = Rig::new(make);
        let driver = rig.cold();
        let subsystem = Subsystem::new(rig.platform.clone());
        subsystem.register(driver.clone()).expect("the only IOMMU");
        Self { rig, driver, subsystem }
    }

    fn source(&self, n: usize) -> Source {
        (self.rig.facts.iommu, SourceId(self.rig.facts.sources[n]))
    }

    /// The nth device, with a cache where it may have one.
    fn endpoint(&self, n: usize) -> Endpoint {
        let source = self.rig.facts.sources[n];
        match self.rig.facts.ats {
            true => Endpoint::with_atc(self.rig.model.clone(), source, |sink| sink),
            false => self.rig.device(source),
        }
    }

    #[track_caller]
    fn add(&self, n: usize, endpoint: &Endpoint, regions: &[Region]) -> Device<Watched<B::Platform>> {
        let device = self.add_any(n, endpoint, regions);
        assert_eq!(device.status(), Status::Served);
        device
    }

    fn add_any(&self, n: usize, endpoint: &Endpoint, regions: &[Region]) -> Device<Watched<B::Platform>> {
        let sources = [self.source(n)];
        let mut desc = DeviceDesc::new("device", &sources, Arc::new(endpoint.clone()));
        desc.ats = self.rig.facts.ats.then_some(12);
        desc.regions = regions;
        self.subsystem.add(&desc)
    }

    fn group(&self, device: &Device<Watched<B::Platform>>) -> GroupId {
        device.info().group.expect("a device that is served is in a group")
    }
}

fn buffer<B: Bench>(rig: &Rig<B>) -> FrameBuffer<Watched<B::Platform>> {
    FrameBuffer::new(&rig.platform, 0x1_0000, 0x1_0000).expect("memory enough")
}

/// The DMA API end to end: a buffer is reached while it is mapped, and comes back when it is not.
pub fn a_mapping_lives_as_long_as_it_is_held<B: Bench>(make: &dyn Fn() -> B) {
    let machine = Machine::new(make);
    let endpoint = machine.endpoint(0);
    let device = machine.add(0, &endpoint, &[]);
    let bound = device.bind().expect("a device that is served");
    for round in 0..20 {
        let owned = buffer(&machine.rig);
        let to = ioward_core::DmaBuffer::span(&owned).start.0;
        let mapping = match Dma::map(bound.dma().clone(), owned, Direction::Both) {
            Ok(mapping) => mapping,
            Err((error, _)) => panic!("round {round}: {error}"),
        };
        let at = mapping.iova().0;
        for offset in [0, 0x5000, 0xffff] {
            assert_eq!(endpoint.write(None, at + offset), Reach::To(to + offset), "round {round}");
        }
        let back = mapping.unmap().expect("sound hardware");
        for offset in [0, 0x5000, 0xffff] {
            stays_out(endpoint.write(None, at + offset), "unmapped");
        }
        drop(back);
    }
    drop(bound);
    assert_eq!(device.remove(false), Blocked::Confirmed);
    stays_out(endpoint.write(None, AT), "removed");
    machine.rig.settled();
}

/// Tables are freed last: at the moment at which they are, no device reaches what they mapped, nor do pages come back before.
pub fn tables_are_freed_last<B: Bench>(make: &dyn Fn() -> B) {
    let machine = Machine::new(make);
    let endpoint = machine.endpoint(0);
    let device = machine.add(0, &endpoint, &[]);
    let owned = machine.subsystem.take(machine.group(&device), "owner").expect("a group that nobody has");
    let space = Unbound::default().bind(&owned).expect("a space");
    owned.attach(&space).expect("attached");
    let granule = space.granule();
    let span = granule * (granule / 8);
    let page = machine.rig.memory(granule);
    let (freed, early) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    {
        let (endpoint, freed, early) = (endpoint.clone(), freed.clone(), early.clone());
        machine.rig.platform.on_free(move |_| {
            freed.fetch_add(1, Ordering::SeqCst);
            if !matches!(endpoint.read(None, AT), Reach::Blocked) {
                early.store(true, Ordering::SeqCst);
            }
        });
    }
    let first = AT - AT % span;
    for _ in 0..4 {
        let to = Span { start: PhysAddr(page), bytes: granule };
        // SAFETY: the memory is the check's and never reused; nobody else maps in the space.
        unsafe { space.map(Iova(AT), to, Attributes::READ_WRITE) }.expect("mapped");
        assert_eq!(endpoint.write(None, AT), Reach::To(page));
        let whole = Span { start: Iova(first), bytes: span };
        // SAFETY: as above; what is mapped there was mapped above.
        let gather = unsafe { space.unmap(whole, ()) }.map_err(|(error, ())| error).expect("unmapped");
        gather.finish().expect("sound hardware");
        stays_out(endpoint.write(None, AT), "finished");
    }
    machine.rig.platform.off_free();
    let frees = freed.load(Ordering::SeqCst);
    assert!(frees >= 4 || machine.rig.facts.plain.is_none(), "{frees} tables were freed in four rounds");
    assert!(!early.load(Ordering::SeqCst), "a table was freed while a device reached what it maps");
    machine.rig.settled();
}

/// Devices are attached to an address space and leave it while others unmap in it: once a gather has finished, none of them
/// reaches what it was for.
pub fn targets_come_and_go_during_an_unmap<B: Bench>(make: &dyn Fn() -> B) {
    let machine = Machine::new(make);
    let endpoints = [machine.endpoint(0), machine.endpoint(2)];
    let devices = [machine.add(0, &endpoints[0], &[]), machine.add(2, &endpoints[1], &[])];
    let owned = [0, 1].map(|n: usize| {
        machine.subsystem.take(machine.group(&devices[n]), "owner").expect("a group that nobody has")
    });
    let space = Unbound::default().bind(&owned[0]).expect("a space");
    owned[0].attach(&space).expect("attached");
    if let Err(refused) = owned[1].attach(&space) {
        panic!("the same IOMMU, and it is refused: {refused}");
    }
    let granule = space.granule();
    let pages = [0, 1].map(|_| machine.rig.memory(granule));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ends = Done(&done);
        let comes_and_goes = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                owned[1].block().expect("sound hardware");
                std::thread::yield_now();
                owned[1].attach(&space).expect("attached again");
                std::thread::yield_now();
            }
        });
        let reads = scope.spawn(|| {
            let mut wrong = None;
            while !done.load(Ordering::Acquire) {
                for endpoint in &endpoints {
                    match endpoint.read(None, AT) {
                        Reach::To(to) if pages.contains(&to) => {}
                        Reach::Blocked => {}
                        astray => wrong = wrong.or(Some(astray)),
                    }
                }
                std::thread::yield_now();
            }
            wrong
        });
        let mut late = Vec::new();
        for round in 0..60 {
            let to = Span { start: PhysAddr(pages[round % 2]), bytes: granule };
            let span = Span { start: Iova(AT), bytes: granule };
            // SAFETY: the memory is the check's and never reused; no other thread maps in the space.
            unsafe { space.map(span.start, to, Attributes::READ_WRITE) }.expect("mapped");
            if endpoints[0].write(None, AT) != Reach::To(pages[round % 2]) {
                late.push((round, 9));
            }
            let _ = endpoints[1].write(None, AT);
            // SAFETY: as above.
            let gather = unsafe { space.unmap(span, ()) }.map_err(|(error, ())| error).expect("unmapped");
            gather.finish().expect("sound hardware");
            for (n, endpoint) in endpoints.iter().enumerate() {
                if endpoint.write(None, AT) != Reach::Blocked {
                    late.push((round, n));
                }
            }
        }
        drop(ends);
        comes_and_goes.join().expect("each call succeeds");
        assert_eq!(reads.join().expect("no assertion in it"), None, "a request went astray");
        assert!(late.is_empty(), "rounds and devices that reached what was unmapped: {late:?}");
    });
    machine.rig.settled();
}

/// A device that firmware requires to reach a region reaches it, and nothing else, whenever nobody maps for it.
pub fn parked_is_what_firmware_requires<B: Bench>(make: &dyn Fn() -> B) {
    let machine = Machine::new(make);
    let endpoint = machine.endpoint(0);
    let region = machine.rig.memory(0x1_0000);
    let other = machine.rig.memory(0x1_0000);
    let span = Span { start: PhysAddr(region), bytes: 0x1_0000 };
    let how = Attributes::READ_WRITE;
    let regions = [Region { span, kind: RegionKind::Required { how, relaxable: true } }];
    let device = machine.add(0, &endpoint, &regions);
    assert_eq!(endpoint.write(None, region), Reach::To(region), "before a driver binds");
    let owned =
        machine.subsystem.take(machine.group(&device), "owner").expect("a region that can be relaxed");
    for offset in [0, 0xf000] {
        assert_eq!(endpoint.write(None, region + offset), Reach::To(region + offset), "parked");
    }
    stays_out(endpoint.write(None, other), "parked, and not its region");
    let space = Unbound::default().bind(&owned).expect("a space");
    owned.attach(&space).expect("attached");
    stays_out(endpoint.write(None, region), "an owner's space has what the owner maps");
    drop(owned);
    assert_eq!(endpoint.write(None, region), Reach::To(region), "the kernel's again");
    stays_out(endpoint.write(None, other), "and nothing else");
    assert_eq!(device.remove(false), Blocked::Confirmed);
    stays_out(endpoint.write(None, region), "removed");
    machine.rig.settled();
}

/// A card that is pulled is let go without a word to it, what was mapped for it can be unmapped, and one that is plugged in its
/// place inherits nothing.
pub fn a_pulled_device_is_let_go<B: Bench>(make: &dyn Fn() -> B) {
    let machine = Machine::new(make);
    let (told, deaf) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let source = machine.rig.facts.sources[0];
    let endpoint = match machine.rig.facts.ats {
        true => Endpoint::with_atc(machine.rig.model.clone(), source, |sink| {
            Arc::new(ToldAtc::new(Arc::new(DeafAtc::new(sink, deaf.clone())), told.clone()))
        }),
        false => machine.rig.device(source),
    };
    let device = machine.add(0, &endpoint, &[]);
    let bound = device.bind().expect("a device that is served");
    let mapping =
        Dma::map(bound.dma().clone(), buffer(&machine.rig), Direction::Both).map_err(|(error, _)| error);
    let mapping = mapping.expect("mapped");
    let at = mapping.iova().0;
    assert!(matches!(endpoint.write(None, at), Reach::To(_)));
    deaf.store(true, Ordering::SeqCst);
    told.store(0, Ordering::SeqCst);
    assert_eq!(device.remove(true), Blocked::Confirmed, "nothing that is there has to answer");
    drop(mapping.unmap().expect("its IOMMU is there"));
    drop(bound);
    assert_eq!(told.load(Ordering::SeqCst), 0, "commands to a device that was pulled");
    deaf.store(false, Ordering::SeqCst);
    let _ = ioward_types::DeviceControl::reset(&endpoint);
    ioward_types::DeviceControl::bus_master(&endpoint, true);
    stays_out(endpoint.write(None, at), "in its place");
    let next = machine.add(0, &endpoint, &[]);
    stays_out(endpoint.write(None, at), "in its place, served");
    drop(next);
    machine.rig.settled();
}

/// Everything that is taken in can be taken out again, in any order, and leaves no memory behind.
pub fn torn_down_leaves_nothing<B: Bench>(make: &dyn Fn() -> B) {
    let machine = Machine::new(make);
    let bits = machine.rig.facts.pasid_bits.min(4);
    let mut left = Vec::new();
    for round in 0..4 {
        let endpoints = [0, 1, 2].map(|n| machine.endpoint(n));
        let mut devices = Vec::new();
        for (n, endpoint) in endpoints.iter().enumerate() {
            let sources = [machine.source(n)];
            let mut desc = DeviceDesc::new("device", &sources, Arc::new(endpoint.clone()));
            desc.pasid = if n == 1 { PasidOffer::bits(bits) } else { PasidOffer::NONE };
            desc.ats = machine.rig.facts.ats.then_some(12);
            let device = machine.subsystem.add(&desc);
            assert_eq!(device.status(), Status::Served);
            devices.push(device);
        }
        let bound = devices[1].bind().expect("served");
        let mapping = Dma::map(bound.dma().clone(), buffer(&machine.rig), Direction::Both);
        let mapping = mapping.map_err(|(error, _)| error).expect("mapped");
        let at = mapping.iova().0;
        assert!(matches!(endpoints[1].write(None, at), Reach::To(_)));
        if bits > 0 {
            let space = bound.make_space(&Default::default()).expect("a space for PASIDs");
            bound.attach_pasid(ioward_types::Pasid(3), &space).expect("attached");
        }
        // Once with the mapping outliving the device, once not.
        if round % 2 == 0 {
            drop(mapping.unmap().expect("sound hardware"));
            drop(bound);
            devices.drain(..).for_each(|device| assert_eq!(device.remove(false), Blocked::Confirmed));
        } else {
            devices.drain(..).for_each(|device| assert_eq!(device.remove(false), Blocked::Confirmed));
            drop(mapping.unmap().expect("sound hardware"));
            drop(bound);
        }
        for endpoint in &endpoints {
            stays_out(endpoint.write(None, at), "torn down");
        }
        machine.rig.settled();
        left.push(machine.rig.platform.live());
    }
    assert_eq!(left[0], left[2], "bytes that are kept, round after round: {left:x?}");
    assert_eq!(left[1], left[3], "bytes that are kept, round after round: {left:x?}");
    assert!(machine.driver.plan(&Default::default()).is_ok());
}

/// Hardware that hangs under the subsystem: memory that a device may still reach is withheld, its devices are silenced, and
/// nothing waits without end.
pub fn hung_hardware_withholds_memory<B: Bench>(make: &dyn Fn() -> B) {
    let machine = Machine::new(make);
    let endpoint = machine.endpoint(0);
    let device = machine.add(0, &endpoint, &[]);
    let bound = device.bind().expect("a device that is served");
    let mapping = Dma::map(bound.dma().clone(), buffer(&machine.rig), Direction::Both);
    let mapping = mapping.map_err(|(error, _)| error).expect("mapped");
    let at = mapping.iova().0;
    assert!(matches!(endpoint.write(None, at), Reach::To(_)));
    machine.rig.bench.hang(true);
    let live = machine.rig.platform.live();
    assert!(mapping.unmap().is_err(), "an unmap that hung hardware confirmed");
    assert!(machine.rig.platform.live() >= live.min(0x1_0000), "memory that a device may reach was freed");
    assert_eq!(endpoint.write(None, at), Reach::Silenced, "a device that may reach what was taken back");
    drop(bound);
    let _ = device.remove(false);
    machine.rig.lawful();
}
