//! Input that wants to be read in two ways, or to lead somewhere else, sent to the built program.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::time::Duration;

use openclaw_client::CallError;
use serde_json::{Value, json};
use tests::{Gateway, http, os_platform};

const SECONDS: Duration = Duration::from_mins(1);

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

/// The state directory lies in the open, as OPENCLAW_STATE_DIR may put it: nothing of it goes out but its media.
#[tokio::test(flavor = "multi_thread")]
async fn s29_state_configuration_and_home_are_never_sent_as_media() {
    let telegram = tests::Fake::start("telegram");
    let place = tempfile::tempdir().unwrap();
    let state = place.path().join("state");
    std::fs::create_dir_all(state.join("media/inbound")).unwrap();
    let config = json!({
        "gateway": { "mode": "local", "auth": { "token": tests::TOKEN } },
        "channels": { "telegram": {
            "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "allowlist", "allowFrom": [42],
        } },
    });
    std::fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    let gateway = Gateway::start(json!({}), &[("OPENCLAW_STATE_DIR", state.to_str().unwrap())]).await;
    let (home, work) = (gateway.home.path(), gateway.state().join("workspace"));
    std::fs::write(home.join("id_rsa"), b"x").unwrap();
    std::fs::write(work.join("photo.png"), b"x").unwrap();
    std::fs::write(state.join("media/inbound/m.png"), b"x").unwrap();
    // Hard links need one file system; where the two places have different ones there is nothing to try.
    let is_linked = std::fs::hard_link(state.join("openclaw.json"), work.join("hard.png")).is_ok();
    std::fs::hard_link(home.join("id_rsa"), work.join("key.png")).unwrap();
    std::os::unix::fs::symlink(&state, work.join("dir")).unwrap();
    let client = gateway.client(&os_platform()).await.unwrap();
    let send = async |media: std::path::PathBuf| {
        let params = json!({"to": "42", "message": "m", "channel": "telegram", "mediaUrl": media,
            "idempotencyKey": media});
        client.call("send", params, SECONDS).await
    };
    for good in [work.join("photo.png"), state.join("media/inbound/m.png")] {
        assert!(send(good.clone()).await.is_ok(), "{}", good.display());
    }
    let mut bad: Vec<_> =
        ["openclaw.json", "gateway.redb", "logs/gateway.log", "gateway.lock", "workspace/../openclaw.json"]
            .map(|name| state.join(name))
            .into();
    bad.extend([
        home.join("id_rsa"),
        work.join("key.png"),
        work.join("dir/openclaw.json"),
        work.join("../openclaw.json"),
    ]);
    bad.extend(is_linked.then(|| work.join("hard.png")));
    for file in bad {
        assert_eq!(reason(send(file.clone()).await), "MEDIA_FILE", "{}", file.display());
    }
}

#[tokio::test]
async fn s16_media_leads_neither_out_of_the_roots_nor_into_this_network() {
    let telegram = tests::Fake::start("telegram");
    let config = json!({ "channels": { "telegram": {
        "botToken": "111111:TESTTOKEN", "apiRoot": telegram.url, "dmPolicy": "allowlist", "allowFrom": [42],
    } } });
    let gateway = Gateway::start(config, &[]).await;
    let work = gateway.state().join("workspace");
    std::fs::write(work.join("photo.png"), b"x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", work.join("link.png")).unwrap();
    let client = gateway.client(&os_platform()).await.unwrap();
    let send = async |n: usize, media: &str| {
        let params = json!({"to": "42", "message": "m", "channel": "telegram", "mediaUrl": media,
            "idempotencyKey": format!("k{n}")});
        client.call("send", params, SECONDS).await
    };
    assert!(send(0, work.join("photo.png").to_str().unwrap()).await.is_ok());
    let inside = format!("https://127.0.0.1:{}/healthz", gateway.port);
    let cases = [
        ("/etc/passwd", "MEDIA_FILE"),
        ("file:///etc/passwd", "MEDIA_FILE"),
        ("file://host/share/x.png", "MEDIA_FILE"),
        ("\\\\host\\share\\x.png", "MEDIA_FILE"),
        ("~/.openclaw/workspace/link.png", "MEDIA_FILE"),
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
