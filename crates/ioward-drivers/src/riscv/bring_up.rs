//! From reset, firmware or a crashed kernel to an IOMMU that translates or refuses (6.2).

use super::{
    BringUp, BringUpError, Config, RiscVIommu,
    adopt::{self, Contexts},
    capabilities::Features,
    command,
    command_queue::CommandQueue,
    device_context::{self as context, Allowed},
    device_directory::{DeviceDirectory, Format, mode_of},
    driver::Entries,
    fault_queue,
    interrupts::{self, Wiring},
    invalidate::Flusher,
    memory::{PAGE, Reach, Shared},
    output_queue::OutputQueue,
    page_request_queue,
    plan::Walk,
    registers::{QueueCsr, Registers, bit},
    tag::{Stage, Tags},
};
use crate::{slots::Slots, wait::Patience};
use ioward_spec::riscv::{
    command as command_record,
    device::{DEVICE_ID_BITS, iohgatp_mode, iosatp_mode},
    fault, page_request,
    registers::{self as spec, ddtp, fctl, ipsr},
};
use ioward_types::{IommuId, Mmio, Mutex, OutOfMemory, Platform};

/// log2 of the fewest and the most entries of a queue.
const QUEUE: core::ops::RangeInclusive<u8> = 1..=16;

impl<M: Mmio, P: Platform> RiscVIommu<M, P> {
    /// Takes over an IOMMU. `registers` are its page of registers.
    ///
    /// On success it translates, every source being blocked unless it was adopted.
    ///
    /// In no state does it let anything through untranslated from the first register write on: `ddtp` goes through Off.
    /// [`BringUp::Cold`] of one that translates after all is an error, and nothing is changed; one that is Bare counts as
    /// not translating. [`BringUp::Adopt`] copies the device contexts that it has; `ddtp` cannot go from one directory to
    /// another but through Off (5.5), so requests that arrive while it changes, for the length of about ten register
    /// accesses, are aborted. Where it does not translate, that is [`BringUp::Abort`].
    pub fn bring_up(
        id: IommuId,
        registers: M,
        config: &Config,
        platform: &P,
        state: BringUp<'_>,
    ) -> Result<Self, BringUpError> {
        let capabilities = registers.read64(spec::CAPABILITIES);
        let features = Features::new(capabilities, config)?;
        let wiring = Wiring::new(config, &features, capabilities)?;
        check(config)?;
        let registers = Registers { mmio: registers, patience: Patience { iommu: id, bound: config.bound } };
        let found = registers.ddtp(platform)?;
        let mode = ddtp::IOMMU_MODE.of(found);
        let translating = match mode {
            ddtp::mode::OFF | ddtp::mode::BARE => false,
            ddtp::mode::ONE_LEVEL..=ddtp::mode::THREE_LEVEL => true,
            _ => {
                let what = "iommu_mode is reserved";
                return Err(BringUpError::Contradiction { register: "ddtp", value: found, what });
            }
        };
        if translating && matches!(state, BringUp::Cold) {
            return Err(BringUpError::Translating { ddtp: found });
        }
        let value = registers.mmio.read32(spec::FCTL);
        if translating && matches!(state, BringUp::Adopt(_)) && value & (bit(fctl::BE) | bit(fctl::GXL)) != 0
        {
            let what = "going on with structures that are big-endian or of 32-bit guests";
            return Err(BringUpError::Unsupported { register: "fctl", value: value.into(), what });
        }

        // Memory first: what fails here leaves the IOMMU as it was found.
        let reach = Reach { coherent: features.coherent, below: features.below() };
        let on = wiring.is_on();
        let mut tags = Tags::new();
        let found = match state {
            BringUp::Adopt(memory) if translating => adopt::contexts(found, &features, memory, &mut tags),
            _ => Contexts::default(),
        };
        let format = Format { extended: features.msi_flat };
        let levels = fewest_levels(format, config.last_source);
        let page_request_bits = config.page_request_queue.filter(|_| features.ats);
        let sizes = [
            Some(command_record::BYTES << config.command_queue),
            Some(8),
            Some(fault::BYTES << config.fault_queue),
            page_request_bits.map(|bits| page_request::BYTES << bits),
            features.ats.then_some(empty_table(&features).2),
            // A directory in which nothing is valid, however many levels it is taken to have.
            Some(PAGE),
        ];
        let memory = all_or_none(platform, reach, sizes)?;
        let made = DeviceDirectory::new(platform, reach, format, levels).and_then(|mut directory| {
            match found.preset(&mut directory) {
                Ok(adopted) => Ok((directory, adopted)),
                Err(out) => {
                    // SAFETY: the IOMMU was never told of it.
                    unsafe { directory.free() };
                    Err(out)
                }
            }
        });
        let (memory, directory, adopted) = match (memory, made) {
            ([Some(ring), Some(done), Some(faults), page_requests, nothing, Some(probe)], Ok((d, a))) => {
                ((ring, done, faults, page_requests, nothing, probe), d, a)
            }
            (memory, made) => {
                // SAFETY: the IOMMU was never told of any.
                memory.into_iter().flatten().for_each(|memory| unsafe { memory.free() });
                return Err(made.err().unwrap_or(OutOfMemory).into());
            }
        };
        let (ring, done, faults, page_requests, nothing, probe) = memory;
        let commands = CommandQueue::new(ring, done, config.command_queue, on);
        let faults = OutputQueue::new(faults, config.fault_queue, fault_queue::KIND, on);
        let page_requests = page_requests
            .zip(page_request_bits)
            .map(|(memory, bits)| OutputQueue::new(memory, bits, page_request_queue::KIND, on));
        let nothing = nothing.map(|root| {
            // Its memory is never given back.
            let (stage, mode, _) = empty_table(&features);
            let walk = Walk { stage, ppn: root.ppn(), mode, dirty: false };
            let id = tags.of(stage).take().unwrap_or(0);
            context::table(Allowed { ats: true, page_requests: false }, &walk, id, None)
        });

        let mut iommu = Self {
            id,
            platform: platform.clone(),
            features,
            reach,
            registers,
            flusher: Flusher { ranges: features.ranges, non_leaf: features.non_leaf },
            adopted,
            nothing,
            entries: Mutex::new(Entries { directory, slots: Slots::new() }),
            tags: Mutex::new(tags),
            pairs: Mutex::new(Default::default()),
            commands: Mutex::new(commands),
            faults: Mutex::new(faults),
            page_requests: page_requests.map(Mutex::new),
        };
        iommu.quiet(&wiring)?;
        iommu.start_queues()?;
        let levels = iommu.find_levels(levels, &probe)?;
        // SAFETY: the IOMMU is Off, and nothing of what is not valid is cached (2.7).
        unsafe { probe.free() };
        let entries = iommu.entries.get_mut();
        if levels != entries.directory.levels() {
            entries.directory.empty(levels);
            iommu.adopted = found.preset(&mut entries.directory)?;
        }
        iommu.translate()?;
        Ok(iommu)
    }

    /// Turns off what is on, and sets what may be set only then.
    fn quiet(&self, wiring: &Wiring) -> Result<(), BringUpError> {
        let (registers, platform) = (&self.registers, &self.platform);
        registers.off(platform)?;
        QueueCsr::COMMAND.disable(platform, registers)?;
        QueueCsr::FAULT.disable(platform, registers)?;
        if self.features.ats {
            QueueCsr::PAGE_REQUEST.disable(platform, registers)?;
        }
        interrupts::set_features(registers, wiring.wired)?;
        self.acknowledge();
        wiring.program(registers)
    }

    /// Turns the queues on and makes caches forget what they held: they keep it while Off (5.5), and would use it as soon as
    /// there is any directory.
    fn start_queues(&self) -> Result<(), BringUpError> {
        let (registers, platform) = (&self.registers, &self.platform);
        self.commands.lock().start(platform, registers)?;
        self.faults.lock().start(platform, registers)?;
        if let Some(queue) = &self.page_requests {
            queue.lock().start(platform, registers)?;
        }
        Ok(self.run(&[command::inval_ddt_all(), command::inval_vma_all(), command::inval_gvma_all()])?)
    }

    fn translate(&self) -> Result<(), BringUpError> {
        let (mode, ppn) = {
            let directory = &self.entries.lock().directory;
            (mode_of(directory.levels()), directory.ppn())
        };
        let value = self.registers.set_ddtp(&self.platform, mode, ppn)?;
        if ddtp::IOMMU_MODE.of(value) != mode || ddtp::PPN.of(value) != ppn {
            let what = "the device directory's address";
            return Err(BringUpError::Locked { register: "ddtp", value, what });
        }
        Ok(())
    }

    /// Finds out how many levels the device directory can have, by trying (6.2): as few as reach every source, or, where the
    /// IOMMU does not have so many, as many as it has.
    fn find_levels(&self, fewest: u8, probe: &Shared<P>) -> Result<u8, BringUpError> {
        let (registers, platform) = (&self.registers, &self.platform);
        let mut value = 0;
        for levels in (fewest..=3).chain((1..fewest).rev()) {
            value = registers.set_ddtp(platform, mode_of(levels), probe.ppn())?;
            let kept = ddtp::IOMMU_MODE.of(value) == mode_of(levels);
            registers.off(platform)?;
            if kept {
                return Ok(levels);
            }
        }
        let what = "iommu_mode of a device directory";
        Err(BringUpError::Locked { register: "ddtp", value, what })
    }

    /// Takes back what asks for attention.
    pub(super) fn acknowledge(&self) {
        let all = bit(ipsr::CIP) | bit(ipsr::FIP) | bit(ipsr::PMIP) | bit(ipsr::PIP);
        self.registers.mmio.write32(spec::IPSR, all);
    }
}

fn check(config: &Config) -> Result<(), BringUpError> {
    let sizes = [Some(config.command_queue), Some(config.fault_queue), config.page_request_queue];
    if sizes.into_iter().flatten().any(|bits| !QUEUE.contains(&bits)) {
        return Err(BringUpError::Config("a queue of other than 2 to 65536 entries"));
    }
    if config.last_source >> DEVICE_ID_BITS != 0 {
        return Err(BringUpError::Config("a source of more than 24 bits"));
    }
    Ok(())
}

/// The fewest levels that reach a source.
fn fewest_levels(format: Format, last_source: u32) -> u8 {
    (1..3).find(|&levels| last_source >> format.reach(levels) == 0).unwrap_or(3)
}

/// Stage, mode and bytes of a table in which nothing is mapped.
fn empty_table(features: &Features) -> (Stage, u64, usize) {
    match features.second_levels {
        0 => (Stage::First, iosatp_mode::SV39, PAGE),
        _ => (Stage::Second, iohgatp_mode::SV39X4, 4 * PAGE),
    }
}

/// Memory of the sizes that are asked for, in bytes: all of it or none.
fn all_or_none<P: Platform, const N: usize>(
    platform: &P,
    reach: Reach,
    sizes: [Option<usize>; N],
) -> Result<[Option<Shared<P>>; N], OutOfMemory> {
    let mut made = [const { None }; N];
    for n in 0..N {
        let Some(bytes) = sizes[n] else { continue };
        match Shared::new(platform, reach, bytes) {
            Ok(memory) => made[n] = Some(memory),
            Err(out) => {
                // SAFETY: nobody was ever told of any.
                made.into_iter().flatten().for_each(|memory: Shared<P>| unsafe { memory.free() });
                return Err(out);
            }
        }
    }
    Ok(made)
}
