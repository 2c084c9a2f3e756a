//! The addresses of places: which are taken, and why not. Never repeats one, for it is a secret.

use std::net::IpAddr;

use reqwest::Url;

use super::outbound;

/// A web address; plain HTTP only to this machine, unless the file allows it.
pub(super) fn http_url(text: &str, allow_http: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    outbound::check_host(&host(&url))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || is_loopback(&host(&url)) => Ok(url),
        "http" => {
            Err("plain http is for this machine only; use https, or say `allow_http: true`".into())
        }
        other => Err(format!("must begin with https://, and begins with {other}:")),
    }
}

/// What is below an address: with these further parts of its path, each escaped where it has to be.
pub(super) fn below(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    // It fails for addresses without a path, such as `mailto:`, which `http_url` does not let pass.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

/// The host, an IPv6 address without its brackets.
pub(super) fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned()
}

/// Whether this address is on this machine: no proxy is asked for it.
pub(crate) fn is_here(url: &Url) -> bool {
    is_loopback(&host(url))
}

/// Whether this host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Decodes `%40` and the like.
pub(super) fn percent_decoded(text: &str) -> Result<String, String> {
    let error = || "has a percent sign that is not followed by two hexadecimal digits".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = digit().zip(digit()).ok_or_else(error)?;
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once its percent signs are decoded".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for local in ["http://127.0.0.1:9/x", "http://[::1]/x", "http://localhost:8080/x"] {
            assert!(http_url(local, false).is_ok(), "{local}");
        }
        assert!(http_url("http://example.com/x", false).unwrap_err().contains("allow_http"));
        assert!(http_url("http://example.com/x", true).is_ok());
        assert!(http_url("https://example.com/x", false).is_ok());
    }

    #[test]
    fn no_web_address_leads_to_where_a_cloud_gives_credentials_away() {
        for url in [
            "http://169.254.169.254/latest/meta-data/s3cret",
            "https://0xA9.254.43518/s3cret",
            "http://[::ffff:169.254.169.254]/s3cret",
            "http://[fd00:ec2::254]/s3cret",
            "https://metadata.google.internal./s3cret",
        ] {
            let error = http_url(url, true).unwrap_err();
            assert!(error.contains("credentials") && !error.contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn what_is_no_web_address_is_said_without_repeating_it() {
        for wrong in ["hooks.slack.com/s3cret", "ftp://s3cret.example.com", "http://", "s3cret"] {
            let error = http_url(wrong, true).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn what_is_below_an_address_cannot_lead_out_of_it() {
        for (base, below_it) in [
            ("https://api.example.com", "https://api.example.com/api/a%2Fb%3Fc%23"),
            ("https://api.example.com/p/?q=1", "https://api.example.com/p/api/a%2Fb%3Fc%23?q=1"),
        ] {
            assert_eq!(below(&base.parse().unwrap(), &["api", "a/b?c#"]).as_str(), below_it);
        }
    }

    #[test]
    fn percent_signs_are_decoded() {
        assert_eq!(percent_decoded("a%40b%C3%A9+").as_deref(), Ok("a@bé+"));
        assert!(percent_decoded("100%").is_err());
        assert!(percent_decoded("%zz").is_err());
        assert!(percent_decoded("%ff").is_err());
    }
}
