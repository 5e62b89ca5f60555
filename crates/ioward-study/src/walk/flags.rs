//! The bits of page-table entries by their names.

use ioward_spec::{
    Field,
    amdvi::entries::v1,
    lpae,
    riscv::paging as riscv,
    vtd::paging::{first, second},
};
use ioward_types::Format;

const X86: [(Field, &str); 9] = [
    (first::P, "P"),
    (first::RW, "R/W"),
    (first::US, "U/S"),
    (first::PWT, "PWT"),
    (first::PCD, "PCD"),
    (first::A, "A"),
    (first::D, "D"),
    (first::G, "G"),
    (first::XD, "XD"),
];
const AMD: [(Field, &str); 8] = [
    (v1::PR, "PR"),
    (v1::A, "A"),
    (v1::D, "D"),
    (v1::NEXT_LEVEL, "next level"),
    (v1::U, "U"),
    (v1::FC, "FC"),
    (v1::IR, "IR"),
    (v1::IW, "IW"),
];
const SECOND: [(Field, &str); 6] = [
    (second::R, "R"),
    (second::W, "W"),
    (second::X, "X"),
    (second::PS, "PS"),
    (second::SNP, "SNP"),
    (second::A, "A"),
];
const RISCV: [(Field, &str); 10] = [
    (riscv::V, "V"),
    (riscv::R, "R"),
    (riscv::W, "W"),
    (riscv::X, "X"),
    (riscv::U, "U"),
    (riscv::G, "G"),
    (riscv::A, "A"),
    (riscv::D, "D"),
    (riscv::PBMT, "PBMT"),
    (riscv::N, "N"),
];
const ARM_LINK: [(Field, &str); 5] = [
    (lpae::VALID, "valid"),
    (lpae::PXN_TABLE, "PXNTable"),
    (lpae::UXN_TABLE, "UXNTable"),
    (lpae::AP_TABLE_PRIVILEGED, "APTable[0]"),
    (lpae::AP_TABLE_READ_ONLY, "APTable[1]"),
];
const ARM_STAGE_1: [(Field, &str); 11] = [
    (lpae::VALID, "valid"),
    (lpae::ATTR_INDX, "AttrIndx"),
    (lpae::AP_UNPRIVILEGED, "AP[1]"),
    (lpae::AP_READ_ONLY, "AP[2]"),
    (lpae::SH, "SH"),
    (lpae::AF, "AF"),
    (lpae::NG, "nG"),
    (lpae::DBM, "DBM"),
    (lpae::CONTIGUOUS, "contiguous"),
    (lpae::PXN, "PXN"),
    (lpae::UXN, "UXN"),
];
const ARM_STAGE_2: [(Field, &str); 9] = [
    (lpae::VALID, "valid"),
    (lpae::MEM_ATTR, "MemAttr"),
    (lpae::S2AP_READ, "S2AP[0]"),
    (lpae::S2AP_WRITE, "S2AP[1]"),
    (lpae::SH, "SH"),
    (lpae::AF, "AF"),
    (lpae::DBM, "DBM"),
    (lpae::CONTIGUOUS, "contiguous"),
    (lpae::S2_XN, "XN"),
];

/// The bits that are set, by name; of wider fields the value too.
pub fn names(format: Format, raw: u64, is_leaf: bool) -> Vec<String> {
    let fields: &[(Field, &str)] = match (format, is_leaf) {
        (Format::AmdV1, _) => &AMD,
        (Format::AmdV2 | Format::VtdFirst, _) => &X86,
        (Format::VtdSecond, _) => &SECOND,
        (Format::RiscvFirst | Format::RiscvSecond, _) => &RISCV,
        (Format::ArmStage1, true) => &ARM_STAGE_1,
        (Format::ArmStage2, true) => &ARM_STAGE_2,
        (Format::ArmStage1, false) => &ARM_LINK,
        _ => &ARM_LINK[..1],
    };
    let set = fields.iter().filter(|(field, _)| field.of(raw) != 0);
    set.map(|(field, name)| match field.bits {
        1 => (*name).to_owned(),
        _ => format!("{name}={:#x}", field.of(raw)),
    })
    .collect()
}

/// Why hardware that does not manage accessed bits faults over a leaf that the engine takes.
pub fn stops(format: Format, raw: u64) -> Option<&'static str> {
    match format {
        Format::ArmStage1 | Format::ArmStage2 if lpae::AF.of(raw) == 0 => {
            Some("the access flag is clear: an access flag fault, unless hardware sets it (HA, S2HA)")
        }
        Format::RiscvFirst | Format::RiscvSecond if riscv::A.of(raw) == 0 => {
            Some("the accessed bit is clear: a page fault, unless hardware sets it (SADE, GADE)")
        }
        _ => None,
    }
}
