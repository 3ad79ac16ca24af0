//! Renders the page as HTML: one self-contained file without scripts, with a content
//! security policy that says so.
//!
//! Peers choose the values, so each goes through `Escaped`.

mod chart;

use super::{
    page::{Item, Page, Table},
    summary::Summary,
};
use jiff::tz::TimeZone;
use std::fmt::{self, Display, Write};

const HEAD: &str = include_str!("html/head.html");

/// Renders the page, with times in `zone`.
pub fn render(summary: &Summary, zone: &TimeZone) -> String {
    let mut out = String::from(HEAD);
    // Writing to a string can't fail.
    let _ = body(&mut out, summary, zone);
    out
}

fn body(out: &mut String, summary: &Summary, zone: &TimeZone) -> fmt::Result {
    let page = Page::new(summary, zone);
    let (title, subtitle) = (Escaped(&page.title), Escaped(&page.subtitle));
    writeln!(
        out,
        "<header><h1>sixgate</h1><p>{title}</p><p class=\"quiet\">{subtitle}</p></header>"
    )?;
    tiles(out, &page.totals)?;
    if let Some(waited) = &page.waited {
        writeln!(out, "<p class=\"quiet\">{}</p>", Escaped(waited))?;
    }
    chart::over_time(out, summary, zone)?;
    chart::rules(out, summary)?;
    chart::fates(out, summary)?;
    section(out, "Look at these", "look", &page.look)?;
    section(out, "Nothing to worry about", "fine", &page.fine)?;
    section(out, "Sums", "sums", &page.sums)?;
    writeln!(out, "</main>\n</html>")
}

/// Renders the totals as large tiles.
fn tiles(out: &mut String, totals: &Table) -> fmt::Result {
    writeln!(out, "<ul class=\"tiles\">")?;
    for row in &totals.rows {
        let cells: Vec<_> = row.iter().map(|cell| Escaped(cell)).collect();
        if let [name, count, share, meaning] = cells.as_slice() {
            writeln!(
                out,
                "<li class=\"{name}\"><b>{count}</b> {name} {share}<small>{meaning}</small></li>"
            )?;
        }
    }
    writeln!(out, "</ul>")
}

fn section(out: &mut String, name: &str, class: &str, items: &[Item]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section class=\"{class}\">\n<h2>{name}</h2>")?;
    items.iter().try_for_each(|it| item(out, it))?;
    writeln!(out, "</section>")
}

fn item(out: &mut String, item: &Item) -> fmt::Result {
    writeln!(out, "<article>\n<h3>{}</h3>", Escaped(&item.headline))?;
    if !item.advice.is_empty() {
        writeln!(out, "<p>{}</p>", Escaped(item.advice))?;
    }
    if let Some(rows) = &item.table {
        table(out, rows)?;
    }
    writeln!(out, "</article>")
}

fn table(out: &mut String, table: &Table) -> fmt::Result {
    writeln!(out, "<div class=\"wide\"><table>")?;
    if !table.head.is_empty() {
        row(out, "th", table, table.head.iter().copied())?;
    }
    for cells in &table.rows {
        row(out, "td", table, cells.iter().map(String::as_str))?;
    }
    writeln!(out, "</table></div>")
}

fn row<'a>(
    out: &mut String,
    tag: &str,
    table: &Table,
    cells: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    write!(out, "<tr>")?;
    for (cell, &is_number) in cells.zip(&table.numbers) {
        let class = if is_number { " class=\"n\"" } else { "" };
        write!(out, "<{tag}{class}>{}</{tag}>", Escaped(cell))?;
    }
    writeln!(out, "</tr>")
}

/// A text, escaped for elements and attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_an_element_or_an_attribute() {
        let hostile = "</td><script>alert('x')</script>\" onload=\"&";
        let want = "&lt;/td&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; \
                    onload=&quot;&amp;";
        assert_eq!(Escaped(hostile).to_string(), want);
    }
}
