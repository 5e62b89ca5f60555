//! Bringing one AMD-Vi up (48882 §3.1 and the registers' own sections).
//!
//! The order keeps every instant at least as tight as firmware left it: memory is ready before hardware is told of it,
//! the device table is in place before the IOMMU is on, the exclusion range is off before that too, and an IOMMU that is
//! on is never turned off, which would let everything through. What its caches hold from earlier is forgotten last,
//! since commands run only then; until that is confirmed no driver is handed out.

use super::adopt;
use super::command::Command;
use super::command_buffer::CommandBuffer;
use super::config::{BringUpError, Config};
use super::device_table::DeviceTable;
use super::domain_id::DomainIds;
use super::driver::{AmdVi, Sources};
use super::event_log::EventLog;
use super::features::Features;
use super::forget::Forget;
use super::interrupt_table::{self, Kind};
use super::invalidate::Block;
use super::source::Fixed;
use super::unit::Unit;
use crate::left_over::BringUp;
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_core::driver::Hung;
use ioward_spec::amdvi::{
    control,
    registers::{buffer, device_table, exclusion, offset, status},
};
use ioward_types::{
    Frames, IommuId, Mmio, Mutex, OutOfMemory, PhysAddr, Platform,
    hw::{NoAtomic128, has_atomic128},
};

/// Bits of control that an earlier owner's interrupt remapping entries depend on.
const INTERRUPT_MODE: u64 = control::GA_EN.mask()
    | control::GAM_EN.mask()
    | control::XT_EN.mask()
    | control::INT_CAP_XT_EN.mask()
    | control::NUM_INT_REMAP_MODE.mask()
    | control::IRT_CACHE_DIS.mask();
/// How many IDs are dealt with between two waits, a power of two.
const PORTION: usize = 64;
/// The two rings.
const RINGS: u64 = control::CMD_BUF_EN.mask() | control::EVENT_LOG_EN.mask();

impl<M: Mmio, P: Platform> AmdVi<M, P> {
    /// Brings up the IOMMU behind `registers` (MMIO, 48882 §3.4), of which `state` tells how it was left. On success
    /// every source that was not adopted is blocked, and nothing that was cached before still is.
    ///
    /// [`BringUp::Cold`] of one that is on is an error, and nothing is changed. [`BringUp::Adopt`] of one that is off is
    /// [`BringUp::Cold`].
    pub fn bring_up(
        id: IommuId,
        registers: M,
        config: Config,
        platform: &P,
        state: BringUp<'_>,
    ) -> Result<Self, BringUpError> {
        let rings = buffer::LENGTH_MIN as u8..=buffer::LENGTH_MAX as u8;
        if !rings.contains(&config.command_entries_log2) || !rings.contains(&config.event_entries_log2) {
            return Err(BringUpError::Config("a ring has 256 to 32768 entries"));
        }
        if !has_atomic128() {
            return Err(NoAtomic128.into());
        }
        let features = Features::new(registers.read64(offset::EXTENDED_FEATURE), &config)?;
        let unit = Unit::new(id, registers, platform.clone(), config.patience, config.coherent);
        if unit.control() == u64::MAX {
            return Err(BringUpError::Absent);
        }
        let was_on = control::IOMMU_EN.of(unit.control()) != 0;
        if was_on && matches!(state, BringUp::Cold) {
            return Err(BringUpError::Translating { control: unit.control() });
        }
        let mut domains = DomainIds::new();
        let adopted = match state {
            BringUp::Adopt(memory) if was_on => {
                adopt::read(&unit, &features, config.last_source, memory, &mut domains)?
            }
            _ => Vec::new(),
        };
        let driver = Self::prepare(unit, features, &config, domains, &adopted)?;
        // With remapping of our own, nothing depends on an earlier owner's entries.
        let keep = if adopted.is_empty() || config.interrupts { 0 } else { INTERRUPT_MODE };
        driver.start(&config, was_on, keep)?;
        Ok(driver)
    }

    /// All memory, filled, with no hardware told of it.
    fn prepare(
        unit: Unit<M, P>,
        features: Features,
        config: &Config,
        mut domains: DomainIds,
        adopted: &[adopt::Adopted],
    ) -> Result<Self, BringUpError> {
        let no_id = BringUpError::Adopt("every domain ID is in use");
        let blocked = domains.allocate().ok_or(no_id)?;
        let identity = domains.allocate().ok_or(no_id)?;
        let nothing = Frames::new(&unit.platform, 4096, 4096, PhysAddr(1 << 52))?;
        if !config.coherent {
            nothing.clean(0, 4096);
        }
        let levels = features.host_levels.is_some().into();
        let fixed = Fixed { blocked, identity, nothing: nothing.phys(), levels };
        let remapping = config
            .interrupts
            .then_some(Kind { wide: features.wide_interrupts, x2apic: config.x2apic && features.x2apic });
        let closed = if remapping.is_some() { interrupt_table::closed(0) } else { 0 };
        let (table, commands, events) = match rings_and_table(&unit.platform, config, &fixed, closed) {
            Ok(memory) => memory,
            Err(error) => {
                // SAFETY: no hardware has been told of it.
                unsafe { nothing.free() };
                return Err(error.into());
            }
        };
        let mut owed = BTreeMap::new();
        for old in adopted {
            let mut entry = old.entry;
            if remapping.is_some() {
                // Its messages are nobody's any more; what else it goes through goes on.
                entry.0[2] &= !interrupt_table::MASK;
            }
            table.fill(old.source, &entry);
            owed.insert(old.source, alloc::vec![Forget::Entry, Forget::Domain(old.entry.domain())]);
        }
        Ok(Self {
            unit,
            features,
            fixed,
            limit: u32::from(config.last_source) + 1,
            table,
            commands,
            events,
            domains: Mutex::new(domains),
            remapping,
            interrupt_tables: Mutex::new(BTreeMap::new()),
            sources: Mutex::new(Sources { claimed: BTreeMap::new(), owed }),
            _nothing: nothing,
        })
    }

    fn start(&self, config: &Config, was_on: bool, keep: u64) -> Result<(), BringUpError> {
        let unit = &self.unit;
        let registers = &unit.registers;
        // The fence makes the table visible before anything that could lead hardware to it.
        unit.platform.fence();
        let base =
            device_table::BASE.in_place(self.table.phys().0) | device_table::SIZE.put(self.table.pages() - 1);
        registers.write64(offset::DEVICE_TABLE_BASE, base);
        // The exclusion range bypasses translation for whole devices.
        let range = registers.read64(offset::EXCLUSION_BASE);
        if exclusion::EX_EN.of(range) != 0 || exclusion::ALLOW.of(range) != 0 {
            let off = range & !(exclusion::EX_EN.mask() | exclusion::ALLOW.mask());
            registers.write64(offset::EXCLUSION_BASE, off);
        }
        // An earlier owner's rings stop before their places change. IommuEn stays as it is.
        let on = if was_on { control::IOMMU_EN.mask() } else { 0 };
        let modes = on | keep & unit.control() | self.modes(config);
        unit.set_control(RINGS, 0);
        unit.wait_status("CmdBufRun to clear", status::CMD_BUF_RUN, false)?;
        unit.wait_status("EventLogRun to clear", status::EVENT_LOG_RUN, false)?;
        self.commands.place(unit);
        self.events.place(unit);
        unit.set_control(u64::MAX, modes | RINGS);
        unit.set_control(0, control::IOMMU_EN.mask());
        unit.wait_status("EventLogRun to set", status::EVENT_LOG_RUN, true)?;
        unit.wait_status("CmdBufRun to set", status::CMD_BUF_RUN, true)?;
        Ok(self.forget_everything()?)
    }

    /// The bits of control that say how requests are made and answered.
    fn modes(&self, config: &Config) -> u64 {
        let ivhd = |bit: u8| u64::from(config.described.flags >> bit & 1);
        control::HT_TUN_EN.put(ivhd(0))
            | control::PASS_PW.put(ivhd(1))
            | control::RES_PASS_PW.put(ivhd(2))
            | control::ISOC.put(ivhd(3))
            | control::COHERENT.put(config.coherent.into())
            | control::INV_TIMEOUT.put(control::inv_timeout::MS_100)
            | control::EVENT_INT_EN.put(1)
            | control::GT_EN.put(self.features.guest.into())
            | control::GA_EN.put(self.remapping.is_some_and(|kind| kind.wide).into())
            | control::XT_EN.put(self.remapping.is_some_and(|kind| kind.x2apic).into())
    }

    /// All caches forget all that they hold.
    fn forget_everything(&self) -> Result<(), Hung> {
        if self.features.invalidate_all {
            return self.commands.run(&self.unit, |batch| batch.push(Command::invalidate_iommu_all()));
        }
        // IDs one by one, in portions that fit the shortest ring.
        for first in (0..=u16::MAX).step_by(PORTION) {
            self.commands.run(&self.unit, |batch| {
                for id in first..=first + (PORTION as u16 - 1) {
                    batch.push(Command::invalidate_devtab_entry(id))?;
                    batch.push(Command::invalidate_interrupt_table(id))?;
                    batch.push(Command::invalidate_iommu_pages(id, None, Block::All, true))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

type Memory<P> = (DeviceTable<P>, CommandBuffer<P>, EventLog<P>);

fn rings_and_table<P: Platform>(
    platform: &P,
    config: &Config,
    fixed: &Fixed,
    closed: u64,
) -> Result<Memory<P>, OutOfMemory> {
    let table = DeviceTable::new(platform, config.last_source, &fixed.blocked(), config.coherent, closed)?;
    let commands = match CommandBuffer::new(platform, config.command_entries_log2) {
        Ok(commands) => commands,
        Err(error) => {
            // SAFETY: no hardware has been told of it.
            unsafe { table.free() };
            return Err(error);
        }
    };
    match EventLog::new(platform, config.event_entries_log2) {
        Ok(events) => Ok((table, commands, events)),
        Err(error) => {
            // SAFETY: no hardware has been told of them.
            unsafe {
                table.free();
                commands.free();
            }
            Err(error)
        }
    }
}
