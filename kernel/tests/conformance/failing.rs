//! Stores that fail on demand, below the log service.

use std::sync::{Arc, Mutex};

use fedsx_kernel::Cid;
use fedsx_kernel::activity::Body;
use fedsx_kernel::log::{
    Append, AppendError, Batch, Entry, Log, LogStore, Once, OnceValue, Place, Storage, StoreError,
    Stream, Table,
};
use fedsx_kernel::state::StateView;

use crate::provider::Provider;
use crate::rules::counted;
use crate::samples::{activity, append, outbox, publish};
use crate::service::{as_one_group, open, run};

/// What happens to the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It fails before anything is written.
    Before,
    /// It is written, and fails all the same: nobody knows.
    After,
    /// There is no room for it.
    Full,
}

/// A store over another one.
pub struct Faulty {
    inner: Arc<dyn Storage>,
    log: Arc<FaultyLog>,
}

pub struct FaultyLog {
    inner: Arc<dyn LogStore>,
    fault: Mutex<Fault>,
}

impl Faulty {
    pub fn over(inner: Arc<dyn Storage>) -> Arc<Self> {
        let log = FaultyLog { inner: inner.log(), fault: Mutex::new(Fault::None) };
        Arc::new(Self { inner, log: Arc::new(log) })
    }

    pub fn set(&self, fault: Fault) {
        *self.log.fault.lock().unwrap() = fault;
    }
}

impl FaultyLog {
    fn with_fault(&self, write: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::None => write(),
            Fault::Before => Err(StoreError::Io("injected".into())),
            Fault::Full => Err(StoreError::Full("injected".into())),
            Fault::After => {
                write()?;
                Err(StoreError::Io("injected".into()))
            }
        }
    }
}

impl Storage for Faulty {
    fn log(&self) -> Arc<dyn LogStore> {
        self.log.clone()
    }

    fn projections(&self) -> Arc<dyn Table> {
        self.inner.projections()
    }

    fn ledgers(&self) -> Arc<dyn Table> {
        self.inner.ledgers()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.log.with_fault(|| self.inner.sync())
    }
}

impl LogStore for FaultyLog {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        self.with_fault(|| self.inner.append(batch))
    }

    fn head(&self) -> Result<u64, StoreError> {
        self.inner.head()
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.read(after, limit)
    }

    fn read_stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.inner.read_stream(stream, from, limit)
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        self.inner.stream_len(stream)
    }

    fn streams(&self) -> Result<Vec<(Stream, u64)>, StoreError> {
        self.inner.streams()
    }

    fn position(&self, stream: &Stream, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.inner.position(stream, cid)
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.inner.first_entry(cid)
    }

    fn body(&self, cid: &Cid) -> Result<Option<Body>, StoreError> {
        self.inner.body(cid)
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>, StoreError> {
        self.inner.by_id(id)
    }

    fn once(&self, key: &str) -> Result<Option<OnceValue>, StoreError> {
        self.inner.once(key)
    }

    fn state(&self) -> &dyn StateView {
        self.inner.state()
    }
}

fn said(error: &AppendError) -> bool {
    error.to_string().contains("injected")
}

/// Writes are refused, with the reason; reads go on.
async fn is_poisoned(log: &Log, acknowledged: u64) {
    for seq in 0..3 {
        let refused = log.append(publish("carol", seq, &[])).await;
        let error = refused.expect_err("a poisoned store takes nothing");
        assert!(matches!(error, AppendError::Store(StoreError::Poisoned(_))), "{error}");
        assert!(said(&error), "{error}");
    }
    assert!(matches!(log.sync().await, Err(StoreError::Poisoned(why)) if why.contains("injected")));
    assert_eq!(log.head(), acknowledged);
    let read = usize::try_from(acknowledged).unwrap();
    assert_eq!(log.records(0, read).unwrap().len(), read);
    assert!(log.stream(&outbox("alice"), 0, 1).unwrap().len() == 1);
}

/// Appends some, then some more that fail; gives what stands after a restart.
async fn failing<P: Provider>(fault: Fault) -> (Log, P) {
    let provider = P::open();
    let storage = Faulty::over(provider.storage());
    let log = open(storage.clone());
    for seq in 0..5 {
        log.append(publish("alice", seq, &["bob"])).await.unwrap();
    }
    storage.set(fault);
    let pending: Vec<_> =
        (5..9).map(|seq| log.enqueue(publish("alice", seq, &["bob"])).unwrap()).collect();
    for one in pending {
        let error = one.committed().await.expect_err("it failed");
        assert!(said(&error), "{error}");
    }
    // A fault that passes changes nothing.
    storage.set(Fault::None);
    is_poisoned(&log, 10).await;
    log.close().await;
    drop((log, storage));
    let provider = provider.reopen();
    (open(provider.storage()), provider)
}

pub fn a_failing_append_poisons<P: Provider>() {
    run(async {
        let (log, _provider) = failing::<P>(Fault::Before).await;
        assert_eq!(log.head(), 10, "exactly what was acknowledged");
        assert_eq!(counted(log.state()), 5);
        log.append(publish("alice", 5, &["bob"])).await.unwrap();
    });
}

/// What was acknowledged is there, and of the rest whole batches only.
pub fn an_unclear_append_poisons<P: Provider>() {
    run(async {
        let (log, _provider) = failing::<P>(Fault::After).await;
        let head = log.head();
        assert!((10..=18).contains(&head) && head % 2 == 0, "{head}");
        let bodies = head / 2;
        assert_eq!(counted(log.state()), bodies);
        assert_eq!(log.records(0, 99).unwrap().len() as u64, head);
        assert_eq!(log.stream(&outbox("alice"), 0, 99).unwrap().len() as u64, bodies);
        log.append(publish("alice", bodies, &["bob"])).await.unwrap();
    });
}

pub fn a_failing_sync_poisons<P: Provider>() {
    run(async {
        let provider = P::open();
        let storage = Faulty::over(provider.storage());
        let log = open(storage.clone());
        log.append(publish("alice", 0, &[])).await.unwrap();
        log.sync().await.unwrap();
        storage.set(Fault::Before);
        assert!(log.sync().await.is_err());
        storage.set(Fault::None);
        is_poisoned(&log, 1).await;
    });
}

pub fn a_full_store_recovers<P: Provider>() {
    run(async {
        let provider = P::open();
        let storage = Faulty::over(provider.storage());
        let log = open(storage.clone());
        log.append(publish("alice", 0, &[])).await.unwrap();
        for _ in 0..3 {
            storage.set(Fault::Full);
            let full = log.append(publish("alice", 1, &["bob"])).await;
            assert!(matches!(full, Err(AppendError::Store(StoreError::Full(_)))), "{full:?}");
            assert_eq!(log.head(), 1);
            assert_eq!(counted(log.state()), 1);
            storage.set(Fault::None);
            log.sync().await.unwrap();
        }
        log.append(publish("alice", 1, &["bob"])).await.unwrap();
        assert_eq!(log.head(), 3);
    });
}

/// Nobody is told of what did not come about: neither that a key is used, nor that a body is held.
pub fn answers_of_a_failed_group<P: Provider>() {
    run(async {
        let provider = P::open();
        let storage = Faulty::over(provider.storage());
        storage.set(Fault::Full);
        let keyed = |number: u64| -> Append {
            let mut request = append(activity("alice", number, &[]), Place::Local);
            request.once = Some(Once { key: "key".into(), fingerprint: None });
            request
        };
        let group = vec![keyed(1), keyed(2), publish("bob", 0, &[]), publish("bob", 0, &[])];
        let (log, answers) = as_one_group(storage.clone(), group).await;
        for answer in answers {
            assert!(matches!(answer, Err(AppendError::Store(StoreError::Full(_)))), "{answer:?}");
        }
        storage.set(Fault::None);
        log.append(keyed(2)).await.unwrap();
        log.append(publish("bob", 0, &[])).await.unwrap();
    });
}
