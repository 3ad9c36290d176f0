//! `fedsx verify FILE`: an archive, checked with nothing but the file.
//!
//! What is shown: every block is what its CID says; every statement of the actor is signed by a
//! key that was valid at that very statement; the keys follow from the actor's Create and its
//! rotations in the file; numbers have no holes; the signed checkpoint covers exactly the outbox.
//! What cannot be shown: that the origin of the actor vouches for the first key. Who has a
//! checkpoint or a key of that actor from elsewhere compares it with the printed one.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use fedsx_genesis::actors::ActorState;
use fedsx_genesis::{GenesisRules, actor_keys, actors};
use fedsx_kernel::keys::{KeyHistory, Purpose};
use fedsx_kernel::log::{Entry, Meta, Record, Stream};
use fedsx_kernel::merkle::{self, Frontier, TreeHash, note};
use fedsx_kernel::proof::{self, Suites};
use fedsx_kernel::rules::Rules as _;
use fedsx_kernel::state::{MemoryState, Overlay};
use fedsx_kernel::{Activity, ActorName, Base, Cid};
use serde::Serialize;

use super::car::Car;
use super::entries::{ArchiveEntry, Content, Entries};
use super::format::{self, FORMAT, Root, StreamList, VERSION};
use crate::progress::Progress;

/// What an archive was found to hold.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The CID of the root block.
    pub root: Cid,
    /// The id of the actor.
    pub actor: String,
    /// When it was written, as it says.
    pub exported_at: String,
    /// Blocks.
    pub blocks: u64,
    /// Blocks that nothing in the archive names.
    pub unreferenced: u64,
    /// Entries in the outbox.
    pub outbox: u64,
    /// Statements whose proof holds.
    pub verified: u64,
    /// Entries of the outbox whose body was erased.
    pub erased: u64,
    /// Keys, all of which follow from the outbox.
    pub keys: usize,
    /// Size of the Merkle tree over the outbox.
    pub checkpoint_size: u64,
    /// Its root.
    pub checkpoint_root: TreeHash,
    /// The key that signed the checkpoint; none where it is not signed.
    pub signed_by: Option<String>,
    /// Entries in the inbox.
    pub inbox: u64,
    /// Of these, by a proof that holds with the keys that the instance knew.
    pub inbox_verified: u64,
    /// Of these, what only the instance's word vouches for.
    pub inbox_attested: u64,
}

/// Runs the command on a file.
pub fn run(path: &Path, json: bool) -> Result<ExitCode> {
    // That the file cannot be read is no finding about the archive.
    std::fs::File::open(path).with_context(|| path.display().to_string())?;
    match open(path).and_then(|(mut car, root)| check(&mut car, &root)) {
        Ok(verified) if json => {
            println!("{}", serde_json::to_string(&verified)?);
            Ok(ExitCode::SUCCESS)
        }
        Ok(verified) => {
            print(&verified);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("fedsx: verification failed: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn print(found: &Verified) {
    let signed = match &found.signed_by {
        Some(key) => format!("signed by {key}"),
        None => "not signed".to_owned(),
    };
    println!(
        "verified: {} statements of {} by proof, {} erased, {} keys; checkpoint of {} with root {}, \
         {signed}",
        found.verified,
        found.actor,
        found.erased,
        found.keys,
        found.checkpoint_size,
        found.checkpoint_root
    );
    if found.inbox > 0 {
        println!(
            "inbox: {} entries, {} by proof with the keys that the instance knew, {} attested by it",
            found.inbox, found.inbox_verified, found.inbox_attested
        );
    }
    if found.unreferenced > 0 {
        println!("{} blocks belong to nothing in the archive", found.unreferenced);
    }
}

/// Opens an archive: every hash holds, and the root is one of ours.
pub(super) fn open(path: &Path) -> Result<(Car, Root)> {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bar = Progress::bytes("hashing", bytes);
    let mut car = Car::open(path, &|more| bar.add(more))?;
    drop(bar);
    let cid = *car.root();
    let root: Root = format::decode(&car.block(&cid)?).context("the root block")?;
    ensure!(root.format == FORMAT, "the root block is of {:?}, not of an archive", root.format);
    ensure!(
        root.version == VERSION,
        "the archive has version {}; this version of fedsx reads version {VERSION}",
        root.version
    );
    Ok((car, root))
}

/// The instance and the name of the actor of an archive.
pub(super) fn owner(root: &Root) -> Result<(Base, ActorName)> {
    let base: Base = root.base.parse().context("the base of the archive")?;
    ensure!(base.as_str() == root.base, "the base {:?} is not in normal form", root.base);
    let name = base
        .name_of(&root.actor)
        .with_context(|| format!("{} is no actor of {base}", root.actor))?;
    Ok((base, name))
}

/// Checks everything that the archive says.
pub(super) fn check(car: &mut Car, root: &Root) -> Result<Verified> {
    let (base, name) = owner(root)?;
    let mut statements = Statements::new(root, &base, &name);
    let bar = Progress::count("verifying", root.streams.outbox.length);
    let mut entries = Entries::new(car, "outbox", &root.streams.outbox)?;
    while let Some(entry) = entries.next()? {
        statements
            .entry(&entry)
            .with_context(|| format!("outbox {} ({})", entry.position, entry.cid))?;
        bar.add(1);
    }
    drop(bar);
    let Statements { known, tree, verified, erased, .. } = statements;
    same_keys(&known.keys, &root.keys)?;
    ensure!(
        format::normal(known.document.clone())? == root.document,
        "the document of the actor is not the one that the outbox states"
    );
    let signed_by = checkpoint(root, &base, &name, &tree, &known)?;
    let mut found = Verified {
        root: *car.root(),
        actor: root.actor.clone(),
        exported_at: root.exported_at.clone(),
        blocks: car.blocks(),
        unreferenced: 0,
        outbox: root.streams.outbox.length,
        verified,
        erased,
        keys: root.keys.len(),
        checkpoint_size: tree.size(),
        checkpoint_root: tree.root(),
        signed_by,
        inbox: 0,
        inbox_verified: 0,
        inbox_attested: 0,
    };
    if let Some(list) = &root.streams.inbox {
        inbox(car, list, &known.keys, &root.actor, &mut found)?;
    }
    found.unreferenced = car.unread();
    Ok(found)
}

/// The outbox so far.
struct Statements<'a> {
    root: &'a Root,
    rules: GenesisRules,
    stream: Stream,
    suites: Suites,
    state: MemoryState,
    known: ActorState,
    tree: Frontier,
    epoch: u64,
    verified: u64,
    erased: u64,
}

impl<'a> Statements<'a> {
    fn new(root: &'a Root, base: &Base, name: &ActorName) -> Self {
        Self {
            root,
            rules: GenesisRules::new(base.clone(), name.clone()),
            stream: Stream::Outbox(name.clone()),
            suites: Suites::standard(),
            state: MemoryState::default(),
            known: ActorState::default(),
            tree: Frontier::new(),
            epoch: 0,
            verified: 0,
            erased: 0,
        }
    }

    fn entry(&mut self, entry: &ArchiveEntry) -> Result<()> {
        self.tree.push(TreeHash::leaf(&entry.cid.to_bytes()));
        let activity = match &entry.content {
            Content::Activity(activity, _) | Content::Erased(activity, _) => activity,
        };
        ensure!(activity.actor() == self.root.actor, "it is by {}", activity.actor());
        let (epoch, seq) = activity.position().context("it has no number of its author")?;
        ensure!(seq == entry.position, "its seq is {seq}");
        ensure!(epoch >= self.epoch, "its epoch {epoch} is below {}", self.epoch);
        self.epoch = epoch;
        if activity.is_erased() {
            // Nothing proves it; that the actor's own history is whole shows with the keys.
            self.erased += 1;
            return Ok(());
        }
        self.proven(activity)?;
        self.verified += 1;
        Ok(())
    }

    /// Checks the proof against the keys as they were at this statement.
    fn proven(&mut self, activity: &Activity) -> Result<()> {
        let head = proof::head(activity.document())?.context("it has no proof")?;
        let about_itself = actor_keys::concerns_author(activity);
        // A Create is signed by a key that it introduces, all else by one from before.
        let before = about_itself.then(|| self.known.keys.clone());
        if about_itself {
            self.fold(activity)?;
        }
        let keys = match &before {
            Some(before) if !before.all().is_empty() => before,
            _ => &self.known.keys,
        };
        let key = actor_keys::signer(keys, &head.verification_method, activity)?;
        self.suites.verify(activity.document(), &key.public()?)?;
        Ok(())
    }

    /// What the actor states about itself, by the same fold as in a log.
    fn fold(&mut self, activity: &Activity) -> Result<()> {
        let (seq, cid) = (self.tree.size(), *activity.cid());
        let entry = Entry {
            global_seq: seq,
            stream: self.stream.clone(),
            stream_seq: seq.saturating_sub(1),
            cid,
            first: true,
            meta: Meta::default(),
        };
        let mut overlay = Overlay::new(&self.state);
        self.rules.fold(&mut overlay, &Record { entry, activity: Arc::new(activity.clone()) })?;
        let writes = overlay.into_writes();
        self.state.commit(writes);
        self.known = actors::actor(&self.state, &self.root.actor)?.unwrap_or_default();
        Ok(())
    }
}

/// The key history must be what the outbox states.
fn same_keys(known: &KeyHistory, listed: &[fedsx_kernel::keys::Key]) -> Result<()> {
    let known = known.all();
    for (known, listed) in known.iter().zip(listed) {
        ensure!(known == listed, "the key {} differs from what the outbox states", listed.id);
    }
    if let Some(key) = listed.get(known.len()) {
        bail!("the outbox does not state the key {}", key.id);
    }
    match known.get(listed.len()) {
        Some(key) => bail!("the key {}, which the outbox states, is not listed", key.id),
        None => Ok(()),
    }
}

/// Checks the checkpoint; gives the id of the key that signed it.
fn checkpoint(
    root: &Root,
    base: &Base,
    name: &ActorName,
    tree: &Frontier,
    known: &ActorState,
) -> Result<Option<String>> {
    let stated = &root.checkpoint;
    let log = base.of_actor(name, "log");
    let origin = merkle::origin_of_log(&log);
    ensure!(stated.origin == origin, "the checkpoint is of {:?}, not of {origin}", stated.origin);
    ensure!(
        stated.size == tree.size() && stated.root == tree.root(),
        "the checkpoint is not over this outbox: it says {} at {}, found {} at {}",
        stated.root,
        stated.size,
        tree.root(),
        tree.size()
    );
    let Some(text) = &stated.note else { return Ok(None) };
    let note: note::Note = text.parse().context("the signed checkpoint")?;
    let mut keys = Vec::new();
    for key in known.keys.current(Purpose::SignActivity) {
        let public = key.public()?;
        if public.to_multibase().is_some() {
            keys.push((key.id.clone(), note::VerifierKey::new(origin, public)?));
        }
    }
    let verifiers: Vec<_> = keys.iter().map(|(_, verifier)| verifier.clone()).collect();
    let (signed, signer) =
        merkle::Checkpoint::open(&note, &verifiers).context("the signed checkpoint")?;
    ensure!(
        signed.origin == stated.origin && signed.size == stated.size && signed.root == stated.root,
        "what is signed is another checkpoint: {} at {}",
        signed.root,
        signed.size
    );
    Ok(keys.iter().find(|(_, verifier)| verifier == signer).map(|(id, _)| id.clone()))
}

/// Checks the inbox: hashes and shapes of all, proofs where the author's keys are in the archive.
fn inbox(
    car: &mut Car,
    list: &StreamList,
    own: &KeyHistory,
    actor: &str,
    found: &mut Verified,
) -> Result<()> {
    let suites = Suites::standard();
    let bar = Progress::count("verifying the inbox", list.length);
    let mut entries = Entries::new(car, "inbox", list)?;
    while let Some(entry) = entries.next()? {
        bar.add(1);
        found.inbox += 1;
        let Content::Activity(activity, _) = &entry.content else { continue };
        let place = || format!("inbox {} ({})", entry.position, entry.cid);
        let claims_proof =
            entry.meta.verified_by.as_deref().is_some_and(|by| by.starts_with("proof:"));
        let keys = if activity.actor() == actor {
            Some(own)
        } else {
            entries.authors.get(activity.actor())
        };
        let head = proof::head(activity.document()).with_context(place)?;
        match (head, keys) {
            (Some(head), Some(keys)) if suites.knows(&head.cryptosuite) => {
                proven(&suites, activity, &head.verification_method, keys).with_context(place)?;
                found.inbox_verified += 1;
            }
            _ if claims_proof => bail!("{}: nothing proves it", place()),
            _ => found.inbox_attested += 1,
        }
    }
    Ok(())
}

fn proven(suites: &Suites, activity: &Activity, method: &str, keys: &KeyHistory) -> Result<()> {
    let key = actor_keys::signer(keys, method, activity)?;
    Ok(suites.verify(activity.document(), &key.public()?)?)
}
