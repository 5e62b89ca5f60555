//! What is shown of a machine: a row for each IOMMU and each device.

use crate::running::{Member, Running, UnitState};
use ioward::{
    core::{DomainInfo, Source, Status, driver::Plan},
    types::Format,
};
use serde::Serialize;

/// An IOMMU.
#[derive(Clone, Debug, Serialize)]
pub struct IommuRow {
    /// Its number, by which sources name it.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// The table that describes it, and the offset there.
    pub described: String,
    /// `translates`, `unsupported`, `disabled` or `failed`.
    pub state: &'static str,
    /// Why it failed.
    pub why: Option<String>,
}

/// A device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceRow {
    /// Its name.
    pub name: String,
    /// What its requests carry, each with the number of the IOMMU that sees it.
    pub sources: Vec<SourceRow>,
    /// The number of its group; none where it has no IOMMU.
    pub group: Option<String>,
    /// `served`, `waiting`, `refused` or `unserved`.
    pub status: &'static str,
    /// What requests of its group without a PASID go through: `paging`, `identity`, `blocked`, `foreign`, or `none`.
    pub domain: &'static str,
    /// The tables that its own IOMMUs walk, as `format input->output` in address bits.
    pub formats: Vec<String>,
    /// The PASID bits that it was granted.
    pub pasid_bits: u8,
    /// Why this format, or why it is not served.
    pub why: String,
}

/// A source together with its IOMMU.
#[derive(Clone, Debug, Serialize)]
pub struct SourceRow {
    /// The IOMMU's number.
    pub iommu: u32,
    /// Requester ID or stream ID.
    pub source: u32,
}

/// A row for each IOMMU.
pub fn iommus(running: &Running) -> Vec<IommuRow> {
    let row = |unit: &crate::running::Unit| {
        let (state, why) = match &unit.state {
            UnitState::Runs => ("translates", None),
            UnitState::Unsupported => ("unsupported", None),
            UnitState::Disabled => ("disabled", None),
            UnitState::Failed(why) => ("failed", Some(why.clone())),
        };
        let (name, kind, described) = (unit.name.clone(), unit.kind.clone(), unit.described.clone());
        IommuRow { id: unit.id.0, name, kind, described, state, why }
    };
    running.units.iter().map(row).collect()
}

/// A row for each device.
pub fn devices(running: &Running) -> Vec<DeviceRow> {
    running.members.iter().map(|member| device(running, member)).collect()
}

fn device(running: &Running, member: &Member) -> DeviceRow {
    let info = member.group().and_then(|group| running.rig.subsystem.group(group));
    let own = |source: &Source| member.sources.contains(source);
    let mut formats: Vec<String> = Vec::new();
    let (mut shapes, mut requests) = (Vec::new(), false);
    let mut domain = "none";
    for (source, what) in info.iter().flat_map(|info| &info.domains).filter(|(source, _)| own(source)) {
        let config = match what {
            DomainInfo::Blocked => {
                domain = "blocked";
                continue;
            }
            DomainInfo::Identity => {
                domain = "identity";
                continue;
            }
            DomainInfo::Foreign(config) => {
                domain = "foreign";
                *config
            }
            DomainInfo::Paging(plan) => {
                domain = "paging";
                match plan {
                    Plan::Tables(config) => *config,
                    Plan::Requests { addr_bits, .. } => {
                        let text = format!("requests, {addr_bits} bits");
                        if !formats.contains(&text) {
                            formats.push(text);
                            requests = true;
                        }
                        continue;
                    }
                }
            }
        };
        let text = config.to_string();
        if !formats.contains(&text) {
            formats.push(text);
            shapes.push((source.0, config.format));
        }
    }
    let status = member.status();
    let (label, why) = match status {
        None => ("refused", member.why.clone().unwrap_or_default()),
        Some(Status::Refused(error)) => ("refused", error.to_string()),
        Some(Status::Waiting(iommu)) => ("waiting", format!("IOMMU {iommu} is not up")),
        Some(Status::Unserved) => {
            ("unserved", member.why.clone().unwrap_or_else(|| "it has no IOMMU; no driver may bind".into()))
        }
        Some(Status::Served) if domain == "blocked" => ("served", "the policy blocks its group".to_owned()),
        Some(Status::Served) => ("served", why(running, member, &shapes, requests)),
    };
    DeviceRow {
        name: member.name.clone(),
        sources: member
            .sources
            .iter()
            .map(|(iommu, source)| SourceRow { iommu: iommu.0, source: source.0 })
            .collect(),
        group: member.group().map(|group| group.to_string()),
        status: label,
        domain,
        formats,
        pasid_bits: member.pasid().unwrap_or(0),
        why,
    }
}

/// Why a group's tables have the format that they have.
fn why(
    running: &Running,
    member: &Member,
    shapes: &[(ioward::types::IommuId, Format)],
    requests: bool,
) -> String {
    let group = member.group();
    let served = |other: &&Member| other.group() == group && other.status() == Some(Status::Served);
    let peers = || running.members.iter().filter(served);
    let with_pasids = peers().find(|other| other.pasid().is_ok_and(|bits| bits > 0));
    let mut reasons: Vec<String> = Vec::new();
    if requests {
        reasons.push("its IOMMU has no tables".to_owned());
    }
    for (iommu, format) in shapes {
        let no_stage2 = running.unit(*iommu).is_some_and(|unit| unit.traits.no_stage2);
        let first =
            matches!(format, Format::ArmStage1 | Format::AmdV2 | Format::VtdFirst | Format::RiscvFirst);
        let second = !first;
        let reason = match (format, with_pasids) {
            (_, Some(other)) if first && std::ptr::eq(other, member) => "it has PASIDs".to_owned(),
            (_, Some(other)) if first => {
                format!("{} has PASIDs", other.name)
            }
            (Format::ArmStage1, None) if no_stage2 => "the SMMU has no stage 2".to_owned(),
            (_, _) if second => "no PASIDs needed".to_owned(),
            (other, _) => format!("{other} is what its IOMMU offers"),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let mut units: Vec<_> = peers().flat_map(|peer| peer.sources.iter().map(|source| source.0)).collect();
    units.sort();
    units.dedup();
    if units.len() > 1 {
        reasons.push(format!("group spans {} IOMMUs", units.len()));
    }
    reasons.join("; ")
}
