use openclaw_platform::MemoryStorage;
use redb::ReadableTable as _;

use super::*;

/// Some numbers.
pub const NUMBERS: Records = TableDefinition::new("numbers");
/// Some words.
pub const WORDS: Records = TableDefinition::new("words");
/// Some lines.
pub const LINES: Lines = TableDefinition::new("lines");
/// What a program keeps: the second version is the first one that is sealed.
pub static SCHEMA: Schema = Schema { steps: &[made, seal_all], sealed: 2 };
/// Its first version.
static FIRST: Schema = Schema { steps: &[made], sealed: 2 };
/// A program to come.
static NEWER: Schema = Schema { steps: &[made as Step; 99], sealed: 2 };

fn made(tx: &WriteTransaction) -> Result<(), StoreError> {
    tx.open_table(LINES)?;
    for table in [NUMBERS, WORDS] {
        tx.open_table(table)?;
    }
    Ok(())
}

fn platform() -> Platform {
    let mut platform = openclaw_platform::os::without_files();
    platform.storage = Arc::new(MemoryStorage::new());
    platform
}

fn numbers(store: &Store) -> Vec<i64> {
    store.read(|tx| all::<i64>(tx, NUMBERS)).unwrap().into_iter().map(|(_, n)| n).collect()
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let platform = platform();
    let store = Store::open(&platform, &SCHEMA).unwrap();
    store.write(|tx| put(&mut tx.open_table(NUMBERS)?, "a", &7)).await.unwrap();
    drop(store);
    let store = Store::open(&platform, &SCHEMA).unwrap();
    assert_eq!(numbers(&store), [7]);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing() {
    let store = Store::open(&platform(), &SCHEMA).unwrap();
    let result: Result<(), _> = store
        .write(|tx| {
            put(&mut tx.open_table(NUMBERS)?, "a", &7)?;
            Err(StoreError::Closing)
        })
        .await;
    assert!(result.is_err());
    assert_eq!(numbers(&store), [0; 0]);
}

/// Writers that come together share a transaction, in their order; one that fails does not spoil the others, and each
/// gets its own answer.
#[tokio::test]
async fn writes_share_a_transaction_and_a_failing_one_stands_alone() {
    let store = Store::open(&platform(), &SCHEMA).unwrap();
    let write = |n: i64| {
        store.write(move |tx| {
            let mut table = tx.open_table(NUMBERS)?;
            let last = all_of(&table)?;
            put(&mut table, &format!("{n:03}"), &n)?;
            if n == 5 { Err(StoreError::Open("five".into())) } else { Ok(last) }
        })
    };
    let all = futures_util::future::join_all((0..10).map(write)).await;
    for (n, answer) in (0..).zip(all) {
        match answer {
            Err(StoreError::Open(five)) => assert_eq!((n, five.as_str()), (5, "five")),
            answer => assert_eq!(answer.unwrap(), (0..n).filter(|n| *n != 5).collect::<Vec<i64>>()),
        }
    }
    assert_eq!(numbers(&store), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    let (before, _) = store.commits();
    futures_util::future::join_all((10..30).map(write)).await;
    let (after, writes) = store.commits();
    assert_eq!((after - before, writes), (1, 29), "twenty writes are one transaction");
}

fn all_of(table: &redb::Table<'_, &'static str, &'static [u8]>) -> Result<Vec<i64>, StoreError> {
    let mut out = vec![];
    for row in table.iter()? {
        let (key, value) = row?;
        out.push(decode(table, key.value(), value.value())?);
    }
    Ok(out)
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let platform = platform();
    drop(Store::open(&platform, &NEWER).unwrap());
    for _ in 0..2 {
        let Err(error) = Store::open(&platform, &SCHEMA) else { panic!("opened") };
        assert!(error.to_string().contains("schema 99, this program knows"), "{error}");
    }
}

/// What an earlier version wrote is not sealed before its pages are compared: a changed bit would be right ever after.
#[tokio::test]
async fn f18_a_damaged_database_of_an_earlier_version_is_not_sealed() {
    let platform = platform();
    let mut db = database(&*platform.storage, FILE, &Arc::default()).unwrap();
    FIRST.migrate(&mut db).unwrap();
    let tx = db.begin_write().unwrap();
    let said = format!("\"{}\"", "said ".repeat(40 << 10));
    for n in 0..200 {
        tx.open_table(LINES).unwrap().insert(("s", n), said.as_bytes()).unwrap();
    }
    tx.commit().unwrap();
    drop(db);
    let mut bytes = platform.storage.read(FILE).unwrap();
    assert!(bytes.len() as u64 > COMPARED_AT_START, "{}", bytes.len());
    // Here and there in what was said: some of it lies in pages that nothing refers to any more.
    for at in (1 << 20..bytes.len() - 10).step_by(1 << 20) {
        if let Some(from) = bytes[at..].windows(10).position(|part| part == b"said said ") {
            bytes[at + from] ^= 1;
        }
    }
    platform.storage.write_atomic(FILE, &bytes).unwrap();
    let Err(error) = Store::open(&platform, &SCHEMA) else { panic!("opened") };
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
}

/// A database that is removed or replaced while it is open takes no more writes, nothing is made in its place, and it
/// goes on when it is back (S35).
#[tokio::test]
async fn s35_a_removed_database_takes_no_writes_until_it_is_back() {
    let platform = platform();
    let storage = &*platform.storage;
    let store = Store::open(&platform, &SCHEMA).unwrap();
    let write = |n: i64| store.write(move |tx| put(&mut tx.open_table(NUMBERS)?, &n.to_string(), &n));
    write(1).await.unwrap();
    storage.rename(FILE, "moved").unwrap();
    // Noticed by a look although nobody writes.
    store.look();
    assert!(store.trouble().unwrap().0.contains("was removed"));
    assert!(matches!(write(2).await, Err(StoreError::Unavailable(_))));
    assert_eq!(storage.len(FILE).unwrap_err().kind(), ErrorKind::NotFound, "nothing is made in its place");
    storage.write_atomic(FILE, b"another").unwrap();
    assert!(matches!(write(3).await, Err(StoreError::Unavailable(why)) if why.contains("another file")));
    storage.rename("moved", FILE).unwrap();
    store.look();
    assert!(store.trouble().is_none());
    write(4).await.unwrap();
    assert_eq!(numbers(&store), [1, 4]);
    storage.write_atomic(FILE, b"").unwrap();
    assert!(matches!(write(5).await, Err(StoreError::Unavailable(why)) if why.contains("was emptied")));
}

/// A large database that was closed in good order and damaged afterwards: redb may panic over it, and that ends the process.
/// The start after that one names the damage instead, and one that is put in its place starts as ever.
#[tokio::test]
async fn f18_the_start_after_one_that_panicked_names_the_damage() {
    let platform = platform();
    let storage = &*platform.storage;
    let mut db = database(storage, FILE, &Arc::default()).unwrap();
    SCHEMA.migrate(&mut db).unwrap();
    let tx = db.begin_write().unwrap();
    let said = "said ".repeat(40 << 10);
    for key in (0..200).map(|n| ("s", n)) {
        let line = encode(&LINES, key, &said).unwrap();
        tx.open_table(LINES).unwrap().insert(key, line.as_slice()).unwrap();
    }
    tx.commit().unwrap();
    drop(db);
    let whole = storage.read(FILE).unwrap();
    assert!(whole.len() as u64 > COMPARED_AT_START, "{}", whole.len());
    let start = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Store::open(&platform, &SCHEMA).map(drop)));
    let mut panicked = 0;
    // The kind of every page; what every page holds.
    for (from, to) in [(0, 1), (2, 64), (64, 4096)] {
        let mut bytes = whole.clone();
        bytes.chunks_mut(4096).skip(1).for_each(|page| page[from..to].iter_mut().for_each(|b| *b ^= 0x5a));
        storage.write_atomic(FILE, &bytes).unwrap();
        if start().is_err() {
            panicked += 1;
            assert!(storage.len(OPENING).is_ok());
            for _ in 0..2 {
                let error = start().expect("it does not panic again").unwrap_err().to_string();
                assert!(error.contains("damaged") && error.contains("openclaw backup restore"), "{error}");
            }
        }
        storage.write_atomic(FILE, &whole).unwrap();
        start().unwrap().unwrap();
        assert!(storage.len(OPENING).is_err());
    }
    assert!(panicked > 0, "redb names all of it: the mark is of no use any more");
}

/// What is no database is named as damaged, with the way out, and is not written over (F18).
#[tokio::test]
async fn f18_a_damaged_file_is_named_and_left_alone() {
    let platform = platform();
    drop(Store::open(&platform, &SCHEMA).unwrap());
    let mut bytes = platform.storage.read(FILE).unwrap();
    bytes[..4096].fill(0x5a);
    platform.storage.write_atomic(FILE, &bytes).unwrap();
    let Err(error) = Store::open(&platform, &SCHEMA) else { panic!("opened") };
    let text = error.to_string();
    for part in [FILE, "damaged", "openclaw backup restore", "openclaw backup list"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(bytes == platform.storage.read(FILE).unwrap());
}
