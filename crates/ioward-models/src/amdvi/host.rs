//! Walks of host tables, also called v1 (48882 §2.2.3).

use super::{
    cache::{Leaf, Link},
    device::Translated,
    log::WalkFault,
    unit::Unit,
};
use ioward_spec::amdvi::entries::v1::*;
use ioward_types::PhysAddr;

const SECTION: &str = "48882 §2.2.3";

impl Unit {
    /// Guest physical to system physical. Rights are those of the table, not of the device table entry. `write` says
    /// that a write is about to happen, for the dirty bit.
    pub fn host(&mut self, entry: &Translated, at: u64, write: bool) -> Result<Leaf, WalkFault> {
        let space = (entry.domain, None);
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
        let walked = if entry.mode == 0 { Ok(identity(at)) } else { self.walk_host(entry, at, write) };
        match walked {
            Ok(leaf) => self.caches.put_leaf(space, leaf),
            Err(WalkFault::NotPresent) if self.config.np_cache => {
                self.caches.put_leaf(space, Leaf { present: false, ..identity(at) });
            }
            Err(_) => {}
        }
        walked
    }

    fn walk_host(&mut self, entry: &Translated, at: u64, write: bool) -> Result<Leaf, WalkFault> {
        let space = (entry.domain, None);
        if self.caches.poisoned(space, at, true) {
            return Err(WalkFault::Poisoned);
        }
        let width = PAGE_SHIFT + LEVEL_BITS * u32::from(entry.mode);
        if width < 64 && at >> width != 0 {
            return Err(WalkFault::NotPresent);
        }
        let (mut level, mut table, mut read, mut writable) = (entry.mode, entry.root, true, true);
        if let Some((deepest, link)) = self.caches.link(space, at).filter(|(level, _)| *level < entry.mode) {
            (level, table, read, writable) = (deepest, link.table, link.read, link.write);
        }
        loop {
            let shift = PAGE_SHIFT + LEVEL_BITS * (u32::from(level) - 1);
            let from = PhysAddr(table + (at >> shift & 0x1ff) * 8);
            let value = self.read(from, entry.snoop)?;
            if PR.in_place(value) == 0 {
                return Err(WalkFault::NotPresent);
            }
            let next = NEXT_LEVEL.of(value);
            let page = next == NEXT_LEVEL_PAGE || next == NEXT_LEVEL_PAGE_SIZED;
            let reserved = if page { PTE_RESERVED } else { PDE_RESERVED };
            if value & reserved != 0 {
                self.violation(
                    SECTION,
                    format!("reserved bits {:#x} set in the entry at {from}", value & reserved),
                );
                return Err(WalkFault::Reserved);
            }
            read &= IR.in_place(value) != 0;
            writable &= IW.in_place(value) != 0;
            if page {
                let (to, bytes) = self.page(value, level, from)?;
                let leaf = Leaf {
                    base: at & !(bytes - 1),
                    page: bytes,
                    to,
                    gpa: at & !(bytes - 1),
                    present: true,
                    read,
                    write: writable,
                    execute: true,
                    user: true,
                    dirty: !entry.dirty || D.in_place(value) != 0 || (write && writable),
                    from: Some((from, value)),
                    age: 0,
                };
                let accessed = if entry.accessed { A.mask() } else { 0 };
                let dirty = if entry.dirty && write && writable { D.mask() } else { 0 };
                self.set_bits(&leaf, accessed | dirty);
                return Ok(leaf);
            }
            if next >= u64::from(level) {
                self.violation(
                    SECTION,
                    format!("the entry at {from}, level {level}, links to a table of level {next}"),
                );
                return Err(WalkFault::Encoding);
            }
            // The address bits of levels left out must be zero, or nothing is mapped there.
            let below = PAGE_SHIFT + LEVEL_BITS * next as u32;
            if at & ((1 << shift) - 1) & !((1 << below) - 1) != 0 {
                return Err(WalkFault::NotPresent);
            }
            level = next as u8;
            table = ADDRESS.in_place(value);
            let link = Link { table, read, write: writable, execute: true, user: true, from: (from, value) };
            self.caches.put_link(space, level, at, link);
        }
    }

    /// Address and size of the page that a PTE at `level` maps.
    fn page(&self, value: u64, level: u8, from: PhysAddr) -> Result<(u64, u64), WalkFault> {
        let shift = PAGE_SHIFT + LEVEL_BITS * (u32::from(level) - 1);
        let address = ADDRESS.in_place(value);
        if level == LEVELS {
            self.violation(SECTION, format!("the entry at {from}, level 6, maps a page"));
            return Err(WalkFault::Encoding);
        }
        let bytes = if NEXT_LEVEL.of(value) == NEXT_LEVEL_PAGE {
            1 << shift
        } else {
            // The lowest zero bit at n means 1 << (n + 1) bytes.
            let ones = (address | 0xfff).trailing_ones();
            if ones < shift || ones >= shift + LEVEL_BITS {
                self.violation(
                    SECTION,
                    format!("the entry at {from}, level {level}, has the size 1 << {}", ones + 1),
                );
                return Err(WalkFault::Encoding);
            }
            1u64 << (ones + 1)
        };
        let sized = NEXT_LEVEL.of(value) == NEXT_LEVEL_PAGE_SIZED;
        if !sized && address & (bytes - 1) != 0 {
            self.violation(
                SECTION,
                format!("the entry at {from} maps {bytes:#x} bytes at {address:#x}, misaligned"),
            );
        }
        Ok((address & !(bytes - 1), bytes))
    }

    /// Sets accessed and dirty bits of the entry behind a translation, unless it has changed meanwhile.
    pub fn set_bits(&mut self, leaf: &Leaf, bits: u64) {
        let Some((at, _)) = leaf.from else { return };
        loop {
            // A table that was freed is left alone: that it was is reported where it is used.
            if !self.memory.is_allocated(at) {
                return;
            }
            let Ok(now) = self.memory.read64(&self.config.name, at, true) else { return };
            if bits == 0 || PR.in_place(now) == 0 || now & bits == bits {
                return;
            }
            if !matches!(self.memory.cas64(at, now, now | bits), Ok(false)) {
                return;
            }
        }
    }

    /// A translation from a table that was freed: it should have been invalidated first.
    pub fn check_origin(&self, leaf: &Leaf) {
        if let Some((at, value)) = leaf.from
            && !self.memory.is_allocated(at)
        {
            let what = format!("the table at {at} was freed while its entry {value:#x} is cached and used");
            self.violation("48882 §2.4.3", what);
        }
    }
}

/// With Mode zero: 4 KiB at a time, as far as the device is allowed anything.
pub(super) fn identity(at: u64) -> Leaf {
    let base = at & !0xfff;
    Leaf {
        base,
        page: 0x1000,
        to: base,
        gpa: base,
        present: true,
        read: true,
        write: true,
        execute: true,
        user: true,
        dirty: true,
        from: None,
        age: 0,
    }
}
