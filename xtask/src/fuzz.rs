//! `cargo xtask fuzz`: every target of `fuzz/`, from its committed corpus.

use crate::{
    setup,
    shell::{ask, logged, nightly, root, show, target},
    tally::Tally,
};
use std::fs;

/// The fuzz targets, by their files.
pub fn targets() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("fuzz/fuzz_targets"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Runs each target for `seconds`. What it finds new goes below `target/`, never into the committed corpus.
pub fn run(tally: &mut Tally, seconds: u32) {
    if ask("cargo-fuzz", &["--version"]).is_none() || !setup::has_nightly() {
        return tally.skip("fuzz", "cargo-fuzz or nightly Rust is not here");
    }
    let targets = targets();
    if targets.is_empty() {
        return tally.skip("fuzz", "there are no targets in fuzz/fuzz_targets");
    }
    let built = target().join("fuzz");
    let cargo_fuzz = |what: &str| {
        let mut command = nightly();
        command.args(["fuzz", what]).arg("--target-dir").arg(&built);
        command
    };
    if let Err(why) = show(&mut cargo_fuzz("build")) {
        return tally.fail(why);
    }
    // A fuzzer uses one processor; as many run at once as there are.
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |name: &str| {
        let found = target().join("fuzz-found").join(name);
        let committed = root().join("fuzz/corpus").join(name);
        fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
        let mut command = cargo_fuzz("run");
        command.arg(name).arg(&found);
        if committed.is_dir() {
            command.arg(&committed);
        }
        command
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=10", "-rss_limit_mb=2048"]);
        logged(&mut command, &target().join("fuzz-found").join(format!("{name}.log")))
    };
    let results: Vec<(&str, Result<(), String>)> = std::thread::scope(|scope| {
        let (targets, one) = (&targets, &one);
        let work = |worker| {
            let own = targets.iter().skip(worker).step_by(workers);
            move || own.map(|name| (name.as_str(), one(name))).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        running.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    for name in &targets {
        let result = results.iter().find(|(of, _)| of == name).map(|(_, result)| result.clone());
        let result = result.unwrap_or_else(|| Err("it was not run".to_owned()));
        tally.check(&format!("fuzz {name} for {seconds} s"), result);
    }
}
