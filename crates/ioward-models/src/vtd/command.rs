//! The global command register and the commands without a queue (11.4.4, 11.4.6, 6.5.1).

use super::{cache::Range, invalidate::Invalidation, registers::Turning, unit::Unit};
use ioward_spec::vtd::registers::*;

const SECTION: &str = "VT-d 11.4.4.1";
/// Bits that stay, and that GSTS shows.
const STAYING: u32 = (gcmd::TE.mask() | gcmd::QIE.mask() | gcmd::IRE.mask() | gcmd::CFI.mask()) as u32;
/// Bits that act once.
const ONCE: u32 = (gcmd::SRTP.mask() | gcmd::WBF.mask() | gcmd::SIRTP.mask()) as u32;

impl Unit {
    /// Software writes GCMD.
    pub fn command(&mut self, value: u32) {
        if value & !(STAYING | ONCE) != 0 {
            let what = format!("GCMD {value:#010x} has reserved bits set");
            self.violation(SECTION, what);
        }
        if let Some(turning) = self.registers.turning.take() {
            if self.stuck & turning.bits == 0 && !self.hung {
                let what = format!(
                    "GCMD set to {value:#010x} before GSTS showed the last command, {:#010x}",
                    turning.bits
                );
                self.violation(SECTION, what);
            }
            self.turn(turning.bits);
        }
        let changed = (value ^ self.registers.gsts) & STAYING | value & ONCE;
        if changed.count_ones() > 1 {
            let what = format!(
                "GCMD {value:#010x} over GSTS {:#010x} asks for more than one thing",
                self.registers.gsts
            );
            self.violation(SECTION, what);
        }
        if changed == 0 {
            return;
        }
        self.check_command(changed);
        // The status of what acts once starts over.
        let r = &mut self.registers;
        r.gsts &= !(changed & (gcmd::SRTP.mask() | gcmd::SIRTP.mask()) as u32 & !self.stuck);
        if self.config.write_buffer {
            r.gsts |= changed & gcmd::WBF.mask() as u32;
        }
        r.turning = Some(Turning { bits: changed, left: r.latency });
        self.status_turns();
    }

    fn check_command(&self, changed: u32) {
        let r = &self.registers;
        let asks = |field: ioward_spec::Field| field.in_place(changed.into()) != 0;
        let starts = |field, status| asks(field) && !r.is(status);
        if starts(gcmd::TE, gsts::TES) && !r.is(gsts::RTPS) {
            self.violation(SECTION, "translation enabled before a root table was taken over");
        }
        if starts(gcmd::IRE, gsts::IRES) && !r.is(gsts::IRTPS) {
            self.violation(SECTION, "interrupt remapping enabled before its table was taken over");
        }
        if asks(gcmd::QIE) && !self.config.queued {
            self.violation(SECTION, "QIE without ECAP.QI");
        }
        if (asks(gcmd::IRE) || asks(gcmd::SIRTP) || asks(gcmd::CFI)) && !self.config.interrupt_remapping {
            self.violation(SECTION, "interrupt remapping without ECAP.IR");
        }
        if starts(gcmd::QIE, gsts::QIES) && iqt::QT.in_place(r.iqt) != 0 {
            self.violation("VT-d 6.5.2", format!("the queue is enabled with a tail of {:#x}", r.iqt));
        }
        if asks(gcmd::SRTP) {
            self.check_root();
        }
        if asks(gcmd::SIRTP) && irta::EIME.in_place(r.irta) != 0 && !self.config.x2apic {
            self.violation("VT-d 11.4.10", "EIME without ECAP.EIM");
        }
        if asks(gcmd::SIRTP) && irta::IRTA.in_place(r.irta) & self.config.beyond_host() != 0 {
            self.violation("VT-d 11.4.10", format!("IRTA {:#x} is beyond the host address width", r.irta));
        }
    }

    fn check_root(&self) {
        const SECTION: &str = "VT-d 11.4.5";
        let r = &self.registers;
        let mode = rtaddr::TTM.of(r.rtaddr);
        let known = match mode {
            rtaddr::ttm::LEGACY => true,
            rtaddr::ttm::SCALABLE => self.config.scalable,
            rtaddr::ttm::ABORT => self.config.abort_mode,
            _ => false,
        };
        if !known {
            self.violation(
                SECTION,
                format!("RTADDR {:#x} asks for mode {mode}, which the unit lacks", r.rtaddr),
            );
        }
        if r.rtaddr & (self.config.beyond_host() | 0x3ff) != 0 {
            self.violation(SECTION, format!("RTADDR {:#x} has reserved bits set", r.rtaddr));
        }
        let aborts = [mode, r.mode()].contains(&rtaddr::ttm::ABORT);
        if r.is(gsts::TES) && mode != r.mode() && !aborts {
            self.violation(SECTION, "the translation table mode changes while translation is enabled");
        }
    }

    /// GSTS has been read.
    pub fn status_is_read(&mut self) {
        if let Some(turning) = &mut self.registers.turning {
            turning.left = turning.left.saturating_sub(1);
        }
        self.status_turns();
    }

    fn status_turns(&mut self) {
        if let Some(turning) = self.registers.turning
            && turning.left == 0
            && !self.hung
            && self.stuck & turning.bits == 0
        {
            self.registers.turning = None;
            self.turn(turning.bits);
        }
    }

    /// What was asked for takes effect; not bits that are stuck.
    fn turn(&mut self, bits: u32) {
        if self.hung {
            return;
        }
        let bits = bits & !self.stuck;
        let asks = |field: ioward_spec::Field| field.in_place(bits.into()) != 0;
        let status = |field: ioward_spec::Field| field.mask() as u32;
        if asks(gcmd::WBF) {
            if self.config.write_buffer && self.admits([0, 0, 0, GCMD as u64]) {
                self.flush_write_buffer();
            }
            self.registers.gsts &= !status(gsts::WBFS);
        }
        if asks(gcmd::SRTP) {
            self.registers.root = self.registers.rtaddr;
            self.registers.gsts |= status(gsts::RTPS);
            if self.config.root_invalidates {
                self.caches.forget_translation_caches();
            }
        }
        if asks(gcmd::SIRTP) {
            self.registers.interrupt_table = self.registers.irta;
            self.registers.gsts |= status(gsts::IRTPS);
            if self.config.interrupt_table_invalidates {
                self.caches.forget_interrupts();
            }
        }
        self.registers.gsts ^= bits & STAYING;
        if asks(gcmd::QIE) {
            self.registers.iqh = 0;
            if self.registers.is(gsts::QIES) {
                self.run_queue();
            }
        }
    }

    // ---- commands without a queue -------------------------------------------------------------------------------

    fn check_register_invalidation(&self, name: &str, busy: bool) {
        if busy {
            self.violation(
                "VT-d 6.5.1",
                format!("{name} written while its last invalidation is in progress"),
            );
        }
        if self.registers.is(gsts::QIES) {
            self.violation("VT-d 6.5.1", format!("{name} used while queued invalidation is enabled"));
        }
        if self.registers.is(gsts::RTPS) && self.registers.mode() == rtaddr::ttm::SCALABLE {
            self.violation("VT-d 6.5.1", format!("{name} used in scalable mode"));
        }
    }

    /// ICC has been set.
    pub fn context_command(&mut self, old: u64) {
        self.check_register_invalidation("CCMD", ccmd::ICC.in_place(old) != 0);
        self.registers.ccmd_left = self.registers.latency;
        if self.registers.latency == 0 {
            self.context_command_is_read();
        }
    }

    pub fn context_command_is_read(&mut self) {
        let r = &mut self.registers;
        if ccmd::ICC.in_place(r.ccmd) == 0 || self.hung {
            return;
        }
        if r.ccmd_left > 0 {
            r.ccmd_left -= 1;
            return;
        }
        let word = r.ccmd;
        let asked = ccmd::CIRG.of(word);
        let domain = ccmd::DID.of(word);
        let what = match asked {
            granularity::GLOBAL => Some(Invalidation::Contexts),
            granularity::DOMAIN => Some(Invalidation::ContextsOf(domain as u16)),
            granularity::DEVICE => Some(Invalidation::ContextOf {
                domain: domain as u16,
                source: ccmd::SID.of(word) as u16,
                ignore: function_mask(ccmd::FM.of(word)),
            }),
            _ => None,
        };
        let done = self.carry_out_register(
            CCMD,
            word,
            what,
            asked != granularity::GLOBAL && self.bad_domain(domain),
        );
        self.registers.ccmd = ccmd::CAIG.with(word, if done { asked } else { 0 }) & !ccmd::ICC.mask();
    }

    /// IVT has been set.
    pub fn iotlb_command(&mut self, old: u64) {
        self.check_register_invalidation("IOTLB", iotlb::IVT.in_place(old) != 0);
        self.registers.iotlb_left = self.registers.latency;
        if self.registers.latency == 0 {
            self.iotlb_command_is_read();
        }
    }

    pub fn iotlb_command_is_read(&mut self) {
        let r = &mut self.registers;
        if iotlb::IVT.in_place(r.iotlb) == 0 || self.hung {
            return;
        }
        if r.iotlb_left > 0 {
            r.iotlb_left -= 1;
            return;
        }
        let (word, address) = (r.iotlb, r.iva);
        let (asked, domain) = (iotlb::IIRG.of(word), iotlb::DID.of(word));
        let mut did = asked;
        let what = match asked {
            granularity::GLOBAL => Some(Invalidation::Translations),
            granularity::DOMAIN => Some(Invalidation::TranslationsOf(domain as u16)),
            granularity::PAGE if !self.config.page_selective => {
                did = granularity::DOMAIN;
                Some(Invalidation::TranslationsOf(domain as u16))
            }
            granularity::PAGE if iva::AM.of(address) > self.config.address_mask.into() => None,
            granularity::PAGE => Some(Invalidation::PagesOf {
                domain: domain as u16,
                range: Range::masked(iva::ADDR.in_place(address), iva::AM.of(address)),
                leaves_only: iva::IH.in_place(address) != 0,
            }),
            _ => None,
        };
        let at = self.config.iotlb_offset + IOTLB_FROM_IRO;
        let done =
            self.carry_out_register(at, word, what, asked != granularity::GLOBAL && self.bad_domain(domain));
        self.registers.iotlb = iotlb::IAIG.with(word, if done { did } else { 0 }) & !iotlb::IVT.mask();
    }

    /// Whether a domain ID has more bits than CAP.ND says.
    pub fn bad_domain(&self, domain: u64) -> bool {
        domain.checked_shr(self.config.domain_bits.into()).unwrap_or(0) != 0
    }

    fn carry_out_register(&mut self, at: usize, word: u64, what: Option<Invalidation>, bad: bool) -> bool {
        let Some(what) = what.filter(|_| !bad) else {
            self.violation(
                "VT-d 6.5.1",
                format!("register {at:#x} asks for an impossible invalidation, {word:#x}"),
            );
            return false;
        };
        if self.admits([word, self.registers.iva, 0, at as u64]) {
            self.issue(what);
            // Without a queue nobody else may be waiting for a device.
            let _ = self.settle();
        }
        true
    }
}

/// Bits of the function number that a function mask leaves out (6.5.1.1).
pub(super) fn function_mask(mask: u64) -> u16 {
    match mask & 3 {
        0 => 0,
        1 => 0b100,
        2 => 0b110,
        _ => 0b111,
    }
}
