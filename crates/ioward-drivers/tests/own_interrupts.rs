//! IOMMUs ask for attention: a fault raises their own interrupt, and polling makes room for the next.

#[cfg(feature = "amdvi")]
mod amdvi_machine;
#[path = "support/put.rs"]
#[allow(dead_code)]
mod put;
#[cfg(feature = "smmuv3")]
mod smmuv3_rig;

#[cfg(feature = "smmuv3")]
#[test]
fn an_smmu_raises_its_wires_only_where_it_is_told_to() {
    use ioward_core::driver::Driver as _;
    use ioward_drivers::smmuv3::{BringUp, Config};
    use ioward_models::smmuv3::Signal;
    use put::Put as _;
    use smmuv3_rig::*;
    for (wired_interrupts, expected) in [(true, &[Signal::EventQueue][..]), (false, &[])] {
        let rig = Rig::large();
        let config = Config { wired_interrupts, ..config() };
        let driver = rig.bring_up_as(&config, BringUp::Cold).unwrap();
        let device = rig.device(0x18, false);
        let slot = claim(&driver, 0x18, 0, false);
        let table = Table::new(&rig, &driver, 0);
        driver.put(&slot, None, &table.translation()).unwrap();
        rig.model.take_signals();
        for _ in 0..3 {
            assert!(read(&device, None, 0x12_3456_7000).is_err());
            assert_eq!(rig.model.take_signals(), expected, "wired: {wired_interrupts}");
            assert_eq!(faults(&driver).len(), 1);
        }
        let _ = driver.block(&slot, None);
        drop(slot);
        rig.memory.violations().assert_none();
    }
}

#[cfg(feature = "amdvi")]
#[test]
fn an_amd_unit_raises_one_interrupt_for_each_event_that_was_looked_for() {
    use amdvi_machine::*;
    use ioward_models::amdvi::AmdViConfig;
    let machine = Machine::new(AmdViConfig::default());
    let driver = machine.bring_up();
    let nic = machine.device(NIC, false);
    let before = machine.model.interrupts();
    for round in 1..=3 {
        assert!(write(&nic, None).is_err());
        assert_eq!(machine.model.interrupts(), before + round);
        assert_eq!(events(&driver).len(), 1);
    }
    machine.settled();
}
