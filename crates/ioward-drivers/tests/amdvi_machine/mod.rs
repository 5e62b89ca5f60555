//! A machine for the driver to run on: the model that judges it, memory, devices, tables written by hand.
#![allow(dead_code)]

use ioward_core::driver::{AtcTarget, Claim, Driver, Event, Flush, Plan, Requirements, Slot};
use ioward_drivers::amdvi::{AmdVi, BringUp, BringUpError, Config};
use ioward_models::amdvi::{AmdViConfig, AmdViModel};
use ioward_models::{DmaEngine, DmaError, Memory, SimPlatform, Violations};
use ioward_types::{
    Frames, IommuId, Iova, Mmio, Nanos, Pasid, PhysAddr, Platform, Root, SourceId, Span, TableConfig, Tag,
    describe,
};
use std::sync::Arc;

pub const UNIT: IommuId = IommuId(1);
pub const NIC: SourceId = SourceId(0x18);
pub const DISK: SourceId = SourceId(0x20);
pub const AT: Iova = Iova(0x12_3456_7000);

/// The model behind the registers that the driver owns.
pub struct Bus(pub Arc<AmdViModel>);

impl Mmio for Bus {
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
        // Control, bit 0: an IOMMU that is on and is turned off lets everything through.
        assert!(at != 0x18 || self.0.read64(at) & 1 <= value & 1, "the unit is turned off");
        self.0.write64(at, value)
    }
}

pub struct Machine {
    pub memory: Memory,
    pub platform: SimPlatform,
    pub model: Arc<AmdViModel>,
}

impl Machine {
    pub fn new(config: AmdViConfig) -> Self {
        let memory = Memory::new(PhysAddr(0x8000_0000), 0x100_0000, Violations::default());
        memory.set_incoherent(!config.coherent);
        let platform = SimPlatform::new(memory.clone());
        let model = Arc::new(AmdViModel::new(config, memory.clone()));
        Self { memory, platform, model }
    }

    pub fn config(&self) -> Config {
        let model = self.model.config();
        let described = describe::AmdVi { efr: Some(model.efr()), ..describe::AmdVi::default() };
        let mut config = Config::new(described, 0xff);
        config.capability_header = Some(model.capability()[0]);
        config.coherent = model.coherent;
        config.interrupts = true;
        config.x2apic = true;
        // Thousands of rounds of the simulated clock.
        config.patience = Nanos(10_000_000);
        config
    }

    pub fn try_bring_up(&self, state: BringUp<'_>) -> Result<AmdVi<Bus, SimPlatform>, BringUpError> {
        AmdVi::bring_up(UNIT, Bus(self.model.clone()), self.config(), &self.platform, state)
    }

    pub fn bring_up(&self) -> AmdVi<Bus, SimPlatform> {
        self.model.poison();
        self.try_bring_up(BringUp::Cold).expect("the model is in order")
    }

    pub fn device(&self, source: SourceId, atc: bool) -> DmaEngine {
        let iommu: Arc<dyn ioward_models::IommuModel> = self.model.clone();
        DmaEngine::new("device", source, Some(iommu), self.memory.clone(), atc)
    }

    pub fn page(&self) -> Frames<SimPlatform> {
        let page = Frames::new(&self.platform, 4096, 4096, PhysAddr(u64::MAX)).expect("memory enough");
        page.clean(0, 4096);
        page
    }

    pub fn put(&self, table: PhysAddr, index: u64, value: u64) {
        let at = PhysAddr(table.0 + index * 8);
        // SAFETY: tables here are pages of this machine's, and hold nothing that Rust refers to.
        unsafe { ioward_types::hw::store64(&self.platform, at, value) };
        self.platform.clean(Span { start: at, bytes: 8 });
        self.platform.publish();
    }

    /// A table of `levels` in which [`AT`] is `to`; its root and the place of the last entry. `link` and `leaf` are
    /// the bits of entries.
    pub fn table(&self, levels: u8, to: PhysAddr, link: impl Fn(u8) -> u64, leaf: u64) -> (Root, PhysAddr) {
        let root = self.page().phys();
        let mut table = root;
        for level in (2..=levels).rev() {
            let next = self.page().phys();
            self.put(table, AT.0 >> (3 + 9 * u32::from(level)) & 0x1ff, next.0 | link(level - 1));
            table = next;
        }
        self.put(table, AT.0 >> 12 & 0x1ff, to.0 | leaf);
        (Root { at: root, levels }, PhysAddr(table.0 + (AT.0 >> 12 & 0x1ff) * 8))
    }

    /// A v1 table: PR is bit 0, the next level bits 11:9, rights 61 and 62 (48882 Table 17).
    pub fn host(&self, to: PhysAddr) -> (Root, PhysAddr) {
        self.table(4, to, |level| 3 << 61 | u64::from(level) << 9 | 1, 3 << 61 | 1)
    }

    /// A v2 table: present, writable, user, accessed, dirty (AMD64 volume 2, §5.3).
    pub fn guest(&self, to: PhysAddr, levels: u8) -> (Root, PhysAddr) {
        self.table(levels, to, |_| 0x27, 0x67)
    }

    /// Nothing is at [`AT`] any more.
    pub fn unmap(&self, leaf: PhysAddr) {
        self.put(leaf, 0, 0);
    }

    pub fn settled(&self) {
        self.model.audit(true);
        self.memory.violations().assert_none();
    }
}

pub fn planned(driver: &impl Driver, pasid_bits: u8) -> TableConfig {
    match driver.plan(&Requirements { pasid_bits, ..Requirements::default() }) {
        Ok(Plan::Tables(config)) => config,
        other => panic!("no tables are planned: {other:?}"),
    }
}

pub fn claim(driver: &impl Driver, source: SourceId, pasid_bits: u8, ats: bool) -> Slot {
    driver.claim(&Claim { source, pasid_bits, ats }).expect("the source is free")
}

pub fn flush_of(tag: Tag, atc: &[AtcTarget]) -> Flush<'_> {
    Flush { tag, span: Span { start: AT, bytes: 4096 }, granule: 4096, tables_went: false, atc }
}

pub fn write(device: &DmaEngine, pasid: Option<Pasid>) -> Result<(), DmaError> {
    device.write(pasid, AT, b"through")
}

pub fn holds(machine: &Machine, page: PhysAddr) -> bool {
    let mut bytes = [0; 7];
    machine.memory.dma_read("test", page, &mut bytes).expect("memory");
    &bytes == b"through"
}

pub fn events(driver: &impl Driver) -> Vec<Event> {
    let mut list = Vec::new();
    driver.poll(&mut |event| list.push(event));
    list
}

pub fn configs() -> Vec<AmdViConfig> {
    let usual = AmdViConfig::default();
    vec![
        usual.clone(),
        AmdViConfig { np_cache: true, ..usual.clone() },
        AmdViConfig { lazy: false, ..usual.clone() },
        AmdViConfig { coherent: false, ..usual.clone() },
        AmdViConfig { host_levels: None, ..usual },
        AmdViConfig { pasid_bits: 9, ..AmdViConfig::default() },
    ]
}
