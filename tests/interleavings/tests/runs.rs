//! Runs: how many go on at a time, one per session, none forgotten (F05, F17).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use interleavings::{World, connection, events, explore};
use openclaw_protocol::{event::AGENT, message::Content};
use openclaw_server::{
    gateway::Gateway,
    hub::Connection,
    rights::Principal,
    runs::{RunRequest, Waited},
    sessions::entry::SessionEntry,
};
use serde_json::Value;
use shuttle::{future::block_on, thread};

/// Runs that may go on at a time.
const PARALLEL: usize = 2;
const A_MINUTE: Duration = Duration::from_secs(60);

fn request(run: &str, session: &str) -> RunRequest {
    let session = format!("agent:main:{session}");
    RunRequest::new(Principal::Gateway, run.to_owned(), session, vec![Content::text("hello")], A_MINUTE)
}

/// Sees everything that is published from now on.
fn watch(gateway: &Gateway) -> Arc<Connection> {
    let connection = connection("watch");
    gateway.hub.ordered().attach(connection.clone());
    connection
}

/// Beginnings (true) and ends of runs with their session, in the order in which they were told.
fn lifecycle(watch: &Connection) -> Vec<(bool, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_runs = events(watch, AGENT.name).into_iter().map(|event| event["payload"].clone());
    let of_runs = of_runs.filter(|payload| payload["stream"] == "lifecycle");
    of_runs.map(|p| (p["data"]["phase"] == "start", text(&p["runId"]), text(&p["sessionKey"]))).collect()
}

/// At most so many at a time, one in a session; those that ended, in order.
fn judge(events: &[(bool, String, String)]) -> Vec<String> {
    let (mut on, mut ended) = (BTreeSet::new(), Vec::new());
    for (begins, run, session) in events {
        if *begins {
            assert!(on.insert(session), "two runs in {session}: {events:?}");
            assert!(on.len() <= PARALLEL, "{} runs at a time: {events:?}", on.len());
        } else {
            assert!(on.remove(session), "an end without a beginning: {events:?}");
            ended.push(run.clone());
        }
    }
    assert!(on.is_empty(), "never ended: {on:?}");
    ended
}

#[test]
fn f17_runs_keep_to_their_number_and_their_session_and_all_end() {
    explore(300, || {
        let world = World::new();
        let gateway = world.gateway(PARALLEL);
        let watch = watch(&gateway);
        let threads: Vec<_> = [["a", "b"], ["a", "c"], ["b", "c"]]
            .into_iter()
            .enumerate()
            .map(|(n, sessions)| {
                let gateway = gateway.clone();
                thread::spawn(move || {
                    for session in sessions {
                        let run = format!("{session}{n}");
                        gateway.runs.submit(request(&run, session)).expect("there is room");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        block_on(gateway.runs.drained());
        let mut ended = judge(&lifecycle(&watch));
        ended.sort();
        assert_eq!(ended, ["a0", "a1", "b0", "b2", "c1", "c2"]);
        drop(gateway);
        world.join();
    });
}

/// Whenever one begins to wait for a run, it hears of its end.
#[test]
fn f17_who_waits_for_a_run_hears_of_its_end() {
    explore(300, || {
        let world = World::new();
        let gateway = world.gateway(PARALLEL);
        let run = gateway.runs.submit(request("r", "a")).expect("there is room");
        let waiters = [0, 1].map(|_| {
            let gateway = gateway.clone();
            thread::spawn(move || match block_on(gateway.runs.wait("r", A_MINUTE)) {
                Waited::Ended(end) => assert_eq!(end.status, "ok"),
                Waited::TimedOut => panic!("it ended"),
            })
        });
        assert!(block_on(run.ended()).is_some());
        waiters.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        drop((run, gateway));
        world.join();
    });
}

/// A place that is given back lets what waits behind it go on, also while the lane is just ending.
#[test]
fn f17_a_place_given_back_holds_up_nobody() {
    explore(300, || {
        let world = World::new();
        let gateway = world.gateway(PARALLEL);
        let watch = watch(&gateway);
        let refused = {
            let gateway = gateway.clone();
            thread::spawn(move || {
                let place = gateway.runs.reserve(request("refused", "a")).expect("there is room");
                thread::yield_now();
                drop(place);
            })
        };
        let taken = {
            let gateway = gateway.clone();
            thread::spawn(move || {
                for run in ["r0", "r1"] {
                    gateway.runs.submit(request(run, "a")).expect("there is room");
                }
            })
        };
        refused.join().expect("no thread panics");
        taken.join().expect("no thread panics");
        block_on(gateway.runs.drained());
        assert_eq!(judge(&lifecycle(&watch)), ["r0", "r1"]);
        drop(gateway);
        world.join();
    });
}

/// A session that is used by a run, changed and begun anew on three threads is in memory what it is on the disk.
#[test]
fn f51_a_session_in_use_is_stored_in_the_order_of_its_changes() {
    explore(300, || {
        let world = World::new();
        let gateway = world.gateway(PARALLEL);
        let key = "agent:main:a";
        gateway.runs.submit(request("r", "a")).expect("there is room");
        let changers = ["low", "high"].map(|level| {
            let gateway = gateway.clone();
            thread::spawn(move || {
                let now = gateway.platform.clock.wall();
                let change = move |entry: &mut SessionEntry| {
                    entry.thinking_level = Some(level.to_owned());
                };
                block_on(gateway.sessions.update(key, now, change, |_, _| Ok(()))).expect("memory takes everything");
            })
        });
        changers.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        block_on(gateway.runs.drained());
        let read = gateway.sessions.get(key).expect("it can be read");
        drop(gateway);
        world.join();
        assert_eq!(world.stored_sessions().get(key), read.as_ref(), "the next start finds something else");
    });
}
