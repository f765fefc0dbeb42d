//! sessions_list, sessions_history, sessions_send.

use openclaw_config::Config;
use openclaw_protocol::{message::Content, params::SessionsListParams};
use serde_json::{Value, json};

use super::own::{Context, Failed, params, text, timeout, told};
use crate::{
    bulk_reads::NotRead,
    rights::{self, Effect, Where},
    runs::{Outcome, RunRequest, default_timeout},
    sessions::{history, key},
};

fn limit(arguments: &Value) -> u64 {
    arguments["limit"].as_u64().unwrap_or(20).clamp(1, 100)
}

/// Whether this agent reaches a session: its own, and those of others unless `tools.agentToAgent` says otherwise.
fn is_in_reach(config: &Config, context: &Context, key: &str) -> bool {
    config.tools.reach(&context.agent_id, key::agent_of(config, key))
}

/// The session that is meant, by its whole key.
fn reached(context: &Context, shown: &str) -> Result<String, Failed> {
    let config = context.deps.settings.get();
    let key = key::canonical(&config, shown).ok_or("`sessionKey` is no session key")?;
    if is_in_reach(&config, context, &key) {
        return Ok(key);
    }
    Err("that session is another agent's, and tools.agentToAgent in the configuration does not open it".into())
}

pub async fn list(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    let mut wanted = json!({"limit": limit(arguments), "includeDerivedTitles": true});
    if context.deps.settings.get().tools.agent_to_agent.as_ref().is_some_and(|rules| !rules.enabled) {
        wanted["agentId"] = context.agent_id.clone().into();
    }
    if let Ok(search) = text(arguments, "search") {
        wanted["search"] = search.into();
    }
    let found = told(context.deps.listing.list(params::<SessionsListParams>(wanted)?).await)?;
    let kept = ["key", "label", "displayName", "derivedTitle", "channel", "updatedAt"];
    let config = context.deps.settings.get();
    let is_seen = |row: &&Value| {
        let key = row["key"].as_str().unwrap_or_default();
        is_in_reach(&config, context, key) && rights::may(&config, &context.by, Effect::See(Where::Session(key)))
    };
    let row = |row: &Value| kept.iter().filter_map(|k| Some(((*k).to_owned(), row.get(*k)?.clone()))).collect();
    Ok(found["sessions"].as_array().into_iter().flatten().filter(is_seen).map(row).collect::<Vec<Value>>().into())
}

pub async fn newest(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    let shown = text(arguments, "sessionKey")?;
    let key = reached(context, shown)?;
    context.require(Effect::See(Where::Session(&key)))?;
    let (sessions, limit) = (context.deps.sessions.clone(), limit(arguments));
    let newest = move || Ok::<_, NotRead>(history::newest(&sessions, &key, limit as usize)?.1);
    told(context.deps.reads.slice(newest).await)
}

/// The other session's run has no tools, so that two agents cannot keep each other busy for ever; and it is another
/// session, since a run that waits for its own queue would wait in vain.
pub async fn send(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    let shown = text(arguments, "sessionKey")?;
    let session_key = reached(context, shown)?;
    if session_key == context.session_key {
        return Err("this is the present session: answer here instead".into());
    }
    context.require(Effect::Run(Where::Session(&session_key)))?;
    if context.deps.sessions.get(&session_key).map_err(|_| "the state database cannot be read now")?.is_none() {
        return Err("no such session; see sessions_list".into());
    }
    let (input, timeout_of_run) =
        (vec![Content::text(text(arguments, "message")?)], default_timeout(&context.deps.settings.get()));
    let request = RunRequest {
        shown_key: shown.to_owned(),
        is_nested: true,
        ..RunRequest::new(context.by.clone(), context.key(), session_key, input, timeout_of_run)
    };
    // A run that keeps its permit while it waits for another could wait for ever (F54).
    if !context.runs.permits.release(&context.run.permit) {
        return Err("too many runs wait for something already; try again later".into());
    }
    let run_id = request.run_id.clone();
    let run = context.runs.submit(request).map_err(|e| e.to_string())?;
    match tokio::time::timeout(timeout(arguments), run.ended()).await {
        Err(_) | Ok(None) => Ok(json!({"status": "pending", "runId": run_id})),
        Ok(Some(ended)) => match &ended.outcome {
            Outcome::Failed(error) => Err(error.to_string()),
            Outcome::Ok { result, .. } => {
                let texts: Vec<&str> = result.payloads.iter().map(|p| p.text.as_str()).collect();
                Ok(json!({"status": "ok", "reply": texts.join("\n")}))
            }
        },
    }
}
