//! One policy's groups, looked up from the drawing's side: by function.

use super::{
    Subject,
    scene::{Node, Root},
    styles::{self, Id, Style},
};
use ioward::pci::{
    Bdf,
    groups::{Group, Grouping, Reason},
};
use std::collections::{BTreeMap, BTreeSet};

/// One policy's groups, prepared for drawing.
pub struct Seen<'a> {
    /// The policy's name.
    pub name: &'a str,
    /// The groups.
    pub grouping: &'a Grouping,
    /// What each group of two or more looks like.
    pub styles: BTreeMap<Id, Style>,
    /// By function: the reasons that it is part of.
    pub reasons: BTreeMap<Bdf, Vec<&'a Reason>>,
    /// What the reasons are about: what does not keep apart what it should.
    pub culprits: BTreeSet<Bdf>,
}

impl<'a> Seen<'a> {
    /// The group of a function.
    pub fn group(&self, at: Bdf) -> Option<&'a Group> {
        self.grouping.group_of(at)
    }

    /// Whether what decides the group of a function was assumed or could not be read.
    pub fn is_unsure(&self, at: Bdf) -> bool {
        self.grouping.unsure.binary_search(&at).is_ok()
    }
}

/// Both views of a subject. A group that is the same in both looks the same in both, as far as there are styles.
pub fn both<'a>(subject: &Subject<'a>, roots: &[Root]) -> [Seen<'a>; 2] {
    let first = one(subject, roots, 0, |_| None);
    // What a group of the second view would like: the style of the group of the first view that has most of it.
    let wish = |id: Id| {
        let group = subject.views[1].grouping.groups.get(id as usize)?;
        let mut shares: BTreeMap<Id, usize> = BTreeMap::new();
        for &member in &group.members {
            if let Some(other) = first.group(member) {
                *shares.entry(other.id).or_default() += 1;
            }
        }
        let best = shares.iter().max_by_key(|(id, count)| (**count, std::cmp::Reverse(**id)))?;
        first.styles.get(best.0).copied()
    };
    let second = one(subject, roots, 1, wish);
    [first, second]
}

fn one<'a>(
    subject: &Subject<'a>,
    roots: &[Root],
    view: usize,
    wish: impl Fn(Id) -> Option<Style>,
) -> Seen<'a> {
    let super::View { name, grouping } = subject.views[view];
    let (mut reasons, mut culprits) = (BTreeMap::<Bdf, Vec<&Reason>>::new(), BTreeSet::new());
    for reason in grouping.groups.iter().flat_map(|group| &group.reasons) {
        for end in BTreeSet::from([reason.member, reason.with]) {
            reasons.entry(end).or_default().push(reason);
        }
        culprits.extend(reason.causes.iter().map(|cause| cause.subject()));
    }
    let (mut sequence, mut pairs) = (Vec::new(), Vec::new());
    let tied = |node: &Node| {
        let group = grouping.group_of(subject.topology.functions()[node.first()].at)?;
        (group.members.len() > 1).then_some(group.id)
    };
    for root in roots {
        root.nodes.iter().for_each(|node| follow(node, None, &tied, &mut sequence, &mut pairs));
    }
    let styles = styles::choose(&sequence, pairs, wish);
    Seen { name, grouping, styles, reasons, culprits }
}

/// The groups of a node and of all below it, and which of them lines join.
fn follow(
    node: &Node,
    above: Option<Id>,
    tied: &impl Fn(&Node) -> Option<Id>,
    sequence: &mut Vec<Id>,
    pairs: &mut Vec<(Id, Id)>,
) {
    let own = tied(node);
    sequence.extend(own);
    pairs.extend(above.zip(own));
    for child in node.below.iter().chain(&node.virtuals) {
        follow(child, own, tied, sequence, pairs);
    }
}
