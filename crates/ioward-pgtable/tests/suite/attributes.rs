//! All combinations of attributes.

use crate::{
    common::{
        Host,
        judge::{Memory, Page},
    },
    tools::*,
};
use ioward_pgtable::{AnyTable, MapCause, Options};
use ioward_types::{Attributes, Format, Iova, TableConfig};

fn combination(bits: u32) -> Attributes {
    let bit = |n: u32| bits >> n & 1 != 0;
    Attributes {
        read: bit(0),
        write: bit(1),
        execute: bit(2),
        privileged: bit(3),
        coherent: bit(4),
        mmio: bit(5),
    }
}

/// What is asked for is what hardware sees, or it is refused, and then the next wider one is not.
pub fn every_combination(config: &TableConfig) {
    for (dirty, no_execute) in [(false, true), (true, true), (false, false)] {
        let config = TableConfig { dirty, ..*config };
        let host = Host::new();
        let options = Options { no_execute, ..OPTIONS };
        let table = AnyTable::with(host.clone(), &config, options).expect("a configuration that exists");
        let (at, to, granule) = (config.granule() * 5, config.granule() * 7, config.granule());
        for bits in 0..64 {
            let asked = combination(bits);
            let made = host.made();
            let granted = match try_map(&table, at, to, granule, asked) {
                Ok(()) => asked,
                Err(error) => {
                    assert_eq!((error.cause, error.undone), (MapCause::Attributes(asked), None));
                    assert_eq!(host.made(), made, "refused before anything is allocated");
                    leads_nowhere(&host, &table, at);
                    assert!(may_refuse(&config, asked), "{config} refuses {asked:?}");
                    let wider = table.widen(asked);
                    let result = try_map(&table, at, to, granule, wider);
                    if !asked.read && !asked.write {
                        assert!(result.is_err(), "no access is no mapping");
                        continue;
                    }
                    result.expect("what was widened is granted");
                    assert!(wider.read >= asked.read && wider.write == asked.write);
                    assert!(wider.privileged <= asked.privileged);
                    wider
                }
            };
            assert!(granted.read || granted.write);
            let page = found(&host, &table, at).expect("mapped");
            as_granted(&config, no_execute, granted, &page);
            let (_, how, _) = table.lookup(Iova(at)).expect("mapped");
            let execute = match config.format {
                Format::AmdV1 | Format::VtdSecond => false,
                Format::AmdV2 | Format::VtdFirst => granted.execute || !no_execute,
                _ => granted.execute,
            };
            let coherent = granted.coherent && !granted.mmio;
            assert_eq!(how, Attributes { execute, coherent, ..granted }, "{config}");
            unmap(&table, at, granule);
        }
        end(&host, table);
    }
}

/// What a format's documentation says that it cannot express.
fn may_refuse(config: &TableConfig, how: Attributes) -> bool {
    let no_access = !how.read && !how.write;
    no_access
        || match config.format {
            Format::ArmStage1 | Format::AmdV2 | Format::VtdFirst | Format::RiscvFirst => !how.read,
            Format::ArmStage2 | Format::AmdV1 | Format::VtdSecond => how.privileged,
            _ => !how.read || how.privileged,
        }
}

fn as_granted(config: &TableConfig, no_execute: bool, how: Attributes, page: &Page) {
    let rights = page.rights;
    assert_eq!((rights.read, rights.write, rights.privileged), (how.read, how.write, how.privileged));
    let execute = match config.format {
        Format::AmdV1 | Format::VtdSecond => None,
        Format::AmdV2 | Format::VtdFirst if !no_execute => Some(true),
        _ => Some(how.execute),
    };
    assert_eq!(rights.execute, execute, "{config}, {how:?}");
    let memory = match (how.mmio, how.coherent) {
        (true, _) => Memory::Device,
        (false, true) => Memory::Coherent,
        (false, false) => Memory::NotCoherent,
    };
    let told = match page.memory {
        Memory::NotForced => memory != Memory::Coherent,
        // Only where hardware was said to have no such bits.
        Memory::Open => {
            !config.snoop
                && matches!(config.format, Format::VtdSecond | Format::RiscvFirst | Format::RiscvSecond)
        }
        told => told == memory,
    };
    assert!(told, "{config}: {how:?} is {page:?}");
    assert!(!config.dirty || !page.accessed && !page.dirty, "a new page is untouched");
}
