//! The gateway from elsewhere: through tunnels, on the addresses that it was told, through Tailscale (manual, sections C, D, E;
//! D8, D22).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_client::{DeviceKey, device_block};
use openclaw_protocol::device::Signed;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Gateway, RawClient, TOKEN, connect, free_port_block, home, openclaw};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The near end of `ssh -L LOCAL:127.0.0.1:PORT`: connections to it go on to that port of this machine. Gives where it is.
async fn tunnel(to: u16, local: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    port
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Rows 56 and 58: through a tunnel with the token, and not without, whatever this machine's own files and variables say.
#[tokio::test]
async fn row_056_058_a_tunnel_works_and_the_token_is_still_needed() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let (port, elsewhere) = (tunnel(gateway.port, 0).await, TempDir::new().unwrap());
    let url = format!("ws://127.0.0.1:{port}");
    let through = async |home: &Path, env: &[(&str, &str)], more: &[&str]| {
        openclaw(home, env, &[&["gateway", "health", "--url", &url], more].concat()).await
    };
    let with = through(elsewhere.path(), &[], &["--token", TOKEN]).await;
    assert!(with.code == 0 && with.out.contains("OK"), "{with:?}");
    let without = through(elsewhere.path(), &[], &[]).await;
    assert!(without.code == 1 && without.err.contains("--token"), "{without:?}");
    let wrong = through(elsewhere.path(), &[], &["--token", "another-0123456789abcdef"]).await;
    assert!(wrong.code == 1 && wrong.err.contains("unauthorized"), "{wrong:?}");
    // The gateway's own machine: the token in its file is not for whoever listens at the near end.
    let own = through(gateway.home.path(), &[], &[]).await;
    assert!(own.code == 1 && own.err.contains("no credential was sent"), "{own:?}");
    // The environment says both the address and the token of that gateway.
    let env = [("OPENCLAW_GATEWAY_URL", url.as_str()), ("OPENCLAW_GATEWAY_TOKEN", TOKEN)];
    let told = openclaw(elsewhere.path(), &env, &["gateway", "health"]).await;
    assert_eq!(told.code, 0, "{told:?}");
}

/// Row 57: clients use the default port through the tunnel; and the configuration may say all of it, once.
#[tokio::test]
async fn row_057_the_configuration_names_the_gateway_at_the_far_end() {
    let gateway = Gateway::start(json!({}), &[]).await;
    // Somebody may work with a gateway of his own here: then another port stands for it.
    let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, 18789)).await.is_ok();
    let port = tunnel(gateway.port, if is_free { 18789 } else { 0 }).await;
    let url = format!("ws://127.0.0.1:{port}");
    let typed = openclaw(TempDir::new().unwrap().path(), &[], &["health", "--url", &url, "--token", TOKEN]).await;
    assert_eq!(typed.code, 0, "{typed:?}");
    let remote =
        |token: Value| home(json!({ "gateway": { "mode": "remote", "remote": { "url": url, "token": token } } }));
    let there = remote(json!(TOKEN));
    for args in
        [&["health"][..], &["status"], &["gateway", "call", "health"], &["gateway", "probe"], &["nodes", "list"]]
    {
        let ran = openclaw(there.path(), &[], args).await;
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    }
    let without = openclaw(remote(Value::Null).path(), &[], &["health"]).await;
    assert!(without.code == 1 && without.err.contains("refused the connection"), "{without:?}");
    let start = openclaw(there.path(), &[], &["gateway"]).await;
    assert!(start.code == 78 && start.err.contains("gateway.remote.url"), "{start:?}");
}

/// Row 138: a chat in a browser, through the tunnel, needs the token as well.
#[tokio::test]
async fn row_138_a_chat_through_the_tunnel_needs_the_token() {
    let gateway = Gateway::start(json!({ "agents": { "defaults": { "model": "builtin/echo" } } }), &[]).await;
    let port = tunnel(gateway.port, 0).await;
    let chat = |token: &str| {
        let mut request = connect(token, &["operator.admin"]);
        request["params"]["client"]["id"] = json!("webchat");
        request["params"]["client"]["mode"] = json!("webchat");
        request
    };
    for token in ["", "another-0123456789abcdef"] {
        let mut client = RawClient::open(port).await;
        client.send(&chat(token)).await;
        let answer = client.next().await.unwrap();
        let code = answer["error"]["details"]["code"].as_str().unwrap();
        // Without a secret a device would have to be known.
        assert!(["DEVICE_IDENTITY_REQUIRED", "AUTH_TOKEN_MISMATCH"].contains(&code), "{answer}");
        assert_eq!(client.rest().await.1.0, 1008);
    }
    let mut client = RawClient::open(port).await;
    client.send(&chat(TOKEN)).await;
    assert_eq!(client.next().await.unwrap()["ok"], true);
    let params = json!({ "sessionKey": "main", "message": "through", "idempotencyKey": "k1" });
    client.send(&json!({ "type": "req", "id": "1", "method": "chat.send", "params": params })).await;
    client.until(|f| f["event"] == "chat" && f["payload"]["state"] == "final").await;
    client
        .send(&json!({ "type": "req", "id": "2", "method": "chat.history", "params": { "sessionKey": "main" } }))
        .await;
    let history = client.until(|f| f["id"] == "2").await.1;
    assert!(history["payload"]["messages"].to_string().contains("through"), "{history}");
}

/// The addresses on which this machine takes connections to `port`.
fn listening(port: u16) -> BTreeSet<IpAddr> {
    let table = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let lines = table("/proc/net/tcp") + &table("/proc/net/tcp6");
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (ip, found) = fields.get(1)?.split_once(':')?;
        let is_it = fields.get(3) == Some(&"0A") && u16::from_str_radix(found, 16).ok() == Some(port);
        let word = |n: usize| u32::from_str_radix(&ip[n * 8..n * 8 + 8], 16).unwrap().to_ne_bytes();
        let v6 = || {
            let mut bytes = [0; 16];
            (0..4).for_each(|n| bytes[n * 4..n * 4 + 4].copy_from_slice(&word(n)));
            IpAddr::from(bytes)
        };
        is_it.then(|| if ip.len() == 8 { IpAddr::from(word(0)) } else { v6() })
    };
    lines.lines().filter_map(of).collect()
}

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Row 33, and that the modes open what they say and nothing more (D22).
#[tokio::test]
async fn row_033_d22_the_port_is_open_on_exactly_the_addresses_that_were_asked_for() {
    let has_v6 = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let loopback: BTreeSet<IpAddr> = LOOPBACK.into_iter().filter(|ip| ip.is_ipv4() || has_v6).collect();
    let only = |ip: &str| BTreeSet::from([ip.parse().unwrap()]);
    let custom = json!({ "gateway": { "customBindHost": "127.0.0.5", "bind": "custom" } });
    for (config, args, expected) in [
        (json!({}), &[][..], loopback.clone()),
        (json!({ "gateway": { "bind": "auto" } }), &[], loopback.clone()),
        (json!({ "gateway": { "bind": "lan" } }), &[], only("0.0.0.0")),
        (json!({}), &["--bind", "lan"], only("0.0.0.0")),
        (custom.clone(), &["--bind", "loopback"], loopback),
    ] {
        let gateway = Gateway::start_with(config.clone(), &[], args).await;
        assert_eq!(listening(gateway.port), expected, "{config} {args:?}");
    }
    // Nobody else answers there, so the harness cannot ask it.
    let (home, port) = (home(custom), free_port_block());
    let mut child = tokio::process::Command::new(tests::binary("openclaw"))
        .args(["gateway", "--port", &port.to_string()])
        .env_clear()
        .env("HOME", home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("it listens", async || !listening(port).is_empty()).await;
    assert_eq!(listening(port), only("127.0.0.5"));
    child.kill().await.unwrap();
}

/// True where Tailscale is up: then `tailnet` is an address like any other.
fn has_tailnet_address() -> bool {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let local = socket.connect((Ipv4Addr::new(100, 100, 100, 100), 53)).and_then(|()| socket.local_addr());
    local.is_ok_and(
        |addr| matches!(addr.ip(), IpAddr::V4(ip) if ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1])),
    )
}

/// An address that cannot be had is an error with a code that says whose, never another address (D22, D31).
#[tokio::test]
async fn d22_what_cannot_be_listened_on_ends_the_start_and_opens_nothing() {
    let start = async |gateway: Value| {
        let (home, port) = (home(json!({ "gateway": gateway })), free_port_block());
        let ran = openclaw(home.path(), &[], &["gateway", "--port", &port.to_string()]).await;
        assert!(listening(port).is_empty());
        (ran.code, ran.err)
    };
    let (code, told) = start(json!({ "bind": "custom", "customBindHost": "192.0.2.1" })).await;
    assert!(code == 1 && told.contains("192.0.2.1"), "{code:?} {told}");
    let (code, told) = start(json!({ "bind": "custom" })).await;
    assert!(code == 78 && told.contains("customBindHost"), "{code:?} {told}");
    if !has_tailnet_address() {
        let (code, told) = start(json!({ "bind": "tailnet" })).await;
        assert!(code == 78 && told.contains("no tailnet address"), "{code:?} {told}");
    }
    let (code, told) = start(json!({ "bind": "mars" })).await;
    assert!(code == 78 && told.contains("gateway.bind"), "{code:?} {told}");
}

/// A directory with a `tailscale` that writes down what it was told, and what it answers.
fn fake_tailscale(script: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let program = dir.path().join("tailscale");
    let log = dir.path().join("asked");
    fs::write(&program, format!("#!/bin/sh\necho \"$@\" >>{}\n{script}\n", log.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn asked(fake: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(fake.path().join("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// PATH with that program first.
fn first(fake: &TempDir) -> String {
    format!("{}:{}", fake.path().display(), std::env::var("PATH").unwrap())
}

async fn health(gateway: &Gateway) -> Value {
    let (mut client, _) = RawClient::hello(gateway.port, TOKEN, &["operator.admin"]).await;
    client.send(&json!({ "type": "req", "id": "1", "method": "health", "params": { "probe": true } })).await;
    client.until(|f| f["id"] == "1").await.1["payload"].clone()
}

#[tokio::test]
async fn the_port_is_published_through_tailscale_and_taken_back() {
    let fake = fake_tailscale("exit 0");
    let tailscale = json!({ "gateway": { "tailscale": { "mode": "serve", "resetOnExit": true } } });
    let mut gateway = Gateway::start(tailscale, &[("PATH", &first(&fake))]).await;
    let serve = format!("serve --bg --yes {}", gateway.port);
    until("it is published", async || asked(&fake) == [serve.as_str()]).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(PATIENCE).await.code(), Some(0));
    assert_eq!(asked(&fake), [serve.as_str(), "serve reset"]);
    // By flags, behind a password; and what was not asked for is not taken back.
    let fake = fake_tailscale("exit 0");
    let password = json!({ "gateway": { "auth": { "mode": "password", "password": "long enough a word" } } });
    let args = ["--tailscale", "funnel"];
    let mut gateway = Gateway::start_with(password, &[("PATH", &first(&fake))], &args).await;
    let funnel = format!("funnel --bg --yes {}", gateway.port);
    until("it is published", async || asked(&fake) == [funnel.as_str()]).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(PATIENCE).await.code(), Some(0));
    assert_eq!(asked(&fake), [funnel.as_str()]);
}

#[tokio::test]
async fn a_tailscale_that_fails_is_told_and_the_gateway_goes_on() {
    let fake = fake_tailscale("echo 'Serve is not enabled on your tailnet' >&2; exit 1");
    let serve = ["--tailscale", "serve", "--tailscale-reset-on-exit"];
    let mut gateway = Gateway::start_with(json!({}), &[("PATH", &first(&fake))], &serve).await;
    let is_told = async || health(&gateway).await["problems"].to_string().contains("Serve is not enabled");
    until("it is told", is_told).await;
    assert_eq!(health(&gateway).await["ok"], true);
    let shown = openclaw(gateway.home.path(), &[], &["health", "--url", &gateway.url(), "--token", TOKEN]).await;
    assert!(shown.code == 0 && shown.out.contains("Serve is not enabled"), "{shown:?}");
    until("the log says it", async || gateway.output().contains("not published with `tailscale serve`")).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn what_tailscale_cannot_publish_safely_is_refused_at_the_start() {
    let fake = fake_tailscale("exit 0");
    let path = first(&fake);
    let start = async |gateway: Value, args: &[&str]| {
        let (home, port) = (home(json!({ "gateway": gateway })), free_port_block());
        let port = port.to_string();
        let args = [&["gateway", "--port", &port], args].concat();
        let ran = openclaw(home.path(), &[("PATH", &path)], &args).await;
        assert_eq!(ran.code, 78, "{ran:?}");
        ran.err
    };
    let told = start(json!({ "bind": "lan" }), &["--tailscale", "serve"]).await;
    assert!(told.contains("expected gateway.bind \"loopback\""), "{told}");
    let told = start(json!({ "bind": "lan", "tailscale": { "mode": "funnel" } }), &[]).await;
    assert!(told.contains("gateway.bind"), "{told}");
    let told = start(json!({ "tailscale": { "mode": "funnel" } }), &[]).await;
    assert!(told.contains("gateway.auth.mode \"password\""), "{told}");
    assert!(asked(&fake).is_empty());
}

/// What Tailscale Serve adds to a request of the tailnet address `ip`, in the name of `login`.
async fn through_serve(port: u16, ip: &str, login: &str, key: u8, token: &str) -> Value {
    let mut request = format!("ws://127.0.0.1:{port}/").into_client_request().unwrap();
    let headers = [
        ("host", "box.tail1.ts.net"),
        ("x-forwarded-for", ip),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "box.tail1.ts.net"),
        ("tailscale-user-login", login),
    ];
    for (name, value) in headers {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let challenge: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    let mut connect = connect(token, &["operator.read"]);
    let claims = Signed {
        device_id: "",
        client_id: "test",
        client_mode: "test",
        role: "operator",
        scopes: &["operator.read".to_owned()],
        token,
        signed_at: challenge["payload"]["ts"].as_u64().unwrap(),
        nonce: challenge["payload"]["nonce"].as_str(),
    };
    connect["params"]["device"] = device_block(&DeviceKey::from_seed([key; 32]), &claims);
    if token.is_empty() {
        connect["params"].as_object_mut().unwrap().remove("auth");
    }
    socket.send(Message::text(connect.to_string())).await.unwrap();
    serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap()
}

/// Row 53: the identity that Serve names stands for the secret when `tailscale whois` confirms it; the device is let in by a person.
#[tokio::test]
async fn row_053_a_tailscale_identity_replaces_the_secret_when_whois_confirms_it() {
    let fake = fake_tailscale(
        r#"case "$1 $3" in
  "whois 100.64.0.5") echo '{"UserProfile":{"LoginName":"alice@example.com"}}';;
  "whois "*) exit 1;;
  status*) echo '{"Self":{"DNSName":"box.tail1.ts.net."}}';;
esac"#,
    );
    let serve = json!({ "gateway": { "tailscale": { "mode": "serve" } } });
    let gateway = Gateway::start(serve, &[("PATH", &first(&fake))]).await;
    let port = gateway.port;
    let code = |answer: &Value| answer["error"]["details"]["code"].as_str().unwrap_or_default().to_owned();
    let confirmed = through_serve(port, "100.64.0.5", "Alice@example.com", 1, "").await;
    assert_eq!(code(&confirmed), "PAIRING_REQUIRED", "{confirmed}");
    let request = confirmed["error"]["details"]["requestId"].as_str().unwrap().to_owned();
    let url = gateway.url();
    let approve = ["devices", "approve", &request, "--url", &url, "--token", TOKEN];
    let let_in = openclaw(gateway.home.path(), &[], &approve).await;
    assert_eq!(let_in.code, 0, "{let_in:?}");
    let accepted = through_serve(port, "100.64.0.5", "alice@example.com", 1, "").await;
    assert_eq!((&accepted["ok"], &accepted["payload"]["type"]), (&json!(true), &json!("hello-ok")), "{accepted}");
    for (ip, login) in [("100.64.0.5", "mallory@example.com"), ("100.64.0.6", "alice@example.com")] {
        let refused = through_serve(port, ip, login, 1, "").await;
        assert_eq!(code(&refused), "AUTH_TOKEN_MISSING", "{ip} {login}: {refused}");
    }
    assert!(asked(&fake).contains(&"whois --json 100.64.0.5".to_owned()), "{:?}", asked(&fake));
    // Without Serve the same headers mean nothing.
    let plain = Gateway::start(json!({}), &[("PATH", &first(&fake))]).await;
    let refused = through_serve(plain.port, "100.64.0.5", "alice@example.com", 1, "").await;
    assert_eq!(code(&refused), "AUTH_TOKEN_MISSING", "{refused}");
}
