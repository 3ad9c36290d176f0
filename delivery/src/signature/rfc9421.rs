//! HTTP Message Signatures (RFC 9421), with the algorithms `rsa-v1_5-sha256` and `ed25519`.

mod components;

use fedsx_kernel::keys::Algorithm;
use fedsx_kernel::runtime::Random;
use hyper::http::header::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Integer, Item, Key, ListEntry, Parser};

use super::ask::{Ask, EXPIRES_S};
use super::error::shown;
use super::target::Target;
use super::{
    ALSO_COVERED, CONTENT_DIGEST, Claim, Received, RequestToSign, SIGNATURE, SIGNATURE_INPUT,
    Scheme, SignError, SignatureError, Signer, Windows, checked_key_id, checked_signature, digest,
    fields, replay_key,
};
use components::{Component, Message};

/// The label of the signatures that are made here.
const LABEL: &str = "sig1";

/// Signs `"@method" "@target-uri"` and, with a body, `"content-digest"`, and what else is asked for.
pub(super) fn sign(
    request: &RequestToSign<'_>,
    target: &Target,
    signer: &Signer<'_>,
    headers: &mut HeaderMap,
    random: &dyn Random,
    ask: Option<&Ask>,
) -> Result<(), SignError> {
    let mut names = vec!["@method", "@target-uri"];
    if let Some(digest) = request.digest {
        headers.insert(CONTENT_DIGEST, HeaderValue::try_from(digest.content_digest())?);
        names.push("content-digest");
    }
    let also = ALSO_COVERED.into_iter().filter(|name| headers.contains_key(*name));
    names.extend(also);
    let wanted = ask.into_iter().flat_map(|ask| &ask.components).map(String::as_str);
    for name in wanted {
        // Without a body there is no digest to cover.
        let is_there = name.starts_with('@') || headers.contains_key(name);
        if is_there && !names.contains(&name) {
            names.push(name);
        }
    }
    let input = signature_input(&names, request, signer, ask)?;
    let message = Message { method: request.method, target, headers };
    let unwritable = |_: SignatureError| SignError::Unquotable("signature input");
    let covered = components::read(&input).map_err(unwritable)?;
    let base = message.signature_base(&covered, &input).map_err(unwritable)?;
    let signature = signer.key.sign(base.as_bytes(), random)?;
    set(headers, SIGNATURE_INPUT, ListEntry::InnerList(input))?;
    set(headers, SIGNATURE, ListEntry::Item(Item::new(BareItem::ByteSequence(signature))))
}

/// The covered components and parameters of a signature to be made.
fn signature_input(
    names: &[&str],
    request: &RequestToSign<'_>,
    signer: &Signer<'_>,
    ask: Option<&Ask>,
) -> Result<InnerList, SignError> {
    let string = |what: &'static str, text: &str| {
        sfv::String::from_string(text.to_owned())
            .map(BareItem::String)
            .map_err(|_| SignError::Unquotable(what))
    };
    let key = |name: &'static str| {
        Key::from_string(name.to_owned()).map_err(|_| SignError::Unquotable(name))
    };
    let created =
        Integer::try_from(request.now.as_second()).map_err(|_| SignError::Unquotable("time"))?;
    let mut list = InnerList::default();
    for name in names {
        list.items.push(Item::new(string("component", name)?));
    }
    list.params.insert(key("created")?, BareItem::Integer(created));
    if ask.is_some_and(|ask| ask.expires) {
        let ends = request.now.as_second().saturating_add(EXPIRES_S);
        let ends = Integer::try_from(ends).map_err(|_| SignError::Unquotable("time"))?;
        list.params.insert(key("expires")?, BareItem::Integer(ends));
    }
    let nonce = ask.and_then(|ask| ask.nonce.as_deref()).unwrap_or(request.nonce);
    list.params.insert(key("nonce")?, string("nonce", nonce)?);
    // There are verifiers that write the parameters anew, in this order, and compare with that.
    let algorithm = signer.key.algorithm().name();
    list.params.insert(key("alg")?, string("algorithm", algorithm)?);
    list.params.insert(key("keyid")?, string("key id", signer.key_id)?);
    if let Some(tag) = ask.and_then(|ask| ask.tag.as_deref()) {
        list.params.insert(key("tag")?, string("tag", tag)?);
    }
    Ok(list)
}

/// Sets one of the two headers to a dictionary with our label.
fn set(
    headers: &mut HeaderMap,
    name: hyper::http::HeaderName,
    entry: ListEntry,
) -> Result<(), SignError> {
    let label = Key::from_string(LABEL.to_owned()).map_err(|_| SignError::Unquotable("label"))?;
    let value = Dictionary::from_iter([(label, entry)]).serialize().unwrap_or_default();
    headers.insert(name, HeaderValue::try_from(value)?);
    Ok(())
}

/// The most signatures of one request that are looked at.
const MAX_SIGNATURES: usize = 8;

/// Reads `Signature-Input` and `Signature` and checks everything but the signature. Where there are
/// several, the first counts that passes: proxies add signatures of their own.
pub(super) fn claim(
    input: &str,
    signature: &str,
    received: &Received<'_>,
    now_s: i64,
    windows: &Windows,
) -> Result<Claim, SignatureError> {
    let inputs: Dictionary = Parser::new(input)
        .parse()
        .map_err(|_| SignatureError::malformed("Signature-Input is not a dictionary"))?;
    let mut first = None;
    for (label, entry) in inputs.into_iter().take(MAX_SIGNATURES) {
        let ListEntry::InnerList(list) = entry else { continue };
        match claim_one(&label, &list, signature, received, now_s, windows) {
            Ok(claim) => return Ok(claim),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let none = || SignatureError::malformed("Signature-Input has no signature");
    Err(first.unwrap_or_else(none))
}

fn claim_one(
    label: &Key,
    list: &InnerList,
    signature: &str,
    received: &Received<'_>,
    now_s: i64,
    windows: &Windows,
) -> Result<Claim, SignatureError> {
    let signature = checked_signature(bytes_of(signature, label)?)?;
    let key_id =
        checked_key_id(text(list, "keyid")?.ok_or(SignatureError::MissingParameter("keyid"))?)?;
    let algorithm = match text(list, "alg")? {
        None => None,
        Some("rsa-v1_5-sha256") => Some(Algorithm::RsaV15Sha256),
        Some("ed25519") => Some(Algorithm::Ed25519),
        Some(other) => return Err(SignatureError::UnsupportedAlgorithm(shown(other))),
    };
    let created = seconds(list, "created")?.ok_or(SignatureError::MissingParameter("created"))?;
    let expires = seconds(list, "expires")?;

    let target = Target::parse(received.target_uri)
        .ok_or_else(|| SignatureError::malformed("the request has no absolute address"))?;
    let covered = components::read(list)?;
    check_coverage(&covered, &target, !received.body.is_empty())?;
    let message = Message { method: received.method, target: &target, headers: received.headers };
    let base = message.signature_base(&covered, list)?;

    let acceptable_until = windows.check(created, expires, now_s)?;
    if covered.iter().any(is_content_digest) {
        let value = fields::bounded(received.headers, &CONTENT_DIGEST)?.unwrap_or_default();
        digest::check_content_digest(&value, received.body)?;
    }
    Ok(Claim {
        scheme: Scheme::Rfc9421,
        key_id,
        algorithm,
        created,
        expires,
        acceptable_until,
        replay_key: replay_key(&signature),
        base,
        signature,
    })
}

/// The signature with this label.
fn bytes_of(signature: &str, label: &Key) -> Result<Vec<u8>, SignatureError> {
    let mut signatures: Dictionary = Parser::new(signature)
        .parse()
        .map_err(|_| SignatureError::malformed("Signature is not a dictionary"))?;
    match signatures.swap_remove(label.as_str()) {
        Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. })) => Ok(bytes),
        Some(_) => Err(SignatureError::malformed("Signature does not hold bytes")),
        None => Err(SignatureError::malformed("Signature lacks the label of Signature-Input")),
    }
}

/// A parameter that is a string.
fn text<'l>(list: &'l InnerList, name: &'static str) -> Result<Option<&'l str>, SignatureError> {
    match list.params.get(name) {
        None => Ok(None),
        Some(BareItem::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(SignatureError::Malformed(format!("{name} is not a string"))),
    }
}

/// A parameter that is a time in seconds since 1970.
fn seconds(list: &InnerList, name: &'static str) -> Result<Option<i64>, SignatureError> {
    match list.params.get(name) {
        None => Ok(None),
        Some(BareItem::Integer(seconds)) => Ok(Some(i64::from(*seconds))),
        Some(_) => Err(SignatureError::Malformed(format!("{name} is not a time in seconds"))),
    }
}

fn is_content_digest(component: &Component<'_>) -> bool {
    matches!(component, Component::Field("content-digest"))
}

/// Whether the signature covers enough to stand for this very request.
fn check_coverage(
    covered: &[Component<'_>],
    target: &Target,
    has_body: bool,
) -> Result<(), SignatureError> {
    let missing = |name| Err(SignatureError::MissingComponent(name));
    let covers = |component: Component<'_>| covered.contains(&component);
    if !covers(Component::Method) {
        return missing("@method");
    }
    if !covers(Component::TargetUri) {
        let path = covers(Component::RequestTarget) || covers(Component::Path);
        if !(path && covers(Component::Authority)) {
            return missing("@target-uri");
        }
        let query = covers(Component::RequestTarget) || covers(Component::Query);
        if target.query.is_some() && !query {
            return missing("@query");
        }
    }
    if has_body && !covered.iter().any(is_content_digest) {
        return missing("content-digest");
    }
    Ok(())
}
