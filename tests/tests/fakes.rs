//! The fakes run as programs on a real port: `cargo run -p fakes -- model --port 0`.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use openclaw_platform::http::{Body, HttpClient};
use serde_json::Value;
use tests::{Fake, os_platform};

async fn get(url: String) -> Value {
    let request = http::Request::get(url).body(Body::default()).unwrap();
    let client = HttpClient::new(&os_platform());
    let answer = client.fetch(request, Duration::from_secs(5), 1 << 20).await.unwrap();
    serde_json::from_slice(answer.body()).unwrap()
}

#[tokio::test]
async fn the_model_server_lists_its_model() {
    let fake = Fake::start("model");
    let models = get(format!("{}/v1/models", fake.url)).await;
    assert_eq!(models["data"][0]["id"], "mock-1");
}

#[tokio::test]
async fn the_bot_api_answers_for_any_token() {
    let fake = Fake::start("telegram");
    let me = get(format!("{}/bot123456:token/getMe", fake.url)).await;
    assert_eq!(me["ok"], true, "{me}");
    assert_eq!(me["result"]["is_bot"], true, "{me}");
}
