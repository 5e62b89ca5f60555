//! What becomes of a request (3.4, 3.14).

use super::{
    cache::{Leaf, Space},
    fault::{Fault, Stop, is_quiet_ahead},
    meaning::{First, PasidTables, SourceMeaning, Translation},
    unit::Unit,
};
use crate::{Access, Outcome, Request};
use ioward_spec::vtd::{
    fault::{reason, record::at},
    interrupts,
    registers::{PHMBASE, PHMLIMIT, PLMBASE, PLMLIMIT, gsts, pmen, rtaddr::ttm},
};
use ioward_types::PhysAddr;

/// Where garbage in a cache leads: no memory is there.
const NOWHERE: u64 = 0x000d_ead0_0000_0000;

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Untranslated,
    /// ATS: the translation itself is wanted.
    Ahead,
    /// ATS: the address is translated already.
    Translated,
}

impl Kind {
    fn address_type(self) -> u64 {
        match self {
            Self::Untranslated => at::UNTRANSLATED,
            Self::Ahead => at::TRANSLATION,
            Self::Translated => at::TRANSLATED,
        }
    }
}

impl Unit {
    pub fn request(&mut self, request: &Request, kind: Kind) -> Outcome {
        let interrupt = request.pasid.is_none() && interrupts::RANGE.contains(&request.at.0);
        if interrupt {
            // Only untranslated writes are interrupts (3.14).
            let write = kind == Kind::Untranslated && request.access == Access::Write;
            return if write { Outcome::Interrupt } else { Outcome::Aborted };
        }
        if !self.registers.is(gsts::TES) {
            return if kind == Kind::Ahead { Outcome::Aborted } else { self.straight(request) };
        }
        match self.decide(request, kind) {
            Ok(outcome) => outcome,
            Err(Stop::Poisoned(what)) => self.garbage(request, what),
            Err(Stop::Fault(fault)) => {
                if !(kind == Kind::Ahead && is_quiet_ahead(fault.reason)) {
                    self.record(request, kind.address_type(), fault);
                }
                Outcome::Aborted
            }
        }
    }

    fn decide(&mut self, request: &Request, kind: Kind) -> Result<Outcome, Stop> {
        match self.registers.mode() {
            ttm::ABORT => return Ok(Outcome::Aborted),
            ttm::LEGACY if request.pasid.is_some() => return Err(reason::RTADDR_PASID.into()),
            ttm::RESERVED => return Err(reason::RTADDR_INVALID.into()),
            _ => {}
        }
        let source = request.source.0 as u16;
        match self.find_context(source)? {
            SourceMeaning::Translation(t) => {
                if kind != Kind::Untranslated && !t.device_tlb {
                    return Err(Stop::Fault(Fault { reason: reason::TRANSLATION_BLOCKED, silent: t.silent }));
                }
                self.translate(request, kind, &t, None)
            }
            SourceMeaning::Pasids(tables) => {
                let with_silence = |stop| match stop {
                    Stop::Fault(fault) => {
                        Stop::Fault(Fault { silent: fault.silent || tables.silent, ..fault })
                    }
                    other => other,
                };
                self.decide_by_pasid(request, kind, source, &tables).map_err(with_silence)
            }
            // Not handed out by find_context.
            SourceMeaning::NotPresent(reason) => Err(reason.into()),
            SourceMeaning::Invalid(why) => Err(why.reason.into()),
        }
    }

    fn decide_by_pasid(
        &mut self,
        request: &Request,
        kind: Kind,
        source: u16,
        tables: &PasidTables,
    ) -> Result<Outcome, Stop> {
        if kind != Kind::Untranslated && !tables.device_tlb {
            return Err(reason::SM_CONTEXT_DTE.into());
        }
        let pasid = match request.pasid {
            Some(_) if !tables.pasids => return Err(reason::SM_CONTEXT_PASIDE.into()),
            Some(pasid)
                if pasid.0 >= tables.limit
                    || pasid.0.checked_shr(self.config.pasid_bits.into()).unwrap_or(0) != 0 =>
            {
                return Err(reason::SM_CONTEXT_PASID_BEYOND.into());
            }
            Some(pasid) => pasid.0,
            None if tables.rid_pasid >= tables.limit => return Err(reason::SM_CONTEXT_RID_PASID.into()),
            None => tables.rid_pasid,
        };
        let t = self.find_pasid(source, tables, pasid)?;
        if request.pasid.is_some() && request.privileged && !t.supervisor {
            return Err(Stop::Fault(Fault { reason: reason::SM_PASID_SRE, silent: t.silent }));
        }
        if request.pasid.is_some() && request.access == Access::Execute && !t.execute {
            return Err(Stop::Fault(Fault { reason: reason::SM_PASID_ERE, silent: t.silent }));
        }
        self.translate(request, kind, &t, Some(pasid))
    }

    fn translate(
        &mut self,
        request: &Request,
        kind: Kind,
        t: &Translation,
        pasid: Option<u32>,
    ) -> Result<Outcome, Stop> {
        if kind == Kind::Translated {
            return Ok(straight_to(request));
        }
        let silence = |stop| match stop {
            Stop::Fault(fault) => Stop::Fault(Fault { silent: fault.silent || t.silent, ..fault }),
            other => other,
        };
        let leaf = self.find_leaf(request, t, pasid).map_err(silence)?;
        let rights = self.allowed(request, t, &leaf);
        let answered =
            kind == Kind::Ahead && rights != Err(reason::USER_SUPERVISOR) && (leaf.read || leaf.write);
        if let Err(reason) = rights
            && !answered
        {
            return Err(silence(reason.into()));
        }
        if kind == Kind::Ahead && !leaf.read && request.access != Access::Write {
            return Ok(Outcome::Aborted);
        }
        let to = leaf.to + (request.at.0 - leaf.base);
        if interrupts::RANGE.contains(&to) {
            let reason = if t.scalable { reason::SM_OUTPUT_INTERRUPT } else { reason::OUTPUT_INTERRUPT };
            return Err(silence(reason.into()));
        }
        Ok(Outcome::To { at: PhysAddr(to), page: leaf.page, writable: leaf.write })
    }

    fn find_leaf(&mut self, request: &Request, t: &Translation, pasid: Option<u32>) -> Result<Leaf, Stop> {
        let at = request.at.0;
        let write = request.access == Access::Write;
        match (&t.first, &t.second) {
            (Some(first), _) => {
                // Only supervisors may be free of R/W.
                let supervisor = request.pasid.is_some() && request.privileged;
                let first = First { write_protect: first.write_protect || !supervisor, ..*first };
                self.first(t, &first, pasid.unwrap_or(0), at, write)
            }
            (None, Some(second)) => self.second(t.domain, t.scalable, second, at, write),
            (None, None) => self.pass_through(t, pasid, at),
        }
    }

    /// Identity, which is cached like anything else.
    fn pass_through(&mut self, t: &Translation, pasid: Option<u32>, at: u64) -> Result<Leaf, Stop> {
        let space = Space { domain: t.domain, pasid: pasid.filter(|_| t.scalable) };
        if let Some(leaf) = self.caches.leaf(space, at) {
            self.use_leaf(space, &leaf, false)?;
            return Ok(leaf);
        }
        if self.caches.poisoned(space, at, false) {
            return Err(Stop::Poisoned("translation"));
        }
        if at.checked_shr(self.config.host_bits.into()).unwrap_or(0) != 0 {
            return Err(if t.scalable { reason::BEYOND_HARDWARE } else { reason::ADDRESS_BEYOND }.into());
        }
        let base = at & !0xfff;
        let leaf = Leaf {
            base,
            page: 0x1000,
            to: base,
            read: true,
            write: true,
            execute: true,
            user: true,
            dirty: true,
            dirty_bits: (0, 0),
            snoop: false,
            nested: None,
            from: None,
            second: None,
            age: 0,
        };
        self.caches.put_leaf(space, leaf);
        Ok(leaf)
    }

    /// Whether a translation allows a request; else the fault reason.
    fn allowed(&self, request: &Request, t: &Translation, leaf: &Leaf) -> Result<(), u64> {
        let supervisor = request.pasid.is_some() && request.privileged;
        if !supervisor && !leaf.user {
            return Err(reason::USER_SUPERVISOR);
        }
        let first = t.first.is_some();
        match request.access {
            Access::Write => {
                let waived =
                    supervisor && t.first.is_some_and(|first| !first.write_protect) && t.second.is_none();
                match (leaf.write || waived, t.scalable, first) {
                    (true, ..) => Ok(()),
                    (false, false, _) => Err(reason::WRITE),
                    (false, true, true) => Err(reason::SM_WRITE),
                    (false, true, false) => Err(reason::SS_PERMISSION),
                }
            }
            Access::Execute if request.pasid.is_some() && !leaf.execute => Err(reason::EXECUTE),
            Access::Read | Access::Execute => match (leaf.read, t.scalable, first) {
                (true, ..) => Ok(()),
                (false, false, _) => Err(reason::READ),
                (false, true, true) => Err(reason::SM_READ),
                (false, true, false) => Err(reason::SS_PERMISSION),
            },
        }
    }

    /// Whether a translation that the unit would use makes accesses snoop.
    pub fn snoops(&mut self, request: &Request) -> Option<bool> {
        let source = request.source.0 as u16;
        let (t, pasid) = match self.find_context(source).ok()? {
            SourceMeaning::Translation(t) => (t, None),
            SourceMeaning::Pasids(tables) => {
                let pasid = request.pasid.map_or(tables.rid_pasid, |pasid| pasid.0);
                (self.find_pasid(source, &tables, pasid).ok()?, Some(pasid))
            }
            _ => return None,
        };
        let leaf = self.find_leaf(request, &t, pasid).ok()?;
        Some(t.snoop || leaf.snoop)
    }

    /// The request met what a cache held before bring-up: it goes astray.
    fn garbage(&self, request: &Request, what: &str) -> Outcome {
        self.violation(
            "VT-d 6.6",
            format!(
                "source {:#x} at {}: the {what} comes from cache contents that nobody has invalidated since bring-up",
                request.source.0, request.at
            ),
        );
        Outcome::To { at: PhysAddr(NOWHERE | request.at.0 & 0xffff_ffff), page: 0x1000, writable: true }
    }

    /// Without translation a request goes on as it came, but not into protected memory (3.15).
    fn straight(&self, request: &Request) -> Outcome {
        if self.is_protected(request.at.0) { Outcome::Aborted } else { straight_to(request) }
    }

    fn is_protected(&self, at: u64) -> bool {
        let r = &self.registers;
        if !self.config.protected_memory || pmen::PRS.in_place(r.pmen.into()) == 0 {
            return false;
        }
        let word = |at: usize| u64::from(r.plain.get(&at).copied().unwrap_or(0));
        let wide = |at: usize| word(at) | word(at + 4) << 32;
        // Bits that the limit registers do not have read as one; 2 MiB is the least that a region can be.
        let inside = |base: u64, limit: u64| limit > base && (base..=limit | 0x1f_ffff).contains(&at);
        inside(word(PLMBASE), word(PLMLIMIT)) || inside(wide(PHMBASE), wide(PHMLIMIT))
    }
}

fn straight_to(request: &Request) -> Outcome {
    Outcome::To { at: PhysAddr(request.at.0), page: 0x1000, writable: true }
}
