//! One key, one effect, one answer: callers of one key on several threads (F16).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use interleavings::{World, explore};
use openclaw_server::{
    idempotency::{Check, Idempotency},
    settings::Settings,
    store::{self, Store},
};
use serde_json::{Value, json};
use shuttle::{future::block_on, thread};

fn keys(world: &World) -> (Store, Arc<Idempotency>) {
    let store = world.store();
    let keys = Idempotency::new(store.clone(), world.platform().clock, Settings::new(Arc::default()));
    (store, Arc::new(keys))
}

/// A request with the key: does it when it is the first, else takes the other's answer. `refuse` says which effect is none.
async fn call(keys: &Idempotency, effects: &AtomicU32, refuse: impl Fn(u32) -> bool) -> Value {
    loop {
        match keys.check("send", "me", "key", &1, 1).expect("always the same parameters") {
            Check::New(claim) => {
                let nth = effects.fetch_add(1, Ordering::Relaxed);
                shuttle::future::yield_now().await;
                if refuse(nth) {
                    keys.release(&claim);
                    continue;
                }
                let record = claim.answered(Some(json!(nth)), None);
                keys.finish_durably(&claim, record).await.expect("memory takes everything");
                return json!(nth);
            }
            Check::InFlight(_, pending) => {
                // None: its request had no effect, the key is free again.
                if let Some(record) = pending.answer().await {
                    return record.into_parts().0.expect("a payload");
                }
            }
            Check::Done(record) => return record.into_parts().0.expect("a payload"),
        }
    }
}

fn callers(world: &World, refused: u32) -> (Vec<Value>, u32) {
    let (store, keys) = keys(world);
    let effects = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (keys, effects) = (keys.clone(), effects.clone());
            thread::spawn(move || block_on(call(&keys, &effects, |nth| nth < refused)))
        })
        .collect();
    let answers = threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
    let stored = store.read(|tx| store::keys(tx, store::DEDUPE)).expect("it can be read");
    assert_eq!(stored, ["send:me:key"], "the answer is on the disk when it is given");
    drop((store, keys));
    world.join();
    (answers, effects.load(Ordering::Relaxed))
}

#[test]
fn f16_one_of_many_callers_runs_and_all_get_its_answer() {
    explore(1000, || {
        let (answers, effects) = callers(&World::new(), 0);
        assert_eq!((answers, effects), (vec![json!(0); 3], 1));
    });
}

/// A refusal frees the key for one other caller, and nobody waits for ever.
#[test]
fn f16_a_released_key_lets_one_other_caller_go_on() {
    explore(1000, || {
        let (answers, effects) = callers(&World::new(), 1);
        assert_eq!((answers, effects), (vec![json!(1); 3], 2));
    });
}

/// The sweep takes away what is too old, and nothing that was answered just now.
#[test]
fn f16_the_sweep_takes_no_answer_that_counts() {
    explore(600, || {
        let world = World::new();
        let (store, keys) = keys(&world);
        let effects = Arc::new(AtomicU32::new(0));
        let caller = {
            let (keys, effects) = (keys.clone(), effects.clone());
            thread::spawn(move || block_on(call(&keys, &effects, |_| false)))
        };
        let sweeper = {
            let keys = keys.clone();
            thread::spawn(move || block_on(keys.sweep()).expect("memory takes everything"))
        };
        caller.join().expect("no thread panics");
        sweeper.join().expect("no thread panics");
        let stored = store.read(|tx| store::keys(tx, store::DEDUPE)).expect("it can be read");
        assert_eq!(stored, ["send:me:key"], "a restart would run it again");
        assert!(matches!(keys.check("send", "me", "key", &1, 1), Ok(Check::Done(_))));
        drop((store, keys));
        world.join();
    });
}
