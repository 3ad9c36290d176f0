//! `fedsx import`.
//!
//! Only an archive of the same instance is taken. An archive shows that its statements belong to
//! one history of keys, not that their origin vouches for the first key: who appended archives of
//! other origins would let a file say what an actor elsewhere said, and with which keys.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use fedsx_genesis::GenesisRules;
use fedsx_kernel::activity::{Activity, Body};
use fedsx_kernel::keys::KeyRing;
use fedsx_kernel::log::{
    BODY_ERASED, Batch, Entry, Head, HeadFile, LogStore, Meta, Record, SledStorage, Storage as _,
    Stream,
};
use fedsx_kernel::rules::Rules as _;
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::Overlay;
use fedsx_kernel::{ActorName, Base, Cid, KernelOptions, origin_of, proof};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::car::Car;
use super::entries::{ArchiveEntry, Content, Entries};
use super::format::{Root, StreamList};
use super::{ImportArgs, verify};
use crate::data;
use crate::progress::Progress;

/// Entries in one batch.
const BATCH: usize = 256;
/// The type of the record that says what was imported.
const ARCHIVE_IMPORTED: &str = "ArchiveImported";

/// What an import did.
#[derive(Debug, Default, Serialize)]
struct Imported {
    /// Statements that were held before.
    held: u64,
    /// Statements that were appended.
    appended: u64,
    /// Entries of the inbox that were appended.
    inbox: u64,
    /// Entries of the inbox that were left out: of actors of this instance who are not here, of a
    /// foreign id that is held with other content, or erased.
    left_out: u64,
    /// Statements of which a stub was appended, because their bodies were erased.
    erased: u64,
    /// Current keys of the actor whose private half is not here.
    keys_missing: Vec<String>,
}

/// Runs the command.
pub fn run(args: &ImportArgs) -> Result<ExitCode> {
    std::fs::File::open(&args.file).with_context(|| args.file.display().to_string())?;
    let opened = verify::open(&args.file);
    let checked = opened.and_then(|(mut car, root)| {
        verify::check(&mut car, &root)?;
        Ok((car, root))
    });
    let (mut car, root) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            eprintln!("fedsx: nothing was imported, the archive does not verify: {error:#}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let (base, name) = verify::owner(&root)?;
    let options = KernelOptions::new(base.clone());
    if name == options.instance {
        bail!("{} stands for the instance itself; restore a backup instead", root.actor);
    }
    prepare(&args.data, &base)?;
    let storage = SledStorage::open(&args.data)?;
    data::settle_base(&args.data, &base)?;
    let store = storage.log();
    let target = Target {
        store: &*store,
        rules: GenesisRules::new(base.clone(), options.instance.clone()),
        base: &base,
        name: &name,
        instance: &options.instance,
        now_ms: Runtime::system().clock.now_ms(),
        root: *car.root(),
    };
    let held = match target.held(&mut car, &root.streams.outbox) {
        Ok(held) => held,
        Err(error) => {
            eprintln!("fedsx: nothing was imported: {error:#}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut imported = target.append(&mut car, &root, held)?;
    if imported.appended + imported.inbox > 0 {
        target.record(&imported)?;
    }
    note_head(&args.data, &*store)?;
    for key in root.keys.iter().filter(|key| key.is_current()) {
        if !KeyRing::holds(storage.ledgers().as_ref(), &key.id)? {
            imported.keys_missing.push(key.id.clone());
        }
    }
    report(args, &root, &imported)?;
    Ok(ExitCode::SUCCESS)
}

fn report(args: &ImportArgs, root: &Root, imported: &Imported) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(imported)?);
        return Ok(());
    }
    let Imported { held, appended, inbox, left_out, erased, keys_missing } = imported;
    println!("imported {}: {appended} statements appended, {held} were held before", root.actor);
    if root.streams.inbox.is_some() {
        println!("inbox: {inbox} entries appended, {left_out} left out");
    }
    if *erased > 0 {
        println!("of {erased} statements a stub was appended: their bodies were erased");
    }
    if !keys_missing.is_empty() {
        println!(
            "the private keys of {} are not here, an archive never holds them: the actor can be \
             read, verified and followed, but it cannot publish, and its deliveries cannot be \
             signed. To publish again, restore a backup of the instance with its master key: \
             fedsx restore --from BACKUP --data NEW",
            root.actor
        );
        for key in keys_missing {
            println!("missing: {key}");
        }
    }
    Ok(())
}

/// Makes the data directory where there is none, and refuses one of another instance.
fn prepare(directory: &Path, base: &Base) -> Result<()> {
    data::refuse_backup(directory)?;
    if let Some(recorded) = data::recorded_base(directory)?
        && recorded != *base
    {
        bail!(
            "the archive is of {base}, {} is of {recorded}: an archive goes only into its own \
             instance. To go on elsewhere, create an actor there and let the old one announce the \
             move; to keep the archive, keep the file",
            directory.display()
        );
    }
    let is_data = directory.join("format").exists();
    let filled = std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if filled && !is_data {
        bail!("{} is no data directory of fedsx, and not empty", directory.display());
    }
    data::prepare(directory)
}

/// The log that is appended to. No writer runs; this is the only one.
struct Target<'a> {
    store: &'a dyn LogStore,
    rules: GenesisRules,
    base: &'a Base,
    name: &'a ActorName,
    instance: &'a ActorName,
    now_ms: i64,
    root: Cid,
}

impl Target<'_> {
    /// How many statements of the archive are held; they must be the beginning of it.
    fn held(&self, car: &mut Car, list: &StreamList) -> Result<u64> {
        let stream = Stream::Outbox(self.name.clone());
        let length = self.store.stream_len(&stream)?;
        let common = length.min(list.length);
        let bar = Progress::count("comparing", common);
        let mut entries = Entries::new(car, "outbox", list)?;
        for position in 0..common {
            let entry = entries.next()?.context("the archive ends early")?;
            let held = self.store.read_stream(&stream, position, 1)?.pop();
            let held = held.with_context(|| format!("entry {position} of {stream} is missing"))?;
            ensure!(
                held.cid == entry.cid,
                "the outbox of {} parts from the archive at {position}: {} is here, {} is in the \
                 archive; two histories of one actor cannot be joined",
                self.name,
                held.cid,
                entry.cid
            );
            bar.add(1);
        }
        Ok(common)
    }

    fn append(&self, car: &mut Car, root: &Root, held: u64) -> Result<Imported> {
        let mut imported = Imported { held, ..Imported::default() };
        let list = &root.streams.outbox;
        let bar = Progress::count("importing the outbox", list.length.saturating_sub(held));
        let mut entries = Entries::new(car, "outbox", list)?;
        let mut group = Group::new(self)?;
        let mut erased = Vec::new();
        while let Some(entry) = entries.next()? {
            if entry.position < held {
                continue;
            }
            bar.add(1);
            let place = format!("outbox {}", entry.position);
            let (activity, body) = match entry.content {
                Content::Activity(activity, body) => (activity, body),
                Content::Erased(stub, body) => {
                    imported.erased += 1;
                    if group.first_entry(&entry.cid)?.is_none() {
                        erased.push((entry.cid, stub.object_id().map(str::to_owned)));
                    }
                    (stub, body)
                }
            };
            let head = proof::head(activity.document())?;
            let meta = Meta {
                received_ms: self.now_ms,
                verified_by: head.map(|head| format!("proof:{}", head.verification_method)),
                // History: it is neither delivered nor answered again.
                backfilled: true,
                hidden: entry.meta.hidden,
                cause: entry.meta.cause,
                ..Meta::default()
            };
            let stream = Stream::Outbox(self.name.clone());
            group.add(stream, *activity, body, meta).context(place)?;
            imported.appended += 1;
        }
        drop(bar);
        for (cid, object) in erased {
            // As it was said where the archive is from.
            let about = json!({
                "cid": cid.to_string(), "object": object, "by": root.actor,
                "why": format!("erased before the export of {}", self.root),
            });
            self.state(&mut group, BODY_ERASED, about)?;
        }
        if let Some(list) = &root.streams.inbox {
            let bar = Progress::count("importing the inbox", list.length);
            let mut entries = Entries::new(car, "inbox", list)?;
            while let Some(entry) = entries.next()? {
                bar.add(1);
                self.received(&mut group, entry, &mut imported)?;
            }
        }
        group.flush()?;
        Ok(imported)
    }

    /// Appends an entry of the inbox. What vouches for it here is the archive.
    fn received(
        &self,
        group: &mut Group<'_>,
        entry: ArchiveEntry,
        imported: &mut Imported,
    ) -> Result<()> {
        let Content::Activity(activity, body) = entry.content else {
            imported.left_out += 1;
            return Ok(());
        };
        let stream = Stream::Inbox(self.name.clone());
        if group.has(&stream, &entry.cid)? {
            return Ok(());
        }
        let unknown = group.first_entry(&entry.cid)?.is_none();
        let taken = !activity.certifies_itself()
            && group.by_id(activity.id())?.is_some_and(|held| held != entry.cid);
        // What claims an author of this instance must have come through that author's outbox.
        if taken || (unknown && self.base.is_local(activity.actor())) {
            imported.left_out += 1;
            return Ok(());
        }
        let meta = Meta {
            received_ms: self.now_ms,
            origin: origin_of(activity.actor()),
            verified_by: Some(format!("archive:{}", self.root)),
            backfilled: true,
            ..Meta::default()
        };
        let place = format!("inbox {}", entry.position);
        group.add(stream, *activity, body, meta).context(place)?;
        imported.inbox += 1;
        Ok(())
    }

    /// Says in the `local` stream what was imported.
    fn record(&self, imported: &Imported) -> Result<()> {
        let mut group = Group::new(self)?;
        let about = json!({
            "archive": self.root.to_string(),
            "actor": self.base.actor(self.name),
            "held": imported.held,
            "outbox": imported.appended,
            "inbox": imported.inbox,
        });
        self.state(&mut group, ARCHIVE_IMPORTED, about)?;
        group.flush()
    }

    /// Adds a record of this instance.
    fn state(&self, group: &mut Group<'_>, kind: &str, about: Value) -> Result<()> {
        let runtime = Runtime::system();
        let now = runtime.clock.now();
        let mut content = Map::new();
        content.insert("type".into(), kind.into());
        content.insert("actor".into(), self.base.actor(self.instance).into());
        content.insert("published".into(), now.to_string().into());
        content.insert("salt".into(), salt(&runtime).into());
        content.insert("object".into(), about);
        let activity = Activity::seal(content)?;
        let body = activity.to_body()?;
        let meta = Meta { received_ms: self.now_ms, ..Meta::default() };
        group.add(Stream::Local, activity, body, meta)
    }
}

fn salt(runtime: &Runtime) -> String {
    let bytes = runtime.random.bytes::<16>();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Entries that are appended together, and look-ups that see them.
struct Group<'a> {
    target: &'a Target<'a>,
    batch: Batch,
    state: Overlay<'a>,
    head: u64,
    lengths: HashMap<Stream, u64>,
    bodies: HashMap<Cid, u64>,
    ids: HashMap<String, Cid>,
}

impl<'a> Group<'a> {
    fn new(target: &'a Target<'a>) -> Result<Self> {
        Ok(Self {
            target,
            batch: Batch::default(),
            state: Overlay::new(target.store.state()),
            head: target.store.head()?,
            lengths: HashMap::new(),
            bodies: HashMap::new(),
            ids: HashMap::new(),
        })
    }

    fn first_entry(&self, cid: &Cid) -> Result<Option<u64>> {
        match self.bodies.get(cid) {
            Some(seq) => Ok(Some(*seq)),
            None => Ok(self.target.store.first_entry(cid)?),
        }
    }

    fn by_id(&self, id: &str) -> Result<Option<Cid>> {
        match self.ids.get(id) {
            Some(cid) => Ok(Some(*cid)),
            None => Ok(self.target.store.by_id(id)?),
        }
    }

    fn has(&self, stream: &Stream, cid: &Cid) -> Result<bool> {
        let waiting = self.batch.entries.iter().any(|e| e.stream == *stream && e.cid == *cid);
        Ok(waiting || self.target.store.position(stream, cid)?.is_some())
    }

    fn add(&mut self, stream: Stream, activity: Activity, body: Body, meta: Meta) -> Result<()> {
        let store = self.target.store;
        let cid = *activity.cid();
        ensure!(!self.has(&stream, &cid)?, "{cid} is in {stream} already");
        let stream_seq = match self.lengths.get(&stream) {
            Some(length) => *length,
            None => store.stream_len(&stream)?,
        };
        if let Stream::Outbox(_) = &stream {
            let seq = activity.position().map(|(_, seq)| seq);
            ensure!(seq == Some(stream_seq), "its seq is {seq:?}, the outbox is at {stream_seq}");
        }
        let first = self.first_entry(&cid)?.is_none();
        self.head += 1;
        let entry =
            Entry { global_seq: self.head, stream: stream.clone(), stream_seq, cid, first, meta };
        if first {
            let id = (!activity.certifies_itself() && stream != Stream::Local)
                .then(|| activity.id().to_owned());
            if let Some(id) = &id {
                self.ids.insert(id.clone(), cid);
            }
            let record = Record { entry: entry.clone(), activity: Arc::new(activity) };
            self.target.rules.fold(&mut self.state, &record)?;
            self.batch.bodies.push((cid, body, id));
            self.bodies.insert(cid, self.head);
        }
        self.lengths.insert(stream, stream_seq + 1);
        self.batch.entries.push(entry);
        if self.batch.entries.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Makes what waits durable.
    fn flush(&mut self) -> Result<()> {
        if self.batch.entries.is_empty() {
            return Ok(());
        }
        let store = self.target.store;
        let state = std::mem::replace(&mut self.state, Overlay::new(store.state()));
        let batch = Batch { state: state.into_writes(), ..std::mem::take(&mut self.batch) };
        Ok(store.append(&batch)?)
    }
}

/// Notes the end of the log, as a server does.
fn note_head(directory: &Path, store: &dyn LogStore) -> Result<()> {
    let last = store.head()?;
    match store.read(last.saturating_sub(1), 1)?.pop() {
        Some(Entry { global_seq, cid: root, .. }) => {
            Ok(HeadFile::new(directory).write(&Head { global_seq, root })?)
        }
        None => Ok(()),
    }
}
