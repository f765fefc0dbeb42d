//! What waits in one session: order of arrival, joining of messages, bounds (agent-chat-channels.md section 5).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use openclaw_config::QueueDrop;
use openclaw_platform::{Mono, sync::LockExt as _};
use openclaw_protocol::{message::Content, truncate};

use super::{
    at_end::AtEnd,
    request::{Mode, Queueing, RunRequest},
    run::Run,
};
use crate::{
    limits::{QUEUE_PATIENCE, QUEUE_SUMMARY},
    rights::Rights,
};

/// A run that waits.
struct Waiting {
    run: Arc<Run>,
    since: Mono,
    /// It came while a run was under way.
    behind: bool,
    /// Its text was put into the run under way already.
    steered: bool,
    /// It stands for itself and for others that came right after it and were too many. It is steered, stopped and answered
    /// like any other, so that nothing that was summed up gets lost on the way (F50).
    summary: Option<Summary>,
}

impl Waiting {
    fn queueing(&self) -> Option<&Queueing> {
        self.run.request.queueing.as_ref()
    }

    /// What the model is told of it.
    fn input(&self) -> Vec<Content> {
        match &self.summary {
            Some(summary) => vec![summary.text()],
            None => self.run.request.input.clone(),
        }
    }

    /// All that waits for the run that answers this message, summed-up messages included.
    fn at_end(&self) -> impl Iterator<Item = &Arc<dyn AtEnd>> {
        self.run.request.at_end.iter().chain(self.summary.iter().flat_map(|summary| &summary.at_end))
    }

    fn has_media(&self) -> bool {
        self.summary.is_none() && has_media(&self.run.request)
    }
}

/// Messages beyond the cap, all of the same rights: a line each for the newest of them.
struct Summary {
    lines: VecDeque<String>,
    count: usize,
    /// What waits for those that have no run of their own any more.
    at_end: Vec<Arc<dyn AtEnd>>,
}

impl Summary {
    fn of(first: &Waiting) -> Self {
        Self { lines: VecDeque::from([line_of(first)]), count: 1, at_end: vec![] }
    }

    fn add(&mut self, more: &Waiting, lines: usize) {
        self.count += 1;
        self.at_end.extend(more.run.request.at_end.iter().cloned());
        self.lines.push_back(line_of(more));
        while self.lines.len() > lines.max(1) {
            self.lines.pop_front();
        }
    }

    fn text(&self) -> Content {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        let (count, lines) = (self.count, lines.join("\n- "));
        Content::text(format!("[{count} earlier messages were too many to be kept in full:\n- {lines}]"))
    }
}

/// One session's runs.
#[derive(Default)]
pub struct SessionQueue {
    current: Option<Arc<Run>>,
    waiting: VecDeque<Waiting>,
}

/// What became of the queue when a run was pushed.
pub enum Pushed {
    /// It waits, as nearly all do.
    Waits,
    /// More waited than may (`messages.queue.cap`): this run was taken out, the new one or an older one, and never begins.
    Dropped(Arc<Run>),
    /// More waited than may: this run is a line in the summary of an older one now, and never begins itself.
    Summarised(Arc<Run>),
}

/// What the next step of a queue is.
pub enum Next {
    /// Nothing waits.
    Idle,
    /// Whoever wrote this may still be writing, until then.
    Quiet(Arc<Run>, Mono),
    /// This one is the first that waits, and is not accepted yet.
    Held(Arc<Run>),
    /// It may begin.
    Ready,
}

impl SessionQueue {
    /// Runs under way and waiting.
    pub fn len(&self) -> usize {
        usize::from(self.current.is_some()) + self.waiting.len()
    }

    /// True when nothing is under way and nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The run under way and those that wait, in order.
    pub fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.current.iter().chain(self.waiting.iter().map(|w| &w.run))
    }

    /// The run under way.
    pub fn current(&self) -> Option<&Arc<Run>> {
        self.current.as_ref()
    }

    /// Puts a run at the end.
    pub fn push(&mut self, run: Arc<Run>, now: Mono) -> Pushed {
        let behind = self.current.is_some() || self.waiting.iter().any(|w| w.behind);
        let limits = run.request.queueing.as_ref().map(|q| (q.cap, q.drop));
        let rights = run.rights.clone();
        self.waiting.push_back(Waiting { run, since: now, behind, steered: false, summary: None });
        let Some((cap, drop)) = limits else { return Pushed::Waits };
        // Only messages of the same rights count here: a guest's flood cannot push out the owner's.
        let counts = |w: &Waiting| w.queueing().is_some() && w.run.rights == rights && !w.run.cancel.is_cancelled();
        let chats: Vec<usize> = (0..self.waiting.len()).filter(|at| counts(&self.waiting[*at])).collect();
        let summary = chats.first().copied().filter(|at| self.waiting[*at].summary.is_some());
        // While no run is under way the first message is about to begin and does not count (not for `summarize`). So nothing is
        // dropped when all accepted messages come at once after a restart.
        let head = usize::from(self.current.is_none() && drop != QueueDrop::Summarize);
        if chats.len() - usize::from(summary.is_some()) - head <= cap {
            return Pushed::Waits;
        }
        match (drop, summary) {
            (QueueDrop::New, _) => self.take(self.waiting.len() - 1).map_or(Pushed::Waits, Pushed::Dropped),
            (QueueDrop::Old, _) => {
                self.take(chats[usize::from(summary.is_some()) + head]).map_or(Pushed::Waits, Pushed::Dropped)
            }
            (QueueDrop::Summarize, None) => {
                let oldest = &mut self.waiting[chats[0]];
                oldest.summary = Some(Summary::of(oldest));
                Pushed::Waits
            }
            (QueueDrop::Summarize, Some(at)) => {
                let Some(second) = self.waiting.remove(chats[1]) else { return Pushed::Waits };
                if let Some(summary) = &mut self.waiting[at].summary {
                    summary.add(&second, cap);
                }
                Pushed::Summarised(second.run)
            }
        }
    }

    fn take(&mut self, at: usize) -> Option<Arc<Run>> {
        self.waiting.remove(at).map(|w| w.run)
    }

    /// Whether the next run may begin at `now`.
    pub fn next(&self, now: Mono) -> Next {
        let Some(head) = self.waiting.front() else { return Next::Idle };
        if !head.run.is_released() {
            return Next::Held(head.run.clone());
        }
        let Some(queueing) = head.queueing().filter(|_| !head.run.cancel.is_cancelled()) else { return Next::Ready };
        let quiet = match queueing.mode {
            Mode::Interrupt => Duration::ZERO,
            _ if head.behind => queueing.debounce.max(queueing.join),
            _ if head.has_media() => Duration::ZERO,
            _ => queueing.join,
        };
        let last = self.waiting.iter().take_while(|w| self.joins(w)).last().map_or(head.since, |w| w.since);
        let at = (last + quiet).min(head.since + quiet.max(QUEUE_PATIENCE));
        if at > now { Next::Quiet(head.run.clone(), at) } else { Next::Ready }
    }

    /// Whether `later` would be answered together with the first that waits.
    fn joins(&self, later: &Waiting) -> bool {
        let Some(first) = self.waiting.front() else { return false };
        if Arc::ptr_eq(&first.run, &later.run) {
            return true;
        }
        let (Some(a), Some(b)) = (first.queueing(), later.queueing()) else { return false };
        let route = |w: &Waiting| w.run.request.deliver.as_ref().map(|d| d.route.clone());
        let alive = !first.run.cancel.is_cancelled() && !later.run.cancel.is_cancelled();
        let collected = a.mode == Mode::Collect && b.mode == Mode::Collect && first.behind && later.behind;
        let joined = !a.join.is_zero()
            && a.sender == b.sender
            && later.since.duration_since(first.since) <= QUEUE_PATIENCE
            && !first.has_media()
            && !later.has_media();
        // What was summed up is answered with the next message.
        let summed_up = first.summary.is_some() && self.waiting.get(1).is_some_and(|w| Arc::ptr_eq(&w.run, &later.run));
        alive
            && first.run.rights == later.run.rights
            && route(first) == route(later)
            && (collected || joined || summed_up)
    }

    /// Takes what is answered next as one run; also gives the runs that are part of it now and have none of their own.
    pub fn begin(&mut self) -> Option<(Arc<Run>, Vec<Arc<Run>>)> {
        let n = self.waiting.iter().take_while(|w| self.joins(w)).count();
        let parts: Vec<Waiting> = self.waiting.drain(..n.max(1).min(self.waiting.len())).collect();
        let first = parts.first()?;
        if parts.len() == 1 && first.summary.is_none() {
            self.current = Some(first.run.clone());
            return self.current.clone().map(|run| (run, vec![]));
        }
        let mut run = Run::new(merge(&parts), first.run.rights.clone());
        // The joined run shares the first one's cancel token: a stop during the joining ends it.
        run.cancel = first.run.cancel.clone();
        let told = first.run.emitter.locked();
        run.emitter.locked().goes_on_for(&told);
        drop(told);
        let run = Arc::new(run);
        self.current = Some(run.clone());
        Some((run, parts.into_iter().map(|w| w.run).collect()))
    }

    /// Takes a run out that waits.
    pub fn remove(&mut self, run: &Arc<Run>) {
        self.waiting.retain(|w| !Arc::ptr_eq(&w.run, run));
    }

    /// The run under way has ended.
    pub fn end(&mut self) {
        self.current = None;
    }

    /// Takes the texts that are to be put now into the run under way, which has these rights. The messages that need no run
    /// of their own any more come with them, each with its inbound records. A message of other rights waits for a run of
    /// its own (S23).
    pub fn steer(&mut self, rights: &Rights) -> (Vec<Content>, Vec<Steered>) {
        let (mut texts, mut taken) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(waiting) = self.waiting.get_mut(at) {
            if waiting.run.rights != *rights {
                at += 1;
                continue;
            }
            let mode = waiting.run.request.queueing.as_ref().map(|q| q.mode);
            let Some(Mode::Steer { backlog }) = mode else { break };
            if waiting.run.cancel.is_cancelled() || waiting.has_media() {
                break;
            }
            if !std::mem::replace(&mut waiting.steered, true) {
                texts.extend(waiting.input());
            }
            if backlog {
                at += 1;
            } else if let Some(waiting) = self.waiting.remove(at) {
                taken.push(Steered { at_end: waiting.at_end().cloned().collect(), run: waiting.run });
            }
        }
        (texts, taken)
    }
}

/// A message that went into the run under way.
pub struct Steered {
    /// Its run, which never comes.
    pub run: Arc<Run>,
    /// What waits for the run under way now.
    pub at_end: Vec<Arc<dyn AtEnd>>,
}

fn has_media(request: &RunRequest) -> bool {
    request.attachments.is_some()
}

/// The beginning of a message on one line.
fn line_of(message: &Waiting) -> String {
    let text = message.queueing().map_or("", |q| &q.text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    truncate::chars(&text, QUEUE_SUMMARY).to_owned()
}

/// One request from several: the first one's, with all texts, attachments and what waits for them.
fn merge(parts: &[Waiting]) -> RunRequest {
    let mut request = parts[0].run.request.clone();
    let (summaries, whole): (Vec<&Waiting>, Vec<&Waiting>) = parts.iter().partition(|w| w.summary.is_some());
    let behind = parts[0].behind && whole.len() > 1;
    let mut input: Vec<Content> = summaries.iter().flat_map(|w| w.input()).collect();
    if behind {
        input.push(Content::text("[Messages that came while you were busy]"));
    }
    for (n, part) in (1..).zip(&whole) {
        if behind {
            input.push(Content::text(format!("---\nQueued #{n}")));
        }
        input.extend(part.input());
    }
    request.input = input;
    request.at_end = parts.iter().flat_map(Waiting::at_end).cloned().collect();
    let attached = || whole.iter().filter_map(|p| p.run.request.attachments.as_ref());
    let media: Vec<_> = attached().flat_map(|a| a.media.clone()).collect();
    request.attachments = attached().next().cloned();
    if let Some(pending) = &mut request.attachments {
        pending.media = media;
    }
    // The latest message says where the session is now.
    if let Some(last) = parts.last() {
        request.touch.clone_from(&last.run.request.touch);
    }
    request
}

#[cfg(test)]
mod tests {
    use openclaw_config::Config;
    use openclaw_platform::BoxFuture;
    use openclaw_protocol::params::AgentWait;

    use super::*;
    use crate::{
        rights::{Principal, Standing},
        runs::ReplyTo,
        sessions::entry::Route,
        store::StoreError,
    };

    /// Somebody who waits for the end of a run.
    struct Named(String);

    impl std::fmt::Debug for Named {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl AtEnd for Named {
        fn write(&self, _: &redb::WriteTransaction, _: &AgentWait) -> Result<(), StoreError> {
            Ok(())
        }
        fn give_up<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
            Box::pin(std::future::ready(true))
        }
    }

    fn message(n: usize, mode: Mode, sender: &str, join: u64, drop: QueueDrop) -> Arc<Run> {
        message_of(&Principal::Gateway, n, mode, sender, join, drop)
    }

    /// Somebody in a group.
    fn guest() -> Principal {
        let text = |t: &str| t.to_owned();
        let (channel, account, chat, session) = (text("telegram"), text("default"), text("1"), text("s"));
        Principal::Person { channel, account, id: text("7"), chat, session, standing: Standing::Sharing }
    }

    fn message_of(by: &Principal, n: usize, mode: Mode, sender: &str, join: u64, drop: QueueDrop) -> Arc<Run> {
        let rights = Rights::of(&Config::default(), by, "s");
        let route = Route { channel: "telegram".into(), to: "1".into(), account_id: "default".into() };
        let input = vec![Content::text(format!("m{n}"))];
        let request = RunRequest {
            deliver: Some(ReplyTo { route, reply_to: None, required: false }),
            at_end: vec![Arc::new(Named(format!("i{n}")))],
            queueing: Some(Queueing {
                mode,
                debounce: Duration::from_secs(1),
                join: Duration::from_millis(join),
                cap: 3,
                drop,
                sender: sender.into(),
                text: format!("m{n}"),
            }),
            ..RunRequest::new(by.clone(), format!("r{n}"), "s".into(), input, Duration::from_secs(1))
        };
        let run = Run::new(request, rights);
        run.release();
        Arc::new(run)
    }

    fn mono() -> Mono {
        openclaw_platform::os::without_files().clock.mono()
    }

    fn texts(run: &Run) -> String {
        let text = |c: &Content| match c {
            Content::Text { text } => text.clone(),
            _ => String::new(),
        };
        run.request.input.iter().map(text).collect::<Vec<_>>().join("|")
    }

    fn begin(queue: &mut SessionQueue) -> String {
        queue.begin().map(|(run, _)| format!("{} {:?}", texts(&run), run.request.at_end)).unwrap_or_default()
    }

    /// Collected: one run answers all that waited behind a run, and marks all their inbound records (F05, F17).
    #[test]
    fn f17_collected_messages_are_one_run_with_all_their_records() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        for n in 0..4 {
            queue.push(message(n, Mode::Collect, "a", 0, QueueDrop::Summarize), now);
            if n == 0 {
                assert_eq!(begin(&mut queue), r#"m0 ["i0"]"#);
            }
        }
        queue.end();
        assert!(matches!(queue.next(now), Next::Quiet(_, at) if at == now + Duration::from_secs(1)));
        assert!(matches!(queue.next(now + Duration::from_secs(1)), Next::Ready));
        let all = "[Messages that came while you were busy]|---\nQueued #1|m1|---\nQueued #2|m2|---\nQueued #3|m3";
        assert_eq!(begin(&mut queue), format!("{all} [\"i1\", \"i2\", \"i3\"]"));
        queue.end();
        assert!(matches!(queue.next(now), Next::Idle));
    }

    #[test]
    fn followups_have_a_run_each() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        for n in 0..3 {
            queue.push(message(n, Mode::Followup, "a", 0, QueueDrop::Summarize), now);
        }
        for n in 0..3 {
            assert_eq!(begin(&mut queue), format!("m{n} [\"i{n}\"]"));
            queue.end();
        }
    }

    /// Beyond the cap: the oldest becomes a line of the next run, which answers for its record; or it is dropped; or the
    /// newest is (F04).
    #[test]
    fn f04_the_queue_of_a_session_is_bounded() {
        let now = mono();
        for drop in [QueueDrop::Summarize, QueueDrop::Old, QueueDrop::New] {
            let mut queue = SessionQueue::default();
            let mut dropped = Vec::new();
            for n in 0..6 {
                if let Pushed::Dropped(run) = queue.push(message(n, Mode::Followup, "a", 0, drop), now) {
                    dropped.push(run.request.run_id.clone());
                }
            }
            assert_eq!(queue.len(), 4);
            match drop {
                // The first is about to begin: the others wait behind it.
                QueueDrop::Old => assert_eq!(dropped, ["r1", "r2"]),
                QueueDrop::New => assert_eq!(dropped, ["r4", "r5"]),
                QueueDrop::Summarize => {
                    let text = "[3 earlier messages were too many to be kept in full:\n- m0\n- m1\n- m2]|m3";
                    assert_eq!(begin(&mut queue), format!("{text} [\"i0\", \"i1\", \"i2\", \"i3\"]"));
                }
            }
        }
    }

    /// What was accepted before a restart comes in again before anything has begun: it is not too much then (F05, F50).
    #[test]
    fn f50_what_fitted_before_a_restart_fits_after_it() {
        for drop in [QueueDrop::Old, QueueDrop::New] {
            let (mut queue, now) = (SessionQueue::default(), mono());
            let push = |n, queue: &mut SessionQueue| {
                let pushed = queue.push(message(n, Mode::Followup, "a", 0, drop), now);
                matches!(pushed, Pushed::Waits)
            };
            assert!(push(0, &mut queue));
            queue.begin();
            assert!((1..4).all(|n| push(n, &mut queue)) && !push(4, &mut queue), "one under way, three behind it");
            let mut after = SessionQueue::default();
            assert!((0..4).all(|n| push(n, &mut after)) && !push(4, &mut after));
        }
    }

    /// What was summed up goes into the run under way with the others, with every inbound record (F50).
    #[test]
    fn f50_what_was_summed_up_is_steered_with_the_rest() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        for n in 0..7 {
            queue.push(message(n, Mode::Steer { backlog: false }, "a", 0, QueueDrop::Summarize), now);
            if n == 0 {
                queue.begin();
            }
        }
        let (texts, taken) = queue.steer(&Rights::of(&Config::default(), &Principal::Gateway, "s"));
        let summary = "[3 earlier messages were too many to be kept in full:\n- m1\n- m2\n- m3]";
        assert_eq!(texts, [summary, "m4", "m5", "m6"].map(Content::text));
        let waiting: Vec<String> =
            taken.iter().flat_map(|t| &t.at_end).map(|w| format!("{w:?}").replace('"', "")).collect();
        assert_eq!(waiting, ["i1", "i2", "i3", "i4", "i5", "i6"]);
        queue.end();
        assert!(queue.is_empty());
    }

    /// Whoever ends what waits ends what was summed up, too: it has a run, and that run has all their inbound records (F50).
    #[test]
    fn f50_what_was_summed_up_is_ended_with_the_rest() {
        for mode in [Mode::Collect, Mode::Followup] {
            let (mut queue, now) = (SessionQueue::default(), mono());
            for n in 0..7 {
                queue.push(message(n, mode, "a", 0, QueueDrop::Summarize), now);
                if n == 0 {
                    queue.begin();
                }
            }
            queue.runs().for_each(|run| run.cancel.cancel());
            queue.end();
            let mut ended = Vec::new();
            while let Some((run, _)) = queue.begin() {
                assert!(run.cancel.is_cancelled());
                ended.extend(run.at_end().iter().map(|waiting| format!("{waiting:?}").replace('"', "")));
                queue.end();
            }
            assert_eq!(ended, ["i1", "i2", "i3", "i4", "i5", "i6"], "{mode:?}");
        }
    }

    /// A first message that is not accepted yet is waited for, and nothing else is: not a run that is under way (F54).
    #[test]
    fn f54_a_lane_waits_for_its_first_message_only() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        queue.push(message(0, Mode::Followup, "a", 0, QueueDrop::Old), now);
        queue.begin();
        let request =
            RunRequest { queueing: None, ..message(1, Mode::Followup, "a", 0, QueueDrop::Old).request.clone() };
        let unaccepted = Arc::new(Run::new(request, queue.current().unwrap().rights.clone()));
        queue.push(unaccepted.clone(), now);
        assert!(matches!(queue.next(now), Next::Held(run) if Arc::ptr_eq(&run, &unaccepted)));
        unaccepted.release();
        assert!(matches!(queue.next(now), Next::Ready));
    }

    #[test]
    fn quick_texts_of_one_sender_are_joined() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        let ms = Duration::from_millis;
        queue.push(message(0, Mode::Collect, "a", 300, QueueDrop::Old), now);
        queue.push(message(1, Mode::Collect, "a", 300, QueueDrop::Old), now + ms(200));
        queue.push(message(2, Mode::Collect, "b", 300, QueueDrop::Old), now + ms(250));
        assert!(matches!(queue.next(now + ms(250)), Next::Quiet(_, at) if at == now + ms(500)));
        assert_eq!(begin(&mut queue), r#"m0|m1 ["i0", "i1"]"#);
        queue.end();
        assert_eq!(begin(&mut queue), r#"m2 ["i2"]"#);
    }

    #[test]
    fn steered_texts_go_into_the_run_and_come_back_only_as_backlog() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        for (n, backlog) in [(0, false), (1, false), (2, true)] {
            queue.push(message(n, Mode::Steer { backlog }, "a", 0, QueueDrop::Old), now);
            if n == 0 {
                queue.begin();
            }
        }
        let trusted = Rights::of(&Config::default(), &Principal::Gateway, "s");
        let (texts, taken) = queue.steer(&trusted);
        assert_eq!((texts.len(), taken.len(), queue.len()), (2, 1, 2));
        assert!(queue.steer(&trusted).0.is_empty(), "only once");
        queue.end();
        assert_eq!(begin(&mut queue), r#"m2 ["i2"]"#);
    }

    /// A stranger's message neither enters the owner's run nor is summed up or joined with what the owner wrote, and stands in
    /// the way of nobody (S23).
    #[test]
    fn s23_what_is_less_trusted_has_a_run_of_its_own() {
        let (trusted, less) = (Principal::Gateway, guest());
        let rights = |by: &Principal| Rights::of(&Config::default(), by, "s");
        let steer = Mode::Steer { backlog: false };
        let (mut queue, now) = (SessionQueue::default(), mono());
        queue.push(message_of(&trusted, 0, steer, "a", 0, QueueDrop::Old), now);
        queue.begin();
        queue.push(message_of(&less, 1, steer, "b", 0, QueueDrop::Old), now);
        queue.push(message_of(&trusted, 2, steer, "a", 0, QueueDrop::Old), now);
        let (texts, taken) = queue.steer(&rights(&trusted));
        assert_eq!((texts, taken[0].run.request.run_id.as_str()), (vec![Content::text("m2")], "r2"));
        queue.end();
        assert_eq!(begin(&mut queue), r#"m1 ["i1"]"#);
        // The other way round: the owner's words do not go into a run that others steer.
        queue.push(message_of(&trusted, 3, steer, "a", 0, QueueDrop::Old), now);
        assert!(queue.steer(&rights(&less)).0.is_empty());

        for mode in [Mode::Collect, Mode::Followup] {
            let mut queue = SessionQueue::default();
            queue.push(message_of(&trusted, 0, mode, "a", 0, QueueDrop::Old), now);
            queue.begin();
            for (n, by) in [(1, &trusted), (2, &less), (3, &less)] {
                queue.push(message_of(by, n, mode, "a", 500, QueueDrop::Old), now);
            }
            queue.end();
            assert_eq!(begin(&mut queue), r#"m1 ["i1"]"#, "{mode:?}");
        }
    }

    /// Many messages of one push out and sum up only those of his equals (S23).
    #[test]
    fn s23_a_flood_sums_up_its_own_only() {
        let (trusted, less) = (Principal::Gateway, guest());
        let (mut queue, now) = (SessionQueue::default(), mono());
        queue.push(message_of(&trusted, 0, Mode::Followup, "a", 0, QueueDrop::Summarize), now);
        for n in 1..6 {
            queue.push(message_of(&less, n, Mode::Followup, "b", 0, QueueDrop::Summarize), now);
        }
        assert_eq!(begin(&mut queue), r#"m0 ["i0"]"#);
        queue.end();
        let text = "[2 earlier messages were too many to be kept in full:\n- m1\n- m2]|m3";
        assert_eq!(begin(&mut queue), format!("{text} [\"i1\", \"i2\", \"i3\"]"));
    }

    /// A message that was ended while it waited, summed up with others, is not told as ended a second time when its turn comes
    /// (found by `hostile_swarm`, seed 14).
    #[test]
    fn what_was_told_of_a_summed_up_message_is_not_told_again() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        queue.push(message(0, Mode::Followup, "a", 0, QueueDrop::Summarize), now);
        queue.begin();
        for n in 1..6 {
            queue.push(message(n, Mode::Followup, "a", 0, QueueDrop::Summarize), now);
        }
        let first = queue.waiting[0].run.clone();
        assert!(queue.waiting[0].summary.is_some());
        first.cancel.cancel();
        first.emitter.lock().unwrap().abort(&crate::hub::EventHub::default(), "stop");
        queue.end();
        let (run, _) = queue.begin().unwrap();
        assert!(!Arc::ptr_eq(&run, &first) && run.cancel.is_cancelled());
        assert!(run.emitter.lock().unwrap().is_aborted());
    }

    /// What a person ended is not put together with what came later.
    #[test]
    fn a_cancelled_message_stands_alone() {
        let (mut queue, now) = (SessionQueue::default(), mono());
        for n in 0..4 {
            queue.push(message(n, Mode::Collect, "a", 0, QueueDrop::Old), now);
            if n == 0 {
                queue.begin();
            }
        }
        queue.waiting[0].run.cancel.cancel();
        queue.end();
        assert!(matches!(queue.next(now), Next::Ready));
        assert_eq!(begin(&mut queue), r#"m1 ["i1"]"#);
        queue.end();
        assert!(begin(&mut queue).contains("Queued #2|m3"));
    }
}
