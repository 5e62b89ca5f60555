//! Device and process contexts (RISC-V IOMMU 1.0, sections 2.1 and 2.2).

use super::{Device, Lookup, Plan, Stage, behind, fault, one_stage, passes, read, say, unknown};
use ioward_pgtable::ReadMemory;
use ioward_spec::riscv::{
    device::{self as dc, ddte, iohgatp_mode, iosatp_mode, pdtp_mode},
    process::{self as pc, pdte},
    registers::ddtp,
};
use ioward_types::Format;

/// Finds the context of a device.
pub fn from_registers(
    memory: &dyn ReadMemory,
    base: u64,
    extended: bool,
    source: Device,
    lookups: &mut Vec<Lookup>,
) -> Plan {
    let levels = match ddtp::IOMMU_MODE.of(base) {
        ddtp::mode::OFF => return fault("ddtp: all inbound transactions are disallowed (cause 256)"),
        ddtp::mode::BARE => return passes(),
        mode @ (ddtp::mode::ONE_LEVEL | ddtp::mode::TWO_LEVEL | ddtp::mode::THREE_LEVEL) => {
            (mode - ddtp::mode::ONE_LEVEL + 1) as usize
        }
        other => return fault(format!("ddtp: mode {other} is reserved")),
    };
    let (bits, bytes) = match extended {
        true => (dc::EXTENDED_INDEX_BITS, dc::EXTENDED_BYTES),
        false => (dc::BASE_INDEX_BITS, dc::BASE_BYTES),
    };
    let id = u64::from(source.source);
    if id >> bits[..levels].iter().sum::<u32>() != 0 {
        return fault(format!("device {id:#x} is wider than the directory of {levels} levels (cause 260)"));
    }
    let mut table = ddtp::PPN.of(base) << 12;
    for level in (1..levels).rev() {
        let index = id >> bits[..level].iter().sum::<u32>() & ((1 << bits[level]) - 1);
        let what = format!("device directory entry of level {level}");
        let Some([word]) = read::<1>(memory, what, table + index * 8, lookups) else {
            return fault("there is no memory where the device directory entry should be (cause 257)");
        };
        if ddte::V.of(word) == 0 {
            say(lookups, "V is clear: not valid");
            return fault("the device directory entry is not valid (cause 258)");
        }
        table = ddte::PPN.of(word) << 12;
    }
    let index = id & ((1 << bits[0]) - 1);
    device(memory, table + index * bytes as u64, source, lookups)
}

/// A device context. What the extended format adds concerns message-signalled interrupts only.
pub fn device(memory: &dyn ReadMemory, at: u64, source: Device, lookups: &mut Vec<Lookup>) -> Plan {
    let Some(context) = read::<{ dc::BASE_WORDS }>(memory, "device context", at, lookups) else {
        return fault("there is no memory where the device context should be (cause 257)");
    };
    if !dc::V.is_set(&context) {
        say(lookups, "tc.V is clear: not valid");
        return fault("the device context is not valid (cause 258)");
    }
    if dc::SBE.is_set(&context) || dc::SXL.is_set(&context) {
        return unknown("first stages that are big-endian or Sv32");
    }
    let root = dc::IOHGATP_PPN.get(&context) << 12;
    let second = match dc::IOHGATP_MODE.get(&context) {
        iohgatp_mode::BARE => None,
        iohgatp_mode::SV39X4 => Some(Stage::new(Format::RiscvSecond, 12, 41, 56, root, 3)),
        iohgatp_mode::SV48X4 => Some(Stage::new(Format::RiscvSecond, 12, 50, 56, root, 4)),
        iohgatp_mode::SV57X4 => Some(Stage::new(Format::RiscvSecond, 12, 59, 56, root, 5)),
        other => return fault(format!("iohgatp.MODE {other} is reserved (cause 259)")),
    };
    say(
        lookups,
        match second {
            None => "iohgatp: no second stage".to_owned(),
            Some(stage) => format!("iohgatp: {} at {root:#x}", stage.config),
        },
    );
    let (mode, fsc) = (dc::FSC_MODE.get(&context), dc::FSC_PPN.get(&context) << 12);
    let guest = behind(memory, second);
    let (mode, root) = if dc::PDTV.is_set(&context) {
        let pasid = match source.pasid {
            Some(pasid) => u64::from(pasid),
            None if dc::DPE.is_set(&context) => 0,
            None => {
                say(lookups, "PDTV without DPE: requests without a process have no first stage");
                return done(None, second);
            }
        };
        match process(&guest, mode, fsc, pasid, lookups) {
            Ok(Some(found)) => found,
            Ok(None) => return done(None, second),
            Err(plan) => return plan,
        }
    } else if source.pasid.is_some() {
        return fault(
            "a request with a process, and the device context has no process directory (cause 260)",
        );
    } else {
        (mode, fsc)
    };
    let first = match mode {
        iosatp_mode::BARE => None,
        iosatp_mode::SV39 => Some(Stage::new(Format::RiscvFirst, 12, 39, 56, root, 3)),
        iosatp_mode::SV48 => Some(Stage::new(Format::RiscvFirst, 12, 48, 56, root, 4)),
        iosatp_mode::SV57 => Some(Stage::new(Format::RiscvFirst, 12, 57, 56, root, 5)),
        other => return fault(format!("the mode {other} of the first stage is reserved (cause 259 or 267)")),
    };
    say(
        lookups,
        match first {
            None => "no first stage".to_owned(),
            Some(stage) => format!("first stage: {} at {root:#x}", stage.config),
        },
    );
    done(first, second)
}

fn done(first: Option<Stage>, second: Option<Stage>) -> Plan {
    if first.is_none() && second.is_none() { passes() } else { one_stage(first, second) }
}

/// The mode and root of a process's first stage; none where the directory says that there is none.
fn process(
    memory: &dyn ReadMemory,
    mode: u64,
    root: u64,
    id: u64,
    lookups: &mut Vec<Lookup>,
) -> Result<Option<(u64, u64)>, Plan> {
    let levels = match mode {
        pdtp_mode::BARE => return Ok(None),
        pdtp_mode::PD8 | pdtp_mode::PD17 | pdtp_mode::PD20 => mode as usize,
        other => return Err(fault(format!("pdtp.MODE {other} is reserved (cause 259)"))),
    };
    let bits = pc::INDEX_BITS;
    if id >> bits[..levels].iter().sum::<u32>() != 0 {
        return Err(fault(format!(
            "process {id:#x} is wider than the directory of {levels} levels (cause 260)"
        )));
    }
    let mut table = root;
    for level in (1..levels).rev() {
        let index = id >> bits[..level].iter().sum::<u32>() & ((1 << bits[level]) - 1);
        let what = format!("process directory entry of level {level}");
        let Some([word]) = read::<1>(memory, what, table + index * 8, lookups) else {
            return Err(fault("there is no memory where the process directory entry should be (cause 265)"));
        };
        if pdte::V.of(word) == 0 {
            say(lookups, "V is clear: not valid");
            return Err(fault("the process directory entry is not valid (cause 266)"));
        }
        table = pdte::PPN.of(word) << 12;
    }
    let at = table + (id & ((1 << bits[0]) - 1)) * pc::BYTES as u64;
    let Some(context) = read::<{ pc::WORDS }>(memory, "process context", at, lookups) else {
        return Err(fault("there is no memory where the process context should be (cause 265)"));
    };
    if !pc::V.is_set(&context) {
        say(lookups, "ta.V is clear: not valid");
        return Err(fault("the process context is not valid (cause 266)"));
    }
    Ok(Some((pc::FSC_MODE.get(&context), pc::FSC_PPN.get(&context) << 12)))
}
