//! What all Markdown has in common.

/// Text of a results folder or a guest, which may be anybody's, so that it breaks no table and is no markup.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('`', "'")
}
