//! Launch agents of macOS: property lists in XML.

mod plist;

use self::plist::Value;
use crate::{Definition, Kind, Parsed, Repaired, names};

/// Seconds between two starts at least.
const THROTTLE: &str = "5";
/// Files for their owner only: 0077.
const UMASK: &str = "63";

/// The agent's text.
///
/// Lines of the log go to the gateway's own file, which is bounded; launchd keeps what is said on stderr only, that is why a
/// start failed.
pub(crate) fn render(definition: &Definition) -> String {
    let label = names::label(Kind::Launchd, definition.profile.as_deref(), None);
    let mut variables: Vec<(String, Value)> =
        definition.variables().map(|(name, value)| (name.to_owned(), Value::text(value))).collect();
    variables.push((names::LAUNCHD_LABEL.to_owned(), Value::text(&label)));
    let entries = [
        ("Label", Value::text(&label)),
        ("Comment", Value::text(&definition.description())),
        ("RunAtLoad", Value::True),
        ("KeepAlive", Value::True),
        ("ThrottleInterval", Value::Integer(THROTTLE.to_owned())),
        ("ExitTimeOut", Value::Integer(definition.stop_timeout.as_secs().to_string())),
        ("Umask", Value::Integer(UMASK.to_owned())),
        ("ProgramArguments", Value::Array(definition.command.iter().map(|word| Value::text(word)).collect())),
        ("WorkingDirectory", Value::text(&definition.working_dir)),
        ("StandardOutPath", Value::text("/dev/null")),
        ("StandardErrorPath", Value::text(&definition.error_log)),
        ("EnvironmentVariables", Value::Dictionary(variables)),
    ];
    plist::write(&Value::Dictionary(entries.map(|(key, value)| (key.to_owned(), value)).to_vec()))
}

/// Keys that make the agent another one, or keep it from running.
const HARMFUL: [&str; 6] = ["Disabled", "GroupName", "LaunchOnlyOnce", "Program", "RootDirectory", "UserName"];
/// Keys that are right with another value, too.
const TOLERATED: [&str; 3] = ["StandardOutPath", "ThrottleInterval", "Umask"];

/// Adds to `repaired.text`, the agent of an installation, what a person added to the one that is `there`.
pub(crate) fn repair(there: &str, repaired: &mut Repaired) {
    let (Some(Value::Dictionary(there)), Some(Value::Dictionary(mut entries))) =
        (plist::read(there), plist::read(&repaired.text))
    else {
        return;
    };
    for (key, value) in there {
        match entries.iter_mut().find(|(own, _)| *own == key) {
            Some((_, own)) if TOLERATED.contains(&key.as_str()) => *own = value,
            Some(_) => {}
            None if HARMFUL.contains(&key.as_str()) => repaired.dropped.push(key),
            None => {
                repaired.kept.push(key.clone());
                entries.push((key, value));
            }
        }
    }
    repaired.text = plist::write(&Value::Dictionary(entries));
}

/// Reads an agent's text; one that is no XML says nothing.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let Some(Value::Dictionary(entries)) = plist::read(text) else { return parsed };
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("Comment", Value::Text(text)) => parsed.description = Some(text),
            ("WorkingDirectory", Value::Text(text)) => parsed.working_dir = Some(text),
            // The file to run; the arguments begin with the name that it is told.
            ("Program", Value::Text(text)) if parsed.command.is_empty() => parsed.command.push(text),
            ("ProgramArguments", Value::Array(words)) => {
                parsed.command = words.into_iter().filter_map(Value::into_text).collect();
            }
            ("EnvironmentVariables", Value::Dictionary(variables)) => {
                for (name, value) in variables {
                    if let Some(value) = value.into_text() {
                        parsed.set(&name, &value);
                    }
                }
            }
            (_, value) => {
                if let Some(text) = value.into_text() {
                    parsed.settings.insert(key, vec![text]);
                }
            }
        }
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::definition;

    #[test]
    fn row_157_158_159_the_agent_is_kept_alive_and_runs_the_gateway() {
        let text = render(&definition());
        let parsed = parse(&text);
        assert_eq!(parsed.setting("Label"), Some("bot.molt.rescue"));
        assert_eq!((parsed.setting("KeepAlive"), parsed.setting("RunAtLoad")), (Some("true"), Some("true")));
        assert_eq!(parsed.command, ["/usr/local/bin/openclaw", "gateway", "--port", "18810"]);
        assert_eq!(parsed.setting("StandardOutPath"), Some("/dev/null"));
        assert_eq!(parsed.setting("StandardErrorPath"), Some("/home/u/.openclaw-rescue/logs/gateway.err.log"));
        assert_eq!(parsed.variable("OPENCLAW_GATEWAY_TOKEN"), Some("secret-token"));
        assert!(text.starts_with("<?xml") && text.contains("<key>KeepAlive</key>\n\t<true/>"), "{text}");
    }

    #[test]
    fn an_agent_of_anybody_is_read() {
        let text = "<?xml version=\"1.0\"?><!DOCTYPE plist><!-- c --><plist version='1.0'><dict>\
                    <key>Program</key><string>/x</string><key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>\
                    <key>Label</key><string>com.openclaw.mac &amp; &#x61;&#98;</string></dict></plist>";
        let parsed = parse(text);
        assert_eq!(
            (parsed.command, parsed.settings["Label"][0].as_str()),
            (vec!["/x".to_owned()], "com.openclaw.mac & ab")
        );
        assert!(!parsed.settings.contains_key("KeepAlive"), "only while it ended badly is not always");
        assert_eq!(parse("bplist00\u{1}"), Parsed::default());
    }
}
