//! The IOMMU's own interrupts (5.4, 5.28, 5.29): wires or messages, and which vector each queue has.

use super::{
    capabilities::Features,
    config::{BringUpError, Config, Interrupts, Message},
    registers::{Registers, bit},
};
use alloc::vec::Vec;
use ioward_spec::riscv::registers::{
    self as spec, MSI_ADDR, MSI_CFG_BYTES, MSI_DATA, MSI_VEC_CTL, fctl, icvec, msi_addr, msi_vec_ctl,
};
use ioward_types::Mmio;

/// Vectors of the command, the fault and the page-request queue, and the message of each vector from 0 up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wiring {
    vectors: [u64; 3],
    messages: Vec<Message>,
    /// fctl.WSI; none where it does not matter.
    pub wired: Option<bool>,
}

impl Wiring {
    /// What the configuration asks for, checked against what there is.
    pub fn new(config: &Config, features: &Features, capabilities: u64) -> Result<Self, BringUpError> {
        let lacks = |what| BringUpError::Unsupported { register: "capabilities", value: capabilities, what };
        match config.interrupts {
            Interrupts::Polled => Ok(Self { vectors: [0; 3], messages: Vec::new(), wired: None }),
            Interrupts::Wired { .. } if !features.wires => Err(lacks("wired interrupts")),
            Interrupts::Wired { command, fault, page_request } => {
                let vectors = [command, fault, page_request];
                if vectors.iter().any(|vector| u64::from(*vector) > icvec::CIV.max()) {
                    return Err(BringUpError::Config("a wire beyond the 16 that there can be"));
                }
                Ok(Self { vectors: vectors.map(u64::from), messages: Vec::new(), wired: Some(true) })
            }
            Interrupts::Messages { .. } if !features.messages => Err(lacks("interrupts by message")),
            Interrupts::Messages { command, fault, page_request } => {
                let mut messages: Vec<Message> = Vec::new();
                let mut vectors = [0; 3];
                for (vector, message) in vectors.iter_mut().zip([command, fault, page_request]) {
                    let address = message.address.0;
                    if address != msi_addr::ADDR.in_place(address) {
                        return Err(BringUpError::Config("a message to what is no multiple of 4 below 2^56"));
                    }
                    let place = messages.iter().position(|known| *known == message);
                    let place = place.unwrap_or_else(|| {
                        messages.push(message);
                        messages.len() - 1
                    });
                    *vector = place as u64;
                }
                Ok(Self { vectors, messages, wired: Some(false) })
            }
        }
    }

    /// Whether queues are to raise interrupts at all.
    pub fn is_on(&self) -> bool {
        self.wired.is_some()
    }

    /// Programs vectors and messages, while the queues are off.
    pub fn program<M: Mmio>(&self, registers: &Registers<M>) -> Result<(), BringUpError> {
        // Queues whose interrupts are not enabled send no message, whatever the table says, so it is left alone.
        if !self.is_on() {
            return Ok(());
        }
        let mmio = &registers.mmio;
        let [command, fault, page_request] = self.vectors;
        let wanted = icvec::CIV.put(command) | icvec::FIV.put(fault) | icvec::PIV.put(page_request);
        registers.write64(spec::ICVEC, wanted);
        let value = mmio.read64(spec::ICVEC);
        let ours = icvec::CIV.mask() | icvec::FIV.mask() | icvec::PIV.mask();
        if value & ours != wanted {
            let what = "a vector for each interrupt";
            return Err(BringUpError::Locked { register: "icvec", value, what });
        }
        for (vector, message) in self.messages.iter().enumerate() {
            let at = entry(vector);
            mmio.write32(at + MSI_VEC_CTL, bit(msi_vec_ctl::M));
            registers.write64(at + MSI_ADDR, message.address.0);
            mmio.write32(at + MSI_DATA, message.data);
            let value = mmio.read64(at + MSI_ADDR);
            if value != message.address.0 || mmio.read32(at + MSI_DATA) != message.data {
                return Err(BringUpError::Locked { register: "msi_cfg_tbl", value, what: "a message" });
            }
            mmio.write32(at + MSI_VEC_CTL, 0);
        }
        Ok(())
    }
}

fn entry(vector: usize) -> usize {
    spec::MSI_CFG_TBL + vector * MSI_CFG_BYTES
}

/// Sets byte order, guest width and the kind of interrupts (5.4). The IOMMU is Off and its queues are off.
pub(super) fn set_features<M: Mmio>(
    registers: &Registers<M>,
    wired: Option<bool>,
) -> Result<(), BringUpError> {
    let now = registers.mmio.read32(spec::FCTL);
    let mut wanted = now & !(bit(fctl::BE) | bit(fctl::GXL));
    if let Some(wired) = wired {
        wanted = wanted & !bit(fctl::WSI) | if wired { bit(fctl::WSI) } else { 0 };
    }
    if wanted != now {
        registers.mmio.write32(spec::FCTL, wanted);
    }
    let value = registers.mmio.read32(spec::FCTL);
    let locked = |what| Err(BringUpError::Locked { register: "fctl", value: value.into(), what });
    match value ^ wanted {
        differs if differs & bit(fctl::BE) != 0 => locked("little-endian structures (BE clear)"),
        differs if differs & bit(fctl::GXL) != 0 => locked("guests of 64 bits (GXL clear)"),
        differs if differs & bit(fctl::WSI) != 0 => locked("the kind of interrupts (WSI)"),
        _ => Ok(()),
    }
}
