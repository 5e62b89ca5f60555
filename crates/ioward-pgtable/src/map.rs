//! Map: choose the largest pages, install tables on the way, never change what is there.

use crate::{
    error::{MapCause, MapError},
    format::Format,
    mem::{BUNCH, Mem, Node, clean_words},
    table::{Table, Top, index},
};
use core::ops::Range;
use ioward_types::{Attributes, Iova, PhysAddr, Span};

/// How far a map has come, in registers.
struct Progress {
    at: u64,
    to: u64,
    left: u64,
    /// Leaves that have been stored and not cleaned, for a walker that does not snoop.
    dirty: Range<u64>,
}

impl Progress {
    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        // Past the last byte of the address space this wraps to zero, with nothing left.
        self.at = self.at.wrapping_add(bytes);
        self.to = self.to.wrapping_add(bytes);
        self.left -= bytes;
    }

    /// The page sizes that alignment and length allow, as a set.
    #[inline(always)]
    fn fitting(&self) -> u64 {
        let shift = (self.at | self.to).trailing_zeros().min(63 - self.left.leading_zeros());
        u64::MAX >> (63 - shift)
    }
}

/// What stopped a run of leaves.
enum Stop {
    /// Nothing: the run is done.
    Done,
    /// A table stands where the page should go; smaller pages go into it.
    Table,
    /// Something is mapped at this IOVA.
    Exists(u64),
}

impl<F: Format, M: Mem> Table<F, M> {
    /// Maps the IOVAs from `at` to `to`, with the largest pages that alignment and configuration allow. A large page is
    /// not used where a table of smaller pages stands, though it may be empty: see [`Table::trim`].
    ///
    /// All or nothing: see [`MapError`]. After success the entries are visible to hardware before anything that the caller
    /// publishes later. A coherent IOMMU without caching mode needs no invalidation.
    ///
    /// # Safety
    /// * Until the mapping is unmapped and invalidated, devices access `to` as `how` says: nothing there may be what Rust
    ///   code refers to or reuses.
    /// * No other call on this table touches the range from `at` while this one runs.
    #[inline]
    pub unsafe fn map(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        // SAFETY: as promised by the caller.
        if unsafe { self.map_page(at, to, how) } {
            return Ok(());
        }
        self.map_range(at, to, how)
    }

    /// [`Table::map`] for whatever there is. Apart, so that a granule costs no more than what it needs.
    #[inline(never)]
    fn map_range(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        let top = self.top();
        self.check_input(top, at, to.bytes)?;
        self.check_output(to)?;
        let Some(attributes) = F::encode(how, &self.rules) else {
            return Err(MapError { cause: MapCause::Attributes(how), undone: None });
        };
        let mut progress = Progress { at: at.0, to: to.start.0, left: to.bytes, dirty: 0..0 };
        let sizes = self.sizes & top.page_sizes::<F>();
        while progress.left != 0 {
            if let Err(cause) = self.map_stretch(top, sizes, &mut progress, attributes) {
                // What is not clean yet is about to be taken off, and cleaned then.
                return Err(self.undo(top, at, progress.at, cause));
            }
        }
        if !self.coherent {
            clean_words(&self.mem, progress.dirty);
        }
        self.mem.publish();
        Ok(())
    }

    #[cold]
    fn undo(&self, top: Top, at: Iova, reached: u64, cause: MapCause) -> MapError {
        let undone = Span::new(at, reached.wrapping_sub(at.0));
        if let Some(span) = undone {
            self.take_leaves(top, span);
            self.mem.publish();
        }
        MapError { cause, undone }
    }

    /// Maps pages of one size until the table that holds them ends, or larger ones become possible.
    #[inline(always)]
    fn map_stretch(&self, top: Top, all: u64, p: &mut Progress, attributes: u64) -> Result<(), MapCause> {
        let mut sizes = all & p.fitting();
        loop {
            // Never empty: the granule fits, and at level zero there are no tables in the way.
            let shift = 63 - sizes.leading_zeros();
            let level = (shift - F::GRANULE_SHIFT) / F::INDEX_BITS;
            let (node, fresh) = self.descend(top, p.at, level)?;
            let first = if level == top.level { top.index::<F>(p.at) } else { index::<F>(p.at, level) };
            let stop = if shift == F::GRANULE_SHIFT {
                // The level is a constant to the loop.
                self.put_single(node, fresh, 0, first, p, attributes)
            } else if shift == F::entry_shift(level) {
                self.put_single(node, fresh, level, first, p, attributes)
            } else {
                self.put_sets(node, level, shift, first, p, attributes)
            };
            match stop {
                Stop::Done => return Ok(()),
                Stop::Exists(at) => return Err(MapCause::Exists(Iova(at))),
                // Smaller pages, as far as the table reaches; the loop outside chooses afresh behind it.
                Stop::Table => sizes = all & p.fitting() & ((1 << shift) - 1),
            }
        }
    }

    /// How many pages of `1 << shift` bytes go into this table before its end, the end of the range or the place where a
    /// larger size becomes possible.
    #[inline(always)]
    fn run_length(&self, level: u32, shift: u32, p: &Progress) -> u64 {
        // At the root too: a table that is shorter or longer than most only ends the run early.
        let mut unit = F::entry_shift(level + 1).min(63);
        let larger = self.sizes & !((2 << shift) - 1);
        if larger != 0 {
            let next = larger.trailing_zeros();
            if next < unit && (p.at ^ p.to) & ((1 << next) - 1) == 0 {
                unit = next;
            }
        }
        let to_boundary = (1u64 << unit) - (p.at & ((1 << unit) - 1));
        to_boundary.min(p.left) >> shift
    }

    /// Pages of one entry each. `fresh`: nobody has put anything into the table yet.
    #[inline(always)]
    fn put_single(
        &self,
        node: Node,
        fresh: bool,
        level: u32,
        first: usize,
        p: &mut Progress,
        attributes: u64,
    ) -> Stop {
        let shift = F::entry_shift(level);
        let count = self.run_length(level, shift, p) as usize;
        let mut stop = Stop::Done;
        let mut done = 0;
        let row = node.row(&self.mem, first);
        let leaf =
            |index: usize| F::leaf(PhysAddr(p.to + ((index as u64) << shift)), level, shift, attributes);
        while fresh && count - done >= BUNCH {
            for index in done..done + BUNCH {
                row.store(index, leaf(index));
            }
            done += BUNCH;
        }
        while count - done >= BUNCH {
            if (done..done + BUNCH).fold(0, |any, index| any | row.load(index)) != 0 {
                break;
            }
            for index in done..done + BUNCH {
                row.store(index, leaf(index));
            }
            done += BUNCH;
        }
        while done < count {
            let found = row.load(done);
            if found != 0 {
                let at = p.at.wrapping_add((done as u64) << shift);
                stop = if level > 0 && F::is_link(found, level) { Stop::Table } else { Stop::Exists(at) };
                break;
            }
            row.store(done, leaf(done));
            done += 1;
        }
        if !self.coherent && done != 0 {
            self.soil(p, node, first, done);
        }
        p.advance((done as u64) << shift);
        // Having got somewhere, choose the size afresh behind it.
        if done != 0 && matches!(stop, Stop::Table) { Stop::Done } else { stop }
    }

    /// Pages of several entries each.
    #[inline(never)]
    fn put_sets(
        &self,
        node: Node,
        level: u32,
        shift: u32,
        first: usize,
        p: &mut Progress,
        attributes: u64,
    ) -> Stop {
        let own = F::entry_shift(level);
        let entries = 1usize << (shift - own);
        let count = self.run_length(level, shift, p) as usize;
        let mut done = 0;
        let mut stop = Stop::Done;
        'pages: while done < count {
            let base = first + done * entries;
            for i in 0..entries {
                let found = node.load(&self.mem, base + i);
                if found != 0 {
                    let at = p.at.wrapping_add(((done as u64) << shift) + ((i as u64) << own));
                    let table = level > 0 && F::is_link(found, level);
                    stop = if table { Stop::Table } else { Stop::Exists(at) };
                    break 'pages;
                }
            }
            let page = p.to + ((done as u64) << shift);
            for i in 0..entries {
                let to = PhysAddr(page + ((i as u64) << own));
                node.store(&self.mem, base + i, F::leaf(to, level, shift, attributes));
            }
            done += 1;
        }
        if !self.coherent && done != 0 {
            self.soil(p, node, first, done * entries);
        }
        p.advance((done as u64) << shift);
        if done != 0 && matches!(stop, Stop::Table) { Stop::Done } else { stop }
    }

    /// Notes leaves that have been stored; those before them are cleaned as soon as these are not their neighbours. Pages
    /// of several sizes share lines, and each line is cleaned once.
    #[cold]
    fn soil(&self, p: &mut Progress, node: Node, first: usize, count: usize) {
        let words = node.words(first, count);
        if p.dirty.end == words.start {
            p.dirty.end = words.end;
        } else {
            clean_words(&self.mem, core::mem::replace(&mut p.dirty, words));
        }
    }

    /// The table of `level` for `at`, and whether this call has installed it or one above it: then nothing is in it where this
    /// call maps. Tables that lack on the way are installed.
    #[inline(always)]
    fn descend(&self, top: Top, at: u64, level: u32) -> Result<(Node, bool), MapCause> {
        let mut fresh = false;
        let (mut node, mut here) = (top.node, top.level);
        let mut place = top.index::<F>(at);
        while here > level {
            let mut raw = node.load(&self.mem, place);
            if raw == 0 {
                (raw, fresh) = self.install(node, here, place).ok_or(MapCause::NoMemory(Iova(at)))?;
            }
            if !F::is_link(raw, here) {
                return Err(MapCause::Exists(Iova(at)));
            }
            if !self.coherent && raw & F::LINK_CLEANED == 0 {
                self.clean_link(node, place, raw);
            }
            node = Self::child(raw);
            here -= 1;
            place = index::<F>(at, here);
        }
        Ok((node, fresh))
    }

    /// Puts a new table into an empty entry, or finds what another CPU has put there meanwhile; and which of the two.
    ///
    /// Others may put pages of theirs into a new table at once, but none where this call maps.
    #[cold]
    fn install(&self, node: Node, level: u32, place: usize) -> Option<(u64, bool)> {
        let new = Node::new(&self.mem, Self::TABLE_BYTES, self.below()).ok()?;
        if !self.coherent {
            new.clean(&self.mem, 0, Self::ENTRIES);
        }
        // The zeroes before the link that leads to them.
        self.mem.publish();
        let link = F::link(new.phys(), level - 1);
        match node.cas(&self.mem, place, 0, link) {
            Ok(()) => Some((link, true)),
            Err(found) => {
                // SAFETY: nobody has seen it.
                unsafe { new.free(&self.mem, Self::TABLE_BYTES) };
                Some((found, false))
            }
        }
    }

    /// Cleans a link that somebody, perhaps another CPU, has installed, before anything relies on it.
    #[cold]
    pub(crate) fn clean_link(&self, node: Node, place: usize, raw: u64) {
        node.clean(&self.mem, place, 1);
        // The mark only spares others the clean, so that losing a race over it costs nothing; and hardware ignores it,
        // so that it need not be cleaned.
        let _ = node.cas(&self.mem, place, raw, raw | F::LINK_CLEANED);
    }
}
