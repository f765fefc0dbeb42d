//! What is there already: it is kept, and only what is missing is asked for.

use std::sync::Arc;

use openclaw_channels::{ChannelFactory, table::TABLE};
use openclaw_config::{Config, ECHO_MODEL, GatewayMode, Path, read_value, resolve_model};
use serde_json::Value;

use super::check;
use crate::{config_around::Around, config_file, failure::Failure, session::Session};

/// The approvals file; its defaults say what commands meet, too.
const APPROVALS: &str = "exec-approvals.json";

/// The configuration before anything was asked.
pub struct Found {
    /// The file's text; none when there is no file, or an empty one.
    pub text: Option<String>,
    /// What it says, with what it includes.
    pub config: Arc<Config>,
    /// Channels that a credential opens and that have none.
    pub channels_left: Vec<&'static ChannelFactory>,
    value: Value,
    has_exec_defaults: bool,
}

impl Found {
    /// Reads the file.
    ///
    /// # Errors
    /// Config: it is there and cannot be used; it has to be mended first.
    pub fn read(session: &Session) -> Result<Self, Failure> {
        let file = &session.paths.config;
        let text = config_file::read(file)?.filter(|text| !text.trim().is_empty());
        let loaded = openclaw_config::read(text.as_deref().unwrap_or_default(), &Around(session))
            .map_err(|problems| Failure::problems(file, &problems))?;
        let approvals = config_file::read_text(&session.paths.state_dir.join(APPROVALS)).ok().flatten();
        let approvals: Value = approvals.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let said = |key: &str| approvals["defaults"][key].as_str().is_some_and(|word| !word.is_empty());
        let has_exec_defaults = said("security") || said("ask");
        // What stands in the file itself, so that a value of the environment does not count as written.
        let value = text.as_deref().and_then(|text| read_value(text).ok()).unwrap_or_default();
        let left = TABLE.iter().copied().filter(|factory| factory.credential.is_some());
        let left = left.filter(|factory| check::account(session, &loaded.config, factory).is_err()).collect();
        Ok(Self { text, config: Arc::new(loaded.config), channels_left: left, value, has_exec_defaults })
    }

    /// True when something stands at `path` in the file.
    pub fn has(&self, path: &Path) -> bool {
        path.get(&self.value).is_some_and(|value| !value.is_null())
    }

    /// Where the gateway runs, when that was said.
    pub fn mode(&self) -> Option<GatewayMode> {
        self.config.gateway.mode
    }

    /// True when people and programs are told from strangers already.
    pub fn has_credential(&self) -> bool {
        let auth = &self.config.gateway.auth;
        auth.token.is_some() || auth.password.is_some() || auth.token_file.is_some() || auth.password_file.is_some()
    }

    /// The model that answers, unless it is the built-in one, which stands for none (D35).
    pub fn model(&self) -> Option<String> {
        let model = resolve_model(&self.config, self.config.default_agent())?.primary.to_string();
        (model != ECHO_MODEL).then_some(model)
    }

    /// True when somebody has said what commands of agents meet (D47).
    pub fn has_exec_access(&self) -> bool {
        let exec = &self.config.tools.exec;
        exec.security.is_some() || exec.ask.is_some() || self.has_exec_defaults
    }
}
