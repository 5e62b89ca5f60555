//! What the SMMU reports: event records, page requests, global errors, interrupts (IHI 0070 G.b, chapters 7 and 8).

use super::state::{Output, Signal, State};
use crate::model::{Access, Request};
use ioward_spec::{
    Field,
    smmuv3::{
        event::{self, class, id},
        pri,
        registers::{gerror, idr5, irq_ctrl, queue_base},
    },
};
use ioward_types::PhysAddr;

/// Why a request ended, as far as a record tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// Event number.
    pub(super) id: u64,
    pub(super) second: bool,
    pub(super) class: u64,
    /// The IPA of a stage 2 fault.
    pub(super) ipa: u64,
    /// Physical address of a fetch that was aborted.
    pub(super) fetch: u64,
}

impl Fault {
    /// A configuration fault.
    pub(super) fn config(id: u64) -> Self {
        Self { id, second: false, class: 0, ipa: 0, fetch: 0 }
    }

    /// A configuration structure could not be fetched.
    pub(super) fn fetch(id: u64, at: u64) -> Self {
        Self { fetch: at, ..Self::config(id) }
    }

    /// A fault of the request itself at stage 1.
    pub(super) fn first(id: u64) -> Self {
        Self { class: class::IN, ..Self::config(id) }
    }

    /// Whether CD.R and STE.S2R decide if it is recorded.
    pub(super) fn is_translation(&self) -> bool {
        matches!(self.id, id::F_TRANSLATION | id::F_ADDR_SIZE | id::F_ACCESS | id::F_PERMISSION)
    }
}

impl State {
    /// Records a request's fault.
    pub(super) fn record(&mut self, fault: &Fault, request: &Request, privileged: bool, instruction: bool) {
        let mut words = [0u64; event::WORDS];
        let mut set = |field: Field, value: u64| field.set(&mut words, value);
        set(event::ID, fault.id);
        set(event::STREAM_ID, request.source.0.into());
        if let Some(pasid) = request.pasid {
            set(event::SUBSTREAM_ID, pasid.0.into());
            // C_BAD_SUBSTREAMID has no SSV: its SubstreamID is always valid (7.3.9).
            set(event::SSV, u64::from(fault.id != id::C_BAD_SUBSTREAMID));
        }
        if fault.id == id::F_STREAM_DISABLED {
            set(event::SSV, 0);
            set(event::SUBSTREAM_ID, 0);
        }
        let has_address = fault.is_translation()
            || matches!(fault.id, id::F_WALK_EABT | id::F_TRANSL_FORBIDDEN | id::F_BAD_ATS_TREQ);
        if has_address {
            set(event::INPUT_ADDR, request.at.0);
        }
        let is_write = request.access == Access::Write;
        if fault.is_translation() || fault.id == id::F_WALK_EABT {
            set(event::RNW, (!is_write).into());
            set(event::PNU, privileged.into());
            set(event::IND, (instruction && !is_write).into());
            set(event::S2, fault.second.into());
            set(event::CLASS, fault.class);
            if fault.second && fault.id != id::F_WALK_EABT {
                words[event::IPA.word] |= event::IPA.in_place(fault.ipa);
            }
            if fault.id == id::F_PERMISSION && fault.class == class::TT {
                event::TTRNW.set(&mut words, 1);
            }
        } else if fault.id == id::F_TRANSL_FORBIDDEN {
            set(event::RNW, (!is_write).into());
        }
        if matches!(fault.id, id::F_WALK_EABT | id::F_STE_FETCH | id::F_CD_FETCH) {
            words[event::FETCH_ADDR.word] |= event::FETCH_ADDR.in_place(fault.fetch);
        }
        self.push_event(words);
    }

    fn push_event(&mut self, words: [u64; event::WORDS]) {
        self.events += 1;
        if !self.is_enabled(ioward_spec::smmuv3::registers::cr0::EVENTQEN)
            || self.error_active(gerror::EVENTQ_ABT_ERR)
        {
            return;
        }
        self.push(Output::Event, &words);
    }

    /// A page request arrives. False: it was discarded, and the device gets a failure or an automatic answer.
    pub(super) fn push_page_request(&mut self, words: [u64; pri::WORDS]) -> bool {
        use ioward_spec::smmuv3::registers::cr0;
        let works = self.is_enabled(cr0::PRIQEN) && self.is_enabled(cr0::SMMUEN);
        if !works || self.error_active(gerror::PRIQ_ABT_ERR) || self.regs.priq.overflowed() {
            return false;
        }
        self.push(Output::Pri, &words)
    }

    fn push(&mut self, output: Output, words: &[u64]) -> bool {
        let (most, abort) = match output {
            Output::Event => (self.features.eventq_bits, gerror::EVENTQ_ABT_ERR),
            Output::Pri => (self.features.priq_bits, gerror::PRIQ_ABT_ERR),
        };
        let queue = self.regs.output(output);
        let bits = queue.bits(most);
        let mask = (1u32 << bits) - 1;
        let indexes = mask << 1 | 1;
        if (queue.prod ^ queue.cons) & indexes == 1 << bits {
            if !queue.overflowed() {
                queue.prod ^= 1 << 31;
            }
            return false;
        }
        let was_empty = (queue.prod ^ queue.cons) & indexes == 0;
        let bytes = (words.len() * 8) as u64;
        let base = queue_base::ADDR.in_place(queue.base) & !(((bytes << bits) - 1).max(31));
        let at = base + u64::from(queue.prod & mask) * bytes;
        let name = self.name.clone();
        for (n, word) in words.iter().enumerate() {
            if self.memory.write64(&name, PhysAddr(at + 8 * n as u64), *word).is_err() {
                self.raise(abort);
                return false;
            }
        }
        let queue = self.regs.output(output);
        queue.prod = queue.prod & !indexes | queue.prod.wrapping_add(1) & indexes;
        if was_empty {
            self.interrupt(output);
        }
        true
    }

    fn interrupt(&mut self, output: Output) {
        let (enable, msi, abort, signal) = match output {
            Output::Event => {
                (irq_ctrl::EVENTQ_IRQEN, self.regs.eventq_msi, gerror::MSI_EVENTQ_ABT_ERR, Signal::EventQueue)
            }
            Output::Pri => {
                (irq_ctrl::PRIQ_IRQEN, self.regs.priq_msi, gerror::MSI_PRIQ_ABT_ERR, Signal::PriQueue)
            }
        };
        if enable.of(self.regs.irq_ctrl.into()) == 0 {
            return;
        }
        if !self.features.msi || msi.address == 0 {
            self.signals.push(signal);
        } else if !self.send_msi(msi.address, msi.data) {
            self.raise(abort);
        }
    }

    /// Writes an MSI. False: it was aborted.
    pub(super) fn send_msi(&mut self, address: u64, data: u32) -> bool {
        let at = PhysAddr(address & 0x00ff_ffff_ffff_fffc);
        self.signals.push(Signal::Msi { address: at, data });
        let name = self.name.clone();
        let outside = self.memory.dma_write(&name, at, &data.to_le_bytes()).is_err();
        // Outside memory there may be an interrupt controller, whose doorbell this is.
        !outside || at.0 >> self.features.out_bits == 0
    }

    /// Activates a global error, unless it is active.
    pub(super) fn raise(&mut self, error: Field) {
        if self.error_active(error) {
            return;
        }
        self.regs.gerror ^= error.mask() as u32;
        let silent = error == gerror::MSI_GERROR_ABT_ERR;
        if silent || irq_ctrl::GERROR_IRQEN.of(self.regs.irq_ctrl.into()) == 0 {
            return;
        }
        let msi = self.regs.gerror_msi;
        if !self.features.msi || msi.address == 0 {
            self.signals.push(Signal::GlobalError);
        } else if !self.send_msi(msi.address, msi.data) {
            self.raise(gerror::MSI_GERROR_ABT_ERR);
        }
    }

    pub(super) fn error_active(&self, error: Field) -> bool {
        error.of((self.regs.gerror ^ self.regs.gerrorn).into()) != 0
    }

    /// Physical addresses stay below this.
    pub(super) fn beyond(&self, at: u64) -> bool {
        let bits = idr5::oas::BITS.iter().copied().find(|&bits| bits == self.features.out_bits).unwrap_or(32);
        at >> bits != 0
    }
}
