//! How an endpoint changes its domain (virtio 1.3 §5.13.6.3 and §5.13.6.4).
//!
//! A device that rejects ATTACH may have detached the endpoint first, and a domain that lost its last endpoint by that has
//! lost its mappings. So after a rejection the endpoint is detached for certain, and then attached to what it was on.

use super::domain::Domains;
use super::driver::VirtioIommu;
use super::request::{Answer, Request};
use super::request_queue::Failure;
use super::transport::Transport;
use alloc::vec::Vec;
use ioward_core::driver::{Hung, Refused};
use ioward_spec::virtio::request::status;
use ioward_types::{Platform, SourceId, Span};

/// Which domain an endpoint is on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Place {
    /// None: nothing passes.
    #[default]
    Nowhere,
    /// This one.
    On(u32),
    /// One of these, or none: a request was not answered.
    Doubtful(Vec<u32>),
}

impl Place {
    /// Every domain that the endpoint may be on.
    pub fn all(&self) -> Vec<u32> {
        match self {
            Self::Nowhere => Vec::new(),
            Self::On(domain) => alloc::vec![*domain],
            Self::Doubtful(domains) => domains.clone(),
        }
    }
}

impl<T: Transport, P: Platform> VirtioIommu<T, P> {
    /// Puts an endpoint on a domain. On `Err` it is where it was, or, where the device hung, anywhere that `place` says.
    pub(super) fn move_to(
        &self,
        domains: &mut Domains,
        endpoint: SourceId,
        place: &mut Place,
        to: u32,
    ) -> Result<(), Refused> {
        if let Place::Doubtful(_) = place {
            self.leave(domains, endpoint, place)?;
        }
        let old = match *place {
            Place::On(old) => Some(old),
            _ => None,
        };
        if old == Some(to) {
            return Ok(());
        }
        let mut answer = self.attach(domains, endpoint, place, to)?;
        if let (false, Some(old)) = (answer.is_ok(), old) {
            *place = Place::Doubtful(alloc::vec![old]);
            self.leave(domains, endpoint, place)?;
            // Some devices cannot detach on their own.
            if answer == Answer::Status(status::UNSUPP) {
                answer = self.attach(domains, endpoint, place, to)?;
            }
        }
        let refused = if !answer.is_ok() {
            answer.refused(self.unit.id, "ATTACH")
        } else {
            match self.arrive(domains, to) {
                Ok(()) => {
                    let left = core::mem::replace(place, Place::On(to));
                    left.all().into_iter().for_each(|old| self.departed(domains, old));
                    return Ok(());
                }
                Err(refused) => {
                    // It is on the new domain, without all of its mappings; whether it still counts on the old one, `place`
                    // says.
                    place.all().into_iter().for_each(|old| self.departed(domains, old));
                    *place = Place::On(to);
                    self.leave(domains, endpoint, place)?;
                    refused
                }
            }
        };
        match (&*place, old) {
            (Place::Nowhere, Some(old)) => self.put_back(domains, endpoint, place, old).and(Err(refused)),
            _ => Err(refused),
        }
    }

    /// Asks. Where there is no answer, the endpoint may be on either domain.
    fn attach(
        &self,
        domains: &mut Domains,
        endpoint: SourceId,
        place: &mut Place,
        to: u32,
    ) -> Result<Answer, Hung> {
        let bypass = domains.known.get(&to).is_some_and(|domain| domain.bypass);
        let request = Request::attach(to, endpoint, bypass);
        self.requests.ask(&self.unit, &request, Some(to)).inspect_err(|_| {
            let mut maybe = place.all();
            maybe.push(to);
            *place = Place::Doubtful(maybe);
            if let Some(domain) = domains.known.get_mut(&to) {
                domain.attached += 1;
            }
        })
    }

    /// An endpoint has been attached to a domain: the first one finds it empty, and what belongs there is mapped.
    fn arrive(&self, domains: &mut Domains, to: u32) -> Result<(), Refused> {
        let Some(domain) = domains.known.get_mut(&to) else { return Ok(()) };
        domain.attached += 1;
        if domain.attached > 1 {
            return Ok(());
        }
        let settle = || {
            self.requests.settle(&self.unit, to, None).map_err(|failure| match failure {
                Failure::Rejected(name, answer) => answer.refused(self.unit.id, name),
                Failure::Hung(hung) => hung.into(),
            })
        };
        // Requests may be carried out in any order: an unmap from before the domain was empty comes first.
        settle()?;
        for (at, mapping) in domain.mappings.iter() {
            let span = Span { start: at, bytes: mapping.bytes };
            self.requests.count(&self.unit, &Request::map(to, at, mapping), to, span)?;
        }
        settle()
    }

    /// An endpoint is certainly not on a domain any more. The last one takes the domain with it.
    fn departed(&self, domains: &mut Domains, from: u32) {
        let Some(domain) = domains.known.get_mut(&from) else { return };
        domain.attached = domain.attached.saturating_sub(1);
        if domain.attached == 0 {
            // Its number stays: the endpoint may be put back.
            self.requests.forget(from);
        }
    }

    /// Where an endpoint was before something was refused to it.
    fn put_back(
        &self,
        domains: &mut Domains,
        endpoint: SourceId,
        place: &mut Place,
        old: u32,
    ) -> Result<(), Refused> {
        let what = "ATTACH to the domain that it was on";
        let hung = Refused::Hung(self.unit.hung(what));
        if !self.attach(domains, endpoint, place, old)?.is_ok() {
            return Err(hung);
        }
        *place = Place::On(old);
        self.arrive(domains, old).map_err(|_| hung)
    }

    /// Takes an endpoint off every domain that it may be on: nothing passes any more.
    pub(super) fn leave(
        &self,
        domains: &mut Domains,
        endpoint: SourceId,
        place: &mut Place,
    ) -> Result<(), Hung> {
        let certain = matches!(place, Place::On(_));
        let mut left = place.all();
        while let Some(from) = left.last().copied() {
            let request = Request::detach(from, endpoint);
            let answer = self.requests.ask(&self.unit, &request, Some(from));
            let gone = match &answer {
                // An endpoint that the device does not know is on no domain.
                Ok(Answer::Status(status::OK | status::NOENT)) => true,
                // It was not on this one.
                Ok(Answer::Status(status::INVAL)) => !certain,
                _ => false,
            };
            if !gone {
                let hung = answer.map_or_else(|hung| hung, |answer| self.unit.hung(answer.name()));
                *place = Place::Doubtful(left);
                return Err(hung);
            }
            left.pop();
            self.departed(domains, from);
        }
        *place = Place::Nowhere;
        Ok(())
    }
}
