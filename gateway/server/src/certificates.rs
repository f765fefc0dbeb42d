//! The certificate of the port, taken over while the gateway runs when its files change: for connections that come from then on.
//! Files that cannot be used change nothing; everybody hears why.

use std::{sync::Arc, time::Duration};

use openclaw_platform::{Platform, SpawnerExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    health::Monitor,
    options::PortTls,
    reach::{Reach, Way},
};

/// The files are looked at this often, and have to look the same twice: whoever renews a certificate writes two files.
const LOOK: Duration = Duration::from_secs(1);

/// What [`watch`] uses of others.
pub struct Deps {
    /// The seams.
    pub platform: Platform,
    /// Tells of files that cannot be used.
    pub reach: Arc<Reach>,
    /// Tells it to clients.
    pub health: Arc<Monitor>,
}

/// Looks for other certificates until `stop`.
pub async fn watch(deps: Deps, mut tls: PortTls, stop: CancellationToken) {
    let mut last = tls.stamp;
    loop {
        openclaw_platform::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let source = tls.source.clone();
        let Some(now) = deps.platform.tasks.blocking(move || source.stamp()).await else { return };
        let is_settled = std::mem::replace(&mut last, now) == now;
        if now == tls.stamp || !is_settled {
            continue;
        }
        let source = tls.source.clone();
        match deps.platform.tasks.blocking(move || source.read()).await {
            None => return,
            Some(Ok(identity)) => {
                tracing::info!("new connections get the certificate {}", identity.fingerprint());
                tls.server.replace(identity);
                deps.reach.works(Way::Tls);
            }
            Some(Err(why)) => {
                let why = format!("the certificate of before stays in force: {why}");
                if deps.reach.fails(Way::Tls, why.clone()) {
                    tracing::error!("{why}");
                }
            }
        }
        tls.stamp = now;
        deps.health.refresh();
    }
}
