use std::{
    fmt,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::{Timestamp, tz::TimeZone};
use openclaw_config::{ConsoleStyle, Masker};
use openclaw_platform::{Millis, sync::LockExt as _};
use openclaw_protocol::display;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::layer::{Context, Layer};

use super::{console::Console, file::RotatingFile, journal, text};
use crate::args::WsLog;

/// Longest text of one field.
const MAX_TEXT: usize = 16 << 10;

/// Where lines go.
pub(super) struct Sinks {
    pub(super) console: Console,
    file: Option<Mutex<RotatingFile>>,
    file_failed: AtomicBool,
}

impl Sinks {
    pub(super) fn new(console: Console, file: Option<RotatingFile>) -> Self {
        Self { console, file: file.map(Mutex::new), file_failed: AtomicBool::new(false) }
    }

    fn file_line(&self, line: &[u8]) {
        let Some(file) = &self.file else { return };
        let failed = file.locked().write(line).err();
        // Said once per outage, or a full disk would fill the console as well.
        match (self.file_failed.swap(failed.is_some(), Ordering::Relaxed), failed) {
            (false, Some(error)) => self.console.line(format!("the log file cannot be written: {error}\n")),
            (true, None) => self.console.line("the log file can be written again\n".to_owned()),
            _ => {}
        }
    }
}

/// Turns events into lines.
pub(super) struct LogLayer {
    pub(super) sinks: Arc<Sinks>,
    pub(super) masker: Masker,
    pub(super) console: LevelFilter,
    pub(super) style: ConsoleStyle,
    pub(super) color: bool,
    pub(super) journal: bool,
    pub(super) ws: WsLog,
    pub(super) file: LevelFilter,
    pub(super) wall: Box<dyn Fn() -> Millis + Send + Sync>,
}

impl LogLayer {
    fn to_console(&self, meta: &Metadata<'_>) -> bool {
        let level = match self.ws {
            WsLog::Full if is_ws(meta) => self.console.max(LevelFilter::TRACE),
            WsLog::Compact if is_ws(meta) => self.console.min(LevelFilter::INFO),
            _ => self.console,
        };
        *meta.level() <= limit(meta, level)
    }

    fn to_file(&self, meta: &Metadata<'_>) -> bool {
        *meta.level() <= limit(meta, self.file)
    }
}

fn is_ws(meta: &Metadata<'_>) -> bool {
    meta.target().starts_with("openclaw_server::ws")
}

/// Libraries talk too much below `warn`.
fn limit(meta: &Metadata<'_>, level: LevelFilter) -> LevelFilter {
    if meta.target().starts_with("openclaw") { level } else { level.min(LevelFilter::WARN) }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, meta: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.to_file(meta) || self.to_console(meta)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let ws = if self.ws == WsLog::Full { LevelFilter::TRACE } else { LevelFilter::OFF };
        Some(self.console.max(self.file).max(ws))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let mut record = Record { masker: &self.masker, message: String::new(), fields: Map::new() };
        event.record(&mut record);
        let line = Line { at: (self.wall)(), meta, message: &record.message, fields: &record.fields };
        if self.to_file(meta) {
            self.sinks.file_line(line.json().as_bytes());
        }
        if self.to_console(meta) {
            let shown = match self.style {
                ConsoleStyle::Json => line.json(),
                _ if self.journal => line.human(false, false),
                style => line.human(style == ConsoleStyle::Pretty, self.color),
            };
            let prefix = if self.journal { journal::prefix(*meta.level()) } else { "" };
            self.sinks.console.line(format!("{prefix}{shown}"));
        }
    }
}

struct Line<'a> {
    at: Millis,
    meta: &'a Metadata<'a>,
    message: &'a str,
    fields: &'a Map<String, Value>,
}

impl Line<'_> {
    fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(i64::try_from(self.at).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
    }

    /// `openclaw_server::ws::connection` is `ws` to a reader.
    fn subsystem(&self) -> &str {
        let target = self.meta.target();
        let Some((krate, rest)) = target.split_once("::") else { return target.trim_start_matches("openclaw_") };
        if krate == "openclaw_server" || krate == "openclaw" {
            match rest.split("::").next().unwrap_or(rest) {
                "gateway_run" | "serve" => "gateway",
                part => part,
            }
        } else {
            krate.trim_start_matches("openclaw_")
        }
    }

    /// `{"time","level","subsystem","message",fields...}` and a line end.
    fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), format!("{:.3}", self.time()).into());
        object.insert("level".to_owned(), self.meta.level().as_str().to_ascii_lowercase().into());
        object.insert("subsystem".to_owned(), self.subsystem().into());
        object.insert("message".to_owned(), self.message.into());
        for (key, value) in self.fields {
            object.entry(key.clone()).or_insert_with(|| value.clone());
        }
        format!("{}\n", Value::Object(object))
    }

    fn human(&self, with_time: bool, color: bool) -> String {
        let mut out = String::new();
        let paint = |code: &str, text: &str| if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        if with_time {
            let local = self.time().to_zoned(TimeZone::system());
            let _ = write!(out, "{} ", paint("2", &local.strftime("%H:%M:%S%.3f").to_string()));
        }
        let level = *self.meta.level();
        if level != Level::INFO {
            let code = if level == Level::ERROR {
                "31"
            } else if level == Level::WARN {
                "33"
            } else {
                "2"
            };
            let _ = write!(out, "{} ", paint(code, &level.as_str().to_ascii_lowercase()));
        }
        let _ = write!(out, "{} {}", paint("36", &format!("[{}]", self.subsystem())), self.message);
        for (key, value) in self.fields {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let quoted = if shown.contains(' ') { value.to_string() } else { shown };
            let _ = write!(out, " {}", paint("2", &format!("{key}={quoted}")));
        }
        out.push('\n');
        out
    }
}

/// Collects an event's fields, cleaned.
struct Record<'a> {
    masker: &'a Masker,
    message: String,
    fields: Map<String, Value>,
}

impl Record<'_> {
    fn text(&mut self, field: &Field, value: &str) {
        // Masked as a whole: a secret that is cut is a secret still.
        let masked = self.masker.mask(value);
        let short = text::shorten(&masked, MAX_TEXT);
        let clean = display::line(&short);
        if field.name() == "message" {
            self.message = clean.into_owned();
        } else {
            self.fields.insert(field.name().to_owned(), clean.into());
        }
    }

    fn value(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Record<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.text(field, &text);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{super::file::Bounds, *};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Runs `events` and gives console and file.
    fn logged(change: impl FnOnce(&mut LogLayer), events: impl FnOnce()) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.log");
        let bounds = Bounds { max_bytes: 1 << 20, max_age: Duration::from_secs(9999), keep: 1 };
        let file = RotatingFile::open(Path::new(&path), bounds, || 0).unwrap();
        let buffer = Buffer::default();
        let sinks = Arc::new(Sinks::new(Console::start(buffer.clone()), Some(file)));
        let mut layer = LogLayer {
            sinks: sinks.clone(),
            masker: Masker::new(["hunter2".to_owned()]),
            console: LevelFilter::INFO,
            style: ConsoleStyle::Compact,
            color: false,
            journal: false,
            ws: WsLog::Auto,
            file: LevelFilter::INFO,
            wall: Box::new(|| 1_700_000_000_123),
        };
        change(&mut layer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        sinks.console.flush();
        let console = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        #[allow(clippy::disallowed_methods)]
        let file = std::fs::read_to_string(path).unwrap();
        (console, file)
    }

    #[test]
    fn s17_s18_secrets_and_control_characters_stay_out_of_both() {
        let (console, file) = logged(
            |_| {},
            || tracing::info!(target: "openclaw_server::ws::x", name = "a\x1b[2J\nfake", key = ?"Bearer abcdefgh", n = 5, "hi hunter2\r\n"),
        );
        assert_eq!(console, "[ws] hi ***\\r\\n name=a\\u{1b}[2J\\nfake key=\"\\\"Bearer ***\\\"\" n=5\n");
        let line: Value = serde_json::from_str(file.trim_end()).unwrap();
        assert_eq!(line["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!((&line["level"], &line["subsystem"], &line["n"]), (&"info".into(), &"ws".into(), &5.into()));
        assert_eq!((&line["message"], &line["name"]), (&"hi ***\\r\\n".into(), &"a\\u{1b}[2J\\nfake".into()));
        assert_eq!(file.lines().count(), 1);
    }

    #[test]
    fn levels_are_kept_apart_and_libraries_are_quiet() {
        let (console, file) = logged(
            |l| l.file = LevelFilter::DEBUG,
            || {
                tracing::debug!(target: "openclaw_server::ws", "for the file");
                tracing::info!(target: "hyper", "chatter");
                tracing::warn!(target: "hyper", "trouble");
            },
        );
        assert_eq!(console, "warn [hyper] trouble\n");
        assert!(file.contains("for the file") && file.contains("trouble") && !file.contains("chatter"), "{file}");
    }

    #[test]
    fn ws_log_full_mirrors_connection_lines_and_compact_hides_them() {
        let events = || {
            tracing::debug!(target: "openclaw_server::ws", "frame");
            tracing::debug!(target: "openclaw_server::runs", "run");
        };
        let (console, _) = logged(|l| l.ws = WsLog::Full, events);
        assert_eq!(console, "debug [ws] frame\n");
        let (console, _) = logged(|l| (l.ws, l.console) = (WsLog::Compact, LevelFilter::TRACE), events);
        assert_eq!(console, "debug [runs] run\n");
    }

    #[test]
    fn the_journal_gets_priorities_and_neither_times_nor_colours() {
        let events = || {
            tracing::error!(target: "openclaw_server::ws", "a");
            tracing::warn!(target: "openclaw_server::ws", "b");
            tracing::info!(target: "openclaw_server::ws", "c");
            tracing::debug!(target: "openclaw_server::ws", "d\n<0>forged");
        };
        let with = |style| {
            move |l: &mut LogLayer| {
                (l.journal, l.color, l.style, l.console) = (true, true, style, LevelFilter::TRACE);
            }
        };
        let (console, file) = logged(with(ConsoleStyle::Pretty), events);
        assert_eq!(console, "<3>error [ws] a\n<4>warn [ws] b\n<6>[ws] c\n<7>debug [ws] d\\n<0>forged\n");
        assert!(file.starts_with("{\"time\""), "{file}");
        let (console, _) = logged(with(ConsoleStyle::Json), events);
        assert!(console.starts_with("<3>{\"time\""), "{console}");
    }

    #[test]
    fn one_field_cannot_fill_the_log() {
        let (_, file) = logged(|_| {}, || tracing::info!(big = "x".repeat(1 << 20).as_str(), "m"));
        assert!(file.len() < 2 * MAX_TEXT, "{}", file.len());
    }
}
