//! `cargo xtask loom`, `asan` and `miri`: the same tests under something stricter.

use crate::{
    setup,
    shell::{cargo, crates, lines, nightly, root, sources, target},
    tally::Tally,
};
use std::process::Command;

/// The crates with raw memory in them or in their tests, so far as they can be built alone.
const RAW_MEMORY: [&str; 5] =
    ["ioward-types", "ioward-pgtable", "ioward-iova", "ioward-core", "ioward-drivers"];

/// Every `crates/NAME/tests/loom*.rs`, with `--cfg loom` as the loom crate wants it.
pub fn loom(tally: &mut Tally) {
    let mut found = false;
    for name in crates() {
        let files = sources(&root().join("crates").join(&name).join("tests"));
        let stems = files.iter().filter_map(|file| file.file_stem()?.to_str());
        for test in stems.filter(|stem| stem.starts_with("loom")) {
            found = true;
            let mut command = cargo();
            command.args(["test", "--release", "-p", &name, "--test", test]);
            command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", target().join("loom"));
            command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
            count(tally, &mut command, &format!("loom {name} {test}"));
        }
    }
    if !found {
        tally.skip("loom", "no crate has tests/loom*.rs");
    }
}

/// Unit and integration tests of the crates with raw memory, under AddressSanitizer.
pub fn asan(tally: &mut Tally) {
    if !setup::has_nightly() {
        return tally.skip("asan", "nightly Rust is not here");
    }
    let mut command = nightly();
    command.args(["test", "--lib", "--tests", "--target", env_triple()]);
    command.args(RAW_MEMORY.iter().flat_map(|name| ["-p", name]));
    command.env("RUSTFLAGS", "-Zsanitizer=address").env("CARGO_TARGET_DIR", target().join("asan"));
    // Unoptimised, the random tests take minutes; overflow checks stay on.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_TEST_OPT_LEVEL", "1");
    // What is handed to hardware is leaked on purpose when nobody can confirm that hardware is done with it.
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    count(tally, &mut command, "asan");
}

/// The same under Miri. It is no part of `cargo xtask test`: few machines have it.
pub fn miri(tally: &mut Tally) {
    let mut version = nightly();
    if !version.args(["miri", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return tally.skip(
            "miri",
            "`cargo +nightly miri` is not here: `rustup +nightly component add miri rust-src`",
        );
    }
    let mut command = nightly();
    command.args(["miri", "test", "--lib"]);
    command.args(RAW_MEMORY.iter().flat_map(|name| ["-p", name]));
    command.env("CARGO_TARGET_DIR", target().join("miri")).env("MIRIFLAGS", "-Zmiri-permissive-provenance");
    count(tally, &mut command, "miri");
}

fn env_triple() -> &'static str {
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" }
}

/// Runs a `cargo test` and counts what its `test result:` lines say.
pub fn count(tally: &mut Tally, command: &mut Command, what: &str) {
    let (mut passed, mut failed) = (0, Vec::new());
    let result = lines(command, |line| {
        if let Some(numbers) = line.strip_prefix("test result: ") {
            passed += number_before(numbers, " passed");
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            failed.push(name.to_owned());
        }
    });
    tally.pass(passed);
    let quiet = failed.is_empty();
    failed.into_iter().for_each(|name| tally.fail(format!("{what}: {name}")));
    match result {
        Err(why) if quiet => tally.fail(format!("{what}: {why}")),
        Ok(()) if passed == 0 => tally.fail(format!("{what}: no test was run")),
        _ => {}
    }
}

/// The number before `word`: `ok. 12 passed; 0 failed`.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_results_are_counted() {
        let line = "ok. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!((number_before(line, " passed"), number_before(line, " failed")), (12, 3));
        assert_eq!(number_before("nonsense", " passed"), 0);
    }
}
