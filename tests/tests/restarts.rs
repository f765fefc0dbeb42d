//! What a restart must not change, and what a second gateway must not do.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{Fake, Gateway, RawClient, TOKEN, binary, http_json};

fn with_model(model: &Fake) -> Value {
    json!({
        "agents": { "defaults": { "model": "fake/m1" } },
        "models": { "providers": { "fake": { "baseUrl": format!("{}/v1", model.url), "models": [{ "id": "m1" }] } } },
    })
}

async fn call(client: &mut RawClient, id: &str, method: &str, params: Value) -> Value {
    client.send(&json!({ "type": "req", "id": id, "method": method, "params": params })).await;
    client.until(|f| f["type"] == "res" && f["id"] == id).await.1
}

/// Same key, same answer, one effect, also across a restart (F16); other parameters under it are refused (D19).
#[tokio::test]
async fn f16_a_key_is_remembered_across_a_restart() {
    let model = Fake::start("model");
    let mut gateway = Gateway::start(with_model(&model), &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let params = json!({ "message": "[[say:once]]", "sessionKey": "s", "idempotencyKey": "k" });
    call(&mut client, "a", "agent", params.clone()).await;
    let (_, done) = client.until(|f| f["id"] == "a").await;
    assert_eq!(done["payload"]["result"]["payloads"][0]["text"], "once");
    gateway.signal(Signal::TERM);
    gateway.wait(Duration::from_mins(1)).await;
    gateway.restart().await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let again = call(&mut client, "b", "agent", params).await;
    assert_eq!(again["payload"], done["payload"]);
    let other = json!({ "message": "[[say:twice]]", "sessionKey": "s", "idempotencyKey": "k" });
    let other = call(&mut client, "c", "agent", other).await;
    assert_eq!(other["error"]["details"]["code"], "IDEMPOTENCY_MISMATCH", "{other}");
    let history = call(&mut client, "h", "chat.history", json!({ "sessionKey": "s" })).await;
    assert_eq!(history["payload"]["messages"].as_array().unwrap().len(), 2, "the transcript is there, once");
    assert_eq!(http_json("GET", &format!("{}/_count", model.url), None).await["count"], 1);
}

/// One run per session at a time, in order of arrival; another session does not wait (F17).
#[tokio::test]
async fn f17_runs_of_a_session_queue_in_order() {
    let model = Fake::start("model");
    let gateway = Gateway::start(with_model(&model), &[]).await;
    let (mut watch, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    for n in 0..4 {
        let params =
            json!({ "message": format!("[[slow:3:40]] {n}"), "sessionKey": "s", "idempotencyKey": format!("k{n}") });
        call(&mut client, &format!("a{n}"), "chat.send", params).await;
    }
    let params = json!({ "message": "[[say:other]]", "sessionKey": "other", "idempotencyKey": "o" });
    call(&mut client, "o", "chat.send", params).await;
    let mut order = Vec::new();
    while order.len() < 10 {
        let (_, event) = watch.until(|f| f["event"] == "agent" && f["payload"]["stream"] == "lifecycle").await;
        let p = &event["payload"];
        order.push(format!("{} {}", p["runId"].as_str().unwrap(), p["data"]["phase"].as_str().unwrap()));
    }
    let mine: Vec<&String> = order.iter().filter(|o| !o.starts_with('o')).collect();
    assert_eq!(mine, ["k0 start", "k0 end", "k1 start", "k1 end", "k2 start", "k2 end", "k3 start", "k3 end"]);
    let other = order.iter().position(|o| o == "o end").unwrap();
    assert!(other < order.iter().position(|o| o == "k3 end").unwrap(), "{order:?}");
    let history = call(&mut client, "h", "chat.history", json!({ "sessionKey": "s" })).await;
    let roles: Vec<&str> =
        history["payload"]["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant"].repeat(4), "no turn is interleaved with another");
}

/// A second gateway on the same state is refused at once and told who is first; the first one goes on (F22).
#[tokio::test]
async fn f22_a_second_gateway_on_one_state_is_refused() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    let second = Command::new(binary("openclaw"))
        .args(["gateway", "--port", "1"])
        .env_clear()
        .env("HOME", gateway.home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(75), "{said}");
    assert!(said.contains(&format!("pid {}", gateway.pid())), "{said}");
    assert!(gateway.is_running());
    RawClient::hello(gateway.port, TOKEN, &[]).await;
}

/// A broken configuration stops a start with every problem and its place, and its own exit code (F19, D31).
#[tokio::test]
async fn f19_a_broken_configuration_is_explained() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join(".openclaw");
    std::fs::create_dir(&dir).unwrap();
    let start = |text: &str| {
        std::fs::write(dir.join("openclaw.json"), text).unwrap();
        let run =
            Command::new(binary("openclaw")).arg("gateway").env_clear().env("HOME", home.path()).output().unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (code, said) = start("{ gateway: { mode: 'local',\n  port: 5 port: 6 } }");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("openclaw.json") && said.contains('2'), "file and line: {said}");
    let (code, said) =
        start("{ gateway: { mode: 'local', port: 0, bind: 'mars', auth: { tokn: 't' } }, telegram: {} }");
    assert_eq!(code, Some(78), "{said}");
    for place in ["gateway.port", "gateway.bind", "gateway.auth.tokn", "telegram: this key has moved"] {
        assert!(said.contains(place), "{place}: {said}");
    }
    // What is only left out is told where a start fails for the want of it (D36).
    let (code, said) = start("{ gateway: { mode: 'lokal', prot: 5, auth: { token: 't' } } }");
    assert_eq!(code, Some(78), "{said}");
    for place in ["gateway.mode: expected", "lokal", "gateway.prot: unknown key"] {
        assert!(said.contains(place), "{place}: {said}");
    }
    let (code, said) = start("{ gateway: { mode: 'local' } }");
    assert_eq!(code, Some(78), "no credential at all: {said}");
    assert!(said.contains("gateway.auth.token") && said.contains("OPENCLAW_GATEWAY_TOKEN"), "{said}");
}

/// A slow reader loses itself, nobody else: memory stays bounded, others are served (F03).
#[tokio::test]
async fn f03_a_reader_that_stops_is_cut_off_and_disturbs_nobody() {
    let config = json!({ "gateway": { "limits": { "maxBufferedBytes": 400_000 } } });
    let gateway = Gateway::start(config, &[]).await;
    let (mut reads, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let session = json!({ "key": "agent:main:main", "label": "a" });
    assert_eq!(call(&mut reads, "p", "sessions.patch", session).await["ok"], true);
    let (mut stopped, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    // More than the kernel keeps for a reader on any machine, in few events: whoever is cut off has 30 s for the close frame,
    // and it has to be read within them however slow the machine is.
    for n in 0..40 {
        let params = json!({ "sessionKey": "agent:main:main", "message": "x".repeat(480_000) });
        assert_eq!(call(&mut reads, &format!("r{n}"), "chat.inject", params).await["ok"], true);
    }
    let (_, ended) = stopped.rest().await;
    assert_eq!(ended, (1008, "slow consumer".into()));
}
