//! From ties to groups, and from the ties that made a group to reasons that hold.

use super::ties::Tie;
use crate::{
    Topology,
    groups::{Cause, Reason},
    topology::{Index, is_iommu},
};
use alloc::{collections::BTreeMap, vec, vec::Vec};

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

/// Beyond so many ties in a group, reasons are not searched for what else would keep two members together: no machine
/// has so many, and the search is not linear.
const SEARCHED: usize = 4096;

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
    let mut of_group = vec![0; next as usize];
    for tie in &ties {
        if let Some(group) = group_of[tie.members[0]] {
            of_group[group as usize] += 1;
        }
    }
    let mut search = Search::new(&ties, count);
    let at = |index: Index| topology.functions()[index].at;
    let mut reasons = Vec::with_capacity(joined.len());
    for (number, member, with) in joined {
        let others = group_of[member].map_or(0, |group| of_group[group as usize]);
        let causes = if (2..=SEARCHED).contains(&others) {
            search.complete(member, with, number)
        } else {
            ties[number].causes.clone()
        };
        reasons.push(Reason { member: at(member), with: at(with), causes });
    }
    (group_of, reasons)
}

/// Looks for what keeps two functions together.
struct Search<'a> {
    ties: &'a [Tie],
    /// By tie: its causes, numbered so that equal ones have one number.
    causes: Vec<Vec<u32>>,
    /// By function: the ties that it is in.
    ties_of: Vec<Vec<usize>>,
    /// By function and by tie: the last round that met it.
    met: Vec<u32>,
    used: Vec<u32>,
    round: u32,
    /// By cause: the last pair that gave it up.
    given_up: Vec<u32>,
    pair: u32,
}

impl<'a> Search<'a> {
    fn new(ties: &'a [Tie], count: usize) -> Self {
        let mut ties_of = vec![Vec::new(); count];
        let mut numbers = BTreeMap::new();
        let mut causes = Vec::with_capacity(ties.len());
        for (number, tie) in ties.iter().enumerate() {
            tie.members.iter().for_each(|&member| ties_of[member].push(number));
            let mut number_of = |cause: &Cause| {
                let next = numbers.len() as u32;
                *numbers.entry(cause.key()).or_insert(next)
            };
            causes.push(tie.causes.iter().map(&mut number_of).collect());
        }
        let given_up = vec![0; numbers.len()];
        Self {
            ties,
            causes,
            ties_of,
            met: vec![0; count],
            used: vec![0; ties.len()],
            round: 0,
            given_up,
            pair: 0,
        }
    }

    /// The causes of a tie that joins two functions, and those of every other that keeps them together.
    fn complete(&mut self, member: Index, with: Index, tie: usize) -> Vec<Cause> {
        self.pair += 1;
        let mut causes = Vec::new();
        let mut next = Some(tie);
        // Ends: each round gives up all causes of a tie that was left, so that it is not left in the next.
        while let Some(tie) = next {
            for (&number, cause) in self.causes[tie].iter().zip(&self.ties[tie].causes) {
                if core::mem::replace(&mut self.given_up[number as usize], self.pair) != self.pair {
                    causes.push(*cause);
                }
            }
            next = self.connect(member, with);
        }
        causes
    }

    /// The last tie on a way from one to the other that leaves out the ties of which every cause is given up.
    fn connect(&mut self, from: Index, to: Index) -> Option<usize> {
        self.round += 1;
        let mut open = vec![from];
        self.met[from] = self.round;
        while let Some(function) = open.pop() {
            for &number in &self.ties_of[function] {
                if core::mem::replace(&mut self.used[number], self.round) == self.round {
                    continue;
                }
                if self.causes[number].iter().all(|&cause| self.given_up[cause as usize] == self.pair) {
                    continue;
                }
                for &next in &self.ties[number].members {
                    if next == to {
                        return Some(number);
                    }
                    if core::mem::replace(&mut self.met[next], self.round) != self.round {
                        open.push(next);
                    }
                }
            }
        }
        None
    }
}
