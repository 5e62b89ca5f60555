//! A fake bus: functions with configuration space, routed by the bridges' bus numbers as they are set.
#![allow(dead_code)]

pub mod build;
pub mod promises;

use ioward_pci::{Bdf, ConfigAccess, regs};
use std::{cell::RefCell, collections::BTreeMap};

/// One function's configuration space, with the bits that writes can change.
#[derive(Clone)]
pub struct Config {
    pub bytes: Vec<u8>,
    pub writable: BTreeMap<u16, u32>,
    /// On the secondary side of a bridge: device and function numbers, and what is there.
    pub below: BTreeMap<u8, Config>,
    next_cap: u8,
    last_cap: u16,
    next_ext: u16,
    last_ext: u16,
}

impl Config {
    pub fn new(vendor: u16, device: u16, class: u32) -> Self {
        let mut config = Self {
            bytes: vec![0; 4096],
            writable: BTreeMap::new(),
            below: BTreeMap::new(),
            next_cap: 0x40,
            last_cap: 0,
            next_ext: 0x100,
            last_ext: 0,
        };
        config.put(regs::ID, u32::from(device) << 16 | u32::from(vendor));
        config.put(regs::CLASS, class << 8);
        config.writable.insert(regs::COMMAND, 7);
        config
    }

    pub fn endpoint() -> Self {
        Self::new(0x1234, 0x5678, 0x02_0000)
    }

    pub fn bridge() -> Self {
        let mut config = Self::new(0x1b36, 0x000c, 0x06_0400);
        config.put(regs::HEADER, 1 << 16);
        config.put(regs::IO_WINDOW, 0x0000);
        config.put(regs::PREFETCH_WINDOW, 0x0001_0001);
        for (offset, mask) in [
            (regs::BUSES, 0xffff_ffff),
            (regs::IO_WINDOW, 0xf0f0),
            (regs::MEMORY_WINDOW, 0xfff0_fff0),
            (regs::PREFETCH_WINDOW, 0xfff0_fff0),
            (regs::PREFETCH_BASE_UPPER, u32::MAX),
            (regs::PREFETCH_LIMIT_UPPER, u32::MAX),
        ] {
            config.writable.insert(offset, mask);
        }
        config
    }

    pub fn root_port() -> Self {
        Self::bridge().express(4)
    }

    pub fn put(&mut self, offset: u16, value: u32) {
        let at = usize::from(offset);
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub fn get(&self, offset: u16) -> u32 {
        let at = usize::from(offset);
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    pub fn multifunction(mut self) -> Self {
        self.put(regs::HEADER, self.get(regs::HEADER) | 0x0080_0000);
        self
    }

    pub fn capability(&mut self, id: u8, bytes: u8) -> u16 {
        let at = u16::from(self.next_cap);
        self.next_cap += (bytes + 3) & !3;
        self.put(at, self.get(at) & 0xffff_0000 | u32::from(id));
        match self.last_cap {
            0 => self.bytes[0x34] = at as u8,
            last => self.bytes[usize::from(last) + 1] = at as u8,
        }
        self.put(regs::COMMAND, self.get(regs::COMMAND) | regs::STATUS_CAPABILITIES);
        self.last_cap = at;
        at
    }

    pub fn extended(&mut self, id: u16, bytes: u16) -> u16 {
        let at = self.next_ext;
        self.next_ext += (bytes + 3) & !3;
        self.put(at, 1 << 16 | u32::from(id));
        if self.last_ext != 0 {
            self.put(self.last_ext, self.get(self.last_ext) & 0x000f_ffff | u32::from(at) << 20);
        }
        self.last_ext = at;
        at
    }

    pub fn express(mut self, port_type: u32) -> Self {
        let at = self.capability(regs::CAP_PCIE, 0x3c);
        self.put(at, self.get(at) | (port_type << 4 | 2) << 16);
        self.put(at + regs::PCIE_DEVICE2, regs::PCIE_ARI_FORWARDING);
        self.writable.insert(at + regs::PCIE_DEVICE2_CONTROL, 0xffff);
        self
    }

    pub fn acs(mut self, capability: u16, control: u16) -> Self {
        let at = self.extended(regs::EXT_ACS, 8);
        self.put(at + 4, u32::from(control) << 16 | u32::from(capability));
        self.writable.insert(at + 4, u32::from(capability) << 16);
        self
    }

    pub fn ari(mut self, next: u8) -> Self {
        let at = self.extended(regs::EXT_ARI, 8);
        self.put(at + 4, u32::from(next) << 8);
        self
    }

    pub fn sriov(mut self, total: u16, offset: u16, stride: u16, bar_bytes: u32) -> Self {
        let at = self.extended(regs::EXT_SRIOV, 0x40);
        self.put(at + regs::SRIOV_TOTAL, u32::from(total) << 16 | u32::from(total));
        self.put(at + regs::SRIOV_OFFSET, u32::from(stride) << 16 | u32::from(offset));
        self.writable.insert(at + regs::SRIOV_CONTROL, 0x1f);
        self.writable.insert(at + regs::SRIOV_NUM, 0xffff);
        self.writable.insert(at + regs::SRIOV_BAR, !(bar_bytes - 1));
        self
    }

    /// A memory register of `bytes` bytes (a power of two).
    pub fn memory(mut self, index: u16, bytes: u64, wide: bool, prefetchable: bool) -> Self {
        let at = regs::BAR + index * 4;
        self.put(at, if wide { 4 } else { 0 } | if prefetchable { 8 } else { 0 });
        let mask = !(bytes - 1);
        self.writable.insert(at, mask as u32 & !0xf);
        if wide {
            self.writable.insert(at + 4, (mask >> 32) as u32);
        }
        self
    }

    pub fn ports(mut self, index: u16, bytes: u32) -> Self {
        let at = regs::BAR + index * 4;
        self.put(at, 1);
        self.writable.insert(at, !(bytes - 1) & 0xffff);
        self
    }

    /// Puts a function below this bridge.
    pub fn with(mut self, devfn: u8, config: Config) -> Self {
        self.below.insert(devfn, config);
        self
    }

    fn buses(&self) -> Option<(u8, u8)> {
        let bridge = self.bytes[0x0e] & 0x7f == 1;
        bridge.then(|| (self.bytes[0x19], self.bytes[0x1a])).filter(|&(secondary, _)| secondary != 0)
    }

    fn write(&mut self, offset: u16, value: u32) {
        if offset == regs::COMMAND {
            let mask = self.writable.get(&offset).copied().unwrap_or(0);
            self.put(offset, self.get(offset) & !mask | value & mask);
        } else if let Some(&mask) = self.writable.get(&offset) {
            self.put(offset, self.get(offset) & !mask | value & mask);
        }
    }
}

/// Root bus 0 of segment 0.
pub struct Fabric {
    pub root: RefCell<BTreeMap<u8, Config>>,
}

impl Fabric {
    pub fn new(functions: impl IntoIterator<Item = (u8, Config)>) -> Self {
        Self { root: RefCell::new(functions.into_iter().collect()) }
    }

    fn find<R>(&self, function: Bdf, act: impl FnOnce(&mut Config) -> R) -> Option<R> {
        fn search(level: &mut BTreeMap<u8, Config>, number: u8, function: Bdf) -> Option<&mut Config> {
            if number == function.bus {
                return level.get_mut(&function.devfn);
            }
            for config in level.values_mut() {
                if let Some((secondary, subordinate)) = config.buses()
                    && (secondary..=subordinate).contains(&function.bus)
                {
                    return search(&mut config.below, secondary, function);
                }
            }
            None
        }
        search(&mut self.root.borrow_mut(), 0, function).map(act)
    }
}

impl ConfigAccess for Fabric {
    fn read32(&self, function: Bdf, offset: u16) -> u32 {
        if function.segment != 0 || offset >= 4096 || !offset.is_multiple_of(4) {
            return u32::MAX;
        }
        self.find(function, |config| config.get(offset)).unwrap_or(u32::MAX)
    }
    fn write32(&self, function: Bdf, offset: u16, value: u32) {
        if function.segment == 0 && offset < 4096 && offset.is_multiple_of(4) {
            self.find(function, |config| config.write(offset, value));
        }
    }
}
