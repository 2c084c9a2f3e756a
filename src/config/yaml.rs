//! YAML → a tree in which every key and value knows its place in the file.
//!
//! The library tells places only in errors. So each key and value gets a number in the order of
//! reading, and the place of one is found by reading once more and failing there.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, VariantAccess, Visitor};

use super::report::{did_you_mean, quoted};
use crate::rules::pattern::Number;

/// Which key or value of the file, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(usize);

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value as written.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Numeral),
    Text(Text),
    List(Vec<Node>),
    /// The entries in order; of two with one key both are here.
    Mapping(Vec<(Key, Node)>),
    /// `!tag …`, which a rules file has no use for.
    Tagged,
}

/// A key and its place.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    /// Empty if it is nothing that could be one.
    pub(super) text: String,
    /// Why it is no text, if it is none.
    pub(super) wrong: Option<String>,
}

/// A number, and whether its digits are what the file has.
#[derive(Debug)]
pub(super) struct Numeral {
    pub(super) number: Number,
    /// Not so of `0x1f` or `+5`: as a text it would be another one.
    pub(super) as_written: bool,
}

/// A string, before and after variables were put in.
#[derive(Debug)]
pub(super) struct Text {
    /// As the file has it. This is what errors may show.
    pub(super) written: String,
    /// What it stands for, which may be a secret.
    pub(super) value: String,
}

/// What is not YAML, and the byte at which that shows.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) offset: usize,
    pub(super) message: String,
}

/// Reads a file of one document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let root = match documents.next() {
        Some(document) => Seed(&Count::default()).deserialize(document),
        None => return Ok(Node { place: Place(0), value: Value::Null }),
    };
    let mut root = root.map_err(|error| SyntaxError::new(&error))?;
    match documents.next() {
        None => {
            let again = serde_yaml::Deserializer::from_str(text);
            let compared = Comparison(&mut root).deserialize(again);
            compared.map_err(|error| SyntaxError::new(&error))?;
            Ok(root)
        }
        Some(second) => Err(SyntaxError {
            offset: offset_in(second, Place(0)),
            message: "a second document begins here; a rules file is one document".into(),
        }),
    }
}

/// Finds places in the text that they were read from.
pub(super) struct Places<'a> {
    text: &'a str,
    root: &'a Node,
    found: RefCell<HashMap<Place, usize>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(text: &'a str, root: &'a Node) -> Places<'a> {
        Places { text, root, found: RefCell::default() }
    }

    /// The byte at which a key or value begins; where an alias stands for it, there where it is
    /// written.
    pub(super) fn offset(&self, place: Place) -> usize {
        let find = || {
            let document = serde_yaml::Deserializer::from_str(self.text).next();
            document.map_or(0, |root| offset_in(root, place))
        };
        *self.found.borrow_mut().entry(place).or_insert_with(find)
    }

    /// The key under which an alias stands for this.
    pub(super) fn alias(&self, place: Place) -> Option<&'a Key> {
        // To find a place takes a while.
        if !self.text.contains('*') {
            return None;
        }
        let (mut node, mut alias) = (self.root, None);
        loop {
            match &node.value {
                Value::List(items) => {
                    node = items.iter().rfind(|item| item.place <= place)?;
                }
                Value::Mapping(entries) => {
                    let Some((key, value)) = entries.iter().rfind(|(key, _)| key.place < place)
                    else {
                        return alias;
                    };
                    // What is written comes after its key.
                    if self.offset(key.place) > self.offset(place) {
                        alias = Some(key);
                    }
                    node = value;
                }
                _ => return alias,
            }
            if node.place >= place {
                return alias;
            }
        }
    }
}

fn offset_in(document: serde_yaml::Deserializer<'_>, place: Place) -> usize {
    let count = Count { next: Cell::new(0), fail_at: Some(place) };
    let failed = Seed(&count).deserialize(document).err();
    failed.and_then(|error| error.location()).map_or(0, |location| location.index())
}

impl Node {
    /// The last place within it.
    pub(super) fn last(&self) -> Place {
        match &self.value {
            Value::List(items) => items.last().map_or(self.place, Node::last),
            Value::Mapping(entries) => entries.last().map_or(self.place, |(_, node)| node.last()),
            _ => self.place,
        }
    }

    /// The first number within it that would be another text with quotes.
    pub(super) fn odd_number(&self) -> Option<Place> {
        match &self.value {
            Value::Number(numeral) => (!numeral.as_written).then_some(self.place),
            Value::List(items) => items.iter().find_map(Node::odd_number),
            Value::Mapping(entries) => entries.iter().find_map(|(_, node)| node.odd_number()),
            _ => None,
        }
    }
}

impl Value {
    fn number(number: Number) -> Value {
        Value::Number(Numeral { number, as_written: true })
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "empty",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Tagged => "a tag",
        }
    }

    /// `; did you mean …?`, unless that would hint at what a variable stands for.
    pub(super) fn hint<'a>(&self, candidates: impl IntoIterator<Item = &'a str>) -> String {
        match self {
            Value::Text(text) => text.hint(candidates),
            _ => String::new(),
        }
    }

    /// What to do where it was to be text.
    pub(super) fn quotes(&self) -> &'static str {
        match self {
            Value::Bool(_) | Value::Number(_) => "; put quotes around it",
            _ => "",
        }
    }

    /// A text or whole number in quotes, as written; anything else in words.
    pub(super) fn written(&self) -> String {
        match self {
            Value::Text(text) => quoted(&text.written),
            Value::Number(Numeral { number: Number::Whole(whole), .. }) => {
                quoted(&whole.to_string())
            }
            other => other.kind().to_owned(),
        }
    }

    /// A text, with its variables put in; a whole number is one too, if it reads the same with
    /// quotes.
    pub(super) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Text(text) => Some(text.value.as_str().into()),
            Value::Number(Numeral { number: Number::Whole(whole), as_written: true }) => {
                Some(whole.to_string().into())
            }
            _ => None,
        }
    }

    /// The same as JSON, with its variables put in.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null | Value::Tagged => Json::Null,
            Value::Bool(value) => Json::from(*value),
            Value::Number(numeral) => match numeral.number {
                Number::Whole(whole) => {
                    serde_json::Number::from_i128(whole).map_or(Json::Null, Json::Number)
                }
                Number::Float(float) => Json::from(float),
            },
            Value::Text(text) => Json::from(text.value.as_str()),
            Value::List(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Value::Mapping(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.text.clone(), node.value.to_json()))
                    .collect(),
            ),
        }
    }
}

impl Key {
    fn new(node: Node) -> Key {
        let (place, kind) = (node.place, node.value.kind());
        let what = if let Value::Mapping(_) = node.value { "a template" } else { "it" };
        let wrong = format!("a key must be text, and is {kind}; put quotes around {what}");
        let text = match node.value {
            Value::Text(text) => return Key { place, text: text.value, wrong: None },
            // Wrong until they are compared with what is written.
            Value::Number(Numeral { number: Number::Whole(whole), .. }) => whole.to_string(),
            Value::Number(Numeral { number: Number::Float(float), .. }) => float.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => String::new(),
        };
        Key { place, text, wrong: Some(wrong) }
    }
}

impl Text {
    /// `; did you mean …?`, unless that would hint at what a variable stands for.
    pub(super) fn hint<'a>(&self, candidates: impl IntoIterator<Item = &'a str>) -> String {
        match self.written == self.value {
            true => did_you_mean(&self.value, candidates),
            false => String::new(),
        }
    }
}

/// What to do about what the library says, where it does not say so.
const REMEDIES: [(&str, &str); 7] = [
    (
        "did not find expected key",
        "put keys of one mapping below each other, and quotes around a text that begins with {",
    ),
    ("expected comment or line break", "put quotes around a text that begins with > or |"),
    ("expected alphabetic or numeric", "put quotes around a text that begins with * or &"),
    ("unknown anchor", "put quotes around a text that begins with *"),
    ("unknown escape character", "put single quotes around a text with backslashes"),
    ("hexdecimal number", "put single quotes around a text with backslashes"),
    ("cannot start any token", "put quotes around a text that begins so, and indent by spaces"),
];

impl SyntaxError {
    fn new(error: &serde_yaml::Error) -> SyntaxError {
        let mut message = error.to_string();
        let mut offset = 0;
        if let Some(location) = error.location() {
            offset = location.index();
            let place = format!(" at line {} column {}", location.line(), location.column());
            message = message.replacen(&place, "", 1);
        }
        // A character that YAML does not allow has no line in the library's error, but a position.
        if let Some((words, position)) = message.rsplit_once(" at position ")
            && let Ok(position) = position.parse()
        {
            offset = position;
            message = words.to_owned();
        }
        let remedy = REMEDIES.iter().find(|(words, _)| message.contains(words));
        let remedy = match remedy {
            Some((_, remedy)) => format!("; {remedy}"),
            None => String::new(),
        };
        SyntaxError { offset, message: format!("this is not YAML: {message}{remedy}") }
    }
}

/// Numbers what is read.
#[derive(Default)]
struct Count {
    next: Cell<usize>,
    fail_at: Option<Place>,
}

impl Count {
    fn next(&self) -> Place {
        let place = Place(self.next.get());
        self.next.set(place.0 + 1);
        place
    }
}

struct Seed<'a>(&'a Count);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let place = self.0.next();
        if self.0.fail_at == Some(place) {
            return deserializer.deserialize_any(Fail).map(|never| match never {});
        }
        let value = deserializer.deserialize_any(ValueVisitor(self.0))?;
        Ok(Node { place, value })
    }
}

/// Fails, whatever it visits: each method that it lacks is an error.
struct Fail;

impl<'de> Visitor<'de> for Fail {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

struct ValueVisitor<'a>(&'a Count);

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::number(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::number(Number::Whole(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        let whole = i128::try_from(value).map(Number::Whole);
        Ok(Value::number(whole.unwrap_or(Number::Float(value as f64))))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::number(Number::Float(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Text { written: text.to_owned(), value: text.to_owned() }))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = items.next_element_seed(Seed(self.0))? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Vec::new();
        while let Some(key) = entries.next_key_seed(Seed(self.0))? {
            let value = entries.next_value_seed(Seed(self.0))?;
            mapping.push((Key::new(key), value));
        }
        Ok(Value::Mapping(mapping))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (IgnoredAny, contents) = data.variant()?;
        contents.newtype_variant::<IgnoredAny>()?;
        Ok(Value::Tagged)
    }
}

/// Compares the numbers of what was read with what is written, which the library tells only of what
/// is asked for as text.
struct Comparison<'a>(&'a mut Node);

impl<'de> DeserializeSeed<'de> for Comparison<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match &mut self.0.value {
            Value::Number(Numeral { number: Number::Whole(whole), as_written }) => {
                *as_written = String::deserialize(deserializer)? == whole.to_string();
                Ok(())
            }
            Value::List(_) => deserializer.deserialize_seq(self),
            Value::Mapping(_) => deserializer.deserialize_map(self),
            _ => IgnoredAny::deserialize(deserializer).map(drop),
        }
    }
}

impl<'de> Visitor<'de> for Comparison<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was read before")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if let Value::List(list) = &mut self.0.value {
            for node in list {
                items.next_element_seed(Comparison(node))?;
            }
        }
        Ok(())
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if let Value::Mapping(mapping) = &mut self.0.value {
            for (key, node) in mapping {
                match &key.wrong {
                    Some(_) if !key.text.is_empty() => {
                        let written = entries.next_key::<String>()?;
                        key.wrong.take_if(|_| written.as_ref() == Some(&key.text));
                    }
                    _ => drop(entries.next_key::<IgnoredAny>()?),
                }
                entries.next_value_seed(Comparison(node))?;
            }
        }
        Ok(())
    }
}
