//! Nothing lost, nothing doubled: people write while the gateway is killed again and again (F05, F06).
//!
//! Every part is a process of its own. The fake Telegram's log is the judge: it knows what it received and what it did
//! with it, whatever the gateway believed when it was killed.
//!
//! A small version runs with the other tests. The full size takes minutes and wants the release build:
//!
//! ```sh
//! OPENCLAW_TEST_MESSAGES=2000 OPENCLAW_TEST_KILLS=100 cargo test --release -p tests --test delivery_kills -- --nocapture
//! ```
//!
//! What is unknown in the end is exactly what was on its way at some kill: after each one the database that the dead process
//! has left is read, and names the letters of which a part was being sent (one in each chat, at most).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, http_json};

const CHATS: usize = 20;
/// Letters that may be on their way at a time, in all.
const UNDER_WAY: usize = 32;
/// After the last kill everything is answered within this time.
const PATIENCE: Duration = Duration::from_mins(2);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v} is no number")))
}

/// splitmix64: the same seed, the same messages and pauses.
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

fn config(model: &Fake, telegram: &Fake) -> Value {
    json!({
        "agents": { "defaults": { "model": "fake/m1", "maxConcurrent": 8 } },
        "models": { "providers": { "fake": {
            "baseUrl": format!("{}/v1", model.url), "apiKey": "sk-test", "models": [{ "id": "m1" }],
        } } },
        "session": { "dmScope": "per-channel-peer" },
        // Each message has an answer of its own, however many of them wait.
        "messages": { "queue": { "mode": "followup", "cap": 1000 } },
        "channels": { "telegram": {
            "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "open", "allowFrom": ["*"],
        } },
    })
}

/// What the fake Telegram knows about one answer.
#[derive(Default)]
struct Seen {
    /// Numbers of the calls that it carried out.
    done: Vec<u64>,
    /// Calls whose connection ended before it carried them out.
    cut_off: usize,
}

/// What begins the line that a chat gets when one of its answers may be missing (D49).
const NOTICE: &str = "My last message may not have reached you.";

/// What the fake did with each answer, and the chats that were told that one may be missing.
async fn log(telegram: &Fake) -> (BTreeMap<(u64, usize), Seen>, BTreeSet<u64>) {
    let mut told = BTreeSet::new();
    let log = http_json("GET", &format!("{}/_log", telegram.url), None).await;
    let mut seen: BTreeMap<(u64, usize), Seen> = BTreeMap::new();
    for call in log.as_array().unwrap().iter().filter(|c| c["method"] == "sendMessage") {
        let text = call["params"]["text"].as_str().unwrap();
        if text.starts_with(NOTICE) {
            told.insert(call["params"]["chat_id"].as_str().unwrap().parse().unwrap());
            continue;
        }
        let name = text.strip_prefix("answer ").and_then(|rest| rest.split_once(' '));
        let (chat, n) = name.unwrap_or_else(|| panic!("a message that answers nothing: {call}"));
        assert_eq!(call["params"]["chat_id"], chat, "an answer in the wrong chat: {call}");
        let entry = seen.entry((chat.parse().unwrap(), n.parse().unwrap())).or_default();
        match call["status"].as_u64() {
            Some(200) => entry.done.push(call["index"].as_u64().unwrap()),
            Some(499) => entry.cut_off += 1,
            None => {}
            Some(other) => panic!("the fake answered {other}: {call}"),
        }
    }
    (seen, told)
}

/// An answer by chat and number; `None` for what a chat is told about one that may be missing.
type Name = (u64, Option<usize>);

/// The letters that were on their way when the process died, as its database has them: read from a copy, which is repaired
/// by that as the next start repairs the file itself.
fn on_their_way(gateway: &Gateway) -> Vec<Name> {
    const OUTBOX: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("outbox");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy.redb");
    std::fs::copy(gateway.state().join("gateway.redb"), &copy).unwrap();
    let database = Database::open(&copy).unwrap();
    let read = database.begin_read().unwrap();
    let table = match read.open_table(OUTBOX) {
        Err(TableError::TableDoesNotExist(_)) => return vec![],
        table => table.unwrap(),
    };
    // Behind the JSON stands its seal.
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(&bytes[..bytes.len() - 4]).unwrap();
    let letters = table.iter().unwrap().map(|row| json(row.unwrap().1.value()));
    letters.filter(|letter| letter["state"] == "attempting").map(|letter| name(&letter)).collect()
}

/// Which answer a letter is, or a row of `delivery.list`.
fn name(letter: &Value) -> Name {
    let text = letter["text"].as_str().unwrap();
    if text.starts_with(NOTICE) {
        let chat = letter["to"].as_str().or_else(|| letter["to"]["chat"].as_str()).unwrap();
        return (chat.parse().unwrap(), None);
    }
    let name = text.strip_prefix("answer ").and_then(|rest| rest.split_once(' '));
    let (chat, n) = name.unwrap_or_else(|| panic!("a message that answers nothing: {letter}"));
    (chat.parse().unwrap(), Some(n.parse().unwrap()))
}

/// What the gateway reports as not delivered.
struct Undelivered {
    /// Answers that are unknown.
    unknown: Vec<(u64, usize)>,
    /// Chats whose line about that is unknown itself: it is not asked about.
    unsure: BTreeSet<u64>,
    /// Everything in another state.
    waiting: Vec<Value>,
}

async fn undelivered(gateway: &Gateway) -> Undelivered {
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    client.send(&json!({ "type": "req", "id": "d", "method": "delivery.list", "params": { "limit": 1000 } })).await;
    let (_, answer) = client.until(|f| f["type"] == "res" && f["id"] == "d").await;
    let rows = answer["payload"]["deliveries"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let (unknown, waiting): (Vec<_>, Vec<_>) = rows.iter().cloned().partition(|r| r["state"] == "unknown");
    let names: Vec<Name> = unknown.iter().map(name).collect();
    let unknown = names.iter().filter_map(|(chat, n)| Some((*chat, (*n)?))).collect();
    let unsure = names.iter().filter(|(_, n)| n.is_none()).map(|(chat, _)| *chat).collect();
    Undelivered { unknown, unsure, waiting }
}

async fn write(telegram: &str, chat: u64, n: usize) {
    let message = json!({ "message": {
        "from": { "id": chat, "is_bot": false, "first_name": "Person" },
        "chat": { "id": chat, "type": "private" }, "text": format!("[[say:answer {chat} {n}]]"),
    } });
    http_json("POST", &format!("{telegram}/_push"), Some(&message)).await;
}

#[tokio::test]
async fn f05_f06_every_message_is_answered_once_whatever_is_killed() {
    let messages = setting("OPENCLAW_TEST_MESSAGES", 200) as usize;
    let kills = setting("OPENCLAW_TEST_KILLS", 10) as usize;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("OPENCLAW_TEST_SEED", now);
    println!("OPENCLAW_TEST_SEED={seed} OPENCLAW_TEST_MESSAGES={messages} OPENCLAW_TEST_KILLS={kills}");
    let mut random = Random(seed);
    let (model, telegram) = (Fake::start("model"), Fake::start("telegram"));
    // Answers take a while to arrive, so that a kill finds some of them on their way.
    let slow = json!({ "fail": [{ "method": "sendMessage", "times": 1_000_000, "status": 200, "delayMs": 25 }] });
    http_json("POST", &format!("{}/_control", telegram.url), Some(&slow)).await;
    let mut gateway = Gateway::start(config(&model, &telegram), &[]).await;

    // People write in bursts, one for each life of the gateway.
    let order: Vec<u64> = (0..messages).map(|_| 100 + random.below(CHATS as u64)).collect();
    let allowed = Arc::new(AtomicUsize::new(0));
    let (writers, url, may) = (order.clone(), telegram.url.clone(), allowed.clone());
    let people = tokio::spawn(async move {
        for (n, chat) in writers.into_iter().enumerate() {
            while n >= may.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            write(&url, chat, n).await;
        }
    });
    let mut in_flight: Vec<Name> = Vec::new();
    for kill in 1..=kills {
        allowed.store(messages * kill / kills, Ordering::Release);
        tokio::time::sleep(Duration::from_millis(5 + random.below(500))).await;
        gateway.signal(Signal::KILL);
        gateway.wait(PATIENCE).await;
        let mut left = on_their_way(&gateway);
        let chats: BTreeSet<u64> = left.iter().map(|(chat, _)| *chat).collect();
        assert!(chats.len() == left.len() && left.len() <= UNDER_WAY, "one at a time in each chat: {left:?}");
        in_flight.append(&mut left);
        gateway.restart().await;
    }
    people.await.unwrap();

    let healed = Instant::now();
    let (seen, told, Undelivered { unknown, unsure, .. }) = loop {
        let (left, (seen, told)) = (undelivered(&gateway).await, log(&telegram).await);
        let Undelivered { unknown, waiting, .. } = &left;
        let answered = |n: &usize| {
            let name = (order[*n], *n);
            seen.get(&name).is_some_and(|s| !s.done.is_empty()) || unknown.contains(&name)
        };
        let missing: Vec<usize> = (0..messages).filter(|n| !answered(n)).collect();
        if missing.is_empty() && waiting.is_empty() {
            break (seen, told, left);
        }
        assert!(
            healed.elapsed() < PATIENCE,
            "LOST {} of {messages}: {missing:?}; waiting: {waiting:?}\n{}",
            missing.len(),
            gateway.output()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    };

    let none = Seen::default();
    let of = |n: usize| seen.get(&(order[n], n)).unwrap_or(&none);
    let doubled: Vec<usize> = (0..messages).filter(|n| of(*n).done.len() > 1).collect();
    assert!(doubled.is_empty(), "DOUBLED {doubled:?}\n{}", gateway.output());
    // Unknown is what was on its way at a kill, all of it and nothing else.
    let doubted: BTreeSet<(u64, usize)> = in_flight.iter().filter_map(|(chat, n)| Some((*chat, (*n)?))).collect();
    let said: BTreeSet<(u64, usize)> = unknown.iter().copied().collect();
    assert_eq!(said, doubted, "unknown on the left, on their way at some kill on the right");
    // Nobody is left in silence, and nobody is told without a reason (D49).
    let in_doubt: BTreeSet<u64> = unknown.iter().map(|(chat, _)| *chat).collect();
    assert!(told.is_subset(&in_doubt), "told without a reason: {told:?} of {in_doubt:?}");
    let silent: Vec<&u64> = in_doubt.iter().filter(|chat| !told.contains(chat) && !unsure.contains(chat)).collect();
    assert!(silent.is_empty(), "left in silence: {silent:?}");
    // What the gateway could not know, and what the fake knows about it.
    let arrived = unknown.iter().filter(|(_, n)| !of(*n).done.is_empty()).count();
    let cut_off = unknown.iter().filter(|(_, n)| of(*n).done.is_empty() && of(*n).cut_off > 0).count();
    let never = unknown.len() - arrived - cut_off;
    let mut last: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for (n, chat) in order.iter().enumerate() {
        let Some(&at) = of(n).done.first() else { continue };
        if let Some((before, m)) = last.insert(*chat, (at, n)) {
            assert!(before < at, "chat {chat}: {n} was answered before {m}");
        }
    }
    let answered = messages - cut_off - never;
    println!(
        "{messages} messages, {kills} kills: {answered} answered once, 0 lost, 0 doubled, order kept in {} chats; \
         unknown to the gateway: {}, all of them on their way at a kill ({arrived} arrived, {cut_off} were cut off at the \
         service, {never} never left), in {} chats that were told",
        last.len(),
        unknown.len(),
        in_doubt.len(),
    );
}
