//! What goes wrong at random at the places that are told, the same for the same seed.

use fastrand::Rng;

/// What a place made of something that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took it, and said so.
    Taken,
    /// It said no, with these words among others.
    Refused(String),
    /// It had it whole, and whoever told it cannot know whether it was taken.
    Lost,
}

/// What goes wrong with one request after the other, for ever; with most of them nothing does.
pub struct Faults<T> {
    random: Rng,
    /// In how many of ten thousand requests a row of such faults begins.
    table: Vec<(u32, T)>,
    last: Option<T>,
}

impl<T: Clone> Faults<T> {
    pub fn new(seed: u64, table: &[(u32, T)]) -> Faults<T> {
        Faults { random: Rng::with_seed(seed), table: table.to_vec(), last: None }
    }

    fn draw(&mut self) -> Option<T> {
        let mut number = self.random.u32(..10_000);
        for (often, fault) in &self.table {
            if number < *often {
                return Some(fault.clone());
            }
            number -= often;
        }
        None
    }
}

impl<T: Clone> Iterator for Faults<T> {
    type Item = Option<T>;

    fn next(&mut self) -> Option<Option<T>> {
        // Trouble rarely comes alone.
        let goes_on = self.last.is_some() && self.random.u8(..3) == 0;
        if !goes_on {
            self.last = self.draw();
        }
        Some(self.last.clone())
    }
}
