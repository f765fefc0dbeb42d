//! What a node says that it is and can do. What of it was approved is pinned; the rest waits for a person (S33).

use std::collections::BTreeMap;

use openclaw_protocol::{connect::ConnectParams, nodes::NodeWaiting, truncate, wire::NonEmpty};
use serde::{Deserialize, Serialize};

use super::allowlist::Kind;
use crate::limits::{DECLARED, DECLARED_NAME, DEVICE_TEXT};

/// The part of a `connect` that decides what a node may be asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Declared {
    /// Operating system.
    pub platform: String,
    /// `iPhone`, `Mac`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    /// Abilities, sorted.
    pub caps: Vec<String>,
    /// Commands, sorted; the platform and the configuration may still forbid some.
    pub commands: Vec<String>,
    /// What the person allowed the app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<BTreeMap<String, bool>>,
}

/// A node declares more names of a kind, or longer ones, than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid connect params: at /{kind}: expected at most {DECLARED} names of {DECLARED_NAME} characters, found {found} or \
     a longer one"
)]
pub struct TooMuch {
    /// The member of `connect`.
    pub kind: &'static str,
    /// How many it has.
    pub found: usize,
}

impl Declared {
    /// Reads it.
    ///
    /// # Errors
    /// [`TooMuch`].
    pub fn of(params: &ConnectParams) -> Result<Self, TooMuch> {
        let cut = |text: &str| truncate::chars(text, DEVICE_TEXT).to_owned();
        let permissions = params.permissions.as_ref().map(|p| p.0.clone());
        Ok(Self {
            platform: cut(&params.client.platform),
            device_family: params.client.device_family.as_deref().map(cut),
            caps: names("caps", params.caps.as_deref())?,
            commands: names("commands", params.commands.as_deref())?,
            permissions: permissions.map(|p| bounded("permissions", p.len(), p.keys()).map(|()| p)).transpose()?,
        })
    }

    fn kind(&self) -> Kind {
        Kind::of(&self.platform, self.device_family.as_deref())
    }

    /// What of it counts where `approved` was approved: never more than both. A node of another kind than the approved
    /// one goes on as the approved one.
    pub fn within(&self, approved: &Self) -> Self {
        let both = |mine: &[String], theirs: &[String]| mine.iter().filter(|n| theirs.contains(n)).cloned().collect();
        let named = if self.kind() == approved.kind() { self } else { approved };
        let permitted = |(name, allowed): (&String, &bool)| (name.clone(), *allowed && approved.permits(name));
        Self {
            platform: named.platform.clone(),
            device_family: named.device_family.clone(),
            caps: both(&self.caps, &approved.caps),
            commands: both(&self.commands, &approved.commands),
            permissions: self.permissions.as_ref().map(|p| p.iter().map(permitted).collect()),
        }
    }

    /// What of it was not approved; none when all of it was.
    pub fn beyond(&self, approved: &Self) -> Option<NodeWaiting> {
        let new = |mine: &[String], theirs: &[String]| -> Vec<String> {
            mine.iter().filter(|n| !theirs.contains(n)).cloned().collect()
        };
        let is_other = self.kind() != approved.kind();
        let asked = self.permissions.iter().flatten().filter(|(name, allowed)| **allowed && !approved.permits(name));
        let waiting = NodeWaiting {
            caps: new(&self.caps, &approved.caps),
            commands: new(&self.commands, &approved.commands),
            permissions: asked.map(|(name, _)| name.clone()).collect(),
            platform: Some(self.platform.clone()).filter(|_| is_other),
            device_family: self.device_family.clone().filter(|_| is_other),
        };
        let names = [&waiting.caps, &waiting.commands, &waiting.permissions];
        (is_other || names.iter().any(|n| !n.is_empty())).then_some(waiting)
    }

    fn permits(&self, name: &str) -> bool {
        self.permissions.as_ref().is_some_and(|p| p.get(name) == Some(&true))
    }
}

/// They are stored and shown, so that there is a bound.
fn bounded<'a>(kind: &'static str, found: usize, mut names: impl Iterator<Item = &'a String>) -> Result<(), TooMuch> {
    if found > DECLARED || names.any(|n| n.chars().count() > DECLARED_NAME) {
        return Err(TooMuch { kind, found });
    }
    Ok(())
}

fn names(kind: &'static str, names: Option<&[NonEmpty]>) -> Result<Vec<String>, TooMuch> {
    let mut list: Vec<String> =
        names.unwrap_or_default().iter().map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    list.sort();
    list.dedup();
    bounded(kind, list.len(), list.iter())?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(platform: &str, commands: &[&str], permissions: &[(&str, bool)]) -> Declared {
        let permissions = permissions.iter().map(|(n, allowed)| ((*n).to_owned(), *allowed)).collect();
        Declared {
            platform: platform.into(),
            commands: commands.iter().map(|c| (*c).to_owned()).collect(),
            permissions: Some(permissions),
            ..Declared::default()
        }
    }

    #[test]
    fn s33_what_counts_was_declared_and_approved() {
        let approved = declared("iOS 18", &["camera.snap", "location.get"], &[("camera", true), ("mic", false)]);
        let wide =
            declared("iOS 19", &["camera.snap", "system.run"], &[("camera", true), ("mic", true), ("sms", true)]);
        let permitted = [("camera", true), ("mic", false), ("sms", false)];
        assert_eq!(
            wide.within(&approved),
            declared("iOS 19", &["camera.snap"], &permitted),
            "an update is no other kind"
        );
        let waiting = wide.beyond(&approved).unwrap();
        assert_eq!(
            (waiting.commands, waiting.permissions),
            (vec!["system.run".into()], vec!["mic".into(), "sms".into()])
        );
        assert_eq!((waiting.platform, waiting.caps), (None, vec![]));

        let less = declared("iOS 18", &["camera.snap"], &[("camera", false)]);
        assert_eq!((less.within(&approved), less.beyond(&approved)), (less.clone(), None));
        assert_eq!(approved.beyond(&approved), None);
    }

    #[test]
    fn s33_another_kind_goes_on_as_the_approved_one() {
        let family = |platform: &str, family: &str| Declared {
            device_family: Some(family.into()),
            ..declared(platform, &["camera.snap"], &[])
        };
        let phone = declared("iOS 18", &["camera.snap"], &[]);
        for other in ["linux", "iPadOS 18", "macOS 15", "Windows 11", "iphone", ""] {
            let other = declared(other, &["camera.snap"], &[]);
            assert_eq!(other.within(&phone), phone);
            assert_eq!(other.beyond(&phone).unwrap().platform, Some(other.platform));
        }
        // The family chooses only where the platform does not.
        let pad = family("x", "iPad");
        assert_eq!(family("x", "Mac").within(&pad), pad);
        assert_eq!(family("x", "Mac").beyond(&pad).unwrap().device_family.as_deref(), Some("Mac"));
        assert_eq!(family("iOS 18", "Mac").beyond(&phone), None);
        assert_eq!(declared("plan9 4", &[], &[]).beyond(&declared("Plan9 3", &[], &[])), None);
    }
}
