//! Threads that share tables and no pages.

use crate::{
    common::{Host, cases, iova},
    tools::*,
};
use ioward_types::{Iova, PhysAddr, TableConfig};
use std::sync::{
    Barrier,
    atomic::{AtomicBool, Ordering},
};

const THREADS: u64 = 3;
const ROUNDS: u64 = 60;

/// Ends the watch, also when a thread has failed.
struct Done<'a>(&'a AtomicBool);
impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Each thread maps and unmaps every third granule around the boundary of two tables, and whole tables of its own beside
/// them that come and go; meanwhile one more looks at a page that stays. Afterwards each finds what it left, and nothing
/// has leaked.
pub fn do_not_disturb(config: &TableConfig) {
    for coherent in [true, false] {
        let config = TableConfig { coherent, ..*config };
        let granule = config.granule();
        let span = granule * (granule / 8);
        let (first, last) = *cases::halves(&config).last().expect("there is one");
        let host = Host::with(usize::MAX, !coherent);
        let mut table = table(&host, &config);
        // With one level alone there are no tables that could come and go.
        if (last - first) / span < 8 || table.root().levels == 1 {
            end(&host, table);
            continue;
        }
        let base = memory(&config) & !(span - 1);
        // Odd by a granule, so that nothing larger fits.
        let to = |at: u64| base + (at - first) + granule;
        let steady = first + span - 32 * granule;
        map(&table, steady, to(steady), granule);
        let (start, done) = (Barrier::new(THREADS as usize + 1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|own| {
                    let (table, start) = (&table, &start);
                    scope.spawn(move || {
                        let mut random = Random(own + 1);
                        let mut mapped = [false; 16];
                        start.wait();
                        for _ in 0..ROUNDS {
                            let n = random.next(16) as usize;
                            let at = first + span - 24 * granule + (n as u64 * THREADS + own) * granule;
                            if mapped[n] {
                                assert_eq!(unmap(table, at, granule), granule);
                            } else {
                                map(table, at, to(at), granule);
                            }
                            mapped[n] = !mapped[n];
                            let found = table.lookup(Iova(at)).map(|(found, ..)| found);
                            assert_eq!(found, mapped[n].then(|| PhysAddr(to(at))));
                            if random.next(4) == 0 {
                                // A table of its own: made, filled in part, and freed by the call that covers it.
                                let whole = first + (3 + own) * span;
                                map(table, whole + granule, to(whole), 5 * granule);
                                let gone = table.unmap(iova(whole, span)).expect("whole pages");
                                assert!(gone.tables_went());
                                // SAFETY: no device walks it.
                                unsafe { table.free(gone.detached) };
                            }
                        }
                        mapped
                    })
                })
                .collect();
            let watcher = scope.spawn(|| {
                start.wait();
                while !done.load(Ordering::Acquire) {
                    leads(&host, &table, steady, to(steady), granule);
                    std::thread::yield_now();
                }
            });
            let over = Done(&done);
            let left: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
            drop(over);
            watcher.join().expect("no panic");
            for (own, mapped) in left.iter().enumerate() {
                for (n, &mapped) in mapped.iter().enumerate() {
                    let at = first + span - 24 * granule + (n as u64 * THREADS + own as u64) * granule;
                    let seen =
                        crate::common::judge::judge(&config, table.root(), at, |word| match coherent {
                            true => host.peek(PhysAddr(word)),
                            false => host.seen(PhysAddr(word)),
                        });
                    match seen.unwrap_or_else(|why| panic!("{config}: {why}")) {
                        crate::common::judge::Found::Page(page) => {
                            assert_eq!((mapped, page.to), (true, to(at)))
                        }
                        crate::common::judge::Found::Nothing => assert!(!mapped, "{config}, {at:#x}"),
                    }
                }
            }
        });
        unmap(&table, first, 8 * span);
        let empties = table.trim();
        // SAFETY: no device walks it.
        unsafe { table.free(empties) };
        end(&host, table);
    }
}
