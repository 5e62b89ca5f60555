//! Everything that one modelled SMMU knows, behind one lock.

use super::{cd::Cd, commands::Deferred, features::Features, ste::Ste, tlb::Tlb};
use crate::{memory::Memory, model::AtcSink};
use ioward_spec::{
    Field,
    smmuv3::registers::{cmdq_prod, output_prod, queue_base},
};
use ioward_types::{Pasid, PhysAddr, SourceId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What the SMMU signals besides what it writes to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// The Event queue is no longer empty.
    EventQueue,
    /// The PRI queue is no longer empty.
    PriQueue,
    /// A global error is active.
    GlobalError,
    /// A CMD_SYNC with SIG_IRQ and no MSI completed.
    Sync,
    /// A CMD_SYNC with SIG_SEV completed.
    WakeUp,
    /// An MSI was written, to memory or to a doorbell.
    Msi {
        /// Where.
        address: PhysAddr,
        /// What.
        data: u32,
    },
}

/// A page request's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageResponse {
    /// Whose request.
    pub source: SourceId,
    /// With which PASID.
    pub pasid: Option<Pasid>,
    /// The group that is answered.
    pub group: u16,
    /// The response: see `ioward_spec::smmuv3::command::resp`.
    pub response: u8,
}

/// Decides over each command, given as its two words, before it is carried out: false drops it.
pub type CommandFilter = Box<dyn FnMut(&[u64; 2]) -> bool + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Output {
    Event,
    Pri,
}

/// The registers of one queue.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Queue {
    pub(super) base: u64,
    pub(super) prod: u32,
    pub(super) cons: u32,
}

impl Queue {
    /// log2 of its entries, capped at what there is.
    pub(super) fn bits(&self, most: u8) -> u32 {
        (queue_base::LOG2SIZE.of(self.base) as u32).min(most.into())
    }

    pub(super) fn overflowed(&self) -> bool {
        output_prod::OVFLG.of((self.prod ^ self.cons).into()) != 0
    }

    /// Index and wrap flag of PROD and CONS.
    pub(super) fn indexes(&self, most: u8) -> (u32, u32) {
        let mask = (2u32 << self.bits(most)) - 1;
        let wr = |value: u32| cmdq_prod::WR.of(value.into()) as u32 & mask;
        (wr(self.prod), wr(self.cons))
    }

    /// Entries between CONS and PROD.
    pub(super) fn filled(&self, most: u8) -> u32 {
        let (prod, cons) = self.indexes(most);
        prod.wrapping_sub(cons) & ((2u32 << self.bits(most)) - 1)
    }
}

/// An MSI's registers.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Msi {
    pub(super) address: u64,
    pub(super) data: u32,
    pub(super) attributes: u32,
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Registers {
    pub(super) cr0: u32,
    pub(super) cr0ack: u32,
    pub(super) cr1: u32,
    pub(super) cr2: u32,
    pub(super) gbpa: u32,
    /// Written with Update = 1 and not in effect yet.
    pub(super) gbpa_next: Option<u32>,
    pub(super) irq_ctrl: u32,
    pub(super) irq_ctrlack: u32,
    pub(super) gerror: u32,
    pub(super) gerrorn: u32,
    pub(super) gerror_msi: Msi,
    pub(super) strtab_base: u64,
    pub(super) strtab_cfg: u32,
    pub(super) cmdq: Queue,
    pub(super) eventq: Queue,
    pub(super) eventq_msi: Msi,
    pub(super) priq: Queue,
    pub(super) priq_msi: Msi,
}

impl Registers {
    pub(super) fn output(&mut self, output: Output) -> &mut Queue {
        match output {
            Output::Event => &mut self.eventq,
            Output::Pri => &mut self.priq,
        }
    }
}

/// Garbage that caches hold after reset until commands empty them.
#[derive(Default)]
pub(super) struct Poison {
    /// Configuration: everything but these streams.
    pub(super) config: Option<BTreeSet<u32>>,
    /// NS-EL1 stage 1 entries: of every VMID but these.
    pub(super) first: Option<BTreeSet<u16>>,
    /// Stage 2 entries: of every VMID but these.
    pub(super) second: Option<BTreeSet<u16>>,
    /// NS-EL2 entries.
    pub(super) el2: bool,
}

/// A configuration structure as it was when hardware last read it.
#[derive(Clone, Copy)]
pub(super) struct Seen<T> {
    pub(super) at: u64,
    pub(super) what: T,
}

pub(super) struct State {
    pub(super) name: String,
    pub(super) features: Features,
    pub(super) memory: Memory,
    pub(super) regs: Registers,
    /// Register reads until what was written to CR0, GBPA and IRQ_CTRL takes effect.
    pub(super) latency: u32,
    pub(super) countdown: u32,

    pub(super) stes: BTreeMap<u32, Ste>,
    pub(super) l1stds: BTreeMap<u32, u64>,
    pub(super) cds: BTreeMap<(u32, u32), Cd>,
    pub(super) l1cds: BTreeMap<(u32, u32), u64>,
    pub(super) tlb: Tlb,
    pub(super) poison: Poison,
    pub(super) seen_stes: BTreeMap<u32, Seen<Ste>>,
    pub(super) seen_cds: BTreeMap<(u32, u32), Seen<Cd>>,
    /// Streams whose structures are fetched without being asked, and the substreams known of each.
    pub(super) known: BTreeMap<u32, BTreeSet<u32>>,
    pub(super) eager: bool,

    pub(super) deferred: Vec<Deferred>,
    pub(super) filter: Option<CommandFilter>,
    pub(super) atcs: BTreeMap<u32, Vec<Arc<dyn AtcSink>>>,
    pub(super) signals: Vec<Signal>,
    pub(super) responses: Vec<PageResponse>,
    pub(super) commands: Vec<[u64; 2]>,
    pub(super) events: u64,
    pub(super) hung: bool,
    pub(super) gone: bool,
}

impl State {
    pub(super) fn new(name: &str, features: Features, memory: Memory) -> Self {
        Self {
            name: name.into(),
            features,
            memory,
            regs: Registers::default(),
            latency: 2,
            countdown: 0,
            stes: BTreeMap::new(),
            l1stds: BTreeMap::new(),
            cds: BTreeMap::new(),
            l1cds: BTreeMap::new(),
            tlb: Tlb::default(),
            poison: Poison::default(),
            seen_stes: BTreeMap::new(),
            seen_cds: BTreeMap::new(),
            known: BTreeMap::new(),
            eager: true,
            deferred: Vec::new(),
            filter: None,
            atcs: BTreeMap::new(),
            signals: Vec::new(),
            responses: Vec::new(),
            commands: Vec::new(),
            events: 0,
            hung: false,
            gone: false,
        }
    }

    /// Reports something that the text forbids or leaves undefined.
    pub(super) fn wrong(&self, section: &'static str, what: impl Into<String>) {
        self.memory.violations().report(&self.name, section, what);
    }

    /// Whether a bit of CR0 has taken effect.
    pub(super) fn is_enabled(&self, field: Field) -> bool {
        field.of(self.regs.cr0ack.into()) != 0
    }

    /// Hardware reads 8 bytes.
    pub(super) fn fetch(&self, at: u64, snoops: bool) -> Result<u64, u64> {
        let coherent = self.features.coherent && snoops;
        if self.beyond(at) {
            return Err(at);
        }
        self.memory.read64(&self.name, PhysAddr(at), coherent).map_err(|_| at)
    }

    /// A stream is there, so its structures may be fetched at any time.
    pub(super) fn know(&mut self, source: u32, substream: u32) {
        if source >> self.features.sid_bits.min(31) == 0 {
            self.known.entry(source).or_default().insert(substream);
        }
    }
}
