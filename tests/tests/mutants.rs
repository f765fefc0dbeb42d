//! The patches of `tests/mutants` stay in step with the code: `tests/mutants/run.sh` shows what they break.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every mutant says what is wrong with it and which tests fail for it, and fits the tree as it is.
#[test]
fn every_mutant_applies_and_names_its_tests() {
    let root = root();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root.join("tests/mutants")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "patch"));
    assert!(files.len() >= 100, "{} mutants", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let tests = text.lines().find_map(|line| line.strip_prefix("Tests: ")).unwrap_or_default();
        let says_what = text.lines().next().is_some_and(|line| line.ends_with('.'));
        // One line of context: a patch outlives changes beside its place.
        let apply =
            Command::new("git").args(["apply", "-C1", "--check"]).arg(&file).current_dir(&root).output().unwrap();
        let names_them =
            tests.starts_with("-p ") || tests.starts_with("--manifest-path tests/interleavings/Cargo.toml ");
        if !names_them || !says_what || !apply.status.success() {
            wrong.push(format!("{}: {}", file.display(), String::from_utf8_lossy(&apply.stderr)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
