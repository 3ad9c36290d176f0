//! What a signature has to cover, and how permissively its headers are read. These requests are
//! signed by hand, as foreign servers would.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedsx_kernel::keys::Algorithm;

use super::*;

const URI: &str = "https://bob.example/inbox?a=1";
const DATE_NOW: &str = "Fri, 02 Jan 2026 03:04:05 GMT";

/// A request with every header that a signature may cover and none that signs.
fn unsigned(method: Method, body: &[u8]) -> Sent {
    let sent = Sent { method, uri: URI.to_owned(), headers: HeaderMap::new(), body: body.to_vec() };
    sent.set("host", "bob.example")
        .set("date", DATE_NOW)
        .set("digest", &BodyDigest::of(body).digest())
        .set("content-digest", &BodyDigest::of(body).content_digest())
}

/// Covers these components by RFC 9421 and signs whatever base that gives.
fn rfc9421(method: Method, body: &[u8], covered: &str, parameters: &str) -> Sent {
    let sent = unsigned(method, body)
        .set("signature-input", &format!("x=({covered}){parameters}"))
        .set("signature", "x=:AAAA:");
    let Ok(Some(claim)) = sent.claim_at(NOW_S) else { return sent };
    let signature = ed25519_key().sign(claim.base.as_bytes(), &random()).unwrap();
    sent.set("signature", &format!("x=:{}:", STANDARD.encode(signature)))
}

fn cavage(method: Method, body: &[u8], parameters: &str) -> Sent {
    let with =
        |signature: &str| format!("{parameters},keyId=\"{KEY_ID}\",signature=\"{signature}\"");
    let sent = unsigned(method, body).set("signature", &with("AAAA"));
    let Ok(Some(claim)) = sent.claim_at(NOW_S) else { return sent };
    let signature = ed25519_key().sign(claim.base.as_bytes(), &random()).unwrap();
    sent.set("signature", &with(&STANDARD.encode(signature)))
}

fn standard() -> String {
    format!(";created={NOW_S};keyid=\"k\"")
}

#[test]
fn rfc9421_enough() {
    for covered in [
        r#""@method" "@target-uri" "content-digest""#,
        r#""content-digest" "@method" "@authority" "@path" "@query""#,
        r#""@authority" "@method" "@request-target" "content-digest" "@scheme" "host" "date""#,
    ] {
        rfc9421(Method::POST, BODY, covered, &standard()).check(&ed25519_key()).unwrap();
    }
    rfc9421(Method::GET, b"", r#""@method" "@target-uri""#, &standard())
        .check(&ed25519_key())
        .unwrap();
}

#[test]
fn rfc9421_too_little() {
    for (covered, missing) in [
        (r#""@target-uri" "content-digest""#, "@method"),
        (r#""@method" "content-digest""#, "@target-uri"),
        (r#""@method" "@path" "@query" "content-digest""#, "@target-uri"),
        (r#""@method" "@authority" "content-digest""#, "@target-uri"),
        (r#""@method" "@authority" "@path" "content-digest""#, "@query"),
        (r#""@method" "@target-uri""#, "content-digest"),
        ("", "@method"),
    ] {
        let refused = rfc9421(Method::POST, BODY, covered, &standard()).claim_at(NOW_S);
        assert_eq!(refused.unwrap_err(), SignatureError::MissingComponent(missing), "{covered}");
    }
}

#[test]
fn rfc9421_components_that_are_not_taken() {
    for (component, shown) in [
        (r#""date";sf"#, r#""date";sf"#),
        (r#""date";bs"#, r#""date";bs"#),
        (r#""@method";req"#, r#""@method";req"#),
        (r#""signature";key="a""#, r#""signature";key="a""#),
        (r#""@query-param";name="a""#, r#""@query-param";name="a""#),
        (r#""@query-param""#, "@query-param"),
        (r#""@status""#, "@status"),
    ] {
        let covered = format!(r#""@method" "@target-uri" {component} "content-digest""#);
        let refused = rfc9421(Method::POST, BODY, &covered, &standard()).claim_at(NOW_S);
        let expected = SignatureError::UnsupportedComponent(shown.to_owned());
        assert_eq!(refused.unwrap_err(), expected);
    }
    for component in [r#""Date""#, r#""""#, r#""da te""#, "date", "1", r#""@method""#] {
        let covered = format!(r#""@method" "@target-uri" {component} "content-digest""#);
        let refused = rfc9421(Method::POST, BODY, &covered, &standard()).claim_at(NOW_S);
        assert!(matches!(refused, Err(SignatureError::Malformed(_))), "{component}");
    }
    let absent = r#""@method" "@target-uri" "x-absent" "content-digest""#;
    let refused = rfc9421(Method::POST, BODY, absent, &standard()).claim_at(NOW_S);
    assert_eq!(refused.unwrap_err(), SignatureError::AbsentField("x-absent".to_owned()));
}

#[test]
fn rfc9421_parameters() {
    let covered = r#""@method" "@target-uri" "content-digest""#;
    let check =
        |parameters: &str| rfc9421(Method::POST, BODY, covered, parameters).check(&ed25519_key());
    check(&format!(";keyid=\"k\";tag=\"x\";created={NOW_S};alg=\"ed25519\"")).unwrap();
    check(&format!(";keyid=\"k\";created={NOW_S};expires={}", NOW_S + 60)).unwrap();
    assert_eq!(check(";keyid=\"k\""), Err(SignatureError::MissingParameter("created")));
    assert_eq!(check(&format!(";created={NOW_S}")), Err(SignatureError::MissingParameter("keyid")));
    assert_eq!(
        check(&format!("{};alg=\"rsa-pss-sha512\"", standard())),
        Err(SignatureError::UnsupportedAlgorithm("rsa-pss-sha512".to_owned()))
    );
    assert_eq!(
        check(&format!("{};alg=\"rsa-v1_5-sha256\"", standard())),
        Err(SignatureError::AlgorithmMismatch {
            claimed: Algorithm::RsaV15Sha256,
            key: Algorithm::Ed25519
        })
    );
    assert_eq!(
        check(&format!("{};expires={}", standard(), NOW_S - 5)),
        Err(SignatureError::Expired { ago_s: 5 })
    );
    for bad in [";created=1.5;keyid=\"k\"", ";created=\"1\";keyid=\"k\"", ";created=1;keyid=k"] {
        assert!(matches!(check(bad), Err(SignatureError::Malformed(_))), "{bad}");
    }
}

#[test]
fn rfc9421_several_signatures() {
    let sent = Sent::post(Scheme::Rfc9421, &ed25519_key());
    let mut several = sent.clone();
    several.headers.insert(
        "signature-input",
        format!("a=(\"@method\");created=1, {}", sent.header("signature-input")).parse().unwrap(),
    );
    several.headers.append("signature", "a=:AAAA:".parse().unwrap());
    several.check(&ed25519_key()).unwrap();
    let unlabelled = sent.edit("signature", "sig1=", "sig2=");
    assert!(matches!(unlabelled.claim_at(NOW_S), Err(SignatureError::Malformed(_))));
}

#[test]
fn rfc9421_joins_the_lines_of_a_field() {
    let covered = r#""@method" "@target-uri" "x-list" "x-empty""#;
    let mut sent = unsigned(Method::GET, b"")
        .set("signature-input", &format!("x=({covered}){}", standard()))
        .set("signature", "x=:AAAA:")
        .set("x-list", " one ")
        .set("x-empty", "");
    sent.headers.append("x-list", "two,  three\t".parse().unwrap());
    let base = sent.claim().base;
    assert!(base.contains("\"x-list\": one, two,  three\n\"x-empty\": \n"), "{base}");
}

#[test]
fn cavage_is_read_permissively() {
    let headers = "headers=\"(request-target) host date digest\"";
    for parameters in [
        headers.to_owned(),
        format!("{headers},algorithm=\"hs2019\""),
        format!("algorithm=ed25519 , {headers}"),
        format!(" ,, ALGORITHM = \"HS2019\" ,opaque=\"a,b=\\\"c\\\\\",{headers} "),
        "headers=\"Digest  DATE (Request-Target) Host\"".to_owned(),
        format!(
            "algorithm=hs2019,created={NOW_S},headers=\"(request-target) (created) host digest\""
        ),
        format!(
            "created=\"{NOW_S}\",expires={}.25,headers=\"(request-target) (created) (expires) host digest date\"",
            NOW_S + 9
        ),
    ] {
        let sent = cavage(Method::POST, BODY, &parameters);
        sent.check(&ed25519_key()).unwrap_or_else(|error| panic!("{parameters}: {error}"));
    }
    cavage(Method::GET, b"", "headers=\"(request-target) host date\"")
        .check(&ed25519_key())
        .unwrap();
}

#[test]
fn cavage_too_little() {
    for (headers, missing) in [
        ("host date digest", "(request-target)"),
        ("(request-target) date digest", "host"),
        ("(request-target) host digest", "date"),
        ("(request-target) host date", "digest"),
        ("", "(request-target)"),
    ] {
        let sent = cavage(Method::POST, BODY, &format!("headers=\"{headers}\""));
        let refused = sent.claim_at(NOW_S).unwrap_err();
        assert_eq!(refused, SignatureError::MissingComponent(missing), "{headers}");
    }
}

#[test]
fn cavage_refusals() {
    let refused =
        |parameters: &str| cavage(Method::POST, BODY, parameters).claim_at(NOW_S).unwrap_err();
    let headers = "headers=\"(request-target) host date digest\"";
    for bad in [
        format!("{headers},{headers}"),
        format!("{headers},x=1,x=2"),
        format!("keyId=\"other\",{headers}"),
        format!("{headers} algorithm=\"hs2019\""),
        format!("{headers},algorithm"),
        format!("{headers},a b=\"c\""),
        format!("{headers},x=\"never ends"),
        "headers=\"(request-target) host date digest host\"".to_owned(),
        format!(
            "created={NOW_S},algorithm=\"rsa-sha256\",headers=\"(request-target) (created) host digest\""
        ),
        "created=soon,headers=\"(request-target) (created) host digest\"".to_owned(),
        "created=-1,headers=\"(request-target) (created) host digest\"".to_owned(),
    ] {
        let error = refused(&bad);
        assert!(matches!(error, SignatureError::Malformed(_)), "{bad}: {error}");
    }
    assert_eq!(
        refused("headers=\"(request-target) (created) host digest\""),
        SignatureError::MissingParameter("created")
    );
    assert_eq!(
        refused("headers=\"(request-target) host date digest (query)\""),
        SignatureError::UnsupportedComponent("(query)".to_owned())
    );
    assert_eq!(
        refused("headers=\"(request-target) host date digest x-absent\""),
        SignatureError::AbsentField("x-absent".to_owned())
    );
    assert_eq!(
        refused(&format!("{headers},algorithm=\"rsa-sha1\"")),
        SignatureError::UnsupportedAlgorithm("rsa-sha1".to_owned())
    );
    assert_eq!(
        refused(&format!("{headers},expires={}", NOW_S - 2)),
        SignatureError::Expired { ago_s: 2 }
    );
    let no_key =
        unsigned(Method::POST, BODY).set("signature", &format!("{headers},signature=\"AA\""));
    assert_eq!(no_key.claim_at(NOW_S).unwrap_err(), SignatureError::MissingParameter("keyId"));
    let date = cavage(Method::POST, BODY, headers).set("date", "yesterday");
    assert!(matches!(date.claim_at(NOW_S), Err(SignatureError::Malformed(_))));
}

#[test]
fn hs2019_leaves_the_algorithm_to_the_key() {
    let sent = Sent::post(Scheme::Cavage, &ed25519_key());
    assert_eq!(sent.claim().algorithm, None);
    let rsa = rsa_key();
    let hs2019 = Sent::post(Scheme::Cavage, &rsa).edit("signature", "rsa-sha256", "hs2019");
    hs2019.check(&rsa).unwrap();
    let named = Sent::post(Scheme::Cavage, &rsa);
    assert_eq!(named.claim().algorithm, Some(Algorithm::RsaV15Sha256));
}

#[test]
fn no_signature_is_not_an_error() {
    let sent = unsigned(Method::POST, BODY);
    assert!(sent.claim_at(NOW_S).unwrap().is_none());
    let token = sent.clone().set("authorization", "Bearer abc");
    assert!(token.claim_at(NOW_S).unwrap().is_none());
    let half = sent.set("signature-input", "x=(\"@method\");created=1;keyid=\"k\"");
    assert!(matches!(half.claim_at(NOW_S), Err(SignatureError::Malformed(_))));
}
