//! A password that someone is to give, as the rules file has it: plain, or hashed by argon2id.
//!
//! Compares in constant time. A hash costs tens of milliseconds and of megabytes on purpose: whoever
//! asks it says how often that may be.

use std::fmt;
use std::sync::OnceLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier, Version};
use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::ring;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What one look at a hash may cost: memory in KiB, and passes over it in all, which at a hundred
/// thousand KiB a second and more are less than ten seconds.
const MOST_MEMORY: u32 = 256 * 1024;
const MOST_WORK: u64 = 1024 * 1024;

/// A password to compare with.
pub struct Password {
    /// For the digests that are compared: of this process alone, and of even length.
    key: [u8; 32],
    hash: Option<PasswordHash>,
    /// The digest of the right one; of a hash, once it was given.
    right: OnceLock<[u8; 32]>,
}

impl Password {
    /// One that the file has as it is.
    #[must_use]
    pub fn plain(password: &SecretString) -> Password {
        let plain = Password::new(None);
        // A new lock is empty.
        let _ = plain.right.set(plain.digest(password.expose_secret().as_bytes()));
        plain
    }

    /// One of which the file has the argon2id hash, a PHC string.
    ///
    /// # Errors
    /// What is wrong with it, to be said after what it is: "is no …".
    pub fn hashed(phc: &SecretString) -> Result<Password, String> {
        let hash = PasswordHash::new(phc.expose_secret()).ok();
        let hash = hash.filter(|hash| hash.salt.is_some() && hash.hash.is_some());
        let Some(hash) =
            hash.filter(|hash| hash.algorithm.as_str() == Algorithm::Argon2id.as_str())
        else {
            return Err(
                "is no hash by argon2id, which begins with $argon2id$; the README says how \
                        to make one"
                    .into(),
            );
        };
        let known_version = hash.version.is_none_or(|version| Version::try_from(version).is_ok());
        let params = Params::try_from(&hash).ok().filter(|_| known_version);
        let Some(params) = params else {
            return Err("has parameters that argon2id cannot have; make it anew".into());
        };
        let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
        if params.m_cost() > MOST_MEMORY || work > MOST_WORK {
            return Err(format!(
                "takes {} MiB and {} passes to compare with, which is too much for a server; make \
                 it with less, such as 19 MiB and 2 passes",
                params.m_cost() / 1024,
                params.t_cost()
            ));
        }
        Ok(Password::new(Some(hash)))
    }

    fn new(hash: Option<PasswordHash>) -> Password {
        let mut key = [0; 32];
        ring::default_provider()
            .secure_random
            .fill(&mut key)
            .expect("the system has random numbers, without which it has no TLS either");
        Password { key, hash, right: OnceLock::new() }
    }

    /// Whether this is the password, if that can be said at once: a hash has to be asked until the
    /// right one was given once, and no more from then on.
    #[must_use]
    pub fn is_at_once(&self, given: &[u8]) -> Option<bool> {
        let right = self.right.get()?;
        Some(self.digest(given).ct_eq(right).into())
    }

    /// Whether this is the password, whatever it takes: not for the async runtime.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        if let Some(answer) = self.is_at_once(given) {
            return answer;
        }
        let Some(hash) = &self.hash else { return false };
        let is_right = Argon2::default().verify_password(given, hash).is_ok();
        if is_right {
            // Another thread may have been faster, with the same.
            let _ = self.right.set(self.digest(given));
        }
        is_right
    }

    fn digest(&self, password: &[u8]) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.chain_update(password).finalize().into_bytes().into()
    }
}

/// Says nothing of what it is.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "hush", by Debian's `argon2 saltsalt -id -k 64 -t 1 -p 1 -e`.
    const HASH: &str =
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$9ap1ZkFihPfJaYr6Srd3gywmSNo4AEb2Q2yupQMDgAo";

    fn hashed(phc: &str) -> Result<Password, String> {
        Password::hashed(&phc.into())
    }

    #[test]
    fn a_plain_password_is_itself_and_nothing_else() {
        let password = Password::plain(&"hush".into());
        for (given, answer) in [("hush", true), ("hus", false), ("hush!", false), ("", false)] {
            assert_eq!(password.is_at_once(given.as_bytes()), Some(answer), "{given}");
            assert_eq!(password.is(given.as_bytes()), answer, "{given}");
        }
    }

    #[test]
    fn a_hash_is_asked_until_the_right_password_was_given_once() {
        let password = hashed(HASH).unwrap();
        assert_eq!(password.is_at_once(b"hush"), None);
        assert!(!password.is(b"wrong"));
        assert_eq!(password.is_at_once(b"wrong"), None);
        assert!(password.is(b"hush"));
        assert_eq!(password.is_at_once(b"hush"), Some(true));
        assert_eq!(password.is_at_once(b"wrong"), Some(false));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let (head, tail) = HASH.split_once("m=64,t=1").unwrap();
        for (phc, words) in [
            (String::new(), "is no hash by argon2id"),
            ("hush".into(), "is no hash by argon2id"),
            (HASH.replace("argon2id", "argon2i"), "is no hash by argon2id"),
            (HASH.rsplit_once('$').unwrap().0.into(), "is no hash by argon2id"),
            ("$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe".into(), "is no hash"),
            (format!("{head}m=4,t=1{tail}"), "cannot have"),
            (HASH.replace("v=19", "v=7"), "cannot have"),
            (format!("{head}m=1048576,t=1{tail}"), "takes 1024 MiB and 1 passes"),
            (format!("{head}m=65536,t=1000{tail}"), "takes 64 MiB and 1000 passes"),
        ] {
            let error = hashed(&phc).unwrap_err();
            assert!(error.contains(words), "{phc}: {error}");
        }
    }

    #[test]
    fn it_cannot_be_printed() {
        let password = Password::plain(&"hush".into());
        assert_eq!(format!("{password:?} {:?}", hashed(HASH).unwrap()).matches("hush").count(), 0);
    }
}
