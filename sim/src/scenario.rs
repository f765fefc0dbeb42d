//! Scenario files: one TOML file, one story. Typed; an unknown key is refused with its line and column.
//!
//! A scenario says what may happen; the seed draws from it what does happen ([`crate::plan`]). Everything explicit in it
//! (faults, scripted clients, messages) happens as written under every seed.

mod expect;
mod fault;
mod group;
mod span;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use expect::Expect;
pub use fault::{FaultEntry, FaultName, Swarm};
pub use group::{Group, Leave, Route, Signs, Step, Talk, Workload};
pub use span::Span;

/// What a plan may have of clients, requests, messages and faults together: it is drawn whole before the run.
const MOST_DRAWN: u64 = 100_000;

/// A story for the simulator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What this story shows, in one or two sentences.
    pub about: String,
    /// How long it goes on.
    #[serde(default)]
    pub run: RunSection,
    /// What lies between the hosts.
    #[serde(default)]
    pub network: Network,
    /// How the gateway is configured.
    #[serde(default)]
    pub gateway: GatewaySection,
    /// Groups of clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Group>,
    /// A fake Telegram Bot API with people who write to the bot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telegram: Option<TelegramSection>,
    /// A fake model server; without it the built-in echo model answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSection>,
    /// Faults at fixed times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fault: Vec<FaultEntry>,
    /// Faults that the seed draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm: Option<Swarm>,
    /// What must hold.
    #[serde(default)]
    pub expect: Expect,
}

/// `[run]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunSection {
    /// Simulated time with workload and faults.
    pub length: Span,
    /// Then: no new requests, no faults, everything must come to rest.
    pub drain: Span,
    /// Seeds `0..seeds` when the command line names none.
    pub seeds: u64,
    /// Always this seed: for scenarios that replay one failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Tasks that are ready run in an order that the seed draws, as threads would have it; as they are woken otherwise.
    pub shuffle: bool,
    /// Only the first so many of those choices; all of them when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle_first: Option<u64>,
    /// Blocking work of the gateway (everything with its database) takes time, drawn from the seed; none otherwise.
    pub disk_time: bool,
}

impl Default for RunSection {
    fn default() -> Self {
        let (length, drain) = (Span::secs(30), Span::secs(20));
        Self { length, drain, seeds: 20, seed: None, shuffle: true, shuffle_first: None, disk_time: true }
    }
}

/// `[network]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Shortest and longest one-way delay of a segment.
    pub latency: (Span, Span),
    /// Bytes that may be on their way in one direction before the writer waits; 0 leaves it to the socket.
    pub window: u64,
    /// Longest piece of one write, so that frames arrive in parts; 0 leaves writes whole.
    pub chunk: u64,
    /// There are servers of files ([`crate::files`]): `files.example` on the internet, `inside` where no address may lead.
    pub files: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self { latency: (Span::millis(1), Span::millis(20)), window: 64 << 10, chunk: 0, files: false }
    }
}

/// `[gateway]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySection {
    /// JSON5 laid over the simulator's own configuration (token, model, channel). `device:NAME`, as a whole member or
    /// value, stands for the device id of the client of that name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config: String,
    /// `gateway.limits` of the configuration, as in its file: `tickIntervalMs = 2000`.
    #[schemars(with = "std::collections::BTreeMap<String, u64>")]
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub limits: serde_json::Map<String, serde_json::Value>,
    /// The state that an earlier build has left: a directory below `scenarios/`, whose files are on the gateway's disk before its
    /// first start. Oracle `upgrade` follows what is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
}

/// `[telegram]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelegramSection {
    /// Private chats, each with one person.
    pub chats: u32,
    /// Between two messages of one chat, on average.
    pub every: Span,
    /// What people write; the seed chooses.
    pub texts: Vec<String>,
    /// Telegram's limit of messages to one chat: one in this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_interval: Option<Span>,
    /// Messages at fixed times; with any, `every` draws none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<TelegramMessage>,
    /// Further bots of the gateway, by account id: each has a Bot API of its own on the host `telegram-ID`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// People who say things of their own, beside `chats`, which may be 0 then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Person>,
}

/// `[[telegram.people]]`: one who writes to the bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Their number; 1 is the owner, as long as the configuration says nothing else.
    pub id: i64,
    /// Between two messages, on average.
    pub every: Span,
    /// What they write; the seed chooses. `{mark}` plants a mark of the chat. A command
    /// (`/stop`) is sent as it is, anything else with their number and its own in front.
    pub texts: Vec<String>,
    /// Chats that they write in; the seed chooses. Their private one when absent; negative ones are groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chats: Vec<i64>,
}

impl Default for TelegramSection {
    fn default() -> Self {
        Self {
            chats: 2,
            every: Span::secs(5),
            texts: vec!["hello".into()],
            chat_interval: None,
            accounts: Vec::new(),
            messages: Vec::new(),
            people: Vec::new(),
        }
    }
}

/// Somebody writes to the bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelegramMessage {
    /// When.
    pub at: Span,
    /// To which bot: one of `accounts`; the first one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Which chat, from 1; a negative one is a group.
    pub chat: i64,
    /// Who, in a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// What.
    pub text: String,
    /// What comes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Attached>,
    /// Members of Telegram's own message, put over those that it has by itself: `{ message_thread_id = 7, is_topic_message = true }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<serde_json::Value>,
}

/// A file that comes with a message, whose text is its caption then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attached {
    /// A picture, in two sizes.
    Photo,
    /// A small file.
    Document,
    /// A file of more than a megabyte.
    Large,
    /// A voice message.
    Voice,
    /// A picture that stands for words.
    Sticker,
    /// A short film without sound; for older clients it is told as a document, too.
    Animation,
}

/// `[model]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// Answer to texts without a directive; the echo of the text when absent. A text steers its own answer with a
    /// directive such as `[[slow:10:100]]`, `[[error:500]]`, `[[hang]]`, `[[cut:2]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// Speaks the Anthropic API, not OpenAI's.
    pub anthropic: bool,
    /// Its streams have forms that some servers and proxies give them, drawn by the seed: other line ends, comments, blocks and
    /// streams that nothing closes, pieces cut anywhere.
    pub odd: bool,
}

/// Why a scenario cannot be used; says file, line and column where they are known.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(pub String);

impl Scenario {
    /// Reads a scenario's text; `name` stands in errors.
    ///
    /// # Errors
    /// With line and column: bad TOML, unknown keys, wrong types, settings that do not fit together.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|e| {
            let (line, column) = e.span().map_or((1, 1), |span| position(text, span.start));
            ScenarioError(format!("{name}:{line}:{column}: {}", e.message()))
        })?;
        let at_table = |header: &str, n: usize| line_of(text, header, n);
        for (n, fault) in scenario.fault.iter().enumerate() {
            fault.check().map_err(|why| ScenarioError(format!("{name}:{}:1: {why}", at_table("[[fault]]", n))))?;
        }
        for (n, group) in scenario.clients.iter().enumerate() {
            group.check().map_err(|why| ScenarioError(format!("{name}:{}:1: {why}", at_table("[[clients]]", n))))?;
        }
        let devices: Vec<String> = scenario.clients.iter().filter(|g| g.device).flat_map(Group::names).collect();
        for (n, group) in scenario.clients.iter().enumerate() {
            let line = || at_table("[[clients]]", n);
            group.check_devices(&devices).map_err(|why| ScenarioError(format!("{name}:{}:1: {why}", line())))?;
        }
        if let Some(swarm) = &scenario.swarm {
            swarm.check().map_err(|why| ScenarioError(format!("{name}:{}:1: {why}", at_table("[swarm]", 0))))?;
        }
        crate::plan::settings_fit(&scenario)
            .map_err(|why| ScenarioError(format!("{name}:{}:1: swarm: {why}", at_table("[swarm", 0))))?;
        let drawn = scenario.drawn_at_most();
        if drawn > MOST_DRAWN {
            let why = format!("up to {drawn} clients, requests, messages and faults, at most {MOST_DRAWN}");
            return Err(ScenarioError(format!("{name}:1:1: {why}: fewer, rarer, or for a shorter time")));
        }
        crate::plan::config(&scenario, false).map_err(|why| {
            ScenarioError(format!("{name}:{}:1: the gateway's configuration: {why}", at_table("[gateway]", 0)))
        })?;
        if let Some(disk) = scenario.gateway.disk.as_ref().filter(|disk| !is_below(disk)) {
            let why = format!("disk: expected a directory below scenarios/, such as \"data/schema-3\", found {disk:?}");
            return Err(ScenarioError(format!("{name}:{}:1: {why}", at_table("[gateway]", 0))));
        }
        Ok(scenario)
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    /// As [`Scenario::parse`], and when the file cannot be read.
    #[allow(clippy::disallowed_methods)] // the runner's own files, not the simulated world's
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|e| ScenarioError(format!("{}: {e}", path.display())))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// How many things its plan may have.
    fn drawn_at_most(&self) -> u64 {
        // The shortest pause that is drawn is half the mean.
        let turns = |every: Span| self.run.length.ms() / (every.ms() / 2).max(1) + 1;
        let of_client = |group: &Group| match group.workload {
            Workload::Watch => 0,
            Workload::Script => group.script.iter().map(|step| u64::from(step.times.unwrap_or(1))).sum(),
            Workload::HostileReader | Workload::HostileNode => {
                turns(group.every).min(group.times.map_or(u64::MAX, u64::from)).saturating_mul(64)
            }
            _ => turns(group.every).min(group.times.map_or(u64::MAX, u64::from)).saturating_mul(2),
        };
        let clients = self.clients.iter().map(|g| u64::from(g.count).saturating_mul(of_client(g).saturating_add(1)));
        let telegram = self.telegram.iter().map(|t| {
            let people = t.people.iter().fold(0, |sum: u64, p| sum.saturating_add(turns(p.every)));
            people.saturating_add(match t.messages.len() {
                0 => u64::from(t.chats).saturating_mul(turns(t.every)),
                fixed => fixed as u64,
            })
        });
        let faults = [self.fault.len() as u64, self.swarm.as_ref().map_or(0, |s| 2 * u64::from(s.count.1))];
        clients.chain(telegram).chain(faults).fold(0, u64::saturating_add)
    }

    /// The scenario as a file.
    ///
    /// # Errors
    /// When a parameter has no form in TOML (null).
    pub fn to_toml(&self) -> Result<String, ScenarioError> {
        toml::to_string(self).map_err(|e| ScenarioError(e.to_string()))
    }
}

/// JSON Schema of a scenario file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Scenario).to_value()
}

/// A path of plain names.
fn is_below(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    path.split('/').all(|name| !name.is_empty() && !name.starts_with('.') && name.chars().all(plain))
}

/// Line and column, from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Line, from 1, of the `n`th table with this header.
fn line_of(text: &str, header: &str, n: usize) -> usize {
    let found = text.lines().enumerate().filter(|(_, line)| line.trim().starts_with(header)).nth(n);
    found.map_or(1, |(line, _)| line + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_of_one_line_is_enough() {
        let s = Scenario::parse("x.toml", "about = 'nothing happens'").unwrap();
        assert_eq!((s.run.length, s.run.drain), (Span::secs(30), Span::secs(20)));
    }

    #[test]
    fn errors_say_line_and_column() {
        let error = |text: &str| Scenario::parse("x.toml", text).unwrap_err().to_string();
        assert!(error("about = 'x'\n[run]\nlenght = '3s'\n").starts_with("x.toml:3:1: unknown field `lenght`"));
        let text = "about = 'x'\n\n[[fault]]\nkind = 'crash'\nat = '1s'\nbytes = 5\n";
        assert_eq!(error(text), "x.toml:3:1: fault crash: `bytes` means nothing here");
        assert!(
            error("about = 'x'\n[[clients]]\ngroup = 'a'\nworkload = 'talk'\n")
                .starts_with("x.toml:4:12: unknown variant")
        );
        let text = "about = 'x'\n[expect]\noff = ['latency', 'liveness']\n";
        assert!(error(text).starts_with("x.toml:3:7: no oracle \"liveness\"; there are frames,"), "{}", error(text));
        let text = "about = 'x'\n[gateway]\nlimits = { tickIntervalMs = 1 }\n";
        assert!(error(text).starts_with("x.toml:2:1: the gateway's configuration: gateway.limits.tickIntervalMs"));
        for disk in ["", "../data", "/data", "data//x", "data/.."] {
            let text = format!("about = 'x'\n[gateway]\ndisk = '{disk}'\n");
            assert!(error(&text).starts_with("x.toml:2:1: disk: expected a directory below scenarios/"), "{disk}");
        }
    }

    #[test]
    fn s21_a_plan_without_end_is_refused() {
        let error = |text: &str| Scenario::parse("x.toml", &format!("about = 'x'\n{text}")).unwrap_err().to_string();
        for endless in [
            "[[clients]]\ngroup = 'a'\nworkload = 'watch'\ncount = 4294967295",
            "[[clients]]\ngroup = 'a'\nworkload = 'rpc'\nevery = '0s'\n[run]\nlength = '1000h'",
            "[[clients]]\ngroup = 'a'\nworkload = 'chat'\ncount = 1000000\ntimes = 1",
            "[telegram]\nchats = 4000000000",
            "[swarm]\nkinds = ['cut']\ncount = [1, 4294967295]",
        ] {
            assert!(error(endless).starts_with("x.toml:1:1: up to "), "{endless}: {}", error(endless));
        }
    }

    #[test]
    fn a_written_scenario_reads_back() {
        let text = include_str!("../tests/every-key.toml");
        let s = Scenario::parse("every-key.toml", text).unwrap();
        assert_eq!(Scenario::parse("again", &s.to_toml().unwrap()).unwrap(), s);
    }
}
