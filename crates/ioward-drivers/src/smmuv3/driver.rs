//! One SMMU as the subsystem sees it.

use super::{
    Adopted, PageResponse,
    cd_table::CdTable,
    claimed::Claimed,
    command::{self, Command},
    command_queue::CommandQueue,
    event,
    idr::Features,
    invalidate::Flusher,
    memory::Reach,
    output_queue::{Drained, OutputQueue},
    registers::Registers,
    ste,
    stream_table::StreamTable,
    tag::{Meaning, Numbers, Stage, encode_granule},
};
use crate::slots::Slots;
use alloc::collections::BTreeSet;
use ioward_core::driver::{
    AtcTarget, Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot,
    Translation,
};
use ioward_spec::smmuv3::{event as event_record, pri};
use ioward_types::{IommuId, Mmio, Mutex, Pasid, Platform, SourceId, TableConfig, Tag};

/// How many records are copied from a queue before its lock is let go and they are reported.
const BATCH: usize = 16;

/// A driver of one SMMUv3. Made by [`SmmuV3::bring_up`].
///
/// Claims, installs and blocks hold a lock while they wait for the SMMU, at most [`Config::bound`](super::Config::bound)
/// for each of their few steps. Dropping it stops nothing: the SMMU goes on translating from memory that stays allocated.
pub struct SmmuV3<M: Mmio, P: Platform> {
    pub(super) id: IommuId,
    pub(super) platform: P,
    pub(super) features: Features,
    pub(super) reach: Reach,
    pub(super) registers: Registers<M>,
    pub(super) flusher: Flusher,
    pub(super) adopted: Adopted,
    pub(super) entries: Mutex<P::Lock, Entries<P>>,
    pub(super) tags: Mutex<P::Lock, Tags>,
    pub(super) commands: Mutex<P::Lock, CommandQueue<P>>,
    pub(super) events: Mutex<P::Lock, OutputQueue<P, { event_record::WORDS }>>,
    pub(super) page_requests: Option<Mutex<P::Lock, OutputQueue<P, { pri::WORDS }>>>,
}

/// The Stream table and who has claimed what of it.
pub(super) struct Entries<P: Platform> {
    pub table: StreamTable<P>,
    pub slots: Slots<Claimed<P>>,
}

/// ASIDs and VMIDs that are free.
pub(super) struct Tags {
    pub asids: Numbers,
    pub vmids: Numbers,
}

impl<M: Mmio, P: Platform> SmmuV3<M, P> {
    /// What bring-up carried over from whoever used the SMMU before.
    pub fn adopted(&self) -> Adopted {
        self.adopted
    }

    /// Answers a group of page requests. `Err`: the device may not have got it.
    pub fn respond(
        &self,
        source: SourceId,
        pasid: Option<Pasid>,
        group: u16,
        response: PageResponse,
    ) -> Result<(), Hung> {
        self.run(&[command::pri_resp(AtcTarget { source, pasid }, group, response)])
    }

    /// Runs commands to completion.
    pub(super) fn run(&self, commands: &[Command]) -> Result<(), Hung> {
        self.commands.lock().run(&self.platform, &self.registers, commands.iter().copied())
    }

    /// Makes a device forget every translation that it may hold, whatever its PASIDs were.
    pub(super) fn forget_device(&self, source: SourceId, pasid_bits: u8) -> Result<(), Hung> {
        let plain = command::atc_inv_all(AtcTarget { source, pasid: None });
        match pasid_bits {
            0 => self.run(&[plain]),
            _ => self.run(&[plain, command::atc_inv_global(source)]),
        }
    }

    fn claim_entry(&self, what: &Claim) -> Result<Slot, Refused> {
        let iommu = self.id;
        let mut entries = self.entries.lock();
        let Entries { table, slots } = &mut *entries;
        let source = what.source;
        if source.0 >= table.limit() {
            return Err(Refused::Source { iommu, source, limit: table.limit() });
        }
        if slots.is_claimed(source) {
            return Err(Refused::Claimed { iommu, source });
        }
        let has = self.features.pasid_bits();
        if what.pasid_bits > has {
            return Err(Refused::Pasid { iommu, has, needs: what.pasid_bits });
        }
        if what.ats && !self.features.serves_ats() {
            return Err(Refused::Unsupported {
                iommu,
                what: "ATS without stalls (IDR0.ATS, IDR0.STALL_MODEL)",
            });
        }
        // Descriptors that only stage 1 needs are made when it comes, unless nothing else can come.
        let wanted = what.pasid_bits > 0 || !self.features.stage_2;
        let cds = if wanted { Some(self.new_cds(what.pasid_bits)?) } else { None };
        let discard = |cds: Option<CdTable<P>>| {
            if let Some(cds) = cds {
                // SAFETY: no entry ever pointed at it.
                unsafe { cds.free() }
            }
        };
        if let Err(error) = table.ensure(source) {
            discard(cds);
            return Err(error.into());
        }
        // What was adopted ends here. The command also makes a new entry known.
        let was_open = ste::is_open(&table.read(source));
        let mut confirmed = table.block(source, &mut |commands| self.run(commands));
        if !was_open && confirmed.is_ok() {
            confirmed = self.run(&[command::cfgi_ste(source)]);
        }
        if confirmed.is_ok() && (was_open || slots.was_unconfirmed(source)) && what.ats {
            confirmed = self.forget_device(source, what.pasid_bits);
        }
        if let Err(hung) = confirmed {
            discard(cds);
            // Its entry is blocked by now, which tells the next who claims it nothing.
            slots.leave_unconfirmed(source);
            return Err(hung.into());
        }
        let index = slots.insert(Claimed {
            source,
            pasid_bits: what.pasid_bits,
            ats: what.ats,
            cds,
            pasids: BTreeSet::new(),
            unconfirmed: false,
        });
        Ok(Slot { iommu, source, index })
    }

    pub(super) fn new_cds(&self, pasid_bits: u8) -> Result<CdTable<P>, Refused> {
        Ok(CdTable::new(&self.platform, self.reach, pasid_bits, self.features.two_level_cd)?)
    }

    fn report(&self, drained: &Drained, queue: &'static str, sink: &mut dyn FnMut(Event)) {
        if let Some(prod) = drained.nonsense {
            sink(Event::Unit { what: queue, code: prod.into() });
        }
        if drained.overflow {
            sink(Event::Lost(1));
        }
    }

    fn poll_events(&self, sink: &mut dyn FnMut(Event)) {
        let mut records = [[0; event_record::WORDS]; BATCH];
        // A device that faults without end must not keep us here: a queue's worth a call.
        let mut left = self.events.lock().entries();
        while left != 0 {
            let batch = left.min(BATCH);
            let drained = self.events.lock().drain(&self.platform, &self.registers, &mut records[..batch]);
            let mut resume = [[0; 2]; BATCH];
            let mut stalled = 0;
            for record in &records[..drained.records] {
                let (event, stall) = event::decode(record);
                if let Some(stall) = stall {
                    resume[stalled] = command::resume_abort(stall.source, stall.stag);
                    stalled += 1;
                }
                sink(event);
            }
            self.report(&drained, "EVENTQ_PROD out of range", sink);
            if stalled != 0 && self.run(&resume[..stalled]).is_err() {
                sink(Event::Unit { what: "CMD_RESUME not done", code: stalled as u64 });
            }
            if drained.records < batch {
                return;
            }
            left -= drained.records;
        }
    }

    fn poll_page_requests(&self, sink: &mut dyn FnMut(Event)) {
        let Some(queue) = &self.page_requests else { return };
        let mut records = [[0; pri::WORDS]; BATCH];
        let mut left = queue.lock().entries();
        while left != 0 {
            let batch = left.min(BATCH);
            let drained = queue.lock().drain(&self.platform, &self.registers, &mut records[..batch]);
            records[..drained.records].iter().map(event::decode_page_request).for_each(&mut *sink);
            self.report(&drained, "PRIQ_PROD out of range", sink);
            if drained.records < batch {
                return;
            }
            left -= drained.records;
        }
    }
}

// SAFETY: an answer that confirms is given only after the hardware completed the wait that followed the invalidations, and an
// entry is written from the translation that was given.
unsafe impl<M: Mmio, P: Platform> Driver for SmmuV3<M, P> {
    fn id(&self) -> IommuId {
        self.id
    }

    fn kind(&self) -> &'static str {
        "SMMUv3"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            pasid_bits: self.features.pasid_bits(),
            ats: self.features.serves_ats(),
            dirty: self.features.dirty,
            coherent: self.features.coherent,
            // Leaves say whether a request snoops, whatever it asks for itself.
            snoop: true,
        }
    }

    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused> {
        self.features.plan(self.id, whole_group)
    }

    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused> {
        self.features.can_walk(self.id, config).map(drop)
    }

    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        self.claim_entry(what)
    }

    fn release(&self, slot: Slot, gone: bool) -> Blocked {
        let mut entries = self.entries.lock();
        let blocked = self.block_source(&mut entries, &slot, gone);
        if let Some(Claimed { cds: Some(cds), .. }) = entries.slots.remove(self.id, &slot)
            && blocked == Blocked::Confirmed
        {
            // SAFETY: the entry is blocked and the SMMU has forgotten what it was. Unconfirmed, the memory is leaked.
            unsafe { cds.free() }
        }
        blocked
    }

    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        let iommu = self.id;
        let Plan::Tables(config) = plan else {
            return Err(Refused::Unsupported { iommu, what: "mapping by request" });
        };
        let stage = self.features.can_walk(iommu, config)?;
        let misfit = Refused::Shape { iommu, table: config.format, what: "its granule is not one of Arm's" };
        let granule = encode_granule(config.granule()).ok_or(misfit)?;
        let mut tags = self.tags.lock();
        let id = match stage {
            Stage::One => tags.asids.take(),
            Stage::Two => tags.vmids.take(),
        };
        let id = id.ok_or(Refused::NoTag { iommu })?;
        Ok(Meaning { stage, id, granule }.encode())
    }

    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        // A tag that was never given out names nothing.
        let Some(meaning) = self.live(tag) else { return Ok(()) };
        self.run(&[command::tlbi_tag(meaning, self.flusher.vmid)])?;
        let mut tags = self.tags.lock();
        match meaning.stage {
            Stage::One => tags.asids.give_back(meaning.id),
            Stage::Two => tags.vmids.give_back(meaning.id),
        }
        Ok(())
    }

    unsafe fn install(
        &self,
        slot: &Slot,
        pasid: Option<Pasid>,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        let mut entries = self.entries.lock();
        match pasid {
            None => self.install_source(&mut entries, slot, what),
            Some(pasid) => self.install_pasid(&mut entries, slot, pasid, what),
        }
    }

    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked {
        let mut entries = self.entries.lock();
        match pasid {
            None => self.block_source(&mut entries, slot, false),
            Some(pasid) => self.block_pasid(&mut entries, slot, pasid),
        }
    }

    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        let mut queue = self.commands.lock();
        let mut batch = queue.batch(&self.platform, &self.registers);
        for flush in what {
            self.flusher.translations(flush, &mut |command| batch.push(command));
        }
        if what.iter().any(|flush| !flush.atc.is_empty()) {
            batch.push(command::sync());
            for flush in what {
                self.flusher.devices(flush, &mut |command| batch.push(command));
            }
        }
        batch.finish()
    }

    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        self.poll_events(sink);
        self.poll_page_requests(sink);
        let (reports, dropped) = {
            let mut queue = self.commands.lock();
            queue.poll(&self.registers);
            queue.take_reports()
        };
        reports.into_iter().flatten().for_each(&mut *sink);
        if dropped != 0 {
            sink(Event::Lost(dropped));
        }
    }
}
