//! `ioward completions` and `ioward man`.

use super::{ioward, said, text, trees};
use std::fs;

/// Every command that the program's help lists.
fn commands() -> Vec<String> {
    let (help, _) = said("80", &["--help"]);
    let (_, list) = help.split_once("Commands:\n").expect("the help lists commands");
    let names = list.lines().take_while(|line| line.starts_with("  "));
    let names =
        names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_with_an_example_and_exit_codes() {
    let commands = commands();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands {
        let (help, code) = said("80", &[&command, "--help"]);
        assert_eq!(code, 0);
        let example = format!("ioward {command}");
        assert!(help.contains("Examples:") && help.matches(&example).count() >= 2, "{command}: {help}");
        assert!(help.contains("Exit codes:"), "{command}: {help}");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (script, code) = said("80", &["completions", shell]);
        assert_eq!(code, 0);
        for command in commands() {
            assert!(script.contains(&command), "{shell} lacks {command}");
        }
    }
    assert_eq!(ioward("80", &["completions", "abacus"]).status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_for_each_command_and_is_not_written_over() {
    let folder = trees::folder("cli-man").join("man1");
    assert_eq!(ioward("80", &["man", text(&folder)]).status.code(), Some(0));
    let page =
        |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(page("ioward.1").contains("ioward"));
    for command in commands() {
        assert!(page(&format!("ioward-{command}.1")).starts_with(".ie"), "{command}");
    }
    fs::write(folder.join("ioward-groups.1"), "mine").unwrap();
    let output = ioward("80", &["man", text(&folder)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("ioward-groups.1: it is there already; --force")
    );
    assert_eq!(page("ioward-groups.1"), "mine");
    assert_eq!(ioward("80", &["man", text(&folder), "--force"]).status.code(), Some(0));
    assert_ne!(page("ioward-groups.1"), "mine");
}
