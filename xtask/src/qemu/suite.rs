//! All machines that were asked for, as many at a time as there are processors, and the tables at the end.

use super::{
    machine::{Expect, Machine},
    machines,
    outcome::{Outcome, judge, judge_control, judge_said},
    process::Run,
};
use crate::{
    kernels::{self, Arch, Profile},
    setup,
    shell::target,
    tally::Tally,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use std::thread;
use std::time::{Duration, Instant};

/// One line of the table.
struct Row {
    machine: &'static Machine,
    passed: usize,
    of: usize,
    /// Checks that fail with translation bypassed, as they must; none where no control makes sense.
    proven: Option<usize>,
    failed: usize,
    /// Of the run and its control together.
    time: Duration,
}

/// Runs every machine whose name contains `filter`.
pub fn run(tally: &mut Tally, filter: &str) {
    let chosen: Vec<&'static Machine> =
        machines::all().filter(|machine| machine.name.contains(filter)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = machines::all().map(|machine| machine.name).collect();
        return tally.fail(format!("no machine's name contains `{filter}`: {}", names.join(", ")));
    }
    if !setup::has_qemu() {
        return tally.skip("qemu", "QEMU 10 is not here; `cargo xtask setup` installs it where it may");
    }
    let folder = target().join("qemu");
    if let Err(error) = fs::create_dir_all(&folder) {
        return tally.fail(format!("{}: {error}", folder.display()));
    }
    let archs: Vec<Arch> =
        Arch::ALL.into_iter().filter(|arch| chosen.iter().any(|machine| machine.arch == *arch)).collect();
    kernels::build_shared(&archs, Profile::Qemu);
    let mut kernels: Vec<(Arch, Option<PathBuf>)> = Vec::new();
    for arch in archs {
        if let Err(why) = kernels::toolchain(arch) {
            tally.skip(&format!("qemu on {}", arch.name()), why);
            continue;
        }
        let built = kernels::build(arch, Profile::Qemu)
            .inspect_err(|why| tally.fail(format!("kernel {}: {why}", arch.name())));
        kernels.push((arch, built.ok()));
    }
    let kernel =
        |arch| kernels.iter().find(|(other, _)| *other == arch).and_then(|(_, kernel)| kernel.as_deref());
    let chosen: Vec<(&Machine, &Path)> =
        chosen.into_iter().filter_map(|machine| Some((machine, kernel(machine.arch)?))).collect();
    let rows = all(tally, &chosen, &folder);
    println!(
        "\n{:38} {:>12} {:>22} {:>8} {:>8}",
        "machine", "checks", "fail when bypassed", "failed", "time"
    );
    for Row { machine, passed, of, proven, failed, time } in &rows {
        let (seconds, proven) = (time.as_secs_f32(), proven.map_or("-".into(), |count| count.to_string()));
        let (name, checks) = (machine.name, format!("{passed} of {of}"));
        println!("{name:38} {checks:>12} {proven:>22} {failed:>8} {seconds:>6.1} s");
    }
    summary(&rows);
}

/// The table once more, a row for each kind of IOMMU: what the README shows.
fn summary(rows: &[Row]) {
    println!(
        "\n| IOMMU | machines | checks passed | of them fail when bypassed |\n| --- | ---: | ---: | ---: |"
    );
    let mut kinds: Vec<&str> = Vec::new();
    for row in rows {
        let kind = row.machine.iommu();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for kind in kinds {
        let of_kind = || rows.iter().filter(|row| row.machine.iommu() == kind);
        let (passed, of): (usize, usize) =
            of_kind().fold((0, 0), |(passed, of), row| (passed + row.passed, of + row.of));
        let proven: usize = of_kind().filter_map(|row| row.proven).sum();
        println!("| {kind} | {} | {passed} of {of} | {proven} |", of_kind().count());
    }
}

/// Runs every machine, and the negative controls beside them: as many at a time as this machine has processors.
fn all(tally: &mut Tally, chosen: &[(&'static Machine, &Path)], folder: &Path) -> Vec<Row> {
    let mut runs = Vec::new();
    for &(machine, kernel) in chosen {
        let control = matches!(machine.expect, Expect::Checks { control: true });
        let ways = if control { &[false, true][..] } else { &[false] };
        runs.extend(ways.iter().map(|&bypass| Run { machine, kernel, bypass, folder }));
    }
    let (next, ended) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begun = Instant::now();
            let outcome = run.go();
            let ended = ended.lock();
            ended.unwrap_or_else(PoisonError::into_inner).push((run.log(), outcome, begun.elapsed()));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(runs.len()) {
            scope.spawn(worker);
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut take = |run: &Run<'_>| {
        let place = ended.iter().position(|(log, ..)| *log == run.log());
        let (_, outcome, time) = place.map(|place| ended.swap_remove(place)).unwrap_or_default();
        (outcome, time)
    };
    let mut rows = Vec::new();
    let mut runs = runs.iter();
    while let Some(run) = runs.next() {
        let (outcome, mut time) = take(run);
        let control = match run.machine.expect {
            Expect::Checks { control: true } => runs.next().map(|run| (run.log(), take(run))),
            _ => None,
        };
        let control = control.map(|(log, (outcome, taken))| {
            time += taken;
            (log, outcome)
        });
        rows.push(Row { time, ..judged(tally, run, &outcome, control.as_ref()) });
    }
    rows
}

/// What one machine's run and its control show.
fn judged(tally: &mut Tally, run: &Run<'_>, outcome: &Outcome, control: Option<&(PathBuf, Outcome)>) -> Row {
    let (machine, log, before) = (run.machine, run.log(), tally.failures());
    let name = machine.name;
    let (mut passed, mut of, mut proven) = (outcome.passed(), outcome.checks.len(), None);
    if let Expect::Refusal(words) = machine.expect {
        let broken = outcome.broken.as_ref();
        let said = broken.is_some_and(|why| why.starts_with("ERROR") && why.contains(words));
        let result =
            if said { Ok(()) } else { Err(format!("no refusal: {broken:?}; see {}", log.display())) };
        tally.check(&format!("{name} is refused"), result);
        (passed, of) = (usize::from(said), 1);
    } else {
        judge(tally, name, outcome);
        judge_said(tally, name, machine.says, outcome);
    }
    if let Some((log, control)) = control {
        judge_control(tally, name, outcome, control);
        if tally.failures() != before {
            println!("  log of the control: {}", log.display());
        }
        let rogue = control.checks.iter().filter(|(name, _)| name.starts_with("rogue-"));
        proven = Some(rogue.filter(|(_, why)| why.is_some()).count());
    }
    let failed = tally.failures() - before;
    if failed != 0 {
        println!("  log: {}", log.display());
    }
    Row { machine, passed, of, proven, failed, time: Duration::ZERO }
}
