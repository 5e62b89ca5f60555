//! Device contexts and process contexts, decoded, and when they are misconfigured (2.1.4, 2.2.4).

use super::features::Features;
use ioward_spec::{
    Field,
    field::cover,
    riscv::{
        device::{self as d, iohgatp_mode, msiptp_mode},
        process as p,
        registers::fctl,
    },
};

/// A device context as hardware read it. Base format: the words above the fourth are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeviceContext(pub(super) [u64; d::EXTENDED_WORDS]);

/// A first stage or none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FirstRoot {
    /// Bits of an IOVA; 0: Bare.
    pub(super) width: u8,
    /// Address of the root: a guest's where there is a second stage.
    pub(super) root: u64,
}

impl DeviceContext {
    pub(super) fn get(&self, field: Field) -> u64 {
        field.get(&self.0)
    }

    pub(super) fn has(&self, field: Field) -> bool {
        field.is_set(&self.0)
    }

    pub(super) fn is_valid(&self) -> bool {
        self.has(d::V)
    }

    /// The first rule of 2.1.4 that it breaks.
    pub(super) fn misconfigured(&self, features: &Features, fctl: u32) -> Option<&'static str> {
        const USED: &[Field] = &[
            d::V,
            d::EN_ATS,
            d::EN_PRI,
            d::T2GPA,
            d::DTF,
            d::PDTV,
            d::PRPR,
            d::GADE,
            d::SADE,
            d::DPE,
            d::SBE,
            d::SXL,
            d::CUSTOM,
            d::IOHGATP_PPN,
            d::GSCID,
            d::IOHGATP_MODE,
            d::PSCID,
            d::FSC_PPN,
            d::FSC_MODE,
            d::MSIPTP_PPN,
            d::MSIPTP_MODE,
            d::MSI_ADDR_MASK,
            d::MSI_ADDR_PATTERN,
        ];
        let broken = |condition: bool, rule: &'static str| condition.then_some(rule);
        let reserved = self.0.iter().enumerate().any(|(n, word)| word & !cover(USED, n) != 0);
        let pages = u32::from(features.guest_bits()) - 12;
        let wide = (self.get(d::MSI_ADDR_MASK) | self.get(d::MSI_ADDR_PATTERN)) >> pages.min(52);
        let second = features.second_width(self.get(d::IOHGATP_MODE));
        let bare = self.get(d::IOHGATP_MODE) == iohgatp_mode::BARE;
        let fsc = self.get(d::FSC_MODE);
        let big = fctl::BE.of(fctl.into()) == 1;
        broken(reserved, "reserved bits are set")
            .or(broken(wide != 0, "msi_addr_mask or msi_addr_pattern is wider than a guest's page number"))
            .or(broken(
                !features.ats && (self.has(d::EN_ATS) || self.has(d::EN_PRI) || self.has(d::PRPR)),
                "EN_ATS, EN_PRI or PRPR without capabilities.ATS",
            ))
            .or(broken(!self.has(d::EN_ATS) && self.has(d::T2GPA), "T2GPA without EN_ATS"))
            .or(broken(!self.has(d::EN_ATS) && self.has(d::EN_PRI), "EN_PRI without EN_ATS"))
            .or(broken(!self.has(d::EN_PRI) && self.has(d::PRPR), "PRPR without EN_PRI"))
            .or(broken(!features.t2gpa && self.has(d::T2GPA), "T2GPA without capabilities.T2GPA"))
            .or(broken(self.has(d::T2GPA) && bare, "T2GPA without a second stage"))
            .or(broken(
                self.has(d::PDTV) && features.process_levels(fsc).is_none(),
                "pdtp.MODE is not supported",
            ))
            .or(broken(
                !self.has(d::PDTV) && features.first_width(fsc).is_none(),
                "iosatp.MODE is not supported",
            ))
            .or(broken(!self.has(d::PDTV) && self.has(d::DPE), "DPE without PDTV"))
            .or(broken(second.is_none(), "iohgatp.MODE is not supported"))
            .or(broken(self.get(d::MSIPTP_MODE) > msiptp_mode::FLAT, "msiptp.MODE is not supported"))
            .or(broken(
                bare && self.get(d::MSIPTP_MODE) != msiptp_mode::OFF,
                "msiptp.MODE is not Off without a second stage",
            ))
            .or(broken(
                !bare && !self.get(d::IOHGATP_PPN).is_multiple_of(4),
                "the second stage's root is not aligned to 16 KiB",
            ))
            .or(broken(
                !features.amo_hwad && (self.has(d::SADE) || self.has(d::GADE)),
                "SADE or GADE without capabilities.AMO_HWAD",
            ))
            .or(broken(!features.both_endian && self.has(d::SBE) != big, "SBE differs from fctl.BE"))
            .or(broken(self.has(d::SXL), "SXL where fctl.GXL is fixed at 0"))
    }

    /// Width of the second stage; 0: Bare.
    pub(super) fn second_width(&self, features: &Features) -> u8 {
        features.second_width(self.get(d::IOHGATP_MODE)).unwrap_or(0)
    }

    pub(super) fn second_root(&self) -> u64 {
        self.get(d::IOHGATP_PPN) << 12
    }

    /// The tag of guest translations; none where there is no second stage.
    pub(super) fn gscid(&self, features: &Features) -> Option<u16> {
        (self.second_width(features) != 0).then(|| self.get(d::GSCID) as u16)
    }

    /// Levels of the process directory; 0 where there is none.
    pub(super) fn process_levels(&self, features: &Features) -> usize {
        if self.has(d::PDTV) { features.process_levels(self.get(d::FSC_MODE)).unwrap_or(0) } else { 0 }
    }

    /// Address of the process directory or of the first stage's root.
    pub(super) fn fsc_root(&self) -> u64 {
        self.get(d::FSC_PPN) << 12
    }

    /// The first stage while there is no process directory.
    pub(super) fn first(&self, features: &Features) -> FirstRoot {
        let width = features.first_width(self.get(d::FSC_MODE)).unwrap_or(0);
        FirstRoot { width, root: self.fsc_root() }
    }
}

/// A process context as hardware read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProcessContext(pub(super) [u64; p::WORDS]);

impl ProcessContext {
    pub(super) fn has(&self, field: Field) -> bool {
        field.is_set(&self.0)
    }

    pub(super) fn is_valid(&self) -> bool {
        self.has(p::V)
    }

    pub(super) fn misconfigured(&self, features: &Features) -> bool {
        const USED: &[Field] = &[p::V, p::ENS, p::SUM, p::PSCID, p::FSC_PPN, p::FSC_MODE];
        let reserved = self.0.iter().enumerate().any(|(n, word)| word & !cover(USED, n) != 0);
        reserved || features.first_width(p::FSC_MODE.get(&self.0)).is_none()
    }

    pub(super) fn pscid(&self) -> u32 {
        p::PSCID.get(&self.0) as u32
    }

    pub(super) fn first(&self, features: &Features) -> FirstRoot {
        let width = features.first_width(p::FSC_MODE.get(&self.0)).unwrap_or(0);
        FirstRoot { width, root: p::FSC_PPN.get(&self.0) << 12 }
    }
}
