//! Whether a database is in order: what can be seen of that at once, and all of it.

use rusqlite::{Connection, OptionalExtension};

use super::open::MIGRATIONS;

/// What can be seen at once, however large the database is: whether its tables, indexes and views
/// are those of its version, and both ends of each table. Says what is damaged.
///
/// That the file is as long as it says, SQLite sees when it is opened; and of every page, when that
/// is read, whether it can be one.
///
/// # Errors
/// What is damaged.
pub(super) fn at_once(connection: &Connection, version: usize) -> Result<(), String> {
    let expected = schema_of(version).map_err(|error| error.to_string())?;
    for Part { kind, name, sql } in &expected {
        let found: Option<String> = connection
            .query_row(
                "select sql from sqlite_schema where type = ?1 and name = ?2",
                [kind, name],
                |row| row.get(0),
            )
            .optional()
            .map_err(|error| error.to_string())?;
        match found {
            Some(found) if found == *sql => {}
            Some(_) => return Err(format!("the {kind} {name} is not as tocsin made it")),
            None => return Err(format!("the {kind} {name} is missing")),
        }
    }
    for table in expected.iter().filter(|part| part.kind == "table") {
        both_ends(connection, &table.name)
            .map_err(|error| format!("the table {}: {error}", table.name))?;
    }
    Ok(())
}

/// Reads the whole database: every page, every row, every entry of an index. Says what is damaged
/// first.
///
/// # Errors
/// What is damaged.
pub(super) fn whole(connection: &Connection) -> Result<(), String> {
    let found: String = connection
        .query_row("pragma integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    // It says more than a line where it says what is in which table.
    if found == "ok" { Ok(()) } else { Err(found.replace('\n', "; ")) }
}

/// A table, an index or a view.
struct Part {
    kind: String,
    name: String,
    sql: String,
}

/// What a database of this version consists of.
fn schema_of(version: usize) -> rusqlite::Result<Vec<Part>> {
    let model = Connection::open_in_memory()?;
    for migration in &MIGRATIONS[..version] {
        model.execute_batch(migration)?;
    }
    let mut parts =
        model.prepare("select type, name, sql from sqlite_schema where sql is not null")?;
    let parts = parts
        .query_map([], |row| Ok(Part { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? }))?;
    parts.collect()
}

/// Reads the first and the last row of a table.
fn both_ends(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    let mut key =
        connection.prepare("select name from pragma_table_info(?1) where pk > 0 order by pk")?;
    let key = key.query_map([table], |row| Ok(format!("{:?}", row.get::<_, String>(0)?)))?;
    let key = key.collect::<rusqlite::Result<Vec<_>>>()?;
    for order in ["asc", "desc"] {
        let by: Vec<String> = key.iter().map(|column| format!("{column} {order}")).collect();
        let by = if by.is_empty() { format!("rowid {order}") } else { by.join(", ") };
        let mut row = connection
            .prepare(&format!("select * from {table:?} not indexed order by {by} limit 1"))?;
        let columns = row.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            (0..columns).try_for_each(|column| row.get_ref(column).map(drop))
        };
        row.query_row([], read).optional()?;
    }
    Ok(())
}
