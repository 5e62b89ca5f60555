//! Whether a machine's own kernel has the groups that are computed for it.

use crate::Machine;
use ioward::pci::{Bdf, groups::Grouping};
use std::collections::BTreeMap;

/// Two functions that one has together and the other apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disagreement {
    /// A function.
    pub one: Bdf,
    /// The other.
    pub other: Bdf,
    /// The kernel has them together; else the computed groups do.
    pub kernel_joins: bool,
}

/// How the kernel's groups and the computed ones compare.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Agreement {
    /// How many groups the kernel has.
    pub groups: usize,
    /// How many functions are in them.
    pub functions: usize,
    /// Where they differ: for each group that the other side splits, one pair for each part beyond the first.
    pub differences: Vec<Disagreement>,
}

impl Agreement {
    /// Of a machine and groups that were computed for it; none where the kernel's groups are not known. Only the functions
    /// that the kernel has in a group are compared.
    pub fn of(machine: &Machine, grouping: &Grouping) -> Option<Self> {
        let kernel = machine.kernel_groups();
        if kernel.is_empty() {
            return None;
        }
        let mut differences = Vec::new();
        let mut by_ours: BTreeMap<Option<u32>, Vec<(Bdf, u32)>> = BTreeMap::new();
        for (&number, members) in &kernel {
            let ours = |at: Bdf| grouping.group_of(at).map(|group| group.id);
            differences.extend(splits(members.iter().map(|&at| (at, ours(at))), true));
            for &at in members {
                by_ours.entry(ours(at)).or_default().push((at, number));
            }
        }
        for members in by_ours.into_values() {
            differences.extend(splits(members.into_iter().map(|(at, number)| (at, Some(number))), false));
        }
        let functions = kernel.values().map(|members| members.len()).sum();
        Some(Self { groups: kernel.len(), functions, differences })
    }
}

/// One pair for each part beyond the first.
fn splits<P: Ord>(members: impl Iterator<Item = (Bdf, P)>, kernel_joins: bool) -> Vec<Disagreement> {
    let mut firsts = BTreeMap::new();
    for (at, part) in members {
        firsts.entry(part).or_insert(at);
    }
    let mut firsts: Vec<Bdf> = firsts.into_values().collect();
    firsts.sort_unstable();
    let Some((&one, rest)) = firsts.split_first() else { return Vec::new() };
    rest.iter().map(|&other| Disagreement { one, other, kernel_joins }).collect()
}
