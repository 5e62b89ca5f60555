//! A machine of one IOMMU with a device directory, enabled as firmware might leave it.

use crate::{
    Access, IommuModel, Memory, Outcome, Request, SimPlatform, Violations,
    riscv::{Features, RiscvIommu},
};
use ioward_types::{Iova, Mmio, Pasid, PhysAddr, Platform, SourceId};
use std::sync::Arc;

pub const DDT: u64 = 0x8000_0000;
pub const CQ: u64 = 0x8001_0000;
pub const FQ: u64 = 0x8002_0000;
pub const PQ: u64 = 0x8002_8000;
pub const PDT: u64 = 0x8003_0000;
pub const TABLES: u64 = 0x8004_0000;
pub const GUEST: u64 = 0x8006_0000;
pub const MSIPT: u64 = 0x8008_0000;
pub const DATA: u64 = 0x8010_0000;
pub const BYTES: u64 = 0x40_0000;

/// Sv39 in a fsc.
pub const SV39: u64 = 8 << 60;
/// Sv39x4, GSCID 3 in an iohgatp.
pub const SV39X4: u64 = 8 << 60 | 3 << 44;
/// PSCID 7 in a ta.
pub const TA7: u64 = 7 << 12;

/// A page number's place in an entry of a page table or directory.
pub const fn ppn(at: u64) -> u64 {
    at >> 12 << 10
}
/// A link to a table.
pub const fn link(at: u64) -> u64 {
    ppn(at) | 0x01
}
/// A user's page to read and write: V, R, W, U, A, D.
pub const fn page(at: u64) -> u64 {
    ppn(at) | 0xd7
}

// Commands.
pub const VMA: u64 = 0x001;
pub const GVMA: u64 = 0x081;
pub const AV: u64 = 1 << 10;
pub const PSCV: u64 = 1 << 32;
pub const GV: u64 = 1 << 33;
pub const PSCID7: u64 = 7 << 12;
pub const GSCID3: u64 = 3 << 44;
/// IOFENCE.C with PR and PW.
pub const FENCE: u64 = 0x3002;
pub const INVAL_DDT: u64 = 0x003;
pub const INVAL_PDT: u64 = 0x083;
pub const DV: u64 = 1 << 33;
/// DID 5.
pub const DID5: u64 = 5 << 40;

pub struct Rig {
    pub memory: Memory,
    pub iommu: Arc<RiscvIommu>,
}

impl Rig {
    pub fn new(features: Features) -> Self {
        let memory = Memory::new(PhysAddr(0x8000_0000), BYTES, Violations::default());
        memory.set_incoherent(false);
        let platform = SimPlatform::new(memory.clone());
        let frames = platform.frames(BYTES as usize, 0x20_0000, PhysAddr(u64::MAX)).unwrap();
        assert_eq!(frames.0, DDT);
        let iommu = RiscvIommu::new("iommu", features, memory.clone());
        Self { memory, iommu }
    }

    /// One level at [`DDT`]; 16 commands, 8 fault records, 8 page requests; no interrupts.
    pub fn enabled(features: Features) -> Self {
        let rig = Self::new(features);
        rig.enable(2);
        rig
    }

    pub fn enable(&self, mode: u64) {
        self.iommu.preset(0x18, ppn(CQ) | 3);
        self.iommu.preset(0x28, ppn(FQ) | 2);
        self.iommu.preset(0x38, ppn(PQ) | 2);
        self.iommu.preset(0x48, 1);
        self.iommu.preset(0x4c, 1);
        self.iommu.preset(0x50, 1);
        self.iommu.preset(0x10, ppn(DDT) | mode);
    }

    /// Device 5 translates by Sv39, PSCID 7: 0x1000 goes to [`DATA`], 0x2000 to the page behind it.
    pub fn first(features: Features) -> Self {
        let rig = Self::enabled(features);
        rig.map_first(TABLES);
        rig.context(5, &[1, 0, TA7, SV39 | TABLES >> 12]);
        rig
    }

    /// Three levels at `root` and the pages behind it.
    pub fn map_first(&self, root: u64) {
        self.put(root, &[link(root + 0x1000)]);
        self.put(root + 0x1000, &[link(root + 0x2000)]);
        self.put(root + 0x2008, &[page(DATA), page(DATA + 0x1000)]);
    }

    /// Device 5 translates by Sv39x4, GSCID 3: a guest's 0x1000 goes to [`DATA`], 0x2000 to the page behind it.
    pub fn second(features: Features) -> Self {
        let rig = Self::enabled(features);
        rig.map_second();
        rig.context(5, &[1, SV39X4 | GUEST >> 12, 0, 0]);
        rig
    }

    pub fn map_second(&self) {
        self.put(GUEST, &[link(GUEST + 0x4000)]);
        self.put(GUEST + 0x4000, &[link(GUEST + 0x5000)]);
        self.put(GUEST + 0x5008, &[page(DATA), page(DATA + 0x1000)]);
    }

    /// Both stages for device 5: the guest's tables are at the guest's 0x10000 and are [`TABLES`]; its 0x1000 is IOVA
    /// 0x7000, its 0x2000 is 0x8000.
    pub fn both(features: Features) -> Self {
        let rig = Self::enabled(features);
        rig.map_second();
        // The guest's pages 0x10 to 0x12 hold its tables.
        rig.put(GUEST + 0x5000 + 0x80, &[page(TABLES), page(TABLES + 0x1000), page(TABLES + 0x2000)]);
        rig.put(TABLES, &[link(0x11000)]);
        rig.put(TABLES + 0x1000, &[link(0x12000)]);
        rig.put(TABLES + 0x2038, &[page(0x1000), page(0x2000)]);
        rig.context(5, &[1, SV39X4 | GUEST >> 12, TA7, SV39 | 0x10]);
        rig
    }

    /// Writes a context into the page at [`DDT`], its first doubleword last.
    pub fn context(&self, device: u64, words: &[u64]) {
        let bytes = if self.iommu.features().msi_flat { 64 } else { 32 };
        let at = DDT + device * bytes;
        self.put(at + 8, &words[1..]);
        self.put(at, &words[..1]);
    }

    /// Where a doubleword of device 5's context is.
    pub fn context_word(&self, n: u64) -> u64 {
        DDT + 5 * if self.iommu.features().msi_flat { 64 } else { 32 } + 8 * n
    }

    pub fn put(&self, at: u64, words: &[u64]) {
        for (n, word) in words.iter().enumerate() {
            self.memory.write64("test", PhysAddr(at + 8 * n as u64), *word).unwrap();
        }
    }

    pub fn read(&self, at: u64) -> u64 {
        self.memory.read64("test", PhysAddr(at), true).unwrap()
    }

    /// Appends a command.
    pub fn command(&self, words: [u64; 2]) {
        let tail = self.iommu.read32(0x24);
        self.put(CQ + u64::from(tail) * 16, &words);
        self.iommu.write32(0x24, (tail + 1) & 15);
    }

    /// A command and the fence that completes it.
    pub fn fenced(&self, words: [u64; 2]) {
        self.command(words);
        self.fence();
    }

    pub fn fence(&self) {
        self.command([FENCE, 0]);
        assert_eq!(self.iommu.read32(0x20), self.iommu.read32(0x24), "fetched");
        assert_eq!(self.iommu.read32(0x48) & 0xf00, 0, "no error");
    }

    pub fn access(&self, source: u32, pasid: Option<u32>, at: u64, access: Access) -> Outcome {
        self.iommu.request(&request(source, pasid, at, access))
    }

    /// Where a read of device 5 goes.
    pub fn goes(&self, at: u64) -> Option<u64> {
        to(self.access(5, None, at, Access::Read))
    }

    /// Where a write of device 5 goes.
    pub fn stores(&self, at: u64) -> Option<u64> {
        to(self.access(5, None, at, Access::Write))
    }

    /// The oldest record of the fault queue, taken.
    pub fn fault(&self) -> Option<[u64; 4]> {
        let (head, tail) = (self.iommu.read32(0x30), self.iommu.read32(0x34));
        if head == tail {
            return None;
        }
        let at = FQ + u64::from(head) * 32;
        self.iommu.write32(0x30, (head + 1) & 7);
        Some(std::array::from_fn(|n| self.read(at + 8 * n as u64)))
    }

    /// The cause of the oldest record, taken.
    pub fn cause(&self) -> Option<u64> {
        self.fault().map(|record| record[0] & 0xfff)
    }

    /// Sections of the violations since the last call, without the specification's name.
    pub fn sections(&self) -> Vec<&'static str> {
        let all = self.memory.violations().take();
        all.iter().map(|violation| violation.section.trim_start_matches("RISC-V IOMMU 1.0.1, ")).collect()
    }
}

pub fn to(outcome: Outcome) -> Option<u64> {
    match outcome {
        Outcome::To { at, .. } => Some(at.0),
        _ => None,
    }
}

pub fn request(source: u32, pasid: Option<u32>, at: u64, access: Access) -> Request {
    Request { source: SourceId(source), pasid: pasid.map(Pasid), at: Iova(at), access, privileged: false }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.memory.violations().assert_none();
        }
    }
}
