//! milter.yaml(5), generated from the comments in milter.yaml.example. A test compares that
//! file with the code.

use super::roff::{bold, quoted, tagged, text};

const EXAMPLE: &str = include_str!("../../milter.yaml.example");

/// Writes every setting with its description and default, in the order and under the
/// headings of the example.
pub fn described() -> String {
    let mut page = String::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in EXAMPLE.lines() {
        let indent = line.len() - line.trim_start().len();
        match line.trim() {
            "" => comment.clear(),
            heading if heading.starts_with("# --- ") => {
                page.push_str(&format!(
                    ".SS {}\n",
                    quoted(heading.trim_matches(['#', '-', ' ']))
                ));
            }
            remark if remark.starts_with('#') => {
                comment.push(remark.trim_start_matches(['#', ' ']))
            }
            item if item.starts_with("- ") => {
                page.push_str(&format!(
                    ".br\nDefault: {}\n",
                    bold(item.trim_start_matches("- "))
                ));
            }
            setting => {
                let (key, default) = setting.split_once(':').unwrap_or((setting, ""));
                path.retain(|(outer, _)| *outer < indent);
                path.push((indent, key.to_owned()));
                page.push_str(&entry(&path, &comment.join("\n"), default.trim()));
                comment.clear();
            }
        }
    }
    page
}

fn entry(path: &[(usize, String)], comment: &str, default: &str) -> String {
    let path: Vec<_> = path.iter().map(|(_, key)| key.as_str()).collect();
    let mut body = text(comment);
    match default {
        // A list or a section follows, or the comment describes the missing value.
        "" => {}
        "[]" => body.push_str("\n.br\nDefault: none"),
        default => body.push_str(&format!("\n.br\nDefault: {}", bold(default))),
    }
    tagged(&bold(&path.join(".")), body.trim_start())
}
