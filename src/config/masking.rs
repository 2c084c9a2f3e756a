//! Hides the secrets in a line of the rules file before it is shown.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The keys whose values are secrets, now or in a version to come.
pub(super) const SECRET_KEYS: [&str; 10] = [
    "webhook_url",
    "smtp_url",
    "receive_token",
    "password",
    "password_hash",
    "bot_token",
    "routing_key",
    "secret",
    "token",
    "url",
];

/// What a key has in its name if its value may well be one.
const SECRET_WORDS: [&str; 8] =
    ["token", "secret", "passw", "webhook", "smtp", "slack", "key", "hash"];

static ENTRY: LazyLock<Regex> = LazyLock::new(|| {
    // Between a key and its value there may be a tag and an anchor.
    regex(
        r#"(?<key>[\w-]+)(?<between>["']?\s*:\s+(?:[!&]\S*\s+)*)(?<value>"[^"]*"?|'[^']*'?|[^\s{\[&*][^\s]*)"#,
    )
});
static LIST: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"(?<key>[\w-]+)(?<between>["']?\s*:\s+(?:[!&]\S*\s+)*\[)(?<value>[^\[\]{}]*)"#)
});
static URL: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?i)[a-z+]+://(?:[^\s"'/@]*@|hooks\.slack\.com/)[^\s"']*"#));
// The name of a variable is ASCII: to know all letters there are would take 300 kB.
static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^["']?\$\{(?-u:\w)+(:-)?\}["']?,?$"#));
static DANGLING: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?<key>[\w-]+)["']?\s*:\s*([>|][+-]?\d?|["'].*)?\s*$"#));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that compiles")
}

/// The line with stars for its secrets, of the same width. `before` is the line before it, on which
/// a secret's key may stand; `known` are secrets that were read from this file.
pub(super) fn mask(line: &str, before: Option<&str>, known: &[String]) -> String {
    let goes_on = before.and_then(|before| DANGLING.captures(before));
    let has_colon = line.contains(": ") || line.trim_end().ends_with(':');
    if goes_on.is_some_and(|captures| is_secret(&captures["key"])) && !has_colon {
        return blank(line);
    }
    let entry = |captures: &Captures<'_>| {
        let value = &captures["value"];
        let open = !is_secret(&captures["key"]) || is_reference(value);
        let value = if open { value.to_owned() } else { blank(value) };
        format!("{}{}{value}", &captures["key"], &captures["between"])
    };
    let line = ENTRY.replace_all(line, entry);
    let mut line = mask_urls(&LIST.replace_all(&line, entry));
    for secret in known {
        line = line.replace(secret.as_str(), &blank(secret));
    }
    line
}

/// The text with stars for URLs that are secrets by the look of them.
pub(super) fn mask_urls(text: &str) -> String {
    URL.replace_all(text, |captures: &Captures<'_>| blank(&captures[0])).into_owned()
}

/// Whether this only refers to a variable, and so gives nothing away.
pub(super) fn is_reference(written: &str) -> bool {
    REFERENCE.is_match(written)
}

/// Whether a value under this key, or one that it was meant to be, is a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    !key.ends_with("_file")
        && (SECRET_WORDS.iter().any(|word| key.contains(word))
            || SECRET_KEYS.iter().any(|secret| looks_like(&key, secret)))
}

/// Whether a key was meant to be this one. What is near a short one is too much.
fn looks_like(key: &str, secret: &str) -> bool {
    let near = if secret.len() > 6 { 3 } else { usize::from(secret.len() > 3) };
    strsim::damerau_levenshtein(secret, key) <= near
}

/// Stars for all but white space.
fn blank(text: &str) -> String {
    text.chars().map(|char| if char.is_whitespace() { char } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secrets_value_is_stars_of_the_same_width() {
        for (line, masked) in [
            ("webhook_url: https://x/y", "webhook_url: ***********"),
            ("webhok_ur: https://x/y", "webhok_ur: ***********"),
            (
                "a: { slack: { webhook_url: \"x y\", b: 1 } }",
                "a: { slack: { webhook_url: ** **, b: 1 } }",
            ),
            ("slack: https://x/y", "slack: ***********"),
            ("x: https://hooks.slack.com/T/B", "x: ***************************"),
            ("x: smtp://u:p@host", "x: ***************"),
            ("webhook_url: ${SLACK}", "webhook_url: ${SLACK}"),
            ("webhook_url: \"${SLACK:-}\"", "webhook_url: \"${SLACK:-}\""),
            ("webhook_url: ${SLACK:-https://x}", "webhook_url: *******************"),
            ("webhook_url_file: /run/secret", "webhook_url_file: /run/secret"),
            ("runbook_url: https://x/y", "runbook_url: https://x/y"),
            ("token: !x abc", "token: !x ***"),
            ("{ url: &a !x \"a b\", to: c }", "{ url: &a !x ** **, to: c }"),
            ("{ secret: [abc, !x \"d\"], to: [c] }", "{ secret: [**** ** ***], to: [c] }"),
            ("{ secret: &a [abc", "{ secret: &a [***"),
        ] {
            assert_eq!(mask(line, None, &[]), masked);
        }
    }

    #[test]
    fn a_secret_on_the_line_after_its_key_is_masked() {
        assert_eq!(mask("  abc", Some("webhook_url: >-"), &[]), "  ***");
        assert_eq!(mask("  abc", Some("webhook_url:"), &[]), "  ***");
        assert_eq!(mask("- abc", Some("rules:"), &[]), "- abc");
    }

    #[test]
    fn a_secret_that_is_known_is_masked_wherever_it_stands() {
        assert_eq!(mask("message: abc", None, &["abc".into()]), "message: ***");
    }
}
