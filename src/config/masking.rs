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
const SECRET_WORDS: [&str; 12] = [
    "token", "secret", "pass", "pwd", "webhook", "smtp", "slack", "key", "hash", "auth", "signing",
    "cred",
];

/// The sections in which any value may be a secret: what someone forgot to write under its key, or
/// wrote under one that there is not.
const SECTIONS: [&str; 2] = ["receivers", "admin"];

/// The keys in them whose values are none.
const HARMLESS: [&str; 13] = [
    "allow_http",
    "blocks",
    "channel",
    "chat_id",
    "fallback",
    "from",
    "give_up_after",
    "listen",
    "open",
    "rate",
    "timeout",
    "to",
    "user",
];

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?<key>"[^"]*"|'[^']*'|[\w./-]+)\s*:(?:\s|$)|(?<value>"[^"]*"?|'[^']*'?|(?:\$\{[^}]*\}|[^\s\[\]{},"'])(?:\$\{[^}]*\}|[^\s\[\]{},])*)"#,
    )
});
static COMMENT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:^|\s)#.*$"));
static URL: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?i)[a-z+]+://(?:[^\s"'/@]*@|hooks\.slack\.com/)[^\s"']*"#));
// The name of a variable is ASCII: to know all letters there are would take 300 kB.
static REFERENCE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^["']?\$\{(?-u:\w)+(:-)?\}["']?,?$"#));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that compiles")
}

/// The line with stars for its secrets, of the same width. `before` is the text before it, where the
/// keys stand that it is under; `known` are secrets that were read from this file.
pub(super) fn mask(line: &str, before: &str, known: &[String]) -> String {
    let mut scan = Scan::default();
    for line in lines_above(line, before) {
        scan.mask(&COMMENT.replace(line, ""));
    }
    let mut line = mask_urls(&scan.mask(line));
    for secret in known {
        line = line.replace(secret.as_str(), &blank(secret));
    }
    line
}

/// What is known of the place that has been come to.
#[derive(Default)]
struct Scan {
    in_section: bool,
    hides: bool,
}

impl Scan {
    fn mask(&mut self, line: &str) -> String {
        let shown = |captures: &Captures<'_>| {
            let Some(key) = captures.name("key") else {
                let is_open = &captures[0] == "-" || is_reference(&captures[0]);
                let hides = self.hides && !is_open;
                return if hides { blank(&captures[0]) } else { captures[0].to_owned() };
            };
            let key = key.as_str().trim_matches(['"', '\'']).to_lowercase();
            self.in_section |= is_section(&key);
            let is_harmless = HARMLESS.contains(&key.as_str()) || key.ends_with("_file");
            self.hides = is_secret(&key) || self.in_section && !is_harmless;
            captures[0].to_owned()
        };
        TOKEN.replace_all(line, shown).into_owned()
    }
}

/// The lines that this one is under by its indentation, the outermost first.
fn lines_above<'a>(line: &str, before: &'a str) -> Vec<&'a str> {
    // The items of a list may stand as far left as its key.
    let indented = |line: &str| {
        let text = line.trim_start();
        2 * (line.len() - text.len()) + usize::from(text.starts_with("- "))
    };
    let says_something = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let mut left = if line.trim().is_empty() { usize::MAX } else { indented(line) };
    let mut above = Vec::new();
    for line in before.lines().rev().filter(says_something) {
        if indented(line) < left {
            left = indented(line);
            above.push(line);
        }
    }
    above.reverse();
    above
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
    !key.ends_with("_file")
        && (SECRET_WORDS.iter().any(|word| key.contains(word))
            || SECRET_KEYS.iter().any(|secret| looks_like(key, secret)))
}

/// Whether a key begins such a section, or was meant to. Tests have a `receiver`.
fn is_section(key: &str) -> bool {
    key != "receiver" && SECTIONS.iter().any(|section| looks_like(key, section))
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
            ("token: !x abc", "token: ** ***"),
            ("{ url: &a !x \"a b\", to: c }", "{ url: ** ** ** **, to: c }"),
            ("{ secret: [abc, !x \"d\"], to: [c] }", "{ secret: [***, ** ***], to: [c] }"),
            ("{ secret: &a [abc", "{ secret: ** [***"),
            ("pwd: abc", "pwd: ***"),
            ("{ signing: abc, auth: abc, pass: abc }", "{ signing: ***, auth: ***, pass: *** }"),
        ] {
            assert_eq!(mask(line, "", &[]), masked);
        }
    }

    #[test]
    fn a_secret_on_a_line_below_its_key_is_masked() {
        for before in [
            "webhook_url: >-\n",
            "webhook_url:\n",
            "webhook_url: &anchor # see: there\n",
            "webhook_url:\n\n# or\n",
            "webhook_url: |\n  one\n",
            "a:\n  b: 1\n  receive_token:\n  - one\n",
        ] {
            assert_eq!(mask("  - abc", before, &[]), "  - ***", "{before}");
        }
        assert_eq!(mask("- abc", "rules:\n", &[]), "- abc");
        assert_eq!(mask("- abc", "secret:\n  a\nrules:\n", &[]), "- abc");
    }

    #[test]
    fn under_receivers_and_admin_only_what_is_known_to_be_harmless_is_shown() {
        for (line, masked) in [
            ("  a: { discord: https://x/hush }", "  a: { discord: ************** }"),
            (
                "  a: { telegram: \"12:hush\", rate: 1/s }",
                "  a: { telegram: *********, rate: 1/s }",
            ),
            ("  a: { hook: { adress: hush } }", "  a: { hook: { adress: **** } }"),
            ("      - hush", "      - ****"),
            (
                "  a: { email: { from: a@x.org, to: [b@x.org] } }",
                "  a: { email: { from: a@x.org, to: [b@x.org] } }",
            ),
            ("  a: { x: '${X}', y_file: z }", "  a: { x: '${X}', y_file: z }"),
        ] {
            for before in ["receivers:\n", "receivrs:\n  b: { console: {} }\n"] {
                assert_eq!(mask(line, before, &[]), masked);
            }
        }
        let admin = "server: { admin: { user: ops, pas: hush, open: 5 } }";
        let masked = "server: { admin: { user: ops, pas: ****, open: 5 } }";
        assert_eq!(mask(admin, "", &[]), masked);
        let test = "{ rule: crashed, receiver: [ops], fring: 1 }";
        assert_eq!(mask(test, "tests:\n", &[]), test);
    }

    #[test]
    fn a_secret_that_is_known_is_masked_wherever_it_stands() {
        assert_eq!(mask("message: abc", "", &["abc".into()]), "message: ***");
    }
}
