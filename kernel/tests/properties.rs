//! Properties of identity: encodings round trip, a CID depends on content only, and nothing that
//! was signed can change unnoticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use fedsx_kernel::canonical::{from_dag_cbor, to_dag_cbor, to_jcs};
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::proof::{self, SignOptions, Suites};
use fedsx_kernel::runtime::{Random, SeededRandom};
use fedsx_kernel::{Activity, Cid, json};
use proptest::prelude::*;
use serde_json::{Map, Value};

const ACTOR: &str = "https://example.org/actors/alice";

fn config() -> ProptestConfig {
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}

fn number() -> impl Strategy<Value = Value> {
    let whole = -json::MAX_SAFE_INTEGER..=json::MAX_SAFE_INTEGER;
    let fits = |float: &f64| float.is_finite() && json::normalise(Value::from(*float)).is_ok();
    prop_oneof![
        whole.prop_map(Value::from),
        (-300_i64..300).prop_map(Value::from),
        any::<f64>().prop_filter("within the limits", fits).prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        (-1000_i32..1000).prop_map(|whole| Value::from(f64::from(whole))),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,4}", "[ -~]{0,8}", any::<String>()]
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        name().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The content of an activity of ours: what every activity has, and members that nobody knows.
fn content() -> impl Strategy<Value = Map<String, Value>> {
    let more = prop::collection::vec(("x-[a-z]{1,6}", document()), 0..4);
    (0_u64..1 << 53, "[A-Z][a-z]{1,8}", name(), document(), more).prop_map(
        |(seq, kind, text, object, more)| {
            let mut content: Map<String, Value> = more.into_iter().collect();
            let context =
                serde_json::json!(["https://www.w3.org/ns/activitystreams", {"x": "_:x"}]);
            content.insert("@context".into(), context);
            content.insert("type".into(), kind.into());
            content.insert("actor".into(), ACTOR.into());
            content.insert("seq".into(), seq.into());
            content.insert("published".into(), "2026-11-21T12:00:00Z".into());
            content.insert("to".into(), vec!["https://example.org/actors/bob"].into());
            content.insert("object".into(), serde_json::json!({"type": "Note", "content": text}));
            content.insert("x".into(), object);
            match json::normalise(Value::Object(content)).unwrap() {
                Value::Object(content) => content,
                _ => unreachable!(),
            }
        },
    )
}

/// Writes JSON in one of its many forms: member order, white space, escapes, number forms.
struct Scribe<'a>(&'a dyn Random);

impl Scribe<'_> {
    fn below(&self, bound: usize) -> usize {
        usize::from(self.0.bytes::<1>()[0]) % bound
    }

    fn space(&self, out: &mut String) {
        for _ in 0..self.below(3) {
            out.push([' ', '\n', '\t', '\r'][self.below(4)]);
        }
    }

    fn number(&self, number: &serde_json::Number, out: &mut String) {
        let Some(whole) = number.as_i64() else {
            let float = number.as_f64().unwrap();
            let text = if self.below(2) == 0 { number.to_string() } else { format!("{float:E}") };
            return out.push_str(&text);
        };
        out.push_str(&match self.below(5) {
            0 => format!("{whole}.0"),
            1 => format!("{whole}e0"),
            2 => format!("{whole}.000E+00"),
            3 if whole % 10 == 0 => format!("{}e1", whole / 10),
            _ => whole.to_string(),
        });
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            let must = c < ' ' || c == '"' || c == '\\';
            if must || self.below(4) == 0 {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                out.push(c);
            }
        }
        out.push('"');
    }

    fn list<T>(&self, items: Vec<T>, out: &mut String, write: impl Fn(T, &mut String)) {
        self.space(out);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            self.space(out);
            write(item, out);
            self.space(out);
        }
    }

    fn write(&self, value: &Value, out: &mut String) {
        match value {
            Value::Number(number) => self.number(number, out),
            Value::String(text) => self.string(text, out),
            Value::Array(items) => {
                out.push('[');
                self.list(items.iter().collect(), out, |item, out| self.write(item, out));
                out.push(']');
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                for last in (1..members.len()).rev() {
                    members.swap(last, self.below(last + 1));
                }
                out.push('{');
                self.list(members, out, |(name, member), out| {
                    self.string(name, out);
                    self.space(out);
                    out.push(':');
                    self.space(out);
                    self.write(member, out);
                });
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }
}

fn in_some_form(value: &Value, seed: u64) -> String {
    let mut text = String::new();
    let random = SeededRandom::new(seed);
    let scribe = Scribe(&random);
    scribe.space(&mut text);
    scribe.write(value, &mut text);
    scribe.space(&mut text);
    text
}

fn signed(content: Map<String, Value>, secret: &SecretKey) -> Activity {
    let activity = Activity::seal(content).unwrap();
    let options = SignOptions {
        verification_method: "https://example.org/actors/alice#key-1",
        created: "2026-11-21T12:00:00Z".parse().unwrap(),
    };
    let random = SeededRandom::new(0);
    let proof = proof::sign(activity.document(), secret, &options, &random).unwrap();
    activity.with_proof(proof)
}

fn key(seed: u64) -> SecretKey {
    SecretKey::generate_ed25519(&SeededRandom::new(seed))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn documents_round_trip(value in document()) {
        let normal = json::normalise(value.clone()).unwrap();
        prop_assert_eq!(&json::normalise(normal.clone()).unwrap(), &normal);
        prop_assert_eq!(&json::parse(value.to_string().as_bytes()).unwrap(), &normal);
        let block = to_dag_cbor(&normal).unwrap();
        prop_assert_eq!(&from_dag_cbor(&block).unwrap(), &normal);
        prop_assert_eq!(Cid::of_block(&block), Cid::of(&normal).unwrap());
        let jcs = to_jcs(&normal).unwrap();
        prop_assert_eq!(&json::parse(&jcs).unwrap(), &normal);
    }

    #[test]
    fn identity_does_not_depend_on_form(value in document(), seed in any::<u64>()) {
        let normal = json::normalise(value).unwrap();
        let text = in_some_form(&normal, seed);
        let parsed = json::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(&parsed, &normal, "{}", text);
        prop_assert_eq!(Cid::of(&parsed).unwrap(), Cid::of(&normal).unwrap());
        prop_assert_eq!(to_jcs(&parsed).unwrap(), to_jcs(&normal).unwrap());
    }

    #[test]
    fn a_decoded_block_is_the_only_block(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = from_dag_cbor(&bytes) {
            prop_assert_eq!(to_dag_cbor(&value).unwrap(), bytes);
        }
    }

    #[test]
    fn a_changed_block_is_another_document(value in document(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let normal = json::normalise(value).unwrap();
        let mut block = to_dag_cbor(&normal).unwrap();
        let index = at.index(block.len());
        prop_assume!(block[index] != to);
        block[index] = to;
        if let Ok(other) = from_dag_cbor(&block) {
            prop_assert_ne!(other, normal);
        }
    }

    #[test]
    fn our_activities_round_trip(content in content(), seed in any::<u64>()) {
        let secret = key(1);
        let activity = signed(content.clone(), &secret);
        prop_assert!(activity.certifies_itself());
        prop_assert_eq!(activity.cid(), &Cid::of(&Value::Object(content)).unwrap());

        let body = activity.to_body().unwrap();
        prop_assert_eq!(&Activity::from_body(&body).unwrap(), &activity);
        prop_assert_eq!(&Cid::of_block(&body.block), activity.cid());

        let text = in_some_form(&activity.to_value(), seed);
        let received = Activity::from_document(json::parse(text.as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(&received, &activity);
        Suites::standard().verify(received.document(), &secret.public()).unwrap();
    }

    #[test]
    fn foreign_activities_round_trip(content in content(), number in any::<u32>()) {
        let mut document = content;
        document.insert("id".into(), format!("https://example.com/notes/{number}").into());
        let bare = Activity::from_document(Value::Object(document.clone())).unwrap();
        document.insert("proof".into(), serde_json::json!({"type": "Other"}));
        let activity = Activity::from_document(Value::Object(document)).unwrap();
        prop_assert!(!activity.certifies_itself());
        prop_assert_eq!(activity.cid(), bare.cid(), "the proof is not part of the identity");
        let again = Activity::from_body(&activity.to_body().unwrap()).unwrap();
        prop_assert_eq!(again, activity);
    }

    #[test]
    fn a_changed_byte_is_noticed(
        content in content(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0x20_u8..0x7f), 24),
    ) {
        let secret = key(1);
        let activity = signed(content, &secret);
        let text = activity.to_value().to_string().into_bytes();
        for (at, any_byte, printable) in changes {
            let index = at.index(text.len());
            for to in [any_byte, printable, text[index] ^ 1, text[index] ^ 0x20] {
                let mut changed = text.clone();
                changed[index] = to;
                let Ok(value) = json::parse(&changed) else { continue };
                if value == activity.to_value() {
                    continue;
                }
                let Ok(other) = Activity::from_document(value) else { continue };
                let holds = Suites::standard().verify(other.document(), &secret.public()).is_ok();
                prop_assert!(
                    !(holds && other.certifies_itself()),
                    "byte {} became {}: {}", index, to, String::from_utf8_lossy(&changed)
                );
            }
        }
    }

    #[test]
    fn a_changed_member_is_noticed(content in content(), name in name(), value in document()) {
        let secret = key(1);
        let activity = signed(content, &secret);
        let mut document = activity.document().clone();
        let value = json::normalise(value).unwrap();
        prop_assume!(name != "proof" && document.get(&name) != Some(&value));
        document.insert(name, value);
        prop_assert!(Suites::standard().verify(&document, &secret.public()).is_err());
        if let Ok(other) = Activity::from_document(Value::Object(document)) {
            prop_assert!(!other.certifies_itself());
            prop_assert_ne!(other.cid(), activity.cid());
        }
    }

    #[test]
    fn a_changed_signature_is_noticed(
        content in content(),
        at in any::<prop::sample::Index>(),
        to in "[1-9A-HJ-NP-Za-km-z]",
        bit in 0_usize..512,
    ) {
        let secret = key(1);
        let activity = signed(content, &secret);
        let value = activity.proof().unwrap()["proofValue"].as_str().unwrap().to_owned();
        let with = |value: &str| {
            let mut document = activity.document().clone();
            document["proof"]["proofValue"] = value.into();
            Suites::standard().verify(&document, &secret.public())
        };
        prop_assert!(with(&value).is_ok());

        let index = at.index(value.len());
        let mut changed = value.clone();
        changed.replace_range(index..=index, &to);
        prop_assert!(changed == value || with(&changed).is_err());

        let (base, mut bytes) = multibase::decode(&value).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(with(&multibase::encode(base, bytes)).is_err());

        for other in [&value[..index], &format!("{value}{to}"), &format!("z1{}", &value[1..])] {
            prop_assert!(with(other).is_err());
        }
    }

    #[test]
    fn another_key_is_noticed(content in content(), seed in 2_u64..) {
        let activity = signed(content, &key(1));
        let verdict = Suites::standard().verify(activity.document(), &key(seed).public());
        prop_assert!(verdict.is_err());
    }

    #[test]
    fn no_input_panics(value in document(), text in any::<String>()) {
        let _ = json::parse(text.as_bytes());
        let _ = Activity::from_document(value.clone());
        let mut document = Map::new();
        document.insert("@context".into(), value.clone());
        document.insert("proof".into(), value.clone());
        let public = key(1).public();
        prop_assert!(Suites::standard().verify(&document, &public).is_err());
        document.insert("proof".into(), serde_json::json!({
            "type": "DataIntegrityProof", "cryptosuite": "eddsa-jcs-2022",
            "verificationMethod": text, "proofPurpose": "assertionMethod",
            "@context": value, "proofValue": value,
        }));
        prop_assert!(Suites::standard().verify(&document, &public).is_err());
    }
}
