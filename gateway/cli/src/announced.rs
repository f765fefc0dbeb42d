//! The gateway says on the local network that it is there, while it is: in a program with the feature mdns, unless
//! `discovery.mdns.mode` is off, and only where others can reach it.

#[cfg(feature = "mdns")]
pub use with::during;
#[cfg(not(feature = "mdns"))]
pub use without::during;

#[cfg(feature = "mdns")]
mod with {
    use openclaw_config::MdnsMode;

    use crate::{
        gateway_plan::Plan,
        mdns::{About, Announcement},
        session::Session,
    };

    /// Anything here keeps a gateway silent, as with the reference.
    const DISABLED: &str = "OPENCLAW_DISABLE_BONJOUR";

    /// Says it as long as `rest` runs, where there is something to say.
    pub async fn during<T>(session: &Session, plan: &Plan, rest: impl Future<Output = T>) -> T {
        let announcement = about(session, plan).map(|about| Announcement::begin(&about));
        match &announcement {
            Some(Ok(_)) => tracing::info!("announced on the local network (discovery.mdns)"),
            Some(Err(error)) => tracing::warn!("not announced on the local network: {error}"),
            None => {}
        }
        let over = rest.await;
        drop(announcement);
        over
    }

    fn about(session: &Session, plan: &Plan) -> Option<About> {
        let mode = plan.config.discovery.mdns.mode;
        let is_alone = plan.listen.iter().all(|address| address.ip().is_loopback());
        if mode == MdnsMode::Off || is_alone || session.env.flag(DISABLED) {
            return None;
        }
        let program = std::env::current_exe().ok().filter(|_| mode == MdnsMode::Full);
        Some(About {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            port: plan.port,
            fingerprint: plan.tls.as_ref().and_then(|files| files.fingerprint().ok()).map(|found| found.to_string()),
            program: program.map(|path| path.display().to_string()),
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::{args::RunArgs, config_file, tests::session};

        #[test]
        fn only_what_others_can_reach_is_announced() {
            let dir = tempfile::tempdir().unwrap();
            let session = session(dir.path(), false);
            let about = |gateway: &str, discovery: &str| {
                let text = format!(
                    "{{gateway: {{mode: 'local', auth: {{token: '0123456789abcdef0123456789abcdef'}}, {gateway}}}, {discovery}}}"
                );
                config_file::replace(&session.paths.config, &text).unwrap();
                about(&session, &Plan::make(&session, &RunArgs::default()).unwrap())
            };
            assert!(about("", "").is_none(), "this machine alone");
            let there = about("bind: 'lan', port: 21778", "").unwrap();
            assert_eq!((there.port, there.program), (21_778, None));
            assert!(about("bind: 'lan'", "discovery: {mdns: {mode: 'full'}}").unwrap().program.is_some());
            assert!(about("bind: 'lan'", "discovery: {mdns: {mode: 'off'}}").is_none());
        }
    }
}

#[cfg(not(feature = "mdns"))]
mod without {
    use crate::{gateway_plan::Plan, session::Session};

    /// This program says nothing.
    pub async fn during<T>(_: &Session, _: &Plan, rest: impl Future<Output = T>) -> T {
        rest.await
    }
}
