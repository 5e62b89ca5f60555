//! What was checked, how often, and what did not hold.

use serde::Serialize;

/// How many failures of one check are kept in words; all are counted.
pub const KEPT: usize = 8;

/// One claim and how often it was put to the test.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// A short name that never changes, for programs.
    pub id: &'static str,
    /// The claim, for people.
    pub claim: &'static str,
    /// How often it held.
    pub held: u64,
    /// How often it did not.
    pub failed: u64,
    /// The first failures in words.
    pub failures: Vec<String>,
}

/// All checks of a run, in the order in which they were first made.
#[derive(Clone, Debug, Default)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Names a claim before it is tested, so that it is listed even where there is nothing to test.
    pub fn declare(&mut self, id: &'static str, claim: &'static str) {
        if !self.0.iter().any(|check| check.id == id) {
            self.0.push(Check { id, claim, held: 0, failed: 0, failures: Vec::new() });
        }
    }

    /// Counts one test of a declared claim. `why` is asked only where it does not hold. True if it holds.
    pub fn expect(&mut self, id: &'static str, holds: bool, why: impl FnOnce() -> String) -> bool {
        self.declare(id, "");
        let Some(check) = self.0.iter_mut().find(|check| check.id == id) else { return holds };
        if holds {
            check.held += 1;
        } else {
            check.failed += 1;
            if check.failures.len() < KEPT {
                check.failures.push(why());
            }
        }
        holds
    }

    /// Counts tests of a declared claim that were made elsewhere and held.
    pub fn held(&mut self, id: &str, times: u64) {
        if let Some(check) = self.0.iter_mut().find(|check| check.id == id) {
            check.held += times;
        }
    }

    /// The checks.
    pub fn all(&self) -> &[Check] {
        &self.0
    }

    /// One of them by its name.
    pub fn get(&self, id: &str) -> Option<&Check> {
        self.0.iter().find(|check| check.id == id)
    }

    /// Whether nothing failed.
    pub fn are_green(&self) -> bool {
        self.0.iter().all(|check| check.failed == 0)
    }

    /// How many tests were made.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|check| check.held + check.failed).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_the_first_kept() {
        let mut checks = Checks::default();
        checks.declare("own", "a claim");
        assert!(checks.are_green() && checks.count() == 0);
        assert!(checks.expect("own", true, || unreachable!("it holds")));
        for n in 0..20 {
            assert!(!checks.expect("own", false, || format!("failure {n}")));
        }
        let own = checks.get("own").unwrap();
        assert_eq!((own.held, own.failed, own.failures.len()), (1, 20, KEPT));
        assert!(!checks.are_green() && checks.count() == 21);
    }
}
