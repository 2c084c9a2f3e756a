//! What goes wrong with SQLite, sorted by whose fault it is.

use rusqlite::ErrorCode;

/// Why a piece of work could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// The work makes no sense.
    Refused(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        Failure::Sql(error)
    }
}

impl Failure {
    /// Why this work alone was refused; or else what is wrong with the store, and so with all work.
    pub(super) fn refusal(self) -> Result<String, rusqlite::Error> {
        match self {
            Failure::Refused(why) => Ok(why),
            Failure::Sql(error) if is_the_works_fault(&error) => Ok(error.to_string()),
            Failure::Sql(error) => Err(error),
        }
    }
}

/// Whether the same work would fail on a store in perfect health.
fn is_the_works_fault(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange
        ),
        // The rest are conversions of values, before or after SQLite.
        None => true,
    }
}
