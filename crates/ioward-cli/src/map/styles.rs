//! A colour and a pattern for each group of two or more. A group of one has none: it is tied to nothing.
//!
//! Colours are those that Okabe and Ito chose so that people with any kind of colour vision can tell them apart (Color
//! Universal Design, 2008), without black. Patterns tell groups apart where there are more than colours, and on paper.

use std::collections::{BTreeMap, BTreeSet};

/// How many colours there are.
pub const COLOURS: u8 = 7;
/// How many patterns there are, the plain surface among them.
pub const PATTERNS: u8 = 6;
/// Groups are neighbours where so few nodes of groups lie between them.
const NEAR: usize = 3;

/// What a group looks like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Style {
    /// 0 to 6.
    pub colour: u8,
    /// 0 to 5; 0 is plain.
    pub pattern: u8,
}

/// A group as it lies in the drawing.
pub type Id = u32;

/// Chooses styles. `sequence` names the group of each node from top to bottom, of groups of two or more only; `pairs` are
/// groups that lines join; `wish` is what a group would like best.
///
/// Neighbours differ in colour as long as a group has fewer than seven of them, and in style as long as it has fewer than
/// 42. No style is used twice before all are used.
pub fn choose(
    sequence: &[Id],
    pairs: impl IntoIterator<Item = (Id, Id)>,
    wish: impl Fn(Id) -> Option<Style>,
) -> BTreeMap<Id, Style> {
    let mut near: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut join = |one: Id, other: Id| {
        if one != other {
            near.entry(one).or_default().insert(other);
            near.entry(other).or_default().insert(one);
        }
    };
    for (place, &id) in sequence.iter().enumerate() {
        sequence[place + 1..].iter().take(NEAR).for_each(|&next| join(id, next));
    }
    pairs.into_iter().for_each(|(one, other)| join(one, other));

    let mut chosen: BTreeMap<Id, Style> = BTreeMap::new();
    let mut used: BTreeMap<Style, u32> = BTreeMap::new();
    let mut order: Vec<Id> = Vec::new();
    let mut seen = BTreeSet::new();
    order.extend(sequence.iter().copied().filter(|&id| seen.insert(id)));
    // Who has a wish comes first, so that nobody takes it away.
    order.sort_by_key(|&id| wish(id).is_none());
    for id in order {
        let around: BTreeSet<Style> =
            near.get(&id).into_iter().flatten().filter_map(|other| chosen.get(other).copied()).collect();
        let colours: BTreeSet<u8> = around.iter().map(|style| style.colour).collect();
        let wished = wish(id).filter(|style| !used.contains_key(style));
        let best = wished.unwrap_or_else(|| {
            all()
                .min_by_key(|style| {
                    let times = used.get(style).copied().unwrap_or(0);
                    (around.contains(style), times, colours.contains(&style.colour), style.pattern)
                })
                .unwrap_or(Style { colour: 0, pattern: 0 })
        });
        *used.entry(best).or_default() += 1;
        chosen.insert(id, best);
    }
    chosen
}

fn all() -> impl Iterator<Item = Style> {
    (0..PATTERNS).flat_map(|pattern| (0..COLOURS).map(move |colour| Style { colour, pattern }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ_in_colour_and_no_style_comes_twice_before_all_are_used() {
        let sequence: Vec<Id> = (0..42).collect();
        let styles = choose(&sequence, [(0, 41)], |_| None);
        let distinct: BTreeSet<Style> = styles.values().copied().collect();
        assert_eq!(distinct.len(), 42);
        for pair in sequence.windows(2) {
            assert_ne!(styles[&pair[0]].colour, styles[&pair[1]].colour, "{pair:?}");
        }
        assert_ne!(styles[&0].colour, styles[&41].colour);
        assert!((0..7).all(|id| styles[&id].pattern == 0), "patterns are for when colours have run out");
    }

    #[test]
    fn beyond_all_styles_neighbours_still_differ() {
        let sequence: Vec<Id> = (0..500).collect();
        let styles = choose(&sequence, [], |_| None);
        for (place, id) in sequence.iter().enumerate() {
            for next in sequence[place + 1..].iter().take(NEAR) {
                assert_ne!(styles[id], styles[next], "{id} {next}");
            }
        }
    }

    #[test]
    fn a_wish_is_kept_and_given_once() {
        let style = Style { colour: 5, pattern: 2 };
        let styles = choose(&[1, 2, 3], [], |id| (id != 2).then_some(style));
        assert_eq!(styles[&1], style);
        assert_ne!(styles[&3], style);
    }
}
