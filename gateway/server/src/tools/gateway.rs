//! gateway: the configuration file and restarts, for who may change them (D50, S23).

use openclaw_config::{Path, hints, schema};
use serde_json::{Value, json};

use super::own::{Context, Failed, text};
use crate::{
    configuration::edits::{Ask, Order, Restart, Wanted},
    rights::Effect,
};

/// What it can do.
pub const ACTIONS: [&str; 5] = ["config.get", "config.schema", "config.patch", "config.apply", "restart"];

/// Does it.
///
/// # Errors
/// What is wrong with the arguments, or why nothing was done.
pub async fn call(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    context.require(Effect::Configure)?;
    match text(arguments, "action")? {
        "config.get" => get(context, arguments).await,
        "config.schema" => described(arguments),
        "config.patch" => change(context, arguments, Wanted::Patch).await,
        "config.apply" => change(context, arguments, Wanted::Replace).await,
        "restart" => restart(context, arguments).await,
        other => Err(format!("no such action: {other}; there are {}", ACTIONS.join(", "))),
    }
}

/// The part of the file that is asked for.
fn path(arguments: &Value) -> Result<Path, Failed> {
    Path::parse(arguments["path"].as_str().unwrap_or_default().trim()).map_err(|e| e.to_string())
}

async fn get(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    let (path, look) = (path(arguments)?, context.deps.config_look.clone());
    let blocking = move || look.look().map_err(|e| format!("the configuration file cannot be read: {e}"));
    let tasks = context.deps.platform.tasks.clone();
    let file = openclaw_platform::SpawnerExt::blocking(&*tasks, blocking).await.ok_or("the gateway stops")??;
    let found = path.get(&file.parsed).ok_or_else(|| format!("nothing is set at {path}; see config.schema"))?;
    Ok(json!({ "hash": file.hash, "valid": file.valid, "issues": file.issues, "config": found }))
}

/// Keys below the path, with what each means; the whole schema is longer than a model should read.
fn described(arguments: &Value) -> Result<Value, Failed> {
    let path = path(arguments)?.to_string();
    if path.is_empty() {
        let sections: Vec<&String> = schema()["properties"].as_object().into_iter().flatten().map(|(k, _)| k).collect();
        return Ok(json!({ "sections": sections, "hint": "give one of them as `path`" }));
    }
    let is_below =
        |key: &str| key.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let keys: serde_json::Map<String, Value> = hints()
        .into_iter()
        .filter(|(key, _)| is_below(key))
        .map(|(key, hint)| (key, json!({ "help": hint["help"], "effect": hint["effect"] })))
        .collect();
    if keys.is_empty() { Err(format!("there is no key {path}")) } else { Ok(keys.into()) }
}

async fn change(context: &Context, arguments: &Value, wanted: Wanted) -> Result<Value, Failed> {
    let raw = text(arguments, "raw")?.to_owned();
    let base = match text(arguments, "baseHash") {
        Ok(base) => base.to_owned(),
        Err(_) => get(context, &json!({})).await?["hash"].as_str().unwrap_or_default().to_owned(),
    };
    let order = Order { wanted, raw, base: Some(base) };
    match context.deps.config_edits.make_and_restart(order, ask(context, arguments)).await {
        Ok((_, restart)) => Ok(told(&restart)),
        Err(error) => {
            let problems: Vec<String> = error.problems().iter().take(20).map(ToString::to_string).collect();
            let more = if problems.is_empty() { String::new() } else { format!(": {}", problems.join("; ")) };
            Err(format!("{error}{more}"))
        }
    }
}

/// A restart alone needs the word of the file (`commands.restart`); a change of it carries its own.
async fn restart(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    if !context.deps.settings.get().commands.restart {
        return Err("restarts are not allowed here: commands.restart is not true".to_owned());
    }
    Ok(told(&context.deps.config_edits.restart(ask(context, arguments)).await))
}

fn ask(context: &Context, arguments: &Value) -> Ask {
    Ask {
        session: Some(context.session_key.clone()),
        note: text(arguments, "note").ok().map(str::to_owned),
        delay_ms: arguments["delayMs"].as_u64(),
    }
}

fn told(restart: &Restart) -> Value {
    let after = "the gateway restarts then; this conversation is told when it is back";
    json!({ "ok": true, "restartInMs": restart.delay_ms, "next": after })
}
