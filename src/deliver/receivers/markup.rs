//! Escaping for places that read markup, within their limits.

use crate::message::text::{SHORTENED, one_line};
use crate::message::{Body, Message};

/// How much of a message there may be to know of the message itself, by what the place counts.
pub(super) const REMARKS: usize = 600;

/// The text with what `entity` gives for a character in its place, if it gives anything; in at most
/// `limit` characters, without cutting an entity. Says so where it is cut.
pub(super) fn escape(text: &str, limit: usize, entity: fn(char) -> &'static str) -> String {
    let length = |character| entity(character).chars().count().max(1);
    let whole: usize = text.chars().map(length).sum();
    let room = if whole <= limit { limit } else { limit.saturating_sub(SHORTENED.chars().count()) };
    let mut escaped = String::with_capacity(text.len());
    let mut used = 0;
    for character in text.chars() {
        used += length(character);
        if used > room {
            escaped.push_str(SHORTENED);
            break;
        }
        match entity(character) {
            "" => escaped.push(character),
            entity => escaped.push_str(entity),
        }
    }
    escaped
}

/// The text with an invisible space wherever a place may make a link, a mention, a command or a
/// picture of it without being asked to: `@name`, `http://x`, `x.com`, `#x`, `/x`, `$x`, `:x:`.
pub(super) fn unlinked(text: &str) -> String {
    let mut unlinked = String::with_capacity(text.len());
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        unlinked.push(character);
        let after = characters.peek().copied().unwrap_or(' ');
        let begins = !before.is_alphanumeric() && (after.is_alphanumeric() || after == '_');
        let links = match character {
            '@' => true,
            '.' => !before.is_whitespace() && after.is_alphabetic(),
            ':' => begins || after == '/',
            '#' | '/' | '$' | '~' => begins,
            _ => false,
        };
        if links {
            unlinked.push('\u{200b}');
        }
        before = character;
    }
    unlinked
}

/// The text of a message without what a place would make of it. In a rule's own words its author may
/// have written an address, which is left alone where it shows where it leads.
pub(super) fn disarmed(message: &Message, text: &str, disarm: impl Fn(&str) -> String) -> String {
    if matches!(message.body, Body::Sections(_)) {
        return disarm(text);
    }
    let (mut disarmed, mut rest) = (String::with_capacity(text.len()), String::new());
    for word in text.split_inclusive(char::is_whitespace) {
        let address = word.trim_end();
        if is_bare_address(address) {
            disarmed.push_str(&disarm(&std::mem::take(&mut rest)));
            disarmed.push_str(address);
            rest.push_str(&word[address.len()..]);
        } else {
            rest.push_str(word);
        }
    }
    disarmed + &disarm(&rest)
}

/// Whether this is a web address in which nothing could be markup as well (RFC 3986 §2).
fn is_bare_address(word: &str) -> bool {
    let harmless = |char: char| char.is_ascii_alphanumeric() || "-._:/?#@$'+,;=%".contains(char);
    web_link(word, usize::MAX).is_some_and(|address| address.chars().all(harmless))
}

/// What disarms Markdown, as Discord and Teams read it: a backslash before whatever may mean
/// something, wherever it stands.
pub(super) fn markdown(character: char) -> &'static str {
    match character {
        '\\' => "\\\\",
        '*' => "\\*",
        '_' => "\\_",
        '~' => "\\~",
        '`' => "\\`",
        '|' => "\\|",
        '>' => "\\>",
        '<' => "\\<",
        '#' => "\\#",
        '-' => "\\-",
        '[' => "\\[",
        ']' => "\\]",
        '(' => "\\(",
        ')' => "\\)",
        _ => "",
    }
}

/// As many whole lines as there is room for; says so where some are left out.
pub(super) fn whole_lines(lines: &[String], limit: usize) -> String {
    let length = |line: &str| line.chars().count() + 1;
    let all: usize = lines.iter().map(|line| length(line)).sum();
    let room = if all <= limit { limit } else { limit.saturating_sub(length(SHORTENED)) };
    let mut used = 0;
    let fits = |line: &&String| {
        used += length(line);
        used <= room
    };
    let mut kept: Vec<&str> = lines.iter().take_while(fits).map(String::as_str).collect();
    if kept.len() < lines.len() {
        kept.push(SHORTENED);
    }
    kept.join("\n")
}

/// A web address that may stand as a link: no longer than `limit` characters, and of the web.
pub(super) fn web_link(url: &str, limit: usize) -> Option<&str> {
    let web = url.starts_with("https://") || url.starts_with("http://");
    let clean = !url.chars().any(|character| character.is_whitespace() || character.is_control());
    (web && clean && url.chars().count() <= limit).then_some(url)
}

/// What closes a message, and is not cut with the rest of it: what there is to know of the message
/// itself, in at most [`REMARKS`], and where to read more, a line each. As `link` has an address that
/// may stand as one, and all else, such as one that is too long, as `disarm` makes words of so much.
pub(super) fn closing(
    message: &Message,
    limit: usize,
    link: impl Fn(&str) -> String,
    disarm: impl Fn(&str, usize) -> String,
) -> String {
    let links = message.links().map(|(name, url)| {
        let words = web_link(url, limit).map_or_else(|| disarm(&one_line(url), limit), &link);
        format!("{name}: {words}")
    });
    let links = links.collect::<Vec<String>>().join("\n");
    let remarks = disarm(&message.remarks.join("\n"), REMARKS);
    let parts = [remarks, links].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<String>>().join("\n\n")
}

/// A text with what closes it below, in at most `limit` characters: `fit` cuts it to the room that is left.
pub(super) fn closed(limit: usize, closing: &str, fit: impl FnOnce(usize) -> String) -> String {
    let text = fit(limit - closing.chars().count() - 2);
    if closing.is_empty() { text } else { format!("{text}\n\n{closing}") }
}

/// The text of a message in at most `limit` characters, as [`disarmed`]; addresses in it are left alone
/// where nothing has to be cut.
pub(super) fn fitting(
    message: &Message,
    text: &str,
    limit: usize,
    disarm: impl Fn(&str, usize) -> String,
) -> String {
    let whole = disarmed(message, text, |text| disarm(text, usize::MAX));
    if whole.chars().count() <= limit { whole } else { disarm(text, limit) }
}

/// A line in parts of at most `limit` characters.
pub(super) fn parts(line: &str, limit: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        let Some((end, _)) = line.char_indices().nth(limit) else { return Some(line) };
        rest = Some(&line[end..]);
        Some(&line[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::receivers::tests::{self, envelope, message};

    #[test]
    fn no_entity_is_cut() {
        for limit in 20..60 {
            let escaped = escape(&"*".repeat(100), limit, markdown);
            assert!(escaped.chars().count() <= limit);
            assert_eq!(escaped.replace("\\*", ""), SHORTENED);
        }
    }

    #[test]
    fn markdown_is_disarmed() {
        let hostile = "**b** __u__ ~~s~~ `c` ||x|| [t](https://e) <@1> # h\n> q\n- l \\";
        let escaped = escape(hostile, 500, markdown);
        let mut rest = escaped.as_str();
        while let Some(index) = rest.find(|character| !markdown(character).is_empty()) {
            assert_eq!(&rest[index..=index], "\\", "{escaped}");
            rest = &rest[index + 2..];
        }
    }

    #[test]
    fn what_places_make_links_of_by_themselves_is_none_and_the_rest_is_as_it_was() {
        for (text, disarmed) in [
            ("@all a@b.c", "@|all a@|b.|c"),
            ("http://10.0.0.1/x", "http:|//|10.0.0.1/x"),
            ("www.evil.com", "www.|evil.|com"),
            ("#tag /start $USD :bell: ~town", "#|tag /|start $|USD :|bell: ~|town"),
        ] {
            assert_eq!(unlinked(text), disarmed.replace('|', "\u{200b}"));
        }
        let usual = "CRITICAL crashed: 1 container of shop/web-1, since 14:02 UTC (a. 1 / 0) … 1.5";
        assert_eq!(unlinked(usual), usual);
    }

    #[test]
    fn an_address_in_a_rules_own_words_is_left_alone_unless_it_could_be_more() {
        let text = "see https://x.com/a-b_c?d=@e\n[x http://y](http://e.vil) at z.com";
        let custom = Message { body: Body::Custom(text.into()), ..message(Vec::new()) };
        assert_eq!(
            disarmed(&custom, text, unlinked).replace('\u{200b}', "|"),
            "see https://x.com/a-b_c?d=@e\n[x http:|//|y](http:|//|e.|vil) at z.|com"
        );
        let built_in = message(Vec::new());
        assert_eq!(disarmed(&built_in, text, unlinked), unlinked(text));
    }

    #[test]
    fn what_there_is_to_know_of_a_message_is_not_cut_off_with_the_words_of_a_rule() {
        let late = "told 34 min late";
        let message = Message {
            body: Body::Custom("some line of a template\n".repeat(2_000)),
            remarks: vec![late.into()],
            ..message(Vec::new())
        };
        for plain in [false, true] {
            let envelope = envelope(Message { plain, ..message.clone() });
            for (place, told) in tests::all_told(&envelope) {
                let told = told.to_string();
                assert!(told.contains(SHORTENED) && told.contains(late), "{place}: {told}");
            }
        }
    }

    #[test]
    fn most_of_what_a_place_takes_may_be_one_line_of_a_rules_own_words() {
        let body = Body::Custom("x".repeat(60_000));
        let envelope = envelope(Message { body, ..message(Vec::new()) });
        for (place, told) in tests::all_told(&envelope) {
            let told = told.to_string().matches('x').count();
            let least = match place {
                "discord" | "telegram" | "ntfy" | "text" => 3_000,
                "slack" => 5_000,
                _ => 10_000,
            };
            assert!(told >= least, "{place}: {told}");
        }
    }

    #[test]
    fn a_line_is_all_of_its_parts() {
        for (line, expected) in
            [("", vec![""]), ("äb", vec!["äb"]), ("äbcde", vec!["äb", "cd", "e"])]
        {
            assert_eq!(parts(line, 2).collect::<Vec<&str>>(), expected);
        }
    }

    #[test]
    fn only_web_addresses_are_links() {
        assert!(web_link("https://x/y?a=1&b=2", 50).is_some());
        for wrong in ["javascript:alert(1)", "https://x/y z", "https://x/\r\n", "ftp://x"] {
            assert_eq!(web_link(wrong, 50), None, "{wrong}");
        }
        assert_eq!(web_link(&format!("https://{}", "x".repeat(50)), 50), None);
    }
}
