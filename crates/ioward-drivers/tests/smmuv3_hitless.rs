//! No change of an entry shows the SMMU anything but the old entry, the new one, or blocked.
//!
//! Every store and every completed command of a change is on record. Between two invalidations of a structure the SMMU may
//! have read each of its words at any time, so each word may have any of the values that it had since the first. Every
//! combination is decoded, by a decoder written here from ARM IHI 0070 G.b, 5.1 to 5.4, and judged.
#![cfg(feature = "smmuv3")]

#[path = "support/put.rs"]
mod put;
mod smmuv3_bench;
mod smmuv3_judge;

use ioward_core::driver::{Blocked, Driver, Plan, Requirements, Slot, Translation};
use ioward_types::{Pasid, PhysAddr, Root, TableConfig, Tag};
use put::Put;
use smmuv3_bench::*;
use smmuv3_judge::*;
use std::collections::{BTreeMap, BTreeSet};

const PASID: u32 = 5;

/// What an entry may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Blocked,
    Identity,
    Stage1(u8),
    Stage2(u8),
    Foreign2,
}

const ALL: [Held; 7] = [
    Held::Blocked,
    Held::Identity,
    Held::Stage1(0),
    Held::Stage1(1),
    Held::Stage2(0),
    Held::Stage2(1),
    Held::Foreign2,
];

struct Machine {
    bench: Bench,
    smmu: Smmu,
    slot: Slot,
    decoder: Decoder,
    configs: BTreeMap<bool, TableConfig>,
    tags: BTreeMap<(bool, u8), Tag>,
}

impl Machine {
    fn new(ids: Ids, pasid_bits: u8, ats: bool) -> Self {
        let (bench, registers, smmu) = bring_up(ids);
        let decoder =
            Decoder { strtab: registers.peek64(STRTAB_BASE), strtab_cfg: registers.peek(STRTAB_BASE_CFG) };
        let slot = claim(&smmu, SOURCE, pasid_bits, ats);
        let mut configs = BTreeMap::new();
        let mut tags = BTreeMap::new();
        for second in [false, true] {
            let wish = Requirements { pasid_bits: (!second).into(), ..Requirements::default() };
            let plan = smmu.plan(&wish).expect("both stages are there");
            let Plan::Tables(config) = plan else { panic!("tables") };
            configs.insert(second, config);
            for n in 0..3 {
                tags.insert((second, n), smmu.tag(&plan).expect("tags are free"));
            }
        }
        Self { bench, smmu, slot, decoder, configs, tags }
    }

    fn root(second: bool, n: u8) -> Root {
        Root {
            at: PhysAddr(0x5000_0000 + u64::from(n) * 0x10_0000 + u64::from(second) * 0x100_0000),
            levels: 4,
        }
    }

    fn put(&self, pasid: Option<u32>, held: Held) {
        let pasid = pasid.map(Pasid);
        let (second, n, foreign) = match held {
            Held::Blocked => {
                assert_eq!(self.smmu.block(&self.slot, pasid), Blocked::Confirmed);
                return;
            }
            Held::Identity => {
                return self.smmu.put(&self.slot, pasid, &Translation::Identity).expect("identity");
            }
            Held::Stage1(n) => (false, n, false),
            Held::Stage2(n) => (true, n, false),
            Held::Foreign2 => (true, 2, true),
        };
        let (root, config, tag) = (Self::root(second, n), &self.configs[&second], self.tags[&(second, n)]);
        let what = if foreign {
            Translation::Foreign { root, config, tag }
        } else {
            Translation::Table { root, config, tag }
        };
        self.smmu.put(&self.slot, pasid, &what).expect("a table that fits");
    }

    fn meaning(&self, pasid: Option<u32>) -> Meaning {
        let found = seen(&self.decoder, &self.bench.all(), &[], pasid, None);
        assert_eq!(found.len(), 1);
        found.into_iter().next().unwrap()
    }
}

/// Changes `change` from `from` to `to` while `watched` looks on, and tells whether it ever saw blocked.
fn transition(machine: &Machine, change: Option<u32>, to: Held, watched: Option<u32>) -> Observed {
    let old = machine.meaning(watched);
    let before = machine.bench.all();
    machine.bench.take_steps();
    machine.put(change, to);
    let steps = machine.bench.take_steps();
    let new = machine.meaning(watched);
    // Frames that were handed out meanwhile were zero.
    let mut before = before;
    machine.bench.all().keys().for_each(|&at| {
        before.entry(at).or_insert(0);
    });
    let seen = |skip| seen(&machine.decoder, &before, &steps, watched, skip);
    let right = |seen: &BTreeSet<Meaning>| {
        seen.iter().all(|meaning| [&old, &new, &Meaning::Blocked].contains(&meaning))
    };
    let all = seen(None);
    let new_alone = BTreeSet::from([new.clone()]);
    let stores: Vec<Step> = steps.iter().filter(|step| matches!(step, Step::Store { .. })).copied().collect();
    let count = |steps: &[Step]| {
        steps.iter().filter(|step| matches!(step, Step::Command(c) if !forgets(*c).is_empty())).count()
    };
    Observed {
        right: right(&all),
        blocked: all.contains(&Meaning::Blocked),
        settled: seen_at_end(&machine.decoder, &before, &steps, watched) == new_alone,
        needed: (0..count(&steps)).map(|n| !right(&seen(Some(n)))).collect(),
        needed_at_end: seen_at_end(&machine.decoder, &before, &stores, watched) != new_alone,
        seen: all,
        old,
        new,
    }
}

struct Observed {
    /// Nothing but old, new and blocked was to be seen.
    right: bool,
    blocked: bool,
    /// At the end nothing but new is left.
    settled: bool,
    /// For each invalidation: without it something else could have been seen.
    needed: Vec<bool>,
    /// Without any invalidation something old could be seen at the end.
    needed_at_end: bool,
    seen: BTreeSet<Meaning>,
    old: Meaning,
    new: Meaning,
}

impl Observed {
    fn check(&self, what: &str) {
        assert!(self.right, "{what}: {:#x?}\nold {:#x?}\nnew {:#x?}", self.seen, self.old, self.new);
        assert!(self.settled, "{what}: something old is left");
        if self.old != self.new {
            assert!(self.needed_at_end, "{what}: the check does not notice a missing invalidation");
        }
    }

    /// Whether a request could have been blocked although neither the old nor the new entry blocks.
    fn hit(&self) -> bool {
        self.blocked && self.old != Meaning::Blocked && self.new != Meaning::Blocked
    }
}

#[test]
fn a_source_without_pasids_changes_hitlessly() {
    let mut mixtures = 0;
    for ats in [false, true] {
        let machine = Machine::new(Ids::LARGE, 0, ats);
        for from in ALL {
            for to in ALL {
                machine.put(None, from);
                let seen = transition(&machine, None, to, None);
                let what = format!("{from:?} to {to:?}, ATS {ats}");
                seen.check(&what);
                mixtures += seen.needed.iter().filter(|needed| **needed).count();
                assert!(!seen.hit(), "{what}: a request could be blocked on the way");
            }
        }
    }
    // Had one invalidation between two steps been left out, the check would have seen it.
    assert!(mixtures >= 10, "{mixtures}");
}

#[test]
fn with_linear_tables_a_change_of_two_words_passes_through_blocked() {
    let machine = Machine::new(Ids::LINEAR, 0, false);
    let mut hits = 0;
    for from in ALL {
        for to in ALL {
            machine.put(None, from);
            let seen = transition(&machine, None, to, None);
            seen.check(&format!("{from:?} to {to:?}"));
            hits += u32::from(seen.hit());
        }
    }
    // Between five tables of which two are of stage 1: all but those two among themselves and a table to itself.
    assert_eq!(hits, 5 * 5 - 5 - 2);
}

#[test]
fn without_memory_for_a_copy_a_change_passes_through_blocked() {
    let machine = Machine::new(Ids::LARGE, 0, false);
    machine.put(None, Held::Stage1(0));
    for from in ALL {
        for to in ALL {
            machine.bench.set_budget(100);
            machine.put(None, from);
            machine.bench.set_budget(0);
            transition(&machine, None, to, None).check(&format!("{from:?} to {to:?}"));
        }
    }
}

#[test]
fn a_source_with_pasids_changes_hitlessly_and_leaves_its_pasids_alone() {
    for (ids, bits) in [(Ids::LARGE, 10), (Ids::LARGE, 6), (Ids::LINEAR, 4)] {
        let machine = Machine::new(ids, bits, true);
        let held = [Held::Identity, Held::Stage1(0), Held::Stage1(1)];
        for from in held {
            for to in held {
                machine.put(None, from);
                machine.put(Some(PASID), Held::Stage1(2));
                let what = format!("{from:?} to {to:?}, {bits} bits");
                let seen = transition(&machine, None, to, None);
                seen.check(&what);
                assert!(!seen.hit(), "{what}: a request could be blocked on the way");
                machine.put(None, from);
                let old = machine.meaning(Some(PASID));
                let seen = transition(&machine, None, to, Some(PASID));
                assert!(seen.right && seen.settled && !seen.hit(), "{what}: {:#x?}", seen.seen);
                assert_eq!((&seen.old, &seen.new), (&old, &old));
            }
        }
    }
}

#[test]
fn a_pasid_changes_hitlessly_and_leaves_its_source_alone() {
    for (ids, bits) in [(Ids::LARGE, 10), (Ids::LARGE, 6), (Ids::LINEAR, 4)] {
        for source in [Held::Blocked, Held::Identity, Held::Stage1(0)] {
            let held = [Held::Blocked, Held::Stage1(1), Held::Stage1(2)];
            for from in held {
                for to in held {
                    let machine = Machine::new(ids, bits, false);
                    machine.put(None, source);
                    machine.put(Some(PASID), from);
                    let what = format!("{source:?}: {from:?} to {to:?}, {bits} bits");
                    let seen = transition(&machine, Some(PASID), to, Some(PASID));
                    seen.check(&what);
                    assert!(!seen.hit(), "{what}: a request could be blocked on the way");
                    machine.put(Some(PASID), from);
                    let seen = transition(&machine, Some(PASID), to, None);
                    assert!(seen.right && seen.settled && !seen.hit(), "{what}: {:#x?}", seen.seen);
                    assert_eq!(seen.old, seen.new, "{what}");
                }
            }
        }
    }
}

#[test]
fn blocking_a_source_blocks_its_pasids() {
    let machine = Machine::new(Ids::LARGE, 10, true);
    for source in [Held::Blocked, Held::Identity, Held::Stage1(0)] {
        machine.put(None, source);
        machine.put(Some(PASID), Held::Stage1(1));
        assert_ne!(machine.meaning(Some(PASID)), Meaning::Blocked);
        transition(&machine, None, Held::Blocked, Some(PASID)).check("blocked");
        machine.put(None, Held::Stage1(0));
        assert_eq!(machine.meaning(Some(PASID)), Meaning::Blocked, "a PASID came back by itself");
    }
}

/// The checks above can fail: the same change written the obvious way is caught.
#[test]
fn a_naive_update_is_caught() {
    let machine = Machine::new(Ids::LARGE, 0, false);
    machine.put(None, Held::Stage2(0));
    let before = machine.bench.all();
    machine.put(None, Held::Stage1(0));
    let after = machine.bench.all();
    let find = |memory: &BTreeMap<u64, u64>| {
        let l1 = machine.decoder.strtab & 0x00ff_ffff_ffff_ffc0;
        (memory[&l1] & 0x00ff_ffff_ffff_ffc0) + u64::from(SOURCE) * 64
    };
    let (old, new) = (find(&before), find(&after));
    let mut start = before;
    after.keys().for_each(|&at| {
        start.entry(at).or_insert(after[&at]);
    });
    let (from, to) = (machine.decoder.decode_one(&start), machine.meaning(None));
    for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
        let mut steps: Vec<Step> =
            order.iter().map(|n| Step::Store { at: old + 8 * n, new: after[&(new + 8 * n)] }).collect();
        steps.push(Step::Command([u64::from(SOURCE) << 32 | 0x03, 0]));
        steps.push(Step::Command([0x46, 0]));
        let seen = seen(&machine.decoder, &start, &steps, None, None);
        assert!(
            seen.iter().any(|meaning| ![&from, &to, &Meaning::Blocked].contains(&meaning)),
            "order {order:?} should show a mixture"
        );
    }
}
