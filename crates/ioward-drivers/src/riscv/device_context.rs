//! Device contexts (2.1.2 to 2.1.4), encoded.

use super::{
    command::{self, Command},
    entry::Words,
    msi::MsiPointer,
    plan::Walk,
    tag::{Meaning, Stage},
};
use alloc::{vec, vec::Vec};
use ioward_spec::riscv::device::{self as spec, iohgatp_mode, iosatp_mode, msiptp_mode};
use ioward_types::SourceId;

/// What requests of a source may be beside plain ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allowed {
    pub ats: bool,
    pub page_requests: bool,
}

/// A context of which nothing is read but V, which is 0. Every request is refused, translated ones too.
pub(super) const INVALID: Words = [0; 8];

pub(super) fn is_valid(context: &Words) -> bool {
    spec::V.is_set(context)
}

/// Whether translated requests are let through.
pub(super) fn has_ats(context: &Words) -> bool {
    is_valid(context) && spec::EN_ATS.is_set(context)
}

/// Whether process contexts are reached through it.
pub(super) fn has_directory(context: &Words) -> bool {
    is_valid(context) && spec::PDTV.is_set(context)
}

fn context(allowed: Allowed) -> Words {
    let mut words = INVALID;
    spec::V.set(&mut words, 1);
    spec::EN_ATS.set(&mut words, allowed.ats.into());
    spec::EN_PRI.set(&mut words, (allowed.ats && allowed.page_requests).into());
    words
}

/// Untranslated requests pass as they come; those with a process_id are refused.
pub(super) fn identity(allowed: Allowed) -> Words {
    context(allowed)
}

/// One table translates; requests with a process_id are refused.
pub(super) fn table(allowed: Allowed, walk: &Walk, id: u32, msi: Option<&MsiPointer>) -> Words {
    let mut words = context(allowed);
    match walk.stage {
        Stage::First => {
            spec::SADE.set(&mut words, walk.dirty.into());
            spec::PSCID.set(&mut words, id.into());
            spec::FSC_PPN.set(&mut words, walk.ppn);
            spec::FSC_MODE.set(&mut words, walk.mode);
        }
        Stage::Second => {
            spec::GADE.set(&mut words, walk.dirty.into());
            spec::IOHGATP_PPN.set(&mut words, walk.ppn);
            spec::GSCID.set(&mut words, id.into());
            spec::IOHGATP_MODE.set(&mut words, walk.mode);
            if let Some(msi) = msi {
                spec::MSIPTP_PPN.set(&mut words, msi.ppn);
                spec::MSIPTP_MODE.set(&mut words, msiptp_mode::FLAT);
                spec::MSI_ADDR_MASK.set(&mut words, msi.window.mask);
                spec::MSI_ADDR_PATTERN.set(&mut words, msi.window.pattern);
            }
        }
    }
    words
}

/// Two tables translate, one after the other; requests with a process_id are refused.
pub(super) fn nested(
    allowed: Allowed,
    (first, pscid): (&Walk, u32),
    (second, gscid): (&Walk, u32),
    msi: Option<&MsiPointer>,
) -> Words {
    let mut words = table(allowed, second, gscid, msi);
    spec::SADE.set(&mut words, first.dirty.into());
    spec::PSCID.set(&mut words, pscid.into());
    spec::FSC_PPN.set(&mut words, first.ppn);
    spec::FSC_MODE.set(&mut words, first.mode);
    words
}

/// What becomes of requests without a process_id where there is a process directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WithoutPasid {
    Identity,
    /// They go where process_id 0 goes: to a table, or nowhere where its context is not valid.
    AsZero,
}

/// First stages behind a process directory; `pdtp` is the directory's word.
pub(super) fn directory(allowed: Allowed, pdtp: u64, rest: WithoutPasid, dirty: bool) -> Words {
    let mut words = context(allowed);
    spec::PDTV.set(&mut words, 1);
    spec::SADE.set(&mut words, dirty.into());
    spec::DPE.set(&mut words, (rest == WithoutPasid::AsZero).into());
    words[spec::FSC_PPN.word] = pdtp;
    words
}

/// What the IOMMU reads of a context. Where that is not certain, it counts as read.
pub(super) fn used(context: &Words) -> Words {
    let mut bits = [0; 8];
    spec::V.set(&mut bits, 1);
    if !is_valid(context) {
        return bits;
    }
    bits = [u64::MAX; 8];
    if spec::PDTV.is_set(context) || spec::FSC_MODE.get(context) == iosatp_mode::BARE {
        spec::PSCID.set(&mut bits, 0);
    }
    bits
}

/// What is to be forgotten of translations after a context that was `old` has changed (6.3.1), without the context itself.
fn translations(old: &Words) -> Vec<Command> {
    if !is_valid(old) {
        return Vec::new();
    }
    if spec::IOHGATP_MODE.get(old) != iohgatp_mode::BARE {
        let gscid = spec::GSCID.get(old) as u32;
        let second = Meaning { stage: Stage::Second, id: gscid };
        return vec![command::inval_vma_guest(gscid), command::inval_tag(second)];
    }
    if spec::PDTV.is_set(old) {
        return vec![command::inval_vma_all()];
    }
    if spec::FSC_MODE.get(old) != iosatp_mode::BARE {
        let first = Meaning { stage: Stage::First, id: spec::PSCID.get(old) as u32 };
        return vec![command::inval_tag(first)];
    }
    Vec::new()
}

/// What is to be forgotten after the context of a source has gone from `old` to `new` (6.3.1). Where only V was set, there is
/// nothing: what is not valid is not cached (6.3.7).
pub(super) fn after_change(source: SourceId, old: &Words, new: &Words) -> Vec<Command> {
    if !is_valid(old) && is_valid(new) {
        return Vec::new();
    }
    let mut commands = vec![command::inval_ddt(source)];
    commands.extend(translations(old));
    commands
}

/// What is to be forgotten after the page that holds the context of a source has been replaced (6.3.1).
pub(super) fn after_replacing_the_page(old: &Words) -> Vec<Command> {
    let mut commands = vec![command::inval_ddt_all()];
    commands.extend(translations(old));
    commands
}
