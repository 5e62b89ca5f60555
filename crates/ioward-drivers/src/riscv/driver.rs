//! One IOMMU as the subsystem sees it.

use super::{
    Adopted, PageResponse,
    capabilities::Features,
    claimed::{Claimed, Rid},
    command,
    command::Command,
    command_queue::CommandQueue,
    device_context as context,
    device_directory::DeviceDirectory,
    entry::Words,
    fault,
    invalidate::Flusher,
    memory::Reach,
    nested::Pairs,
    output_queue::{Drained, OutputQueue},
    process_directory::ProcessDirectory,
    registers::Registers,
    tag::{Meaning, Tags},
};
use crate::slots::Slots;
use alloc::collections::BTreeMap;
use ioward_core::driver::{
    AtcTarget, Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot,
    Translation,
};
use ioward_spec::riscv::{fault as fault_record, page_request};
use ioward_types::{IommuId, Mmio, Mutex, Pasid, Platform, SourceId, TableConfig, Tag};

/// How many records are copied from a queue before its lock is let go and they are reported.
const BATCH: usize = 16;

/// A driver of one RISC-V IOMMU. Made by [`RiscVIommu::bring_up`].
///
/// Claims, installs and blocks hold a lock while they wait for the IOMMU, at most [`Config::bound`](super::Config::bound)
/// for each of their few steps. Dropping it stops nothing: the IOMMU goes on translating from memory that stays allocated.
pub struct RiscVIommu<M: Mmio, P: Platform> {
    pub(super) id: IommuId,
    pub(super) platform: P,
    pub(super) features: Features,
    pub(super) reach: Reach,
    pub(super) registers: Registers<M>,
    pub(super) flusher: Flusher,
    pub(super) adopted: Adopted,
    /// A device context that leads to an empty table and lets the device answer; where there is ATS.
    pub(super) nothing: Option<Words>,
    pub(super) entries: Mutex<P::Lock, Entries<P>>,
    pub(super) tags: Mutex<P::Lock, Tags>,
    pub(super) pairs: Mutex<P::Lock, Pairs>,
    pub(super) commands: Mutex<P::Lock, CommandQueue<P>>,
    pub(super) faults: Mutex<P::Lock, OutputQueue<P, { fault_record::WORDS }>>,
    pub(super) page_requests: Option<Mutex<P::Lock, OutputQueue<P, { page_request::WORDS }>>>,
}

/// The device directory and who has claimed what of it.
pub(super) struct Entries<P: Platform> {
    pub directory: DeviceDirectory<P>,
    pub slots: Slots<Claimed<P>>,
}

impl<M: Mmio, P: Platform> RiscVIommu<M, P> {
    /// What bring-up carried over from whoever used the IOMMU before.
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
        self.run(&[command::prgr(AtcTarget { source, pasid }, group, response)])
    }

    /// Runs commands to completion.
    pub(super) fn run(&self, commands: &[Command]) -> Result<(), Hung> {
        self.commands.lock().run(&self.platform, &self.registers, commands.iter().copied())
    }

    fn claim_entry(&self, what: &Claim) -> Result<Slot, Refused> {
        let iommu = self.id;
        let mut entries = self.entries.lock();
        let Entries { directory, slots } = &mut *entries;
        let source = what.source;
        if source.0 >= directory.limit() {
            return Err(Refused::Source { iommu, source, limit: directory.limit() });
        }
        if slots.is_claimed(source) {
            return Err(Refused::Claimed { iommu, source });
        }
        let has = self.features.pasid_bits();
        if what.pasid_bits > has {
            return Err(Refused::Pasid { iommu, has, needs: what.pasid_bits });
        }
        if what.ats && !self.features.ats {
            return Err(Refused::Unsupported { iommu, what: "ATS" });
        }
        let mut processes = None;
        if what.pasid_bits > 0 {
            let has = self.features.directories;
            processes = Some(ProcessDirectory::new(&self.platform, self.reach, what.pasid_bits, has)?);
        }
        let discard = |processes: Option<ProcessDirectory<P>>| {
            if let Some(processes) = processes {
                // SAFETY: no device context ever pointed at it.
                unsafe { processes.free() }
            }
        };
        if let Err(error) = directory.ensure(source) {
            discard(processes);
            return Err(error.into());
        }
        let mut claimed = Claimed {
            source,
            pasid_bits: what.pasid_bits,
            ats: what.ats,
            rid: Rid::Blocked,
            directory: processes,
            pasids: BTreeMap::new(),
            msi: None,
            unconfirmed: slots.was_unconfirmed(source),
        };
        // What was adopted ends here.
        let adopted = directory.read(source);
        let device = match context::has_ats(&adopted) && self.features.ats {
            true => Self::whole_device(source, context::has_directory(&adopted)),
            false => alloc::vec::Vec::new(),
        };
        let settled = self.shut(directory, source, &device);
        if let Err(hung) = settled.and_then(|()| self.settle(directory, &mut claimed)) {
            discard(claimed.directory);
            // Its context is blocked by now, which tells the next who claims it nothing.
            slots.leave_unconfirmed(source);
            return Err(hung.into());
        }
        let index = slots.insert(claimed);
        Ok(Slot { iommu, source, index })
    }

    fn poll_faults(&self, sink: &mut dyn FnMut(Event)) {
        let mut records = [[0; fault_record::WORDS]; BATCH];
        // A device that faults without end must not keep us here: a queue's worth a call.
        let mut left = self.faults.lock().entries();
        while left != 0 {
            let batch = left.min(BATCH);
            let drained = self.faults.lock().drain(&self.platform, &self.registers, &mut records[..batch]);
            records[..drained.records].iter().map(fault::decode).for_each(&mut *sink);
            report_nonsense(&drained, super::fault_queue::KIND.tail_out_of_range, sink);
            if drained.records < batch {
                break;
            }
            left -= drained.records;
        }
        let resumed = self.faults.lock().resume(&self.platform, &self.registers);
        report_resumed(resumed, sink);
    }

    fn poll_page_requests(&self, sink: &mut dyn FnMut(Event)) {
        let Some(queue) = &self.page_requests else { return };
        let mut records = [[0; page_request::WORDS]; BATCH];
        let mut left = queue.lock().entries();
        while left != 0 {
            let batch = left.min(BATCH);
            let drained = queue.lock().drain(&self.platform, &self.registers, &mut records[..batch]);
            records[..drained.records].iter().filter_map(fault::decode_page_request).for_each(&mut *sink);
            report_nonsense(&drained, super::page_request_queue::KIND.tail_out_of_range, sink);
            if drained.records < batch {
                break;
            }
            left -= drained.records;
        }
        let resumed = queue.lock().resume(&self.platform, &self.registers);
        report_resumed(resumed, sink);
    }
}

fn report_nonsense(drained: &Drained, what: &'static str, sink: &mut dyn FnMut(Event)) {
    if let Some(tail) = drained.nonsense {
        sink(Event::Unit { what, code: tail.into() });
    }
}

fn report_resumed(resumed: Result<[Option<Event>; 3], Hung>, sink: &mut dyn FnMut(Event)) {
    match resumed {
        Ok(events) => events.into_iter().flatten().for_each(&mut *sink),
        Err(hung) => sink(Event::Unit { what: hung.what, code: hung.waited.0 }),
    }
}

// SAFETY: an answer that confirms is given only after the hardware completed the fence that followed the invalidations, and
// a context is written from the translation that was given.
unsafe impl<M: Mmio, P: Platform> Driver for RiscVIommu<M, P> {
    fn id(&self) -> IommuId {
        self.id
    }

    fn kind(&self) -> &'static str {
        "RISC-V IOMMU"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            pasid_bits: self.features.pasid_bits(),
            ats: self.features.ats,
            dirty: self.features.dirty,
            coherent: self.features.coherent,
            // The attributes of the place decide, which leaves can only weaken (Svpbmt).
            snoop: self.features.coherent,
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
        if let Some(Claimed { directory: Some(processes), .. }) = entries.slots.remove(self.id, &slot)
            && blocked == Blocked::Confirmed
        {
            // SAFETY: the context is blocked and the IOMMU has forgotten what it was. Unconfirmed, the memory is leaked.
            unsafe { processes.free() }
        }
        blocked
    }

    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        let iommu = self.id;
        let Plan::Tables(config) = plan else {
            return Err(Refused::Unsupported { iommu, what: "mapping by request" });
        };
        let stage = self.features.can_walk(iommu, config)?;
        let id = self.tags.lock().of(stage).take().ok_or(Refused::NoTag { iommu })?;
        Ok(Meaning { stage, id }.encode())
    }

    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        // A tag that was never given out names nothing.
        let Some(meaning) = self.live(tag) else { return Ok(()) };
        self.run(&[command::inval_tag(meaning)])?;
        self.tags.lock().of(meaning.stage).give_back(meaning.id);
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
        // A device is asked only while its context lets its answer in (2.1.3.1), and that must not change meanwhile. One
        // whose context does not has been told all when it was blocked.
        let names_devices = what.iter().any(|flush| !flush.atc.is_empty());
        let entries = names_devices.then(|| self.entries.lock());
        let answers = |target: &AtcTarget| {
            entries.as_ref().map(|entries| &entries.directory).is_some_and(|directory| {
                target.source.0 < directory.limit() && context::has_ats(&directory.read(target.source))
            })
        };
        let mut queue = self.commands.lock();
        let mut batch = queue.batch(&self.platform, &self.registers);
        for flush in what {
            self.flusher.translations(flush, &mut |command| batch.push(command));
            self.nested_commands(flush.tag, &mut |command| batch.push(command));
        }
        if what.iter().flat_map(|flush| flush.atc).any(answers) {
            batch.push(command::fence());
            for flush in what {
                let whole = |target: &AtcTarget| self.is_second_of(target.source, flush.tag);
                self.flusher.devices(flush, answers, whole, &mut |command| batch.push(command));
            }
        }
        batch.finish()
    }

    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        // Before the queues are looked at: what comes later raises the interrupt again (5.18).
        self.acknowledge();
        self.poll_faults(sink);
        self.poll_page_requests(sink);
        let (reports, dropped) = {
            let mut queue = self.commands.lock();
            queue.poll(&self.platform, &self.registers);
            queue.take_reports()
        };
        reports.into_iter().flatten().for_each(&mut *sink);
        if dropped != 0 {
            sink(Event::Lost(dropped));
        }
    }
}
