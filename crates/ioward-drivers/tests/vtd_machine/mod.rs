//! A machine for the driver to run on: the model that judges it, memory, devices, tables written by hand.
#![allow(dead_code)]

use ioward_core::driver::{AtcTarget, Claim, Driver, Event, Flush, Plan, Requirements, Slot, Translation};
use ioward_drivers::vtd::{BringUp, BringUpError, Config, VtD};
use ioward_models::vtd::{VtdConfig, VtdModel};
use ioward_models::{DmaEngine, DmaError, IommuModel, Memory, SimPlatform, Violations};
use ioward_types::{
    Format, Frames, IommuId, Iova, Mmio, Nanos, Pasid, PhysAddr, Platform, Root, SourceId, Span, TableConfig,
    Tag, describe,
};
use std::sync::Arc;

pub const UNIT: IommuId = IommuId(1);
pub const NIC: SourceId = SourceId(0x18);
/// In the upper half of its bus.
pub const DISK: SourceId = SourceId(0x3e0);
pub const AT: Iova = Iova(0x12_3456_7000);

/// The model behind the registers that the driver owns.
pub struct Bus(pub Arc<VtdModel>);

impl Mmio for Bus {
    fn read32(&self, at: usize) -> u32 {
        self.0.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        // GCMD and GSTS, bit 31: a unit that translates and is turned off lets everything through.
        assert!(at != 0x18 || self.0.read32(0x1c) >> 31 <= value >> 31, "the unit is turned off");
        self.0.write32(at, value)
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        self.0.write64(at, value)
    }
}

pub type Unit = VtD<Bus, SimPlatform>;

pub struct Machine {
    pub memory: Memory,
    pub platform: SimPlatform,
    pub model: Arc<VtdModel>,
}

impl Machine {
    pub fn new(config: VtdConfig) -> Self {
        let memory = Memory::new(PhysAddr(0x8000_0000), 0x100_0000, Violations::default());
        memory.set_incoherent(!config.coherent || config.scalable && !config.scalable_coherent);
        let platform = SimPlatform::new(memory.clone());
        let model = Arc::new(VtdModel::new(config, memory.clone()));
        Self { memory, platform, model }
    }

    pub fn config(&self) -> Config {
        let described = describe::VtD {
            host_bits: self.model.config().host_bits,
            interrupt_remapping: true,
            ..describe::VtD::default()
        };
        // Thousands of rounds of the simulated clock.
        Config { patience: Nanos(10_000_000), ..Config::new(described) }
    }

    pub fn try_bring_up(&self, config: Config, state: BringUp<'_>) -> Result<Unit, BringUpError> {
        VtD::bring_up(UNIT, Bus(self.model.clone()), config, &self.platform, state)
    }

    pub fn bring_up_as(&self, config: Config) -> Unit {
        self.model.poison();
        self.try_bring_up(config, BringUp::Cold).expect("the model is in order")
    }

    pub fn bring_up(&self) -> Unit {
        self.bring_up_as(self.config())
    }

    pub fn device(&self, source: SourceId, atc: bool) -> DmaEngine {
        let iommu: Arc<dyn IommuModel> = self.model.clone();
        DmaEngine::new("device", source, Some(iommu), self.memory.clone(), atc)
    }

    pub fn page(&self) -> Frames<SimPlatform> {
        let page = Frames::new(&self.platform, 4096, 4096, PhysAddr(u64::MAX)).expect("memory enough");
        page.clean(0, 4096);
        page
    }

    pub fn put(&self, at: PhysAddr, value: u64) {
        // SAFETY: tables here are pages of this machine's, and hold nothing that Rust refers to.
        unsafe { ioward_types::hw::store64(&self.platform, at, value) };
        self.platform.clean(Span { start: at, bytes: 8 });
        self.platform.publish();
    }

    /// A table of a shape, in which [`AT`] is `to`.
    pub fn table(&self, config: &TableConfig, to: PhysAddr) -> Made {
        let levels = match (config.format, config.in_bits) {
            (Format::VtdSecond, ..=39) => 3,
            (_, ..=48) => 4,
            _ => 5,
        };
        self.table_of(config, levels, to)
    }

    /// As above, of so many levels.
    pub fn table_of(&self, config: &TableConfig, levels: u8, to: PhysAddr) -> Made {
        // Read and write; or present, writable, user, accessed, and dirty in a leaf (9.8, 9.7).
        let (link, leaf) = match config.format {
            Format::VtdSecond => (3, 3),
            _ => (0x27, 0x67),
        };
        let root = self.page().phys();
        let mut table = root;
        for level in (2..=levels).rev() {
            let next = self.page().phys();
            let index = AT.0 >> (3 + 9 * u32::from(level)) & 0x1ff;
            self.put(PhysAddr(table.0 + index * 8), next.0 | link);
            table = next;
        }
        let at = PhysAddr(table.0 + (AT.0 >> 12 & 0x1ff) * 8);
        self.put(at, to.0 | leaf);
        Made { root: Root { at: root, levels }, leaf: at, entry: to.0 | leaf }
    }

    /// All that can be installed and where it leads.
    pub fn on(&self, driver: &Unit, pasid_bits: u8) -> On {
        let config = planned(driver, pasid_bits);
        let page = self.page().phys();
        let made = self.table(&config, page);
        On { made, page, config, tag: driver.tag(&Plan::Tables(config)).expect("a tag is free") }
    }

    /// Nothing is at [`AT`] any more.
    pub fn unmap(&self, on: &On) {
        self.put(on.made.leaf, 0);
    }

    /// And now there is again.
    pub fn map(&self, on: &On) {
        self.put(on.made.leaf, on.made.entry);
    }

    /// Whether a device's write at [`AT`] goes to this page.
    pub fn reaches(&self, device: &DmaEngine, pasid: Option<Pasid>, on: &On) {
        self.memory.dma_write("test", on.page, b"nothing").expect("memory");
        assert_eq!(write(device, pasid), Ok(()), "{pasid:?}");
        assert!(holds(self, on.page), "{pasid:?} goes elsewhere");
    }

    pub fn settled(&self) {
        self.model.audit(true);
        self.memory.violations().assert_none();
    }
}

/// A table.
pub struct Made {
    pub root: Root,
    /// Where the last entry is.
    pub leaf: PhysAddr,
    /// What it holds.
    pub entry: u64,
}

/// A table and all that installs it.
pub struct On {
    pub made: Made,
    pub page: PhysAddr,
    pub config: TableConfig,
    pub tag: Tag,
}

impl On {
    pub fn translation(&self) -> Translation<'_> {
        Translation::Table { root: self.made.root, config: &self.config, tag: self.tag }
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

/// Every mode, by name.
pub fn configs() -> Vec<(&'static str, VtdConfig)> {
    use ioward_spec::vtd::capability::cap::sagaw;
    let (legacy, scalable) = (VtdConfig::legacy(), VtdConfig::default());
    let registers =
        VtdConfig { queued: false, device_tlb: false, interrupt_remapping: false, ..legacy.clone() };
    vec![
        ("legacy", legacy.clone()),
        ("legacy, 3 levels", VtdConfig { widths: sagaw::BITS_39, address_bits: 39, ..legacy.clone() }),
        ("legacy, 5 levels", VtdConfig { widths: sagaw::BITS_57, address_bits: 57, ..legacy.clone() }),
        ("legacy, caching mode", VtdConfig { caching_mode: true, ..legacy.clone() }),
        ("legacy, write buffers", VtdConfig { write_buffer: true, ..legacy.clone() }),
        ("legacy, incoherent", VtdConfig { coherent: false, ..legacy.clone() }),
        ("legacy, eager", VtdConfig { lazy: false, root_invalidates: true, ..legacy.clone() }),
        ("legacy, 16 domains", VtdConfig { domain_bits: 4, ..legacy }),
        ("registers", registers.clone()),
        ("registers, caching mode", VtdConfig { caching_mode: true, ..registers }),
        ("minimal", VtdConfig::minimal()),
        ("scalable", scalable.clone()),
        ("scalable, second stage", VtdConfig { first_stage: false, nested: false, ..scalable.clone() }),
        ("scalable, first stage", VtdConfig { second_stage: false, nested: false, ..scalable.clone() }),
        ("scalable, caching mode", VtdConfig { caching_mode: true, ..scalable.clone() }),
        ("scalable, incoherent", VtdConfig { coherent: false, scalable_coherent: false, ..scalable.clone() }),
        ("scalable, tables incoherent", VtdConfig { scalable_coherent: false, ..scalable.clone() }),
        ("scalable, structures incoherent", VtdConfig { coherent: false, ..scalable.clone() }),
        ("scalable, eager", VtdConfig { lazy: false, root_invalidates: true, ..scalable.clone() }),
        ("scalable, no RID_PASID", VtdConfig { rid_pasid: false, ..scalable.clone() }),
        ("scalable, few PASIDs", VtdConfig { pasid_bits: 7, ..scalable }),
    ]
}
