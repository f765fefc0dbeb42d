//! A gateway on many threads, used by many clients at once: production's runtime, not the simulator's (F14, F16, F17, F51).
//!
//! Which thread is faster is up to the machine; what is asked for is drawn from a seed, which is printed:
//!
//! ```sh
//! OPENCLAW_TEST_SEED=7 OPENCLAW_TEST_ROUNDS=20 cargo test -p openclaw-server --test many_threads -- --nocapture
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // looks at the gateway from outside

mod support;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openclaw_platform::{Platform, TaskScope, os};
use openclaw_server::{gateway::Gateway, hub::Connection, sessions::index, store};
use serde_json::{Value, json};
use support::{Device, enter, frames, gateway_on, local, response};

/// Threads of the runtime: more than the machine has, so that they are taken off at odd moments.
const THREADS: usize = 8;
const CLIENTS: u8 = 10;
/// Tasks of one client that ask at the same time, under the same identity.
const TASKS: usize = 2;
/// Requests of each task.
const REQUESTS: usize = 20;
/// Sessions that all of them use.
const SESSIONS: u64 = 4;
/// What hangs, hangs for good: far beyond what any machine takes.
const HANGS: Duration = Duration::from_mins(5);

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// splitmix64: the same seed, the same requests.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A request that a person may make of a session: method and parameters. `key` is new, or was used before.
fn request(random: &mut Random, key: &str) -> (&'static str, Value) {
    let session = format!("s{}", random.below(SESSIONS));
    let one_of = |random: &mut Random, words: [&'static str; 2]| words[random.below(2) as usize];
    match random.below(20) {
        0..=5 => ("chat.send", json!({ "sessionKey": session, "message": format!("m {key}"), "idempotencyKey": key })),
        6..=10 => ("agent", json!({ "sessionKey": session, "message": format!("m {key}"), "idempotencyKey": key })),
        11 => ("chat.send", json!({ "sessionKey": session, "message": "/new", "idempotencyKey": key })),
        12 => ("chat.abort", json!({ "sessionKey": session })),
        13 => ("sessions.reset", json!({ "key": session })),
        14 => ("sessions.delete", json!({ "key": session })),
        15 => ("sessions.compact", json!({ "key": session, "maxLines": 5 })),
        16 => ("sessions.patch", json!({ "key": session, "thinkingLevel": one_of(random, ["low", "high"]) })),
        17 => ("sessions.patch", json!({ "key": session, "sendPolicy": one_of(random, ["allow", "deny"]) })),
        18 => ("chat.history", json!({ "sessionKey": session })),
        _ => ("sessions.list", json!({})),
    }
}

/// What a connection gets, until it is told to stop: everything that is queued for it.
async fn read(connection: Arc<Connection>) -> Vec<Value> {
    let mut got = Vec::new();
    loop {
        got.extend(frames(&connection.outbox).into_iter().filter(|frame| frame["type"] == "res"));
        if connection.outbox.is_closing() {
            got.extend(frames(&connection.outbox).into_iter().filter(|frame| frame["type"] == "res"));
            return got;
        }
        connection.outbox.ready().await;
    }
}

/// Asks; now and then the same thing twice, as a client does that lost its connection. Gives the ids with their methods.
async fn ask(
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
    name: String,
    mut random: Random,
) -> Vec<(String, &'static str)> {
    let mut asked = Vec::new();
    for n in 0..REQUESTS {
        let key = format!("{name}-{n}");
        let (method, params) = request(&mut random, &key);
        for again in 0..=u8::from(random.below(4) == 0) {
            let id = format!("{key}-{again}");
            asked.push((id.clone(), method));
            let (gateway, connection, params) = (gateway.clone(), connection.clone(), params.clone());
            let answer = tokio::spawn(async move {
                response(&gateway, &connection, &id, method, params).await.send(&connection);
            });
            // Most wait for the answer before they go on.
            if random.below(3) != 0 {
                answer.await.unwrap();
            }
        }
    }
    asked
}

/// Every request has its answer, no fewer and no more. Of those that share a key the one whose run it became is answered a
/// second time, at the end of its run (section 13); so exactly one of them where any was accepted.
fn judge(asked: &[(String, &'static str)], answers: &[Value]) {
    let mut by_id: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for answer in answers {
        by_id.entry(answer["id"].as_str().unwrap()).or_default().push(answer);
    }
    let mut by_key: BTreeMap<&str, (Vec<&Value>, usize)> = BTreeMap::new();
    for (id, method) in asked {
        let of = by_id.remove(id.as_str()).unwrap_or_default();
        if *method == "agent" {
            let key = by_key.entry(id.rsplit_once('-').unwrap().0).or_default();
            key.1 += usize::from(of.len() == 2);
            key.0.extend(&of);
            assert!(matches!(of.len(), 1 | 2), "{id}: {of:?}");
        } else {
            assert_eq!(of.len(), 1, "{method} {id}: {of:?}");
        }
    }
    for (key, (answers, ended)) in by_key {
        let is_accepted = answers.iter().any(|answer| answer["payload"]["status"] == "accepted");
        assert_eq!(ended, usize::from(is_accepted), "{key}: {answers:?}");
    }
    assert!(by_id.is_empty(), "answers to what nobody asked: {by_id:?}");
}

fn open(platform: &Platform) -> Arc<Gateway> {
    let text = "{agents:{defaults:{model:'builtin/echo',maxConcurrent:3}}}";
    gateway_on(platform.clone(), openclaw_config::parse(text, &|_| None).unwrap().config)
}

async fn round(seed: u64) {
    let mut platform = os::without_files();
    let scope = TaskScope::new(platform.tasks.clone());
    platform.tasks = Arc::new(scope.clone());
    let gateway = open(&platform);
    let mut clients = Vec::new();
    for n in 1..=CLIENTS {
        let device = Device::new(n);
        let entered = enter(&gateway, local(), Some(&device), "operator", &["operator.admin"], support::TOKEN).await;
        let connection = entered.unwrap().0;
        let reader = tokio::spawn(read(connection.clone()));
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| (format!("c{n}-{task}"), Random(seed ^ (u64::from(n) << 32) ^ task as u64)))
            .map(|(name, random)| tokio::spawn(ask(gateway.clone(), connection.clone(), name, random)))
            .collect();
        clients.push((connection, reader, tasks));
    }
    let mut asked = Vec::new();
    for (_, _, tasks) in &mut clients {
        let mut of = Vec::new();
        for task in tasks.drain(..) {
            of.extend(task.await.unwrap());
        }
        asked.push(of);
    }
    // Those of which nobody waited for the answer: answered, each run ended, each caller told.
    let all_answered = async {
        loop {
            gateway.runs.drained().await;
            gateway.runs.answered().await;
            if gateway.runs.count() == 0 && Arc::strong_count(&gateway) == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let hung = || format!("{} runs go on, {} hold the gateway", gateway.runs.count(), Arc::strong_count(&gateway));
    assert!(tokio::time::timeout(HANGS, all_answered).await.is_ok(), "{}", hung());
    for ((connection, reader, _), asked) in clients.into_iter().zip(asked) {
        connection.outbox.close(openclaw_server::outbox::Close::new(1000, "done"));
        judge(&asked, &reader.await.unwrap());
    }
    let memory = gateway.sessions.after("", usize::MAX).unwrap();
    let differences = gateway.store.read(index::differences).unwrap();
    assert!(differences.is_empty(), "sessions and their indexes disagree: {differences:?}");
    let runs = gateway.store.read(|tx| store::keys(tx, store::RUNS)).unwrap();
    assert_eq!(runs, [""; 0], "runs that would be taken for interrupted after a restart");
    // What the next start reads is what was there: nothing was only in memory.
    drop(gateway);
    // As at every stop: a task that still holds the database would write to it beside the next start.
    let left = scope.close(Duration::from_secs(10)).await;
    assert!(left.is_empty(), "{left:?}");
    platform.tasks = os::without_files().tasks;
    let again = open(&platform);
    assert_eq!(again.sessions.after("", usize::MAX).unwrap(), memory);
}

#[test]
fn f51_memory_and_disk_agree_whatever_many_threads_did() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (seed, rounds) = (setting("OPENCLAW_TEST_SEED", now), setting("OPENCLAW_TEST_ROUNDS", 3));
    println!("OPENCLAW_TEST_SEED={seed} OPENCLAW_TEST_ROUNDS={rounds}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    for n in 0..rounds {
        runtime.block_on(async { tokio::spawn(round(seed.wrapping_add(n))).await.unwrap() });
    }
}
