//! The embedded default: sled.
//!
//! One tree holds the log, one the projections, one the ledgers. Keys of the log tree start with
//! a byte that says what they hold:
//!
//! | key | value |
//! |---|---|
//! | `e` global_seq | entry (CBOR) |
//! | `s` stream `\0` stream_seq | global_seq |
//! | `n` stream | length of the stream |
//! | `u` stream `\0` hash | stream_seq |
//! | `f` hash | global_seq of the first entry |
//! | `b` hash chunk | a piece of the body (CBOR), at most 64 KiB |
//! | `i` blake3 of a foreign id | hash |
//! | `o` blake3 of a once key | once value (CBOR) |
//! | `a` key | admission state (DAG-CBOR) |
//!
//! sled keeps values over about 128 KiB in files of their own which it never syncs; the pieces
//! keep us below. Its `flush` does not sync the device either, so [`SledStorage::sync`] does,
//! on the database file itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::entry::{Entry, Stream};
use super::head::{Head, HeadError, HeadFile};
use super::memory::check_continues;
use super::snapshot::{BackupError, Copied, Gate, Part, Progress, Tracked};
use super::store::{Batch, LogStore, OnceValue, Pairs, Storage, StoreError, Table, TableWrite};
use crate::activity::Body;
use crate::cid::Cid;
use crate::state::{StateError, StateView};

/// The format of the data directory that this code reads and writes.
pub const FORMAT: u32 = 1;
/// Largest piece of a body, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// Page cache of sled, in bytes.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Why a data directory could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("{0} is in use by another process; stop it first (a running `fedsx serve`?)")]
    InUse(PathBuf),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The failure.
        source: io::Error,
    },
    /// It was written by a version that this one does not know.
    #[error("{path} has format {found:?}; this version of fedsx reads format {FORMAT}")]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// sled cannot read its files.
    #[error("the database in {path} is damaged: {reason}; restore a backup")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What sled says.
        reason: String,
    },
    /// The log ends before what was noted as durable.
    #[error(
        "the log in {path} ends at {found}, but {noted} entries were durable: it was cut back; restore a backup"
    )]
    CutBack {
        /// The directory.
        path: PathBuf,
        /// Where the log ends.
        found: u64,
        /// Where it ended once.
        noted: u64,
    },
    /// The head file cannot be used.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Reading the log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Storage in a directory, through sled.
pub struct SledStorage {
    db: sled::Db,
    file: Arc<File>,
    gate: Arc<Gate>,
    log: Arc<SledLog>,
    projections: Arc<SledTable>,
    ledgers: Arc<SledTable>,
}

impl SledStorage {
    /// Opens the store in a data directory, or makes it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let io_at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(directory).map_err(io_at(directory))?;
        let path = directory.join("store");
        check_format(directory, &path)?;
        let db = sled::Config::new()
            .path(&path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|e| open_error(&path, &e))?;
        let file_path = path.join("db");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&file_path)
            .map_err(io_at(&file_path))?;
        let tree = |name: &str| db.open_tree(name).map_err(|e| open_error(&path, &e));
        let (log, projections, ledgers) = (tree("log")?, tree("projections")?, tree("ledgers")?);
        let file = Arc::new(file);
        let gate = Arc::new(Gate::default());
        let tracked = |tree: sled::Tree, part: Part| Tracked::new(tree, part, gate.clone());
        let storage = Self {
            log: Arc::new(SledLog {
                state: SledState(log.clone()),
                tree: tracked(log, Part::Log),
                db: db.clone(),
                file: file.clone(),
            }),
            projections: Arc::new(SledTable(tracked(projections, Part::Projections))),
            ledgers: Arc::new(SledTable(tracked(ledgers, Part::Ledgers))),
            db,
            file,
            gate,
        };
        storage.check_head(directory)?;
        Ok(storage)
    }

    /// See [`Storage::backup`].
    fn copy_into(
        &self,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Head>, BackupError> {
        if fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(BackupError::NotEmpty(directory.to_owned()));
        }
        let target = Self::open(directory)?;
        let snapshot = self.gate.begin()?;
        // An entry has five keys, where its body is new, and changes some state.
        let expected = self.log.head()?.saturating_mul(6);
        let mut copied = Copied { keys: 0, expected };
        for (from, to) in [(&self.log.tree, &target.log.tree), (&self.ledgers.0, &target.ledgers.0)]
        {
            while let Some(page) = snapshot.page(from)? {
                copied.keys += page.len() as u64;
                copied.expected = copied.expected.max(copied.keys);
                let writes = page.into_iter().map(|(key, value)| (key, Some(value))).collect();
                to.apply(writes).map_err(store_error)?;
                if progress(copied).is_break() {
                    return Err(BackupError::Stopped);
                }
            }
        }
        drop(snapshot);
        target.sync()?;
        let last = target.log.head()?;
        let head = target.log.read(last.saturating_sub(1), 1)?.pop();
        let head = head.map(|entry| Head { global_seq: entry.global_seq, root: entry.cid });
        if let Some(head) = &head {
            HeadFile::new(directory).write(head)?;
        }
        for place in [directory.join("store"), directory.to_owned()] {
            File::open(place).and_then(|place| place.sync_all()).map_err(io_error)?;
        }
        Ok(head)
    }

    fn check_head(&self, directory: &Path) -> Result<(), OpenError> {
        let Some(Head { global_seq: noted, root }) = HeadFile::new(directory).read()? else {
            return Ok(());
        };
        let found = self.log.head()?;
        let at_noted = self.log.read(noted.saturating_sub(1), 1)?;
        let same = at_noted.first().is_some_and(|entry| entry.cid == root);
        if found < noted || !same {
            return Err(OpenError::CutBack { path: directory.to_owned(), found, noted });
        }
        Ok(())
    }
}

impl Storage for SledStorage {
    fn log(&self) -> Arc<dyn LogStore> {
        self.log.clone()
    }

    fn projections(&self) -> Arc<dyn Table> {
        self.projections.clone()
    }

    fn ledgers(&self) -> Arc<dyn Table> {
        self.ledgers.clone()
    }

    fn sync(&self) -> Result<(), StoreError> {
        sync(&self.db, &self.file)
    }

    fn backup(
        &self,
        directory: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Head>, BackupError> {
        self.copy_into(directory, progress)
    }
}

fn check_format(directory: &Path, store: &Path) -> Result<(), OpenError> {
    let path = directory.join("format");
    let fail = |source| OpenError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == FORMAT.to_string() => Ok(()),
        Ok(text) => Err(OpenError::Format {
            path: directory.to_owned(),
            found: text.trim().chars().take(32).collect(),
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !store.exists() => {
            let mut file = File::create(&path).map_err(fail)?;
            writeln!(file, "{FORMAT}").map_err(fail)?;
            file.sync_all().map_err(fail)?;
            File::open(directory).and_then(|d| d.sync_all()).map_err(fail)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Format { path: directory.to_owned(), found: "no format file".into() })
        }
        Err(e) => Err(fail(e)),
    }
}

fn open_error(path: &Path, error: &sled::Error) -> OpenError {
    match error {
        sled::Error::Io(e) if e.kind() == io::ErrorKind::WouldBlock => {
            OpenError::InUse(path.to_owned())
        }
        // sled wraps the failed lock into an error of kind `Other`.
        sled::Error::Io(e) if e.to_string().contains("could not acquire lock") => {
            OpenError::InUse(path.to_owned())
        }
        sled::Error::Io(e) => {
            OpenError::Io { path: path.to_owned(), source: io::Error::new(e.kind(), e.to_string()) }
        }
        other => OpenError::Damaged { path: path.to_owned(), reason: other.to_string() },
    }
}

/// Hands sled's buffers to the system, then waits until the device has them.
fn sync(db: &sled::Db, file: &File) -> Result<(), StoreError> {
    db.flush().map_err(store_error)?;
    file.sync_data().map_err(io_error)
}

fn store_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(e) => io_error(e),
        other => StoreError::Io(other.to_string()),
    }
}

#[allow(clippy::needless_pass_by_value)]
fn io_error(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full(error.to_string())
        }
        _ => StoreError::Io(error.to_string()),
    }
}

struct SledLog {
    db: sled::Db,
    tree: Tracked,
    file: Arc<File>,
    state: SledState,
}

fn tagged(tag: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![tag];
    for part in rest {
        key.extend_from_slice(part);
    }
    key
}

fn entry_key(global_seq: u64) -> Vec<u8> {
    tagged(b'e', &[&global_seq.to_be_bytes()])
}

fn stream_key(stream: &Stream, stream_seq: u64) -> Vec<u8> {
    tagged(b's', &[stream.to_string().as_bytes(), &[0], &stream_seq.to_be_bytes()])
}

fn length_key(stream: &Stream) -> Vec<u8> {
    tagged(b'n', &[stream.to_string().as_bytes()])
}

fn unique_key(stream: &Stream, cid: &Cid) -> Vec<u8> {
    tagged(b'u', &[stream.to_string().as_bytes(), &[0], cid.digest()])
}

fn hashed_key(tag: u8, text: &str) -> Vec<u8> {
    tagged(tag, &[blake3::hash(text.as_bytes()).as_bytes()])
}

fn to_cbor<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|e| StoreError::Io(e.to_string()))?;
    Ok(bytes)
}

fn from_cbor<T: DeserializeOwned>(
    bytes: &[u8],
    place: impl FnOnce() -> String,
) -> Result<T, StoreError> {
    ciborium::from_reader(bytes)
        .map_err(|e| StoreError::Damaged { place: place(), reason: e.to_string() })
}

fn number(bytes: &[u8], place: impl FnOnce() -> String) -> Result<u64, StoreError> {
    <[u8; 8]>::try_from(bytes)
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::Damaged { place: place(), reason: "not a position".into() })
}

impl SledLog {
    fn number_at(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        match self.tree.get(key).map_err(store_error)? {
            Some(bytes) => number(&bytes, || format!("{key:02x?}")).map(Some),
            None => Ok(None),
        }
    }

    fn entry(&self, global_seq: u64) -> Result<Entry, StoreError> {
        let place = || format!("entry {global_seq}");
        let bytes =
            self.tree.get(entry_key(global_seq)).map_err(store_error)?.ok_or_else(|| {
                StoreError::Damaged { place: place(), reason: "the entry is missing".into() }
            })?;
        from_cbor(&bytes, place)
    }

    fn cid_at(&self, key: &[u8]) -> Result<Option<Cid>, StoreError> {
        let Some(bytes) = self.tree.get(key).map_err(store_error)? else { return Ok(None) };
        Cid::from_bytes(&bytes).map(Some).map_err(|e| StoreError::Damaged {
            place: format!("{key:02x?}"),
            reason: e.to_string(),
        })
    }
}

impl LogStore for SledLog {
    fn append(&self, batch: &Batch) -> Result<(), StoreError> {
        check_continues(&batch.entries, self.head()?, |stream| self.stream_len(stream))?;
        let mut writes: Vec<TableWrite> = Vec::new();
        let mut put = |key: Vec<u8>, value: Vec<u8>| writes.push((key, Some(value)));
        for (cid, body, id) in &batch.bodies {
            for (index, chunk) in to_cbor(body)?.chunks(CHUNK_BYTES).enumerate() {
                let index = u16::try_from(index)
                    .map_err(|_| StoreError::Io(format!("the body {cid} is too large")))?;
                put(tagged(b'b', &[cid.digest(), &index.to_be_bytes()]), chunk.to_vec());
            }
            if let Some(id) = id {
                put(hashed_key(b'i', id), cid.to_bytes());
            }
        }
        for entry in &batch.entries {
            let seq = entry.global_seq.to_be_bytes();
            put(entry_key(entry.global_seq), to_cbor(entry)?);
            put(stream_key(&entry.stream, entry.stream_seq), seq.to_vec());
            put(length_key(&entry.stream), (entry.stream_seq + 1).to_be_bytes().to_vec());
            put(unique_key(&entry.stream, &entry.cid), entry.stream_seq.to_be_bytes().to_vec());
            if entry.first {
                put(tagged(b'f', &[entry.cid.digest()]), seq.to_vec());
            }
        }
        for (key, value) in &batch.once {
            put(hashed_key(b'o', key), to_cbor(value)?);
        }
        for (key, value) in &batch.state {
            let value = value.as_ref().map(encode_state).transpose()?;
            writes.push((tagged(b'a', &[key.as_bytes()]), value));
        }
        self.tree.apply(writes).map_err(store_error)?;
        sync(&self.db, &self.file)
    }

    fn head(&self) -> Result<u64, StoreError> {
        match self.tree.scan_prefix(b"e").keys().next_back() {
            None => Ok(0),
            Some(key) => {
                let key = key.map_err(store_error)?;
                number(key.get(1..).unwrap_or_default(), || "the last entry".into())
            }
        }
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let from = entry_key(after.saturating_add(1));
        let mut entries = Vec::new();
        for item in self.tree.range(from..vec![b'e' + 1]).take(limit) {
            let (key, value) = item.map_err(store_error)?;
            entries.push(from_cbor(&value, || format!("{key:02x?}"))?);
        }
        Ok(entries)
    }

    fn read_stream(
        &self,
        stream: &Stream,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let end = tagged(b's', &[stream.to_string().as_bytes(), &[1]]);
        let mut entries = Vec::new();
        for item in self.tree.range(stream_key(stream, from)..end).take(limit) {
            let (_, seq) = item.map_err(store_error)?;
            entries.push(self.entry(number(&seq, || format!("stream {stream}"))?)?);
        }
        Ok(entries)
    }

    fn stream_len(&self, stream: &Stream) -> Result<u64, StoreError> {
        Ok(self.number_at(&length_key(stream))?.unwrap_or(0))
    }

    fn streams(&self) -> Result<Vec<(Stream, u64)>, StoreError> {
        let mut streams = Vec::new();
        for item in self.tree.scan_prefix(b"n") {
            let (key, value) = item.map_err(store_error)?;
            let place = || format!("{key:02x?}");
            let name = std::str::from_utf8(key.get(1..).unwrap_or_default())
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| StoreError::Damaged {
                    place: place(),
                    reason: "no stream".into(),
                })?;
            streams.push((name, number(&value, place)?));
        }
        Ok(streams)
    }

    fn position(&self, stream: &Stream, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.number_at(&unique_key(stream, cid))
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        self.number_at(&tagged(b'f', &[cid.digest()]))
    }

    fn body(&self, cid: &Cid) -> Result<Option<Body>, StoreError> {
        let mut bytes = Vec::new();
        for item in self.tree.scan_prefix(tagged(b'b', &[cid.digest()])) {
            bytes.extend_from_slice(&item.map_err(store_error)?.1);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        from_cbor(&bytes, || format!("body {cid}")).map(Some)
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>, StoreError> {
        self.cid_at(&hashed_key(b'i', id))
    }

    fn once(&self, key: &str) -> Result<Option<OnceValue>, StoreError> {
        match self.tree.get(hashed_key(b'o', key)).map_err(store_error)? {
            Some(bytes) => from_cbor(&bytes, || format!("once key {key:?}")).map(Some),
            None => Ok(None),
        }
    }

    fn state(&self) -> &dyn StateView {
        &self.state
    }
}

fn encode_state(value: &Value) -> Result<Vec<u8>, StoreError> {
    serde_ipld_dagcbor::to_vec(value).map_err(|e| StoreError::Io(e.to_string()))
}

struct SledState(sled::Tree);

impl SledState {
    fn decode(key: &str, bytes: &[u8]) -> Result<Value, StateError> {
        serde_ipld_dagcbor::from_slice(bytes)
            .map_err(|e| StateError::Shape { key: key.to_owned(), reason: e.to_string() })
    }
}

impl StateView for SledState {
    fn get(&self, key: &str) -> Result<Option<Value>, StateError> {
        let found = self.0.get(tagged(b'a', &[key.as_bytes()]));
        match found.map_err(|e| StateError::Storage(e.to_string()))? {
            Some(bytes) => Self::decode(key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Value)>, StateError> {
        let prefix_key = tagged(b'a', &[prefix.as_bytes()]);
        let after_key = after.map(|after| tagged(b'a', &[after.as_bytes()]));
        let found = scan(&self.0, &prefix_key, after_key.as_deref(), limit)
            .map_err(|e| StateError::Storage(e.to_string()))?;
        found
            .into_iter()
            .map(|(key, bytes)| {
                let key = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
                let value = Self::decode(&key, &bytes)?;
                Ok((key, value))
            })
            .collect()
    }
}

struct SledTable(Tracked);

fn scan(
    tree: &sled::Tree,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Pairs, StoreError> {
    let mut pairs = Vec::new();
    for item in tree.range(after.unwrap_or(prefix).max(prefix)..) {
        if pairs.len() >= limit {
            break;
        }
        let (key, value) = item.map_err(store_error)?;
        if !key.starts_with(prefix) {
            break;
        }
        if after.is_some_and(|after| key.as_ref() == after) {
            continue;
        }
        pairs.push((key.to_vec(), value.to_vec()));
    }
    Ok(pairs)
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).map_err(store_error)?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        scan(&self.0, prefix, after, limit)
    }

    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        let items: Box<dyn Iterator<Item = sled::Result<_>>> = match before {
            Some(before) if before <= prefix => return Ok(Vec::new()),
            Some(before) => Box::new(self.0.range(prefix..before).rev()),
            None => Box::new(self.0.scan_prefix(prefix).rev()),
        };
        let mut pairs = Vec::new();
        for item in items.take(limit) {
            let (key, value) = item.map_err(store_error)?;
            if !key.starts_with(prefix) {
                break;
            }
            pairs.push((key.to_vec(), value.to_vec()));
        }
        Ok(pairs)
    }

    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        self.0.apply(writes).map_err(store_error)
    }
}
