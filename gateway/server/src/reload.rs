//! Changes of the configuration file take effect while the gateway runs (manual, section B; D21). What each change takes is one
//! table, `openclaw_config::diff`. A file that cannot be used changes nothing: what is in force was valid as a whole.

use std::{sync::Arc, time::Duration};

use openclaw_config::{
    Loaded, ReloadMode,
    diff::{Change, Effect, diff},
};
use openclaw_platform::{Mono, Platform, SpawnerExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    channels::{Channels, Receivers},
    health::Monitor,
    options::{Unusable, Watched},
    restarts::Restarts,
    settings::Settings,
};

/// The files are looked at this often. Looking costs a call for each file and sees every way of editing one: in place, by a new
/// file in its place, through links, over a network.
const LOOK: Duration = Duration::from_millis(400);
/// An edit that goes on for longer than this is read in the middle all the same.
const LONGEST_EDIT: Duration = Duration::from_secs(10);

/// What a reload uses of others.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration in force.
    pub settings: Settings,
    /// The file.
    pub watched: Watched,
    /// Accounts that begin anew.
    pub channels: Arc<Channels>,
    /// What they receive with; none where this process has no channels.
    pub receivers: Option<Receivers>,
    /// Tells clients of a file that cannot be used.
    pub health: Arc<Monitor>,
    /// Asks for a restart, and says why.
    pub restarts: Arc<Restarts>,
}

/// Watches the file.
pub struct Reload {
    deps: Deps,
    /// What is in force.
    loaded: Arc<Loaded>,
    /// The files that the text names as parts of itself which was read last.
    parts: Arc<Vec<String>>,
    stamp: u64,
}

impl Reload {
    /// Of a gateway that has just started with what was read of the file first.
    pub fn new(deps: Deps) -> Self {
        let loaded = deps.watched.first.clone();
        Self { parts: Arc::new(loaded.files.clone()), loaded, stamp: deps.watched.stamp, deps }
    }

    /// Looks for changes until the gateway stops.
    pub async fn serve(mut self, stop: CancellationToken) {
        loop {
            openclaw_platform::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            // A restart is planned and will read the file: nothing is taken over before (D21).
            if self.mode() == ReloadMode::Off || self.deps.restarts.is_planned() {
                continue;
            }
            let Some(mut stamp) = self.look().await else { return };
            if stamp == self.stamp {
                continue;
            }
            openclaw_platform::select! {
                () = stop.cancelled() => return,
                settled = self.settled(stamp) => match settled {
                    Some(settled) => stamp = settled,
                    None => return,
                },
            }
            let source = self.deps.watched.source.clone();
            let read = self.deps.platform.tasks.blocking(move || source.read()).await;
            // Looked at again, should there be no restart after all.
            if self.deps.restarts.is_planned() {
                continue;
            }
            self.stamp = stamp;
            match read {
                Some(Ok(loaded)) => {
                    self.parts = Arc::new(loaded.files.clone());
                    self.take_over(loaded).await;
                }
                Some(Err(Unusable { why, parts })) => {
                    self.parts = Arc::new(parts);
                    self.refuse(why);
                }
                None => return,
            }
        }
    }

    fn mode(&self) -> ReloadMode {
        self.deps.settings.get().gateway.reload.mode
    }

    /// What the files look like now; none when the gateway stops.
    async fn look(&self) -> Option<u64> {
        let (source, parts) = (self.deps.watched.source.clone(), self.parts.clone());
        self.deps.platform.tasks.blocking(move || source.stamp(&parts)).await
    }

    /// Waits until nobody has written for `gateway.reload.debounceMs`, so that one edit has one effect.
    async fn settled(&self, mut stamp: u64) -> Option<u64> {
        let quiet = Duration::from_millis(self.deps.settings.get().gateway.reload.debounce_ms);
        let since: Mono = self.deps.platform.clock.mono();
        loop {
            tokio::time::sleep(quiet).await;
            let now = self.look().await?;
            let is_long = self.deps.platform.clock.mono().duration_since(since) >= LONGEST_EDIT;
            if now == stamp || is_long {
                return Some(now);
            }
            stamp = now;
        }
    }

    /// The file cannot be used: what is in force stays so, and everybody hears why.
    fn refuse(&self, why: String) {
        // It was read again because its parts are other ones now.
        if self.deps.settings.told().problem.as_ref() == Some(&why) {
            return;
        }
        self.deps.platform.probe.sometimes("reload.a_broken_file_changed_nothing");
        tracing::error!("the configuration was not taken over, what was in force stays so: {why}");
        self.deps.settings.refuse(why);
        self.deps.health.refresh();
    }

    async fn take_over(&mut self, loaded: Loaded) {
        let loaded = Arc::new(loaded);
        let changes = diff(&self.loaded, &loaded);
        for warning in loaded.warnings.iter().filter(|w| !self.loaded.warnings.contains(w)) {
            tracing::warn!("{warning}");
        }
        // By the mode that the file now asks for.
        let mode = loaded.config.gateway.reload.mode;
        let of = |effect: fn(&Effect) -> bool| changes.iter().filter(move |change| effect(&change.effect));
        let is_effective = |effect: &Effect| *effect != Effect::Nothing;
        let restarts: Vec<&Change> = match mode {
            ReloadMode::Restart => of(is_effective).collect(),
            _ => of(|effect| *effect == Effect::Restart).collect(),
        };
        let told: Vec<String> = of(is_effective).map(|c| format!("{} ({})", c.path, c.effect)).take(20).collect();
        if mode == ReloadMode::Off || (!restarts.is_empty() && mode != ReloadMode::Hot) {
            let paths = paths(&restarts);
            if mode == ReloadMode::Off {
                tracing::info!("gateway.reload.mode is off: changes wait for the next start");
            } else {
                self.deps.platform.probe.sometimes("reload.asked_for_a_restart");
                tracing::info!("the configuration has changed, the gateway restarts for {paths}");
                self.deps.restarts.plan(Duration::ZERO, format!("the configuration has changed: {paths}"));
            }
            // Nothing of it is in force before the restart: half of an edit is none.
            let mut settings = self.deps.settings.get();
            Arc::make_mut(&mut settings).gateway.reload.clone_from(&loaded.config.gateway.reload);
            self.deps.settings.replace(settings);
            return;
        }
        if !told.is_empty() {
            tracing::info!("the configuration has changed: {}", told.join(", "));
        }
        if !restarts.is_empty() {
            tracing::warn!("these changes wait for the next start: {}", paths(&restarts));
        }
        let (source, new) = (self.deps.watched.source.clone(), loaded.clone());
        self.deps.platform.tasks.blocking(move || source.take_over(&new)).await;
        self.deps.platform.probe.sometimes("reload.taken_over");
        self.deps.settings.replace(Arc::new(loaded.config.clone()));
        self.deps.settings.accept(loaded.warnings.clone());
        self.loaded = loaded;
        let mut channels: Vec<&str> = Vec::new();
        for change in &changes {
            if let Effect::Channel(id) = &change.effect
                && !channels.contains(&id.as_str())
            {
                channels.push(id);
            }
        }
        let config = self.deps.settings.get();
        for id in channels {
            if let Some(receivers) = &self.deps.receivers {
                self.deps.platform.probe.sometimes("reload.a_channel_began_anew");
                self.deps.channels.restart(id, &config, receivers).await;
            }
        }
        self.deps.health.refresh();
    }
}

/// Places for a line of the log.
fn paths(changes: &[&Change]) -> String {
    let shown: Vec<String> = changes.iter().take(10).map(|change| change.path.to_string()).collect();
    let more = changes.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}
