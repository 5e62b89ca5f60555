//! Running other programs: with their output shown as it comes, and kept where it is needed.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The corpus of real machines: where `IOWARD_CORPUS` says, or beside the repository. It need not be there.
pub fn corpus() -> PathBuf {
    std::env::var_os("IOWARD_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from)
}

/// Where artefacts go: `CARGO_TARGET_DIR`, or `target`.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us, in the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The nightly cargo, in the repository; through rustup, so that `+nightly` means something.
pub fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").current_dir(root());
    command
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("LD_LIBRARY_PATH");
    command
}

/// What a quick question to a program answers on its standard output; none if it is not there or fails.
pub fn ask(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// Runs it to its end with its output shown.
pub fn show(command: &mut Command) -> Result<(), String> {
    println!("$ {}", line(command));
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}`: {status}", line(command))),
        Err(error) => Err(format!("`{}`: {error}", line(command))),
    }
}

/// Runs it to its end with its output in a file; on failure the end of that is shown.
pub fn logged(command: &mut Command, log: &Path) -> Result<(), String> {
    println!("$ {} > {}", line(command), log.display());
    let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = file.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
    match command.stdin(Stdio::null()).stdout(file).stderr(errors).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let text = std::fs::read(log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].iter().for_each(|line| println!("  {line}"));
            Err(format!("{status}; see {}", log.display()))
        }
        Err(error) => Err(format!("`{}`: {error}", line(command))),
    }
}

/// Runs it to its end, shows each line of its standard output as it comes and hands it to `each`.
pub fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<(), String> {
    println!("$ {}", line(command));
    let name = line(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{name}`: {error}"))?;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            each(&line);
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}`: {status}")),
        Err(error) => Err(format!("`{name}`: {error}")),
    }
}

/// Ends of a program that was given a limit.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It succeeded.
    Success,
    /// It ended otherwise, as the text says.
    Failure(String),
    /// It was still running at the limit, and was killed.
    Timeout,
}

/// Waits for `child`, no longer than `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> End {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return End::Success,
            Ok(Some(status)) => return End::Failure(status.to_string()),
            Ok(None) if start.elapsed() >= limit => {
                let _ = child.kill();
                let _ = child.wait();
                return End::Timeout;
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return End::Failure(error.to_string()),
        }
    }
}

/// Runs it and hands each line of both its streams to `each` as it comes. An error of that ends it, and so does the limit.
/// How it ends of itself does not matter.
pub fn each_line(
    mut command: Command,
    limit: Duration,
    mut each: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("{}: {error}", line(&command)))?;
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
        let left = limit.saturating_sub(start.elapsed());
        match receive.recv_timeout(left) {
            // One that never stops talking meets the limit too.
            Ok(line) if !left.is_zero() => {
                if let Err(why) = each(&line) {
                    break Err(why);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break Ok(()),
            Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {
                break Err(format!("still running after {} s", limit.as_secs()));
            }
        }
    };
    if end.is_err() {
        let _ = child.kill();
    }
    // It may have closed its streams and gone on.
    wait(&mut child, limit.saturating_sub(start.elapsed()));
    end
}

/// The repository's Rust sources below `folder`.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The crates of the main workspace: folder names below `crates/`.
pub fn crates() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("crates"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Builds test programs and tells which files they are. `args` are those of `cargo test`.
pub fn test_programs(command: &mut Command) -> Result<Vec<PathBuf>, String> {
    command.args(["--no-run", "--message-format=json"]);
    println!("$ {}", line(command));
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("`{}`: {error}", line(command)))?;
    if !output.status.success() {
        for line in String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| field(line, "rendered"))
        {
            println!("{}", line.replace("\\n", "\n"));
        }
        return Err(format!("`{}`: {}", line(command), output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter(|line| line.contains("\"test\":true"))
        .filter_map(|line| field(line, "executable"))
        .map(PathBuf::from)
        .collect())
}

/// The text of `"name":"…"` in one line of JSON. Escapes are left as they are.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{name}\":\""))? + name.len() + 4;
    let text = &line[start..];
    let mut escaped = false;
    let end = text.find(|c| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    })?;
    Some(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_ends_at_the_first_quote_that_is_not_escaped() {
        assert_eq!(field(r#"{"a":"x\"y","executable":"/t/a-1"}"#, "executable"), Some("/t/a-1"));
        assert_eq!(field(r#"{"a":"x\"y"}"#, "a"), Some(r#"x\"y"#));
        assert_eq!(field(r#"{"executable":null}"#, "executable"), None);
    }

    #[test]
    fn a_program_that_never_ends_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("every system has sleep");
        assert_eq!(wait(&mut child, Duration::from_millis(50)), End::Timeout);
    }

    fn script(script: &str, each: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
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
        assert_eq!(script("echo out; sleep 0.1; echo err >&2; exit 3", &mut keep), Ok(()));
        assert_eq!(lines, ["out", "err"]);
        assert!(script("exec sleep 60", |_| Ok(())).is_err_and(|why| why.contains("still running")));
        assert!(script("exec yes", |_| Ok(())).is_err_and(|why| why.contains("still running")));
        assert_eq!(script("echo x; exec sleep 60", |line| Err(line.into())), Err("x".into()));
        assert_eq!(script("exec >&- 2>&-; exec sleep 60", |_| Ok(())), Ok(()));
    }
}
