//! Input that wants to be read in two ways, or to lead somewhere else, sent to the built program.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::time::Duration;

use openclaw_client::CallError;
use serde_json::{Value, json};
use tests::{Gateway, http, os_platform};

const SECONDS: Duration = Duration::from_secs(20);

fn reason(result: Result<Value, CallError>) -> String {
    match result {
        Err(CallError::Gateway(e)) => {
            e.details.as_ref().and_then(|d| d["code"].as_str()).unwrap_or(&e.message).to_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn s08_a_path_with_two_readings_is_refused_on_http_and_websocket_alike() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let base = format!("http://127.0.0.1:{}", gateway.port);
    assert_eq!(http("GET", &format!("{base}/healthz"), &[], None).await.0, 200);
    let upgrade =
        [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")];
    for path in ["/%2568ealthz", "/healthz%2f..", "/x/%2e%2e/healthz", "/%zz", "/%00", "/a%5cb", "/../healthz"] {
        for headers in [&[][..], &upgrade[..]] {
            let (status, body) = http("GET", &format!("{base}{path}"), headers, None).await;
            assert_eq!((status, body.contains("BAD_PATH")), (400, true), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn s11_what_is_no_session_key_reaches_nothing() {
    let gateway = Gateway::start(json!({ "agents": { "defaults": { "model": "builtin/echo" } } }), &[]).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    for key in ["../../etc/passwd", "agent:..:x", "a/b", "a\\b", "agent:main:", "a\u{0}b"] {
        for (method, params) in [
            ("chat.send", json!({"sessionKey": key, "message": "hi", "idempotencyKey": "k"})),
            ("chat.history", json!({"sessionKey": key})),
            ("sessions.patch", json!({"key": key, "label": "x"})),
            ("sessions.delete", json!({"key": key})),
        ] {
            assert_eq!(reason(client.call(method, params, SECONDS).await), "BAD_SESSION_KEY", "{method} {key:?}");
        }
    }
}

#[tokio::test]
async fn s16_media_leads_neither_out_of_the_roots_nor_into_this_network() {
    let telegram = tests::Fake::start("telegram");
    let config = json!({ "channels": { "telegram": {
        "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "allowlist", "allowFrom": [42],
    } } });
    let gateway = Gateway::start(config, &[]).await;
    let home = gateway.home.path();
    std::fs::write(home.join("photo.png"), b"x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", home.join("link.png")).unwrap();
    let client = gateway.client(&os_platform()).await.unwrap();
    let send = async |n: usize, media: &str| {
        let params = json!({"to": "42", "message": "m", "channel": "telegram", "mediaUrl": media,
            "idempotencyKey": format!("k{n}")});
        client.call("send", params, SECONDS).await
    };
    assert!(send(0, home.join("photo.png").to_str().unwrap()).await.is_ok());
    let inside = format!("https://127.0.0.1:{}/healthz", gateway.port);
    let cases = [
        ("/etc/passwd", "MEDIA_FILE"),
        ("file:///etc/passwd", "MEDIA_FILE"),
        ("file://host/share/x.png", "MEDIA_FILE"),
        ("\\\\host\\share\\x.png", "MEDIA_FILE"),
        ("~/link.png", "MEDIA_FILE"),
        ("~/.openclaw/openclaw.json", "MEDIA_FILE"),
        ("http://example.com/a.png", "MEDIA_URL"),
        (&inside, "MEDIA_URL"),
        ("https://127.0.0.1/a.png", "MEDIA_UNREACHABLE"),
        ("https://[::ffff:127.0.0.1]/a.png", "MEDIA_UNREACHABLE"),
        ("https://169.254.169.254/latest/meta-data", "MEDIA_UNREACHABLE"),
        ("https://localhost/a.png", "MEDIA_UNREACHABLE"),
    ];
    for (n, (media, code)) in cases.into_iter().enumerate() {
        assert_eq!(reason(send(n + 1, media).await), code, "{media}");
    }
}
