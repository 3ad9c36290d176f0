//! HTTP Message Signatures (RFC 9421), with the algorithms `rsa-v1_5-sha256` and `ed25519`.

mod components;

use fedsx_kernel::keys::Algorithm;
use fedsx_kernel::runtime::Random;
use hyper::http::header::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Integer, Item, Key, ListEntry, Parser};

use super::error::shown;
use super::target::Target;
use super::{
    CONTENT_DIGEST, Claim, Received, RequestToSign, SIGNATURE, SIGNATURE_INPUT, Scheme, SignError,
    SignatureError, Signer, Windows, checked_key_id, checked_signature, digest, fields, replay_key,
};
use components::{Component, Message};

/// The label of the signatures that are made here.
const LABEL: &str = "sig1";

/// Signs `"@method" "@target-uri"` and, with a body, `"content-digest"`.
pub(super) fn sign(
    request: &RequestToSign<'_>,
    target: &Target,
    signer: &Signer<'_>,
    headers: &mut HeaderMap,
    random: &dyn Random,
) -> Result<(), SignError> {
    let mut names = vec!["@method", "@target-uri"];
    if let Some(body) = request.body {
        headers.insert(CONTENT_DIGEST, HeaderValue::try_from(digest::content_digest(body))?);
        names.push("content-digest");
    }
    let input = signature_input(&names, request, signer)?;
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
    list.params.insert(key("nonce")?, string("nonce", request.nonce)?);
    list.params.insert(key("keyid")?, string("key id", signer.key_id)?);
    let algorithm = signer.key.algorithm().name();
    list.params.insert(key("alg")?, string("algorithm", algorithm)?);
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

/// Reads `Signature-Input` and `Signature` and checks everything but the signature.
pub(super) fn claim(
    input: &str,
    signature: &str,
    received: &Received<'_>,
    now_s: i64,
    windows: &Windows,
) -> Result<Claim, SignatureError> {
    let (label, list) = select(input)?;
    let signature = checked_signature(bytes_of(signature, &label)?)?;
    let key_id =
        checked_key_id(text(&list, "keyid")?.ok_or(SignatureError::MissingParameter("keyid"))?)?;
    let algorithm = match text(&list, "alg")? {
        None => None,
        Some("rsa-v1_5-sha256") => Some(Algorithm::RsaV15Sha256),
        Some("ed25519") => Some(Algorithm::Ed25519),
        Some(other) => return Err(SignatureError::UnsupportedAlgorithm(shown(other))),
    };
    let created = seconds(&list, "created")?.ok_or(SignatureError::MissingParameter("created"))?;
    let expires = seconds(&list, "expires")?;

    let target = Target::parse(received.target_uri)
        .ok_or_else(|| SignatureError::malformed("the request has no absolute address"))?;
    let covered = components::read(&list)?;
    check_coverage(&covered, &target, !received.body.is_empty())?;
    let message = Message { method: received.method, target: &target, headers: received.headers };
    let base = message.signature_base(&covered, &list)?;

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

/// The one signature that is looked at: the only one, else the first that names a key.
fn select(input: &str) -> Result<(Key, InnerList), SignatureError> {
    let inputs: Dictionary = Parser::new(input)
        .parse()
        .map_err(|_| SignatureError::malformed("Signature-Input is not a dictionary"))?;
    let only = inputs.len() == 1;
    inputs
        .into_iter()
        .find_map(|(label, entry)| match entry {
            ListEntry::InnerList(list) if only || list.params.contains_key("keyid") => {
                Some((label, list))
            }
            _ => None,
        })
        .ok_or_else(|| SignatureError::malformed("Signature-Input has no signature with a keyid"))
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
