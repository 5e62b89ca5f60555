//! Checking descriptors and issuing what they ask for (6.5.2).

use super::{
    cache::Range,
    command::function_mask,
    invalidate::{DeviceTlb, Invalidation},
    prq::Answer,
    queue::QueueError,
    unit::Unit,
};
use ioward_spec::vtd::{
    descriptor::{kind::*, *},
    registers::{granularity, iqercd::iqei},
};
use ioward_types::{Pasid, SourceId};

const RESERVED_SET: QueueError = (iqei::RESERVED_FIELD, "a reserved field is not zero");
const TYPE_ERROR: QueueError = (iqei::INVALID_TYPE, "no such descriptor");

impl Unit {
    /// Issues what a descriptor asks for; a wait is handed back.
    pub fn decode(&mut self, words: &[u64; WORDS], wide: bool) -> Result<Option<[u64; WORDS]>, QueueError> {
        let config = &self.config;
        let kind = TYPE.get(words);
        if TYPE_HIGH.is_set(words) {
            return Err(TYPE_ERROR);
        }
        let by_pasid = wide && config.scalable;
        let (reserved, known) = match kind {
            CONTEXT_CACHE => (&context_cache::RESERVED, true),
            IOTLB => (&iotlb::RESERVED, true),
            DEVICE_TLB => (&device_tlb::RESERVED, config.device_tlb),
            INTERRUPT_ENTRY_CACHE => (&interrupt_entry_cache::RESERVED, config.interrupt_remapping),
            WAIT => (&wait::RESERVED, true),
            PASID_IOTLB => (&pasid_iotlb::RESERVED, by_pasid),
            PASID_CACHE => (&pasid_cache::RESERVED, by_pasid),
            PASID_DEVICE_TLB => (&pasid_device_tlb::RESERVED, by_pasid && config.device_tlb),
            PAGE_GROUP_RESPONSE => (&page_group_response::RESERVED, by_pasid && config.page_requests),
            _ => return Err(TYPE_ERROR),
        };
        if !known {
            return Err(TYPE_ERROR);
        }
        if words.iter().zip(reserved).any(|(word, reserved)| word & reserved != 0) {
            return Err(RESERVED_SET);
        }
        match kind {
            WAIT => {
                if wait::PD.is_set(words) && !config.page_request_draining {
                    return Err((iqei::RESERVED_FIELD, "PD without ECAP.PDS"));
                }
                return Ok(Some(*words));
            }
            PAGE_GROUP_RESPONSE => self.answer(words),
            _ => {
                let what = self.invalidation(kind, words)?;
                self.issue(what);
            }
        }
        Ok(None)
    }

    fn invalidation(&self, kind: u64, words: &[u64; WORDS]) -> Result<Invalidation, QueueError> {
        Ok(match kind {
            CONTEXT_CACHE => {
                use context_cache::*;
                match G.get(words) {
                    granularity::GLOBAL => Invalidation::Contexts,
                    granularity::DOMAIN => Invalidation::ContextsOf(self.domain(DID.get(words))?),
                    granularity::DEVICE => Invalidation::ContextOf {
                        domain: self.domain(DID.get(words))?,
                        source: SID.get(words) as u16,
                        ignore: function_mask(FM.get(words)),
                    },
                    _ => return Err(RESERVED_SET),
                }
            }
            PASID_CACHE => {
                use pasid_cache::{granularity::*, *};
                match G.get(words) {
                    DOMAIN => Invalidation::PasidsOf(self.domain(DID.get(words))?),
                    granularity::PASID => Invalidation::PasidOf {
                        domain: self.domain(DID.get(words))?,
                        pasid: self.pasid(pasid_cache::PASID.get(words))?,
                    },
                    GLOBAL => Invalidation::Pasids,
                    _ => return Err(RESERVED_SET),
                }
            }
            IOTLB => {
                use iotlb::*;
                match G.get(words) {
                    granularity::GLOBAL => Invalidation::Translations,
                    granularity::DOMAIN => Invalidation::TranslationsOf(self.domain(DID.get(words))?),
                    granularity::PAGE if !self.config.page_selective => {
                        Invalidation::TranslationsOf(self.domain(DID.get(words))?)
                    }
                    granularity::PAGE => Invalidation::PagesOf {
                        domain: self.domain(DID.get(words))?,
                        range: self.pages(ADDR.get_in_place(words), AM.get(words))?,
                        leaves_only: IH.is_set(words),
                    },
                    _ => return Err(RESERVED_SET),
                }
            }
            PASID_IOTLB => {
                use pasid_iotlb::*;
                let range = match G.get(words) {
                    granularity::PASID => Range::ALL,
                    granularity::PAGE => self.pages(ADDR.get_in_place(words), AM.get(words))?,
                    _ => return Err(RESERVED_SET),
                };
                Invalidation::PasidPagesOf {
                    domain: self.domain(DID.get(words))?,
                    pasid: self.pasid(pasid_iotlb::PASID.get(words))?,
                    range,
                    leaves_only: G.get(words) == granularity::PAGE && IH.is_set(words),
                }
            }
            DEVICE_TLB => {
                use device_tlb::*;
                Invalidation::DeviceTlb(DeviceTlb {
                    source: SourceId(SID.get(words) as u32),
                    pasid: None,
                    global: false,
                    range: Range::sized(ADDR.get_in_place(words), S.is_set(words)),
                })
            }
            PASID_DEVICE_TLB => {
                use pasid_device_tlb::*;
                Invalidation::DeviceTlb(DeviceTlb {
                    source: SourceId(SID.get(words) as u32),
                    pasid: Some(self.pasid(pasid_device_tlb::PASID.get(words))?),
                    global: G.is_set(words),
                    range: Range::sized(ADDR.get_in_place(words), S.is_set(words)),
                })
            }
            INTERRUPT_ENTRY_CACHE => {
                use interrupt_entry_cache::*;
                if !G.is_set(words) {
                    return Ok(Invalidation::Interrupts);
                }
                if IM.get(words) > self.config.index_mask.into() {
                    return Err((iqei::RESERVED_FIELD, "an index mask beyond ECAP.MHMV"));
                }
                let ignored = (1u32 << IM.get(words)) - 1;
                let first = IIDX.get(words) as u32 & !ignored;
                Invalidation::InterruptsOf(first, first | ignored)
            }
            _ => return Err(TYPE_ERROR),
        })
    }

    fn domain(&self, domain: u64) -> Result<u16, QueueError> {
        if self.bad_domain(domain) {
            return Err((iqei::RESERVED_FIELD, "a domain ID beyond CAP.ND"));
        }
        Ok(domain as u16)
    }

    fn pasid(&self, pasid: u64) -> Result<u32, QueueError> {
        let bits = if self.config.pasid { self.config.pasid_bits } else { 20 };
        if pasid >> bits.min(20) != 0 {
            return Err((iqei::RESERVED_FIELD, "a PASID beyond ECAP.PSS"));
        }
        Ok(pasid as u32)
    }

    fn pages(&self, address: u64, mask: u64) -> Result<Range, QueueError> {
        if mask > self.config.address_mask.into() {
            return Err((iqei::RESERVED_FIELD, "an address mask beyond CAP.MAMV"));
        }
        Ok(Range::masked(address, mask))
    }

    fn answer(&mut self, words: &[u64; WORDS]) {
        use page_group_response::*;
        self.answers.push(Answer {
            source: SourceId(RID.get(words) as u32),
            pasid: PP.is_set(words).then(|| Pasid(page_group_response::PASID.get(words) as u32)),
            group: PRGI.get(words) as u16,
            status: RC.get(words) as u8,
        });
    }
}
