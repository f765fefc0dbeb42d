//! What is stored of a device.

use std::collections::BTreeMap;

use openclaw_platform::Millis;
use openclaw_protocol::{
    params::{DeviceTokenInfo, PairedDevice},
    scope::{Role, Scopes},
};
use serde::{Deserialize, Serialize};

use crate::nodes::Declared;

/// A device that may connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// SHA-256 of its key.
    pub device_id: String,
    /// base64url.
    pub public_key: String,
    /// What it says about itself.
    #[serde(flatten)]
    pub about: About,
    /// Roles approved, with the scopes approved for each.
    pub approved: BTreeMap<Role, Scopes>,
    /// What was approved of what it declares as a node (S33). None for devices that are no nodes, and in records of
    /// programs that did not keep it: then what it declares at its next connection counts as approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Declared>,
    /// One token per role; a revoked one stays, so that no silent approval undoes the revocation (D15).
    pub tokens: BTreeMap<Role, DeviceToken>,
    /// First pairing.
    pub created_at_ms: Millis,
    /// Latest approval.
    pub approved_at_ms: Millis,
}

/// What a device says about itself: shown, never trusted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct About {
    /// Shown name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// `client.id`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// `client.mode`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
}

/// A device's own credential.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceToken {
    /// 32 hex characters.
    pub token: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When the role first got one.
    pub created_at_ms: Millis,
    /// When it was last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<Millis>,
    /// When it stopped to be good for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<Millis>,
}

impl std::fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceToken").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

/// When and from where a device was last seen. Apart from [`Device`], because it changes with every connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seen {
    /// Latest connection.
    pub at_ms: Millis,
    /// Its address, when it was not local.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    /// Latest connection by role.
    pub by_role: BTreeMap<Role, Millis>,
}

impl Device {
    /// The token of `role`, unless it was revoked.
    pub fn token(&self, role: Role) -> Option<&DeviceToken> {
        self.tokens.get(&role).filter(|t| t.revoked_at_ms.is_none())
    }

    /// Gives `role` a new secret.
    pub fn issue(&mut self, role: Role, token: String, scopes: Scopes, now: Millis) {
        let created = self.tokens.get(&role).map(|t| t.created_at_ms);
        let made = DeviceToken {
            token,
            scopes,
            created_at_ms: created.unwrap_or(now),
            rotated_at_ms: created.map(|_| now),
            revoked_at_ms: None,
        };
        self.tokens.insert(role, made);
    }

    /// As `device.pair.list` shows it.
    pub fn shown(&self, seen: Option<&Seen>) -> PairedDevice {
        let roles: Vec<String> = self.approved.keys().map(|r| r.as_str().to_owned()).collect();
        let scopes = Scopes::new(self.approved.values().flat_map(|s| s.as_slice().iter().cloned()));
        let tokens = self.tokens.iter().map(|(role, t)| DeviceTokenInfo {
            role: role.as_str().to_owned(),
            scopes: t.scopes.as_slice().to_vec(),
            created_at_ms: t.created_at_ms,
            rotated_at_ms: t.rotated_at_ms,
            revoked_at_ms: t.revoked_at_ms,
            last_used_at_ms: seen.and_then(|s| s.by_role.get(role).copied()),
        });
        let about = self.about.clone();
        PairedDevice {
            device_id: self.device_id.clone(),
            public_key: self.public_key.clone(),
            role: roles.first().cloned().unwrap_or_default(),
            roles,
            scopes: scopes.as_slice().to_vec(),
            tokens: tokens.collect(),
            created_at_ms: self.created_at_ms,
            approved_at_ms: self.approved_at_ms,
            display_name: about.display_name,
            platform: about.platform,
            client_id: about.client_id,
            client_mode: about.client_mode,
            remote_ip: seen.and_then(|s| s.remote_ip.clone()),
            last_seen_at_ms: seen.map(|s| s.at_ms),
        }
    }
}
