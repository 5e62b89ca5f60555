//! `cargo xtask test`: everything that is tested, in the order in which it fails fastest.

use crate::{
    browser, cov, fuzz, kernels, mutate, oracle, qemu, runs,
    sanitize::{self, count},
    setup,
    shell::{cargo, root, show},
    tally::Tally,
};
use std::time::Instant;

/// A step of the whole.
type Step = (&'static str, fn(&mut Tally));

/// Runs all steps, whatever fails.
pub fn run(tally: &mut Tally) {
    let steps: [Step; 15] = [
        ("setup", setup::run),
        ("formatting", formatting),
        ("lints", lints),
        ("documentation", documentation),
        ("tests", tests),
        ("the program", runs::run),
        ("browser", browser::run),
        ("loom", sanitize::loom),
        ("asan", sanitize::asan),
        ("qemu", |tally| qemu::run(tally, "")),
        ("oracle", oracle::few),
        ("mutated rules", mutate::rules),
        ("dropped commands", mutate::commands),
        ("fuzz", |tally| fuzz::run(tally, 10)),
        ("coverage", cov::run),
    ];
    let begun = Instant::now();
    for (name, step) in steps {
        let start = Instant::now();
        println!("\n== {name} (at {} s)", begun.elapsed().as_secs());
        step(tally);
        println!("== {name}: {:.1} s", start.elapsed().as_secs_f32());
    }
}

/// What is seen without running anything.
pub fn lint(tally: &mut Tally) {
    formatting(tally);
    lints(tally);
}

fn formatting(tally: &mut Tally) {
    tally.check("formatting", show(cargo().args(["fmt", "--all", "--check"])));
    // `--all` would follow their dependencies out of their workspace.
    let mut kernels = cargo();
    kernels.current_dir(root().join("kernels")).args(["fmt", "--check"]);
    kernels.args(["-p", "kernel", "-p", "kernel-aarch64", "-p", "kernel-riscv64", "-p", "kernel-x86_64"]);
    kernels.args(["-p", "linux-load"]);
    tally.check("formatting of the kernels", show(&mut kernels));
}

fn lints(tally: &mut Tally) {
    let mut command = cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
    tally.check("clippy", show(&mut command));
    kernels::lint(tally);
}

fn documentation(tally: &mut Tally) {
    let mut command = cargo();
    command.args(["doc", "--workspace", "--no-deps", "--quiet"]);
    // Modules explain themselves to readers of the code too, by links that only they can follow.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    tally.check("documentation", show(command.env("RUSTDOCFLAGS", flags)));
}

fn tests(tally: &mut Tally) {
    count(tally, cargo().args(["test", "--workspace", "--no-fail-fast"]), "tests");
}
