//! `cargo xtask cov`: what the committed fuzz corpora reach of the parsers, in lines. Other tests do not count.

use crate::{
    setup,
    shell::{ask, cargo, root, show, target},
    tally::Tally,
};
use std::fs;
use std::path::{Path, PathBuf};

/// How much of a parser the committed corpora must reach, in per cent of its lines.
const LEAST: f64 = 95.0;

/// Sources that read bytes from outside, and the test that goes through their corpora.
struct Parser {
    name: &'static str,
    package: &'static str,
    test: [&'static str; 2],
    sources: &'static [&'static str],
}

const PARSERS: [Parser; 2] = [
    Parser {
        name: "firmware tables",
        package: "ioward-firmware",
        test: ["fuzz_corpus", ""],
        sources: &["src/"],
    },
    Parser {
        name: "lspci text and configuration space",
        package: "ioward-pci",
        test: ["random", "the_committed_corpora_keep_the_promises"],
        sources: &["src/lspci/", "src/config.rs", "src/caps.rs"],
    },
];

/// `llvm-cov` and `llvm-profdata` that read what this compiler writes.
pub fn llvm_tools() -> Option<[PathBuf; 2]> {
    let version = setup::llvm_version()?;
    let tool = |name: &str| {
        let sysroot = PathBuf::from(ask("rustc", &["--print", "sysroot"])?.trim());
        let host = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
        let own = sysroot.join(format!("lib/rustlib/{host}-unknown-linux-gnu/bin/{name}"));
        let debian = PathBuf::from(format!("/usr/bin/{name}-{version}"));
        [own, debian].into_iter().find(|path| path.exists())
    };
    Some([tool("llvm-cov")?, tool("llvm-profdata")?])
}

/// Runs the parsers' tests and fuzz corpora with coverage, and holds each file's lines against the least.
pub fn run(tally: &mut Tally) {
    let Some([cov, profdata]) = llvm_tools() else {
        return tally.skip("cov", "no llvm-cov of the compiler's LLVM version is here");
    };
    if ask("cargo-llvm-cov", &["llvm-cov", "--version"]).is_none() {
        return tally.skip("cov", "cargo-llvm-cov is not here");
    }
    for Parser { name, package, test: [test, filter], sources } in PARSERS {
        let out = target().join(format!("{package}.lcov"));
        let mut command = cargo();
        command.args(["llvm-cov", "-p", package, "--test", test, "--lcov", "--output-path"]).arg(&out);
        command.args(["--", filter]);
        command.env("LLVM_COV", &cov).env("LLVM_PROFDATA", &profdata);
        command.env("CARGO_TARGET_DIR", target().join("cov"));
        if let Err(why) = show(&mut command) {
            tally.fail(format!("cov {name}: {why}"));
            continue;
        }
        let folder = root().join("crates").join(package);
        let text = fs::read_to_string(&out).unwrap_or_default();
        let (mut reached, mut all) = (0, 0);
        for (file, covered, lines) in lcov(&text) {
            let Ok(file) = Path::new(&file).strip_prefix(&folder) else { continue };
            let file = file.to_string_lossy();
            // Unit tests stand in files of their own where they are long; they are no part of the parser.
            if sources.iter().any(|part| file.starts_with(part)) && !file.ends_with("tests.rs") {
                println!("  {:5.1} %  {covered:>5} of {lines:>5}  {package}/{file}", percent(covered, lines));
                (reached, all) = (reached + covered, all + lines);
            }
        }
        let percent = percent(reached, all);
        let enough = if percent >= LEAST { Ok(()) } else { Err(format!("less than {LEAST} %")) };
        tally.check(&format!("cov {name}: corpora reach {percent:.1} % of {all} lines"), enough);
    }
}

fn percent(reached: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { reached as f64 * 100.0 / all as f64 }
}

/// Name, lines reached and lines of each file of an lcov trace.
fn lcov(text: &str) -> Vec<(String, u64, u64)> {
    let (mut files, mut name, mut reached, mut all) = (Vec::new(), "", 0, 0);
    for line in text.lines() {
        if let Some(file) = line.strip_prefix("SF:") {
            name = file;
        } else if let Some(number) = line.strip_prefix("LF:") {
            all = number.parse().unwrap_or(0);
        } else if let Some(number) = line.strip_prefix("LH:") {
            reached = number.parse().unwrap_or(0);
        } else if line == "end_of_record" {
            files.push((name.to_owned(), reached, all));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_from_a_trace() {
        let text = "SF:/a.rs\nDA:1,1\nLF:4\nLH:3\nend_of_record\nSF:/b.rs\nLF:2\nLH:0\nend_of_record\n";
        assert_eq!(lcov(text), [("/a.rs".to_owned(), 3, 4), ("/b.rs".to_owned(), 0, 2)]);
        assert_eq!(percent(0, 0), 0.0);
    }
}
