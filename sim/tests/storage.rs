//! The simulated disk against a model of it, and the database on top.

// outside of the gateway: tests of the simulator
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_types, clippy::disallowed_methods)]
#![allow(clippy::naive_bytecount, clippy::duration_suboptimal_units, clippy::large_stack_arrays)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use openclaw_platform::{BlockFile, Platform, Storage as _};
use openclaw_server::schema;
use openclaw_server::store::{Store, StoreError, TRANSCRIPTS, decode, encode};
use proptest::prelude::*;
use sim::storage::{DiskFault, SimDisk, Struck};

#[test]
fn what_was_synced_survives_a_power_loss_and_a_crash_loses_nothing() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let storage = disk.mount();
        storage.write_atomic("config/a", b"whole").unwrap();
        storage.append("log", b"synced ").unwrap();
        storage.sync("log").unwrap();
        storage.append("log", b"not synced").unwrap();
        disk.crash();
        assert!(storage.read("log").is_err(), "a process that died reads nothing");
        assert!(storage.append("log", b"ghost").is_err());
        let storage = disk.mount();
        assert_eq!(storage.read("log").unwrap(), b"synced not synced");
        disk.power_loss(seed);
        let storage = disk.mount();
        assert_eq!(storage.read("config/a").unwrap(), b"whole");
        assert!(storage.read("log").unwrap().starts_with(b"synced "));
    }
}

#[test]
fn what_was_not_synced_is_sometimes_kept_lost_or_torn() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new();
        let file = disk.mount().block_file("blocks").unwrap();
        file.set_len(4096).unwrap();
        file.write(0, &[1; 4096]).unwrap();
        file.sync_data().unwrap();
        file.write(0, &[2; 4096]).unwrap();
        disk.power_loss(seed);
        let content = disk.mount().read("blocks").unwrap();
        assert!(content.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]), "sectors are whole");
        let new = content.iter().filter(|b| **b == 2).count();
        seen.insert(if new == 0 {
            "lost"
        } else if new == 4096 {
            "kept"
        } else {
            "torn"
        });
    }
    assert_eq!(seen, BTreeSet::from(["kept", "lost", "torn"]));
}

#[test]
fn faults_strike_where_they_were_set() {
    let disk = SimDisk::new();
    let storage = disk.mount();
    storage.write_atomic("a", &[0; 100]).unwrap();
    disk.fail(1, DiskFault::Full { after: 10 });
    storage.append("a", &[1; 10]).unwrap();
    assert_eq!(storage.append("a", &[1]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(storage.write_atomic("a", &[2; 111]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(storage.len("a").unwrap(), 110);
    storage.remove("a").unwrap();
    storage.write_atomic("b", &[2; 110]).unwrap();

    disk.heal(1);
    disk.fail(1, DiskFault::Error { nth: 2, times: 2, full: false });
    let results: Vec<bool> = (0..5).map(|_| storage.append("b", b"x").is_ok()).collect();
    assert_eq!(results, [true, false, false, true, true]);

    let struck = Arc::new(AtomicU32::new(0));
    let count = struck.clone();
    disk.on_crash(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    disk.fail(1, DiskFault::Crash { nth: 2 });
    storage.append("b", b"y").unwrap();
    assert!(storage.append("b", b"y").is_err() && disk.crashed());
    assert!(storage.read("b").is_err() && disk.mount().read("b").is_err(), "nobody lives until the run says so");
    assert_eq!(struck.load(Ordering::Relaxed), 1);
    disk.crash();
    assert_eq!(disk.mount().len("b").unwrap(), 110 + 4);
}

#[test]
fn faults_wait_side_by_side_for_their_operations() {
    let disk = SimDisk::new();
    disk.fail(7, DiskFault::Error { nth: 2, times: 2, full: true });
    disk.fail(8, DiskFault::Crash { nth: 4 });
    disk.fail(9, DiskFault::Crash { nth: 6 });
    let storage = disk.mount();
    let kinds: Vec<_> = (0..3).map(|_| storage.append("a", b"x").err().map(|e| e.kind())).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::StorageFull), Some(ErrorKind::StorageFull)]);
    assert_eq!(disk.struck(), [Struck::Begun(7), Struck::Over(7)]);
    assert!(storage.append("a", b"x").is_err() && disk.crashed());
    assert_eq!((disk.struck(), disk.struck()), (vec![Struck::Begun(8)], Vec::new()));
    // The next one counts on in the next life.
    disk.crash();
    let storage = disk.mount();
    storage.append("a", b"x").unwrap();
    assert!(storage.append("a", b"x").is_err());
    assert_eq!(disk.struck(), [Struck::Begun(9)]);
    disk.crash();
    disk.fail(1, DiskFault::Crash { nth: 1 });
    disk.heal(1);
    disk.mount().append("a", b"x").unwrap();
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let disk = SimDisk::new();
    let storage = disk.mount();
    storage.append("a", b"one").unwrap();
    storage.sync("a").unwrap();
    storage.append("a", b"two").unwrap();
    disk.fail(1, DiskFault::Error { nth: 1, times: 1, full: false });
    assert!(storage.sync("a").is_err());
    storage.sync("a").unwrap();
    assert_eq!(storage.read("a").unwrap(), b"onetwo");
    disk.power_loss(1);
    assert_ne!(disk.mount().read("a").unwrap(), b"onetwo");
}

/// What may be done to a disk.
#[derive(Debug, Clone)]
enum Op {
    Atomic(u8, Vec<u8>),
    Append(u8, Vec<u8>),
    Sync(u8),
    Rename(u8, u8),
    Remove(u8),
    Write(u8, u16, Vec<u8>),
    SetLen(u8, u16),
    Crash,
    PowerLoss(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..3u8;
    let data = || (any::<u8>(), 0..6000usize).prop_map(|(byte, n)| vec![byte; n]);
    prop_oneof![
        2 => (name(), data()).prop_map(|(n, d)| Op::Atomic(n, d)),
        3 => (name(), data()).prop_map(|(n, d)| Op::Append(n, d)),
        3 => name().prop_map(Op::Sync),
        1 => (name(), name()).prop_map(|(a, b)| Op::Rename(a, b)),
        1 => name().prop_map(Op::Remove),
        4 => (name(), any::<u16>(), data()).prop_map(|(n, at, d)| Op::Write(n, at % 20_000, d)),
        2 => (name(), 0..20_000u16).prop_map(|(n, len)| Op::SetLen(n, len)),
        1 => Just(Op::Crash),
        2 => any::<u64>().prop_map(Op::PowerLoss),
    ]
}

/// A file as the model knows it: what it is, and whether that is durable.
#[derive(Default)]
struct Known {
    now: Vec<u8>,
    /// Each offset's values since the last sync, the synced one first; none where the file ended.
    values: Vec<BTreeSet<Option<u8>>>,
    lens: BTreeSet<usize>,
    clean: bool,
    named: bool,
}

impl Known {
    /// Empty and new.
    fn fresh() -> Self {
        Self { lens: BTreeSet::from([0]), clean: true, ..Self::default() }
    }
    fn whole(now: Vec<u8>) -> Self {
        let mut known = Self { now, ..Self::default() };
        known.synced();
        known
    }
    fn synced(&mut self) {
        self.values = self.now.iter().map(|b| BTreeSet::from([Some(*b)])).collect();
        self.lens = BTreeSet::from([self.now.len()]);
        (self.clean, self.named) = (true, true);
    }
    fn changed(&mut self) {
        self.clean = false;
        self.lens.insert(self.now.len());
        self.values.resize(self.values.len().max(self.now.len()), BTreeSet::from([None]));
        for (at, values) in self.values.iter_mut().enumerate() {
            values.insert(self.now.get(at).copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// After every operation the disk reads as the model; after a power loss every byte is one that it has been since
    /// the last sync, and what was synced is as it was.
    #[test]
    fn the_disk_is_as_the_model(ops in proptest::collection::vec(op(), 1..40)) {
        let disk = SimDisk::new();
        let mut storage = disk.mount();
        let mut model: BTreeMap<String, Known> = BTreeMap::new();
        for op in ops {
            let file = |n: u8| format!("f{n}");
            match op {
                Op::Atomic(n, data) => {
                    storage.write_atomic(&file(n), &data).unwrap();
                    model.insert(file(n), Known::whole(data));
                }
                Op::Append(n, data) => {
                    storage.append(&file(n), &data).unwrap();
                    let known = model.entry(file(n)).or_insert_with(Known::fresh);
                    // The growth and the write can be seen apart.
                    known.now.resize(known.now.len() + data.len(), 0);
                    known.changed();
                    let at = known.now.len() - data.len();
                    known.now[at..].copy_from_slice(&data);
                    known.changed();
                }
                Op::Sync(n) => {
                    prop_assert_eq!(storage.sync(&file(n)).is_ok(), model.contains_key(&file(n)));
                    model.entry(file(n)).and_modify(Known::synced);
                }
                Op::Rename(a, b) => {
                    prop_assert_eq!(storage.rename(&file(a), &file(b)).is_ok(), model.contains_key(&file(a)));
                    if let Some(mut known) = model.remove(&file(a)) {
                        known.named = true;
                        model.insert(file(b), known);
                    }
                }
                Op::Remove(n) => {
                    prop_assert_eq!(storage.remove(&file(n)).is_ok(), model.remove(&file(n)).is_some());
                }
                Op::Write(n, at, data) => {
                    let block: BlockFile = storage.block_file(&file(n)).unwrap();
                    let known = model.entry(file(n)).or_insert_with(Known::fresh);
                    let range = at as usize..at as usize + data.len();
                    let fits = range.end <= known.now.len();
                    prop_assert_eq!(block.write(u64::from(at), &data).is_ok(), fits);
                    if fits {
                        known.now[range].copy_from_slice(&data);
                        known.changed();
                    }
                }
                Op::SetLen(n, len) => {
                    storage.block_file(&file(n)).unwrap().set_len(u64::from(len)).unwrap();
                    let known = model.entry(file(n)).or_insert_with(Known::fresh);
                    known.now.resize(len as usize, 0);
                    known.changed();
                }
                Op::Crash => {
                    disk.crash();
                    storage = disk.mount();
                }
                Op::PowerLoss(seed) => {
                    disk.power_loss(seed);
                    prop_assert!(storage.read("f0").is_err());
                    storage = disk.mount();
                    for (name, known) in std::mem::take(&mut model) {
                        let Ok(now) = storage.read(&name) else {
                            prop_assert!(!known.named, "{name} is gone");
                            continue;
                        };
                        if known.clean {
                            prop_assert_eq!(&now, &known.now, "{} was synced", name);
                        }
                        prop_assert!(known.lens.contains(&now.len()));
                        for (at, byte) in now.iter().enumerate() {
                            let was = &known.values[at];
                            // Where the file ended, growth reads as zero.
                            prop_assert!(was.contains(&Some(*byte)) || *byte == 0 && was.contains(&None), "{name} {at}");
                        }
                        model.insert(name, Known::whole(now));
                    }
                }
            }
            let names: Vec<String> = model.keys().cloned().collect();
            prop_assert_eq!(storage.list("").unwrap(), names);
            for (name, known) in &model {
                prop_assert_eq!(&storage.read(name).unwrap(), &known.now);
            }
        }
    }
}

/// Opens the gateway's database.
fn open(disk: &SimDisk) -> Result<Store, StoreError> {
    schema::open(&Platform { storage: Arc::new(disk.mount()), ..sim::platform(1) })
}

/// Large enough to need new pages and, later, a larger file.
fn value(n: u64) -> Vec<u8> {
    vec![n as u8; 9000]
}

/// Runs what needs the gateway's tasks, in virtual time.
fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

async fn insert(store: &Store, n: u64) -> Result<(), StoreError> {
    let insert = move |tx: &redb::WriteTransaction| {
        tx.open_table(TRANSCRIPTS)?.insert(("s", n), value(n).as_slice())?;
        Ok(())
    };
    store.write(insert).await
}

/// Writes commits until the disk fails; gives the number of acknowledged ones.
fn commits(disk: &SimDisk, from: u64, to: u64) -> u64 {
    in_time(async {
        let Ok(store) = open(disk) else { return from };
        for n in from..to {
            if insert(&store, n).await.is_err() {
                return n;
            }
        }
        to
    })
}

fn found(disk: &SimDisk) -> Vec<u64> {
    rows(&open(disk).expect("the database opens after a power loss"))
}

fn rows(store: &Store) -> Vec<u64> {
    let rows = store.read(|tx| {
        let mut found = Vec::new();
        for row in tx.open_table(TRANSCRIPTS)?.range(("s", 0)..)? {
            let (key, bytes) = row?;
            assert_eq!(bytes.value(), value(key.value().1));
            found.push(key.value().1);
        }
        Ok(found)
    });
    rows.unwrap()
}

#[test]
fn f18_a_power_loss_at_any_operation_loses_no_acknowledged_commit() {
    const COMMITS: u64 = 4;
    let whole = SimDisk::new();
    assert_eq!(commits(&whole, 0, COMMITS), COMMITS);
    let operations = whole.operations();
    assert!(operations > 30, "{operations}");
    for nth in 1..=operations {
        for seed in 0..3 {
            let disk = SimDisk::new();
            disk.fail(1, DiskFault::Crash { nth });
            let acknowledged = commits(&disk, 0, COMMITS);
            assert!(disk.crashed() || acknowledged == COMMITS);
            if seed == 0 {
                disk.crash();
            } else {
                disk.power_loss(nth * 1000 + seed);
            }
            let found = found(&disk);
            // The one under way may have come through without anybody being told.
            let at_most = (acknowledged + 1).min(COMMITS);
            assert!(
                found == (0..acknowledged).collect::<Vec<_>>() || found == (0..at_most).collect::<Vec<_>>(),
                "operation {nth}, seed {seed}: {acknowledged} acknowledged, found {found:?}"
            );
            let next = found.len() as u64;
            assert_eq!(commits(&disk, next, next + 2), next + 2, "it can be written again");
        }
    }
}

#[test]
fn a_full_disk_fails_commits_and_keeps_the_old_ones() {
    let disk = SimDisk::new();
    assert_eq!(commits(&disk, 0, 3), 3);
    disk.fail(1, DiskFault::Full { after: 0 });
    let acknowledged = commits(&disk, 3, 2000);
    assert!((3..2000).contains(&acknowledged), "{acknowledged}");
    disk.heal(1);
    assert_eq!(found(&disk), (0..acknowledged).collect::<Vec<_>>());
}

/// Every writer whose write failed is told so, nothing acknowledged is lost, what was read before is still read, and writes
/// are taken again without a restart as soon as the disk does: whichever operation failed, and if the power fails then.
#[test]
fn f18_an_io_error_at_any_operation_is_told_and_healed() {
    const COMMITS: u64 = 4;
    let whole = SimDisk::new();
    assert_eq!(commits(&whole, 0, 1), 1);
    let before = whole.operations();
    commits(&whole, 1, COMMITS);
    for nth in 1..=whole.operations() - before {
        let disk = SimDisk::new();
        assert_eq!(commits(&disk, 0, 1), 1);
        let mut told = BTreeSet::from([0]);
        in_time(async {
            let store = open(&disk).unwrap();
            disk.fail(1, DiskFault::Error { nth, times: 1, full: false });
            for n in 1..COMMITS + 4 {
                if insert(&store, n).await.is_ok() {
                    told.insert(n);
                } else {
                    assert!(
                        matches!(insert(&store, n).await, Err(StoreError::Unavailable(_))),
                        "no pause after a failure"
                    );
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                }
                let read: BTreeSet<u64> = rows(&store).into_iter().collect();
                assert_eq!(read, told, "operation {nth}");
            }
            assert!(store.trouble().is_none());
        });
        assert!(told.len() as u64 >= COMMITS + 2, "operation {nth}: {told:?}");
        disk.power_loss(nth);
        assert_eq!(found(&disk), told.into_iter().collect::<Vec<_>>(), "operation {nth}");
    }
}

/// A disk that goes on failing while the database is opened again: whoever wrote hears what became of it, and no memory is
/// changed by what was not written, nor left as it was by what was.
#[test]
fn f18_a_commit_whose_fate_cannot_be_read_is_told_when_it_can() {
    const COMMITS: u64 = 3;
    let whole = SimDisk::new();
    assert_eq!(commits(&whole, 0, 1), 1);
    let before = whole.operations();
    commits(&whole, 1, COMMITS);
    let mut waited = 0;
    for (nth, times) in (1..=whole.operations() - before).flat_map(|nth| [(nth, 2), (nth, 3), (nth, 5)]) {
        let disk = SimDisk::new();
        assert_eq!(commits(&disk, 0, 1), 1);
        let mut told = BTreeSet::from([0]);
        let memory = Arc::new(std::sync::Mutex::new(BTreeSet::from([0])));
        in_time(async {
            let store = open(&disk).unwrap();
            disk.fail(1, DiskFault::Error { nth, times, full: false });
            for n in 1..COMMITS + 8 {
                let (known, began) = (memory.clone(), tokio::time::Instant::now());
                let insert = move |tx: &redb::WriteTransaction| {
                    tx.open_table(TRANSCRIPTS)?.insert(("s", n), value(n).as_slice())?;
                    Ok(())
                };
                let then = move |(): &()| {
                    known.lock().unwrap().insert(n);
                };
                if store.write_then(insert, then).await.is_ok() {
                    told.insert(n);
                    waited += usize::from(began.elapsed() > std::time::Duration::from_millis(500));
                } else {
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                }
            }
            assert!(store.trouble().is_none(), "operation {nth}, {times} times");
            let read: BTreeSet<u64> = rows(&store).into_iter().collect();
            assert_eq!(read, told, "operation {nth}, {times} times");
            assert_eq!(*memory.lock().unwrap(), told, "operation {nth}, {times} times");
        });
        disk.power_loss(nth);
        assert_eq!(found(&disk), told.into_iter().collect::<Vec<_>>(), "operation {nth}, {times} times");
    }
    assert!(waited > 0, "no write came through whose writer had to wait for that");
}

/// A disk that failed for so long that the database could not be opened again: once it is well, who only reads is answered, since
/// most of what writes reads first.
#[test]
fn f18_who_only_reads_is_answered_again_once_the_disk_is_well() {
    let whole = SimDisk::new();
    assert_eq!(commits(&whole, 0, 1), 1);
    let before = whole.operations();
    commits(&whole, 1, 2);
    let mut closed = 0;
    for nth in 1..=whole.operations() - before {
        let disk = SimDisk::new();
        assert_eq!(commits(&disk, 0, 1), 1);
        in_time(async {
            let store = open(&disk).unwrap();
            disk.fail(1, DiskFault::Error { nth, times: 1000, full: false });
            if insert(&store, 1).await.is_ok() {
                return;
            }
            let read = || store.read(|tx| Ok(tx.open_table(TRANSCRIPTS)?.get(("s", 0))?.is_some()));
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            closed += usize::from(matches!(read(), Err(StoreError::Unavailable(_))));
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            disk.heal(1);
            for _ in 0..3 {
                // What is told in between is of no matter.
                let _ = read();
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            assert!(read().unwrap(), "operation {nth}");
            insert(&store, 2).await.unwrap();
            assert!(store.trouble().is_none(), "operation {nth}");
        });
    }
    assert!(closed > 0, "the database was open all the time");
}

/// A full disk refuses writes, keeps reads, and takes writes again without a restart once there is room.
#[test]
fn f18_a_full_disk_refuses_until_there_is_room() {
    let disk = SimDisk::new();
    assert_eq!(commits(&disk, 0, 3), 3);
    in_time(async {
        let store = open(&disk).unwrap();
        disk.fail(1, DiskFault::Full { after: 0 });
        let mut n = 3;
        while insert(&store, n).await.is_ok() {
            n += 1;
        }
        assert!(store.trouble().is_some());
        for _ in 0..5 {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            assert!(matches!(insert(&store, n).await, Err(StoreError::Unavailable(_))));
            assert_eq!(rows(&store), (0..n).collect::<Vec<_>>());
        }
        disk.heal(1);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        insert(&store, n).await.unwrap();
        assert!(store.trouble().is_none());
        assert_eq!(rows(&store), (0..=n).collect::<Vec<_>>());
    });
}

/// A write or a sync that is answered well and lost is seen at the next power loss and not before.
#[test]
fn a_lost_write_shows_at_the_next_power_loss() {
    let disk = SimDisk::new();
    let storage = disk.mount();
    let file = storage.block_file("blocks").unwrap();
    file.set_len(8192).unwrap();
    file.sync_data().unwrap();
    storage.write_atomic("a", b"old").unwrap();
    disk.fail(1, DiskFault::Lost { nth: 2, times: 1 });
    disk.fail(2, DiskFault::Lost { nth: 6, times: 2 });
    file.write(0, &[1; 10]).unwrap();
    file.write(4096, &[2; 10]).unwrap();
    file.sync_data().unwrap();
    file.write(100, &[3; 10]).unwrap();
    file.sync_data().unwrap();
    storage.write_atomic("a", b"new").unwrap();
    file.write(200, &[4; 10]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.struck(), [Struck::Begun(1), Struck::Over(1), Struck::Begun(2), Struck::Over(2)]);
    assert_eq!(storage.read("a").unwrap(), b"new");
    assert_eq!(storage.read("blocks").unwrap()[4096], 2, "the cache has it");
    disk.power_loss(1);
    let storage = disk.mount();
    let blocks = storage.read("blocks").unwrap();
    assert_eq!((blocks[0], blocks[100], blocks[200], blocks[4096]), (1, 3, 0, 0));
    assert_eq!(storage.read("a").unwrap(), b"old");
}

#[test]
fn a_bit_flips_once_and_stays() {
    let disk = SimDisk::new();
    assert!(!disk.flip("a", 1), "no such file");
    disk.mount().write_atomic("a", &[0; 1000]).unwrap();
    assert!(disk.flip("a", 1));
    let ones = |bytes: Vec<u8>| bytes.iter().map(|b| b.count_ones()).sum::<u32>();
    assert_eq!(ones(disk.mount().read("a").unwrap()), 1);
    disk.power_loss(1);
    assert_eq!(ones(disk.mount().read("a").unwrap()), 1);
}

/// What a disk that lies did to what the database holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lies {
    /// The start refused the file and named it.
    refused: u32,
    /// A read or a write failed.
    failed: u32,
    /// Everything that was acknowledged is there.
    whole: u32,
    /// All rows that are there are right, and some of the last ones are missing.
    short: u32,
    /// A row was served that is not what was written.
    wrong: u32,
    /// redb panicked.
    panicked: u32,
}

impl Lies {
    fn judge(&mut self, disk: &SimDisk, acknowledged: u64) {
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let store = match open(disk) {
                Ok(store) => store,
                Err(error) => return (true, Err(error)),
            };
            let read = store.read(|tx| {
                let mut rows = Vec::new();
                for row in tx.open_table(TRANSCRIPTS)?.range(("", 0)..)? {
                    let (key, text) = row?;
                    rows.push((key.value().1, text.value().to_vec()));
                }
                Ok(rows)
            });
            (false, read)
        }));
        let counter = match looked {
            Err(_) => &mut self.panicked,
            Ok((true, Err(error))) => {
                assert!(error.to_string().contains("gateway.redb"), "{error}");
                &mut self.refused
            }
            Ok((_, Err(_))) => &mut self.failed,
            Ok((_, Ok(rows))) => {
                let right = rows.iter().enumerate().all(|(at, (n, text))| *n == at as u64 && *text == value(*n));
                match (right, rows.len() as u64 >= acknowledged) {
                    (false, _) => &mut self.wrong,
                    (true, true) => &mut self.whole,
                    (true, false) => &mut self.short,
                }
            }
        };
        *counter += 1;
    }
}

/// Whatever a disk did to the database while no process had it open: it is found before anything is served.
#[test]
fn f18_what_a_disk_changed_or_lost_is_named_and_never_served() {
    let (mut closed, mut killed, mut lost) = (Lies::default(), Lies::default(), Lies::default());
    for seed in 0..100 {
        let disk = SimDisk::new();
        let acknowledged = commits(&disk, 0, 12);
        disk.crash();
        disk.flip("gateway.redb", seed);
        closed.judge(&disk, acknowledged);

        let disk = SimDisk::new();
        disk.fail(1, DiskFault::Crash { nth: 100 + seed });
        let acknowledged = commits(&disk, 0, 12);
        disk.power_loss(seed);
        disk.flip("gateway.redb", seed);
        killed.judge(&disk, acknowledged);

        let disk = SimDisk::new();
        commits(&disk, 0, 4);
        disk.fail(1, DiskFault::Lost { nth: seed % 50 + 1, times: 1 });
        let acknowledged = commits(&disk, 4, 12);
        disk.power_loss(seed);
        lost.judge(&disk, acknowledged);
    }
    eprintln!("closed {closed:?}\nkilled {killed:?}\nlost {lost:?}");
    for lies in [closed, killed, lost] {
        assert!(lies.refused > 10 && lies.whole > 10, "{lies:?}");
        assert_eq!((lies.wrong, lies.panicked), (0, 0), "{lies:?}");
    }
}

/// What is said at a position of the transcript "s".
fn said(n: u64) -> String {
    format!("{n:04} ").repeat(1800)
}

/// Says so many things; the database is then larger than what is kept of it in memory.
async fn talked(disk: &SimDisk, lines: u64) -> Store {
    let store = open(disk).unwrap();
    let write = move |tx: &redb::WriteTransaction| {
        let mut table = tx.open_table(TRANSCRIPTS)?;
        for n in 0..lines {
            table.insert(("s", n), encode(&TRANSCRIPTS, ("s", n), &said(n))?.as_slice())?;
        }
        Ok(())
    };
    store.write(write).await.unwrap();
    store
}

/// One line, read from the disk unless its page is in memory.
fn line(store: &Store, n: u64) -> Result<Option<String>, StoreError> {
    store.read(|tx| {
        let row = tx.open_table(TRANSCRIPTS)?.get(("s", n))?;
        row.map(|line| decode(&TRANSCRIPTS, ("s", n), line.value())).transpose()
    })
}

/// Whatever changes below a running gateway: a record is served as it was written, or named as damaged, and never anything
/// else; the others are served as before.
#[test]
fn f18_a_bit_that_changes_under_a_running_gateway_is_named_and_never_served() {
    const LINES: u64 = 700;
    let (mut named, mut failed, mut panicked) = (0, 0, 0);
    for seed in 0..3 {
        in_time(async {
            let disk = SimDisk::new();
            let store = talked(&disk, LINES).await;
            for round in 0..2 {
                for flip in 0..12 {
                    assert!(disk.flip("gateway.redb", seed * 100 + round * 12 + flip));
                }
                for n in 0..LINES {
                    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| line(&store, n)));
                    match read {
                        Ok(Ok(served)) => assert_eq!(served, Some(said(n)), "seed {seed}, round {round}"),
                        Ok(Err(StoreError::Damaged(why))) => {
                            assert!(why.contains(&format!("record s at {n} in the table transcripts")), "{why}");
                            named += 1;
                        }
                        // The structure of a page: redb names it, and the process ends by its panic or goes on without it.
                        Ok(Err(_)) => failed += 1,
                        Err(_) => panicked += 1,
                    }
                }
            }
        });
    }
    eprintln!("named {named}, failed {failed}, panicked {panicked}");
    assert!(named > 20 && failed + panicked < named, "named {named}, failed {failed}, panicked {panicked}");
}
