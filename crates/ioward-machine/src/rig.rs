//! IOMMUs, devices and a subsystem over simulated memory, put together by hand.

use ioward::{
    core::{Device, DeviceDesc, Policy, RegisterError, Report, Source, Subsystem, driver::Driver},
    drivers::{amdvi, smmuv3},
    types::{DeviceControl, IommuId, Iova, Mmio, Nanos, Pasid, PhysAddr, SourceId, describe},
};
use ioward_models::{
    DmaEngine, DmaError, IommuModel, Memory, SimPlatform, Violations,
    amdvi::{AmdViConfig, AmdViModel},
    smmuv3::{Features, Smmu},
};
use std::{collections::BTreeMap, error::Error, fmt, sync::Arc};

/// Where memory starts: not at zero, so that an IOVA is no physical address by chance.
pub const MEMORY: PhysAddr = PhysAddr(0x8000_0000);
/// The largest device ID that an AMD-Vi unit of a rig serves.
pub const LAST_AMD_SOURCE: u16 = 0x3ff;
/// How much there is, in bytes. The host commits what is touched.
pub const BYTES: u64 = 1 << 30;

/// An IOMMU's model, with the switches of its kind.
#[derive(Clone)]
pub enum Model {
    /// Arm SMMUv3.
    Smmu(Arc<Smmu>),
    /// AMD-Vi.
    Amd(Arc<AmdViModel>),
}

impl Model {
    /// What requests see.
    pub fn iommu(&self) -> Arc<dyn IommuModel> {
        match self {
            Self::Smmu(smmu) => smmu.clone(),
            Self::Amd(amd) => amd.clone(),
        }
    }

    /// It stops consuming commands, or goes on.
    pub fn set_hung(&self, hung: bool) {
        match self {
            Self::Smmu(smmu) => smmu.set_hung(hung),
            Self::Amd(amd) => amd.set_hung(hung),
        }
    }

    /// From now on each command that comes to its queue is executed only where `keep` says so; the others are lost.
    pub fn filter(&self, mut keep: impl FnMut(&[u64; 2]) -> bool + Send + 'static) {
        match self {
            Self::Smmu(smmu) => smmu.set_command_filter(Box::new(keep)),
            Self::Amd(amd) => {
                amd.set_command_filter(Some(Box::new(move |_, command| keep(&[command[0], command[1]]))))
            }
        }
    }

    /// Looks for violations that no request has met yet.
    pub fn audit(&self) {
        match self {
            Self::Smmu(smmu) => smmu.audit(),
            Self::Amd(amd) => amd.audit(true),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smmu(_) => "Model(SMMUv3)",
            Self::Amd(_) => "Model(AMD-Vi)",
        })
    }
}

/// A model's registers, for a driver.
pub struct Registers(pub Arc<dyn IommuModel>);

impl Mmio for Registers {
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

/// Registers whose every write is a barrier first, as a register write is (see [`Mmio`]).
struct Ordered {
    registers: Registers,
    platform: SimPlatform,
    /// An SMMUv3 that has the registers of its second page in the first one, as some implementations do.
    page0_only: bool,
}

impl Ordered {
    /// Where the model has a register.
    fn place(&self, at: usize) -> usize {
        // SMMU_EVENTQ_PROD, _CONS, SMMU_PRIQ_PROD, _CONS (IHI 0070, 6.2).
        let moved = self.page0_only && matches!(at, 0xa8 | 0xac | 0xc8 | 0xcc);
        if moved { at + 0x1_0000 } else { at }
    }
}

impl Mmio for Ordered {
    fn read32(&self, at: usize) -> u32 {
        self.registers.read32(self.place(at))
    }
    fn write32(&self, at: usize, value: u32) {
        ioward::types::Platform::publish(&self.platform);
        self.registers.write32(self.place(at), value)
    }
    fn read64(&self, at: usize) -> u64 {
        self.registers.read64(self.place(at))
    }
    fn write64(&self, at: usize, value: u64) {
        ioward::types::Platform::publish(&self.platform);
        self.registers.write64(self.place(at), value)
    }
}

/// Why a rig does not come up.
#[derive(Debug)]
pub enum RigError {
    /// A driver refused its SMMUv3.
    Smmu(smmuv3::BringUpError),
    /// A driver refused its AMD-Vi unit.
    Amd(amdvi::BringUpError),
    /// The subsystem refused the IOMMU.
    Register(RegisterError),
}

impl fmt::Display for RigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smmu(error) => error.fmt(f),
            Self::Amd(error) => error.fmt(f),
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
    smmus: BTreeMap<IommuId, smmuv3::Config>,
    amds: BTreeMap<IommuId, (describe::AmdVi, u16)>,
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
        let (models, smmus, amds) = Default::default();
        Self { memory, violations, platform, subsystem, models, smmus, amds }
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

    fn fabric(&mut self, id: u32, model: Model) -> Model {
        self.models.insert(IommuId(id), model.clone());
        model
    }

    /// The model of an IOMMU.
    pub fn model(&self, id: IommuId) -> Option<&Model> {
        self.models.get(&id)
    }

    /// What the driver of an SMMUv3 is told; without it, the usual.
    pub fn configure_smmu(&mut self, id: u32, config: smmuv3::Config) {
        self.smmus.insert(IommuId(id), config);
    }

    /// What the driver of an AMD-Vi unit is told: what its table says of it, and the largest device ID that it serves.
    pub fn configure_amd(&mut self, id: u32, described: describe::AmdVi, last_source: u16) {
        self.amds.insert(IommuId(id), (described, last_source));
    }

    /// The driver of a model, brought up cold but not registered.
    pub fn driver(&self, id: u32) -> Result<Arc<dyn Driver>, RigError> {
        let id = IommuId(id);
        let platform = &self.platform;
        let model = &self.models[&id];
        let smmu = self.smmus.get(&id).copied().unwrap_or_default();
        let registers = Ordered {
            registers: Registers(model.iommu()),
            platform: platform.clone(),
            page0_only: smmu.firmware.page0_only,
        };
        Ok(match model {
            Model::Smmu(_) => {
                let config = smmu;
                let cold = smmuv3::BringUp::Cold;
                Arc::new(
                    smmuv3::SmmuV3::bring_up(id, registers, &config, platform, cold)
                        .map_err(RigError::Smmu)?,
                )
            }
            Model::Amd(amd) => {
                let unsaid = (describe::AmdVi::default(), LAST_AMD_SOURCE);
                let (described, last_source) = self.amds.get(&id).copied().unwrap_or(unsaid);
                let mut config = amdvi::Config::new(described, last_source);
                config.capability_header = Some(amd.config().capability()[0]);
                config.coherent = amd.config().coherent;
                let cold = amdvi::BringUp::Cold;
                Arc::new(
                    amdvi::AmdVi::bring_up(id, registers, config, platform, cold).map_err(RigError::Amd)?,
                )
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
