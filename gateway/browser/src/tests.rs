//! The whole control, on a machine in memory.

#![allow(clippy::disallowed_methods)] // the machine's own tasks

mod fake;

use std::net::{IpAddr, SocketAddr};

use openclaw_config::Browser;
use openclaw_platform::{Storage as _, Transport as _, sync::LockExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::fake::{Machine, get, post};
use crate::{BrowserError, Listening, Method, Request};

fn open() -> Browser {
    let mut config = Browser::default();
    config.ssrf_policy.dangerously_allow_private_network = true;
    config
}

#[tokio::test]
async fn d3_a_page_is_opened_read_clicked_and_typed_into() {
    let machine = Machine::with_chromium();
    let control = machine.control(open());
    assert_eq!(get(&control, "/snapshot").await, Err(BrowserError::NotRunning("openclaw".to_owned())));
    let opened = post(&control, "/tabs/open", json!({ "url": "http://127.0.0.1:1/page" })).await.unwrap();
    assert_eq!((&opened["ok"], &opened["url"]), (&json!(true), &json!("http://127.0.0.1:1/page")));
    let seen = get(&control, "/snapshot").await.unwrap();
    assert_eq!(seen["snapshot"], "- button \"Go\" [ref=e1]\n- textbox \"Name\" [ref=e2]\n");
    assert_eq!(seen["targetId"], opened["targetId"], "the tab that was used last");
    post(&control, "/act", json!({ "kind": "click", "ref": "e1" })).await.unwrap();
    let mouse = machine.calls("Input.dispatchMouseEvent");
    let pressed = mouse.iter().find(|event| event["type"] == "mousePressed").unwrap();
    assert_eq!((&pressed["x"], &pressed["y"], &pressed["button"]), (&json!(20.0), &json!(30.0), &json!("left")));
    post(&control, "/act", json!({ "kind": "type", "ref": "e2", "text": "Ada", "submit": true })).await.unwrap();
    assert_eq!(machine.calls("Input.insertText"), [json!({ "text": "Ada" })]);
    assert_eq!(machine.calls("DOM.focus"), [json!({ "backendNodeId": 8 })]);
    assert_eq!(machine.calls("Input.dispatchKeyEvent")[0]["key"], "Enter");
    for wrong in ["e3", "e0", "x", ""] {
        let failed = post(&control, "/act", json!({ "kind": "click", "ref": wrong })).await;
        assert!(matches!(failed, Err(BrowserError::NoRef(_))), "{wrong}: {failed:?}");
    }
    let failed = post(&control, "/navigate", json!({ "url": "http://127.0.0.1:1/broken" })).await;
    assert!(matches!(&failed, Err(BrowserError::Page(why)) if why.contains("ERR_CONNECTION_REFUSED")), "{failed:?}");
    let tabs = get(&control, "/tabs").await.unwrap();
    assert_eq!(tabs["tabs"].as_array().unwrap().len(), 2);
    let close = format!("/tabs/{}", opened["targetId"].as_str().unwrap());
    control.handle(Request::new(Method::Delete, &close, json!(null))).await.unwrap();
    assert_eq!(get(&control, "/tabs").await.unwrap()["tabs"].as_array().unwrap().len(), 1);
}

/// A page that waits for somebody to close its dialog answers nothing until then.
#[tokio::test]
async fn d3_dialogs_of_pages_are_closed() {
    let machine = Machine::with_chromium();
    let control = machine.control(open());
    post(&control, "/start", json!({})).await.unwrap();
    get(&control, "/snapshot").await.unwrap();
    machine.world.locked().alerts = true;
    post(&control, "/act", json!({ "kind": "click", "ref": "e1", "timeoutMs": 5000 })).await.unwrap();
    assert_eq!(machine.calls("Page.handleJavaScriptDialog"), [json!({ "accept": false })]);
}

#[tokio::test]
async fn row_096_ports_of_profiles_are_those_behind_the_control_port() {
    let machine = Machine::with_chromium();
    let control = machine.control(Browser::default());
    for n in 0..20 {
        let made = post(&control, "/profiles/create", json!({ "name": format!("p{n}") })).await.unwrap();
        let port = made["cdpPort"].as_u64().unwrap();
        assert!((18791 + 9..=18791 + 108).contains(&port), "{port}");
    }
    let list = get(&control, "/profiles").await.unwrap();
    let mut ports: Vec<u64> =
        list["profiles"].as_array().unwrap().iter().filter_map(|p| p["cdpPort"].as_u64()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(
        (ports.len(), &list["cdpPorts"]),
        (21, &json!([18800, 18899])),
        "each has its own, the default one, too"
    );
    for wrong in ["", "../x", "a b", "P0", &"x".repeat(65)] {
        assert!(post(&control, "/profiles/create", json!({ "name": wrong })).await.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn row_097_a_profile_keeps_its_port_over_restarts() {
    let machine = Machine::with_chromium();
    let control = machine.control(Browser::default());
    for name in ["a", "b", "c"] {
        post(&control, "/profiles/create", json!({ "name": name })).await.unwrap();
    }
    let before = get(&control, "/profiles").await.unwrap();
    control.handle(Request::new(Method::Delete, "/profiles/a", json!(null))).await.unwrap();
    let after = machine.control(Browser::default());
    let list = get(&after, "/profiles").await.unwrap();
    for name in ["b", "c", "openclaw"] {
        let of =
            |list: &serde_json::Value| list["profiles"].as_array().unwrap().iter().find(|p| p["name"] == name).cloned();
        assert_eq!(of(&before), of(&list), "{name}");
    }
    let failed = after.handle(Request::new(Method::Delete, "/profiles/openclaw", json!(null))).await;
    assert!(matches!(failed, Err(BrowserError::Invalid(_))), "{failed:?}");
    // A file that somebody broke is not written over.
    machine.storage.write_atomic("browser/profiles.json", b"{").unwrap();
    let failed = get(&machine.control(Browser::default()), "/profiles").await;
    assert!(matches!(failed, Err(BrowserError::State(_))), "{failed:?}");
    assert_eq!(machine.storage.read("browser/profiles.json").unwrap(), b"{");
}

#[tokio::test]
async fn d3_a_configured_port_is_the_profiles_and_no_others() {
    let machine = Machine::with_chromium();
    let config: Browser = serde_json::from_value(json!({ "profiles": { "work": { "cdpPort": 18800 } } })).unwrap();
    let list = get(&machine.control(config), "/profiles").await.unwrap();
    let of = |name: &str| {
        list["profiles"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap()["cdpPort"].clone()
    };
    assert_eq!((of("work"), of("openclaw")), (json!(18800), json!(18801)));
}

#[tokio::test]
async fn d3_without_chromium_the_error_says_what_was_looked_for_and_what_to_do() {
    let control = Machine::default().control(Browser::default());
    let failed = post(&control, "/tabs/open", json!({ "url": "https://1.1.1.1/" })).await.unwrap_err();
    assert_eq!((failed.code(), failed.status()), ("NO_CHROMIUM", 503));
    let text = failed.to_string();
    assert!(
        ["google-chrome", "/usr/bin/chromium", "apt-get install chromium", "browser.executablePath"]
            .iter()
            .all(|w| text.contains(w)),
        "{text}"
    );
    let status = get(&control, "/").await.unwrap();
    assert!(
        status["problem"].as_str().unwrap().contains("no Chromium")
            || status["problem"].as_str().unwrap().contains("No Chromium")
    );
    let config = Browser { executable_path: Some("/opt/mine".to_owned()), ..Browser::default() };
    let failed = post(&Machine::default().control(config), "/start", json!({})).await.unwrap_err();
    assert!(failed.to_string().contains("/opt/mine, as browser.executablePath says"), "{failed}");
}

#[tokio::test]
async fn d3_a_browser_that_does_not_start_says_why() {
    let machine = Machine::with_chromium();
    machine.world.locked().ends_with = Some("Running as root without --no-sandbox is not supported".to_owned());
    let control = machine.control(Browser::default());
    let failed = post(&control, "/start", json!({})).await.unwrap_err();
    assert_eq!(failed.code(), "NOT_STARTED");
    assert!(failed.to_string().contains("as root") && failed.to_string().contains("browser.noSandbox"), "{failed}");
    machine.world.locked().ends_with = None;
    machine.world.locked().listening.insert(18800, false);
    let failed = post(&control, "/start", json!({})).await.unwrap_err();
    assert!(failed.to_string().contains("18800") && failed.to_string().contains("taken"), "{failed}");
    machine.world.locked().listening.clear();
    post(&control, "/start", json!({})).await.unwrap();
    machine.crash();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(get(&control, "/tabs").await, Err(BrowserError::NotRunning("openclaw".to_owned())));
    post(&control, "/start", json!({})).await.unwrap();
}

#[tokio::test]
async fn d3_a_stop_closes_browsers_in_good_order_and_starts_none() {
    let machine = Machine::with_chromium();
    let control = machine.control(Browser::default());
    post(&control, "/profiles/create", json!({ "name": "b" })).await.unwrap();
    for profile in ["openclaw", "b"] {
        let start = Request::new(Method::Post, "/start", json!({})).of_profile(Some(profile));
        assert_eq!(control.handle(start).await.unwrap()["running"], true);
    }
    let stop = Request::new(Method::Post, "/stop", json!({})).of_profile(Some("b"));
    assert_eq!(control.handle(stop.clone()).await.unwrap()["stopped"], true);
    assert_eq!(control.handle(stop).await.unwrap()["stopped"], false);
    control.stop().await;
    assert_eq!((machine.calls("Browser.close").len(), machine.world.locked().listening.len()), (2, 0));
    assert_eq!(post(&control, "/start", json!({})).await, Err(BrowserError::Stopping));
}

/// A gateway that was killed leaves its browser behind; it is known by its address, which no other browser has.
#[tokio::test]
async fn d3_the_browser_of_a_killed_gateway_is_closed_and_nobody_elses() {
    for is_ours in [true, false] {
        let machine = Machine::with_chromium();
        let killed = machine.control(Browser::default());
        post(&killed, "/start", json!({})).await.unwrap();
        if !is_ours {
            machine
                .storage
                .write_atomic("browser/openclaw.devtools", b"ws://127.0.0.1:18800/devtools/browser/another")
                .unwrap();
        }
        // The first control is still there, but nobody asks it for an end.
        let next = machine.control(Browser::default());
        let started = post(&next, "/start", json!({})).await;
        assert_eq!(
            (started.is_ok(), machine.calls("Browser.close").len()),
            (is_ours, usize::from(is_ours)),
            "{started:?}"
        );
        drop(killed);
    }
}

/// A browser that was only connected to is somebody's: it is used, and not ended.
#[tokio::test]
async fn d3_a_browser_elsewhere_is_used_and_left() {
    let machine = Machine::default();
    machine.world.locked().listening.insert(9333, true);
    let config: Browser = serde_json::from_value(json!({
        "profiles": { "far": { "cdpUrl": "http://127.0.0.1:9333/" }, "gone": { "cdpUrl": "ws://127.0.0.1:9444/devtools/browser/x" } },
    }))
    .unwrap();
    let control = machine.control(config);
    let of = |path: &str, profile| {
        Request::new(Method::Post, path, json!({ "url": "about:blank" })).of_profile(Some(profile))
    };
    control.handle(of("/tabs/open", "far")).await.unwrap();
    assert_eq!(control.handle(of("/stop", "far")).await.unwrap()["stopped"], true);
    let is_left = {
        let world = machine.world.locked();
        world.started.is_empty() && world.listening.contains_key(&9333)
    };
    assert!(is_left, "no program here, and it is still there");
    assert_eq!(machine.calls("Browser.close").len(), 0);
    let failed = control.handle(of("/start", "gone")).await.unwrap_err();
    assert!(matches!(&failed, BrowserError::NoStart(why) if why.contains("cannot be reached")), "{failed}");
    let list = get(&control, "/profiles").await.unwrap();
    let far = list["profiles"].as_array().unwrap().iter().find(|p| p["name"] == "far").unwrap();
    assert_eq!((&far["remote"], &far["cdpPort"]), (&json!(true), &json!(null)));
}

#[tokio::test]
async fn s16_a_browser_goes_to_the_internet_alone() {
    let machine = Machine::with_chromium();
    machine.world.locked().names = [
        ("site.example".to_owned(), IpAddr::from([93, 184, 216, 34])),
        ("inside.example".to_owned(), IpAddr::from([10, 0, 0, 7])),
    ]
    .into();
    let mut config = Browser::default();
    config.ssrf_policy.allowed_hostnames = vec!["wiki.local".to_owned()];
    let control = machine.control(config);
    for closed in [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "chrome://settings",
        "data:text/html,x",
        "view-source:http://site.example/",
        "ftp://site.example/",
        "http://localhost:18789/",
        "http://a.localhost/",
        "http://127.0.0.1:18791/",
        "http://127.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "https://inside.example/",
        "http://user:pass@site.example/",
        "http://10.0.0.1\\@site.example/",
        "http://site.example/ b",
        "http://",
    ] {
        let failed = post(&control, "/tabs/open", json!({ "url": closed })).await.unwrap_err();
        assert!(matches!(failed, BrowserError::Refused(_) | BrowserError::Invalid(_)), "{closed}: {failed}");
    }
    assert!(machine.world.locked().started.is_empty(), "nothing was started for these");
    for open in ["https://site.example/a?b#c", "http://WIKI.local/", "about:blank", "http://nobody.example/"] {
        post(&control, "/tabs/open", json!({ "url": open })).await.unwrap_or_else(|e| panic!("{open}: {e}"));
    }
    let flags = machine.world.locked().started[0].clone();
    assert!(flags.contains(&"--proxy-bypass-list=<-loopback>".to_owned()), "{flags:?}");
    let port = flags.iter().find_map(|flag| flag.strip_prefix("--proxy-server=http://127.0.0.1:")).unwrap();
    let port: u16 = port.parse().unwrap();
    for (target, answer) in [
        ("site.example:443", "HTTP/1.1 200"),
        ("wiki.local:443", "HTTP/1.1 200"),
        ("inside.example:443", "HTTP/1.1 403"),
        ("127.0.0.1:18791", "HTTP/1.1 403"),
        ("[::1]:18791", "HTTP/1.1 403"),
    ] {
        let mut io = machine.connect("127.0.0.1", port).await.unwrap();
        io.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await.unwrap();
        let mut got = [0; 12];
        io.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&got), answer, "{target}");
    }
    let connected = machine.world.locked().connected.clone();
    assert_eq!(connected, ["93.184.216.34:443", "wiki.local:443"], "the address that was judged, and what is named");
}

/// A list limits, also where everything on this machine may be visited.
#[tokio::test]
async fn s16_a_list_of_hosts_is_in_force_for_addresses_and_for_what_pages_reach() {
    let machine = Machine::with_chromium();
    let mut config = open();
    config.ssrf_policy.hostname_allowlist = Some(vec!["*.Good.example".to_owned(), "exact.example".to_owned()]);
    let control = machine.control(config);
    for (host, is_listed) in [
        ("a.good.example", true),
        ("b.a.good.example", true),
        ("exact.example", true),
        ("good.example", false),
        ("evilgood.example", false),
        ("good.example.evil.example", false),
        ("127.0.0.1", false),
    ] {
        let opened = post(&control, "/tabs/open", json!({ "url": format!("http://{host}/") })).await;
        assert_eq!(opened.is_ok(), is_listed, "{host}: {opened:?}");
        let flags = machine.world.locked().started[0].clone();
        let port = flags.iter().find_map(|flag| flag.strip_prefix("--proxy-server=http://127.0.0.1:")).unwrap();
        let mut io = machine.connect("127.0.0.1", port.parse().unwrap()).await.unwrap();
        io.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let mut got = [0; 12];
        io.read_exact(&mut got).await.unwrap();
        assert_eq!(&got == b"HTTP/1.1 200", is_listed, "{host}");
    }
}

#[tokio::test]
async fn s16_without_the_guard_only_when_the_configuration_says_so() {
    let machine = Machine::with_chromium();
    post(&machine.control(open()), "/tabs/open", json!({ "url": "http://127.0.0.1:9/" })).await.unwrap();
    let flags = machine.world.locked().started[0].clone();
    assert!(!flags.iter().any(|flag| flag.starts_with("--proxy")), "{flags:?}");
    for flag in ["--remote-debugging-address=127.0.0.1", "--user-data-dir=/state/browser/openclaw", "--headless=new"] {
        assert!(flags.iter().any(|f| f == flag), "{flag}");
    }
    assert!(!flags.iter().any(|flag| flag == "--no-sandbox"), "only when it is asked for");
}

#[tokio::test]
async fn d3_what_the_configuration_switches_off_is_refused() {
    let machine = Machine::with_chromium();
    let config = Browser { evaluate_enabled: false, ..open() };
    let control = machine.control(config);
    post(&control, "/start", json!({})).await.unwrap();
    let failed = post(&control, "/act", json!({ "kind": "evaluate", "fn": "1" })).await.unwrap_err();
    assert!(matches!(&failed, BrowserError::Refused(why) if why.contains("browser.evaluateEnabled")), "{failed}");
    let control = machine.control(Browser { enabled: false, ..open() });
    control.tell(Listening::Not);
    assert_eq!(post(&control, "/start", json!({})).await, Err(BrowserError::Disabled));
    assert_eq!(get(&control, "/").await.unwrap()["enabled"], false);
}

#[tokio::test]
async fn d3_pictures_are_files_of_which_the_newest_are_kept() {
    let machine = Machine::with_chromium();
    let control = machine.control(open());
    post(&control, "/start", json!({})).await.unwrap();
    let inline = post(&control, "/screenshot", json!({ "inline": true })).await.unwrap();
    assert_eq!((&inline["data"], &inline["width"], &inline["path"]), (&json!(fake::PNG), &json!(1), &json!(null)));
    post(&control, "/screenshot", json!({ "fullPage": true, "inline": true })).await.unwrap();
    let clip = machine.calls("Page.captureScreenshot")[1]["clip"].clone();
    assert_eq!(clip["height"], 8000.0, "a page of any height gives a picture of a bounded one");
    for n in 0..55 {
        machine.storage.write_atomic(&format!("media/browser/{n:013}-x.png"), b"x").unwrap();
    }
    let kept = post(&control, "/screenshot", json!({})).await.unwrap();
    let name = kept["path"].as_str().unwrap().strip_prefix("/state/").unwrap();
    assert!(machine.storage.read(name).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(machine.storage.list("media/browser").unwrap().len(), 50);
}

#[tokio::test]
async fn d3_routes_that_are_not_there_and_bodies_that_are_wrong() {
    let control = Machine::with_chromium().control(open());
    for (method, path) in
        [(Method::Get, "/nothing"), (Method::Post, "/tabs"), (Method::Get, "/start"), (Method::Delete, "/")]
    {
        let failed = control.handle(Request::new(method, path, json!({}))).await;
        assert!(matches!(failed, Err(BrowserError::NoRoute(_))), "{path}: {failed:?}");
    }
    for (path, body) in [
        ("/act", json!({ "kind": "fly" })),
        ("/act", json!([])),
        ("/tabs/open", json!({})),
        ("/navigate", json!({"url": 5})),
    ] {
        let failed = post(&control, path, body.clone()).await;
        assert!(matches!(failed, Err(BrowserError::Invalid(_))), "{path} {body}: {failed:?}");
    }
    let failed = control.handle(Request::new(Method::Post, "/start", json!({})).of_profile(Some("who"))).await;
    assert_eq!(failed, Err(BrowserError::NoProfile("who".to_owned())));
    assert_eq!(SocketAddr::from(([127, 0, 0, 1], control.port().unwrap())).port(), 18791);
}
