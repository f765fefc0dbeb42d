//! Messaging channels of this gateway: accounts, status. What comes in is in [`inbox`], what goes out in
//! [`crate::delivery`].

pub mod budget;
pub mod envelope;
pub mod fetch;
pub mod inbox;
pub mod media;
mod pending;
mod received;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_channels::{
    AccountStatus, Channel, ChannelError, Inbound, Making, Target,
    access::PairingStore,
    table::{self, TABLE},
};
use openclaw_config::Config;
use openclaw_platform::{Millis, Platform, Spawner, SpawnerExt as _, sync::LockExt as _};
use openclaw_protocol::{
    error::{ErrorCode, ErrorShape},
    params::{ChannelsStatus, LinkChannel},
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    options::ServerOptions,
    rights::{self, Principal, Standing},
    sessions::{self, entry::Route},
    store::{Store, StoreError},
};

pub use pending::Pending;

/// The accounts, and what arrived.
pub struct Channels {
    accounts: BTreeMap<(String, String), Arc<dyn Channel>>,
    pairing: BTreeMap<String, Arc<PairingStore>>,
    /// Configuration problems by account, for status.
    problems: Vec<(String, String, String)>,
    /// What came in and waits to be handled.
    pub inbox: Arc<inbox::Inbox>,
    probes: Mutex<BTreeMap<(String, String), (Millis, Value)>>,
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
        let mut accounts: BTreeMap<_, Arc<dyn Channel>> = BTreeMap::new();
        let mut pairing = BTreeMap::new();
        let mut problems = Vec::new();
        let config = &*options.config;
        for factory in TABLE {
            let ids = (factory.accounts)(config);
            if ids.is_empty() {
                continue;
            }
            let senders = Arc::new(PairingStore::new(platform, factory.id));
            if factory.has_pairing {
                pairing.insert(factory.id.to_owned(), senders.clone());
            }
            let making = Making {
                platform,
                config,
                pairing: senders,
                token: options.channel_tokens.get(factory.id),
                read_secret: &*options.read_secret,
            };
            for id in ids {
                match (factory.make)(&making, &id) {
                    Ok(channel) => drop(accounts.insert((factory.id.to_owned(), id), channel)),
                    Err(problem) => problems.push((factory.id.to_owned(), id, problem)),
                }
            }
        }
        let inbox = Arc::new(inbox::Inbox::load(store.clone())?);
        Ok(Self { accounts, pairing, problems, inbox, probes: Mutex::default() })
    }

    /// Adds an account.
    #[cfg(test)]
    pub fn put(&mut self, channel: Arc<dyn Channel>) {
        self.accounts.insert((channel.id().to_owned(), channel.account().to_owned()), channel);
    }

    /// An account of a channel; `None` for the id means its only or first one.
    pub fn account(&self, channel: &str, account: Option<&str>) -> Option<Arc<dyn Channel>> {
        let mut of_channel = self.accounts.iter().filter(|((c, _), _)| c == channel);
        match account.map(str::trim).filter(|a| !a.is_empty()) {
            Some(id) => of_channel.find(|((_, a), _)| a == id).map(|(_, c)| c.clone()),
            None => of_channel.next().map(|(_, c)| c.clone()),
        }
    }

    /// The sender approvals of a channel.
    pub fn pairing(&self, channel: &str) -> Option<&Arc<PairingStore>> {
        self.pairing.get(channel)
    }

    /// Who wrote a message that came in: the one place where people of chats become principals.
    pub fn person(&self, config: &Config, channel: &str, account: &str, message: &Inbound) -> Principal {
        let sender = message.sender.id.as_str();
        let pairing = self.pairing(channel).map(|p| &**p);
        let is_owner = rights::owner_of(config, channel, account, pairing).is(sender);
        let (session, is_shared) = sessions::key::of_inbound(config, channel, account, message, is_owner);
        let standing = match (is_owner, is_shared) {
            (true, _) => Standing::Owner,
            (false, false) => Standing::Alone,
            (false, true) => Standing::Sharing,
        };
        Principal::Person {
            channel: channel.to_owned(),
            account: account.to_owned(),
            id: sender.to_owned(),
            chat: message.chat.address(),
            session,
            standing,
        }
    }

    /// Accounts that can be used: those that a person has to link are linked.
    fn usable(&self) -> impl Iterator<Item = (&(String, String), &Arc<dyn Channel>)> {
        self.accounts.iter().filter(|(_, channel)| channel.is_linked() != Some(false))
    }

    /// All channels with sender approvals.
    pub fn pairings(&self) -> impl Iterator<Item = (&String, &Arc<PairingStore>)> {
        self.pairing.iter()
    }

    /// The account and the target that a route means.
    ///
    /// # Errors
    /// INVALID_REQUEST for a bad channel or target, NOT_LINKED.
    pub fn resolve(&self, route: &Route) -> Result<(Arc<dyn Channel>, Target), ErrorShape> {
        let name = route.channel.as_str();
        let Some(channel) = self.account(name, Some(&route.account_id)) else {
            return Err(ErrorShape::invalid("UNSUPPORTED_CHANNEL", format!("unsupported channel: {name}")));
        };
        let to = channel.parse_target(&route.to).map_err(|e| ErrorShape::invalid("BAD_TARGET", e.to_string()))?;
        if channel.is_linked() == Some(false) {
            let text = format!("{} is not linked on this gateway", label(name));
            return Err(ErrorShape::new(ErrorCode::NotLinked, "NOT_LINKED", text));
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

    /// Accounts by channel, as JSON rows, in order.
    fn rows(&self, _now: Millis) -> Vec<(String, Vec<Value>)> {
        let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let probes = self.probes.locked();
        for (key, channel) in &self.accounts {
            let mut row = channel.row();
            row["accountId"] = json!(key.1);
            if let Some((at, probe)) = probes.get(key) {
                row["lastProbeAt"] = json!(at);
                row["probe"] = probe.clone();
            }
            rows.entry(key.0.clone()).or_default().push(row);
        }
        for (channel, account, problem) in &self.problems {
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
            let asked = self.usable().map(|(key, channel)| async move {
                let answer = channel.probe(limit.as_millis() as u64).await;
                (key.clone(), (now, answer))
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
    /// Starts receiving on every account, until `stop`; `ended` is called when one receives no more.
    pub fn receive(
        self: &Arc<Self>,
        tasks: &Arc<dyn Spawner>,
        stop: &CancellationToken,
        ended: &Arc<dyn Fn() + Send + Sync>,
    ) {
        for (_, channel) in self.usable().filter(|(_, channel)| channel.status().enabled) {
            let (this, channel, stop, ended) = (self.clone(), channel.clone(), stop.clone(), ended.clone());
            tasks.spawn("channel", async move {
                let (id, account) = (channel.id(), channel.account().to_owned());
                tracing::info!(channel = id, account, "channel starting");
                match channel.receive(&*this.inbox, stop).await {
                    Ok(()) => tracing::info!(channel = id, account, "channel stopped"),
                    Err(ChannelError::Credentials(why)) => {
                        tracing::error!(channel = id, account, why, "channel stopped for good");
                    }
                }
                ended();
            });
        }
    }

    /// Says which accounts cannot be used.
    pub fn tell_problems(&self) {
        for (channel, account, problem) in &self.problems {
            tracing::error!(channel, account, problem, "channel cannot start");
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
        let error = channels.resolve(&route).err().unwrap();
        format!("{:?}: {}", error.code, error.message)
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
        assert_eq!(refused(&there, "whatsapp", "+123"), "NotLinked: WhatsApp is not linked on this gateway");
        assert!(refused(&there, "whatsapp", "ann").contains("requires target"));
        assert_eq!(there.usable().count() + there.pairings().count(), 0);
        let nowhere = channels("{channels:{whatsapp:{enabled:false}}}");
        assert!(refused(&nowhere, "whatsapp", "+123").contains("unsupported channel: whatsapp"));
    }

    #[test]
    fn accounts_come_out_of_the_table() {
        let there = channels("{channels:{telegram:{accounts:{a:{botToken:'1:a'},b:{}}}}}");
        assert_eq!(there.account("telegram", None).unwrap().account(), "a");
        assert!(there.account("telegram", Some("b")).is_none());
        assert_eq!(
            there.problems.iter().map(|(c, a, _)| (c.as_str(), a.as_str())).collect::<Vec<_>>(),
            [("telegram", "b")]
        );
        assert_eq!(there.pairings().count(), 1);
    }
}
