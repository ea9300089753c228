//! What the pages' templates are given.

use crate::report::charts::{Chart, ChartError};
use crate::report::units;

/// A chart with its caption.
pub(super) struct Figure {
    /// The heading in it.
    pub(super) title: String,
    /// The SVG document, complete and escaped.
    pub(super) svg: String,
    pub(super) caption: String,
}

impl Figure {
    pub(super) fn of(chart: &Chart, caption: &str) -> Result<Self, ChartError> {
        Ok(Self { title: chart.title().to_owned(), svg: chart.inline()?, caption: caption.to_owned() })
    }
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

    /// A whole number, or a dash where there is none. It is sorted by its text.
    pub(super) fn count(value: Option<u64>) -> Self {
        match value {
            Some(v) => Self { class: "num", ..Self::text(units::count(v)) },
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
    /// Its caption.
    pub(super) label: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// Rows that stay at the end.
    pub(super) foot: Vec<Vec<Cell>>,
    /// Whether it is long: it scrolls in a box that is no higher than the window, and its rows can be filtered.
    pub(super) long: bool,
}

impl Table {
    pub(super) fn new<const N: usize>(label: &str, head: [&str; N]) -> Self {
        Self {
            label: label.to_owned(),
            head: head.map(str::to_owned).into(),
            rows: Vec::new(),
            foot: Vec::new(),
            long: false,
        }
    }

    /// The table in a box of its own, with a filter.
    pub(super) fn long(self) -> Self {
        Self { long: true, ..self }
    }

    /// Whether a column holds numbers. By reference, as templates hand out the counters of their loops.
    pub(super) fn is_number(&self, column: &usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(*column));
        cells.next().is_some_and(|first| first.class.starts_with("num"))
    }
}

/// The slowdown of an engine over the programs.
pub(super) struct KeyFigure {
    pub(super) engine: String,
    pub(super) value: String,
    /// Its interval.
    pub(super) note: String,
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

/// What one event costs, or whether hostile guests are contained: a part of a page that other commands measured.
#[derive(Default)]
pub(super) struct Part {
    /// Whether there is anything; if not, `intro` says how to get it.
    pub(super) is_there: bool,
    /// Sentences above.
    pub(super) intro: Vec<String>,
    pub(super) figures: Vec<Figure>,
    pub(super) tables: Vec<Table>,
    /// Sentences below.
    pub(super) notes: Vec<String>,
}
