use std::sync::Arc;

use openclaw_platform::{Entropy, EntropyExt as _, MemoryStorage, Platform, os};
use openclaw_protocol::message::{Content, Message};

use super::*;
use crate::{
    sessions::{
        entry::SessionEntry,
        store::{Sessions, append},
    },
    store::{self, Store},
};

fn sessions() -> (Sessions, Store, Arc<dyn Entropy>) {
    let platform = Platform { storage: Arc::new(MemoryStorage::new()), ..os::without_files() };
    let store = crate::schema::open(&platform).unwrap();
    (Sessions::new(store.clone(), platform.entropy.clone()), store, platform.entropy)
}

async fn put(sessions: &Sessions, key: &str, at: Millis, change: impl Fn(&mut SessionEntry) + Send + 'static) {
    let change = move |entry: &mut SessionEntry| {
        entry.updated_at = at;
        change(entry);
    };
    let said = Message::User { content: vec![Content::text("hello")], timestamp: at };
    let line = move |tx: &WriteTransaction, entry: &SessionEntry| {
        append(tx, &entry.session_id, at, &[("00000000".to_owned(), said.clone())])
    };
    sessions.update(key, at, change, line).await.unwrap();
}

fn keys(sessions: &Sessions, agents: Option<&[&str]>, order: Order, limit: usize) -> String {
    let mut found = Vec::new();
    let each = |session: Found| {
        found.push(session.key.rsplit(':').next().unwrap().to_owned());
        found.len() < limit
    };
    sessions.look(agents, order, each).unwrap();
    found.concat()
}

#[tokio::test]
async fn f55_sessions_of_several_agents_come_in_one_order() {
    let (sessions, ..) = sessions();
    for (key, at) in
        [("agent:a:1", 5), ("agent:b:2", 9), ("agent:a:3", 5), ("agent:c:4", 7), ("agent:b:5", 9), ("global", 6)]
    {
        put(&sessions, key, at, |_| {}).await;
    }
    assert_eq!(keys(&sessions, None, Order::Newest, 99), "254global13");
    assert_eq!(keys(&sessions, None, Order::Oldest, 99), "31global452");
    assert_eq!(keys(&sessions, None, Order::Newest, 3), "254");
    assert_eq!(keys(&sessions, Some(&["a", "c"]), Order::Newest, 99), "413");
    assert_eq!(keys(&sessions, Some(&["a", "none"]), Order::Oldest, 1), "3");
    put(&sessions, "agent:a:3", 10, |_| {}).await;
    assert_eq!(keys(&sessions, None, Order::Newest, 2), "32");
}

#[tokio::test]
async fn f55_labels_are_found_as_they_are() {
    let (sessions, ..) = sessions();
    let label = |name: &'static str| move |e: &mut SessionEntry| e.label = Some(name.to_owned());
    put(&sessions, "agent:a:1", 1, label("x")).await;
    put(&sessions, "agent:a:2", 2, label("x\0agent:a:1")).await;
    put(&sessions, "agent:a:3", 3, label("xy")).await;
    put(&sessions, "agent:b:4", 4, label("y")).await;
    let of = |name: &str| sessions.labelled(name, 9).unwrap();
    assert_eq!(
        (of("x"), of("xy"), of("y"), of("")),
        (vec!["agent:a:1".into()], vec!["agent:a:3".into()], vec!["agent:b:4".into()], vec![])
    );
    put(&sessions, "agent:a:1", 5, |e| e.label = None).await;
    put(&sessions, "agent:b:4", 5, label("x")).await;
    assert_eq!(of("x"), ["agent:b:4"]);
}

/// Whatever happens to sessions: the indexes say what a walk through everything finds, and so they do when they are built anew.
#[tokio::test]
async fn f55_indexes_follow_every_change() {
    let (sessions, store, entropy) = sessions();
    let mut begun = 0;
    for step in 0..600u64 {
        let key = format!("agent:{}:{}", ["a", "b"][entropy.below(2) as usize], entropy.below(12));
        let at = 1000 + u64::from(entropy.below(50));
        match entropy.below(8) {
            0 => drop(sessions.remove(&key, entropy.below(2) == 0).await.unwrap()),
            1 => {
                let id = sessions.new_id();
                put(&sessions, &key, at, move |e| *e = e.restarted(id.clone(), at)).await;
            }
            2 => {
                let label = (entropy.below(2) == 0).then(|| format!("label {}", entropy.below(4)));
                put(&sessions, &key, at, move |e| e.label.clone_from(&label)).await;
            }
            3 => {
                let mut oldest = vec![];
                sessions
                    .look(None, Order::Oldest, |s| {
                        oldest.push(s);
                        oldest.len() < 2
                    })
                    .unwrap();
                sessions.prune(oldest, |key| !key.ends_with('0')).await.unwrap();
            }
            4 => {
                for ended in sessions.ended(|_| true).unwrap().into_iter().take(2) {
                    sessions.remove_ended(ended, 3).await.unwrap();
                }
            }
            _ => {
                put(&sessions, &key, at, |_| {}).await;
                begun += 1;
            }
        }
        let differences = store.read(differences).unwrap();
        assert!(differences.is_empty(), "step {step}: {differences:?}");
    }
    assert!(begun > 100 && sessions.count().unwrap() > 0);
    let of =
        |tx: &ReadTransaction| INDEXES.map(|table| store::keys(tx, table)).into_iter().collect::<Result<Vec<_>, _>>();
    let before = store.read(of).unwrap();
    let anew = |tx: &WriteTransaction| {
        for table in INDEXES {
            tx.delete_table(table)?;
        }
        build(tx)
    };
    store.write(anew).await.unwrap();
    assert_eq!(store.read(of).unwrap(), before);
    assert!(store.read(differences).unwrap().is_empty());
    // And a difference is seen.
    let spoil = |tx: &WriteTransaction| {
        tx.open_table(store::SESSIONS_NEWEST)?.pop_first()?;
        store::put(&mut tx.open_table(store::SESSIONS_COUNTS)?, "c", &1u64)
    };
    store.write(spoil).await.unwrap();
    assert_eq!(store.read(differences).unwrap().len(), 2);
}

/// Found by the scenario `session_lists`: two asked for one label at once, and both were given it.
#[tokio::test]
async fn d48_of_two_that_ask_for_one_label_at_once_one_has_it() {
    let (sessions, ..) = sessions();
    let named = |key: &'static str| {
        let change = |entry: &mut SessionEntry| entry.label = Some("twin".to_owned());
        sessions.update(key, 1, change, |_, _| Ok(()))
    };
    let (one, two) = tokio::join!(named("agent:a:1"), named("agent:a:2"));
    let labels = [one.unwrap().0.label, two.unwrap().0.label];
    assert_eq!(labels.iter().flatten().count(), 1, "{labels:?}");
    assert_eq!(sessions.labelled("twin", 5).unwrap().len(), 1);
    // Its own it keeps.
    put(&sessions, "agent:a:1", 2, |entry| entry.label = Some("twin".to_owned())).await;
    assert_eq!(sessions.labelled("twin", 5).unwrap().len(), 1);
}
