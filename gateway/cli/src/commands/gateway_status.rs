//! `gateway status`: the supervised service, the configuration and the answer of the gateway, told apart.

use std::time::Duration;

use openclaw_config::Bind;
use serde_json::{Value, json};

use crate::{
    args::ReadArgs,
    client::{self, Target},
    commands::health::probe_target,
    config_file::{self, State},
    derived_ports,
    failure::Failure,
    force, output,
    session::Session,
};

/// Prints the report; exit 0 when the probe (or with `no_probe` the service) is fine (D4).
///
/// # Errors
/// Quiet 1 when it is not.
pub async fn run(session: &Session, no_probe: bool, args: &ReadArgs) -> Result<(), Failure> {
    let paths = &session.paths;
    let exists = config_file::read(&paths.config)?.is_some();
    let (config, problems) = match config_file::load(session)? {
        State::Valid(loaded) => (loaded.config, vec![]),
        State::Invalid(problems) => (openclaw_config::Config::default(), problems),
    };
    let (port, source) = paths.port(None, &session.env, config.gateway.port)?;
    let target = Target::resolve(session, &args.connection)?;

    let service = service(session);
    let mut cli = json!({ "path": paths.config, "exists": exists, "valid": problems.is_empty() });
    if !problems.is_empty() {
        cli["issues"] = json!(problems);
    }
    let mut report = json!({
        "service": service,
        "config": { "cli": cli },
        "gateway": {
            "bindMode": config.gateway.bind,
            "bindHost": bind_host(config.gateway.bind, config.gateway.custom_bind_host.as_deref()),
            "port": port,
            "portSource": source.as_str(),
            "probeUrl": target.url,
            "ports": derived_ports::report(&derived_ports::derived_ports(&session.env, port, &config.canvas_host)?),
        },
        "port": port_report(session, port).await,
        "extraServices": [],
    });
    let fine = if no_probe {
        service["loaded"] == true
    } else {
        let rpc = probe_target(session, &target, Duration::from_millis(args.timeout)).await;
        let ok = rpc["ok"] == true;
        report["rpc"] = rpc;
        ok
    };
    // Addresses may have passwords in them (S34).
    let report = openclaw_config::Masker::default().mask_value(&report);
    if session.out.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    if fine { Ok(()) } else { Err(Failure::Quiet(1)) }
}

/// The supervised service. This version manages none yet, so none is loaded.
fn service(session: &Session) -> Value {
    let suffix = session.paths.profile.as_ref().map_or(String::new(), |p| format!("-{p}"));
    let (label, loaded_text, not_loaded_text) = if cfg!(target_os = "macos") {
        (format!("bot.molt.{}", session.paths.profile.as_deref().unwrap_or("gateway")), "loaded", "not loaded")
    } else {
        (format!("openclaw-gateway{suffix}"), "enabled", "disabled")
    };
    json!({
        "label": label,
        "loaded": false,
        "loadedText": loaded_text,
        "notLoadedText": not_loaded_text,
        "command": null,
        "runtime": { "status": "unknown" },
    })
}

fn bind_host(bind: Bind, custom: Option<&str>) -> String {
    match bind {
        Bind::Loopback | Bind::Auto => "127.0.0.1".to_owned(),
        Bind::Lan => "0.0.0.0".to_owned(),
        Bind::Tailnet => "tailnet".to_owned(),
        Bind::Custom => custom.unwrap_or_default().to_owned(),
    }
}

/// `{port, status: "busy"|"free", listeners, hints}`
async fn port_report(session: &Session, port: u16) -> Value {
    let platform = client::platform();
    let connect = platform.transport.connect("127.0.0.1", port);
    let busy = tokio::time::timeout(Duration::from_secs(1), connect).await.is_ok_and(|r| r.is_ok());
    let listeners = match force::find_lsof(session.env.get("PATH")) {
        Some(lsof) if busy => force::listeners(&*platform.processes, &lsof, port).await.unwrap_or_default(),
        _ => vec![],
    };
    let listeners: Vec<Value> = listeners.iter().map(|l| json!({ "pid": l.pid, "command": l.command })).collect();
    json!({ "port": port, "status": if busy { "busy" } else { "free" }, "listeners": listeners, "hints": [] })
}

fn print(report: &Value) -> Result<(), Failure> {
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let (service, gateway, cli) = (&report["service"], &report["gateway"], &report["config"]["cli"]);
    let config_state = match (cli["exists"] == true, cli["valid"] == true) {
        (false, _) => " (missing)",
        (_, false) => " (not valid: see `openclaw config validate`)",
        _ => "",
    };
    let mut lines = vec![
        format!("Service: {} ({})", text(&service["label"]), text(&service["notLoadedText"])),
        format!("Runtime: {}", text(&service["runtime"]["status"])),
        format!("Config:  {}{config_state}", text(&cli["path"])),
        format!(
            "Gateway: bind {}, port {} ({})",
            text(&gateway["bindMode"]),
            gateway["port"],
            text(&gateway["portSource"])
        ),
        format!("Port:    {} is {}", report["port"]["port"], text(&report["port"]["status"])),
    ];
    for listener in report["port"]["listeners"].as_array().into_iter().flatten() {
        lines.push(format!("         {} (pid {})", text(&listener["command"]), listener["pid"]));
    }
    lines.push(format!("Probe target: {}", text(&gateway["probeUrl"])));
    if let Some(rpc) = report.get("rpc") {
        lines.push(if rpc["ok"] == true {
            format!(
                "RPC probe: ok ({}ms)",
                rpc["connectMs"].as_u64().unwrap_or(0) + rpc["callMs"].as_u64().unwrap_or(0)
            )
        } else {
            format!("RPC probe: failed: {}", text(&rpc["error"]))
        });
    }
    output::rows(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::session;

    #[tokio::test]
    async fn d4_exit_1_when_nothing_answers() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), false);
        config_file::replace(&session.paths.config, "{gateway:{port:1}}").unwrap();
        let args = ReadArgs { connection: crate::args::ConnectionArgs::default(), timeout: 1000 };
        assert_eq!(run(&session, false, &args).await, Err(Failure::Quiet(1)));
        assert_eq!(run(&session, true, &args).await, Err(Failure::Quiet(1)));
    }

    #[test]
    fn d2_labels_follow_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let label = service(&session(dir.path(), true))["label"].clone();
        assert!(label == "openclaw-gateway-dev" || label == "bot.molt.dev", "{label}");
    }
}
