//! The report for people, a line for each thing.

use super::report::{ConfigFile, Port, PortStatus, Report, Runtime, RuntimeStatus, Service};

/// All lines in order.
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines = service(&report.service);
    lines.push(String::new());
    lines.push(format!("Config (cli):     {}", config(&report.config.cli)));
    if let Some(daemon) = &report.config.daemon {
        lines.push(format!("Config (service): {}", config(daemon)));
    }
    if report.config.mismatch == Some(true) {
        lines.push("  These are two: the service and this command line have different configurations.".to_owned());
    }
    let gateway = &report.gateway;
    lines.push(format!(
        "Gateway:          bind {} ({}), port {} ({})",
        gateway.bind_mode, gateway.bind_host, gateway.port, gateway.port_source
    ));
    lines.push(format!("Probe target:     {}", gateway.probe_url));
    lines.extend(gateway.tls_fingerprint.iter().map(|found| format!("Certificate:      {found}")));
    lines.extend(gateway.probe_note.iter().map(|note| format!("  {note}")));
    lines.extend(report.rpc.iter().map(|rpc| {
        if rpc.ok {
            let ms = rpc.connect_ms.unwrap_or(0) + rpc.call_ms.unwrap_or(0);
            let version = rpc.version.as_ref().map_or(String::new(), |version| format!(", version {version}"));
            format!("RPC probe:        ok ({ms}ms{version})")
        } else {
            format!("RPC probe:        failed: {}", rpc.error.as_deref().unwrap_or("no answer"))
        }
    }));
    lines.extend(port("Port:             ", &report.port));
    if let Some(cli) = &report.port_cli {
        lines.extend(port("Port (cli):       ", cli));
    }
    lines.extend(report.last_error.iter().map(|error| format!("Last gateway error: {error}")));
    if !report.extra_services.is_empty() {
        lines.push(String::new());
        lines.push("Other services of this machine that seem to run a gateway:".to_owned());
        for other in &report.extra_services {
            let legacy = if other.legacy { ", of an earlier program" } else { "" };
            lines.push(format!("  {} ({}{legacy}): {}", other.label, other.scope, other.detail));
        }
    }
    if !report.hints.is_empty() {
        lines.push(String::new());
        lines.extend(report.hints.iter().map(|hint| format!("-> {hint}")));
    }
    lines
}

fn service(service: &Service) -> Vec<String> {
    let loaded = if service.loaded { &service.loaded_text } else { &service.not_loaded_text };
    let mut lines = vec![format!("Service:          {} ({loaded})", service.label)];
    if let Some(command) = &service.command {
        lines.push(format!("  File:           {}", command.source_path));
        lines.push(format!("  Command:        {}", command.program_arguments.join(" ")));
        lines.extend(command.working_directory.iter().map(|dir| format!("  Directory:      {dir}")));
        for (name, value) in &command.environment {
            lines.push(format!("  Environment:    {name}={value}"));
        }
    }
    lines.push(format!("Runtime:          {}", runtime(&service.runtime)));
    for issue in &service.config_audit.issues {
        lines.push(format!("  {}: {}", issue.code, issue.message));
    }
    lines
}

fn runtime(runtime: &Runtime) -> String {
    let word = match runtime.status {
        RuntimeStatus::Running => "running",
        RuntimeStatus::Starting => "starting",
        RuntimeStatus::Restarting => "does not stay up, and is started again",
        RuntimeStatus::Stopping => "stopping",
        RuntimeStatus::Stopped => "stopped",
        RuntimeStatus::Failed => "failed, and is not started again",
        RuntimeStatus::Missing => "not installed",
        RuntimeStatus::Unknown => "unknown",
    };
    let states: Vec<&str> = [&runtime.state, &runtime.sub_state].into_iter().flatten().map(String::as_str).collect();
    let mut more: Vec<String> = vec![];
    more.extend(runtime.pid.map(|pid| format!("pid {pid}")));
    more.extend((!states.is_empty()).then(|| states.join("/")));
    let is_error = matches!(runtime.status, RuntimeStatus::Restarting | RuntimeStatus::Failed);
    if let (true, Some(code)) = (is_error, runtime.last_exit_status) {
        more.push(format!("last end: {} {code}", runtime.last_exit_reason.as_deref().unwrap_or("exited")));
    }
    more.extend(runtime.restarts.filter(|n| *n > 0).map(|n| format!("started again {n} times")));
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    let detail = runtime.detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
    format!("{word}{more}{detail}")
}

fn config(file: &ConfigFile) -> String {
    let state = match (file.exists, file.valid) {
        (false, true) => " (missing)".to_owned(),
        (_, false) => {
            let first = file.issues.first().map_or(String::new(), |issue| format!("{}: {}", issue.path, issue.message));
            format!(" (not valid: {first}; see `openclaw config validate`)")
        }
        (true, true) => String::new(),
    };
    format!("{}{state}", file.path)
}

fn port(head: &str, port: &Port) -> Vec<String> {
    let status = match port.status {
        PortStatus::Busy => "somebody listens",
        PortStatus::Free => "nobody listens",
    };
    let mut lines = vec![format!("{head}{}: {status}", port.port)];
    lines.extend(port.listeners.iter().map(|listener| format!("  {} (pid {})", listener.command, listener.pid)));
    lines.extend(port.hints.iter().map(|hint| format!("  {hint}")));
    lines
}
