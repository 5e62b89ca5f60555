//! A driver of a RISC-V IOMMU over the model that judges it, with devices and page tables.
//!
//! Tables are written here entry by entry (RISC-V privileged architecture, 10.3 to 10.6 and 8.5), so that nothing of the
//! page-table engine is needed.
#![allow(dead_code)]

use ioward_core::driver::{
    AtcTarget, Claim, Driver, Event, Fault, Flush, Plan, Requirements, Slot, Translation,
};
use ioward_drivers::riscv::{BringUp, BringUpError, Config, RiscVIommu};
use ioward_models::{
    DmaEngine, DmaError, IommuModel, Memory, SimPlatform, Violations, Visibility,
    riscv::{Features, RiscvIommu},
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
pub struct Shared(pub Arc<RiscvIommu>);

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

/// The same, watched, until so many accesses have been made: then the model hangs.
pub struct Cut {
    model: Arc<RiscvIommu>,
    left: AtomicI64,
    watch: Box<dyn Fn() + Send + Sync>,
}

impl Cut {
    pub fn new(model: &Arc<RiscvIommu>, after: i64, watch: impl Fn() + Send + Sync + 'static) -> Self {
        Self { model: model.clone(), left: AtomicI64::new(after), watch: Box::new(watch) }
    }
    fn access<T>(&self, access: impl FnOnce(&RiscvIommu) -> T) -> T {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.model.set_hung(true);
            self.model.set_stuck(true);
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

pub type Driven = RiscVIommu<Shared, SimPlatform>;

/// A machine before its IOMMU is brought up.
pub struct Rig {
    pub memory: Memory,
    pub platform: SimPlatform,
    pub model: Arc<RiscvIommu>,
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
        let model = RiscvIommu::new("iommu", features, memory.clone());
        model.poison();
        Self { memory, platform, model }
    }

    pub fn large() -> Self {
        Self::new(Features::default(), Visibility::Held)
    }

    /// The usual configuration, with what firmware says of this one.
    pub fn config(&self) -> Config {
        let mut config = config();
        config.firmware.coherent = Some(self.model.features().coherent);
        config
    }

    pub fn bring_up(&self, state: BringUp<'_>) -> Result<Driven, BringUpError> {
        self.bring_up_as(&self.config(), state)
    }

    pub fn bring_up_as(&self, config: &Config, state: BringUp<'_>) -> Result<Driven, BringUpError> {
        RiscVIommu::bring_up(IOMMU, Shared(self.model.clone()), config, &self.platform, state)
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

    /// Nothing was done that must not be, and no table was freed that hardware may still read.
    pub fn settled(&self, name: &str) {
        self.model.audit();
        let violations = self.memory.violations().take();
        assert!(violations.is_empty(), "{name}: {violations:#?}");
    }
}

pub fn claim(driver: &impl Driver, source: u32, pasid_bits: u8, ats: bool) -> Slot {
    driver.claim(&Claim { source: SourceId(source), pasid_bits, ats }).expect("a free source")
}

pub fn read(device: &DmaEngine, pasid: Option<u32>, at: u64) -> Result<u8, DmaError> {
    let mut byte = [0];
    device.read(pasid.map(Pasid), Iova(at), &mut byte).map(|()| byte[0])
}

/// Everything that the driver reports.
pub fn events(driver: &impl Driver) -> Vec<Event> {
    let mut all = Vec::new();
    driver.poll(&mut |event| all.push(event));
    all
}

pub fn faults(driver: &impl Driver) -> Vec<Fault> {
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

/// V, R, W, U, A and D.
const LEAF: u64 = 0xd7;

impl Table {
    /// An empty table of the format that serves `pasid_bits`, with a tag.
    pub fn new(rig: &Rig, driver: &impl Driver, pasid_bits: u8) -> Self {
        let wish = Requirements { pasid_bits, ..Requirements::default() };
        Self::planned(rig, driver, driver.plan(&wish).expect("a plan"))
    }

    pub fn planned(rig: &Rig, driver: &impl Driver, plan: Plan) -> Self {
        let Plan::Tables(config) = plan else { panic!("tables") };
        let (bytes, extra) = match config.format {
            Format::RiscvSecond => (0x4000, 2),
            _ => (0x1000, 0),
        };
        let levels = match config.in_bits - extra {
            0..=39 => 3,
            40..=48 => 4,
            _ => 5,
        };
        let at = rig.platform.frames(bytes, bytes, NOWHERE).unwrap();
        let tag = driver.tag(&plan).expect("a tag");
        let table = Self { platform: rig.platform.clone(), config, root: Root { at, levels }, tag };
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
            let second_root = level + 1 == self.root.levels && self.config.format == Format::RiscvSecond;
            let mask = if second_root { 0x7ff } else { 0x1ff };
            let at = table + (iova >> shift & mask) * 8;
            // SAFETY: as above.
            let entry = unsafe { hw::load64(&self.platform, PhysAddr(at)) };
            if entry & 1 == 0 {
                let next = self.platform.frames(0x1000, 0x1000, NOWHERE).unwrap();
                self.clean(next, 0x1000);
                self.platform.publish();
                self.store(at, next.0 >> 12 << 10 | 1);
                table = next.0;
            } else {
                table = entry >> 10 << 12;
            }
        }
        table + (iova >> 12 & 0x1ff) * 8
    }

    pub fn map(&self, iova: u64, to: PhysAddr) {
        self.put(iova, to.0 >> 12 << 10 | LEAF);
    }

    /// An entry as it is.
    pub fn put(&self, iova: u64, entry: u64) {
        self.store(self.entry(iova), entry);
        self.platform.publish();
    }

    pub fn get(&self, iova: u64) -> u64 {
        // SAFETY: an entry of a table of this test's.
        unsafe { hw::load64(&self.platform, PhysAddr(self.entry(iova))) }
    }

    /// Only the table; a flush is owed.
    pub fn unmap(&self, iova: u64) {
        self.put(iova, 0);
    }

    pub fn translation(&self) -> Translation<'_> {
        Translation::Table { root: self.root, config: &self.config, tag: self.tag }
    }

    pub fn foreign(&self) -> Translation<'_> {
        Translation::Foreign { root: self.root, config: &self.config, tag: self.tag }
    }

    pub fn flush<'a>(&self, iova: u64, bytes: u64, atc: &'a [AtcTarget]) -> Flush<'a> {
        let span = Span { start: Iova(iova), bytes };
        Flush { tag: self.tag, span, granule: 0x1000, tables_went: false, atc }
    }
}
