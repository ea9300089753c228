//! What the page's template is given.

/// A chart with its caption.
pub(super) struct Figure {
    /// The SVG document, complete and escaped.
    pub(super) svg: String,
    pub(super) caption: String,
}

/// A cell of a table.
pub(super) struct Cell {
    pub(super) text: String,
    /// Smaller lines below.
    pub(super) notes: Vec<String>,
    /// What to sort by, where it is not the text.
    pub(super) sort: String,
    /// CSS classes.
    pub(super) class: &'static str,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), notes: Vec::new(), sort: String::new(), class: "" }
    }

    pub(super) fn code(text: impl Into<String>) -> Self {
        Self { class: "code", ..Self::text(text) }
    }

    /// A number, or a dash where there is none.
    pub(super) fn number(value: Option<f64>, format: impl Fn(f64) -> String) -> Self {
        match value {
            Some(v) => Self { sort: v.to_string(), class: "num", ..Self::text(format(v)) },
            None => Self { class: "num none", ..Self::text("–") },
        }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self { class: "bad", ..Self::text(text) }
    }

    /// The cell with one more line below, unless that is empty.
    pub(super) fn with_note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        self.notes.extend((!note.is_empty()).then_some(note));
        self
    }
}

/// A table that scrolls in its own box and sorts by its columns.
pub(super) struct Table {
    /// What it holds, for readers who cannot see it.
    pub(super) label: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// Rows that stay at the end.
    pub(super) foot: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new<const N: usize>(label: &str, head: [&str; N]) -> Self {
        Self { label: label.to_owned(), head: head.map(str::to_owned).into(), rows: Vec::new(), foot: Vec::new() }
    }
}

/// Why an engine costs what it costs.
pub(super) struct Explanation {
    pub(super) engine: String,
    pub(super) what: &'static str,
    pub(super) points: Vec<String>,
}

/// An engine that the host lacks.
pub(super) struct Missing {
    pub(super) engine: String,
    pub(super) reason: String,
    pub(super) fix: String,
}

/// A name and its value.
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: String,
}

/// A run that did not end well.
pub(super) struct Trouble {
    pub(super) title: String,
    pub(super) message: String,
    pub(super) console: String,
}

/// What each mechanism is worth.
pub(super) struct Mechanisms {
    pub(super) figure: Option<Figure>,
    pub(super) topics: Vec<Explanation>,
    pub(super) effects: Table,
    pub(super) waterfalls: Vec<Waterfall>,
}

/// The steps of one workload.
pub(super) struct Waterfall {
    pub(super) workload: String,
    pub(super) figure: Figure,
    pub(super) table: Table,
}
