//! All machines that were asked for, one after the other, and the table at the end.

use super::{
    machine::{Expect, Machine},
    machines,
    outcome::{judge, judge_control, judge_said},
    process::Run,
};
use crate::{
    kernels::{self, Arch},
    setup,
    shell::target,
    tally::Tally,
};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One line of the table.
struct Row {
    name: &'static str,
    passed: usize,
    of: usize,
    /// Checks that fail with translation bypassed, as they must; none where no control makes sense.
    proven: Option<usize>,
    failed: usize,
    time: Duration,
}

/// Runs every machine whose name contains `filter`.
pub fn run(tally: &mut Tally, filter: &str) {
    let chosen: Vec<&Machine> = machines::all().filter(|machine| machine.name.contains(filter)).collect();
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
    let mut kernels: Vec<(Arch, Option<PathBuf>)> = Vec::new();
    for arch in Arch::ALL.into_iter().filter(|arch| chosen.iter().any(|machine| machine.arch == *arch)) {
        if let Err(why) = kernels::toolchain(arch) {
            tally.skip(&format!("qemu on {}", arch.name()), why);
            continue;
        }
        let built =
            kernels::build(arch).inspect_err(|why| tally.fail(format!("kernel {}: {why}", arch.name())));
        kernels.push((arch, built.ok()));
    }
    let mut rows = Vec::new();
    for machine in chosen {
        let Some((_, Some(kernel))) = kernels.iter().find(|(arch, _)| *arch == machine.arch) else {
            continue;
        };
        rows.push(one(tally, &Run { machine, kernel, bypass: false, folder: &folder }));
    }
    println!(
        "\n{:34} {:>12} {:>22} {:>8} {:>8}",
        "machine", "checks", "fail when bypassed", "failed", "time"
    );
    for Row { name, passed, of, proven, failed, time } in rows {
        let (seconds, proven) = (time.as_secs_f32(), proven.map_or("-".into(), |count| count.to_string()));
        println!("{name:34} {:>12} {proven:>22} {failed:>8} {seconds:>6.1} s", format!("{passed} of {of}"));
    }
}

/// Runs one machine, and its negative control beside it.
fn one(tally: &mut Tally, run: &Run<'_>) -> Row {
    let begun = Instant::now();
    let (name, log, before) = (run.machine.name, run.log(), tally.failures());
    let (passed, of, proven) = match run.machine.expect {
        Expect::Refusal(words) => {
            let broken = run.go().broken;
            let said = broken.as_ref().is_some_and(|why| why.starts_with("ERROR") && why.contains(words));
            let result =
                if said { Ok(()) } else { Err(format!("no refusal: {broken:?}; see {}", log.display())) };
            tally.check(&format!("{name} is refused"), result);
            (usize::from(said), 1, None)
        }
        Expect::Checks { control: false } => {
            let outcome = run.go();
            judge(tally, name, &outcome);
            judge_said(tally, name, run.machine.says, &outcome);
            (outcome.passed(), outcome.checks.len(), None)
        }
        Expect::Checks { control: true } => {
            let bypassed = Run { bypass: true, ..*run };
            let (outcome, control) = std::thread::scope(|scope| {
                let control = scope.spawn(|| bypassed.go());
                let outcome = run.go();
                (outcome, control.join().unwrap_or_default())
            });
            judge(tally, name, &outcome);
            judge_said(tally, name, run.machine.says, &outcome);
            judge_control(tally, name, &outcome, &control);
            if tally.failures() != before {
                println!("  log of the control: {}", bypassed.log().display());
            }
            let checks = control.checks.iter();
            let proven = checks.filter(|(name, why)| name.starts_with("rogue-") && why.is_some()).count();
            (outcome.passed(), outcome.checks.len(), Some(proven))
        }
    };
    let failed = tally.failures() - before;
    if failed != 0 {
        println!("  log: {}", log.display());
    }
    Row { name, passed, of, proven, failed, time: begun.elapsed() }
}
