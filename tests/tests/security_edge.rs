//! The built program at its edge: web pages, proxies, strangers that hold on, secrets on disk and in answers
//! (S02, S03, S12, S13, S14, S17, S18).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use serde_json::{Value, json};
use tests::{Gateway, RawClient, TOKEN, connect};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Sends `head`, reads the head of the answer.
async fn head_of(port: u16, head: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![];
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        if matches!(read.unwrap(), Ok(0) | Err(_)) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `head`, reads what comes until the other side closes or `limit` is over.
async fn raw(port: u16, head: &str, limit: Duration) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![];
    let _ = tokio::time::timeout(limit, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(port: u16, path: &str, headers: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    raw(port, &head, PATIENCE).await
}

/// The status of a WebSocket upgrade with these headers.
async fn upgrade(port: u16, headers: &[(&'static str, String)]) -> u16 {
    let mut request = format!("ws://127.0.0.1:{port}/").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((_, response)) => response.status().as_u16(),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn s02_web_pages_of_others_reach_neither_websocket_nor_http() {
    let config = json!({ "gateway": { "controlUi": { "allowedOrigins": ["https://ui.example"] } } });
    let gateway = Gateway::start(config, &[]).await;
    let port = gateway.port;
    let origin = |o: &str| vec![("origin", o.to_owned())];
    assert_eq!(upgrade(port, &[]).await, 101, "no browser");
    assert_eq!(upgrade(port, &origin("https://ui.example")).await, 101, "on the list");
    assert_eq!(upgrade(port, &origin(&format!("http://127.0.0.1:{port}"))).await, 101, "its own");
    for foreign in ["https://evil.example", "http://localhost:3000", "null"] {
        assert_eq!(upgrade(port, &origin(foreign)).await, 403, "{foreign}");
        let answer = get(port, "/healthz", &format!("Host: 127.0.0.1:{port}\r\nOrigin: {foreign}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    // DNS rebinding: the page's own name points to this machine.
    let rebound = format!("evil.example:{port}");
    assert_eq!(upgrade(port, &[("origin", format!("http://{rebound}")), ("host", rebound.clone())]).await, 403);
    let answer = get(port, "/healthz", &format!("Host: {rebound}\r\nSec-Fetch-Site: same-origin\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(get(port, "/healthz", &format!("Host: {rebound}\r\n")).await.starts_with("HTTP/1.1 200"), "no browser");
}

#[tokio::test]
async fn s02_every_answer_says_what_a_browser_may_do_with_it() {
    let gateway = Gateway::start(json!({}), &[]).await;
    for path in ["/healthz", "/readyz", "/", "/nothing/here", "/%2e%2e/%2e%2e/etc/passwd"] {
        let answer = get(gateway.port, path, "Host: localhost\r\n").await.to_lowercase();
        for wanted in [
            "content-security-policy: ",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
        ] {
            assert!(answer.contains(wanted), "{path}: {wanted}: {answer}");
        }
        assert!(!answer.contains("unsafe-inline") && !answer.contains("access-control-allow"), "{path}");
    }
}

#[tokio::test]
async fn s13_a_header_does_not_make_a_stranger_local() {
    let config = json!({ "gateway": { "trustedProxies": ["127.0.0.0/30"] } });
    let gateway = Gateway::start(config, &[]).await;
    // From 127.0.0.1, a trusted proxy here: what stands at the right counts.
    for (chain, local) in
        [("203.0.113.9", false), ("127.0.0.1, 203.0.113.9", false), ("127.0.0.1", true), ("nonsense", false)]
    {
        let mut request = gateway.url().into_client_request().unwrap();
        request.headers_mut().insert("x-forwarded-for", chain.parse().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let (ws, _) =
            tokio_tungstenite::client_async(request, tokio_tungstenite::MaybeTlsStream::Plain(stream)).await.unwrap();
        let mut client = RawClient::over(ws).await;
        client.send(&connect(TOKEN, &[])).await;
        let answer = client.next().await.unwrap();
        assert_eq!(answer["ok"], local, "{chain}: {answer}");
    }
}

/// A connection from `source`, one of this machine's loopback addresses, that has read its challenge.
async fn open_from(source: [u8; 4], port: u16) -> RawClient {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let url = format!("ws://127.0.0.1:{port}/");
    let (ws, _) = tokio_tungstenite::client_async(url, tokio_tungstenite::MaybeTlsStream::Plain(stream)).await.unwrap();
    RawClient::over(ws).await
}

async fn guess_from(source: [u8; 4], port: u16) -> Value {
    let mut client = open_from(source, port).await;
    client.send(&connect("guess", &[])).await;
    let (frames, ended) = client.rest().await;
    assert_eq!(ended.0, 1008);
    frames[0]["error"].clone()
}

/// A stale program on loopback, from whatever address of it: the right token goes on working, and so does the program's
/// owner; guesses are held back, never for longer than a second (D40).
#[tokio::test]
async fn f56_wrong_tokens_on_loopback_lock_nobody_out() {
    let gateway = Gateway::start(json!({}), &[]).await;
    for n in 0..10 {
        let error = guess_from([127, 0, 0, 1 + n], gateway.port).await;
        assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISMATCH", "{error}");
    }
    let crowd = futures_util::future::join_all((0..60).map(|n| guess_from([127, 0, 1, n], gateway.port)));
    let owner = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for _ in 0..5 {
            RawClient::hello(gateway.port, TOKEN, &[]).await;
        }
    };
    let (answers, ()) = futures_util::future::join(crowd, owner).await;
    let held: Vec<_> = answers.iter().filter(|e| e["details"]["code"] == "AUTH_RATE_LIMITED").collect();
    assert!(held.len() > 40, "{} of 60 were held back", held.len());
    assert!(held.iter().all(|e| e["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0 && ms <= 1000)), "{held:?}");
    RawClient::hello(gateway.port, TOKEN, &[]).await;
    // The command line signs in by the same rules.
    let output = openclaw(&gateway, &["health"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The built command line on the gateway's home and port.
fn openclaw(gateway: &Gateway, args: &[&str]) -> std::process::Output {
    std::process::Command::new(tests::binary("openclaw"))
        .args(args)
        .env_clear()
        .env("HOME", gateway.home.path())
        .env("OPENCLAW_GATEWAY_PORT", gateway.port.to_string())
        .output()
        .unwrap()
}

/// `config set gateway.auth.token`: the new one is in force at once, the old one opens nothing, its sessions end, and the
/// command line, which reads the new one, is not the culprit.
#[tokio::test]
async fn f56_a_rotated_token_is_in_force_at_once() {
    const NEW: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let gateway = Gateway::start(json!({}), &[]).await;
    let (mut old, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let output = openclaw(&gateway, &["config", "set", "gateway.auth.token", NEW]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = openclaw(&gateway, &["health"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(old.rest().await.1, (1008, "credential rotated".to_owned()));
    let mut stale = RawClient::open(gateway.port).await;
    stale.send(&connect(TOKEN, &[])).await;
    assert_eq!(stale.rest().await.0[0]["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    // A file that cannot be used changes nothing, and is told once.
    let file = gateway.state().join("openclaw.json");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "{ broken").unwrap();
    for _ in 0..3 {
        RawClient::hello(gateway.port, NEW, &[]).await;
    }
    let log = gateway.output();
    assert_eq!(log.matches("stays in force").count(), 1, "{log}");
    assert!(!log.contains(NEW), "{log}");
    // Another way to say the same, and another mode.
    std::fs::write(&file, good.replace(NEW, "third-token-0123456789-abcdef")).unwrap();
    RawClient::hello(gateway.port, "third-token-0123456789-abcdef", &[]).await;
    let output = openclaw(&gateway, &["config", "set", "gateway.auth.password", "a password of some length"]);
    assert!(output.status.success());
    let mut by_password = connect("", &[]);
    by_password["params"]["auth"] = json!({ "password": "a password of some length" });
    let mut client = RawClient::open(gateway.port).await;
    client.send(&by_password).await;
    assert_eq!(client.next().await.unwrap()["ok"], true);
}

/// Sends a keep-alive request and reads its answer; false when the connection has ended.
async fn asks_again(stream: &mut TcpStream) -> bool {
    let head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut buf = [0u8; 2048];
    if stream.write_all(head).await.is_err() {
        return false;
    }
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut buf)).await;
    matches!(read, Ok(Ok(n)) if buf[..n].starts_with(b"HTTP/1.1 200"))
}

/// Connections that ask for /healthz again and again and never sign in: they lock nobody out, their address neither, and
/// none of them outlives its deadline.
#[tokio::test]
async fn s30_quiet_connections_shut_nobody_out() {
    let config = json!({ "gateway": { "limits": { "handshakeTimeoutMs": 4000 } } });
    let gateway = Gateway::start(config, &[]).await;
    let mut crowd = vec![];
    for n in 0..520 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1 + n as u8 % 2], 0).into()).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], gateway.port).into()).await.unwrap();
        assert!(asks_again(&mut stream).await, "the newest is served");
        crowd.push(stream);
    }
    RawClient::hello(gateway.port, TOKEN, &[]).await;
    let output = openclaw(&gateway, &["health"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = gateway.output();
    assert_eq!(log.matches("gateway.limits.maxUnauthenticated").count(), 1, "{log}");
    // The newest of them asks on; its one deadline ends it all the same.
    let mut last = crowd.pop().unwrap();
    let asking = async {
        while asks_again(&mut last).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("its deadline ends it");
}

#[tokio::test]
async fn s37_no_proxy_passes_for_a_local_client() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let token_alone = async |headers: &[(&'static str, &str)]| {
        let mut request = gateway.url().into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let (ws, _) =
            tokio_tungstenite::client_async(request, tokio_tungstenite::MaybeTlsStream::Plain(stream)).await.unwrap();
        let mut client = RawClient::over(ws).await;
        client.send(&connect(TOKEN, &[])).await;
        client.next().await.unwrap()["ok"] == true
    };
    assert!(token_alone(&[]).await);
    for (name, value) in [
        ("via", "1.1 proxy"),
        ("cf-connecting-ip", "203.0.113.9"),
        ("true-client-ip", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("fly-client-ip", "203.0.113.9"),
        ("x-client-ip", "203.0.113.9"),
        ("x-original-host", "gateway.example"),
        ("cdn-loop", "cloudflare"),
    ] {
        assert!(!token_alone(&[(name, value)]).await, "{name}");
    }
}

/// Requests that are no HTTP as it should be.
#[tokio::test]
async fn s30_odd_requests_get_a_plain_refusal() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let port = gateway.port;
    for head in [
        "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ] {
        assert!(raw(port, head, PATIENCE).await.starts_with("HTTP/1.1 400"), "{head}");
    }
    for key in ["", "x", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZSB0b28gbG9uZw=="] {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        let answer = head_of(port, &head).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{key:?}: {answer}");
    }
    // Far more than is read: the refusal arrives all the same.
    for size in [40 << 10, 2 << 20] {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "a".repeat(size));
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = vec![];
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{size}: {}", String::from_utf8_lossy(&answer));
    }
}

/// Nothing in the address of a request signs anybody in.
#[tokio::test]
async fn s01_a_query_string_carries_no_credential() {
    let gateway = Gateway::start(json!({}), &[]).await;
    for query in ["token", "auth", "password", "access_token", "gatewayUrl"] {
        let request = format!("{}/?{query}={TOKEN}", gateway.url()).into_client_request().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let stream = tokio_tungstenite::MaybeTlsStream::Plain(stream);
        let (ws, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let mut client = RawClient::over(ws).await;
        client.send(&connect("", &[])).await;
        let answer = client.next().await.unwrap();
        assert_eq!(answer["ok"], false, "{query}: {answer}");
    }
}

/// Somebody at this address is signed in; that opens nothing for the next one.
#[tokio::test]
async fn s07_a_neighbour_at_the_same_address_is_a_stranger() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let (_inside, _) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    // Without a credential, and with a wrong one.
    for (token, code) in [("", "NOT_PAIRED"), ("not the token", "INVALID_REQUEST")] {
        let mut client = RawClient::open(gateway.port).await;
        client.send(&connect(token, &[])).await;
        let (frames, ended) = client.rest().await;
        assert_eq!((frames.len(), &frames[0]["ok"], ended.0), (1, &json!(false), 1008));
        assert_eq!(frames[0]["error"]["code"], code, "{}", frames[0]);
    }
}

#[tokio::test]
async fn s12_heads_and_bodies_without_measure_are_refused() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let port = gateway.port;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "a".repeat(64 << 10));
    assert!(raw(port, &head, PATIENCE).await.starts_with("HTTP/1.1 431"));
    let many = "X-A: b\r\n".repeat(500);
    assert!(get(port, "/healthz", &format!("Host: localhost\r\n{many}")).await.starts_with("HTTP/1.1 431"));
    let head = "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n";
    let answer = raw(port, head, PATIENCE).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("BODY_TOO_LARGE"), "{answer}");
}

/// A refused stranger that does not read is not waited for, and its place is held until it is gone.
#[tokio::test]
async fn s12_strangers_that_neither_speak_nor_read_are_cut_off() {
    let config = json!({ "gateway": { "limits": { "handshakeTimeoutMs": 500, "maxUnauthenticatedPerAddress": 2 } } });
    let gateway = Gateway::start(config, &[]).await;
    // Idle before any request: the place comes back.
    let mut idle = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    let mut byte = [0u8; 1];
    let read = tokio::time::timeout(PATIENCE, idle.read(&mut byte)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "an idle connection is closed: {read:?}");
    // Half a frame, then nothing: closed within the deadline and the short flush.
    let mut half = RawClient::open(gateway.port).await;
    half.send_raw(Message::text("{".to_owned())).await;
    assert_eq!(half.rest().await.1.0, 1008);
}

/// Strangers cannot make the gateway hold much: beyond their own share they draw from one pot.
#[tokio::test]
async fn s12_bytes_before_hello_are_bounded_in_all() {
    let config = json!({ "gateway": { "limits": { "handshakeTimeoutMs": 60_000 } } });
    let gateway = Gateway::start(config, &[]).await;
    // A frame is announced with its length and never finished.
    let frame = {
        let mut head = vec![0x81u8, 0xff];
        head.extend(500_000u64.to_be_bytes());
        head.extend([0; 4]);
        head.resize(head.len() + 490_000, b' ');
        head
    };
    let mut hogs = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buf = [0u8; 1024];
        let n = stream.read(&mut buf).await.unwrap();
        assert!(buf[..n].starts_with(b"HTTP/1.1 101"));
        let frame = frame.clone();
        // It ends when it is cut off, and long before its deadline.
        hogs.spawn(async move {
            let mut rest = vec![];
            let _ = stream.write_all(&frame).await;
            let _ = stream.read_to_end(&mut rest).await;
        });
    }
    // Four of 24 are cut off.
    let four = async {
        for _ in 0..4 {
            hogs.join_next().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(50), four).await.unwrap();
    RawClient::hello(gateway.port, TOKEN, &[]).await;
}

#[tokio::test]
async fn s14_no_credential_no_start() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("openclaw.json"), r#"{"gateway":{"mode":"local","bind":"lan"}}"#).unwrap();
    let output = std::process::Command::new(tests::binary("openclaw"))
        .args(["gateway", "--port", "1"])
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("gateway.auth.token"), "{said}");
}

fn modes(dir: &Path, found: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        found.push((entry.path().display().to_string(), meta.permissions().mode() & 0o777));
        if meta.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

#[tokio::test]
async fn s17_secrets_are_in_no_answer_no_log_no_process_list_and_files_are_private() {
    const BOT: &str = "123456789:AAFakeBotTokenThatIsLongEnough12345678";
    let config = json!({
        "gateway": { "auth": { "token": TOKEN } },
        "models": { "providers": { "p": { "baseUrl": "http://127.0.0.1:9/v1", "apiKey": "sk-provider-key-0123456789", "models": [] } } },
        "hooks": { "token": "hook-token-0123456789" },
        "logging": { "level": "trace" },
    });
    let gateway = Gateway::start(config, &[("TELEGRAM_BOT_TOKEN", BOT), ("OPENCLAW_LOG", "trace")]).await;
    let (mut client, hello) = RawClient::hello(gateway.port, TOKEN, &[]).await;
    let mut seen = hello.to_string();
    for (id, method) in
        ["config.get", "status", "health", "logs.tail", "device.pair.list", "nonsense"].iter().enumerate()
    {
        client.send(&json!({ "type": "req", "id": id.to_string(), "method": method, "params": {} })).await;
        let (_, answer) = client.until(|f| f["id"] == id.to_string().as_str()).await;
        seen.push_str(&answer.to_string());
    }
    let mut wrong = RawClient::open(gateway.port).await;
    wrong.send(&connect("a-guess-of-a-token-0123456789", &[])).await;
    seen.push_str(&json!(wrong.rest().await.0).to_string());
    seen.push_str(&gateway.output());
    seen.push_str(&std::fs::read_to_string(gateway.state().join("logs/gateway.log")).unwrap());
    let process = format!("/proc/{}/cmdline", gateway.pid());
    if let Ok(line) = std::fs::read(process) {
        seen.push_str(&String::from_utf8_lossy(&line));
    }
    for secret in [TOKEN, BOT, "sk-provider-key-0123456789", "hook-token-0123456789", "a-guess-of-a-token-0123456789"] {
        assert!(!seen.contains(secret), "{secret} was shown");
    }
    let mut found = vec![];
    modes(&gateway.state(), &mut found);
    let mine = |path: &str| !path.ends_with("openclaw.json");
    let open: Vec<_> = found.iter().filter(|(path, mode)| mine(path) && mode & 0o077 != 0).collect();
    assert!(open.is_empty() && found.len() > 2, "{open:?}");
}

/// What clients call themselves cannot draw on a terminal nor start a line of its own in the log.
#[tokio::test]
async fn s18_clients_cannot_forge_log_lines() {
    let gateway = Gateway::start(json!({ "logging": { "level": "trace", "consoleLevel": "trace" } }), &[]).await;
    let forged = "x\n2026-01-01T00:00:00Z INFO gateway: forged\u{1b}[2J\u{202e}";
    let mut hello = connect(TOKEN, &[]);
    hello["params"]["client"]["displayName"] = json!(forged);
    hello["params"]["userAgent"] = json!(forged);
    let mut client = RawClient::open(gateway.port).await;
    client.send(&hello).await;
    client.until(|f| f["id"] == "connect").await;
    for (id, method) in [("1", forged), ("2", "health")] {
        client.send(&json!({ "type": "req", "id": id, "method": method })).await;
        client.until(|f| f["id"] == id).await;
    }
    client.send(&json!({ "type": "req", "id": forged, "method": "system-event", "params": { "text": forged } })).await;
    client.until(|f| f["type"] == "res").await;
    let mut refused = RawClient::open(gateway.port).await;
    let mut wrong = connect(forged, &[]);
    wrong["params"]["client"]["displayName"] = json!(forged);
    wrong["params"]["client"][forged] = json!(1);
    refused.send(&wrong).await;
    refused.rest().await;
    let _ = get(gateway.port, "/healthz", "Host: localhost\r\nOrigin: https://evil\u{1b}[2J.example\r\n").await;
    let log = std::fs::read_to_string(gateway.state().join("logs/gateway.log")).unwrap();
    for (what, text) in [("log", log), ("console", gateway.output())] {
        assert!(text.contains("hello"), "{what}: {text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{what} has control characters");
        let forged =
            text.lines().filter(|l| l.starts_with("2026-01-01") || l.trim_start().starts_with("INFO gateway: forged"));
        assert_eq!(forged.count(), 0, "{what}: {text}");
    }
}

/// Tailscale Serve in front, a `tailscale` command that knows alice on PATH.
#[tokio::test]
async fn s13_a_tailscale_identity_counts_only_when_whois_confirms_it() {
    let bin = tempfile::tempdir().unwrap();
    let tool = bin.path().join("tailscale");
    std::fs::write(&tool, "#!/bin/sh\necho '{\"UserProfile\":{\"LoginName\":\"alice@example.com\"}}'\n").unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let config = json!({ "gateway": { "auth": { "token": TOKEN, "allowTailscale": true } } });
    let gateway = Gateway::start(config, &[("PATH", &path)]).await;
    for (login, expected) in [("alice@example.com", "PAIRING_REQUIRED"), ("mallory@example.com", "AUTH_TOKEN_MISSING")]
    {
        let mut request = gateway.url().into_client_request().unwrap();
        for (name, value) in [
            ("host", "box.tail1.ts.net"),
            ("x-forwarded-for", "100.64.0.5"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "box.tail1.ts.net"),
            ("tailscale-user-login", login),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let (ws, _) =
            tokio_tungstenite::client_async(request, tokio_tungstenite::MaybeTlsStream::Plain(stream)).await.unwrap();
        let mut client = RawClient::over(ws).await;
        let mut hello = connect("", &["operator.read"]);
        hello["params"]["device"] = signed_block(client.nonce());
        client.send(&hello).await;
        let answer: Value = client.next().await.unwrap();
        assert_eq!(answer["error"]["details"]["code"], expected, "{login}: {answer}");
    }
}

/// A device block without a token for [`connect`]'s client.
fn signed_block(nonce: &str) -> Value {
    use openclaw_client::{DeviceKey, DeviceSigner as _};
    use openclaw_protocol::device::{PublicKey, Signed, signed_text};
    let key = DeviceKey::from_seed([3; 32]);
    let encode = |bytes: &[u8]| tests::base64url(bytes);
    let public = encode(&key.public_key());
    let id = PublicKey::parse(&public).unwrap().device_id();
    let signed_at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let fields = Signed {
        device_id: &id,
        client_id: "test",
        client_mode: "test",
        role: "operator",
        scopes: &["operator.read".to_owned()],
        signed_at,
        token: "",
        nonce: Some(nonce),
    };
    let signature = encode(&key.sign(signed_text(&fields).as_bytes()));
    json!({ "id": id, "publicKey": public, "signedAt": signed_at, "nonce": nonce, "signature": signature })
}
