//! The browser control service of the built program, and with Chromium real pages (docs/browser.md; rows 84, 90 to 92, 96, 97).

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // outside of the gateway

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use openclaw_client::{CallError, Client};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{Gateway, TOKEN, binary, http, left_out, os_platform};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The addresses of this machine that listen on `port`, as `/proc/net` has them: `0100007F` is 127.0.0.1.
fn listens(port: u16) -> Vec<String> {
    let mut found = vec![];
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (address, at) = columns[1].split_once(':').unwrap();
            if columns[3] == "0A" && u16::from_str_radix(at, 16) == Ok(port) {
                found.push(address.to_owned());
            }
        }
    }
    found
}

const LOOPBACK: &str = "0100007F";

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A request to the control service, with the gateway's token.
async fn ask(port: u16, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let bearer = format!("Bearer {TOKEN}");
    let url = format!("http://127.0.0.1:{}{path}", port + 2);
    let headers = [("Authorization", bearer.as_str())];
    let (status, body) = http(method, &url, &headers, body.map(|body| body.to_string()).as_deref()).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}")))
}

/// The same, and it has to succeed.
async fn done(port: u16, method: &str, path: &str, body: Value) -> Value {
    let (status, answer) = ask(port, method, path, Some(body).filter(|body| !body.is_null())).await;
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

async fn call(client: &Client, params: Value) -> Result<Value, CallError> {
    client.call("browser.request", params, PATIENCE).await
}

#[tokio::test]
async fn row_090_091_092_the_control_is_two_above_the_base_and_on_loopback_alone() {
    let gateway = Gateway::start(json!({ "gateway": { "bind": "lan" } }), &[]).await;
    assert_eq!(listens(gateway.port), ["00000000"], "bind is lan");
    assert_eq!(listens(gateway.port + 2), [LOOPBACK]);
    let status = done(gateway.port, "GET", "/", Value::Null).await;
    assert_eq!((&status["controlPort"], &status["listening"]), (&json!(gateway.port + 2), &json!(true)));
}

/// The ports of `--dev` are fixed: where something else has them, this waits for it.
#[tokio::test]
async fn row_084_the_control_of_a_dev_gateway_is_on_19003() {
    let home = tempfile::tempdir().unwrap();
    until("the ports of --dev are free", || listens(19001).is_empty() && listens(19003).is_empty()).await;
    let openclaw = |args: &[&str]| {
        let mut command = Command::new(binary("openclaw"));
        command.args(args).env_clear().env("HOME", home.path()).env("PATH", std::env::var_os("PATH").unwrap());
        command
    };
    let output = fs::File::create(home.path().join("output")).unwrap();
    let started = openclaw(&["--dev", "gateway", "--allow-unconfigured"])
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    let mut child = started.unwrap();
    until("it listens", || !listens(19003).is_empty() || child.try_wait().unwrap().is_some()).await;
    let found = listens(19003);
    let status = openclaw(&["--dev", "browser", "status", "--json"]).output().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait().unwrap();
    assert_eq!(found, [LOOPBACK], "{}", fs::read_to_string(home.path().join("output")).unwrap());
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["controlPort"], &status["listening"]), (&json!(19003), &json!(true)), "{status}");
}

#[tokio::test]
async fn row_096_097_profiles_have_ports_of_the_range_and_keep_them() {
    let mut gateway =
        Gateway::start(json!({ "browser": { "color": "#FF4500", "profiles": { "cfg": {} } } }), &[]).await;
    for name in ["work", "play", "rescue"] {
        let made = done(gateway.port, "POST", "/profiles/create", json!({ "name": name })).await;
        let port = u16::try_from(made["cdpPort"].as_u64().unwrap()).unwrap();
        assert!((gateway.port + 11..=gateway.port + 110).contains(&port), "{made}");
    }
    let before = done(gateway.port, "GET", "/profiles", Value::Null).await;
    assert_eq!(before["profiles"].as_array().unwrap().len(), 5, "{before}");
    assert_eq!(before["cdpPorts"], json!([gateway.port + 11, gateway.port + 110]));
    gateway.signal(Signal::KILL);
    gateway.restart().await;
    assert_eq!(done(gateway.port, "GET", "/profiles", Value::Null).await, before);
    assert!(gateway.output().contains("browser.color"), "a key of other versions is told, and stops nothing");
}

#[tokio::test]
async fn d3_the_control_is_for_who_holds_the_secret_and_for_no_page() {
    let gateway = Gateway::start(json!({}), &[]).await;
    let port = gateway.port + 2;
    let url = format!("http://127.0.0.1:{port}/");
    let bearer = format!("Bearer {TOKEN}");
    let own = ("Authorization", bearer.as_str());
    let with = async |headers: &[(&str, &str)], body: Option<&str>| {
        let (status, body) = http(if body.is_some() { "POST" } else { "GET" }, &url, headers, body).await;
        let code =
            serde_json::from_str::<Value>(&body).unwrap()["error"]["code"].as_str().unwrap_or_default().to_owned();
        (status, code)
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(with(&[own], None).await, is(200, ""));
    assert_eq!(with(&[], None).await, is(401, "AUTH_MISSING"));
    assert_eq!(with(&[("Authorization", "Bearer wrong")], None).await, is(401, "AUTH_MISMATCH"));
    assert_eq!(with(&[("Authorization", "Basic dGVzdA==")], None).await, is(401, "AUTH_MISSING"));
    // Every page that a person has open reaches this port, with the token or without.
    for origin in [
        "https://evil.example",
        "null",
        &format!("http://127.0.0.1:{port}"),
        &format!("http://127.0.0.1:{}", gateway.port),
    ] {
        assert_eq!(with(&[own, ("Origin", origin)], None).await, is(403, "ORIGIN_REFUSED"), "{origin}");
    }
    assert_eq!(with(&[own, ("Sec-Fetch-Site", "same-origin")], None).await, is(403, "ORIGIN_REFUSED"));
    assert_eq!(with(&[own, ("Host", "evil.example")], None).await, is(400, "BAD_HOST"), "two names");
    assert_eq!(with(&[own, ("X-Forwarded-For", "203.0.113.9")], None).await, is(403, "NOT_LOCAL"));
    assert_eq!(with(&[own], Some(&"x".repeat(300_000))).await, is(413, "BODY_TOO_LARGE"));
    assert_eq!(with(&[own], Some("{")).await, is(400, "BAD_REQUEST"));
    let rebound = http("GET", &url.replace("127.0.0.1", "localhost"), &[own], None).await;
    assert_eq!(rebound.0, 200, "localhost is its name, too");
    let secret_in_query = http("GET", &format!("{url}?token={TOKEN}"), &[], None).await;
    assert_eq!(secret_in_query.0, 401, "no secret is read from an address");
    for _ in 0..12 {
        with(&[("Authorization", "Bearer wrong")], None).await;
    }
    assert_eq!(with(&[own], None).await, is(200, ""), "who guesses locks nobody out who has the token");
}

#[tokio::test]
async fn d3_without_chromium_every_way_says_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".openclaw");
    fs::create_dir(&state).unwrap();
    let config = json!({ "gateway": { "mode": "local", "auth": { "token": TOKEN } }, "browser": { "executablePath": "/no/chromium" } });
    fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
    let gateway = Gateway::start_in(home, &[]).await;
    let (status, answer) = ask(gateway.port, "POST", "/start", Some(json!({}))).await;
    let text = answer["error"]["message"].as_str().unwrap();
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("NO_CHROMIUM")));
    assert!(
        ["/no/chromium", "browser.executablePath", "apt-get install chromium"].iter().all(|word| text.contains(word)),
        "{text}"
    );
    let client = gateway.client(&os_platform()).await.unwrap();
    let Err(CallError::Gateway(refused)) = call(&client, json!({ "method": "POST", "path": "/start" })).await else {
        panic!()
    };
    assert_eq!(
        (refused.code.as_str(), refused.details.unwrap()["code"].clone()),
        ("UNAVAILABLE", json!("NO_CHROMIUM"))
    );
    let looked = call(&client, json!({ "method": "GET", "path": "/" })).await.unwrap();
    assert!(looked["problem"].as_str().unwrap().contains("/no/chromium"), "{looked}");
    for wrong in [
        json!({ "method": "PATCH", "path": "/" }),
        json!({ "method": "GET", "path": "/nothing" }),
        json!({ "path": "/" }),
    ] {
        let Err(CallError::Gateway(refused)) = call(&client, wrong.clone()).await else { panic!("{wrong}") };
        assert_eq!(refused.code, "INVALID_REQUEST", "{wrong}");
    }
    client.close().await;
}

#[tokio::test]
async fn d3_a_port_that_is_taken_is_told_and_the_gateway_goes_on() {
    let mut gateway = Gateway::start(json!({}), &[]).await;
    gateway.signal(Signal::TERM);
    gateway.wait(PATIENCE).await;
    let _taken = std::net::TcpListener::bind(("127.0.0.1", gateway.port + 2)).unwrap();
    gateway.restart().await;
    let client = gateway.client(&os_platform()).await.unwrap();
    let status = call(&client, json!({ "method": "GET", "path": "/" })).await.unwrap();
    assert_eq!(status["listening"], false);
    assert!(status["problem"].as_str().unwrap().contains(&(gateway.port + 2).to_string()), "{status}");
    assert!(gateway.output().contains("the browser control cannot listen"));
    client.close().await;
}

#[tokio::test]
async fn d3_a_restart_in_the_process_serves_it_again() {
    let gateway = Gateway::start(json!({ "commands": { "restart": true } }), &[]).await;
    let served = || gateway.output().matches("browser control on").count();
    // Its log may come a moment after its first answer.
    until("it serves", || served() == 1).await;
    gateway.signal(Signal::USR1);
    until("it serves again", || served() == 2).await;
    assert_eq!(done(gateway.port, "GET", "/", Value::Null).await["listening"], true);
}

/// Chromium of this machine, or a line that says that this was not tried.
fn chromium(test: &str) -> Option<PathBuf> {
    let found = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    if found.is_none() {
        left_out(test, "no Chromium on this machine (apt-get install chromium)");
    }
    found
}

/// Ends what a failed test leaves: browsers whose data lie in its home.
struct Browsers(PathBuf);

impl Browsers {
    fn pids(home: &Path) -> Vec<i32> {
        let marks = home.to_str().unwrap().to_owned();
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        processes
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains("--user-data-dir=") && line.contains(&marks)
            })
            .collect()
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        for pid in Self::pids(&self.0) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

const PAGE: &str = r#"<!doctype html><title>A page</title><h1>Hello from the test</h1>
<button onclick="n=(window.n||0)+1;window.n=n;document.querySelector('#out').textContent='pressed '+n">Press me</button>
<button onclick="alert('stop');document.querySelector('#out').textContent='alerted'">Alert me</button>
<form onsubmit="event.preventDefault();const v=document.querySelector('#name').value;localStorage.name=v;document.querySelector('#out').textContent='hello '+v">
<label>Name <input id=name value=old></label></form>
<select aria-label="Colour"><option>red</option><option>blue</option></select><p id=out></p>"#;
/// What a page of the web would try: an address of this machine, by a request, a picture and a frame.
const PROBE: &str = r"<!doctype html><title>Probe</title><p id=out>waits</p><script>
const url='http://127.0.0.1:'+location.port+'/secret';
new Image().src=url;const f=document.createElement('iframe');f.src=url;document.body.append(f);
fetch(url,{mode:'no-cors'}).catch(()=>0).then(()=>setTimeout(()=>{document.querySelector('#out').textContent='tried'},300))
</script>";

/// A site on 127.0.0.1; gives its port and the paths that were asked for.
async fn site() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = vec![];
                while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                noted.lock().unwrap().push(path.clone());
                let answer = match path.as_str() {
                    "/away" => format!(
                        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/secret\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    ),
                    path => {
                        let body = if path == "/probe" { PROBE } else { PAGE };
                        format!(
                            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                            body.len()
                        )
                    }
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (port, asked)
}

/// The ref of the first line of a snapshot with these words.
fn ref_of(snapshot: &Value, words: &str) -> String {
    let text = snapshot["snapshot"].as_str().unwrap();
    let line = text
        .lines()
        .find(|line| line.contains(words) && line.contains("[ref="))
        .unwrap_or_else(|| panic!("{words} is not in:\n{text}"));
    line.split_once("[ref=").unwrap().1.split(']').next().unwrap().to_owned()
}

fn config(program: &Path, policy: Value) -> Value {
    // Chromium's sandbox works for no root.
    let is_root = rustix::process::getuid().is_root();
    json!({ "browser": { "executablePath": program, "noSandbox": is_root, "ssrfPolicy": policy } })
}

#[tokio::test]
async fn d3_chromium_opens_reads_clicks_types_and_takes_pictures_and_its_profile_stays() {
    let Some(program) = chromium("browser with Chromium") else { return };
    let (site, _) = site().await;
    let mut gateway = Gateway::start(config(&program, json!({ "dangerouslyAllowPrivateNetwork": true })), &[]).await;
    let _left = Browsers(gateway.home.path().to_owned());
    let port = gateway.port;
    let act = async |body: Value| done(port, "POST", "/act", body).await;
    let opened = done(port, "POST", "/tabs/open", json!({ "url": format!("http://127.0.0.1:{site}/") })).await;
    assert_eq!(opened["title"], "A page");
    let seen = done(port, "GET", "/snapshot", Value::Null).await;
    assert!(seen["snapshot"].as_str().unwrap().contains("Hello from the test"), "{seen}");
    act(json!({ "kind": "click", "ref": ref_of(&seen, "Press me") })).await;
    act(json!({ "kind": "click", "ref": ref_of(&seen, "Press me"), "doubleClick": true })).await;
    act(json!({ "kind": "wait", "text": "pressed 3" })).await;
    act(json!({ "kind": "click", "ref": ref_of(&seen, "Alert me") })).await;
    act(json!({ "kind": "wait", "text": "alerted" })).await;
    act(json!({ "kind": "type", "ref": ref_of(&seen, "Name"), "text": "Ada", "submit": true })).await;
    act(json!({ "kind": "wait", "text": "hello Ada" })).await;
    act(json!({ "kind": "select", "ref": ref_of(&seen, "Colour"), "values": ["blue"] })).await;
    let colour = act(json!({ "kind": "evaluate", "fn": "() => document.querySelector('select').value" })).await;
    assert_eq!(colour["result"], "blue");
    let (status, thrown) = ask(port, "POST", "/act", Some(json!({ "kind": "evaluate", "fn": "nothing.there" }))).await;
    assert!(
        status == 502 && thrown["error"]["message"].as_str().unwrap().contains("nothing is not defined"),
        "{thrown}"
    );
    let (status, late) =
        ask(port, "POST", "/act", Some(json!({ "kind": "wait", "text": "never", "timeoutMs": 500 }))).await;
    assert_eq!((status, &late["error"]["code"]), (502, &json!("PAGE_FAILED")), "{late}");

    let picture = done(port, "POST", "/screenshot", json!({})).await;
    let file = fs::read(picture["path"].as_str().unwrap()).unwrap();
    assert!(file.starts_with(b"\x89PNG\r\n\x1a\n") && file.len() as u64 == picture["bytes"].as_u64().unwrap());
    assert!(picture["width"] == 1280 && picture["height"].as_u64().unwrap() > 500, "{picture}");
    let button = done(port, "POST", "/screenshot", json!({ "ref": ref_of(&seen, "Press me") })).await;
    assert!(button["width"].as_u64().unwrap() < 300 && button["height"].as_u64().unwrap() < 100, "{button}");

    let status = done(port, "GET", "/", Value::Null).await;
    let devtools = u16::try_from(status["cdpPort"].as_u64().unwrap()).unwrap();
    assert!((port + 11..=port + 110).contains(&devtools) && status["running"] == true, "{status}");
    assert_eq!(listens(devtools), [LOOPBACK]);
    let tabs = done(port, "GET", "/tabs", Value::Null).await;
    assert!(tabs["tabs"].as_array().unwrap().iter().any(|tab| tab["targetId"] == opened["targetId"]), "{tabs}");
    done(port, "DELETE", &format!("/tabs/{}", opened["targetId"].as_str().unwrap()), Value::Null).await;
    for closed in ["file:///etc/passwd", "chrome://version", "javascript:alert(1)"] {
        let (status, refused) = ask(port, "POST", "/tabs/open", Some(json!({ "url": closed }))).await;
        assert_eq!((status, &refused["error"]["code"]), (403, &json!("REFUSED")), "{closed}");
    }

    gateway.signal(Signal::TERM);
    gateway.wait(PATIENCE).await;
    until("the browser has ended with the gateway", || Browsers::pids(gateway.home.path()).is_empty()).await;
    gateway.restart().await;
    done(port, "POST", "/tabs/open", json!({ "url": format!("http://127.0.0.1:{site}/") })).await;
    let kept = act(json!({ "kind": "evaluate", "fn": "localStorage.name" })).await;
    assert_eq!(kept["result"], "Ada", "what pages kept is the profile's");
    assert_eq!(done(port, "GET", "/", Value::Null).await["cdpPort"], devtools, "its port as well");

    // A gateway that is killed leaves its browser; the next one closes it and starts its own.
    gateway.signal(Signal::KILL);
    gateway.restart().await;
    assert!(!Browsers::pids(gateway.home.path()).is_empty(), "it was left");
    done(port, "POST", "/start", json!({})).await;
    assert_eq!(done(port, "POST", "/stop", json!({})).await["stopped"], true);
    until("it is ended", || Browsers::pids(gateway.home.path()).is_empty()).await;
    assert_eq!(ask(port, "GET", "/tabs", None).await.0, 409);
}

#[tokio::test]
async fn s16_a_page_in_chromium_reaches_nothing_of_this_machine() {
    let Some(program) = chromium("what a page in Chromium reaches") else { return };
    let (site, asked) = site().await;
    // The page itself stands for one of the web.
    let gateway = Gateway::start(config(&program, json!({ "allowedHostnames": ["localhost"] })), &[]).await;
    let _left = Browsers(gateway.home.path().to_owned());
    let port = gateway.port;
    done(port, "POST", "/tabs/open", json!({ "url": format!("http://localhost:{site}/probe") })).await;
    done(port, "POST", "/act", json!({ "kind": "wait", "text": "tried" })).await;
    let (status, refused) =
        ask(port, "POST", "/navigate", Some(json!({ "url": format!("http://127.0.0.1:{site}/secret") }))).await;
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("REFUSED")));
    done(port, "POST", "/navigate", json!({ "url": format!("http://localhost:{site}/away") })).await;
    let seen = done(port, "GET", "/snapshot", Value::Null).await;
    assert!(seen["snapshot"].as_str().unwrap().contains("not on the public internet"), "{seen}");
    let asked = asked.lock().unwrap().clone();
    assert!(asked.contains(&"/probe".to_owned()) && asked.contains(&"/away".to_owned()), "{asked:?}");
    assert!(!asked.contains(&"/secret".to_owned()), "{asked:?}");
    done(port, "POST", "/stop", json!({})).await;
}
