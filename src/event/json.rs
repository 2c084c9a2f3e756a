//! A payload parsed for one look at it, before the text is all that is kept.
//!
//! It borrows from the text whatever is not escaped, and an object is a sorted vector: that is a
//! third of the work of a `serde_json::Value`, which is a tree of strings of its own. It reads and
//! writes what that does: an object has each key once, with the last value given, in order.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

/// The same text, where a string has no half of a character: some producers cut a text within a pair of
/// escapes (`\ud83d\ude00`), and what is left is no text to anyone else. Each half is `\ufffd` then.
pub(super) fn with_whole_characters(text: &str) -> Cow<'_, str> {
    let (mut whole, mut rest, mut at) = (String::new(), text, 0);
    while let Some(found) = rest[at..].find('\\') {
        let place = at + found;
        at = match (escaped(rest, place), escaped(rest, place + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => place + 2 * ESCAPE,
            (Some(0xd800..=0xdfff), _) => {
                whole.extend([&rest[..place], "\\ufffd"]);
                rest = &rest[place + ESCAPE..];
                0
            }
            _ => rest.len().min(place + 2),
        };
        // What no JSON has behind a backslash may be of several bytes.
        at = rest.ceil_char_boundary(at);
    }
    match whole.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(whole + rest),
    }
}

/// How long an escape such as `\ud83d` is.
const ESCAPE: usize = 6;

/// What is escaped at this place, if that is by its number.
fn escaped(text: &str, place: usize) -> Option<u16> {
    let digits = text.get(place..place + ESCAPE)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

/// A JSON value.
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// A JSON object: each key once, sorted.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Object<'a> {
    fn new(mut fields: Vec<(Cow<'a, str>, Json<'a>)>) -> Object<'a> {
        // Stable, so that the last of several with one key is the last one given.
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields.dedup_by(|later, kept| {
            let again = later.0 == kept.0;
            if again {
                std::mem::swap(later, kept);
            }
            again
        });
        Object(fields)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Json<'a>> {
        let place = self.0.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(&self.0[place].1)
    }

    /// Its fields, sorted by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl<'a> Json<'a> {
    /// What is below this key, if it is an object and has it.
    pub(super) fn get(&self, key: &str) -> Option<&Json<'a>> {
        self.as_object()?.get(key)
    }

    pub(super) fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How deep it is nested. The recursion is bounded by what `serde_json` reads.
    pub(super) fn depth(&self) -> usize {
        let below = match self {
            Json::Array(items) => items.iter().map(Json::depth).max(),
            Json::Object(object) => object.0.iter().map(|(_, value)| value.depth()).max(),
            _ => return 0,
        };
        1 + below.unwrap_or(0)
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Text(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(number) => number.serialize(serializer),
            Json::Text(text) => serializer.serialize_str(text),
            Json::Array(items) => serializer.collect_seq(items),
            Json::Object(object) => serializer.collect_map(object.iter()),
        }
    }
}

/// A string, borrowed where it can be: of itself, serde makes every [`Cow`] an owned one.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json<'de>, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json<'de>, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
                Ok(Json::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
                Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Json<'de>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = given.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Json<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Text(name), value)) = given.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Json::Object(Object::new(fields)))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_and_writes_as_serde_jsons_own_value_does() {
        for text in [
            r#"{"b": 1, "a": [true, null, "x", {}, []], "é": {"z": "", "y": "\u0000\n"}}"#,
            r#"{"a": 1, "b": {"x": 1}, "a": 2, "\u0061": 3, "b": {"y": 2, "y": {"z": 1}}}"#,
            "[0, -0, -0.0, 1.0, 1e3, 2.50, 1e-7, 1e300, 18446744073709551616, -9223372036854775808]",
            "[18446744073709551615, 5e-324, 1.7976931348623157e308, 0.1, 100000000000000000000.5]",
            r#""\ud83d\ude00 \" \\ \/ \u007f""#,
            "7",
        ] {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let json: Json<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&json).unwrap(), value.to_string());
        }
    }

    #[test]
    fn half_a_character_is_no_reason_to_refuse_the_rest() {
        for (given, whole) in [
            (r#"{"a": "x", "é": "\n\u00e9\\"}"#, None),
            (r#"["\ud83d\ude00", "\\ud83d", "\\\\ud83d\\"]"#, None),
            (r#"["\ud83d", 1]"#, Some(r#"["\ufffd", 1]"#)),
            (
                r#"["é\ud83dé\uDE00\ud83d\ud83d\ude00"]"#,
                Some(r#"["é\ufffdé\ufffd\ufffd\ud83d\ude00"]"#),
            ),
            (r#"["\\\ud83d\n"]"#, Some(r#"["\\\ufffd\n"]"#)),
        ] {
            let read = with_whole_characters(given);
            assert_eq!(
                (&*read, matches!(read, Cow::Owned(_))),
                (whole.unwrap_or(given), whole.is_some())
            );
            serde_json::from_str::<Json<'_>>(&read).unwrap();
        }
        // What is no JSON stays so.
        for bad in ["\\", "\"\\", "\"\\é\"", "\"\\u\"", "\"\\ud83\"", "\"\\ud8é\"", "\\ud83d"] {
            assert!(
                serde_json::from_str::<Json<'_>>(&with_whole_characters(bad)).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn of_one_key_given_often_the_last_value_counts() {
        let json: Json<'_> =
            serde_json::from_str(r#"{"a": 1, "b": 0, "a": 2, "\u0061": "last"}"#).unwrap();
        assert_eq!(json.get("a").and_then(Json::as_str), Some("last"));
    }
}
