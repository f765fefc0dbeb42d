use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use openclaw_config::{Config, SessionMaintenance};
use openclaw_platform::{Clock, MemoryStorage, Platform, os::OsClock};
use openclaw_protocol::message::{Content, Message};
use serde_json::json;

use super::{super::store::append, *};
use crate::{
    ServerOptions,
    gateway::Gateway,
    rights::Principal,
    runs::{
        RunRequest,
        request::{Mode, Queueing},
    },
};

const DAY: Millis = 86_400_000;
/// The wall clock at first.
const BEGIN: Millis = 1_800_000_000_000;

/// The wall clock is what the test says, the other one is tokio's.
struct Hands(AtomicU64);

impl Clock for Hands {
    fn mono(&self) -> Mono {
        OsClock.mono()
    }
    fn wall(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

struct House {
    gateway: Arc<Gateway>,
    clock: Arc<Hands>,
    disk: Arc<MemoryStorage>,
    maintenance: Maintenance,
}

impl House {
    fn new(maintenance: SessionMaintenance) -> Self {
        Self::on(Arc::new(MemoryStorage::new()), maintenance)
    }

    fn on(disk: Arc<MemoryStorage>, maintenance: SessionMaintenance) -> Self {
        let mut config = Config::default();
        config.session.maintenance = maintenance;
        let clock = Arc::new(Hands(AtomicU64::new(BEGIN)));
        let platform =
            Platform { storage: disk.clone(), clock: clock.clone(), ..openclaw_platform::os::without_files() };
        let gateway = Gateway::open(platform, ServerOptions::bare(Arc::new(config))).unwrap();
        let maintenance = gateway.maintenance();
        Self { gateway, clock, disk, maintenance }
    }

    /// A session that was last used so many days ago, with a transcript of so many lines besides its header.
    async fn session(&self, name: &str, days: u64, lines: usize) -> String {
        let (key, at) = (format!("agent:main:{name}"), BEGIN - days * DAY);
        let lines: Vec<_> = (0..lines).map(|n| (format!("{n:08}"), said(at))).collect();
        let written = move |tx: &redb::WriteTransaction, entry: &crate::sessions::entry::SessionEntry| {
            append(tx, &entry.session_id, at, &lines)
        };
        let (entry, ()) = self.gateway.sessions.update(&key, at, move |e| e.updated_at = at, written).await.unwrap();
        entry.session_id
    }

    async fn round(&mut self) -> Removed {
        self.maintenance.run().await.unwrap()
    }

    fn names(&self) -> Vec<String> {
        let all = self.gateway.sessions.after("", usize::MAX).unwrap();
        all.iter().map(|(key, _)| key.trim_start_matches("agent:main:").to_owned()).collect()
    }

    fn lines(&self, id: &str) -> usize {
        self.gateway.sessions.lines(id).unwrap().len()
    }
}

fn said(timestamp: Millis) -> Message {
    Message::User { content: vec![Content::text("hello")], timestamp }
}

fn limits(prune_after: &str, max_entries: u64) -> SessionMaintenance {
    SessionMaintenance { prune_after: prune_after.into(), max_entries, ..SessionMaintenance::default() }
}

/// Silent sessions go with their transcripts, in memory and on the disk; what is used stays.
#[tokio::test(start_paused = true)]
async fn f04_silent_sessions_expire() {
    let mut house = House::new(limits("30d", 1000));
    let old = house.session("old", 30, 3).await;
    let young = house.session("young", 29, 3).await;
    house.session("now", 0, 0).await;
    let removed = Removed { sessions: 1, transcripts: 1, ..Removed::default() };
    assert_eq!(house.round().await, removed);
    assert_eq!(house.names(), ["now", "young"]);
    assert_eq!((house.lines(&old), house.lines(&young)), (0, 4));
    // The other one's turn comes as time passes, without anybody's help.
    tokio::time::sleep(Duration::from_millis(DAY)).await;
    assert_eq!(house.round().await, removed);
    assert_eq!(house.names(), ["now"]);
    // The next process finds what is left; one database has one process (S35).
    let disk = house.disk.clone();
    drop(house);
    assert_eq!(House::on(disk, limits("30d", 1000)).names(), ["now"]);
}

/// Beyond the number those that were silent longest go first, in transactions of a bounded size.
#[tokio::test(start_paused = true)]
async fn f04_sessions_are_bounded_in_number() {
    let mut house = House::new(limits("90d", 5));
    for n in 0..200 {
        let (key, at) = (format!("agent:main:s{n:03}"), BEGIN - n % 80 * DAY);
        house.gateway.sessions.update(&key, at, move |e| e.updated_at = at, |_, _| Ok(())).await.unwrap();
    }
    let (before, _) = house.gateway.store.commits();
    assert_eq!(house.round().await, Removed { sessions: 195, ..Removed::default() });
    let (after, _) = house.gateway.store.commits();
    assert_eq!(after - before, 195_u64.div_ceil(MAINTENANCE_SESSIONS as u64));
    assert_eq!(house.names(), ["s000", "s001", "s080", "s081", "s160"]);
    assert!(house.round().await.is_nothing());
}

/// As many ended transcripts are kept as sessions.
#[tokio::test(start_paused = true)]
async fn f04_ended_transcripts_are_bounded_in_number() {
    let mut house = House::new(limits("90d", 2));
    let mut ids = vec![];
    for n in 0..5 {
        ids.push(house.session(&format!("s{n}"), 5 - n, 2).await);
    }
    assert_eq!(house.round().await, Removed { sessions: 3, transcripts: 1, ..Removed::default() });
    assert_eq!(ids.iter().map(|id| house.lines(id)).collect::<Vec<_>>(), [0, 3, 3, 3, 3]);
}

/// Main sessions, sessions with a run and sessions whose messages are on their way stay, however old they are.
#[tokio::test(start_paused = true)]
async fn f04_what_is_in_use_stays() {
    let mut house = House::new(limits("1d", 1));
    for name in ["main", "running", "letter", "idle"] {
        house.session(name, 50, 1000).await;
    }
    house.session("now", 0, 1).await;
    let text = vec![Content::text("hello")];
    let mut request =
        RunRequest::new(Principal::Gateway, "r".into(), "agent:main:running".into(), text, Duration::from_mins(1));
    request.queueing = Some(Queueing {
        mode: Mode::Followup,
        debounce: Duration::from_mins(10),
        join: Duration::from_mins(10),
        cap: 10,
        drop: openclaw_config::QueueDrop::Old,
        sender: "42".into(),
        text: "hello".into(),
    });
    house.gateway.runs.submit(request).unwrap();
    let outbound = json!({
        "id": "1-a", "channel": "telegram", "account": "default", "to": { "chat": "42" }, "text": "hello",
        "createdAt": BEGIN, "expiresAt": BEGIN + DAY, "state": "queued", "attempts": 0, "tries": 0,
        "cause": { "sessionKey": "agent:main:letter" },
    });
    let put = move |tx: &redb::WriteTransaction| store::put(&mut tx.open_table(store::OUTBOUND)?, "1-a", &outbound);
    house.gateway.store.write(put).await.unwrap();
    assert_eq!(house.round().await.sessions, 2);
    assert_eq!(house.names(), ["letter", "main", "running"]);
}

/// What a session that was used between the look and the removal had is not taken away.
#[tokio::test(start_paused = true)]
async fn f04_a_session_that_is_used_meanwhile_stays() {
    let house = House::new(limits("1d", 1));
    let id = house.session("s", 50, 1).await;
    let mut seen = vec![];
    let sessions = &house.gateway.sessions;
    sessions
        .look(None, index::Order::Oldest, |s| {
            seen.push(s);
            true
        })
        .unwrap();
    assert_eq!(seen.len(), 1);
    house.session("s", 1, 1).await;
    assert_eq!(house.gateway.sessions.prune(seen, |_| true).await.unwrap(), 0);
    assert_eq!((house.names(), house.lines(&id)), (vec!["s".to_owned()], 3));
}

/// A reset leaves a transcript that belongs to no session any more: it expires like one.
#[tokio::test(start_paused = true)]
async fn f04_ended_transcripts_expire() {
    let mut house = House::new(limits("30d", 1000));
    let (old, young) = (house.session("a", 40, 2500).await, house.session("b", 20, 2).await);
    for name in ["agent:main:a", "agent:main:b"] {
        let id = house.gateway.sessions.new_id();
        let restart = move |e: &mut crate::sessions::entry::SessionEntry| *e = e.restarted(id.clone(), BEGIN);
        house.gateway.sessions.update(name, BEGIN, restart, |_, _| Ok(())).await.unwrap();
    }
    assert_eq!(house.round().await, Removed { transcripts: 1, ..Removed::default() });
    assert_eq!((house.lines(&old), house.lines(&young)), (0, 3));
    tokio::time::sleep(Duration::from_millis(10 * DAY)).await;
    assert_eq!(house.round().await.transcripts, 1);
    assert_eq!(house.gateway.sessions.ended(|_| true).unwrap(), []);
    assert_eq!(house.lines(&young), 0);
}

/// The oldest lines of a very long transcript go, in bounded transactions; its newest stay in order.
#[tokio::test(start_paused = true)]
async fn f04_long_transcripts_are_cut() {
    let mut house = House::new(SessionMaintenance { max_transcript_lines: 4000, ..SessionMaintenance::default() });
    let (long, short) = (house.session("long", 0, 4000).await, house.session("short", 0, 3999).await);
    assert_eq!(house.round().await, Removed { lines: 1001, ..Removed::default() });
    assert_eq!((house.lines(&long), house.lines(&short)), (3000, 4000));
    let kept = house.gateway.sessions.lines(&long).unwrap();
    let ids: Vec<_> = kept.iter().map(|line| json!(line)["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids[0].as_str(), ids[2999].as_str()), ("00001000", "00003999"));
    house.session("long", 0, 1).await;
    assert_eq!(house.lines(&long), 3001);
}

/// After the first round only what was used since is looked at, and what was in use is looked at again.
#[tokio::test(start_paused = true)]
async fn f04_a_transcript_that_has_grown_is_cut_in_the_next_round() {
    let mut house = House::new(SessionMaintenance { max_transcript_lines: 100, ..SessionMaintenance::default() });
    for n in 0..600 {
        house.session(&format!("s{n:03}"), 0, 1).await;
    }
    let grows = house.session("grows", 0, 50).await;
    assert!(house.round().await.is_nothing());
    house.session("grows", 0, 50).await;
    assert_eq!(house.lines(&grows), 101);
    assert_eq!(house.round().await, Removed { lines: 26, ..Removed::default() });
    assert!(house.round().await.is_nothing());
    assert_eq!(house.lines(&grows), 75);
}

/// `mode: "warn"` says what would go and touches nothing.
#[tokio::test(start_paused = true)]
async fn f04_a_warning_removes_nothing() {
    let mut house = House::new(SessionMaintenance { mode: MaintenanceMode::Warn, ..limits("30d", 1000) });
    let old = house.session("old", 31, 3).await;
    house.session("now", 0, 0).await;
    assert_eq!(house.round().await.sessions, 1);
    assert_eq!((house.names().len(), house.lines(&old)), (2, 4));
}

/// A wall clock that jumps a year ahead makes nothing old (F23), neither before a start nor after it.
#[tokio::test(start_paused = true)]
async fn f23_a_jump_of_the_wall_clock_removes_nothing() {
    let mut house = House::new(limits("30d", 1000));
    house.session("a", 0, 1).await;
    house.session("b", 20, 1).await;
    let file = |days: u64| {
        let at = jiff::Timestamp::from_millisecond((BEGIN - days * DAY) as i64).unwrap();
        format!("agents/main/sessions/x.jsonl.deleted.{}", at.strftime("%Y-%m-%dT%H-%M-%S.%3fZ"))
    };
    openclaw_platform::Storage::write_atomic(&*house.disk, &file(20), b"x").unwrap();
    house.clock.0.store(BEGIN + 365 * DAY, Ordering::Relaxed);
    assert!(house.round().await.is_nothing());
    let mut later = House::on(house.disk.clone(), limits("30d", 1000));
    later.clock.0.store(BEGIN + 365 * DAY, Ordering::Relaxed);
    assert!(later.round().await.is_nothing());
    tokio::time::sleep(Duration::from_millis(DAY)).await;
    assert!(later.round().await.is_nothing());
}

/// Archived transcripts expire by the time in their name and by number; other files are nobody's business.
#[tokio::test(start_paused = true)]
async fn f04_archived_transcripts_expire() {
    use openclaw_platform::Storage as _;
    let mut house = House::new(limits("30d", 3));
    house.session("now", 0, 0).await;
    let write = |name: String| house.disk.write_atomic(&format!("agents/main/sessions/{name}"), b"x").unwrap();
    for days in [40, 31, 20, 19, 18, 17] {
        let at = jiff::Timestamp::from_millisecond((BEGIN - days * DAY) as i64).unwrap();
        let kind = if days % 2 == 0 { "deleted" } else { "bak" };
        write(format!("id{days}.jsonl.{kind}.{}", at.strftime("%Y-%m-%dT%H-%M-%S.%3fZ")));
    }
    for other in ["notes.txt", "x.jsonl.deleted.yesterday", ".jsonl.deleted.2020-01-01T00-00-00.000Z"] {
        write(other.into());
    }
    assert_eq!(house.round().await.files, 3);
    let left = house.disk.list("agents/main/sessions").unwrap();
    assert_eq!(left.len(), 6);
    assert!(left.iter().any(|f| f.starts_with("id19")) && !left.iter().any(|f| f.starts_with("id20")), "{left:?}");
}
