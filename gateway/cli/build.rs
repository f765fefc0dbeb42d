//! What `openclaw --version` says of the build: the commit of the source, and for which machine it was built.
//!
//! The same source gives the same text: no date, no host, no user. Without a repository (a source archive) the commit is `unknown`,
//! unless whoever packs it says OPENCLAW_BUILD_COMMIT.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // a program of its own, at build time

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-env-changed=OPENCLAW_BUILD_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let given = env::var("OPENCLAW_BUILD_COMMIT").ok().filter(|commit| is_commit(commit));
    let commit = given.or_else(of_repository).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=OPENCLAW_COMMIT={commit}");
    println!("cargo::rustc-env=OPENCLAW_TARGET={}", env::var("TARGET").unwrap_or_default());
}

/// The commit that is checked out, when this source is a repository of its own and not a directory inside of another one.
fn of_repository() -> Option<String> {
    let source = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).join("../..").canonicalize().ok()?;
    let top = git(&source, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != source {
        return None;
    }
    // Cargo looks at these before the next build: each commit and each switch writes a line into the log. A name that is not there
    // would make it build each time.
    let branch = git(&source, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        let file = git(&source, &["rev-parse", "--git-path", name]).map(|path| source.join(path));
        if let Some(file) = file.filter(|file| file.is_file()) {
            println!("cargo::rerun-if-changed={}", file.display());
        }
    }
    git(&source, &["rev-parse", "HEAD"]).filter(|commit| is_commit(commit)).map(|commit| commit[..12].to_owned())
}

fn is_commit(text: &str) -> bool {
    text.len() >= 12 && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(dir).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
