//! The operator's manual, rows 33, 34, 42 to 46 and 83 to 95: which port, and the ports derived from it. The listeners of the browser
//! control and of the canvas are tested where they are.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use serde_json::{Value, json};
use tests::{Home, TOKEN, free_port_block};

fn with(gateway: Value) -> Home {
    let home = Home::new();
    let mut config = json!({"gateway": {"mode": "local", "auth": {"token": TOKEN}}});
    for (key, value) in gateway.as_object().unwrap() {
        config["gateway"][key] = value.clone();
    }
    home.write(".openclaw/openclaw.json", &config.to_string());
    home
}

/// `gateway` of `gateway status --json`, which ends with 1 where no gateway runs (D4).
fn reported(home: &Home, args: &[&str], env: &[(&str, &str)]) -> Value {
    let ran = home.run(&[args, &["gateway", "status", "--no-probe", "--json"]].concat(), env);
    ran.json()["gateway"].clone()
}

#[test]
fn row_034_the_default_port_is_18789() {
    let gateway = reported(&Home::new(), &[], &[]);
    assert_eq!((&gateway["port"], &gateway["portSource"]), (&json!(18789), &json!("default")));
}

#[tokio::test]
async fn row_044_the_flag_beats_the_environment() {
    let (home, port) = (with(json!({})), free_port_block());
    let env = [("OPENCLAW_GATEWAY_PORT", (port + 1).to_string())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let gateway = home.gateway(&["gateway", "--port", &port.to_string()], &env).await;
    assert!(gateway.out().contains(&format!("on port {port} (flag)")), "{}", gateway.out());
}

#[tokio::test]
async fn row_045_the_environment_beats_the_file() {
    let port = free_port_block();
    let home = with(json!({"port": port + 1}));
    let text = port.to_string();
    let gateway = home.gateway(&["gateway"], &[("OPENCLAW_GATEWAY_PORT", &text)]).await;
    assert!(gateway.out().contains(&format!("on port {port} (env)")), "{}", gateway.out());
}

#[tokio::test]
async fn row_046_the_file_beats_the_default() {
    let port = free_port_block();
    let gateway = with(json!({"port": port})).gateway_kept().await;
    assert!(gateway.1.out().contains(&format!("on port {port} (config)")), "{}", gateway.1.out());
}

/// A home that lives as long as its gateway.
trait Kept {
    async fn gateway_kept(self) -> (Home, tests::Running);
}

impl Kept for Home {
    async fn gateway_kept(self) -> (Home, tests::Running) {
        let running = self.gateway(&["gateway"], &[]).await;
        (self, running)
    }
}

#[test]
fn row_042_043_no_canvas_port_where_the_canvas_is_off() {
    let home = Home::new();
    home.write(".openclaw/openclaw.json", "{canvasHost: {enabled: false}}");
    let ports = reported(&home, &[], &[])["ports"].clone();
    assert_eq!((&ports["canvas"], &ports["canvasSource"]), (&Value::Null, &json!("off")));
    let ports = reported(&Home::new(), &[], &[("OPENCLAW_SKIP_CANVAS_HOST", "1")])["ports"].clone();
    assert_eq!((&ports["canvas"], &ports["canvasSource"]), (&Value::Null, &json!("off")));
}

#[test]
fn row_083_084_085_the_development_profile_has_19001_19003_and_19005() {
    let gateway = reported(&Home::new(), &["--dev"], &[]);
    assert_eq!(gateway["port"], 19001);
    assert_eq!((&gateway["ports"]["browserControl"], &gateway["ports"]["canvas"]), (&json!(19003), &json!(19005)));
}

#[tokio::test]
async fn row_088_the_flag_beats_the_development_port() {
    let (home, port) = (Home::new(), free_port_block());
    let gateway = home.gateway(&["--dev", "gateway", "--port", &port.to_string()], &[]).await;
    assert!(gateway.out().contains(&format!("on port {port} (flag)")), "{}", gateway.out());
}

#[test]
fn row_089_095_the_canvas_port_of_the_file_beats_the_derived_one() {
    let home = Home::new();
    home.write(".openclaw-dev/openclaw.json", "{canvasHost: {port: 21390}}");
    let ports = reported(&home, &["--dev"], &[])["ports"].clone();
    assert_eq!((&ports["canvas"], &ports["canvasSource"]), (&json!(21390), &json!("config")));
}

#[test]
fn row_094_the_environment_names_the_canvas_port() {
    let home = Home::new();
    home.write(".openclaw/openclaw.json", "{canvasHost: {port: 21391}}");
    let ports = reported(&home, &[], &[("OPENCLAW_CANVAS_HOST_PORT", "21390")])["ports"].clone();
    assert_eq!((&ports["canvas"], &ports["canvasSource"]), (&json!(21390), &json!("env")));
    let wrong = home.run(&["gateway", "status", "--json"], &[("OPENCLAW_CANVAS_HOST_PORT", "many")]);
    assert!(wrong.code == 78 && wrong.err.contains("OPENCLAW_CANVAS_HOST_PORT"), "{wrong:?}");
}

#[test]
fn row_090_091_093_096_derived_ports_follow_the_base() {
    let expected = json!({"gateway": 21310, "browserControl": 21312, "cdp": {"from": 21321, "to": 21420},
        "canvas": 21314, "canvasSource": "derived"});
    assert_eq!(reported(&with(json!({"port": 21310})), &[], &[])["ports"], expected);
    assert_eq!(reported(&Home::new(), &[], &[("OPENCLAW_GATEWAY_PORT", "21310")])["ports"], expected);
}
