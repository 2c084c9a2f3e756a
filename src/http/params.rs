//! Query parameters: read strictly, so that a filter mistyped is an error and not a longer list.

use form_urlencoded::Serializer;
use percent_encoding::percent_decode_str;
use warp::http::header::HeaderValue;

use super::answer::Refusal;
use crate::clock::Timestamp;
use crate::store::PageQuery;

/// How many items a page has where the query does not say.
const LIMIT: usize = 1000;

/// How many items a page has at most.
const MOST: usize = 10_000;

/// The parameters of one request, each known and given once: names and values, decoded, in their
/// order.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Those of a query string.
    ///
    /// # Errors
    /// If one is given that is not `known` or cannot be decoded, or one is given twice.
    pub(super) fn new(query: &str, known: &[&str]) -> Result<Params, Refusal> {
        let given = read(query)?;
        for (index, (name, _)) in given.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(unknown(name, known));
            }
            if given[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Refusal::malformed(format!("`{name}` is given twice; give it once")));
            }
        }
        Ok(Params(given))
    }

    /// The value of this parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The same, to keep.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// The instant that this parameter names.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // A `+` that was not percent-encoded arrives as a space, and RFC 3339 in a URL has one
        // wherever people write an offset by hand.
        let time = Timestamp::parse(&text.replace(' ', "+")).ok_or_else(|| {
            Refusal::malformed(format!(
                "`{name}` must be RFC 3339, such as 2015-11-20T10:35:59Z, or Unix seconds, and is \
                 {}",
                quoted(text),
            ))
        })?;
        Ok(Some(time))
    }

    /// The one of these words that this parameter names, and what it stands for.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                Err(Refusal::malformed(format!(
                    "`{name}` must be one of {}, and is {}",
                    words.join(", "),
                    quoted(text),
                )))
            }
        }
    }

    /// How much of the list, and from where.
    pub(super) fn page(&self) -> Result<PageQuery, Refusal> {
        let limit = match self.text("limit") {
            None => LIMIT,
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(|| {
                    Refusal::malformed(format!(
                        "`limit` must be a whole number from 1 to {MOST}, and is {}",
                        quoted(text),
                    ))
                })?
            }
        };
        Ok(PageQuery { limit, cursor: self.owned("cursor") })
    }

    /// The `Link` to the page at `cursor`, all other parameters kept (RFC 8288).
    pub(super) fn next(&self, path: &str, cursor: &str) -> HeaderValue {
        let query = Serializer::new(String::new())
            .extend_pairs(self.0.iter().filter(|(name, _)| name != "cursor"))
            .append_pair("cursor", cursor)
            .finish();
        HeaderValue::try_from(format!("<{path}?{query}>; rel=\"next\""))
            .expect("a path of ours and a percent-encoded query are ASCII")
    }
}

/// The names and values of a query string (<https://url.spec.whatwg.org/#urlencoded-parsing>), but for
/// what is wrong in it, which a browser would take as it stands.
fn read(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = |(name, value): (&str, &str)| {
        let name = decoded("a parameter's name", &name.replace('+', " "))?;
        let value = decoded(&quoted(&name), &value.replace('+', " "))?;
        Ok((name, value))
    };
    pairs.map(|pair| decoded(pair.split_once('=').unwrap_or((pair, "")))).collect()
}

/// What `text` stands for, which is `what` in a URL.
pub(super) fn decoded(what: &str, text: &str) -> Result<String, Refusal> {
    let is_whole = |code: &str| {
        code.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let decoded = percent_decode_str(text).decode_utf8().ok();
    let decoded = decoded.filter(|_| text.split('%').skip(1).all(is_whole));
    decoded.map(Into::into).ok_or_else(|| {
        Refusal::malformed(format!(
            "{what} must be percent-encoded UTF-8, with `%25` for a `%`, and is {}",
            quoted(text)
        ))
    })
}

fn unknown(name: &str, known: &[&str]) -> Refusal {
    let advice = match closest(name, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "this path takes none".into(),
        None => format!("this path takes {}", known.join(", ")),
    };
    Refusal::malformed(format!("there is no parameter {}; {advice}", quoted(name)))
}

/// The one that was most likely meant, if one is close.
pub(super) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (likeness, meant) = known
        .iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), *candidate))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    (likeness >= 0.6).then_some(meant)
}

/// What a client wrote, cut to what fits a sentence.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
