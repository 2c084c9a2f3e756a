//! Collects what is wrong while a file is read, so that all of it can be said at once.

use std::cell::RefCell;
use std::collections::HashSet;

use super::masking;
use super::yaml::{Node, Place};

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    wrong: RefCell<Vec<(Place, String)>>,
    spoiled: RefCell<HashSet<Place>>,
    notes: RefCell<Vec<String>>,
    noted: RefCell<HashSet<String>>,
}

impl Report {
    /// Takes note of something wrong.
    pub(super) fn wrong(&self, place: Place, message: impl Into<String>) {
        if self.spoiled.borrow().contains(&place) {
            return;
        }
        self.wrong.borrow_mut().push((place, masking::mask_urls(&message.into())));
    }

    /// Takes note of something wrong with a value that cannot be known because of it, so that
    /// whatever else seems wrong there is not worth saying.
    pub(super) fn spoiled(&self, place: Place, message: impl Into<String>) {
        self.wrong(place, message);
        self.pass_over(place);
    }

    /// Says nothing of this place any more.
    pub(super) fn pass_over(&self, place: Place) {
        self.spoiled.borrow_mut().insert(place);
    }

    /// Takes note of something that an operator should know, once.
    pub(super) fn note(&self, note: String) {
        if self.noted.borrow_mut().insert(note.clone()) {
            self.notes.borrow_mut().push(note);
        }
    }

    /// How much is wrong so far.
    pub(super) fn count(&self) -> usize {
        self.wrong.borrow().len()
    }

    /// Whether anything is wrong at this place.
    pub(super) fn is_wrong_at(&self, place: Place) -> bool {
        self.wrong.borrow().iter().any(|(wrong, _)| *wrong == place)
    }

    /// Whether anything is wrong with this value, or within it.
    pub(super) fn is_wrong(&self, node: &Node) -> bool {
        let within = node.place..=node.last();
        self.wrong.borrow().iter().any(|(wrong, _)| within.contains(wrong))
    }

    /// All that is wrong, and the notes.
    pub(super) fn into_parts(self) -> (Vec<(Place, String)>, Vec<String>) {
        (self.wrong.into_inner(), self.notes.into_inner())
    }
}

/// `; did you mean "x"?` for the candidate that is most like the word; empty if none is.
pub(super) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    let likeness = |candidate: &str| {
        strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase())
    };
    let nearest =
        candidates.into_iter().map(|name| (likeness(name), name)).min_by_key(|best| best.0);
    match nearest {
        // A third of the letters wrong is still a slip; more is another word.
        Some((distance, name)) if distance <= word.chars().count().max(3) / 3 => {
            format!("; did you mean {}?", quoted(name))
        }
        _ => String::new(),
    }
}

/// The text in quotes on one line, shortened if it is long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{:?}", format!("{start}…"))
}
