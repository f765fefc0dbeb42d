//! The configuration file of the gateway: people edit it, and so does the gateway when a client asks for it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex},
};

use openclaw_config::{Loaded, Outside};
use openclaw_platform::{Storage, sync::LockExt as _};
use openclaw_server::{ConfigSource, Unusable, options::ChangeFile};

use super::programs::Replaced;
use crate::storage::SimDisk;

/// Where the gateway's own writes go, so that faults of the disk and crashes strike them.
const FILE: &str = "openclaw.json";

/// What a configuration reads besides its own text: files that somebody has put there.
pub struct Around<'a>(pub &'a Replaced);

impl Outside for Around<'_> {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn file(&self, path: &str, _: Option<&str>) -> Result<(String, String), String> {
        let text = self.0.text(path).ok_or_else(|| format!("cannot read {path}: it is not there"))?;
        Ok((text, path.to_owned()))
    }
    fn state_file(&self, _: &str) -> Option<String> {
        None
    }
}

/// The file of one process.
pub struct ConfigFile {
    text: Arc<Mutex<String>>,
    attempt: Arc<Mutex<Option<String>>>,
    files: Replaced,
    disk: Box<dyn Storage>,
}

impl ConfigFile {
    /// For a process that starts: what an earlier one was writing when it died is there, or it is not.
    pub fn after_a_start(
        text: Arc<Mutex<String>>,
        attempt: Arc<Mutex<Option<String>>>,
        files: Replaced,
        disk: &SimDisk,
    ) -> Self {
        let file = Self { text, attempt, files, disk: Box::new(disk.mount()) };
        file.settle();
        file
    }

    /// The text is what lies on the disk, if it is what was to be written last.
    fn settle(&self) {
        let attempt = self.attempt.locked();
        if let Some(new) = &*attempt
            && self.disk.read(FILE).is_ok_and(|found| found == new.as_bytes())
        {
            new.clone_into(&mut self.text.locked());
        }
    }
}

impl ConfigSource for ConfigFile {
    fn stamp(&self, _: &[String]) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.text.locked().hash(&mut hasher);
        self.files.versions().hash(&mut hasher);
        hasher.finish()
    }

    fn read(&self) -> Result<Loaded, Unusable> {
        let text = self.text.locked().clone();
        openclaw_config::read(&text, &Around(&self.files))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            .map_err(|why| Unusable { why, parts: vec![] })
    }

    fn change(&self, change: &mut ChangeFile<'_>) -> Result<(), String> {
        let old = self.text.locked().clone();
        let Some(new) = change(Some(&old), &Around(&self.files)) else { return Ok(()) };
        *self.attempt.locked() = Some(new.clone());
        let written = self.disk.write_atomic(FILE, new.as_bytes());
        self.settle();
        written.map_err(|error| format!("the configuration cannot be written: {error}"))
    }
}
