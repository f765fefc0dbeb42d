//! `import`: what an OpenClaw state directory has is taken over; the directory itself is only read.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the binary's own file access, outside the storage seam

mod files;
mod source;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
};

use clap::Args;
use files::Files;
use openclaw_channels::table::TABLE;
use openclaw_platform::{
    EntropyExt as _, Platform,
    os::{self, temporary},
};
use openclaw_server::{
    import::{Import, Kind, Report, Transcript, Wanted},
    limits::{IMPORT_BATCH, IMPORT_BATCH_BYTES},
    schema,
    store::{FILE, Store, StoreError, backup},
};
use serde_json::json;
use source::Source;

use super::backup::told;
use crate::{
    clock,
    failure::Failure,
    lock::{self, StateLock},
    output,
    session::Session,
};

/// A larger database is not copied into memory for a dry run, bytes.
const DRY_RUN_BYTES: u64 = 1 << 30;

/// `import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The state directory of OpenClaw (default: this gateway's own when OpenClaw's files are in it, else the first of
    /// ~/.openclaw, ~/.clawdbot, ~/.moltbot and ~/.moldbot that is there)
    pub dir: Option<PathBuf>,
    /// Say what would be taken and what would be left; store nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Reads the directory and stores what is new.
///
/// # Errors
/// Runtime: no such directory, nothing of OpenClaw in it, a database that cannot be used. Temporary: a gateway has the
/// state. Config: a configuration that cannot be used, since it says how sessions are named.
pub async fn run(session: &Session, args: &ImportArgs) -> Result<(), Failure> {
    let source = Source::choose(session, args.dir.as_deref())?;
    let target = if args.dry_run { Target::scratch(session)? } else { Target::open(session)? };
    let files = Files::new(session, &source, args.dry_run);
    let (config, step) = files.config()?;
    let mut import = Import::new(target.store.clone(), config, clock::now().as_millisecond().unsigned_abs());
    step.tell(import.report());
    let failed = |error: StoreError| Failure::Runtime(told(session, &error));
    take(&source, &mut import).await.map_err(failed)?;
    files.place(import.report())?;
    files.leave(import.report());
    let report = import.done().await.map_err(failed)?;
    show(session, &source, args.dry_run, target.backup.as_deref(), &report)
}

/// Where what is taken goes: the state database, or a copy of it in memory.
struct Target {
    store: Store,
    /// The copy of the database as it was before.
    backup: Option<String>,
    /// No gateway has it meanwhile.
    _lock: Option<StateLock>,
}

impl Target {
    fn open(session: &Session) -> Result<Self, Failure> {
        let dir = &session.paths.state_dir;
        let refused =
            |e: std::io::Error| Failure::Runtime(format!("cannot use the state directory {}: {e}", dir.display()));
        let failed = |error: StoreError| match error {
            StoreError::InUse(_) => Failure::Temporary(told(session, &error)),
            _ => Failure::Runtime(told(session, &error)),
        };
        let platform = os::platform(dir).map_err(refused)?;
        let lock = StateLock::take(dir, 0)?;
        backup::remove_leftovers(&*platform.storage).map_err(refused)?;
        temporary::sweep(dir);
        let is_new = !dir.join(FILE).exists();
        let store = schema::open(&platform).map_err(failed)?;
        let backup = if is_new { None } else { Some(kept(session, &platform, &store).map_err(failed)?) };
        Ok(Self { store, backup, _lock: Some(lock) })
    }

    /// Nothing of the disk is written, the lock not either.
    fn scratch(session: &Session) -> Result<Self, Failure> {
        let dir = &session.paths.state_dir;
        if let Some(holder) = lock::held_by(dir) {
            return Err(Failure::Temporary(format!(
                "a gateway is running on the state directory {} ({holder}), and its state changes while it is read: stop it first",
                dir.display()
            )));
        }
        let (platform, file) = (os::without_files(), dir.join(FILE));
        let refused = |e: std::io::Error| Failure::Runtime(format!("cannot read {}: {e}", file.display()));
        match file.metadata() {
            Ok(found) if found.len() > DRY_RUN_BYTES => {
                return Err(Failure::Runtime(format!(
                    "{} has {} bytes, too many for a dry run (at most {DRY_RUN_BYTES}): import without --dry-run keeps a backup of it",
                    file.display(),
                    found.len()
                )));
            }
            Ok(_) => {
                let copy = std::fs::read(&file).and_then(|bytes| platform.storage.write_atomic(FILE, &bytes));
                copy.map_err(refused)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(refused(e)),
        }
        let store = schema::open(&platform).map_err(|error| Failure::Runtime(told(session, &error)))?;
        Ok(Self { store, backup: None, _lock: None })
    }
}

/// Keeps the database as it is; gives the copy's path.
fn kept(session: &Session, platform: &Platform, store: &Store) -> Result<String, StoreError> {
    let now = clock::at(platform.clock.wall());
    let name = format!("{}/openclaw-before-import-{}.redb", backup::DIRECTORY, now.strftime("%Y%m%dT%H%M%S.%3fZ"));
    store.back_up(&*platform.storage, &name, &platform.entropy.hex(8))?;
    Ok(session.paths.state_dir.join(name).display().to_string())
}

/// What goes into the database, in the order in which it matters: devices that have to stay paired first.
async fn take(source: &Source, import: &mut Import) -> Result<(), StoreError> {
    let file = "devices/paired.json";
    if let Some(text) = source.told(import.report(), Kind::Device, file) {
        import.devices(file, &text).await?;
    }
    let file = "nodes/paired.json";
    if let Some(text) = source.told(import.report(), Kind::Node, file) {
        import.nodes(file, &text).await?;
    }
    for channel in TABLE {
        for name in source.names(channel.id) {
            let account = name.strip_prefix("update-offset-").and_then(|n| n.strip_suffix(".json"));
            let file = format!("{}/{name}", channel.id);
            if let Some(account) = account
                && let Some(text) = source.told(import.report(), Kind::Cursor, &file)
            {
                import.offset(channel.id, account, &file, &text).await?;
            }
        }
    }
    sessions(source, import).await
}

/// Sessions with their transcripts, many in one transaction.
async fn sessions(source: &Source, import: &mut Import) -> Result<(), StoreError> {
    let agents = source.agents();
    let mut lists = Vec::new();
    for agent in &agents {
        let file = format!("agents/{agent}/sessions/sessions.json");
        if let Some(text) = source.told_sessions(import.report(), &file) {
            lists.push((agent.clone(), file, text));
        }
    }
    let wanted = import.sessions_in(lists).await?;
    let (mut progress, most) = (Progress::new(wanted.len()), import.most_messages());
    let (mut batch, mut bytes): (Vec<(Wanted, Option<Transcript>)>, usize) = (Vec::new(), 0);
    for one in wanted {
        progress.step();
        let file = format!("agents/{}/sessions/{}", one.agent, one.file);
        match source.transcript(&file, most) {
            Ok(transcript) => {
                bytes += transcript.as_ref().map_or(0, Transcript::bytes);
                batch.push((one, transcript));
            }
            // Without its transcript it would count as taken, and the transcript would never be.
            Err(why) => import.report().leave(Kind::Session, one.key, format!("{file}: {why}")),
        }
        if batch.len() >= IMPORT_BATCH || bytes >= IMPORT_BATCH_BYTES {
            import.sessions(std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
    }
    import.sessions(batch).await?;
    for agent in &agents {
        let dir = format!("agents/{agent}/sessions");
        let is_transcript = |name: &&String| name.strip_suffix(".jsonl").is_some() && !import.names(agent, name);
        let ended = source.names(&dir).iter().filter(is_transcript).count();
        if ended > 0 {
            let why = "transcripts of conversations that have ended (/new, the daily reset): no session shows them";
            import.report().leave(Kind::File, format!("{ended} in {dir}"), why);
        }
    }
    Ok(())
}

/// How far it is, for a person who waits: on standard error, when that is a terminal.
struct Progress {
    of: usize,
    done: usize,
    is_shown: bool,
}

impl Progress {
    fn new(of: usize) -> Self {
        Self { of, done: 0, is_shown: of > 0 && std::io::stderr().is_terminal() }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\rsession {} of {}", self.done, self.of);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn show(session: &Session, source: &Source, dry: bool, backup: Option<&str>, report: &Report) -> Result<(), Failure> {
    if session.out.json {
        let mut all = json!({ "dir": source.dir().display().to_string(), "dryRun": dry, "backup": backup });
        if let (Some(all), Some(parts)) = (all.as_object_mut(), report.json().as_object()) {
            all.extend(parts.clone());
        }
        return output::json(&all);
    }
    let counted = |all: Vec<(Kind, u64)>| -> String {
        let all: Vec<String> = all.into_iter().map(|(kind, count)| kind.counted(count)).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
    };
    let how = if dry { "dry run, nothing is stored" } else { "its files stay as they are" };
    output::line(format!("OpenClaw's state in {} ({how})", source.dir().display()))?;
    let took = if dry { "would take" } else { "taken" };
    let row = |word: &str, text: &str| output::line(format!("{word:<10}  {text}"));
    row(took, &counted(report.taken().collect()))?;
    row("already", &counted(report.already().collect()))?;
    for left in report.left() {
        // A number says its kind; a name does not.
        let is_counted = left.what.starts_with(|c: char| c.is_ascii_digit()) && left.what.contains(' ');
        let what = if is_counted { left.what } else { format!("{} {}", left.kind.as_str(), left.what) };
        row("left", &format!("{what}: {}", left.why))?;
    }
    backup.map_or(Ok(()), |backup| row("before", &format!("the database as it was is kept in {backup}")))
}
