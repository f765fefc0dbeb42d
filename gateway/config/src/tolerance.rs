//! What becomes of parts of a file that are not understood (D36): a start is stopped only where somebody might be let in, or
//! somewhere be listened, that the operator did not mean. Everything else is left out, or read as its strictest meaning, and told.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    Config, Problem, bindings, check,
    explain::{Found, Wrong},
    keys,
    path::{Path, Segment},
    typed::violations,
};

/// Times that a file is looked at anew, after parts were left out.
const MAX_ROUNDS: usize = 64;

/// Names of keys that say who may do what: one that is nearly written so was meant to be one of them.
const PROTECTING: [&str; 8] =
    ["dmPolicy", "allowFrom", "groupPolicy", "groupAllowFrom", "allow", "deny", "bind", "auth"];

/// What is done about something that is not understood.
enum Verdict {
    /// The start stops.
    Refuse,
    /// It is left out.
    Leave,
    /// So is the list entry or the section around it.
    LeaveAround,
    /// So is the binding that it belongs to, which is this.
    LeaveBinding(Path),
    /// It is read as this.
    Read(Value),
    /// It stays; whoever needs it will say that it cannot be used.
    Keep,
}

/// Leaves out of `value` what is not understood, or puts the strictest meaning in its place. Gives what stops the start, and what
/// the operator is told about the rest.
pub(crate) fn tolerate(value: &mut Value) -> (Vec<Problem>, Vec<Problem>) {
    let (mut refused, mut told) = (vec![], vec![]);
    let mut seen = BTreeSet::new();
    for _ in 0..MAX_ROUNDS {
        let found = match violations(value) {
            Ok(config) => rules(&config),
            Err(found) => found,
        };
        // What could not be left out, such as a key that is missing, is met again.
        let new = |f: &Found| !seen.contains(&(f.problem.path.clone(), f.problem.message.clone()));
        let found: Vec<Found> = found.into_iter().filter(new).collect();
        if found.is_empty() {
            break;
        }
        seen.extend(found.iter().map(|f| (f.problem.path.clone(), f.problem.message.clone())));
        // From the back, so that positions in lists stay right.
        for Found { path, wrong, problem } in found.into_iter().rev() {
            if path.segments().is_empty() {
                refused.push(problem);
                return (refused, told);
            }
            let verdict = match wrong {
                _ if binding_of(&path).is_some() => binding_of(&path).map_or(Verdict::Leave, Verdict::LeaveBinding),
                Wrong::Unknown => match keys::meaning(&path) {
                    Some(meaning) => {
                        path.remove(value);
                        told.push(Problem::at(&path, meaning.to_string()));
                        continue;
                    }
                    None => unknown(&path),
                },
                Wrong::Missing => missing(&path),
                Wrong::Value => misread(&path, path.get(value)),
            };
            match verdict {
                Verdict::Refuse => {
                    path.remove(value);
                    refused.push(problem);
                }
                Verdict::Leave => {
                    path.remove(value);
                    told.push(problem.and("left out"));
                }
                Verdict::LeaveAround => {
                    path.parent().remove(value);
                    told.push(problem.and("left out, with all around it"));
                }
                Verdict::LeaveBinding(entry) => {
                    // One of none in its place: the others keep their numbers.
                    entry.put(value, bindings::none());
                    told.push(problem.and(&format!("{entry} is left out")));
                }
                Verdict::Keep => told.push(problem),
                Verdict::Read(meaning) => {
                    told.push(problem.and(&format!("read as {meaning}, the strictest")));
                    path.put(value, meaning);
                }
            }
        }
    }
    refused.reverse();
    told.reverse();
    (refused, told)
}

/// Rules that the types do not say.
fn rules(config: &Config) -> Vec<Found> {
    let broken = check::check(config).into_iter();
    let found = broken.filter_map(|problem| {
        let path = Path::parse(&problem.path).ok()?;
        Some(Found { path, wrong: Wrong::Value, problem })
    });
    found.collect()
}

fn key_of(path: &Path) -> &str {
    path.segments().iter().rev().find_map(Segment::key).unwrap_or_default()
}

/// True for `gateway.auth`, `gateway.tls` and what is in them.
fn is_the_door(path: &Path) -> bool {
    path.starts_with(&["gateway", "auth"]) || path.starts_with(&["gateway", "tls"])
}

/// The entry of `bindings` that `path` belongs to: what is left of a condition would bind more than was meant.
fn binding_of(path: &Path) -> Option<Path> {
    match path.segments() {
        [Segment::Key(key), Segment::Index(i), ..] if key == "bindings" => Some(Path::default().key(key).index(*i)),
        _ => None,
    }
}

fn unknown(path: &Path) -> Verdict {
    let is_near = || PROTECTING.iter().any(|name| keys::stands_beside(path, name) && is_slip(key_of(path), name));
    let is_moved = crate::legacy::is_moved(&path.to_string());
    if is_the_door(path) || is_moved || is_near() { Verdict::Refuse } else { Verdict::Leave }
}

fn missing(path: &Path) -> Verdict {
    let around = path.parent();
    match around.segments() {
        // An agent without a name cannot be left out: what it may not do, another one might.
        [Segment::Key(agents), ..] if agents == "agents" => Verdict::Refuse,
        [] => Verdict::Refuse,
        _ => Verdict::LeaveAround,
    }
}

fn misread(path: &Path, found: Option<&Value>) -> Verdict {
    let last = path.segments().last();
    let in_list = matches!(last, Some(Segment::Index(_)));
    if is_the_door(path)
        || path.is(&["gateway", "bind"])
        || path.is(&["gateway", "port"])
        || path.is(&["gateway", "customBindHost"])
    {
        // An empty secret is one that is not set.
        let is_empty_secret = path.is(&["gateway", "auth", "token"]) || path.is(&["gateway", "auth", "password"]);
        return if is_empty_secret { Verdict::Leave } else { Verdict::Refuse };
    }
    if path.starts_with(&["agents", "list"]) && (key_of(path) == "id" || path.is(&["agents", "list"])) {
        return Verdict::Refuse;
    }
    // This version polls: it needs no secret of a webhook.
    let is_model = ["model", "primary", "fallbacks"].contains(&key_of(path)) && path.starts_with(&["agents"]);
    if is_model || key_of(path) == "webhookSecret" {
        return Verdict::Keep;
    }
    if in_list {
        return Verdict::Leave;
    }
    let strictest = match key_of(path) {
        // One name in place of a list is that list; of anything else nobody knows what it forbids.
        "deny" => match found {
            Some(Value::String(name)) => json!([name]),
            _ => json!(["*"]),
        },
        // Nothing that these could be read as forbids all.
        "denyCommands" | "byProvider" => return Verdict::Refuse,
        "tools" if ["tools", "agents", "channels"].iter().any(|section| path.starts_with(&[section])) => {
            json!({"deny": ["*"]})
        }
        "dmPolicy" | "groupPolicy" => json!("disabled"),
        "security" => json!("deny"),
        "ask" => json!("always"),
        "enabled" | "evaluateEnabled" if path.starts_with(&["browser"]) => json!(false),
        "hostnameAllowlist" => json!([]),
        "mode" if key_of(&path.parent()) == "sandbox" => json!("all"),
        // Without it any certificate would do; the client that needs it refuses this one (D38).
        "tlsFingerprint" => json!("none"),
        "profile" => json!("minimal"),
        "visibility" => json!("self"),
        "agentToAgent" if path.starts_with(&["tools"]) => json!({"enabled": false}),
        "toolsBySender" => json!({"*": {"deny": ["*"]}}),
        "sandbox" if key_of(&path.parent()) == "tools" => json!({"tools": {"deny": ["*"]}}),
        // Whatever stands in place of the settings, somebody wanted a sandbox (D38).
        "sandbox" if path.starts_with(&["agents"]) => json!({"mode": "all"}),
        "subagents" if path.starts_with(&["tools"]) => json!({"tools": {"deny": ["*"]}}),
        _ if ["byProvider", "toolsBySender"].contains(&key_of(&path.parent())) => json!({"deny": ["*"]}),
        // Lists by channel: nobody, on any of them.
        "allowFrom" if path.is(&["commands", "allowFrom"]) => json!({}),
        _ if path.starts_with(&["commands", "allowFrom"]) => json!([]),
        "allowFrom" | "ownerAllowFrom" | "groupAllowFrom" | "trustedProxies" | "allowedOrigins" | "allow" => json!([]),
        _ => {
            return match path.segments() {
                // A provider, a model or an account that is wrong in what it is does not stand half.
                [.., Segment::Key(last)] if ["baseUrl", "id", "botToken"].contains(&last.as_str()) => {
                    Verdict::LeaveAround
                }
                _ => Verdict::Leave,
            };
        }
    };
    Verdict::Read(strictest)
}

/// One letter off, where a swap of neighbours is one; two for names of more than eight letters.
fn is_slip(written: &str, name: &str) -> bool {
    let most = if name.chars().count() > 8 { 2 } else { 1 };
    written != name && slips(written, name) <= most
}

/// Letters added, left out, changed or swapped with their neighbour between two words.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let changed = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read;

    /// Warnings of a file that starts.
    fn warnings(value: &Value) -> Vec<String> {
        read(&value.to_string(), &|_: &str| None).unwrap_or_else(|problems| panic!("{value}: {problems:?}")).warnings
    }

    /// What stops the start.
    fn refused(value: &Value) -> Vec<String> {
        let problems = read(&value.to_string(), &|_: &str| None).err().unwrap_or_else(|| panic!("{value} starts"));
        problems.into_iter().map(|p| p.path).collect()
    }

    fn config(value: &Value) -> Config {
        read(&value.to_string(), &|_: &str| None).unwrap().config
    }

    #[test]
    fn d36_unknown_keys_are_told_and_left_out_at_any_depth() {
        let value = json!({
            "gateway": {"mode": "local", "colour": "red"}, "bogus": {"deep": 1}, "agents": {"list": [{"id": "a", "mood": 1}, {"id": "b"}]},
            "channels": {"telegram": {"groups": {"-1001": {"sparkle": true}}}}, "commands": {"ownerDisplay": "raw"},
        });
        let told = warnings(&value);
        for path in [
            "gateway.colour",
            "bogus",
            "agents.list[0].mood",
            "channels.telegram.groups.-1001.sparkle",
            "commands.ownerDisplay",
        ] {
            assert!(told.iter().any(|w| w.starts_with(&format!("{path}: "))), "{path} in {told:?}");
        }
        assert_eq!(config(&value).agents.list.len(), 2);
    }

    #[test]
    fn d36_the_door_and_moved_keys_stop_the_start() {
        for (value, path) in [
            (json!({"gateway": {"auth": {"tokens": "x"}}}), "gateway.auth.tokens"),
            (json!({"gateway": {"auth": {"mode": "none"}}}), "gateway.auth.mode"),
            (json!({"gateway": {"tls": {"enbled": true}}}), "gateway.tls.enbled"),
            (json!({"gateway": {"tls": {"enabled": "true"}}}), "gateway.tls.enabled"),
            (json!({"gateway": {"tls": true}}), "gateway.tls"),
            (json!({"gateway": {"bind": "mars"}}), "gateway.bind"),
            (json!({"gateway": {"port": 0}}), "gateway.port"),
            (json!({"gateway": {"token": "x"}}), "gateway.token"),
            (json!({"agent": {"model": "p/q"}}), "agent"),
            (json!({"telegram": {}}), "telegram"),
            (json!({"agents": {"list": [{"name": "no id"}]}}), "agents.list[0].id"),
        ] {
            assert_eq!(refused(&value), [path], "{value}");
        }
    }

    #[test]
    fn d36_a_slip_in_a_key_that_protects_stops_the_start() {
        let telegram = |key: &str| json!({"channels": {"telegram": {key: "pairing"}}});
        for key in ["dmPolcy", "dmPolciy", "dmPolicyy", "dmpolicy", "allwoFrm", "groupPolcyi"] {
            assert_eq!(refused(&telegram(key)), [format!("channels.telegram.{key}")]);
        }
        // Two letters off a short name, another place, and below what nobody knows.
        for value in [
            telegram("dmPlcy"),
            json!({"messages": {"dmPolcy": 1}}),
            json!({"bogus": {"dmPolcy": 1}}),
            json!({"tools": {"alow2": []}}),
        ] {
            assert!(!warnings(&value).is_empty(), "{value}");
        }
        assert_eq!(refused(&json!({"tools": {"dney": ["exec"]}})), ["tools.dney"]);
        assert_eq!(refused(&json!({"gateway": {"bnd": "lan"}})), ["gateway.bnd"]);
    }

    #[test]
    fn d36_what_protects_is_read_as_its_strictest() {
        let value = json!({
            "channels": {"telegram": {"dmPolicy": "friends", "groupPolicy": 5, "allowFrom": "42", "groupAllowFrom": [{}, 7]}},
            "tools": {"exec": {"security": "some", "ask": "maybe"}, "deny": [5, "exec"]},
        });
        let read = config(&value);
        let telegram = read.channels.telegram.as_ref().unwrap();
        assert_eq!(telegram.dm_policy, Some(crate::DmPolicy::Disabled));
        assert_eq!(telegram.group_policy, Some(crate::GroupPolicy::Disabled));
        assert_eq!(telegram.allow_from.as_deref(), Some(&[][..]));
        assert_eq!(telegram.group_allow_from.as_ref().map(Vec::len), Some(1));
        assert_eq!(read.tools.exec.security, Some(crate::ExecSecurity::Deny));
        assert_eq!(read.tools.exec.ask, Some(crate::ExecAsk::Always));
        assert_eq!(read.tools.deny, ["exec"]);
        assert_eq!(warnings(&value).iter().filter(|w| w.contains("strictest")).count(), 5, "{:?}", warnings(&value));
    }

    /// Real files have this section with keys of other versions: none of it stops a start, and nothing is opened by a slip.
    #[test]
    fn d36_a_browser_section_stops_no_start_and_what_closes_is_read_as_closed() {
        let value = json!({"browser": {
            "enabled": "no", "evaluateEnabled": 0, "color": "#FF4500", "relayBindHost": "x", "headless": "yes",
            "ssrfPolicy": {"dangerouslyAllowPrivateNetwork": "true", "hostnameAllowlist": "a.example", "odd": 1},
            "profiles": {"../x": {}, "work": {"cdpPort": 0, "color": "#00AA00"}, "ok": {"cdpPort": 18805}},
        }});
        let browser = config(&value).browser;
        assert!(!browser.enabled && !browser.evaluate_enabled && browser.headless);
        assert!(!browser.ssrf_policy.dangerously_allow_private_network);
        assert_eq!(browser.ssrf_policy.hostname_allowlist, Some(vec![]));
        assert_eq!(browser.profiles.keys().collect::<Vec<_>>(), ["ok", "work"]);
        assert_eq!((browser.profiles["ok"].cdp_port, browser.profiles["work"].cdp_port), (Some(18805), None));
        let told = warnings(&value).join("\n");
        for path in ["browser.color", "browser.relayBindHost", "browser.profiles", "browser.ssrfPolicy.odd"] {
            assert!(told.contains(path), "{path} is not in:\n{told}");
        }
    }

    #[test]
    fn d36_what_forbids_still_forbids_when_it_is_misread() {
        let one = json!({
            "tools": {"deny": "exec"}, "agents": {"list": [{"id": "a", "tools": []}, {"id": "b", "tools": {"deny": {"exec": true}}}]},
            "commands": {"allowFrom": {"telegram": "42", "*": ["7"]}, "ownerAllowFrom": "42"},
        });
        let read = config(&one);
        assert_eq!(read.tools.deny, ["exec"]);
        for agent in &read.agents.list {
            assert_eq!(agent.tools.as_ref().unwrap().deny, ["*"], "{}", agent.id);
        }
        assert!(read.commands.allow_from.unwrap()["telegram"].is_empty());
        assert!(read.commands.owner_allow_from.unwrap().is_empty());
        let read = config(&json!({"tools": {"byProvider": {"x": 5}, "subagents": []}}));
        assert_eq!(read.tools.by_provider["x"].deny, ["*"]);
        assert_eq!(read.tools.subagents.unwrap().tools.deny, ["*"]);
        let read = config(&json!({"tools": 5, "commands": {"allowFrom": ["42"]}}));
        assert_eq!(read.tools.deny, ["*"]);
        assert!(read.commands.allow_from.unwrap().is_empty());
        assert_eq!(
            refused(&json!({"gateway": {"nodes": {"denyCommands": "camera.snap"}}})),
            ["gateway.nodes.denyCommands"]
        );
    }

    #[test]
    fn d36_entries_that_let_somebody_in_are_dropped_one_by_one() {
        let value = json!({
            "gateway": {"trustedProxies": ["127.0.0.9", "everywhere"], "controlUi": {"allowedOrigins": ["*", "https://ui.example"]}},
            "channels": {"telegram": {"allowFrom": ["42", "@ann", "*"]}},
        });
        let read = config(&value);
        assert_eq!(read.gateway.trusted_proxies, ["127.0.0.9"]);
        assert_eq!(read.gateway.control_ui.allowed_origins, ["https://ui.example"]);
        let ids: Vec<String> =
            read.channels.telegram.unwrap().allow_from.unwrap().iter().map(crate::ListEntry::id).collect();
        assert_eq!(ids, ["42", "*"]);
    }

    #[test]
    fn d36_elsewhere_the_default_counts() {
        let value = json!({
            "session": {"maintenance": {"pruneAfter": "soon"}}, "logging": {"level": "loud"}, "messages": 5,
            "agents": {"defaults": {"maxConcurrent": "many", "heartbeat": {"every": "often"}}},
            "models": {"providers": {
                "x": {"baseUrl": "http://127.0.0.1:1/v1", "api": "smoke", "models": [
                    {"id": "m", "name": "First", "input": ["text", "smell"]}, {"id": "m", "name": "Second"}, {"name": "no id"}]},
                "nowhere": {"models": []},
                "ftp": {"baseUrl": "ftp://x"},
            }},
        });
        let read = config(&value);
        assert_eq!(read.agents.defaults.max_concurrent, Config::default().agents.defaults.max_concurrent);
        let provider = &read.models.providers["x"];
        assert_eq!((provider.models.len(), provider.models[0].name.as_deref()), (1, Some("First")));
        assert_eq!(provider.models[0].input.len(), 1);
        assert!(!read.models.providers.contains_key("nowhere") && !read.models.providers.contains_key("ftp"));
    }

    #[test]
    fn d37_a_secret_that_is_not_there_takes_out_what_needs_it_and_nothing_else() {
        let value = json!({
            "gateway": {"mode": "local"},
            "models": {"providers": {
                "x": {"baseUrl": "http://x/v1", "apiKey": "${NO_SUCH}"}, "y": {"baseUrl": "http://y/v1", "apiKey": ""},
                "z": {"baseUrl": "http://z/v1", "apiKey": {"source": "exec", "provider": "vault", "id": "k"}},
            }},
            "channels": {"telegram": {"botToken": "${NO_BOT}", "accounts": {"a": {"botToken": {"source": "env", "provider": "default", "id": "NO"}}}}},
        });
        let read = config(&value);
        assert!(!read.models.providers.contains_key("x") && !read.models.providers.contains_key("z"));
        assert_eq!(read.models.providers["y"].api_key, None);
        let telegram = read.channels.telegram.unwrap();
        assert_eq!(
            (telegram.enabled, telegram.bot_token, telegram.accounts["a"].enabled),
            (Some(false), None, Some(false))
        );
        // Also where nothing here reads it, unless it is a secret that nobody misses.
        assert_eq!(refused(&json!({"session": {"mainKey": "${NO_SUCH}"}})), ["session.mainKey"]);
        assert_eq!(refused(&json!({"talk": {"voiceId": "${NO_SUCH}"}})), ["talk.voiceId"]);
        assert!(!warnings(&json!({"talk": {"apiKey": "${NO_SUCH}"}})).is_empty());
        let reference = json!({"source": "env", "provider": "default", "id": "NO_SUCH"});
        assert_eq!(refused(&json!({"gateway": {"auth": {"token": reference}}})), ["gateway.auth.token"]);
    }
}
