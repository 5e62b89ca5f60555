//! Interrupt remapping, where the driver does it: [`RemapInterrupts`].

use crate::{
    bench::Bench,
    rig::{Rig, claim},
};
use ioward_core::driver::{
    ApicTarget, Driver, InterruptEntries, InterruptFrom, InterruptMessage, InterruptTo, RemapInterrupts,
};
use ioward_models::MessageOutcome;
use ioward_types::{Iova, SourceId};
use std::sync::Arc;

struct Messages<B: Bench> {
    rig: Rig<B>,
    driver: Arc<dyn Driver>,
}

impl<B: Bench> Messages<B> {
    /// None where the mode says that interrupts are not remapped; then they must not be offered either.
    fn new(make: &dyn Fn() -> B) -> Option<Self> {
        let rig = Rig::new(make);
        let driver = rig.cold();
        assert_eq!(driver.interrupts().is_some(), rig.facts.interrupts, "what the mode says");
        if !rig.facts.interrupts {
            return None;
        }
        // As in a machine: sources are claimed, whatever their translation is.
        for source in rig.facts.sources {
            let _ = claim(&driver, source, 0, false);
        }
        Some(Self { rig, driver })
    }

    fn remapping(&self) -> &dyn RemapInterrupts {
        self.driver.interrupts().expect("asked for in `new`")
    }

    fn from(&self, n: usize) -> InterruptFrom {
        InterruptFrom::Source(SourceId(self.rig.facts.sources[n]))
    }

    #[track_caller]
    fn reserve(&self, n: usize, count: u16) -> InterruptEntries {
        match self.remapping().reserve(self.from(n), count) {
            Ok(entries) => {
                assert_eq!((entries.count, entries.iommu), (count, self.rig.facts.iommu));
                assert_eq!(entries.first % u32::from(count.next_power_of_two()), 0, "aligned to its count");
                entries
            }
            Err(refused) => panic!("{count} entries: {refused}"),
        }
    }

    #[track_caller]
    fn remap(&self, entries: &InterruptEntries, nth: u16, to: ApicTarget) -> InterruptMessage {
        match self.remapping().remap(entries, nth, &InterruptTo::Apic(to)) {
            Ok(message) => message,
            Err(refused) => panic!("entry {nth}: {refused}"),
        }
    }

    /// What becomes of a message of the nth source.
    fn raise(&self, n: usize, message: &InterruptMessage) -> MessageOutcome {
        self.rig.model.message(SourceId(self.rig.facts.sources[n]), Iova(message.address), message.data)
    }
}

fn delivered(to: ApicTarget) -> MessageOutcome {
    MessageOutcome::Delivered {
        vector: to.vector,
        destination: to.destination,
        logical: to.logical,
        delivery: 0,
        level: to.level,
    }
}

fn vector(vector: u8, destination: u32) -> ApicTarget {
    ApicTarget { vector, destination, ..ApicTarget::default() }
}

/// An entry delivers what it was told to and where, masked it delivers nothing, and released it is nobody's.
pub fn a_message_goes_where_its_entry_says<B: Bench>(make: &dyn Fn() -> B) {
    let Some(machine) = Messages::new(make) else { return };
    let entries = machine.reserve(0, 1);
    let first = machine.remap(&entries, 0, vector(0x41, 3));
    assert_eq!(machine.raise(0, &first), delivered(vector(0x41, 3)));
    let logical = ApicTarget { logical: true, ..vector(0x55, 1) };
    let again = machine.remap(&entries, 0, logical);
    assert_eq!(machine.raise(0, &again), delivered(logical), "retargeted");
    if machine.remapping().interrupt_capabilities().wide_destination {
        let wide = vector(0x66, 0x1234_5678);
        let message = machine.remap(&entries, 0, wide);
        assert_eq!(machine.raise(0, &message), delivered(wide), "32 bits of destination");
    }
    assert_eq!(machine.remapping().mask(&entries, 0), Ok(()));
    assert_eq!(machine.raise(0, &again), MessageOutcome::Aborted, "masked");
    let message = machine.remap(&entries, 0, vector(0x42, 0));
    assert_eq!(machine.raise(0, &message), delivered(vector(0x42, 0)), "unmasked");
    assert_eq!(machine.remapping().release(entries), Ok(()));
    assert_eq!(machine.raise(0, &message), MessageOutcome::Aborted, "released");
    machine.rig.settled();
}

/// A source raises its own interrupts and nobody else's, and none that no entry is for.
pub fn a_source_raises_no_interrupt_of_anothers<B: Bench>(make: &dyn Fn() -> B) {
    let Some(machine) = Messages::new(make) else { return };
    let (one, other) = (machine.reserve(0, 1), machine.reserve(1, 1));
    let own = machine.remap(&one, 0, vector(0x41, 0));
    let its = machine.remap(&other, 0, vector(0x77, 0));
    assert_eq!(machine.raise(1, &its), delivered(vector(0x77, 0)));
    assert_ne!(machine.raise(1, &own), delivered(vector(0x41, 0)), "source 1 by the entry of source 0");
    for message in [&own, &its] {
        assert_eq!(machine.raise(2, message), MessageOutcome::Aborted, "a source that has no entry");
    }
    let isolated = machine.remapping().interrupt_capabilities().isolated;
    for n in 0..3 {
        let source = SourceId(machine.rig.facts.sources[n]);
        if isolated {
            assert!(machine.remapping().isolates(source), "all are, so this one is");
        }
        // As a device would that was programmed to raise vector 0x99 itself.
        let free = machine.rig.model.message(source, Iova(0xfee0_0000), 0x99);
        if machine.remapping().isolates(source) {
            assert_eq!(free, MessageOutcome::Aborted, "a message of source {n} that names no entry");
        }
    }
    assert_eq!(machine.remapping().release(one), Ok(()));
    assert_eq!(machine.raise(1, &its), delivered(vector(0x77, 0)), "another's release");
    let _ = machine.rig.events(&machine.driver);
}

/// Entries of one device lie together: message `n` is the first's with `n` added, each has its own target, and they fit in
/// what there is.
pub fn several_messages_lie_together<B: Bench>(make: &dyn Fn() -> B) {
    let Some(machine) = Messages::new(make) else { return };
    let odd = machine.reserve(0, 1);
    let entries = machine.reserve(0, 8);
    let messages: Vec<_> =
        (0..8).map(|n| machine.remap(&entries, n, vector(0x50 + n as u8, n.into()))).collect();
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message.address, messages[0].address, "one address");
        assert_eq!(message.data, messages[0].data + n as u32, "data that count up");
        assert_eq!(machine.raise(0, message), delivered(vector(0x50 + n as u8, n as u32)));
    }
    assert_eq!(machine.remapping().mask(&entries, 3), Ok(()));
    for (n, message) in messages.iter().enumerate() {
        let is = machine.raise(0, message);
        assert_eq!(is == MessageOutcome::Aborted, n == 3, "entry {n}: only 3 is masked");
    }
    assert!(
        machine.remapping().remap(&entries, 8, &InterruptTo::Apic(vector(0x41, 0))).is_err(),
        "there are 8"
    );
    let most = machine.remapping().interrupt_capabilities().most;
    if let Ok(beyond) = u16::try_from(most + 1) {
        assert!(machine.remapping().reserve(machine.from(1), beyond).is_err(), "more than there are");
    }
    assert!(machine.remapping().reserve(machine.from(1), 0).is_err(), "none at all");
    assert_eq!(machine.remapping().release(entries), Ok(()));
    assert_eq!(machine.remapping().release(odd), Ok(()));
    machine.rig.settled();
}

/// Between any two steps of a change, a message goes to the old target, the new one, or none.
pub fn entries_change_hitless_step_by_step<B: Bench>(make: &dyn Fn() -> B) {
    let Some(machine) = Messages::new(make) else { return };
    let entries = machine.reserve(0, 2);
    let targets = [vector(0x41, 1), ApicTarget { logical: true, ..vector(0xbe, 0x80) }, vector(0x77, 0xff)];
    let mut message = machine.remap(&entries, 1, targets[0]);
    for round in 1..9 {
        let allowed = [targets[(round - 1) % 3], targets[round % 3]].map(delivered);
        let (model, source) = (machine.rig.model.clone(), SourceId(machine.rig.facts.sources[0]));
        let look = move || {
            let is = model.message(source, Iova(message.address), message.data);
            (!allowed.contains(&is) && is != MessageOutcome::Aborted).then(|| format!("{is:?}"))
        };
        let (now, seen) = machine.rig.between_steps(look, || machine.remap(&entries, 1, targets[round % 3]));
        assert!(seen.is_empty(), "neither {allowed:?} nor aborted: {seen:?}");
        message = now;
        assert_eq!(machine.raise(0, &message), allowed[1], "round {round}");
    }
    machine.rig.settled();
}

/// Entries that were given back are used again, and lead to what they lead to now.
pub fn entries_are_used_again<B: Bench>(make: &dyn Fn() -> B) {
    let Some(machine) = Messages::new(make) else { return };
    let mut places = std::collections::BTreeSet::new();
    for round in 0..300u16 {
        let n = usize::from(round % 2);
        let entries = machine.reserve(n, 1 + round % 4);
        places.insert(entries.first);
        let to = vector(0x30 + (round % 64) as u8, 0);
        let message = machine.remap(&entries, round % entries.count, to);
        assert_eq!(machine.raise(n, &message), delivered(to), "round {round}");
        assert_eq!(machine.remapping().release(entries), Ok(()));
        assert_eq!(machine.raise(n, &message), MessageOutcome::Aborted, "round {round}: released");
    }
    assert!(places.len() < 300, "what is given back is never used again");
    machine.rig.settled();
}

/// Hung hardware: a mask and a release end, in an error, and what was not confirmed is not given out again.
pub fn hung_hardware_ends_every_change<B: Bench>(make: &dyn Fn() -> B) {
    let Some(machine) = Messages::new(make) else { return };
    let (masked, released) = (machine.reserve(0, 1), machine.reserve(0, 1));
    let messages = [&masked, &released].map(|entries| machine.remap(entries, 0, vector(0x41, 0)));
    for message in &messages {
        assert_eq!(machine.raise(0, message), delivered(vector(0x41, 0)));
    }
    machine.rig.bench.hang(true);
    machine.rig.steps.restart();
    assert!(machine.remapping().mask(&masked, 0).is_err(), "a mask that hung hardware confirmed");
    let place = released.first;
    assert!(machine.remapping().release(released).is_err(), "a release that hung hardware confirmed");
    if machine.rig.facts.stores_are_seen {
        machine.rig.bench.evict();
        for message in &messages {
            assert_eq!(machine.raise(0, message), MessageOutcome::Aborted, "masked in memory");
        }
    }
    machine.rig.bench.hang(false);
    for _ in 0..20 {
        let entries = machine.reserve(0, 1);
        assert_ne!(entries.first, place, "caches may still hold it");
    }
    machine.rig.lawful();
}
