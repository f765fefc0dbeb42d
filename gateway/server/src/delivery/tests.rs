//! Outbound messages against a channel that does what it is told, and processes that end at any moment.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openclaw_channels::{
    AccountStatus, Attachment, Channel, ChannelError, Delivered, InboundMedia, InboundSink, Media, Part, Piece,
    SendError, Styled, Target,
};
use openclaw_config::Config;
use openclaw_platform::{BlockFile, BoxFuture, Clock as _, FileId, MemoryStorage, Mono, Storage, os::OsClock};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    Delivery, Deps, Draft, orders,
    orders::Which,
    outbound::{Cause, OutboundMessage, Promise, State},
    resume, start, table, unknown,
};
use crate::{
    ServerOptions,
    channels::Channels,
    idempotency::{Check, Idempotency},
    limits::{DEAD_LETTERS, SEND_TRIES},
    rights::Principal,
    sessions::{entry::Route, store::Sessions},
    settings::Settings,
    store::{self, Store},
};

enum Answer {
    Fails(SendError),
    /// It is on its way, and nothing more is heard of it until the process ends.
    Hangs(oneshot::Sender<()>),
}

/// Cuts texts at `|`; whatever is not told to fail is delivered.
#[derive(Default)]
struct Wire {
    answers: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    /// Chat and text of each part that was sent, confirmed or not.
    sent: Mutex<Vec<(String, String)>>,
    held: Mutex<BTreeMap<String, Mono>>,
    knows_repeats: bool,
}

impl Wire {
    fn answer(&self, chat: &str, answer: Answer) {
        self.answers.lock().unwrap().entry(chat.to_owned()).or_default().push_back(answer);
    }
    fn fail(&self, chat: &str, error: SendError) {
        self.answer(chat, Answer::Fails(error));
    }
    /// The next part for `chat` gets no answer; the receiver hears when it is sent.
    fn hang(&self, chat: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.answer(chat, Answer::Hangs(sender));
        receiver
    }
    fn texts(&self) -> Vec<String> {
        self.sent.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }
}

impl Channel for Wire {
    fn id(&self) -> &'static str {
        "telegram"
    }
    fn account(&self) -> &'static str {
        "default"
    }
    fn receive<'a>(&'a self, _: &'a dyn InboundSink, _: CancellationToken) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(std::future::pending())
    }
    fn render(&self, text: &str, media: &[Attachment]) -> Vec<Part> {
        let styled = |s: &str| Styled { markup: s.to_owned(), plain: s.to_owned() };
        let files = (0..media.len()).map(|media| Part::File { media, caption: None, photo: false });
        let texts = text.split('|').filter(|s| !s.is_empty()).map(|s| Part::Text { text: styled(s) });
        files.chain(texts).collect()
    }
    fn hold(&self, to: &Target) -> Option<Duration> {
        let until = *self.held.lock().unwrap().get(&to.chat)?;
        Some(until.saturating_duration_since(OsClock.mono())).filter(|wait| !wait.is_zero())
    }
    fn send<'a>(&'a self, piece: Piece<'a>) -> BoxFuture<'a, Result<Delivered, SendError>> {
        Box::pin(async move {
            let text = match (piece.part, &piece.media) {
                (Part::Text { text }, _) => text.plain.clone(),
                (Part::File { .. }, media) => format!("{} bytes", media.as_ref().unwrap().bytes.len()),
            };
            let chat = piece.to.chat.clone();
            self.sent.lock().unwrap().push((chat.clone(), text));
            let answer = self.answers.lock().unwrap().get_mut(&chat).and_then(VecDeque::pop_front);
            match answer {
                None => Ok(Delivered { message_id: self.texts().len().to_string(), chat_id: chat }),
                Some(Answer::Fails(error)) => {
                    if let SendError::RateLimited { after, .. } = &error {
                        self.held.lock().unwrap().insert(chat, OsClock.mono() + *after);
                    }
                    Err(error)
                }
                Some(Answer::Hangs(heard)) => {
                    let _ = heard.send(());
                    std::future::pending().await
                }
            }
        })
    }
    fn knows_repeats(&self) -> bool {
        self.knows_repeats
    }
    fn typing<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
    fn download<'a>(&'a self, _: &'a InboundMedia, _: usize) -> BoxFuture<'a, Result<Bytes, SendError>> {
        Box::pin(std::future::pending())
    }
    fn parse_target(&self, to: &str) -> Result<Target, SendError> {
        Ok(Target { chat: to.to_owned(), thread: None })
    }
    fn status(&self) -> AccountStatus {
        AccountStatus::default()
    }
    fn probe(&self, _: u64) -> BoxFuture<'_, serde_json::Value> {
        Box::pin(std::future::pending())
    }
}

/// A process on a disk.
struct Process {
    delivery: Arc<Delivery>,
    store: Store,
    idempotency: Arc<Idempotency>,
    wire: Arc<Wire>,
    disk: MemoryStorage,
}

impl Process {
    fn new(disk: MemoryStorage, wire: Wire) -> Self {
        let storage = Arc::new(disk.clone());
        Self::over(storage, disk, wire)
    }

    /// The same with something between the process and its disk.
    fn over(storage: Arc<dyn Storage>, disk: MemoryStorage, wire: Wire) -> Self {
        let wire = Arc::new(wire);
        let mut platform = openclaw_platform::os::without_files();
        platform.storage = storage;
        let options = ServerOptions::bare(Arc::new(Config::default()));
        let store = crate::schema::open(&platform).unwrap();
        let mut channels = Channels::open(&platform, &store, &options).unwrap();
        channels.put(wire.clone());
        let idempotency = Idempotency::new(store.clone(), platform.clock.clone(), Settings::new(Arc::default()));
        let idempotency = Arc::new(idempotency);
        let deps = Deps {
            store: store.clone(),
            channels: Arc::new(channels),
            sessions: Arc::new(Sessions::new(store.clone(), platform.entropy.clone())),
            idempotency: idempotency.clone(),
            settings: Settings::new(options.config.clone()),
            sends: true,
        };
        let delivery = Arc::new(Delivery::load(&platform, deps).unwrap());
        resume(&store, &idempotency).unwrap();
        Self { delivery, store, idempotency, wire, disk }
    }

    async fn started(disk: MemoryStorage, wire: Wire) -> Self {
        let process = Self::new(disk, wire);
        start(&process.delivery).await.unwrap();
        process
    }

    async fn first() -> Self {
        Self::started(MemoryStorage::new(), Wire::default()).await
    }

    /// The disk as a process that ends now leaves it; what still runs of this one writes to its own.
    fn killed(&self) -> MemoryStorage {
        let left = MemoryStorage::new();
        for dir in ["", "media/outbound"] {
            for name in self.disk.list(dir).unwrap() {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                left.write_atomic(&path, &self.disk.read(&path).unwrap()).unwrap();
            }
        }
        left
    }

    fn outbound(&self, to: &str, text: &str, cause: Cause) -> OutboundMessage {
        let route = Route { channel: "telegram".into(), to: to.into(), account_id: "default".into() };
        let draft = Draft { route, text: text.into(), reply_to: None, cause };
        self.delivery.compose(&Principal::Gateway, draft).unwrap()
    }

    async fn post(&self, to: &str, text: &str) -> OutboundMessage {
        let outbound = self.outbound(to, text, Cause::default());
        self.delivery.post(&outbound, |_| Ok(())).await.unwrap();
        outbound
    }

    /// Waits until nothing can go out now.
    async fn settled(&self) {
        self.delivery.settled().await;
    }

    fn states(&self) -> Vec<String> {
        orders::list(&self.delivery, None, 1000).unwrap().into_iter().map(|row| row.state).collect()
    }
}

/// A disk on which one file cannot be read for a while.
struct Sick {
    disk: MemoryStorage,
    file: String,
    fails: AtomicBool,
}

impl Storage for Sick {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        if name.ends_with(&self.file) && self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("input/output error"));
        }
        self.disk.read(name)
    }
    fn write_atomic(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.disk.write_atomic(name, data)
    }
    fn append(&self, name: &str, data: &[u8]) -> io::Result<()> {
        self.disk.append(name, data)
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn block_file(&self, name: &str) -> io::Result<BlockFile> {
        self.disk.block_file(name)
    }
    fn identity(&self, name: &str) -> io::Result<FileId> {
        self.disk.identity(name)
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk.len(name)
    }
    fn read_at(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(name, offset, max)
    }
}

fn passing() -> SendError {
    SendError::Unavailable("502".into())
}

#[tokio::test(start_paused = true)]
async fn f09_a_limited_chat_waits_in_order_and_holds_nobody_else() {
    let p = Process::first().await;
    p.wire.fail("42", SendError::RateLimited { after: Duration::from_secs(7), text: "429".into() });
    let begun = OsClock.mono();
    p.post("42", "first").await;
    p.post("42", "second").await;
    p.post("43", "other").await;
    p.settled().await;
    assert_eq!((p.wire.texts(), begun.elapsed().as_secs()), (vec!["first".to_owned(), "other".into()], 0));
    tokio::time::sleep(Duration::from_millis(7100)).await;
    p.settled().await;
    assert_eq!(p.wire.texts(), ["first", "other", "first", "second"]);
    assert_eq!(p.delivery.counts(None), super::Counts::default());
}

#[tokio::test(start_paused = true)]
async fn passing_faults_are_tried_again_within_bounds_and_in_order() {
    let p = Process::first().await;
    for _ in 0..3 {
        p.wire.fail("42", passing());
    }
    let begun = OsClock.mono();
    p.post("42", "first").await;
    p.post("42", "second").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    p.settled().await;
    assert_eq!(p.wire.texts(), ["first", "first", "first", "first", "second"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Found by the fuzz target stored_state.
#[tokio::test(start_paused = true)]
async fn f18_a_number_of_attempts_at_its_limit_stays_there() {
    let p = Process::first().await;
    p.wire.fail("42", SendError::Permanent("403: bot was blocked".into()));
    let worn = OutboundMessage { attempts: u32::MAX, ..p.outbound("42", "x", Cause::default()) };
    p.delivery.post(&worn, |_| Ok(())).await.unwrap();
    tokio::time::timeout(Duration::from_mins(1), p.settled()).await.unwrap();
    let rows = orders::list(&p.delivery, None, 1).unwrap();
    assert_eq!((rows[0].state.as_str(), rows[0].attempts), ("dead", u64::from(u32::MAX)));
}

#[tokio::test(start_paused = true)]
async fn f07_what_is_refused_for_good_dies_at_once_and_stays_dead_until_a_person_wants_it() {
    let p = Process::first().await;
    p.wire.fail("42", SendError::Permanent("403: bot was blocked".into()));
    let outbound = p.post("42", "x").await;
    p.settled().await;
    assert_eq!((p.states(), p.wire.texts().len()), (vec!["dead".to_owned()], 1));
    let next = Process::started(p.killed(), Wire::default()).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    next.settled().await;
    assert_eq!(next.wire.texts(), [""; 0]);
    assert_eq!(next.delivery.counts(Some(("telegram", "default"))).dead, 1);
    assert!(orders::retry(&next.delivery, Which::One("nobody".into())).await.is_err());
    assert_eq!(orders::retry(&next.delivery, Which::One(outbound.id.clone())).await.unwrap(), [outbound.id]);
    next.settled().await;
    assert_eq!((next.wire.texts(), next.states()), (vec!["x".to_owned()], vec![]));
}

/// Killed while a part is on its way: what was confirmed is not repeated, what may have arrived is not sent again, what
/// surely was not goes out.
#[tokio::test(start_paused = true)]
async fn f06_recovery_goes_on_at_the_right_part() {
    let p = Process::first().await;
    p.wire.answer("42", Answer::Fails(passing()));
    let outbound = p.post("42", "a|b|c").await;
    p.post("42", "next").await;
    p.settled().await;
    let on_its_way = p.wire.hang("42"); // the second try of a ...
    tokio::time::sleep(Duration::from_secs(1)).await;
    on_its_way.await.unwrap();
    let second = Process::started(p.killed(), Wire::default()).await;
    second.settled().await;
    assert_eq!(second.wire.texts(), ["b", "c", "next", unknown::NOTICE]);
    assert_eq!(second.states(), ["unknown"]);
    let rows = orders::list(&second.delivery, Some("unknown"), 1).unwrap();
    assert!(rows[0].error.as_ref().unwrap().starts_with("1 of 3 parts"), "{rows:?}");

    // The person decides: only the unconfirmed part goes out again.
    let third = Process::started(second.killed(), Wire::default()).await;
    assert_eq!(orders::retry(&third.delivery, Which::Unknown).await.unwrap(), [outbound.id]);
    third.settled().await;
    assert_eq!((third.wire.texts(), third.states()), (vec!["a".to_owned()], vec![]));
}

/// A wall clock that jumps ahead before a message is handed over makes it no older; one that an earlier process left is as old
/// as the wall clock says (swarm seed 24415).
#[tokio::test(start_paused = true)]
async fn f23_a_jump_between_composing_and_sending_expires_nothing() {
    const DAY: u64 = 86_400_000;
    let p = Process::first().await;
    let jumped = |text: &str| {
        let mut outbound = p.outbound("42", text, Cause::default());
        outbound.created_at -= 2 * DAY;
        outbound.expires_at -= 2 * DAY;
        outbound
    };
    let fresh = jumped("fresh");
    p.delivery.post(&fresh, |_| Ok(())).await.unwrap();
    p.settled().await;
    assert_eq!((p.wire.texts(), p.states()), (vec!["fresh".to_owned()], vec![]));
    // It ages all the same.
    let old = jumped("old");
    tokio::time::sleep(Duration::from_millis(DAY + 1)).await;
    p.delivery.post(&old, |_| Ok(())).await.unwrap();
    let left = OutboundMessage { composed: None, ..jumped("left") };
    p.delivery.post(&left, |_| Ok(())).await.unwrap();
    p.settled().await;
    assert_eq!((p.wire.texts(), p.states()), (vec!["fresh".to_owned()], vec!["dead".to_owned(), "dead".to_owned()]));
}

/// A service that takes its time does not hold up the end of the process: what is there may have arrived, and the next start
/// says so (swarm seed 20111).
#[tokio::test(start_paused = true)]
async fn f21_a_part_at_a_slow_service_is_given_up_at_the_end() {
    let p = Process::first().await;
    let on_its_way = p.wire.hang("42");
    p.post("42", "a|b").await;
    p.post("42", "next").await;
    on_its_way.await.unwrap();
    p.delivery.stop();
    let waited = tokio::time::timeout(Duration::from_mins(1), p.delivery.settled()).await;
    assert!(waited.is_err(), "an answer is waited for as long as there is time");
    p.delivery.abandon();
    tokio::time::timeout(Duration::from_millis(1), p.delivery.settled()).await.expect("nothing holds up the end");
    let second = Process::started(p.killed(), Wire::default()).await;
    second.settled().await;
    assert_eq!(second.wire.texts(), ["b", "next", unknown::NOTICE]);
}

/// The chat of a message whose fate is unknown hears of it once, and gets the message when it asks; whether the line itself
/// arrived is never asked about, and nothing goes to another chat (D49).
#[tokio::test(start_paused = true)]
async fn d49_a_chat_is_told_that_its_answer_may_be_missing() {
    let p = Process::first().await;
    for chat in ["42", "43"] {
        let on_its_way = p.wire.hang(chat);
        p.post(chat, chat).await;
        on_its_way.await.unwrap();
    }
    let second = Process::new(p.killed(), Wire::default());
    // What becomes of the line is unknown as well.
    second.wire.fail("43", SendError::Unknown("no answer".into()));
    start(&second.delivery).await.unwrap();
    second.settled().await;
    let told = |chat: &str, wire: &Wire| {
        wire.sent.lock().unwrap().iter().filter(|(to, _)| to == chat).map(|(_, text)| text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (told("42", &second.wire), told("43", &second.wire)),
        (vec![unknown::NOTICE.into()], vec![unknown::NOTICE.into()])
    );
    assert_eq!(unknown::resend(&second.delivery, "telegram", "default", "42").await.unwrap(), 1);
    assert_eq!(unknown::resend(&second.delivery, "telegram", "default", "42").await.unwrap(), 0, "once");
    second.settled().await;
    assert_eq!(told("42", &second.wire), [unknown::NOTICE, "42"]);
    assert_eq!(told("43", &second.wire), [unknown::NOTICE]);
    // A restart says nothing again, and the line is no message to ask for.
    let third = Process::started(second.killed(), Wire::default()).await;
    third.settled().await;
    assert_eq!(third.wire.texts(), [""; 0]);
    assert_eq!(unknown::resend(&third.delivery, "telegram", "default", "43").await.unwrap(), 1);
    third.settled().await;
    assert_eq!(third.wire.texts(), ["43"]);
}

/// Nobody is told of, or can ask for, what would not be delivered any more (D49, F06).
#[tokio::test(start_paused = true)]
async fn d49_what_is_too_old_is_not_asked_about() {
    let p = Process::first().await;
    let on_its_way = p.wire.hang("42");
    let outbound = p.post("42", "old").await;
    on_its_way.await.unwrap();
    let mut old = p.store.read(|tx| table::get(tx, &outbound.id)).unwrap().unwrap();
    old.expires_at = 1;
    p.store.write(move |tx| table::put(tx, &old)).await.unwrap();
    let second = Process::started(p.killed(), Wire::default()).await;
    second.settled().await;
    assert_eq!(second.wire.texts(), [""; 0]);
    assert_eq!(unknown::resend(&second.delivery, "telegram", "default", "42").await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn f06_confirmed_parts_are_not_repeated() {
    let p = Process::first().await;
    p.wire.fail("43", passing());
    p.post("42", "whole").await;
    p.settled().await;
    let first = p.post("42", "a|b").await;
    p.settled().await;
    assert_eq!(p.wire.texts(), ["whole", "a", "b"]);
    // Between two parts: `a` is confirmed, `b` surely not sent.
    let q = Process::first().await;
    let mut cut = first.clone();
    cut.plan = Some(super::outbound::Plan::new(q.wire.render("a|b", &[])));
    cut.plan.as_mut().unwrap().left.remove(0);
    q.store.write(move |tx| table::put(tx, &cut)).await.unwrap();
    let next = Process::started(q.killed(), Wire::default()).await;
    next.settled().await;
    assert_eq!((next.wire.texts(), next.states()), (vec!["b".to_owned()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn f06_a_channel_that_knows_repeats_gets_it_again() {
    let p = Process::first().await;
    let on_its_way = p.wire.hang("42");
    p.post("42", "x").await;
    on_its_way.await.unwrap();
    let disk = p.killed();
    let wire = Wire { knows_repeats: true, ..Wire::default() };
    let next = Process::started(disk, wire).await;
    next.settled().await;
    assert_eq!((next.wire.texts(), next.states()), (vec!["x".to_owned()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn f06_what_is_older_than_its_time_to_live_is_not_sent() {
    let p = Process::first().await;
    let mut old = p.outbound("42", "news of last week", Cause::default());
    old.created_at -= 8 * 86_400_000;
    old.expires_at -= 8 * 86_400_000;
    p.store.write(move |tx| table::put(tx, &old)).await.unwrap();
    let next = Process::started(p.killed(), Wire::default()).await;
    next.settled().await;
    assert_eq!((next.wire.texts(), next.states()), (vec![], vec!["dead".to_owned()]));
    assert_eq!(orders::list(&next.delivery, None, 1).unwrap()[0].reason.as_deref(), Some("expired"));
}

#[tokio::test(start_paused = true)]
async fn f05_everything_queued_goes_out_in_order_after_a_kill() {
    let p = Process::first().await;
    p.wire.fail("42", SendError::RateLimited { after: Duration::from_mins(1), text: "429".into() });
    for n in 0..20 {
        p.post("42", &format!("{n}")).await;
    }
    p.settled().await;
    let next = Process::started(p.killed(), Wire::default()).await;
    assert_eq!(next.wire.texts(), [""; 0], "the time that the service asked for counts over a restart");
    tokio::time::sleep(Duration::from_mins(1)).await;
    next.settled().await;
    assert_eq!(next.wire.texts(), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(next.states(), [""; 0]);
}

fn claim(p: &Process, key: &str) -> Check {
    p.idempotency.check("send", "shared", key, &"params", 1).unwrap()
}

#[tokio::test(start_paused = true)]
async fn f16_a_key_finds_its_outbound_after_a_kill_and_gets_its_result() {
    let p = Process::first().await;
    let Check::New(mine) = claim(&p, "k") else { panic!("a new key") };
    p.wire.fail("42", SendError::RateLimited { after: Duration::from_secs(9), text: "429".into() });
    let cause = Cause { promise: Some(Promise { claim: mine, answer: None }), ..Cause::default() };
    let outbound = p.outbound("42", "once", cause);
    p.delivery.post(&outbound, |_| Ok(())).await.unwrap();
    p.settled().await;
    let next = Process::new(p.killed(), Wire::default());
    let Check::InFlight(_, pending) = claim(&next, "k") else { panic!("the key is in use before anything goes out") };
    start(&next.delivery).await.unwrap();
    let (payload, error) = pending.answer().await.unwrap().into_parts();
    assert_eq!((payload.unwrap()["messageId"].as_str(), error), (Some("1"), None));
    assert_eq!(next.wire.texts(), ["once"]);
    let third = Process::started(next.killed(), Wire::default()).await;
    assert!(matches!(claim(&third, "k"), Check::Done(_)), "what was answered is on disk with the end of the message");
    assert_eq!(third.wire.texts(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_answered_after_few_tries() {
    let p = Process::first().await;
    let Check::New(mine) = claim(&p, "k") else { panic!("a new key") };
    let pending = p.idempotency.pending(&mine).unwrap();
    for _ in 0..10 {
        p.wire.fail("42", passing());
    }
    let cause = Cause { promise: Some(Promise { claim: mine, answer: None }), ..Cause::default() };
    let outbound = p.outbound("42", "x", cause);
    p.delivery.post(&outbound, |_| Ok(())).await.unwrap();
    let (_, error) = pending.answer().await.unwrap().into_parts();
    let error = error.unwrap();
    assert_eq!((error.details.unwrap()["code"].as_str(), error.retryable), (Some("DELIVERY_FAILED"), Some(true)));
    assert_eq!(p.wire.texts().len(), SEND_TRIES as usize);
    assert_eq!(p.states(), ["dead"]);
}

/// A file that cannot be read now is no reason to give a message up, nor to send again what went out before it.
#[tokio::test(start_paused = true)]
async fn f07_a_file_that_cannot_be_read_now_waits_and_repeats_nothing() {
    let disk = MemoryStorage::new();
    let sick = Arc::new(Sick { disk: disk.clone(), file: "-1".into(), fails: AtomicBool::new(true) });
    let p = Process::over(sick.clone(), disk, Wire::default());
    start(&p.delivery).await.unwrap();
    let mut outbound = p.outbound("42", "see", Cause::default());
    let file = |bytes| Media { name: "a.txt".into(), mime: "text/plain".into(), bytes: Bytes::from_static(bytes) };
    p.delivery.enclose(&mut outbound, vec![file(b"1"), file(b"22")]).await.unwrap();
    p.delivery.post(&outbound, |_| Ok(())).await.unwrap();
    p.settled().await;
    assert_eq!((p.wire.texts(), p.states()), (vec!["1 bytes".to_owned()], vec!["queued".to_owned()]));
    sick.fails.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(31)).await;
    p.settled().await;
    assert_eq!(p.wire.texts(), ["1 bytes", "2 bytes", "see"]);
    // One that is gone never comes back.
    let mut lost = p.outbound("42", "", Cause::default());
    p.delivery.enclose(&mut lost, vec![file(b"333")]).await.unwrap();
    p.disk.remove(&lost.file(0)).unwrap();
    p.delivery.post(&lost, |_| Ok(())).await.unwrap();
    p.settled().await;
    assert_eq!((p.wire.texts().len(), p.states()), (3, vec!["dead".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn f04_dead_letters_are_bounded_and_files_leave_with_their_letters() {
    let p = Process::first().await;
    let mut outbound = p.outbound("42", "see", Cause::default());
    let file = Media { name: "a.txt".into(), mime: "text/plain".into(), bytes: Bytes::from_static(b"12345") };
    p.delivery.enclose(&mut outbound, vec![file]).await.unwrap();
    assert_eq!(p.disk.list("media/outbound").unwrap().len(), 1);
    p.disk.write_atomic("media/outbound/0000000099-cafe-0", b"nobody's").unwrap();
    p.store
        .write({
            let outbound = outbound.clone();
            move |tx| table::put(tx, &outbound)
        })
        .await
        .unwrap();
    let next = Process::started(p.killed(), Wire::default()).await;
    next.settled().await;
    assert_eq!(next.wire.texts(), ["5 bytes", "see"]);
    assert_eq!(next.disk.list("media/outbound").unwrap(), [""; 0]);

    for n in 0..DEAD_LETTERS + 5 {
        next.wire.fail(&n.to_string(), SendError::Permanent("400".into()));
        next.post(&n.to_string(), "x").await;
    }
    next.settled().await;
    assert_eq!(next.states().len(), DEAD_LETTERS);
    assert_eq!(next.delivery.counts(None).dead, DEAD_LETTERS);
    assert_eq!(orders::drop(&next.delivery, Which::Dead).await.unwrap().len(), DEAD_LETTERS);
    assert_eq!(next.states(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_person_drops_what_waits_but_not_what_is_on_its_way() {
    let p = Process::first().await;
    let on_its_way = p.wire.hang("42");
    let first = p.post("42", "first").await;
    let second = p.post("42", "second").await;
    on_its_way.await.unwrap();
    assert!(orders::drop(&p.delivery, Which::One(first.id)).await.is_err());
    assert_eq!(orders::drop(&p.delivery, Which::One(second.id.clone())).await.unwrap(), [second.id]);
    assert_eq!(p.states(), ["attempting"]);
    let live: Vec<(String, OutboundMessage)> = p.store.read(|tx| store::all(tx, store::OUTBOUND)).unwrap();
    assert_eq!(live[0].1.state, State::Attempting);
}
