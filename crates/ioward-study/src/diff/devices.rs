//! Which function of one machine is which of another.

use ioward::pci::{Bdf, Function, Topology, function::Ids};
use std::collections::BTreeMap;

/// Functions of two machines, matched.
#[derive(Debug)]
pub struct Matched {
    after: BTreeMap<Bdf, Bdf>,
    before: BTreeMap<Bdf, Bdf>,
}

/// What makes a function one of its kind: IDs, subsystem, class and number.
type Kind = (Ids, Option<Ids>, Option<u16>, u8);

fn kind(function: &Function) -> Option<Kind> {
    Some((function.ids?, function.subsystem, function.class, function.at.function()))
}

/// Whether two functions at one place may be the same: nothing that is known of both differs.
fn alike(one: &Function, other: &Function) -> bool {
    let same = |one: Option<Ids>, other: Option<Ids>| one.is_none() || other.is_none() || one == other;
    same(one.ids, other.ids)
        && (one.class.is_none() || other.class.is_none() || one.class == other.class)
        && same(one.subsystem, other.subsystem)
}

impl Matched {
    /// First what is in its place, then what is in another and the only one of its kind among the rest.
    pub fn of(old: &Topology, new: &Topology) -> Self {
        let mut matched = Self { after: BTreeMap::new(), before: BTreeMap::new() };
        for was in old.functions() {
            let is = new.find(was.at).map(|index| &new.functions()[index]);
            if is.is_some_and(|is| alike(was, is)) {
                matched.put(was.at, was.at);
            }
        }
        let left = |topology: &Topology, taken: &BTreeMap<Bdf, Bdf>| {
            let mut left: BTreeMap<Kind, Vec<Bdf>> = BTreeMap::new();
            for function in topology.functions().iter().filter(|function| !taken.contains_key(&function.at)) {
                if let Some(kind) = kind(function) {
                    left.entry(kind).or_default().push(function.at);
                }
            }
            left
        };
        let (gone, come) = (left(old, &matched.after), left(new, &matched.before));
        for (kind, was) in gone {
            if let ([was], Some([is])) = (&was[..], come.get(&kind).map(|is| &is[..])) {
                matched.put(*was, *is);
            }
        }
        matched
    }

    fn put(&mut self, before: Bdf, after: Bdf) {
        self.after.insert(before, after);
        self.before.insert(after, before);
    }

    /// Functions of both: the place in the first and that in the second.
    pub fn pairs(&self) -> impl Iterator<Item = (Bdf, Bdf)> + '_ {
        self.after.iter().map(|(&before, &after)| (before, after))
    }

    /// Where a function of the second is in the first.
    pub fn before(&self, after: Bdf) -> Option<Bdf> {
        self.before.get(&after).copied()
    }

    /// Where a function of the first is in the second.
    pub fn after(&self, before: Bdf) -> Option<Bdf> {
        self.after.get(&before).copied()
    }

    /// What the first has alone.
    pub fn removed<'a>(&'a self, old: &'a Topology) -> impl Iterator<Item = Bdf> + 'a {
        old.functions().iter().map(|function| function.at).filter(|at| !self.after.contains_key(at))
    }

    /// What the second has alone.
    pub fn added<'a>(&'a self, new: &'a Topology) -> impl Iterator<Item = Bdf> + 'a {
        new.functions().iter().map(|function| function.at).filter(|at| !self.before.contains_key(at))
    }
}
