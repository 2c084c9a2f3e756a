//! Labels and their values: every alert has some, and in a storm there are very many alerts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Labels and their values, by label: shared, since they go from hand to hand and never change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[Label]>);

type Label = (Box<str>, Box<str>);

impl Labels {
    /// The value of a label, if there is one.
    #[must_use]
    pub fn get(&self, label: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(known, _)| (**known).cmp(label)).ok()?;
        Some(&self.0[place].1)
    }

    /// The labels with their values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(label, value)| (&**label, &**value))
    }
}

/// Of a label that comes twice, the last value holds.
impl<L: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(L, V)> for Labels {
    fn from_iter<T: IntoIterator<Item = (L, V)>>(labels: T) -> Labels {
        let labels = labels.into_iter().map(|(label, value)| (label.into(), value.into()));
        // Mostly they are in order, and there is nothing to do.
        let mut labels: Vec<Label> = labels.collect();
        if !labels.is_sorted_by(|(one, _), (next, _)| one < next) {
            // Of equal ones, that which came last is first, and stays.
            labels.reverse();
            labels.sort_by(|(one, _), (next, _)| one.cmp(next));
            labels.dedup_by(|(next, _), (one, _)| next == one);
        }
        Labels(labels.into())
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Labels {
        labels.into_iter().collect()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Labels {
    fn from(labels: [(&str, &str); N]) -> Labels {
        labels.into_iter().collect()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels and their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let labels =
                    std::iter::from_fn(|| map.next_entry::<Box<str>, Box<str>>().transpose());
                labels.collect()
            }
        }

        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_and_listed_in_order_however_they_come() {
        let labels = Labels::from([("team", "shop"), ("id", "a"), ("rule", "r"), ("id", "b")]);
        assert_eq!(labels.get("id"), Some("b"));
        assert_eq!(labels.get("team"), Some("shop"));
        assert_eq!(labels.get("service"), None);
        let listed: Vec<_> = labels.iter().collect();
        assert_eq!(listed, [("id", "b"), ("rule", "r"), ("team", "shop")]);
        assert_eq!(labels, Labels::from([("id", "b"), ("rule", "r"), ("team", "shop")]));
    }

    #[test]
    fn labels_are_kept_as_an_object() {
        let labels = Labels::from([("rule", "r\"1"), ("id", "a")]);
        let text = serde_json::to_string(&labels).unwrap();
        assert_eq!(text, r#"{"id":"a","rule":"r\"1"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&text).unwrap(), labels);
        assert!(serde_json::from_str::<Labels>(r#"["id"]"#).is_err());
    }
}
