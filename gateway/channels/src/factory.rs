//! What the gateway has to know of a channel to offer it: one value of [`ChannelFactory`], in the channel's own folder.

use std::{io, sync::Arc};

use openclaw_config::{Config, InGroup, ListEntry, Secret, ToolRules};
use openclaw_platform::Platform;

use crate::{Channel, access::PairingStore};

/// A channel: its names, its accounts in the configuration, and how one of them is made.
pub struct ChannelFactory {
    /// Its id on the wire and the key of its section below `channels`.
    pub id: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// Further prefixes of ids, besides its own: `tg:42` for `telegram:42`.
    pub prefixes: &'static [&'static str],
    /// The one that a request means which names no channel.
    pub is_default: bool,
    /// People who ask are let in by `openclaw pairing approve`.
    pub has_pairing: bool,
    /// Environment variable with the credential of the account `default`.
    pub variable: Option<&'static str>,
    /// The setting of the credential, where it signs in with one.
    pub credential: Option<&'static str>,
    /// Ids of the accounts in the configuration; none when the channel is not configured.
    pub accounts: fn(&Config) -> Vec<String>,
    /// The first entry of the account's list of people, as it is written.
    pub first_allowed: fn(&Config, account: &str) -> Option<ListEntry>,
    /// What the configuration of a group lets runs in it call; each rule limits further.
    pub tool_rules: fn(&Config, &InGroup<'_>) -> Vec<ToolRules>,
    /// Makes an account; nothing connects yet.
    pub make: fn(&Making<'_>, account: &str) -> Made,
}

/// An account, or why it cannot be used, for the operator.
pub type Made = Result<Arc<dyn Channel>, String>;

/// What an account is made of.
pub struct Making<'a> {
    /// The seams.
    pub platform: &'a Platform,
    /// The configuration in force.
    pub config: &'a Config,
    /// Who was let in by pairing.
    pub pairing: Arc<PairingStore>,
    /// What [`ChannelFactory::variable`] holds.
    pub token: Option<&'a Secret>,
    /// Reads a file that holds a secret.
    pub read_secret: &'a dyn Fn(&str) -> io::Result<String>,
}

impl ChannelFactory {
    /// True for a prefix that means this channel before an id.
    pub fn is_prefix(&self, prefix: &str) -> bool {
        prefix.eq_ignore_ascii_case(self.id) || self.prefixes.iter().any(|other| prefix.eq_ignore_ascii_case(other))
    }
}
