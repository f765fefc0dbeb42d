//! What `gateway status --json` says. Scripts read it: what is here stays, and more may come. Its JSON Schema is
//! docs/gateway-status.schema.json.

use std::collections::BTreeMap;

use openclaw_config::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::derived_ports::DerivedPorts;

/// `gateway status --json`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the supervisor says.
    pub service: Service,
    /// The configuration files.
    pub config: ConfigFiles,
    /// Where the gateway is looked for.
    pub gateway: Gateway,
    /// The port that the service has, or the gateway of this command line when there is none.
    pub port: Port,
    /// The port that a gateway of this command line would have, when it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_cli: Option<Port>,
    /// Whether the gateway answers; absent with --no-probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<Rpc>,
    /// Other services of this machine that run a gateway; never those of OpenClaw's own profiles.
    pub extra_services: Vec<ExtraService>,
    /// Why the gateway does not serve, as it said last; only when the service seems to run and its port is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What to do next.
    pub hints: Vec<String>,
}

/// The supervised service.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The name under which the supervisor knows it.
    pub label: String,
    /// True when the supervisor starts it by itself.
    pub loaded: bool,
    /// How the supervisor calls that ...
    pub loaded_text: String,
    /// ... and its contrary.
    pub not_loaded_text: String,
    /// What it runs; null when there is no service.
    pub command: Option<Command>,
    /// What the process does.
    pub runtime: Runtime,
    /// What is unusual about its definition.
    pub config_audit: Audit,
    /// Whether it goes on when its person has logged out, where that is a question (systemd).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger: Option<bool>,
}

/// What the service runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// Program and arguments, without secrets.
    pub program_arguments: Vec<String>,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Those of its variables that say where things are.
    pub environment: BTreeMap<String, String>,
    /// The file that the supervisor reads.
    pub source_path: String,
}

/// What the supervised process does.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// In one word, the same for each supervisor.
    pub status: RuntimeStatus,
    /// The supervisor's own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// And its second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_state: Option<String>,
    /// The process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Exit code, or number of the signal, of the process before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit_status: Option<i32>,
    /// `exited`, `killed`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit_reason: Option<String>,
    /// How often the supervisor started it anew by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// In a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What the supervised process does, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeStatus {
    /// The process is there.
    Running,
    /// It has begun and does not serve yet.
    Starting,
    /// It ended with an error; the supervisor will start it again.
    Restarting,
    /// It was told to end and has not yet.
    Stopping,
    /// It does not run, and nobody calls that an error.
    Stopped,
    /// It ended with an error and is not started again.
    Failed,
    /// There is no such service.
    Missing,
    /// The supervisor does not say.
    Unknown,
}

/// What is unusual about the service's definition.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Nothing is.
    pub ok: bool,
    /// What is.
    pub issues: Vec<Issue>,
}

/// One thing that differs from what `gateway install` would write.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Issue {
    /// Stable, for scripts.
    pub code: String,
    /// For people.
    pub message: String,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `recommended` or `aggressive`.
    pub level: String,
}

/// The configuration of this command line, and that of the service.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFiles {
    /// The one that this command line reads.
    pub cli: ConfigFile,
    /// The one that the service reads; absent without a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon: Option<ConfigFile>,
    /// True when they are two different ones: then commands and service may talk of different gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<bool>,
}

/// A configuration file.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFile {
    /// Where.
    pub path: String,
    /// The state directory that goes with it.
    pub state_dir: String,
    /// It is there.
    pub exists: bool,
    /// It can be used.
    pub valid: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<ConfigIssue>,
}

/// One thing wrong with a configuration file.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigIssue {
    /// Where in the file.
    pub path: String,
    /// What.
    pub message: String,
}

impl From<Problem> for ConfigIssue {
    fn from(problem: Problem) -> Self {
        Self { path: problem.path, message: problem.message }
    }
}

/// Where the gateway is looked for.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// `loopback`, `lan`, `tailnet`, `auto`, `custom`
    pub bind_mode: String,
    /// The address that this means.
    pub bind_host: String,
    /// `gateway.customBindHost`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_bind_host: Option<String>,
    /// Its port.
    pub port: u16,
    /// What said so: `service args`, `service env`, `env`, `config`, `default`.
    pub port_source: String,
    /// What is asked.
    pub probe_url: String,
    /// What to know about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_note: Option<String>,
    /// Its ports besides its own.
    pub ports: DerivedPorts,
    /// SHA-256 of the certificate that it shows, where it speaks TLS: what `--tls-fingerprint` expects elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_fingerprint: Option<String>,
}

/// A TCP port of this machine.
#[allow(clippy::struct_field_names)] // the key that scripts know
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// Whether somebody listens.
    pub status: PortStatus,
    /// Who, as far as the system tells.
    pub listeners: Vec<Listener>,
    /// What to know about that.
    pub hints: Vec<String>,
}

/// Whether somebody listens on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PortStatus {
    /// Somebody does.
    Busy,
    /// Nobody does.
    Free,
}

/// A process that listens.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its id.
    pub pid: i32,
    /// Its program.
    pub command: String,
}

/// What came of asking the gateway.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rpc {
    /// It connected and answered `status`.
    pub ok: bool,
    /// What was asked.
    pub url: String,
    /// Until the connection was signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// Until `status` was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_ms: Option<u64>,
    /// The gateway's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Another service that runs a gateway.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtraService {
    /// `systemd`, `launchd`, `windows`
    pub platform: String,
    /// Its name.
    pub label: String,
    /// The file that defines it.
    pub detail: String,
    /// `user` or `system`
    pub scope: String,
    /// An earlier program of this house; `openclaw doctor --repair` removes it.
    pub legacy: bool,
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // the file in the repository
mod tests {
    use std::path::Path;

    use schemars::generate::SchemaSettings;

    use super::*;

    /// `OPENCLAW_WRITE_SCHEMA=1` writes the file anew.
    #[test]
    fn row_179_the_schema_in_the_repository_is_that_of_the_types() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/gateway-status.schema.json");
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let schema = settings.into_generator().into_root_schema_for::<Report>().to_value();
        let text = format!("{schema:#}\n");
        if std::env::var_os("OPENCLAW_WRITE_SCHEMA").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        let next = "OPENCLAW_WRITE_SCHEMA=1 cargo test -p openclaw row_179";
        assert!(there == text, "docs/gateway-status.schema.json is stale; `{next}` writes it anew");
    }
}
