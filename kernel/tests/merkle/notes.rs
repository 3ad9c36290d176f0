//! Signed notes and checkpoints.

use fedsx_kernel::keys::{Algorithm, SecretKey};
use fedsx_kernel::merkle::note::{Note, NoteError, VerifierKey};
use fedsx_kernel::merkle::{Checkpoint, CheckpointError, TreeHash, origin_of_log};
use fedsx_kernel::runtime::SeededRandom;

use crate::data;

#[test]
fn published_note() {
    let vector = data("note.json");
    let text = |name: &str| vector[name].as_str().unwrap();
    let vkey: VerifierKey = text("vkey").parse().unwrap();
    assert_eq!(vkey.to_string(), text("vkey"));
    assert_eq!(vkey.name(), "PeterNeumann");
    let note: Note = text("note").parse().unwrap();
    assert_eq!(note.text(), text("text"));
    assert_eq!(note.to_string(), text("note"));
    assert_eq!(note.verify(std::slice::from_ref(&vkey)).unwrap(), &vkey);
    let seed = hex::decode(text("seed")).unwrap();
    let secret = SecretKey::from_secret_bytes(Algorithm::Ed25519, &seed).unwrap();
    let signed = Note::sign(text("text"), "PeterNeumann", &secret, &SeededRandom::new(1)).unwrap();
    assert_eq!(signed.to_string(), text("note"), "the same note, byte for byte");

    // Other keys with the same name, or this key under another name, have not signed.
    let other = SecretKey::generate_ed25519(&SeededRandom::new(2));
    let stranger = VerifierKey::new("PeterNeumann", other.public()).unwrap();
    let renamed = VerifierKey::new("PeterNeuman", secret.public()).unwrap();
    let refused = [stranger.clone(), renamed];
    assert!(matches!(note.verify(&refused), Err(NoteError::UnknownSigner)));
    // Signatures by unknown keys are left aside.
    let by_other = Note::sign(text("text"), "PeterNeumann", &other, &SeededRandom::new(1)).unwrap();
    let line = by_other.to_string().lines().last().unwrap().to_owned();
    let both: Note = format!("{}{line}\n", text("note")).parse().unwrap();
    assert_eq!(both.verify(std::slice::from_ref(&vkey)).unwrap(), &vkey);
    assert_eq!(both.verify(&[stranger, vkey.clone()]).unwrap(), &vkey, "the first that signed");
    let changed: Note = text("note").replace("answer", "Answer").parse().unwrap();
    assert!(matches!(changed.verify(&[vkey]), Err(NoteError::InvalidSignature(_))));
}

#[test]
fn malformed_notes_and_keys() {
    let vector = data("note.json");
    let (note, vkey) = (vector["note"].as_str().unwrap(), vector["vkey"].as_str().unwrap());
    let line = note.lines().last().unwrap();
    let sixteen = format!("text\n\n{}", format!("{line}\n").repeat(16));
    assert!(sixteen.parse::<Note>().is_ok(), "sixteen signatures must be taken");
    for (bad, why) in [
        (String::new(), "nothing"),
        (note.trim_end().to_owned(), "no newline at the end"),
        (note.replace("\n\n", "\n"), "no empty line"),
        ("text\n\n".to_owned(), "no signature"),
        (note.replace('\u{2014}', "-"), "a hyphen"),
        (note.replace("Peter", "Peter "), "a space in the name"),
        (note.replace("Peter", "Peter+"), "a plus in the name"),
        (note.replace("\u{2014} PeterNeumann", "\u{2014} "), "no name"),
        (note.replace("nAM=", "nA!="), "no base64"),
        (format!("text\n\n{line}x\n"), "too much base64"),
        ("text\n\n\u{2014} a AAAAAA==\n".to_owned(), "no signature after the key ID"),
        (note.replace("If", "I\tf"), "a control character"),
        (format!("text\n\n{}", format!("{line}\n").repeat(65)), "too many signatures"),
        (format!("{}\n{note}", "x".repeat(65536)), "too long"),
    ] {
        assert!(bad.parse::<Note>().is_err(), "{why}");
    }
    for bad in [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    for cut in 0..vkey.len() {
        assert!(vkey[..cut].parse::<VerifierKey>().is_err(), "{}", &vkey[..cut]);
    }
}

#[test]
fn checkpoints() {
    let key = SecretKey::generate_ed25519(&SeededRandom::new(7));
    let random = SeededRandom::new(8);
    let origin = origin_of_log("http://localhost:9999/actors/alice/log").to_owned();
    assert_eq!(origin, "localhost:9999/actors/alice/log");
    assert_eq!(origin_of_log("https://example.org/actors/a/log/"), "example.org/actors/a/log");
    let root = TreeHash::empty();
    let checkpoint = Checkpoint { origin: origin.clone(), size: 0, root, extensions: vec![] };
    let text = "localhost:9999/actors/alice/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    assert_eq!(checkpoint.to_string(), text);
    let note: Note = checkpoint.sign(&key, &random).unwrap().to_string().parse().unwrap();
    let keys = [VerifierKey::new(&origin, key.public()).unwrap()];
    assert_eq!(Checkpoint::open(&note, &keys).unwrap().0, checkpoint);

    let extended = format!("{text}more\n");
    assert_eq!(extended.parse::<Checkpoint>().unwrap().extensions, ["more"]);
    assert_eq!(extended.parse::<Checkpoint>().unwrap().to_string(), extended);
    let other = Checkpoint { origin: "example.org/other".into(), ..checkpoint };
    let foreign = Note::sign(&other.to_string(), &origin, &key, &random).unwrap();
    let refused = Checkpoint::open(&foreign, &keys);
    assert!(matches!(refused, Err(CheckpointError::OtherOrigin { .. })), "{refused:?}");
    for (bad, why) in [
        (text.replace("\n0\n", "\n00\n"), "zeros before the size"),
        (text.replace("\n0\n", "\n+1\n"), "a sign before the size"),
        (text.replace("\n0\n", "\n18446744073709551616\n"), "a size beyond 64 bits"),
        (text.replace("\n0\n", "\n\n"), "no size"),
        (text.replace("47DE", "47D"), "no hash"),
        (text.replace("FU=", "FX="), "base64 that is not canonical"),
        (text.replace("localhost:9999/actors/alice/log", ""), "no origin"),
        (text.trim_end().to_owned(), "no newline"),
        (format!("{text}\nmore\n"), "an empty line"),
        ("a\n1\n".to_owned(), "two lines"),
    ] {
        assert!(bad.parse::<Checkpoint>().is_err(), "{why}");
    }
}
