//! HTTP signatures made by hand, so that they can be wrong in every way.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedsx_kernel::runtime::OsRandom;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::case::{Http, Scheme};
use crate::support::peer::{SigningKey, unique};

/// A request that is to be signed.
pub struct ToSign<'a> {
    /// `http://host:port` of the receiver.
    pub base: &'a str,
    pub path: &'a str,
    pub body: &'a [u8],
    pub key_id: &'a str,
    pub key: &'a SigningKey<'a>,
}

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The header fields of a signed request.
pub fn headers(http: &Http, request: &ToSign<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match http.scheme {
        Scheme::None => {}
        Scheme::Cavage => cavage(http, request, &mut headers),
        Scheme::Rfc9421 => rfc9421(http, request, &mut headers),
    }
    for (name, value) in &http.replace {
        let name: HeaderName = name.parse().expect("a header name");
        match value {
            Some(value) => headers.insert(name, value.parse().expect("a header value")),
            None => headers.remove(name),
        };
    }
    headers
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
}

fn cavage(http: &Http, request: &ToSign<'_>, headers: &mut HeaderMap) {
    let usual = ["(request-target)", "host", "date", "digest"].map(str::to_owned).to_vec();
    let covers = http.covers.clone().unwrap_or(usual);
    let made = Timestamp::now() - jiff::SignedDuration::from_secs(http.age_s);
    let date = http_date(made);
    let body = http.digest_of.as_deref().map_or(request.body, str::as_bytes);
    let digest = format!("SHA-256={}", sha256(body));
    let authority = request.base.trim_start_matches("http://");
    let expires = http.expires_in_s.map(|s| Timestamp::now().as_second() + s);
    let lines: Vec<String> = covers
        .iter()
        .map(|name| {
            let value = match name.as_str() {
                "(request-target)" => format!(
                    "{} {}",
                    http.method.as_deref().unwrap_or("post"),
                    http.path.as_deref().unwrap_or(request.path)
                ),
                "host" => http.host.as_deref().unwrap_or(authority).to_owned(),
                "date" => date.clone(),
                "digest" => digest.clone(),
                "(created)" => made.as_second().to_string(),
                "(expires)" => expires.expect("expires_in_s").to_string(),
                other => panic!("{other} cannot be covered here"),
            };
            format!("{name}: {value}")
        })
        .collect();
    put(headers, "date", &date);
    put(headers, "digest", &digest);
    let signature = STANDARD.encode(request.key.sign(lines.join("\n").as_bytes(), &OsRandom));
    let mut parameters = format!(
        r#"keyId="{}",algorithm="{}",headers="{}","#,
        request.key_id,
        http.algorithm.as_deref().unwrap_or("hs2019"),
        covers.join(" "),
    );
    if covers.iter().any(|name| name == "(created)") {
        parameters.push_str(&format!("created={},", made.as_second()));
    }
    if let Some(expires) = expires {
        parameters.push_str(&format!("expires={expires},"));
    }
    put(headers, "signature", &format!(r#"{parameters}signature="{signature}""#));
}

fn rfc9421(http: &Http, request: &ToSign<'_>, headers: &mut HeaderMap) {
    let usual = ["@method", "@target-uri", "content-digest"].map(str::to_owned).to_vec();
    let covers = http.covers.clone().unwrap_or(usual);
    let body = http.digest_of.as_deref().map_or(request.body, str::as_bytes);
    let digest = format!("sha-256=:{}:", sha256(body));
    let created = Timestamp::now().as_second() - http.age_s;
    let base =
        http.host.as_deref().map_or(request.base.to_owned(), |host| format!("http://{host}"));
    let path = http.path.as_deref().unwrap_or(request.path);
    let mut lines: Vec<String> = covers
        .iter()
        .map(|name| {
            let value = match name.as_str() {
                "@method" => http.method.as_deref().unwrap_or("POST").to_owned(),
                "@target-uri" => format!("{base}{path}"),
                "@authority" => base.trim_start_matches("http://").to_owned(),
                "@path" => path.to_owned(),
                "content-digest" => digest.clone(),
                other => panic!("{other} cannot be covered here"),
            };
            format!("\"{name}\": {value}")
        })
        .collect();
    let quoted: Vec<String> = covers.iter().map(|name| format!("\"{name}\"")).collect();
    let mut input = format!("({});created={created}", quoted.join(" "));
    if let Some(expires) = http.expires_in_s {
        input.push_str(&format!(";expires={}", Timestamp::now().as_second() + expires));
    }
    input.push_str(&format!(
        ";nonce=\"{:032x}\";keyid=\"{}\";alg=\"{}\"",
        unique(),
        request.key_id,
        http.algorithm.as_deref().unwrap_or(request.key.algorithm()),
    ));
    lines.push(format!("\"@signature-params\": {input}"));
    let signature = STANDARD.encode(request.key.sign(lines.join("\n").as_bytes(), &OsRandom));
    put(headers, "content-digest", &digest);
    put(headers, "signature-input", &format!("sig1={input}"));
    put(headers, "signature", &format!("sig1=:{signature}:"));
}
