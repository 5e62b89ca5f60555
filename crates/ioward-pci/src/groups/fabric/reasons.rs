//! From ties to groups, and from the ties that made a group to reasons that hold.

use super::ties::Tie;
use crate::{
    Topology,
    groups::{Cause, Reason},
    topology::{Index, is_iommu},
};
use alloc::{vec, vec::Vec};

/// Sets that can be joined.
struct Sets(Vec<Index>);

impl Sets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut index: Index) -> Index {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    /// Joins two sets, the lower root staying; whether they were two.
    fn join(&mut self, one: Index, other: Index) -> bool {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
        one != other
    }
}

/// Beyond so many ties in a group, reasons are not searched for what else would keep two members together.
const SEARCHED: usize = 64;

/// Groups in the order of their first functions, and reasons.
pub(super) fn join(topology: &Topology, ties: Vec<Tie>) -> (Vec<Option<u32>>, Vec<Reason>) {
    let count = topology.functions().len();
    let mut sets = Sets::new(count);
    // What each tie joined that was apart: a function of either side.
    let mut joined: Vec<(usize, Index, Index)> = Vec::new();
    for (number, tie) in ties.iter().enumerate() {
        let first = tie.members[0];
        for &member in &tie.members[1..] {
            if sets.join(first, member) {
                joined.push((number, member, first));
            }
        }
    }
    let mut group_of = vec![None; count];
    let mut next = 0;
    for index in 0..count {
        let root = sets.root(index);
        if is_iommu(&topology.functions()[index]) {
            continue;
        }
        // The root is the lowest of its set, so it has its number by now.
        if root == index {
            group_of[index] = Some(next);
            next += 1;
        } else {
            group_of[index] = group_of[root];
        }
    }
    let mut of_group: Vec<Vec<usize>> = vec![Vec::new(); next as usize];
    for (number, tie) in ties.iter().enumerate() {
        if let Some(group) = group_of[tie.members[0]] {
            of_group[group as usize].push(number);
        }
    }
    let at = |index: Index| topology.functions()[index].at;
    let mut reasons = Vec::with_capacity(joined.len());
    for (number, member, with) in joined {
        let mut causes = ties[number].causes.clone();
        let group = group_of[member].map_or(&[][..], |group| &of_group[group as usize][..]);
        if group.len() > 1 && group.len() <= SEARCHED {
            complete(&ties, group, member, with, &mut causes);
        }
        reasons.push(Reason { member: at(member), with: at(with), causes });
    }
    (group_of, reasons)
}

/// Adds causes until nothing is left that keeps the two together.
fn complete(ties: &[Tie], group: &[usize], member: Index, with: Index, causes: &mut Vec<Cause>) {
    loop {
        let left: Vec<&Tie> = group
            .iter()
            .map(|&number| &ties[number])
            .filter(|tie| tie.causes.iter().any(|cause| !causes.contains(cause)))
            .collect();
        // From the member outwards: which ties are reached, and through which.
        let mut reached = vec![member];
        let mut used: Vec<(usize, Option<usize>)> = Vec::new();
        let mut through: Vec<Option<usize>> = vec![None];
        let mut at = 0;
        while at < reached.len() && reached[at] != with {
            for (number, tie) in left.iter().enumerate() {
                let fresh = !used.iter().any(|&(other, _)| other == number);
                if fresh && tie.members.binary_search(&reached[at]).is_ok() {
                    used.push((number, through[at]));
                    for &next in &tie.members {
                        if !reached.contains(&next) {
                            reached.push(next);
                            through.push(Some(used.len() - 1));
                        }
                    }
                }
            }
            at += 1;
        }
        if at == reached.len() {
            return;
        }
        // The last tie on the way is given up.
        let Some(last) = through[at] else { return };
        let more: Vec<Cause> =
            left[used[last].0].causes.iter().filter(|cause| !causes.contains(cause)).copied().collect();
        causes.extend(more);
    }
}
