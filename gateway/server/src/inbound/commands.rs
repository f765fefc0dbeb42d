//! What a message can say to the gateway instead of the model: stop words and slash commands (section 4).

use std::sync::Arc;

use openclaw_config::ModelRef;
use openclaw_platform::Clock;

use crate::{
    delivery::{Delivery, unknown},
    health::Monitor,
    rights::{self, Effect, Principal, Where},
    runs::{
        Runs,
        request::{mode_in_force, mode_of},
    },
    sessions::{entry::SessionEntry, key::agent_of, store::Sessions},
    settings::Settings,
    store::StoreError,
};

/// What commands use of others.
pub struct Deps {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The configuration.
    pub settings: Settings,
    /// What they are about.
    pub sessions: Arc<Sessions>,
    /// What they end.
    pub runs: Arc<Runs>,
    /// What they send again.
    pub delivery: Arc<Delivery>,
    /// Which model is the default.
    pub health: Arc<Monitor>,
    /// The version of this program.
    pub version: String,
}

/// Answers commands.
pub struct Commands(Deps);

const STOP: [&str; 7] = ["/stop", "stop", "esc", "abort", "wait", "exit", "interrupt"];
const HELP: &str = "Commands: /status shows the session, /new or /reset starts it anew, /model names the model, /queue says \
                    what happens to messages that come during a run, /stop ends the run under way, /resend sends again what may not have arrived, /help shows this.";

/// True for a whole message that means: end what you are doing.
pub fn is_stop(text: &str) -> bool {
    // In groups Telegram writes `/stop@name_of_the_bot`.
    let text = if text.starts_with('/') { text.split('@').next().unwrap_or_default() } else { text };
    STOP.iter().any(|s| text.eq_ignore_ascii_case(s))
}

fn command(text: &str) -> Option<&str> {
    let word = text.split_whitespace().next()?;
    // In groups Telegram writes `/status@name_of_the_bot`.
    let word = word.split('@').next()?;
    let known = ["/status", "/new", "/reset", "/model", "/help", "/commands", "/queue", "/start", "/resend"];
    known.into_iter().find(|k| word.eq_ignore_ascii_case(k))
}

/// True for a message that begins with a command.
pub fn is_command(text: &str) -> bool {
    command(text).is_some()
}

/// What somebody hears who may not do that to a session; nothing is done.
const NOT_YOURS: &str = "Only the owner can do that here. In a private chat of your own you can.";

/// What somebody hears whom `commands.allowFrom` does not name; nothing is done.
const NOT_TAKEN: &str = "Commands are taken from those whom commands.allowFrom names.";

impl Commands {
    /// Answers commands by these services.
    pub fn new(deps: Deps) -> Self {
        Self(deps)
    }

    /// The answer to a stop word or command of `by`; `None` for a message to the model. Changing a session needs the right to
    /// (D46, D48).
    pub async fn answer(&self, by: &Principal, key: &str, text: &str) -> Option<String> {
        let here = Where::Session(key);
        let may = |effect| rights::may(&self.0.settings.get(), by, effect);
        if is_stop(text) {
            if !may(Effect::Stop(here)) {
                return Some(refused(by, Effect::Stop(here)));
            }
            let aborted = self.0.runs.end(key, |_| true, "stop").aborted;
            return Some(if aborted { "Stopped." } else { "Nothing is running." }.to_owned());
        }
        let command = command(text)?;
        if let Principal::Person { channel, id, .. } = by
            && !self.0.settings.get().commands.allows(channel, id)
        {
            return Some(NOT_TAKEN.to_owned());
        }
        let changes =
            matches!(command, "/new" | "/reset") || (command == "/queue" && text.split_whitespace().count() > 1);
        if changes && !may(Effect::Change(here)) {
            return Some(refused(by, Effect::Change(here)));
        }
        Some(match command {
            "/status" => self.status(key),
            "/new" | "/reset" => self.reset(key).await,
            "/model" => match self.0.sessions.get(key) {
                Ok(entry) => format!("Model: {}", self.model_of(key, entry)),
                Err(error) => unreadable(&error),
            },
            "/queue" => self.queue(key, text).await,
            "/resend" => self.resend(by).await,
            "/start" => format!("Hello. Write to me and I answer.\n\n{HELP}"),
            _ => HELP.to_owned(),
        })
    }

    fn model_of(&self, key: &str, entry: Option<SessionEntry>) -> String {
        let config = self.0.settings.get();
        let own = entry.and_then(|e| e.provider_override.zip(e.model_override));
        let own = own.map(|(provider, model)| ModelRef { provider, model });
        let model = own.or_else(|| openclaw_config::resolve_model(&config, agent_of(&config, key)).map(|r| r.primary));
        model.map_or_else(|| "none configured".to_owned(), |m| m.to_string())
    }

    fn status(&self, key: &str) -> String {
        let entry = match self.0.sessions.get(key) {
            Ok(entry) => entry.unwrap_or_default(),
            Err(error) => return unreadable(&error),
        };
        let running = self.0.runs.of_session(key).len();
        let context = self.0.health.model_defaults().context_tokens;
        let used = context.map_or_else(|| entry.context_used.to_string(), |c| format!("{} of {c}", entry.context_used));
        format!(
            "OpenClaw {}\nModel: {}\nSession: {key}\nTokens: {} in, {} out; context {used}\nRuns under way: {running}\n\
             Thinking: {}",
            self.0.version,
            self.model_of(key, Some(entry.clone())),
            entry.input_tokens,
            entry.output_tokens,
            entry.thinking_level.as_deref().unwrap_or("off"),
        )
    }

    /// `/queue` shows the mode, `/queue MODE` sets the session's own, `/queue default` takes it back.
    async fn queue(&self, key: &str, text: &str) -> String {
        const MODES: &str = "collect, followup, steer, steer-backlog, interrupt or default";
        let entry = match self.0.sessions.get(key) {
            Ok(entry) => entry,
            Err(error) => return unreadable(&error),
        };
        let channel =
            entry.as_ref().and_then(|e| e.delivery_context.as_ref()).map_or("webchat", |r| r.channel.as_str());
        let shown = |entry: Option<&SessionEntry>| {
            let mode = mode_in_force(&self.0.settings.get(), entry, channel);
            format!("Messages that come during a run: {}.", openclaw_protocol::connect::wire_name(&mode))
        };
        let Some(word) = text.split_whitespace().nth(1).map(str::to_lowercase) else {
            return format!("{} /queue {MODES} changes it.", shown(entry.as_ref()));
        };
        let mode = match (word.as_str(), mode_of(&word)) {
            ("default" | "reset", _) => None,
            (_, Some(mode)) => Some(openclaw_protocol::connect::wire_name(&mode)),
            _ => return format!("Unknown mode. Expected {MODES}."),
        };
        let change = move |entry: &mut SessionEntry| entry.queue_mode.clone_from(&mode);
        match self.0.sessions.update(key, self.0.clock.wall(), change, |_, _| Ok(())).await {
            Ok((entry, ())) => shown(Some(&entry)),
            Err(error) => {
                tracing::error!(%error, "queue mode by command");
                "The mode could not be stored: the state database cannot be used now.".to_owned()
            }
        }
    }

    /// What may not have arrived in the chat that asks goes out again, there and nowhere else (D49).
    async fn resend(&self, by: &Principal) -> String {
        let Principal::Person { channel, account, chat, .. } = by else {
            return "That is for chats of a channel: see openclaw delivery list and openclaw delivery retry."
                .to_owned();
        };
        let chat = chat.split(":topic:").next().unwrap_or_default();
        match unknown::resend(&self.0.delivery, channel, account, chat).await {
            Ok(0) => "There is nothing to send again.".to_owned(),
            Ok(_) => "Sent again.".to_owned(),
            Err(error) => {
                tracing::error!(%error, "resend by command");
                "It cannot be sent again now. Please try again later.".to_owned()
            }
        }
    }

    async fn reset(&self, key: &str) -> String {
        let now = self.0.clock.wall();
        let id = self.0.sessions.new_id();
        let change = move |entry: &mut SessionEntry| *entry = entry.restarted(id.clone(), now);
        match self.0.sessions.update(key, now, change, |_, _| Ok(())).await {
            Ok(_) => "A new session has begun.".to_owned(),
            Err(error) => {
                tracing::error!(%error, "reset by command");
                "The session could not be begun anew: the state database cannot be used now.".to_owned()
            }
        }
    }
}

/// Operators are told the scope that they lack, people what to do.
fn refused(by: &Principal, effect: Effect<'_>) -> String {
    match by {
        Principal::Operator { .. } => rights::refusal(by, effect).to_string(),
        _ => NOT_YOURS.to_owned(),
    }
}

/// What a command says that cannot read the session.
const UNREADABLE: &str = "The state database cannot be read now. Please try again later.";

fn unreadable(error: &StoreError) -> String {
    tracing::error!(%error, "state database");
    UNREADABLE.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_whole_messages() {
        for text in ["stop", "/stop", "/STOP", "/stop@my_bot", "wait"] {
            assert!(is_stop(text), "{text}");
        }
        for text in ["stop it", "/stop now", "/stopped", "stop@my_bot", ""] {
            assert!(!is_stop(text), "{text}");
        }
    }
}
