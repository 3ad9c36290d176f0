//! Published test vectors for everything that identity rests on: canonical JSON, canonical CBOR,
//! CIDs, keys and proofs. Where the data comes from stands in `data/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::PathBuf;

use fedsx_kernel::canonical::{from_dag_cbor, to_dag_cbor, to_jcs};
use fedsx_kernel::keys::{Algorithm, KeyError, PublicKey, SecretKey};
use fedsx_kernel::proof::{self, ProofError, SignOptions, Suites};
use fedsx_kernel::runtime::SeededRandom;
use fedsx_kernel::{Activity, Cid, json};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

fn text(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn jcs(value: &Value) -> String {
    String::from_utf8(to_jcs(value).unwrap()).unwrap()
}

#[test]
fn jcs_documents() {
    for name in [
        "arrays",
        "french",
        "structures",
        "unicode",
        "values",
        "weird",
        "rfc8785-3.2.2-example",
        "rfc8785-3.2.3-sorting",
    ] {
        let input: Value = serde_json::from_str(&text(&format!("jcs/{name}.input.json"))).unwrap();
        assert_eq!(jcs(&input), text(&format!("jcs/{name}.expected.json")), "{name}");
    }
}

#[test]
fn jcs_numbers() {
    let table = text("jcs/numbers.txt");
    assert_eq!(table.lines().count(), 24);
    for line in table.lines() {
        let (bits, expected) = line.split_once(' ').unwrap();
        let number = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
        assert_eq!(jcs(&Value::from(number)), expected, "{bits}");
    }
    // The table's NaN and infinity have no JSON form: they cannot even become a JSON value.
    assert_eq!(Value::from(f64::from_bits(0x7fff_ffff_ffff_ffff)), Value::Null);
    assert_eq!(Value::from(f64::from_bits(0x7ff0_0000_0000_0000)), Value::Null);
}

#[test]
fn dag_cbor_and_cids() {
    let Value::Array(vectors) = serde_json::from_str(&text("cids.json")).unwrap() else { panic!() };
    for vector in vectors {
        let source = vector["json"].as_str().unwrap();
        let cbor = hex::decode(vector["cbor"].as_str().unwrap()).unwrap();
        let value = json::parse(source.as_bytes()).unwrap();
        assert_eq!(hex::encode(to_dag_cbor(&value).unwrap()), hex::encode(&cbor), "{source}");
        assert_eq!(from_dag_cbor(&cbor).unwrap(), value, "{source}");
        let cid = Cid::of(&value).unwrap();
        assert_eq!(cid.to_string(), vector["cid"].as_str().unwrap(), "{source}");
        assert_eq!(Cid::of_block(&cbor), cid);
        assert_eq!(cid.to_string().parse::<Cid>().unwrap(), cid);
        assert_eq!(Cid::from_bytes(&cid.to_bytes()).unwrap(), cid);
        assert_eq!(hex::encode(&cid.to_bytes()[..4]), "01711e20");
    }
}

#[test]
fn cbor_that_is_not_canonical_is_refused() {
    for (bytes, why) in [
        ("1801", "1 in two bytes"),
        ("1900ff", "255 in three bytes"),
        ("1b0000000000000001", "1 in nine bytes"),
        ("7801 61", "a length in two bytes that fits in one"),
        ("9f01ff", "an array of indefinite length"),
        ("bf616101ff", "a map of indefinite length"),
        ("7f6161ff", "a string of indefinite length"),
        ("a2 626262 02 6161 01", "the longer key first"),
        ("a2 6162 02 6161 01", "keys of one length out of order"),
        ("a2 6161 01 6161 02", "a key twice"),
        ("a1 01 02", "a key that is a number"),
        ("f93e00", "1.5 as half float"),
        ("fa3fc00000", "1.5 as single float"),
        ("fb3ff0000000000000", "1.0 as float, which has an integer form"),
        ("fb8000000000000000", "-0.0"),
        ("fb7ff8000000000000", "NaN"),
        ("fb7ff0000000000000", "infinity"),
        ("1b0020000000000000", "2^53"),
        ("3b001fffffffffffff", "-2^53"),
        ("1bffffffffffffffff", "2^64-1"),
        ("fb4340000000000000", "2^53 as float"),
        ("f7", "undefined"),
        ("e0", "a simple value"),
        ("4100", "bytes, which JSON does not have"),
        ("c11a514b67b0", "a tagged time"),
        ("0000", "a second value"),
        ("61ff", "a string that is not UTF-8"),
        ("8201", "an array cut short"),
        ("", "nothing"),
        ("9b7fffffffffffffff", "an array longer than the world"),
    ] {
        let bytes = hex::decode(bytes.replace(' ', "")).unwrap();
        assert!(from_dag_cbor(&bytes).is_err(), "{why}");
    }
    let link = [hex::decode("d82a582500").unwrap(), Cid::of_block(&[0xa0]).to_bytes()].concat();
    assert!(from_dag_cbor(&link).is_err(), "a link, which JSON does not have");
    assert!(from_dag_cbor(&[vec![0x81; 100_000], vec![0x80]].concat()).is_err(), "too deep");
}

#[test]
fn other_cids_are_refused() {
    let cid = "bafyr4ia7stf7ge5tzyrsk6tskhva7sk2erkw5jqr4t4pi5pfjglrxlw3ai";
    assert!(cid.parse::<Cid>().is_ok());
    for other in [
        "",
        "b",
        &cid[..cid.len() - 1],
        &cid.to_uppercase(),
        &format!("{cid}a"),
        &format!(" {cid}"),
        // dag-cbor with sha2-256, raw with sha2-256, and a CIDv0.
        "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
    ] {
        assert!(other.parse::<Cid>().is_err(), "{other:?}");
    }
}

struct ProofVector {
    secured: Map<String, Value>,
    secret: SecretKey,
    public: PublicKey,
    steps: Value,
}

fn proof_vector(name: &str) -> ProofVector {
    let vector = json::parse(text(&format!("proofs/{name}.json")).as_bytes()).unwrap();
    let (_, secret) = multibase::decode(vector["secretKeyMultibase"].as_str().unwrap()).unwrap();
    // Multicodec prefix of an Ed25519 private key.
    let seed = secret.strip_prefix(&[0x80, 0x26]).unwrap();
    ProofVector {
        secured: vector["secured"].as_object().unwrap().clone(),
        secret: SecretKey::from_secret_bytes(Algorithm::Ed25519, seed).unwrap(),
        public: PublicKey::from_multibase(vector["publicKeyMultibase"].as_str().unwrap()).unwrap(),
        steps: vector["steps"].clone(),
    }
}

const VECTORS: [&str; 4] =
    ["w3c-eddsa-jcs-2022", "w3c-eddsa-jcs-2022-issuer-key", "fep-8b32", "fep-8b32-without-context"];

#[test]
fn multikeys() {
    for name in VECTORS {
        let vector = proof_vector(name);
        assert_eq!(vector.secret.public(), vector.public);
        assert_eq!(
            vector.secret.public().to_multibase().unwrap(),
            "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2"
        );
    }
}

#[test]
fn published_proofs_verify() {
    for name in VECTORS {
        let vector = proof_vector(name);
        Suites::standard().verify(&vector.secured, &vector.public).expect(name);
        let head = proof::head(&vector.secured).unwrap().unwrap();
        assert_eq!(head.cryptosuite, "eddsa-jcs-2022");
        assert_eq!(head.created.unwrap().to_string(), "2023-02-24T23:36:38Z");
        let mut changed = vector.secured.clone();
        changed.insert("type".into(), "Delete".into());
        let refused = Suites::standard().verify(&changed, &vector.public);
        assert!(matches!(refused, Err(ProofError::Invalid)), "{name}: {refused:?}");
    }
}

#[test]
fn signing_gives_the_published_proofs() {
    for name in VECTORS.into_iter().filter(|name| *name != "fep-8b32-without-context") {
        let vector = proof_vector(name);
        let mut document = vector.secured.clone();
        let expected = document.remove("proof").unwrap();
        let options = SignOptions {
            verification_method: expected["verificationMethod"].as_str().unwrap(),
            created: "2023-02-24T23:36:38.987Z".parse().unwrap(),
        };
        let random = SeededRandom::new(1);
        let proof = proof::sign(&document, &vector.secret, &options, &random).unwrap();
        assert_eq!(proof, expected, "{name}");
    }
}

#[test]
fn the_steps_of_the_w3c_vector() {
    let ProofVector { mut secured, secret, steps, .. } = proof_vector("w3c-eddsa-jcs-2022");
    let mut proof = secured.remove("proof").unwrap();
    let value = proof.as_object_mut().unwrap().remove("proofValue").unwrap();
    let document = jcs(&Value::Object(secured));
    let proof = jcs(&proof);
    assert_eq!(document, steps["canonicalDocument"].as_str().unwrap());
    assert_eq!(proof, steps["canonicalProof"].as_str().unwrap());
    let (document, proof) = (Sha256::digest(document), Sha256::digest(proof));
    assert_eq!(hex::encode(document), steps["documentHash"].as_str().unwrap());
    assert_eq!(hex::encode(proof), steps["proofHash"].as_str().unwrap());
    let signed = [proof, document].concat();
    let signature = secret.sign(&signed, &SeededRandom::new(1)).unwrap();
    assert_eq!(hex::encode(&signature), steps["signature"].as_str().unwrap());
    assert_eq!(multibase::encode(multibase::Base::Base58Btc, signature), value.as_str().unwrap());
}

#[test]
fn a_longer_context_than_the_signed_one_verifies_and_a_shorter_does_not() {
    // Data Integrity EdDSA Cryptosuites, section 3.3.2: the document's @context begins with the
    // proof's.
    let ProofVector { secured, public, .. } = proof_vector("w3c-eddsa-jcs-2022");
    let with = |context: Value| {
        let mut document = secured.clone();
        document.insert("@context".into(), context);
        Suites::standard().verify(&document, &public)
    };
    let v2 = "https://www.w3.org/ns/credentials/v2";
    let examples = "https://www.w3.org/ns/credentials/examples/v2";
    with(vec![v2, examples, "https://example.org/more"].into()).unwrap();
    for other in [
        Value::Null,
        v2.into(),
        vec![v2].into(),
        vec![examples, v2].into(),
        vec!["https://example.org/more", v2, examples].into(),
    ] {
        let refused = with(other.clone());
        assert!(matches!(refused, Err(ProofError::Context)), "{other}: {refused:?}");
    }
}

/// The proof was made before the linked data signature was attached, so it does not cover it.
#[test]
fn a_linked_data_signature_is_no_part_of_the_activity() {
    let name = "proofs/fedify-2.3.6-with-linked-data-signature.json";
    let vector: Value = serde_json::from_str(&text(name)).unwrap();
    let key = PublicKey::from_multibase(vector["publicKeyMultibase"].as_str().unwrap()).unwrap();
    let sent = vector["sent"].as_object().unwrap();
    assert!(Suites::standard().verify(sent, &key).is_err(), "as sent it does not hold");

    let activity = Activity::from_document(vector["sent"].clone()).unwrap();
    assert!(activity.get("signature").is_none());
    Suites::standard().verify(activity.document(), &key).unwrap();
    // Another attempt has another linked data signature and is the same activity.
    let mut again = vector["sent"].clone();
    again["signature"]["signatureValue"] = "AAAA".into();
    assert_eq!(Activity::from_document(again).unwrap().cid(), activity.cid());
    // A `signature` of another kind is somebody's own term, and counts.
    let mut other = vector["sent"].clone();
    other["signature"] = "with kind regards".into();
    let other = Activity::from_document(other).unwrap();
    assert!(other.get("signature").is_some());
    assert!(Suites::standard().verify(other.document(), &key).is_err());
}

#[test]
fn rsa_of_another_implementation() {
    let key = PublicKey::from_pem(&text("keys/rsa-2048.spki.pem")).unwrap();
    assert_eq!(key.algorithm(), Algorithm::RsaV15Sha256);
    assert_eq!(key, PublicKey::from_pem(&text("keys/rsa-2048.pkcs1.pem")).unwrap());
    assert_eq!(key.to_pem().unwrap(), text("keys/rsa-2048.spki.pem"));
    assert_eq!(key.to_multibase(), None);
    let signature = hex::decode(text("keys/rsa-2048.signature.hex").trim()).unwrap();
    key.verify(b"fedsx", &signature).unwrap();
    assert_eq!(key.verify(b"fedsy", &signature), Err(KeyError::InvalidSignature));
    assert_eq!(key.verify(b"fedsx", &signature[1..]), Err(KeyError::InvalidSignature));
    assert_eq!(key.verify(b"fedsx", &[]), Err(KeyError::InvalidSignature));
}

#[test]
fn keys_that_are_not_taken() {
    let of = |name: &str| PublicKey::from_pem(&text(name));
    assert_eq!(of("keys/rsa-1024.spki.pem"), Err(KeyError::Size(1024)));
    assert!(matches!(of("keys/p-256.spki.pem"), Err(KeyError::Unsupported(_))));
    let ed25519 = of("keys/rfc8410-ed25519.spki.pem").unwrap();
    assert_eq!(ed25519.algorithm(), Algorithm::Ed25519);
    let multikey = ed25519.to_multibase().unwrap();
    assert_eq!(PublicKey::from_multibase(&multikey).unwrap(), ed25519);
    assert_eq!(ed25519.to_pem(), None);
}
