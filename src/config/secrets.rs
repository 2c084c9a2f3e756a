//! Secrets: each is given as such, or in a file beside the rules.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::fields::{self, Fields};
use super::report::Report;
use super::yaml::{Node, Value};

/// Reads secrets.
#[derive(Clone, Copy)]
pub(super) struct Secrets<'a> {
    /// The folder that `…_file` is relative to.
    pub(super) folder: &'a Path,
    pub(super) report: &'a Report,
}

impl Secrets<'_> {
    /// A secret given as such or in a file, whose trailing newline does not belong to it.
    pub(super) fn one(
        self,
        fields: &mut Fields<'_>,
        key: &'static str,
        file_key: &'static str,
    ) -> Option<SecretString> {
        let (here, file) = (fields.get(key), fields.get(file_key));
        match (here, file) {
            (Some(_), None) => Some(SecretString::from(fields.text(key)?.trim().to_owned())),
            (None, Some(node)) => self.in_file(node, file_key),
            (Some(_), Some(file)) => self.both(file, key, file_key),
            (None, None) => {
                let message = format!("\"{key}\" or \"{file_key}\" is missing");
                self.report.wrong(fields.place, message);
                None
            }
        }
    }

    /// One or a list, while one takes the place of another: given as such or in files. Those that
    /// come out empty are left out; none need be given.
    pub(super) fn many(
        self,
        fields: &mut Fields<'_>,
        key: &'static str,
        file_key: &'static str,
    ) -> Option<Vec<SecretString>> {
        let (node, is_file) = match (fields.get(key), fields.get(file_key)) {
            (None, None) => return Some(Vec::new()),
            (Some(_), Some(file)) => return self.both(file, key, file_key),
            (Some(node), None) => (node, false),
            (None, Some(node)) => (node, true),
        };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let read = |item: &Node| match is_file {
            false => {
                let text = fields::text(item, key, self.report)?;
                Some(SecretString::from(text.trim().to_owned()))
            }
            true => self.in_file(item, file_key),
        };
        let read: Vec<Option<SecretString>> = items.iter().map(read).collect();
        let mut secrets = read.into_iter().collect::<Option<Vec<SecretString>>>()?;
        secrets.retain(|secret| !secret.expose_secret().is_empty());
        Some(secrets)
    }

    fn both<T>(self, file: &Node, key: &str, file_key: &str) -> Option<T> {
        let message = format!("\"{key}\" and \"{file_key}\" are both given; keep one");
        self.report.wrong(file.place, message);
        None
    }

    fn in_file(self, node: &Node, key: &str) -> Option<SecretString> {
        let path = fields::text(node, key, self.report)?;
        if path.trim().is_empty() {
            return Some(SecretString::default());
        }
        let written = node.value.written();
        match std::fs::read_to_string(self.folder.join(path)) {
            Ok(text) => {
                let secret = text.trim_start_matches('\u{feff}').trim();
                if secret.contains(char::is_control) {
                    let message = format!(
                        "{written} must hold one line, and has several, or what is no text; leave \
                         nothing but the secret in it"
                    );
                    self.report.wrong(node.place, message);
                    return None;
                }
                Some(SecretString::from(secret.to_owned()))
            }
            Err(error) => {
                self.report.wrong(node.place, format!("cannot read {written}: {error}"));
                None
            }
        }
    }
}
