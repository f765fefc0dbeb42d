//! TLS on the gateway's port, and clients that know its certificate (D36, D38, S12, S30).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use openclaw_client::{Client, ConnectOptions, Pin};
use openclaw_platform::tls::{
    Fingerprint,
    server::{Identity, TlsServer, fingerprint_of},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Gateway, TOKEN, free_port_block, home, openclaw, os_platform};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

async fn gateway(more: Value) -> Gateway {
    let mut config = json!({ "gateway": { "tls": { "enabled": true } } });
    for (key, value) in more.as_object().unwrap() {
        config["gateway"][key] = value.clone();
    }
    Gateway::start(config, &[]).await
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A certificate of somebody else and its key, in PEM.
fn another() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// What a client without TLS is told.
async fn plain(port: u16, said: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn health(gateway: &Gateway, pin: Fingerprint) -> Value {
    let pin: Pin = Arc::new(move || Ok(pin));
    let options = ConnectOptions {
        token: Some(TOKEN.to_owned()),
        scopes: vec!["operator.admin".to_owned()],
        pin: Some(pin),
        ..ConnectOptions::new(format!("wss://127.0.0.1:{}", gateway.port))
    };
    let client = Client::connect(&os_platform(), options).await.unwrap();
    client.call("health", json!({ "probe": true }), PATIENCE).await.unwrap()
}

#[tokio::test]
async fn the_port_speaks_tls_and_clients_know_its_certificate() {
    let gateway = gateway(json!({})).await;
    let tls = gateway.state().join("gateway/tls");
    for file in ["gateway-cert.pem", "gateway-key.pem"] {
        assert_eq!(fs::metadata(tls.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    until("it says where", async || gateway.output().contains("listening on wss://")).await;
    // This profile knows it from the file.
    for args in [&["health"][..], &["gateway", "call", "health"], &["gateway", "probe"], &["status"]] {
        let own = openclaw(gateway.home.path(), &[("OPENCLAW_GATEWAY_PORT", &gateway.port.to_string())], args).await;
        assert_eq!(own.code, 0, "{args:?}: {own:?}");
    }
    let printed = openclaw(gateway.home.path(), &[], &["gateway", "fingerprint"]).await;
    let fingerprint = printed.out.trim().to_owned();
    assert_eq!(fingerprint.parse(), Ok(gateway.fingerprint().unwrap()), "{printed:?}");
    let doctor = openclaw(gateway.home.path(), &[], &["doctor"]).await;
    assert!(doctor.out.contains(&fingerprint) && doctor.out.contains("it accepts requests"), "{doctor:?}");
    // Elsewhere it has to be told.
    let elsewhere = TempDir::new().unwrap();
    let url = gateway.url();
    let ask = async |url: &str, more: &[&str]| {
        openclaw(elsewhere.path(), &[], &[&["health", "--url", url, "--token", TOKEN], more].concat()).await
    };
    let bare = fingerprint.trim_start_matches("sha256:").replace(':', "").to_lowercase();
    for form in [fingerprint.as_str(), &bare, fingerprint.trim_start_matches("sha256:")] {
        let pinned = ask(&url, &["--tls-fingerprint", form]).await;
        assert_eq!(pinned.code, 0, "{form}: {pinned:?}");
    }
    let unknown = ask(&url, &[]).await;
    assert!(unknown.code == 1 && unknown.err.contains("--tls-fingerprint"), "{unknown:?}");
    let usage = ask(&url, &["--tls-fingerprint", "sha1:00"]).await;
    assert!(usage.code == 2 && usage.err.contains("64 hexadecimal digits"), "{usage:?}");
    let plain_url = url.replace("wss://", "ws://");
    let plaintext = ask(&plain_url, &[]).await;
    assert!(plaintext.code == 1 && plaintext.err.contains("use wss://"), "{plaintext:?}");
    let refused = ask(&plain_url, &["--tls-fingerprint", &fingerprint]).await;
    assert!(refused.code == 1 && refused.err.contains("a certificate is expected"), "{refused:?}");
    // Who speaks no TLS is told at once.
    for said in ["GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "\r\n", "{\"type\":\"req\"}"] {
        let begun = Instant::now();
        let answer = plain(gateway.port, said).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("This port speaks TLS"), "{said:?}: {answer}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{said:?}");
    }
}

/// A server with another certificate is known before anything is said to it.
#[tokio::test]
async fn s17_no_token_is_sent_before_the_certificate_is_known() {
    let (certificate, key) = another();
    let server = TlsServer::new(Identity::from_pem(certificate.as_bytes(), key.as_bytes(), None).unwrap());
    let found = server.fingerprint().to_string();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("wss://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (heard, came) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, connections) = (heard.clone(), came.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            if let Ok(mut io) = server.accept(Box::new(stream)).await {
                let mut said = [0; 1024];
                counted.fetch_add(io.read(&mut said).await.unwrap_or(0), Ordering::SeqCst);
            }
        }
    });
    let elsewhere = TempDir::new().unwrap();
    let expected = "sha256:".to_owned() + &"AB:".repeat(32);
    let expected = expected.trim_end_matches(':');
    let args = ["health", "--url", &url, "--token", TOKEN, "--tls-fingerprint", expected];
    let ran = openclaw(elsewhere.path(), &[], &args).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in [expected, &found, "nothing was sent", "openclaw gateway fingerprint"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    let remote = json!({ "url": url, "token": TOKEN, "tlsFingerprint": expected });
    let there = home(json!({ "gateway": { "mode": "remote", "remote": remote } }));
    let ran = openclaw(there.path(), &[], &["health"]).await;
    assert!(ran.code == 1 && ran.err.contains(&found), "{ran:?}");
    // The own certificate of a profile is as good a pin.
    let own = gateway(json!({})).await;
    let ran = openclaw(own.home.path(), &[], &["health", "--url", &url]).await;
    assert!(ran.code == 1 && ran.err.contains(&own.fingerprint().unwrap().to_string()), "{ran:?}");
    assert_eq!((came.load(Ordering::SeqCst), heard.load(Ordering::SeqCst)), (3, 0));
}

/// `gateway.remote` is all that a machine elsewhere needs, for commands and for a node.
#[tokio::test]
async fn the_configuration_elsewhere_names_address_token_and_certificate() {
    let gateway = gateway(json!({})).await;
    let fingerprint = gateway.fingerprint().unwrap().to_string();
    let remote = json!({ "url": gateway.url(), "token": TOKEN, "tlsFingerprint": fingerprint });
    let there = home(json!({ "gateway": { "mode": "remote", "remote": remote } }));
    let node = |home: &Path, args: &[&str]| {
        tokio::process::Command::new(tests::binary("openclaw"))
            .args([&["node", "run"], args].concat())
            .env_clear()
            .env("HOME", home)
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let connects = async |mut node: tokio::process::Child| {
        let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap_or_default();
        assert!(line.starts_with("connected to wss://"), "{line}");
        node.kill().await.unwrap();
    };
    let ran = openclaw(there.path(), &[], &["status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    connects(node(there.path(), &[])).await;
    let (elsewhere, port) = (TempDir::new().unwrap(), gateway.port.to_string());
    let token = elsewhere.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let args = ["--host", "127.0.0.1", "--port", &port, "--tls", "--tls-fingerprint", &fingerprint, "--token-file"];
    connects(node(elsewhere.path(), &[&args[..], &[token.to_str().unwrap()]].concat())).await;
}

/// New files are taken over for new connections; broken ones change nothing, and everybody hears of them.
#[tokio::test]
async fn a_renewed_certificate_is_taken_over_while_the_gateway_runs() {
    let config = json!({ "gateway": { "tls": { "enabled": true } }, "commands": { "restart": true } });
    let gateway = Gateway::start(config, &[]).await;
    let tls = gateway.state().join("gateway/tls");
    let (certificate, key) = (tls.join("gateway-cert.pem"), tls.join("gateway-key.pem"));
    let old = gateway.fingerprint().unwrap();
    let client = gateway.client(&os_platform()).await.unwrap();
    let put = |path: &Path, text: &str| {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, path).unwrap();
    };
    let shown = async || {
        let pin = fingerprint_of(&fs::read(&certificate).unwrap()).unwrap();
        let pin: Pin = Arc::new(move || Ok(pin));
        let options =
            ConnectOptions { token: Some(TOKEN.to_owned()), pin: Some(pin), ..ConnectOptions::new(gateway.url()) };
        Client::connect(&os_platform(), options).await.is_ok()
    };
    let (new_certificate, new_key) = another();
    put(&key, &new_key);
    let is_told = async || health(&gateway, old).await["problems"].to_string().contains("is not the key of");
    until("a pair that does not fit is told", is_told).await;
    assert_eq!(health(&gateway, old).await["ok"], true, "the old certificate stays in force");
    put(&certificate, &new_certificate);
    until("the new one is shown", async || shown().await).await;
    let new = gateway.fingerprint().unwrap();
    assert_ne!(new, old);
    assert!(!health(&gateway, new).await["problems"].to_string().contains("tls.notTakenOver"));
    client.call("health", json!({}), PATIENCE).await.unwrap();
    put(&certificate, "nothing");
    let is_told = async || health(&gateway, new).await["problems"].to_string().contains("gateway-cert.pem");
    until("a broken file is told", is_told).await;
    // A restart for another reason finds the broken file and goes on with what it has.
    gateway.signal(Signal::USR1);
    until("it restarts", async || gateway.output().matches("ready after").count() == 2).await;
    assert!(
        gateway.output().contains("the certificate of before stays in force: gateway.tls.certPath"),
        "{}",
        gateway.output()
    );
    let health = health(&gateway, new).await;
    assert!(health["configProblem"].is_null(), "{health}");
}

/// TLS that cannot be served ends the start; the port is never opened without it (D36).
#[tokio::test]
async fn d36_tls_that_cannot_be_served_ends_the_start() {
    let (certificate, key) = another();
    let start = async |tls: Value, files: &[(&str, &str)]| {
        let (home, port) = (home(json!({ "gateway": { "tls": tls } })), free_port_block());
        for (name, text) in files {
            fs::write(home.path().join(name), text).unwrap();
        }
        let ran = openclaw(home.path(), &[], &["gateway", "--port", &port.to_string()]).await;
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "nobody listens");
        assert_eq!(ran.code, 78, "{ran:?}");
        ran.err
    };
    let named = json!({ "enabled": true, "certPath": "~/c.pem", "keyPath": "~/k.pem", "autoGenerate": false });
    let told = start(named.clone(), &[]).await;
    assert!(told.contains("c.pem is not there"), "{told}");
    let told = start(named.clone(), &[("c.pem", &certificate)]).await;
    assert!(told.contains("k.pem is not there"), "{told}");
    let told = start(named.clone(), &[("c.pem", "broken"), ("k.pem", &key)]).await;
    assert!(told.contains("gateway.tls.certPath"), "{told}");
    let told = start(named.clone(), &[("c.pem", &certificate), ("k.pem", &another().1)]).await;
    assert!(told.contains("is not the key of"), "{told}");
    let told = start(json!({ "enbled": true }), &[]).await;
    assert!(told.contains("gateway.tls.enbled"), "{told}");
}

/// An edit that asks for what cannot be served changes nothing; one that can be served restarts in the process.
#[tokio::test]
async fn d36_an_edit_turns_tls_on_or_is_refused_as_a_whole() {
    let gateway = Gateway::start(json!({ "gateway": { "reload": { "debounceMs": 50 } } }), &[]).await;
    let write = |tls: Value| {
        let config = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN }, "reload": { "debounceMs": 50 }, "tls": tls } });
        fs::write(gateway.state().join("openclaw.json"), config.to_string()).unwrap();
    };
    write(json!({ "enabled": true, "autoGenerate": false }));
    let is_told = async || gateway.output().contains("gateway-cert.pem is not there");
    until("it is told", is_told).await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let health = client.call("health", json!({}), PATIENCE).await.unwrap();
    assert!(health["configProblem"].to_string().contains("gateway.tls.certPath"), "{health}");
    // The edit waits for its files, and for nothing else.
    let (certificate, key) = another();
    let tls = gateway.state().join("gateway/tls");
    fs::create_dir_all(&tls).unwrap();
    fs::write(tls.join("gateway-key.pem"), key).unwrap();
    fs::write(tls.join("gateway-cert.pem"), certificate).unwrap();
    until("it speaks TLS", async || gateway.client(&os_platform()).await.is_ok() && gateway.fingerprint().is_some())
        .await;
    assert!(plain(gateway.port, "GET / HTTP/1.1\r\n\r\n").await.contains("This port speaks TLS"));
}

/// A handshake that does not come to its end has the one deadline of all who have not signed in, and one place (S12, S30).
#[tokio::test]
async fn s12_s30_a_tls_handshake_counts_into_the_limits_of_strangers() {
    let limits = json!({ "handshakeTimeoutMs": 1500, "maxUnauthenticatedPerAddress": 4, "maxUnauthenticated": 8 });
    let gateway = gateway(json!({ "limits": limits })).await;
    let open = async |said: &[u8]| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.port)).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream
    };
    // Nothing, half a record, a record that never ends.
    for said in [&b""[..], &[0x16], &[0x16, 3, 1, 0x40, 0, 1]] {
        let begun = Instant::now();
        let mut stream = open(said).await;
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 64])).await.unwrap();
        assert!(matches!(ended, Ok(_) | Err(_)) && begun.elapsed() >= Duration::from_millis(1300), "{said:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{said:?}");
    }
    // Many of them shut nobody out, and the oldest make room.
    let mut silent = vec![];
    for _ in 0..12 {
        silent.push(open(&[0x16]).await);
    }
    let begun = Instant::now();
    gateway.client(&os_platform()).await.unwrap();
    let mut first = silent.remove(0);
    let _ = tokio::time::timeout(PATIENCE, first.read(&mut [0; 64])).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1400), "at once, not at the deadline: {:?}", begun.elapsed());
}
