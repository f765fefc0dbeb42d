//! A browser that runs: how it is started, found, and ended.

pub mod tab;

use std::{path::Path, sync::Mutex};

use bytes::Bytes;
use http::{Request, Uri};
use openclaw_config::Browser;
use openclaw_platform::{
    Platform, SpawnerExt as _,
    http::{Body, HttpClient},
    sync::LockExt as _,
    tls::Tls,
};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    BrowserError,
    cdp::Cdp,
    executable, guard,
    launch::{self, Launch},
    limits::{CLOSE, CONNECT, FREED, START, START_POLL},
    profiles::{Profile, data},
    protocol::{CloseBrowser, SetDownloads},
    running::tab::Tabs,
};

/// What a start uses.
pub struct Deps<'a> {
    /// The seams.
    pub platform: &'a Platform,
    /// The configuration.
    pub config: &'a Browser,
    /// The configuration of later, for the guard.
    pub settings: guard::Settings,
    /// The state directory.
    pub state_dir: &'a Path,
    /// Variables that a window needs.
    pub display: &'a [(String, String)],
}

/// A browser and the connection to it. Dropping it ends the browser, if it was started here.
pub struct Running {
    /// The connection.
    pub cdp: Cdp,
    /// What is known of its tabs.
    pub tabs: Mutex<Tabs>,
    /// Its program; none for a browser that was only connected to.
    pub program: Option<String>,
    ended: Option<watch::Receiver<Option<String>>>,
    /// Ends the program and the guard.
    _stop: DropGuard,
}

impl Running {
    /// True while it can be asked.
    pub fn is_alive(&self) -> bool {
        self.cdp.is_open()
    }

    /// Ends it in good order, so that it keeps what pages stored; a browser of somebody else goes on.
    pub async fn close(&self) {
        let Some(mut ended) = self.ended.clone() else { return };
        let _ = self.cdp.call(CloseBrowser::default(), None, CLOSE).await;
        let _ = tokio::time::timeout(CLOSE, ended.wait_for(Option::is_some)).await;
    }
}

/// Starts the browser of a profile, or connects to the one that it names.
///
/// # Errors
/// [`BrowserError::NoChromium`], [`BrowserError::NoStart`].
pub async fn start(deps: &Deps<'_>, profile: &Profile) -> Result<Running, BrowserError> {
    let stop = CancellationToken::new();
    // Whatever fails from here on ends what was begun.
    let end = stop.clone().drop_guard();
    let attached = match (&profile.url, profile.port) {
        (Some(url), _) => Some(url.clone()),
        (None, Some(port)) if deps.config.attach_only => Some(format!("http://127.0.0.1:{port}")),
        _ => None,
    };
    if let Some(url) = attached {
        let (cdp, _) = connect(deps.platform, &url).await?;
        return Ok(Running { cdp, tabs: Mutex::default(), program: None, ended: None, _stop: end });
    }
    let port = profile.port.ok_or_else(|| BrowserError::NoStart("the profile has no DevTools port".to_owned()))?;
    let program = executable::find(&*deps.platform.processes, deps.config)?;
    close_the_one_before(deps.platform, &profile.name).await;
    if tokio::time::timeout(CONNECT, deps.platform.transport.connect("127.0.0.1", port))
        .await
        .is_ok_and(|io| io.is_ok())
    {
        let name = &profile.name;
        let text = format!(
            "port {port} of the profile {name:?} is taken by another program: end it, or set browser.profiles.{name}.cdpPort"
        );
        return Err(BrowserError::NoStart(text));
    }
    let policy = &deps.config.ssrf_policy;
    let guard = if policy.dangerously_allow_private_network && policy.hostname_allowlist.is_none() {
        None
    } else {
        let (transport, tasks) = (&deps.platform.transport, &deps.platform.tasks);
        let started = guard::start(transport, tasks, deps.settings.clone(), stop.clone()).await;
        Some(started.map_err(|e| BrowserError::NoStart(format!("no port for the browser's way to the network: {e}")))?)
    };
    let data = deps.state_dir.join(data(&profile.name));
    let shown = program.display().to_string();
    let launch = Launch { config: deps.config, program, data: &data, port, guard, display: deps.display };
    let ended = run(deps.platform, launch::command(&launch), stop);
    let url = format!("http://127.0.0.1:{port}");
    let (cdp, url) = come_up(deps.platform, &url, ended.clone()).await?;
    note(deps.platform, &profile.name, url).await;
    // Files do not come out of pages.
    let _ = cdp.call(SetDownloads { behavior: "deny" }, None, CONNECT).await;
    tracing::info!(profile = profile.name, port, program = shown, "a browser was started");
    Ok(Running { cdp, tabs: Mutex::default(), program: Some(shown), ended: Some(ended), _stop: end })
}

/// Runs the program until `stop`. Gives where its last words stand once it has ended.
fn run(
    platform: &Platform,
    command: openclaw_platform::Command,
    stop: CancellationToken,
) -> watch::Receiver<Option<String>> {
    let (told, ended) = watch::channel(None);
    let processes = platform.processes.clone();
    platform.tasks.spawn("browser", async move {
        let words = openclaw_platform::select! {
            () = stop.cancelled() => String::new(),
            ran = processes.run(command) => match ran {
                Ok(output) => {
                    let code = output.code.map_or("a signal".to_owned(), |code| format!("code {code}"));
                    format!("{code}: {}", String::from_utf8_lossy(&output.stderr).trim())
                }
                Err(error) => error.to_string(),
            },
        };
        let _ = told.send(Some(words));
    });
    ended
}

/// Asks the new browser again and again until it answers.
async fn come_up(
    platform: &Platform,
    url: &str,
    mut ended: watch::Receiver<Option<String>>,
) -> Result<(Cdp, String), BrowserError> {
    let deadline = platform.clock.mono() + START;
    loop {
        if let Some(words) = ended.borrow().as_deref() {
            return Err(BrowserError::NoStart(not_started(words)));
        }
        let why = match connect(platform, url).await {
            Ok(connected) => return Ok(connected),
            Err(why) => why,
        };
        if platform.clock.mono() >= deadline {
            let text = format!("the browser gave no DevTools connection within {} s ({why})", START.as_secs());
            return Err(BrowserError::NoStart(text));
        }
        let _ = tokio::time::timeout(START_POLL, ended.wait_for(Option::is_some)).await;
    }
}

fn not_started(words: &str) -> String {
    let hint = if words.to_lowercase().contains("sandbox") {
        ". Chromium has no sandbox here: run the gateway as a user who is not root, or set browser.noSandbox to true"
    } else {
        ""
    };
    let words = openclaw_protocol::display::short(words, 1000);
    format!("the browser ended while it started, with {words}{hint}")
}

/// Where it is noted how the browser of a profile was reached; no profile has such a name.
fn note_of(profile: &str) -> String {
    format!("{}.devtools", data(profile))
}

/// Notes the address of a browser that was started, which no other browser has.
async fn note(platform: &Platform, profile: &str, url: String) {
    let (storage, file) = (platform.storage.clone(), note_of(profile));
    if let Some(Err(error)) = platform.tasks.blocking(move || storage.write_atomic(&file, url.as_bytes())).await {
        tracing::warn!(profile, %error, "if this gateway is killed, the next one will not know its browser");
    }
}

/// A gateway that was killed leaves its browser behind, which holds the profile's data. It is known by the address that was
/// noted; nobody else's browser is closed.
async fn close_the_one_before(platform: &Platform, profile: &str) {
    let (storage, file) = (platform.storage.clone(), note_of(profile));
    let Some(Ok(noted)) = platform.tasks.blocking(move || storage.read(&file)).await else { return };
    let Ok(noted) = String::from_utf8(noted) else { return };
    let Some(port) = noted.parse::<Uri>().ok().and_then(|uri| uri.port_u16()) else { return };
    if !discovered(platform, &format!("http://127.0.0.1:{port}")).await.is_ok_and(|url| url == noted) {
        return;
    }
    if let Ok((cdp, _)) = connect(platform, &noted).await {
        tracing::warn!(profile, port, "the browser of a gateway before this one is still there and is closed");
        let _ = cdp.call(CloseBrowser::default(), None, CLOSE).await;
        let _ = tokio::time::timeout(CLOSE, cdp.ended()).await;
        // The connection ends before the profile's data are free.
        tokio::time::sleep(FREED).await;
    }
}

/// Connects to the browser at `http://host:port` or `ws://host:port/devtools/browser/ID`; gives the latter, too.
async fn connect(platform: &Platform, address: &str) -> Result<(Cdp, String), BrowserError> {
    let address = address.trim();
    let is_socket = address.starts_with("ws://") || address.starts_with("wss://");
    let url = if is_socket { address.to_owned() } else { discovered(platform, address).await? };
    let uri: Uri = url.parse().map_err(|_| no_address())?;
    let host = uri.host().ok_or_else(no_address)?;
    let is_tls = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let opened = async {
        let io = platform.transport.connect(host, port).await?;
        if is_tls { Tls::new().connect(host, io).await } else { Ok(io) }
    };
    let io = tokio::time::timeout(CONNECT, opened).await.map_err(|_| unreachable(&"no answer"))?;
    let cdp = Cdp::connect(&*platform.tasks, &url, io.map_err(|e| unreachable(&e))?).await?;
    Ok((cdp, url))
}

fn no_address() -> BrowserError {
    BrowserError::invalid("a browser's cdpUrl is http://HOST:PORT, or ws:// with the whole path")
}

fn unreachable(why: &dyn std::fmt::Display) -> BrowserError {
    BrowserError::NoStart(format!("the browser cannot be reached: {why}"))
}

/// The WebSocket of the browser that listens at `http://host:port`.
async fn discovered(platform: &Platform, address: &str) -> Result<String, BrowserError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        web_socket_debugger_url: String,
    }
    let base: Uri = address.trim_end_matches('/').parse().map_err(|_| no_address())?;
    let authority = base.authority().ok_or_else(no_address)?.clone();
    let url = format!("{}/json/version", address.trim_end_matches('/'));
    let request = Request::get(url).body(Body::new(Bytes::new())).map_err(|_| no_address())?;
    let answer = HttpClient::new(platform).fetch(request, CONNECT, 64 << 10).await.map_err(|e| unreachable(&e))?;
    let version: Version =
        serde_json::from_slice(answer.body()).map_err(|_| unreachable(&"what listens there is no browser"))?;
    let told: Uri = version.web_socket_debugger_url.parse().map_err(|_| unreachable(&"it told no address"))?;
    // The way there is the one that was configured, whatever name the browser has for itself.
    let scheme = if base.scheme_str() == Some("https") { "wss" } else { "ws" };
    Ok(format!("{scheme}://{authority}{}", told.path()))
}

impl Running {
    /// The tabs' table.
    pub fn tabs(&self) -> std::sync::MutexGuard<'_, Tabs> {
        self.tabs.locked()
    }
}
