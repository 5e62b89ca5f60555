//! `cargo xtask mutate …`: what is broken on purpose must be noticed.
//!
//! **Rules.** With its feature `mutate`, `ioward-core` asks `mutate::on("rule_NN_what")` at the places that make a rule
//! hold, and answers it from the environment's `IOWARD_MUTATE`: one build serves all mutations. Each must turn a test of
//! its rule (`rule_NN_…`) red, each rule must have one, and without any all must be green.
//!
//! **Commands.** Tests named `commands_…` run a driver over its model with the command that `IOWARD_DROP_COMMAND` names
//! dropped at the queue. With `IOWARD_DROP_COMMAND=list` they print, on lines of their own, `command NAME` for each
//! command that the driver issues and `redundant NAME WHY` for each that may be left out. Dropping the former must turn
//! a test red, dropping the latter must not.

use crate::{
    shell::{End, cargo, crates, root, sources, test_programs, wait},
    tally::Tally,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long one broken test program may run; one that hangs has noticed.
const LIMIT: Duration = Duration::from_secs(120);
/// Rules of domain allocation.
const RULES: usize = 16;

/// One mutation for each place that makes a rule hold.
pub fn rules(tally: &mut Tally) {
    let mut mutations = BTreeSet::new();
    let mut packages = BTreeSet::new();
    for name in crates() {
        for file in sources(&root().join("crates").join(&name)) {
            let text = fs::read_to_string(&file).unwrap_or_default();
            mutations.extend(quoted_after(&text, "mutate::on(\"").filter(|name| rule_of(name).is_some()));
            if text.contains("fn rule_") {
                packages.insert(name.clone());
            }
        }
    }
    for rule in 1..=RULES {
        if !mutations.iter().any(|name| rule_of(name) == Some(rule)) {
            tally.fail(format!("mutate rules: no mutation breaks rule_{rule:02}"));
        }
    }
    if mutations.is_empty() || packages.is_empty() {
        return;
    }
    let mut build = cargo();
    build.args(["test", "--lib", "--tests", "--features", "ioward-core/mutate"]);
    build.args(packages.iter().flat_map(|name| ["-p", name]));
    let programs = match test_programs(&mut build) {
        Ok(programs) => with_tests(programs, "rule_"),
        Err(why) => return tally.fail(format!("mutate rules: {why}")),
    };
    let green = noticed(&programs, "rule_", ("IOWARD_MUTATE", ""));
    tally.check(
        "no rule broken: tests are green",
        if green.is_empty() { Ok(()) } else { Err(green.join(", ")) },
    );
    for mutation in &mutations {
        let rule = rule_of(mutation).unwrap_or_default();
        let red = noticed(&programs, &format!("rule_{rule:02}_"), ("IOWARD_MUTATE", mutation));
        let result = if red.is_empty() { Err("no test of its rule is red".to_owned()) } else { Ok(()) };
        tally.check(&format!("{mutation} turns red: {}", red.join(", ")), result);
    }
}

/// Each command of each driver, dropped.
pub fn commands(tally: &mut Tally) {
    let mut packages = BTreeSet::new();
    for name in crates() {
        for file in sources(&root().join("crates").join(&name)) {
            if fs::read_to_string(&file).unwrap_or_default().contains("IOWARD_DROP_COMMAND") {
                packages.insert(name.clone());
            }
        }
    }
    if packages.is_empty() {
        return tally.fail("mutate commands: no test reads IOWARD_DROP_COMMAND");
    }
    let mut build = cargo();
    build.args(["test", "--tests"]);
    build.args(packages.iter().flat_map(|name| ["-p", name]));
    let programs = match test_programs(&mut build) {
        Ok(programs) => with_tests(programs, "commands_"),
        Err(why) => return tally.fail(format!("mutate commands: {why}")),
    };
    let green = noticed(&programs, "commands_", ("IOWARD_DROP_COMMAND", ""));
    tally.check(
        "no command dropped: tests are green",
        if green.is_empty() { Ok(()) } else { Err(green.join(", ")) },
    );
    let mut listed = BTreeMap::new();
    for (place, program) in programs.iter().enumerate() {
        let mut of_it = BTreeMap::new();
        let mut command = Command::new(program);
        command.args(["commands_", "--nocapture", "--test-threads=1"]).env("IOWARD_DROP_COMMAND", "list");
        if let Ok(output) = command.current_dir(root()).stdin(Stdio::null()).output() {
            commands_listed(&String::from_utf8_lossy(&output.stdout), &mut of_it);
        }
        // Commands are named after their driver, whose program alone can notice.
        listed.extend(of_it.into_iter().map(|(name, redundant)| (name, (place, redundant))));
    }
    if listed.is_empty() {
        tally.fail("mutate commands: no command is listed with IOWARD_DROP_COMMAND=list");
    }
    let wanted: Vec<(&String, usize)> = listed.iter().map(|(name, (place, _))| (name, *place)).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let found: BTreeMap<&String, Vec<String>> = std::thread::scope(|scope| {
        let work = |worker: usize| {
            let (wanted, programs) = (&wanted, &programs);
            move || {
                let own = wanted.iter().skip(worker).step_by(workers);
                let red = |name: &str, place: usize| {
                    noticed_by(worker, &programs[place..=place], "commands_", ("IOWARD_DROP_COMMAND", name))
                };
                own.map(|(name, place)| (*name, red(name, *place))).collect::<Vec<_>>()
            }
        };
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        running.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    for (name, (_, redundant)) in &listed {
        let Some(red) = found.get(name) else {
            tally.fail(format!("mutate commands: {name} was not tried"));
            continue;
        };
        match redundant {
            None => {
                let result = if red.is_empty() { Err("nothing notices".to_owned()) } else { Ok(()) };
                tally.check(&format!("without {name} turns red: {}", red.join(", ")), result);
            }
            Some(why) => {
                let result = if red.is_empty() { Ok(()) } else { Err(format!("red: {}", red.join(", "))) };
                tally.check(&format!("{name} is redundant: {why}"), result);
            }
        }
    }
}

/// The commands of a listing, each with why it may be left out, if it may.
fn commands_listed(text: &str, listed: &mut BTreeMap<String, Option<String>>) {
    // The test runner may have begun a line before the test prints: `test commands_of_smmuv3 ... command CFGI_STE`.
    for line in text.lines().map(|line| line.split(" ... ").last().unwrap_or(line)) {
        let mut words = line.trim().splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("command"), Some(name), None) => drop(listed.entry(name.to_owned()).or_insert(None)),
            (Some("redundant"), Some(name), Some(why)) => {
                drop(listed.insert(name.to_owned(), Some(why.to_owned())))
            }
            _ => {}
        }
    }
}

/// Those programs that have a test whose name contains `filter`.
fn with_tests(programs: Vec<PathBuf>, filter: &str) -> Vec<PathBuf> {
    let lists = |program: &PathBuf| {
        let output = Command::new(program).args([filter, "--list"]).stdin(Stdio::null()).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(": test"))
    };
    programs.into_iter().filter(lists).collect()
}

/// The tests whose name contains `filter` that fail in the given environment.
fn noticed(programs: &[PathBuf], filter: &str, variable: (&str, &str)) -> Vec<String> {
    noticed_by(0, programs, filter, variable)
}

/// The same, by one of several workers.
fn noticed_by(worker: usize, programs: &[PathBuf], filter: &str, (name, value): (&str, &str)) -> Vec<String> {
    let mut red = Vec::new();
    for program in programs {
        let log = program.with_extension(format!("mutated-{worker}"));
        let Ok(file) = fs::File::create(&log) else { continue };
        let mut command = Command::new(program);
        command.arg(filter).env_remove(name).env("RUST_BACKTRACE", "0").current_dir(root());
        if !value.is_empty() {
            command.env(name, value);
        }
        let Ok(mut child) = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).spawn() else {
            continue;
        };
        let end = wait(&mut child, LIMIT);
        let text = fs::read_to_string(&log).unwrap_or_default();
        let failed = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        let before = red.len();
        red.extend(failed.map(str::to_owned));
        match end {
            End::Success => {}
            End::Failure(_) if red.len() > before => {}
            End::Failure(status) => red.push(format!("({status})")),
            End::Timeout => red.push("(a test that hangs)".to_owned()),
        }
        let _ = fs::remove_file(&log);
    }
    red
}

/// `rule_07_live`: 7.
fn rule_of(name: &str) -> Option<usize> {
    let number: usize = name.strip_prefix("rule_")?.get(..2)?.parse().ok()?;
    (1..=RULES).contains(&number).then_some(number)
}

/// What stands in quotes after each `before`.
fn quoted_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(before).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_are_found_by_name() {
        let text = "if mutate::on(\"rule_02_first_member\") || mutate::on(\"rule_16\") {}";
        let names: Vec<String> = quoted_after(text, "mutate::on(\"").collect();
        assert_eq!(names, ["rule_02_first_member", "rule_16"]);
        assert_eq!(names.iter().map(|name| rule_of(name)).collect::<Vec<_>>(), [Some(2), Some(16)]);
        assert_eq!(rule_of("rule_17"), None);
    }

    #[test]
    fn a_listing_is_read_through_the_test_runner() {
        let mut listed = BTreeMap::new();
        commands_listed(
            "test commands_x ... command A\ncommand B\nredundant C 4.4.1: implied\nok\n",
            &mut listed,
        );
        assert_eq!(listed.len(), 3);
        assert_eq!(listed["C"].as_deref(), Some("4.4.1: implied"));
        assert_eq!(listed["A"], None);
    }
}
