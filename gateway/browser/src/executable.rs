//! Which program is the browser.

use std::path::PathBuf;

use openclaw_config::Browser;
use openclaw_platform::Processes;

use crate::BrowserError;

/// Looked for in PATH, in this order ...
const NAMES: [&str; 7] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "brave-browser",
    "microsoft-edge-stable",
    "chrome",
];
/// ... and then here.
const PATHS: [&str; 6] = [
    "/usr/bin/chromium",
    "/usr/lib/chromium/chromium",
    "/snap/bin/chromium",
    "/opt/google/chrome/chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/// The program: `browser.executablePath` and nothing else where it is set.
///
/// # Errors
/// [`BrowserError::NoChromium`], with what was looked for.
pub fn find(processes: &dyn Processes, config: &Browser) -> Result<PathBuf, BrowserError> {
    if let Some(path) = config.executable_path.as_deref().map(str::trim).filter(|path| !path.is_empty()) {
        let looked = format!("{path}, as browser.executablePath says");
        return processes.which(path, None).ok_or(BrowserError::NoChromium { looked });
    }
    let found = NAMES.iter().chain(&PATHS).find_map(|name| processes.which(name, None));
    found.ok_or_else(|| BrowserError::NoChromium {
        looked: format!("{} in PATH, {}", NAMES.join(", "), PATHS.join(", ")),
    })
}
