//! What clients have to show, as the manual says it (section D).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use serde_json::{Value, json};
use tests::{Gateway, RawClient, TOKEN, connect};

/// The answer to a connect with this `auth`, and the close code that followed when it was refused.
async fn sign_in(gateway: &Gateway, auth: Value) -> (Value, Option<u16>) {
    let mut client = RawClient::open(gateway.port).await;
    let mut request = connect(TOKEN, &["operator.admin"]);
    request["params"]["auth"] = auth;
    if request["params"]["auth"].is_null() {
        request["params"].as_object_mut().unwrap().remove("auth");
    }
    client.send(&request).await;
    let answer = client.next().await.unwrap();
    let closed = if answer["ok"] == true { None } else { Some(client.rest().await.1.0) };
    (answer, closed)
}

fn is_hello(answer: &(Value, Option<u16>)) -> bool {
    answer.0["ok"] == true && answer.0["payload"]["type"] == "hello-ok"
}

#[tokio::test]
async fn row_047_048_051_a_token_is_needed_and_the_configured_one_is_right() {
    let gateway = Gateway::start(json!({ "gateway": { "auth": { "token": TOKEN } } }), &[]).await;
    let without = sign_in(&gateway, Value::Null).await;
    assert!(without.0["ok"] == false && without.1 == Some(1008), "{without:?}");
    let wrong = sign_in(&gateway, json!({ "token": "another-0123456789abcdef" })).await;
    assert!(wrong.0["error"]["details"]["code"] == "AUTH_TOKEN_MISMATCH" && wrong.1 == Some(1008), "{wrong:?}");
    let right = sign_in(&gateway, json!({ "token": TOKEN })).await;
    assert!(is_hello(&right), "{right:?}");
}

#[tokio::test]
async fn row_049_the_token_may_come_from_the_environment() {
    let env = [("OPENCLAW_GATEWAY_TOKEN", "from-the-environment-0123456789")];
    let gateway = Gateway::start(json!({ "gateway": { "auth": {} } }), &env).await;
    let right = sign_in(&gateway, json!({ "token": env[0].1 })).await;
    assert!(is_hello(&right), "{right:?}");
    let wrong = sign_in(&gateway, json!({ "token": TOKEN })).await;
    assert!(wrong.0["ok"] == false && wrong.1 == Some(1008), "{wrong:?}");
}

#[tokio::test]
async fn row_050_052_a_password_signs_in_and_a_wrong_one_does_not() {
    let auth = json!({ "mode": "password", "password": "long enough a word" });
    let gateway = Gateway::start(json!({ "gateway": { "auth": auth } }), &[]).await;
    let right = sign_in(&gateway, json!({ "password": "long enough a word" })).await;
    assert!(is_hello(&right), "{right:?}");
    let wrong = sign_in(&gateway, json!({ "password": "another word" })).await;
    assert!(wrong.0["error"]["details"]["code"] == "AUTH_PASSWORD_MISMATCH" && wrong.1 == Some(1008), "{wrong:?}");
}
