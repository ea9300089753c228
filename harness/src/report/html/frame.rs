//! What every page has: its title, its look, and a policy that keeps it from fetching anything.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The style of every page.
const STYLE: &str = include_str!("../../../templates/report.css");
/// What makes tables sort and filter.
const SCRIPT: &str = include_str!("../../../templates/report.js");

/// The frame of a page.
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    /// The content security policy.
    pub(super) policy: String,
}

impl Frame {
    pub(super) fn new(title: &str, subtitle: String) -> Self {
        Self { title: title.to_owned(), subtitle, style: STYLE, script: SCRIPT, policy: policy() }
    }
}

/// Nothing may be fetched, sent or framed; the page's own style and script are allowed by their hashes, so that no other,
/// however it came in, takes effect (Content Security Policy Level 3, section 6.7.2.3).
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}
