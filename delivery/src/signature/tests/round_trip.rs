use super::*;

const BOTH: [Scheme; 2] = [Scheme::Cavage, Scheme::Rfc9421];

#[test]
fn both_schemes_with_both_algorithms() {
    for scheme in BOTH {
        for key in [ed25519_key(), rsa_key()] {
            for (method, body) in [(Method::POST, BODY), (Method::GET, b"".as_slice())] {
                let sent = Sent::signed(scheme, &key, method, INBOX, body);
                let claim = sent.claim();
                claim.verify(&key.public()).unwrap();
                assert_eq!((claim.scheme, claim.key_id.as_str()), (scheme, KEY_ID));
                assert_eq!(claim.created, NOW_S);
                assert_eq!(
                    sent.headers.contains_key("digest"),
                    scheme == Scheme::Cavage && !body.is_empty()
                );
            }
        }
    }
}

#[test]
fn what_is_sent() {
    let sent = Sent::post(Scheme::Cavage, &rsa_key());
    assert!(sent.header("digest").starts_with("SHA-256="));
    assert_eq!(sent.header("date"), "Fri, 02 Jan 2026 03:04:05 GMT");
    let parameters = r#"algorithm="rsa-sha256",headers="(request-target) host date digest""#;
    assert!(sent.header("signature").contains(parameters));

    let sent = Sent::post(Scheme::Rfc9421, &rsa_key());
    assert_eq!(
        sent.header("signature-input"),
        format!(
            r#"sig1=("@method" "@target-uri" "content-digest");created={NOW_S};nonce="n1";alg="rsa-v1_5-sha256";keyid="{KEY_ID}""#
        )
    );
    assert!(sent.header("signature").starts_with("sig1=:"));
}

#[test]
fn the_other_key_does_not_verify() {
    let other = SecretKey::generate_ed25519(&SeededRandom::new(8));
    for scheme in BOTH {
        let sent = Sent::post(scheme, &ed25519_key());
        assert_eq!(sent.check(&other).unwrap_err(), SignatureError::BadSignature);
    }
    let sent = Sent::post(Scheme::Rfc9421, &ed25519_key());
    let refused = sent.check(&rsa_key()).unwrap_err();
    assert!(matches!(refused, SignatureError::AlgorithmMismatch { .. }), "{refused}");
    let sent = Sent::post(Scheme::Cavage, &rsa_key());
    let refused = sent.check(&ed25519_key()).unwrap_err();
    assert!(matches!(refused, SignatureError::AlgorithmMismatch { .. }), "{refused}");
}

#[test]
fn every_covered_part_counts() {
    let key = ed25519_key();
    for scheme in BOTH {
        let sent = Sent::post(scheme, &key);
        sent.check(&key).unwrap();
        let digest = match scheme {
            Scheme::Cavage => "digest",
            Scheme::Rfc9421 => "content-digest",
        };

        let mut other_body = sent.clone();
        other_body.body.push(b' ');
        assert_eq!(other_body.check(&key).unwrap_err(), SignatureError::DigestMismatch);
        let fitting = match scheme {
            Scheme::Cavage => BodyDigest::of(&other_body.body).digest(),
            Scheme::Rfc9421 => BodyDigest::of(&other_body.body).content_digest(),
        };
        let other_digest = other_body.set(digest, &fitting);
        assert_eq!(other_digest.check(&key).unwrap_err(), SignatureError::BadSignature);
        let mut without_digest = sent.clone();
        without_digest.headers.remove(digest);
        assert_eq!(
            without_digest.check(&key).unwrap_err(),
            SignatureError::AbsentField(digest.to_owned())
        );

        let other_method = Sent { method: Method::PUT, ..sent.clone() };
        assert_eq!(other_method.check(&key).unwrap_err(), SignatureError::BadSignature);
        for uri in [
            "https://bob.example/actors/bob/inbox?x=%C3%A4&y=2",
            "https://bob.example/actors/bob/inbox",
            "https://bob.example/inbox?x=%C3%A4&y=1",
        ] {
            let other_target = Sent { uri: uri.to_owned(), ..sent.clone() };
            assert_eq!(
                other_target.check(&key).unwrap_err(),
                SignatureError::BadSignature,
                "{uri}"
            );
        }
    }
}

#[test]
fn a_request_for_another_server_is_refused() {
    let key = ed25519_key();
    let here = "https://carol.example/actors/bob/inbox?x=%C3%A4&y=1".to_owned();
    let cavage = Sent { uri: here.clone(), ..Sent::post(Scheme::Cavage, &key) };
    let refused = cavage.check(&key).unwrap_err();
    assert!(matches!(refused, SignatureError::WrongHost { .. }), "{refused}");
    let relabelled = cavage.set("host", "carol.example");
    assert_eq!(relabelled.check(&key).unwrap_err(), SignatureError::BadSignature);
    let rfc9421 = Sent { uri: here, ..Sent::post(Scheme::Rfc9421, &key) };
    assert_eq!(rfc9421.check(&key).unwrap_err(), SignatureError::BadSignature);
}

#[test]
fn authorities_are_compared_in_normal_form() {
    let key = ed25519_key();
    for scheme in BOTH {
        for (sent_to, received_as) in [
            ("https://Bob.Example:443/inbox", "https://bob.example/inbox"),
            ("http://bob.example:80/inbox", "http://bob.example/inbox"),
            ("http://localhost:9999/inbox", "http://localhost:9999/inbox"),
            ("http://[::1]:9999/inbox", "http://[::1]:9999/inbox"),
            ("https://bob.example", "https://bob.example/"),
        ] {
            let mut sent = Sent::signed(scheme, &key, Method::POST, sent_to, BODY);
            sent.uri = received_as.to_owned();
            sent.check(&key).unwrap();
        }
    }
}

#[test]
fn times() {
    let key = ed25519_key();
    for scheme in BOTH {
        let sent = Sent::post(scheme, &key);
        sent.check_at(NOW_S + 12 * 3600, &key).unwrap();
        sent.check_at(NOW_S - 3600, &key).unwrap();
        assert_eq!(sent.claim().acceptable_until, NOW_S + 12 * 3600);
        assert_eq!(
            sent.check_at(NOW_S + 12 * 3600 + 1, &key).unwrap_err(),
            SignatureError::TooOld { age_s: 43_201, limit_s: 43_200 }
        );
        assert_eq!(
            sent.check_at(NOW_S - 3601, &key).unwrap_err(),
            SignatureError::FromTheFuture { ahead_s: 3601 }
        );
    }
    let later = Sent::post(Scheme::Cavage, &key).set("date", "Fri, 02 Jan 2026 03:04:06 GMT");
    assert_eq!(later.check(&key).unwrap_err(), SignatureError::BadSignature);
    let later = Sent::post(Scheme::Rfc9421, &key).edit(
        "signature-input",
        &format!("created={NOW_S}"),
        &format!("created={}", NOW_S + 1),
    );
    assert_eq!(later.check(&key).unwrap_err(), SignatureError::BadSignature);
}

#[test]
fn signed_parameters_cannot_be_changed() {
    let key = ed25519_key();
    let sent = Sent::post(Scheme::Rfc9421, &key);
    for (from, to) in [("n1", "n2"), ("#main-key", "#other"), (";alg=\"ed25519\"", "")] {
        let changed = sent.clone().edit("signature-input", from, to);
        assert_eq!(changed.check(&key).unwrap_err(), SignatureError::BadSignature, "{to}");
    }
}

#[test]
fn replay_keys() {
    let key = ed25519_key();
    let cavage = Sent::post(Scheme::Cavage, &key);
    let same = cavage.clone().edit("signature", "#main-key", "#MAIN").edit("signature", ",", " , ");
    assert_eq!(cavage.claim().replay_key, same.claim().replay_key);
    same.check(&key).unwrap();
    let other = Sent::post(Scheme::Rfc9421, &key);
    assert_ne!(cavage.claim().replay_key, other.claim().replay_key);
}

#[test]
fn signing_again_replaces_the_other_scheme() {
    let key = ed25519_key();
    let mut sent = Sent::post(Scheme::Rfc9421, &key);
    let uri: Uri = INBOX.parse().unwrap();
    let request = RequestToSign {
        method: &Method::POST,
        uri: &uri,
        digest: Some(&BodyDigest::of(BODY)),
        now: at(NOW_S),
        nonce: "n2",
    };
    let signer = Signer { key_id: KEY_ID, key: &key };
    sign(Scheme::Cavage, &request, &signer, &mut sent.headers, &random()).unwrap();
    assert_eq!(sent.claim().scheme, Scheme::Cavage);
    assert!(!sent.headers.contains_key("content-digest"));
    sent.check(&key).unwrap();
}

#[test]
fn what_cannot_be_signed() {
    let key = ed25519_key();
    let attempt = |scheme, uri: &str, key_id: &str, nonce: &str, host: bool| {
        let uri: Uri = uri.parse().unwrap();
        let request =
            RequestToSign { method: &Method::GET, uri: &uri, digest: None, now: at(NOW_S), nonce };
        let mut headers = HeaderMap::new();
        if host {
            headers.insert(HOST, "bob.example".parse().unwrap());
        }
        sign(scheme, &request, &Signer { key_id, key: &key }, &mut headers, &random())
    };
    for scheme in BOTH {
        for uri in ["/inbox", "ftp://bob.example/", "https://u:p@bob.example/"] {
            let refused = attempt(scheme, uri, KEY_ID, "n", true).unwrap_err();
            assert!(matches!(refused, SignError::NotAbsolute(_)), "{uri}: {refused}");
        }
        for key_id in ["", "https://a.example/\r\nX: 1", "https://ä.example"] {
            let refused = attempt(scheme, INBOX, key_id, "n", true).unwrap_err();
            assert!(matches!(refused, SignError::Unquotable("key id")), "{key_id}: {refused}");
        }
    }
    let quote = attempt(Scheme::Cavage, INBOX, "a\",x=\"", "n", true).unwrap_err();
    assert!(matches!(quote, SignError::Unquotable("key id")));
    let host = attempt(Scheme::Cavage, INBOX, KEY_ID, "n", false).unwrap_err();
    assert!(matches!(host, SignError::NoHost));
    let nonce = attempt(Scheme::Rfc9421, INBOX, KEY_ID, "\n", true).unwrap_err();
    assert!(matches!(nonce, SignError::Unquotable("nonce")));
}
