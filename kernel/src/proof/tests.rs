#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::keys::PublicKey;
use crate::runtime::SeededRandom;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => panic!("not an object"),
    }
}

fn note() -> Map<String, Value> {
    object(json!({
        "@context": ["https://www.w3.org/ns/activitystreams", {"seq": "https://example.org/ns#seq"}],
        "type": "Create",
        "actor": "https://example.org/actors/alice",
        "seq": 3,
        "object": {"type": "Note", "content": "Hello"},
    }))
}

fn key(seed: u64) -> SecretKey {
    SecretKey::generate_ed25519(&SeededRandom::new(seed))
}

fn signed(document: &Map<String, Value>, secret: &SecretKey) -> Map<String, Value> {
    let options = SignOptions {
        verification_method: "https://example.org/actors/alice#key-1",
        created: "2026-11-21T12:00:00.75Z".parse().unwrap(),
    };
    let proof = sign(document, secret, &options, &SeededRandom::new(9)).unwrap();
    let mut secured = document.clone();
    secured.insert("proof".into(), proof);
    secured
}

fn with_proof(document: &Map<String, Value>, proof: Value) -> Map<String, Value> {
    let mut secured = document.clone();
    secured.insert("proof".into(), proof);
    secured
}

fn verify(document: &Map<String, Value>, key: &PublicKey) -> Result<(), ProofError> {
    Suites::standard().verify(document, key)
}

#[test]
fn what_is_signed_verifies() {
    let secret = key(1);
    let secured = signed(&note(), &secret);
    verify(&secured, &secret.public()).unwrap();
    let proof = object(secured["proof"].clone());
    let mut names: Vec<_> = proof.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "@context",
        "created",
        "cryptosuite",
        "proofPurpose",
        "proofValue",
        "type",
        "verificationMethod",
    ];
    assert_eq!(names, expected);
    assert_eq!(proof["@context"], secured["@context"]);
    assert_eq!(proof["created"], "2026-11-21T12:00:00Z");
    let again = signed(&secured, &secret);
    assert_eq!(again, secured, "an existing proof is not covered");
}

#[test]
fn a_document_without_context_is_signed_without() {
    let secret = key(1);
    let mut document = note();
    document.remove("@context");
    let mut secured = signed(&document, &secret);
    assert!(secured["proof"].get("@context").is_none());
    verify(&secured, &secret.public()).unwrap();
    secured.insert("@context".into(), "https://www.w3.org/ns/activitystreams".into());
    assert!(matches!(verify(&secured, &secret.public()), Err(ProofError::Invalid)));
}

#[test]
fn changes_and_other_keys_are_noticed() {
    let secret = key(1);
    let secured = signed(&note(), &secret);
    assert!(matches!(verify(&secured, &key(2).public()), Err(ProofError::Invalid)));
    for (member, value) in [("seq", json!(4)), ("more", json!(null)), ("object", json!("x"))] {
        let mut changed = secured.clone();
        changed.insert(member.into(), value);
        assert!(matches!(verify(&changed, &secret.public()), Err(ProofError::Invalid)), "{member}");
    }
    for (member, value) in [
        ("created", json!("2026-11-21T12:00:01Z")),
        ("verificationMethod", json!("https://example.org/actors/alice#key-2")),
        ("nonce", json!("1")),
    ] {
        let mut changed = secured.clone();
        changed["proof"][member] = value;
        assert!(matches!(verify(&changed, &secret.public()), Err(ProofError::Invalid)), "{member}");
    }
}

/// Fedify up to 2.3.6 signs the proof with the document's `@context` in it, and sends it without.
#[test]
fn a_context_that_was_signed_but_not_sent() {
    let secret = key(1);
    let mut proof = object(signed(&note(), &secret)["proof"].clone());
    proof.remove("@context");
    let secured = with_proof(&note(), Value::Object(proof.clone()));
    verify(&secured, &secret.public()).unwrap();
    let mut changed = secured;
    changed["@context"] = json!(["https://www.w3.org/ns/activitystreams"]);
    assert!(matches!(verify(&changed, &secret.public()), Err(ProofError::Invalid)));

    // One that was sent is the one that was signed.
    for (context, begins) in [
        (json!("https://www.w3.org/ns/activitystreams"), true),
        (json!([]), true),
        (json!(null), false),
        (json!("https://example.org/ns"), false),
    ] {
        proof.insert("@context".into(), context.clone());
        let verdict = verify(&with_proof(&note(), Value::Object(proof.clone())), &secret.public());
        match verdict {
            Err(ProofError::Invalid) => assert!(begins, "{context}"),
            Err(ProofError::Context) => assert!(!begins, "{context}"),
            other => panic!("{context}: {other:?}"),
        }
    }
}

#[test]
fn the_proof_that_counts() {
    let secret = key(1);
    let good = signed(&note(), &secret)["proof"].clone();
    let old = json!({"type": "RsaSignature2017", "signatureValue": "x"});
    let mut unknown = good.clone();
    unknown["cryptosuite"] = json!("mldsa44-jcs-2024");

    for none in [json!(null), json!([]), old.clone(), json!([old])] {
        let document = with_proof(&note(), none);
        assert_eq!(head(&document).unwrap(), None);
        assert!(matches!(verify(&document, &secret.public()), Err(ProofError::Missing)));
    }
    assert_eq!(head(&note()).unwrap(), None);

    for known in [json!([old, unknown, good]), json!([good, unknown]), good.clone()] {
        let document = with_proof(&note(), known);
        assert_eq!(head(&document).unwrap().unwrap().cryptosuite, "eddsa-jcs-2022");
        verify(&document, &secret.public()).unwrap();
    }

    let document = with_proof(&note(), json!([old, unknown]));
    assert_eq!(head(&document).unwrap().unwrap().cryptosuite, "mldsa44-jcs-2024");
    let refused = verify(&document, &secret.public());
    assert!(matches!(refused, Err(ProofError::UnknownSuite(name)) if name == "mldsa44-jcs-2024"));

    let many = vec![old; MAX_PROOFS + 1];
    assert!(matches!(head(&with_proof(&note(), many.into())), Err(ProofError::TooMany)));
}

#[test]
fn malformed_proofs_are_refused() {
    let secret = key(1);
    let good = signed(&note(), &secret)["proof"].clone();
    for (member, value) in [
        ("proofPurpose", json!("authentication")),
        ("proofPurpose", json!(["assertionMethod"])),
        ("verificationMethod", json!({"id": "x"})),
        ("verificationMethod", json!("x".repeat(3000))),
        ("cryptosuite", json!(null)),
        ("cryptosuite", json!("x".repeat(65))),
        ("created", json!("yesterday")),
        ("created", json!(5)),
        ("expires", json!("")),
        ("proofValue", json!(null)),
        ("proofValue", json!("")),
        ("proofValue", json!("z")),
        ("proofValue", json!("zz")),
        ("proofValue", json!("z0OIl")),
        ("proofValue", json!("z".repeat(100_000))),
        ("proofValue", json!(format!("u{}", "A".repeat(86)))),
    ] {
        let mut proof = good.clone();
        proof[member] = value.clone();
        let refused = verify(&with_proof(&note(), proof), &secret.public());
        assert!(matches!(refused, Err(ProofError::Member(..))), "{member} {value}: {refused:?}");
    }
    for other in [json!("x"), json!(1), json!([good, "x"]), json!(["x", good])] {
        let document = with_proof(&note(), other);
        let _ = head(&document);
        let _ = verify(&document, &secret.public());
    }
    assert!(head(&with_proof(&note(), json!("x"))).is_err());
    assert!(head(&with_proof(&note(), json!(["x", good]))).is_err());
}

#[test]
fn what_the_head_says() {
    let mut proof = signed(&note(), &key(1))["proof"].clone();
    proof["expires"] = json!("2027-01-01T00:00:00Z");
    let head = head(&with_proof(&note(), proof)).unwrap().unwrap();
    assert_eq!(head.verification_method, "https://example.org/actors/alice#key-1");
    assert_eq!(head.created.unwrap().to_string(), "2026-11-21T12:00:00Z");
    assert_eq!(head.expires.unwrap().to_string(), "2027-01-01T00:00:00Z");
}

#[test]
fn rsa_keys_are_for_other_things() {
    let random = SeededRandom::new(1);
    let rsa = SecretKey::generate_rsa(&random).unwrap();
    let options = SignOptions { verification_method: "x", created: Timestamp::UNIX_EPOCH };
    let refused = sign(&note(), &rsa, &options, &random);
    assert!(matches!(refused, Err(ProofError::WrongKey(Algorithm::RsaV15Sha256))));
    let refused = verify(&signed(&note(), &key(1)), &rsa.public());
    assert!(matches!(refused, Err(ProofError::WrongKey(Algorithm::RsaV15Sha256))));
}

#[test]
fn suites_are_named() {
    let suites = Suites::standard();
    assert_eq!(suites.names(), ["eddsa-jcs-2022"]);
    assert!(suites.knows("eddsa-jcs-2022") && !suites.knows("eddsa-rdfc-2022"));
}
