//! Standard output.

use serde::Serialize;
use std::io::{self, Write};

/// Writes text to standard output. That whoever reads has seen enough (`ioward groups | head`) is no error.
pub fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    seen_enough(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes a value as JSON to standard output.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    let mut out = io::stdout().lock();
    seen_enough(out.write_all(&bytes).and_then(|()| out.flush()))
}

fn seen_enough(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
