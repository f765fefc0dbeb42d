//! The claims that the gateway makes about itself through its probe, by name: `always` must hold whenever its line is
//! reached (oracle `probes`), `sometimes` is a rare branch that some run should reach. A sweep names those that none has.

/// What must hold whenever it is looked at.
pub const ALWAYS: &[&str] = &[
    "approvals.grants_bounded",
    "approvals.questions_bounded",
    "approvals.single_use",
    "approvals.used_while_good",
    "connections.read_ahead_bounded",
    "connections.strangers_bounded",
    "connections.strangers_of_one_place_bounded",
    "delivery.a_part_is_confirmed_once",
    "delivery.it_ends_once_nothing_is_left",
    "delivery.marked_before_it_goes_out",
    "delivery.one_under_way_in_a_chat",
    "delivery.only_what_is_over_is_revived",
    "delivery.taken_up_in_order",
    "devices.decided_once",
    "devices.nobody_grants_more_than_he_has",
    "health.versions_tell_changes",
    "hub.bounded",
    "idempotency.bounded",
    "idempotency.one_outcome",
    "nodes.invokes_bounded",
    "nodes.invokes_wait_for_who_is_there",
    "outbox.bytes_add_up",
    "outbox.seq_grows",
    "outbox.within_budget",
    "presence.versions_grow",
    "presence.versions_tell_changes",
    "runs.begun_anew_once",
    "runs.checkpoint_bounded",
    "runs.live_until_their_end",
    "runs.nobody_took_its_place",
    "runs.one_per_session",
    "stop.tasks_end",
    "store.batch_bounded",
    "store.queue_bounded",
];

/// Branches that matter and are rarely taken.
pub const SOMETIMES: &[&str] = &[
    "approvals.asker_left",
    "approvals.decided_at_the_deadline",
    "approvals.for_something_else",
    "approvals.own_refused",
    "approvals.redeemed",
    "approvals.timed_out",
    "auth.credential_changed_meanwhile",
    "auth.credential_rotated",
    "auth.held_for_its_turn",
    "auth.wrong_credential_elsewhere",
    "auth.wrong_credential_here",
    "config.changed_by_a_client",
    "connections.buffers_given_back",
    "connections.came_while_stopping",
    "connections.handshake_timed_out",
    "connections.no_sign_of_life",
    "connections.share_used_up",
    "connections.stranger_made_room",
    "connections.too_many",
    "delivery.abandoned_at_the_service",
    "delivery.drop_refused_on_its_way",
    "delivery.expired",
    "delivery.gave_up",
    "delivery.in_doubt_after_a_crash",
    "delivery.left_in_doubt",
    "delivery.refused_for_good",
    "delivery.resent_on_request",
    "delivery.sent_again_after_a_crash",
    "delivery.storage_tried_again",
    "delivery.unknown_told",
    "delivery.waiting_one_dropped",
    "delivery.waiting_one_hurried",
    "devices.approval_not_stored",
    "devices.no_place_for_a_request",
    "devices.seen_not_stored",
    "devices.token_made_meanwhile",
    "heartbeats.waited_for_a_run",
    "heartbeats.with_less_rights",
    "idempotency.answer_read_from_the_database",
    "idempotency.answered_again",
    "idempotency.joined_under_way",
    "idempotency.key_released",
    "idempotency.oldest_forgotten",
    "idempotency.other_parameters",
    "idempotency.resumed",
    "inbox.a_stop_ended_what_was_held",
    "inbox.bound_to_no_agent",
    "inbox.denied_by_policy",
    "inbox.message_not_answered",
    "inbox.waited_for_room",
    "nodes.answer_nobody_waits_for",
    "nodes.invoke_taken_back",
    "nodes.invoke_timed_out",
    "nodes.left_while_asked",
    "nodes.reconnect_replaced_one",
    "outbox.event_withheld",
    "outbox.presence_replaced",
    "outbox.slow_consumer",
    "queue.interrupted",
    "queue.message_dropped",
    "queue.overflow_summed_up",
    "queue.session_full",
    "queue.steered",
    "reload.a_broken_file_changed_nothing",
    "reload.a_channel_began_anew",
    "reload.asked_for_a_restart",
    "reload.taken_over",
    "restarts.due",
    "runs.a_beginning_waited_for_the_disk",
    "runs.a_silent_one_released_its_permit",
    "runs.aborted",
    "runs.an_end_waited_for_the_disk",
    "runs.another_came_to_be_the_first",
    "runs.begun_anew_after_a_crash",
    "runs.checkpoint_stored",
    "runs.cut_off_and_left_in_the_inbox",
    "runs.deadline_reached",
    "runs.never_began_before_the_stop",
    "runs.reported_after_a_crash",
    "sessions.begun_anew_when_stale",
    "sessions.pruned",
    "shutdown.deadline_reached",
    "shutdown.drained",
    "store.backed_up_while_running",
    "store.commit_came_through_all_the_same",
    "store.commit_in_doubt",
    "store.opened_again",
    "store.opened_for_a_read",
    "store.queue_full",
    "store.takes_writes_again",
    "store.trouble_told",
];

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // it reads the sources of the gateway
mod tests {
    use std::{
        collections::BTreeSet,
        path::{Path, PathBuf},
    };

    use super::*;

    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    /// Names in calls of `method`: the texts up to the end of the call's name.
    fn names(source: &str, method: &str) -> Vec<String> {
        let begin = format!(".{method}(");
        let calls = source.split(&begin).skip(1);
        let first = calls.flat_map(|rest| {
            let call = if method == "always" { rest.split_once(',') } else { rest.split_once(')') };
            let texts: Vec<String> =
                call.unwrap_or_default().0.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            texts
        });
        first.filter(|name| name.contains('.')).collect()
    }

    /// The lists are the code's: no name is missing, none is left over, each stands for one thing.
    #[test]
    fn every_claim_of_the_gateway_is_listed() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway"), &mut files);
        let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        for (method, listed) in [("always", ALWAYS), ("sometimes", SOMETIMES)] {
            let found: BTreeSet<String> = texts.iter().flat_map(|text| names(text, method)).collect();
            let known: BTreeSet<String> = listed.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(found, known, "{method}: in the gateway on the left, listed on the right");
            assert_eq!(known.len(), listed.len(), "{method}: a name twice");
            assert!(listed.is_sorted(), "{method}: in order");
        }
        assert!(ALWAYS.len() + SOMETIMES.len() >= 60);
        assert!(ALWAYS.iter().all(|name| !SOMETIMES.contains(name)));
    }
}
