//! Everything that one modelled IOMMU knows, behind one lock.

use super::{
    commands::Deferred,
    completion::Used,
    context::{DeviceContext, ProcessContext},
    features::{Features, Interrupts},
    tlb::Tlb,
};
use crate::{memory::Memory, model::AtcSink};
use ioward_spec::riscv::registers::{self as r, ddtp, fctl, queue_base};
use ioward_types::{Pasid, PhysAddr, SourceId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What the IOMMU signals besides what it writes to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// A wire goes up. It stays up until no pending bit of ipsr drives it.
    Wire {
        /// Its vector.
        vector: u8,
    },
    /// A message was written, to memory or to a doorbell.
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
    /// The response: see `ioward_spec::riscv::command::response`.
    pub code: u8,
}

/// Decides over each command, given as its two words, before it is carried out: false drops it.
pub type CommandFilter = Box<dyn FnMut(&[u64; 2]) -> bool + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Command,
    Fault,
    PageRequest,
}

/// The registers of one queue.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Queue {
    pub(super) base: u64,
    pub(super) head: u32,
    pub(super) tail: u32,
    /// Enable bits and sticky errors of the control register.
    pub(super) csr: u32,
    /// The queue is on.
    pub(super) on: bool,
    /// A write to the control register is taking effect.
    pub(super) busy: bool,
}

impl Queue {
    /// Index bits that the size needs.
    pub(super) fn mask(&self) -> u32 {
        (1u64 << (queue_base::LOG2SZ_1.of(self.base) + 1)).wrapping_sub(1) as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(super) fn is_full(&self) -> bool {
        self.tail.wrapping_add(1) & self.mask() == self.head
    }

    /// Entries between head and tail.
    pub(super) fn filled(&self) -> u32 {
        self.tail.wrapping_sub(self.head) & self.mask()
    }

    /// Address of the entry with an index.
    pub(super) fn entry(&self, index: u32, bytes: u64) -> u64 {
        (queue_base::PPN.of(self.base) << 12) + u64::from(index) * bytes
    }
}

/// One entry of `msi_cfg_tbl`.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct MsiEntry {
    pub(super) address: u64,
    pub(super) data: u32,
    pub(super) control: u32,
    /// A message waits for the mask to go.
    pub(super) pending: bool,
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Registers {
    pub(super) fctl: u32,
    /// Without the busy bit.
    pub(super) ddtp: u64,
    pub(super) ddtp_busy: bool,
    /// The mode that was asked for, while busy.
    pub(super) ddtp_next: u64,
    pub(super) command: Queue,
    pub(super) fault: Queue,
    pub(super) page: Queue,
    pub(super) ipsr: u32,
    pub(super) icvec: u64,
    pub(super) msi: [MsiEntry; r::MSI_CFG_ENTRIES],
    pub(super) tr_iova: u64,
    pub(super) tr_ctl: u64,
    pub(super) tr_response: u64,
}

impl Registers {
    pub(super) fn queue(&mut self, kind: Kind) -> &mut Queue {
        match kind {
            Kind::Command => &mut self.command,
            Kind::Fault => &mut self.fault,
            Kind::PageRequest => &mut self.page,
        }
    }
}

/// Garbage that caches hold until commands empty them.
#[derive(Default)]
pub(super) struct Poison {
    /// Device contexts: of every device but these.
    pub(super) contexts: Option<BTreeSet<u32>>,
    /// Host translations: of every PSCID but these.
    pub(super) host: Option<BTreeSet<u32>>,
    /// Guest translations of both stages: of every GSCID but these.
    pub(super) first: Option<BTreeSet<u16>>,
    /// Second-stage translations: of every GSCID but these.
    pub(super) second: Option<BTreeSet<u16>>,
}

/// A context as it was when hardware last read it.
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
    /// Register reads until what was written takes effect.
    pub(super) latency: u32,
    pub(super) countdown: u32,

    /// Non-leaf entries of the device directory: level and the device_id above it.
    pub(super) ddtes: BTreeMap<(usize, u32), u64>,
    pub(super) dcs: BTreeMap<u32, DeviceContext>,
    /// Non-leaf entries of process directories: device, level and the process_id above it.
    pub(super) pdtes: BTreeMap<(u32, usize, u32), u64>,
    pub(super) pcs: BTreeMap<(u32, u32), ProcessContext>,
    pub(super) tlb: Tlb,
    pub(super) poison: Poison,
    pub(super) seen_dcs: BTreeMap<u32, Seen<DeviceContext>>,
    pub(super) seen_pcs: BTreeMap<(u32, u32), Seen<ProcessContext>>,
    /// Devices whose contexts are fetched without being asked, and the processes known of each.
    pub(super) known: BTreeMap<u32, BTreeSet<u32>>,
    pub(super) eager: bool,

    pub(super) deferred: Vec<Deferred>,
    /// Whose translations were used since a fence ordered that, by GSCID and PSCID.
    pub(super) used: BTreeMap<(Option<u16>, Option<u32>), Used>,
    /// An ATS invalidation timed out, and no fence has told yet.
    pub(super) timed_out: bool,
    pub(super) filter: Option<CommandFilter>,
    pub(super) atcs: BTreeMap<u32, Vec<Arc<dyn AtcSink>>>,
    pub(super) signals: Vec<Signal>,
    pub(super) responses: Vec<PageResponse>,
    pub(super) commands: Vec<[u64; 2]>,
    pub(super) faults: u64,
    pub(super) hung: bool,
    pub(super) stuck: bool,
    pub(super) gone: bool,
}

impl State {
    pub(super) fn new(name: &str, features: Features, memory: Memory) -> Self {
        let mut regs = Registers::default();
        let wired = features.interrupts == Interrupts::Wires;
        regs.fctl = (fctl::BE.put(features.big_endian.into()) | fctl::WSI.put(wired.into())) as u32;
        regs.ddtp = if features.starts_bare { ddtp::mode::BARE } else { ddtp::mode::OFF };
        Self {
            name: name.into(),
            features,
            memory,
            regs,
            latency: 2,
            countdown: 0,
            ddtes: BTreeMap::new(),
            dcs: BTreeMap::new(),
            pdtes: BTreeMap::new(),
            pcs: BTreeMap::new(),
            tlb: Tlb::default(),
            poison: Poison::default(),
            seen_dcs: BTreeMap::new(),
            seen_pcs: BTreeMap::new(),
            known: BTreeMap::new(),
            eager: true,
            deferred: Vec::new(),
            used: BTreeMap::new(),
            timed_out: false,
            filter: None,
            atcs: BTreeMap::new(),
            signals: Vec::new(),
            responses: Vec::new(),
            commands: Vec::new(),
            faults: 0,
            hung: false,
            stuck: false,
            gone: false,
        }
    }

    /// Reports something that the text forbids or leaves undefined.
    pub(super) fn wrong(&self, section: &'static str, what: impl Into<String>) {
        self.memory.violations().report(&self.name, section, what);
    }

    /// ddtp.iommu_mode as far as it has taken effect.
    pub(super) fn mode(&self) -> u64 {
        ddtp::IOMMU_MODE.of(self.regs.ddtp)
    }

    /// Levels of the device directory; 0 where the mode is Off or Bare.
    pub(super) fn levels(&self) -> usize {
        self.mode().saturating_sub(ddtp::mode::BARE) as usize
    }

    pub(super) fn is_big_endian(&self) -> bool {
        fctl::BE.of(self.regs.fctl.into()) == 1
    }

    pub(super) fn is_wired(&self) -> bool {
        fctl::WSI.of(self.regs.fctl.into()) == 1
    }

    /// Hardware reads 8 bytes at a physical address; none where nothing answers.
    pub(super) fn fetch(&self, at: u64, big: bool) -> Option<u64> {
        if self.beyond(at) {
            return None;
        }
        let word = self.memory.read64(&self.name, PhysAddr(at), self.features.coherent).ok()?;
        Some(if big { word.swap_bytes() } else { word })
    }

    /// Hardware stores 8 bytes at a physical address. False: nothing answers.
    pub(super) fn store(&self, at: u64, value: u64, big: bool) -> bool {
        let value = if big { value.swap_bytes() } else { value };
        !self.beyond(at) && self.memory.write64(&self.name, PhysAddr(at), value).is_ok()
    }

    /// Physical addresses stay below capabilities.PAS.
    pub(super) fn beyond(&self, at: u64) -> bool {
        at >> self.features.pas.min(63) != 0
    }

    /// A device is there, so its contexts may be fetched at any time.
    pub(super) fn know(&mut self, device: u32, process: Option<u32>) {
        let processes = self.known.entry(device).or_default();
        processes.extend(process);
    }
}
