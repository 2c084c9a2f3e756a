//! Signatures of webhooks, by Standard Webhooks 1.0 (github.com/standard-webhooks): so that a
//! receiver knows who sent what, and when.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a secret is, in bytes (Standard Webhooks 1.0, "Signature scheme").
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

const PREFIX: &str = "whsec_";

/// Written with padding, read with or without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret to sign with. It is none to print, so there is no `Debug`.
pub(super) struct Key(Vec<u8>);

impl Key {
    /// The key that is written as `whsec_` and base64, or as base64 alone. The error does not
    /// repeat it.
    pub(super) fn parse(text: &str) -> Result<Key, String> {
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = BASE64.decode(text).map_err(
            |_| "must be whsec_ and base64, as `echo whsec_$(openssl rand -base64 32)` makes it",
        )?;
        if !LENGTH.contains(&bytes.len()) {
            let (least, most) = (LENGTH.start(), LENGTH.end());
            let length = bytes.len();
            return Err(format!("must have {least} to {most} bytes in base64, and has {length}"));
        }
        Ok(Key(bytes))
    }

    /// `v1,<base64>`: the signature of a body that is sent with this id at this Unix time.
    fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

/// The signatures of all keys, for one header.
pub(super) fn signatures(keys: &[Key], id: &str, seconds: u64, body: &[u8]) -> String {
    let all: Vec<String> = keys.iter().map(|key| key.sign(id, seconds, body)).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_body_is_signed_as_the_standard_has_it() {
        // Made with Python's hmac: the standard's own example.
        let key = Key::parse(SECRET).unwrap_or_else(|error| panic!("{error}"));
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_key_signs() {
        let keys = [SECRET, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ"].map(Key::parse);
        let keys: Vec<Key> = keys.into_iter().flatten().collect();
        let signed = signatures(&keys, "id", 1, b"{}");
        let parts: Vec<&str> = signed.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert!(parts[0] != parts[1] && parts.iter().all(|part| part.starts_with("v1,")));
    }

    #[test]
    fn what_is_no_secret_is_said_without_repeating_it() {
        for wrong in ["whsec_s3cret!", "s3cret", "whsec_", "", "whsec_AAAA"] {
            let error = Key::parse(wrong).map(drop).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(Key::parse(&BASE64.encode([7; 65])).is_err());
    }
}
