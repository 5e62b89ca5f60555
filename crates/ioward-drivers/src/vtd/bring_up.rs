//! Bringing one unit up (11.4.4 and the registers' own sections).
//!
//! The order keeps every instant at least as tight as firmware left it: memory is ready before hardware is told of it; the
//! root table is in place before translation is on; a unit that translates goes on; the protected memory regions go last,
//! when nothing needs them any more. What caches hold from earlier is forgotten before anything new can be cached.

use super::adopt::{self, Adopted};
use super::capability::Features;
use super::config::{BringUpError, Config, Interrupts, Message, Mode};
use super::descriptor::Command;
use super::domain_id::DomainIds;
use super::driver::{Sources, VtD};
use super::fault_recording::FaultRecords;
use super::global_command::Unit;
use super::interrupt_remapping::InterruptTable;
use super::invalidation::Invalidation;
use super::invalidation_queue::InvalidationQueue;
use super::memory::Reach;
use super::page_requests::PageRequestQueue;
use super::pasid_entry::Ways;
use super::register_invalidation::InvalidationRegisters;
use super::root_table::RootTable;
use crate::left_over::BringUp;
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use ioward_core::driver::Hung;
use ioward_spec::vtd::{
    interrupts::RANGE,
    registers::{self as spec, event_address, event_control, gcmd, gsts, iqh, iqt, pmen, rtaddr},
};
use ioward_types::{IommuId, Iova, Mmio, Mutex, Nanos, Platform, Span};

/// How long an earlier owner's queue may take to run empty before it is stopped all the same.
const RUN_OUT: Nanos = Nanos(10_000_000);

impl<M: Mmio, P: Platform> VtD<M, P> {
    /// Brings up the unit behind `registers`, of which `state` tells how it was left. On success every source that was not
    /// adopted is blocked, nothing that was cached before still is, and protected memory regions are off.
    ///
    /// A unit that translates goes on translating, with every source blocked that is not adopted, and keeps its translation
    /// mode: that changes only while it does not translate, which is a bypass (11.4.5). [`BringUp::Adopt`] of one that does
    /// not translate is [`BringUp::Cold`], and [`BringUp::Cold`] of one that does is an error, and nothing is changed.
    pub fn bring_up(
        id: IommuId,
        registers: M,
        config: Config,
        platform: &P,
        state: BringUp<'_>,
    ) -> Result<Self, BringUpError> {
        config.check()?;
        let unit = Unit::new(id, registers, platform.clone(), config.patience);
        let status = unit.status().ok_or(BringUpError::Absent)?;
        let was_on = gsts::TES.of(status) != 0;
        if was_on && matches!(state, BringUp::Cold) {
            return Err(BringUpError::Translating { gsts: status as u32 });
        }
        let found = match rtaddr::TTM.of(unit.registers.read64(spec::RTADDR)) {
            rtaddr::ttm::LEGACY if was_on => Some(Mode::Legacy),
            rtaddr::ttm::SCALABLE if was_on => Some(Mode::Best),
            // Nothing gets through in the other two, in whichever mode it is next.
            _ => None,
        };
        let features = Features::read(&unit.registers, &config, found)?;
        let memory = match state {
            BringUp::Adopt(memory) if found.is_some() => Some(memory),
            _ => None,
        };
        let was_remapping = gsts::IRES.of(status) != 0;
        let mut driver = Self::prepare(unit, features, &config, memory, was_remapping)?;
        driver.start(&config)?;
        Ok(driver)
    }

    /// All memory, filled, with no hardware told of it.
    fn prepare(
        unit: Unit<M, P>,
        features: Features,
        config: &Config,
        memory: Option<&dyn Fn(ioward_types::PhysAddr) -> Option<u64>>,
        was_remapping: bool,
    ) -> Result<Self, BringUpError> {
        let platform = unit.platform.clone();
        let reach = Reach {
            coherent: features.structures_coherent,
            below: features.below(),
            wide: config.wide_stores,
        };
        let mut made = Made::default();
        match made.make(&platform, reach, &features, config) {
            Ok(()) => {}
            Err(error) => {
                made.free();
                return Err(error.into());
            }
        }
        let mut domains = DomainIds::new(features.domain_bits);
        let mut owed = BTreeMap::new();
        let mut adopted = Adopted::default();
        if let (Some(memory), Some(root)) = (memory, &mut made.root) {
            let found = adopt::root_table(&unit, &features, memory, root, &mut domains, &mut owed);
            match (found, &mut made.interrupts) {
                (Ok(found), interrupts) => {
                    adopted = found;
                    if let (true, Some(table)) = (was_remapping, interrupts) {
                        adopted.interrupts = adopt::interrupt_table(&unit, memory, table);
                    }
                }
                (Err(error), _) => {
                    made.free();
                    return Err(error);
                }
            }
        }
        let Some(identity) = domains.allocate() else {
            made.free();
            return Err(BringUpError::Adopt("every domain ID is in use"));
        };
        let Made { root: Some(root), queue, page_requests, interrupts } = made else {
            return Err(BringUpError::Config("no root table"));
        };
        let invalidation = match queue {
            Some(queue) => Invalidation::Queue(Box::new(Mutex::new(queue))),
            None => Invalidation::Registers(Mutex::new(InvalidationRegisters {
                iotlb_at: features.iotlb_at,
                manner: features.manner,
            })),
        };
        Ok(Self {
            ways: Ways {
                identity,
                most: features.most_levels(),
                snooped_walks: features.scalable && features.walks_coherent,
            },
            forbidden: forbidden(&features),
            faults: Mutex::new(FaultRecords { at: features.faults_at, count: features.faults }),
            reach,
            adopted,
            invalidation,
            domains: Mutex::new(domains),
            sources: Mutex::new(Sources { root, claimed: BTreeMap::new(), owed }),
            page_requests: page_requests.map(Mutex::new),
            interrupts: interrupts.map(Mutex::new),
            features,
            unit,
        })
    }

    fn start(&mut self, config: &Config) -> Result<(), BringUpError> {
        self.stop_queue()?;
        self.faults.get_mut().clear(&self.unit);
        self.events(config);
        if let Invalidation::Queue(queue) = &mut self.invalidation {
            queue.get_mut().start(&self.unit)?;
        }
        self.set_root()?;
        self.set_interrupts()?;
        if let Some(queue) = &mut self.page_requests {
            queue.get_mut().start(&self.unit);
        }
        self.unit.set(gcmd::TE, true, "translation to start (GSTS.TES)")?;
        self.open_protected_regions()?;
        Ok(())
    }

    /// An earlier owner's queue stops, empty if it will.
    fn stop_queue(&self) -> Result<(), Hung> {
        let unit = &self.unit;
        if !unit.is(gsts::QIES) {
            return Ok(());
        }
        let start = unit.platform.now();
        let emptied = || {
            let head = iqh::QH.in_place(unit.registers.read64(spec::IQH));
            head == iqt::QT.in_place(unit.registers.read64(spec::IQT))
        };
        while !emptied() && unit.platform.now().0.saturating_sub(start.0) < RUN_OUT.0 {
            unit.platform.relax();
        }
        unit.set(gcmd::QIE, false, "queued invalidation to stop (GSTS.QIES)")
    }

    /// Sets the events of the unit's own up, or masks them.
    fn events(&self, config: &Config) {
        let registers = &self.unit.registers;
        let set = |control: usize, data: usize, address: usize, upper: usize, message: Option<Message>| {
            registers.write32(control, event_control::IM.mask() as u32);
            if let Some(message) = message {
                registers.write32(data, message.data);
                registers.write32(address, event_address::MA.in_place(message.address) as u32);
                registers.write32(upper, (message.address >> 32) as u32);
                registers.write32(control, 0);
            }
        };
        set(spec::FECTL, spec::FEDATA, spec::FEADDR, spec::FEUADDR, config.fault_message);
        if self.features.queued {
            // Completion is polled for.
            set(spec::IECTL, spec::IEDATA, spec::IEADDR, spec::IEUADDR, None);
        }
        if self.page_requests.is_some() {
            let message = config.page_requests.and_then(|queue| queue.message);
            set(spec::PECTL, spec::PEDATA, spec::PEADDR, spec::PEUADDR, message);
        }
    }

    /// The root table takes effect, and every cache of what was before it forgets (6.6).
    fn set_root(&mut self) -> Result<(), Hung> {
        let root = self.sources.get_mut().root.phys();
        let unit = &self.unit;
        self.flush_write_buffer()?;
        unit.platform.fence();
        let mode = if self.features.scalable { rtaddr::ttm::SCALABLE } else { rtaddr::ttm::LEGACY };
        unit.registers.write64(spec::RTADDR, rtaddr::RTA.in_place(root.0) | rtaddr::TTM.put(mode));
        unit.take_over(gcmd::SRTP, "the root table to be taken over (GSTS.RTPS)")?;
        if self.features.root_invalidates {
            return Ok(());
        }
        let scalable = self.features.scalable;
        self.invalidation.run(unit, |batch| {
            batch.push(Command::Contexts)?;
            batch.fence()?;
            if scalable {
                batch.push(Command::Pasids)?;
                batch.fence()?;
            }
            batch.push(Command::Translations)
        })
    }

    /// The interrupt remapping table takes effect and compatibility format is blocked, or interrupts pass.
    fn set_interrupts(&mut self) -> Result<(), Hung> {
        let unit = &self.unit;
        let Some(table) = &mut self.interrupts else {
            if unit.is(gsts::IRES) {
                unit.set(gcmd::IRE, false, "interrupt remapping to stop (GSTS.IRES)")?;
            }
            return Ok(());
        };
        unit.registers.write64(spec::IRTA, table.get_mut().register());
        unit.take_over(gcmd::SIRTP, "the interrupt remapping table to be taken over (GSTS.IRTPS)")?;
        if !self.features.interrupt_root_invalidates {
            self.invalidation.run(unit, |batch| batch.push(Command::Interrupts))?;
        }
        if unit.is(gsts::CFIS) {
            unit.set(gcmd::CFI, false, "compatibility-format interrupts to be blocked (GSTS.CFIS)")?;
        }
        unit.set(gcmd::IRE, true, "interrupt remapping to start (GSTS.IRES)")
    }

    /// Protected memory regions block DMA for as long as nobody translates it (11.4.8.1).
    fn open_protected_regions(&self) -> Result<(), Hung> {
        let unit = &self.unit;
        let read = || u64::from(unit.registers.read32(spec::PMEN));
        let protected = read();
        if protected == u32::MAX.into() || (pmen::EPM.mask() | pmen::PRS.mask()) & protected == 0 {
            return Ok(());
        }
        unit.registers.write32(spec::PMEN, pmen::EPM.with(protected, 0) as u32);
        unit.wait("protected memory regions to open (PMEN.PRS)", || pmen::PRS.of(read()) == 0)
    }
}

/// What is made before hardware is told of any of it.
struct Made<P: Platform> {
    root: Option<RootTable<P>>,
    queue: Option<InvalidationQueue<P>>,
    page_requests: Option<PageRequestQueue<P>>,
    interrupts: Option<InterruptTable<P>>,
}

impl<P: Platform> Default for Made<P> {
    fn default() -> Self {
        Self { root: None, queue: None, page_requests: None, interrupts: None }
    }
}

impl<P: Platform> Made<P> {
    fn make(
        &mut self,
        platform: &P,
        reach: Reach,
        features: &Features,
        config: &Config,
    ) -> Result<(), ioward_types::OutOfMemory> {
        self.root = Some(RootTable::new(platform, reach, features.scalable)?);
        if features.queued {
            let (pages, wide) = (config.queue_pages_log2, features.scalable);
            self.queue = Some(InvalidationQueue::new(platform, reach, pages, wide, features.manner)?);
        }
        if let (Some(queue), true) = (config.page_requests, features.page_requests) {
            self.page_requests = Some(PageRequestQueue::new(platform, reach, queue.pages_log2)?);
        }
        if let (Interrupts::Remap { entries_log2, x2apic }, true) = (config.interrupts, features.remapping) {
            let wide = x2apic && features.wide_destination;
            self.interrupts = Some(InterruptTable::new(platform, reach, entries_log2, wide)?);
        }
        Ok(())
    }

    /// Gives everything back; no hardware has been told of it.
    fn free(self) {
        // SAFETY: no hardware has been told of any of it.
        unsafe {
            if let Some(root) = self.root {
                root.free();
            }
            if let Some(queue) = self.queue {
                queue.free();
            }
            if let Some(queue) = self.page_requests {
                queue.free();
            }
            if let Some(table) = self.interrupts {
                table.free();
            }
        }
    }
}

/// Interrupts (3.14), and what no request can have since MGAW is narrower than every table.
fn forbidden(features: &Features) -> Vec<Span<Iova>> {
    let mut list = Vec::new();
    list.extend(Span::inclusive(Iova(*RANGE.start()), Iova(*RANGE.end())));
    if let Some((first, end)) = features.beyond_input() {
        list.extend(Span::new(Iova(first), end - first));
    }
    list
}
