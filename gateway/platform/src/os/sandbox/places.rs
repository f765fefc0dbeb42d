//! Places of the system that programs need to run at all.

use std::path::{Path, PathBuf};

/// Programs and libraries.
const PROGRAMS: [&str; 11] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/run/current-system/sw",
];

/// What programs read about the machine: names, certificates, libraries, languages; no secrets, and of `/proc` nothing that is
/// about a process.
pub const DATA: [&str; 50] = [
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/gitconfig",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/perl",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/profile",
    "/etc/profile.d",
    "/etc/protocols",
    "/etc/python3",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/shells",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/timezone",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/vm/overcommit_memory",
    "/proc/uptime",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Devices that hold nothing. The terminal is none of them: who writes to it could type for its owner.
pub const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// Where programs are, but for `closed`: rules only open, so that a directory around something closed is opened piece by piece.
pub fn programs(closed: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = vec![];
    for path in PROGRAMS {
        around(Path::new(path), closed, &mut found);
    }
    found
}

fn around(path: &Path, closed: &[PathBuf], found: &mut Vec<PathBuf>) {
    let Ok(path) = path.canonicalize() else { return };
    if closed.iter().any(|closed| path.starts_with(closed)) {
        return;
    }
    if !closed.iter().any(|closed| closed.starts_with(&path)) {
        found.push(path);
        return;
    }
    // No deeper than what is closed lies; links in there were followed above.
    for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            around(&entry.path(), closed, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d38_a_place_of_programs_around_something_closed_is_opened_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["a/b/secret", "a/c", "d"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("a"), root.join("link")).unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        let of = |closed: &[PathBuf]| {
            let mut found = vec![];
            around(&root, closed, &mut found);
            found.sort();
            found.into_iter().map(|p| p.strip_prefix(&root).unwrap().display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [""]);
        assert_eq!(of(&["/elsewhere".into()]), [""]);
        assert_eq!(of(&[root.join("a/b/secret")]), ["a/b/file", "a/c", "d"]);
        assert_eq!(of(&[root.join("a")]), ["d"]);
        assert!(of(std::slice::from_ref(&root)).is_empty() && of(&[root.parent().unwrap().to_owned()]).is_empty());
    }

    #[test]
    fn no_place_holds_secrets_of_processes_or_of_the_machine() {
        for path in DATA.iter().chain(&DEVICES) {
            assert!(!["/etc", "/proc", "/sys", "/dev", "/etc/ssl", "/proc/sys", "/dev/tty"].contains(path), "{path}");
        }
    }
}
