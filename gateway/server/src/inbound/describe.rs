//! Step 3d of a message: what a run is asked to do for it, which is handed on to [`Runs::submit`].

use std::sync::Arc;

use openclaw_channels::ChatKind;
use openclaw_config::Config;
use openclaw_protocol::message::Content;

use super::{admit::Admitted, answer::Exit};
use crate::{
    channels::{Pending, envelope::envelope, inbox::Record},
    rights::{self, Effect, Where},
    runs::{
        ReplyTo, RunRequest, Runs, default_timeout,
        request::{Queueing, Touch},
    },
    sessions::entry::SessionEntry,
};

/// Queues the run that answers a message.
///
/// # Errors
/// [`Exit::Waits`] where its session is full. Rights refuse nobody here, or the message would hold the session for ever: whoever writes
/// may have runs in the session that `address` gave him.
pub fn submit(runs: &Arc<Runs>, config: &Config, run_id: String, admitted: Admitted) -> Result<(), Exit> {
    runs.submit(describe(config, run_id, admitted)).map(drop).map_err(|_| Exit::Waits)
}

/// The request of a run that answers a message, under the id `run_id`. What the inbox gave with the message removes it in the
/// transaction that stores the end of that run.
fn describe(config: &Config, run_id: String, admitted: Admitted) -> RunRequest {
    let touch = touch(config, &admitted);
    let Admitted { taken, by, session, entry, channel, route } = admitted;
    let Record { channel: id, message, .. } = &taken.record;
    let input = vec![Content::text(envelope(id, message))];
    RunRequest {
        attachments: (!message.media.is_empty()).then(|| Pending { channel, media: message.media.clone() }),
        deliver: Some(ReplyTo { route, reply_to: None, required: false }),
        touch,
        at_end: vec![taken.handled.clone()],
        queueing: Some(Queueing::of(config, entry.as_ref(), id, &message.sender.id, message.text.trim())),
        ..RunRequest::new(by, run_id, session, input, default_timeout(config))
    }
}

/// The session hears from this chat last: news go there. Where the configuration makes private chats share a session, only the owner
/// says so (D46).
fn touch(config: &Config, admitted: &Admitted) -> Option<Touch> {
    let message = &admitted.taken.record.message;
    let is_direct = message.kind == ChatKind::Direct;
    let here = Effect::Change(Where::Session(&admitted.session));
    if is_direct && !rights::may(config, &admitted.by, here) {
        return None;
    }
    let (route, title) = (admitted.route.clone(), message.title.clone());
    Some(Arc::new(move |entry: &mut SessionEntry| {
        entry.delivery_context = Some(route.clone());
        entry.chat_type = Some(if is_direct { "direct" } else { "group" }.to_owned());
        entry.subject = title.clone().or(entry.subject.take());
    }))
}

#[cfg(test)]
mod tests {
    use openclaw_channels::{Inbound, Sender, Target};
    use openclaw_platform::os;
    use openclaw_protocol::params::AgentWait;

    use super::*;
    use crate::{
        channels::{Channels, inbox::Taken},
        inbound::address::address,
        runs::AtEnd,
        schema,
        sessions::entry::Route,
        store::StoreError,
    };

    #[derive(Debug)]
    struct Handled;

    impl AtEnd for Handled {
        fn write(&self, _: &redb::WriteTransaction, _: &AgentWait) -> Result<(), StoreError> {
            Ok(())
        }
        fn give_up<'a>(&'a self, _: &'a str) -> openclaw_platform::BoxFuture<'a, bool> {
            Box::pin(std::future::ready(true))
        }
    }

    /// The request for a message of `sender`, where private chats share one session and 42 owns the gateway.
    fn request(kind: ChatKind, chat: &str, sender: &str) -> RunRequest {
        let text = "{session:{dmScope:'main'},channels:{telegram:{botToken:'1:a',dmPolicy:'open',allowFrom:[42,'*']}}}";
        let config = Arc::new(openclaw_config::parse(text, &|_| None).unwrap().config);
        let platform = os::without_files();
        let store = schema::open(&platform).unwrap();
        let channels = Channels::open(&platform, &store, &crate::ServerOptions::bare(config.clone())).unwrap();
        let message = Inbound {
            key: "k".into(),
            kind,
            chat: Target { chat: chat.into(), thread: None },
            title: (kind == ChatKind::Group).then(|| "Family".into()),
            sender: Sender { id: sender.into(), name: "Ann".into(), username: None },
            text: " hi ".into(),
            media: vec![],
            message_id: "1".into(),
            quoted: None,
            sent_at: 0,
        };
        let record = Record { channel: "telegram".into(), account: "default".into(), message };
        let taken = Arc::new(Taken { key: "1".into(), record, handled: Arc::new(Handled) });
        let addressed = address(&channels, &config, &taken);
        let admitted = Admitted {
            taken,
            by: addressed.by.unwrap(),
            session: addressed.session,
            entry: None,
            channel: channels.account("telegram", None).unwrap(),
            route: Route { channel: "telegram".into(), to: chat.into(), account_id: "default".into() },
        };
        describe(&config, "r".into(), admitted)
    }

    #[test]
    fn d46_only_the_owner_says_where_news_of_a_shared_session_go() {
        let touched = |request: &RunRequest| {
            let mut entry = SessionEntry::default();
            if let Some(touch) = &request.touch {
                touch(&mut entry);
            }
            (entry.delivery_context.map(|route| route.to), entry.chat_type, entry.subject)
        };
        let (owner, guest) = (request(ChatKind::Direct, "42", "42"), request(ChatKind::Direct, "7", "7"));
        assert_eq!((owner.session_key.as_str(), guest.session_key.as_str()), ("agent:main:main", "agent:main:main"));
        assert_eq!(touched(&owner), (Some("42".into()), Some("direct".into()), None));
        assert_eq!(touched(&guest), (None, None, None));
        let group = request(ChatKind::Group, "-5", "7");
        assert_eq!(touched(&group), (Some("-5".into()), Some("group".into()), Some("Family".into())));
    }

    /// The reply goes to the chat, the inbox's mark with the end of the run, and the text waits as it was written.
    #[test]
    fn a_run_takes_along_what_its_end_needs() {
        let request = request(ChatKind::Direct, "42", "42");
        let reply = request.deliver.unwrap();
        assert_eq!((reply.route.to.as_str(), reply.required, request.at_end.len()), ("42", false, 1));
        let queueing = request.queueing.unwrap();
        assert_eq!((queueing.sender.as_str(), queueing.text.as_str()), ("42", "hi"));
        assert!(request.attachments.is_none() && request.input[0] != Content::text("hi"), "it has its origin");
    }
}
