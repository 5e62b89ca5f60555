//! Accessed and dirty bits, taken by atomic exchange while DMA runs.

use crate::{
    error::HarvestError,
    format::{Format, Touched},
    mem::{Mem, Node},
    table::{Table, index},
};
use ioward_types::{Iova, Span};

impl<F: Format, M: Mem> Table<F, M> {
    /// Tells `sink` every page that overlaps `span` and that hardware has touched since the last harvest, and makes it
    /// untouched. A page is told as a whole, though the span may cut it.
    ///
    /// Hardware that has cached an entry as touched does not mark it again: what was told must be invalidated before the
    /// next harvest says anything about it.
    pub fn harvest(
        &self,
        span: Span<Iova>,
        mut sink: impl FnMut(Span<Iova>, Touched),
    ) -> Result<(), HarvestError> {
        let top = self.top();
        self.check_input(top, span.start, span.bytes).map_err(HarvestError::Range)?;
        if !self.rules.dirty {
            return Err(HarvestError::Untracked);
        }
        let (mut at, mut left) = (span.start.0, span.bytes);
        while left != 0 {
            let (mut node, mut level) = (top.node, top.level);
            let mut place = top.index::<F>(at);
            let raw = loop {
                let raw = node.load(&self.mem, place);
                if raw == 0 || level == 0 || !F::is_link(raw, level) {
                    break raw;
                }
                node = Self::child(raw);
                level -= 1;
                place = index::<F>(at, level);
            };
            let shift = F::entry_shift(level);
            let bytes = 1u64 << if raw == 0 { shift } else { F::leaf_shift(raw, level) };
            let start = at & !(bytes - 1);
            if raw != 0 {
                // A page of several entries lies in one table, aligned; hardware may have marked any of them.
                let entries = (bytes >> shift) as usize;
                let touched = self.take_touched(node, place & !(entries - 1), entries);
                if touched != Touched::default() {
                    sink(Span { start: Iova(start), bytes }, touched);
                }
            }
            let passed = (bytes - (at - start)).min(left);
            at = at.wrapping_add(passed);
            left -= passed;
        }
        Ok(())
    }

    // No cleans: a table that tracks is one whose walkers snoop.
    fn take_touched(&self, node: Node, first: usize, entries: usize) -> Touched {
        let mut all = Touched::default();
        for i in first..first + entries {
            let mut raw = node.load(&self.mem, i);
            // Each round that fails has met a bit that hardware has just set, of which there are two.
            while raw != 0 {
                let (clean, touched) = F::untouched(raw);
                if clean == raw {
                    break;
                }
                match node.cas(&self.mem, i, raw, clean) {
                    Ok(()) => {
                        all.accessed |= touched.accessed;
                        all.dirty |= touched.dirty;
                        break;
                    }
                    Err(found) => raw = found,
                }
            }
        }
        all
    }
}
