//! A smaller machine on which the two still differ: functions are taken away one after the other, with all behind them, for
//! as long as a boot shows a difference.

use super::topology::{Node, Topology};

/// No more boots than this for one machine.
const MOST_TRIES: usize = 24;

/// Takes away what can be taken. `differs` boots a machine and tells whether the difference is still there.
pub fn shrink(topology: &Topology, mut differs: impl FnMut(&Topology) -> bool) -> Topology {
    let mut best = topology.clone();
    let mut tries = 0;
    let mut at = 0;
    while tries < MOST_TRIES {
        let mut smaller = best.clone();
        let mut skip = at;
        if !remove(&mut smaller.roots, &mut skip) {
            break;
        }
        tries += 1;
        smaller.name = format!("{}-smaller", topology.name);
        if differs(&smaller) {
            // What followed has moved up to the same place.
            best = smaller;
        } else {
            at += 1;
        }
    }
    best
}

/// Takes away the function after so many others, in the order in which QEMU is told of them. A function 0 takes its whole
/// device along, as no other is found without it.
fn remove(nodes: &mut Vec<Node>, skip: &mut usize) -> bool {
    for index in 0..nodes.len() {
        if *skip == 0 {
            let gone = nodes.remove(index);
            if gone.function == 0 {
                nodes.retain(|node| node.slot != gone.slot);
            }
            return true;
        }
        *skip -= 1;
        if remove(&mut nodes[index].below, skip) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::topology::{Acs, Endpoint, Kind};

    #[test]
    fn only_what_the_difference_needs_is_left() {
        let edu = |slot| Node::new(Kind::Endpoint(Endpoint::Plain(0)), slot);
        let port = |slot| Node::new(Kind::RootPort(Acs::Kernel), slot);
        let topology = Topology {
            name: "t".into(),
            roots: vec![
                edu(2),
                edu(2).function(1),
                port(3).with([edu(0)]),
                port(4).with([Node::new(Kind::PciePci, 0).with([edu(1), edu(2), edu(3)])]),
                edu(5),
            ],
        };
        // The difference needs the function in slot 2 behind the bridge.
        let needs = |topology: &Topology| {
            topology.roots.iter().any(|root| {
                root.below.iter().any(|bridge| {
                    bridge.kind == Kind::PciePci && bridge.below.iter().any(|node| node.slot == 2)
                })
            })
        };
        let mut boots = 0;
        let small = shrink(&topology, |topology| {
            boots += 1;
            needs(topology)
        });
        assert_eq!(small.roots, [port(4).with([Node::new(Kind::PciePci, 0).with([edu(2)])])]);
        assert!(boots <= MOST_TRIES);
        assert_eq!(shrink(&topology, |_| false), topology);
    }
}
