//! Walking one stage's tables, and caching what is found (IHI 0070 G.b, 3.13 and 3.21.1; DDI 0487 D8.2).

use super::{
    cd::Cd,
    events::Fault,
    state::State,
    ste::Ste,
    tlb::{Leaf, Overlap, Pointer, Space, Via},
    translate::{Asker, Hit, permits},
    walk::{self, Decoded, Stage},
};
use crate::model::Access;
use ioward_spec::smmuv3::event::{class, id};
use ioward_types::PhysAddr;

/// One stage's part of a translation.
pub(super) struct Part<'a> {
    pub(super) stage: &'a Stage,
    pub(super) space: Space,
    pub(super) cd: Option<&'a Cd>,
    /// The entry whose stage 2 translates this stage's tables.
    pub(super) nest: Option<&'a Ste>,
    /// What a stage 2 fault is part of.
    pub(super) class: u64,
}

impl State {
    pub(super) fn walk(&mut self, part: &Part<'_>, at: u64, asker: &Asker) -> Result<Hit, Fault> {
        let stage = part.stage;
        let fault = |id| part.fault(id, at);
        let mut step = match self.tlb.pointer(&part.space, at) {
            Some(entry) => entry.value,
            None => {
                let root = stage.root & !(stage.root_align() - 1);
                if root != stage.root {
                    self.wrong(
                        "IHI 0070 G.b 5.4 TTB0, 5.2 S2TTB",
                        format!(
                            "the root at {:#x} is not aligned to its {:#x} bytes",
                            stage.root,
                            stage.root_align()
                        ),
                    );
                }
                let physical = part.nest.is_none();
                Pointer { table: root, physical, level: stage.start, granule: stage.granule, limits: 0 }
            }
        };
        loop {
            let place = step.table + 8 * stage.index(step.level, at);
            let place = match part.nest {
                Some(ste) => self.through_second(ste, place, asker, class::TT)?,
                None => place,
            };
            let abort = |fetch: u64| Fault {
                id: id::F_WALK_EABT,
                second: stage.second,
                class: if stage.second { part.class } else { class::TT },
                ipa: 0,
                fetch,
            };
            let descriptor = self.fetch(place, stage.snoops).map_err(abort)?;
            match walk::decode(stage, step.level, descriptor) {
                Decoded::Invalid => return Err(fault(id::F_TRANSLATION)),
                Decoded::Table { next } => {
                    if next >> stage.out_bits != 0 {
                        return Err(fault(id::F_ADDR_SIZE));
                    }
                    let bits = Stage::shift(stage.granule, step.level);
                    step = Pointer {
                        table: next,
                        physical: part.nest.is_none(),
                        level: step.level + 1,
                        granule: stage.granule,
                        limits: step.limits | descriptor & walk::LIMITS,
                    };
                    let start = at & !((1u64 << bits) - 1);
                    self.tlb.insert_pointer(part.space, start, bits, step, asker.via);
                }
                Decoded::Leaf { out, bits, reserved } => {
                    if reserved != 0 {
                        self.wrong(
                            "DDI 0487 D8.3.1",
                            format!("the leaf {descriptor:#x} at {place:#x} has Reserved address bits {reserved:#x}"),
                        );
                    }
                    if out >> stage.out_bits != 0 {
                        return Err(fault(id::F_ADDR_SIZE));
                    }
                    let descriptor = self.access(part, at, asker, place, descriptor)?;
                    let found = (out, bits, place, descriptor);
                    return self.leaf(part, at, asker, &step, found);
                }
            }
        }
    }

    /// The Access flag: set by hardware where that is enabled, else a fault unless disabled (3.13).
    fn access(
        &mut self,
        part: &Part<'_>,
        at: u64,
        asker: &Asker,
        place: u64,
        descriptor: u64,
    ) -> Result<u64, Fault> {
        if descriptor & walk::ACCESS_FLAG != 0 {
            return Ok(descriptor);
        }
        if part.stage.updates_access && !asker.speculative {
            return self.update(part, at, place, descriptor, descriptor | walk::ACCESS_FLAG);
        }
        // Where hardware would set it, looking ahead does not, and so keeps nothing.
        if part.stage.access_flag_faults || part.stage.updates_access {
            return Err(part.fault(id::F_ACCESS, at));
        }
        Ok(descriptor)
    }

    fn update(&mut self, part: &Part<'_>, at: u64, place: u64, old: u64, new: u64) -> Result<u64, Fault> {
        match self.memory.cas64(PhysAddr(place), old, new) {
            Ok(true) => Ok(new),
            // Software changed it meanwhile: what it wrote decides on the next request.
            Ok(false) => Err(part.fault(id::F_TRANSLATION, at)),
            Err(_) => Err(Fault { fetch: place, ..part.fault(id::F_WALK_EABT, at) }),
        }
    }

    fn leaf(
        &mut self,
        part: &Part<'_>,
        at: u64,
        asker: &Asker,
        step: &Pointer,
        (out, mut bits, place, mut descriptor): (u64, u8, u64, u64),
    ) -> Result<Hit, Fault> {
        let stage = part.stage;
        let decide = |descriptor| match part.cd {
            Some(cd) => walk::first_rights(stage, descriptor, step.limits, part.space.world, cd),
            None => walk::second_rights(stage, descriptor),
        };
        let (rights, mut clean) = decide(descriptor);
        let mut leaf = Leaf {
            out,
            rights,
            clean,
            device: stage.second && walk::is_device(descriptor),
            global: part.cd.is_some() && descriptor & walk::NOT_GLOBAL == 0,
            level: step.level,
            granule: stage.granule,
            scope: (0, 0),
        };
        if clean && asker.access == Access::Write && !asker.speculative && permits(&leaf, asker) {
            descriptor = self.update(part, at, place, descriptor, descriptor ^ walk::WRITE_BIT)?;
            (leaf.rights, clean) = decide(descriptor);
            leaf.clean = clean;
        }
        if let Some(cd) = part.cd {
            let attribute = cd.mair(walk::attribute_index(descriptor));
            if !walk::is_memory_type(attribute) {
                self.wrong(
                    "DDI 0487 D24.2 MAIR_EL1",
                    format!("the leaf {descriptor:#x} at {place:#x} selects {attribute:#x}, which is no memory type"),
                );
            }
        }
        if descriptor & walk::CONTIGUOUS != 0 && part.nest.is_none() {
            let run = walk::contiguous_bits(stage.granule, step.level);
            if self.is_contiguous(part, step, at, descriptor, out, bits, run) {
                bits += run;
                leaf.out = out & !((1u64 << bits) - 1);
            }
        }
        let start = at & !((1u64 << bits) - 1);
        leaf.scope = (start, bits);
        let space = if leaf.global { Space { asid: None, ..part.space } } else { part.space };
        self.insert(space, start, bits, leaf, asker.via);
        if !permits(&leaf, asker) {
            return Err(part.fault(id::F_PERMISSION, at));
        }
        Ok((start, bits, leaf))
    }

    /// Whether the neighbours of a contiguous entry agree with it; where not, that is misprogrammed.
    #[allow(clippy::too_many_arguments)]
    fn is_contiguous(
        &self,
        part: &Part<'_>,
        step: &Pointer,
        at: u64,
        descriptor: u64,
        out: u64,
        bits: u8,
        run: u8,
    ) -> bool {
        let count = 1u64 << run;
        let index = part.stage.index(step.level, at);
        let first = index & !(count - 1);
        let own = descriptor & !(walk::ACCESS_FLAG | walk::WRITE_BIT);
        let fits = (0..count).all(|n| {
            let expected = own.wrapping_sub(index << bits).wrapping_add((first + n) << bits);
            let place = step.table + 8 * (first + n);
            self.fetch(place, part.stage.snoops)
                .is_ok_and(|found| found & !(walk::ACCESS_FLAG | walk::WRITE_BIT) == expected)
        });
        let aligned = out >> bits & (count - 1) == index & (count - 1);
        if !fits || !aligned {
            self.wrong(
                "DDI 0487 D8.6.1",
                format!(
                    "the leaf {descriptor:#x} for {at:#x} is marked contiguous but its neighbours are not"
                ),
            );
        }
        fits && aligned
    }

    pub(super) fn insert(&mut self, space: Space, start: u64, bits: u8, leaf: Leaf, via: Via) {
        let overlap = self.tlb.insert_leaf(space, start, bits, leaf, via);
        let conflict = match overlap {
            Some(Overlap::Output) => true,
            Some(Overlap::Size) => self.features.break_before_make < 2,
            None => false,
        };
        if conflict {
            self.wrong(
                "IHI 0070 G.b 3.21.1.1",
                format!("a translation of {start:#x} replaces another without break-before-make ({space:?})"),
            );
        }
    }
}

impl Part<'_> {
    pub(super) fn fault(&self, id: u64, at: u64) -> Fault {
        let second = self.stage.second;
        Fault { id, second, class: if second { self.class } else { class::IN }, ipa: at, fetch: 0 }
    }
}
