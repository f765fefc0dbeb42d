//! The inside of a sandbox on Linux: this process gives up what the command that it becomes may not reach, for itself and for
//! everything that it starts. There is no way back, so that this happens in a fresh process only (D38).
//!
//! Landlock closes files, TCP and signals; seccomp closes what Landlock does not know: all sockets, and calls that go around
//! either. What can still be done: names, sizes and modes of files elsewhere can be seen, and those of the user's own files can
//! be changed (`chmod`), which Landlock does not judge.

mod calls;
mod places;

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};

use super::confined::{home, temporary};
use crate::WorkspaceAccess;

/// What this process may reach from now on.
#[derive(Debug, Clone)]
pub struct Inside {
    /// The workspace, and what may be done there.
    pub workspace: Option<(PathBuf, WorkspaceAccess)>,
    /// The directory that is its own: its home and its temporary files are in it.
    pub private: Option<PathBuf>,
    /// What stays closed wherever it lies.
    pub protected: Vec<PathBuf>,
    /// The network is open.
    pub network: bool,
}

/// Rights over files that the kernel has to know: without them a file could be shortened by name that may not even be read.
const NEEDED: ABI = ABI::V3;
/// The newest rights that are asked for where the kernel knows them.
const KNOWN: ABI = ABI::V9;

/// Confines this thread and all that it starts. Gives the name of what does it.
///
/// # Errors
/// Why there is no sandbox, for a person. The process may be confined in part then and must end.
pub fn enter(inside: &Inside) -> Result<String, String> {
    nothing_inherited()?;
    no_capabilities()?;
    let calls = calls::filter(inside.network)?;
    let status = restrict(inside, opened(inside)?).map_err(|e| match e {
        RulesetError::HandleAccesses(_) => {
            format!("the kernel has no Landlock, or one that is too old: Linux 6.2 with Landlock switched on is needed ({e})")
        }
        e => format!("Landlock refuses: {e}"),
    })?;
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return Err("the kernel has no Landlock".to_owned());
    };
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err("Landlock is not in force".to_owned());
    }
    seccompiler::apply_filter(&calls).map_err(|e| format!("seccomp refuses: {e}"))?;
    let signals = if effective_abi < ABI::V6 { ", signals to other processes are open" } else { "" };
    Ok(format!("Landlock ABI {effective_abi} and seccomp{signals}"))
}

/// What may be done with files that are only read.
fn read() -> BitFlags<AccessFs> {
    AccessFs::from_read(NEEDED)
}

/// What may be done with directories that are written to. No devices: the name of one would be as good as the device.
fn write() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEEDED) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

/// The directories that must be there.
fn opened(inside: &Inside) -> Result<Vec<PathBeneath<PathFd>>, String> {
    // Asked before this process was started, too; a link may lead elsewhere since.
    if let Some((path, WorkspaceAccess::Read | WorkspaceAccess::Write)) = &inside.workspace {
        let real = path.canonicalize().map_err(|e| format!("{} cannot be opened: {e}", path.display()))?;
        if let Some(held) = inside
            .protected
            .iter()
            .map(|p| p.canonicalize().unwrap_or_else(|_| p.clone()))
            .find(|p| p.starts_with(&real))
        {
            return Err(format!("the workspace {} holds {}", real.display(), held.display()));
        }
    }
    let rights = |access: &WorkspaceAccess| match access {
        WorkspaceAccess::None => None,
        WorkspaceAccess::Read => Some(read()),
        WorkspaceAccess::Write => Some(write()),
    };
    let workspace = inside.workspace.iter().filter_map(|(path, access)| Some((path.clone(), rights(access)?)));
    let private = inside.private.iter().flat_map(|path| [home(path), temporary(path)]);
    let private = private.map(|path| (path, write()));
    let rules = workspace.chain(private).map(|(path, rights)| {
        let directory = PathFd::new(&path).map_err(|e| format!("{} cannot be opened: {e}", path.display()))?;
        Ok(PathBeneath::new(directory, rights))
    });
    rules.collect()
}

fn restrict(inside: &Inside, opened: Vec<PathBeneath<PathFd>>) -> Result<RestrictionStatus, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(ABI::V6))?;
    if !inside.network {
        rules = rules.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    }
    let hidden = inside.workspace.iter().filter(|(_, access)| *access == WorkspaceAccess::None).map(|(path, _)| path);
    let closed: Vec<PathBuf> = inside.protected.iter().chain(hidden).filter_map(|p| p.canonicalize().ok()).collect();
    let rules = rules
        .create()?
        .add_rules(path_beneath_rules(places::programs(&closed), read()))?
        .add_rules(path_beneath_rules(places::DATA, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(places::DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(opened.into_iter().map(Ok::<_, RulesetError>))?;
    rules.restrict_self()
}

/// Whoever is root inside is root by name only.
fn no_capabilities() -> Result<(), String> {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(|e| format!("capabilities cannot be given up: {e}"))
}

/// Closes every open file that would survive the start of the command: rules are asked when something is opened, so that one
/// which this process inherited would be a way past all of them.
fn nothing_inherited() -> Result<(), String> {
    for number in inherited()? {
        nix::unistd::close(number).map_err(|e| format!("the open file {number} cannot be closed: {e}"))?;
    }
    match inherited()?.first() {
        None => Ok(()),
        Some(number) => Err(format!("the open file {number} would be handed on")),
    }
}

/// Open files beyond the three that the command gets, which do not close by themselves.
fn inherited() -> Result<Vec<i32>, String> {
    /// `O_CLOEXEC`, as `/proc` shows it.
    const CLOSES: u32 = 0o2_000_000;
    let unknown = |e: std::io::Error| format!("open files cannot be listed: {e}");
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc/self/fd").map_err(unknown)? {
        let name = entry.map_err(unknown)?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()).filter(|n| *n > 2) else { continue };
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).map_err(unknown)?;
        let flags = info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        if flags.is_none_or(|flags| flags & CLOSES == 0) {
            found.push(number);
        }
    }
    Ok(found)
}
