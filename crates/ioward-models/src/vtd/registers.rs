//! Registers and what writing them does (chapter 11).

use super::unit::Unit;
use ioward_spec::{
    Field,
    vtd::{fault, registers::*},
};
use std::collections::BTreeMap;

/// What raises one of the unit's own interrupts.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct EventRegisters {
    pub pending: bool,
    pub masked: bool,
    pub data: u32,
    pub address: u32,
    pub upper: u32,
}

/// A change of GSTS that has been asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turning {
    /// What was asked for: bits of GCMD that change or act.
    pub bits: u32,
    /// How many reads of GSTS it takes yet.
    pub left: u32,
}

#[derive(Default)]
pub(super) struct Registers {
    pub gsts: u32,
    pub turning: Option<Turning>,
    /// How many reads of a status pass until something has happened.
    pub latency: u32,
    pub rtaddr: u64,
    /// What SRTP took over.
    pub root: u64,
    pub irta: u64,
    /// What SIRTP took over.
    pub interrupt_table: u64,
    pub ccmd: u64,
    pub ccmd_left: u32,
    pub iotlb: u64,
    pub iotlb_left: u32,
    pub iva: u64,
    /// Without PPF and FRI.
    pub fsts: u32,
    pub records: Vec<[u64; fault::WORDS]>,
    /// The record that the next fault goes to.
    pub next_record: usize,
    pub fault_event: EventRegisters,
    pub invalidation_event: EventRegisters,
    pub page_request_event: EventRegisters,
    pub iqh: u64,
    pub iqt: u64,
    pub iqa: u64,
    pub ics: u32,
    pub iqercd: u64,
    pub pqh: u64,
    pub pqt: u64,
    pub pqa: u64,
    pub prs: u32,
    pub pmen: u32,
    /// Registers that hold what is written and do nothing; by 32 bits.
    pub plain: BTreeMap<usize, u32>,
}

impl Registers {
    pub fn is(&self, field: Field) -> bool {
        field.in_place(self.gsts.into()) != 0
    }

    pub fn has_fault(&self, field: Field) -> bool {
        field.in_place(self.fsts.into()) != 0
    }

    /// The translation table mode that is in force.
    pub fn mode(&self) -> u64 {
        rtaddr::TTM.of(self.root)
    }

    pub fn queue_bytes(&self) -> u64 {
        0x1000 << iqa::QS.of(self.iqa)
    }

    pub fn wide_descriptors(&self) -> bool {
        iqa::DW.in_place(self.iqa) != 0
    }
}

impl Unit {
    /// Where the register of 64 bits at `at` is kept.
    fn wide(&mut self, at: usize) -> Option<&mut u64> {
        let records = self.config.fault_offset;
        let iotlb = self.config.iotlb_offset;
        let r = &mut self.registers;
        Some(match at {
            RTADDR => &mut r.rtaddr,
            CCMD => &mut r.ccmd,
            IQH => &mut r.iqh,
            IQT => &mut r.iqt,
            IQA => &mut r.iqa,
            IQERCD => &mut r.iqercd,
            IRTA => &mut r.irta,
            PQH => &mut r.pqh,
            PQT => &mut r.pqt,
            PQA => &mut r.pqa,
            _ if at == iotlb + IVA_FROM_IRO => &mut r.iva,
            _ if at == iotlb + IOTLB_FROM_IRO => &mut r.iotlb,
            _ => {
                let offset = at.checked_sub(records)?;
                r.records.get_mut(offset / fault::BYTES)?.get_mut(offset % fault::BYTES / 8)?
            }
        })
    }

    /// A register of 32 bits, or half of one of 64.
    pub fn read_register(&mut self, at: usize) -> u32 {
        if self.gone || !at.is_multiple_of(4) || at >= self.config.bytes {
            return u32::MAX;
        }
        let half = |word: u64| (word >> (at % 8 * 8)) as u32;
        match at & !7 {
            CAP => return half(self.config.cap()),
            ECAP => return half(self.config.ecap()),
            CCMD => self.context_command_is_read(),
            wide if wide == self.config.iotlb_offset + IOTLB_FROM_IRO => self.iotlb_command_is_read(),
            _ => {}
        }
        match at {
            // Version 4.1.
            VER => 0x41,
            GCMD => 0,
            GSTS => {
                self.status_is_read();
                self.registers.gsts
            }
            FSTS => self.fault_status(),
            ICS => self.registers.ics,
            PRS => self.registers.prs,
            PMEN => self.registers.pmen,
            FECTL..=FEUADDR => read_event(&self.registers.fault_event, at - FECTL),
            IECTL..=IEUADDR => read_event(&self.registers.invalidation_event, at - IECTL),
            PECTL..=PEUADDR => read_event(&self.registers.page_request_event, at - PECTL),
            _ => match self.wide(at & !7) {
                Some(word) => half(*word),
                None => self.registers.plain.get(&at).copied().unwrap_or(0),
            },
        }
    }

    /// Software writes 32 bits; 64 are written as two halves, low first.
    pub fn write_register(&mut self, at: usize, value: u32) {
        if self.gone || !at.is_multiple_of(4) || at >= self.config.bytes {
            return;
        }
        match at {
            VER | CAP..GCMD | GSTS => return,
            GCMD => return self.command(value),
            FSTS => return self.clear_faults(value),
            ICS => {
                self.registers.ics &= !(value & ics::IWC.mask() as u32);
                if self.registers.ics == 0 {
                    self.registers.invalidation_event.pending = false;
                }
                return;
            }
            PRS => {
                self.registers.prs &= !(value & (prs::PPR.mask() | prs::PRO.mask()) as u32);
                if self.registers.prs == 0 {
                    self.registers.page_request_event.pending = false;
                }
                return;
            }
            PMEN => {
                let on = pmen::EPM.in_place(value.into()) != 0;
                self.registers.pmen = if on { (pmen::EPM.mask() | pmen::PRS.mask()) as u32 } else { 0 };
                return;
            }
            FECTL..=FEUADDR => return self.write_event(super::model::EventKind::Fault, at - FECTL, value),
            IECTL..=IEUADDR => {
                return self.write_event(super::model::EventKind::Invalidation, at - IECTL, value);
            }
            PECTL..=PEUADDR => {
                return self.write_event(super::model::EventKind::PageRequest, at - PECTL, value);
            }
            _ => {}
        }
        let base = at & !7;
        let high = at != base;
        let Some(word) = self.wide(base) else {
            self.registers.plain.insert(at, value);
            return;
        };
        let old = *word;
        let shift = if high { 32 } else { 0 };
        let new = old & !(0xffff_ffff << shift) | u64::from(value) << shift;
        self.write_wide(base, high, old, new);
    }

    fn write_wide(&mut self, at: usize, high: bool, old: u64, new: u64) {
        let record = at.wrapping_sub(self.config.fault_offset);
        match at {
            RTADDR => self.registers.rtaddr = new,
            IRTA => self.registers.irta = new,
            IQH | PQT | IQERCD => {}
            IQA => {
                if new != old && self.registers.is(gsts::QIES) {
                    self.violation(
                        "VT-d 11.4.9.3",
                        format!("IQA set to {new:#x} while the queue is enabled"),
                    );
                }
                self.registers.iqa = new;
            }
            IQT => {
                self.registers.iqt = new;
                if !high {
                    self.run_queue();
                }
            }
            PQH => self.registers.pqh = new & pqh::PQH.mask(),
            PQA => self.registers.pqa = new,
            CCMD => {
                self.registers.ccmd = new;
                if high && ccmd::ICC.in_place(new) != 0 {
                    self.context_command(old);
                }
            }
            _ if at == self.config.iotlb_offset + IVA_FROM_IRO => self.registers.iva = new,
            _ if at == self.config.iotlb_offset + IOTLB_FROM_IRO => {
                self.registers.iotlb = new;
                if high && iotlb::IVT.in_place(new) != 0 {
                    self.iotlb_command(old);
                }
            }
            _ => {
                // Records are read-only but for F.
                if high && record % fault::BYTES == 8 && fault::record::F.in_place(new) != 0 {
                    self.clear_record(record / fault::BYTES);
                }
            }
        }
    }
}

fn read_event(event: &EventRegisters, offset: usize) -> u32 {
    match offset {
        0 => {
            let ip = event_control::IP.put(event.pending.into());
            (ip | event_control::IM.put(event.masked.into())) as u32
        }
        4 => event.data,
        8 => event.address,
        _ => event.upper,
    }
}
