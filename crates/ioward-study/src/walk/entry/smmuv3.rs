//! Stream table entries and context descriptors (IHI 0070, sections 3.3, 5.2 and 5.4).

use super::{Device, Lookup, Plan, Stage, behind, fault, one_stage, passes, read, say, unknown};
use ioward_pgtable::ReadMemory;
use ioward_spec::smmuv3::{
    cd::{self, tg0, tg1},
    registers::{idr5, strtab_base, strtab_base_cfg},
    ste::{self, config, l1std, s1dss, s1fmt},
};
use ioward_types::{Format, Iova};

/// Finds the entry of a stream.
pub fn from_registers(
    memory: &dyn ReadMemory,
    base: u64,
    setup: u64,
    device: Device,
    iova: Iova,
    lookups: &mut Vec<Lookup>,
) -> Plan {
    let log2 = strtab_base_cfg::LOG2SIZE.of(setup);
    let (stream, table) = (u64::from(device.source), strtab_base::ADDR.in_place(base));
    if stream >> log2.min(32) != 0 {
        return fault(format!("stream {stream:#x} is outside the table of 2^{log2} (C_BAD_STREAMID)"));
    }
    let at = match strtab_base_cfg::FMT.of(setup) {
        strtab_base_cfg::fmt::LINEAR => table.wrapping_add(stream * ste::BYTES as u64),
        strtab_base_cfg::fmt::TWO_LEVEL => {
            let split = strtab_base_cfg::SPLIT.of(setup);
            let place = table.wrapping_add((stream >> split) * l1std::BYTES as u64);
            let Some([word]) = read::<1>(memory, "level 1 stream table descriptor", place, lookups) else {
                return fault("there is no memory where the level 1 descriptor should be (F_STE_FETCH)");
            };
            let (span, within) = (l1std::SPAN.of(word), stream & ((1 << split) - 1));
            say(lookups, format!("Span {span}, level 2 array at {:#x}", l1std::L2PTR.in_place(word)));
            if span == 0 || span > split + 1 || within >> (span - 1) != 0 {
                return fault(format!("the level 2 array does not hold stream {stream:#x} (C_BAD_STREAMID)"));
            }
            l1std::L2PTR.in_place(word).wrapping_add(within * ste::BYTES as u64)
        }
        other => return fault(format!("STRTAB_BASE_CFG.FMT {other} is reserved")),
    };
    stream_at(memory, at, device, iova, lookups)
}

/// An entry.
pub fn stream(
    memory: &dyn ReadMemory,
    at: u64,
    device: Device,
    iova: Iova,
    lookups: &mut Vec<Lookup>,
) -> Plan {
    stream_at(memory, at, device, iova, lookups)
}

fn stream_at(
    memory: &dyn ReadMemory,
    at: u64,
    device: Device,
    iova: Iova,
    lookups: &mut Vec<Lookup>,
) -> Plan {
    let Some(ste) = read::<{ ste::WORDS }>(memory, "stream table entry", at, lookups) else {
        return fault("there is no memory where the stream table entry should be (F_STE_FETCH)");
    };
    if !ste::V.is_set(&ste) {
        say(lookups, "V is clear: not valid");
        return fault("the stream table entry is not valid (C_BAD_STE)");
    }
    let kind = ste::CONFIG.get(&ste);
    let (name, stage_1, stage_2) = match kind {
        config::BYPASS => ("no stage translates", false, false),
        config::S1 => ("stage 1 translates", true, false),
        config::S2 => ("stage 2 translates", false, true),
        config::S1_S2 => ("both stages translate", true, true),
        _ => ("requests are aborted", false, false),
    };
    say(lookups, format!("Config {kind:#05b}: {name}"));
    match kind {
        config::BYPASS => return passes(),
        config::S1 | config::S2 | config::S1_S2 => {}
        _ => return fault("the stream table entry aborts requests, and no event is recorded"),
    }
    let second = match stage_2.then(|| second(&ste, lookups)) {
        None => None,
        Some(Ok(stage)) => Some(stage),
        Some(Err(plan)) => return plan,
    };
    if !stage_1 {
        return match device.pasid {
            Some(_) => {
                fault("a request with a substream, and stage 1 does not translate (C_BAD_SUBSTREAMID)")
            }
            None => one_stage(None, second),
        };
    }
    let max = ste::S1CDMAX.get(&ste);
    let index = match (device.pasid, ste::S1DSS.get(&ste)) {
        (Some(pasid), _) if max == 0 || u64::from(pasid) >> max != 0 => {
            return fault(format!(
                "substream {pasid:#x} is outside the 2^{max} of the entry (C_BAD_SUBSTREAMID)"
            ));
        }
        (Some(0), s1dss::SSID0) => {
            return fault("substream 0 is that of requests without one (C_BAD_SUBSTREAMID)");
        }
        (Some(pasid), _) => pasid.into(),
        (None, _) if max == 0 => 0,
        (None, s1dss::SSID0) => 0,
        (None, s1dss::BYPASS) => {
            say(lookups, "S1DSS: requests without a substream bypass stage 1");
            return match second {
                Some(_) => one_stage(None, second),
                None => passes(),
            };
        }
        (None, _) => return fault("requests without a substream are terminated (F_STREAM_DISABLED)"),
    };
    let memory = behind(memory, second);
    let table = ste::S1CONTEXTPTR.get_in_place(&ste);
    let at = match (max, ste::S1FMT.get(&ste)) {
        (0, _) | (_, s1fmt::LINEAR) => table.wrapping_add(index * cd::BYTES as u64),
        (_, format @ (s1fmt::L2_4K | s1fmt::L2_64K)) => {
            let split = if format == s1fmt::L2_4K { cd::L2_4K_SPLIT } else { cd::L2_64K_SPLIT };
            let place = table.wrapping_add((index >> split) * cd::l1cd::BYTES as u64);
            let Some([word]) = read::<1>(&memory, "level 1 context descriptor", place, lookups) else {
                return fault(
                    "there is no memory where the level 1 context descriptor should be (F_CD_FETCH)",
                );
            };
            if cd::l1cd::V.of(word) == 0 {
                return fault("the level 1 context descriptor is not valid (C_BAD_SUBSTREAMID)");
            }
            let within = index & ((1 << split) - 1);
            cd::l1cd::L2PTR.in_place(word).wrapping_add(within * cd::BYTES as u64)
        }
        (_, other) => return fault(format!("S1Fmt {other} is reserved (C_BAD_STE)")),
    };
    let Some(cd) = read::<{ cd::WORDS }>(&memory, "context descriptor", at, lookups) else {
        return fault("there is no memory where the context descriptor should be (F_CD_FETCH)");
    };
    match first(&cd, iova, lookups) {
        Ok(stage) => one_stage(Some(stage), second),
        Err(plan) => plan,
    }
}

/// Base-2 logarithm of a granule.
fn granule(tg: u64) -> Option<u32> {
    match tg {
        tg0::K4 => Some(12),
        tg0::K16 => Some(14),
        tg0::K64 => Some(16),
        _ => None,
    }
}

fn second(ste: &[u64], lookups: &mut [Lookup]) -> Result<Stage, Plan> {
    if !ste::S2AA64.is_set(ste) || ste::S2ENDI.is_set(ste) || ste::S2DS.is_set(ste) {
        return Err(unknown("stage 2 tables of another form than VMSAv8-64 of 48 bits, little-endian"));
    }
    let Some(shift) = granule(ste::S2TG.get(ste)) else {
        return Err(fault("S2TG is reserved (C_BAD_STE)"));
    };
    let in_bits = 64 - ste::S2T0SZ.get(ste) as u8;
    let start = ste::S2SL0.get(ste);
    // The start level of DDI 0487's table of SL0, as how many tables a walk reads.
    let levels = match (shift, start) {
        (12, 0) => 2,
        (12, 1) => 3,
        (12, 2) => 4,
        (12, _) => 1,
        (_, start) => start as u8 + 1,
    };
    let out_bits = idr5::oas::BITS[ste::S2PS.get(ste) as usize];
    let root = ste::S2TTB.get_in_place(ste) & ((1 << 52) - 1);
    say(
        lookups,
        format!(
            "S2T0SZ: {in_bits} bits in, S2SL0: {levels} levels, S2TTB {root:#x}, VMID {:#x}",
            ste::S2VMID.get(ste)
        ),
    );
    Ok(Stage::new(Format::ArmStage2, shift, in_bits, out_bits, root, levels))
}

fn first(cd: &[u64], iova: Iova, lookups: &mut [Lookup]) -> Result<Stage, Plan> {
    if !cd::V.is_set(cd) {
        say(lookups, "V is clear: not valid");
        return Err(fault("the context descriptor is not valid (C_BAD_CD)"));
    }
    if !cd::AA64.is_set(cd) || cd::ENDI.is_set(cd) || cd::DS.is_set(cd) {
        return Err(unknown("stage 1 tables of another form than VMSAv8-64 of 48 bits, little-endian"));
    }
    // Bit 55 chooses the table, whether or not the top byte counts (DDI 0487, D8.2.8).
    let upper = iova.0 >> 55 & 1 == 1;
    let (size, tg, disabled, ignored, root) = match upper {
        false => (cd::T0SZ, granule(cd::TG0.get(cd)), cd::EPD0, cd::TBI0, cd::TTB0),
        true => {
            let shift = match cd::TG1.get(cd) {
                tg1::K4 => Some(12),
                tg1::K16 => Some(14),
                tg1::K64 => Some(16),
                _ => None,
            };
            (cd::T1SZ, shift, cd::EPD1, cd::TBI1, cd::TTB1)
        }
    };
    let which = if upper { "TTB1" } else { "TTB0" };
    if disabled.is_set(cd) {
        return Err(fault(format!("{which} is not walked (EPD): a translation fault")));
    }
    let Some(shift) = tg else {
        return Err(fault(format!("the granule of {which} is reserved (C_BAD_CD)")));
    };
    let in_bits = 64 - size.get(cd) as u8;
    let top = if ignored.is_set(cd) { 56 } else { 64 };
    let above = iova.0 << (64 - top) >> (64 - top) >> in_bits.min(63);
    let wanted = if upper { u64::MAX << (64 - top) >> (64 - top) >> in_bits.min(63) } else { 0 };
    let root = root.get_in_place(cd) & ((1 << 52) - 1);
    let index = u32::from(in_bits).saturating_sub(shift);
    let levels = index.div_ceil(shift - 3).max(1) as u8;
    let out_bits = idr5::oas::BITS[cd::IPS.get(cd) as usize];
    say(lookups, format!("{which} {root:#x}, {in_bits} bits in, ASID {:#x}", cd::ASID.get(cd)));
    if above != wanted {
        return Err(fault(format!(
            "the address is outside the {in_bits} bits of {which}: a translation fault"
        )));
    }
    let stage = Stage::new(Format::ArmStage1, shift, in_bits, out_bits, root, levels);
    Ok(Stage { mask: u64::MAX >> (64 - u32::from(in_bits.clamp(1, 64))), ..stage })
}
