//! A machine for the driver to run on: the model that judges it, memory, devices.
#![allow(dead_code)]

use ioward_core::driver::{Claim, Driver, Event, Flush, MapRequests, Plan, Refused, Requirements, Slot};
use ioward_drivers::virtio::{BringUpError, Config, Regions, Transport, VirtioIommu, VirtioMmio, VirtioPci};
use ioward_models::virtio::{PciFace, PciStructure, VirtioIommuConfig, VirtioIommuModel};
use ioward_models::{DmaEngine, DmaError, Memory, SimPlatform, Violations};
use ioward_types::{Attributes, Frames, IommuId, Iova, Mmio, Nanos, PhysAddr, Platform, SourceId, Span, Tag};
use std::sync::Arc;

pub const UNIT: IommuId = IommuId(1);
pub const NIC: SourceId = SourceId(0x18);
pub const DISK: SourceId = SourceId(0x20);
pub const AT: Iova = Iova(0x12_3456_7000);
pub const PAGE: u64 = 4096;

/// The model behind the registers that the driver owns.
pub struct Bus(pub Arc<VirtioIommuModel>);

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
        self.0.write64(at, value)
    }
    fn read8(&self, at: usize) -> u8 {
        self.0.read8(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.0.write8(at, value)
    }
}

pub type Unit = VirtioIommu<VirtioMmio<Bus>, SimPlatform>;

pub struct Machine {
    pub memory: Memory,
    pub platform: SimPlatform,
    pub model: Arc<VirtioIommuModel>,
}

impl Machine {
    pub fn new(config: VirtioIommuConfig) -> Self {
        let memory = Memory::new(PhysAddr(0x8000_0000), 0x100_0000, Violations::default());
        memory.set_incoherent(!config.coherent);
        let platform = SimPlatform::new(memory.clone());
        let model = Arc::new(VirtioIommuModel::new(config, memory.clone()));
        Self { memory, platform, model }
    }

    pub fn config(&self) -> Config {
        // Thousands of rounds of the simulated clock.
        Config { coherent: self.model.config().coherent, patience: Nanos(10_000_000), ..Config::default() }
    }

    pub fn try_bring_up(&self) -> Result<Unit, BringUpError> {
        let transport = VirtioMmio::new(Bus(self.model.clone())).expect("registers of a virtio device");
        VirtioIommu::bring_up(UNIT, transport, self.config(), &self.platform)
    }

    pub fn bring_up(&self) -> Unit {
        self.try_bring_up().expect("the model is in order")
    }

    pub fn pci(&self) -> VirtioPci<PciFace> {
        let face = |structure| PciFace::new(self.model.clone(), structure);
        let regions = Regions {
            common: face(PciStructure::Common),
            notify: face(PciStructure::Notify),
            notify_multiplier: PciFace::NOTIFY_MULTIPLIER,
            isr: face(PciStructure::Isr),
            device: face(PciStructure::Device),
        };
        VirtioPci::new(regions, 23, None)
    }

    pub fn device(&self, source: SourceId) -> DmaEngine {
        let iommu: Arc<dyn ioward_models::IommuModel> = self.model.clone();
        DmaEngine::new("device", source, Some(iommu), self.memory.clone(), false)
    }

    pub fn page(&self) -> Frames<SimPlatform> {
        Frames::new(&self.platform, 4096, 4096, PhysAddr(u64::MAX)).expect("memory enough")
    }

    pub fn pages(&self, count: u64) -> PhysAddr {
        self.platform.frames((count * PAGE) as usize, 4096, PhysAddr(u64::MAX)).expect("memory enough")
    }

    pub fn settled(&self) {
        self.model.audit();
        self.memory.violations().assert_none();
    }

    /// Whether a write at [`AT`] arrived in this page.
    pub fn holds(&self, page: PhysAddr) -> bool {
        let mut bytes = [0; 7];
        self.memory.dma_read("test", page, &mut bytes).expect("memory");
        self.memory.dma_write("test", page, b"nothing").expect("memory");
        &bytes == b"through"
    }

    #[track_caller]
    pub fn reaches(&self, device: &DmaEngine, page: PhysAddr) {
        self.memory.dma_write("test", page, b"nothing").expect("memory");
        assert_eq!(write(device), Ok(()));
        assert!(self.holds(page), "the DMA went elsewhere");
    }
}

pub fn write(device: &DmaEngine) -> Result<(), DmaError> {
    device.write(None, AT, b"through")
}

#[track_caller]
pub fn blocked(device: &DmaEngine) {
    assert_eq!(write(device), Err(DmaError::Aborted(AT)));
}

pub fn plan(driver: &impl Driver) -> Plan {
    driver.plan(&Requirements::default()).expect("a plan")
}

pub fn tag(driver: &impl Driver) -> Tag {
    driver.tag(&plan(driver)).expect("a tag")
}

pub fn claim(driver: &impl Driver, source: SourceId) -> Slot {
    driver.claim(&Claim { source, pasid_bits: 0, ats: false }).expect("the source is free")
}

pub fn map(driver: &impl MapRequests, tag: Tag, to: PhysAddr) -> Result<(), Refused> {
    driver.map(tag, AT, Span { start: to, bytes: PAGE }, Attributes::READ_WRITE)
}

pub fn at(n: u64) -> Span<Iova> {
    Span { start: Iova(AT.0 + n * PAGE), bytes: PAGE }
}

pub fn flush_of(tag: Tag) -> Flush<'static> {
    Flush { tag, span: at(0), granule: PAGE, tables_went: false, atc: &[] }
}

pub fn events(driver: &impl Driver) -> Vec<Event> {
    let mut list = Vec::new();
    driver.poll(&mut |event| list.push(event));
    list
}

/// Devices that differ in everything that they may.
pub fn configs() -> Vec<(&'static str, VirtioIommuConfig)> {
    let usual = VirtioIommuConfig::default();
    vec![
        ("usual", usual.clone()),
        ("minimal", VirtioIommuConfig::minimal()),
        ("detaches only when told", VirtioIommuConfig { moves_endpoints: false, ..usual.clone() }),
        ("detaches late", VirtioIommuConfig { eager_detach: false, ..usual.clone() }),
        ("does not snoop", VirtioIommuConfig { coherent: false, ..usual.clone() }),
        ("few domains", VirtioIommuConfig { domains: (7, 9), ..usual.clone() }),
        ("short queues", VirtioIommuConfig { queue_size: 2, ..usual.clone() }),
        ("a queue of no power of two", VirtioIommuConfig { queue_size: 100, ..usual.clone() }),
        ("bytes", VirtioIommuConfig { page_size_mask: 1, probe_size: 133, ..usual.clone() }),
        ("a narrow range", VirtioIommuConfig { input: (0x1000_0000, 0x3f_ffff_ffff), ..usual }),
    ]
}

pub fn transport(machine: &Machine) -> impl Transport {
    VirtioMmio::new(Bus(machine.model.clone())).expect("registers of a virtio device")
}
