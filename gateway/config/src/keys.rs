//! Keys of other versions' files that the types do not have, and where keys stand that protect (D36).

use crate::path::{Path, Segment};

/// What a key means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It is taken and does nothing.
    NoEffect,
    /// It limits something, and the limit is not in force.
    NotInForce,
}

impl std::fmt::Display for Meaning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoEffect => "has no effect in this version",
            Self::NotInForce => "limits something, and the limit is not in force in this version",
        })
    }
}

/// Keys that files have and the types do not. `*` is any key, `[]` any position; what stands below belongs to the key.
pub const KEYS: [(&str, Meaning); 48] = [
    ("acp", Meaning::NoEffect),
    ("agents.defaults.authInheritance", Meaning::NoEffect),
    ("agents.defaults.bootstrapTotalMaxChars", Meaning::NoEffect),
    ("agents.defaults.contextInjection", Meaning::NoEffect),
    ("agents.defaults.createBootstrapFiles", Meaning::NoEffect),
    ("agents.defaults.experimental", Meaning::NoEffect),
    ("agents.defaults.heartbeat.directPolicy", Meaning::NotInForce),
    ("agents.defaults.heartbeat.isolatedSession", Meaning::NoEffect),
    ("agents.defaults.heartbeat.lightContext", Meaning::NoEffect),
    ("agents.defaults.imageGenerationModel", Meaning::NoEffect),
    ("agents.defaults.mediaGenerationAutoProviderFallback", Meaning::NoEffect),
    ("agents.defaults.modelPolicy", Meaning::NotInForce),
    ("agents.defaults.skills", Meaning::NoEffect),
    ("agents.defaults.systemPromptOverride", Meaning::NoEffect),
    ("agents.list[].heartbeat.directPolicy", Meaning::NotInForce),
    ("agents.list[].heartbeat.isolatedSession", Meaning::NoEffect),
    ("agents.list[].heartbeat.lightContext", Meaning::NoEffect),
    ("agents.list[].models", Meaning::NoEffect),
    ("agents.list[].params", Meaning::NoEffect),
    ("agents.list[].runtime", Meaning::NoEffect),
    ("agents.list[].thinkingDefault", Meaning::NoEffect),
    ("browser.color", Meaning::NoEffect),
    ("browser.controlUrl", Meaning::NoEffect),
    ("browser.extraArgs", Meaning::NoEffect),
    ("browser.profiles.*.attachOnly", Meaning::NoEffect),
    ("browser.profiles.*.color", Meaning::NoEffect),
    ("browser.profiles.*.driver", Meaning::NoEffect),
    ("browser.profiles.*.executablePath", Meaning::NoEffect),
    ("browser.profiles.*.headless", Meaning::NoEffect),
    ("browser.profiles.*.userDataDir", Meaning::NoEffect),
    ("browser.remoteCdpHandshakeTimeoutMs", Meaning::NoEffect),
    ("browser.remoteCdpTimeoutMs", Meaning::NoEffect),
    ("browser.snapshotDefaults", Meaning::NoEffect),
    ("browser.ssrfPolicy.allowPrivateNetwork", Meaning::NoEffect),
    ("browser.tabCleanup", Meaning::NoEffect),
    ("channels.*.accounts.*.defaultAccount", Meaning::NoEffect),
    ("channels.*.defaultAccount", Meaning::NoEffect),
    ("commands.ownerDisplay", Meaning::NoEffect),
    ("logging.maxFileBytes", Meaning::NoEffect),
    ("mcp", Meaning::NoEffect),
    ("memory", Meaning::NoEffect),
    ("messages.groupChat.visibleReplies", Meaning::NoEffect),
    ("models.providers.*.models[].contextTokens", Meaning::NoEffect),
    ("models.providers.*.models[].params", Meaning::NoEffect),
    ("models.providers.*.timeoutSeconds", Meaning::NoEffect),
    ("session.maintenance.rotateBytes", Meaning::NoEffect),
    ("telemetry", Meaning::NoEffect),
    ("tools.fs", Meaning::NotInForce),
];

/// Places of keys that say who may do what; a slip beside one of them was meant to be it.
const PROTECTING: [&str; 35] = [
    "gateway.auth",
    "gateway.bind",
    "channels.*.dmPolicy",
    "channels.*.allowFrom",
    "channels.*.groupPolicy",
    "channels.*.groupAllowFrom",
    "channels.*.accounts.*.dmPolicy",
    "channels.*.accounts.*.allowFrom",
    "channels.*.accounts.*.groupPolicy",
    "channels.*.accounts.*.groupAllowFrom",
    "channels.*.groups.*.allowFrom",
    "channels.*.groups.*.groupPolicy",
    "channels.*.groups.*.topics.*.allowFrom",
    "channels.*.groups.*.topics.*.groupPolicy",
    "channels.defaults.groupPolicy",
    "commands.allowFrom",
    "tools.allow",
    "tools.deny",
    "tools.agentToAgent.allow",
    "tools.byProvider.*.allow",
    "tools.byProvider.*.deny",
    "agents.list[].tools.allow",
    "agents.list[].tools.deny",
    "agents.list[].tools.byProvider.*.allow",
    "agents.list[].tools.byProvider.*.deny",
    "agents.list[].tools.sandbox.tools.allow",
    "agents.list[].tools.sandbox.tools.deny",
    "channels.*.groups.*.tools.allow",
    "channels.*.groups.*.tools.deny",
    "channels.*.groups.*.toolsBySender.*.allow",
    "channels.*.groups.*.toolsBySender.*.deny",
    "tools.sandbox.tools.allow",
    "tools.sandbox.tools.deny",
    "tools.subagents.tools.allow",
    "tools.subagents.tools.deny",
];

/// Sections that nothing here reads, so that a secret that is missing in them is missed by nobody.
const UNSERVED: [&str; 19] = [
    "acp",
    "approvals",
    "audio",
    "auth",
    "broadcast",
    "cron",
    "diagnostics",
    "hooks",
    "mcp",
    "media",
    "memory",
    "meta",
    "nodeHost",
    "plugins",
    "skills",
    "talk",
    "ui",
    "update",
    "wizard",
];

/// True for a top-level section that nothing here reads.
pub(crate) fn is_unserved(section: &str) -> bool {
    UNSERVED.contains(&section)
}

/// What the key at `path`, or a key above it, is known as.
pub(crate) fn meaning(path: &Path) -> Option<Meaning> {
    KEYS.iter().find(|(pattern, _)| matches(pattern, path, true)).map(|(_, meaning)| *meaning)
}

/// True when the protecting key `name` could stand where `path` stands.
pub(crate) fn stands_beside(path: &Path, name: &str) -> bool {
    let place = path.parent().key(name);
    PROTECTING.iter().any(|pattern| matches(pattern, &place, false))
}

fn matches(pattern: &str, path: &Path, or_above: bool) -> bool {
    let mut segments = path.segments().iter();
    for step in pattern.split('.') {
        let (key, positions) =
            step.split_once('[').map_or((step, 0), |(key, rest)| (key, 1 + rest.matches('[').count()));
        match segments.next() {
            Some(Segment::Key(found)) if key == "*" || key == found => {}
            _ => return false,
        }
        for _ in 0..positions {
            if !matches!(segments.next(), Some(Segment::Index(_))) {
                return false;
            }
        }
    }
    or_above || segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_with_all_below_them() {
        let of = |text: &str| meaning(&Path::parse(text).unwrap());
        assert_eq!(of("tools.fs"), Some(Meaning::NotInForce));
        assert_eq!(of("tools.fs.workspaceOnly"), Some(Meaning::NotInForce));
        assert_eq!(of("agents.list[3].runtime.acp"), Some(Meaning::NoEffect));
        assert_eq!(of("models.providers.x.models[0].params.num_ctx"), Some(Meaning::NoEffect));
        for none in ["tools", "tools.f", "agents.list.runtime", "agents.list[0]", "models.providers.x.params"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn the_document_has_the_table() {
        let text = include_str!("../../../docs/configuration.md");
        for (key, meaning) in KEYS {
            let meaning = match meaning {
                Meaning::NoEffect => "no effect",
                Meaning::NotInForce => "**a limit that is not in force**",
            };
            let row = format!("| `{key}` | {meaning} |");
            assert!(text.contains(&row), "docs/configuration.md lacks: {row}");
        }
    }

    /// The types know what is in force; a key that they have needs no row here.
    #[test]
    fn no_row_is_one_of_the_types() {
        for (pattern, _) in KEYS {
            let value = crate::read_value(&example(pattern)).unwrap();
            assert!(crate::typed::violations(&value).is_err(), "{pattern} is known to the types");
        }
    }

    const ANY: &str = concat!("tele", "gram");

    /// A file with nothing but this key.
    fn example(pattern: &str) -> String {
        let steps = pattern.split('.').rev();
        steps.fold("{x:1}".to_owned(), |inside, step| match step.strip_suffix("[]") {
            Some(key) => format!("{{\"{key}\": [{}]}}", inside.replacen('{', "{\"id\": \"i\", ", 1)),
            // Of channels the types know one.
            None => format!("{{\"{}\": {inside}}}", if step == "*" { ANY } else { step }),
        })
    }
}
