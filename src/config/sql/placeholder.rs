//! Replaces `:domain` in a query with the placeholder of a database.
//!
//! Quoted text and comments stay unchanged, by the rules of the database: a comment of
//! one is an operator of another.

use super::{Query, SqlEngine};
use crate::config::value::Kind as _;

const NAME: &str = ":domain";

/// Returns the query with placeholders, and the number of parameters.
///
/// # Errors
/// Fails with a part of a line for people if there is no `:domain` outside of quotes and
/// comments, or more than one statement.
pub(super) fn translate(query: &str, engine: SqlEngine) -> Result<(String, usize), String> {
    let query = query.trim();
    if query.is_empty() {
        return Err(format!("nothing is given; write {}", Query::EXPECTED));
    }
    let mut out = String::with_capacity(query.len());
    let mut placeholders = 0;
    let mut rest = query;
    while !rest.is_empty() {
        if let Some(length) = passive(rest, &out, engine) {
            let (text, after) = rest.split_at(length);
            out.push_str(text);
            rest = after;
        } else if let Some(after) = rest.strip_prefix(';') {
            match passive_only(after, engine) {
                true => break,
                false => {
                    return Err("it has more than one statement; write one".to_owned());
                }
            }
        } else if let Some(after) = placeholder(rest) {
            placeholders += 1;
            out.push_str(match engine {
                SqlEngine::Postgres => "$1",
                SqlEngine::MySql => "?",
                SqlEngine::Sqlite => "?1",
            });
            rest = after;
        } else {
            let mut chars = rest.chars();
            out.extend(chars.next());
            rest = chars.as_str();
        }
    }
    match (placeholders, engine) {
        (0, _) => Err(format!(
            "{NAME} is missing outside of quotes and comments, so every domain would have the \
             same answer; write {}",
            Query::EXPECTED
        )),
        (count, SqlEngine::MySql) => Ok((out, count)),
        (_, SqlEngine::Postgres | SqlEngine::Sqlite) => Ok((out, 1)),
    }
}

/// Returns the text after `:domain`, unless this is the beginning of a longer name.
fn placeholder(text: &str) -> Option<&str> {
    let after = text.strip_prefix(NAME)?;
    (!after.starts_with(is_of_name)).then_some(after)
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Returns the length of a part without placeholders at the beginning of the text: a
/// quoted text, a comment, or a cast (`::domain`). `None` if there is no such part.
fn passive(text: &str, before: &str, engine: SqlEngine) -> Option<usize> {
    let first = text.chars().next()?;
    let is_postgres = engine == SqlEngine::Postgres;
    match first {
        '\'' => Some(quoted(text, '\'', has_backslashes(before, engine))),
        '"' => Some(quoted(text, '"', engine == SqlEngine::MySql)),
        '`' if !is_postgres => Some(quoted(text, '`', false)),
        '[' if engine == SqlEngine::Sqlite => Some(after(text, 1, "]")),
        '-' if is_line_comment(text, engine) => Some(line(text)),
        '#' if engine == SqlEngine::MySql => Some(line(text)),
        '/' if text.starts_with("/*") => Some(block(text, is_postgres)),
        ':' if text.starts_with("::") => Some(2 + word(&text[2..])),
        '$' if is_postgres && !before.ends_with(is_of_name) => dollar_quoted(text),
        _ => None,
    }
}

/// Returns whether backslashes are escapes: in MySQL in all quotes, in PostgreSQL in
/// `E''` only.
fn has_backslashes(before: &str, engine: SqlEngine) -> bool {
    match engine {
        SqlEngine::MySql => true,
        SqlEngine::Sqlite => false,
        SqlEngine::Postgres => before
            .strip_suffix(['e', 'E'])
            .is_some_and(|before| !before.ends_with(is_of_name)),
    }
}

/// Returns the length of a quoted text. A doubled quote counts as the end of one text and
/// the begin of the next, which gives the same result.
fn quoted(text: &str, quote: char, backslashes: bool) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' if backslashes => {
                chars.next();
            }
            c if c == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns whether a line comment begins. MySQL requires a space or a control character
/// after the dashes.
fn is_line_comment(text: &str, engine: SqlEngine) -> bool {
    let Some(after) = text.strip_prefix("--") else {
        return false;
    };
    engine != SqlEngine::MySql
        || after.is_empty()
        || after.starts_with(|c: char| c.is_whitespace() || c.is_control())
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// Returns the length of a block comment; these nest in PostgreSQL only.
fn block(text: &str, nests: bool) -> usize {
    let mut depth = 0;
    let mut index = 0;
    while index < text.len() {
        let rest = &text.as_bytes()[index..];
        if rest.starts_with(b"/*") && (nests || depth == 0) {
            depth += 1;
            index += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += 1;
        }
    }
    text.len()
}

fn dollar_quoted(text: &str) -> Option<usize> {
    let tag = text[1..].find('$')? + 2;
    let name = &text[1..tag - 1];
    let is_tag = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then(|| after(text, tag, &text[..tag]))
}

/// Returns the length up to and including the first `end` after `from`.
fn after(text: &str, from: usize, end: &str) -> usize {
    match text[from..].find(end) {
        Some(index) => from + index + end.len(),
        None => text.len(),
    }
}

fn word(text: &str) -> usize {
    text.find(|c| !is_of_name(c)).unwrap_or(text.len())
}

/// Returns whether only white space and comments follow.
fn passive_only(text: &str, engine: SqlEngine) -> bool {
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
    while let Some(length) = passive(rest, "", engine).filter(|_| rest.starts_with(['-', '#', '/']))
    {
        rest = rest[length..].trim_start_matches(|c: char| c.is_whitespace() || c == ';');
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::{
        SqlEngine::{MySql, Postgres, Sqlite},
        *,
    };

    #[test]
    fn the_placeholder_is_found_outside_of_quotes_and_comments() {
        let table = [
            (
                Postgres,
                "SELECT a FROM b WHERE c = :domain",
                "SELECT a FROM b WHERE c = $1",
                1,
            ),
            (
                MySql,
                "SELECT a FROM b WHERE c = :domain;",
                "SELECT a FROM b WHERE c = ?",
                1,
            ),
            (
                Sqlite,
                "SELECT a FROM b WHERE c = :domain",
                "SELECT a FROM b WHERE c = ?1",
                1,
            ),
            (Postgres, "x :domain y :domain", "x $1 y $1", 1),
            (MySql, "x :domain y :domain", "x ? y ?", 2),
            (Sqlite, "x(:domain) :domain", "x(?1) ?1", 1),
            (
                Postgres,
                "a::domain = :domain::text",
                "a::domain = $1::text",
                1,
            ),
            (
                Postgres,
                "a = :domains OR a = :domain",
                "a = :domains OR a = $1",
                1,
            ),
            (Postgres, "':domain' || :domain", "':domain' || $1", 1),
            (
                Postgres,
                "'it''s :domain' = :domain",
                "'it''s :domain' = $1",
                1,
            ),
            (Postgres, r"'\' = :domain", r"'\' = $1", 1),
            (
                Postgres,
                r"E'\' :domain' = :domain",
                r"E'\' :domain' = $1",
                1,
            ),
            (MySql, r"'\' :domain' = :domain", r"'\' :domain' = ?", 1),
            (MySql, r#""\" :domain" = :domain"#, r#""\" :domain" = ?"#, 1),
            (Postgres, r#"":domain" = :domain"#, r#"":domain" = $1"#, 1),
            (MySql, "`:domain` = :domain", "`:domain` = ?", 1),
            (Sqlite, "[:domain] = :domain", "[:domain] = ?1", 1),
            (Postgres, "a[1] = :domain", "a[1] = $1", 1),
            (Postgres, "-- :domain\n:domain", "-- :domain\n$1", 1),
            (MySql, "1--:domain", "1--?", 1),
            (
                MySql,
                "-- :domain\n# :domain\n:domain",
                "-- :domain\n# :domain\n?",
                1,
            ),
            (Postgres, "a # b = :domain", "a # b = $1", 1),
            (
                Postgres,
                "/* /* */ :domain */ :domain",
                "/* /* */ :domain */ $1",
                1,
            ),
            (MySql, "/* /* */ :domain", "/* /* */ ?", 1),
            (Postgres, "$$ :domain $$ = :domain", "$$ :domain $$ = $1", 1),
            (
                Postgres,
                "$a$ :domain $$ $a$ = :domain",
                "$a$ :domain $$ $a$ = $1",
                1,
            ),
            (Postgres, "'ü' = :domain -- ü", "'ü' = $1 -- ü", 1),
            (Sqlite, " :domain ; -- done\n", "?1 ", 1),
        ];
        for (engine, query, want, count) in table {
            let got = translate(query, engine);
            assert_eq!(got, Ok((want.to_owned(), count)), "{engine:?}: {query}");
        }
    }

    #[test]
    fn a_query_without_the_placeholder_or_with_two_statements_is_refused() {
        let missing = ":domain is missing outside of quotes and comments";
        let two = "it has more than one statement";
        let table = [
            (Postgres, "", "nothing is given"),
            (Postgres, "SELECT 1", missing),
            (Postgres, "SELECT ':domain'", missing),
            (Postgres, "SELECT 1 -- :domain", missing),
            (Postgres, "SELECT 1 /* :domain", missing),
            (MySql, "SELECT ':domain", missing),
            (Postgres, "SELECT x::domain", missing),
            (Sqlite, "SELECT :domain; DELETE FROM a", two),
            (Sqlite, "SELECT :domain; -- x\nDELETE FROM a", two),
        ];
        for (engine, query, want) in table {
            let complaint = translate(query, engine).expect_err(query);
            assert!(complaint.contains(want), "{query}: {complaint}");
        }
    }
}
