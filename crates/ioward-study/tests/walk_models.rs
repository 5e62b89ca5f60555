//! Walks judged by models: what a walk says of an address, the IOMMU does with a request.

use ioward::{
    core::{Dma, FrameBuffer, driver::Requirements},
    pgtable::ReadMemory,
    types::{Attributes, Direction, Iova, Pasid, PhysAddr, Platform, Span},
};
use ioward_machine::{Running, embedded};
use ioward_models::{Access, Outcome, Request};
use ioward_study::walk::{Device, End, models, walk};

struct Memory<'a>(&'a Running);

impl ReadMemory for Memory<'_> {
    fn read64(&self, at: PhysAddr) -> Option<u64> {
        let mut word = [0; 8];
        self.0.rig.memory.dma_read("walk", at, &mut word).ok()?;
        Some(u64::from_le_bytes(word))
    }
}

/// For every source of a device: the walk of an address, and what the IOMMU does with requests for it. Tells how many were
/// compared, and how many led somewhere.
fn compare(running: &Running, member: usize, pasid: Option<u32>, at: u64) -> (usize, usize) {
    let (mut compared, mut led) = (0, 0);
    let member = &running.members[member];
    for (iommu, source) in &member.sources {
        let kind = &running.unit(*iommu).expect("a source has an IOMMU").kind;
        let model = running.rig.model(*iommu).expect("an IOMMU has a model").iommu();
        let Some(origin) = models::origin(kind, &*model, Device { source: source.0, pasid }) else {
            continue;
        };
        let report = walk(&Memory(running) as &dyn ReadMemory, &origin, Iova(at));
        let ask = |access| {
            let pasid = pasid.map(Pasid);
            model.request(&Request { source: *source, pasid, at: Iova(at), access, privileged: false })
        };
        let (reads, writes) = (ask(Access::Read), ask(Access::Write));
        let name =
            format!("{} source {:#x} of {kind}, {pasid:?} at {at:#x}: {report:#?}", member.name, source.0);
        match report.end {
            End::Page { to, read, write, .. } => {
                let told = |outcome| match outcome {
                    Outcome::To { at, .. } => Some(at.0),
                    Outcome::Interrupt | Outcome::Aborted => None,
                };
                assert_eq!(told(reads), read.then_some(to), "{name}");
                assert_eq!(told(writes), write.then_some(to), "{name}");
                led += 1;
            }
            End::Passes { .. } => panic!("nothing of this machine passes: {name}"),
            End::Fault { .. } => {
                assert!(matches!(reads, Outcome::Aborted | Outcome::Interrupt), "{name} {reads:?}");
                assert!(matches!(writes, Outcome::Aborted | Outcome::Interrupt), "{name} {writes:?}");
            }
            End::Unknown { .. } => panic!("{name}"),
        }
        compared += 1;
    }
    (compared, led)
}

#[test]
fn a_walk_ends_where_the_iommu_lets_a_request_go() {
    let running = embedded::build(embedded::policy()).expect("the embedded machine comes up");
    let (mut compared, mut led) = (0, 0);
    let mut add = |(more, to): (usize, usize)| (compared, led) = (compared + more, led + to);
    for index in 0..running.members.len() {
        let member = &running.members[index];
        for at in [0, 0x7000, 0xffff_f000, 0x7f_ffff_f000, 1 << 47, u64::MAX - 0xfff] {
            add(compare(&running, index, None, at));
        }
        let Some(Ok(bound)) = member.device.as_ref().map(|device| device.bind()) else { continue };
        for direction in [Direction::Both, Direction::ToDevice, Direction::FromDevice] {
            let buffer = FrameBuffer::new(&running.rig.platform, 0x4000, 0x1000).expect("there is memory");
            let mapping =
                Dma::map(bound.dma().clone(), buffer, direction).map_err(|(error, _)| error).unwrap();
            for at in (0..5).map(|page| mapping.iova().0 + page * 0x1000 + 0x123 * page) {
                add(compare(&running, index, None, at));
            }
        }
        if member.pasid().is_ok() {
            let space = bound.make_space(&Requirements::default()).expect("a space for a PASID");
            let frames =
                running.rig.platform.frames(0x1000, 0x1000, PhysAddr(u64::MAX)).expect("there is memory");
            let span = Span { start: frames, bytes: 0x1000 };
            // SAFETY: the frames are nobody else's and are never freed.
            unsafe { space.map(Iova(0x7000), span, Attributes::READ_WRITE) }.expect("nothing is there yet");
            // In different tables of a directory, too.
            for pasid in [5, 0x45, 0xc6] {
                bound.attach_pasid(Pasid(pasid), &space).expect("PASIDs were granted");
            }
            for pasid in [0, 5, 6, 0x45, 0x46, 0x85, 0xc5, 0xc6, 0x105, 0xfffff] {
                for at in [0x7000, 0x7ff8, 0x8000] {
                    add(compare(&running, index, Some(pasid), at));
                }
            }
        }
    }
    println!("{compared} walks compared, {led} of them led somewhere");
    assert!(led > 100 && compared - led > 100, "{compared} {led}");
}
