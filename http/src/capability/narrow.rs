//! Narrowing: what the holder of a token does offline before handing it on.

use biscuit_auth::builder::{Check, Term, fact, int, set, string};
use biscuit_auth::error::Token as BiscuitError;
use biscuit_auth::{BlockBuilder, UnverifiedBiscuit};
use jiff::Timestamp;

use super::{CapabilityError, MAX_BLOCKS, date};

/// What a narrower token still allows. What is not given stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    /// Publishing these verbs alone.
    pub verbs: Vec<String>,
    /// Publishing embedded objects of these types alone.
    pub object_types: Vec<String>,
    /// Publishing to these readers alone: ids, `public`, or `default` for requests that name none.
    pub audience: Vec<String>,
    /// Only these operations: publish, read, define, admin.
    pub operations: Vec<String>,
    /// Nothing from then on.
    pub until: Option<Timestamp>,
    /// This many publishes, counted under a name that nobody else knows.
    pub count: Option<(u32, String)>,
}

/// The token with one more block. Nobody needs to be asked for this, and nothing can undo it.
///
/// # Errors
/// Where the text is no token, has as many blocks as a token may, or nothing would be narrowed.
pub fn narrow(text: &str, wish: &Narrowing) -> Result<String, CapabilityError> {
    let token = UnverifiedBiscuit::from_base64(text)?;
    if token.block_count() >= MAX_BLOCKS {
        return Err(CapabilityError::Wish(format!("a token has at most {MAX_BLOCKS} blocks")));
    }
    let mut block = BlockBuilder::new();
    let mut narrowed = false;
    for (name, values) in
        [("verb", &wish.verbs), ("object_type", &wish.object_types), ("audience", &wish.audience)]
    {
        if !values.is_empty() {
            // One that is not allowed fails it, and so does none at all.
            let text =
                format!("reject if operation(\"publish\"), {name}($x), !{{allowed}}.contains($x)");
            let mut check: Check = text.as_str().try_into()?;
            check.set("allowed", texts(values))?;
            let needed = format!("check if operation($o), $o != \"publish\" or {name}($x)");
            block = block.check(check)?.check(needed.as_str())?;
            narrowed = true;
        }
    }
    if !wish.operations.is_empty() {
        let mut check: Check = "check if operation($o), {allowed}.contains($o)".try_into()?;
        check.set("allowed", texts(&wish.operations))?;
        block = block.check(check)?;
        narrowed = true;
    }
    if let Some(at) = wish.until {
        block = block.check(until(at)?)?;
        narrowed = true;
    }
    if let Some((count, name)) = &wish.count {
        let mut check: Check =
            "check if operation($o), $o != \"publish\" or uses({name}, $n), $n < {count}"
                .try_into()?;
        check.set("name", string(name))?;
        check.set("count", int(i64::from(*count)))?;
        block = block.fact(fact("counter", &[string(name)]))?.check(check)?;
        narrowed = true;
    }
    if !narrowed {
        return Err(CapabilityError::Wish("say what the token shall still allow".into()));
    }
    Ok(token.append(block)?.to_base64()?)
}

/// What each block of a token says, and its name for revoking, without checking any signature.
///
/// # Errors
/// Where the text is no token.
pub fn inspect(text: &str) -> Result<Vec<(String, String)>, CapabilityError> {
    let token = UnverifiedBiscuit::from_base64(text)?;
    let ids = token.revocation_identifiers();
    ids.iter()
        .enumerate()
        .map(|(block, id)| Ok((hex::encode(id), token.print_block_source(block)?)))
        .collect()
}

/// The check that ends a token.
pub(super) fn until(at: Timestamp) -> Result<Check, BiscuitError> {
    let mut check: Check = "check if time($t), $t < {until}".try_into()?;
    check.set("until", date(at))?;
    Ok(check)
}

fn texts(values: &[String]) -> Term {
    set(values.iter().map(|value| string(value)).collect())
}
