//! What goes wrong with SQLite, sorted by whose fault it is.

use rusqlite::ErrorCode;

use crate::store::StoreError;

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

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        match failure {
            Failure::Refused(why) => StoreError::Refused(why),
            Failure::Sql(error) if is_the_works_fault(&error) => {
                StoreError::Refused(error.to_string())
            }
            Failure::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => {
                    StoreError::Unavailable(format!("{error}; free some space"))
                }
                Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                    StoreError::Unavailable(format!("{error}; make it writable"))
                }
                _ => StoreError::Unavailable(error.to_string()),
            },
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
