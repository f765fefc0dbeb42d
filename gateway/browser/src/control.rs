//! The one place that all who use browsers ask: which routes there are, and what each does.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openclaw_config::Browser;
use openclaw_platform::{EntropyExt as _, Platform, SpawnerExt as _, sync::Arc, sync::LockExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    BrowserError, Method, Request,
    act::{self, Act},
    address, executable, guard,
    limits::{CLOSE, RUNNING, SNAPSHOT_CHARS, SNAPSHOT_CHARS_MAX, START},
    profiles::{self, Profile, Profiles},
    protocol::TargetInfo,
    running::{self, Running, tab::Tab},
    screenshot,
    snapshot::Wanted,
};

/// Pictures are put here, below the state directory: agents may send what lies there.
const PICTURES: &str = "media/browser";
/// Bytes of a picture in an answer: a client that reads slowly must take it.
const INLINE_BYTES: usize = 768 << 10;
/// So many are kept; the oldest go.
const PICTURES_KEPT: usize = 50;
/// A request takes no longer than its own time and this: a start, with the end of the browser before.
const AROUND: Duration = START.saturating_add(CLOSE).saturating_add(CLOSE);

/// What the control uses.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// The configuration of now.
    pub settings: guard::Settings,
    /// The port of the control service, from which those of profiles follow; none where the gateway's own is too high.
    pub port: Option<u16>,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Variables that a browser with a window needs.
    pub display: Vec<(String, String)>,
}

/// Whether the control service listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Listening {
    /// Not asked to.
    #[default]
    Not,
    /// There.
    At(u16),
    /// It could not, for this reason.
    Failed(String),
}

/// A slot for the browser of each profile. Who starts or ends it holds the slot.
type Slot = Arc<AsyncMutex<Option<Arc<Running>>>>;

/// All browsers of a gateway.
pub struct Control {
    deps: Deps,
    profiles: Profiles,
    slots: Mutex<BTreeMap<String, Slot>>,
    listening: Mutex<Listening>,
    /// The gateway stops: nothing is started any more.
    is_closed: AtomicBool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfTab {
    target_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoTo {
    target_id: Option<String>,
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Look {
    target_id: Option<String>,
    max_chars: Option<usize>,
    interactive: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Take {
    target_id: Option<String>,
    full_page: bool,
    r#ref: Option<String>,
    inline: bool,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Control {
    /// No browser runs yet.
    pub fn new(deps: Deps) -> Self {
        let profiles = Profiles::new(deps.platform.clone(), deps.port);
        Self { deps, profiles, slots: Mutex::default(), listening: Mutex::default(), is_closed: AtomicBool::new(false) }
    }

    /// Whether the service listens, for the status.
    pub fn tell(&self, listening: Listening) {
        *self.listening.locked() = listening;
    }

    /// The port of the control service.
    pub fn port(&self) -> Option<u16> {
        self.deps.port
    }

    /// Does what is asked, within `timeoutMs` of the request (20 s when absent, at most two minutes) and what a start takes.
    /// Dropping the future gives it up.
    ///
    /// # Errors
    /// [`BrowserError`].
    pub async fn handle(&self, request: Request) -> Result<Value, BrowserError> {
        let time = request.time() + AROUND;
        let done = tokio::time::timeout(time, self.route(&request)).await;
        done.map_err(|_| BrowserError::Timeout(time.as_millis()))?
    }

    /// Ends all browsers in good order, and starts none from now on.
    pub async fn stop(&self) {
        self.is_closed.store(true, Ordering::Release);
        let slots: Vec<Slot> = std::mem::take(&mut *self.slots.locked()).into_values().collect();
        let ends = slots.into_iter().map(|slot| async move {
            // One that is still starting is dropped with its task.
            let running = tokio::time::timeout(CLOSE, slot.lock()).await.ok().and_then(|mut slot| slot.take());
            if let Some(running) = running {
                running.close().await;
            }
        });
        futures_util::future::join_all(ends).await;
    }

    async fn route(&self, request: &Request) -> Result<Value, BrowserError> {
        let config = (self.deps.settings)();
        let path = request.path.trim_end_matches('/');
        let (get, post, delete) =
            (request.method == Method::Get, request.method == Method::Post, request.method == Method::Delete);
        if path.is_empty() && get {
            return self.status(&config, request).await;
        }
        if !config.enabled {
            return Err(BrowserError::Disabled);
        }
        let time = request.time();
        match path {
            "/profiles" if get => return self.list_profiles(&config).await,
            "/profiles/create" if post => {
                let made = self.profiles.create(&config, &request.read::<Named>()?.name).await?;
                return Ok(json!({ "ok": true, "profile": made.name, "cdpPort": made.port }));
            }
            _ => {}
        }
        if let (Some(name), true) = (path.strip_prefix("/profiles/"), delete) {
            let profile = self.profiles.named(&config, name).await?;
            self.end(&profile.name).await;
            self.profiles.remove(&config, &profile, &self.deps.platform.entropy.hex(4)).await?;
            return Ok(json!({ "ok": true, "profile": profile.name }));
        }
        // An address that nobody may go to is refused whatever else is missing.
        let address = match path {
            "/tabs/open" | "/navigate" if post => self.judged(&config, &request.read::<GoTo>()?.url).await?,
            _ => String::new(),
        };
        let profile = self.profile(&config, request).await?;
        let running = || self.running(&profile);
        Ok(match path {
            "/start" if post => {
                self.started(&config, &profile).await?;
                self.status(&config, request).await?
            }
            "/stop" if post => json!({ "ok": true, "stopped": self.end(&profile.name).await, "profile": profile.name }),
            "/tabs" if get => {
                let tabs: Vec<Value> = running().await?.list(time).await?.iter().map(told).collect();
                json!({ "running": true, "tabs": tabs })
            }
            "/tabs/open" if post => {
                let running = self.started(&config, &profile).await?;
                let tab = running.open(time).await?;
                went(&tab, address).await?
            }
            "/tabs/focus" if post => {
                let id =
                    request.read::<OfTab>()?.target_id.ok_or_else(|| BrowserError::invalid("`targetId` is missing"))?;
                running().await?.focus(&id, time).await?;
                json!({ "ok": true, "targetId": id })
            }
            "/navigate" if post => {
                let id = request.read::<GoTo>()?.target_id;
                let running = self.started(&config, &profile).await?;
                let tab = match running.tab(id.as_deref(), time).await {
                    Err(BrowserError::NoTab(_)) if id.is_none() => running.open(time).await?,
                    tab => tab?,
                };
                went(&tab, address).await?
            }
            "/snapshot" if get => {
                let look: Look = request.read()?;
                let running = running().await?;
                let tab = running.tab(look.target_id.as_deref(), time).await?;
                let max_chars = look.max_chars.unwrap_or(SNAPSHOT_CHARS).clamp(200, SNAPSHOT_CHARS_MAX);
                let seen = tab.snapshot(Wanted { max_chars, interactive: look.interactive }).await?;
                let mut answer = told(&tab.info().await?);
                answer["ok"] = true.into();
                answer["snapshot"] = seen.text.into();
                answer["refs"] = seen.refs.len().into();
                answer["truncated"] = seen.is_cut.into();
                answer
            }
            "/screenshot" if post => {
                let take: Take = request.read()?;
                let running = running().await?;
                let tab = running.tab(take.target_id.as_deref(), time).await?;
                self.picture(&tab, &take).await?
            }
            "/act" if post => {
                let of: OfTab = request.read()?;
                let act: Act = request.read()?;
                if matches!(act, Act::Evaluate { .. }) && !config.evaluate_enabled {
                    let text = "code is not run in pages: browser.evaluateEnabled is false in the configuration";
                    return Err(BrowserError::Refused(text.to_owned()));
                }
                let running = running().await?;
                let tab = running.tab(of.target_id.as_deref(), time).await?;
                let result = act::perform(&tab, act).await?;
                json!({ "ok": true, "targetId": tab.id, "result": result })
            }
            other => match (other.strip_prefix("/tabs/"), delete) {
                (Some(id), true) => {
                    running().await?.close_tab(id, time).await?;
                    json!({ "ok": true, "targetId": id })
                }
                _ => {
                    let path = openclaw_protocol::display::short(&request.path, 100);
                    return Err(BrowserError::NoRoute(format!("{} {path}", request.method.as_str())));
                }
            },
        })
    }

    async fn profile(&self, config: &Browser, request: &Request) -> Result<Profile, BrowserError> {
        let name = request.profile().map_or_else(|| profiles::default_of(config), str::to_owned);
        self.profiles.named(config, &name).await
    }

    async fn judged(&self, config: &Browser, url: &str) -> Result<String, BrowserError> {
        address::judge(&*self.deps.platform.transport, config, url).await
    }

    fn slot(&self, name: &str) -> Slot {
        self.slots.locked().entry(name.to_owned()).or_default().clone()
    }

    /// The profile's browser, where it runs.
    async fn running(&self, profile: &Profile) -> Result<Arc<Running>, BrowserError> {
        let slot = self.slot(&profile.name);
        let running = slot.lock().await.clone().filter(|running| running.is_alive());
        running.ok_or_else(|| BrowserError::NotRunning(profile.name.clone()))
    }

    /// The profile's browser, started where it does not run.
    async fn started(&self, config: &Browser, profile: &Profile) -> Result<Arc<Running>, BrowserError> {
        let slot = self.slot(&profile.name);
        let mut slot = slot.lock().await;
        if let Some(running) = slot.as_ref().filter(|running| running.is_alive()) {
            return Ok(running.clone());
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(BrowserError::Stopping);
        }
        // What has ended by itself goes first, with its guard.
        *slot = None;
        if self.count() >= RUNNING {
            return Err(BrowserError::invalid(format!("{RUNNING} browsers run already: stop one")));
        }
        let deps = running::Deps {
            platform: &self.deps.platform,
            config,
            settings: self.deps.settings.clone(),
            state_dir: &self.deps.state_dir,
            display: &self.deps.display,
        };
        let running = Arc::new(running::start(&deps, profile).await?);
        *slot = Some(running.clone());
        Ok(running)
    }

    /// Browsers that run; one whose slot is held is counted.
    fn count(&self) -> usize {
        let slots: Vec<Slot> = self.slots.locked().values().cloned().collect();
        // The slot of who asks is held, too.
        let held =
            |slot: &Slot| slot.try_lock().map_or(true, |slot| slot.as_ref().is_some_and(|running| running.is_alive()));
        slots.iter().filter(|slot| held(slot)).count().saturating_sub(1)
    }

    /// Ends the browser of a profile; false when there is none.
    async fn end(&self, name: &str) -> bool {
        let slot = self.slot(name);
        let running = slot.lock().await.take();
        match running {
            Some(running) => {
                let was_alive = running.is_alive();
                running.close().await;
                was_alive
            }
            None => false,
        }
    }

    async fn status(&self, config: &Browser, request: &Request) -> Result<Value, BrowserError> {
        let listening = self.listening.locked().clone();
        let (is_listening, problem) = match listening {
            Listening::At(_) => (true, None),
            Listening::Not => (false, None),
            Listening::Failed(why) => (false, Some(why)),
        };
        let port = self.deps.port;
        let mut status = json!({
            "enabled": config.enabled,
            "controlPort": port,
            "controlUrl": port.map(|port| format!("http://127.0.0.1:{port}/")),
            "listening": is_listening,
            "problem": problem,
            "headless": config.headless,
            "noSandbox": config.no_sandbox,
            "attachOnly": config.attach_only,
            "evaluateEnabled": config.evaluate_enabled,
            "privateNetwork": config.ssrf_policy.dangerously_allow_private_network,
        });
        if !config.enabled {
            return Ok(status);
        }
        let profile = match self.profile(config, request).await {
            Ok(profile) => profile,
            Err(BrowserError::NoProfile(name)) => return Err(BrowserError::NoProfile(name)),
            Err(error) => {
                status["problem"] = error.to_string().into();
                return Ok(status);
            }
        };
        let slot = self.slot(&profile.name);
        // One that starts or ends is not waited for.
        let (running, is_busy) = match slot.try_lock() {
            Ok(slot) => (slot.clone().filter(|running| running.is_alive()), false),
            Err(_) => (None, true),
        };
        let (program, missing) = match executable::find(&*self.deps.platform.processes, config) {
            Ok(program) => (Some(program.display().to_string()), None),
            Err(missing) => (None, Some(missing.to_string()).filter(|_| profile.url.is_none() && !config.attach_only)),
        };
        status["profile"] = profile.name.clone().into();
        status["running"] = running.is_some().into();
        status["busy"] = is_busy.into();
        status["cdpPort"] = profile.port.into();
        status["remote"] = profile.url.is_some().into();
        status["executablePath"] = running.and_then(|running| running.program.clone()).or(program).into();
        status["userDataDir"] = self.deps.state_dir.join(profiles::data(&profile.name)).display().to_string().into();
        if status["problem"].is_null() {
            status["problem"] = missing.into();
        }
        Ok(status)
    }

    async fn list_profiles(&self, config: &Browser) -> Result<Value, BrowserError> {
        let mut list = Vec::new();
        let default = profiles::default_of(config);
        for profile in self.profiles.all(config).await? {
            let is_running = self.running_now(&profile.name);
            list.push(json!({
                "name": profile.name,
                "cdpPort": profile.port,
                "remote": profile.url.is_some(),
                "running": is_running,
                "configured": profile.is_configured,
                "default": profile.name == default,
            }));
        }
        let range = self.profiles.range().map(|range| json!([range.start(), range.end()]));
        Ok(json!({ "profiles": list, "cdpPorts": range }))
    }

    fn running_now(&self, name: &str) -> bool {
        let slot = self.slots.locked().get(name).cloned();
        slot.is_some_and(|slot| {
            slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(|running| running.is_alive()))
        })
    }

    /// A picture: in the answer (`inline`), or as a file that agents may send.
    async fn picture(&self, tab: &Tab<'_>, take: &Take) -> Result<Value, BrowserError> {
        let element = take.r#ref.as_deref().map(|text| tab.element(text)).transpose()?;
        let png = tab.picture(take.full_page, element).await?;
        let mut answer = told(&tab.info().await?);
        answer["ok"] = true.into();
        answer["contentType"] = "image/png".into();
        answer["width"] = png.width.into();
        answer["height"] = png.height.into();
        answer["bytes"] = png.bytes.len().into();
        if take.inline {
            if png.bytes.len() > INLINE_BYTES {
                let text = format!(
                    "the picture has {} bytes, an answer takes {INLINE_BYTES}: ask without inline",
                    png.bytes.len()
                );
                return Err(BrowserError::Page(text));
            }
            answer["data"] = screenshot::encode(&png.bytes).into();
            return Ok(answer);
        }
        let platform = &self.deps.platform;
        let name = format!("{PICTURES}/{:013}-{}.png", platform.clock.wall(), platform.entropy.hex(4));
        let (storage, file) = (platform.storage.clone(), name.clone());
        let write = move || {
            // Names begin with the time.
            let names = storage.list(PICTURES)?;
            for old in names.iter().take((names.len() + 1).saturating_sub(PICTURES_KEPT)) {
                storage.remove(&format!("{PICTURES}/{old}"))?;
            }
            storage.write_atomic(&file, &png.bytes)
        };
        let written = platform.tasks.blocking(write).await.ok_or(BrowserError::Stopping)?;
        written.map_err(|e| BrowserError::State(format!("the picture: {e}")))?;
        answer["path"] = self.deps.state_dir.join(name).display().to_string().into();
        Ok(answer)
    }
}

async fn went(tab: &Tab<'_>, url: String) -> Result<Value, BrowserError> {
    tab.navigate(url).await?;
    let mut answer = told(&tab.info().await?);
    answer["ok"] = true.into();
    Ok(answer)
}

/// A tab, its words as they are shown.
fn told(info: &TargetInfo) -> Value {
    let short = openclaw_protocol::display::short;
    json!({ "targetId": info.target_id, "title": short(&info.title, 200), "url": short(&info.url, 2000) })
}
