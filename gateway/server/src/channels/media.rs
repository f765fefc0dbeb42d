//! Attachments: in both directions, bounded, and only from where they may come (S16).

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use openclaw_channels::Media;
use openclaw_platform::{Platform, Spawner, SpawnerExt as _};
use openclaw_protocol::message::Content;

use super::{
    budget::{MediaBudget, Share},
    envelope::part,
    fetch::MediaFetch,
    not_enclosed::NotEnclosed,
    pending::Pending,
    received::Received,
};
use crate::{
    delivery::{Delivery, outbound::OutboundMessage},
    lifecycle::Stopping,
    limits::{ATTACHMENTS, ENVELOPE_NAME, INBOUND_IN_MEMORY, MEDIA_BYTES, MEDIA_IN_MEMORY, MEDIA_SMALL},
    options::{ReadMedia, WorkspaceOf},
    secrets::Secrets,
    settings::Settings,
};

/// What attachments need of others.
pub struct Deps {
    /// Outbound messages keep what is enclosed with them.
    pub delivery: Arc<Delivery>,
    /// What no file that is sent may hold.
    pub secrets: Arc<Secrets>,
    /// The configuration.
    pub settings: Settings,
    /// Reads a file of this machine, where that is allowed.
    pub read_media: ReadMedia,
    /// An agent sends what lies in its own working directory.
    pub workspace_of: WorkspaceOf,
    /// Where received files are, as it is shown.
    pub state_dir: PathBuf,
    /// Addresses of the public internet begin so.
    pub scheme: &'static str,
}

/// Attachments on their way in and out.
pub struct Attachments {
    deps: Deps,
    fetch: MediaFetch,
    /// Memory for those on their way out.
    outbound: MediaBudget,
    /// Memory for those on their way in.
    inbound: MediaBudget,
    received: Received,
    tasks: Arc<dyn Spawner>,
}

impl Attachments {
    /// None yet.
    pub fn new(platform: &Platform, deps: Deps) -> Self {
        Self {
            fetch: MediaFetch::over(platform, deps.scheme),
            deps,
            outbound: MediaBudget::new(MEDIA_IN_MEMORY),
            inbound: MediaBudget::new(INBOUND_IN_MEMORY),
            received: Received::new(
                platform.storage.clone(),
                platform.tasks.clone(),
                platform.clock.clone(),
                platform.entropy.clone(),
            ),
            tasks: platform.tasks.clone(),
        }
    }

    /// Fetches the attachments of an inbound message: images for the model, other files into the state directory.
    pub async fn received(&self, pending: &Pending) -> Vec<Content> {
        let max = (self.deps.settings.get().agents.defaults.media_max_mb << 20) as usize;
        let mut out = Vec::new();
        for media in pending.media.iter().take(ATTACHMENTS) {
            // The file itself, until it is stored or turned into text.
            let _share = self.inbound.take(max).await;
            match pending.channel.download(media, max).await {
                Ok(bytes) if media.mime.starts_with("image/") => {
                    let Some(data) = self.tasks.blocking(move || base64(&bytes)).await else { continue };
                    out.push(Content::Image { data, mime_type: media.mime.clone() });
                }
                Ok(bytes) => out.push(Content::text(self.keep_file(&media.name, &bytes).await)),
                Err(error) => {
                    tracing::warn!(channel = pending.channel.id(), %error, "attachment not fetched");
                    out.push(Content::text(format!(
                        "[attachment {} could not be fetched: {error}]",
                        part(&media.name, ENVELOPE_NAME)
                    )));
                }
            }
        }
        out
    }

    /// Keeps a received file; what the model is told of it.
    async fn keep_file(&self, name: &str, bytes: &bytes::Bytes) -> String {
        let shown = part(name, ENVELOPE_NAME);
        match self.received.keep(name, bytes).await {
            Some(file) => format!("[file {shown}: {}]", self.deps.state_dir.join(file).display()),
            None => format!("[file {shown} could not be kept]"),
        }
    }

    /// Encloses what is to be sent with `outbound`: files under the allowed roots, and `https` addresses of the public internet
    /// (S16). One after the other, each stored before the next is loaded (F58). What an agent sends is of its own working
    /// directory; no agent: of that of any.
    ///
    /// # Errors
    /// [`NotEnclosed`]: then none is kept.
    pub async fn enclose(
        self: &Arc<Self>,
        outbound: &mut OutboundMessage,
        urls: &[String],
        agent: Option<&str>,
    ) -> Result<(), NotEnclosed> {
        if urls.len() > ATTACHMENTS {
            return Err(NotEnclosed::TooMany(urls.len()));
        }
        let own = agent.map(|agent| (self.deps.workspace_of)(&self.deps.settings.get(), agent));
        for url in urls {
            // The share lasts until the file is stored.
            let (media, _share) = match self.load(url, own.as_deref()).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    self.deps.delivery.discard(outbound).await;
                    return Err(error);
                }
            };
            self.deps.delivery.enclose(outbound, vec![media]).await?;
        }
        Ok(())
    }

    async fn load(self: &Arc<Self>, url: &str, own: Option<&Path>) -> Result<(Media, Share), NotEnclosed> {
        let path = url.strip_prefix("file://").unwrap_or(url);
        if path.contains("://") {
            return Ok(self.fetch.get(path, MEDIA_BYTES, &self.outbound).await?);
        }
        // How large it is shows when it is read.
        let small = self.load_file(path, own, MEDIA_SMALL).await;
        match small? {
            Some(loaded) => Ok(loaded),
            None => {
                self.load_file(path, own, MEDIA_BYTES).await?.ok_or_else(|| unreadable(path, &ErrorKind::FileTooLarge))
            }
        }
    }

    /// Reads a file of at most `max` bytes where it may block; none when it is larger and may be, up to [`MEDIA_BYTES`].
    async fn load_file(
        self: &Arc<Self>,
        path: &str,
        own: Option<&Path>,
        max: usize,
    ) -> Result<Option<(Media, Share)>, NotEnclosed> {
        let share = self.outbound.take(max).await;
        let (this, file, own) = (self.clone(), path.to_owned(), own.map(Path::to_owned));
        let read = self.tasks.blocking(move || this.read_file(&file, own.as_deref(), max)).await;
        let media = read.ok_or(Stopping)??;
        Ok(media.map(|media| (media, share)))
    }

    fn read_file(&self, path: &str, own: Option<&Path>, max: usize) -> Result<Option<Media>, NotEnclosed> {
        let (name, bytes) = match (self.deps.read_media)(own, path, max) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::FileTooLarge && max < MEDIA_BYTES => return Ok(None),
            Err(error) => return Err(unreadable(path, &error)),
        };
        // A copy of the configuration is the configuration (S29).
        if self.deps.secrets.stand_in(&bytes) {
            return Err(NotEnclosed::Secret);
        }
        let mime = mime_guess::from_path(&name).first_or_octet_stream().to_string();
        Ok(Some(Media { name, mime, bytes: bytes.into() }))
    }
}

fn unreadable(path: &str, why: &dyn std::fmt::Display) -> NotEnclosed {
    NotEnclosed::File { path: path.to_owned(), why: why.to_string() }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use openclaw_config::Config;
    use openclaw_platform::{MemoryStorage, Platform, Storage as _, os};
    use serde_json::json;

    use super::*;
    use crate::{ServerOptions, gateway::Gateway};

    const DIR: &str = "media/outbound";

    fn outbound(id: &str) -> OutboundMessage {
        let outbound = json!({
            "id": id, "channel": "telegram", "account": "default", "to": { "chat": "1" }, "text": "", "createdAt": 0,
            "expiresAt": 0, "state": "queued", "attempts": 0, "tries": 0,
        });
        serde_json::from_value(outbound).unwrap()
    }

    /// Attachments of a machine whose files are all of `size` bytes, and the most that were read and not stored yet, in files.
    fn attachments(size: usize) -> (Arc<Attachments>, MemoryStorage, Arc<AtomicUsize>) {
        let (disk, read, most) = (MemoryStorage::new(), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let platform = Platform { storage: Arc::new(disk.clone()), ..os::without_files() };
        let (stored, peak) = (disk.clone(), most.clone());
        let read_media = move |_: Option<&Path>, path: &str, max: usize| {
            if size > max {
                return Err(ErrorKind::FileTooLarge.into());
            }
            if path.ends_with("none") {
                return Err(ErrorKind::NotFound.into());
            }
            let begun = read.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(begun - stored.list(DIR).unwrap().len(), Ordering::SeqCst);
            // Whoever else may read does so meanwhile.
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(std::time::Duration::from_millis(20));
            peak.fetch_max(begun - stored.list(DIR).unwrap().len(), Ordering::SeqCst);
            Ok(("a.bin".to_owned(), vec![0; size]))
        };
        let options =
            ServerOptions { read_media: Arc::new(read_media), ..ServerOptions::bare(Arc::new(Config::default())) };
        (Gateway::open(platform, options).unwrap().attachments.clone(), disk, most)
    }

    #[tokio::test]
    async fn f58_one_file_is_stored_before_the_next_is_loaded() {
        let (attachments, disk, most) = attachments(1000);
        let mut one = outbound("1");
        attachments.enclose(&mut one, &["/a".into(), "/b".into(), "/c".into()], None).await.unwrap();
        assert_eq!((most.load(Ordering::SeqCst), one.media.len(), disk.list(DIR).unwrap().len()), (1, 3, 3));
        // What cannot be loaded leaves nothing behind.
        let mut two = outbound("2");
        attachments.enclose(&mut two, &["/a".into(), "/none".into()], None).await.unwrap_err();
        assert_eq!(disk.list(DIR).unwrap().len(), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn f58_many_calls_share_one_budget_of_memory() {
        let (attachments, disk, most) = attachments(MEDIA_SMALL + 1);
        let calls = (0..8).map(|n| {
            let attachments = attachments.clone();
            async move { attachments.enclose(&mut outbound(&n.to_string()), &["/a".into()], None).await.unwrap() }
        });
        futures_util::future::join_all(calls).await;
        let most = most.load(Ordering::SeqCst);
        assert!(most <= MEDIA_IN_MEMORY / MEDIA_BYTES, "{most} large files at a time");
        assert_eq!(disk.list(DIR).unwrap().len(), 8);
    }
}
