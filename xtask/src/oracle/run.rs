//! The command: which cases, how many at a time, and what is said of them.

use super::boot::Platform;
use super::judge::{Bench, Case, Verdict};
use super::topology::Topology;
use super::{hand, initramfs, random, shrink};
use crate::debian::{self, Arch};
use crate::setup;
use crate::shell::{ask, cargo, show, target};
use crate::tally::Tally;
use std::collections::VecDeque;
use std::fs;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str = "\
cargo xtask oracle [--random N] [--seed S] [FILTER]
  --random N  so many random topologies on each of the x86-64 IOMMUs, and a quarter as many on aarch64,
              by device tree and by ACPI in turn (default 4)
  --seed S    of the random topologies (default: a fresh one, which is printed)
  FILTER      only the cases whose name, `IOMMU TOPOLOGY`, contains it
The last line is `N of M topologies exact`.";

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Options {
    random: u32,
    seed: Option<u64>,
    filter: String,
}

impl Options {
    fn read(words: &[&str]) -> Result<Self, String> {
        let mut options = Self { random: 4, seed: None, filter: String::new() };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut number = |name: &str| {
                let value = words.next().ok_or_else(|| format!("{name} needs a number"))?;
                value.parse::<u64>().map_err(|_| format!("{name} {value}: not a number"))
            };
            match word {
                "--random" => {
                    let count = number(word)?;
                    options.random =
                        u32::try_from(count).map_err(|_| format!("--random {count}: too many"))?;
                }
                "--seed" => options.seed = Some(number(word)?),
                _ if word.starts_with('-') => return Err(format!("no option {word}")),
                _ if options.filter.is_empty() => options.filter = word.to_owned(),
                _ => return Err(format!("a second filter: {word}")),
            }
        }
        Ok(options)
    }
}

/// Runs the command with the words that follow its name.
pub fn command(words: &[&str]) -> ExitCode {
    let options = match Options::read(words) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let seed = options.seed.unwrap_or_else(fresh_seed);
    println!("seed {seed}");
    let mut cases = by_hand();
    cases.extend(at_random(seed, options.random));
    cases.retain(|case| case.name().contains(&options.filter));
    let mut tally = Tally::default();
    let outcome = run(&mut tally, &cases);
    let of = cases.len();
    let exact = match outcome {
        Ok(exact) => exact,
        Err(why) => {
            println!("\n{why}");
            0
        }
    };
    println!("\n{exact} of {of} topologies exact");
    // Nothing compared is nothing shown.
    ExitCode::from(u8::from(exact != of || of == 0))
}

/// What `cargo xtask test` tries: a few from a fixed seed, a few from a fresh one, on each platform.
pub fn few(tally: &mut Tally) {
    let fresh = fresh_seed();
    println!("fresh seed: {fresh}");
    let mut cases = Vec::new();
    for (number, platform) in (0..).zip(Platform::ALL) {
        for seed in [1, fresh] {
            // A tree that this platform can show.
            let topology = (number..).map(|number| random::topology(seed, number));
            let topology = topology.into_iter().find(|topology| platform.has_room_for(topology));
            cases.extend(topology.map(|topology| Case { platform, topology }));
        }
    }
    if let Err(why) = run(tally, &cases) {
        tally.skip("oracle", why);
    }
}

fn by_hand() -> Vec<Case> {
    let mut cases = Vec::new();
    for topology in hand::all() {
        for platform in Platform::ALL.into_iter().filter(|platform| platform.has_room_for(&topology)) {
            cases.push(Case { platform, topology: topology.clone() });
        }
    }
    cases
}

fn at_random(seed: u64, count: u32) -> Vec<Case> {
    let mut cases = Vec::new();
    for number in 0..count {
        let topology = random::topology(seed, number);
        cases.push(Case { platform: Platform::Intel, topology: topology.clone() });
        cases.push(Case { platform: Platform::Amd, topology: topology.clone() });
        if number.is_multiple_of(4) {
            let tree = (number / 4).is_multiple_of(2) && Platform::SmmuTree.has_room_for(&topology);
            cases.push(Case {
                platform: if tree { Platform::SmmuTree } else { Platform::SmmuAcpi },
                topology,
            });
        }
    }
    cases
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    random::Random::new(now.as_nanos() as u64).below(1_000_000_000)
}

/// What every case needs, or what there is none of.
fn bench(cases: &[Case]) -> Result<Bench, String> {
    if !setup::has_qemu() {
        return Err("QEMU 10 is not here; `cargo xtask setup` installs it where it may".into());
    }
    let folder = target().join("oracle");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut guests = Vec::new();
    for arch in Arch::ALL.into_iter().filter(|arch| cases.iter().any(|case| case.platform.arch() == *arch)) {
        let guest = debian::guest(arch).ok_or_else(|| {
            format!(
                "Debian's kernel for {} is not here; `cargo xtask setup` fetches it where it may",
                arch.name()
            )
        })?;
        let place = folder.join(format!("initramfs-{}", arch.name()));
        initramfs::write(&guest, &place)?;
        guests.push((arch, guest, place));
    }
    show(cargo().args(["build", "--quiet", "--package", "ioward-cli"]))?;
    let lspci = ask("lspci", &["--version"]).is_some();
    if !lspci {
        println!("lspci is not here; the same machines read from its text are not compared");
    }
    Ok(Bench { program: target().join("debug/ioward"), guests, folder, lspci })
}

/// Judges all cases, as many at a time as there are processors, and tells how many are exact.
fn run(tally: &mut Tally, cases: &[Case]) -> Result<usize, String> {
    let bench = bench(cases)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let waiting: Mutex<VecDeque<&Case>> = Mutex::new(cases.iter().collect());
    let state = Mutex::new((tally, 0));
    // A worker that panicked has left nothing half done behind its lock.
    let next = || waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..workers.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let begun = Instant::now();
                    let verdict = bench.judge(case);
                    let seconds = begun.elapsed().as_secs_f32();
                    let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if let Verdict::Exact { functions, groups } = verdict {
                        println!(
                            "ok     {}: {functions} functions, {groups} groups ({seconds:.1} s)",
                            case.name()
                        );
                        state.0.pass(1);
                        state.1 += 1;
                    } else {
                        say(&bench, case, &verdict);
                        state.0.fail(format!("{}: {}", case.name(), first(&verdict)));
                    }
                    drop(state);
                    if let Verdict::Differs(_) = verdict {
                        smaller(&bench, case);
                    }
                }
            });
        }
    });
    let exact = state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).1;
    Ok(exact)
}

fn first(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Exact { .. } => "exact",
        Verdict::Differs(lines) => lines.first().map_or("differs", String::as_str),
        Verdict::Broken(why) => why,
    }
}

/// All that helps to understand a case that is not exact.
fn say(bench: &Bench, case: &Case, verdict: &Verdict) {
    println!("\n{}", case.name());
    match verdict {
        Verdict::Exact { .. } => {}
        Verdict::Differs(lines) => lines.iter().for_each(|line| println!("  {line}")),
        Verdict::Broken(why) => println!("  {why}"),
    }
    let place = bench.place(case);
    println!("  kept: {}", place.display());
    println!("  $ {}", fs::read_to_string(place.join("command")).unwrap_or_default().trim());
}

/// Looks for a smaller machine that differs, and shows it.
fn smaller(bench: &Bench, case: &Case) {
    let at = |topology: &Topology| Case { platform: case.platform, topology: topology.clone() };
    let small =
        shrink::shrink(&case.topology, |topology| matches!(bench.judge(&at(topology)), Verdict::Differs(_)));
    if small == case.topology {
        return;
    }
    // Its files are those of the last try, which need not be it.
    let small = at(&small);
    let verdict = bench.judge(&small);
    say(bench, &small, &verdict);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_are_named() {
        let read = |words: &str| Options::read(&words.split_whitespace().collect::<Vec<_>>());
        let wanted = Options { random: 40, seed: Some(1), filter: "intel".into() };
        assert_eq!(read("--random 40 --seed 1 intel"), Ok(wanted.clone()));
        assert_eq!(read("intel --seed 1 --random 40"), Ok(wanted));
        assert_eq!(read("--seed"), Err("--seed needs a number".into()));
        assert_eq!(read("--seed x"), Err("--seed x: not a number".into()));
        assert_eq!(read("--fast"), Err("no option --fast".into()));
        assert_eq!(read("a b"), Err("a second filter: b".into()));
        assert_eq!(read("--random 5000000000"), Err("--random 5000000000: too many".into()));
    }

    #[test]
    fn forty_are_forty_on_each_and_ten_on_aarch64() {
        let cases = at_random(1, 40);
        let count = |platform| cases.iter().filter(|case| case.platform == platform).count();
        assert_eq!((count(Platform::Intel), count(Platform::Amd)), (40, 40));
        assert_eq!(count(Platform::SmmuTree) + count(Platform::SmmuAcpi), 10);
        assert!(count(Platform::SmmuTree) >= 2 && count(Platform::SmmuAcpi) >= 2);
        let names: std::collections::BTreeSet<String> = cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), cases.len());
    }
}
