//! From configuration space to a [`Function`].

use crate::{
    Acs, AcsBits, Bdf, ConfigSpace, EgressVector, Finding, Function, PortType, Problem, caps,
    function::{Ari, Ats, Express, Fact, Header, Ids, PasidCap, Pri, SrIov},
    regs,
};
use alloc::vec::Vec;

/// Reads a function. None where there is none: the vendor ID is all ones, all zeros, or could not be read.
///
/// What is wrong is added to `findings`; what could not be read is [`Fact::Unseen`] in the result.
pub fn read<C: ConfigSpace + ?Sized>(config: &C, at: Bdf, findings: &mut Vec<Finding>) -> Option<Function> {
    let id = config.read32(regs::ID)?;
    if matches!(id & 0xffff, 0 | 0xffff) {
        return None;
    }
    let mut function = Function::unseen(at);
    function.ids = Some(Ids { vendor: id as u16, device: (id >> 16) as u16 });
    function.class = config.read32(regs::CLASS).map(|word| (word >> 16) as u16);
    let Some(kind) = config.read8(regs::HEADER + 2) else {
        findings.push(Finding { function: at, problem: Problem::Unread { offset: regs::HEADER } });
        return Some(function);
    };
    function.multifunction = Some(kind & 0x80 != 0);
    function.header = header(config, kind & 0x7f);
    if let Header::Unknown(kind) = function.header {
        findings.push(Finding { function: at, problem: Problem::HeaderType { kind } });
    }
    function.memory = memory(config, function.header);
    if function.header == Header::Endpoint {
        function.subsystem = config.read32(regs::SUBSYSTEM).and_then(ids);
    }
    conventional(config, &mut function, findings);
    extended(config, &mut function, findings);
    Some(function)
}

/// Whether some base address register is one of memory. Registers of virtual functions are their physical function's, and
/// read as zero.
fn memory<C: ConfigSpace + ?Sized>(config: &C, header: Header) -> Option<bool> {
    let registers = match header {
        Header::Endpoint => 6,
        Header::Bridge { cardbus: false, .. } => 2,
        _ => return None,
    };
    let mut found = false;
    for register in 0..registers {
        let word = config.read32(regs::BAR + register * 4)?;
        // The second half of a 64-bit register has no flags, but the first is never zero.
        found |= word & 1 == 0 && word != 0;
    }
    Some(found)
}

fn ids(word: u32) -> Option<Ids> {
    (word as u16 != 0 || word >> 16 != 0).then_some(Ids { vendor: word as u16, device: (word >> 16) as u16 })
}

fn header<C: ConfigSpace + ?Sized>(config: &C, kind: u8) -> Header {
    match (kind, config.read32(regs::BUSES)) {
        (0, _) => Header::Endpoint,
        (1 | 2, Some(buses)) => Header::Bridge {
            primary: buses as u8,
            secondary: (buses >> 8) as u8,
            subordinate: (buses >> 16) as u8,
            cardbus: kind == 2,
        },
        (1 | 2, None) => Header::BridgeUnseen,
        _ => Header::Unknown(kind),
    }
}

fn conventional<C: ConfigSpace + ?Sized>(config: &C, function: &mut Function, findings: &mut Vec<Finding>) {
    let cardbus = matches!(function.header, Header::Bridge { cardbus: true, .. });
    let first = if cardbus { regs::CARDBUS_CAPABILITIES } else { regs::CAPABILITIES };
    let mut cut = None;
    let end = caps::conventional(config, first, |cap| match cap.id as u8 {
        regs::CAP_PCIE if !function.express.is_seen() => {
            match express(config, cap.offset) {
                Some(express) => function.express = Fact::Present(express),
                None => cut = Some(Problem::CapabilityCut { offset: cap.offset }),
            };
        }
        regs::CAP_BRIDGE_SUBSYSTEM => function.subsystem = config.read32(cap.offset + 4).and_then(ids),
        _ => {}
    });
    let complete = match end {
        Ok(()) => true,
        // Nobody will ever see more of a list that is wrong in itself.
        Err(problem) => {
            findings.push(Finding { function: function.at, problem });
            !matches!(problem, Problem::Unread { .. })
        }
    };
    findings.extend(cut.map(|problem| Finding { function: function.at, problem }));
    if complete && cut.is_none() && !function.express.is_seen() {
        function.express = Fact::Absent;
    }
}

fn express<C: ConfigSpace + ?Sized>(config: &C, at: u16) -> Option<Express> {
    let capabilities = config.read32(at)? >> 16;
    let device = config.read32(at + regs::PCIE_DEVICE)?;
    let control = config.read32(at + regs::PCIE_DEVICE_CONTROL)?;
    // Integrated endpoints need no link registers.
    let inside = at + regs::PCIE_LINK < regs::CONVENTIONAL_BYTES;
    let link = inside.then(|| config.read32(at + regs::PCIE_LINK)).flatten();
    // The second set came with version 2; a capability that near to the end of the space cannot have it.
    let second = |offset: u16| {
        let inside = capabilities & 0xf >= 2 && at + offset < regs::CONVENTIONAL_BYTES;
        inside.then(|| config.read32(at + offset)).flatten()
    };
    let flag =
        |word: Option<u32>| word.map_or(Some(false), |word| Some(word & regs::PCIE_ARI_FORWARDING != 0));
    Some(Express {
        kind: PortType::from_bits((capabilities >> 4) as u8),
        slot: Some(capabilities & 1 << 8 != 0),
        port_number: link.map(|word| (word >> 24) as u8),
        phantom_bits: (device >> 3 & 3) as u8,
        phantom_enabled: control & 1 << 9 != 0,
        ari_capable: flag(second(regs::PCIE_DEVICE2)),
        ari_forwarding: flag(second(regs::PCIE_DEVICE2_CONTROL)),
    })
}

fn extended<C: ConfigSpace + ?Sized>(config: &C, function: &mut Function, findings: &mut Vec<Finding>) {
    let mut cuts = Vec::new();
    // Extended space is there with PCI Express or PCI-X mode 2 only, and nobody looks for the latter.
    let end = match function.express {
        Fact::Absent => Ok(()),
        Fact::Unseen if config.read32(regs::EXTENDED_CAPABILITIES).is_none() => {
            // The conventional list has said it already.
            Err(None)
        }
        _ => caps::extended(config, |cap| {
            let word = |offset: u16| {
                let at = cap.offset.checked_add(offset).filter(|&at| at < regs::EXTENDED_BYTES);
                at.and_then(|at| config.read32(at))
            };
            let seen = match cap.id {
                regs::EXT_ACS => keep(&mut function.acs, acs(word)),
                regs::EXT_ARI => keep(&mut function.ari, word(regs::ARI_WORDS).map(ari)),
                regs::EXT_ATS => keep(&mut function.ats, word(regs::ATS_WORDS).map(ats)),
                regs::EXT_SRIOV => keep(&mut function.sriov, sriov(word)),
                regs::EXT_PRI => keep(&mut function.pri, pri(word)),
                regs::EXT_VENDOR => match word(regs::VENDOR_WORDS) {
                    Some(id) => {
                        let intel = function.ids.is_some_and(|ids| ids.vendor == 0x8086);
                        if intel && id as u16 == regs::VENDOR_INTEL_THUNDERBOLT {
                            function.thunderbolt = Fact::Present(());
                        }
                        true
                    }
                    None => false,
                },
                regs::EXT_PASID => keep(&mut function.pasid, word(regs::PASID_WORDS).map(pasid)),
                _ => true,
            };
            if !seen {
                cuts.push(Problem::CapabilityCut { offset: cap.offset });
            }
        })
        .map_err(Some),
    };
    let complete = match end {
        Ok(()) => true,
        Err(problem) => {
            findings.extend(problem.map(|problem| Finding { function: function.at, problem }));
            problem.is_some_and(|problem| !matches!(problem, Problem::Unread { .. }))
        }
    };
    let whole = cuts.is_empty();
    findings.extend(cuts.into_iter().map(|problem| Finding { function: function.at, problem }));
    if complete && whole {
        absent(&mut function.acs);
        absent(&mut function.ari);
        absent(&mut function.ats);
        absent(&mut function.sriov);
        absent(&mut function.pri);
        absent(&mut function.pasid);
        absent(&mut function.thunderbolt);
    }
}

/// Keeps the first of a kind; false where it was cut short.
fn keep<T>(slot: &mut Fact<T>, value: Option<T>) -> bool {
    match value {
        Some(value) if !slot.is_seen() => *slot = Fact::Present(value),
        Some(_) => {}
        None => return false,
    }
    true
}

fn absent<T>(slot: &mut Fact<T>) {
    if !slot.is_seen() {
        *slot = Fact::Absent;
    }
}

fn acs(word: impl Fn(u16) -> Option<u32>) -> Option<Acs> {
    let words = word(regs::ACS_WORDS)?;
    let capability = AcsBits(words as u16);
    // Bits 15:8 are the vector's size in bits, zero meaning 256; there is a vector only with egress control.
    let egress = capability.covers(AcsBits::EC).then(|| {
        let bits = match words >> 8 & 0xff {
            0 => 256,
            bits => bits as u16,
        };
        let mut vector = EgressVector { bits, words: [0; 8] };
        for (index, slot) in (0..bits.div_ceil(32)).zip(&mut vector.words) {
            *slot = word(regs::ACS_EGRESS + index * 4)?;
        }
        Some(vector)
    });
    Some(Acs {
        capability: Some(AcsBits(capability.0 & 0xff)),
        control: Some(AcsBits((words >> 16) as u16)),
        next_word: word(regs::ACS_EGRESS).map(|word| AcsBits(word as u16)),
        egress: egress.flatten(),
    })
}

fn ats(word: u32) -> Ats {
    let depth = match word & 0x1f {
        0 => 32,
        depth => depth as u8,
    };
    Ats {
        enabled: word >> 31 != 0,
        queue_depth: Some(depth),
        smallest_unit: Some((word >> 16 & 0x1f) as u8),
        page_aligned: Some(word & 1 << 5 != 0),
        global_invalidate: Some(word & 1 << 6 != 0),
    }
}

fn ari(word: u32) -> Ari {
    let groups = word & 1 << 1 != 0 && word & 1 << 17 != 0;
    Ari { next: Some((word >> 8) as u8), acs_group: groups.then_some((word >> 20 & 7) as u8) }
}

fn sriov(word: impl Fn(u16) -> Option<u32>) -> Option<SrIov> {
    let placement = word(regs::SRIOV_OFFSET)?;
    Some(SrIov {
        enabled: word(regs::SRIOV_CONTROL)? & regs::SRIOV_VF_ENABLE != 0,
        ari_hierarchy: word(regs::SRIOV_CONTROL)? & regs::SRIOV_ARI_HIERARCHY != 0,
        total: (word(regs::SRIOV_TOTAL)? >> 16) as u16,
        count: word(regs::SRIOV_NUM)? as u16,
        offset: placement as u16,
        stride: (placement >> 16) as u16,
        device: (word(regs::SRIOV_DEVICE)? >> 16) as u16,
    })
}

fn pri(word: impl Fn(u16) -> Option<u32>) -> Option<Pri> {
    let words = word(regs::PRI_WORDS)?;
    Some(Pri {
        enabled: words & 1 != 0,
        stopped: Some(words & 1 << 24 != 0),
        capacity: word(regs::PRI_CAPACITY),
        allocation: word(regs::PRI_ALLOCATION),
        needs_pasid: words >> 31 != 0,
    })
}

fn pasid(word: u32) -> PasidCap {
    PasidCap {
        bits: Some((word >> 8 & 0x1f).min(20) as u8),
        enabled: word >> 16 & 1 != 0,
        execute: word & 2 != 0,
        privileged: word & 4 != 0,
        execute_enabled: word & 1 << 17 != 0,
        privileged_enabled: word & 1 << 18 != 0,
    }
}
