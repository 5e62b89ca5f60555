//! What a kernel asks of QEMU's monitor: a line `monitor COMMAND`, which is passed on only where the machine's description
//! has that very command.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the monitor may take for an answer.
const LIMIT: Duration = Duration::from_secs(5);
/// What it says when it is done.
const PROMPT: &str = "(qemu) ";

/// A way to the monitor of one run.
pub struct Monitor {
    socket: PathBuf,
    allowed: &'static [&'static str],
    stream: Option<UnixStream>,
}

impl Monitor {
    /// For a run of a machine that allows these commands; none where it allows nothing.
    pub fn new(allowed: &'static [&'static str], run: &str) -> Option<Self> {
        // Names of sockets are short: it cannot lie among the logs.
        let socket = std::env::temp_dir().join(format!("ioward-{}-{run}.sock", std::process::id()));
        (!allowed.is_empty()).then_some(Self { socket, allowed, stream: None })
    }

    /// Where QEMU is to listen.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Says `command` to the monitor and gives its answer.
    pub fn say(&mut self, command: &str) -> Result<String, String> {
        if !self.allowed.contains(&command) {
            return Err(format!(
                "the kernel asks the monitor for `{command}`, which this machine does not allow"
            ));
        }
        let name = |error: std::io::Error| format!("monitor, `{command}`: {error}");
        let first = self.stream.is_none();
        if first {
            self.stream = Some(UnixStream::connect(&self.socket).map_err(name)?);
        }
        let stream = self.stream.as_mut().ok_or("no monitor")?;
        stream.set_read_timeout(Some(LIMIT)).map_err(name)?;
        if first {
            answer(stream, command)?;
        }
        stream.write_all(format!("{command}\n").as_bytes()).map_err(name)?;
        let text = answer(stream, command)?;
        if text.contains("Error:") || text.contains("unknown command") {
            return Err(format!("monitor, `{command}`: {}", text.trim()));
        }
        Ok(text)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// All that comes before the next prompt.
fn answer(stream: &mut UnixStream, command: &str) -> Result<String, String> {
    let start = Instant::now();
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    while !text.ends_with(PROMPT.as_bytes()) {
        match stream.read(&mut buffer) {
            // The machine ended, as it may have been told to.
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("monitor, `{command}`: {error}")),
        }
        if start.elapsed() > LIMIT {
            return Err(format!("monitor, `{command}`: no prompt after {} s", LIMIT.as_secs()));
        }
    }
    Ok(String::from_utf8_lossy(&text).trim_end_matches(PROMPT).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_what_is_allowed_is_said() {
        assert!(Monitor::new(&[], "none").is_none());
        let mut monitor =
            Monitor::new(&["device_del edu1", "nonsense"], "test").expect("it allows something");
        let listener = UnixListener::bind(monitor.socket()).expect("the temporary folder can be written");
        let qemu = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut heard = Vec::new();
            stream.write_all(b"QEMU 10.0.2 monitor\r\n(qemu) ").expect("connected");
            for answer in ["device_del edu1\r\n(qemu) ", "unknown command: 'nonsense'\r\n(qemu) "] {
                let mut buffer = [0; 100];
                let count = stream.read(&mut buffer).expect("connected");
                heard.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
                stream.write_all(answer.as_bytes()).expect("connected");
            }
            heard
        });
        assert!(monitor.say("quit").is_err());
        assert_eq!(monitor.say("device_del edu1").as_deref(), Ok("device_del edu1\r\n"));
        assert!(monitor.say("nonsense").is_err());
        assert_eq!(qemu.join().expect("it ends"), ["device_del edu1\n", "nonsense\n"]);
    }
}
