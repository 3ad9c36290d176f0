//! What others make of what we sign, and we of what they sign: the crate httpsig in both roles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedsx_kernel::keys::Algorithm;
use httpsig::prelude::message_component::HttpMessageComponent;
use httpsig::prelude::{
    AlgorithmName, HttpSignatureBase, HttpSignatureHeaders, HttpSignatureParams, PublicKey,
    SecretKey, VerifyingKey as _,
};

use super::*;

/// A private key, as the other library reads it.
fn theirs(key: &fedsx_kernel::keys::SecretKey) -> SecretKey {
    let bytes = key.to_secret_bytes();
    match key.algorithm() {
        Algorithm::Ed25519 => SecretKey::from_bytes(&AlgorithmName::Ed25519, &bytes).unwrap(),
        Algorithm::RsaV15Sha256 => {
            let lines: Vec<_> = STANDARD.encode(&*bytes).into_bytes();
            let lines = lines.chunks(64).map(|line| std::str::from_utf8(line).unwrap());
            let body = lines.collect::<Vec<_>>().join("\n");
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            SecretKey::from_pem(&AlgorithmName::RsaV1_5Sha256, &pem).unwrap()
        }
    }
}

/// The public half, from the PEM that actor documents have where it is RSA.
fn public(key: &fedsx_kernel::keys::SecretKey) -> PublicKey {
    match key.algorithm() {
        Algorithm::Ed25519 => theirs(key).public_key(),
        Algorithm::RsaV15Sha256 => {
            let pem = key.public().to_pem().unwrap();
            PublicKey::from_pem(&AlgorithmName::RsaV1_5Sha256, &pem).unwrap()
        }
    }
}

/// The value of a component, worked out without any code that is tested here.
fn value_of(name: &str, sent: &Sent) -> String {
    let (_, rest) = sent.uri.split_once("://").unwrap();
    let (authority, path) = rest.split_at(rest.find('/').unwrap());
    match name {
        "@method" => sent.method.as_str().to_owned(),
        "@target-uri" => sent.uri.clone(),
        "@authority" => authority.to_owned(),
        "@path" => path.split('?').next().unwrap().to_owned(),
        "@query" => format!("?{}", path.split_once('?').map_or("", |(_, query)| query)),
        field => sent.header(field),
    }
}

fn base_of(params: &str, sent: &Sent) -> HttpSignatureBase {
    let (covered, _) = params.strip_prefix('(').unwrap().split_once(')').unwrap();
    let lines: Vec<_> = covered
        .split(' ')
        .map(|name| format!("{name}: {}", value_of(name.trim_matches('"'), sent)))
        .map(|line| HttpMessageComponent::try_from(line.as_str()).unwrap())
        .collect();
    let params = HttpSignatureParams::try_from(params).unwrap();
    HttpSignatureBase::try_new(&lines, &params).unwrap()
}

/// Whether the other library takes a request with this key.
fn they_take(sent: &Sent, key: &fedsx_kernel::keys::SecretKey) -> bool {
    let (signature, input) = (sent.header("signature"), sent.header("signature-input"));
    let all = HttpSignatureHeaders::try_parse(&signature, &input).unwrap();
    assert_eq!(all.len(), 1, "exactly one signature");
    let (label, headers) = all.iter().next().unwrap();
    let params = input.strip_prefix(&format!("{label}=")).unwrap();
    base_of(params, sent).verify_signature_headers(&public(key), headers).is_ok()
}

#[test]
fn they_take_what_is_signed_here() {
    for key in [ed25519_key(), rsa_key()] {
        for (method, body) in [(Method::POST, BODY), (Method::GET, b"".as_slice())] {
            let sent = Sent::signed(Scheme::Rfc9421, &key, method, INBOX, body);
            assert!(they_take(&sent, &key), "{}", key.algorithm());
            let other = Sent { uri: INBOX.replace("bob", "eve"), ..sent.clone() };
            assert!(!they_take(&other, &key), "another target");
            let other = Sent { method: Method::PUT, ..sent };
            assert!(!they_take(&other, &key), "another method");
        }
    }
}

#[test]
fn they_take_what_they_asked_for() {
    for key in [ed25519_key(), rsa_key()] {
        let mut asking = HeaderMap::new();
        let ask = r#"x=("@method" "@authority" "@path" "@query" "date" "host");nonce="n2";tag="t""#;
        asking.insert(ACCEPT_SIGNATURE, ask.parse().unwrap());
        let ask = Ask::of(&asking).unwrap();
        let uri: Uri = INBOX.parse().unwrap();
        let mut sent = Sent {
            method: Method::POST,
            uri: INBOX.to_owned(),
            headers: HeaderMap::new(),
            body: BODY.to_vec(),
        };
        sent.headers.insert(HOST, "bob.example".parse().unwrap());
        let request = RequestToSign {
            method: &Method::POST,
            uri: &uri,
            digest: Some(&BodyDigest::of(BODY)),
            now: at(NOW_S),
            nonce: "n1",
        };
        let signer = Signer { key_id: KEY_ID, key: &key };
        let (scheme, headers) = (Scheme::Rfc9421, &mut sent.headers);
        sign_asked(scheme, &request, &signer, headers, &random(), Some(&ask)).unwrap();
        let input = sent.header("signature-input");
        let covered = r#"("@method" "@target-uri" "content-digest" "@authority" "@path" "@query" "date" "host")"#;
        assert!(input.contains(covered), "{input}");
        assert!(input.contains(r#"nonce="n2""#) && input.contains(r#"tag="t""#), "{input}");
        assert!(they_take(&sent, &key) && sent.check(&key).is_ok());
    }
}

/// A request that the other library signs.
fn signed_by_them(key: &fedsx_kernel::keys::SecretKey, covered: &str, with_alg: bool) -> Sent {
    let digest = BodyDigest::of(BODY).content_digest();
    let mut sent = Sent {
        method: Method::POST,
        uri: INBOX.to_owned(),
        headers: HeaderMap::new(),
        body: BODY.to_vec(),
    }
    .set("host", "bob.example")
    .set("content-digest", &digest)
    .set("content-type", "application/activity+json");
    let algorithm = public(key).alg();
    let alg = if with_alg { format!(r#";alg="{}""#, algorithm.as_str()) } else { String::new() };
    let params = format!(r#"({covered});created={NOW_S};keyid="{KEY_ID}"{alg}"#);
    let headers = base_of(&params, &sent).build_signature_headers(&theirs(key), Some("them"));
    let headers = headers.unwrap();
    sent = sent.set("signature-input", &headers.signature_input_header_value());
    sent.set("signature", &headers.signature_header_value())
}

#[test]
fn what_they_sign_is_taken_here() {
    for key in [ed25519_key(), rsa_key()] {
        for covered in [
            r#""@method" "@target-uri" "content-digest""#,
            r#""content-digest" "content-type" "@target-uri" "host" "@method""#,
            r#""@method" "@authority" "@path" "@query" "content-digest""#,
        ] {
            for with_alg in [true, false] {
                let sent = signed_by_them(&key, covered, with_alg);
                sent.check(&key).unwrap_or_else(|e| panic!("{} {covered}: {e}", key.algorithm()));
                let spoilt = Sent { body: br#"{"type":"Delete"}"#.to_vec(), ..sent.clone() };
                assert_eq!(spoilt.check(&key), Err(SignatureError::DigestMismatch));
                let spoilt = Sent { uri: INBOX.replace("y=1", "y=2"), ..sent };
                assert_eq!(spoilt.check(&key), Err(SignatureError::BadSignature));
            }
        }
        let sent = signed_by_them(&key, r#""@method" "@target-uri""#, true);
        assert_eq!(sent.check(&key), Err(SignatureError::MissingComponent("content-digest")));
    }
}

/// A proxy put its own signature before or behind that of the sender.
#[test]
fn of_several_signatures_the_first_good_one_counts() {
    let key = ed25519_key();
    let sent = signed_by_them(&key, r#""@method" "@target-uri" "content-digest""#, true);
    let (input, signature) = (sent.header("signature-input"), sent.header("signature"));
    let others = [
        (r#"proxy=("@method");created=1;keyid="p";alg="ecdsa-p256-sha256""#, "proxy=:AAAA:"),
        (r#"proxy=("@status");created=1"#, "proxy=:AAAA:"),
        (r#"proxy=("@method" "@authority");created=1"#, "other=:AAAA:"),
    ];
    for (other_input, other_signature) in others {
        for first in [true, false] {
            let join = |own: &str, other: &str| match first {
                true => format!("{other}, {own}"),
                false => format!("{own}, {other}"),
            };
            let both = sent
                .clone()
                .set("signature-input", &join(&input, other_input))
                .set("signature", &join(&signature, other_signature));
            both.check(&key).unwrap();
        }
        let alone =
            sent.clone().set("signature-input", other_input).set("signature", other_signature);
        assert!(alone.check(&key).is_err());
    }
    let many = (0..20).map(|n| format!(r#"p{n}=("@status")"#)).collect::<Vec<_>>().join(", ");
    let late = sent.set("signature-input", &format!("{many}, {input}"));
    assert!(late.check(&key).is_err(), "there is an end to looking");
}
