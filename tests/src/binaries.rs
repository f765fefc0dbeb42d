//! The programs under test, built once per test process.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// Packages whose programs the tests run.
const PACKAGES: [&str; 3] = ["openclaw", "fakes", "benches"];

/// The program `name` (`openclaw`, `fakes` or `load`) of the same profile as this test, up to date.
///
/// # Panics
/// When it cannot be built; the message has the command.
pub fn binary(name: &str) -> PathBuf {
    // A result, so that every test tells the reason and not only the first.
    static FOLDER: LazyLock<Result<PathBuf, String>> = LazyLock::new(build);
    let folder = FOLDER.as_ref().unwrap_or_else(|why| panic!("{why}"));
    let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "no program {name} at {}", path.display());
    path
}

/// Builds into the target directory that this test came from. cargo's own lock keeps parallel test processes apart, and
/// it does nothing when there is nothing to do.
fn build() -> Result<PathBuf, String> {
    let test = std::env::current_exe().expect("the path of this test");
    // target/<profile>/deps/<test>
    let folder = test.ancestors().nth(2).expect("a test lies in target/<profile>/deps").to_owned();
    let target = folder.parent().expect("a profile folder lies in the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).arg("build").arg("--target-dir").arg(target);
    for package in PACKAGES {
        cargo.args(["-p", package]);
    }
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    // What cargo tells a test about its own package would look like a changed environment to build scripts.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|p| name.starts_with(p)) {
            cargo.env_remove(&*name);
        }
    }
    let command = format!("cargo build -p {}", PACKAGES.join(" -p "));
    match cargo.status() {
        Ok(status) if status.success() => Ok(folder),
        Ok(status) => Err(format!("the programs under test do not build ({status}); `{command}` says why")),
        Err(e) => Err(format!("cargo cannot be started ({e}); it is needed for `{command}`")),
    }
}
