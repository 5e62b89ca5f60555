//! What passed, what failed, and what could not be tried.

use std::process::ExitCode;

/// Counts as it goes; says each failure when it happens and again at the end.
#[derive(Default)]
pub struct Tally {
    passed: u64,
    failed: Vec<String>,
    skipped: Vec<(String, String)>,
}

impl Tally {
    /// So many checks passed.
    pub fn pass(&mut self, count: u64) {
        self.passed += count;
    }

    /// One check failed.
    pub fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("FAILED {what}");
        self.failed.push(what);
    }

    /// One check passed or failed.
    pub fn check(&mut self, what: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                println!("ok     {what}");
                self.pass(1);
            }
            Err(why) => self.fail(format!("{what}: {why}")),
        }
    }

    /// Something was not tried. Where `CI` is `true`, that is a failure: what CI cannot do it must be given.
    pub fn skip(&mut self, what: &str, why: impl Into<String>) {
        let why = why.into();
        println!("SKIP   {what}: {why}");
        self.skipped.push((what.into(), why));
    }

    /// Whether all is well so far.
    pub fn failures(&self) -> usize {
        self.failed.len()
    }

    /// Prints what failed and was skipped, and `N passed, M failed` last.
    pub fn finish(mut self) -> ExitCode {
        println!();
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            for (what, why) in std::mem::take(&mut self.skipped) {
                self.failed.push(format!("{what}: skipped, which CI may not: {why}"));
            }
        }
        for (what, why) in &self.skipped {
            println!("skipped: {what}: {why}");
        }
        for what in &self.failed {
            println!("failed: {what}");
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
        ExitCode::from(u8::from(!self.failed.is_empty()))
    }
}
