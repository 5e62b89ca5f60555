//! Walking one stage's tables, and caching what is found (privileged architecture 10.3.2; 2.3, 2.4, 2.8).

use super::{
    context::DeviceContext,
    state::State,
    tlb::{Leaf, Pointer, Space, Stage},
    translate::{Asker, Fault, Hit, permits},
    walk::{self, Pte, Walk},
};
use crate::model::Access;
use ioward_spec::riscv::{
    fault::{IOTVAL2_IMPLICIT, IOTVAL2_WRITE},
    paging as p,
};
use ioward_types::PhysAddr;

/// One stage's part of a translation.
pub(super) struct Part<'a> {
    pub(super) walk: &'a Walk,
    pub(super) space: Space,
    /// The context whose second stage translates this stage's tables.
    pub(super) nest: Option<&'a DeviceContext>,
    /// Second stage: the access is for a first stage or a directory, and whether it writes.
    pub(super) implicit: Option<bool>,
}

impl Part<'_> {
    /// The fault that this stage raises for an input address.
    pub(super) fn fault(&self, at: u64, asker: &Asker) -> Fault {
        if self.space.stage != Stage::Second {
            return asker.page_fault();
        }
        let implicit = match self.implicit {
            None => 0,
            Some(false) => IOTVAL2_IMPLICIT,
            Some(true) => IOTVAL2_IMPLICIT | IOTVAL2_WRITE,
        };
        asker.guest_fault(at & !0b11 | implicit)
    }

    /// Whether this stage is written through.
    pub(super) fn writes(&self, asker: &Asker) -> bool {
        self.implicit.unwrap_or(asker.access == Access::Write)
    }

    pub(super) fn permits(&self, leaf: &Leaf, asker: &Asker) -> bool {
        match (self.space.stage, self.implicit) {
            (Stage::Second, Some(true)) => leaf.user && leaf.write,
            (Stage::Second, Some(false)) => leaf.user && leaf.read,
            // The second stage's U is checked as for a user (2.3).
            (Stage::Second, None) => permits(leaf, &Asker { supervisor: false, ..*asker }),
            _ => permits(leaf, asker),
        }
    }
}

impl State {
    pub(super) fn walk(&mut self, part: &Part<'_>, at: u64, asker: &Asker) -> Result<Hit, Fault> {
        let walk = part.walk;
        let global = Space { pscid: None, ..part.space };
        let cached = [part.space, global].into_iter().filter_map(|space| self.tlb.pointer(&space, at));
        let root = Pointer { table: walk.root, level: walk.top(), global: false };
        let mut step = cached.min_by_key(|pointer| pointer.level).unwrap_or(root);
        loop {
            let place = step.table + 8 * walk.index(step.level, at);
            let place = match part.nest {
                Some(context) => (place, self.through_second(context, place, asker, false)?),
                None => (place, place),
            };
            let word = self.fetch(place.1, walk.big).ok_or(asker.access_fault())?;
            match walk::decode(word, step.level, &self.features) {
                Pte::Fault => return Err(part.fault(at, asker)),
                Pte::Link { next, global } => {
                    let bits = walk::shift(step.level);
                    let global = global || step.global;
                    step = Pointer { table: next, level: step.level - 1, global };
                    let pscid = if global { None } else { part.space.pscid };
                    let start = at & !((1u64 << bits) - 1);
                    self.tlb.insert_pointer(Space { pscid, ..part.space }, start, bits, step, asker.via);
                }
                Pte::Leaf { out, bits } => {
                    let word = self.update(part, at, asker, place, word)?;
                    if bits == p::NAPOT_64K_SHIFT as u8 {
                        self.judge_napot(part, &step, at, word);
                    }
                    return self.leaf(part, at, asker, step.global, (out, bits, word));
                }
            }
        }
    }

    /// Accessed and dirty bits: set by hardware where that is enabled, else a fault (2.1.3.1, 2.4).
    fn update(
        &mut self,
        part: &Part<'_>,
        at: u64,
        asker: &Asker,
        (guest, place): (u64, u64),
        word: u64,
    ) -> Result<u64, Fault> {
        let mut leaf = describe(word);
        leaf.dirty = true;
        if !part.permits(&leaf, asker) {
            return Ok(word);
        }
        let wanted = if part.writes(asker) { p::A.mask() | p::D.mask() } else { p::A.mask() };
        if word & wanted == wanted {
            return Ok(word);
        }
        if !part.walk.updates || asker.speculative {
            return Err(part.fault(at, asker));
        }
        if let Some(context) = part.nest {
            self.through_second(context, guest, asker, true)?;
        }
        let swap = |word: u64| if part.walk.big { word.swap_bytes() } else { word };
        match self.memory.cas64(PhysAddr(place), swap(word), swap(word | wanted)) {
            Ok(true) => Ok(word | wanted),
            // Software changed it meanwhile: what it wrote decides on the next request.
            Ok(false) => Err(part.fault(at, asker)),
            Err(_) => Err(asker.access_fault()),
        }
    }

    fn leaf(
        &mut self,
        part: &Part<'_>,
        at: u64,
        asker: &Asker,
        global: bool,
        (out, bits, word): (u64, u8, u64),
    ) -> Result<Hit, Fault> {
        let mut leaf = describe(word);
        leaf.out = out;
        leaf.global = part.space.stage == Stage::First && (leaf.global || global);
        let start = at & !((1u64 << bits) - 1);
        leaf.scope = (start, bits);
        leaf.guest = start;
        let permitted = part.permits(&leaf, asker);
        if p::A.of(word) == 1 {
            let pscid = if leaf.global { None } else { part.space.pscid };
            self.insert(Space { pscid, ..part.space }, (start, bits, leaf), asker);
        }
        if permitted { Ok((start, bits, leaf)) } else { Err(part.fault(at, asker)) }
    }

    /// All sixteen entries of a NAPOT page say the same, or either may be used (Svnapot).
    fn judge_napot(&self, part: &Part<'_>, step: &Pointer, at: u64, word: u64) {
        if part.nest.is_some() {
            return;
        }
        let updated = p::A.mask() | p::D.mask();
        let first = step.table + 8 * (part.walk.index(step.level, at) & !0xf);
        let differs = (0..16).find(|n| {
            let neighbour = self.fetch(first + 8 * n, part.walk.big);
            neighbour.is_none_or(|neighbour| neighbour & !updated != word & !updated)
        });
        if let Some(n) = differs {
            self.wrong(
                "RISC-V privileged architecture, Svnapot",
                format!("entry {n} of the 64 KiB page of {at:#x} differs from {word:#x}"),
            );
        }
    }
}

/// Rights and bits of a leaf; where it goes is decided elsewhere.
fn describe(word: u64) -> Leaf {
    let is = |field: ioward_spec::Field| field.of(word) == 1;
    Leaf {
        out: 0,
        read: is(p::R),
        write: is(p::W),
        execute: is(p::X),
        user: is(p::U),
        dirty: is(p::D),
        global: is(p::G),
        scope: (0, 0),
        guest: 0,
    }
}
