use ioward_core::driver::{Driver, Slot, Translation};

fn everything(driver: &dyn Driver, slot: &Slot) {
    let _ = driver.install(slot, None, &Translation::Identity);
}

fn main() {}
