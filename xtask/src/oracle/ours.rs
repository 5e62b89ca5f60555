//! What the program says of a machine: `ioward groups PATH --policy linux --json`.

use super::partition::Groups;
use crate::json::{self, Value};
use crate::shell::{End, line, wait};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Far more than it needs.
const LIMIT: Duration = Duration::from_secs(60);

/// Groups of a machine that lies at `machine`; what the program prints is kept as `kept`.
pub fn groups(program: &Path, machine: &Path, kept: &Path) -> Result<Groups, String> {
    let mut command = Command::new(program);
    command.arg("groups").arg(machine).args(["--policy", "linux", "--json"]);
    let name = line(&command);
    let errors = kept.with_extension("err");
    let (out, err) = (create(kept)?, create(&errors)?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|error| format!("`{name}`: {error}"))?;
    match wait(&mut child, LIMIT) {
        End::Success => {
            read(&fs::read_to_string(kept).map_err(|error| format!("{}: {error}", kept.display()))?)
                .map_err(|why| format!("`{name}`: {why}"))
        }
        End::Failure(status) => {
            let said = fs::read_to_string(&errors).unwrap_or_default();
            Err(format!("`{name}`: {status}: {}", said.trim()))
        }
        End::Timeout => Err(format!("`{name}`: still running after {} s", LIMIT.as_secs())),
    }
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The functions of each group.
fn read(text: &str) -> Result<Groups, String> {
    let value = json::parse(text).map_err(|at| format!("what it prints is no JSON at byte {at}"))?;
    if value.get("policy").and_then(Value::text) != Some("linux") {
        return Err("it does not say that its policy is `linux`".into());
    }
    let groups = value.get("groups").and_then(Value::many).ok_or("it prints no groups")?;
    let group = |group: &Value| {
        let devices = group.get("devices").and_then(Value::many)?;
        devices.iter().map(|device| device.text().map(str::to_owned)).collect::<Option<BTreeSet<String>>>()
    };
    groups.iter().map(|one| group(one).ok_or_else(|| "one of its groups has no devices".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_and_nothing_is_passed_over() {
        let text = r#"{"policy": "linux", "groups": [{"id": 0, "devices": ["0000:00:00.0", "a"], "reasons": [{}]},
            {"id": 1, "devices": ["b"]}], "unsure": []}"#;
        let groups = read(text).expect("it has groups");
        let groups: Vec<Vec<String>> = groups.into_iter().map(|group| group.into_iter().collect()).collect();
        assert_eq!(groups, [vec!["0000:00:00.0", "a"], vec!["b"]]);
        assert!(read(&text.replace("linux", "fabric")).is_err());
        assert!(read(&text.replace("[\"b\"]", "[3]")).is_err());
        assert!(read(&text.replace("\"groups\"", "\"sets\"")).is_err());
        assert!(read(&text[..40]).is_err());
    }
}
