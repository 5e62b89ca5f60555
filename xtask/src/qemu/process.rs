//! One run: QEMU as a process with a bounded time, whose lines are shown, kept and understood as they come.

use super::{
    image::{self, Image},
    machine::Machine,
    monitor::Monitor,
    outcome::Outcome,
};
use crate::shell::{each_line, line};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one machine may run.
const LIMIT: Duration = Duration::from_secs(180);

/// What is run.
pub struct Run<'a> {
    /// The machine.
    pub machine: &'static Machine,
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
        let _ = writeln!(log, "$ {}", line(&command));
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
        image::count(said.len(), self.machine.images)?;
        said.iter().try_for_each(|about| image::check(&images, about))
    }
}
