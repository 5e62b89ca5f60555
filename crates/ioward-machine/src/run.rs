//! One run: a machine is put together, isolation is proven on it, and everything is told.

use crate::{
    build,
    checks::Check,
    embedded,
    prove::{self, Progress},
    rows::{self, DeviceRow, IommuRow},
    running::{Running, UnitState},
};
use ioward::{core::Policy, types::describe::Severity};
use ioward_host::{Machine, Nothing, ReadError};
use serde::Serialize;
use std::path::Path;

/// How a run ended; the number is the program's exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every check held.
    Green = 0,
    /// A check failed.
    Failed = 1,
    /// The input is broken. Checks of what was readable held.
    Broken = 2,
    /// Nothing here can be served.
    Unserved = 3,
}

/// Something wrong with the input, or worth knowing.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// `broken`, `degraded` or `note`.
    pub severity: &'static str,
    /// File, table, offset, structure and cause.
    pub text: String,
}

/// Everything that a run has to tell. With `serde` it is the program's JSON; members are only ever added to it.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The version of this form: 1.
    pub format: u32,
    /// What was run: `embedded`, or the path.
    pub machine: String,
    /// How it ended.
    pub verdict: Verdict,
    /// The exit code.
    pub exit_code: u8,
    /// What a reader has to know about how the machine was put together.
    pub notes: Vec<String>,
    /// Its IOMMUs.
    pub iommus: Vec<IommuRow>,
    /// Its devices.
    pub devices: Vec<DeviceRow>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// What is wrong with the input, the worst first.
    pub problems: Vec<Problem>,
}

/// Runs the embedded machine.
pub fn embedded(progress: &mut dyn FnMut(Progress)) -> Outcome {
    match embedded::build(embedded::policy()) {
        Ok(running) => finish("embedded".into(), running, Vec::new(), progress),
        Err(error) => {
            let mut outcome = empty("embedded".into());
            outcome.problems.push(Problem { severity: "broken", text: error.to_string() });
            (outcome.verdict, outcome.exit_code) = (Verdict::Failed, Verdict::Failed as u8);
            outcome
        }
    }
}

/// Runs the machine that a file or directory describes.
pub fn path(path: &Path, progress: &mut dyn FnMut(Progress)) -> Outcome {
    let name = path.display().to_string();
    let broken = |errors: &[ReadError]| -> Vec<Problem> {
        let severity = |error: &ReadError| match error.needs_root() {
            true => Severity::Degraded,
            false => Severity::Broken,
        };
        errors.iter().map(|error| problem(severity(error), error.to_string())).collect()
    };
    let machine = match Machine::open(path) {
        Ok(machine) => machine,
        Err(Nothing(errors)) => {
            let (verdict, exit_code) = (Verdict::Broken, Verdict::Broken as u8);
            return Outcome { problems: broken(&errors), verdict, exit_code, ..empty(name) };
        }
    };
    let mut problems = broken(&machine.unread);
    let (running, remarks) = build::build(&machine, Policy::default());
    problems.extend(remarks.into_iter().map(|remark| problem(remark.severity, remark.text)));
    finish(name, running, problems, progress)
}

fn problem(severity: Severity, text: String) -> Problem {
    let severity = match severity {
        Severity::Broken => "broken",
        Severity::Degraded => "degraded",
        Severity::Note => "note",
    };
    Problem { severity, text }
}

fn empty(machine: String) -> Outcome {
    Outcome {
        format: 1,
        machine,
        verdict: Verdict::Green,
        exit_code: 0,
        notes: Vec::new(),
        iommus: Vec::new(),
        devices: Vec::new(),
        checks: Vec::new(),
        problems: Vec::new(),
    }
}

/// Proves isolation and sums up.
fn finish(
    machine: String,
    mut running: Running,
    mut problems: Vec<Problem>,
    progress: &mut dyn FnMut(Progress),
) -> Outcome {
    let (iommus, devices) = (rows::iommus(&running), rows::devices(&running));
    let served = running.served();
    prove::prove(&mut running, progress);
    problems.sort_by_key(|problem| match problem.severity {
        "broken" => 0,
        "degraded" => 1,
        _ => 2,
    });
    let broken = problems.iter().any(|problem| problem.severity == "broken");
    let verdict = match (running.checks.are_green(), broken, served) {
        (false, ..) => Verdict::Failed,
        (true, true, _) => Verdict::Broken,
        (true, false, 0) => Verdict::Unserved,
        (true, false, _) => Verdict::Green,
    };
    if served == 0 {
        running.notes.extend(why_nothing(&running));
    }
    let checks = running.checks.all().to_vec();
    let notes = running.notes;
    Outcome { verdict, exit_code: verdict as u8, notes, iommus, devices, checks, problems, ..empty(machine) }
}

/// Why no device is served.
fn why_nothing(running: &Running) -> Option<String> {
    if running.units.is_empty() {
        return Some("No table that was read describes an IOMMU.".into());
    }
    let kinds = |state: &dyn Fn(&UnitState) -> bool| {
        let mut kinds: Vec<&str> =
            running.units.iter().filter(|unit| state(&unit.state)).map(|unit| unit.kind.as_str()).collect();
        kinds.sort();
        kinds.dedup();
        kinds.join(", ")
    };
    let unsupported = kinds(&|state| *state == UnitState::Unsupported);
    let disabled = kinds(&|state| *state == UnitState::Disabled);
    Some(match (unsupported.is_empty(), disabled.is_empty()) {
        (false, _) => format!("Nothing here drives {unsupported}: the devices behind it are unserved."),
        (true, false) => format!("Firmware disabled every {disabled}: the devices behind it are unserved."),
        (true, true) => "No device is behind an IOMMU that runs.".into(),
    })
}
