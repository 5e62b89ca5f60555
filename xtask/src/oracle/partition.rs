//! Two divisions of functions into groups, compared: by who is with whom, not by numbers.

use std::collections::{BTreeMap, BTreeSet};

/// Groups of functions, in any order.
pub type Groups = Vec<BTreeSet<String>>;

/// How ours departs from the kernel's, over the functions that the kernel put in a group; none if it does not. One line each.
pub fn differences(kernel: &Groups, ours: &Groups) -> Vec<String> {
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, group) in ours.iter().enumerate() {
        for member in group {
            if place.insert(member, index).is_some() {
                found.push(format!("{member} is in two of our groups"));
            }
        }
    }
    let judged: BTreeSet<&str> = kernel.iter().flatten().map(String::as_str).collect();
    // Where functions of one of the kernel's groups are in ours, and the other way round.
    for group in kernel {
        let mut parts: BTreeMap<Option<usize>, Vec<&str>> = BTreeMap::new();
        for member in group {
            parts.entry(place.get(member.as_str()).copied()).or_default().push(member);
        }
        if let Some(missing) = parts.remove(&None) {
            found.push(format!("{} in a group of Linux, in none of ours", missing.join(" ")));
        }
        if parts.len() > 1 {
            let parts: Vec<String> = parts.into_values().map(|part| part.join(" ")).collect();
            found.push(format!("Linux joins {}", parts.join(" | ")));
        }
    }
    for group in ours {
        let ours: BTreeSet<&str> =
            group.iter().map(String::as_str).filter(|one| judged.contains(one)).collect();
        let parts: Vec<String> = kernel
            .iter()
            .map(|group| {
                group.iter().map(String::as_str).filter(|one| ours.contains(one)).collect::<Vec<_>>()
            })
            .filter(|part| !part.is_empty())
            .map(|part| part.join(" "))
            .collect();
        if parts.len() > 1 {
            found.push(format!("we join {}", parts.join(" | ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(text: &str) -> Groups {
        text.split('|').map(|group| group.split_whitespace().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn numbers_and_order_do_not_matter_and_strangers_are_ours_alone() {
        assert_eq!(differences(&groups("a b|c"), &groups("c|b a")), [""; 0]);
        assert_eq!(differences(&groups("a b|c"), &groups("z c|b a|y x")), [""; 0]);
    }

    #[test]
    fn a_moved_a_missing_and_a_doubled_function_are_noticed() {
        assert_eq!(differences(&groups("a b|c"), &groups("a|b c")), ["Linux joins a | b", "we join b | c"]);
        assert_eq!(differences(&groups("a b|c"), &groups("a|b|c")), ["Linux joins a | b"]);
        assert_eq!(differences(&groups("a|b"), &groups("a b")), ["we join a | b"]);
        assert_eq!(differences(&groups("a b"), &groups("a")), ["b in a group of Linux, in none of ours"]);
        assert_eq!(differences(&groups("a"), &groups("a|a")), ["a is in two of our groups"]);
    }
}
