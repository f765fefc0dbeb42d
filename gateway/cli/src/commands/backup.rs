//! `backup ...`: copies of the state database.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use openclaw_platform::{
    EntropyExt as _, Platform,
    os::temporary::{self, Temporary},
};
use openclaw_server::schema::{self, SCHEMA};
use openclaw_server::store::{
    FILE, StoreError,
    backup::{self, DIRECTORY, RESTORING},
    loss,
};
use serde_json::json;

use crate::{args::ReadArgs, client::call_once, clock, failure::Failure, lock::StateLock, output, session::Session};

/// `backup ...`
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Copy the state database (sessions, transcripts, pairings, what waits), while the gateway runs or not; the copy is
    /// read again before it counts
    Create {
        /// Put it there (default: a new file in backups/ of the state directory)
        file: Option<PathBuf>,
        /// Which gateway; only one on this machine has its files here.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Put a copy in the place of the state database; the gateway must be stopped, the old state is kept beside it
    Restore {
        /// The copy
        file: PathBuf,
    },
    /// Let the next start begin with an empty state, where the state database was lost; what is left of it is kept
    AcceptLoss,
    /// Show the copies in backups/ of the state directory
    List,
}

/// Runs one of them.
///
/// # Errors
/// Temporary: restore while a gateway runs. Runtime: a damaged copy, a disk that refuses.
pub async fn run(session: &Session, command: &BackupCommand) -> Result<(), Failure> {
    match command {
        BackupCommand::Create { file, read } => create(session, file.as_deref(), read).await,
        BackupCommand::Restore { file } => restore(session, file),
        BackupCommand::AcceptLoss => accept_loss(session),
        BackupCommand::List => list(session),
    }
}

fn platform(session: &Session) -> Result<Platform, Failure> {
    let dir = &session.paths.state_dir;
    openclaw_platform::os::platform(dir)
        .map_err(|e| Failure::Runtime(format!("cannot use the state directory {}: {e}", dir.display())))
}

fn failed(session: &Session, error: &StoreError) -> Failure {
    match error {
        StoreError::InUse(_) => Failure::Temporary(told(session, error)),
        _ => Failure::Runtime(told(session, error)),
    }
}

/// What a person is told about a state that cannot be used: with the file's path, and this profile's commands.
pub fn told(session: &Session, error: &StoreError) -> String {
    let StoreError::Lost { loss } = error else { return error.to_string() };
    let (dir, command) = (&session.paths.state_dir, session.paths.command());
    let restore = match &loss.newest {
        Some(newest) => {
            let newest = dir.join(newest).display().to_string();
            format!("the newest backup is {newest}: `{command} backup restore {newest}` puts it in place")
        }
        None => format!("there is no backup in {}", dir.join(DIRECTORY).display()),
    };
    format!(
        "the state database {} {}, where this gateway has kept its state before ({} says so): it does not start without \
         it, because sessions, pairings, revoked devices and messages that wait would be forgotten. Put it back; {restore}. \
         To begin with an empty state instead, accept the loss: `{command} backup accept-loss`",
        dir.join(FILE).display(),
        loss.found,
        loss::MARKER,
    )
}

fn refused(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |e| Failure::Runtime(format!("{}: {e}", path.display()))
}

async fn create(session: &Session, file: Option<&Path>, read: &ReadArgs) -> Result<(), Failure> {
    if let Some(file) = file.filter(|f| f.symlink_metadata().is_ok()) {
        return Err(Failure::Runtime(format!("{} is there already: name another file", file.display())));
    }
    let made = match StateLock::take(&session.paths.state_dir, 0) {
        // A gateway has the state: it makes the copy itself.
        Err(Failure::Temporary(_)) => call_once(session, read, "backup.create", json!({})).await?,
        Err(other) => return Err(other),
        Ok(_lock) => offline(session)?,
    };
    let mut path = PathBuf::from(made["path"].as_str().unwrap_or_default());
    if let Some(file) = file {
        // What an earlier one that was killed left beside it.
        temporary::sweep_beside(file);
        copy(&path, file, Temporary::create)?;
        fs::remove_file(&path).map_err(refused(&path))?;
        file.clone_into(&mut path);
    }
    let shown = path.display().to_string();
    if session.out.json {
        return output::json(&json!({ "path": shown, "bytes": made["bytes"], "records": made["records"] }));
    }
    output::line(format!("{shown}: {} records, {} bytes, read again and whole", made["records"], made["bytes"]))
}

fn offline(session: &Session) -> Result<serde_json::Value, Failure> {
    let platform = platform(session)?;
    let now = clock::at(platform.clock.wall());
    let name = format!("{DIRECTORY}/openclaw-{}.redb", now.strftime("%Y%m%dT%H%M%S.%3fZ"));
    let dir = &session.paths.state_dir;
    backup::remove_leftovers(&*platform.storage).map_err(refused(dir))?;
    temporary::sweep(dir);
    let tag = platform.entropy.hex(8);
    let made = schema::open(&platform)
        .and_then(|s| s.back_up(&*platform.storage, &name, &tag))
        .map_err(|e| failed(session, &e))?;
    let path = session.paths.state_dir.join(name);
    Ok(json!({ "path": path.display().to_string(), "bytes": made.bytes, "records": made.records }))
}

/// A whole copy or none, durable, readable by its owner only (S38).
fn copy(from: &Path, to: &Path, finish: fn(Temporary) -> std::io::Result<()>) -> Result<(), Failure> {
    let write = || {
        let mut out = Temporary::beside(to)?;
        std::io::copy(&mut File::open(from)?, out.file())?;
        finish(out)
    };
    write().map_err(refused(to))
}

fn restore(session: &Session, file: &Path) -> Result<(), Failure> {
    if !file.is_file() {
        return Err(Failure::Runtime(format!("no file {}; see openclaw backup list", file.display())));
    }
    let platform = platform(session)?;
    let dir = &session.paths.state_dir;
    let _lock = StateLock::take(dir, 0)?;
    // The copy that was named stays where it is.
    let name = RESTORING;
    backup::remove_leftovers(&*platform.storage).map_err(refused(dir))?;
    temporary::sweep(dir);
    copy(file, &dir.join(name), Temporary::replace)?;
    let old = backup::restore(&platform.storage, name, &SCHEMA).map_err(|e| {
        let _ = platform.storage.remove(name);
        failed(session, &e)
    })?;
    let old = old.map(|old| dir.join(old).display().to_string());
    if session.out.json {
        return output::json(&json!({ "restored": file.display().to_string(), "previous": old }));
    }
    output::line(format!("{} is the state now", file.display()))?;
    old.map_or(Ok(()), |old| output::line(format!("the state before it is kept in {old}")))
}

fn accept_loss(session: &Session) -> Result<(), Failure> {
    let platform = platform(session)?;
    let dir = &session.paths.state_dir;
    let _lock = StateLock::take(dir, 0)?;
    let left = loss::accept(&*platform.storage).map_err(|e| failed(session, &e))?;
    let left = left.map(|left| dir.join(left).display().to_string());
    if session.out.json {
        return output::json(&json!({ "accepted": true, "left": left }));
    }
    output::line("the loss is accepted: the next start begins with an empty state")?;
    left.map_or(Ok(()), |left| output::line(format!("what was left is kept in {left}")))
}

fn list(session: &Session) -> Result<(), Failure> {
    let dir = session.paths.state_dir.join(DIRECTORY);
    let mut rows = Vec::new();
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        other => Some(other.map_err(refused(&dir))?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(refused(&dir))?;
        let bytes = entry.metadata().map_err(refused(&dir))?.len();
        if entry.path().extension().is_some_and(|e| e == "redb") {
            rows.push((entry.path().display().to_string(), bytes));
        }
    }
    rows.sort();
    if session.out.json {
        let rows: Vec<_> = rows.iter().map(|(path, bytes)| json!({ "path": path, "bytes": bytes })).collect();
        return output::json(&json!({ "backups": rows }));
    }
    if rows.is_empty() {
        return output::line(format!("no backups in {}; openclaw backup create makes one", dir.display()));
    }
    rows.iter().try_for_each(|(path, bytes)| output::line(format!("{path}  {bytes} bytes")))
}
