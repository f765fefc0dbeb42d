//! Which tools an agent may use (D38).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A named set of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolProfile {
    /// Talking only.
    Minimal,
    /// Programs, files and sessions.
    Coding,
    /// Messages and sessions.
    Messaging,
    /// All.
    Full,
}

/// Limits of one place: all of them hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolRules {
    /// Named set of tools.
    pub profile: Option<ToolProfile>,
    /// Only these.
    pub allow: Option<Vec<String>>,
    /// These on top of profile and `allow`.
    pub also_allow: Option<Vec<String>>,
    /// Never these.
    pub deny: Vec<String>,
}

/// `agents.list[].tools`: what one agent may call; `tools` holds for it as well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentTools {
    /// Takes the place of `tools.profile`.
    pub profile: Option<ToolProfile>,
    /// Only these.
    pub allow: Option<Vec<String>>,
    /// These on top of profile and `allow`.
    pub also_allow: Option<Vec<String>>,
    /// Never these.
    pub deny: Vec<String>,
    /// Rules by provider, or by `provider/model`.
    pub by_provider: BTreeMap<String, ToolRules>,
    /// Running programs.
    pub exec: Option<Value>,
    /// Tools outside the sandbox.
    pub elevated: Option<Value>,
    /// Tools of sandboxed sessions; `tools.sandbox` holds for them as well.
    pub sandbox: Option<SandboxTools>,
}

/// `tools.sandbox` and `agents.list[].tools.sandbox`: what runs of sessions may call whose commands are sandboxed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxTools {
    /// Their limits.
    pub tools: ToolRules,
}

/// `tools.subagents`: what sub-agents may call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SubagentTools {
    /// Their model.
    pub model: Option<Value>,
    /// Their limits.
    pub tools: ToolRules,
}

/// Which sessions the session tools show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionVisibility {
    /// The run's own.
    #[serde(rename = "self")]
    Own,
    /// Its own, and those that it has begun.
    Tree,
    /// Those of its agent.
    Agent,
    /// All.
    All,
}

/// `tools.agentToAgent`: which agents reach each other's sessions with their tools, where it is there. Each reaches its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentToAgent {
    /// Some do; unset means none.
    pub enabled: bool,
    /// Only these, in both directions; empty, or `*` in it, means all.
    pub allow: Vec<String>,
}

impl AgentToAgent {
    /// True when `from` reaches sessions of `to`.
    pub fn lets(&self, from: &str, to: &str) -> bool {
        let is_named = |id: &str| {
            self.allow.is_empty()
                || self.allow.iter().any(|entry| entry.trim() == "*" || entry.trim().eq_ignore_ascii_case(id))
        };
        from == to || (self.enabled && is_named(from) && is_named(to))
    }
}

/// `tools.sessions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionTools {
    /// Less than `all` takes the session tools away: this version cannot show a part (D38).
    pub visibility: Option<SessionVisibility>,
}

impl ToolRules {
    /// True when some tool may be taken away by it.
    pub fn is_limit(&self) -> bool {
        self.profile.is_some() || self.allow.is_some() || !self.deny.is_empty()
    }
}

impl AgentTools {
    /// Its rules without those of providers.
    pub fn rules(&self) -> ToolRules {
        let Self { profile, allow, also_allow, deny, .. } = self.clone();
        ToolRules { profile, allow, also_allow, deny }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn d38_agents_reach_each_other_when_both_are_named() {
        let lets = |text: &str| {
            let tools = crate::parse(text, &|_| None).unwrap().config.tools;
            [("a", "a"), ("a", "b"), ("b", "a"), ("a", "c")].map(|(from, to)| tools.reach(from, to))
        };
        assert_eq!(lets("{}"), [true; 4], "rights alone count");
        for none in ["{tools:{agentToAgent:{}}}", "{tools:{agentToAgent:{allow:['*']}}}"] {
            assert_eq!(lets(none), [true, false, false, false], "{none}");
        }
        assert_eq!(lets("{tools:{agentToAgent:{enabled:true}}}"), [true; 4]);
        assert_eq!(lets("{tools:{agentToAgent:{enabled:true,allow:['A','b']}}}"), [true, true, true, false]);
        assert_eq!(lets("{tools:{agentToAgent:{enabled:true,allow:['b']}}}"), [true, false, false, false]);
        assert_eq!(lets("{tools:{agentToAgent:{enabled:true,allow:['*']}}}"), [true; 4]);
    }
}
