//! IOMMUs, devices and a subsystem over simulated memory, put together by hand.

use crate::models::{Model, Registers};
use ioward::{
    core::{Device, DeviceDesc, Policy, RegisterError, Report, Source, Subsystem, driver::Driver},
    drivers::{amdvi, riscv, smmuv3, virtio, vtd},
    types::{DeviceControl, IommuId, Iova, Nanos, Pasid, PhysAddr, SourceId, describe},
};
use ioward_models::{
    DmaEngine, DmaError, Memory, SimPlatform, Violations,
    amdvi::{AmdViConfig, AmdViModel},
    riscv::RiscvIommu,
    smmuv3::{Features, Smmu},
    virtio::{VirtioIommuConfig, VirtioIommuModel},
    vtd::{VtdConfig, VtdModel},
};
use std::{collections::BTreeMap, error::Error, fmt, sync::Arc};

/// Where memory starts: not at zero, so that an IOVA is no physical address by chance.
pub const MEMORY: PhysAddr = PhysAddr(0x8000_0000);
/// The largest device ID that an AMD-Vi unit of a rig serves.
pub const LAST_AMD_SOURCE: u16 = 0x3ff;
/// How much there is, in bytes. The host commits what is touched.
pub const BYTES: u64 = 1 << 30;

/// Why a rig does not come up.
#[derive(Debug)]
pub enum RigError {
    /// A driver refused its SMMUv3.
    Smmu(smmuv3::BringUpError),
    /// A driver refused its AMD-Vi unit.
    Amd(amdvi::BringUpError),
    /// A driver refused its VT-d unit.
    Vtd(vtd::BringUpError),
    /// A driver refused its RISC-V IOMMU.
    RiscV(riscv::BringUpError),
    /// A driver refused its virtio-iommu.
    Virtio(virtio::BringUpError),
    /// The registers are not those of a virtio device.
    VirtioMmio(virtio::MmioError),
    /// There is no such IOMMU on the fabric.
    NoModel(IommuId),
    /// The subsystem refused the IOMMU.
    Register(RegisterError),
}

impl fmt::Display for RigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smmu(error) => error.fmt(f),
            Self::Amd(error) => error.fmt(f),
            Self::Vtd(error) => error.fmt(f),
            Self::RiscV(error) => error.fmt(f),
            Self::Virtio(error) => error.fmt(f),
            Self::VirtioMmio(error) => error.fmt(f),
            Self::NoModel(iommu) => write!(f, "there is no IOMMU {iommu}"),
            Self::Register(error) => error.fmt(f),
        }
    }
}
impl Error for RigError {}

/// A machine in the making. Every model starts with garbage in its caches.
pub struct Rig {
    /// Its memory.
    pub memory: Memory,
    /// What memory and models report.
    pub violations: Violations,
    /// The platform that drivers and the subsystem run on.
    pub platform: SimPlatform,
    /// The subsystem.
    pub subsystem: Subsystem<SimPlatform>,
    models: BTreeMap<IommuId, Model>,
    told: BTreeMap<IommuId, Told>,
}

/// What a driver is told of its IOMMU.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// An SMMUv3's.
    Smmu(smmuv3::Config),
    /// Of an AMD-Vi unit: what its table says, and the largest device ID that it serves.
    Amd(describe::AmdVi, u16),
    /// Of a VT-d unit: what its table says.
    Vtd(describe::VtD),
    /// Of a RISC-V IOMMU.
    RiscV(riscv::Config),
}

/// A device: its engines, one for each of its sources, and its handle.
pub struct Endpoint {
    /// What makes requests, in the order of the sources.
    pub engines: Vec<DmaEngine>,
    /// The subsystem's handle.
    pub device: Device<SimPlatform>,
}

impl Endpoint {
    /// Reads through the first source.
    pub fn read(&self, pasid: Option<Pasid>, at: Iova, into: &mut [u8]) -> Result<(), DmaError> {
        self.engines.first().map_or(Err(DmaError::Silenced), |engine| engine.read(pasid, at, into))
    }

    /// Writes through the first source.
    pub fn write(&self, pasid: Option<Pasid>, at: Iova, from: &[u8]) -> Result<(), DmaError> {
        self.engines.first().map_or(Err(DmaError::Silenced), |engine| engine.write(pasid, at, from))
    }
}

/// All engines of a device obey together.
struct Together(Vec<DmaEngine>);

impl DeviceControl for Together {
    fn bus_master(&self, on: bool) {
        self.0.iter().for_each(|engine| engine.bus_master(on));
    }
    fn pasid(&self, bits: Option<u8>) {
        self.0.iter().for_each(|engine| engine.pasid(bits));
    }
    fn ats(&self, page_shift: Option<u8>) {
        self.0.iter().for_each(|engine| engine.ats(page_shift));
    }
    fn page_requests(&self, outstanding: Option<u32>) {
        self.0.iter().for_each(|engine| engine.page_requests(outstanding));
    }
    fn reset(&self) -> Result<(), Nanos> {
        self.0.iter().try_for_each(|engine| engine.reset())
    }
}

/// How the bus controls all engines of a device at once.
pub fn control(engines: &[DmaEngine]) -> Arc<dyn DeviceControl> {
    Arc::new(Together(engines.to_vec()))
}

impl Default for Rig {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Rig {
    /// Memory and a subsystem; no IOMMU yet.
    pub fn new(policy: Policy) -> Self {
        Self::with_memory(policy, MEMORY)
    }

    /// The same with [`BYTES`] of memory from `origin` up, a multiple of 64 KiB.
    pub fn with_memory(policy: Policy, origin: PhysAddr) -> Self {
        let violations = Violations::default();
        let memory = Memory::new(origin, BYTES, violations.clone());
        let platform = SimPlatform::new(memory.clone());
        let subsystem = Subsystem::with_policy(platform.clone(), policy);
        let (models, told) = Default::default();
        Self { memory, violations, platform, subsystem, models, told }
    }

    /// A model of an SMMUv3 on the fabric. Its driver comes later, with [`Rig::start`].
    pub fn smmu(&mut self, id: u32, features: Features) -> Model {
        let model = Smmu::new(&format!("smmu{id}"), features, self.memory.clone());
        model.poison();
        self.fabric(id, Model::Smmu(model))
    }

    /// A model of an AMD-Vi unit on the fabric.
    pub fn amd(&mut self, id: u32, config: AmdViConfig) -> Model {
        let model = AmdViModel::new(AmdViConfig { name: format!("amd{id}"), ..config }, self.memory.clone());
        model.poison();
        self.fabric(id, Model::Amd(Arc::new(model)))
    }

    /// A model of a VT-d unit on the fabric.
    pub fn vtd(&mut self, id: u32, config: VtdConfig) -> Model {
        let model = VtdModel::new(VtdConfig { name: format!("vtd{id}"), ..config }, self.memory.clone());
        model.poison();
        self.fabric(id, Model::Vtd(Arc::new(model)))
    }

    /// A model of a RISC-V IOMMU on the fabric.
    pub fn riscv(&mut self, id: u32, features: ioward_models::riscv::Features) -> Model {
        let model = RiscvIommu::new(&format!("riscv{id}"), features, self.memory.clone());
        model.poison();
        self.fabric(id, Model::RiscV(model))
    }

    /// A model of a virtio-iommu on the fabric.
    pub fn virtio(&mut self, id: u32, config: VirtioIommuConfig) -> Model {
        let config = VirtioIommuConfig { name: format!("virtio{id}"), ..config };
        let model = VirtioIommuModel::new(config, self.memory.clone());
        self.fabric(id, Model::Virtio(Arc::new(model)))
    }

    fn fabric(&mut self, id: u32, model: Model) -> Model {
        self.models.insert(IommuId(id), model.clone());
        model
    }

    /// The model of an IOMMU.
    pub fn model(&self, id: IommuId) -> Option<&Model> {
        self.models.get(&id)
    }

    /// What the driver of an IOMMU is told; without it, the usual. What is said of another kind counts for nothing.
    pub fn tell(&mut self, id: u32, what: Told) {
        self.told.insert(IommuId(id), what);
    }

    /// The driver of a model, brought up cold but not registered.
    pub fn driver(&self, id: u32) -> Result<Arc<dyn Driver>, RigError> {
        let id = IommuId(id);
        let platform = &self.platform;
        let model = self.models.get(&id).ok_or(RigError::NoModel(id))?;
        let told = self.told.get(&id).copied();
        let page0_only = matches!(told, Some(Told::Smmu(smmu)) if smmu.firmware.page0_only);
        let registers = Registers { model: model.iommu(), platform: platform.clone(), page0_only };
        Ok(match (model, told) {
            (Model::Smmu(_), told) => {
                let config = if let Some(Told::Smmu(config)) = told { config } else { Default::default() };
                let cold = smmuv3::BringUp::Cold;
                let smmu = smmuv3::SmmuV3::bring_up(id, registers, &config, platform, cold);
                Arc::new(smmu.map_err(RigError::Smmu)?)
            }
            (Model::Amd(amd), told) => {
                let (described, last_source) = match told {
                    Some(Told::Amd(described, last_source)) => (described, last_source),
                    _ => (describe::AmdVi::default(), LAST_AMD_SOURCE),
                };
                let mut config = amdvi::Config::new(described, last_source);
                config.capability_header = Some(amd.config().capability()[0]);
                config.coherent = amd.config().coherent;
                config.interrupts = true;
                config.x2apic = true;
                let cold = amdvi::BringUp::Cold;
                let amd = amdvi::AmdVi::bring_up(id, registers, config, platform, cold);
                Arc::new(amd.map_err(RigError::Amd)?)
            }
            (Model::Vtd(_), told) => {
                let described =
                    if let Some(Told::Vtd(described)) = told { described } else { Default::default() };
                let interrupts =
                    vtd::Interrupts::Remap { entries_log2: 10, x2apic: !described.x2apic_opt_out };
                let config = vtd::Config { interrupts, ..vtd::Config::new(described) };
                let vtd = vtd::VtD::bring_up(id, registers, config, platform, vtd::BringUp::Cold);
                Arc::new(vtd.map_err(RigError::Vtd)?)
            }
            (Model::RiscV(_), told) => {
                let config = match told {
                    Some(Told::RiscV(config)) => config,
                    _ => riscv::Config { last_source: 0xffff, ..Default::default() },
                };
                let cold = riscv::BringUp::Cold;
                let riscv = riscv::RiscVIommu::bring_up(id, registers, &config, platform, cold);
                Arc::new(riscv.map_err(RigError::RiscV)?)
            }
            (Model::Virtio(_), _) => {
                let transport = virtio::VirtioMmio::new(registers).map_err(RigError::VirtioMmio)?;
                let config = virtio::Config::default();
                let virtio = virtio::VirtioIommu::bring_up(id, transport, config, platform);
                Arc::new(virtio.map_err(RigError::Virtio)?)
            }
        })
    }

    /// Brings the driver up and registers it. Devices that waited for it are served then.
    pub fn start(&self, id: u32) -> Result<(), RigError> {
        let driver = self.driver(id)?;
        self.subsystem.register(driver).map_err(RigError::Register)?;
        Ok(())
    }

    /// A device of these sources, added as `adjust` says. `caches`: it has an ATC.
    pub fn device<'a>(
        &self,
        name: &'a str,
        sources: &[(u32, u32)],
        caches: bool,
        adjust: impl FnOnce(&mut DeviceDesc<'a>),
    ) -> Endpoint {
        let sources: Vec<Source> =
            sources.iter().map(|(iommu, source)| (IommuId(*iommu), SourceId(*source))).collect();
        let engines = self.engines(name, &sources, caches);
        let mut desc = DeviceDesc::new(name, &[], control(&engines));
        desc.ats = caches.then_some(12);
        adjust(&mut desc);
        let device = self.subsystem.add(&DeviceDesc { sources: &sources, ..desc });
        Endpoint { engines, device }
    }

    /// What makes requests as these sources, one for each; a single one that reaches memory directly where there are none.
    pub fn engines(&self, name: &str, sources: &[Source], caches: bool) -> Vec<DmaEngine> {
        let engine = |(iommu, source): &Source| {
            let model = self.models.get(iommu).map(Model::iommu);
            DmaEngine::new(name, *source, model, self.memory.clone(), caches)
        };
        let mut engines: Vec<DmaEngine> = sources.iter().map(engine).collect();
        if engines.is_empty() {
            engines.push(DmaEngine::new(name, SourceId(0), None, self.memory.clone(), false));
        }
        engines
    }

    /// Every model, ascending.
    pub fn models(&self) -> impl Iterator<Item = (IommuId, &Model)> {
        self.models.iter().map(|(id, model)| (*id, model))
    }

    /// Everything that IOMMUs have reported since the last call.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        self.subsystem.poll(&self.subsystem.iommus(), &mut |report| reports.push(report));
        reports
    }
}

impl fmt::Debug for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").field("models", &self.models).finish_non_exhaustive()
    }
}
