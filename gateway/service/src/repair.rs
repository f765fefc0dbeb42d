//! Puts the file of a service right and leaves what a person added to it.

use crate::{Definition, Kind, Parsed, Repaired, Unfit, audit, audit::LEFT_OVER, launchd, names, systemd};

/// The text `there` with the values of `wanted` where [`audit`] would find others. Variables, settings and comments that somebody
/// added stay, unless they keep the service from running.
///
/// # Errors
/// Which part of the definition the format cannot hold.
pub fn repair(kind: Kind, there: &str, wanted: &Definition) -> Result<Repaired, Unfit> {
    let parsed = kind.parse(there);
    let mut kept = vec![];
    let mut definition = wanted.clone();
    keep_variables(&parsed, &mut definition, &mut kept);
    let text = kind.render(&definition)?;
    let found: Vec<&str> = audit(kind, &parsed, wanted).iter().map(|finding| finding.code).collect();
    let mut repaired = Repaired { text, kept, dropped: vec![] };
    match kind {
        Kind::SystemdUser | Kind::SystemdSystem => systemd::repair::repair(there, &found, &mut repaired),
        Kind::Launchd => launchd::repair(there, &mut repaired),
        Kind::Windows => {}
    }
    Ok(repaired)
}

/// Variables that are none of ours, and folders of PATH.
fn keep_variables(parsed: &Parsed, definition: &mut Definition, kept: &mut Vec<String>) {
    for (name, value) in &parsed.environment {
        match definition.environment.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) if name == "PATH" => *own = with_folders(value, own),
            Some(_) => {}
            None if LEFT_OVER.contains(&name.as_str()) || name == names::LAUNCHD_LABEL => {}
            None => {
                kept.push(name.clone());
                definition.environment.push((name.clone(), value.clone()));
            }
        }
    }
}

/// The folders that are there in their order, then those that are missing.
fn with_folders(there: &str, own: &str) -> String {
    let is_there = |dir: &&str| !there.split(':').any(|other| other == *dir);
    let folders = there.split(':').filter(|dir| dir.starts_with('/'));
    folders.chain(own.split(':').filter(is_there)).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::definition;

    fn repaired(kind: Kind, change: &[(&str, &str)]) -> Repaired {
        let mut text = kind.render(&definition()).unwrap();
        for (from, to) in change {
            assert!(text.contains(from), "{from} in {text}");
            text = text.replacen(from, to, 1);
        }
        let repaired = repair(kind, &text, &definition()).unwrap();
        assert_eq!(audit(kind, &kind.parse(&repaired.text), &definition()), [], "{}", repaired.text);
        repaired
    }

    #[test]
    fn what_is_right_stays_as_it_is() {
        for kind in [Kind::SystemdUser, Kind::SystemdSystem, Kind::Launchd, Kind::Windows] {
            let text = kind.render(&definition()).unwrap();
            let repaired = repaired(kind, &[]);
            assert_eq!((repaired.text, repaired.kept.len(), repaired.dropped.len()), (text, 0, 0), "{kind:?}");
        }
    }

    #[test]
    fn row_200_the_manuals_values_come_back_and_a_persons_lines_stay() {
        let own = "# My own note\nMemoryMax=2G\nNice=5\nEnvironment=HTTP_PROXY=http://p:1 OPENCLAW_GATEWAY_PASSWORD=old\nRestartPreventExitStatus=78\n";
        let change = [
            ("RestartSec=5", "RestartSec=1"),
            ("Restart=always", "Restart=on-failure"),
            ("WatchdogSec=30\n", own),
            ("After=network-online.target", "After=network-online.target mine.target"),
            ("TimeoutStopSec=35", "TimeoutStopSec=90"),
            ("UMask=0077", "UMask=0027"),
            ("/bin\n", "/bin:/opt/mine\n"),
            ("WantedBy=default.target", "WantedBy=graphical-session.target\n[X-Mine]\nA=b"),
        ];
        let repaired = repaired(Kind::SystemdUser, &change);
        let text = &repaired.text;
        for line in [
            "RestartSec=5",
            "Restart=always",
            "WatchdogSec=30",
            "# My own note",
            "MemoryMax=2G",
            "Nice=5",
            "Environment=HTTP_PROXY=http://p:1",
            "After=network-online.target mine.target",
            "TimeoutStopSec=90",
            "UMask=0027",
            "WantedBy=graphical-session.target",
            "WantedBy=default.target",
            "[X-Mine]",
            "A=b",
        ] {
            assert_eq!(text.lines().filter(|there| *there == line).count(), 1, "{line} in\n{text}");
        }
        assert!(text.contains("/bin:/opt/mine") && !text.contains("OPENCLAW_GATEWAY_PASSWORD"), "{text}");
        assert!(!text.contains("RestartPreventExitStatus") && !text.contains("RestartSec=1"), "{text}");
        assert_eq!(repaired.dropped, ["RestartPreventExitStatus"]);
        assert_eq!(repaired.kept, ["HTTP_PROXY", "MemoryMax", "Nice"]);
    }

    #[test]
    fn a_unit_without_anything_becomes_a_whole_one() {
        let repaired = repair(Kind::SystemdUser, "[Service]\nExecStart=/bin/true\n", &definition()).unwrap();
        assert_eq!(audit(Kind::SystemdUser, &Kind::SystemdUser.parse(&repaired.text), &definition()), []);
        assert!(!repaired.text.contains("/bin/true"), "{}", repaired.text);
        assert!(repair(Kind::SystemdUser, "", &definition()).unwrap().text.contains("[Install]\nWantedBy="));
    }

    #[test]
    fn row_165_the_agent_is_kept_alive_again_and_a_persons_keys_stay() {
        let own = "<key>Nice</key>\n\t<integer>5</integer>\n\t<key>Disabled</key>\n\t<true/>\n\t<key>KeepAlive</key>\n\t<dict>\n\t\
                   <key>SuccessfulExit</key>\n\t<false/>\n\t</dict>";
        let change = [
            ("<key>KeepAlive</key>\n\t<true/>", own),
            (
                "<key>OPENCLAW_PROFILE</key>",
                "<key>HTTP_PROXY</key>\n<string>http://p:1</string>\n<key>OPENCLAW_PROFILE</key>",
            ),
            (
                "<key>ThrottleInterval</key>\n\t<integer>5</integer>",
                "<key>ThrottleInterval</key>\n\t<integer>30</integer>",
            ),
        ];
        let repaired = repaired(Kind::Launchd, &change);
        let text = &repaired.text;
        for part in [
            "<key>KeepAlive</key>\n\t<true/>",
            "<key>Nice</key>\n\t<integer>5</integer>",
            "<key>HTTP_PROXY</key>\n\t\t<string>http://p:1</string>",
            "<key>ThrottleInterval</key>\n\t<integer>30</integer>",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(
            (repaired.kept, repaired.dropped),
            (vec!["HTTP_PROXY".to_owned(), "Nice".into()], vec!["Disabled".into()])
        );
        assert!(!text.contains("Disabled") && !text.contains("SuccessfulExit"), "{text}");
    }
}
