//! Which devices cannot be told apart from a newcomer, found by its sources and not by a look at every device.

use crate::device::{DeviceId, Source};
use alloc::{collections::BTreeMap, vec::Vec};

/// Who has a source, and who joins it.
#[derive(Default)]
pub struct Near {
    owners: BTreeMap<Source, Vec<DeviceId>>,
    joiners: BTreeMap<Source, Vec<DeviceId>>,
}

impl Near {
    /// A device has these sources, and joins those.
    pub fn add(&mut self, id: DeviceId, sources: &[Source], joins: &[Source]) {
        sources.iter().for_each(|source| self.owners.entry(*source).or_default().push(id));
        joins.iter().for_each(|source| self.joiners.entry(*source).or_default().push(id));
    }

    /// It is gone: the same as was added.
    pub fn remove(&mut self, id: DeviceId, sources: &[Source], joins: &[Source]) {
        for (known, gone) in [(&mut self.owners, sources), (&mut self.joiners, joins)] {
            for source in gone {
                if let Some(ids) = known.get_mut(source) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        known.remove(source);
                    }
                }
            }
        }
    }

    /// Whoever has one of its sources or joins one, or has one that it joins; once or several times.
    pub fn of(&self, sources: &[Source], joins: &[Source]) -> impl Iterator<Item = DeviceId> {
        let known = |by: &'_ BTreeMap<Source, Vec<DeviceId>>, source: &Source| {
            by.get(source).cloned().unwrap_or_default()
        };
        let same = sources.iter().flat_map(move |source| known(&self.owners, source));
        let joined = joins.iter().flat_map(move |source| known(&self.owners, source));
        let joining = sources.iter().flat_map(move |source| known(&self.joiners, source));
        same.chain(joined).chain(joining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward_types::{IommuId, SourceId};

    fn source(number: u32) -> Source {
        (IommuId(0), SourceId(number))
    }

    fn device(index: u32) -> DeviceId {
        DeviceId { index, generation: 0 }
    }

    #[test]
    fn a_newcomer_is_near_whom_it_shares_or_joins_and_who_joins_it() {
        let mut near = Near::default();
        near.add(device(1), &[source(1)], &[]);
        near.add(device(2), &[source(2)], &[source(7)]);
        near.add(device(3), &[source(3)], &[source(8)]);
        let of = |near: &Near, sources: &[Source], joins: &[Source]| {
            let mut ids: Vec<u32> = near.of(sources, joins).map(|id| id.index).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(of(&near, &[source(1)], &[]), [1], "its source");
        assert_eq!(of(&near, &[source(7)], &[]), [2], "it is joined");
        assert_eq!(of(&near, &[source(9)], &[source(3)]), [3], "it joins");
        assert_eq!(of(&near, &[source(9)], &[source(7), source(8)]), [], "both join what neither has");
        near.remove(device(2), &[source(2)], &[source(7)]);
        assert_eq!(of(&near, &[source(7), source(2)], &[]), []);
        near.remove(device(1), &[source(1)], &[]);
        near.remove(device(3), &[source(3)], &[source(8)]);
        assert!(near.owners.is_empty() && near.joiners.is_empty());
    }
}
