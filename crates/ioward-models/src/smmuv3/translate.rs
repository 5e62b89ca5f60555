//! From a request to an address: configuration, stage 1, stage 2 (IHI 0070 G.b, 3.3, 3.4, 3.9 and chapter 13).

use super::{
    cd::Cd,
    events::Fault,
    state::State,
    ste::{Ste, World},
    tlb::{Kind, Leaf, Rights, Space, Via},
    walk::{self, ADDRESS},
    walker::Part,
};
use crate::model::{Access, Request};
use ioward_spec::smmuv3::{
    cd as cd_fields,
    event::{class, id},
    registers::cr2,
    ste::{self, eats, instcfg, privcfg, s1dss},
};

/// Who wants a translation, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) via: Via,
    pub(super) access: Access,
    pub(super) privileged: bool,
    /// Hardware looks ahead: nothing is recorded and nothing in memory is changed.
    pub(super) speculative: bool,
}

impl Asker {
    pub(super) fn speculative(source: u32, substream: u32) -> Self {
        let via = Via { source, substream: Some(substream), at: 0 };
        Self { via, access: Access::Read, privileged: false, speculative: true }
    }
}

/// Why a request ends. A silent end has no fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) fault: Option<Fault>,
    pub(super) privileged: bool,
    pub(super) instruction: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) at: u64,
    /// log2 of what the translation covers.
    pub(super) bits: u8,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// A leaf with its first address and log2 of its size.
pub(super) type Hit = (u64, u8, Leaf);

/// What stage 1 gave, tagged as it is cached. [`Kind::Both`]: the result is physical though stage 2 is enabled.
struct First {
    space: Space,
    hit: Hit,
}

impl State {
    pub(super) fn e2h(&self) -> bool {
        self.features.hyp && cr2::E2H.of(self.regs.cr2.into()) == 1
    }

    /// Translates with the stream's configuration. `ats`: for a device's own cache.
    pub(super) fn translate(
        &mut self,
        request: &Request,
        ats: bool,
        speculative: bool,
    ) -> Result<Reached, End> {
        let quiet = |fault: Option<Fault>| End { fault, privileged: request.privileged, instruction: false };
        let source = request.source.0;
        let ste = self.ste(source).map_err(|fault| quiet(Some(fault)))?;
        if ste.aborts() {
            return Err(quiet(None));
        }
        let privileged = match ste.get(ste::PRIVCFG) {
            privcfg::UNPRIVILEGED => false,
            privcfg::PRIVILEGED => true,
            _ => request.privileged,
        };
        let access = match (request.access, ste.get(ste::INSTCFG)) {
            (Access::Write, _) => Access::Write,
            (_, instcfg::DATA) => Access::Read,
            (_, instcfg::INSTRUCTION) => Access::Execute,
            (access, _) => access,
        };
        let end = |fault: Fault, recorded: bool| End {
            fault: (recorded || !fault.is_translation()).then_some(fault),
            privileged,
            instruction: access == Access::Execute,
        };
        let substream = self.substream(&ste, request).map_err(|fault| end(fault, true))?;
        let via = Via { source, substream: request.pasid.map(|pasid| pasid.0), at: request.at.0 };
        let asker = Asker { via, access, privileged, speculative };
        let split = ats && ste.eats(&self.features, self.ats_checked()) == eats::SPLIT;
        let at = request.at.0;

        let first = match substream {
            None => {
                if self.beyond(at) {
                    return Err(end(Fault::first(id::F_ADDR_SIZE), true));
                }
                None
            }
            Some(substream) => {
                let records = ste.get(ste::S2R) == 1;
                let cd = self.cd(&ste, substream, &asker).map_err(|fault| end(fault, records))?;
                let records = |fault: &Fault| if fault.second { records } else { cd.get(cd_fields::R) == 1 };
                let hit = self.first_stage(&ste, &cd, &asker, at, split);
                Some(hit.map_err(|fault| end(fault, records(&fault)))?)
            }
        };
        if let Some(first) = &first
            && (first.space.kind == Kind::Both || !ste.stage2() || split)
        {
            return Ok(reached(&first.hit, at & ADDRESS, privileged));
        }
        if !ste.stage2() {
            return Ok(Reached { at, bits: 12, readable: true, writable: true });
        }
        let ipa = first.as_ref().map_or(at, |first| first.hit.2.out + ((at & ADDRESS) - first.hit.0));
        let records = ste.get(ste::S2R) == 1;
        let second = self.second_stage(&ste, ipa, &asker, class::IN).map_err(|fault| end(fault, records))?;
        let Some(First { space, hit: (start, bits, leaf) }) = first else {
            return Ok(reached(&second, ipa, privileged));
        };
        let (start, bits, leaf) =
            walk::combine(&leaf, start, bits, (second.0, second.1, &second.2), at & ADDRESS);
        if !leaf.clean {
            self.insert(Space { kind: Kind::Both, ..space }, start, bits, leaf, via);
        }
        Ok(reached(&(start, bits, leaf), at & ADDRESS, privileged))
    }

    /// The substream whose CD translates, none where stage 1 is bypassed (5.2, S1DSS; 7.3.7, 7.3.9).
    fn substream(&self, ste: &Ste, request: &Request) -> Result<Option<u32>, Fault> {
        let bits = if ste.stage1() { ste.cd_bits(&self.features) } else { 0 };
        match request.pasid {
            Some(pasid) => {
                if bits == 0 || pasid.0 >> bits != 0 {
                    return Err(Fault::config(id::C_BAD_SUBSTREAMID));
                }
                if pasid.0 == 0 && ste.default_substream() == s1dss::SSID0 {
                    return Err(Fault::config(id::F_STREAM_DISABLED));
                }
                Ok(Some(pasid.0))
            }
            None if !ste.stage1() => Ok(None),
            None if bits == 0 => Ok(Some(0)),
            None => match ste.default_substream() {
                s1dss::BYPASS => Ok(None),
                s1dss::SSID0 => Ok(Some(0)),
                _ => Err(Fault::config(id::F_STREAM_DISABLED)),
            },
        }
    }

    /// Stage 1, from caches or tables.
    fn first_stage(
        &mut self,
        ste: &Ste,
        cd: &Cd,
        asker: &Asker,
        at: u64,
        split: bool,
    ) -> Result<First, Fault> {
        let world = ste.world(&self.features, self.e2h());
        let Some(stage) = cd.stage1_walk(&self.features, world, at) else {
            return Err(Fault::first(id::F_TRANSLATION));
        };
        let vmid = if world == World::El1 { ste.vmid(&self.features) } else { 0 };
        let space = Space { kind: Kind::First, world, vmid, asid: cd.asid(world) };
        if ste.stage2() && !split {
            let both = Space { kind: Kind::Both, ..space };
            if let Some(hit) = self.lookup(both, at & ADDRESS, asker)
                && permits(&hit.2, asker)
            {
                return Ok(First { space: both, hit });
            }
        }
        let part =
            Part { stage: &stage, space, cd: Some(cd), nest: ste.stage2().then_some(ste), class: class::IN };
        let hit = self.resolve(&part, at & ADDRESS, asker)?;
        let asid = if hit.2.global { None } else { space.asid };
        Ok(First { space: Space { asid, ..space }, hit })
    }

    fn second_stage(&mut self, ste: &Ste, ipa: u64, asker: &Asker, class: u64) -> Result<Hit, Fault> {
        let stage = ste.stage2_walk(&self.features);
        let space =
            Space { kind: Kind::Second, world: World::El1, vmid: ste.vmid(&self.features), asid: None };
        let part = Part { stage: &stage, space, cd: None, nest: None, class };
        self.resolve(&part, ipa, asker)
    }

    /// The physical address of a structure or descriptor at an IPA.
    pub(super) fn through_second(
        &mut self,
        ste: &Ste,
        ipa: u64,
        asker: &Asker,
        class: u64,
    ) -> Result<u64, Fault> {
        let reader = Asker { access: Access::Read, privileged: true, ..*asker };
        let (start, _, leaf) = self.second_stage(ste, ipa, &reader, class)?;
        if leaf.device && ste.get(ste::S2PTW) == 1 {
            return Err(Fault { id: id::F_PERMISSION, second: true, class, ipa, fetch: 0 });
        }
        Ok(leaf.out + (ipa - start))
    }

    /// A translated request of a split-stage stream: stage 2 alone.
    pub(super) fn translate_second(&mut self, ste: &Ste, request: &Request) -> Result<Reached, Fault> {
        let via = Via { source: request.source.0, substream: None, at: request.at.0 };
        let asker = Asker { via, access: request.access, privileged: request.privileged, speculative: false };
        let hit = self.second_stage(ste, request.at.0, &asker, class::IN)?;
        Ok(reached(&hit, request.at.0, request.privileged))
    }

    fn lookup(&mut self, space: Space, at: u64, asker: &Asker) -> Option<Hit> {
        if self.is_poisoned(&space) {
            if !asker.speculative {
                self.wrong(
                    "IHI 0070 G.b 6.3.9.6",
                    format!("{at:#x} hits a translation cached before reset ({space:?}): CMD_TLBI_*_ALL is missing"),
                );
            }
            let all = Rights { read: [true; 2], write: [true; 2], execute: [true; 2] };
            let start = at & !0xfff;
            let leaf = Leaf {
                out: start,
                rights: all,
                clean: false,
                device: false,
                global: false,
                level: 3,
                granule: 12,
                scope: (start, 12),
            };
            return Some((start, 12, leaf));
        }
        let global = Space { asid: None, ..space };
        let found = self.tlb.leaf(&space, at).or_else(|| self.tlb.leaf(&global, at));
        found.map(|(start, bits, entry)| (start, bits, entry.value))
    }

    fn is_poisoned(&self, space: &Space) -> bool {
        let poison = &self.poison;
        let by_vmid = |clean: &Option<std::collections::BTreeSet<u16>>| {
            clean.as_ref().is_some_and(|clean| !clean.contains(&space.vmid))
        };
        match (space.kind, space.world) {
            (Kind::Second, _) => by_vmid(&poison.second),
            (_, World::El1) => by_vmid(&poison.first),
            (_, World::El2 | World::El2E2h) => poison.el2,
        }
    }

    /// One stage: a cached leaf where there is one, however stale, else a walk.
    fn resolve(&mut self, part: &Part<'_>, at: u64, asker: &Asker) -> Result<Hit, Fault> {
        let fault = |id| part.fault(id, at);
        if part.stage.second && at >> part.stage.in_bits != 0 {
            return Err(fault(id::F_TRANSLATION));
        }
        let dirties = |leaf: &Leaf| leaf.clean && asker.access == Access::Write && !asker.speculative;
        if let Some(hit) = self.lookup(part.space, at, asker) {
            if !permits(&hit.2, asker) {
                return Err(fault(id::F_PERMISSION));
            }
            if !dirties(&hit.2) {
                return Ok(hit);
            }
            self.tlb.remove_leaf(&part.space, hit.0, hit.1);
            self.tlb.remove_leaf(&Space { asid: None, ..part.space }, hit.0, hit.1);
        }
        self.walk(part, at, asker)
    }
}

pub(super) fn permits(leaf: &Leaf, asker: &Asker) -> bool {
    let who = usize::from(asker.privileged);
    match asker.access {
        Access::Read => leaf.rights.read[who],
        Access::Write => leaf.rights.write[who],
        Access::Execute => leaf.rights.execute[who],
    }
}

fn reached(hit: &Hit, at: u64, privileged: bool) -> Reached {
    let (start, bits, leaf) = hit;
    let who = usize::from(privileged);
    Reached {
        at: leaf.out + (at - start),
        bits: *bits,
        readable: leaf.rights.read[who],
        writable: leaf.rights.write[who] && !leaf.clean,
    }
}
