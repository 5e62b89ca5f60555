//! Registers: handshakes, guards and what a write sets in motion (IHI 0070 G.b, chapter 6).

use super::state::{Msi, Queue, State};
use ioward_spec::smmuv3::registers::{
    self as r, cr0, gbpa, gerror, irq_ctrl, output_cons, queue_base, strtab_base, strtab_base_cfg,
};

/// CR0's implemented bits in this model.
const CR0_BITS: u64 =
    cr0::SMMUEN.mask() | cr0::PRIQEN.mask() | cr0::EVENTQEN.mask() | cr0::CMDQEN.mask() | cr0::ATSCHK.mask();

#[allow(clippy::collapsible_match)] // A guard with a side effect in a match arm would hide that it reports.
impl State {
    /// Whether translated requests are checked.
    pub(super) fn ats_checked(&self) -> bool {
        self.is_enabled(cr0::ATSCHK)
    }

    pub(super) fn read(&mut self, at: usize) -> u32 {
        self.tick();
        let regs = &self.regs;
        let half = |value: u64, base: usize| (value >> (8 * (at - base))) as u32;
        match at {
            r::IDR0 => self.features.idr0(),
            r::IDR1 => self.features.idr1(),
            r::IDR3 => self.features.idr3(),
            r::IDR5 => self.features.idr5(),
            r::IIDR => self.features.iidr(),
            r::AIDR => self.features.aidr(),
            r::CR0 => regs.cr0,
            r::CR0ACK => regs.cr0ack,
            r::CR1 => regs.cr1,
            r::CR2 => regs.cr2,
            r::GBPA => regs.gbpa_next.map_or(regs.gbpa, |next| next | gbpa::UPDATE.mask() as u32),
            r::IRQ_CTRL => regs.irq_ctrl,
            r::IRQ_CTRLACK => regs.irq_ctrlack,
            r::GERROR => regs.gerror,
            r::GERRORN => regs.gerrorn,
            _ if r::GERROR_IRQ_CFG0 == at & !7 => half(regs.gerror_msi.address, r::GERROR_IRQ_CFG0),
            r::GERROR_IRQ_CFG1 => regs.gerror_msi.data,
            r::GERROR_IRQ_CFG2 => regs.gerror_msi.attributes,
            _ if r::STRTAB_BASE == at & !7 => half(regs.strtab_base, r::STRTAB_BASE),
            r::STRTAB_BASE_CFG => regs.strtab_cfg,
            _ if r::CMDQ_BASE == at & !7 => half(regs.cmdq.base, r::CMDQ_BASE),
            r::CMDQ_PROD => regs.cmdq.prod,
            r::CMDQ_CONS => regs.cmdq.cons,
            _ if r::EVENTQ_BASE == at & !7 => half(regs.eventq.base, r::EVENTQ_BASE),
            _ if r::EVENTQ_IRQ_CFG0 == at & !7 => half(regs.eventq_msi.address, r::EVENTQ_IRQ_CFG0),
            r::EVENTQ_IRQ_CFG1 => regs.eventq_msi.data,
            r::EVENTQ_IRQ_CFG2 => regs.eventq_msi.attributes,
            r::EVENTQ_PROD => regs.eventq.prod,
            r::EVENTQ_CONS => regs.eventq.cons,
            _ if !self.features.pri => 0,
            _ if r::PRIQ_BASE == at & !7 => half(regs.priq.base, r::PRIQ_BASE),
            _ if r::PRIQ_IRQ_CFG0 == at & !7 => half(regs.priq_msi.address, r::PRIQ_IRQ_CFG0),
            r::PRIQ_IRQ_CFG1 => regs.priq_msi.data,
            r::PRIQ_IRQ_CFG2 => regs.priq_msi.attributes,
            r::PRIQ_PROD => regs.priq.prod,
            r::PRIQ_CONS => regs.priq.cons,
            _ => 0,
        }
    }

    /// One half of a 64-bit register, or a 32-bit register.
    pub(super) fn write(&mut self, at: usize, value: u32) {
        let shift = 32 * (at >> 2 & 1);
        let half = |old: u64| old & !(0xffff_ffff << shift) | u64::from(value) << shift;
        match at {
            r::CR0 => self.write_cr0(value),
            r::CR1 => self.write_cr1(value),
            r::CR2 => {
                if self.may_write("CR2", cr0::SMMUEN, "IHI 0070 G.b 6.3.12") {
                    self.regs.cr2 = value & 0xf;
                }
            }
            r::GBPA => self.write_gbpa(value),
            r::IRQ_CTRL => {
                if self.regs.irq_ctrl != self.regs.irq_ctrlack {
                    self.wrong(
                        "IHI 0070 G.b 6.3.16",
                        "IRQ_CTRL is written before IRQ_CTRLACK shows the last write",
                    );
                }
                self.regs.irq_ctrl = value & 0b111;
                self.start();
            }
            r::GERRORN => self.write_gerrorn(value),
            _ if r::GERROR_IRQ_CFG0 == at & !7 => {
                self.guard_msi("GERROR_IRQ_CFG0", irq_ctrl::GERROR_IRQEN);
                self.regs.gerror_msi.address = half(self.regs.gerror_msi.address);
            }
            r::GERROR_IRQ_CFG1 | r::GERROR_IRQ_CFG2 => {
                self.guard_msi("GERROR_IRQ_CFG1/2", irq_ctrl::GERROR_IRQEN);
                set_msi(&mut self.regs.gerror_msi, at == r::GERROR_IRQ_CFG1, value);
            }
            _ if r::STRTAB_BASE == at & !7 => {
                if self.may_write("STRTAB_BASE", cr0::SMMUEN, "IHI 0070 G.b 6.3.24") {
                    self.regs.strtab_base = half(self.regs.strtab_base);
                }
            }
            r::STRTAB_BASE_CFG => {
                if self.may_write("STRTAB_BASE_CFG", cr0::SMMUEN, "IHI 0070 G.b 6.3.25") {
                    self.regs.strtab_cfg = value;
                }
            }
            _ if r::CMDQ_BASE == at & !7 => {
                if self.may_write("CMDQ_BASE", cr0::CMDQEN, "IHI 0070 G.b 6.3.26") {
                    self.regs.cmdq.base = half(self.regs.cmdq.base);
                }
            }
            r::CMDQ_PROD => self.write_cmdq_prod(value),
            r::CMDQ_CONS => {
                if self.may_write("CMDQ_CONS", cr0::CMDQEN, "IHI 0070 G.b 6.3.28") {
                    self.regs.cmdq.cons = value;
                }
            }
            _ if r::EVENTQ_BASE == at & !7 => {
                if self.may_write("EVENTQ_BASE", cr0::EVENTQEN, "IHI 0070 G.b 6.3.29") {
                    self.regs.eventq.base = half(self.regs.eventq.base);
                }
            }
            _ if r::EVENTQ_IRQ_CFG0 == at & !7 => {
                self.guard_msi("EVENTQ_IRQ_CFG0", irq_ctrl::EVENTQ_IRQEN);
                self.regs.eventq_msi.address = half(self.regs.eventq_msi.address);
            }
            r::EVENTQ_IRQ_CFG1 | r::EVENTQ_IRQ_CFG2 => {
                self.guard_msi("EVENTQ_IRQ_CFG1/2", irq_ctrl::EVENTQ_IRQEN);
                set_msi(&mut self.regs.eventq_msi, at == r::EVENTQ_IRQ_CFG1, value);
            }
            r::EVENTQ_PROD => {
                if self.may_write("EVENTQ_PROD", cr0::EVENTQEN, "IHI 0070 G.b 6.3.95") {
                    self.regs.eventq.prod = value;
                }
            }
            r::EVENTQ_CONS => {
                let on = self.is_enabled(cr0::EVENTQEN);
                self.judge_cons("EVENTQ_CONS", self.regs.eventq, self.features.eventq_bits, value, on);
                self.regs.eventq.cons = value;
            }
            _ if !self.features.pri => {}
            _ if r::PRIQ_BASE == at & !7 => {
                if self.may_write("PRIQ_BASE", cr0::PRIQEN, "IHI 0070 G.b 6.3.33") {
                    self.regs.priq.base = half(self.regs.priq.base);
                }
            }
            _ if r::PRIQ_IRQ_CFG0 == at & !7 => {
                self.guard_msi("PRIQ_IRQ_CFG0", irq_ctrl::PRIQ_IRQEN);
                self.regs.priq_msi.address = half(self.regs.priq_msi.address);
            }
            r::PRIQ_IRQ_CFG1 | r::PRIQ_IRQ_CFG2 => {
                self.guard_msi("PRIQ_IRQ_CFG1/2", irq_ctrl::PRIQ_IRQEN);
                set_msi(&mut self.regs.priq_msi, at == r::PRIQ_IRQ_CFG1, value);
            }
            r::PRIQ_PROD => {
                if self.may_write("PRIQ_PROD", cr0::PRIQEN, "IHI 0070 G.b 6.3.97") {
                    self.regs.priq.prod = value;
                }
            }
            r::PRIQ_CONS => {
                let on = self.is_enabled(cr0::PRIQEN);
                self.judge_cons("PRIQ_CONS", self.regs.priq, self.features.priq_bits, value, on);
                self.regs.priq.cons = value;
            }
            _ => {}
        }
    }

    /// What was written to CR0, GBPA or IRQ_CTRL takes effect a while later (6.3.9).
    fn start(&mut self) {
        self.countdown = self.latency;
        if self.latency == 0 {
            self.finish();
        }
    }

    /// Time passes with every register read.
    fn tick(&mut self) {
        if self.countdown > 0 {
            self.countdown -= 1;
            if self.countdown == 0 {
                self.finish();
            }
        }
    }

    /// What was written takes effect.
    pub(super) fn finish(&mut self) {
        if self.hung || self.gone {
            return;
        }
        self.regs.irq_ctrlack = self.regs.irq_ctrl;
        if let Some(next) = self.regs.gbpa_next.take() {
            self.regs.gbpa = next;
        }
        let changed = self.regs.cr0 ^ self.regs.cr0ack;
        self.regs.cr0ack = self.regs.cr0;
        if cr0::SMMUEN.of(changed.into()) == 1 && self.is_enabled(cr0::SMMUEN) {
            // Nothing was reachable before, so nothing is compared with what was read before (3.21.3).
            self.seen_stes.clear();
            self.seen_cds.clear();
            self.judge_stream_table();
            self.prefetch_all();
        }
        if cr0::CMDQEN.of(changed.into()) == 1 && self.is_enabled(cr0::CMDQEN) {
            self.judge_queue("CMDQ_BASE", self.regs.cmdq, self.features.cmdq_bits, 16);
            self.run_commands();
        }
        if cr0::EVENTQEN.of(changed.into()) == 1 && self.is_enabled(cr0::EVENTQEN) {
            self.judge_queue("EVENTQ_BASE", self.regs.eventq, self.features.eventq_bits, 32);
        }
        if cr0::PRIQEN.of(changed.into()) == 1 && self.is_enabled(cr0::PRIQEN) {
            self.judge_queue("PRIQ_BASE", self.regs.priq, self.features.priq_bits, 16);
        }
    }

    fn write_cr0(&mut self, value: u32) {
        let in_transition = self.regs.cr0 ^ self.regs.cr0ack;
        let again = in_transition & (self.regs.cr0 ^ value);
        if again != 0 {
            self.wrong(
                "IHI 0070 G.b 6.3.9",
                format!("CR0 bits {again:#x} are changed again before CR0ACK shows the last change"),
            );
        }
        if u64::from(value) & !CR0_BITS & !cr0::VMW.mask() != 0 {
            self.wrong("IHI 0070 G.b 6.3.9", format!("CR0 is written with Reserved bits: {value:#x}"));
        }
        let mut mask = CR0_BITS;
        if !self.features.pri {
            mask &= !cr0::PRIQEN.mask();
        }
        if !self.features.ats {
            mask &= !cr0::ATSCHK.mask();
        }
        self.regs.cr0 = value & mask as u32;
        self.start();
    }

    fn write_cr1(&mut self, value: u32) {
        let changed = u64::from(self.regs.cr1 ^ value);
        let tables = r::cr1::TABLE_IC.mask() | r::cr1::TABLE_OC.mask() | r::cr1::TABLE_SH.mask();
        let queues = r::cr1::QUEUE_IC.mask() | r::cr1::QUEUE_OC.mask() | r::cr1::QUEUE_SH.mask();
        let queues_on = [cr0::CMDQEN, cr0::EVENTQEN, cr0::PRIQEN].iter().any(|&bit| self.is_enabled(bit));
        if changed & tables != 0 && self.is_enabled(cr0::SMMUEN) || changed & queues != 0 && queues_on {
            self.wrong(
                "IHI 0070 G.b 6.3.11",
                format!("CR1 is changed to {value:#x} while what it describes is enabled"),
            );
            return;
        }
        self.regs.cr1 = value & (tables | queues) as u32;
    }

    fn write_gbpa(&mut self, value: u32) {
        if self.regs.gbpa_next.is_some() {
            self.wrong("IHI 0070 G.b 6.3.14", "GBPA is written before its last update is complete");
            return;
        }
        if gbpa::UPDATE.of(value.into()) == 0 {
            self.wrong("IHI 0070 G.b 6.3.14", "GBPA is written without Update: the write may be ignored");
            return;
        }
        self.regs.gbpa_next = Some(value & !(gbpa::UPDATE.mask() as u32));
        self.start();
    }

    fn write_gerrorn(&mut self, value: u32) {
        let known: u64 = gerror::ALL.iter().fold(0, |mask, (_, field)| mask | field.mask());
        let toggled = (self.regs.gerrorn ^ value) & known as u32;
        let idle = toggled & !(self.regs.gerror ^ self.regs.gerrorn);
        if idle != 0 {
            self.wrong(
                "IHI 0070 G.b 6.3.20",
                format!("GERRORN bits {idle:#x} are toggled though no such error is active"),
            );
        }
        // An acknowledgement of what is not active would be taken for an error: CONSTRAINED UNPREDICTABLE.
        self.regs.gerrorn ^= toggled & !idle;
        self.run_commands();
    }

    fn write_cmdq_prod(&mut self, value: u32) {
        let most = self.features.cmdq_bits;
        let queue = self.regs.cmdq;
        if self.is_enabled(cr0::CMDQEN) && !self.error_active(gerror::CMDQ_ERR) {
            let next = Queue { prod: value, ..queue };
            let (before, after) = (queue.filled(most), next.filled(most));
            if after > 1 << queue.bits(most) || after < before {
                self.wrong(
                    "IHI 0070 G.b 3.21.2",
                    format!(
                        "CMDQ_PROD goes from {:#x} to {value:#x} with CMDQ_CONS at {:#x}",
                        queue.prod, queue.cons
                    ),
                );
                return;
            }
        }
        self.regs.cmdq.prod = value;
        self.run_commands();
    }

    /// A register that may change only while a bit of CR0 is 0.
    fn may_write(&self, name: &str, guard: ioward_spec::Field, section: &'static str) -> bool {
        let on = guard.of((self.regs.cr0 | self.regs.cr0ack).into()) != 0;
        if on {
            self.wrong(
                section,
                format!("{name} is written while CR0 bits {:#x} are set or not acknowledged", guard.mask()),
            );
        }
        !on
    }

    fn guard_msi(&self, name: &str, guard: ioward_spec::Field) {
        if guard.of((self.regs.irq_ctrl | self.regs.irq_ctrlack).into()) != 0 {
            self.wrong("IHI 0070 G.b 6.3.30", format!("{name} is written while its interrupt is enabled"));
        }
    }

    fn judge_cons(&self, name: &str, queue: Queue, most: u8, value: u32, enabled: bool) {
        if !enabled {
            return;
        }
        let next = Queue { cons: value, ..queue };
        if next.filled(most) > queue.filled(most) {
            self.wrong(
                "IHI 0070 G.b 3.21.2",
                format!(
                    "{name} goes from {:#x} to {value:#x}, past PROD {:#x} or backwards",
                    queue.cons, queue.prod
                ),
            );
        }
        let toggled = output_cons::OVACKFLG.of((queue.cons ^ value).into()) != 0;
        if toggled && !queue.overflowed() {
            self.wrong("IHI 0070 G.b 7.4", format!("{name} acknowledges an overflow that there is not"));
        }
    }

    fn judge_queue(&self, name: &str, queue: Queue, most: u8, entry: u64) {
        let bits = queue_base::LOG2SIZE.of(queue.base) as u32;
        if bits > most.into() {
            self.wrong(
                "IHI 0070 G.b 6.3.26",
                format!("{name} has 2^{bits} entries where 2^{most} are the most"),
            );
        }
        let align = (entry << bits.min(most.into())).max(32) - 1;
        let base = queue_base::ADDR.in_place(queue.base);
        if base & align != 0 {
            self.wrong("IHI 0070 G.b 6.3.26", format!("{name} at {base:#x} is not aligned to its size"));
        }
        if self.beyond(base) {
            self.wrong(
                "IHI 0070 G.b 6.3.26",
                format!("{name} at {base:#x} is beyond the output address size"),
            );
        }
        if queue.filled(most) > 1 << bits.min(most.into()) {
            self.wrong(
                "IHI 0070 G.b 6.3.26",
                format!(
                    "{name} is enabled with PROD {:#x} and CONS {:#x}, which no queue has",
                    queue.prod, queue.cons
                ),
            );
        }
    }

    fn judge_stream_table(&self) {
        let config = u64::from(self.regs.strtab_cfg);
        let base = strtab_base::ADDR.in_place(self.regs.strtab_base);
        let log2size = strtab_base_cfg::LOG2SIZE.of(config) as u32;
        let two_level = strtab_base_cfg::FMT.of(config) == strtab_base_cfg::fmt::TWO_LEVEL;
        if two_level && !self.features.two_level_streams {
            self.wrong("IHI 0070 G.b 6.3.25", "STRTAB_BASE_CFG.FMT is two-level where IDR0.ST_LEVEL is 0");
        }
        let split = strtab_base_cfg::SPLIT.of(config) as u32;
        if two_level && !matches!(split, 6 | 8 | 10) {
            self.wrong("IHI 0070 G.b 6.3.25", format!("STRTAB_BASE_CFG.SPLIT is {split}, which is Reserved"));
        }
        let bits = if two_level { (log2size.saturating_sub(split) + 3).max(6) } else { log2size + 6 };
        if base & ((1u64 << bits.min(63)) - 1) != 0 {
            self.wrong(
                "IHI 0070 G.b 6.3.24",
                format!("the Stream table at {base:#x} is not aligned to its size"),
            );
        }
        if self.beyond(base) {
            self.wrong(
                "IHI 0070 G.b 6.3.24",
                format!("the Stream table at {base:#x} is beyond the output address size"),
            );
        }
    }

    /// Sets a register as firmware left it: no guards, no handshakes.
    pub(super) fn preset(&mut self, at: usize, value: u64) {
        let regs = &mut self.regs;
        let low = value as u32;
        match at {
            r::CR0 => (regs.cr0, regs.cr0ack) = (low, low),
            r::CR1 => regs.cr1 = low,
            r::CR2 => regs.cr2 = low,
            r::GBPA => regs.gbpa = low,
            r::IRQ_CTRL => (regs.irq_ctrl, regs.irq_ctrlack) = (low, low),
            r::GERROR => regs.gerror = low,
            r::GERRORN => regs.gerrorn = low,
            r::STRTAB_BASE => regs.strtab_base = value,
            r::STRTAB_BASE_CFG => regs.strtab_cfg = low,
            r::CMDQ_BASE => regs.cmdq.base = value,
            r::CMDQ_PROD => regs.cmdq.prod = low,
            r::CMDQ_CONS => regs.cmdq.cons = low,
            r::EVENTQ_BASE => regs.eventq.base = value,
            r::EVENTQ_PROD => regs.eventq.prod = low,
            r::EVENTQ_CONS => regs.eventq.cons = low,
            r::PRIQ_BASE => regs.priq.base = value,
            r::PRIQ_PROD => regs.priq.prod = low,
            r::PRIQ_CONS => regs.priq.cons = low,
            _ => {}
        }
    }
}

fn set_msi(msi: &mut Msi, data: bool, value: u32) {
    if data {
        msi.data = value;
    } else {
        msi.attributes = value;
    }
}
