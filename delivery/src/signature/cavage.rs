//! draft-cavage-http-signatures-12.
//!
//! The algorithm names `rsa-sha256` and `hs2019` both mean RSASSA-PKCS1-v1_5 with SHA-256 for an
//! RSA key, as the Fediverse has settled.

mod parameters;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedsx_kernel::keys::Algorithm;
use fedsx_kernel::runtime::Random;
use hyper::http::Method;
use hyper::http::header::{HOST, HeaderMap, HeaderValue};

use super::error::shown;
use super::target::Target;
use super::{
    ALSO_COVERED, Claim, DIGEST, MAX_COMPONENTS, Received, RequestToSign, SIGNATURE, Scheme,
    SignError, SignatureError, Signer, Windows, checked_key_id, checked_signature, digest, fields,
    replay_key,
};
pub(crate) use parameters::Parameters;

const REQUEST_TARGET: &str = "(request-target)";
const CREATED: &str = "(created)";
const EXPIRES: &str = "(expires)";

/// What the lines of a signing string are made from.
struct Message<'a> {
    method: &'a Method,
    target: &'a Target,
    headers: &'a HeaderMap,
    /// The parameter as it was written, for `(created)`.
    created: Option<&'a str>,
    /// The parameter as it was written, for `(expires)`.
    expires: Option<&'a str>,
}

impl Message<'_> {
    /// The signing string (section 2.3).
    fn signing_string<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<String, SignatureError> {
        let mut lines = Vec::new();
        for name in names {
            let value = match name {
                REQUEST_TARGET => {
                    let method = self.method.as_str().to_ascii_lowercase();
                    format!("{method} {}", self.target.path_and_query())
                }
                CREATED => {
                    self.created.ok_or(SignatureError::MissingParameter("created"))?.to_owned()
                }
                EXPIRES => {
                    self.expires.ok_or(SignatureError::MissingParameter("expires"))?.to_owned()
                }
                field if field.starts_with('(') => {
                    return Err(SignatureError::UnsupportedComponent(shown(field)));
                }
                field => fields::combined(self.headers, field)?
                    .ok_or_else(|| SignatureError::AbsentField(shown(field)))?,
            };
            lines.push(format!("{name}: {value}"));
        }
        Ok(lines.join("\n"))
    }
}

/// Signs `(request-target) host date` and, with a body, `digest`.
pub(super) fn sign(
    request: &RequestToSign<'_>,
    target: &Target,
    signer: &Signer<'_>,
    headers: &mut HeaderMap,
    random: &dyn Random,
) -> Result<(), SignError> {
    let quotable = |c: u8| matches!(c, 0x20..=0x7e) && c != b'"' && c != b'\\';
    if !signer.key_id.bytes().all(quotable) {
        return Err(SignError::Unquotable("key id"));
    }
    if !headers.contains_key(HOST) {
        return Err(SignError::NoHost);
    }
    let mut names = vec![REQUEST_TARGET, "host", "date"];
    if let Some(digest) = request.digest {
        headers.insert(DIGEST, HeaderValue::try_from(digest.digest())?);
        names.push("digest");
    }
    let also = ALSO_COVERED.into_iter().filter(|name| headers.contains_key(*name));
    names.extend(also);
    let message = Message { method: request.method, target, headers, created: None, expires: None };
    let string = message
        .signing_string(names.iter().copied())
        .map_err(|_| SignError::Unquotable("Host header"))?;
    let signature = signer.key.sign(string.as_bytes(), random)?;
    let algorithm = match signer.key.algorithm() {
        Algorithm::RsaV15Sha256 => "rsa-sha256",
        Algorithm::Ed25519 => "hs2019",
    };
    let value = format!(
        r#"keyId="{}",algorithm="{algorithm}",headers="{}",signature="{}""#,
        signer.key_id,
        names.join(" "),
        STANDARD.encode(signature),
    );
    headers.insert(SIGNATURE, HeaderValue::try_from(value)?);
    Ok(())
}

/// Reads the parameters of `Signature` or `Authorization: Signature` and checks everything but
/// the signature.
pub(super) fn claim(
    header: &str,
    received: &Received<'_>,
    now_s: i64,
    windows: &Windows,
) -> Result<Claim, SignatureError> {
    let parameters = Parameters::parse(header)?;
    let key_id = checked_key_id(parameters.required("keyid", "keyId")?)?;
    let signature = digest::decode_base64(parameters.required("signature", "signature")?)
        .ok_or_else(|| SignatureError::malformed("the signature is not base64"))?;
    let signature = checked_signature(signature)?;
    let algorithm = algorithm(parameters.get("algorithm"))?;
    let names = covered(&parameters, !received.body.is_empty())?;
    let covers = |name: &str| names.iter().any(|covered| covered == name);
    if covers(CREATED) && !may_cover_created(parameters.get("algorithm")) {
        return Err(SignatureError::malformed("(created) goes with hs2019 only"));
    }

    let target = target(received)?;
    let message = Message {
        method: received.method,
        target: &target,
        headers: received.headers,
        created: parameters.get("created"),
        expires: parameters.get("expires"),
    };
    let base = message.signing_string(names.iter().map(String::as_str))?;
    check_host(received.headers, &target)?;

    let made = if covers(CREATED) { Some(parameters.seconds("created")?) } else { None };
    let dated = if covers("date") {
        let date = fields::combined(received.headers, "date")?.unwrap_or_default();
        Some(fields::parse_date(&date)?)
    } else {
        None
    };
    let expires = if parameters.get("expires").is_some() {
        Some(parameters.seconds("expires")?)
    } else {
        None
    };
    let created = made.or(dated).ok_or(SignatureError::MissingComponent("date"))?;
    let mut acceptable_until = windows.check(created, expires, now_s)?;
    if let Some(dated) = dated {
        acceptable_until = acceptable_until.min(windows.check_created(dated, now_s)?);
    }
    if covers("digest") {
        let value = fields::bounded(received.headers, &DIGEST)?.unwrap_or_default();
        digest::check_digest(&value, received.body)?;
    }
    Ok(Claim {
        scheme: Scheme::Cavage,
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

/// The names that the signature covers, in order, once they are enough and none stands twice.
fn covered(parameters: &Parameters, has_body: bool) -> Result<Vec<String>, SignatureError> {
    // Left out, the parameter means `(created)` alone (section 2.1.6), which is never enough.
    let names: Vec<String> = parameters
        .get("headers")
        .unwrap_or(CREATED)
        .split_ascii_whitespace()
        .take(MAX_COMPONENTS + 1)
        .map(str::to_ascii_lowercase)
        .collect();
    if names.len() > MAX_COMPONENTS {
        return Err(SignatureError::TooManyComponents);
    }
    let twice = |(index, name): (usize, &String)| names.iter().skip(index + 1).any(|n| n == name);
    if names.iter().enumerate().any(twice) {
        return Err(SignatureError::malformed("a header is covered twice"));
    }
    let covers = |name: &str| names.iter().any(|covered| covered == name);
    for needed in [REQUEST_TARGET, "host"] {
        if !covers(needed) {
            return Err(SignatureError::MissingComponent(needed));
        }
    }
    if !covers("date") && !covers(CREATED) {
        return Err(SignatureError::MissingComponent("date"));
    }
    if has_body && !covers("digest") {
        return Err(SignatureError::MissingComponent("digest"));
    }
    Ok(names)
}

/// What the algorithm parameter fixes; `hs2019` leaves it to the key.
fn algorithm(name: Option<&str>) -> Result<Option<Algorithm>, SignatureError> {
    match name.map(str::to_ascii_lowercase).as_deref() {
        None | Some("hs2019") => Ok(None),
        Some("rsa-sha256") => Ok(Some(Algorithm::RsaV15Sha256)),
        Some("ed25519") => Ok(Some(Algorithm::Ed25519)),
        Some(other) => Err(SignatureError::UnsupportedAlgorithm(shown(other))),
    }
}

/// Section 2.3: the older algorithm names forbid `(created)`.
fn may_cover_created(algorithm: Option<&str>) -> bool {
    !algorithm.is_some_and(|name| name.to_ascii_lowercase().starts_with("rsa"))
}

fn target(received: &Received<'_>) -> Result<Target, SignatureError> {
    Target::parse(received.target_uri)
        .ok_or_else(|| SignatureError::malformed("the request has no absolute address"))
}

/// The signed host must be us: `/inbox` of one server looks like `/inbox` of any other.
fn check_host(headers: &HeaderMap, target: &Target) -> Result<(), SignatureError> {
    let host = fields::combined(headers, "host")?.unwrap_or_default();
    if target.is_host(&host) {
        return Ok(());
    }
    Err(SignatureError::WrongHost { found: shown(&host), expected: target.authority.clone() })
}
