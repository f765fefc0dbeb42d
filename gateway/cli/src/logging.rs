//! Logging: lines for people on stdout, JSON lines in a file (D24), secrets and control characters out of both
//! (S17, S18).

pub mod console;
pub mod file;
pub mod journal;
mod layer;
pub mod text;

use std::{path::PathBuf, sync::Arc};

use openclaw_config::{ConsoleStyle, LogLevel, Masker};
use openclaw_platform::{Clock as _, os::OsClock};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

use self::{
    console::{Console, Stdout},
    file::{Bounds, RotatingFile},
    layer::{LogLayer, Sinks},
};
use crate::args::WsLog;

/// What is logged where.
pub struct LogOptions {
    /// Console: up to this level.
    pub console: LevelFilter,
    /// How the console looks.
    pub style: ConsoleStyle,
    /// Colours on the console.
    pub color: bool,
    /// The console is systemd's journal, which has times and priorities of its own.
    pub journal: bool,
    /// Connection lines on the console.
    pub ws: WsLog,
    /// File: up to this level.
    pub file_level: LevelFilter,
    /// The file.
    pub file: PathBuf,
    /// Its bounds.
    pub bounds: Bounds,
    /// Values that must never be seen.
    pub secrets: Vec<String>,
}

/// Keeps logging alive; [`LogGuard::flush`] before the process ends.
#[derive(Clone)]
pub struct LogGuard {
    sinks: Arc<Sinks>,
    masker: Masker,
}

impl LogGuard {
    /// Waits until the console has everything.
    pub fn flush(&self) {
        self.sinks.console.flush();
    }

    /// Hides this value from now on, wherever it stands (S17).
    pub fn hide(&self, secret: &str) {
        self.masker.learn([secret.to_owned()]);
    }
}

/// Starts logging for the whole process and makes panics log lines.
///
/// # Errors
/// The reason why there is no log file; logging then goes to the console alone.
pub fn start(options: LogOptions) -> (LogGuard, Option<std::io::Error>) {
    let wall = || OsClock.wall();
    let (file, error) = match RotatingFile::open(&options.file, options.bounds, wall) {
        Ok(file) => (Some(file), None),
        Err(error) => (None, Some(error)),
    };
    let sinks = Arc::new(Sinks::new(Console::start(Stdout), file));
    let masker = Masker::new(options.secrets);
    let guard = LogGuard { sinks: sinks.clone(), masker: masker.clone() };
    let layer = LogLayer {
        sinks,
        masker,
        console: options.console,
        style: options.style,
        color: options.color,
        journal: options.journal,
        ws: options.ws,
        file: options.file_level,
        wall: Box::new(wall),
    };
    // Fails only when a logger is there already, which then goes on.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    log_panics(guard.clone());
    (guard, error)
}

/// A panic anywhere is a bug: it is logged and the process ends, so that the supervisor starts a clean one.
#[allow(clippy::disallowed_methods)] // there is no main to return to from here
fn log_panics(guard: LogGuard) {
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "openclaw::panic", place, "panic: {message}");
        guard.flush();
        std::process::exit(1);
    }));
}

/// The filter for a level of the configuration.
pub fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Silent => LevelFilter::OFF,
        LogLevel::Fatal | LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
