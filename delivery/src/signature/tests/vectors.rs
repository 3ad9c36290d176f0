//! Published vectors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedsx_kernel::keys::{Algorithm, PublicKey, SecretKey};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::{Digest as _, Sha256};

use super::*;
use crate::signature::digest;

/// RFC 9421 appendix B.1.4.
const ED25519_SEED: &str = "n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU=";

/// RFC 9421 appendix B.1.1 (test-key-rsa), as SPKI.
const RSA_2048: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAhAKYdtoeoy8zcAcR874L
8cnZxKzAGwd7v36APp7Pv6Q2jdsPBRrwWEBnez6d0UDKDwGbc6nxfEXAy5mbhgaj
zrw3MOEt8uA5txSKobBpKDeBLOsdJKFqMGmXCQvEG7YemcxDTRPxAleIAgYYRjTS
d/QBwVW9OwNFhekro3RtlinV0a75jfZgkne/YiktSvLG34lw2zqXBDTC5NHROUqG
TlML4PlNZS5Ri2U4aCNx2rUPRcKIlE0PuKxI4T+HIaFpv8+rdV6eUgOrB2xeI1dS
FFn/nnv5OoZJEIB+VmuKn3DCUcCZSFlQPSXSfBDiUGhwOw76WuSSsf1D4b/vLoJ1
0wIDAQAB
-----END PUBLIC KEY-----
";

/// draft-cavage-http-signatures-12 appendix C.
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCFENGw33yGihy92pDjZQhl0C3
6rPJj+CvfSC8+q28hxA161QFNUd13wuCTUcq0Qd2qsBe/2hFyc2DCJJg0h1L78+6
Z4UMR7EOcpfdUE9Hf3m/hs+FUR45uBJeDK1HSFHD8bHKD6kv8FPGfJTotc+2xjJw
oYi+1hqp1fIekaxsyQIDAQAB
-----END PUBLIC KEY-----
";

const HELLO: &[u8] = br#"{"hello": "world"}"#;
const HELLO_SHA_512: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

fn request(uri: &str, body: &[u8], headers: &[(&'static str, &str)]) -> Sent {
    let mut sent = Sent {
        method: Method::POST,
        uri: uri.to_owned(),
        headers: HeaderMap::new(),
        body: body.to_vec(),
    };
    for (name, value) in headers {
        sent = sent.set(name, value);
    }
    sent
}

/// RFC 9421 appendix B.2.6. Its request has a body and a query that the signature does not
/// cover, which is refused here; without them the signature base is the same.
#[test]
fn rfc9421_b_2_6_ed25519() {
    let sent = request(
        "https://example.com/foo",
        b"",
        &[
            ("host", "example.com"),
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("content-type", "application/json"),
            ("content-digest", HELLO_SHA_512),
            ("content-length", "18"),
            (
                "signature-input",
                r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
            ),
            (
                "signature",
                "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
            ),
        ],
    );
    let claim = sent.claim_at(1_618_884_475).unwrap().unwrap();
    assert_eq!(
        claim.base,
        r#""date": Tue, 20 Apr 2021 02:07:55 GMT
"@method": POST
"@path": /foo
"@authority": example.com
"content-type": application/json
"content-length": 18
"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#
    );
    assert_eq!(claim.key_id, "test-key-ed25519");
    assert_eq!((claim.algorithm, claim.created), (None, 1_618_884_473));
    let seed = STANDARD.decode(ED25519_SEED).unwrap();
    let key = SecretKey::from_secret_bytes(Algorithm::Ed25519, &seed).unwrap();
    claim.verify(&key.public()).unwrap();
    assert_eq!(key.sign(claim.base.as_bytes(), &random()).unwrap(), claim.signature);

    let with_query =
        Sent { uri: "https://example.com/foo?param=Value&Pet=dog".into(), ..sent.clone() };
    let refused = with_query.claim_at(1_618_884_475).unwrap_err();
    assert_eq!(refused, SignatureError::MissingComponent("@query"));
    let with_body = Sent { body: HELLO.to_vec(), ..sent };
    let refused = with_body.claim_at(1_618_884_475).unwrap_err();
    assert_eq!(refused, SignatureError::MissingComponent("content-digest"));
}

/// RFC 9421 appendix B.4: what proxies may do to a message and what they may not. The query of its
/// address is not covered, which is refused here; without it the signature base is the same.
#[test]
fn rfc9421_b_4_transformations() {
    let seed = STANDARD.decode(ED25519_SEED).unwrap();
    let key = SecretKey::from_secret_bytes(Algorithm::Ed25519, &seed).unwrap();
    let message = |method: Method, uri: &str, host: &str, accept: &[&str]| {
        let mut sent = request(
            uri,
            b"",
            &[
                ("host", host),
                ("date", "Fri, 15 Jul 2022 14:24:55 GMT"),
                (
                    "signature-input",
                    r#"transform=("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519""#,
                ),
                (
                    "signature",
                    "transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA==:",
                ),
            ],
        );
        for value in accept {
            sent.headers.append("accept", value.parse().unwrap());
        }
        Sent { method, ..sent }
    };
    let check = |sent: &Sent| sent.check_at(1_618_884_475, &key);
    let (uri, host) = ("https://example.org/demo", "example.org");
    let original = message(Method::GET, uri, host, &["application/json", "*/*"]);
    assert_eq!(
        original.claim_at(1_618_884_475).unwrap().unwrap().base,
        r#""@method": GET
"@path": /demo
"@authority": example.org
"accept": application/json, */*
"@signature-params": ("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519""#
    );
    check(&original).unwrap();
    // Fields are added and combined.
    let combined = message(Method::GET, uri, host, &["application/json, */*"]);
    check(&combined.set("accept-language", "en-US,en;q=0.5")).unwrap();
    check(&message(Method::GET, uri, host, &["application/json", "*/*"]).set("via", "1.1 p"))
        .unwrap();
    // The order of lines counts, and so do method and authority.
    for spoilt in [
        message(Method::GET, uri, host, &["*/*", "application/json"]),
        message(Method::POST, uri, host, &["application/json", "*/*"]),
        message(
            Method::GET,
            "https://example.com/demo",
            "example.com",
            &["application/json", "*/*"],
        ),
    ] {
        assert_eq!(check(&spoilt), Err(SignatureError::BadSignature));
    }
}

/// RFC 9421 appendices B.2.1 to B.2.5 are made with algorithms that nobody here speaks: RSASSA-PSS,
/// ECDSA and HMAC. Named, they are refused by name; B.2.4 is about a response.
#[test]
fn rfc9421_b_2_other_algorithms() {
    let signature = "sig1=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==:";
    for algorithm in ["rsa-pss-sha512", "ecdsa-p256-sha256", "hmac-sha256", "none"] {
        let input = format!(
            r#"sig1=("@method" "@target-uri");created=1618884473;keyid="k";alg="{algorithm}""#
        );
        let headers = [("host", "example.com"), ("signature", signature)];
        let sent = request("https://example.com/foo", b"", &headers);
        let refused = sent.set("signature-input", &input).claim_at(1_618_884_475).unwrap_err();
        assert_eq!(refused, SignatureError::UnsupportedAlgorithm(algorithm.to_owned()));
    }
}

/// RFC 9421 section 4.3: the signature of the proxy, the only published rsa-v1_5-sha256 one.
#[test]
fn rfc9421_4_3_rsa() {
    let sent = request(
        "https://origin.host.internal.example/foo",
        HELLO,
        &[
            ("host", "origin.host.internal.example"),
            ("content-type", "application/json"),
            ("content-digest", HELLO_SHA_512),
            ("content-length", "18"),
            ("forwarded", "for=192.0.2.123;host=example.com;proto=https"),
            (
                "signature-input",
                r#"proxy_sig=("@method" "@authority" "@path" "content-digest" "content-type" "content-length" "forwarded");created=1618884480;keyid="test-key-rsa";alg="rsa-v1_5-sha256";expires=1618884540"#,
            ),
            (
                "signature",
                "proxy_sig=:S6ZzPXSdAMOPjN/6KXfXWNO/f7V6cHm7BXYUh3YD/fRad4BCaRZxP+JH+8XY1I6+8Cy+CM5g92iHgxtRPz+MjniOaYmdkDcnL9cCpXJleXsOckpURl49GwiyUpZ10KHgOEe11sx3G2gxI8S0jnxQB+Pu68U9vVcasqOWAEObtNKKZd8tSFu7LB5YAv0RAGhB8tmpv7sFnIm9y+7X5kXQfi8NMaZaA8i2ZHwpBdg7a6CMfwnnrtflzvZdXAsD3LH2TwevU+/PBPv0B6NMNk93wUs/vfJvye+YuI87HU38lZHowtznbLVdp770I6VHR6WfgS9ddzirrswsE1w5o0LV/g==:",
            ),
        ],
    );
    let claim = sent.claim_at(1_618_884_500).unwrap().unwrap();
    assert_eq!(claim.algorithm, Some(Algorithm::RsaV15Sha256));
    assert_eq!((claim.expires, claim.acceptable_until), (Some(1_618_884_540), 1_618_884_540));
    claim.verify(&PublicKey::from_pem(RSA_2048).unwrap()).unwrap();
    let late = sent.claim_at(1_618_884_541).unwrap_err();
    assert_eq!(late, SignatureError::Expired { ago_s: 1 });
}

fn cavage(parameters: &str) -> Sent {
    let uri = "https://example.com/foo?param=value&pet=dog";
    request(
        uri,
        HELLO,
        &[
            ("host", "example.com"),
            ("date", "Sun, 05 Jan 2014 21:31:40 GMT"),
            ("content-type", "application/json"),
            ("digest", "SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="),
            ("content-length", "18"),
            ("signature", parameters),
        ],
    )
}

/// 2014-01-05T21:31:40Z.
const CAVAGE_NOW_S: i64 = 1_388_957_500;

/// Verifies past our own limit of 2048 bits, since the draft's key has 1024.
fn verify_1024(claim: &Claim) {
    let key = rsa::RsaPublicKey::from_public_key_pem(RSA_1024).unwrap();
    let hash = Sha256::digest(claim.base.as_bytes());
    key.verify(rsa::Pkcs1v15Sign::new::<Sha256>(), &hash, &claim.signature).unwrap();
    assert!(PublicKey::from_pem(RSA_1024).is_err());
}

#[test]
fn cavage_c_1_default() {
    let sent = cavage(
        r#"keyId="Test",algorithm="rsa-sha256",signature="SjWJWbWN7i0wzBvtPl8rbASWz5xQW6mcJmn+ibttBqtifLN7Sazz6m79cNfwwb8DMJ5cou1s7uEGKKCs+FLEEaDV5lp7q25WqS+lavg7T8hc0GppauB6hbgEKTwblDHYGEtbGmtdHgVCk9SuS13F0hZ8FD0k/5OxEPXe5WozsbM=""#,
    );
    let refused = sent.claim_at(CAVAGE_NOW_S).unwrap_err();
    assert_eq!(refused, SignatureError::MissingComponent("(request-target)"));
}

#[test]
fn cavage_c_2_basic() {
    let sent = cavage(
        r#"keyId="Test",algorithm="rsa-sha256",headers="(request-target) host date",signature="qdx+H7PHHDZgy4y/Ahn9Tny9V3GP6YgBPyUXMmoxWtLbHpUnXS2mg2+SbrQDMCJypxBLSPQR2aAjn7ndmw2iicw3HMbe8VfEdKFYRqzic+efkb3nndiv/x1xSHDJWeSWkx3ButlYSuBskLu6kd9Fswtemr3lgdDEmn04swr2Os0=""#,
    );
    let refused = sent.claim_at(CAVAGE_NOW_S).unwrap_err();
    assert_eq!(refused, SignatureError::MissingComponent("digest"));
    let without_body = Sent { body: Vec::new(), ..sent };
    let claim = without_body.claim_at(CAVAGE_NOW_S).unwrap().unwrap();
    assert_eq!(
        claim.base,
        "(request-target): post /foo?param=value&pet=dog\n\
         host: example.com\n\
         date: Sun, 05 Jan 2014 21:31:40 GMT"
    );
    assert_eq!(claim.created, CAVAGE_NOW_S);
    verify_1024(&claim);
}

/// The draft prints `(created)` and `(expires)` in this header, but its signature is over the
/// string without them, which the draft prints too.
#[test]
fn cavage_c_3_all_headers() {
    let parameters = r#"keyId="Test",algorithm="rsa-sha256",headers="(request-target) host date content-type digest content-length",signature="vSdrb+dS3EceC9bcwHSo4MlyKS59iFIrhgYkz8+oVLEEzmYZZvRs8rgOp+63LEM3v+MFHB32NfpB2bEKBIvB1q52LaEUHFv120V01IL+TAD48XaERZFukWgHoBTLMhYS2Gb51gWxpeIq8knRmPnYePbF5MOkR0Zkly4zKH7s1dE=""#;
    let sent = cavage(parameters);
    let claim = sent.claim_at(CAVAGE_NOW_S).unwrap().unwrap();
    assert_eq!(
        claim.base,
        "(request-target): post /foo?param=value&pet=dog\n\
         host: example.com\n\
         date: Sun, 05 Jan 2014 21:31:40 GMT\n\
         content-type: application/json\n\
         digest: SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=\n\
         content-length: 18"
    );
    verify_1024(&claim);

    let mut in_authorization = sent.set("authorization", &format!("Signature {parameters}"));
    in_authorization.headers.remove("signature");
    verify_1024(&in_authorization.claim_at(CAVAGE_NOW_S).unwrap().unwrap());
}

/// RFC 9530 appendices B.1 and D.
#[test]
fn rfc9530_digests() {
    let line = b"{\"hello\": \"world\"}\n";
    let sha_256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    assert_eq!(BodyDigest::of(line).content_digest(), sha_256);
    digest::check_content_digest(sha_256, line).unwrap();
    digest::check_content_digest(HELLO_SHA_512, HELLO).unwrap();
    let both = format!("{HELLO_SHA_512}, {}", BodyDigest::of(HELLO).content_digest());
    digest::check_content_digest(&both, HELLO).unwrap();
    let one_wrong = format!("{HELLO_SHA_512},{sha_256}");
    let refused = digest::check_content_digest(&one_wrong, HELLO).unwrap_err();
    assert_eq!(refused, SignatureError::DigestMismatch);
    let unknown = digest::check_content_digest("md5=:AAAA:, unixsum=:AAAA:", HELLO).unwrap_err();
    assert_eq!(unknown, SignatureError::UnsupportedDigest);
    for bad in ["sha-256=AAAA", "sha-256=(:AAAA:)", "sha-256", "=", "sha-256=:$:"] {
        let refused = digest::check_content_digest(bad, HELLO).unwrap_err();
        assert!(matches!(refused, SignatureError::Malformed(_)), "{bad}: {refused}");
    }
}

/// RFC 3230 digests, as draft-cavage uses them.
#[test]
fn rfc3230_digests() {
    let hello = "SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=";
    assert_eq!(BodyDigest::of(HELLO).digest(), hello);
    for good in [
        hello,
        "sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE",
        "unixsum=1, Sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=",
        "SHA-512=WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==",
    ] {
        digest::check_digest(good, HELLO).unwrap();
    }
    let refused = digest::check_digest(hello, b"other").unwrap_err();
    assert_eq!(refused, SignatureError::DigestMismatch);
    assert_eq!(
        digest::check_digest("MD5=AAAA", HELLO).unwrap_err(),
        SignatureError::UnsupportedDigest
    );
    assert!(digest::check_digest(&format!("{hello},").repeat(20), HELLO).is_err());
    assert!(digest::check_digest("", HELLO).is_err());
}
