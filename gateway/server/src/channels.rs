//! Messaging channels of this gateway: accounts, status. What comes in is in [`inbox`], what goes out in
//! [`crate::delivery`].

pub mod budget;
pub mod envelope;
pub mod fetch;
pub mod inbox;
pub mod media;
mod not_enclosed;
mod pending;
mod received;
mod unreachable;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_channels::{
    AccountStatus, Channel, ChannelError, ChannelFactory, Making, OpenTo, Target,
    access::PairingStore,
    table::{self, TABLE},
};
use openclaw_config::{Config, Secret};
use openclaw_platform::{
    Millis, Platform, Spawner, SpawnerExt as _,
    sync::{LockExt as _, RwLock, RwLockExt as _},
};
use openclaw_protocol::params::{ChannelsStatus, LinkChannel};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    options::{ReadSecret, ServerOptions},
    sessions::entry::Route,
    store::{Store, StoreError},
};

pub use not_enclosed::NotEnclosed;
pub use pending::Pending;
pub use unreachable::Unreachable;

/// The accounts, and what arrived.
pub struct Channels {
    /// What accounts are made with; what the configuration says comes with each making.
    platform: Platform,
    tokens: BTreeMap<&'static str, Secret>,
    read_secret: ReadSecret,
    made: RwLock<Arc<Made>>,
    /// What came in and waits to be handled.
    pub inbox: Arc<inbox::Inbox>,
    probes: Mutex<BTreeMap<(String, String), (Millis, Value)>>,
    /// Ends the receiving of a channel, and waits for its end.
    receiving: Mutex<BTreeMap<String, Receiving>>,
}

/// The accounts of a configuration.
#[derive(Default, Clone)]
struct Made {
    accounts: BTreeMap<(String, String), Arc<dyn Channel>>,
    pairing: BTreeMap<String, Arc<PairingStore>>,
    /// Configuration problems by account, for status.
    problems: Vec<(String, String, String)>,
}

/// A channel whose accounts receive.
struct Receiving {
    stop: CancellationToken,
    /// Closed when the last account has ended.
    ended: watch::Receiver<()>,
}

/// What receiving needs, again when a channel begins anew.
#[derive(Clone)]
pub struct Receivers {
    /// Where it runs.
    pub tasks: Arc<dyn Spawner>,
    /// Ends all channels.
    pub stop: CancellationToken,
    /// Called when an account receives no more.
    pub ended: Arc<dyn Fn() + Send + Sync>,
}

/// What there is to say about one account.
pub struct AccountFacts {
    /// Channel id.
    pub channel: String,
    /// The channel's name for people.
    pub label: String,
    /// Account id.
    pub account: String,
    /// What the account knows of itself, or why there is none.
    pub status: Result<AccountStatus, String>,
    /// Whether a person has linked it; `None` where that is no question.
    pub linked: Option<bool>,
    /// What its settings leave open.
    pub open_to: Vec<OpenTo>,
}

/// Channels as `health` and `status` show them.
pub struct ChannelsHealth {
    /// Ids in order.
    pub order: Vec<String>,
    /// Names by id.
    pub labels: BTreeMap<String, String>,
    /// Summaries by id.
    pub summaries: Map<String, Value>,
    /// The one that counts for readiness.
    pub link: Option<LinkChannel>,
    /// One line each, for people.
    pub lines: Vec<String>,
}

fn label(channel: &str) -> &str {
    table::find(channel).map_or(channel, |factory| factory.label)
}

impl Channels {
    /// Makes the configured accounts; nothing connects yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn open(platform: &Platform, store: &Store, options: &ServerOptions) -> Result<Self, StoreError> {
        let inbox = Arc::new(inbox::Inbox::load(store.clone())?);
        let channels = Self {
            platform: platform.clone(),
            tokens: options.channel_tokens.clone(),
            read_secret: options.read_secret.clone(),
            made: RwLock::default(),
            inbox,
            probes: Mutex::default(),
            receiving: Mutex::default(),
        };
        let mut made = Made::default();
        for factory in TABLE {
            channels.make(factory, &options.config, &mut made);
        }
        *channels.made.write_locked() = Arc::new(made);
        Ok(channels)
    }

    /// Makes the accounts of one channel.
    fn make(&self, factory: &ChannelFactory, config: &Config, made: &mut Made) {
        let ids = (factory.accounts)(config);
        if ids.is_empty() {
            return;
        }
        // Who was let in is asked of one place, whatever becomes of the accounts.
        let known = self.made().pairing.get(factory.id).cloned();
        let senders = known.unwrap_or_else(|| Arc::new(PairingStore::new(&self.platform, factory.id)));
        if factory.has_pairing {
            made.pairing.insert(factory.id.to_owned(), senders.clone());
        }
        let making = Making {
            platform: &self.platform,
            config,
            pairing: senders,
            token: self.tokens.get(factory.id),
            read_secret: &*self.read_secret,
        };
        for id in ids {
            match (factory.make)(&making, &id) {
                Ok(channel) => drop(made.accounts.insert((factory.id.to_owned(), id), channel)),
                Err(problem) => made.problems.push((factory.id.to_owned(), id, problem)),
            }
        }
    }

    /// One channel begins anew with what the configuration says now; nothing else notices. The old accounts have ended before
    /// the new ones begin: a service is never asked by both (F08).
    pub async fn restart(&self, id: &str, config: &Config, receivers: &Receivers) {
        let Some(factory) = table::find(id) else { return };
        let old = self.receiving.locked().remove(id);
        if let Some(Receiving { stop, mut ended }) = old {
            stop.cancel();
            // An error says that nobody is left.
            while ended.changed().await.is_ok() {}
        }
        let mut made = Made::clone(&self.made());
        made.accounts.retain(|(channel, _), _| channel != id);
        made.pairing.remove(id);
        made.problems.retain(|(channel, ..)| channel != id);
        self.make(factory, config, &mut made);
        *self.made.write_locked() = Arc::new(made);
        self.probes.locked().retain(|(channel, _), _| channel != id);
        tracing::info!(channel = id, "the channel begins anew with its changed configuration");
        self.tell_problems(id);
        self.begin(id, receivers);
    }

    fn made(&self) -> Arc<Made> {
        self.made.read_locked().clone()
    }

    /// Adds an account.
    #[cfg(test)]
    pub fn put(&mut self, channel: Arc<dyn Channel>) {
        let mut made = Made::clone(&self.made());
        made.accounts.insert((channel.id().to_owned(), channel.account().to_owned()), channel);
        *self.made.write_locked() = Arc::new(made);
    }

    /// An account of a channel; `None` for the id means its only or first one.
    pub fn account(&self, channel: &str, account: Option<&str>) -> Option<Arc<dyn Channel>> {
        let made = self.made();
        let mut of_channel = made.accounts.iter().filter(|((c, _), _)| c == channel);
        match account.map(str::trim).filter(|a| !a.is_empty()) {
            Some(id) => of_channel.find(|((_, a), _)| a == id).map(|(_, c)| c.clone()),
            None => of_channel.next().map(|(_, c)| c.clone()),
        }
    }

    /// The sender approvals of a channel.
    pub fn pairing(&self, channel: &str) -> Option<Arc<PairingStore>> {
        self.made().pairing.get(channel).cloned()
    }

    /// Accounts that can be used: those that a person has to link are linked.
    fn usable(&self) -> Vec<((String, String), Arc<dyn Channel>)> {
        let made = self.made();
        let usable = made.accounts.iter().filter(|(_, channel)| channel.is_linked() != Some(false));
        usable.map(|(key, channel)| (key.clone(), channel.clone())).collect()
    }

    /// All channels with sender approvals.
    pub fn pairings(&self) -> Vec<(String, Arc<PairingStore>)> {
        self.made().pairing.iter().map(|(id, store)| (id.clone(), store.clone())).collect()
    }

    /// The account and the target that a route means.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn resolve(&self, route: &Route) -> Result<(Arc<dyn Channel>, Target), Unreachable> {
        let name = route.channel.as_str();
        let Some(channel) = self.account(name, Some(&route.account_id)) else {
            return Err(Unreachable::NoAccount(name.to_owned()));
        };
        let to = channel.parse_target(&route.to).map_err(|e| Unreachable::BadTarget(e.to_string()))?;
        if channel.is_linked() == Some(false) {
            return Err(Unreachable::NotLinked(label(name).to_owned()));
        }
        Ok((channel, to))
    }

    /// Channels as `health` shows them.
    pub fn health(&self, _config: &Config, now: Millis) -> ChannelsHealth {
        let mut out =
            ChannelsHealth { order: vec![], labels: BTreeMap::new(), summaries: Map::new(), link: None, lines: vec![] };
        for (id, rows) in self.rows(now) {
            out.labels.insert(id.clone(), label(&id).to_owned());
            let first = rows.first().cloned().unwrap_or_default();
            let mut accounts = Map::new();
            for row in &rows {
                let account = row["accountId"].as_str().unwrap_or_default().to_owned();
                out.lines.push(format!("{} {account}: {}", label(&id), state_line(row)));
                accounts.insert(account, row.clone());
            }
            let mut summary = first.as_object().cloned().unwrap_or_default();
            summary.insert("accounts".into(), Value::Object(accounts));
            out.summaries.insert(id.clone(), Value::Object(summary));
            let is_linked = self.account(&id, None).and_then(|channel| channel.is_linked());
            if let (Some(linked), None) = (is_linked, &out.link) {
                let label = label(&id).to_owned();
                out.link = Some(LinkChannel { id: id.clone(), label, linked, auth_age_ms: None });
            }
            out.order.push(id);
        }
        out
    }

    /// All accounts, those that cannot be used too.
    pub fn facts(&self) -> Vec<AccountFacts> {
        let made = self.made();
        let there = made.accounts.iter().map(|((channel, account), there)| AccountFacts {
            channel: channel.clone(),
            label: label(channel).to_owned(),
            account: account.clone(),
            status: Ok(there.status()),
            linked: there.is_linked(),
            open_to: there.open_to(),
        });
        let missing = made.problems.iter().map(|(channel, account, why)| AccountFacts {
            channel: channel.clone(),
            label: label(channel).to_owned(),
            account: account.clone(),
            status: Err(why.clone()),
            linked: None,
            open_to: vec![],
        });
        there.chain(missing).collect()
    }

    /// Accounts by channel, as JSON rows, in order.
    fn rows(&self, _now: Millis) -> Vec<(String, Vec<Value>)> {
        let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let made = self.made();
        let probes = self.probes.locked();
        for (key, channel) in &made.accounts {
            let mut row = channel.row();
            row["accountId"] = json!(key.1);
            if let Some((at, probe)) = probes.get(key) {
                row["lastProbeAt"] = json!(at);
                row["probe"] = probe.clone();
            }
            rows.entry(key.0.clone()).or_default().push(row);
        }
        for (channel, account, problem) in &made.problems {
            let status = AccountStatus { last_error: Some(problem.clone()), enabled: true, ..AccountStatus::default() };
            let mut row = serde_json::to_value(status).unwrap_or_default();
            row["accountId"] = json!(account);
            rows.entry(channel.clone()).or_default().push(row);
        }
        rows.into_iter().collect()
    }

    /// `channels.status`; with `probe` every service is asked, side by side.
    pub async fn status(&self, now: Millis, probe: Option<Duration>) -> ChannelsStatus {
        if let Some(limit) = probe {
            let asked = self.usable().into_iter().map(|(key, channel)| async move {
                let answer = channel.probe(limit.as_millis() as u64).await;
                (key, (now, answer))
            });
            let answers = futures_util::future::join_all(asked).await;
            self.probes.locked().extend(answers);
        }
        let mut out = ChannelsStatus {
            ts: now,
            channel_order: vec![],
            channel_labels: BTreeMap::new(),
            channels: Map::new(),
            channel_accounts: Map::new(),
            channel_default_account_id: BTreeMap::new(),
            delivery: None,
        };
        for (id, rows) in self.rows(now) {
            let first = rows.first().cloned().unwrap_or_default();
            let default = first["accountId"].as_str().unwrap_or("default").to_owned();
            out.channel_labels.insert(id.clone(), label(&id).to_owned());
            out.channels.insert(id.clone(), first);
            out.channel_accounts.insert(id.clone(), Value::Array(rows));
            out.channel_default_account_id.insert(id.clone(), default);
            out.channel_order.push(id);
        }
        out
    }
}

fn state_line(row: &Value) -> String {
    if let Some(error) = row["lastError"].as_str() {
        return error.to_owned();
    }
    let state = if row["connected"] == true {
        "connected"
    } else if row["running"] == true {
        "starting"
    } else {
        "not running"
    };
    state.to_owned()
}

impl Channels {
    /// Starts receiving on every account.
    pub fn receive(self: &Arc<Self>, receivers: &Receivers) {
        for factory in TABLE {
            self.begin(factory.id, receivers);
        }
    }

    /// Starts receiving on the accounts of one channel.
    fn begin(&self, id: &str, receivers: &Receivers) {
        let stop = receivers.stop.child_token();
        let (alive, ended) = watch::channel(());
        let alive = Arc::new(alive);
        let accounts =
            self.usable().into_iter().filter(|((channel, _), account)| channel == id && account.status().enabled);
        for (_, channel) in accounts {
            let (inbox, stop, alive) = (self.inbox.clone(), stop.clone(), alive.clone());
            let told = receivers.ended.clone();
            receivers.tasks.spawn("channel", async move {
                let (id, account) = (channel.id(), channel.account().to_owned());
                tracing::info!(channel = id, account, "channel starting");
                match channel.receive(&*inbox, stop).await {
                    Ok(()) => tracing::info!(channel = id, account, "channel stopped"),
                    Err(ChannelError::Credentials(why)) => {
                        tracing::error!(channel = id, account, why, "channel stopped for good");
                    }
                }
                drop(alive);
                told();
            });
        }
        self.receiving.locked().insert(id.to_owned(), Receiving { stop, ended });
    }

    /// Says which accounts of a channel cannot be used.
    fn tell_problems(&self, id: &str) {
        for (channel, account, problem) in self.made().problems.iter().filter(|(channel, ..)| channel == id) {
            tracing::error!(channel, account, problem, "channel cannot start");
        }
    }

    /// Says which accounts cannot be used.
    pub fn tell_all_problems(&self) {
        for factory in TABLE {
            self.tell_problems(factory.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use openclaw_platform::os;

    use super::*;

    fn channels(config: &str) -> Channels {
        let config = openclaw_config::parse(config, &|_| None).unwrap().config;
        let platform = os::without_files();
        let store = crate::schema::open(&platform).unwrap();
        Channels::open(&platform, &store, &ServerOptions::bare(Arc::new(config))).unwrap()
    }

    fn refused(channels: &Channels, channel: &str, to: &str) -> String {
        let route = Route { channel: channel.into(), to: to.into(), account_id: String::new() };
        channels.resolve(&route).err().unwrap().to_string()
    }

    #[test]
    fn a_channel_that_nobody_linked_is_shown_and_refuses() {
        let there = channels("{channels:{whatsapp:{dmPolicy:'open',allowFrom:['*']}}}");
        let health = there.health(&Config::default(), 0);
        assert!(health.link.is_some_and(|link| link.id == "whatsapp" && link.label == "WhatsApp" && !link.linked));
        assert_eq!(health.lines, ["WhatsApp default: not linked"]);
        let row = &health.summaries["whatsapp"]["accounts"]["default"];
        let shown = [&row["linked"], &row["enabled"], &row["dmPolicy"], &row["accountId"]];
        assert_eq!(shown, [&json!(false), &json!(true), &json!("open"), &json!("default")]);
        assert_eq!(refused(&there, "whatsapp", "+123"), "WhatsApp is not linked on this gateway");
        assert!(refused(&there, "whatsapp", "ann").contains("requires target"));
        assert_eq!(there.usable().len() + there.pairings().len(), 0);
        let nowhere = channels("{channels:{whatsapp:{enabled:false}}}");
        assert!(refused(&nowhere, "whatsapp", "+123").contains("unsupported channel: whatsapp"));
    }

    #[test]
    fn accounts_come_out_of_the_table() {
        let there = channels("{channels:{telegram:{accounts:{a:{botToken:'1:a'},b:{}}}}}");
        assert_eq!(there.account("telegram", None).unwrap().account(), "a");
        assert!(there.account("telegram", Some("b")).is_none());
        assert_eq!(
            there.made().problems.iter().map(|(c, a, _)| (c.as_str(), a.as_str())).collect::<Vec<_>>(),
            [("telegram", "b")]
        );
        assert_eq!(there.pairings().len(), 1);
    }
}
