//! What becomes of endpoints' accesses (§5.13.6), and how it is reported (§5.13.6.9).

use super::unit::Unit;
use crate::{Access, Outcome, Request};
use ioward_spec::virtio::{fault, features, request::map};
use ioward_types::PhysAddr;

/// What a device may rely on around an address, in bytes.
const PAGE: u64 = 4096;

impl Unit {
    pub fn translate(&mut self, request: &Request) -> Outcome {
        let at = request.at.0;
        if self.gone || request.pasid.is_some() {
            return Outcome::Aborted;
        }
        let through = Outcome::To { at: PhysAddr(at), page: PAGE, writable: true };
        let domain = self.endpoints.get(&request.source.0).and_then(|endpoint| endpoint.domain);
        let Some(domain) = domain.and_then(|domain| self.domains.get(&domain)) else {
            // The field counts even where the driver does not know of it.
            let field = self.config.features & features::BYPASS_CONFIG != 0 && self.registers.bypass;
            if field || self.has(features::BYPASS) {
                return through;
            }
            return self.fault(request, fault::R_DOMAIN);
        };
        if domain.bypass {
            return through;
        }
        if let Some(region) = self.config.reserved.iter().find(|region| region.span.contains(request.at)) {
            return match (region.msi, request.access) {
                (true, Access::Write) => Outcome::Interrupt,
                _ => self.fault(request, fault::R_MAPPING),
            };
        }
        let found = domain.mappings.range(..=at).next_back().filter(|(_, mapping)| mapping.end >= at);
        let needed = if request.access == Access::Write { map::F_WRITE } else { map::F_READ };
        match found {
            Some((start, mapping)) if mapping.flags & needed != 0 => Outcome::To {
                at: PhysAddr(mapping.to + (at - start)),
                page: PAGE,
                writable: mapping.flags & map::F_WRITE != 0,
            },
            _ => self.fault(request, fault::R_MAPPING),
        }
    }

    fn fault(&mut self, request: &Request, reason: u8) -> Outcome {
        let mut words = [0; fault::BYTES / 8];
        let access = if request.access == Access::Write { fault::F_WRITE } else { fault::F_READ };
        let address = if self.tells_address { fault::F_ADDRESS } else { 0 };
        fault::REASON.set(&mut words, reason.into());
        fault::FLAGS.set(&mut words, access | address);
        fault::ENDPOINT.set(&mut words, request.source.0.into());
        if self.tells_address {
            fault::ADDRESS.set(&mut words, request.at.0);
        }
        self.report(&words.map(u64::to_le_bytes).concat());
        Outcome::Aborted
    }

    /// Puts bytes into a buffer of the event queue.
    pub fn report(&mut self, bytes: &[u8]) {
        if self.hung {
            return;
        }
        let Some(chain) = self.fetch(1) else {
            self.lost_reports += 1;
            return;
        };
        if !chain.readable.is_empty() || chain.writable_bytes() < fault::BYTES {
            self.violation("VIRTIO 1.3 §5.13.6.9", "a buffer of the event queue is too short");
        }
        let written = self.scatter(&chain, bytes).unwrap_or(0);
        match self.trick.take_if(|trick| matches!(trick, super::model::Trick::UsedId(_))) {
            Some(super::model::Trick::UsedId(id)) => self.publish(1, id, written, 1),
            _ => self.give_back(1, chain.head, written),
        }
    }
}
