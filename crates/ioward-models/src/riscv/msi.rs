//! Messages to virtual interrupt files: the MSI page table and interrupt files in memory (2.3.3; Advanced Interrupt
//! Architecture 9.3 and 9.5).

use super::{
    context::DeviceContext,
    state::State,
    translate::{Asker, Fault, How, Mrif, Reached},
};
use crate::model::{Access, Request};
use ioward_spec::{
    field::cover,
    riscv::{
        device::{self as d, msiptp_mode},
        fault::cause,
        msi::{self as m, mode},
    },
};
use ioward_types::PhysAddr;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsiOutcome {
    /// It is written there.
    To(PhysAddr),
    /// It is stored in an interrupt file in memory.
    Stored {
        /// The interrupt was enabled, so a notice message was written.
        noticed: bool,
    },
    /// It ends here.
    Aborted,
}

/// Bits of `from` where `mask` has ones, packed at the lowest end.
fn extract(from: u64, mask: u64) -> u64 {
    let picked = (0..64).filter(|bit| mask >> bit & 1 == 1).enumerate();
    picked.fold(0, |packed, (to, bit)| packed | (from >> bit & 1) << to)
}

impl State {
    /// Translates an address of a virtual interrupt file; none where it is not one.
    pub(super) fn msi_translate(
        &mut self,
        context: &DeviceContext,
        guest: u64,
        asker: &Asker,
    ) -> Result<Option<Reached>, Fault> {
        let Some(gscid) = context.gscid(&self.features) else { return Ok(None) };
        let page = guest >> 12;
        let mask = context.get(d::MSI_ADDR_MASK);
        let recognized = page & !mask == context.get(d::MSI_ADDR_PATTERN) & !mask;
        if context.get(d::MSIPTP_MODE) == msiptp_mode::OFF || !recognized {
            return Ok(None);
        }
        let entry = match self.tlb.msi(gscid, page) {
            Some(entry) => entry,
            None => {
                let offset = extract(page, mask) * m::BYTES as u64;
                let at = context.get(d::MSIPTP_PPN) << 12 | offset;
                let big = self.is_big_endian();
                let word = |at| self.fetch(at, big).ok_or(Fault::of(cause::MSI_PTE_ACCESS));
                let entry = [word(at)?, word(at + 8)?];
                if m::V.is_set(&entry) {
                    self.tlb.insert_msi(gscid, page, entry);
                }
                entry
            }
        };
        let reached = self.msi_decode(entry, guest)?;
        match asker.access {
            Access::Execute => Err(Fault::of(cause::INSTRUCTION_ACCESS)),
            _ => Ok(Some(reached)),
        }
    }

    fn msi_decode(&self, entry: [u64; 2], guest: u64) -> Result<Reached, Fault> {
        let misconfigured = Err(Fault::of(cause::MSI_PTE_MISCONFIGURED));
        if !m::V.is_set(&entry) {
            return Err(Fault::of(cause::MSI_PTE_NOT_VALID));
        }
        if m::C.is_set(&entry) {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 2.3.3",
                format!("the MSI entry for {guest:#x} has C set, which is the implementation's"),
            );
            return misconfigured;
        }
        let reserved = |fields: &[ioward_spec::Field], n: usize| entry[n] & !cover(fields, n) != 0;
        match m::M.get(&entry) {
            // The second doubleword is software's (Advanced Interrupt Architecture 9.5.1).
            mode::BASIC if !reserved(&[m::V, m::M, m::PPN, m::C], 0) => {
                let at = m::PPN.get(&entry) << 12 | guest & 0xfff;
                Ok(Reached { at, bits: 12, writable: true, mrif: None })
            }
            mode::MRIF if self.features.msi_mrif => {
                let fields = [m::V, m::M, m::MRIF_ADDRESS, m::C, m::NID, m::NPPN, m::NID_10];
                if reserved(&fields, 0) || reserved(&fields, 1) {
                    return misconfigured;
                }
                let mrif = Mrif {
                    file: m::MRIF_ADDRESS.get(&entry) * m::MRIF_BYTES,
                    notice: m::NPPN.get(&entry) << 12,
                    identity: (m::NID_10.get(&entry) << 10 | m::NID.get(&entry)) as u32,
                };
                Ok(Reached { at: guest, bits: 12, writable: true, mrif: Some(mrif) })
            }
            _ => misconfigured,
        }
    }

    /// A device writes a message.
    pub(super) fn message_write(&mut self, request: &Request, data: u32) -> MsiOutcome {
        let request = Request { access: Access::Write, ..*request };
        match self.translate(&request, How::Untranslated, false) {
            Ok(Reached { mrif: Some(mrif), .. }) => match self.store_message(&mrif, request.at.0, data) {
                Some(noticed) => MsiOutcome::Stored { noticed },
                None => {
                    self.report(&request, How::Untranslated, &Fault::of(cause::MRIF_ACCESS));
                    MsiOutcome::Aborted
                }
            },
            Ok(reached) => MsiOutcome::To(PhysAddr(reached.at)),
            Err(end) => {
                self.end(&request, How::Untranslated, &end);
                MsiOutcome::Aborted
            }
        }
    }

    /// Sets a pending bit and sends the notice where the interrupt is enabled. None: nothing answers.
    fn store_message(&mut self, mrif: &Mrif, at: u64, data: u32) -> Option<bool> {
        // Offset 0 of the page takes little-endian data, offset 4 big-endian; others are no register.
        let identity = match at & 0xfff {
            0 => data,
            4 => data.swap_bytes(),
            _ => return Some(false),
        };
        if identity == 0 || identity >= m::MRIF_IDENTITIES {
            return Some(false);
        }
        let pending = mrif.file + u64::from(identity / 64) * 16;
        let bit = 1u64 << (identity % 64);
        let old = self.fetch(pending, false)?;
        if !self.store(pending, old | bit, false) {
            return None;
        }
        let enabled = self.fetch(pending + 8, false)? & bit != 0;
        if enabled {
            self.write_message(mrif.notice, mrif.identity);
        }
        Some(enabled)
    }
}
