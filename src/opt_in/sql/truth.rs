//! Converts a row to an answer: a truth value of any type that databases use for one.

use sqlx::{
    Column as _, Row as _, TypeInfo as _, ValueRef as _,
    mysql::MySqlRow,
    postgres::{PgRow, PgTypeInfo, PgTypeKind},
    sqlite::SqliteRow,
};

/// The result of the query for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// No row.
    Missing,
    /// A row with NULL.
    Null,
    /// A row with a true value.
    Yes,
    /// A row with a false value.
    No,
}

/// The rows of one answer, read one by one.
#[derive(Debug, Default)]
pub(super) struct Rows(Option<Row>);

impl Rows {
    /// Adds a row. Fails if two rows contradict each other; NULL contradicts nothing.
    pub(super) fn add(&mut self, row: Row) -> Result<(), String> {
        match (self.0, row) {
            (Some(Row::Yes | Row::No), Row::Null) => {}
            (Some(Row::Yes), Row::No) | (Some(Row::No), Row::Yes) => {
                return Err("the query returns rows that contradict each other".to_owned());
            }
            _ => self.0 = Some(row),
        }
        Ok(())
    }

    pub(super) fn outcome(&self) -> Row {
        self.0.unwrap_or(Row::Missing)
    }
}

/// A row of a database driver.
pub(super) trait Decode {
    /// Converts the row.
    fn decode(&self) -> Result<Row, String>;
}

impl Decode for PgRow {
    fn decode(&self) -> Result<Row, String> {
        check_columns(self.len())?;
        let value = self.try_get_raw(0).map_err(|error| error.to_string())?;
        if value.is_null() {
            return Ok(Row::Null);
        }
        let kind = value.type_info().into_owned();
        let bytes = value.as_bytes().map_err(|error| error.to_string())?;
        match (postgres_kind(&kind), bytes) {
            (Some(Kind::Number), bytes) => Ok(truth(bytes.iter().any(|byte| *byte != 0))),
            // The value begins with the number of digits, which is 0 for zero.
            (Some(Kind::Numeric), bytes) => Ok(truth(!bytes.starts_with(&[0, 0]))),
            // The value begins with the number of bits.
            (Some(Kind::Bits), bytes) => Ok(truth(bytes.iter().skip(4).any(|byte| *byte != 0))),
            (Some(Kind::Text), bytes) => word(&String::from_utf8_lossy(bytes)),
            (None, _) => Err(wrong_type(kind.name())),
        }
    }
}

impl Decode for MySqlRow {
    fn decode(&self) -> Result<Row, String> {
        check_columns(self.len())?;
        let value = self.try_get_raw(0).map_err(|error| error.to_string())?;
        if value.is_null() {
            return Ok(Row::Null);
        }
        let name = value.type_info().name().to_owned();
        let failed = |error: sqlx::Error| error.to_string();
        match mysql_kind(&name) {
            Some(Kind::Number) if name.ends_with("UNSIGNED") => self
                .try_get_unchecked::<u64, _>(0)
                .map(|number| truth(number != 0))
                .map_err(failed),
            Some(Kind::Number) => self
                .try_get_unchecked::<i64, _>(0)
                .map(|number| truth(number != 0))
                .map_err(failed),
            Some(Kind::Bits) => {
                let bits = self.try_get_unchecked::<Vec<u8>, _>(0).map_err(failed)?;
                Ok(truth(bits.iter().any(|byte| *byte != 0)))
            }
            Some(Kind::Text | Kind::Numeric) => {
                let text = self.try_get_unchecked::<Vec<u8>, _>(0).map_err(failed)?;
                word(&String::from_utf8_lossy(&text))
            }
            None => Err(wrong_type(&name)),
        }
    }
}

impl Decode for SqliteRow {
    /// In SQLite the type belongs to the value, not to the column.
    fn decode(&self) -> Result<Row, String> {
        check_columns(self.len())?;
        let value = self.try_get_raw(0).map_err(|error| error.to_string())?;
        if value.is_null() {
            return Ok(Row::Null);
        }
        let name = value.type_info().name().to_owned();
        let failed = |error: sqlx::Error| error.to_string();
        match name.as_str() {
            "INTEGER" | "BOOLEAN" => self
                .try_get_unchecked::<i64, _>(0)
                .map(|number| truth(number != 0))
                .map_err(failed),
            "TEXT" => word(&self.try_get_unchecked::<String, _>(0).map_err(failed)?),
            other => Err(wrong_type(other)),
        }
    }
}

enum Kind {
    Number,
    /// A number with decimals.
    Numeric,
    Bits,
    Text,
}

fn postgres_kind(kind: &PgTypeInfo) -> Option<Kind> {
    if matches!(kind.kind(), PgTypeKind::Enum(_)) {
        return Some(Kind::Text);
    }
    if let PgTypeKind::Domain(base) = kind.kind() {
        return postgres_kind(base);
    }
    match kind.name().to_ascii_uppercase().as_str() {
        "BOOL" | "INT2" | "INT4" | "INT8" => Some(Kind::Number),
        "NUMERIC" => Some(Kind::Numeric),
        "BIT" | "VARBIT" => Some(Kind::Bits),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "\"CHAR\"" | "UNKNOWN" | "CITEXT" => {
            Some(Kind::Text)
        }
        _ => None,
    }
}

fn mysql_kind(name: &str) -> Option<Kind> {
    match name.strip_suffix(" UNSIGNED").unwrap_or(name) {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Some(Kind::Number),
        "DECIMAL" => Some(Kind::Numeric),
        "BIT" => Some(Kind::Bits),
        "CHAR" | "VARCHAR" | "ENUM" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT"
        | "BINARY" | "VARBINARY" | "NULL" => Some(Kind::Text),
        _ => None,
    }
}

/// Checks the result columns of a prepared query.
pub(super) fn check_postgres(columns: &[sqlx::postgres::PgColumn]) -> Result<(), String> {
    check_columns(columns.len())?;
    match columns
        .iter()
        .find(|c| postgres_kind(c.type_info()).is_none())
    {
        Some(column) => Err(wrong_type(column.type_info().name())),
        None => Ok(()),
    }
}

/// Checks the result columns of a prepared query.
pub(super) fn check_mysql(columns: &[sqlx::mysql::MySqlColumn]) -> Result<(), String> {
    check_columns(columns.len())?;
    match columns
        .iter()
        .find(|c| mysql_kind(c.type_info().name()).is_none())
    {
        Some(column) => Err(wrong_type(column.type_info().name())),
        None => Ok(()),
    }
}

/// Checks the number of columns that a query returns.
pub(super) fn check_columns(count: usize) -> Result<(), String> {
    match count {
        1 => Ok(()),
        0 => Err("the query returns nothing; it must be a SELECT of one column".to_owned()),
        count => Err(format!(
            "the query returns {count} columns; it must return one"
        )),
    }
}

fn wrong_type(name: &str) -> String {
    format!(
        "the query returns the type {name}; it must return a boolean, a whole number or a text \
         such as yes or no"
    )
}

fn truth(is_true: bool) -> Row {
    match is_true {
        true => Row::Yes,
        false => Row::No,
    }
}

/// Converts the words that databases and people use for truth values.
fn word(text: &str) -> Result<Row, String> {
    let word = text.trim().to_ascii_lowercase();
    match word.as_str() {
        "yes" | "y" | "true" | "t" | "on" => Ok(Row::Yes),
        "no" | "n" | "false" | "f" | "off" => Ok(Row::No),
        number => match number.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(truth(number != 0.0)),
            Ok(_) | Err(_) => {
                let start: String = text.chars().take(40).collect();
                Err(format!(
                    "the query returns {start:?}, which is neither yes nor no"
                ))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_are_truth_values_or_an_error() {
        for text in ["yes", "Y", " true ", "t", "on", "1", "2", "1.00", "-1"] {
            assert_eq!(word(text), Ok(Row::Yes), "{text}");
        }
        for text in ["no", "N", "FALSE", "f", "off", "0", "0.00"] {
            assert_eq!(word(text), Ok(Row::No), "{text}");
        }
        for text in ["", "maybe", "yes no", "inf", "nan", "\u{1}"] {
            let complaint = word(text).expect_err(text);
            assert!(complaint.contains("neither yes nor no"), "{complaint}");
            assert!(!complaint.contains(char::is_control), "{complaint}");
        }
    }

    #[test]
    fn several_rows_have_to_agree() {
        use Row::{Missing, No, Null, Yes};
        let table: [(&[Row], Option<Row>); 8] = [
            (&[], Some(Missing)),
            (&[Null], Some(Null)),
            (&[Yes, Yes], Some(Yes)),
            (&[Null, No], Some(No)),
            (&[Yes, Null], Some(Yes)),
            (&[Yes, No], None),
            (&[No, Null, Yes], None),
            (&[Null, Null], Some(Null)),
        ];
        for (rows, want) in table {
            let mut all = Rows::default();
            let added = rows.iter().try_for_each(|row| all.add(*row));
            assert_eq!(added.ok().map(|()| all.outcome()), want, "{rows:?}");
        }
    }
}
