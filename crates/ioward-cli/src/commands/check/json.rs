//! The findings for programs; `docs/json.md` documents the shape.

use crate::commands::json::{Head, words};
use ioward_host::{
    Machine,
    check::{self, Verdict},
};
use serde::Serialize;

/// The whole document.
#[derive(Serialize)]
pub struct Document<'a> {
    #[serde(flatten)]
    head: Head,
    verdict: &'static str,
    exit_code: u8,
    findings: Vec<Finding<'a>>,
}

#[derive(Serialize)]
struct Finding<'a> {
    id: &'static str,
    severity: &'static str,
    what: &'a str,
    why: &'a str,
    remedy: &'a str,
    source: &'a str,
    devices: Vec<String>,
}

impl<'a> Document<'a> {
    /// Of a machine and what was found.
    pub fn of(machine: &Machine, findings: &'a [check::Finding], verdict: Verdict) -> Self {
        let findings = findings.iter().map(|finding| Finding {
            id: finding.id,
            severity: finding.severity.word(),
            what: &finding.what,
            why: &finding.why,
            remedy: &finding.remedy,
            source: &finding.source,
            devices: words(&finding.devices),
        });
        Self {
            head: Head::of(machine),
            verdict: match verdict {
                Verdict::Safe => "safe",
                Verdict::Unsafe => "unsafe",
                Verdict::Undecided => "undecided",
            },
            exit_code: verdict as u8,
            findings: findings.collect(),
        }
    }
}
