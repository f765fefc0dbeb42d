//! Session entries: the last answer is what the disk says, and so do its indexes, whichever thread was faster (F51).

use std::sync::Arc;

use interleavings::{World, explore};
use openclaw_server::{
    sessions::{
        entry::SessionEntry,
        index::{Found, Order},
        store::Sessions,
    },
    store::{self, Store, StoreError},
};
use shuttle::{future::block_on, thread};

const KEY: &str = "agent:main:main";
const NOW: u64 = 1_769_731_200_000;

/// Adds an outbound message to the label, so that it tells the order of changes.
fn mark(entry: &mut SessionEntry, outbound: char) {
    entry.label.get_or_insert_default().push(outbound);
}

async fn update(sessions: &Sessions, outbound: char) -> Result<(SessionEntry, ()), StoreError> {
    sessions.update(KEY, NOW, move |entry| mark(entry, outbound), |_, _| Ok(())).await
}

/// A session that is there, and `threads` that use it; then what is read has to be what the next start reads.
fn race(threads: &[fn(&Sessions)]) {
    let world = World::new();
    let store = world.store();
    let sessions = Arc::new(world.sessions(&store));
    block_on(update(&sessions, '0')).expect("memory takes everything");
    let threads: Vec<_> = threads
        .iter()
        .map(|work| (*work, sessions.clone()))
        .map(|(work, sessions)| thread::spawn(move || work(&sessions)))
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    let read = sessions.after("", usize::MAX).expect("memory takes everything").into_iter().collect();
    close(&world, sessions, store);
    assert_eq!(world.stored_sessions(), read, "the next start finds something else");
}

fn close(world: &World, sessions: Arc<Sessions>, store: Store) {
    drop((sessions, store));
    world.join();
}

fn two(sessions: &Sessions, outbounds: [char; 2]) {
    for outbound in outbounds {
        block_on(update(sessions, outbound)).expect("memory takes everything");
    }
}

fn silent(sessions: &Sessions) -> Vec<Found> {
    let mut silent = vec![];
    let all = |session| {
        silent.push(session);
        true
    };
    sessions.look(None, Order::Oldest, all).expect("memory takes everything");
    silent
}

#[test]
fn f51_changes_of_one_session_are_stored_in_their_order() {
    explore(600, || race(&[|s| two(s, ['a', 'b']), |s| two(s, ['c', 'd'])]));
}

#[test]
fn f51_a_removed_session_is_gone_from_both_or_begun_anew_in_both() {
    explore(600, || race(&[|s| two(s, ['a', 'b']), |s| drop(block_on(s.remove(KEY, true)).expect("taken"))]));
}

#[test]
fn f51_a_session_changed_while_silent_ones_are_pruned_is_in_both_or_in_none() {
    explore(600, || {
        race(&[|s| two(s, ['a', 'b']), |s| assert!(block_on(s.prune(silent(s), |_| true)).expect("taken") <= 1)]);
    });
}

/// What could not be written has not happened, whatever others write in the meantime.
#[test]
fn f51_a_change_that_cannot_be_stored_is_in_neither() {
    explore(600, || {
        race(&[
            |s| {
                let refused =
                    s.update(KEY, NOW, |e: &mut SessionEntry| mark(e, 'x'), |_, _| Err::<(), _>(StoreError::Closing));
                assert!(block_on(refused).is_err());
            },
            |s| two(s, ['c', 'd']),
        ]);
    });
}

/// Each change is told its own state: what its answer says was stored at that moment.
#[test]
fn f51_each_change_is_told_what_it_made() {
    explore(300, || {
        race(&[
            |s| assert!(told(s, 'a').contains('a')),
            |s| assert!(told(s, 'b').contains('b')),
            |s| assert!(told(s, 'c').contains('c')),
        ]);
    });
}

/// The label that the change gave, which has to be the one that was written with it.
fn told(sessions: &Sessions, outbound: char) -> String {
    let also = |tx: &redb::WriteTransaction, entry: &SessionEntry| {
        let stored: Option<SessionEntry> = store::get(&tx.open_table(store::SESSIONS)?, KEY)?;
        assert_eq!(stored.as_ref(), Some(entry));
        Ok(entry.label.clone())
    };
    let changed = sessions.update(KEY, NOW, move |entry| mark(entry, outbound), also);
    let (entry, stored) = block_on(changed).expect("memory takes everything");
    assert_eq!(entry.label, stored);
    stored.unwrap_or_default()
}
