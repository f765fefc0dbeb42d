//! `health`, `status`, `gateway call`, `gateway probe`.

use std::time::{Duration, Instant};

use openclaw_protocol::truncate;
use serde_json::{Value, json};

use crate::{
    args::ReadArgs,
    client::{Connection, Target, call_once},
    failure::Failure,
    output,
    session::Session,
};

/// How long something took. Only for people to read.
#[allow(clippy::disallowed_methods)]
pub fn stopwatch() -> impl Fn() -> u128 {
    let start = Instant::now();
    move || start.elapsed().as_millis()
}

/// `health`: exit 0 only when the gateway says `ok`.
///
/// # Errors
/// Runtime.
pub async fn health(session: &Session, args: &ReadArgs) -> Result<(), Failure> {
    let connection = Connection::open(session, &args.connection, Duration::from_millis(args.timeout)).await?;
    let elapsed = stopwatch();
    let health = connection.call("health", json!({})).await?;
    let took = elapsed();
    connection.close().await;
    let ok = health["ok"] == true;
    if session.out.json {
        output::json(&health)?;
    } else {
        output::line("Gateway Health")?;
        output::line(if ok { format!("OK ({took}ms)") } else { format!("NOT OK ({took}ms)") })?;
        if let Some(problem) = health["problem"].as_str() {
            output::line(format!("Problem: {problem}"))?;
        }
        if let Some(problem) = health["configProblem"].as_str() {
            output::line(format!("Problem: the configuration file is not in force: {problem}"))?;
        }
        if let Some(problem) = health["reachProblem"].as_str() {
            output::line(format!("Problem: {problem}"))?;
        }
        for id in health["channelOrder"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            output::line(channel_line(id, &health))?;
        }
    }
    if ok { Ok(()) } else { Err(Failure::Quiet(1)) }
}

fn channel_line(id: &str, health: &Value) -> String {
    let channel = &health["channels"][id];
    let label = health["channelLabels"][id].as_str().unwrap_or(id);
    let yes = |key: &str| channel[key] == true;
    let state = if !yes("configured") {
        "not configured"
    } else if channel.get("linked").is_some_and(|linked| linked == false) {
        "not linked"
    } else if channel["probe"]["ok"] == false {
        "configured, the service does not answer"
    } else if yes("linked") {
        "linked"
    } else {
        "configured"
    };
    let age = channel["authAgeMs"].as_u64().map_or(String::new(), |ms| format!(" (signed in {} ago)", ago(ms)));
    format!("{label}: {state}{age}")
}

/// `90s`, `12m`, `5h`, `3d`.
pub fn ago(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..=99 => format!("{s}s"),
        s @ 100..=5999 => format!("{}m", s / 60),
        s @ 6000..=172_799 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// `status`: a summary in a few lines.
///
/// # Errors
/// Runtime.
pub async fn status(session: &Session, args: &ReadArgs) -> Result<(), Failure> {
    let connection = Connection::open(session, &args.connection, Duration::from_millis(args.timeout)).await?;
    let status = connection.call("status", json!({})).await?;
    let hello = connection.client.hello().clone();
    connection.close().await;
    if session.out.json {
        return output::json(&status);
    }
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let uptime = hello["snapshot"]["uptimeMs"].as_u64().map_or(String::new(), |ms| format!(", up {}", ago(ms)));
    let mut lines = vec![
        format!("Gateway:  {} (version {}{uptime})", connection.url, text(&hello["server"]["version"])),
        format!("Config:   {}", text(&hello["snapshot"]["configPath"])),
        format!("State:    {}", text(&hello["snapshot"]["stateDir"])),
    ];
    if let Some(problem) = status["problem"].as_str() {
        lines.push(format!("Problem:  {problem}"));
    }
    if let Some(problem) = status["configProblem"].as_str() {
        lines.push(format!("Problem:  the configuration file is not in force: {problem}"));
    }
    if let Some(problem) = status["reachProblem"].as_str() {
        lines.push(format!("Problem:  {problem}"));
    }
    let warnings = status["configWarnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(warnings.map(|warning| format!("Warning:  {warning}")));
    let defaults = &status["sessions"]["defaults"];
    lines.push(format!("Model:    {}", defaults["model"].as_str().unwrap_or("none is configured")));
    lines.push(format!("Sessions: {}", status["sessions"]["count"].as_u64().unwrap_or(0)));
    for agent in status["heartbeat"]["agents"].as_array().into_iter().flatten() {
        let every =
            if agent["enabled"] == true { format!("every {}", text(&agent["every"])) } else { "off".to_owned() };
        lines.push(format!("Agent:    {} (heartbeat {every})", text(&agent["agentId"])));
    }
    if let Some(link) = status.get("linkChannel").filter(|l| l.is_object()) {
        let state = if link["linked"] == true { "linked" } else { "not linked" };
        let age = link["authAgeMs"].as_u64().map_or(String::new(), |ms| format!(", signed in {} ago", ago(ms)));
        lines.push(format!("Link:     {} {state}{age}", text(&link["label"])));
    }
    let summary = status["channelSummary"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(summary.map(|line| format!("Channel:  {line}")));
    let queued = status["queuedSystemEvents"].as_array().map_or(0, Vec::len);
    if queued > 0 {
        lines.push(format!("Notes:    {queued} waiting for the agent"));
    }
    output::rows(lines)
}

/// `gateway call METHOD`.
///
/// # Errors
/// Usage when `params` is no JSON object, else Runtime.
pub async fn call(
    session: &Session,
    method: &str,
    params: &str,
    expect_final: bool,
    args: &ReadArgs,
) -> Result<(), Failure> {
    let params: Value = serde_json::from_str(params)
        .map_err(|e| Failure::Runtime(format!("gateway call: --params is not JSON: {e}; found {}", shown(params))))?;
    if !expect_final {
        let payload = call_once(session, args, method, params).await?;
        return output::json(&payload);
    }
    let connection = Connection::open(session, &args.connection, Duration::from_millis(args.timeout)).await?;
    let result = connection.client.call_final(method, params, connection.timeout).await;
    connection.close().await;
    output::json(&result.map_err(|e| connection.failed(method, &e))?.payload)
}

fn shown(text: &str) -> String {
    format!("{:?}", truncate::chars(text, 60))
}

/// `gateway probe`: connect and ask for the status, with times.
///
/// # Errors
/// Quiet 1 when there is no answer; it was printed.
pub async fn probe(session: &Session, args: &ReadArgs) -> Result<(), Failure> {
    let target = Target::resolve(session, &args.connection)?;
    let report = probe_target(session, &target, Duration::from_millis(args.timeout)).await;
    let ok = report["ok"] == true;
    if session.out.json {
        output::json(&report)?;
    } else if ok {
        let ms = |key: &str| report[key].as_u64().unwrap_or(0);
        let line = format!("{}: OK, connected in {}ms, answered in {}ms", target.url, ms("connectMs"), ms("callMs"));
        output::line(line)?;
    } else {
        return Err(Failure::Runtime(report["error"].as_str().unwrap_or("no answer").to_owned()));
    }
    if ok { Ok(()) } else { Err(Failure::Quiet(1)) }
}

/// `{ok, url, connectMs?, callMs?, version?, error?}`
pub async fn probe_target(session: &Session, target: &Target, timeout: Duration) -> Value {
    let elapsed = stopwatch();
    let client = match target.try_connect(timeout).await {
        Ok(client) => client,
        Err(e) => return json!({ "ok": false, "url": target.url, "error": target.explain(session, &e) }),
    };
    let connected = elapsed() as u64;
    let elapsed = stopwatch();
    let answer = client.call("status", json!({}), timeout).await;
    let called = elapsed() as u64;
    let version = client.hello()["server"]["version"].clone();
    client.close().await;
    match answer {
        Ok(_) => {
            json!({ "ok": true, "url": target.url, "connectMs": connected, "callMs": called, "version": version })
        }
        Err(e) => json!({ "ok": false, "url": target.url, "connectMs": connected, "error": e.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_lines_say_what_matters() {
        let health = json!({
            "channels": {
                "telegram": {"configured": true, "probe": {"ok": true}},
                "whatsapp": {"configured": true, "linked": false},
                "x": {"configured": true, "linked": true, "authAgeMs": 7_200_000},
            },
            "channelLabels": {"telegram": "Telegram"},
        });
        assert_eq!(channel_line("telegram", &health), "Telegram: configured");
        assert_eq!(channel_line("whatsapp", &health), "whatsapp: not linked");
        assert_eq!(channel_line("x", &health), "x: linked (signed in 2h ago)");
        assert_eq!(channel_line("none", &health), "none: not configured");
    }

    #[test]
    fn ages_are_short() {
        assert_eq!([ago(5000), ago(600_000), ago(7_200_000), ago(86_400_000 * 3)], ["5s", "10m", "2h", "3d"]);
    }
}
