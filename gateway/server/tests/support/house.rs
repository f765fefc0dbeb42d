//! A gateway with the fakes of its services in virtual time, which can lose its power and find its disk full.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fakes::{model::FakeModel, telegram::FakeTelegram};
use openclaw_platform::{MemoryStorage, Storage as _};
use openclaw_server::{ServerOptions, delivery, gateway::Gateway, hub::Connection, runs::recover, store};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{TOKEN, enter, full_disk, local, options, seams};

const MODEL: u16 = 9000;
const TELEGRAM: u16 = 9001;

/// The gateway and what is around it.
pub struct House {
    pub gateway: Arc<Gateway>,
    pub telegram: FakeTelegram,
    pub model: FakeModel,
    disk: MemoryStorage,
    full: Arc<AtomicBool>,
    stop: CancellationToken,
    config: String,
}

impl House {
    /// Everything runs; `more` are further members of the configuration.
    pub async fn open(more: &str) -> Self {
        let config = format!(
            "{{ models: {{ providers: {{ fake: {{ baseUrl: 'http://127.0.0.1:{MODEL}/v1', apiKey: 'k', \
               api: 'openai-completions', models: [{{ id: 'm' }}] }} }} }}, {more} }}"
        );
        Self::on(MemoryStorage::new(), FakeTelegram::new(), FakeModel::new(), config).await
    }

    async fn on(disk: MemoryStorage, telegram: FakeTelegram, model: FakeModel, config: String) -> Self {
        let (platform, full) = full_disk::on(seams::platform().0, disk.clone());
        let stop = CancellationToken::new();
        model.serve(&platform, ([127, 0, 0, 1], MODEL).into(), stop.clone()).await.unwrap();
        telegram.serve(&platform, ([127, 0, 0, 1], TELEGRAM).into(), stop.clone()).await.unwrap();
        let parsed = openclaw_config::parse(&config, &|_| None).unwrap();
        let options = ServerOptions { channels: true, ..options(parsed.config) };
        let gateway = Gateway::open(platform, options).unwrap();
        recover::recover(&gateway.runs).await.unwrap();
        delivery::start(&gateway.delivery).await.unwrap();
        let channels = tokio_util::sync::CancellationToken::new();
        gateway.start_channels(&channels);
        let ended = stop.clone();
        #[allow(clippy::disallowed_methods)]
        tokio::spawn(async move {
            ended.cancelled().await;
            channels.cancel();
        });
        Self { gateway, telegram, model, disk, full, stop, config }
    }

    /// The power goes, now; what was on the disk is all that the next gateway has.
    pub async fn after_a_crash(self) -> Self {
        let left = MemoryStorage::new();
        left.write_atomic(store::FILE, &self.disk.read(store::FILE).unwrap()).unwrap();
        // Nothing of the old one gets out any more.
        self.full.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.gateway.delivery.stop();
        self.gateway.runs.cut_off();
        let telegram = self.telegram.clone();
        Self::on(left, telegram, self.model.clone(), self.config.clone()).await
    }

    /// The disk takes nothing from now on, or again.
    pub fn fill_disk(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Somebody writes in a private chat of his own number.
    pub fn says(&self, who: i64, text: &str) {
        self.telegram.push_message(who, who, text);
    }

    /// An operator with these scopes.
    pub async fn operator(&self, scopes: &[&str]) -> Arc<Connection> {
        enter(&self.gateway, local(), None, "operator", scopes, TOKEN).await.unwrap().0
    }

    /// What was sent, by chat.
    pub fn sent(&self) -> Vec<(String, String)> {
        self.telegram.sent().into_iter().map(|sent| (sent.chat, sent.text)).collect()
    }

    /// Texts that the model was asked for, the last of each request.
    pub fn asked(&self) -> Vec<String> {
        let last = |body: &Value| {
            let messages = body["messages"].as_array().cloned().unwrap_or_default();
            messages.last().map(|m| m["content"].to_string()).unwrap_or_default()
        };
        self.model.requests().iter().map(|r| last(&r.body)).collect()
    }

    /// Rows of a table.
    pub fn rows(&self, table: store::Records) -> Vec<(String, Value)> {
        self.gateway.store.read(|tx| store::all(tx, table)).unwrap()
    }
}

/// Lets so much virtual time pass.
pub async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
