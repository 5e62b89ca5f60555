//! A driver of SMMUv3 over the model that judges it, with devices and page tables.
//!
//! Tables are written here entry by entry (Arm ARM, D8.3), four levels of 4 KiB granules, so that nothing of the page-table
//! engine is needed.
#![allow(dead_code)]

use ioward_core::driver::{
    AtcTarget, Claim, Driver, Event, Fault, Flush, Plan, Requirements, Slot, Translation,
};
use ioward_drivers::smmuv3::{BringUp, BringUpError, Config, SmmuV3};
use ioward_models::{
    DmaEngine, DmaError, IommuModel, Memory, SimPlatform, Violations, Visibility,
    smmuv3::{Features, Smmu},
};
use ioward_types::{
    Format, IommuId, Iova, Mmio, Nanos, Pasid, PhysAddr, Platform, Root, SourceId, Span, TableConfig, Tag, hw,
};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

pub const IOMMU: IommuId = IommuId(3);
pub const NOWHERE: PhysAddr = PhysAddr(u64::MAX);

/// Registers that the driver owns and the test still reaches.
#[derive(Clone)]
pub struct Shared(pub Arc<Smmu>);

impl Mmio for Shared {
    fn read32(&self, at: usize) -> u32 {
        self.0.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.0.write32(at, value)
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        self.0.write64(at, value)
    }
}

/// The same, until so many accesses have been made: then the model hangs.
pub struct Cut {
    model: Arc<Smmu>,
    left: AtomicI64,
    watch: Box<dyn Fn() + Send + Sync>,
}

impl Cut {
    pub fn new(model: &Arc<Smmu>, after: i64, watch: impl Fn() + Send + Sync + 'static) -> Self {
        Self { model: model.clone(), left: AtomicI64::new(after), watch: Box::new(watch) }
    }
    fn access<T>(&self, access: impl FnOnce(&Smmu) -> T) -> T {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.model.set_hung(true);
        }
        let result = access(&self.model);
        (self.watch)();
        result
    }
}

impl Mmio for Cut {
    fn read32(&self, at: usize) -> u32 {
        self.access(|model| model.read32(at))
    }
    fn write32(&self, at: usize, value: u32) {
        self.access(|model| model.write32(at, value))
    }
    fn read64(&self, at: usize) -> u64 {
        self.access(|model| model.read64(at))
    }
    fn write64(&self, at: usize, value: u64) {
        self.access(|model| model.write64(at, value))
    }
}

pub type Driven = SmmuV3<Shared, SimPlatform>;

/// A machine before its SMMU is brought up.
pub struct Rig {
    pub memory: Memory,
    pub platform: SimPlatform,
    pub model: Arc<Smmu>,
}

pub fn config() -> Config {
    Config { bound: Nanos(10_000_000), ..Config::default() }
}

impl Rig {
    pub fn new(features: Features, visibility: Visibility) -> Self {
        let memory = Memory::new(PhysAddr(0x8000_0000), 64 << 20, Violations::default());
        memory.set_incoherent(!features.coherent);
        memory.set_visibility(visibility);
        let platform = SimPlatform::new(memory.clone());
        let model = Smmu::new("smmu", features, memory.clone());
        model.poison();
        Self { memory, platform, model }
    }

    pub fn large() -> Self {
        Self::new(Features::default(), Visibility::Held)
    }

    pub fn bring_up(&self, state: BringUp<'_>) -> Result<Driven, BringUpError> {
        self.bring_up_as(&config(), state)
    }

    pub fn bring_up_as(&self, config: &Config, state: BringUp<'_>) -> Result<Driven, BringUpError> {
        SmmuV3::bring_up(IOMMU, Shared(self.model.clone()), config, &self.platform, state)
    }

    pub fn device(&self, source: u32, has_atc: bool) -> DmaEngine {
        let iommu: Arc<dyn IommuModel> = self.model.clone();
        DmaEngine::new("device", SourceId(source), Some(iommu), self.memory.clone(), has_atc)
    }

    /// A page of data that holds `byte`.
    pub fn page(&self, byte: u8) -> PhysAddr {
        let at = self.platform.frames(0x1000, 0x1000, NOWHERE).unwrap();
        self.memory.dma_write("test", at, &[byte; 0x1000]).unwrap();
        at
    }

    pub fn byte(&self, at: PhysAddr) -> u8 {
        let mut byte = [0];
        self.memory.dma_read("test", at, &mut byte).unwrap();
        byte[0]
    }
}

pub fn claim(driver: &Driven, source: u32, pasid_bits: u8, ats: bool) -> Slot {
    driver.claim(&Claim { source: SourceId(source), pasid_bits, ats }).expect("a free source")
}

pub fn read(device: &DmaEngine, pasid: Option<u32>, at: u64) -> Result<u8, DmaError> {
    let mut byte = [0];
    device.read(pasid.map(Pasid), Iova(at), &mut byte).map(|()| byte[0])
}

/// Everything that the driver reports.
pub fn events(driver: &Driven) -> Vec<Event> {
    let mut all = Vec::new();
    driver.poll(&mut |event| all.push(event));
    all
}

pub fn faults(driver: &Driven) -> Vec<Fault> {
    let fault = |event| match event {
        Event::Fault(fault) => fault,
        other => panic!("not a fault: {other:?}"),
    };
    events(driver).into_iter().map(fault).collect()
}

/// A page table of one carrier.
pub struct Table {
    platform: SimPlatform,
    pub config: TableConfig,
    pub root: Root,
    pub tag: Tag,
}

const LEAF_1: u64 = 0x0060_0000_0000_0f43;
const LEAF_2: u64 = 0x0040_0000_0000_07ff;

impl Table {
    /// An empty table of the format that serves `pasid_bits`, with a tag.
    pub fn new(rig: &Rig, driver: &Driven, pasid_bits: u8) -> Self {
        let wish = Requirements { pasid_bits, ..Requirements::default() };
        Self::planned(rig, driver, driver.plan(&wish).expect("a plan"))
    }

    pub fn planned(rig: &Rig, driver: &Driven, plan: Plan) -> Self {
        let Plan::Tables(config) = plan else { panic!("tables") };
        // Stage 2 of 40 bits starts at level 1 with two concatenated tables; other widths here at level 0.
        let (levels, bytes) = match (config.format, config.in_bits) {
            (Format::ArmStage2, 40) => (3, 0x2000),
            _ => (4, 0x1000),
        };
        let at = rig.platform.frames(bytes, bytes, NOWHERE).unwrap();
        let table = Self {
            platform: rig.platform.clone(),
            config,
            root: Root { at, levels },
            tag: driver.tag(&plan).expect("a tag"),
        };
        table.clean(at, bytes as u64);
        table
    }

    fn clean(&self, at: PhysAddr, bytes: u64) {
        self.platform.clean(Span { start: at, bytes });
    }

    fn store(&self, at: u64, value: u64) {
        // SAFETY: an entry of a table of this test's.
        unsafe { hw::store64(&self.platform, PhysAddr(at), value) }
        self.clean(PhysAddr(at), 8);
    }

    /// Where the entry of a page is; tables on the way are made.
    fn entry(&self, iova: u64) -> u64 {
        let mut table = self.root.at.0;
        for level in (1..self.root.levels).rev() {
            let shift = 12 + 9 * u64::from(level);
            let mask = if level + 1 == self.root.levels { 0x3ff } else { 0x1ff };
            let at = table + (iova >> shift & mask) * 8;
            // SAFETY: as above.
            let entry = unsafe { hw::load64(&self.platform, PhysAddr(at)) };
            if entry & 1 == 0 {
                let next = self.platform.frames(0x1000, 0x1000, NOWHERE).unwrap();
                self.clean(next, 0x1000);
                self.platform.publish();
                self.store(at, next.0 | 3);
                table = next.0;
            } else {
                table = entry & 0x0000_ffff_ffff_f000;
            }
        }
        table + (iova >> 12 & 0x1ff) * 8
    }

    pub fn map(&self, iova: u64, to: PhysAddr) {
        let leaf = if self.config.format == Format::ArmStage1 { LEAF_1 } else { LEAF_2 };
        self.store(self.entry(iova), leaf | to.0);
        self.platform.publish();
    }

    /// Only the table; a flush is owed.
    pub fn unmap(&self, iova: u64) {
        self.store(self.entry(iova), 0);
        self.platform.publish();
    }

    pub fn translation(&self) -> Translation<'_> {
        Translation::Table { root: self.root, config: &self.config, tag: self.tag }
    }

    pub fn flush<'a>(&self, iova: u64, bytes: u64, atc: &'a [AtcTarget]) -> Flush<'a> {
        let span = Span { start: Iova(iova), bytes };
        Flush { tag: self.tag, span, granule: 0x1000, tables_went: false, atc }
    }
}
