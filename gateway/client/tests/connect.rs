//! Getting connected, and every way of not getting connected, on real sockets.

mod support;

use std::time::Duration;

use openclaw_client::{Client, ConnectError};
use serde_json::json;
use support::{Peer, options, os_platform, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn says_hello_and_closes_when_dropped() {
    let platform = os_platform();
    let (told, mut seen) = tokio::sync::mpsc::channel(2);
    let url = serve(&platform, move |_, io| {
        let told = told.clone();
        async move {
            let (mut peer, params) = Peer::hello(io, 30_000).await;
            told.send(json!(params)).await.unwrap();
            told.send(json!(peer.until_close().await)).await.unwrap();
        }
    })
    .await;
    let client = Client::connect(&platform, options(&url)).await.unwrap();
    assert_eq!(client.hello()["server"]["connId"], "c1");
    let params = seen.recv().await.unwrap();
    assert_eq!((&params["minProtocol"], &params["auth"]["token"]), (&json!(3), &json!("t0")));
    drop(client);
    assert_eq!(seen.recv().await.unwrap(), json!([1000, ""]));
}

#[tokio::test]
async fn signs_the_challenge() {
    let platform = os_platform();
    let (told, mut seen) = tokio::sync::mpsc::channel(1);
    let url = serve(&platform, move |_, io| {
        let told = told.clone();
        async move {
            let (_peer, params) = Peer::hello(io, 30_000).await;
            told.send(params).await.unwrap();
        }
    })
    .await;
    let mut options = options(&url);
    options.device = Some(std::sync::Arc::new(openclaw_client::DeviceKey::from_seed([3; 32])));
    Client::connect(&platform, options).await.unwrap();
    let device = seen.recv().await.unwrap()["device"].take();
    assert_eq!((&device["nonce"], &device["signedAt"]), (&json!("nonce-1"), &json!(1_700_000_000_000_u64)));
}

#[tokio::test]
async fn nobody_there_says_where_and_what_to_do() {
    let error = Client::connect(&os_platform(), options("ws://127.0.0.1:1")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("ws://127.0.0.1:1") && text.contains("openclaw gateway"), "{text}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_bad_url_is_not_tried_again() {
    for url in ["http://127.0.0.1:1", "nonsense", "ws://127.0.0.1:1/?token=hush"] {
        let error = Client::connect(&os_platform(), options(url)).await.unwrap_err();
        assert!(matches!(error, ConnectError::BadUrl { .. }) && !error.is_retryable(), "{error:?}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn a_web_server_is_not_a_gateway() {
    let platform = os_platform();
    let url = serve(&platform, |_, mut io| async move {
        let mut head = [0; 512];
        let _ = io.read(&mut head).await;
        let _ = io.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let error = Client::connect(&platform, options(&url)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotGateway { status: Some(404), .. }), "{error:?}");

    let url = serve(&platform, |_, mut io| async move {
        let _ = io.write_all(b"220 mail.example ESMTP\r\n").await;
        let _ = io.read(&mut [0; 512]).await;
    })
    .await;
    let error = Client::connect(&platform, options(&url)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotGateway { status: None, .. }), "{error:?}");
}

/// A full gateway is not taken for something else.
#[tokio::test]
async fn s30_who_is_hung_up_on_hears_of_the_limit() {
    let platform = os_platform();
    for reads in [true, false] {
        let url = serve(&platform, move |_, mut io| async move {
            if reads {
                let _ = io.read(&mut [0; 4096]).await;
            }
        })
        .await;
        let error = Client::connect(&platform, options(&url)).await.unwrap_err();
        assert!(matches!(error, ConnectError::HungUp { .. }) && error.is_retryable(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("gateway.limits.maxUnauthenticated") && !text.contains("not an OpenClaw"), "{text}");
    }
}

#[tokio::test]
async fn another_websocket_server_is_not_a_gateway() {
    let platform = os_platform();
    let silent = serve(&platform, |_, io| async move {
        let mut socket = tokio_tungstenite::accept_async(io).await.unwrap();
        let _ = futures_util::StreamExt::next(&mut socket).await;
    })
    .await;
    let mut patient = options(&silent);
    patient.connect_timeout = Duration::from_millis(200);
    let error = Client::connect(&platform, patient).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotGateway { .. }), "{error:?}");
    assert!(error.to_string().contains("connect.challenge"), "{error}");

    let chatty = serve(&platform, |_, io| async move {
        let mut peer = Peer(tokio_tungstenite::accept_async(io).await.unwrap());
        peer.send(json!({ "welcome": "to something else" })).await;
        peer.until_close().await;
    })
    .await;
    let error = Client::connect(&platform, options(&chatty)).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotGateway { .. }), "{error:?}");
}

#[tokio::test]
async fn silence_after_connect_is_a_timeout_that_says_where() {
    let platform = os_platform();
    let url = serve(&platform, |_, io| async move {
        let mut peer = Peer::challenge(io).await;
        while peer.request().await.is_some() {}
    })
    .await;
    let mut patient = options(&url);
    patient.connect_timeout = Duration::from_millis(200);
    let error = Client::connect(&platform, patient).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { phase: "waiting for hello-ok", .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_keeps_code_details_and_close_code() {
    let platform = os_platform();
    let url = serve(&platform, |_, io| async move {
        let mut peer = Peer::challenge(io).await;
        let connect = peer.request().await.unwrap();
        let message = "unauthorized: gateway token mismatch (check the token)";
        let details = json!({ "code": "AUTH_TOKEN_MISMATCH" });
        peer.refuse(&connect["id"], json!({ "code": "INVALID_REQUEST", "message": message, "details": details })).await;
        peer.close(1008, "unauthorized").await;
    })
    .await;
    let error = Client::connect(&platform, options(&url)).await.unwrap_err();
    let ConnectError::Rejected { error: reason, close_code: Some(1008), .. } = &error else { panic!("{error:?}") };
    assert_eq!(reason.code, "INVALID_REQUEST");
    assert_eq!(reason.details.as_ref().unwrap()["code"], "AUTH_TOKEN_MISMATCH");
    assert!(!error.is_retryable(), "F15");
    assert!(!error.to_string().contains("t0"), "{error}");
}

#[tokio::test]
async fn versions_that_do_not_meet() {
    let platform = os_platform();
    let url = serve(&platform, |_, io| async move {
        let mut peer = Peer::challenge(io).await;
        let connect = peer.request().await.unwrap();
        let details = json!({ "expectedProtocol": 4 });
        let error = json!({ "code": "INVALID_REQUEST", "message": "protocol mismatch", "details": details });
        peer.refuse(&connect["id"], error).await;
        peer.close(1002, "protocol mismatch").await;
    })
    .await;
    let error = Client::connect(&platform, options(&url)).await.unwrap_err();
    assert!(matches!(error, ConnectError::ProtocolMismatch { expected: Some(4), min: 3, max: 3, .. }), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn d05_a_close_without_a_response_is_told() {
    let platform = os_platform();
    let url = serve(&platform, |_, io| async move {
        let mut peer = Peer::challenge(io).await;
        let _ = peer.request().await;
        peer.close(1008, "invalid request frame").await;
    })
    .await;
    let error = Client::connect(&platform, options(&url)).await.unwrap_err();
    let ConnectError::Closed { closed, .. } = error else { panic!("{error:?}") };
    assert_eq!((closed.code, closed.reason.as_str()), (1008, "invalid request frame"));
}

#[tokio::test]
async fn tls_to_a_plain_port_says_so() {
    let platform = os_platform();
    let url = serve(&platform, |_, mut io| async move {
        let _ = io.read(&mut [0; 512]).await;
        let _ = io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let error = Client::connect(&platform, options(&url.replace("ws://", "wss://"))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
}

/// A certificate that is asked for and that ws:// cannot show: nothing is sent, nobody is asked (D38).
#[tokio::test]
async fn d38_a_pinned_certificate_is_never_done_without() {
    let platform = os_platform();
    let pin = openclaw_platform::tls::Fingerprint::of(b"some certificate");
    let mut options = options("ws://127.0.0.1:1");
    options.pin = Some(std::sync::Arc::new(move || Ok(pin)));
    let error = Client::connect(&platform, options.clone()).await.unwrap_err();
    assert!(error.to_string().contains("use wss://") && !error.is_retryable(), "{error}");
    let url = serve(&platform, |_, mut io| async move {
        let _ = io.read(&mut [0; 512]).await;
    })
    .await;
    options.url = url.replace("ws://", "wss://");
    options.pin = Some(std::sync::Arc::new(|| Err("cannot read cert.pem".to_owned())));
    let error = Client::connect(&platform, options).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotVouched { .. }) && error.to_string().contains("cert.pem"), "{error}");
}
