//! Garbage in registers and memory: nothing panics, and nothing leads out of memory unnoticed.

use super::bench::*;
use crate::{
    Access, IommuModel,
    vtd::{PageRequest, VtdConfig},
};
use ioward_types::{Iova, Mmio, Pasid, SourceId};

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

    /// Garbage, an entry that may well be meant, or nothing.
    fn word(&mut self) -> u64 {
        let low = self.next();
        match low % 8 {
            0 => self.next(),
            1 => u64::MAX,
            2 => 0,
            _ => (ROOT + self.next() % (END - ROOT)) & !0xfff | low >> 8 & 0xfff,
        }
    }
}

const CONFIGS: [fn() -> VtdConfig; 4] = [VtdConfig::default, VtdConfig::legacy, VtdConfig::minimal, || {
    VtdConfig { caching_mode: true, host_bits: 64, address_bits: 64, ..VtdConfig::default() }
}];

#[test]
fn nothing_panics_over_garbage() {
    for seed in 0..60 {
        let random = &mut Random(seed);
        let bench = Bench::off(CONFIGS[seed as usize % CONFIGS.len()]());
        for page in (ROOT..ROOT + 0x20_0000).step_by(0x1000) {
            for _ in 0..32 {
                let word = random.word();
                bench.put(page + random.next() % 512 * 8, word);
            }
        }
        let first = random.word();
        bench.model.preset(&[
            (0x20, first),
            (0xb8, random.word()),
            (0x90, random.word()),
            (0x1c, random.next() >> 32),
        ]);
        for _ in 0..400 {
            let (at, value) = (random.next(), random.word());
            match random.next() % 8 {
                0 => bench.model.write32((at % 0x600) as usize, value as u32),
                1 => bench.model.write64((at % 0x600) as usize & !7, value),
                2 => drop(bench.model.read64((at % 0x600) as usize & !7)),
                3 => bench.model.write32(0x18, value as u32),
                4 => {
                    let at = Iova(0xfee0_0000 | at & 0xf_ffff);
                    bench.model.message(SourceId(value as u32), at, at.0 as u32);
                }
                5 => {
                    bench.model.page_request(&PageRequest {
                        source: SourceId(value as u32),
                        pasid: Some(Pasid(at as u32)),
                        at: Iova(value),
                        read: true,
                        write: false,
                        group: at as u16,
                        last: true,
                    });
                }
                _ => {
                    let pasid = (at & 1 != 0).then_some((at >> 8) as u32 & 0xf_ffff);
                    let access = if at & 2 != 0 { Access::Write } else { Access::Read };
                    let ask = request(SourceId((at >> 32) as u32), pasid, value, access);
                    bench.model.request(&ask);
                    bench.model.translate_ahead(&ask);
                    bench.model.translated(&ask);
                }
            }
        }
        bench.model.audit(true);
        bench.memory.violations().take();
    }
}

#[test]
fn addresses_at_the_end_of_everything() {
    let top = 0xffff_ffff_ffff_f000_u64;
    for config in [VtdConfig::default(), VtdConfig { host_bits: 64, ..VtdConfig::default() }] {
        let bench = Bench::off(config);
        bench.model.preset(&[(0x20, top | 0x400), (0xb8, top | 7), (0xd0, top | 7), (0x1c, 0xc300_0000)]);
        assert_eq!(bench.read(u64::MAX), None);
        bench.model.message(DEVICE, Iova(0xfee0_0070), 0);
        bench.model.write64(0x90, top | 0x807);
        bench.model.write32(0x18, 0xc600_0000);
        bench.model.write64(0x88, 0x7_ffe0);
        assert_eq!(bench.model.read32(0x34) & 0x10, 0x10);
        bench.memory.violations().take();
    }
}
