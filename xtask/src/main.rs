//! `cargo xtask …`: tests, QEMU runs, mutation, fuzzing, coverage, and what they need.
//!
//! Standard library only, so that it builds in seconds on a fresh machine.

mod bench;
mod browser;
mod compare;
mod cov;
mod debian;
mod fuzz;
mod grow;
#[cfg(test)]
mod hardware;
mod json;
mod kernels;
mod mutate;
mod oracle;
mod plot;
#[cfg(test)]
mod porting;
mod qemu;
mod queues;
mod runs;
mod sanitize;
mod setup;
mod shell;
mod soak;
mod tally;
mod test;
mod threads;

use std::process::ExitCode;
use tally::Tally;

const USAGE: &str = "\
cargo xtask COMMAND
  setup             installs what the other commands need, or says what it may not and why
  test              everything that is tested; ends with `N passed, M failed`
  lint              formatting, and clippy of everything, kernels for their own targets included
  qemu [FILTER]     runs the kernels on QEMU's machines: those whose name contains FILTER
  oracle …          Debian's kernel on QEMU's machines, made by hand and at random: its groups must be ours
  compare [FILTER]  an NVMe load under Debian's Linux and under our kernel, in instructions: the ways whose name contains it
  bench [FOLDER]    page tables and IOVAs by themselves, and beside Linux's where a harness is; not part of `test`
  grow              how cost grows with mappings, domains and devices: plots and tables; not part of `test`
  runs              the program on the embedded machine and on a corpus of tables
  browser           the pages that the program draws, opened in Chromium and used
  mutate rules      breaks each rule of domain allocation in turn; its test must notice
  mutate commands   drops each command that a driver issues in turn; a test must notice
  fuzz [SECONDS]    runs every fuzz target for so long (default 20)
  soak [SECONDS]    maps and unmaps at random behind every IOMMU for so long (default 600)
  loom              explores the interleavings of the concurrent code
  asan              runs the tests of code with raw memory under AddressSanitizer
  miri              runs them under Miri, where that is installed
  cov               holds the line coverage of the parsers against 95 %";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut tally = Tally::default();
    match words[..] {
        ["setup"] => setup::run(&mut tally),
        ["test"] => test::run(&mut tally),
        ["lint"] => test::lint(&mut tally),
        ["qemu"] => qemu::run(&mut tally, ""),
        ["qemu", filter] => qemu::run(&mut tally, filter),
        // Its last line is its own.
        ["oracle", ref words @ ..] => return oracle::command(words),
        ["compare"] => compare::run(&mut tally, ""),
        ["compare", filter] => compare::run(&mut tally, filter),
        ["bench"] => bench::run(&mut tally, None),
        ["bench", folder] => bench::run(&mut tally, Some(folder)),
        ["grow"] => grow::run(&mut tally),
        ["runs"] => runs::run(&mut tally),
        ["browser"] => browser::run(&mut tally),
        ["mutate", "rules"] => mutate::rules(&mut tally),
        ["mutate", "commands"] => mutate::commands(&mut tally),
        ["fuzz"] => fuzz::run(&mut tally, 20),
        ["fuzz", seconds] if seconds.parse::<u32>().is_ok() => {
            fuzz::run(&mut tally, seconds.parse().unwrap_or(20));
        }
        ["soak"] => soak::run(&mut tally, 600),
        ["soak", seconds] if seconds.parse::<u64>().is_ok() => {
            soak::run(&mut tally, seconds.parse().unwrap_or(600));
        }
        ["loom"] => sanitize::loom(&mut tally),
        ["asan"] => sanitize::asan(&mut tally),
        ["miri"] => sanitize::miri(&mut tally),
        ["cov"] => cov::run(&mut tally),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    tally.finish()
}
