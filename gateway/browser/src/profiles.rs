//! Profiles: each is a browser of its own, with cookies of its own and a DevTools port that it keeps over restarts (manual:
//! control port + 9 to + 108).

use std::{collections::BTreeMap, io, ops::RangeInclusive};

use openclaw_config::Browser;
use openclaw_platform::{Platform, SpawnerExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::{BrowserError, limits::PROFILES};

/// Where they are kept, below the state directory.
pub const FILE: &str = "browser/profiles.json";
/// The first and the last port, from the control port.
const FIRST: u16 = 9;
const LAST: u16 = 108;
/// The profile when nobody names one.
const DEFAULT: &str = "openclaw";

/// A browser that can be started, or that runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name: lower-case letters, digits and dashes.
    pub name: String,
    /// Its DevTools port on this machine; none for a browser elsewhere.
    pub port: Option<u16>,
    /// Where a browser runs that is only connected to.
    pub url: Option<String>,
    /// It stands in the configuration.
    pub is_configured: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Kept {
    version: u32,
    profiles: BTreeMap<String, KeptProfile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptProfile {
    cdp_port: u16,
}

/// The table of profiles; changes are written before they count.
pub struct Profiles {
    platform: Platform,
    control: Option<u16>,
    /// What the file holds, once it was read.
    kept: Mutex<Option<Kept>>,
}

/// The name as it is kept.
///
/// # Errors
/// [`BrowserError::Invalid`].
pub fn name(text: &str) -> Result<String, BrowserError> {
    let name = text.trim().to_ascii_lowercase();
    let is_fit = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_fit {
        Ok(name)
    } else {
        Err(BrowserError::invalid("a profile's name has letters, digits and dashes, 64 at most"))
    }
}

/// The profile that is meant when none is named.
pub fn default_of(config: &Browser) -> String {
    config.default_profile.as_deref().and_then(|text| name(text).ok()).unwrap_or_else(|| DEFAULT.to_owned())
}

impl Profiles {
    /// Beside a control service on this port; none where there is no such port.
    pub fn new(platform: Platform, control: Option<u16>) -> Self {
        Self { platform, control, kept: Mutex::default() }
    }

    /// The ports that profiles get.
    pub fn range(&self) -> Option<RangeInclusive<u16>> {
        let control = self.control?;
        Some(control.checked_add(FIRST)?..=control.saturating_add(LAST))
    }

    /// All of them: those of the configuration, those that were made, and the default one.
    ///
    /// # Errors
    /// [`BrowserError::State`], and [`BrowserError::Invalid`] when there are not enough ports.
    pub async fn all(&self, config: &Browser) -> Result<Vec<Profile>, BrowserError> {
        let mut kept = self.kept.lock().await;
        let mut table = self.read(&mut kept).await?.clone();
        let configured = config.profiles.keys().filter_map(|text| name(text).ok());
        let names: Vec<String> = configured.chain([default_of(config)]).collect();
        for name in &names {
            if entry(config, name).0.is_none() && entry(config, name).1.is_none() && !table.profiles.contains_key(name)
            {
                table.profiles.insert(name.clone(), KeptProfile { cdp_port: 0 });
            }
        }
        self.give_ports(&mut table, config)?;
        self.write(&mut kept, &table).await?;
        let mut all: BTreeMap<String, Profile> = BTreeMap::new();
        for name in names.iter().chain(table.profiles.keys()) {
            let (port, url) = entry(config, name);
            let port = port.or_else(|| table.profiles.get(name).map(|kept| kept.cdp_port)).filter(|_| url.is_none());
            let is_configured = config.profiles.keys().any(|text| text.trim().eq_ignore_ascii_case(name));
            all.insert(name.clone(), Profile { name: name.clone(), port, url, is_configured });
        }
        Ok(all.into_values().collect())
    }

    /// The one of this name.
    ///
    /// # Errors
    /// As [`Profiles::all`], and [`BrowserError::NoProfile`].
    pub async fn named(&self, config: &Browser, text: &str) -> Result<Profile, BrowserError> {
        let name = name(text)?;
        let all = self.all(config).await?;
        all.into_iter().find(|profile| profile.name == name).ok_or(BrowserError::NoProfile(name))
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`BrowserError::Invalid`] when there is one, or too many.
    pub async fn create(&self, config: &Browser, text: &str) -> Result<Profile, BrowserError> {
        let name = name(text)?;
        if self.all(config).await?.iter().any(|profile| profile.name == name) {
            return Err(BrowserError::invalid(format!("there is a browser profile {name:?} already")));
        }
        let mut kept = self.kept.lock().await;
        let mut table = self.read(&mut kept).await?.clone();
        table.profiles.insert(name.clone(), KeptProfile { cdp_port: 0 });
        self.give_ports(&mut table, config)?;
        self.write(&mut kept, &table).await?;
        drop(kept);
        self.named(config, &name).await
    }

    /// Takes one away, and puts its data aside.
    ///
    /// # Errors
    /// [`BrowserError::Invalid`] for one that the configuration names, or the default one.
    pub async fn remove(&self, config: &Browser, profile: &Profile, tag: &str) -> Result<(), BrowserError> {
        if profile.is_configured || profile.name == default_of(config) {
            let text = format!("the profile {:?} stands in the configuration, or is the default one", profile.name);
            return Err(BrowserError::invalid(text));
        }
        let mut kept = self.kept.lock().await;
        let mut table = self.read(&mut kept).await?.clone();
        table.profiles.remove(&profile.name);
        self.write(&mut kept, &table).await?;
        drop(kept);
        // The next profile of this name must not have its cookies.
        let (from, to) = (data(&profile.name), format!("browser/{}.deleted.{tag}", profile.name));
        let storage = self.platform.storage.clone();
        match self.platform.tasks.blocking(move || storage.rename(&from, &to)).await {
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(BrowserError::State(e.to_string())),
            Some(_) => Ok(()),
            None => Err(BrowserError::Stopping),
        }
    }

    /// Ports for those that have none, or one that is no profile's (the gateway's port changed, or the configuration took it).
    fn give_ports(&self, table: &mut Kept, config: &Browser) -> Result<(), BrowserError> {
        if table.profiles.len() > PROFILES {
            return Err(BrowserError::invalid(format!("there may be {PROFILES} browser profiles")));
        }
        let configured: Vec<u16> = config.profiles.values().filter_map(|profile| profile.cdp_port).collect();
        let range = self.range();
        let is_right =
            |port: u16| range.as_ref().is_some_and(|range| range.contains(&port)) && !configured.contains(&port);
        let mut taken: Vec<u16> = table.profiles.values().map(|kept| kept.cdp_port).collect();
        for kept in table.profiles.values_mut().filter(|kept| !is_right(kept.cdp_port)) {
            let free = range.clone().and_then(|mut range| range.find(|port| is_right(*port) && !taken.contains(port)));
            let none =
                || BrowserError::invalid("there is no free DevTools port: name one in browser.profiles.NAME.cdpPort");
            kept.cdp_port = free.ok_or_else(none)?;
            taken.push(kept.cdp_port);
        }
        Ok(())
    }

    async fn read<'k>(&self, kept: &'k mut Option<Kept>) -> Result<&'k Kept, BrowserError> {
        if kept.is_none() {
            let storage = self.platform.storage.clone();
            let read = self.platform.tasks.blocking(move || storage.read(FILE)).await.ok_or(BrowserError::Stopping)?;
            *kept = Some(match read {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                    BrowserError::State(format!("{FILE} in the state directory: {e}; mend or remove it"))
                })?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => Kept { version: 1, ..Kept::default() },
                Err(e) => return Err(BrowserError::State(format!("{FILE} in the state directory: {e}"))),
            });
        }
        kept.as_ref().ok_or(BrowserError::Stopping)
    }

    async fn write(&self, kept: &mut Option<Kept>, table: &Kept) -> Result<(), BrowserError> {
        if kept.as_ref() == Some(table) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(table).map_err(|e| BrowserError::State(e.to_string()))?;
        let storage = self.platform.storage.clone();
        let written = self.platform.tasks.blocking(move || storage.write_atomic(FILE, &text)).await;
        written.ok_or(BrowserError::Stopping)?.map_err(|e| BrowserError::State(format!("{FILE}: {e}")))?;
        *kept = Some(table.clone());
        Ok(())
    }
}

/// Port and address that the configuration has for a profile.
fn entry(config: &Browser, name: &str) -> (Option<u16>, Option<String>) {
    let found = config.profiles.iter().find(|(text, _)| text.trim().eq_ignore_ascii_case(name)).map(|(_, entry)| entry);
    let url = found.and_then(|entry| entry.cdp_url.clone());
    let url = url.or_else(|| config.cdp_url.clone().filter(|_| name == default_of(config)));
    (found.and_then(|entry| entry.cdp_port), url.filter(|url| !url.trim().is_empty()))
}

/// Where a profile's browser keeps its data, below the state directory.
pub fn data(name: &str) -> String {
    format!("browser/{name}")
}
