//! What a device that was in use before may have kept over its reset.
//!
//! A reset is to leave nothing (virtio 1.3 §2.4), but some devices keep domains, their mappings and who is attached (QEMU
//! 10 and cloud-hypervisor do). Then an endpoint goes on reaching what an earlier owner mapped, and a domain number that
//! we take for new may be another endpoint's. So of a device whose status was not zero, or of which it is known that
//! somebody had it:
//!
//! 1. what is mapped in domains of low numbers, which owners use first, is unmapped at once, and which of those cannot be
//!    emptied is reported;
//! 2. a number is used only if the device says that it has no such domain;
//! 3. a source that is claimed is moved to a domain of ours and off it again, whatever it was on.
//!
//! Which endpoints there are is not known before they are claimed, so until then one stays on its old domain. If that
//! passes everything it cannot be emptied, and what has a number after a long gap is not found.
//!
//! Only a request that is rejected tells that a number is free. A device that leaves such requests unanswered for ever
//! (cloud-hypervisor before it answered them) ends as hung, and one that calls every number taken is refused: neither can
//! be told from one that still lets an endpoint through. Of a device that nobody had, nothing of this is asked.

use super::{
    attach::Place,
    config::BringUpError,
    domain::Domains,
    driver::VirtioIommu,
    request::{Answer, Request},
    transport::Transport,
};
use alloc::vec::Vec;
use ioward_core::driver::{Hung, Refused};
use ioward_spec::virtio::request::status;
use ioward_types::{Platform, SourceId};

/// How many numbers in a row that the device does not know end the search for left-over domains.
const UNKNOWN: u32 = 64;
/// The most numbers that are looked at, in the search and for one number that is free.
const MOST: u32 = 4096;

/// What became of a domain that was to be emptied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Emptied {
    /// The device has no such domain.
    Unknown,
    /// Nothing is mapped in it any more.
    Yes,
    /// It passes everything, or the device does not say that it unmapped everything.
    No,
}

impl<T: Transport, P: Platform> VirtioIommu<T, P> {
    /// The domains of an earlier owner that could not be emptied: who was left on one of them goes on reaching what it
    /// passes, until it is claimed. [`Driver::poll`](ioward_core::driver::Driver::poll) reports them, too.
    pub fn left_over(&self) -> &[u32] {
        self.left_over.as_deref().unwrap_or_default()
    }

    /// Asks for everything of a domain to be unmapped, which tells, too, whether there is such a domain.
    fn empty(&self, domain: u32) -> Result<Emptied, Hung> {
        for piece in self.features.pieces() {
            match self.requests.ask(&self.unit, &Request::unmap_all(domain, piece), None)? {
                Answer::Status(status::OK) => {}
                Answer::Status(status::NOENT) => return Ok(Emptied::Unknown),
                _ => return Ok(Emptied::No),
            }
        }
        Ok(Emptied::Yes)
    }

    /// Unmaps what an earlier owner has left in domains of low numbers; tells which could not be emptied. `Err` where the
    /// device does not answer, or says of none that it does not exist: then no number could be told to be free.
    pub(super) fn empty_left_over(&self) -> Result<Vec<u32>, BringUpError> {
        let (first, last) = self.features.domains;
        let mut unknown = 0;
        let mut tells = false;
        let mut kept = Vec::new();
        for number in first..=last.min(first.saturating_add(MOST - 1)) {
            match self.empty(number)? {
                Emptied::Unknown => {
                    tells = true;
                    unknown += 1;
                }
                Emptied::Yes => unknown = 0,
                Emptied::No => {
                    unknown = 0;
                    kept.push(number);
                }
            }
            if unknown == UNKNOWN {
                break;
            }
        }
        match tells {
            true => Ok(kept),
            false => Err(BringUpError::Device("it was in use and has no domain number that is free")),
        }
    }

    /// A number for a new domain: of a device that may have kept some, one that it does not know.
    pub(super) fn number(&self, domains: &mut Domains, bypass: bool) -> Result<u32, Refused> {
        let iommu = self.unit.id;
        for _ in 0..MOST {
            let number = domains.add(bypass).ok_or(Refused::NoTag { iommu })?;
            if self.left_over.is_none() {
                return Ok(number);
            }
            match self.empty(number) {
                Ok(Emptied::Unknown) => return Ok(number),
                // Somebody may be on it.
                Ok(Emptied::Yes | Emptied::No) => domains.avoid(number),
                Err(hung) => {
                    // Nothing is asked before this request has come back, so the number can be tried again.
                    domains.remove(number);
                    return Err(hung.into());
                }
            }
        }
        Err(Refused::NoTag { iommu })
    }

    /// Takes an endpoint off whatever domain it may have been left on. On `Err` it may be on that still, and on those of
    /// ours that the place says.
    pub(super) fn evict(&self, domains: &mut Domains, endpoint: SourceId) -> Result<(), (Refused, Place)> {
        let mut place = Place::Nowhere;
        let number = self.number(domains, false).map_err(|why| (why, Place::Nowhere))?;
        let moved = self
            .move_to(domains, endpoint, &mut place, number)
            .and_then(|()| self.leave(domains, endpoint, &mut place).map_err(Refused::from));
        if place == Place::Nowhere && self.requests.forget(number) {
            domains.remove(number);
        }
        moved.map_err(|why| (why, place))
    }
}
