//! `fedsx export`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use fedsx_genesis::actors;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::keys::{KeyRing, Material, Purpose, Vault};
use fedsx_kernel::log::{Entry, LogStore, SledStorage, Storage as _, Stream};
use fedsx_kernel::merkle::{self, Frontier, TreeHash};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::{ActorName, Base, Cid};
use serde_json::json;

use super::ExportArgs;
use super::car::CarWriter;
use super::chunks::ChunkWriter;
use super::format::{self, Checkpoint, FORMAT, Root, StreamList, Streams, VERSION};
use crate::data;
use crate::progress::Progress;

/// Entries read at once.
const PAGE: usize = 512;

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<ExitCode> {
    let storage = data::open_offline(&args.data)?;
    let base = data::recorded_base(&args.data)?
        .with_context(|| format!("{} does not say whose it is", args.data.display()))?;
    if args.out.exists() {
        bail!("{} exists already", args.out.display());
    }
    let mut draft = args.out.as_os_str().to_owned();
    draft.push(".partial");
    let draft = Path::new(&draft);
    // What an interrupted export left is of no use.
    let _ = fs::remove_file(draft);
    let exported = write(args, &storage, &base, draft);
    let exported = exported.and_then(|exported| {
        fs::rename(draft, &args.out).with_context(|| args.out.display().to_string())?;
        let directory = std::path::absolute(&args.out)?;
        if let Some(directory) = directory.parent() {
            fs::File::open(directory)?.sync_all()?;
        }
        Ok(exported)
    });
    let Exported { root, outbox, inbox, blocks, bytes, signed } = match exported {
        Ok(exported) => exported,
        Err(error) => {
            // The reason matters more than what could not be tidied up.
            let _ = fs::remove_file(draft);
            return Err(error);
        }
    };
    if args.json {
        let result = json!({
            "file": args.out, "root": root, "actor": base.actor(&args.actor), "outbox": outbox,
            "inbox": inbox, "blocks": blocks, "bytes": bytes, "signed": signed,
        });
        println!("{result}");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "exported {outbox} statements of {} and {inbox} received ones: {blocks} blocks, {bytes} \
         bytes, root {root}",
        base.actor(&args.actor)
    );
    if !signed {
        println!("the checkpoint is not signed: the private key of the actor could not be opened");
    }
    println!("check it with: fedsx verify {}", args.out.display());
    Ok(ExitCode::SUCCESS)
}

struct Exported {
    root: Cid,
    outbox: u64,
    inbox: u64,
    blocks: u64,
    bytes: u64,
    signed: bool,
}

fn write(args: &ExportArgs, storage: &SledStorage, base: &Base, draft: &Path) -> Result<Exported> {
    let store = storage.log();
    let stream = Stream::Outbox(args.actor.clone());
    if store.stream_len(&stream)? == 0 {
        bail!("there is no actor {} in {}", args.actor, args.data.display());
    }
    let id = base.actor(&args.actor);
    let actor = actors::actor(store.state(), &id)?
        .with_context(|| format!("the admission state does not know {id}"))?;
    let mut car = CarWriter::create(draft)?;
    let (outbox, tree) = outbox(&*store, &stream, &mut car)?;
    let inbox = match args.with_inbox {
        true => Some(inbox(&*store, &args.actor, &mut car)?),
        false => None,
    };
    let checkpoint = checkpoint(args, storage, base, &tree)?;
    let signed = checkpoint.note.is_some();
    let lengths = (outbox.length, inbox.as_ref().map_or(0, |list| list.length));
    let root = Root {
        format: FORMAT.to_owned(),
        version: VERSION,
        software: format!("fedsx {}", env!("CARGO_PKG_VERSION")),
        exported_at: Runtime::system().clock.now().to_string(),
        base: base.to_string(),
        actor: id,
        document: format::normal(actor.document)?,
        keys: actor.keys.all().to_vec(),
        checkpoint,
        streams: Streams { outbox, inbox },
    };
    let (cid, block) = format::encode(&root)?;
    car.put(&cid, &block)?;
    let (blocks, bytes) = car.finish(&cid)?;
    Ok(Exported { root: cid, outbox: lengths.0, inbox: lengths.1, blocks, bytes, signed })
}

fn outbox(
    store: &dyn LogStore,
    stream: &Stream,
    car: &mut CarWriter,
) -> Result<(StreamList, Frontier)> {
    let mut tree = Frontier::new();
    let mut chunks = ChunkWriter::new("outbox");
    let length = store.stream_len(stream)?;
    let bar = Progress::count("exporting the outbox", length);
    pages(store, stream, |entry| {
        tree.push(TreeHash::leaf(&entry.cid.to_bytes()));
        bar.add(1);
        add(store, &mut chunks, car, entry, true).map(|_| ())
    })?;
    Ok((chunks.finish(car)?, tree))
}

fn inbox(store: &dyn LogStore, name: &ActorName, car: &mut CarWriter) -> Result<StreamList> {
    let (own, stream) = (Stream::Outbox(name.clone()), Stream::Inbox(name.clone()));
    let mut chunks = ChunkWriter::new("inbox");
    let bar = Progress::count("exporting the inbox", store.stream_len(&stream)?);
    pages(store, &stream, |entry| {
        bar.add(1);
        // What one sends to oneself is in the file already.
        let fresh = store.position(&own, &entry.cid)?.is_none();
        let body = store.body(&entry.cid)?;
        if let Some(body) = &body {
            let author = Activity::from_body(body)?.actor().to_owned();
            if !chunks.knows(&author)
                && let Some(known) = actors::actor(store.state(), &author)?
            {
                chunks.author(car, &author, known.keys.all().to_vec())?;
            }
        }
        add(store, &mut chunks, car, entry, fresh).map(|_| ())
    })?;
    Ok(chunks.finish(car)?)
}

/// Runs over a stream from its beginning.
fn pages(
    store: &dyn LogStore,
    stream: &Stream,
    mut each: impl FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let mut position = 0;
    loop {
        let page = store.read_stream(stream, position, PAGE)?;
        if page.is_empty() {
            return Ok(());
        }
        for entry in page {
            let place = format!("{} {} ({})", entry.stream, entry.stream_seq, entry.cid);
            position = entry.stream_seq + 1;
            each(entry).context(place)?;
        }
    }
}

fn add(
    store: &dyn LogStore,
    chunks: &mut ChunkWriter,
    car: &mut CarWriter,
    entry: Entry,
    fresh: bool,
) -> Result<()> {
    let body = store.body(&entry.cid)?.context("the body is missing")?;
    if body.erased == Some(entry.cid) {
        let stub = fedsx_kernel::canonical::from_dag_cbor(&body.block)?;
        return Ok(chunks.erased(car, &entry.cid, stub, entry.meta)?);
    }
    if Cid::of_block(&body.block) != entry.cid {
        bail!("the body is not what its CID says");
    }
    if fresh {
        car.put(&entry.cid, &body.block)?;
    }
    Ok(chunks.body(car, &entry.cid, body.proof, entry.meta)?)
}

/// The checkpoint over the outbox, signed where the private key can be opened.
fn checkpoint(
    args: &ExportArgs,
    storage: &SledStorage,
    base: &Base,
    tree: &Frontier,
) -> Result<Checkpoint> {
    let log = base.of_actor(&args.actor, "log");
    let origin = merkle::origin_of_log(&log).to_owned();
    let checkpoint = merkle::Checkpoint {
        origin: origin.clone(),
        size: tree.size(),
        root: tree.root(),
        extensions: Vec::new(),
    };
    let note = sign(args, storage, base, &checkpoint)?;
    Ok(Checkpoint { origin, size: checkpoint.size, root: checkpoint.root, note })
}

fn sign(
    args: &ExportArgs,
    storage: &SledStorage,
    base: &Base,
    checkpoint: &merkle::Checkpoint,
) -> Result<Option<String>> {
    let Some(master_key) = data::existing_master_key(&args.data)? else { return Ok(None) };
    let ring = KeyRing::new(Vault::new(master_key), storage.ledgers());
    let store: Arc<dyn LogStore> = storage.log();
    let Some(actor) = actors::actor(store.state(), &base.actor(&args.actor))? else {
        return Ok(None);
    };
    let newest = actor
        .keys
        .current(Purpose::SignActivity)
        .filter(|key| matches!(key.material, Material::Multikey { .. }))
        .max_by_key(|key| key.valid_from);
    // A deleted actor has no private keys any more, an imported one never had them here.
    let Some(secret) = newest.and_then(|key| ring.secret(&key.id).ok()) else { return Ok(None) };
    let random = Runtime::system().random;
    Ok(Some(checkpoint.sign(&secret, random.as_ref())?.to_string()))
}
