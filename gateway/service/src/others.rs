//! Services of this machine that seem to run a gateway, too.

use std::path::PathBuf;

use crate::{Kind, Parsed, Service, names};

/// What gateways of this family have been called.
const HOUSES: [&str; 4] = ["openclaw", "clawdbot", "moltbot", "moldbot"];

/// Another service that seems to run a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// `systemd`, `launchd`, `windows`.
    pub platform: &'static str,
    /// Its name.
    pub label: String,
    /// Where it stands.
    pub detail: String,
    /// `user`, `system`.
    pub scope: &'static str,
    /// Which program's it is.
    pub marker: &'static str,
    /// True for one of a program that this one replaces.
    pub legacy: bool,
}

/// Looks through the user's folder and, when `deep`, the machine's. The own service and those that `gateway install` wrote for
/// other profiles are none.
pub async fn others(service: &Service<'_>, deep: bool) -> Vec<Other> {
    let kind = service.kind();
    if kind == Kind::Windows {
        return if deep { tasks(service).await } else { vec![] };
    }
    let files = service.host().files;
    let mut found: Vec<Other> = vec![];
    for (dir, scope) in folders(service, deep) {
        for name in files.list(&dir).unwrap_or_default() {
            let Some(label) = name.strip_suffix(ending(kind)) else { continue };
            let path = dir.join(&name);
            // Two folders may be one by a link.
            if path == service.path() || found.iter().any(|other| other.label == label && other.scope == scope) {
                continue;
            }
            let parsed = files.read(&path).map(|text| kind.parse(&text)).unwrap_or_default();
            if let Some(marker) = house(label, &parsed).filter(|marker| is_other(kind, label, &parsed, marker)) {
                let legacy = marker != HOUSES[0] || is_legacy(kind, service, label);
                let detail = path.display().to_string();
                found.push(Other { platform: kind.platform(), label: label.to_owned(), detail, scope, marker, legacy });
            }
        }
    }
    found
}

fn ending(kind: Kind) -> &'static str {
    if kind == Kind::Launchd { ".plist" } else { ".service" }
}

fn folders(service: &Service<'_>, deep: bool) -> Vec<(PathBuf, &'static str)> {
    let places = &service.host().places;
    let (user, system) = match service.kind() {
        Kind::Launchd => ("Library/LaunchAgents", ["Library/LaunchAgents", "Library/LaunchDaemons", ""]),
        _ => (".config/systemd/user", ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"]),
    };
    let mut folders = vec![(places.home.join(user), "user")];
    if deep {
        folders.extend(system.iter().filter(|dir| !dir.is_empty()).map(|dir| (places.root.join(dir), "system")));
    }
    folders
}

/// Whose program a service seems to run, by its name or its command.
fn house(label: &str, parsed: &Parsed) -> Option<&'static str> {
    let says = |text: &str, house: &str| text.to_lowercase().contains(house);
    // The names of the older programs say more than a folder that is called like the new one.
    HOUSES.into_iter().rev().find(|house| says(label, house) || parsed.command.iter().any(|word| says(word, house)))
}

fn is_other(kind: Kind, label: &str, parsed: &Parsed, marker: &str) -> bool {
    // A node, or whatever else this program was told to be.
    let is_no_gateway = marker == HOUSES[0] && !parsed.command.is_empty() && !parsed.runs_a_gateway();
    // Written by hand, as the manual shows.
    let is_by_hand = kind != Kind::Launchd && label.starts_with("openclaw-gateway") && parsed.runs_a_gateway();
    !parsed.is_ours() && !is_no_gateway && !is_by_hand
}

fn is_legacy(kind: Kind, service: &Service<'_>, label: &str) -> bool {
    let houses = ["com.openclaw.", "ai.openclaw."];
    names::legacy(kind, service.profile()).iter().any(|name| name == label)
        || (kind == Kind::Launchd && houses.iter().any(|house| label.starts_with(house)))
}

/// Tasks of the Windows task scheduler, all of which lie in one place.
async fn tasks(service: &Service<'_>) -> Vec<Other> {
    let Ok(said) = service.host().run(&["schtasks", "/Query", "/FO", "LIST"]).await else { return vec![] };
    let names = said.stdout.lines().filter_map(|line| line.trim().strip_prefix("TaskName:"));
    let names = names.map(|name| name.trim().trim_start_matches('\\').to_owned());
    names
        .filter(|name| !name.starts_with("OpenClaw Gateway"))
        .filter_map(|label| {
            let marker = house(&label, &Parsed::default())?;
            let detail = label.clone();
            Some(Other { platform: "windows", label, detail, scope: "system", marker, legacy: marker != HOUSES[0] })
        })
        .collect()
}
