//! What the user sees while an experiment runs: a bar on a terminal, now and then a line elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::live::Board;
use crate::results::{Cell, RunRow};

/// Seconds between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Follows an experiment.
pub trait Progress {
    /// Run number `run` of this cell begins; `left` is the estimated time until the end.
    fn begin(&mut self, run: u32, cell: &Cell, left: Option<Duration>);
    /// So many runs are added to those planned.
    fn extend(&mut self, runs: u32);
    /// What the current run measured; shown by a live view alone.
    fn measured(&mut self, _row: &RunRow) {}
    /// The current run ended.
    fn end(&mut self);
    /// Something that the user should see, such as a failed run.
    fn note(&mut self, text: &str);
    /// The experiment ended.
    fn finish(&mut self);
}

/// Shows nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: u32, _: &Cell, _: Option<Duration>) {}
    fn extend(&mut self, _: u32) {}
    fn end(&mut self) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// The progress of `total` runs on standard error: a bar if that is a terminal, else lines.
#[must_use]
pub fn for_terminal(total: u32) -> Box<dyn Progress> {
    on_stderr(total, || None)
}

/// The same for runs of these cells; on a terminal with a table of the medians so far above the bar.
#[must_use]
pub fn live(total: u32, cells: &[Cell]) -> Box<dyn Progress> {
    on_stderr(total, || Some(Board::new(cells)))
}

fn on_stderr(total: u32, board: impl FnOnce() -> Option<Board>) -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar::new(total, board()))
    } else {
        Box::new(Lines { total, done: 0, last: None })
    }
}

/// Lines of the terminal that the table leaves free: the bar, and the last of what was there before.
const FREE_LINES: usize = 3;

struct Bar {
    bar: ProgressBar,
    board: Option<Board>,
}

impl Bar {
    fn new(total: u32, board: Option<Board>) -> Self {
        let template = match board {
            Some(_) => "{prefix}\n{wide_bar} {pos}/{len}  {msg}",
            None => "{wide_bar} {pos}/{len}  {msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = Self { bar: ProgressBar::new(u64::from(total)).with_style(style), board };
        bar.draw();
        bar
    }

    fn draw(&self) {
        let Some(board) = &self.board else { return };
        // Asked each time: the window may have been resized.
        let (height, width) = console::Term::stderr().size();
        let lines = board.lines(usize::from(width), usize::from(height).saturating_sub(FREE_LINES));
        self.bar.set_prefix(lines.unwrap_or_default().join("\n"));
    }
}

impl Progress for Bar {
    fn begin(&mut self, _: u32, cell: &Cell, left: Option<Duration>) {
        let left = left.map_or_else(String::new, |t| format!("  {} left", rough(t)));
        self.bar.set_message(format!("{} on {}{left}", cell.workload, cell.engine));
    }

    fn extend(&mut self, runs: u32) {
        self.bar.inc_length(u64::from(runs));
    }

    fn measured(&mut self, row: &RunRow) {
        if let Some(board) = &mut self.board {
            board.add(row);
        }
        self.draw();
    }

    fn end(&mut self) {
        self.bar.inc(1);
    }

    fn note(&mut self, text: &str) {
        self.bar.println(text);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

struct Lines {
    total: u32,
    done: u32,
    last: Option<Instant>,
}

impl Lines {
    fn print(text: &str) {
        // Progress that nobody can read is no reason to stop measuring.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

impl Progress for Lines {
    fn begin(&mut self, run: u32, cell: &Cell, left: Option<Duration>) {
        if self.last.is_some_and(|t| t.elapsed() < LINE_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let left = left.map_or_else(String::new, |t| format!(", {} left", rough(t)));
        Self::print(&format!("run {run} of {}: {} on {}{left}", self.total, cell.workload, cell.engine));
    }

    fn extend(&mut self, runs: u32) {
        self.total += runs;
    }

    fn end(&mut self) {
        self.done += 1;
    }

    fn note(&mut self, text: &str) {
        Self::print(text);
    }

    fn finish(&mut self) {
        Self::print(&format!("{} of {} runs done", self.done, self.total));
    }
}

/// A duration for people: `about 3 min`.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=4 => "a few seconds".to_owned(),
        5..=89 => format!("about {} s", (seconds + 2) / 5 * 5),
        _ => format!("about {} min", (seconds + 30) / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_for_people() {
        let text = |s| rough(Duration::from_secs(s));
        assert_eq!(text(2), "a few seconds");
        assert_eq!(text(33), "about 35 s");
        assert_eq!(text(95), "about 2 min");
        assert_eq!(text(330), "about 6 min");
    }
}
