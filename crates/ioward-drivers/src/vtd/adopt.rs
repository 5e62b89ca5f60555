//! Reading what an earlier owner left: the root table of a unit that translates, and its interrupt remapping table.
//!
//! Everything comes from memory that somebody else filled and is checked: a wrong entry is not adopted, and its source
//! starts blocked like any other. An entry that passes requests through is not adopted either: what it lets a device reach
//! is everything.

use super::capability::Features;
use super::config::BringUpError;
use super::domain_id::{DomainIds, Target};
use super::forget::Forget;
use super::global_command::Unit;
use super::interrupt_remapping::InterruptTable;
use super::memory::Pair;
use super::root_table::RootTable;
use alloc::{collections::BTreeMap, vec::Vec};
use ioward_spec::vtd::{
    context::{aw, legacy, scalable},
    interrupts::{self, irte},
    pasid::{TABLE_BITS, directory, entry},
    registers::{self as spec, irta, rtaddr},
    root,
};
use ioward_types::{Mmio, Pasid, PhysAddr, Platform, SourceId};

/// How many PASID directory and table entries are looked at, all sources together; a source that needs more is not adopted.
/// Tables that somebody made to keep this busy end there.
const LOOKS: u32 = 1 << 22;

/// What an adopting bring-up found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Context entries that translate and were carried over.
    pub entries: u32,
    /// Context entries that were present and were not carried over: they pass requests through, or are malformed, or what
    /// they lead to could not be read. Their sources are blocked.
    pub stopped: u32,
    /// Interrupt remapping entries that were carried over.
    pub interrupts: u32,
}

type Memory<'a> = dyn Fn(PhysAddr) -> Option<u64> + 'a;

fn pair(memory: &Memory<'_>, at: u64) -> Option<Pair> {
    Some([memory(PhysAddr(at))?, memory(PhysAddr(at + 8))?])
}

/// What is known of one adopted entry: under which domains its translations are cached, under which domains and PASIDs,
/// and whether it lets the device cache them too, of which PASIDs.
struct Known {
    domains: Vec<u16>,
    behind: Vec<Target>,
    ats: bool,
    pasids: Vec<Pasid>,
}

/// Copies what translates into `table`, takes its domain IDs out of `domains`, and tells what each source owes.
pub(super) fn root_table<M: Mmio, P: Platform>(
    unit: &Unit<M, P>,
    features: &Features,
    memory: &Memory<'_>,
    table: &mut RootTable<P>,
    domains: &mut DomainIds,
    owed: &mut BTreeMap<u32, Vec<Forget>>,
) -> Result<Adopted, BringUpError> {
    let register = unit.registers.read64(spec::RTADDR);
    let base = rtaddr::RTA.in_place(register);
    if register == u64::MAX || base == 0 {
        return Err(BringUpError::Adopt("there is no root table"));
    }
    let mut adopted = Adopted::default();
    let mut looks = LOOKS;
    for bus in 0..root::ENTRIES as u64 {
        let unreadable = BringUpError::Adopt("the root table is not in memory");
        let words = pair(memory, base + bus * root::BYTES as u64).ok_or(unreadable)?;
        let halves = if features.scalable {
            [
                root::scalable::LP.is_set(&words).then(|| root::scalable::LCTP.get_in_place(&words)),
                root::scalable::UP.is_set(&words).then(|| root::scalable::UCTP.get_in_place(&words)),
            ]
        } else {
            [root::legacy::P.is_set(&words).then(|| root::legacy::CTP.get_in_place(&words)), None]
        };
        for (half, context) in halves.into_iter().enumerate() {
            let Some(context) = context else { continue };
            let (count, bytes) = match features.scalable {
                true => (scalable::ENTRIES, scalable::BYTES),
                false => (legacy::ENTRIES, legacy::BYTES),
            };
            for n in 0..count {
                let Some(words) = pair(memory, context + (n * bytes) as u64) else { break };
                if words[0] & 1 == 0 {
                    continue;
                }
                let source = SourceId((bus as u32) << 8 | (half * count + n) as u32);
                let known = match features.scalable {
                    true => {
                        scalable_entry(features, memory, context + (n * bytes) as u64, &words, &mut looks)
                    }
                    false => legacy_entry(features, &words),
                };
                match known {
                    Some(known) => {
                        table.fill(source, words)?;
                        let behind = known.behind.iter().map(|target| &target.domain);
                        known.domains.iter().chain(behind).for_each(|domain| domains.reserve(*domain));
                        owed.insert(source.0, debt(features, &known));
                        adopted.entries += 1;
                    }
                    None => adopted.stopped += 1,
                }
            }
        }
    }
    Ok(adopted)
}

/// What caches hold of an adopted entry, to be forgotten when its source is claimed.
fn debt(features: &Features, known: &Known) -> Vec<Forget> {
    let mut list = Vec::new();
    if features.scalable {
        list.extend([Forget::Context(0), Forget::Pasids]);
    } else {
        list.extend(known.domains.iter().map(|domain| Forget::Context(*domain)));
    }
    list.extend(known.domains.iter().map(|domain| Forget::Domain(*domain)));
    list.extend(known.behind.iter().map(|target| Forget::Behind(*target)));
    if known.ats {
        list.push(Forget::Device(None));
        list.extend(known.pasids.iter().map(|pasid| Forget::Device(Some(*pasid))));
    }
    list
}

fn has_width(features: &Features, width: u64) -> bool {
    match width {
        aw::BITS_39 => features.has_levels(3),
        aw::BITS_48 => features.has_levels(4),
        aw::BITS_57 => features.has_levels(5),
        _ => false,
    }
}

/// Whether a domain ID has no more bits than the unit has (CAP.ND): no invalidation can name one that has.
fn has_domain(features: &Features, domain: u64) -> bool {
    domain >> features.domain_bits == 0
}

/// Whether the entry is whole, legal on this hardware, and translates.
fn legacy_entry(features: &Features, words: &Pair) -> Option<Known> {
    let reserved = words.iter().zip(legacy::RESERVED).any(|(word, mask)| word & mask != 0);
    let ats = match legacy::TT.get(words) {
        legacy::tt::UNTRANSLATED => false,
        legacy::tt::DEVICE_TLB if features.device_tlb => true,
        _ => return None,
    };
    let whole = !reserved
        && has_width(features, legacy::AW.get(words))
        && has_domain(features, legacy::DID.get(words))
        && legacy::SSPTPTR.get_in_place(words) >> features.host_bits == 0;
    let domains = alloc::vec![legacy::DID.get(words) as u16];
    whole.then_some(Known { domains, behind: Vec::new(), ats, pasids: Vec::new() })
}

/// As above; every PASID behind the entry counts.
fn scalable_entry(
    features: &Features,
    memory: &Memory<'_>,
    at: u64,
    words: &Pair,
    looks: &mut u32,
) -> Option<Known> {
    let upper = pair(memory, at + 16)?;
    let all = [words[0], words[1], upper[0], upper[1]];
    let reserved = all.iter().zip(scalable::RESERVED).any(|(word, mask)| word & mask != 0);
    if reserved || scalable::DTE.is_set(words) && !features.device_tlb {
        return None;
    }
    // Requests without a PASID have entry zero of what this driver makes; what is adopted may have another.
    let entries = 1u64 << (scalable::PDTS.get(words) + 7);
    let ats = scalable::DTE.is_set(words);
    let (mut domains, mut behind, mut pasids) = (Vec::new(), Vec::new(), Vec::new());
    let base = scalable::PASIDDIRPTR.get_in_place(words);
    for index in 0..entries {
        *looks = looks.checked_sub(1)?;
        let link = memory(PhysAddr(base + index * directory::BYTES as u64))?;
        if directory::P.of(link) == 0 {
            continue;
        }
        *looks = looks.checked_sub(1 << TABLE_BITS)?;
        let table = directory::SMPTBLPTR.in_place(link);
        for n in 0..1u64 << TABLE_BITS {
            let piece = pair(memory, table + n * entry::BYTES as u64)?;
            if !entry::P.is_set(&piece) {
                continue;
            }
            if !has_domain(features, entry::DID.get(&piece)) {
                return None;
            }
            let domain = entry::DID.get(&piece) as u16;
            let pasid = (index << TABLE_BITS | n) as u32;
            let (first, second) = match entry::PGTT.get(&piece) {
                entry::pgtt::FIRST => (true, false),
                entry::pgtt::SECOND => (false, true),
                entry::pgtt::NESTED => (true, true),
                _ => return None,
            };
            if ats {
                pasids.push(Pasid(pasid));
            }
            if first {
                behind.push(Target { domain, pasid });
            }
            if second && !domains.contains(&domain) {
                domains.push(domain);
            }
        }
    }
    Some(Known { domains, behind, ats, pasids })
}

/// Copies interrupt remapping entries that are present and whole, as far as the new table reaches. What cannot be read is
/// not carried over.
pub(super) fn interrupt_table<M: Mmio, P: Platform>(
    unit: &Unit<M, P>,
    memory: &Memory<'_>,
    table: &mut InterruptTable<P>,
) -> u32 {
    let register = unit.registers.read64(spec::IRTA);
    if register == u64::MAX || (irta::EIME.of(register) != 0) != table.wide {
        // Destinations would mean something else.
        return 0;
    }
    let (base, count) = (irta::IRTA.in_place(register), 2u32 << irta::S.of(register));
    let mut adopted = 0;
    for index in 0..count.min(table.count()) {
        let Some(words) = pair(memory, base + u64::from(index) * interrupts::BYTES as u64) else { break };
        let reserved = words.iter().zip(interrupts::irte::RESERVED).any(|(word, mask)| word & mask != 0);
        // A posted entry names memory, and one that names no source is open to all.
        let whole = irte::P.is_set(&words)
            && !irte::IM.is_set(&words)
            && irte::SVT.get(&words) != irte::svt::NONE
            && !reserved;
        if whole {
            table.fill(index, words);
            adopted += 1;
        }
    }
    adopted
}
