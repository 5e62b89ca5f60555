//! What requests do (§5.13.6).

use super::{
    config::Order,
    model::{Trick, Verdict},
    unit::{Domain, Endpoint, Mapping, Unit, Work},
};
use ioward_spec::virtio::{
    features, probe as property,
    request::{self, attach, detach, map, probe, status, unmap},
};
use ioward_types::SourceId;

/// What a request is answered with.
enum Reply {
    Status(u8),
    /// Properties before the status.
    Properties(Vec<u8>, u8),
    /// Returned without a byte written.
    Unwritten,
}

impl Unit {
    /// Fetches what is there.
    pub fn take_requests(&mut self) {
        while let Some(chain) = self.fetch(0) {
            let number = self.requests;
            self.requests += 1;
            match self.gather(&chain) {
                Ok(bytes) => self.work.push(Work { chain, bytes, number, lost: false }),
                Err(error) => self.violation("VIRTIO 1.3 §2.7", format!("a request: {error}")),
            }
        }
    }

    /// Carries out and answers everything that is there.
    pub fn carry_out(&mut self) {
        if self.hung || self.gone {
            return;
        }
        loop {
            let ready: Vec<usize> =
                self.work.iter().enumerate().filter(|(_, work)| !work.lost).map(|(n, _)| n).collect();
            let next = match &mut self.order {
                Order::First => ready.first().copied(),
                Order::Last => ready.last().copied(),
                Order::Random(seed) => {
                    *seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let pick = (*seed >> 33) as usize;
                    (!ready.is_empty()).then(|| ready[pick % ready.len()])
                }
            };
            let Some(next) = next else { return };
            let work = self.work.remove(next);
            // A request that changes after it was offered is a race.
            if self.gather(&work.chain).ok().as_ref() != Some(&work.bytes) {
                self.violation("VIRTIO 1.3 §2.7.13", "a request changed while the device had it");
            }
            let verdict = match self.filter.take() {
                Some(mut filter) => {
                    let verdict = filter(work.number, &work.bytes);
                    self.filter = Some(filter);
                    verdict
                }
                None => Verdict::Process,
            };
            let reply = match verdict {
                Verdict::Process => self.execute(&work),
                Verdict::Pretend => self.pretend(&work),
                Verdict::Answer(status) => Reply::Status(status),
                Verdict::Unwritten => Reply::Unwritten,
                Verdict::Lose => {
                    self.work.push(Work { lost: true, ..work });
                    continue;
                }
            };
            self.answer(&work, reply);
        }
    }

    fn answer(&mut self, work: &Work, reply: Reply) {
        let uncounted = self.config.rejects_uncounted
            && matches!(reply, Reply::Status(code) | Reply::Properties(_, code) if code != status::OK);
        let bytes = match reply {
            Reply::Unwritten => Vec::new(),
            Reply::Status(status) => {
                let mut bytes = vec![0; work.chain.writable_bytes().saturating_sub(request::TAIL_BYTES)];
                bytes.extend([status, 0, 0, 0]);
                bytes
            }
            Reply::Properties(mut bytes, status) => {
                bytes.extend([status, 0, 0, 0]);
                bytes
            }
        };
        let written = self.scatter(&work.chain, &bytes).unwrap_or(0);
        let written = if uncounted { 0 } else { written };
        match self.trick.take() {
            Some(Trick::UsedId(id)) => self.publish(0, id, written, 1),
            Some(Trick::IndexAhead(by)) => self.publish(0, work.chain.head.into(), written, by),
            Some(Trick::Twice) => {
                self.give_back(0, work.chain.head, written);
                self.publish(0, work.chain.head.into(), written, 1);
            }
            None => self.give_back(0, work.chain.head, written),
        }
    }

    /// Success, and nothing done.
    fn pretend(&self, work: &Work) -> Reply {
        match work.bytes.first() {
            Some(&request::T_PROBE) => {
                Reply::Properties(vec![0; self.config.probe_size as usize], status::OK)
            }
            _ => Reply::Status(status::OK),
        }
    }

    fn execute(&mut self, work: &Work) -> Reply {
        let kind = work.bytes.first().copied().unwrap_or(0);
        let (read, write) = match kind {
            request::T_ATTACH => (attach::BYTES, request::TAIL_BYTES),
            request::T_DETACH => (detach::BYTES, request::TAIL_BYTES),
            request::T_MAP => (map::BYTES, request::TAIL_BYTES),
            request::T_UNMAP => (unmap::BYTES, request::TAIL_BYTES),
            request::T_PROBE if self.config.features & features::PROBE != 0 => {
                (probe::BYTES, self.config.probe_size as usize + request::TAIL_BYTES)
            }
            _ => {
                self.violation("VIRTIO 1.3 §5.13.6", format!("a request of type {kind}"));
                return Reply::Unwritten;
            }
        };
        if work.bytes.len() != read || work.chain.writable_bytes() != write {
            let has = (work.bytes.len(), work.chain.writable_bytes());
            self.violation(
                "VIRTIO 1.3 §5.13.6",
                format!("type {kind}: {has:?} bytes, not {:?}", (read, write)),
            );
            return Reply::Unwritten;
        }
        let words: Vec<u64> = work
            .bytes
            .chunks(8)
            .map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
            .collect();
        if request::HEAD_RESERVED.get(&words) != 0 {
            self.violation("VIRTIO 1.3 §5.13.6.1", "reserved bytes of the head are set");
        }
        match kind {
            request::T_ATTACH => Reply::Status(self.attach(&words)),
            request::T_DETACH => Reply::Status(self.detach(&words)),
            request::T_MAP => Reply::Status(self.map(&words)),
            request::T_UNMAP => Reply::Status(self.unmap(&words)),
            _ => self.probe(probe::ENDPOINT.get(&words) as u32),
        }
    }

    fn exists(&self, endpoint: u32) -> bool {
        self.config.endpoints.as_ref().is_none_or(|all| all.contains(&SourceId(endpoint)))
    }

    fn domain_in_range(&self, domain: u32) -> bool {
        let (first, last) = self.config.domains;
        let inside = !self.has(features::DOMAIN_RANGE) || (first..=last).contains(&domain);
        if !inside {
            self.violation("VIRTIO 1.3 §5.13.6.1", format!("domain {domain} is outside domain_range"));
        }
        inside
    }

    fn in_input_range(&self, start: u64, end: u64) -> bool {
        let (first, last) = self.config.input;
        let inside = !self.has(features::INPUT_RANGE) || start >= first && end <= last;
        if !inside {
            self.violation("VIRTIO 1.3 §5.13.6.1", format!("{start:#x}..={end:#x} is outside input_range"));
        }
        inside
    }

    fn attach(&mut self, words: &[u64]) -> u8 {
        const SECTION: &str = "VIRTIO 1.3 §5.13.6.3";
        let (domain, endpoint) = (attach::DOMAIN.get(words) as u32, attach::ENDPOINT.get(words) as u32);
        let flags = attach::FLAGS.get(words);
        let bypass = flags & attach::F_BYPASS != 0;
        if attach::RESERVED.get(words) != 0 {
            self.violation(SECTION, "reserved bytes of ATTACH are set");
            return status::INVAL;
        }
        if flags & !attach::F_BYPASS != 0 || bypass && !self.has(features::BYPASS_CONFIG) {
            self.violation(SECTION, format!("flags {flags:#x} were not negotiated"));
            return status::INVAL;
        }
        if !self.exists(endpoint) {
            return status::NOENT;
        }
        if !self.domain_in_range(domain) {
            return status::RANGE;
        }
        let entry = self.endpoints.entry(endpoint).or_default();
        let (old, probed) = (entry.domain, entry.probed);
        if self.has(features::PROBE) && !probed {
            self.violation("VIRTIO 1.3 §5.13.5.1", format!("{endpoint:#x} is attached before it is probed"));
        }
        if old == Some(domain) {
            return status::OK;
        }
        if old.is_some() && !self.config.moves_endpoints {
            return status::UNSUPP;
        }
        if self.config.eager_detach {
            self.take_off(endpoint);
        }
        if self.domains.get(&domain).is_some_and(|known| known.bypass != bypass) {
            self.violation(SECTION, format!("domain {domain} exists, and its bypass flag is not {bypass}"));
            return status::INVAL;
        }
        let shared = self.endpoints.values().any(|other| other.domain == Some(domain));
        if shared && !self.config.shares_domains {
            return status::UNSUPP;
        }
        self.take_off(endpoint);
        self.domains.entry(domain).or_insert(Domain { bypass, ..Domain::default() });
        self.endpoints.entry(endpoint).or_default().domain = Some(domain);
        status::OK
    }

    /// An endpoint leaves its domain, which goes with the last one.
    fn take_off(&mut self, endpoint: u32) {
        let Some(Endpoint { domain, .. }) = self.endpoints.get_mut(&endpoint) else { return };
        let Some(old) = domain.take() else { return };
        if !self.endpoints.values().any(|other| other.domain == Some(old)) {
            self.domains.remove(&old);
        }
    }

    fn detach(&mut self, words: &[u64]) -> u8 {
        let (domain, endpoint) = (detach::DOMAIN.get(words) as u32, detach::ENDPOINT.get(words) as u32);
        if detach::RESERVED_LOW.get(words) | detach::RESERVED_HIGH.get(words) != 0 {
            self.violation("VIRTIO 1.3 §5.13.6.4", "reserved bytes of DETACH are set");
        }
        if !self.exists(endpoint) {
            return status::NOENT;
        }
        if !self.domain_in_range(domain) {
            return status::RANGE;
        }
        if self.endpoints.get(&endpoint).and_then(|endpoint| endpoint.domain) != Some(domain) {
            return status::INVAL;
        }
        self.take_off(endpoint);
        status::OK
    }

    fn map(&mut self, words: &[u64]) -> u8 {
        const SECTION: &str = "VIRTIO 1.3 §5.13.6.5";
        let domain = map::DOMAIN.get(words) as u32;
        let (start, end) = (map::VIRT_START.get(words), map::VIRT_END.get(words));
        let (to, flags) = (map::PHYS_START.get(words), map::FLAGS.get(words));
        if !self.has(features::MAP_UNMAP) {
            self.violation(SECTION, "MAP was not negotiated");
            return status::UNSUPP;
        }
        let allowed = map::F_READ | map::F_WRITE | if self.has(features::MMIO) { map::F_MMIO } else { 0 };
        if flags & !allowed != 0 {
            self.violation(SECTION, format!("flags {flags:#x} of {allowed:#x}"));
            return status::INVAL;
        }
        if end <= start {
            self.violation(SECTION, format!("virt_end {end:#x} is not above virt_start {start:#x}"));
            return status::INVAL;
        }
        if !self.in_input_range(start, end) || !self.domain_in_range(domain) {
            return status::RANGE;
        }
        let granule = self.config.page_size_mask & self.config.page_size_mask.wrapping_neg();
        if (start | to | end.wrapping_add(1)) & (granule - 1) != 0 || to.checked_add(end - start).is_none() {
            return status::RANGE;
        }
        if let Some(region) = self
            .config
            .reserved
            .iter()
            .find(|region| region.span.start.0 <= end && start <= region.span.last().0)
            && self.has(features::PROBE)
        {
            self.violation("VIRTIO 1.3 §5.13.6.8", format!("{} is mapped, which is reserved", region.span));
            return status::INVAL;
        }
        let Some(known) = self.domains.get_mut(&domain) else { return status::NOENT };
        if known.bypass {
            self.violation(SECTION, "MAP on a domain that passes everything through");
            return status::INVAL;
        }
        if known.mappings.range(..=end).next_back().is_some_and(|(_, mapping)| mapping.end >= start) {
            return status::INVAL;
        }
        known.mappings.insert(start, Mapping { end, to, flags });
        status::OK
    }

    fn unmap(&mut self, words: &[u64]) -> u8 {
        const SECTION: &str = "VIRTIO 1.3 §5.13.6.6";
        let domain = unmap::DOMAIN.get(words) as u32;
        let (start, end) = (unmap::VIRT_START.get(words), unmap::VIRT_END.get(words));
        if unmap::RESERVED.get(words) != 0 {
            self.violation(SECTION, "reserved bytes of UNMAP are set");
            return status::INVAL;
        }
        if !self.in_input_range(start, end) || !self.domain_in_range(domain) {
            return status::RANGE;
        }
        let Some(known) = self.domains.get_mut(&domain) else { return status::NOENT };
        if known.bypass {
            self.violation(SECTION, "UNMAP on a domain that passes everything through");
            return status::INVAL;
        }
        if self.config.counts_in_64_bits && (end - start).checked_add(1).is_none() {
            return status::RANGE;
        }
        let concerned = |(at, mapping): &(&u64, &Mapping)| **at <= end && mapping.end >= start;
        if known.mappings.iter().filter(concerned).any(|(at, mapping)| *at < start || mapping.end > end) {
            self.violation(SECTION, format!("{start:#x}..={end:#x} would split a mapping"));
            return status::RANGE;
        }
        known.mappings.retain(|at, mapping| !(*at <= end && mapping.end >= start));
        status::OK
    }

    fn probe(&mut self, endpoint: u32) -> Reply {
        let size = self.config.probe_size as usize;
        if !self.exists(endpoint) {
            return Reply::Properties(vec![0; size], status::NOENT);
        }
        self.endpoints.entry(endpoint).or_default().probed = true;
        let mut bytes = Vec::new();
        for region in &self.config.reserved {
            bytes.extend(property::T_RESV_MEM.to_le_bytes());
            bytes.extend((property::resv_mem::LENGTH as u16).to_le_bytes());
            bytes.extend([u8::from(region.msi), 0, 0, 0]);
            bytes.extend(region.span.start.0.to_le_bytes());
            bytes.extend(region.span.last().0.to_le_bytes());
        }
        if bytes.len() > size {
            return Reply::Properties(vec![0; size], status::INVAL);
        }
        bytes.resize(size, 0);
        Reply::Properties(bytes, status::OK)
    }
}
