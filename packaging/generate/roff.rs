//! Text for man(7): escapes requests and escape sequences.

/// Running text. No line may start with a control character.
pub fn text(plain: &str) -> String {
    let escaped = plain.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped.lines().map(|line| match line.trim() {
        line if line.starts_with(['.', '\'']) => format!("\\&{line}"),
        line => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// In bold.
pub fn bold(plain: &str) -> String {
    format!("\\fB{}\\fR", text(plain))
}

/// In italics, for placeholders.
pub fn italic(plain: &str) -> String {
    format!("\\fI{}\\fR", text(plain))
}

/// A section with its heading.
pub fn section(heading: &str, body: &str) -> String {
    format!(
        ".SH {}\n{}\n",
        quoted(&heading.to_uppercase()),
        body.trim_end()
    )
}

/// A heading, as one argument.
pub fn quoted(heading: &str) -> String {
    match heading.contains(' ') {
        true => format!("\"{}\"", text(heading)),
        false => text(heading),
    }
}

/// A paragraph with a hanging tag.
pub fn tagged(tag: &str, body: &str) -> String {
    format!(".TP\n{tag}\n{}\n", body.trim_end())
}

/// Wraps long source lines, which does not change the output.
pub fn fold(page: &str) -> String {
    let mut folded = String::new();
    let mut is_verbatim = false;
    for line in page.lines() {
        is_verbatim = line == ".nf" || (is_verbatim && line != ".fi");
        match is_verbatim || line.starts_with('.') {
            true => folded.push_str(line),
            false => push_folded(&mut folded, line),
        }
        folded.push('\n');
    }
    folded
}

fn push_folded(page: &mut String, line: &str) {
    let mut length = 0;
    for word in line.split_whitespace() {
        if length > 0 {
            let is_full = length + 1 + word.len() > WIDTH;
            page.push(if is_full { '\n' } else { ' ' });
            length = if is_full { 0 } else { length + 1 };
        }
        if length == 0 && word.starts_with(['.', '\'']) {
            page.push_str("\\&");
        }
        page.push_str(word);
        length += word.len();
    }
}

/// The maximum length of a source line.
const WIDTH: usize = 80;
