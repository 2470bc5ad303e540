//! Against the vector of RFC 8463 and a signature that another program made.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ED25519, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use proptest::prelude::*;

use super::*;

/// RFC 8463, appendix A.
const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n\
    Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const SIGNATURE: &str =
    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
const HEADER: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; \
    i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : \
    message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";

/// Made by dkimpy 1.1.8 with a key whose public half is known.
const FOREIGN_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0KWaMCli7CMFKiKXZ4koIPpu/dnvZNdQW4y+kFbSuTSpGmf8tp4ICLOgFCeAUSVYMAlkHnGOKeep87BPGQkXmUB8ljuNPfqH+9EDZnzjBefEvgumpabg/O2xi0W9ghqt43XE6Ic5WiE/Dl1X+BkyQvqfas+QwsfA09lI40eQbVUSyaTaB1nyEt8Y/x5WbxKT73Q9oVfrXLJuA3S/e3gJzELiOxqWcYkJsHJxYXYdhIGj7mlFhdBXtlvCdhCJSG3wgTHgwa5AjilouLpAoI0wSrUFPPQeudlVyxkVafKoQ3i0KIu4aVxaIeJRUKwa2K5s3Un7RKIoHaOZee2sltWdzwIDAQAB";
const FOREIGN_HEADER: &str = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=send.example.com;\r\n \
    i=@send.example.com; q=dns/txt; s=s1; t=1795283065; h=from : to :\r\n subject : date : message-id : \
    list-unsubscribe :\r\n list-unsubscribe-post;\r\n bh=zS7KNTV0HyeorkDDGwxB1AV6enuRKzO5rthkhdHIRnY=;\r\n b=";
const FOREIGN_SIGNATURE: &str = "qdddxVxbrW58AhgDE9ZnEO7zVO0Gdg51JFoK/pevYEDNQjnSIoHx2tbbBd047Z5vKGsMOeKV4pz7ebzJnxZ0Cac0O80NtRdv+w9EVtLyzqESGNzV+l1KndPTObX6dQjaKOmZqMuAEHcCInhu+ScEGgfZHMxd+cibBub12BnJRL9qesXktIz/ICh+fOBrW02EvxgjFVlYdBSqj+jz9xv9qL8JHFftm6BGm2X0hnJVDxkp49pcMX2gnOcJKqR0dkjZf08/Pmotkymg9K+yYn5Ockg6bVRhd0twgzjGhgBibcqGxjV2rHXtFzUarQsz2A1TlwcsMF2TjVRv+U1a4dxiOQ==";
const FOREIGN_MESSAGE: &str = "From: A <a@send.example.com>\r\nTo: b@ex.com\r\nSubject: hi\r\n\
    Date: Sat, 21 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@send.example.com>\r\n\
    List-Unsubscribe: <https://u.example.com/u/abc>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n\
    hello \r\n";

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// The key of RFC 8463 in PKCS #8 (RFC 8410, section 7).
fn rfc_key() -> Signer {
    let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
    der.extend(STANDARD.decode(SEED).unwrap());
    Signer::new("football.example.com".into(), "brisbane".into(), &pem(&der)).unwrap()
}

fn split(message: &str) -> (&str, &str) {
    message.split_once("\r\n\r\n").unwrap()
}

fn body_hash(message: &str) -> String {
    STANDARD.encode(digest(&SHA256, &relaxed_body(split(message).1.as_bytes())))
}

#[test]
fn the_vector_of_rfc_8463_comes_out() {
    assert_eq!(body_hash(MESSAGE), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    // The second names of from, subject and date find nothing more.
    let names = ["from", "to", "subject", "date", "message-id"];
    let data = signed_data(format!("{}\r\n", split(MESSAGE).0).as_bytes(), &names, HEADER);
    let signature = rfc_key().key.sign(digest(&SHA256, &data).as_ref(), &data).unwrap();
    assert_eq!(STANDARD.encode(signature), SIGNATURE);
}

#[test]
fn what_another_program_signed_is_the_same_data_here() {
    assert_eq!(body_hash(FOREIGN_MESSAGE), "zS7KNTV0HyeorkDDGwxB1AV6enuRKzO5rthkhdHIRnY=");
    let names = ["from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post"];
    let header = format!("{}\r\n", split(FOREIGN_MESSAGE).0);
    let data = signed_data(header.as_bytes(), &names, FOREIGN_HEADER);
    let key = STANDARD.decode(FOREIGN_KEY).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key);
    let signature = STANDARD.decode(FOREIGN_SIGNATURE).unwrap();
    assert!(key.verify(&data, &signature).is_ok());
    assert!(key.verify(&signed_data(b"", &names, FOREIGN_HEADER), &signature).is_err());
}

#[test]
fn both_kinds_of_keys_sign_what_they_say() {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
    let signer = Signer::new("shop.example".into(), "s1".into(), &pem(der.as_ref())).unwrap();
    let at = Timestamp::from_second(1_795_219_200).unwrap();
    let signed = sign(Bytes::from_static(FOREIGN_MESSAGE.as_bytes()), &[rfc_key(), signer], at).unwrap();
    let signed = String::from_utf8(signed.to_vec()).unwrap();
    assert!(signed.ends_with(FOREIGN_MESSAGE));
    assert!(signed.split("\r\n").all(|line| line.len() <= 130), "{signed}");
    assert!(
        signed.contains("h=from:to:subject:date:message-id:list-unsubscribe:list-unsubscribe-post:from;")
    );
    let headers: Vec<&str> = signed.split("DKIM-Signature:").skip(1).collect();
    let [ed25519, rsa_header] = headers.as_slice() else { panic!("{headers:?}") };
    assert!(ed25519.contains("a=ed25519-sha256") && ed25519.contains("d=football.example.com; s=brisbane"));
    for (header, key, value) in [
        (ed25519, None, rfc_key().public()),
        (&rsa_header.split("From:").next().unwrap(), Some(()), rsa.public_key().as_ref().to_vec()),
    ] {
        let (own, signature) = header.split_once("\tb=").unwrap();
        let own = format!("DKIM-Signature:{own}\tb=");
        let signature: String = signature.split_whitespace().collect();
        let signature = STANDARD.decode(signature).unwrap();
        let names =
            ["from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post"];
        let data = signed_data(format!("{}\r\n", split(FOREIGN_MESSAGE).0).as_bytes(), &names, &own);
        let good = match key {
            Some(()) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &value).verify(&data, &signature),
            None => {
                let hash = digest(&SHA256, &data);
                UnparsedPublicKey::new(&ED25519, &value).verify(hash.as_ref(), &signature)
            }
        };
        assert!(good.is_ok(), "{own}");
    }
}

impl Signer {
    fn public(&self) -> Vec<u8> {
        match &self.key {
            Key::Ed25519(key) => key.public_key().as_ref().to_vec(),
            Key::Rsa(key) => key.public_key().as_ref().to_vec(),
        }
    }
}

#[test]
fn what_cannot_sign_is_refused_and_no_key_shows() {
    let new = |pem: &str| Signer::new("a.example".into(), "s".into(), pem);
    assert!(matches!(new("secret"), Err(InvalidKey::NoPem)));
    assert!(matches!(new(&pem(b"secret")), Err(InvalidKey::Unusable)));
    assert_eq!(
        format!("{:?}", rfc_key()),
        "Signer { domain: \"football.example.com\", selector: \"brisbane\", .. }"
    );
}

#[test]
fn relaxing_is_as_the_standard_has_it() {
    // RFC 6376, section 3.4.5.
    let header = b"A: X\r\nB : Y\t\r\n\tZ  \r\n";
    assert_eq!(signed_data(header, &["a", "b"], ":own"), b"a:X\r\nb:Y Z\r\ndkim-signature:own");
    assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
    assert_eq!(relaxed_body(b"\r\n \r\n"), b"");
    assert_eq!(relaxed_body(b"no end"), b"no end\r\n");
}

proptest! {
    #[test]
    fn a_body_is_relaxed_once(body in "[ a\t\r\n.]{0,60}") {
        let once = relaxed_body(body.as_bytes());
        prop_assert_eq!(relaxed_body(&once), once);
    }

    #[test]
    fn white_space_at_line_ends_and_empty_lines_at_the_end_do_not_count(lines in proptest::collection::vec("[a-z ]{0,8}", 0..6)) {
        let plain: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let loose: String = lines.iter().map(|line| format!("{line}\t \r\n")).collect();
        prop_assert_eq!(relaxed_body(plain.as_bytes()), relaxed_body(format!("{loose}\r\n \r\n").as_bytes()));
    }
}
