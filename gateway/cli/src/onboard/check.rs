//! Whether a key or a token is right: its service is asked once. A refusal is told and stops nothing.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use openclaw_agent::provider::ModelRequest;
use openclaw_channels::{ChannelFactory, Made, Making, access::PairingStore};
use openclaw_config::{Config, ECHO_MODEL, resolve_model};
use openclaw_protocol::{display, message::Message, truncate};
use openclaw_server::{providers::Providers, settings::Settings};
use serde_json::{Value, json};

use super::settings::{Setting, applied};
use crate::{client, config_around::Around, config_file, failure::Failure, session::Session};

/// A service has this long to answer.
const WAIT: Duration = Duration::from_secs(20);
/// Characters shown of what a service says.
const SHOWN: usize = 300;

/// What a service said.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The model, or the channel.
    pub what: String,
    /// Who answered, or why it was refused.
    pub answer: Result<String, String>,
}

impl Checked {
    /// `{ok, detail}` or `{ok, error}`.
    pub fn json(&self) -> Value {
        match &self.answer {
            Ok(detail) => json!({ "what": self.what, "ok": true, "detail": detail }),
            Err(error) => json!({ "what": self.what, "ok": false, "error": error }),
        }
    }
}

/// The configuration as it would be with the settings.
///
/// # Errors
/// Config: the settings do not fit into the file.
pub fn preview(session: &Session, text: Option<&str>, settings: &[Setting]) -> Result<Arc<Config>, Failure> {
    let (text, _) = applied(text, settings)?;
    let loaded = openclaw_config::read(&text, &Around(session));
    loaded.map(|loaded| Arc::new(loaded.config)).map_err(|problems| Failure::problems(&session.paths.config, &problems))
}

/// Asks the default agent's model for one token. None when that is the built-in one, which is always there.
pub async fn model(config: Arc<Config>) -> Option<Checked> {
    let agent = config.default_agent().to_owned();
    let model = resolve_model(&config, &agent)?.primary;
    if model.to_string() == ECHO_MODEL {
        return None;
    }
    let providers = Providers::new(&client::platform(), Settings::new(config));
    let answer = match providers.choice(&model, &agent) {
        Err(why) => Err(why),
        Ok(choice) => {
            let messages = vec![Message::user("hi", 0)];
            let request =
                ModelRequest { model: choice.model, messages, max_tokens: Some(1), ..ModelRequest::default() };
            let mut events = choice.provider.stream(request);
            match tokio::time::timeout(WAIT, events.next()).await {
                Ok(Some(Ok(_))) => Ok("it answers".to_owned()),
                Ok(Some(Err(error))) => Err(error.to_string()),
                Ok(None) => Err("it answered nothing".to_owned()),
                Err(_) => Err(format!("no answer within {} seconds", WAIT.as_secs())),
            }
        }
    };
    Some(Checked { what: model.to_string(), answer: answer.map_err(|why| shown(&why)) })
}

/// The first account of a channel, ready to be asked.
///
/// # Errors
/// Why it cannot be: it is not configured, or has no credential.
pub fn account(session: &Session, config: &Config, factory: &ChannelFactory) -> Made {
    let platform = client::platform();
    let token = factory.variable.and_then(|name| session.env.secret(name));
    let making = Making {
        platform: &platform,
        config,
        pairing: Arc::new(PairingStore::new(&platform, factory.id)),
        token: token.as_ref(),
        read_secret: &|file| config_file::read_secret(&session.paths.expand(file)),
    };
    let accounts = (factory.accounts)(config);
    let account = accounts.first().ok_or("it is not configured")?;
    (factory.make)(&making, account)
}

/// Asks a channel's service who the account is.
pub async fn channel(session: &Session, config: &Config, factory: &ChannelFactory) -> Checked {
    let answer = match account(session, config, factory) {
        Err(why) => Err(why),
        Ok(channel) => {
            let said = channel.probe(WAIT.as_millis() as u64).await;
            let name =
                said["bot"]["username"].as_str().map_or_else(|| "it answers".to_owned(), |name| format!("@{name}"));
            let why = || said["error"].as_str().unwrap_or("no reason was given").to_owned();
            if said["ok"] == true { Ok(name) } else { Err(why()) }
        }
    };
    let answer = answer.map(|name| shown(&name)).map_err(|why| shown(&why));
    Checked { what: factory.id.to_owned(), answer }
}

/// One line of text from outside, without secrets.
fn shown(text: &str) -> String {
    let text = openclaw_config::Masker::default().mask(text).to_string();
    display::line(truncate::chars(&text, SHOWN)).to_string()
}
