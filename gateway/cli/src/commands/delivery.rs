//! `delivery ...`: messages that are not delivered.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{args::ReadArgs, client::call_once, commands::health::ago, failure::Failure, output, session::Session};

/// `delivery ...`
#[derive(Debug, Subcommand)]
pub enum DeliveryCommand {
    /// Show messages that wait to be sent, were given up, or may not have arrived
    List {
        /// Only those in this state
        #[arg(long)]
        state: Option<DeliveryState>,
        /// At most this many (1 to 1000)
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Which gateway.
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Send a message again that was given up, or one that waits now; what has arrived of it is not repeated
    Retry(Selection),
    /// Take a message out for good
    Drop(Selection),
}

/// Which messages.
#[derive(Debug, Args)]
pub struct Selection {
    /// The message's id (see `delivery list`)
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All that were given up (dead), or all that may not have arrived (unknown)
    #[arg(long, value_name = "STATE")]
    all: Option<EndedState>,
    /// Which gateway.
    #[command(flatten)]
    read: ReadArgs,
}

/// Where a message is in its life.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DeliveryState {
    /// Waits for its turn or the next try.
    Queued,
    /// On its way.
    Attempting,
    /// Given up.
    Dead,
    /// May or may not have arrived.
    Unknown,
}

/// A state that only a person ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum EndedState {
    /// Given up.
    Dead,
    /// May or may not have arrived; sending it again may double it.
    Unknown,
}

fn name(state: impl ValueEnum) -> String {
    state.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// Runs one of them.
///
/// # Errors
/// Runtime: the gateway's reason.
pub async fn run(session: &Session, command: &DeliveryCommand) -> Result<(), Failure> {
    match command {
        DeliveryCommand::List { state, limit, read } => {
            let mut params = json!({ "limit": limit });
            if let Some(state) = state {
                params["state"] = json!(name(*state));
            }
            let found = call_once(session, read, "delivery.list", params).await?;
            list(session, &found)
        }
        DeliveryCommand::Retry(selection) => select(session, "delivery.retry", selection, "to be sent again").await,
        DeliveryCommand::Drop(selection) => select(session, "delivery.drop", selection, "dropped").await,
    }
}

async fn select(session: &Session, method: &str, selection: &Selection, done: &str) -> Result<(), Failure> {
    let Selection { id, all, read } = selection;
    let params = match (id, all) {
        (_, Some(all)) => json!({ "all": name(*all) }),
        (id, None) => json!({ "id": id }),
    };
    let answer = call_once(session, read, method, params).await?;
    if session.out.json {
        return output::json(&answer);
    }
    let ids: Vec<&str> = answer["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if ids.is_empty() {
        return output::line("There is none.");
    }
    output::line(format!("{} {done}: {}", ids.len(), ids.join(", ")))
}

fn list(session: &Session, found: &Value) -> Result<(), Failure> {
    if session.out.json {
        return output::json(found);
    }
    let rows = found["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return output::line("Everything is delivered.");
    }
    let now = crate::clock::now().as_millisecond().unsigned_abs();
    for row in rows {
        output::rows(lines(row, now))?;
    }
    let counts = &found["counts"];
    output::line(format!("{} queued, {} given up, {} unknown", counts["queued"], counts["dead"], counts["unknown"]))
}

fn lines(row: &Value, now: u64) -> Vec<String> {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let state = match (text("state"), text("reason")) {
        (state, "") => state.to_owned(),
        (state, reason) => format!("{state} ({reason})"),
    };
    let said: String = text("text").chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
    let mut lines = vec![format!(
        "{}  {state}  {} {} to {}, {} old, {} attempts: {said:?}",
        text("id"),
        text("channel"),
        text("accountId"),
        text("to"),
        ago(now.saturating_sub(row["createdAt"].as_u64().unwrap_or(now))),
        row["attempts"],
    )];
    lines.extend(row["error"].as_str().map(|error| format!("    {error}")));
    lines
}
