//! One run: QEMU as a process with a bounded time, whose lines are shown, kept and understood as they come.

use super::{
    image::{self, Image},
    machine::Machine,
    monitor::Monitor,
    outcome::Outcome,
};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long one machine may run.
const LIMIT: Duration = Duration::from_secs(90);

/// What is run.
pub struct Run<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Its kernel.
    pub kernel: &'a Path,
    /// Whether this is the negative control.
    pub bypass: bool,
    /// Where its log and its images are.
    pub folder: &'a Path,
}

impl Run<'_> {
    fn file(&self) -> String {
        format!("{}{}", self.machine.name, if self.bypass { "-bypassed" } else { "" })
    }

    /// Where what it says is kept.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.file()))
    }

    /// Runs it to its end or to the limit.
    pub fn go(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let end = self.watch(&mut outcome).err();
        outcome.close(end);
        outcome
    }

    fn watch(&self, outcome: &mut Outcome) -> Result<(), String> {
        let file = self.file();
        let drives = self.machine.drives.iter();
        let images =
            drives.map(|drive| Image::new(drive, self.folder, &file)).collect::<Result<Vec<_>, _>>()?;
        let mut monitor = Monitor::new(self.machine.monitor, &file);
        let socket = monitor.as_ref().map(Monitor::socket);
        let command = self.machine.command(self.kernel, self.bypass, &images, socket);
        let log = self.log();
        let mut log = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let _ = writeln!(log, "$ {}", crate::shell::line(&command));
        let name = format!("{}{}", self.machine.name, if self.bypass { " bypassed" } else { "" });
        let mut said = Vec::new();
        each_line(command, LIMIT, |line| {
            // Firmware clears the screen before the kernel's first line.
            let line = line.rsplit('\u{1b}').next().unwrap_or_default().trim_end();
            if ["check ", "PANIC ", "ERROR "].iter().any(|start| line.starts_with(start)) {
                println!("  {name}: {line}");
            }
            let _ = writeln!(log, "{line}");
            outcome.line(line);
            if let Some(about) = line.strip_prefix("image ") {
                said.push(about.to_owned());
            }
            let Some(command) = line.strip_prefix("monitor ") else { return Ok(()) };
            let monitor =
                monitor.as_mut().ok_or_else(|| format!("this machine has no monitor for `{command}`"))?;
            let answer = monitor.say(command)?;
            let _ = writeln!(log, "# {}", answer.trim().replace('\n', "\n# "));
            Ok(())
        })?;
        // QEMU has ended: the files are what the drives hold.
        said.iter().try_for_each(|about| image::check(&images, about))
    }
}

/// Runs a command and hands each line of its output to `each`, whose error ends it, as the limit does.
fn each_line(
    mut command: Command,
    limit: Duration,
    mut each: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("{}: {error}", crate::shell::line(&command)))?;
    let (send, receive) = mpsc::channel::<String>();
    let streams: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|out| Box::new(out) as _),
        child.stderr.take().map(|err| Box::new(err) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let send = send.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let _ = send.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    drop(send);
    let start = Instant::now();
    let end = loop {
        match receive.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                if let Err(why) = each(&line) {
                    break Err(why);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                break Err(format!("still running after {} s", limit.as_secs()));
            }
        }
    };
    if end.is_err() {
        let _ = child.kill();
    }
    let _ = child.wait();
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, each: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        each_line(command, Duration::from_millis(500), each)
    }

    #[test]
    fn both_streams_are_read_and_every_run_ends() {
        let mut lines = Vec::new();
        let mut keep = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        assert_eq!(shell("echo out; sleep 0.1; echo err >&2", &mut keep), Ok(()));
        assert_eq!(lines, ["out", "err"]);
        assert!(shell("exec sleep 60", |_| Ok(())).is_err_and(|why| why.contains("still running")));
        assert_eq!(shell("echo x; exec sleep 60", |line| Err(line.into())), Err("x".into()));
    }
}
