use std::sync::Mutex;

use openclaw_config::{Loaded, REDACTED};
use openclaw_platform::{MemoryStorage, Storage as _, sync::LockExt as _};

use super::*;
use crate::options::{ChangeFile, Unusable};

/// A file in memory; `broken` is why it cannot be written.
#[derive(Default)]
struct File {
    text: Mutex<Option<String>>,
    broken: Option<String>,
    writes: Mutex<usize>,
}

impl ConfigSource for File {
    fn stamp(&self, _: &[String]) -> u64 {
        0
    }
    fn read(&self) -> Result<Loaded, Unusable> {
        Err(Unusable::default())
    }
    fn change(&self, change: &mut ChangeFile<'_>) -> Result<(), String> {
        let mut text = self.text.locked();
        let Some(new) = change(text.as_deref(), &|_: &str| None) else { return Ok(()) };
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        *self.writes.locked() += 1;
        *text = Some(new);
        Ok(())
    }
}

struct Room {
    file: Arc<File>,
    edits: ConfigEdits,
    restarts: Arc<Restarts>,
    storage: Arc<MemoryStorage>,
}

fn room(file: File) -> Room {
    let storage = Arc::new(MemoryStorage::new());
    let mut platform = openclaw_platform::os::without_files();
    platform.storage = storage.clone();
    let (file, restarts) = (Arc::new(file), Arc::new(Restarts::new(platform.clock.clone())));
    let deps = Deps { platform, source: Some(file.clone()), restarts: restarts.clone(), state_dir: "/state".into() };
    Room { file, edits: ConfigEdits::new(deps), restarts, storage }
}

fn of(text: &str) -> Room {
    room(File { text: Mutex::new(Some(text.to_owned())), ..File::default() })
}

impl Room {
    /// With a restart; its caller is answered when this returns.
    async fn make(&self, wanted: Wanted, raw: &str, base: Option<&str>) -> Result<Done, Error> {
        self.make_and_restart(wanted, raw, base).await.map(|(done, _)| done)
    }
    async fn make_and_restart(&self, wanted: Wanted, raw: &str, base: Option<&str>) -> Result<(Done, Restart), Error> {
        let order = Order { wanted, raw: raw.to_owned(), base: base.map(str::to_owned) };
        self.edits.make_and_restart(order, Ask { delay_ms: Some(600_000), ..Ask::default() }).await
    }
    async fn set(&self, raw: &str, base: Option<&str>) -> Result<Done, Error> {
        let order = Order { wanted: Wanted::Replace, raw: raw.to_owned(), base: base.map(str::to_owned) };
        self.edits.make(order).await
    }
    fn text(&self) -> String {
        self.file.text.locked().clone().unwrap_or_default()
    }
    fn hash(&self) -> String {
        hash(self.file.text.locked().as_deref())
    }
}

const FILE: &str = "{ /* mine */ gateway: { mode: 'local', auth: { token: 'planted-0123456789' } } }";

#[tokio::test]
async fn d50_only_the_version_that_was_looked_at_is_changed() {
    let room = of(FILE);
    let over = "{logging: {level: 'debug'}}";
    assert_eq!(room.make(Wanted::Patch, over, None).await, Err(Error::BaseRequired));
    assert_eq!(room.make(Wanted::Patch, over, Some("x")).await, Err(Error::BaseOutdated));
    assert_eq!((room.text().as_str(), room.restarts.is_planned()), (FILE, false));
    let base = room.hash();
    room.make(Wanted::Patch, over, Some(&base)).await.unwrap();
    assert!(room.text().contains("/* mine */") && room.text().contains("debug"));
    assert_eq!(room.set(FILE, Some(&base)).await, Err(Error::BaseOutdated));
    // Where there is no file, nobody can have looked at one.
    let empty = room_without_file().await;
    assert_eq!(empty.text(), "{gateway: {mode: 'local'}}");
}

async fn room_without_file() -> Room {
    let room = room(File::default());
    room.set("{gateway: {mode: 'local'}}", None).await.unwrap();
    room
}

#[tokio::test]
async fn d17_no_secret_is_answered_and_markers_are_put_back() {
    let room = of(FILE);
    let raw = format!("{{gateway: {{mode: 'local', port: 7, auth: {{token: '{REDACTED}'}}}}}}");
    let done = room.make(Wanted::Replace, &raw, Some(&room.hash())).await.unwrap();
    assert!(room.text().contains("planted-0123456789") && !room.text().contains(REDACTED), "{}", room.text());
    assert_eq!(done.config["gateway"]["auth"]["token"], REDACTED);
}

#[tokio::test]
async fn d50_set_restarts_nothing_and_patch_and_apply_do_once_and_are_told() {
    let room = of(FILE);
    room.set(FILE, Some(&room.hash())).await.unwrap();
    assert!(!room.restarts.is_planned());
    let over = "{logging: {level: 'debug'}}";
    let (_, restart) = room.make_and_restart(Wanted::Patch, over, Some(&room.hash())).await.unwrap();
    assert_eq!((restart.delay_ms, restart.reason), (60_000, "config.patch"), "a minute at most");
    assert!(room.restarts.is_planned());
    let kept: RestartNote = serde_json::from_slice(&room.storage.read(restart_note::FILE).unwrap()).unwrap();
    assert_eq!(kept.payload, restart.note);
}

#[tokio::test]
async fn f19_what_is_wrong_is_refused_and_leaves_no_trace() {
    let room = of(FILE);
    let base = room.hash();
    for (wanted, raw) in [
        (Wanted::Replace, "{nope"),
        (Wanted::Replace, "{gateway: {bind: 'mars'}}"),
        (Wanted::Replace, "{bogus: 1}"),
        (Wanted::Patch, "[]"),
        (Wanted::Patch, "{gateway: {prot: 1}}"),
        (Wanted::Patch, "{gateway: {auth: {token: {a: 1}}}}"),
    ] {
        let refused = room.make(wanted, raw, Some(&base)).await;
        assert!(refused.is_err(), "{raw}: {refused:?}");
    }
    assert_eq!((room.text().as_str(), room.restarts.is_planned()), (FILE, false));
    assert!(room.storage.read(restart_note::FILE).is_err());
    // A broken file takes no patch, and another text in its place.
    let broken = of("{gateway: {bind: 'mars'}}");
    let refused = broken.make(Wanted::Patch, "{logging: {level: 'debug'}}", Some(&broken.hash())).await;
    assert!(matches!(refused, Err(Error::FileInvalid(_))), "{refused:?}");
    broken.set("{gateway: {mode: 'local'}}", Some(&broken.hash())).await.unwrap();
}

#[tokio::test]
async fn f18_a_disk_that_refuses_is_told_and_restarts_nothing() {
    let broken = Some("no space".to_owned());
    let room = room(File { text: Mutex::new(Some(FILE.to_owned())), broken, ..File::default() });
    let refused = room.make(Wanted::Patch, "{logging: {level: 'debug'}}", Some(&room.hash())).await;
    assert_eq!(refused, Err(Error::Io("no space".to_owned())));
    assert!(!room.restarts.is_planned());
}

#[tokio::test]
async fn d50_of_two_on_one_version_one_is_made() {
    let room = of(FILE);
    let base = room.hash();
    let (a, b) = tokio::join!(
        room.make(Wanted::Patch, "{logging: {level: 'debug'}}", Some(&base)),
        room.make(Wanted::Patch, "{logging: {level: 'warn'}}", Some(&base)),
    );
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    assert_eq!(*room.file.writes.locked(), 1);
}

/// However many ask for one restart, and whatever they write, what is kept is read again.
#[tokio::test]
async fn d50_notes_of_many_are_kept_beside_each_other_within_bounds() {
    let room = of(FILE);
    for n in 0..40 {
        let ask = Ask { session: Some(format!("agent:main:{n}")), note: Some("\u{1}".repeat(5000)), delay_ms: None };
        room.edits.restart(ask).await;
    }
    let kept = RestartNote::kept(&*room.storage).unwrap();
    let sessions: Vec<String> = kept.all().filter_map(|payload| payload.session_key.clone()).collect();
    assert_eq!(sessions, (24..40).map(|n| format!("agent:main:{n}")).collect::<Vec<_>>());
}
