//! `fedsx log check`: whether an actor's history only grew.
//!
//! The file keeps the last checkpoint as the actor signed it. A checkpoint that contradicts it is
//! put beside it, under the same name with `.conflict`: the two together are the proof, by the
//! actor's own signatures, that history was rewritten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use fedsx_kernel::merkle::note::{Note, NoteError, VerifierKey};
use fedsx_kernel::merkle::{Checkpoint, CheckpointError, verify_consistency};
use serde_json::json;

use super::CheckArgs;
use super::remote::{LogKey, Remote};
use crate::data::write_durably;

/// Mode of the files that are written: a checkpoint is public.
const MODE: u32 = 0o644;

/// What a check found.
enum Verdict {
    /// There was nothing to compare with.
    First,
    /// The kept tree is the beginning of the new one, or the same.
    Grown(Checkpoint),
    /// It is not.
    Rewritten(Checkpoint, String),
}

/// A checkpoint whose signature holds.
struct Signed {
    note: Note,
    checkpoint: Checkpoint,
    signer: VerifierKey,
    keys: Vec<LogKey>,
}

/// Why there is no [`Signed`] checkpoint.
enum NotSigned {
    /// The check could not be made.
    Failed(anyhow::Error),
    /// The server gives a checkpoint that the actor did not sign.
    Forged(String),
}

impl From<anyhow::Error> for NotSigned {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(check(args))
}

async fn check(args: &CheckArgs) -> Result<ExitCode> {
    let remote = Remote::new(&args.url)?;
    if let Some(key) = &args.vkey
        && key.name() != remote.origin
    {
        bail!("--vkey is of {}, the log is {}", key.name(), remote.origin);
    }
    let state = std::path::absolute(&args.state)?;
    let kept = kept(&state, &remote.origin)?;
    let new = match signed(&remote, args.vkey.as_ref()).await {
        Ok(new) => new,
        Err(NotSigned::Failed(error)) => return Err(error),
        Err(NotSigned::Forged(reason)) => {
            report(args, &remote.origin, None, None, Some(&reason));
            return Ok(ExitCode::FAILURE);
        }
    };
    let verdict = compare(&remote, args, kept, &new).await?;
    let previous = match &verdict {
        Verdict::First => None,
        Verdict::Grown(old) | Verdict::Rewritten(old, _) => Some(old),
    };
    if let Verdict::Rewritten(_, reason) = &verdict {
        let path = conflict(&state);
        write_durably(&path, new.note.to_string().as_bytes(), MODE)
            .with_context(|| path.display().to_string())?;
        report(args, &remote.origin, Some(&new), previous, Some(reason));
        eprintln!(
            "fedsx: both checkpoints are signed by the actor and kept as evidence: {} and {}",
            state.display(),
            path.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    write_durably(&state, new.note.to_string().as_bytes(), MODE)
        .with_context(|| state.display().to_string())?;
    report(args, &remote.origin, Some(&new), previous, None);
    Ok(ExitCode::SUCCESS)
}

fn conflict(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".conflict");
    name.into()
}

/// The checkpoint of the last check, its signature not verified yet.
fn kept(state: &Path, origin: &str) -> Result<Option<(Note, Checkpoint)>> {
    let place = || format!("--state {}", state.display());
    let text = match fs::read_to_string(state) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(place),
    };
    let note: Note = text.parse().with_context(place)?;
    let checkpoint: Checkpoint = note.text().parse().with_context(place)?;
    if checkpoint.origin != origin {
        bail!("{} keeps a checkpoint of {}, not of {origin}", place(), checkpoint.origin);
    }
    Ok(Some((note, checkpoint)))
}

/// The newest checkpoint, signed by a current key of the actor.
async fn signed(remote: &Remote, pinned: Option<&VerifierKey>) -> Result<Signed, NotSigned> {
    let mut again = true;
    loop {
        let note = remote.checkpoint().await?;
        let claimed = note.text().parse::<Checkpoint>().context("the served checkpoint")?.origin;
        if claimed != remote.origin {
            let reason = format!("the log calls itself {claimed}, not {}", remote.origin);
            return Err(anyhow::anyhow!("{reason}; give its own address as --url").into());
        }
        let keys = match pinned {
            Some(key) => vec![LogKey { key: key.clone(), current: true }],
            None => remote.keys().await?,
        };
        let current: Vec<_> =
            keys.iter().filter(|key| key.current).map(|key| key.key.clone()).collect();
        match Checkpoint::open(&note, &current) {
            Ok((checkpoint, signer)) => {
                let signer = signer.clone();
                return Ok(Signed { note, checkpoint, signer, keys });
            }
            // The keys may have been rotated between the two requests.
            Err(CheckpointError::Note(NoteError::UnknownSigner)) if again => again = false,
            Err(error) => {
                let whose = if pinned.is_some() { "given" } else { "actor's current" };
                let reason = format!("the checkpoint is not signed by the {whose} key: {error}");
                return Err(NotSigned::Forged(reason));
            }
        }
    }
}

async fn compare(
    remote: &Remote,
    args: &CheckArgs,
    kept: Option<(Note, Checkpoint)>,
    new: &Signed,
) -> Result<Verdict> {
    let Some((note, old)) = kept else { return Ok(Verdict::First) };
    let all: Vec<_> = new.keys.iter().map(|key| key.key.clone()).collect();
    match note.verify(&all) {
        Ok(_) => {}
        Err(NoteError::UnknownSigner) => {
            let reason = "the key that signed the kept checkpoint is gone from the key history";
            return Ok(Verdict::Rewritten(old, reason.into()));
        }
        Err(error) => {
            bail!("--state {} is not as it was written: {error}", args.state.display())
        }
    }
    let (from, to) = ((old.size, &old.root), (new.checkpoint.size, &new.checkpoint.root));
    if to.0 < from.0 {
        let reason = format!("the log had {} entries and has {} now", from.0, to.0);
        return Ok(Verdict::Rewritten(old, reason));
    }
    // Every history begins with nothing at all.
    if from.0 == 0 {
        return Ok(Verdict::Grown(old));
    }
    let proof =
        if from.0 == to.0 { Ok(Vec::new()) } else { remote.consistency(from.0, to.0).await? };
    let proven = proof
        .map_err(|reason| format!("the server gives no proof ({reason})"))
        .and_then(|proof| verify_consistency(from, to, &proof).map_err(|e| e.to_string()));
    match proven {
        Ok(()) => Ok(Verdict::Grown(old)),
        Err(reason) => {
            let reason = format!(
                "the first {} entries are not those of the kept checkpoint: {reason}",
                from.0
            );
            Ok(Verdict::Rewritten(old, reason))
        }
    }
}

fn report(
    args: &CheckArgs,
    origin: &str,
    new: Option<&Signed>,
    previous: Option<&Checkpoint>,
    finding: Option<&str>,
) {
    if args.json {
        let head =
            |checkpoint: &Checkpoint| json!({ "size": checkpoint.size, "root": checkpoint.root });
        let mut result = json!({
            "origin": origin,
            "consistent": finding.is_none(),
            "reason": finding,
            "checkpoint": new.map(|new| head(&new.checkpoint)),
            "previous": previous.map(head),
        });
        if let (Some(members), Some(new)) = (result.as_object_mut(), new) {
            members.insert("vkey".into(), new.signer.to_string().into());
        }
        println!("{result}");
    }
    match (finding, new, previous) {
        (Some(reason), Some(_), _) => {
            eprintln!("fedsx: {origin}: HISTORY WAS REWRITTEN: {reason}");
        }
        (Some(reason), None, _) => eprintln!("fedsx: {origin}: {reason}"),
        (None, ..) if args.json => {}
        (None, Some(new), None) => {
            println!(
                "{origin}: {} entries, root {}; kept to compare with from now on",
                new.checkpoint.size, new.checkpoint.root
            );
        }
        (None, Some(new), Some(old)) => {
            println!(
                "{origin}: {} entries, root {}; they begin with the {} of the kept checkpoint",
                new.checkpoint.size, new.checkpoint.root, old.size
            );
        }
        (None, None, _) => {}
    }
}
