//! Walks of guest CR3 tables and guest tables, also called v2 (48882 §2.2.6).

use super::{
    cache::{Gcr3, Leaf, Link},
    device::{Guest, Translated},
    host::identity,
    log::WalkFault,
    unit::Unit,
};
use ioward_spec::amdvi::{
    control,
    entries::{gcr3, v2::*},
};
use ioward_types::PhysAddr;

const SECTION: &str = "48882 §2.2.6";

impl Unit {
    /// Guest virtual to system physical, through host tables too where Mode is not zero.
    pub fn guest(
        &mut self,
        entry: &Translated,
        guest: &Guest,
        pasid: u32,
        at: u64,
        write: bool,
    ) -> Result<Leaf, WalkFault> {
        let space = (entry.domain, Some(pasid));
        if let Some(leaf) = self.caches.leaf(space, at) {
            if !leaf.present {
                return Err(WalkFault::NotPresent);
            }
            if write && leaf.write && !leaf.dirty {
                self.set_bits(&leaf, D.mask());
                self.caches.mark_dirty(space, &leaf);
            }
            self.check_origin(&leaf);
            return Ok(leaf);
        }
        if self.caches.poisoned(space, at, false) {
            return Err(WalkFault::Poisoned);
        }
        let walked = self.walk_guest(entry, guest, pasid, at, write);
        match walked {
            Ok(leaf) => self.caches.put_leaf(space, leaf),
            Err(WalkFault::NotPresent) if self.config.np_cache => {
                let nothing = Leaf { present: false, ..identity(at) };
                self.caches.put_leaf(space, nothing);
            }
            Err(_) => {}
        }
        walked
    }

    fn walk_guest(
        &mut self,
        entry: &Translated,
        guest: &Guest,
        pasid: u32,
        at: u64,
        write: bool,
    ) -> Result<Leaf, WalkFault> {
        let space = (entry.domain, Some(pasid));
        if self.caches.poisoned(space, at, true) {
            return Err(WalkFault::Poisoned);
        }
        let sign = at as i64 >> (PAGE_SHIFT + LEVEL_BITS * u32::from(guest.levels) - 1);
        if sign != 0 && sign != -1 {
            return Err(WalkFault::NotPresent);
        }
        let root = self.gcr3_entry(entry, guest, pasid)?;
        let (mut level, mut table) = (guest.levels, root.root);
        let (mut read, mut writable, mut user, mut execute) = (true, true, true, true);
        if let Some((deepest, link)) = self.caches.link(space, at).filter(|(level, _)| *level < guest.levels)
        {
            (level, table) = (deepest, link.table);
            (read, writable, user, execute) = (link.read, link.write, link.user, link.execute);
        }
        loop {
            let shift = PAGE_SHIFT + LEVEL_BITS * (u32::from(level) - 1);
            let from = PhysAddr(self.host_physical(entry, table + (at >> shift & 0x1ff) * 8)?);
            let value = self.read(from, entry.snoop)?;
            if P.in_place(value) == 0 {
                return Err(WalkFault::NotPresent);
            }
            let large = level > 1 && PS.in_place(value) != 0;
            let address = ADDRESS.in_place(value);
            let low = if large { ((1u64 << shift) - 1) & !PAT_LARGE.mask() } else { 0 };
            if level > 3 && large || address & low != 0 {
                self.violation(
                    SECTION,
                    format!("reserved bits set in the entry {value:#x} at {from}, level {level}"),
                );
                return Err(WalkFault::Reserved);
            }
            writable &= RW.in_place(value) != 0;
            user &= US.in_place(value) != 0;
            execute &= NX.in_place(value) == 0;
            if large || level == 1 {
                let gpa_page = 1u64 << shift;
                let gpa = address & !(gpa_page - 1);
                let inside = at & (gpa_page - 1);
                let host = match entry.mode {
                    0 => Leaf { base: gpa, page: gpa_page, to: gpa, ..identity(gpa) },
                    _ => self.host(entry, gpa + inside, write)?,
                };
                let page = gpa_page.min(host.page);
                let offset = inside & !(page - 1);
                let leaf = Leaf {
                    base: at & !(page - 1),
                    page,
                    to: host.to + ((gpa + offset) - host.base),
                    gpa: gpa + offset,
                    present: true,
                    read: read && host.read,
                    write: writable && host.write,
                    execute,
                    user,
                    dirty: D.in_place(value) != 0
                        || (write && writable)
                        || self.registers.is(control::GD_UPDATE_DIS),
                    from: Some((from, value)),
                    age: 0,
                };
                let accessed = if self.registers.is(control::GA_UPDATE_DIS) { 0 } else { A.mask() };
                let dirty = write && writable && !self.registers.is(control::GD_UPDATE_DIS);
                self.set_bits(&leaf, accessed | if dirty { D.mask() } else { 0 });
                return Ok(leaf);
            }
            level -= 1;
            table = address;
            let link = Link { table, read, write: writable, execute, user, from: (from, value) };
            self.caches.put_link(space, level, at, link);
        }
    }

    /// The root table of a PASID.
    fn gcr3_entry(&mut self, entry: &Translated, guest: &Guest, pasid: u32) -> Result<Gcr3, WalkFault> {
        let space = (entry.domain, Some(pasid));
        if let Some(known) = self.caches.gcr3.get(&space) {
            return Ok(*known);
        }
        let bits = gcr3::LEVEL_BITS * u32::from(guest.gcr3_levels);
        if bits < 32 && pasid >> bits != 0 {
            return Err(WalkFault::NotPresent);
        }
        let mut table = guest.root;
        for level in (0..u32::from(guest.gcr3_levels)).rev() {
            let index = u64::from(pasid >> (gcr3::LEVEL_BITS * level)) & 0x1ff;
            let from = PhysAddr(table + index * 8);
            let value = self.read(from, entry.snoop)?;
            if gcr3::V.in_place(value) == 0 {
                return Err(WalkFault::NotPresent);
            }
            if value & !(gcr3::V.mask() | gcr3::ADDRESS.mask()) != 0 {
                self.violation(
                    SECTION,
                    format!("reserved bits set in the guest CR3 entry {value:#x} at {from}"),
                );
                return Err(WalkFault::Reserved);
            }
            let address = gcr3::ADDRESS.in_place(value);
            if level == 0 {
                let found = Gcr3 { root: address, from: (from, value) };
                self.caches.gcr3.insert(space, found);
                return Ok(found);
            }
            table = self.host_physical(entry, address)?;
        }
        Err(WalkFault::Encoding)
    }

    /// Where a guest physical address lies. The walk reads it, so the host must allow that.
    fn host_physical(&mut self, entry: &Translated, at: u64) -> Result<u64, WalkFault> {
        if entry.mode == 0 {
            return Ok(at);
        }
        let leaf = self.host(entry, at, false)?;
        if !leaf.read {
            return Err(WalkFault::Permission);
        }
        Ok(leaf.to + (at - leaf.base))
    }
}
