//! Attachments: in both directions, bounded, and only from where they may come (S16).

use std::{io::ErrorKind, sync::Arc};

use openclaw_channels::Media;
use openclaw_platform::{EntropyExt as _, SpawnerExt as _};
use openclaw_protocol::{display, error::ErrorShape, message::Content};

use super::{budget::Share, envelope::part, inbox::Pending};
use crate::{
    delivery::letter::Letter,
    gateway::Gateway,
    limits::{ATTACHMENTS, ENVELOPE_NAME, MEDIA_BYTES, MEDIA_SMALL, MEDIA_URL},
};

impl Gateway {
    /// Fetches the attachments of an inbound message: images for the model, other files into the state directory.
    pub async fn fetch_attachments(&self, pending: &Pending) -> Vec<Content> {
        let max = (self.config().agents.defaults.media_max_mb << 20) as usize;
        let mut out = Vec::new();
        for media in pending.media.iter().take(ATTACHMENTS) {
            // The file itself, until it is stored or turned into text.
            let _share = self.inbound_budget.take(max).await;
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

    /// Keeps a received file; the name on disk is ours, no outside string becomes a path (S11).
    async fn keep_file(&self, name: &str, bytes: &bytes::Bytes) -> String {
        let extension: String = name.rsplit_once('.').map_or("bin", |(_, e)| e).chars().take(8).collect();
        let extension = if extension.chars().all(|c| c.is_ascii_alphanumeric()) { extension } else { "bin".into() };
        let file = format!("media/inbound/{}.{extension}", self.platform.entropy.hex(12));
        let shown = part(name, ENVELOPE_NAME);
        let (storage, path, data) = (self.platform.storage.clone(), file.clone(), bytes.clone());
        match self.tasks.blocking(move || storage.write_atomic(&path, &data)).await {
            Some(Ok(())) => format!("[file {shown}: {}]", self.options.state_dir.join(file).display()),
            _ => format!("[file {shown} could not be kept]"),
        }
    }

    /// Encloses what is to be sent with `letter`: files under the allowed roots, and `https` addresses of the public internet
    /// (S16). One after the other, each stored before the next is loaded (F58).
    ///
    /// # Errors
    /// INVALID_REQUEST when one is neither, or too large; UNAVAILABLE when an address does not answer, or the state
    /// directory cannot keep it. Then none is kept.
    pub async fn enclose_media(self: &Arc<Self>, letter: &mut Letter, urls: &[String]) -> Result<(), ErrorShape> {
        if urls.len() > ATTACHMENTS {
            let text = format!("at most {ATTACHMENTS} media files, found {}", urls.len());
            return Err(ErrorShape::invalid("TOO_MANY_MEDIA", text));
        }
        for url in urls {
            // The share lasts until the file is stored.
            let (media, _share) = match self.load(url).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    self.delivery.discard(letter).await;
                    return Err(error);
                }
            };
            self.delivery.enclose(letter, vec![media]).await?;
        }
        Ok(())
    }

    async fn load(self: &Arc<Self>, url: &str) -> Result<(Media, Share), ErrorShape> {
        let path = url.strip_prefix("file://").unwrap_or(url);
        if path.contains("://") {
            return self.media_fetch.get(path, MEDIA_BYTES, &self.media_budget).await.map_err(ErrorShape::from);
        }
        // How large it is shows when it is read.
        let small = self.load_file(path, MEDIA_SMALL).await;
        match small? {
            Some(loaded) => Ok(loaded),
            None => self.load_file(path, MEDIA_BYTES).await?.ok_or_else(|| unreadable(path, &ErrorKind::FileTooLarge)),
        }
    }

    /// Reads a file of at most `max` bytes where it may block; none when it is larger and may be, up to [`MEDIA_BYTES`].
    async fn load_file(self: &Arc<Self>, path: &str, max: usize) -> Result<Option<(Media, Share)>, ErrorShape> {
        let share = self.media_budget.take(max).await;
        let (gateway, file) = (self.clone(), path.to_owned());
        let read = self.tasks.blocking(move || gateway.read_file(&file, max)).await;
        let media =
            read.unwrap_or_else(|| Err(ErrorShape::unavailable("SHUTTING_DOWN", "gateway is shutting down")))?;
        Ok(media.map(|media| (media, share)))
    }

    fn read_file(&self, path: &str, max: usize) -> Result<Option<Media>, ErrorShape> {
        let (name, bytes) = match (self.options.read_media)(path, max) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::FileTooLarge && max < MEDIA_BYTES => return Ok(None),
            Err(error) => return Err(unreadable(path, &error)),
        };
        // A copy of the configuration is the configuration (S29).
        if self.holds_secret(&bytes) {
            let text = "media: the file holds a secret of this gateway (a token, a key or a password), it is not sent";
            return Err(ErrorShape::invalid("MEDIA_FILE", text));
        }
        let mime = mime_guess::from_path(&name).first_or_octet_stream().to_string();
        Ok(Some(Media { name, mime, bytes: bytes.into() }))
    }
}

fn unreadable(path: &str, why: &dyn std::fmt::Display) -> ErrorShape {
    ErrorShape::invalid("MEDIA_FILE", format!("media {}: {why}", display::short(path, MEDIA_URL)))
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
    use crate::{ServerOptions, limits::MEDIA_IN_MEMORY};

    const DIR: &str = "media/outbound";

    fn letter(id: &str) -> Letter {
        let letter = json!({
            "id": id, "channel": "telegram", "account": "default", "to": { "chat": "1" }, "text": "", "createdAt": 0,
            "expiresAt": 0, "state": "queued", "attempts": 0, "tries": 0,
        });
        serde_json::from_value(letter).unwrap()
    }

    /// A gateway whose files are all of `size` bytes, and the most that were read and not stored yet, in files.
    fn gateway(size: usize) -> (Arc<Gateway>, MemoryStorage, Arc<AtomicUsize>) {
        let (disk, read, most) = (MemoryStorage::new(), AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let platform = Platform { storage: Arc::new(disk.clone()), ..os::without_files() };
        let (stored, peak) = (disk.clone(), most.clone());
        let read_media = move |path: &str, max: usize| {
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
        (Gateway::open(platform, options).unwrap(), disk, most)
    }

    #[tokio::test]
    async fn f58_one_file_is_stored_before_the_next_is_loaded() {
        let (gateway, disk, most) = gateway(1000);
        let mut one = letter("1");
        gateway.enclose_media(&mut one, &["/a".into(), "/b".into(), "/c".into()]).await.unwrap();
        assert_eq!((most.load(Ordering::SeqCst), one.media.len(), disk.list(DIR).unwrap().len()), (1, 3, 3));
        // What cannot be loaded leaves nothing behind.
        let mut two = letter("2");
        gateway.enclose_media(&mut two, &["/a".into(), "/none".into()]).await.unwrap_err();
        assert_eq!(disk.list(DIR).unwrap().len(), 3);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn f58_many_calls_share_one_budget_of_memory() {
        let (gateway, disk, most) = gateway(MEDIA_SMALL + 1);
        let calls = (0..8).map(|n| {
            let gateway = gateway.clone();
            async move { gateway.enclose_media(&mut letter(&n.to_string()), &["/a".into()]).await.unwrap() }
        });
        futures_util::future::join_all(calls).await;
        let most = most.load(Ordering::SeqCst);
        assert!(most <= MEDIA_IN_MEMORY / MEDIA_BYTES, "{most} large files at a time");
        assert_eq!(disk.list(DIR).unwrap().len(), 8);
    }
}
