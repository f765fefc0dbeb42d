//! The port, published through Tailscale: `tailscale serve` or `funnel` once the gateway listens, and its reset when it stops
//! and `gateway.tailscale.resetOnExit` says so. A failure is told and tried again; it never ends the gateway.

use std::{sync::Arc, time::Duration};

use openclaw_config::Tailscale;
use openclaw_platform::{Backoff, Command, Platform};
use openclaw_protocol::{display, truncate};
use tokio_util::sync::CancellationToken;

use crate::{
    health::Monitor,
    reach::{Reach, Way},
};

/// For the command; it waits for Tailscale's own daemon.
const TIMEOUT: Duration = Duration::from_secs(20);
/// For its reset, during which the process is about to end.
const RESET_TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses between tries: Tailscale may come up later than the gateway.
const RETRY: Backoff = Backoff::doubling(Duration::from_secs(10), Duration::from_mins(5));
/// What is read of the command's words, and shown of them.
const OUTPUT: usize = 4096;
const SHOWN: usize = 300;

/// What is published, and what it uses of others.
pub struct Publication {
    /// The seams.
    pub platform: Platform,
    /// Tells of failures.
    pub reach: Arc<Reach>,
    /// Tells them to clients.
    pub health: Arc<Monitor>,
    /// What was asked for.
    pub tailscale: Tailscale,
    /// What is published: a port of this machine, or an address with another scheme.
    pub target: String,
}

impl Publication {
    /// What Tailscale passes requests on to: the port, or where it speaks TLS, its address. Tailscale does not know its certificate,
    /// and nobody but this machine is between the two.
    pub fn target(port: u16, has_tls: bool) -> String {
        if has_tls { format!("https+insecure://127.0.0.1:{port}") } else { port.to_string() }
    }

    /// Publishes, and tries again until it worked or `stop`.
    pub async fn serve(self: Arc<Self>, stop: CancellationToken) {
        let word = self.tailscale.mode.as_str();
        let args = [word, "--bg", "--yes", &self.target];
        for tries in 0.. {
            let published = openclaw_platform::select! {
                () = stop.cancelled() => return,
                published = self.run(&args, TIMEOUT) => published,
            };
            let Err(why) = published else {
                tracing::info!("published with `tailscale {word}`: `tailscale {word} status` shows the address");
                self.reach.works(Way::Tailscale);
                self.health.refresh();
                return;
            };
            let pause = RETRY.after(tries);
            let why = format!("not published with `tailscale {word}`: {why}");
            if self.reach.fails(Way::Tailscale, why.clone()) {
                tracing::error!("{why}; tried again in {} s", pause.as_secs());
            }
            self.health.refresh();
            openclaw_platform::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes back what was published, where that was asked for.
    pub async fn end(&self) {
        if !self.tailscale.reset_on_exit {
            return;
        }
        let word = self.tailscale.mode.as_str();
        match self.run(&[word, "reset"], RESET_TIMEOUT).await {
            Ok(()) => tracing::info!("taken back with `tailscale {word} reset`"),
            Err(why) => tracing::warn!("`tailscale {word} reset`: {why}; what was published may still be"),
        }
    }

    async fn run(&self, args: &[&str], timeout: Duration) -> Result<(), String> {
        let argv = std::iter::once("tailscale").chain(args.iter().copied()).map(str::to_owned).collect();
        let (program, cwd, env, confinement) = (None, None, vec![], None);
        let command = Command { argv, program, cwd, env, timeout, max_output: OUTPUT, confinement };
        let output = self.platform.processes.run(command).await.map_err(|e| e.to_string())?;
        if output.code == Some(0) {
            return Ok(());
        }
        let code = output.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        let words = if output.stderr.is_empty() { output.stdout } else { output.stderr };
        let words = String::from_utf8_lossy(&words);
        let words = display::line(truncate::chars(words.trim(), SHOWN));
        Err(if words.is_empty() { code } else { format!("{code}: {words}") })
    }
}

#[cfg(test)]
mod tests;
