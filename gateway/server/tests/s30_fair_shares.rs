//! S30: a connection that asks much at once does not keep the others waiting, and one that waits unauthenticated is held to
//! its deadline and to its place. On one thread, without sockets: the order of answers is the test.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // outside of the gateway

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::SinkExt as _;
use serde_json::json;
use support::{
    TOKEN, connect, gateway, local, remote,
    socket::{Client, answer, hello, next, open, request, slots},
};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn s30_many_requests_at_once_do_not_keep_others_waiting() {
    let gateway = gateway();
    let slots = slots(&gateway, 8);
    let mut owner = hello(&gateway, &slots, &["operator.admin"]).await;
    // Answers that are ready at once, each of more than a share.
    for n in 0..30 {
        let entry = json!({ "text": "here", "instanceId": format!("i{n}"), "reason": "x".repeat(400) });
        owner.send(request("p", "system-event", entry)).await.unwrap();
        answer(&mut owner, "p").await;
    }
    let mut greedy = hello(&gateway, &slots, &["operator.read"]).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..64 {
        greedy.feed(request("greedy", "system-presence", json!({}))).await.unwrap();
    }
    greedy.flush().await.unwrap();
    owner.send(request("owner", "health", json!({}))).await.unwrap();
    let reader = |mut client: Client, id: &'static str, count: usize| {
        let order = order.clone();
        async move {
            for _ in 0..count {
                answer(&mut client, id).await;
                order.lock().unwrap().push(id);
            }
        }
    };
    // Tasks as the gateway's are: the test's own future is polled less often.
    let readers = [tokio::spawn(reader(greedy, "greedy", 64)), tokio::spawn(reader(owner, "owner", 1))];
    futures_util::future::join_all(readers).await;
    let before = order.lock().unwrap().iter().position(|id| *id == "owner").unwrap();
    assert!(before <= 2, "{before} of 64 came before the owner's one");
}

/// The deadline is one, from the start: it is not put off by what is said before hello.
#[tokio::test(start_paused = true)]
async fn s30_a_websocket_without_hello_ends_at_its_deadline() {
    let gateway = gateway();
    let slots = slots(&gateway, 8);
    let start = tokio::time::Instant::now();
    let mut client = open(&gateway, &slots, remote(1)).await;
    let ended = async {
        loop {
            // Signs of life, but no hello.
            let _ = client.send(Message::Ping(vec![].into())).await;
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_secs(1), next(&mut client)).await {
                return;
            }
        }
    };
    ended.await;
    assert!(start.elapsed() <= Duration::from_secs(12), "{:?}", start.elapsed());
}

/// A full house: the oldest goes at once, is told why, and who said hello is never the one.
#[tokio::test(start_paused = true)]
async fn s30_the_oldest_without_hello_makes_room() {
    let gateway = gateway();
    let slots = slots(&gateway, 8);
    let mut signed_in = hello(&gateway, &slots, &["operator.read"]).await;
    let mut crowd = vec![];
    for n in 0..20 {
        crowd.push(open(&gateway, &slots, remote(n)).await);
    }
    let start = tokio::time::Instant::now();
    let told = next(&mut crowd[0]).await.unwrap_err();
    assert!(told.is_some_and(|(code, why)| code == 1008 && why.contains("gateway.limits.maxUnauthenticated")));
    let _own = hello(&gateway, &slots, &["operator.read"]).await;
    signed_in.send(request("1", "health", json!({}))).await.unwrap();
    answer(&mut signed_in, "1").await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// A try that is held and whose connection goes gives up its turn (D40).
#[tokio::test(start_paused = true)]
async fn f56_a_client_that_hangs_up_gives_up_its_turn() {
    let gateway = gateway();
    let slots = slots(&gateway, 400);
    let guess = connect("operator", &[], "guess", None).to_string();
    for _ in 0..openclaw_server::limits::AUTH_FAILURES {
        let mut client = open(&gateway, &slots, local()).await;
        client.send(Message::text(guess.clone())).await.unwrap();
        assert_eq!(next(&mut client).await.unwrap()["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    let mut gone = vec![];
    for _ in 0..30 {
        let mut client = open(&gateway, &slots, local()).await;
        client.send(Message::text(guess.clone())).await.unwrap();
        // More than one frame, so that the gateway has to read on to see the end.
        client.send(request("x", "health", json!({}))).await.unwrap();
        gone.push(client);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(gone);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = tokio::time::Instant::now();
    let mut last = open(&gateway, &slots, local()).await;
    // The token of these gateways could be guessed, so that it waits for its turn, too.
    last.send(Message::text(connect("operator", &[], TOKEN, None).to_string())).await.unwrap();
    assert_eq!(next(&mut last).await.unwrap()["ok"], true);
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
}
