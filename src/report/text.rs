//! Renders the page as text, for a terminal or an email from cron.
//!
//! Values were escaped when they were parsed, so they are printable.

use super::{
    page::{Item, Page, Table},
    summary::Summary,
};
use jiff::tz::TimeZone;
use std::fmt::{self, Display, Write};

/// The maximum width of a cell; longer names are truncated.
const WIDEST: usize = 40;

/// Renders the page, with times in `zone`.
pub fn render(summary: &Summary, zone: &TimeZone) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = page(&mut out, &Page::new(summary, zone));
    out
}

fn page(out: &mut String, page: &Page) -> fmt::Result {
    writeln!(out, "sixgate, {}", page.title)?;
    writeln!(out, "{}\n", page.subtitle)?;
    table(out, &page.totals, "  ")?;
    if let Some(waited) = &page.waited {
        writeln!(out, "  {waited}")?;
    }
    section(out, "LOOK AT THESE", &page.look)?;
    section(out, "NOTHING TO WORRY ABOUT", &page.fine)?;
    section(out, "SUMS", &page.sums)
}

fn section(out: &mut String, name: &str, items: &[Item]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{name}")?;
    items.iter().try_for_each(|it| item(out, it))
}

fn item(out: &mut String, item: &Item) -> fmt::Result {
    writeln!(out, "\n* {}", item.headline)?;
    if !item.advice.is_empty() {
        writeln!(out, "  {}", Wrapped(item.advice))?;
    }
    match &item.table {
        Some(rows) => table(out, rows, "    "),
        None => Ok(()),
    }
}

fn table(out: &mut String, table: &Table, indent: &str) -> fmt::Result {
    let head: Vec<String> = table.head.iter().map(|&cell| cell.to_owned()).collect();
    let rows = [head].into_iter().filter(|head| !head.is_empty());
    let rows: Vec<Vec<String>> = rows.chain(table.rows.iter().cloned()).collect();
    let last = table.numbers.len().saturating_sub(1);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count().min(WIDEST))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table.numbers.len()).map(width).collect();
    for row in &rows {
        let mut line = indent.to_owned();
        for (column, cell) in row.iter().enumerate() {
            let is_text = column == last && !table.numbers[column];
            let cell = if is_text { cell.clone() } else { cut(cell) };
            let width = widths[column];
            match table.numbers[column] {
                true => write!(line, "{cell:>width$}  ")?,
                false => write!(line, "{cell:<width$}  ")?,
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Truncates a cell at its beginning, because the end of a domain is most significant.
fn cut(cell: &str) -> String {
    let from_the_end = |n| cell.char_indices().rev().nth(n).map(|(at, _)| at);
    match (from_the_end(WIDEST), from_the_end(WIDEST - 4)) {
        (Some(_), Some(start)) => format!("...{}", &cell[start..]),
        _ => cell.to_owned(),
    }
}

/// Text wrapped and indented.
struct Wrapped<'a>(&'a str);

impl Display for Wrapped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 76;
        let mut column = 0;
        for word in self.0.split(' ') {
            if column > 0 && column + 1 + word.len() > WIDTH {
                f.write_str("\n  ")?;
                column = 0;
            } else if column > 0 {
                f.write_char(' ')?;
                column += 1;
            }
            f.write_str(word)?;
            column += word.len();
        }
        Ok(())
    }
}
