//! What services are called (D2).

use crate::Kind;

/// Which profile a gateway belongs to.
pub const PROFILE: &str = "OPENCLAW_PROFILE";
/// Overrides the name of the systemd unit, with or without `.service`.
pub const SYSTEMD_UNIT: &str = "OPENCLAW_SYSTEMD_UNIT";
/// Says under which label launchd runs the gateway.
pub(crate) const LAUNCHD_LABEL: &str = "OPENCLAW_LAUNCHD_LABEL";

/// The name under which the supervisor knows the service of a profile: a unit without `.service`, a label, a task.
pub fn label(kind: Kind, profile: Option<&str>, unit: Option<&str>) -> String {
    match kind {
        Kind::SystemdUser | Kind::SystemdSystem => match unit {
            Some(unit) => unit.strip_suffix(".service").unwrap_or(unit).to_owned(),
            None => format!("openclaw-gateway{}", suffix(profile)),
        },
        Kind::Launchd => format!("bot.molt.{}", profile.unwrap_or("gateway")),
        Kind::Windows => match profile {
            Some(profile) => format!("OpenClaw Gateway ({profile})"),
            None => "OpenClaw Gateway".to_owned(),
        },
    }
}

/// What earlier programs called the service of the same profile: they would run a second gateway.
pub(crate) fn legacy(kind: Kind, profile: Option<&str>) -> Vec<String> {
    match kind {
        Kind::SystemdUser | Kind::SystemdSystem => ["clawdbot-gateway", "moltbot-gateway", "moldbot-gateway"]
            .map(|name| format!("{name}{}", suffix(profile)))
            .to_vec(),
        Kind::Launchd => {
            let name = profile.unwrap_or("gateway");
            ["com.openclaw", "ai.openclaw", "com.clawdbot", "com.moltbot"]
                .map(|house| format!("{house}.{name}"))
                .to_vec()
        }
        Kind::Windows => ["Clawdbot Gateway", "Moltbot Gateway"]
            .map(|name| match profile {
                Some(profile) => format!("{name} ({profile})"),
                None => name.to_owned(),
            })
            .to_vec(),
    }
}

fn suffix(profile: Option<&str>) -> String {
    profile.map_or(String::new(), |profile| format!("-{profile}"))
}

/// True for a name that is a file of its own in the supervisor's folder and nothing else.
pub(crate) fn is_unit_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:@\\".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_062_163_labels_of_launchd() {
        assert_eq!(label(Kind::Launchd, None, None), "bot.molt.gateway");
        assert_eq!(label(Kind::Launchd, Some("rescue"), None), "bot.molt.rescue");
        assert!(legacy(Kind::Launchd, None).contains(&"com.openclaw.gateway".to_owned()));
        assert!(legacy(Kind::Launchd, Some("rescue")).contains(&"ai.openclaw.rescue".to_owned()));
    }

    #[test]
    fn row_064_065_066_names_follow_the_profile() {
        assert_eq!(label(Kind::SystemdUser, None, None), "openclaw-gateway");
        assert_eq!(label(Kind::SystemdSystem, Some("rescue"), None), "openclaw-gateway-rescue");
        for unit in ["mine", "mine.service"] {
            assert_eq!(label(Kind::SystemdUser, Some("rescue"), Some(unit)), "mine");
        }
        assert_eq!(label(Kind::Windows, None, None), "OpenClaw Gateway");
        assert_eq!(label(Kind::Windows, Some("rescue"), None), "OpenClaw Gateway (rescue)");
    }

    #[test]
    fn a_unit_name_stays_in_its_folder() {
        assert!(is_unit_name("openclaw-gateway-rescue") && is_unit_name("mine@1"));
        for bad in ["", "../x", "a/b", "-x", ".hidden", "a b", "a\nb"] {
            assert!(!is_unit_name(bad), "{bad:?}");
        }
    }
}
