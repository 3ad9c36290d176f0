//! What an attempt reads before it sends.

use std::sync::Arc;

use fedsx_kernel::Activity;
use fedsx_kernel::state::StateError;
use hyper::header::HeaderValue;

use super::Context;
use super::outgoing::Outgoing;
use super::recipient::Recipient;
use super::verdict::{Outcome, Verdict};
use crate::discovery::{KeySigner, SignerError};
use crate::ledger::{ERASED, Item};

/// What an attempt needs of this instance.
pub(super) struct Prepared {
    pub outgoing: Arc<Outgoing>,
    pub signer: KeySigner,
    /// Whether somebody else said it: then its proof alone vouches for it.
    pub forwarded: bool,
    /// What is said of the author's followers there.
    pub statement: Option<HeaderValue>,
    /// The first recipient that still needs it, where a current document is known.
    pub first: Option<(String, Recipient)>,
}

/// Reads all that an attempt needs, in one go. Blocks.
pub(super) fn prepare(context: &Context, peer: &str, item: &Item) -> Result<Prepared, Outcome> {
    let (base, log) = (&context.kernel.options().base, context.kernel.log());
    let outgoing = context.outgoings.of(base, log, &item.cid).map_err(Outcome::local)?;
    let outgoing = outgoing.ok_or_else(|| Outcome::local("the body is missing"))?;
    permitted(context, &outgoing.activity)?;
    let signer = signer(context, &outgoing.activity).map_err(Outcome::local)?;
    let statement = statement(context, &outgoing, peer).map_err(Outcome::local)?;
    Ok(put_together(context, peer, item, outgoing, signer, statement))
}

/// The same where activity, keys and statement are in memory: most attempts are one of many with the same activity.
/// What is left is a few values of the admission state, which keeps what was read last.
pub(super) fn from_memory(
    context: &Context,
    peer: &str,
    item: &Item,
) -> Option<Result<Prepared, Outcome>> {
    let outgoing = context.outgoings.kept(context.kernel.log(), &item.cid)?;
    let author = outgoing.activity.actor();
    let signer = context.discovery.signer_kept(author)?;
    let statement = match outgoing.is_for_followers {
        true => context.statements.kept(author, peer)?,
        false => None,
    };
    if let Err(outcome) = permitted(context, &outgoing.activity) {
        return Some(Err(outcome));
    }
    Some(Ok(put_together(context, peer, item, outgoing, signer, statement)))
}

/// Whether it may still be sent.
fn permitted(context: &Context, activity: &Activity) -> Result<(), Outcome> {
    if activity.is_erased() {
        return Err(Outcome::because(Verdict::Erased, ERASED));
    }
    match context.standings.of(activity.actor()).map_err(Outcome::local)? {
        standing if standing.suspended => Err(Outcome::because(Verdict::Held, "suspended")),
        standing if standing.blocked => {
            Err(Outcome::because(Verdict::Held, "its author is blocked"))
        }
        _ => Ok(()),
    }
}

fn put_together(
    context: &Context,
    peer: &str,
    item: &Item,
    outgoing: Arc<Outgoing>,
    signer: KeySigner,
    statement: Option<HeaderValue>,
) -> Prepared {
    let forwarded = !outgoing.is_ours;
    let next = usize::try_from(item.done).ok().and_then(|done| item.recipients.get(done));
    // Where it cannot be read, whoever needs it finds out why.
    let read = |id: &str| context.discovery.current(id, |document| Recipient::of(document, peer));
    let first = next.and_then(|id| Some((id.clone(), read(id).ok()??)));
    Prepared { outgoing, signer, forwarded, statement, first }
}

/// The author's keys; the instance's where the author has none any more, since what it said last
/// must still be sent and its proof stands for itself. Blocks.
pub(super) fn signer(context: &Context, activity: &Activity) -> Result<KeySigner, SignerError> {
    match context.discovery.signer_now(activity.actor()) {
        Err(error @ (SignerError::NoKey(_) | SignerError::Ring(_))) => {
            context.discovery.instance_signer_now().ok_or(error)
        }
        other => other,
    }
}

/// What goes to the author's followers says whom the author believes to follow there (FEP-8fcf). Blocks.
fn statement(
    context: &Context,
    outgoing: &Outgoing,
    peer: &str,
) -> Result<Option<HeaderValue>, StateError> {
    if !outgoing.is_for_followers {
        return Ok(None);
    }
    context.statements.header(context.kernel.log().state(), outgoing.activity.actor(), peer)
}
