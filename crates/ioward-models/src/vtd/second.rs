//! Walks of second-stage tables (3.7, 9.8).

use super::{
    cache::{Absent, Leaf, Link, Origin, Space},
    fault::Stop,
    meaning::Second,
    unit::Unit,
};
use ioward_spec::vtd::{fault::reason, paging::second::*};
use ioward_types::PhysAddr;

const SECTION: &str = "VT-d 9.8";
/// Bits that mean something to a walk and that hardware does not change.
const MEANT: u64 = R.mask() | W.mask() | X.mask() | PS.mask() | SNP.mask() | ADDRESS.mask() | TM.mask();

/// The fault reasons of a mode.
struct Reasons {
    access: u64,
    top_access: u64,
    reserved: u64,
    beyond: u64,
    read: u64,
    write: u64,
}

const LEGACY: Reasons = Reasons {
    access: reason::PAGING_ACCESS,
    top_access: reason::PAGING_ACCESS,
    reserved: reason::PAGING_RESERVED,
    beyond: reason::ADDRESS_BEYOND,
    read: reason::READ,
    write: reason::WRITE,
};

const SCALABLE: Reasons = Reasons {
    access: reason::SS_ACCESS,
    top_access: reason::SS_TOP_ACCESS,
    reserved: reason::SS_RESERVED,
    beyond: reason::BEYOND_SECOND,
    read: reason::SS_PERMISSION,
    write: reason::SS_PERMISSION,
};

impl Unit {
    /// Translates by a second-stage table. Rights are those of the table; `write` says that a write is about to happen.
    pub fn second(
        &mut self,
        domain: u16,
        scalable: bool,
        table: &Second,
        at: u64,
        write: bool,
    ) -> Result<Leaf, Stop> {
        let space = Space { domain, pasid: None };
        if let Some(leaf) = self.caches.leaf(space, at) {
            self.use_leaf(space, &leaf, write && leaf.write)?;
            return Ok(leaf);
        }
        if let Some(absent) = self.caches.absent.get(&(space, at & !0xfff)) {
            return Err(absent.reason.into());
        }
        if self.caches.poisoned(space, at, false) {
            return Err(Stop::Poisoned("translation"));
        }
        let reasons = if scalable { &SCALABLE } else { &LEGACY };
        let mut last = None;
        let walked = self.walk_second(space, reasons, table, at, write, &mut last);
        match walked {
            Ok(leaf) => self.caches.put_leaf(space, leaf),
            Err(Stop::Fault(fault)) if self.config.caching_mode && fault.reason != reasons.beyond => {
                let absent = Absent { reason: fault.reason, nested: false, from: last };
                self.caches.absent.insert((space, at & !0xfff), absent);
            }
            Err(_) => {}
        }
        walked
    }

    /// A cached translation is used: a `write` that is allowed may owe the dirty bit.
    pub fn use_leaf(&mut self, space: Space, leaf: &Leaf, write: bool) -> Result<(), Stop> {
        for origin in [leaf.from, leaf.second].iter().flatten() {
            if !self.memory.is_allocated(origin.at) {
                let what = format!(
                    "the table at {} was freed while its entry {:#x} is cached and used",
                    origin.at, origin.value
                );
                self.violation("VT-d 6.5.3.3", what);
            }
        }
        if write && !leaf.dirty {
            if let Some(from) = &leaf.from {
                self.set_bits(from, leaf.dirty_bits.0, reason::FS_ACCESSED_NO_SNOOP)?;
            }
            if let Some(second) = &leaf.second {
                self.set_bits(second, leaf.dirty_bits.1, reason::SS_ACCESSED_NO_SNOOP)?;
            }
            self.caches.mark_dirty(space, leaf);
        }
        Ok(())
    }

    fn walk_second(
        &mut self,
        space: Space,
        reasons: &Reasons,
        table: &Second,
        at: u64,
        write: bool,
        last: &mut Option<(Origin, u8)>,
    ) -> Result<Leaf, Stop> {
        let bits = (PAGE_SHIFT + LEVEL_BITS * u32::from(table.levels)).min(self.config.address_bits.into());
        if at.checked_shr(bits).unwrap_or(0) != 0 {
            return Err(reasons.beyond.into());
        }
        if self.caches.poisoned(space, at, true) {
            return Err(Stop::Poisoned("paging-structure entry"));
        }
        let (mut level, mut next, mut read, mut writable, mut execute) =
            (table.levels, table.root, true, true, true);
        if let Some((deepest, link)) = self.caches.link(space, at, table.levels) {
            (level, next, read, writable, execute) =
                (deepest, link.table, link.read, link.write, link.execute);
        }
        loop {
            let shift = PAGE_SHIFT + LEVEL_BITS * (u32::from(level) - 1);
            let from = PhysAddr(next + (at >> shift & 0x1ff) * 8);
            let value = self.read(from, table.coherent).map_err(|error| {
                self.violation(SECTION, format!("a table of level {level}: {error}"));
                let top = level == table.levels;
                Stop::from(if top { reasons.top_access } else { reasons.access })
            })?;
            let origin = Origin { at: from, value, mask: MEANT, coherent: table.coherent };
            *last = Some((origin, level));
            if R.in_place(value) == 0 && W.in_place(value) == 0 {
                return Err(if write { reasons.write } else { reasons.read }.into());
            }
            let leaf = level == 1 || (level <= 3 && PS.in_place(value) != 0);
            let reserved = self.reserved_second(level, leaf);
            if value & reserved != 0 {
                let bits = value & reserved;
                self.violation(
                    SECTION,
                    format!("reserved bits {bits:#x} set in the entry {value:#x} of level {level} at {from}"),
                );
                return Err(reasons.reserved.into());
            }
            read &= R.in_place(value) != 0;
            writable &= W.in_place(value) != 0;
            execute &= !table.execute || X.in_place(value) != 0;
            if !leaf {
                if table.accessed_dirty {
                    self.set_bits(&origin, A.mask(), reason::SS_ACCESSED_NO_SNOOP)?;
                }
                next = ADDRESS.in_place(value);
                level -= 1;
                let link = Link {
                    table: next,
                    read,
                    write: writable,
                    execute,
                    user: true,
                    nested: false,
                    from: origin,
                };
                self.caches.put_link(space, level, at, link);
                continue;
            }
            let dirties = table.accessed_dirty && write && writable;
            if table.accessed_dirty {
                let bits = A.mask() | if dirties { D.mask() } else { 0 };
                self.set_bits(&origin, bits, reason::SS_ACCESSED_NO_SNOOP)?;
            }
            let bytes = 1u64 << shift;
            return Ok(Leaf {
                base: at & !(bytes - 1),
                page: bytes,
                to: ADDRESS.in_place(value) & !(bytes - 1),
                read,
                write: writable,
                execute,
                user: true,
                dirty: !table.accessed_dirty || D.in_place(value) != 0 || dirties,
                dirty_bits: (if table.accessed_dirty { D.mask() } else { 0 }, 0),
                snoop: SNP.in_place(value) != 0,
                nested: None,
                from: Some(origin),
                second: None,
                age: 0,
            });
        }
    }

    /// Bits that must be zero in an entry of a level.
    fn reserved_second(&self, level: u8, leaf: bool) -> u64 {
        let config = &self.config;
        let host = config.beyond_host_in_page();
        if !leaf {
            return LINK_RESERVED | host | if level > 3 { PS.mask() } else { 0 };
        }
        let snoop = if config.snoop_control { 0 } else { SNP.mask() };
        let shift = PAGE_SHIFT + LEVEL_BITS * (u32::from(level) - 1);
        let low = ((1u64 << shift) - 1) & ADDRESS.mask();
        let large = level > 1 && config.large_pages >> (level - 2) & 1 == 0;
        TM.mask() | host | snoop | low | if large { PS.mask() } else { 0 }
    }

    /// Sets accessed and dirty bits of an entry, unless it has changed meanwhile. `Err` where the walk does not snoop
    /// and a bit is to be set.
    pub fn set_bits(&mut self, origin: &Origin, bits: u64, no_snoop: u64) -> Result<(), Stop> {
        loop {
            // A table that was freed is left alone: that it was is reported where it is used.
            if bits == 0 || !self.memory.is_allocated(origin.at) {
                return Ok(());
            }
            let Ok(now) = self.read(origin.at, origin.coherent) else { return Ok(()) };
            if now & bits == bits || (now ^ origin.value) & origin.mask != 0 {
                return Ok(());
            }
            if !origin.coherent {
                return Err(no_snoop.into());
            }
            if !matches!(self.memory.cas64(origin.at, now, now | bits), Ok(false)) {
                return Ok(());
            }
        }
    }
}
