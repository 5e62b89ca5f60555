//! Walkers that do not snoop: they see lines as of the last time these were written back.

use crate::{
    common::{
        Event, Host, Traced, cases, iova,
        judge::{Found, judge, judge_entry, link},
    },
    tools::*,
};
use ioward_pgtable::AnyTable;
use ioward_types::{Iova, PhysAddr, Root, Span, TableConfig};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

fn seen(host: &Host, config: &TableConfig, root: Root, at: u64) -> Result<Option<u64>, String> {
    match judge_entry(config, root, at, |word| host.seen(PhysAddr(word))) {
        Ok(Found::Page(page)) => Ok(Some(page.to)),
        Ok(Found::Nothing) => Ok(None),
        // A detached table that a line not yet written back still leads to: absent to hardware.
        Err(why) if why.ends_with("an absent entry with bits") => Ok(None),
        Err(why) => Err(why),
    }
}

/// A place, where it led before, and where it leads after.
type Probe = (u64, Option<u64>, Option<u64>);

/// Runs `operation` and looks at each place after each event.
fn watched<T>(
    host: &Traced,
    table: &AnyTable<Traced>,
    evicts: u64,
    probes: &Arc<Mutex<Vec<Probe>>>,
    operation: impl FnOnce() -> T,
) -> T {
    let (config, root) = (table.config(), table.root());
    let (probes_, mut random) = (probes.clone(), Random(evicts));
    host.watch(move |host, event| {
        if let Event::Stored { at, .. } = event {
            // Never, always, or half of the time.
            if random.next(2) < evicts {
                host.evict(at);
            }
        }
        for &(at, before, after) in &*probes_.lock().unwrap() {
            let now = seen(host, &config, root, at).unwrap_or_else(|why| panic!("{config}: {why}"));
            assert!(now == before || now == after, "{config}, {at:#x} after {event:x?}: {now:x?}");
        }
    });
    let result = operation();
    host.rest();
    for (at, before, after) in &mut *probes.lock().unwrap() {
        let now = judge(&config, root, *at, |word| host.0.seen(PhysAddr(word)));
        let now = match now.unwrap_or_else(|why| panic!("{config}: {why}")) {
            Found::Page(page) => Some(page.to),
            Found::Nothing => None,
        };
        assert_eq!(now, *after, "{config}, {at:#x}: all is written back at the end");
        *before = *after;
    }
    result
}

/// After every store, whichever lines the cache has written back on its own, a walker finds each place as it was before
/// the call or as it is after it: never a table with something else in it. And in the end all is as it should be.
pub fn a_walker_sees_whole_tables_only(config: &TableConfig) {
    let config = TableConfig { coherent: false, ..*config };
    for evicts in 0..=2 {
        let host = Traced::new(Host::with(usize::MAX, true));
        let mut table = table(&host, &config);
        let granule = config.granule();
        let span = granule * (granule / 8);
        let (first, last) = *cases::halves(&config).last().expect("there is one");
        if (last - first) / span < 4 {
            continue;
        }
        let to = |at: u64| memory(&config) + (at - first);
        let places = [0, granule, span - granule, span, span + 9 * granule, 2 * span - granule, 3 * span];
        let probes = Arc::new(Mutex::new(places.map(|at| (first + at, None, None)).to_vec()));
        let expect = |range: Span<Iova>, mapped: bool| {
            for (at, _, after) in &mut *probes.lock().unwrap() {
                if range.contains(Iova(*at)) {
                    *after = mapped.then(|| to(*at));
                }
            }
        };
        // Single granules, a range over two tables, all of one table, a large page.
        let maps = [(0, granule), (span - granule, 2 * granule), (span + granule, 8 * granule)];
        for (at, bytes) in maps {
            expect(iova(first + at, bytes), true);
            watched(&host, &table, evicts, &probes, || map(&table, first + at, to(first + at), bytes));
        }
        watched(&host, &table, evicts, &probes, || {
            // Only a part of what was mapped with larger pages may be left: these are cut.
            table.cut(Iova(first + span + 4 * granule)).expect("hitless");
        });
        expect(iova(first + span, 4 * granule), false);
        watched(&host, &table, evicts, &probes, || unmap(&table, first + span, 4 * granule));
        // The range covers the first two tables: they go.
        expect(iova(first, 2 * span), false);
        watched(&host, &table, evicts, &probes, || unmap(&table, first, 2 * span));
        let whole = iova(first, 4 * span);
        expect(whole, true);
        watched(&host, &table, evicts, &probes, || map(&table, first, to(first), whole.bytes));
        let cut = first + span + 9 * granule;
        watched(&host, &table, evicts, &probes, || table.cut(Iova(cut)).expect("hitless"));
        expect(iova(cut, span - 9 * granule), false);
        watched(&host, &table, evicts, &probes, || unmap(&table, cut, span - 9 * granule));
        expect(whole, false);
        watched(&host, &table, evicts, &probes, || unmap(&table, first, whole.bytes));
        // In the middle of nothing: the trim unlinks, in order, what nobody needs.
        host.watch({
            let (shape, root) = (table.config(), table.root());
            move |host, _| {
                for at in places {
                    assert_eq!(seen(host, &shape, root, first + at), Ok(None));
                }
            }
        });
        let empties = table.trim();
        host.rest();
        // SAFETY: no device walks it.
        unsafe { table.free(empties) };
        end(&host.0, table);
    }
}

/// Why a line was not clean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Soil {
    Made,
    Link,
    Leaf,
}

/// What one call stored and cleaned.
#[derive(Default)]
struct Ledger {
    soiled: BTreeMap<u64, BTreeSet<Soil>>,
    /// Cleans for leaves alone, by line.
    leaves: BTreeMap<u64, usize>,
    wrong: Vec<String>,
}

impl Ledger {
    fn enter(&mut self, host: &Host, config: &TableConfig, event: Event) {
        let leads_to_table = |raw| link(config, raw).filter(|&at| host.peek(PhysAddr(at)).is_some());
        match event {
            Event::Made { at, bytes } => {
                for line in (at.0..at.0 + bytes as u64).step_by(64) {
                    self.soiled.entry(line).or_default().insert(Soil::Made);
                }
            }
            Event::Stored { at, old, new } => {
                let soil = match (leads_to_table(old), leads_to_table(new)) {
                    // The mark that a link has been cleaned: hardware ignores it.
                    (Some(old), Some(new)) if old == new => return,
                    (None, None) => Soil::Leaf,
                    _ => Soil::Link,
                };
                self.soiled.entry(at.0 & !63).or_default().insert(soil);
            }
            Event::Cleaned(lines) => {
                for line in (lines.start.0..=lines.last().0).step_by(64) {
                    match self.soiled.remove(&line) {
                        None => self.wrong.push(format!("{line:#x} was clean")),
                        Some(soil) if soil.iter().eq([&Soil::Leaf]) => {
                            *self.leaves.entry(line).or_default() += 1
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }
}

/// No line is cleaned that is clean already, none is left, and leaves of one call never make a line be cleaned twice.
pub fn each_touched_line_is_cleaned_once(config: &TableConfig) {
    let config = TableConfig { coherent: false, ..*config };
    let host = Traced::new(Host::with(usize::MAX, true));
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let its = ledger.clone();
    host.watch(move |host, event| its.lock().unwrap().enter(host, &config, event));
    let table = table(&host, &config);
    let balance = |what: &str, once: bool| {
        let ledger = std::mem::take(&mut *ledger.lock().unwrap());
        assert_eq!(ledger.wrong, [""; 0], "{config}, {what}");
        assert_eq!(ledger.soiled, BTreeMap::new(), "{config}, {what}: never cleaned");
        let twice = ledger.leaves.iter().find(|&(_, &times)| once && times > 1);
        assert_eq!(twice, None, "{config}, {what}");
        ledger.leaves.len()
    };
    balance("new", true);
    let granule = config.granule();
    let span = granule * (granule / 8);
    let (first, last) = *cases::halves(&config).last().expect("there is one");
    if (last - first) / span < 4 {
        return;
    }
    let to = |at: u64| memory(&config) + (at - first);
    map(&table, first + granule, to(first + granule), granule);
    balance("a first page, with its tables", true);
    let mut random = Random(7);
    for round in 0..6 {
        // All alignments and sizes; physical memory congruent or odd.
        let at = first + (3 + random.next(60)) * granule;
        let bytes = (1 + random.next(2 * (granule / 8) - 80)) * granule;
        let odd = granule * (round % 2);
        map(&table, at, to(at) + odd, bytes);
        balance("a map over two tables", true);
        let lines = |from: u64, until: u64| (until - 1) / 64 - from / 64 + 1;
        assert_eq!(unmap(&table, at, bytes), bytes);
        if at + bytes <= first + span {
            let places = |at: u64| (at - first) / granule * 8;
            let cleaned = balance("an unmap in one table", true) as u64;
            assert_eq!(cleaned, lines(places(at), places(at + bytes)), "{config}: its lines, each once");
        } else {
            // Whole tables may have gone, into which the chain of detached tables is stored, for no walker.
            *ledger.lock().unwrap() = Ledger::default();
        }
    }
    let large = *sizes(&table).last().expect("there is one");
    if large > granule && 2 * large - 1 <= last - first {
        let at = first + large;
        map(&table, at, to(first) & !(large - 1), large);
        balance("a large page", true);
        table.cut(Iova(at + granule)).expect("hitless");
        balance("a cut", false);
        unmap(&table, at, large);
    }
    *ledger.lock().unwrap() = Ledger::default();
    // A refused map cleans what it takes back.
    let at = first + 2 * granule;
    map(&table, first + 40 * granule, to(first + 40 * granule), granule);
    balance("one page", true);
    try_map(&table, at, to(at) + granule, 45 * granule, RW).expect_err("something is in the way");
    let ledger = std::mem::take(&mut *ledger.lock().unwrap());
    assert_eq!((ledger.wrong, ledger.soiled), (vec![], BTreeMap::new()), "{config}: a map undone");
    host.rest();
    unmap(&table, first, 4 * span);
    let mut table = table;
    let empties = table.trim();
    // SAFETY: no device walks it.
    unsafe { table.free(empties) };
    end(&host.0, table);
}

/// A walker that snoops needs no cleans at all.
#[test]
fn no_clean_where_walkers_snoop() {
    for config in cases::all() {
        let host = Host::with(usize::MAX, true);
        let table = table(&host, &config);
        map(&table, 0, 0, config.granule());
        unmap(&table, 0, config.granule());
        assert_eq!(host.take_cleaned(), []);
        end(&host, table);
    }
}
