//! Group commit: every writer is told what became of its own write, in the order in which the writes came.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use interleavings::{World, explore};
use openclaw_server::store::{self, Store, StoreError};
use redb::ReadableTable as _;
use shuttle::{future::block_on, sync::Mutex, thread};

/// A write that fails in its closure.
const REFUSED: u32 = 4;

/// The numbers that were there before.
type Answer = Result<Vec<u32>, StoreError>;

/// Writes `n` and gives the numbers that were there before.
async fn write(store: &Store, n: u32) -> Answer {
    let write = move |tx: &redb::WriteTransaction| {
        let mut table = tx.open_table(store::CURSORS)?;
        let mut before = Vec::new();
        for row in table.iter()? {
            let (key, value) = row?;
            before.push((key.value().to_owned(), store::decode::<u32>(&store::CURSORS, key.value(), value.value())?));
        }
        let key = format!("{:04}", before.len());
        store::put(&mut table, &key, &n)?;
        let before = before.into_iter().map(|(_, n)| n).collect();
        if n == REFUSED { Err(StoreError::Open(n.to_string())) } else { Ok(before) }
    };
    store.write(write).await
}

/// The numbers in the order of their commits, read as the next start would.
fn stored(world: &World) -> Vec<u32> {
    let stored = world.store().read(|tx| store::all::<u32>(tx, store::CURSORS)).expect("it can be read");
    stored.into_iter().map(|(_, n)| n).collect()
}

/// Three threads with two writes each; the order in which they are submitted is the order of `came`.
fn writers(world: &World) -> (Vec<u32>, Vec<(u32, Answer)>) {
    let (store, came) = (world.store(), Arc::new(Mutex::new(Vec::new())));
    let threads: Vec<_> = [[1, 2], [3, REFUSED], [5, 6]]
        .map(|numbers| {
            let (store, came) = (store.clone(), came.clone());
            thread::spawn(move || {
                numbers.map(|n| {
                    let mut writing = pin!(write(&store, n));
                    {
                        // Submitted by its first step.
                        let mut came = came.lock().expect("no thread panics");
                        assert!(writing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                        came.push(n);
                    }
                    (n, block_on(writing))
                })
            })
        })
        .into();
    let answers = threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect();
    let came = came.lock().expect("no thread panics").clone();
    drop(store);
    world.join();
    (came, answers)
}

#[test]
fn f51_writes_are_committed_in_the_order_in_which_they_came() {
    explore(600, || {
        let world = World::new();
        let (came, _) = writers(&world);
        let kept: Vec<u32> = came.into_iter().filter(|n| *n != REFUSED).collect();
        assert_eq!(stored(&world), kept);
    });
}

#[test]
fn each_writer_is_told_of_its_own_write_and_one_that_fails_spoils_no_other() {
    explore(600, || {
        let world = World::new();
        let (_, answers) = writers(&world);
        let stored = stored(&world);
        for (n, answer) in answers {
            match answer {
                Err(StoreError::Open(of)) => assert_eq!((n, of), (REFUSED, REFUSED.to_string())),
                Err(other) => panic!("{n}: {other}"),
                Ok(before) => {
                    let at = stored.iter().position(|stored| *stored == n).expect("what was answered is stored");
                    assert_eq!(before, stored[..at], "{n}");
                }
            }
        }
    });
}

/// A committer that has nothing left to do ends; a write that comes while it does so starts another.
#[test]
fn no_write_is_left_waiting_for_a_committer() {
    explore(1000, || {
        let world = World::new();
        let store = world.store();
        let threads = [1, 2].map(|n| {
            let store = store.clone();
            thread::spawn(move || {
                for n in [n, n + 10] {
                    block_on(write(&store, n)).expect("memory takes everything");
                }
            })
        });
        threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        drop(store);
        world.join();
        assert_eq!(stored(&world).len(), 4);
    });
}

/// A future that is dropped has been submitted all the same, and the next writers do not get its answer.
#[test]
fn a_writer_that_goes_takes_nothing_with_it() {
    explore(300, || {
        let world = World::new();
        let store = world.store();
        let gone = {
            let store = store.clone();
            thread::spawn(move || {
                let polled = pin!(write(&store, 1)).poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Pending));
            })
        };
        let before = block_on(write(&store, 2)).expect("memory takes everything");
        gone.join().expect("no thread panics");
        drop(store);
        world.join();
        let expected = if before.is_empty() { [2, 1] } else { [1, 2] };
        assert_eq!(stored(&world), expected);
    });
}
