//! The `head` element of every page, including the login form.

use maud::{Markup, html};

/// Returns the content of `head`, without scripts.
pub(super) fn document_head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="robots" content="noindex";
        title { (title) " - sixgate" }
        link rel="stylesheet" href="/assets/style.css";
        link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
    }
}
