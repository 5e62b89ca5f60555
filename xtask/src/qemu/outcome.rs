//! What the lines of a run say, and whether that is as it should be.

use crate::tally::Tally;

/// What one run of a machine showed.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Each check's name, and why it failed if it did.
    pub checks: Vec<(String, Option<String>)>,
    /// The numbers of the last line.
    pub done: Option<(usize, usize)>,
    /// What it said of what it found: reports, and what stays off or is refused.
    pub said: Vec<String>,
    /// A panic, an end without a last line, a limit reached.
    pub broken: Option<String>,
}

impl Outcome {
    /// Takes in one line.
    pub fn line(&mut self, line: &str) {
        let mut words = line.trim_end().splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("check"), Some(name), Some("ok"), _) => self.checks.push((name.to_owned(), None)),
            (Some("check"), Some(name), Some("FAILED"), why) => {
                self.checks.push((name.to_owned(), Some(why.unwrap_or("").to_owned())));
            }
            (Some("done"), Some(passed), Some("passed"), Some(rest)) => {
                let failed = rest.split(' ').next().unwrap_or("");
                self.done = passed.parse().ok().zip(failed.parse().ok());
            }
            (Some("report" | "off" | "refused"), ..) => self.said.push(line.trim_end().to_owned()),
            (Some("PANIC" | "ERROR"), ..) => self.broken = Some(line.trim_end().to_owned()),
            _ => {}
        }
    }

    /// How many checks passed.
    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|(_, why)| why.is_none()).count()
    }

    /// The kernel's own count must be ours: no line is lost. `end`: what ended the run, if it was not the kernel.
    pub fn close(&mut self, end: Option<String>) {
        let counted = (self.passed(), self.checks.len() - self.passed());
        self.broken = self.broken.take().or(end).or_else(|| match self.done {
            None => Some("it ended without its last line".into()),
            Some(done) if done != counted => {
                Some(format!("it says {done:?} passed and failed, its lines {counted:?}"))
            }
            Some((0, 0)) => Some("it checked nothing".into()),
            Some(_) => None,
        });
    }
}

/// Everything that must be said has been.
pub fn judge_said(tally: &mut Tally, machine: &str, says: &[&str], outcome: &Outcome) {
    for words in says {
        match outcome.said.iter().any(|line| line.contains(words)) {
            true => tally.pass(1),
            false => tally.fail(format!("{machine}: it does not say `{words}`: {:?}", outcome.said)),
        }
    }
}

/// As it is, everything passes.
pub fn judge(tally: &mut Tally, machine: &str, outcome: &Outcome) {
    for (name, why) in &outcome.checks {
        match why {
            None => tally.pass(1),
            Some(why) => tally.fail(format!("{machine}: {name}: {why}")),
        }
    }
    if let Some(why) = &outcome.broken {
        tally.fail(format!("{machine}: {why}"));
    }
}

/// What the kernels say of rogue DMA that got through, and of the report that is missing then.
const GOT_THROUGH: [&str; 2] = ["Reached", "NotReported"];

/// Bypassed, every rogue check of the other run is there, and fails because the DMA gets through: a device that does not
/// move its data, or a mapping that cannot be made, shows nothing.
pub fn judge_control(tally: &mut Tally, machine: &str, outcome: &Outcome, control: &Outcome) {
    let rogue = outcome.checks.iter().filter(|(name, _)| name.starts_with("rogue-"));
    let mut count = 0;
    for (name, _) in rogue {
        count += 1;
        match control.checks.iter().find(|(other, _)| other == name) {
            Some((_, Some(why))) if GOT_THROUGH.iter().any(|start| why.starts_with(start)) => tally.pass(1),
            Some((_, Some(why))) => {
                tally.fail(format!("{machine}: control: {name} fails for another reason: {why}"));
            }
            Some((_, None)) => tally.fail(format!("{machine}: control: {name} passes without translation")),
            None => tally.fail(format!("{machine}: control: {name} was not tried")),
        }
    }
    if count == 0 {
        tally.fail(format!("{machine}: control: no rogue DMA was tried"));
    }
    if let Some(why) = &control.broken {
        tally.fail(format!("{machine}: control: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        text.lines().for_each(|line| outcome.line(line));
        outcome.close(None);
        outcome
    }

    fn failures(normal: &str, control: &str) -> usize {
        let (mut tally, normal, control) = (Tally::default(), outcome(normal), outcome(control));
        judge(&mut tally, "m", &normal);
        judge_control(&mut tally, "m", &normal, &control);
        tally.failures()
    }

    #[test]
    fn a_control_that_does_not_fail_is_an_error() {
        let good = "noise\ncheck copy ok\ncheck rogue-write ok\ndone 2 passed 0 failed\n";
        let bad = "check copy ok\ncheck rogue-write FAILED Reached\ndone 1 passed 1 failed\n";
        assert_eq!(failures(good, bad), 0);
        assert_eq!(failures(good, good), 1);
        assert_eq!(failures(bad, bad), 1);
        assert_eq!(failures(good, "done 0 passed 0 failed\n"), 2);
    }

    #[test]
    fn a_control_that_fails_for_another_reason_is_an_error() {
        let good = "check rogue-write ok\ncheck rogue-write-reported ok\ndone 2 passed 0 failed\n";
        let control = |why: &str, reported: &str| {
            failures(
                good,
                &format!(
                    "check rogue-write FAILED {why}\ncheck rogue-write-reported FAILED {reported}\ndone 0 passed 2 failed\n"
                ),
            )
        };
        assert_eq!(control("Reached", "NotReported([])"), 0);
        assert_eq!(control("Device(Timeout)", "NotReported([])"), 1);
        assert_eq!(control("Mapping(\"Reached\")", ""), 2);
    }

    #[test]
    fn what_must_be_said_is_missed() {
        let outcome = outcome("report a scope names nothing\ncheck off ok\ndone 1 passed 0 failed\n");
        let failures = |says: &[&str]| {
            let mut tally = Tally::default();
            judge_said(&mut tally, "m", says, &outcome);
            tally.failures()
        };
        assert_eq!(failures(&["names nothing"]), 0);
        // A check's line is not what it says.
        assert_eq!(failures(&["names nothing", "off ok"]), 1);
    }

    #[test]
    fn an_end_without_its_last_line_is_an_error() {
        assert!(outcome("check copy ok\n").broken.is_some());
        assert!(outcome("check copy ok\ndone 2 passed 0 failed").broken.is_some());
        assert!(outcome("check copy ok\nPANIC at x\ndone 1 passed 0 failed").broken.is_some());
        assert!(outcome("check copy ok\r\ndone 1 passed 0 failed\r\n").broken.is_none());
    }
}
