//! The engine against a plain map: extents in a `BTreeMap`, and what each operation must do to them.
#![allow(dead_code)]

use crate::common::{
    Host,
    cases::sign_extended,
    iova,
    judge::{Found, judge},
    phys,
};
use ioward_pgtable::{
    AnyTable, CutError, Detached, HarvestError, MapCause, Meaning, Options, ReadMemory, Touched, UnmapError,
    walk,
};
use ioward_types::{Attributes, Format, Iova, PhysAddr, Span, TableConfig};
use std::collections::BTreeMap;

/// One random operation; every value means something.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub what: u8,
    pub window: u8,
    pub unit: u8,
    pub how: u8,
    pub offset: u16,
    pub length: u16,
    pub to: u16,
}

impl Op {
    /// From ten bytes of noise.
    pub fn from_bytes(bytes: &[u8; 10]) -> Self {
        let [what, window, unit, how, a, b, c, d, e, f] = *bytes;
        let word = |low, high| u16::from_le_bytes([low, high]);
        Self { what, window, unit, how, offset: word(a, b), length: word(c, d), to: word(e, f) }
    }
}

/// Memory as the CPU sees it.
pub struct Cpu<'h>(pub &'h Host);
impl ReadMemory for Cpu<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        self.0.peek(at)
    }
}

/// Memory as a walker that does not snoop sees it.
pub struct Walker<'h>(pub &'h Host);
impl ReadMemory for Walker<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        self.0.seen(at)
    }
}

/// A table and what should be in it.
pub struct Plain {
    host: Host,
    table: AnyTable<Host>,
    config: TableConfig,
    hitless: bool,
    /// Extents as mapped: from here on so many bytes to there. They neither overlap nor merge.
    extents: BTreeMap<u64, (u64, u64, Attributes)>,
}

impl Plain {
    pub fn new(config: TableConfig, hitless: bool) -> Self {
        let host = Host::with(usize::MAX, !config.coherent);
        let options = Options { hitless_cut: hitless, no_execute: true };
        let table = AnyTable::with(host.clone(), &config, options).expect("a configuration that exists");
        let hitless = hitless || !matches!(config.format, Format::ArmStage1 | Format::ArmStage2);
        assert_eq!(table.config(), config);
        Self { host, table, config, hitless, extents: BTreeMap::new() }
    }

    /// Does one operation and checks what it did.
    pub fn apply(&mut self, op: Op) {
        match op.what % 16 {
            0..=5 => self.map(op),
            6..=8 => self.unmap(self.span(op)),
            9 | 10 => self.unmap_extent(op),
            11 => self.cut(op),
            12 => self.trim(),
            13 => self.touch(op),
            14 => {
                // Memory for one table or two more, which may not be enough.
                self.host.set_budget(usize::from(op.to % 3));
                self.map(op);
                self.host.set_budget(usize::MAX);
            }
            _ => self.grow(op),
        }
        self.check();
    }

    /// Takes everything off and checks that nothing leaks.
    pub fn finish(mut self) {
        self.check_all();
        for (&start, &(bytes, ..)) in &self.extents.clone() {
            self.unmap(iova(start, bytes));
        }
        self.trim();
        assert_eq!(self.host.live(), 1, "after trim only the root is left");
        // SAFETY: no device walks it.
        unsafe { self.table.destroy() };
        assert_eq!(self.host.live(), 0);
    }

    fn span(&self, op: Op) -> Span<Iova> {
        let in_bits = self.table.config().in_bits;
        let granule = self.config.granule();
        let bits = granule.trailing_zeros() - 3;
        let table = granule << bits;
        let canonical = sign_extended(&self.config);
        let end = match (canonical, in_bits) {
            (true, _) => 1u64 << (in_bits - 1),
            (false, 64) => 0,
            _ => 1 << in_bits,
        };
        let base = match op.window % 5 {
            0 => 0,
            // Around the boundary of two tables of the lowest level, and of the next.
            1 => 3 * table - 20 * granule,
            2 => (table << bits).wrapping_sub(8 * granule) & (end.wrapping_sub(1)),
            3 => end.wrapping_sub(2 * table),
            _ if canonical => (u64::MAX << (in_bits - 1)).wrapping_add(table),
            _ => 5 * table,
        };
        let unit = match op.unit % 4 {
            0 | 1 => granule,
            2 => granule << 4,
            _ => table,
        };
        let most = if unit == table { 5 } else { 3 * (1 << bits) / 2 };
        let start = base.wrapping_add(u64::from(op.offset) % most * unit);
        iova(start, (u64::from(op.length) % most + 1) * unit)
    }

    fn valid(&self, span: Span<Iova>) -> bool {
        let in_bits = self.table.config().in_bits;
        let inside = |at: u64| match (sign_extended(&self.config), in_bits) {
            (true, _) => ((at << (64 - in_bits)) as i64 >> (64 - in_bits)) as u64 == at,
            (_, 64) => true,
            _ => at >> in_bits == 0,
        };
        let last = span.start.0.checked_add(span.bytes - 1);
        last.is_some_and(|last| inside(span.start.0) && inside(last) && (span.start.0 ^ last) >> 63 == 0)
            || last.is_some_and(|last| in_bits == 64 && last >= span.start.0)
    }

    /// The first byte of `span` that is mapped.
    fn first_mapped(&self, span: Span<Iova>) -> Option<u64> {
        let before = self.extents.range(..span.start.0).next_back();
        if before.is_some_and(|(&start, &(bytes, ..))| span.start.0 - start < bytes) {
            return Some(span.start.0);
        }
        self.extents.range(span.start.0..=span.last().0).next().map(|(&start, _)| start)
    }

    fn map(&mut self, op: Op) {
        let span = self.span(op);
        // Half of them congruent to a large page, half not.
        let large = 1 << self.config.page_sizes.ilog2().min(30);
        let to = 0x2_0000_0000 + span.start.0 % large + u64::from(op.to & 1) * self.config.granule() * 16;
        let asked = Attributes {
            read: op.how & 1 != 0,
            write: op.how & 2 != 0,
            execute: op.how & 4 != 0,
            privileged: op.how & 8 != 0,
            coherent: op.how & 16 != 0,
            mmio: op.how & 32 != 0,
        };
        let made = self.host.made();
        // SAFETY: no device walks it.
        let result = unsafe { self.table.map(span.start, phys(to, span.bytes), asked) };
        if !self.valid(span) {
            assert!(matches!(result.unwrap_err().cause, MapCause::Range(_)));
            return;
        }
        if let Err(MapCause::Attributes(how)) = result.map_err(|error| error.cause) {
            assert_eq!(how, asked);
            let wider = self.table.widen(asked);
            assert!(wider != asked || !(asked.read || asked.write), "{asked:?} refused and not widened");
            assert_eq!(self.host.made(), made);
            return;
        }
        match (result, self.first_mapped(span)) {
            (Ok(()), None) => {
                let how = self.canonical(asked);
                self.extents.insert(span.start.0, (span.bytes, to, how));
            }
            (Ok(()), Some(at)) => panic!("mapped over {at:#x}"),
            (Err(error), mapped) => match error.cause {
                MapCause::Exists(at) => {
                    let first = mapped.expect("something is there");
                    // A page of several tables or entries is met where it is cut first, but never before it begins.
                    assert!(at.0 >= first && span.contains(at), "{at} is not the first at {first:#x}");
                    self.check_undone(span, error.undone);
                }
                MapCause::NoMemory(_) => {
                    assert!(op.what % 16 == 14, "memory was there");
                    self.check_undone(span, error.undone);
                }
                other => panic!("{other}"),
            },
        }
    }

    fn check_undone(&self, span: Span<Iova>, undone: Option<Span<Iova>>) {
        if let Some(undone) = undone {
            assert!(undone.start == span.start && span.covers(&undone));
            assert_eq!(self.first_mapped(undone), None);
        }
    }

    /// What the format can say of `how`: all that it must, and no more than it may.
    fn canonical(&self, how: Attributes) -> Attributes {
        let how = Attributes { coherent: how.coherent && !how.mmio, ..how };
        match self.config.format {
            Format::AmdV1 | Format::VtdSecond => Attributes { execute: false, ..how },
            _ => how,
        }
    }

    fn unmap(&mut self, span: Span<Iova>) {
        let result = self.table.unmap(span);
        if !self.valid(span) {
            assert!(matches!(result.unwrap_err(), UnmapError::Range(_)));
            return;
        }
        let page = |at: u64| {
            let (_, _, bytes) = self.table.lookup(Iova(at))?;
            Some(iova(at & !(bytes - 1), bytes))
        };
        match result {
            Err(UnmapError::Cuts { page: told }) => {
                assert!(page(told.start.0) == Some(told) && told.overlaps(&span) && !span.covers(&told));
            }
            Err(other) => panic!("{other}"),
            Ok(unmapped) => {
                let mapped = self.mapped_within(span);
                assert!(unmapped.bytes >= mapped && unmapped.bytes <= span.bytes);
                if !unmapped.tables_went() || mapped == span.bytes {
                    assert_eq!(unmapped.bytes, mapped);
                }
                self.forget(span);
                self.free(unmapped.detached);
            }
        }
    }

    fn free(&self, detached: Detached) {
        // SAFETY: no device walks it, and nobody else calls.
        unsafe { self.table.free(detached) }
    }

    fn mapped_within(&self, span: Span<Iova>) -> u64 {
        let part = |(&start, &(bytes, ..)): (&u64, &(u64, u64, Attributes))| {
            let first = start.max(span.start.0);
            let last = (start + (bytes - 1)).min(span.last().0);
            last - first + 1
        };
        self.extents
            .iter()
            .filter(|&(&start, &(bytes, ..))| iova(start, bytes).overlaps(&span))
            .map(part)
            .sum()
    }

    fn forget(&mut self, span: Span<Iova>) {
        let hit: Vec<_> = self.extents.iter().map(|(&start, &rest)| (start, rest)).collect();
        for (start, (bytes, to, how)) in hit {
            if !iova(start, bytes).overlaps(&span) {
                continue;
            }
            self.extents.remove(&start);
            if start < span.start.0 {
                self.extents.insert(start, (span.start.0 - start, to, how));
            }
            let last = start + (bytes - 1);
            if last > span.last().0 {
                let cut = span.last().0 + 1;
                self.extents.insert(cut, (last - cut + 1, to + (cut - start), how));
            }
        }
    }

    fn pick(&self, op: Op) -> Option<(u64, u64)> {
        let nth = usize::from(op.to) % self.extents.len().max(1);
        self.extents.iter().nth(nth).map(|(&start, &(bytes, ..))| (start, bytes))
    }

    fn unmap_extent(&mut self, op: Op) {
        if let Some((start, bytes)) = self.pick(op) {
            self.unmap(iova(start, bytes));
        }
    }

    /// Cuts somewhere inside an extent, after which both sides can be unmapped alone.
    fn cut(&mut self, op: Op) {
        let Some((start, bytes)) = self.pick(op) else { return };
        let granules = bytes / self.config.granule();
        let at = start + u64::from(op.offset) * 7 % granules * self.config.granule();
        let (_, _, page) = self.table.lookup(Iova(at)).expect("mapped");
        let boundary = at & (page - 1) == 0;
        match self.table.cut(Iova(at)) {
            Ok(None) => assert!(boundary),
            Ok(Some(told)) => {
                assert!(self.hitless && !boundary);
                assert_eq!(told, iova(at & !(page - 1), page));
                let (_, _, now) = self.table.lookup(Iova(at)).expect("still mapped");
                assert!(now < page && at & (now - 1) == 0);
            }
            Err(CutError::NotHitless { page: told, .. }) => {
                assert!(!self.hitless && !boundary);
                assert_eq!(told, iova(at & !(page - 1), page));
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn trim(&mut self) {
        let detached = self.table.trim();
        self.free(detached);
        let live = self.host.live();
        let again = self.table.trim();
        assert!(again.is_empty(), "a second trim finds nothing");
        assert_eq!(self.host.live(), live);
    }

    /// Sets the bits that hardware would set in one entry, and harvests them.
    fn touch(&mut self, op: Op) {
        let Some((start, bytes)) = self.pick(op) else { return };
        let span = iova(start, bytes);
        if !self.config.dirty {
            assert_eq!(self.table.harvest(span, |_, _| panic!("untracked")), Err(HarvestError::Untracked));
            return;
        }
        let at = start + u64::from(op.offset) * 11 % (bytes / self.config.granule()) * self.config.granule();
        let steps = self.table.walk(Iova(at)).expect("a walk");
        let leaf = steps.last().expect("a step");
        let Meaning::Page { bytes: page, attributes, .. } = leaf.meaning else { panic!("{leaf}") };
        let dirty = attributes.write && op.how & 1 != 0;
        let raw = match self.config.format {
            Format::AmdV1 | Format::AmdV2 | Format::VtdFirst => leaf.raw | 0x20 | u64::from(dirty) << 6,
            Format::VtdSecond => leaf.raw | 0x100 | u64::from(dirty) << 9,
            Format::RiscvFirst | Format::RiscvSecond => leaf.raw | 0x40 | u64::from(dirty) << 7,
            Format::ArmStage1 => (leaf.raw | 1 << 10) & !(u64::from(dirty) << 7),
            _ => leaf.raw | 1 << 10 | u64::from(dirty) << 7,
        };
        let entry = PhysAddr(leaf.table.0 + u64::from(leaf.index) * 8);
        self.host.poke(entry, raw);
        let mut told = vec![];
        self.table.harvest(span, |page, touched| told.push((page, touched))).expect("tracked");
        let expected = (iova(at & !(page - 1), page), Touched { accessed: true, dirty });
        assert_eq!(told, [expected]);
        self.table.harvest(span, |page, _| panic!("{page} again")).expect("tracked");
    }

    fn grow(&mut self, op: Op) {
        let config = self.table.config();
        if config.format != Format::AmdV1 {
            assert!(self.table.grow(config.in_bits).is_err());
            return;
        }
        let in_bits = (u32::from(config.in_bits) + u32::from(op.to % 10)).min(64) as u8;
        let root = self.table.grow(in_bits).expect("memory is there");
        assert_eq!((root, in_bits), (self.table.root(), self.table.config().in_bits));
        assert_eq!(u32::from(root.levels), (u32::from(in_bits) - 12).div_ceil(9));
    }

    /// Every page there is, by going from one to the next, is a part of an extent, and they are all of them.
    fn check_all(&self) {
        let mut mapped = 0;
        // With many small pages it takes long and tells nothing new.
        let all: u64 = self.extents.values().map(|&(bytes, ..)| bytes).sum();
        if all / self.config.granule() > 5000 {
            return;
        }
        let in_bits = self.table.config().in_bits;
        let upper = sign_extended(&self.config).then(|| Iova(u64::MAX << (in_bits - 1)));
        for half in [Some(Iova(0)), upper].into_iter().flatten() {
            let mut next = self.table.next_mapped(half);
            while let Some(found) = next {
                let (_, _, page) = self.table.lookup(found).expect("found");
                assert_eq!(found.0 & (page - 1), 0, "a page is found where it begins");
                assert_eq!(self.mapped_within(iova(found.0, page)), page);
                mapped += page;
                next = found.0.checked_add(page).and_then(|from| self.table.next_mapped(Iova(from)));
            }
        }
        assert_eq!(mapped, all);
    }

    /// Extents, their edges and their outsides, by lookup and by the walks that hardware would do.
    fn check(&self) {
        for (&start, &(bytes, to, how)) in &self.extents {
            let granule = self.config.granule();
            let middle = (bytes / 2) & !(granule - 1);
            for offset in [0, middle, bytes - granule, bytes - 1] {
                self.check_at(start + offset, Some((to + offset, how)));
            }
            for outside in [start.wrapping_sub(1), start.wrapping_add(bytes)] {
                let near = Span { start: Iova(outside), bytes: 1 };
                if self.valid(near) && self.first_mapped(near).is_none() {
                    self.check_at(outside, None);
                }
            }
        }
    }

    fn check_at(&self, at: u64, expected: Option<(u64, Attributes)>) {
        let found = self.table.lookup(Iova(at));
        assert_eq!(found.map(|(to, how, _)| (to.0, how)), expected, "{at:#x}");
        let (config, root) = (self.table.config(), self.table.root());
        let cpu = walk(&Cpu(&self.host), &config, root, Iova(at)).expect("a walk");
        let walked = |end| match end {
            Meaning::Page { to, bytes, attributes } => Some((to, attributes, bytes)),
            Meaning::Absent => None,
            other => panic!("{other:?} at {at:#x}"),
        };
        assert_eq!(walked(cpu.end()), found);
        if !self.config.coherent {
            let device = walk(&Walker(&self.host), &config, root, Iova(at)).expect("a walk");
            assert_eq!(walked(device.end()), found, "as a walker sees it:\n{device}");
        }
        assert_eq!(self.table.walk(Iova(at)).expect("a walk").end(), cpu.end());
        let judged = judge(&config, root, at, |word| match self.config.coherent {
            true => self.host.peek(PhysAddr(word)),
            false => self.host.seen(PhysAddr(word)),
        });
        match (judged.unwrap_or_else(|why| panic!("{config}: {why}")), expected) {
            (Found::Nothing, None) => {}
            (Found::Page(page), Some((to, how))) => {
                assert_eq!(page.to, to);
                let rights = page.rights;
                assert_eq!(
                    (rights.read, rights.write, rights.privileged),
                    (how.read, how.write, how.privileged)
                );
                assert!(rights.execute.is_none_or(|execute| execute == how.execute));
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }
}
