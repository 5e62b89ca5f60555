//! Interrupts: pending bits, vectors, wires and messages (5.18, 5.28, 5.29).

use super::{
    features::Interrupts,
    state::{Signal, State},
    translate::Fault,
};
use ioward_spec::{
    Field,
    riscv::{
        fault::cause,
        registers::{self as r, cqcsr, fqcsr, icvec, ipsr, msi_addr, msi_vec_ctl, pqcsr},
    },
};
use ioward_types::PhysAddr;

/// Each pending bit with its vector.
const CAUSES: [(Field, Field); 4] =
    [(ipsr::CIP, icvec::CIV), (ipsr::FIP, icvec::FIV), (ipsr::PMIP, icvec::PMIV), (ipsr::PIP, icvec::PIV)];

impl State {
    /// Makes an interrupt pending; a bit that is pending already signals nothing more.
    pub(super) fn pend(&mut self, cause: Field) {
        if cause.of(self.regs.ipsr.into()) == 1 {
            return;
        }
        self.regs.ipsr |= cause.mask() as u32;
        let Some((_, vector)) = CAUSES.iter().find(|(bit, _)| *bit == cause) else { return };
        let vector = vector.of(self.regs.icvec) as usize;
        if self.is_wired() {
            self.signals.push(Signal::Wire { vector: vector as u8 });
            return;
        }
        let entry = &mut self.regs.msi[vector];
        if msi_vec_ctl::M.of(entry.control.into()) == 1 {
            entry.pending = true;
        } else {
            self.send(vector);
        }
    }

    /// Makes pending what the queues' state asks for (5.18).
    pub(super) fn pend_conditions(&mut self) {
        let is = |csr: u32, field: Field| field.of(csr.into()) == 1;
        let csr = self.regs.command.csr;
        let errors = [cqcsr::FENCE_W_IP, cqcsr::CMD_ILL, cqcsr::CMD_TO, cqcsr::CQMF];
        if is(csr, cqcsr::CIE) && errors.iter().any(|&error| is(csr, error)) {
            self.pend(ipsr::CIP);
        }
        let csr = self.regs.fault.csr;
        if is(csr, fqcsr::FIE) && (is(csr, fqcsr::FQOF) || is(csr, fqcsr::FQMF)) {
            self.pend(ipsr::FIP);
        }
        let csr = self.regs.page.csr;
        if is(csr, pqcsr::PIE) && (is(csr, pqcsr::PQOF) || is(csr, pqcsr::PQMF)) {
            self.pend(ipsr::PIP);
        }
    }

    /// Vectors whose wires are up, one bit each.
    pub(super) fn wires(&self) -> u16 {
        let up = CAUSES.iter().filter(|(bit, _)| self.is_wired() && bit.of(self.regs.ipsr.into()) == 1);
        up.fold(0, |wires, (_, vector)| wires | 1 << vector.of(self.regs.icvec))
    }

    fn send(&mut self, vector: usize) {
        let entry = self.regs.msi[vector];
        if !self.write_message(entry.address, entry.data) {
            let fault = Fault::of(cause::MSI_WRITE_ACCESS);
            self.report_own(&fault, entry.address);
        }
    }

    /// Writes a message. False: nothing answers.
    pub(super) fn write_message(&mut self, address: u64, data: u32) -> bool {
        if self.beyond(address) {
            return false;
        }
        let at = PhysAddr(address);
        let bytes = if self.is_big_endian() { data.to_be_bytes() } else { data.to_le_bytes() };
        // Outside memory there may be an interrupt controller, whose doorbell this is.
        let _ = self.memory.dma_write(&self.name, at, &bytes);
        self.signals.push(Signal::Msi { address: at, data });
        true
    }

    /// Writes a register of `msi_cfg_tbl`, given by its offset in the table.
    pub(super) fn write_msi(&mut self, offset: usize, value: u32) {
        let vector = offset / r::MSI_CFG_BYTES;
        if self.features.interrupts == Interrupts::Wires || vector >> self.features.vector_bits != 0 {
            return;
        }
        let entry = &mut self.regs.msi[vector];
        match offset % r::MSI_CFG_BYTES {
            r::MSI_ADDR => {
                entry.address = entry.address & !0xffff_ffff | msi_addr::ADDR.in_place(value.into());
            }
            r::MSI_DATA => entry.data = value,
            r::MSI_VEC_CTL => {
                entry.control = value & msi_vec_ctl::M.mask() as u32;
                if entry.control == 0 && std::mem::take(&mut entry.pending) {
                    self.send(vector);
                }
            }
            _ => {
                let high = msi_addr::ADDR.in_place(u64::from(value) << 32);
                entry.address = entry.address & 0xffff_ffff | high;
            }
        }
    }

    pub(super) fn read_msi(&self, offset: usize) -> u32 {
        let entry = &self.regs.msi[offset / r::MSI_CFG_BYTES];
        match offset % r::MSI_CFG_BYTES {
            r::MSI_ADDR => entry.address as u32,
            r::MSI_DATA => entry.data,
            r::MSI_VEC_CTL => entry.control,
            _ => (entry.address >> 32) as u32,
        }
    }
}
