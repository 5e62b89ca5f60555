//! What a device may do: use what is mapped for it.

use super::{Progress, canaries::Canaries};
use crate::running::Running;
use ioward::types::Iova;

/// Every engine of every device of a group reads and writes the group's buffers.
pub fn check(running: &mut Running, canaries: &mut Canaries, progress: &mut dyn FnMut(Progress)) {
    let of = canaries.bound.len();
    for done in 0..of {
        progress(Progress { what: "own memory", done, of });
        let (index, group, _) = canaries.bound[done];
        let Running { members, checks, rig, .. } = &mut *running;
        let member = &members[index];
        for held in canaries.held.iter_mut().filter(|held| held.group == group) {
            for (number, engine) in member.engines.iter().enumerate() {
                let mut seen = vec![0; held.expected.len()];
                let at = held.iova().start;
                let read = engine.read(None, at, &mut seen);
                checks.expect("own", read.is_ok() && seen == held.expected, || {
                    format!(
                        "{} reads its buffer at {at}: {read:?}, or other bytes than are there",
                        member.name
                    )
                });
                let text = format!("{:<16.16}", format!("#{index}.{number} wrote"));
                // In the last page: what is right in the first one need not be there.
                let offset = held.expected.len() - 64 - 16 * (number % 2);
                let to = Iova(at.0 + offset as u64);
                let write = engine.write(None, to, text.as_bytes());
                if held.writable {
                    held.expected[offset..offset + 16].copy_from_slice(text.as_bytes());
                    let arrived = held.is_intact(&rig.memory, 0, held.expected.len());
                    checks.expect("own", write.is_ok() && arrived, || {
                        format!(
                            "{} writes to its buffer at {to}: {write:?}, or it did not arrive",
                            member.name
                        )
                    });
                } else {
                    let intact = held.is_intact(&rig.memory, 0, held.expected.len());
                    checks.expect("read-only", write.is_err() && intact, || {
                        format!("{} writes at {to}, which is mapped for reading: {write:?}", member.name)
                    });
                }
            }
        }
        // Writing what is read-only was reported.
        super::canaries::check_reports(running, &mut crate::checks::Checks::default(), index, None);
    }
    canaries.check_all(running);
}
