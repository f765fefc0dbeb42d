//! How Chromium is started.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use openclaw_config::Browser;
use openclaw_platform::Command;

use crate::{address::BLANK, limits::LAST_WORDS};

/// A browser runs until it is told to end.
const FOREVER: Duration = Duration::from_hours(24 * 3650);

/// What a start needs.
pub struct Launch<'a> {
    /// The configuration.
    pub config: &'a Browser,
    /// The program.
    pub program: PathBuf,
    /// Where it keeps cookies, caches and the like.
    pub data: &'a Path,
    /// Its DevTools port; it listens on loopback alone.
    pub port: u16,
    /// The port of the guard that all its connections go through; none where everything may be visited.
    pub guard: Option<u16>,
    /// Variables that a window needs.
    pub display: &'a [(String, String)],
}

/// The command line.
pub fn command(launch: &Launch<'_>) -> Command {
    let mut argv = vec![
        launch.program.display().to_string(),
        format!("--remote-debugging-port={}", launch.port),
        "--remote-debugging-address=127.0.0.1".to_owned(),
        format!("--user-data-dir={}", launch.data.display()),
    ];
    let fixed = [
        "--no-first-run",
        "--no-default-browser-check",
        // Nothing of its own goes out: no updates, no accounts, no suggestions.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--disable-features=Translate,MediaRouter,DialMediaRouteProvider,OptimizationHints,AutofillServerCommunication",
        "--metrics-recording-only",
        "--password-store=basic",
        "--hide-crash-restore-bubble",
        "--disable-session-crashed-bubble",
        // In a container /dev/shm is small.
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ];
    argv.extend(fixed.map(str::to_owned));
    if launch.config.headless {
        argv.extend(["--headless=new", "--disable-gpu", "--hide-scrollbars", "--mute-audio"].map(str::to_owned));
    }
    if launch.config.no_sandbox {
        argv.push("--no-sandbox".to_owned());
    }
    if let Some(port) = launch.guard {
        argv.push(format!("--proxy-server=http://127.0.0.1:{port}"));
        // Loopback goes through it, too, which Chromium would not do by itself.
        argv.push("--proxy-bypass-list=<-loopback>".to_owned());
        // Calls between pages know no proxy.
        argv.push("--webrtc-ip-handling-policy=disable_non_proxied_udp".to_owned());
        argv.push("--force-webrtc-ip-handling-policy".to_owned());
    }
    argv.push(BLANK.to_owned());
    let env = if launch.config.headless { vec![] } else { launch.display.to_vec() };
    Command { argv, program: None, cwd: None, env, timeout: FOREVER, max_output: LAST_WORDS, confinement: None }
}
