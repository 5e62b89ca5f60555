//! Chromium, driven by its DevTools protocol over a pipe: messages of JSON, each ended by a zero byte.
//!
//! <https://chromedevtools.github.io/devtools-protocol/>

use crate::{
    json::{self, Value},
    shell::ask,
};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// By what names Chromium is installed.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// No answer and no event is waited for any longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The browser reads from descriptor 3 and writes to 4; here these are the two ends that we hold.
const SHELL: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null";
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--force-prefers-reduced-motion",
    "--window-size=1600,1000",
    "--remote-debugging-pipe",
];

/// The browser that is installed.
pub fn find() -> Option<String> {
    PROGRAMS.iter().find(|program| ask(program, &["--version"]).is_some()).map(|&program| program.to_owned())
}

/// A browser with one tab.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    profile: PathBuf,
    last: u32,
    session: String,
    events: Vec<Value>,
    patience: Duration,
    /// It has not answered once: it hangs, and nothing is waited for any more.
    dead: bool,
}

impl Browser {
    /// Starts one with a new profile in a folder that is made, and is removed at its end.
    pub fn start(program: &str, profile: &Path) -> Result<Self, String> {
        fs::create_dir_all(profile).map_err(|error| format!("{}: {error}", profile.display()))?;
        let mut command = Command::new("sh");
        command.args(["-c", SHELL, program]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (Some(to), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("its pipes are not there".into());
        };
        let (send, from) = channel();
        // Ends when the browser does.
        thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(Result::ok) {
                let Ok(value) = json::parse(&String::from_utf8_lossy(&message)) else { continue };
                if send.send(value).is_err() {
                    break;
                }
            }
        });
        let profile = profile.to_path_buf();
        let mut browser = Self {
            child,
            to,
            from,
            profile,
            last: 0,
            session: String::new(),
            events: Vec::new(),
            patience: PATIENCE,
            dead: false,
        };
        let made = browser.call("Target.createTarget", "{\"url\":\"about:blank\"}")?;
        let target = text(&made, &["targetId"]).ok_or("no tab was made")?.to_owned();
        let params = format!("{{\"targetId\":{},\"flatten\":true}}", quoted(&target));
        let attached = browser.call("Target.attachToTarget", &params)?;
        browser.session = text(&attached, &["sessionId"]).ok_or("no session was made")?.to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), "{}")?;
        }
        Ok(browser)
    }

    /// Asks for something and waits for its answer.
    pub fn call(&mut self, method: &str, params: &str) -> Result<Value, String> {
        if self.dead {
            return Err(format!("{method}: the browser hangs since it gave no answer"));
        }
        self.last += 1;
        let session = match self.session.is_empty() {
            true => String::new(),
            false => format!(",\"sessionId\":{}", quoted(&self.session)),
        };
        let id = self.last.to_string();
        let message = format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}{session}}}\0");
        self.to.write_all(message.as_bytes()).map_err(|error| format!("{method}: {error}"))?;
        let until = Instant::now() + self.patience;
        loop {
            let answer = self.next(until).map_err(|why| format!("{method}: {why}"))?;
            if answer.get("id") != Some(&Value::Word(id.clone())) {
                self.events.push(answer);
            } else if let Some(error) = answer.get("error") {
                return Err(format!("{method}: {}", text(error, &["message"]).unwrap_or("refused")));
            } else {
                return Ok(answer.get("result").cloned().unwrap_or(Value::Named(Vec::new())));
            }
        }
    }

    fn next(&mut self, until: Instant) -> Result<Value, String> {
        let left = until.saturating_duration_since(Instant::now());
        self.from.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                self.dead = true;
                format!("no answer within {} s", self.patience.as_secs())
            }
            RecvTimeoutError::Disconnected => "the browser has ended".to_owned(),
        })
    }

    /// Opens a page and waits until it is loaded; forgets what happened before.
    pub fn open(&mut self, url: &str) -> Result<(), String> {
        // Another fragment of the same page would not be loaded anew.
        self.navigate("about:blank")?;
        self.events.clear();
        self.navigate(url)
    }

    fn navigate(&mut self, url: &str) -> Result<(), String> {
        let loaded = |event: &Value| text(event, &["method"]) == Some("Page.loadEventFired");
        self.events.retain(|event| !loaded(event));
        let answer = self.call("Page.navigate", &format!("{{\"url\":{}}}", quoted(url)))?;
        if let Some(why) = text(&answer, &["errorText"]) {
            return Err(format!("{url}: {why}"));
        }
        let until = Instant::now() + self.patience;
        while !self.events.iter().any(loaded) {
            let event = self.next(until).map_err(|why| format!("{url}: {why}"))?;
            self.events.push(event);
        }
        Ok(())
    }

    /// What an expression gives, as text.
    pub fn ask(&mut self, expression: &str) -> Result<String, String> {
        let params = format!(
            "{{\"expression\":{},\"returnByValue\":true,\"awaitPromise\":true}}",
            quoted(&format!("Promise.resolve({expression}).then(String)"))
        );
        let answer = self.call("Runtime.evaluate", &params)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            let what = text(thrown, &["exception", "description"]).or(text(thrown, &["text"]));
            return Err(format!("{expression}: {}", what.unwrap_or("it throws")));
        }
        let value = text(&answer, &["result", "value"]);
        value.map(str::to_owned).ok_or_else(|| format!("{expression}: it gives no text"))
    }

    /// Presses a key: its name, and the text that it types (none for keys that type nothing).
    pub fn press(&mut self, key: &str) -> Result<(), String> {
        let typed = match key {
            "Enter" => ",\"text\":\"\\r\",\"windowsVirtualKeyCode\":13".to_owned(),
            _ if key.chars().count() == 1 => format!(",\"text\":{}", quoted(key)),
            _ => String::new(),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { typed.as_str() } else { "" };
            let params = format!("{{\"type\":\"{kind}\",\"key\":{}{text}}}", quoted(key));
            self.call("Input.dispatchKeyEvent", &params)?;
        }
        Ok(())
    }

    /// Moves the pointer, and clicks where `click` says so.
    pub fn point(&mut self, x: &str, y: &str, click: bool) -> Result<(), String> {
        let kinds =
            if click { &["mouseMoved", "mousePressed", "mouseReleased"][..] } else { &["mouseMoved"] };
        for kind in kinds {
            let button = if *kind == "mouseMoved" { "none" } else { "left" };
            let params = format!(
                "{{\"type\":\"{kind}\",\"x\":{x},\"y\":{y},\"button\":\"{button}\",\"clickCount\":1}}"
            );
            self.call("Input.dispatchMouseEvent", &params)?;
        }
        Ok(())
    }

    /// What the page complained of since it was opened: exceptions, errors, whatever it wrote to the console.
    pub fn complaints(&self) -> Vec<String> {
        let complaint = |event: &Value| {
            let method = text(event, &["method"])?;
            let words = match method {
                "Runtime.exceptionThrown" => {
                    text(event, &["params", "exceptionDetails", "exception", "description"])
                }
                "Log.entryAdded" => text(event, &["params", "entry", "text"]),
                "Runtime.consoleAPICalled" => {
                    let values = event.get("params").and_then(|params| params.get("args")?.many());
                    values.and_then(|values| text(values.first()?, &["value"]))
                }
                _ => return None,
            };
            Some(format!("{method}: {}", words.unwrap_or_default()))
        };
        self.events.iter().filter_map(complaint).collect()
    }

    /// What was asked of a network or a disk since the page was opened.
    pub fn requests(&self) -> Vec<String> {
        let sent = |event: &&Value| text(event, &["method"]) == Some("Network.requestWillBeSent");
        let url = |event: &Value| text(event, &["params", "request", "url"]).map(str::to_owned);
        self.events.iter().filter(sent).filter_map(url).collect()
    }

    /// Ends it.
    pub fn close(mut self) {
        self.session.clear();
        // Whether it answers or not, it is killed when this is dropped.
        let _ = self.call("Browser.close", "{}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its helpers may still write for a moment.
        for _ in 0..20 {
            if fs::remove_dir_all(&self.profile).is_ok() || !self.profile.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The text at a path of names.
fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, name| value.get(name))?.text()
}

/// A text as JSON has it.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn quoted_text_is_read_back() {
        for words in ["", "a\"b\\c", "line\nend\0", "Ä ≠ 日本", "</script>"] {
            assert_eq!(json::parse(&quoted(words)), Ok(Value::Text(words.to_owned())));
        }
    }

    #[test]
    fn a_program_that_is_no_browser_is_an_error_and_leaves_nothing() {
        let profile = std::env::temp_dir().join(format!("ioward-xtask-profile-{}", std::process::id()));
        let error = Browser::start("true", &profile).err().expect("`true` speaks no protocol");
        assert!(error.contains("Target.createTarget"), "{error}");
        assert!(!profile.exists());
    }

    #[test]
    fn a_browser_that_hangs_is_waited_for_once() {
        let folder = std::env::temp_dir().join(format!("ioward-xtask-hung-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        // It answers what a start asks for, and nothing more.
        let program = folder.join("program");
        let script = "#!/bin/sh
            for id in 1 2 3 4 5 6; do
                printf '{\"id\":%s,\"result\":{\"targetId\":\"t\",\"sessionId\":\"s\"}}\\0' $id >&4
            done
            exec sleep 600";
        fs::write(&program, script).expect("a program");
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it may be run");
        let started = Browser::start(&program.to_string_lossy(), &folder.join("profile"));
        let mut browser = started.unwrap_or_else(|why| panic!("it answers that much: {why}"));
        browser.patience = Duration::ZERO;
        let first = browser.ask("1").expect_err("no answer comes");
        browser.patience = PATIENCE;
        let second = browser.open("about:blank").expect_err("it is not asked again");
        browser.close();
        let _ = fs::remove_dir_all(&folder);
        assert!(first.contains("no answer within"), "{first}");
        assert!(second.contains("hangs"), "{second}");
    }
}
