#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::order::Order;
use crate::runtime::{Random, SeededRandom};

/// RFC 8032, section 7.1: seed, public key, message, signature.
const RFC_8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

fn bytes(hex_text: &str) -> Vec<u8> {
    hex::decode(hex_text).unwrap()
}

fn multikey(key: &[u8]) -> String {
    multibase::encode(multibase::Base::Base58Btc, [&[0xed, 0x01], key].concat())
}

#[test]
fn ed25519_gives_the_published_signatures() {
    let random = SeededRandom::new(1);
    for [seed, public, message, signature] in RFC_8032 {
        let secret = SecretKey::from_secret_bytes(Algorithm::Ed25519, &bytes(seed)).unwrap();
        assert_eq!(secret.algorithm(), Algorithm::Ed25519);
        assert_eq!(secret.to_secret_bytes().as_slice(), bytes(seed));
        let key = PublicKey::from_multibase(&multikey(&bytes(public))).unwrap();
        assert_eq!(secret.public(), key);
        assert_eq!(secret.sign(&bytes(message), &random).unwrap(), bytes(signature));
        key.verify(&bytes(message), &bytes(signature)).unwrap();
        assert_eq!(key.verify(b"other", &bytes(signature)), Err(KeyError::InvalidSignature));
        assert_eq!(key.verify(&bytes(message), &[]), Err(KeyError::InvalidSignature));
    }
}

#[test]
fn a_signature_has_one_form() {
    let [_, public, message, signature] = RFC_8032[1];
    let key = PublicKey::from_multibase(&multikey(&bytes(public))).unwrap();
    // S plus the order of the group satisfies the equation too.
    let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut changed = bytes(signature);
    let mut carry = 0_u16;
    for (byte, add) in changed[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(key.verify(&bytes(message), &changed), Err(KeyError::InvalidSignature));
}

#[test]
fn weak_and_broken_multikeys_are_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert_eq!(PublicKey::from_multibase(&multikey(&neutral)), Err(KeyError::Weak));
    assert_eq!(PublicKey::from_multibase(&multikey(&[0; 32])), Err(KeyError::Weak));
    let good = multikey(&bytes(RFC_8032[0][1]));
    let refused = [
        String::new(),
        "z".into(),
        good[1..].into(),
        good[..good.len() - 1].into(),
        format!("{good}1"),
        format!("{good} "),
        "z".repeat(100_000),
        multikey(&[0x5a; 31]),
        multikey(&[0x5a; 33]),
        // The multicodec prefixes of P-256, and of an Ed25519 private key.
        multibase::encode(multibase::Base::Base58Btc, [&[0x80, 0x24][..], &[2; 33]].concat()),
        multibase::encode(multibase::Base::Base58Btc, [&[0x80, 0x26][..], &[2; 32]].concat()),
        multibase::encode(multibase::Base::Base64Url, [&[0xed, 0x01][..], &[2; 32]].concat()),
    ];
    for text in refused {
        assert!(PublicKey::from_multibase(&text).is_err(), "{text:.80}");
    }
}

#[test]
fn rsa_signs_and_travels_as_pem() {
    let random = SeededRandom::new(1);
    let secret = SecretKey::generate_rsa(&random).unwrap();
    let key = secret.public();
    assert_eq!(key.algorithm(), Algorithm::RsaV15Sha256);
    let signature = secret.sign(b"message", &random).unwrap();
    assert_eq!(signature.len(), 256);
    assert_eq!(secret.sign(b"message", &random).unwrap(), signature);
    key.verify(b"message", &signature).unwrap();
    assert_eq!(key.verify(b"messag", &signature), Err(KeyError::InvalidSignature));

    let again =
        SecretKey::from_secret_bytes(Algorithm::RsaV15Sha256, &secret.to_secret_bytes()).unwrap();
    assert_eq!(again.public(), key);
    assert_eq!(again.sign(b"message", &random).unwrap(), signature);

    let pem = key.to_pem().unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert!(pem.ends_with("\n-----END PUBLIC KEY-----\n"));
    assert!(pem.lines().all(|line| line.len() <= 64));
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for form in [
        pem.clone(),
        pem.replace('\n', "\r\n"),
        format!("\n  {}", pem.trim_end()),
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"),
    ] {
        assert_eq!(PublicKey::from_pem(&form).unwrap(), key, "{form}");
    }
    for broken in [
        "",
        "-----BEGIN ",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        &pem.replace("END PUBLIC", "END PRIVATE"),
        &pem.replace("PUBLIC KEY", "PRIVATE KEY"),
        &pem.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
        &pem.replacen("MI", "M!", 1),
        &pem.replacen("MI", "MJ", 1),
        &"-----BEGIN PUBLIC KEY-----".repeat(1000),
    ] {
        assert!(PublicKey::from_pem(broken).is_err(), "{broken:.80}");
    }
    for broken in [&[][..], &[0x30], &[0; 2000]] {
        assert!(SecretKey::from_secret_bytes(Algorithm::RsaV15Sha256, broken).is_err());
        assert!(SecretKey::from_secret_bytes(Algorithm::Ed25519, broken).is_err());
    }
}

#[test]
fn secrets_are_not_shown() {
    let random = SeededRandom::new(1);
    let secret = SecretKey::generate_ed25519(&random);
    let shown = format!("{secret:?} {:?}", MasterKey::generate(&random));
    assert_eq!(shown, "SecretKey(ed25519, hidden) MasterKey(hidden)");
    let public = format!("{:?}", secret.public());
    assert_eq!(public, format!("PublicKey({})", secret.public().to_multibase().unwrap()));
}

fn key(id: &str, purposes: &[Purpose], from_seq: u64) -> Key {
    Key {
        id: id.into(),
        controller: "https://example.org/actors/alice".into(),
        material: Material::Multikey { public_key_multibase: multikey(&bytes(RFC_8032[0][1])) },
        purposes: purposes.to_vec(),
        created: Some("2026-11-21T00:00:00Z".into()),
        valid_from: Order::numbered(0, from_seq),
        revoked: None,
        valid_until: None,
        end_is_assumed: false,
    }
}

fn at(seq: u64) -> Order {
    Order::numbered(0, seq)
}

#[test]
fn a_key_signs_within_its_interval() {
    let mut history = KeyHistory::default();
    history.introduce(key("#1", &[Purpose::SignActivity], 0)).unwrap();
    history.supersede("#1", at(5), "2026-11-22T00:00:00Z").unwrap();
    history.introduce(key("#2", &[Purpose::SignActivity, Purpose::HttpSignature], 5)).unwrap();

    let signer = |id, seq| history.signer_at(id, Purpose::SignActivity, at(seq));
    assert_eq!(signer("#1", 0).unwrap().id, "#1");
    assert_eq!(signer("#1", 5).unwrap().id, "#1");
    assert_eq!(signer("#1", 6), Err(HistoryError::NotValidThen("#1".into())));
    assert_eq!(signer("#2", 4), Err(HistoryError::NotValidThen("#2".into())));
    assert_eq!(signer("#2", 5).unwrap().id, "#2");
    assert_eq!(signer("#2", u64::MAX).unwrap().id, "#2");
    assert_eq!(signer("#3", 5), Err(HistoryError::UnknownKey("#3".into())));
    assert_eq!(
        history.signer_at("#1", Purpose::HttpSignature, at(1)),
        Err(HistoryError::WrongPurpose("#1".into()))
    );
    // A later epoch is later than every seq of an earlier one.
    let later = Order::numbered(1, 0);
    assert!(history.signer_at("#1", Purpose::SignActivity, later).is_err());
    assert!(history.signer_at("#2", Purpose::SignActivity, later).is_ok());

    let current: Vec<_> = history.current(Purpose::SignActivity).map(|key| &key.id).collect();
    assert_eq!(current, ["#2"]);
    assert_eq!(history.all().len(), 2);
    assert_eq!(history.find("#1").unwrap().revoked.as_deref(), Some("2026-11-22T00:00:00Z"));
    assert_eq!(history.find("#1").unwrap().public().unwrap().algorithm(), Algorithm::Ed25519);
}

#[test]
fn a_history_only_grows() {
    let mut history = KeyHistory::default();
    history.introduce(key("#1", &[Purpose::SignActivity], 3)).unwrap();
    let again = history.introduce(key("#1", &[], 4));
    assert_eq!(again, Err(HistoryError::IdInUse("#1".into())));
    let early = history.supersede("#1", at(2), "x");
    assert_eq!(early, Err(HistoryError::NotValidThen("#1".into())));
    assert!(matches!(history.supersede("#2", at(9), "x"), Err(HistoryError::UnknownKey(_))));
    history.supersede("#1", at(3), "x").unwrap();
    let twice = history.supersede("#1", at(9), "x");
    assert_eq!(twice, Err(HistoryError::AlreadySuperseded("#1".into())));
    for number in 1..MAX_KEYS {
        history.introduce(key(&format!("#more-{number}"), &[], 4)).unwrap();
    }
    assert_eq!(history.introduce(key("#last", &[], 4)), Err(HistoryError::TooMany));
}

#[test]
fn rotation_is_for_the_rotation_key_where_there_is_one() {
    let mut history = KeyHistory::default();
    history.introduce(key("#sign", &[Purpose::SignActivity], 0)).unwrap();
    history.introduce(key("#http", &[Purpose::HttpSignature], 0)).unwrap();
    assert_eq!(history.may_rotate("#sign", at(4)).unwrap().id, "#sign");
    assert!(matches!(history.may_rotate("#http", at(4)), Err(HistoryError::WrongPurpose(_))));

    history.introduce(key("#rotate", &[Purpose::RotateKey], 5)).unwrap();
    assert_eq!(history.may_rotate("#rotate", at(6)).unwrap().id, "#rotate");
    for seq in [4, 6] {
        let refused = history.may_rotate("#sign", at(seq));
        assert_eq!(refused, Err(HistoryError::WrongPurpose("#sign".into())), "at {seq}");
    }
    assert!(matches!(history.may_rotate("#rotate", at(4)), Err(HistoryError::NotValidThen(_))));

    history.supersede("#rotate", at(8), "x").unwrap();
    assert!(history.may_rotate("#sign", at(7)).is_err(), "then there was a rotation key");
    assert_eq!(history.may_rotate("#sign", at(9)).unwrap().id, "#sign");
}

#[test]
fn the_json_of_a_key() {
    let mut history = KeyHistory::default();
    history.introduce(key("#1", &[Purpose::SignActivity, Purpose::RotateKey], 2)).unwrap();
    let pem = Material::Pem { public_key_pem: "pem".into() };
    history.introduce(Key { material: pem, ..key("#2", &[Purpose::HttpSignature], 2) }).unwrap();
    history.supersede("#2", at(7), "2026-11-22T00:00:00Z").unwrap();
    let json = serde_json::to_value(&history).unwrap();
    assert_eq!(json[0]["publicKeyMultibase"], multikey(&bytes(RFC_8032[0][1])));
    assert_eq!(json[0]["purposes"], json!(["sign-activity", "rotate-key"]));
    assert_eq!(json[0]["validFrom"]["seq"], 2);
    assert!(json[0].get("validUntil").is_none() && json[0].get("revoked").is_none());
    assert_eq!(json[1]["publicKeyPem"], "pem");
    assert_eq!(json[1]["purposes"], json!(["http-signature"]));
    assert_eq!(json[1]["validUntil"]["seq"], 7);
    assert_eq!(serde_json::from_value::<KeyHistory>(json.clone()).unwrap(), history);
    let twice = json!([json[0], json[0]]);
    assert!(serde_json::from_value::<KeyHistory>(twice).is_err());
    assert_eq!(serde_json::to_value(Algorithm::RsaV15Sha256).unwrap(), "rsa-v1_5-sha256");
    assert_eq!(serde_json::to_value(Algorithm::Ed25519).unwrap(), "ed25519");
}

#[test]
fn the_vault_opens_what_it_sealed_and_nothing_else() {
    let random = SeededRandom::new(1);
    let vault = Vault::new(MasterKey::generate(&random));
    let keys = [SecretKey::generate_ed25519(&random), SecretKey::generate_rsa(&random).unwrap()];
    for secret in keys {
        let sealed = vault.seal("#1", &secret, &random).unwrap();
        let opened = vault.open("#1", &sealed).unwrap();
        assert_eq!(opened.public(), secret.public());
        assert_ne!(vault.seal("#1", &secret, &random).unwrap(), sealed, "a nonce is used once");
        assert!(matches!(vault.open("#2", &sealed), Err(VaultError::Sealed(id)) if id == "#2"));
        let other = Vault::new(MasterKey::generate(&random));
        assert!(matches!(other.open("#1", &sealed), Err(VaultError::Sealed(_))));
        for index in [0, 1, 24, 25, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(vault.open("#1", &changed).is_err(), "byte {index}");
        }
        for length in [0, 1, 24, 25, 40, sealed.len() - 1] {
            assert!(vault.open("#1", &sealed[..length]).is_err(), "{length} bytes");
        }
        let secret_bytes = secret.to_secret_bytes();
        assert!(!sealed.windows(32).any(|window| secret_bytes.starts_with(window)));
    }
}

#[test]
fn master_keys_as_text() {
    let digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeFF";
    let random = SeededRandom::new(1);
    let secret = SecretKey::generate_ed25519(&random);
    let sealed =
        Vault::new(MasterKey::from_hex(digits).unwrap()).seal("#1", &secret, &random).unwrap();
    let same = MasterKey::from_hex(&format!(" {}\n", digits.to_lowercase())).unwrap();
    assert!(Vault::new(same).open("#1", &sealed).is_ok());
    for bad in ["", "00", &digits[1..], &format!("{digits}00"), &digits.replace('0', "g")] {
        assert!(matches!(MasterKey::from_hex(bad), Err(VaultError::NotAMasterKey)), "{bad}");
    }
}

#[cfg(unix)]
#[test]
fn master_key_files() {
    use std::os::unix::fs::PermissionsExt;
    let random: &dyn Random = &SeededRandom::new(1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    assert!(matches!(MasterKey::load(&path), Err(VaultError::File { .. })));

    // What is left where a first start was interrupted.
    std::fs::write(directory.path().join("master.key.new"), "00").unwrap();
    let (made, is_new) = MasterKey::load_or_create(&path, random).unwrap();
    assert!(is_new);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "the key alone");
    let (read, is_new) = MasterKey::load_or_create(&path, random).unwrap();
    assert!(!is_new);
    let secret = SecretKey::generate_ed25519(random);
    let sealed = Vault::new(made).seal("#1", &secret, random).unwrap();
    Vault::new(read).open("#1", &sealed).unwrap();
    Vault::new(MasterKey::load(&path).unwrap()).open("#1", &sealed).unwrap();

    for open in [0o640, 0o604, 0o601, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(open)).unwrap();
        let refused = MasterKey::load_or_create(&path, random).unwrap_err();
        assert!(matches!(refused, VaultError::Exposed { mode, .. } if mode == open));
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    for content in [&b""[..], b"00", &[0xff; 64], &[b'0'; 100_000]] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(MasterKey::load(&path), Err(VaultError::NotAMasterKey)));
    }
    let nowhere = directory.path().join("missing/master.key");
    assert!(matches!(MasterKey::load_or_create(&nowhere, random), Err(VaultError::File { .. })));
}

#[test]
fn a_secret_key_as_multibase() {
    let seed = [7; 32];
    let key = SecretKey::from_secret_bytes(Algorithm::Ed25519, &seed).unwrap();
    let text = |prefix: [u8; 2]| {
        multibase::encode(multibase::Base::Base58Btc, [prefix.as_slice(), &seed].concat())
    };
    let secret = text([0x80, 0x26]);
    assert!(secret.starts_with("z3u2"), "as the specification shows it");
    assert_eq!(SecretKey::from_multibase(&secret).unwrap().public(), key.public());
    let public = key.public().to_multibase().unwrap();
    for bad in
        ["", "z", &public, &text([0xed, 0x01]), &secret[1..], &secret[..40], &secret.repeat(4)]
    {
        let error = SecretKey::from_multibase(bad).unwrap_err().to_string();
        assert!(bad.len() < 20 || !error.contains(bad), "{error}");
    }
}
