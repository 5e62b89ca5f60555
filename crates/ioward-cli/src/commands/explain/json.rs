//! The explanation for programs; `docs/json.md` documents the shape.

use super::study::{Study, Tied};
use crate::{
    commands::json::{Cause, Head, Verdict, words},
    show::Catalogue,
};
use ioward::pci::{AcsBits, groups::remedy};
use serde::Serialize;

/// The whole document.
#[derive(Serialize)]
pub struct Document {
    #[serde(flatten)]
    head: Head,
    policy: &'static str,
    device: String,
    name: String,
    group: Option<u32>,
    kernel_group: Option<u32>,
    unsure: bool,
    passthrough: Verdict,
    tied: Vec<JsonTied>,
    path: Vec<Bridge>,
    linux_splits: Vec<JsonTied>,
    remedies: Vec<Remedy>,
    blockers: Vec<Cause>,
    acs_override: Option<Override>,
}

#[derive(Serialize)]
struct JsonTied {
    members: Vec<String>,
    causes: Vec<Cause>,
}

#[derive(Serialize)]
struct Bridge {
    at: String,
    isolates: bool,
    acs_on: String,
    acs_off: String,
    text: String,
}

#[derive(Serialize)]
struct Remedy {
    steps: Vec<String>,
    kernel_parameters: Vec<String>,
    frees: bool,
    certain: bool,
    left: Vec<String>,
    own: Vec<String>,
    text: String,
}

#[derive(Serialize)]
struct Override {
    option: String,
    apart: Vec<String>,
    still_reached: Vec<String>,
}

impl Document {
    /// Of a device.
    pub fn of(book: &Catalogue<'_>, study: &Study) -> Self {
        let path = study.path.iter().map(|(at, isolation)| {
            let isolates = isolation.covers(AcsBits::ISOLATION);
            Bridge {
                at: at.to_string(),
                isolates,
                acs_on: (isolation.on & super::words::SHOWN).to_string(),
                acs_off: (isolation.off & super::words::SHOWN).to_string(),
                text: super::words::isolation(isolation, isolates),
            }
        });
        let advice = study.advice.as_ref();
        Self {
            head: Head::of(book.machine),
            policy: study.policy,
            device: study.device.to_string(),
            name: book.name(study.device),
            group: study.group().map(|group| group.id),
            kernel_group: book.function(study.device).and_then(|function| function.linux_group),
            unsure: study.grouping.unsure.binary_search(&study.device).is_ok(),
            passthrough: Verdict::of(study.passthrough.as_ref()),
            tied: study.tied.iter().map(tied).collect(),
            path: path.collect(),
            linux_splits: study.beyond.iter().map(tied).collect(),
            remedies: advice.map_or_else(Vec::new, |advice| advice.remedies.iter().map(one).collect()),
            blockers: advice.map_or_else(Vec::new, |advice| advice.blockers.iter().map(Cause::of).collect()),
            acs_override: study.acs_override.as_ref().map(|taken| Override {
                option: taken.option.clone(),
                apart: words(&taken.leave),
                still_reached: words(&taken.reached),
            }),
        }
    }
}

fn tied(tied: &Tied) -> JsonTied {
    JsonTied { members: words(&tied.members), causes: tied.causes.iter().map(Cause::of).collect() }
}

fn one(remedy: &remedy::Remedy) -> Remedy {
    Remedy {
        steps: words(&remedy.steps),
        kernel_parameters: remedy.steps.iter().filter_map(remedy::Step::kernel_parameter).collect(),
        frees: remedy.frees(),
        certain: remedy.is_certain(),
        left: words(&remedy.left),
        own: words(&remedy.own),
        text: remedy.to_string(),
    }
}
