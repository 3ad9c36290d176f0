//! Whatever stands in the headers, the answer is an error and never a panic.

use proptest::prelude::*;

use super::*;

fn bare() -> Sent {
    let sent = Sent {
        method: Method::POST,
        uri: INBOX.to_owned(),
        headers: HeaderMap::new(),
        body: BODY.to_vec(),
    };
    sent.set("host", "bob.example")
        .set("date", "Fri, 02 Jan 2026 03:04:05 GMT")
        .set("digest", &BodyDigest::of(BODY).digest())
        .set("content-digest", &BodyDigest::of(BODY).content_digest())
}

fn raw(mut sent: Sent, name: &'static str, value: &[u8]) -> Sent {
    sent.headers.insert(name, HeaderValue::from_bytes(value).unwrap());
    sent
}

#[test]
fn very_long_headers() {
    let long = "a".repeat(MAX_HEADER_BYTES + 1);
    let too_long = |name: &str| Err(SignatureError::TooLong(name.to_owned()));
    let sent = bare().set("signature", &long);
    assert_eq!(sent.claim_at(NOW_S).map(|_| ()), too_long("signature"));
    let sent = bare().set("signature-input", &long).set("signature", "a=:AA:");
    assert_eq!(sent.claim_at(NOW_S).map(|_| ()), too_long("signature-input"));
    let sent = bare().set("authorization", &format!("Signature {long}"));
    assert_eq!(sent.claim_at(NOW_S).map(|_| ()), too_long("authorization"));
    let sent = Sent::post(Scheme::Cavage, &ed25519_key()).set("digest", &long);
    assert_eq!(sent.claim_at(NOW_S).map(|_| ()), too_long("digest"));

    let mut many = bare();
    for _ in 0..20 {
        many.headers.append("signature", "a".repeat(1000).parse().unwrap());
    }
    assert_eq!(many.claim_at(NOW_S).map(|_| ()), too_long("signature"));
}

#[test]
fn very_many_parts() {
    let parameters: String = (0..1000).map(|i| format!("a{i}=1,")).collect();
    let sent = bare().set("signature", &parameters);
    assert!(matches!(sent.claim_at(NOW_S), Err(SignatureError::Malformed(_))));
    let names: String = (0..1000).map(|i| format!(" x{i}")).collect();
    let sent = bare().set(
        "signature",
        &format!(
            "keyId=\"k\",signature=\"AAAA\",headers=\"(request-target) host date digest{names}\""
        ),
    );
    assert_eq!(sent.claim_at(NOW_S).unwrap_err(), SignatureError::TooManyComponents);
    let names: String = (0..1000).map(|i| format!(" \"x{i}\"")).collect();
    let sent = bare()
        .set("signature-input", &format!("x=({names});created={NOW_S};keyid=\"k\""))
        .set("signature", "x=:AAAA:");
    assert_eq!(sent.claim_at(NOW_S).unwrap_err(), SignatureError::TooManyComponents);
}

#[test]
fn non_ascii_is_refused() {
    for (name, value) in [
        ("signature", "keyId=\"ä\"".as_bytes()),
        ("signature-input", b"x=(\"\xff\")"),
        ("authorization", b"Signature \xff"),
    ] {
        let sent = raw(bare(), name, value);
        let refused = sent.claim_at(NOW_S);
        assert!(matches!(refused, Err(SignatureError::Malformed(_))), "{name}");
    }
    for scheme in [Scheme::Cavage, Scheme::Rfc9421] {
        let digest = if scheme == Scheme::Cavage { "digest" } else { "content-digest" };
        let sent = raw(Sent::post(scheme, &ed25519_key()), digest, b"\xff");
        assert!(matches!(sent.claim_at(NOW_S), Err(SignatureError::Malformed(_))));
    }
}

#[test]
fn times_at_the_ends_of_the_scale() {
    for created in ["-999999999999999", "999999999999999", "0"] {
        let sent = bare()
            .set(
                "signature-input",
                &format!(
                    "x=(\"@method\" \"@target-uri\" \"content-digest\");created={created};keyid=\"k\""
                ),
            )
            .set("signature", "x=:AAAA:");
        assert!(sent.claim_at(NOW_S).is_err());
    }
    for created in ["9223372036854775807", "99999999999999999999", "00000000000000000000"] {
        let sent = bare().set(
            "signature",
            &format!("keyId=k,signature=AAAA,created={created},headers=\"(request-target) (created) host digest\""),
        );
        assert!(sent.claim_at(NOW_S).is_err());
    }
}

#[test]
fn two_authorizations() {
    let mut sent = bare().set("authorization", "Signature keyId=\"k\",signature=\"AAAA\"");
    sent.headers.append("authorization", "Bearer token".parse().unwrap());
    assert!(sent.claim_at(NOW_S).is_err());
    let mut sent = bare().set("authorization", "Bearer token");
    sent.headers.append("authorization", "Signature keyId=\"k\"".parse().unwrap());
    assert!(matches!(sent.claim_at(NOW_S), Err(SignatureError::Malformed(_))));
}

/// Texts that are close enough to the grammars to reach deep into the parsers.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "keyId",
        "=",
        "\"",
        ",",
        "\\",
        "signature",
        "headers",
        "(request-target)",
        " ",
        "host",
        "date",
        "digest",
        "(created)",
        "created",
        "1767323045",
        "sig1",
        "(",
        ")",
        ";",
        ":",
        "AAAA",
        "\"@method\"",
        "\"@target-uri\"",
        "\"content-digest\"",
        "keyid",
        "alg",
        "ed25519",
        "@",
        "?1",
        "%\"",
        "-",
        ".",
        "sf",
        "\t",
        "sha-256",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics_on_nearly_valid_headers(
        input in nearly(),
        signature in nearly(),
        digest in nearly(),
        with_input: bool,
    ) {
        let mut sent = bare().set("signature", &signature).set("digest", &digest);
        sent = sent.set("content-digest", &digest);
        if with_input {
            sent = sent.set("signature-input", &input);
        }
        // Only the signature and its digest are in doubt here, so nothing can verify.
        if let Ok(Some(claim)) = sent.claim_at(NOW_S) {
            prop_assert!(claim.verify(&ed25519_key().public()).is_err());
        }
    }

    #[test]
    fn never_panics_on_any_bytes(
        name in prop::sample::select(vec![
            "signature", "signature-input", "digest", "content-digest", "date", "host", "authorization",
        ]),
        value in prop::collection::vec(any::<u8>(), 0..200),
        scheme in prop::sample::select(vec![Scheme::Cavage, Scheme::Rfc9421]),
    ) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut sent = Sent::post(scheme, &ed25519_key());
            sent.headers.insert(name, value);
            let _ = sent.check_at(NOW_S, &ed25519_key()).is_ok();
        }
    }

    #[test]
    fn any_target_round_trips(path in "(/[a-zA-Z0-9._~%!$&'()*+,;=:@-]{0,12}){0,4}", query in "(\\?[a-z0-9=&/?%+-]{0,20})?") {
        let uri = format!("https://bob.example{path}{query}");
        if uri.parse::<Uri>().is_ok() {
            for scheme in [Scheme::Cavage, Scheme::Rfc9421] {
                let sent = Sent::signed(scheme, &ed25519_key(), Method::POST, &uri, BODY);
                sent.check(&ed25519_key()).unwrap();
            }
        }
    }
}
