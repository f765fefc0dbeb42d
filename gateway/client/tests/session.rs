//! Reconnecting, on an in-memory transport with paused time.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // helpers; reading virtual time

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use openclaw_client::{ConnectError, Session, SessionEvent, Stopped};
use serde_json::json;
use support::{Peer, memory_platform, options, serve};

async fn expect_connected(session: &mut Session) {
    let event = session.next().await;
    assert!(matches!(event, Some(SessionEvent::Connected(_))), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn f02_numbering_starts_anew_after_a_reconnect() {
    let platform = memory_platform();
    let url = serve(&platform, |number, io| async move {
        let (mut peer, _) = Peer::hello(io, 30_000).await;
        for seq in 1..=3 {
            peer.event("tick", json!({ "connection": number }), Some(seq)).await;
        }
        if number == 0 {
            peer.close(1012, "service restart").await;
        }
        peer.until_close().await;
    })
    .await;
    let mut session = Session::new(&platform, options(&url));
    for connection in 0..2 {
        expect_connected(&mut session).await;
        for seq in 1..=3 {
            let Some(SessionEvent::Event(event)) = session.next().await else { panic!("a false gap") };
            assert_eq!((event.seq, &event.payload["connection"]), (Some(seq), &json!(connection)));
        }
        if connection == 0 {
            let Some(SessionEvent::Disconnected { closed, .. }) = session.next().await else { panic!() };
            assert_eq!(closed.code, 1012);
            assert!(session.client().is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f15_bad_credentials_are_tried_once() {
    let platform = memory_platform();
    let attempts = Arc::new(AtomicUsize::new(0));
    let seen = attempts.clone();
    let url = serve(&platform, move |number, io| {
        seen.store(number + 1, Ordering::SeqCst);
        async move {
            let mut peer = Peer::challenge(io).await;
            let connect = peer.request().await.unwrap();
            let message = "unauthorized: gateway token mismatch";
            peer.refuse(&connect["id"], json!({ "code": "INVALID_REQUEST", "message": message })).await;
            peer.close(1008, "unauthorized").await;
        }
    })
    .await;
    let mut session = Session::new(&platform, options(&url));
    let event = session.next().await;
    let stopped = matches!(event, Some(SessionEvent::Stopped(Stopped::Refused(ConnectError::Rejected { .. }))));
    assert!(stopped, "{event:?}");
    assert!(session.next().await.is_none());
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn f15_failures_back_off_and_a_retryable_refusal_is_retried() {
    let platform = memory_platform();
    let mut session = Session::new(&platform, options("ws://127.0.0.1:9"));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let Some(SessionEvent::Failed { error: ConnectError::Refused { .. }, retry_in }) = session.next().await else {
            panic!()
        };
        waits.push(retry_in);
    }
    assert!(waits[0] <= Duration::from_millis(313), "{waits:?}");
    assert!(waits.iter().all(|w| *w >= Duration::from_millis(250) && *w <= Duration::from_secs(30)), "{waits:?}");
    assert!(waits[11] >= Duration::from_secs(20), "{waits:?}");

    let url = serve(&platform, |number, io| async move {
        if number > 0 {
            Peer::hello(io, 30_000).await.0.until_close().await;
            return;
        }
        let mut peer = Peer::challenge(io).await;
        let connect = peer.request().await.unwrap();
        let error = json!({ "code": "UNAVAILABLE", "message": "starting", "retryable": true, "retryAfterMs": 4000 });
        peer.refuse(&connect["id"], error).await;
        peer.close(1013, "").await;
    })
    .await;
    let mut session = Session::new(&platform, options(&url));
    let Some(SessionEvent::Failed { retry_in, .. }) = session.next().await else { panic!() };
    assert!((3000..=5000).contains(&retry_in.as_millis()), "{retry_in:?}");
    expect_connected(&mut session).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_awaited_for_about_as_long_as_it_was_announced() {
    let platform = memory_platform();
    let url = serve(&platform, |_, io| async move {
        let (mut peer, _) = Peer::hello(io, 30_000).await;
        peer.event("shutdown", json!({ "reason": "gateway restarting", "restartExpectedMs": 8000 }), Some(1)).await;
        peer.close(1012, "service restart").await;
    })
    .await;
    let mut session = Session::new(&platform, options(&url));
    expect_connected(&mut session).await;
    assert!(matches!(session.next().await, Some(SessionEvent::Event(_))));
    let Some(SessionEvent::Disconnected { retry_in, .. }) = session.next().await else { panic!() };
    assert!((6000..=10_000).contains(&retry_in.as_millis()), "{retry_in:?}");
    let started = tokio::time::Instant::now();
    expect_connected(&mut session).await;
    assert!(started.elapsed().abs_diff(retry_in) < Duration::from_millis(10), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn f15_only_a_stable_connection_resets_the_wait() {
    let platform = memory_platform();
    let url = serve(&platform, |number, io| async move {
        let (mut peer, _) = Peer::hello(io, 30_000).await;
        if number == 6 {
            tokio::time::sleep(Duration::from_secs(31)).await;
        }
        peer.close(1008, "slow consumer").await;
    })
    .await;
    let mut session = Session::new(&platform, options(&url));
    let mut waits = Vec::new();
    for _ in 0..7 {
        expect_connected(&mut session).await;
        let Some(SessionEvent::Disconnected { retry_in, .. }) = session.next().await else { panic!() };
        waits.push(retry_in);
    }
    assert!(waits[5] >= Duration::from_secs(6), "{waits:?}");
    assert!(waits[6] <= Duration::from_millis(313), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn d18_a_replaced_session_does_not_fight_back() {
    let platform = memory_platform();
    let url = serve(&platform, |_, io| async move {
        Peer::hello(io, 30_000).await.0.close(1008, "replaced").await;
    })
    .await;
    let mut session = Session::new(&platform, options(&url));
    expect_connected(&mut session).await;
    let event = session.next().await;
    assert!(matches!(event, Some(SessionEvent::Stopped(Stopped::Replaced(_)))), "{event:?}");
    assert!(session.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_goes_on_where_it_was() {
    let platform = memory_platform();
    let mut session = Session::new(&platform, options("ws://127.0.0.1:9"));
    let Some(SessionEvent::Failed { retry_in, .. }) = session.next().await else { panic!() };
    let started = tokio::time::Instant::now();
    let short = Duration::from_millis(20);
    while tokio::time::timeout(short, session.next()).await.is_err() {
        assert!(started.elapsed() < retry_in * 2, "the wait starts over each time");
    }
    assert!(started.elapsed() + short * 2 >= retry_in);
}
