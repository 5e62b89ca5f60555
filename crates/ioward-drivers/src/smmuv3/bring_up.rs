//! From reset, firmware or a crashed kernel to an SMMU that translates or aborts (IHI 0070, 6.3.9 and 3.11).

use super::{
    Adopted, BringUp, BringUpError, Config, SmmuV3, adopt, command,
    command_queue::CommandQueue,
    driver::{Entries, Tags},
    idr::Features,
    invalidate::Flusher,
    memory::{Reach, Shared},
    output_queue::OutputQueue,
    registers::Registers,
    stream_table::StreamTable,
    tag::Numbers,
};
use crate::{slots::Slots, wait::Patience};
use ioward_core::driver::Hung;
use ioward_spec::smmuv3::{
    command as command_record, event as event_record, pri,
    registers::{self as spec, cr0, cr1, cr2, irq_ctrl},
    shareability,
};
use ioward_types::{IommuId, Mmio, Mutex, OutOfMemory, Platform};

fn bit(field: ioward_spec::Field) -> u32 {
    field.mask() as u32
}

/// Memory of a queue of `1 << bits` records.
struct Ring<P: Platform> {
    memory: Shared<P>,
    bits: u8,
}

/// All that the SMMU will be told of.
struct Memory<P: Platform> {
    commands: Ring<P>,
    events: Ring<P>,
    page_requests: Option<Ring<P>>,
    table: StreamTable<P>,
}

impl<P: Platform> Memory<P> {
    /// All of it, or none.
    fn new(platform: &P, reach: Reach, features: &Features, config: &Config) -> Result<Self, OutOfMemory> {
        let page_requests = config.page_request_queue.filter(|_| features.pri);
        let wanted = [
            Some((config.command_queue.min(features.cmdq_bits), command_record::BYTES)),
            Some((config.event_queue.min(features.eventq_bits), event_record::BYTES)),
            page_requests.map(|bits| (bits.min(features.priq_bits), pri::BYTES)),
        ];
        let mut rings = [const { None }; 3];
        let mut made = Ok(());
        for (ring, wanted) in rings.iter_mut().zip(wanted) {
            let Some((bits, record)) = wanted else { continue };
            match Shared::new(platform, reach, record << bits, 32) {
                Ok(memory) => *ring = Some(Ring { memory, bits }),
                Err(out) => made = made.and(Err(out)),
            }
        }
        let table = made.and_then(|()| StreamTable::new(platform, reach, features, config));
        match (rings, table) {
            ([Some(commands), Some(events), page_requests], Ok(table)) => {
                Ok(Self { commands, events, page_requests, table })
            }
            (rings, table) => {
                // SAFETY: the SMMU was never told of them.
                rings.into_iter().flatten().for_each(|ring| unsafe { ring.memory.free() });
                Err(table.err().unwrap_or(OutOfMemory))
            }
        }
    }

    /// # Safety
    /// The SMMU was never told of it.
    unsafe fn free(self) {
        let rings = [Some(self.commands), Some(self.events), self.page_requests];
        // SAFETY: as promised by the caller.
        rings.into_iter().flatten().for_each(|ring| unsafe { ring.memory.free() });
        // SAFETY: as above.
        unsafe { self.table.free() };
    }
}

impl<M: Mmio, P: Platform> SmmuV3<M, P> {
    /// Takes over an SMMU. `registers` are its pages 0 and 1, or page 0 alone where firmware says that there is no other.
    ///
    /// On success it translates, every source being blocked unless it was adopted.
    ///
    /// In no state does any request bypass it from the first register write on: it aborts (GBPA.ABORT) whenever it does not
    /// translate. [`BringUp::Cold`] of one that translates after all is an error, and nothing is changed.
    /// [`BringUp::Adopt`] copies the entries of the Stream table that it has; the table's address cannot change while the
    /// SMMU translates (IHI 0070, 6.3.24), so requests that arrive while it changes, for the length of about ten register
    /// accesses, are aborted. Where it does not translate, that is `Cold`.
    pub fn bring_up(
        id: IommuId,
        registers: M,
        config: &Config,
        platform: &P,
        state: BringUp<'_>,
    ) -> Result<Self, BringUpError> {
        let features = Features::read(&registers, config)?;
        let cr0 = registers.read32(spec::CR0);
        let translating = cr0 & bit(cr0::SMMUEN) != 0;
        if translating && matches!(state, BringUp::Cold) {
            return Err(BringUpError::Translating { cr0 });
        }

        // Memory first: what fails here leaves the SMMU as it was found.
        let reach = Reach { coherent: features.coherent, below: features.below() };
        let mut memory = Memory::new(platform, reach, &features, config)?;
        let mut tags = Tags {
            asids: Numbers::new(1 << features.asid_bits),
            vmids: Numbers::new(1 << features.vmid_bits),
        };
        let mut adopted = Adopted::default();
        if let (BringUp::Adopt(old), true) = (state, translating) {
            match adopt::stream_table(&registers, &features, old, &mut memory.table, &mut tags) {
                Ok(found) => adopted = found,
                Err(error) => {
                    // SAFETY: the SMMU was never told of it.
                    unsafe { memory.free() };
                    return Err(error);
                }
            }
        }
        let Memory { commands, events, page_requests, table } = memory;
        let commands = CommandQueue::new(commands.memory, commands.bits);
        let events = OutputQueue::new(events.memory, events.bits, spec::EVENTQ_PROD, spec::EVENTQ_CONS);
        let page_requests = page_requests
            .map(|queue| OutputQueue::new(queue.memory, queue.bits, spec::PRIQ_PROD, spec::PRIQ_CONS));
        // No stage 2 table may share the VMID of stage 1 entries.
        let vmid = if features.stage_2 { tags.vmids.lowest_free() } else { 0 };
        tags.vmids.reserve(vmid);

        let smmu = Self {
            id,
            platform: platform.clone(),
            features,
            reach,
            registers: Registers {
                mmio: registers,
                page0_only: config.firmware.page0_only,
                patience: Patience { iommu: id, bound: config.bound },
            },
            flusher: Flusher { ranges: features.range_invalidation, vmid },
            adopted,
            entries: Mutex::new(Entries { table, slots: Slots::new() }),
            tags: Mutex::new(tags),
            commands: Mutex::new(commands),
            events: Mutex::new(events),
            page_requests: page_requests.map(Mutex::new),
        };
        smmu.start(config)?;
        Ok(smmu)
    }

    fn start(&self, config: &Config) -> Result<(), Hung> {
        let (registers, platform) = (&self.registers, &self.platform);
        let mmio = &registers.mmio;
        // In this order: at no instant does a request pass untranslated.
        registers.abort_when_off(platform)?;
        registers.set_cr0(platform, 0)?;
        self.interrupts_off()?;

        let (cache, share) = if self.features.coherent {
            (cr1::WRITE_BACK, shareability::INNER)
        } else {
            (cr1::NON_CACHEABLE, shareability::OUTER)
        };
        let attributes = cr1::QUEUE_IC.put(cache)
            | cr1::QUEUE_OC.put(cache)
            | cr1::QUEUE_SH.put(share)
            | cr1::TABLE_IC.put(cache)
            | cr1::TABLE_OC.put(cache)
            | cr1::TABLE_SH.put(share);
        mmio.write32(spec::CR1, attributes as u32);
        // CPUs' broadcast invalidation means other ASIDs than ours.
        mmio.write32(spec::CR2, bit(cr2::PTM) | bit(cr2::RECINVSID));
        let (base, cfg) = self.entries.lock().table.registers();
        mmio.write64(spec::STRTAB_BASE, base);
        mmio.write32(spec::STRTAB_BASE_CFG, cfg);
        mmio.write64(spec::CMDQ_BASE, self.commands.lock().base());
        mmio.write32(spec::CMDQ_PROD, 0);
        mmio.write32(spec::CMDQ_CONS, 0);
        {
            let events = self.events.lock();
            mmio.write64(spec::EVENTQ_BASE, events.base());
            events.reset(registers);
        }
        if let Some(queue) = &self.page_requests {
            let queue = queue.lock();
            mmio.write64(spec::PRIQ_BASE, queue.base());
            queue.reset(registers);
        }
        // Errors of before are nobody's any more.
        mmio.write32(spec::GERRORN, mmio.read32(spec::GERROR));

        let mut enables = bit(cr0::CMDQEN);
        registers.set_cr0(platform, enables)?;
        self.run(&[command::cfgi_all(), command::tlbi_nsnh_all()])?;
        if self.features.el2 {
            self.run(&[command::tlbi_el2_all()])?;
        }
        enables |= bit(cr0::EVENTQEN);
        if self.page_requests.is_some() {
            enables |= bit(cr0::PRIQEN);
        }
        if self.features.ats {
            // Translated requests only from streams whose entry allows ATS.
            enables |= bit(cr0::ATSCHK);
        }
        registers.set_cr0(platform, enables)?;
        registers.set_cr0(platform, enables | bit(cr0::SMMUEN))?;
        self.interrupts_on(config)
    }

    fn interrupts_off(&self) -> Result<(), Hung> {
        self.set_interrupts(0)?;
        if self.features.msi {
            // Without an address an interrupt is wired (6.3.21).
            for at in [spec::GERROR_IRQ_CFG0, spec::EVENTQ_IRQ_CFG0] {
                self.registers.mmio.write64(at, 0);
            }
            if self.features.pri {
                self.registers.mmio.write64(spec::PRIQ_IRQ_CFG0, 0);
            }
        }
        Ok(())
    }

    fn interrupts_on(&self, config: &Config) -> Result<(), Hung> {
        if !config.wired_interrupts {
            return Ok(());
        }
        let mut enables = bit(irq_ctrl::GERROR_IRQEN) | bit(irq_ctrl::EVENTQ_IRQEN);
        if self.page_requests.is_some() {
            enables |= bit(irq_ctrl::PRIQ_IRQEN);
        }
        self.set_interrupts(enables)
    }

    fn set_interrupts(&self, enables: u32) -> Result<(), Hung> {
        let what = "IRQ_CTRLACK";
        self.registers.write_acknowledged(&self.platform, spec::IRQ_CTRL, spec::IRQ_CTRLACK, enables, what)
    }
}
