//! What an ACS override would really do.
//!
//! `pcie_acs_override` is a patch to Linux, which some distributions apply and Linux itself has never taken. It makes the
//! kernel believe that ports and functions *without an ACS capability* isolate. Groups split, and nothing else changes:
//! no register is written, and requests go where they went before. This module says which groups would split, and which
//! of the functions that are apart then can still reach each other.

use super::{Difference, Fabric, Grouping, Linux, Policy, differences};
use crate::{Bdf, Fact, PortType, Topology, function::Ids};
use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

/// The parameter `pcie_acs_override=` of the patch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AcsOverride {
    /// `downstream`: root ports and downstream ports.
    pub downstream: bool,
    /// `multifunction`: functions of devices with several.
    pub multifunction: bool,
    /// `id:vvvv:dddd`: these devices.
    pub ids: Vec<Ids>,
}

impl AcsOverride {
    /// `downstream,multifunction`, as most people set it.
    pub const fn usual() -> Self {
        Self { downstream: true, multifunction: true, ids: Vec::new() }
    }

    /// Whether the kernel would believe that this function isolates. A row of [`crate::quirks::ACS`] comes first.
    fn covers(&self, topology: &Topology, index: usize) -> bool {
        let function = &topology.functions()[index];
        // What nobody could look into may have a capability, and then the patch leaves it alone.
        let (Fact::Present(express), Fact::Absent) = (function.express, function.acs) else { return false };
        if topology.acs_quirk(index).is_some() {
            return false;
        }
        let by_id = function.ids.is_some_and(|ids| self.ids.contains(&ids));
        by_id
            || match express.kind {
                PortType::RootPort | PortType::DownstreamPort => self.downstream,
                PortType::Endpoint
                | PortType::LegacyEndpoint
                | PortType::UpstreamPort
                | PortType::IntegratedEndpoint => self.multifunction && topology.is_multifunction(index),
                _ => false,
            }
    }
}

impl fmt::Display for AcsOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pcie_acs_override=")?;
        let mut gap = "";
        for (is_set, word) in [(self.downstream, "downstream"), (self.multifunction, "multifunction")] {
            if is_set {
                write!(f, "{gap}{word}")?;
                gap = ",";
            }
        }
        for ids in &self.ids {
            write!(f, "{gap}id:{:04x}:{:04x}", ids.vendor, ids.device)?;
            gap = ",";
        }
        Ok(())
    }
}

/// A word that is none of `downstream`, `multifunction` and `id:vvvv:dddd`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAnOverride(pub String);

impl fmt::Display for NotAnOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is none of downstream, multifunction and id:vvvv:dddd", self.0)
    }
}

impl core::error::Error for NotAnOverride {}

impl FromStr for AcsOverride {
    type Err = NotAnOverride;

    /// Reads `downstream,multifunction,id:8086:10fb`, with or without `pcie_acs_override=` before it.
    fn from_str(text: &str) -> Result<Self, NotAnOverride> {
        let mut parsed = Self::default();
        for word in text.strip_prefix("pcie_acs_override=").unwrap_or(text).split(',') {
            let ids = || {
                let (vendor, device) = word.strip_prefix("id:")?.split_once(':')?;
                let hex = |digits: &str| {
                    let plain = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    plain.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
                };
                Some(Ids { vendor: hex(vendor)?, device: hex(device)? })
            };
            match (word, ids()) {
                ("downstream", _) => parsed.downstream = true,
                ("multifunction", _) => parsed.multifunction = true,
                (_, Some(ids)) => parsed.ids.push(ids),
                _ => return Err(NotAnOverride(word.into())),
            }
        }
        Ok(parsed)
    }
}

/// What an override would do to a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OverrideEffect {
    /// The functions that the kernel would believe to isolate, ascending.
    pub believed: Vec<Bdf>,
    /// Linux's groups as they are.
    pub before: Grouping,
    /// Linux's groups with the override.
    pub after: Grouping,
    /// The groups that would split: for each, one pair for each part beyond the first.
    pub splits: Vec<Difference>,
    /// Of those pairs, the ones that the fabric still holds together, whatever the kernel believes. Where a pair is not
    /// here, the fabric policy finds the two apart as the machine is.
    pub still_reached: Vec<Difference>,
    /// The fabric's groups, whose reasons say how.
    pub fabric: Grouping,
}

/// What an override would do: `fabric` says what the hardware is taken to do.
pub fn acs_override(topology: &Topology, options: &AcsOverride, fabric: &Fabric) -> OverrideEffect {
    let mut believing = topology.clone();
    let mut believed = Vec::new();
    for index in 0..topology.functions().len() {
        if options.covers(topology, index) {
            believing.overrides.entry(index).or_default().isolates = true;
            believed.push(topology.functions()[index].at);
        }
    }
    let (before, after) = (Linux.groups(topology), Linux.groups(&believing));
    let fabric = fabric.groups(topology);
    let splits = differences(&after, &before);
    let still_reached =
        splits.iter().filter(|pair| fabric.together(pair.joined, pair.with)).copied().collect();
    OverrideEffect { believed, before, after, splits, still_reached, fabric }
}
