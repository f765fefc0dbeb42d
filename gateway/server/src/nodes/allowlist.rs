//! Which commands a node may offer: by platform and by configuration (part A1, 'Allowlist by platform').

use openclaw_config::GatewayNodes;

const CANVAS: &[&str] = &[
    "canvas.present",
    "canvas.hide",
    "canvas.navigate",
    "canvas.eval",
    "canvas.snapshot",
    "canvas.a2ui.push",
    "canvas.a2ui.pushJSONL",
    "canvas.a2ui.reset",
];
const CAMERA: &[&str] = &["camera.list", "camera.snap", "camera.clip"];
const SCREEN: &[&str] = &["screen.record"];
const LOCATION: &[&str] = &["location.get"];
const SMS: &[&str] = &["sms.send"];
const SYSTEM: &[&str] = &[
    "system.run",
    "system.run.inspect",
    "system.which",
    "system.notify",
    "system.execApprovals.get",
    "system.execApprovals.set",
    "browser.proxy",
];

/// Runs a program on the node; an approval that comes with it is checked by the gateway (S19).
pub const SYSTEM_RUN: &str = "system.run";

/// What a command would run on the node, for the question to a person (S25); runs nothing.
pub const SYSTEM_RUN_INSPECT: &str = "system.run.inspect";

/// Read and write the policy of a node's own host.
pub const POLICY: &str = "system.execApprovals.";

/// Which apps run on a node, so which commands it may offer. Versions do not count: an update of the operating system
/// makes no other kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// iPhone, iPad.
    Ios,
    /// Phones and tablets of others.
    Android,
    /// A Mac.
    Macos,
    /// A PC.
    Windows,
    /// Anything with Linux but Android.
    Linux,
    /// None of these, by the first word that it says of itself.
    Unknown(String),
}

impl Kind {
    /// By the platform, else by the device family.
    pub fn of(platform: &str, family: Option<&str>) -> Self {
        let platform = platform.trim().to_lowercase();
        let by_platform = [
            ("ios", Self::Ios),
            ("android", Self::Android),
            ("mac", Self::Macos),
            ("darwin", Self::Macos),
            ("win", Self::Windows),
            ("linux", Self::Linux),
        ];
        if let Some((_, kind)) = by_platform.into_iter().find(|(prefix, _)| platform.starts_with(prefix)) {
            return kind;
        }
        let family = family.unwrap_or_default().to_lowercase();
        let by_family = [
            ("iphone", Self::Ios),
            ("ipad", Self::Ios),
            ("ios", Self::Ios),
            ("android", Self::Android),
            ("mac", Self::Macos),
            ("windows", Self::Windows),
            ("linux", Self::Linux),
        ];
        let known = by_family.into_iter().find(|(part, _)| family.contains(part)).map(|(_, kind)| kind);
        known.unwrap_or_else(|| Self::Unknown(platform.split_whitespace().next().unwrap_or_default().to_owned()))
    }

    /// The groups of commands that its apps have.
    fn groups(&self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Ios => &[CANVAS, CAMERA, SCREEN, LOCATION],
            Self::Android => &[CANVAS, CAMERA, SCREEN, LOCATION, SMS],
            Self::Macos => &[CANVAS, CAMERA, SCREEN, LOCATION, SYSTEM],
            Self::Windows | Self::Linux => &[SYSTEM],
            Self::Unknown(_) => &[CANVAS, CAMERA, SCREEN, LOCATION, SMS, SYSTEM],
        }
    }
}

/// True when the platform or `allowCommands` allows it and `denyCommands` does not.
pub fn allows(config: &GatewayNodes, platform: &str, family: Option<&str>, command: &str) -> bool {
    let named = |list: &[String]| list.iter().any(|c| c.trim() == command);
    !named(&config.deny_commands)
        && (named(&config.allow_commands) || Kind::of(platform, family).groups().iter().any(|g| g.contains(&command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(config: &GatewayNodes, platform: &str, family: Option<&str>) -> Vec<&'static str> {
        let probes =
            ["canvas.eval", "camera.snap", "screen.record", "location.get", "sms.send", "system.run", "made.up"];
        probes.into_iter().filter(|c| allows(config, platform, family, c)).collect()
    }

    /// The table of the sheet, written out by hand.
    #[test]
    fn each_platform_has_its_commands() {
        let none = GatewayNodes::default();
        let of = |platform, family| allowed(&none, platform, family).join(" ");
        let phone = "canvas.eval camera.snap screen.record location.get";
        assert_eq!(of("iOS 18", None), phone);
        assert_eq!(of("android", None), format!("{phone} sms.send"));
        assert_eq!(of("macOS 15", None), format!("{phone} system.run"));
        assert_eq!(of("darwin", None), format!("{phone} system.run"));
        assert_eq!(of("linux", None), "system.run");
        assert_eq!(of("Windows 11", None), "system.run");
        assert_eq!(of("iPadOS 18", None), format!("{phone} sms.send system.run"));
        assert_eq!(of("x", Some("iPad")), phone);
    }

    #[test]
    fn the_configuration_adds_and_removes_and_denying_wins() {
        let list = |s: &[&str]| s.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let config = GatewayNodes {
            allow_commands: list(&[" made.up ", "camera.snap"]),
            deny_commands: list(&["system.run", " camera.snap "]),
            ..GatewayNodes::default()
        };
        assert_eq!(allowed(&config, "linux", None), ["made.up"]);
    }
}
