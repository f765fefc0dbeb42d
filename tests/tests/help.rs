//! Help, version, completions and manual pages of the built program.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{fs, process::Command};

use tests::{Home, binary};

#[test]
fn a_mistyped_command_names_the_nearest() {
    let home = Home::new();
    for (line, nearest) in [
        (&["gatewya"][..], "'gateway'"),
        (&["gateway", "stauts"], "'status'"),
        (&["gateway", "instal"], "'install'"),
        (&["config", "valdiate"], "'validate'"),
    ] {
        let ran = home.run(line, &[]);
        assert!(ran.code == 2 && ran.err.contains(nearest), "{line:?}: {ran:?}");
    }
}

#[test]
fn help_is_in_groups_and_a_command() {
    let home = Home::new();
    let top = home.run(&["help"], &[]).ok().out;
    assert_eq!(top, home.run(&["--help"], &[]).ok().out);
    for part in ["Begin:", "Run and watch the gateway:", "Talk:", "Examples:", "Exit codes:", "openclaw onboard"] {
        assert!(top.contains(part), "{part}: {top}");
    }
    let one = home.run(&["help", "gateway"], &[]).ok().out;
    assert!(one.contains("--allow-unconfigured") && one.contains("openclaw gateway --force"), "{one}");
}

#[test]
fn row_069_the_version_names_its_source() {
    let home = Home::new();
    let text = home.run(&["--version"], &[]).ok().out;
    let first = text.lines().next().unwrap();
    assert!(first.starts_with(&format!("openclaw {} (", env!("CARGO_PKG_VERSION"))), "{first}");
    let commit = text.lines().find_map(|line| line.strip_prefix("commit:")).unwrap().trim();
    // In an archive of the source there is no repository.
    let git =
        Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let is_repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.git").exists();
    match git.ok().filter(|git| is_repository && git.status.success()) {
        Some(git) => assert_eq!(commit, String::from_utf8_lossy(&git.stdout).trim()),
        None => assert_eq!(commit, "unknown"),
    }
    assert!(text.contains("features:"), "{text}");
    assert_eq!(home.run(&["-V"], &[]).ok().out.lines().collect::<Vec<_>>(), [first]);
}

#[test]
fn completions_and_manual_pages_are_made_of_the_same_grammar() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&["completions", shell], &[]).ok().out.contains("onboard"), "{shell}");
    }
    home.run(&["man", "man1"], &[]).ok();
    let page = fs::read_to_string(home.path("man1/openclaw-onboard.1")).unwrap();
    assert!(page.contains("non\\-interactive"), "{page}");
    assert!(binary("openclaw").exists());
}
