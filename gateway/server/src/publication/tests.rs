use std::sync::Mutex;

use openclaw_config::{Config, TailscaleMode};
use openclaw_platform::{BoxFuture, Output, ProcessError, Processes, SpawnerExt as _, os, sync::LockExt as _};
use openclaw_protocol::params::Health;

use super::*;
use crate::{gateway::Gateway, options::ServerOptions};

/// A `tailscale` that fails so often, and then does what it is told.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<Vec<String>>>,
    failures: Mutex<u32>,
}

impl Fake {
    fn asked(&self) -> Vec<String> {
        self.asked.locked().iter().map(|argv| argv.join(" ")).collect()
    }
}

impl Processes for Fake {
    fn which(&self, _: &str, _: Option<&std::path::Path>) -> Option<std::path::PathBuf> {
        None
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        self.asked.locked().push(command.argv);
        let mut failures = self.failures.locked();
        let code = i32::from(*failures > 0);
        *failures = failures.saturating_sub(1);
        let stderr = if code == 1 { b"Serve is not\x1b enabled\n".to_vec() } else { vec![] };
        Box::pin(async move { Ok(Output { code: Some(code), stdout: vec![], stderr, truncated: false }) })
    }
}

fn published(mode: TailscaleMode, reset_on_exit: bool, fake: &Arc<Fake>) -> (Arc<Gateway>, Arc<Publication>) {
    let platform = Platform { processes: fake.clone(), ..os::without_files() };
    let tailscale = Tailscale { mode, reset_on_exit };
    let options = ServerOptions { tailscale, ..ServerOptions::bare(Arc::new(Config::default())) };
    let gateway = Gateway::open(platform, options).unwrap();
    let publication = gateway.publication(18789).unwrap();
    (gateway, publication)
}

fn published_in(health: &Health) -> Option<String> {
    let found = health.problems.iter().flatten().find(|problem| problem.code == "tailscale.notPublished");
    found.map(|problem| problem.message.clone())
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_tried_again_and_its_end_too() {
    let fake = Arc::new(Fake::default());
    *fake.failures.locked() = 2;
    let (gateway, publication) = published(TailscaleMode::Serve, true, &fake);
    let stop = CancellationToken::new();
    gateway.platform.tasks.spawn("publication", publication.clone().serve(stop.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let health = gateway.health.refresh();
    assert!(health.ok, "it goes on");
    let problem = published_in(&health).unwrap();
    assert!(problem.contains("tailscale serve") && problem.contains("exit code 1: Serve is not"), "{problem}");
    assert!(!problem.contains('\u{1b}'), "{problem:?}");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fake.asked(), ["tailscale serve --bg --yes 18789"; 3]);
    assert_eq!(published_in(&gateway.health.refresh()), None);
    publication.end().await;
    assert_eq!(fake.asked().last().unwrap(), "tailscale serve reset");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_nobody_and_takes_back_only_what_it_was_told_to() {
    let fake = Arc::new(Fake::default());
    *fake.failures.locked() = 100;
    let (gateway, publication) = published(TailscaleMode::Funnel, false, &fake);
    let stop = CancellationToken::new();
    gateway.platform.tasks.spawn("publication", publication.clone().serve(stop.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    tokio::time::sleep(Duration::from_hours(1)).await;
    publication.end().await;
    assert_eq!(fake.asked(), ["tailscale funnel --bg --yes 18789"]);
}

#[test]
fn a_port_with_tls_is_published_with_its_scheme() {
    assert_eq!(Publication::target(5, false), "5");
    assert_eq!(Publication::target(5, true), "https+insecure://127.0.0.1:5");
}
