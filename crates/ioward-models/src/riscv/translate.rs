//! From a request to an address: device, process, first stage, MSI page table, second stage (2.3).

use super::{
    context::{DeviceContext, FirstRoot},
    state::State,
    tlb::{Leaf, Space, Stage, Via, low_bits},
    walk::Walk,
    walker::Part,
};
use crate::model::{Access, Request};
use ioward_spec::riscv::{
    device as d,
    fault::{cause, ttyp},
    process as p,
    registers::ddtp,
};

/// Who wants a translation, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) via: Via,
    pub(super) access: Access,
    /// Supervisor privilege is requested.
    pub(super) supervisor: bool,
    /// It reaches user pages (PC.ta.SUM).
    pub(super) sum: bool,
    /// Hardware looks ahead: nothing is recorded and nothing in memory is changed.
    pub(super) speculative: bool,
}

impl Asker {
    pub(super) fn speculative(device: u32, process: Option<u32>, at: u64) -> Self {
        let via = Via { device, process, at };
        Self { via, access: Access::Read, supervisor: false, sum: false, speculative: true }
    }

    pub(super) fn page_fault(&self) -> Fault {
        Fault::of(self.pick(cause::INSTRUCTION_PAGE, cause::READ_PAGE, cause::WRITE_PAGE))
    }

    pub(super) fn access_fault(&self) -> Fault {
        Fault::of(self.pick(cause::INSTRUCTION_ACCESS, cause::READ_ACCESS, cause::WRITE_ACCESS))
    }

    pub(super) fn guest_fault(&self, iotval2: u64) -> Fault {
        let cause = self.pick(cause::INSTRUCTION_GUEST_PAGE, cause::READ_GUEST_PAGE, cause::WRITE_GUEST_PAGE);
        Fault { cause, iotval2 }
    }

    fn pick(&self, execute: u64, read: u64, write: u64) -> u64 {
        match self.access {
            Access::Execute => execute,
            Access::Read => read,
            Access::Write => write,
        }
    }
}

/// Why a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) cause: u64,
    pub(super) iotval2: u64,
}

impl Fault {
    pub(super) fn of(cause: u64) -> Self {
        Self { cause, iotval2: 0 }
    }
}

/// A fault, and whether the device's context suppresses reports (DC.tc.DTF).
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) fault: Fault,
    pub(super) dtf: bool,
}

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Untranslated,
    Translated,
    /// A translation request (ATS).
    Ahead,
}

impl How {
    /// Transaction type of a fault record.
    pub(super) fn ttyp(self, access: Access) -> u64 {
        match (self, access) {
            (Self::Ahead, _) => ttyp::ATS_REQUEST,
            (Self::Untranslated, Access::Execute) => ttyp::UNTRANSLATED_EXECUTE,
            (Self::Untranslated, Access::Read) => ttyp::UNTRANSLATED_READ,
            (Self::Untranslated, Access::Write) => ttyp::UNTRANSLATED_WRITE,
            (Self::Translated, Access::Execute) => ttyp::TRANSLATED_EXECUTE,
            (Self::Translated, Access::Read) => ttyp::TRANSLATED_READ,
            (Self::Translated, Access::Write) => ttyp::TRANSLATED_WRITE,
        }
    }
}

/// An interrupt file in memory that a request is for (MRIF mode).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mrif {
    pub(super) file: u64,
    pub(super) notice: u64,
    pub(super) identity: u32,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) at: u64,
    /// log2 of what the translation covers.
    pub(super) bits: u8,
    pub(super) writable: bool,
    pub(super) mrif: Option<Mrif>,
}

/// A leaf with its first address and log2 of its size.
pub(super) type Hit = (u64, u8, Leaf);

/// Which first stage a request takes.
struct First {
    root: FirstRoot,
    pscid: u32,
}

impl State {
    /// The process to translate an IOVA (2.3).
    pub(super) fn translate(
        &mut self,
        request: &Request,
        how: How,
        speculative: bool,
    ) -> Result<Reached, End> {
        let loud = |fault: Fault| End { fault, dtf: false };
        let device = request.source.0;
        let at = request.at.0;
        match self.mode() {
            ddtp::mode::OFF => return Err(loud(Fault::of(cause::ALL_DISALLOWED))),
            ddtp::mode::BARE if how == How::Untranslated => return Ok(pass(at, 12)),
            ddtp::mode::BARE => return Err(loud(Fault::of(cause::TYPE_DISALLOWED))),
            _ => {}
        }
        if !self.device_fits(device) {
            return Err(loud(Fault::of(cause::TYPE_DISALLOWED)));
        }
        let context = self.device_context(device).map_err(loud)?;
        let dtf = context.has(d::DTF);
        self.translate_for(request, how, &context, speculative).map_err(|fault| End { fault, dtf })
    }

    fn translate_for(
        &mut self,
        request: &Request,
        how: How,
        context: &DeviceContext,
        speculative: bool,
    ) -> Result<Reached, Fault> {
        let disallowed = Err(Fault::of(cause::TYPE_DISALLOWED));
        let device = request.source.0;
        let at = request.at.0;
        if how != How::Untranslated && !context.has(d::EN_ATS) {
            return disallowed;
        }
        let levels = context.process_levels(&self.features);
        if let Some(pasid) = request.pasid {
            let bits: u32 = p::INDEX_BITS[..levels].iter().sum();
            // A Bare process directory has no width to be wider than.
            if !context.has(d::PDTV) || levels != 0 && pasid.0 >> bits != 0 {
                return disallowed;
            }
        }
        let via = Via { device, process: request.pasid.map(|pasid| pasid.0), at };
        // Requests without process_id have no privilege.
        let supervisor = request.privileged && request.pasid.is_some();
        let mut asker = Asker { via, access: request.access, supervisor, sum: false, speculative };
        let bare = First { root: FirstRoot { width: 0, root: 0 }, pscid: 0 };
        let first = if how == How::Translated {
            if !context.has(d::T2GPA) {
                return if self.beyond(at) { Err(asker.access_fault()) } else { Ok(pass(at, 12)) };
            }
            bare
        } else if !context.has(d::PDTV) {
            First { root: context.first(&self.features), pscid: context.get(d::PSCID) as u32 }
        } else {
            let process = request.pasid.map(|pasid| pasid.0).or(context.has(d::DPE).then_some(0));
            match process.filter(|_| levels != 0) {
                None => bare,
                Some(process) => {
                    let pc = self.process_context(device, context, process, &asker)?;
                    if supervisor && !pc.has(p::ENS) {
                        return disallowed;
                    }
                    asker.sum = pc.has(p::SUM);
                    First { root: pc.first(&self.features), pscid: pc.pscid() }
                }
            }
        };
        self.two_stages(context, &first, at, how, &asker)
    }

    /// Steps 17 to 20 of 2.3.
    fn two_stages(
        &mut self,
        context: &DeviceContext,
        first: &First,
        at: u64,
        how: How,
        asker: &Asker,
    ) -> Result<Reached, Fault> {
        let gscid = context.gscid(&self.features);
        let has_second = gscid.is_some();
        let gives_guest = how == How::Ahead && context.has(d::T2GPA);
        let both = Space { stage: Stage::Both, gscid, pscid: Some(first.pscid) };
        if first.root.width != 0 && has_second && !gives_guest && self.takes(context, first, at) {
            let global = Space { pscid: None, ..both };
            let found = self.tlb.leaf(&both, at).or_else(|| self.tlb.leaf(&global, at));
            if let Some(hit) = found
                && permits(&hit.2, asker)
                && (hit.2.dirty || asker.access != Access::Write)
            {
                self.note(&both, asker.access);
                return Ok(reached(&hit, at));
            }
        }
        let (first_hit, guest) = match first.root.width {
            0 => (None, at),
            _ => {
                let walk = self.first_walk(context, first);
                if !walk.takes(at) {
                    return Err(asker.page_fault());
                }
                let space = Space { stage: Stage::First, gscid, pscid: Some(first.pscid) };
                let nest = has_second.then_some(context);
                let hit = self.resolve(&Part { walk: &walk, space, nest, implicit: None }, at, asker)?;
                (Some(hit), hit.2.out + (at - hit.0))
            }
        };
        if let Some(hit) = &first_hit
            && !has_second
        {
            if self.beyond(hit.2.out) {
                return Err(asker.access_fault());
            }
            return Ok(reached(hit, at));
        }
        if !has_second {
            return if self.beyond(at) {
                Err(asker.access_fault())
            } else {
                Ok(pass(at, if how == How::Ahead { 21 } else { 12 }))
            };
        }
        if let Some(mut found) = self.msi_translate(context, guest, asker)? {
            if let Some((_, _, leaf)) = &first_hit {
                found.writable &= leaf.write && leaf.dirty;
            }
            if gives_guest && found.mrif.is_none() {
                found.at = guest;
            }
            return Ok(found);
        }
        let second = self.second_stage(context, guest, asker, None)?;
        let mut result = match first_hit {
            None => reached(&second, guest),
            Some((start, bits, leaf)) => {
                let combined = combine((start, bits, &leaf), (second.0, second.1, &second.2), at);
                let pscid = if leaf.global { None } else { both.pscid };
                if !gives_guest {
                    self.insert(Space { pscid, ..both }, combined, asker);
                }
                reached(&combined, at)
            }
        };
        if gives_guest {
            result.at = guest;
        } else if self.beyond(result.at) {
            return Err(asker.access_fault());
        }
        Ok(result)
    }

    fn takes(&self, context: &DeviceContext, first: &First, at: u64) -> bool {
        self.first_walk(context, first).takes(at)
    }

    fn first_walk(&self, context: &DeviceContext, first: &First) -> Walk {
        Walk {
            second: false,
            width: first.root.width,
            root: first.root.root,
            updates: context.has(d::SADE),
            big: context.has(d::SBE),
        }
    }

    /// A guest's physical address through the second stage. `implicit`: an access for the first stage or a directory,
    /// and whether it writes.
    pub(super) fn second_stage(
        &mut self,
        context: &DeviceContext,
        guest: u64,
        asker: &Asker,
        implicit: Option<bool>,
    ) -> Result<Hit, Fault> {
        let walk = Walk {
            second: true,
            width: context.second_width(&self.features),
            root: context.second_root(),
            updates: context.has(d::GADE),
            big: self.is_big_endian(),
        };
        let space = Space { stage: Stage::Second, gscid: context.gscid(&self.features), pscid: None };
        let part = Part { walk: &walk, space, nest: None, implicit };
        if !walk.takes(guest) {
            return Err(part.fault(guest, asker));
        }
        self.resolve(&part, guest, asker)
    }

    /// The physical address of a structure or page-table entry at a guest's physical address.
    pub(super) fn through_second(
        &mut self,
        context: &DeviceContext,
        guest: u64,
        asker: &Asker,
        writes: bool,
    ) -> Result<u64, Fault> {
        let (start, _, leaf) = self.second_stage(context, guest, asker, Some(writes))?;
        Ok(leaf.out + (guest - start))
    }

    /// One stage: a cached leaf where there is one, however stale, else a walk.
    fn resolve(&mut self, part: &Part<'_>, at: u64, asker: &Asker) -> Result<Hit, Fault> {
        if !asker.speculative {
            self.note(&part.space, asker.access);
        }
        if let Some(hit) = self.poisoned(&part.space, at, asker) {
            return Ok(hit);
        }
        let global = Space { pscid: None, ..part.space };
        let found = self.tlb.leaf(&part.space, at).map(|hit| (part.space, hit));
        let found = found.or_else(|| self.tlb.leaf(&global, at).map(|hit| (global, hit)));
        if let Some((space, hit)) = found {
            if !part.permits(&hit.2, asker) {
                return Err(part.fault(at, asker));
            }
            if hit.2.dirty || !part.writes(asker) {
                return Ok(hit);
            }
            if !part.walk.updates || asker.speculative {
                return Err(part.fault(at, asker));
            }
            self.tlb.remove_leaf(&space, hit.0, hit.1);
        }
        self.walk(part, at, asker)
    }

    /// Garbage that was cached before anybody invalidated.
    fn poisoned(&self, space: &Space, at: u64, asker: &Asker) -> Option<Hit> {
        let poison = &self.poison;
        let hit = match (space.stage, space.gscid) {
            (Stage::Second, Some(gscid)) => {
                poison.second.as_ref().is_some_and(|clean| !clean.contains(&gscid))
            }
            (_, Some(gscid)) => poison.first.as_ref().is_some_and(|clean| !clean.contains(&gscid)),
            (_, None) => {
                let pscid = space.pscid.unwrap_or(0);
                poison.host.as_ref().is_some_and(|clean| !clean.contains(&pscid))
            }
        };
        if !hit {
            return None;
        }
        if !asker.speculative {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 5.5",
                format!("{at:#x} hits a translation cached before ({space:?}): IOTINVAL is missing"),
            );
        }
        let start = at & !0xfff;
        let leaf = Leaf {
            out: start,
            read: true,
            write: true,
            execute: true,
            user: true,
            dirty: true,
            global: false,
            scope: (start, 12),
            guest: start,
        };
        Some((start, 12, leaf))
    }

    /// Keeps a leaf. What it replaces without an invalidation must have meant the same (6.3.6).
    pub(super) fn insert(&mut self, space: Space, (start, bits, leaf): Hit, asker: &Asker) {
        if self.tlb.insert_leaf(space, start, bits, leaf, asker.via).is_some() {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 6.3.6",
                format!(
                    "a translation of {start:#x} of 2^{bits} bytes replaces one of another size that is not invalidated \
                     and gives other addresses or rights ({space:?})"
                ),
            );
        }
    }
}

/// What a translation of everything to itself gives.
fn pass(at: u64, bits: u8) -> Reached {
    Reached { at, bits, writable: true, mrif: None }
}

/// Whether the first stage's leaf, or both stages' at once, allows an access.
pub(super) fn permits(leaf: &Leaf, asker: &Asker) -> bool {
    let privilege = match (asker.supervisor, leaf.user) {
        (false, user) => user,
        (true, false) => true,
        (true, true) => asker.sum && asker.access != Access::Execute,
    };
    let right = match asker.access {
        Access::Read => leaf.read,
        Access::Write => leaf.write,
        Access::Execute => leaf.execute,
    };
    privilege && right
}

/// A leaf of the first stage as the second stage's result narrows it.
fn combine(first: (u64, u8, &Leaf), second: (u64, u8, &Leaf), at: u64) -> Hit {
    let (first_start, first_bits, leaf) = first;
    let (second_start, second_bits, below) = second;
    let bits = first_bits.min(second_bits);
    let start = at & !low_bits(bits);
    let guest = leaf.out + (start - first_start);
    let combined = Leaf {
        out: below.out + (guest - second_start),
        read: leaf.read && below.read,
        write: leaf.write && below.write,
        execute: leaf.execute && below.execute,
        user: leaf.user,
        dirty: leaf.dirty && below.dirty,
        global: leaf.global,
        scope: (first_start, first_bits),
        guest,
    };
    (start, bits, combined)
}

fn reached(hit: &Hit, at: u64) -> Reached {
    let (start, bits, leaf) = hit;
    let writable = leaf.write && leaf.dirty;
    Reached { at: leaf.out + (at - start), bits: *bits, writable, mrif: None }
}
