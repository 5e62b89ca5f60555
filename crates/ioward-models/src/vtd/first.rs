//! Walks of first-stage tables, nested ones too (3.6, 3.8, 9.7).

use super::{
    cache::{Absent, Leaf, Link, Origin, Space},
    fault::{Fault, Stop},
    meaning::{First, Translation},
    unit::Unit,
};
use ioward_spec::vtd::{fault::reason, paging::first::*};
use ioward_types::PhysAddr;

const SECTION: &str = "VT-d 9.7";
/// Bits that mean something to a walk and that hardware does not change.
const MEANT: u64 = P.mask() | RW.mask() | US.mask() | PS.mask() | ADDRESS.mask() | XD.mask();

impl Unit {
    /// Translates by a first-stage table, and by the second stage where there is one.
    pub fn first(
        &mut self,
        t: &Translation,
        table: &First,
        pasid: u32,
        at: u64,
        write: bool,
    ) -> Result<Leaf, Stop> {
        let space = Space { domain: t.domain, pasid: Some(pasid) };
        if let Some(leaf) = self.caches.leaf(space, at) {
            self.use_leaf(space, &leaf, write && (leaf.write || !table.write_protect))?;
            return Ok(leaf);
        }
        if let Some(absent) = self.caches.absent.get(&(space, at & !0xfff)) {
            return Err(absent.reason.into());
        }
        if self.caches.poisoned(space, at, false) {
            return Err(Stop::Poisoned("translation"));
        }
        let mut last = None;
        let walked = self.walk_first(space, t, table, at, write, &mut last);
        match walked {
            Ok(leaf) => self.caches.put_leaf(space, leaf),
            Err(Stop::Fault(fault)) if self.config.caching_mode && fault.reason != reason::NOT_CANONICAL => {
                let absent = Absent { reason: fault.reason, nested: t.second.is_some(), from: last };
                self.caches.absent.insert((space, at & !0xfff), absent);
            }
            Err(_) => {}
        }
        walked
    }

    /// Where a table's entry lies that the first stage gives the address of; `write`: a bit of it is to be set.
    fn entry_at(&mut self, t: &Translation, at: u64, top: bool, write: bool) -> Result<u64, Stop> {
        let Some(second) = &t.second else { return Ok(at) };
        let leaf = self.second(t.domain, true, second, at, write).map_err(|stop| match stop {
            Stop::Fault(Fault { reason: reason::SS_PERMISSION, .. }) => {
                Stop::from(if top { reason::FS_NESTED_TOP_READ } else { reason::FS_NESTED_READ })
            }
            Stop::Fault(Fault { reason: reason::BEYOND_SECOND, .. }) => reason::FS_NESTED_BEYOND.into(),
            other => other,
        })?;
        if !leaf.read {
            return Err(if top { reason::FS_NESTED_TOP_READ } else { reason::FS_NESTED_READ }.into());
        }
        if write && !leaf.write {
            return Err(reason::FS_NESTED_WRITE.into());
        }
        Ok(leaf.to + (at - leaf.base))
    }

    fn walk_first(
        &mut self,
        space: Space,
        t: &Translation,
        table: &First,
        at: u64,
        write: bool,
        last: &mut Option<(Origin, u8)>,
    ) -> Result<Leaf, Stop> {
        let width = PAGE_SHIFT + LEVEL_BITS * u32::from(table.levels);
        let sign = (at as i64) >> (width - 1);
        if sign != 0 && sign != -1 {
            return Err(reason::NOT_CANONICAL.into());
        }
        if self.caches.poisoned(space, at, true) {
            return Err(Stop::Poisoned("paging-structure entry"));
        }
        let (mut level, mut next, mut writable, mut execute, mut user) =
            (table.levels, table.root, true, true, true);
        if let Some((deepest, link)) = self.caches.link(space, at, table.levels) {
            (level, next, writable, execute, user) =
                (deepest, link.table, link.write, link.execute, link.user);
        }
        loop {
            let shift = PAGE_SHIFT + LEVEL_BITS * (u32::from(level) - 1);
            let top = level == table.levels;
            let entry = next + (at >> shift & 0x1ff) * 8;
            let from = PhysAddr(self.entry_at(t, entry, top, false)?);
            let value = self.read(from, table.coherent).map_err(|error| {
                self.violation(SECTION, format!("a table of level {level}: {error}"));
                Stop::from(if top { reason::FS_TOP_ACCESS } else { reason::FS_ACCESS })
            })?;
            let origin = Origin { at: from, value, mask: MEANT, coherent: table.coherent };
            *last = Some((origin, level));
            if P.in_place(value) == 0 {
                return Err(reason::FS_NOT_PRESENT.into());
            }
            let leaf = level == 1 || (level <= 3 && PS.in_place(value) != 0);
            let reserved = self.reserved_first(level, leaf, table, t.second.is_some());
            if value & reserved != 0 {
                let bits = value & reserved;
                self.violation(
                    SECTION,
                    format!("reserved bits {bits:#x} set in the entry {value:#x} of level {level} at {from}"),
                );
                return Err(reason::FS_RESERVED.into());
            }
            writable &= RW.in_place(value) != 0;
            user &= US.in_place(value) != 0;
            execute &= !(table.no_execute && XD.in_place(value) != 0);
            let dirties = leaf && write && (writable || !table.write_protect);
            let bits = A.mask() | if dirties { D.mask() } else { 0 };
            if value & bits != bits {
                self.entry_at(t, entry, top, true)?;
            }
            self.set_bits(&origin, bits, reason::FS_ACCESSED_NO_SNOOP)?;
            if leaf {
                let bytes = 1u64 << shift;
                let found = Leaf {
                    base: at & !(bytes - 1),
                    page: bytes,
                    to: ADDRESS.in_place(value) & !(bytes - 1),
                    read: true,
                    write: writable,
                    execute,
                    user,
                    dirty: D.in_place(value) != 0 || dirties,
                    dirty_bits: (D.mask(), 0),
                    snoop: false,
                    nested: None,
                    from: Some(origin),
                    second: None,
                    age: 0,
                };
                return self.through_second(t, found, at, write && writable);
            }
            next = ADDRESS.in_place(value);
            level -= 1;
            let nested = t.second.is_some();
            let link = Link { table: next, read: true, write: writable, execute, user, nested, from: origin };
            self.caches.put_link(space, level, at, link);
        }
    }

    /// What the second stage makes of a first-stage translation.
    fn through_second(&mut self, t: &Translation, first: Leaf, at: u64, write: bool) -> Result<Leaf, Stop> {
        let Some(second) = &t.second else { return Ok(first) };
        let gpa = first.to + (at - first.base);
        let below = self.second(t.domain, true, second, gpa, write)?;
        let page = first.page.min(below.page);
        let base = at & !(page - 1);
        let gpa = gpa & !(page - 1);
        Ok(Leaf {
            base,
            page,
            to: below.to + (gpa - below.base),
            read: first.read && below.read,
            write: first.write && below.write,
            execute: first.execute && below.execute,
            dirty: first.dirty && below.dirty,
            dirty_bits: (first.dirty_bits.0, below.dirty_bits.0),
            snoop: below.snoop,
            nested: Some(gpa),
            second: below.from,
            ..first
        })
    }

    /// Bits that must be zero in an entry of a level.
    fn reserved_first(&self, level: u8, leaf: bool, table: &First, nested: bool) -> u64 {
        // A nested address is the second stage's to judge.
        let host = if nested { 0 } else { self.config.beyond_host_in_page() };
        let execute = if table.no_execute { 0 } else { XD.mask() };
        if !leaf {
            return host | execute | if level > 3 { PS.mask() } else { 0 };
        }
        let shift = PAGE_SHIFT + LEVEL_BITS * (u32::from(level) - 1);
        let low = if level > 1 { ((1u64 << shift) - 1) & ADDRESS.mask() & !PAT_LARGE.mask() } else { 0 };
        let large = level == 3 && !self.config.first_1g;
        host | execute | low | if large { PS.mask() } else { 0 }
    }
}
