//! Whatever a driver, a guest or a bit flip puts into registers, structures and commands: the model does not panic and
//! never invents memory.

use super::rig::{CDS, CMDQ, PAGE, Rig, STREAMS, TABLES, request};
use crate::{Access, IommuModel, Outcome, smmuv3::Features};
use ioward_types::Mmio;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn storm(features: Features, seed: u64, rounds: u32) -> u32 {
    let rig = Rig::stage1(features);
    let mut random = Random(seed);
    let mut reached = 0;
    for round in 0..rounds {
        let bit = 1 << random.below(64);
        match random.below(10) {
            0 => {
                let at = STREAMS + 8 * random.below(16 * 8);
                rig.put(at, &[rig.read(at) ^ bit]);
            }
            1 => {
                let at = CDS + 8 * random.below(16 * 8);
                rig.put(at, &[rig.read(at) ^ bit]);
            }
            2 => {
                let at = TABLES + 0x1000 * random.below(4) + 8 * random.below(16);
                rig.put(at, &[rig.read(at) ^ bit]);
            }
            3 => rig.put(TABLES + 0x1000 * random.below(4) + 8 * random.below(16), &[PAGE | random.next()]),
            4 | 5 => {
                let opcode = [0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x28, 0x2a, 0x30, 0x40, 0x46]
                    [random.below(13) as usize];
                let operands = random.next() & random.next() & random.next();
                let prod = rig.smmu.read32(0x98);
                let words = [opcode | operands & !0xff, random.next() & random.next()];
                rig.put(CMDQ + u64::from(prod & 15) * 16, &words);
                rig.smmu.write32(0x98, (prod + 1) & 31);
                rig.smmu.write32(0x64, rig.smmu.read32(0x60));
            }
            6 => {
                let at = 4 * random.below(0x40) as usize;
                rig.smmu.write32(at, rig.smmu.read32(at) ^ bit as u32);
            }
            7 if round % 16 == 0 => rig.smmu.write64(8 * random.below(0x20) as usize, random.next()),
            7 => rig.smmu.preset(0x20, 0x1d),
            _ => {
                let access = [Access::Read, Access::Write, Access::Execute][random.below(3) as usize];
                let pasid = (random.below(4) == 0).then(|| random.below(5) as u32);
                let at = [random.below(0x8000), random.next() >> random.below(64)][random.below(2) as usize];
                let ask = request([5, 5, 4, 16, 0x203][random.below(5) as usize], pasid, at, access);
                let outcome = match random.below(4) {
                    0 => rig.smmu.translate_ahead(&ask),
                    1 => rig.smmu.translated(&ask),
                    _ => rig.smmu.request(&ask),
                };
                if let Outcome::To { at, .. } = outcome {
                    assert!(at.0 >> features.out_bits.max(48) == 0, "{at} is beyond the output size");
                    reached += 1;
                }
            }
        }
        if round % 128 == 0 {
            rig.enable();
            rig.map();
            rig.smmu.preset(0x88, [4, 0x0001_0184, 0x0001_0210][random.below(3) as usize]);
            rig.smmu.evict();
        }
        rig.sections();
    }
    reached
}

#[test]
fn nothing_that_is_written_makes_the_model_panic() {
    let all = Features {
        hyp: true,
        split_ats: true,
        small_tables: true,
        wide_virtual: true,
        ..Features::default()
    };
    assert!(storm(all, 1, 20_000) > 10);
    assert!(storm(Features { out_bits: 52, ..all }, 2, 20_000) > 10);
    assert!(storm(Features { sid_bits: 32, ssid_bits: 20, ..all }, 3, 10_000) > 10);
    storm(Features::small(), 4, 10_000);
}
