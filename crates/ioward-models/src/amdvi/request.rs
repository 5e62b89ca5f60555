//! What becomes of a request (48882 §2.1, §2.2).

use super::{
    device::{DteMeaning, Translated, decode},
    log::WalkFault,
    unit::Unit,
};
use crate::{Access, Outcome, Request};
use ioward_spec::amdvi::{
    control, dte,
    events::invalid_device_request as invalid,
    registers::{device_table, exclusion},
};
use ioward_types::{PhysAddr, SourceId};

/// Interrupts: `FEEx_xxxxh` (§2.1.4, Table 3).
pub(super) const INTERRUPTS: core::ops::RangeInclusive<u64> = 0xfee0_0000..=0xfeef_ffff;
/// Addresses that are messages on HyperTransport, and reserved elsewhere (Table 3).
const HYPERTRANSPORT: core::ops::RangeInclusive<u64> = 0xfd_0000_0000..=0xff_ffff_ffff;
/// Where garbage in a cache leads: no memory is there.
const NOWHERE: u64 = 0x000d_ead0_0000_0000;

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Untranslated,
    /// ATS: the translation itself is wanted.
    Ahead,
}

/// Where the device table entry was looked for.
pub(super) enum Found {
    Entry([u64; dte::WORDS]),
    /// The table is too short.
    Beyond,
    /// Cache contents from before bring-up.
    Poisoned,
}

fn straight(request: &Request) -> Outcome {
    Outcome::To { at: PhysAddr(request.at.0), page: 0x1000, writable: true }
}

impl Unit {
    pub fn request(&mut self, request: &Request, kind: Kind) -> Outcome {
        let at = request.at.0;
        let ahead = kind == Kind::Ahead;
        if !self.registers.is(control::IOMMU_EN) {
            return straight(request);
        }
        let words = match self.find_entry(request.source) {
            Ok(Found::Entry(words)) => words,
            Ok(Found::Beyond) => {
                self.log_illegal_entry(request, ahead, false);
                return Outcome::Aborted;
            }
            Ok(Found::Poisoned) => return self.garbage(request, "device table entry"),
            Err(at) => {
                self.violation("48882 §2.2.2", format!("the device table at {at} is not in memory"));
                self.log_device_table_error(request, ahead, at);
                return Outcome::Aborted;
            }
        };
        let meaning = decode(&self.config, self.registers.is(control::GT_EN), &words);
        if let DteMeaning::Illegal(why) = meaning {
            self.violation(
                "48882 §2.2.2.1",
                format!("illegal entry of device {:#x}, {words:#018x?}: {why}", request.source.0),
            );
            self.log_illegal_entry(request, ahead, why.reserved);
            return Outcome::Aborted;
        }
        if ahead && !self.allows_ats(&words) {
            self.log_invalid_request(request, ahead, invalid::PRETRANSLATED);
            return Outcome::Aborted;
        }
        if request.pasid.is_none() && INTERRUPTS.contains(&at) {
            return self.interrupt(request, &words);
        }
        if request.pasid.is_none() && HYPERTRANSPORT.contains(&at) {
            self.log_invalid_request(request, ahead, invalid::SYSTEM_MANAGEMENT);
            return Outcome::Aborted;
        }
        if request.pasid.is_none() && self.excluded(at, &words) {
            return straight(request);
        }
        match meaning {
            DteMeaning::PassThrough => straight(request),
            DteMeaning::Terminated => self.fault(request, &words, None, 0, kind, WalkFault::NotPresent),
            DteMeaning::Translated(entry) => self.translate(request, &words, &entry, kind),
            DteMeaning::Illegal(_) => Outcome::Aborted,
        }
    }

    /// A request that says it is translated already.
    pub fn translated(&mut self, request: &Request) -> Outcome {
        if !self.registers.is(control::IOMMU_EN) {
            return straight(request);
        }
        match self.find_entry(request.source) {
            Ok(Found::Entry(words)) if self.allows_ats(&words) => straight(request),
            _ => {
                self.log_invalid_request(request, false, invalid::PRETRANSLATED);
                Outcome::Aborted
            }
        }
    }

    fn allows_ats(&self, words: &[u64; dte::WORDS]) -> bool {
        self.config.iotlb && dte::V.is_set(words) && dte::I.is_set(words)
    }

    fn translate(
        &mut self,
        request: &Request,
        words: &[u64; dte::WORDS],
        entry: &Translated,
        kind: Kind,
    ) -> Outcome {
        let at = request.at.0;
        let write = request.access == Access::Write && entry.write;
        let pasid = match (request.pasid, &entry.guest) {
            (Some(pasid), _) => Some(pasid.0),
            (None, Some(guest)) if guest.rid => Some(0),
            (None, _) => None,
        };
        let walked = match (pasid, &entry.guest) {
            (None, _) => self.host(entry, at, write),
            (Some(pasid), Some(guest)) if pasid >> self.config.pasid_bits == 0 => {
                self.guest(entry, guest, pasid, at, write)
            }
            // A PASID where there is no guest translation, or one wider than the unit knows.
            (Some(_), _) => Err(WalkFault::NotPresent),
        };
        let leaf = match walked {
            Ok(leaf) => leaf,
            Err(WalkFault::Poisoned) => return self.garbage(request, "translation"),
            Err(cause) => return self.fault(request, words, pasid, entry.domain, kind, cause),
        };
        let readable = leaf.read && entry.read;
        let writable = leaf.write && entry.write;
        let reachable = pasid.is_none() || leaf.user || request.privileged;
        let allowed = reachable
            && match request.access {
                Access::Read => readable,
                Access::Write => writable,
                Access::Execute => readable && leaf.execute,
            };
        // A translation request is answered with the rights that there are, if there are any.
        let answer = kind == Kind::Ahead && reachable && (readable || writable);
        if !allowed && !answer {
            return self.fault(request, words, pasid, entry.domain, kind, WalkFault::Permission);
        }
        if kind == Kind::Ahead && !readable && request.access != Access::Write {
            return Outcome::Aborted;
        }
        Outcome::To { at: PhysAddr(leaf.to + (at - leaf.base)), page: leaf.page, writable }
    }

    fn fault(
        &mut self,
        request: &Request,
        words: &[u64; dte::WORDS],
        pasid: Option<u32>,
        domain: u16,
        kind: Kind,
        cause: WalkFault,
    ) -> Outcome {
        let quiet = matches!(cause, WalkFault::NotPresent | WalkFault::Permission);
        // A translation request that finds nothing is answered with no rights, and nothing is logged (§2.5.3).
        if kind == Kind::Ahead && quiet {
            return Outcome::Aborted;
        }
        let device = request.source.0 as u16;
        let suppressed =
            dte::SA.is_set(words) || (dte::SE.is_set(words) && self.suppressed.contains(&device));
        if !suppressed || matches!(cause, WalkFault::Bus(_)) {
            if dte::SE.is_set(words) {
                self.suppressed.insert(device);
            }
            self.log_fault(request, pasid, domain, kind == Kind::Ahead, cause);
        }
        Outcome::Aborted
    }

    /// The request met what a cache held before bring-up: it goes astray.
    fn garbage(&self, request: &Request, what: &str) -> Outcome {
        self.violation(
            "48882 §2.4",
            format!(
                "device {:#x} at {}: the {what} comes from cache contents that nobody has invalidated since bring-up",
                request.source.0, request.at
            ),
        );
        Outcome::To { at: PhysAddr(NOWHERE | request.at.0 & 0xffff_ffff), page: 0x1000, writable: true }
    }

    fn interrupt(&mut self, request: &Request, words: &[u64; dte::WORDS]) -> Outcome {
        if request.access != Access::Write {
            self.log_invalid_request(request, false, invalid::READ_IN_INTERRUPT_RANGE);
            return Outcome::Aborted;
        }
        let valid = dte::V.is_set(words) && dte::IV.is_set(words);
        if valid && dte::INT_CTL.get(words) == dte::int_control::ABORT {
            self.log_invalid_request(request, false, invalid::INTERRUPT);
            return Outcome::Aborted;
        }
        Outcome::Interrupt
    }

    /// In the exclusion range, and the device may use it (MMIO 0020h).
    fn excluded(&self, at: u64, words: &[u64; dte::WORDS]) -> bool {
        let r = &self.registers;
        let first = exclusion::BASE.in_place(r.exclusion_base);
        let last = exclusion::LIMIT.in_place(r.exclusion_limit) | 0xfff;
        let allowed = exclusion::ALLOW.in_place(r.exclusion_base) != 0
            || (dte::V.is_set(words) && dte::EX.is_set(words));
        exclusion::EX_EN.in_place(r.exclusion_base) != 0 && allowed && (first..=last).contains(&at)
    }

    /// Where a device's entry lies; none where the table is too short.
    pub fn entry_address(&self, source: SourceId) -> Option<PhysAddr> {
        let device = u16::try_from(source.0).ok()?;
        let bits = control::DEV_TBL_SEG_EN.of(self.registers.control).min(3) as u32;
        let segment = usize::from(device).checked_shr(16 - bits).unwrap_or(0);
        let base = *self.registers.device_table.get(segment)?;
        let index = if bits == 0 { device } else { device & (u16::MAX >> bits) };
        let offset = u64::from(index) * dte::BYTES as u64;
        let bytes = (device_table::SIZE.of(base) + 1) * 0x1000;
        (offset < bytes).then_some(PhysAddr(device_table::BASE.in_place(base) + offset))
    }

    /// The entry of a device as memory holds it now.
    pub fn read_entry(&self, at: PhysAddr) -> Result<[u64; dte::WORDS], PhysAddr> {
        let mut words = [0; dte::WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            let at = PhysAddr(at.0 + 8 * n as u64);
            *word = self.read(at, self.registers.is(control::COHERENT)).map_err(|error| error.0)?;
        }
        Ok(words)
    }

    /// The entry of a device as the unit takes it: cached, or read and cached.
    pub fn find_entry(&mut self, source: SourceId) -> Result<Found, PhysAddr> {
        let Some(at) = self.entry_address(source) else { return Ok(Found::Beyond) };
        let device = source.0 as u16;
        if let Some(words) = self.caches.devices.get(&device) {
            return Ok(Found::Entry(*words));
        }
        if self.caches.device_poisoned(device) {
            return Ok(Found::Poisoned);
        }
        let words = self.read_entry(at)?;
        self.caches.devices.insert(device, words);
        Ok(Found::Entry(words))
    }
}
