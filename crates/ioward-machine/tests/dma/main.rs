//! The DMA API with real drivers over models of every IOMMU, and over each format of their tables: what a device reaches,
//! what it does not, and what becomes of memory when a mapping ends well, is dropped, is forgotten, or hardware hangs.
#[path = "../rules/help.rs"]
#[allow(dead_code)]
mod help;

mod bounce;
mod coherent;
mod direct;
mod failures;
mod lazy;
mod list;
mod peer;
mod reserved;
mod trim;
mod under_way;

use help::KINDS;
use ioward::core::{Bound, DmaBuffer as _, FrameBuffer, PasidOffer, Policy, Region, Status};
use ioward::types::{Iova, PhysAddr, Platform as _};
use ioward_machine::{Endpoint, Rig};
use ioward_models::{DmaError, SimPlatform, virtio::VirtioIommuConfig};
use std::{fmt, ptr::NonNull};

/// The page that every format here has.
const PAGE: usize = 4096;

/// A device behind an IOMMU, with a driver bound.
struct Bench {
    // Dropped in this order.
    bound: Bound<SimPlatform>,
    nic: Endpoint,
    rig: Rig,
    name: String,
}

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Bench {
    /// Over the table of a group without PASIDs, of one with them, or over requests.
    fn all() -> Vec<Self> {
        Self::all_with(64, &[])
    }

    /// The same for a device with so many bits of address and these regions.
    fn all_with(addr_bits: u8, regions: &[Region]) -> Vec<Self> {
        Self::all_under(Policy::default, addr_bits, regions)
    }

    /// The same under a policy.
    fn all_under(policy: impl Fn() -> Policy, addr_bits: u8, regions: &[Region]) -> Vec<Self> {
        let formats = KINDS.into_iter().flat_map(|kind| [(kind, 0), (kind, 8)]);
        let walked = formats.map(|(kind, pasids)| {
            let mut rig = Rig::new(policy());
            help::add(&mut rig, 0, kind);
            rig.start(0).unwrap();
            let formats = kind.formats();
            let format = if pasids == 0 { formats.0 } else { formats.1 };
            let bench = Self::over(rig, format!("{kind:?} {format:?}"), pasids, addr_bits, regions);
            assert_eq!(help::formats(&bench.rig, &bench.nic)[0].1, format);
            bench
        });
        let mut all: Vec<Self> = walked.collect();
        let mut rig = Rig::new(policy());
        rig.virtio(0, VirtioIommuConfig::default());
        rig.start(0).unwrap();
        all.push(Self::over(rig, "requests".into(), 0, addr_bits, regions));
        all
    }

    fn over(rig: Rig, name: String, pasids: u8, addr_bits: u8, regions: &[Region]) -> Self {
        let nic = rig.device("nic", &[(0, 8)], false, |desc| {
            desc.pasid = PasidOffer::bits(pasids);
            desc.addr_bits = addr_bits;
            desc.regions = regions;
        });
        assert_eq!(nic.device.status(), Status::Served, "{name}");
        let bound = nic.device.bind().unwrap();
        Self { bound, nic, rig, name }
    }

    fn reads(&self, at: Iova, bytes: usize) -> Result<Vec<u8>, DmaError> {
        let mut into = vec![0xee; bytes];
        self.nic.read(None, at, &mut into).map(|()| into)
    }

    /// Bytes of memory and of IOVA that are in use.
    fn held(&self) -> (u64, u64) {
        (self.rig.memory.allocated(), self.bound.dma().stats().iova_in_use)
    }
}

/// Pages of the machine's memory, all full of [`SECRET`], in which a borrowed buffer lies among its neighbours.
struct Neighbours {
    platform: SimPlatform,
    pages: FrameBuffer<SimPlatform>,
    bytes: usize,
}

const SECRET: u8 = 0xa5;

impl Neighbours {
    fn new(rig: &Rig, pages: usize) -> Self {
        let bytes = pages * PAGE;
        let mut frames = FrameBuffer::new(&rig.platform, bytes, PAGE).unwrap();
        assert!(frames.write(0, &vec![SECRET; bytes]));
        Self { platform: rig.platform.clone(), pages: frames, bytes }
    }

    fn phys(&self, offset: usize) -> PhysAddr {
        PhysAddr(self.pages.span().start.0 + offset as u64)
    }

    /// The bytes from `offset` on, filled with 1, 2, 3, …
    fn buffer(&mut self, offset: usize, bytes: usize) -> NonNull<[u8]> {
        assert!(offset + bytes <= self.bytes);
        assert!(self.pages.write(offset, &counting(bytes)));
        NonNull::slice_from_raw_parts(self.platform.virt(self.phys(offset)), bytes)
    }

    fn now(&self, offset: usize, bytes: usize) -> Vec<u8> {
        let mut into = vec![0; bytes];
        assert!(self.pages.read(offset, &mut into));
        into
    }

    /// Whether all but `bytes` bytes from `offset` on are what they were.
    fn are_untouched_but(&self, offset: usize, bytes: usize) -> bool {
        let all = self.now(0, self.bytes);
        all[..offset].iter().chain(&all[offset + bytes..]).all(|byte| *byte == SECRET)
    }
}

/// Bytes that differ from one page to the next.
fn counting(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8 + 1).collect()
}
