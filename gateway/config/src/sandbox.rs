//! `agents.defaults.sandbox` and `agents.list[].sandbox`: which sessions' commands run in a sandbox, and what is open there.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `sandbox`. What an agent leaves out its defaults say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Sandbox {
    /// Whose commands run in a sandbox; unset means nobody's.
    pub mode: Option<SandboxMode>,
    /// What they may do in the workspace; unset means nothing.
    pub workspace_access: Option<SandboxAccess>,
    /// Who shares a home; unset means the sessions of an agent.
    pub scope: Option<SandboxScope>,
    /// What the reference says of its containers; here `network` alone has a meaning.
    pub docker: Option<SandboxDocker>,
    /// Everything else, for other versions.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Whose commands run in a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// Nobody's.
    #[default]
    Off,
    /// Those of every session but the agent's main one.
    NonMain,
    /// All.
    All,
}

impl SandboxMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NonMain => "non-main",
            Self::All => "all",
        }
    }
}

/// What a sandboxed command may do in the workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SandboxAccess {
    /// Nothing; it has a directory of its own.
    #[default]
    None,
    /// Read.
    Ro,
    /// Read and write.
    Rw,
}

/// Who shares the directory that sandboxed commands have for themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SandboxScope {
    /// Each session has one.
    Session,
    /// Each agent has one.
    #[default]
    Agent,
    /// There is one.
    Shared,
}

/// `sandbox.docker`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SandboxDocker {
    /// Unset or `none`: no network. Every other word opens it.
    pub network: Option<String>,
    /// Everything else, for other versions.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}
