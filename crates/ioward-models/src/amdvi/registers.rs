//! Registers and what writing them does (48882 §3.4).

use super::unit::Unit;
use ioward_spec::{
    Field,
    amdvi::registers::{BYTES, buffer, device_table, exclusion, hardware_event, offset, status},
    amdvi::{control, features::efr},
};
use std::collections::BTreeMap;

/// A buffer that the unit and software share: commands, events, page requests.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Ring {
    pub base: u64,
    pub head: u64,
    pub tail: u64,
}

impl Ring {
    pub fn address(&self) -> u64 {
        buffer::BASE.in_place(self.base)
    }

    /// In bytes; a reserved length is taken for the shortest.
    pub fn bytes(&self) -> u64 {
        let length = buffer::LENGTH.of(self.base).max(buffer::LENGTH_MIN);
        buffer::ENTRY_BYTES << length
    }

    pub fn after(&self, pointer: u64) -> u64 {
        (pointer + buffer::ENTRY_BYTES) % self.bytes()
    }
}

#[derive(Default)]
pub(super) struct Registers {
    pub device_table: [u64; 8],
    pub commands: Ring,
    pub events: Ring,
    pub requests: Ring,
    pub control: u64,
    pub exclusion_base: u64,
    pub exclusion_limit: u64,
    pub status: u64,
    pub hardware_event: [u64; 2],
    pub hardware_event_status: u64,
    /// How many reads of status pass until a buffer starts or stops.
    pub latency: u32,
    /// Reads of status that are left, and the run bits that they wait for.
    pub turning: Option<(u32, u64)>,
    /// Registers that hold what is written and do nothing.
    pub plain: BTreeMap<usize, u64>,
}

impl Registers {
    pub fn is(&self, field: Field) -> bool {
        field.in_place(self.control) != 0
    }

    pub fn has(&self, field: Field) -> bool {
        field.in_place(self.status) != 0
    }

    pub fn set_status(&mut self, field: Field, on: bool) {
        self.status = field.with(self.status, on.into());
    }

    fn segment(at: usize) -> Option<usize> {
        match at {
            offset::DEVICE_TABLE_BASE => Some(0),
            offset::DEVICE_TABLE_SEGMENT_1..offset::DSFX => {
                Some((at - offset::DEVICE_TABLE_SEGMENT_1) / 8 + 1)
            }
            _ => None,
        }
    }
}

const SECTION: &str = "48882 §3.4";
const RW1C: u64 =
    0x0000_0001 | 0x2 | 0x4 | 0x20 | 0x40 | 0x200 | 0x400 | 0x800 | 0x8000 | 0x2_0000 | 0x4_0000;

impl Unit {
    /// A register of 64 bits; `at` is a multiple of 8.
    pub fn read_register(&self, at: usize) -> u64 {
        if self.gone || at >= BYTES {
            return u64::MAX;
        }
        let r = &self.registers;
        if let Some(n) = Registers::segment(at) {
            return r.device_table[n];
        }
        match at {
            offset::COMMAND_BUFFER_BASE => r.commands.base,
            offset::COMMAND_BUFFER_HEAD => r.commands.head,
            offset::COMMAND_BUFFER_TAIL => r.commands.tail,
            offset::EVENT_LOG_BASE => r.events.base,
            offset::EVENT_LOG_HEAD => r.events.head,
            offset::EVENT_LOG_TAIL => r.events.tail,
            offset::PPR_LOG_BASE => r.requests.base,
            offset::PPR_LOG_HEAD => r.requests.head,
            offset::PPR_LOG_TAIL => r.requests.tail,
            offset::CONTROL => r.control,
            offset::EXCLUSION_BASE => r.exclusion_base,
            offset::EXCLUSION_LIMIT => r.exclusion_limit,
            offset::EXTENDED_FEATURE => self.config.efr(),
            offset::EXTENDED_FEATURE_2 => 0,
            offset::STATUS => r.status,
            offset::HARDWARE_EVENT_UPPER => r.hardware_event[1],
            offset::HARDWARE_EVENT_LOWER => r.hardware_event[0],
            offset::HARDWARE_EVENT_STATUS => r.hardware_event_status,
            _ => r.plain.get(&at).copied().unwrap_or(0),
        }
    }

    /// Software writes 64 bits, or 32 of them: `mask` says which.
    pub fn write_register(&mut self, at: usize, value: u64, mask: u64) {
        if self.gone || at >= BYTES {
            return;
        }
        let old = self.read_register(at);
        let new = old & !mask | value & mask;
        let whole = mask == u64::MAX;
        if let Some(n) = Registers::segment(at) {
            return self.write_device_table(n, old, new, whole);
        }
        match at {
            offset::COMMAND_BUFFER_BASE => {
                let runs = self.registers.has(status::CMD_BUF_RUN);
                self.check_ring_base("command buffer", new, runs);
                self.registers.commands = Ring { base: new & !buffer::RESERVED, head: 0, tail: 0 };
            }
            offset::EVENT_LOG_BASE => {
                let runs = self.registers.has(status::EVENT_LOG_RUN);
                self.check_ring_base("event log", new, runs);
                self.registers.events = Ring { base: new & !buffer::RESERVED, head: 0, tail: 0 };
            }
            offset::PPR_LOG_BASE => {
                let runs = self.registers.has(status::PPR_LOG_RUN);
                self.check_ring_base("page request log", new, runs);
                self.registers.requests = Ring { base: new & !buffer::RESERVED, head: 0, tail: 0 };
            }
            offset::COMMAND_BUFFER_HEAD => {
                if self.registers.has(status::CMD_BUF_RUN) {
                    self.violation(SECTION, format!("command head set to {value:#x} while CmdBufRun is set"));
                }
                self.registers.commands.head = self.pointer("command head", self.registers.commands, new);
            }
            offset::COMMAND_BUFFER_TAIL => {
                self.registers.commands.tail = self.pointer("command tail", self.registers.commands, new);
                self.run_commands();
            }
            offset::EVENT_LOG_HEAD => {
                self.registers.events.head = self.pointer("event head", self.registers.events, new);
            }
            offset::EVENT_LOG_TAIL => {
                if self.registers.has(status::EVENT_LOG_RUN) {
                    self.violation(SECTION, "event tail written while EventLogRun is set");
                }
                self.registers.events.tail = self.pointer("event tail", self.registers.events, new);
            }
            offset::PPR_LOG_HEAD => {
                self.registers.requests.head =
                    self.pointer("page request head", self.registers.requests, new);
            }
            offset::PPR_LOG_TAIL => {
                self.registers.requests.tail =
                    self.pointer("page request tail", self.registers.requests, new);
            }
            offset::CONTROL => self.write_control(new),
            offset::EXCLUSION_BASE => self.registers.exclusion_base = new & EXCLUSION_BASE_BITS,
            offset::EXCLUSION_LIMIT => self.registers.exclusion_limit = exclusion::LIMIT.in_place(new),
            offset::STATUS => self.registers.status &= !(value & mask & RW1C),
            offset::HARDWARE_EVENT_STATUS => {
                let clear = value & mask & (hardware_event::HEV.mask() | hardware_event::HEO.mask());
                self.registers.hardware_event_status &= !clear;
            }
            offset::EXTENDED_FEATURE
            | offset::EXTENDED_FEATURE_2
            | offset::HARDWARE_EVENT_UPPER
            | offset::HARDWARE_EVENT_LOWER => {
                self.violation(SECTION, format!("write of {value:#x} to the read-only register {at:#06x}"));
            }
            _ => {
                self.registers.plain.insert(at, new);
            }
        }
    }

    fn write_device_table(&mut self, n: usize, old: u64, new: u64, whole: bool) {
        let size = if n == 0 { device_table::SIZE.mask() } else { device_table::SIZE.mask() >> 1 };
        let writable = size | device_table::BASE.mask();
        if new & !writable != 0 {
            self.violation(SECTION, format!("reserved bits {:#x} of device table base {n}", new & !writable));
        }
        if !whole && new != old && self.registers.is(control::IOMMU_EN) {
            self.violation(
                SECTION,
                format!("device table base {n} changed by halves while the unit is enabled"),
            );
        }
        self.registers.device_table[n] = new & writable;
    }

    fn check_ring_base(&self, what: &str, new: u64, runs: bool) {
        if runs {
            self.violation(SECTION, format!("base of the {what} written while it runs"));
        }
        if new & buffer::RESERVED != 0 {
            self.violation(SECTION, format!("reserved bits of the base of the {what}: {new:#x}"));
        }
    }

    /// A head or tail as the unit takes it; what lies outside the buffer is reported and wrapped.
    fn pointer(&self, what: &str, ring: Ring, new: u64) -> u64 {
        let pointer = buffer::POINTER.in_place(new);
        if new != pointer || pointer >= ring.bytes() {
            let bytes = ring.bytes();
            self.violation(SECTION, format!("{what} {new:#x} is no entry of a buffer of {bytes:#x} bytes"));
        }
        pointer % ring.bytes()
    }

    fn write_control(&mut self, new: u64) {
        let features = self.config.efr();
        let needs = [
            (control::GT_EN, efr::GT_SUP, "GTEn"),
            (control::PPR_EN, efr::PPR_SUP, "PPREn"),
            (control::PPR_LOG_EN, efr::PPR_SUP, "PPRLogEn"),
            (control::EPH_EN, efr::EPH_SUP, "EPHEn"),
            (control::GA_EN, efr::GA_SUP, "GAEn"),
            (control::XT_EN, efr::XT_SUP, "XTEn"),
            (control::MARC_EN, efr::MARC_SUP, "MarcEn"),
            (control::VIOMMU_EN, efr::VIOMMU_SUP, "vIommuEn"),
        ];
        for (field, feature, name) in needs {
            if field.in_place(new) != 0 && feature.in_place(features) == 0 {
                self.violation(SECTION, format!("control.{name} set without the feature"));
            }
        }
        if new & control::RESERVED != 0 {
            self.violation(SECTION, format!("reserved bits of control: {new:#x}"));
        }
        if control::DEV_TBL_SEG_EN.of(new) > efr::DEV_TBL_SEG_SUP.of(features) {
            self.violation(SECTION, "control.DevTblSegEn beyond EFR.DevTblSegSup");
        }
        let old = core::mem::replace(&mut self.registers.control, new & !control::RESERVED);
        self.apply_control(old, self.registers.latency);
    }

    /// What follows from the enable bits: which of the buffers run, at once or some reads of status later.
    pub fn apply_control(&mut self, old: u64, latency: u32) {
        let on = self.registers.is(control::IOMMU_EN);
        let was_on = control::IOMMU_EN.in_place(old) != 0;
        let r = &self.registers;
        let rings = [
            (control::CMD_BUF_EN, status::CMD_BUF_RUN, None, r.commands),
            (control::EVENT_LOG_EN, status::EVENT_LOG_RUN, Some(status::EVENT_OVERFLOW), r.events),
            (control::PPR_LOG_EN, status::PPR_LOG_RUN, Some(status::PPR_OVERFLOW), r.requests),
        ];
        let mut runs = r.turning.map_or(r.status, |(_, runs)| runs) & RUN_BITS;
        for (enable, run, overflow, ring) in rings {
            if !on || !self.registers.is(enable) {
                runs &= !run.mask();
            } else if !(was_on && enable.in_place(old) != 0) {
                // A log that overflowed is restarted only once the overflow has been cleared (§2.5.1, §2.6.1).
                if overflow.is_none_or(|field| !self.registers.has(field)) {
                    runs |= run.mask();
                }
                let length = buffer::LENGTH.of(ring.base);
                if !(buffer::LENGTH_MIN..=buffer::LENGTH_MAX).contains(&length) {
                    let at = ring.address();
                    self.violation(
                        SECTION,
                        format!("the buffer at {at:#x} is enabled with the reserved length {length}"),
                    );
                }
            }
        }
        self.registers.turning = Some((latency, runs));
        self.turn();
    }

    /// Software reads status: time passes.
    pub fn status_is_read(&mut self) {
        if let (Some((left, _)), false) = (&mut self.registers.turning, self.hung) {
            *left = left.saturating_sub(1);
            self.turn();
        }
    }

    fn turn(&mut self) {
        let Some((0, runs)) = self.registers.turning else { return };
        self.registers.turning = None;
        self.registers.status = self.registers.status & !RUN_BITS | runs;
        if !self.registers.has(status::CMD_BUF_RUN) {
            self.stalled = false;
        }
        self.run_commands();
    }
}

const RUN_BITS: u64 = status::CMD_BUF_RUN.mask() | status::EVENT_LOG_RUN.mask() | status::PPR_LOG_RUN.mask();
const EXCLUSION_BASE_BITS: u64 = 0x000f_ffff_ffff_f003;
