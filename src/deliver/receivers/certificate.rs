//! What is wrong with the certificate of the other side, in words that say what to do about it; and
//! whether it has any.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// Why it was not taken, if an error is about that and it is one of the usual reasons.
pub(super) fn refused(error: &(dyn Error + 'static)) -> Option<String> {
    let words = match rejected(error)? {
        // It may also have the name of somebody who is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is by nobody who is trusted here; if it is the right one, trust whoever \
             made it on this machine, or by a file that SSL_CERT_FILE names"
        }
        // The type of this error is of a library beneath.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "its certificate signs itself as an authority (CA:TRUE), which nobody takes from a \
             server; have it make one with `-addext basicConstraints=critical,CA:FALSE`, and trust \
             that by a file that SSL_CERT_FILE names"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; have it renewed, if the clock of this machine is right"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is the clock of this machine right?"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; ask for it by a name that stands in it, or have \
             one made for this name"
        }
        _ => return None,
    };
    Some(words.to_owned())
}

/// Whether it is about an answer in something else than TLS.
pub(super) fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    matches!(of_tls(error), Some(rustls::Error::InvalidMessage(_)))
}

/// What was found to be wrong with a certificate, wherever beneath the error that is said.
fn rejected<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    match of_tls(error)? {
        rustls::Error::InvalidCertificate(rejected) => Some(rejected),
        _ => None,
    }
}

/// The error of TLS, wherever beneath the error it is.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // The source of such an error is that of the error within.
    let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let within = within.map(|error| error as &'a (dyn Error + 'static));
    within.or_else(|| error.source()).and_then(of_tls)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;
    use crate::deliver::receivers::with_causes;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("CaUsedAsEndEntity")]
    struct CaUsedAsEndEntity;

    #[test]
    fn a_certificate_that_is_not_taken_is_told_with_what_to_do() {
        let ca = CertificateError::Other(OtherError(Arc::new(CaUsedAsEndEntity)));
        for (rejected, words) in [
            (CertificateError::UnknownIssuer, "SSL_CERT_FILE"),
            (CertificateError::BadSignature, "SSL_CERT_FILE"),
            (ca, "CA:FALSE"),
            (CertificateError::Expired, "has expired"),
            (CertificateError::NotValidYet, "the clock"),
            (CertificateError::NotValidForName, "another name"),
            (CertificateError::Revoked, "client error (Connect): invalid peer certificate"),
        ] {
            let tls = rustls::Error::InvalidCertificate(rejected);
            let told = with_causes(&Outer(io::Error::other(tls)));
            assert!(told.contains(words), "{told}");
            assert!(!told.contains("(shortened)"), "{told}");
        }
    }
}
