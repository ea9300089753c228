//! The live view: a table of medians that fills while the experiment runs.

use comfy_table::{CellAlignment, Table, presets};

use crate::model::{EngineId, Setup, Status};
use crate::report::units;
use crate::results::{Cell, RunRow};
use crate::stats::median;

/// What has been measured so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Board {
    engines: Vec<Setup>,
    /// Name and arguments.
    workloads: Vec<(String, String)>,
    /// By workload, then by engine.
    places: Vec<Vec<Place>>,
}

/// One engine with one workload.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// It is not in the plan.
    Outside,
    /// The times of its good runs so far, nanoseconds, none bad.
    Good(Vec<f64>),
    /// How its first bad run ended.
    Bad(Status),
}

impl Board {
    /// Nothing has been measured of these cells.
    pub(super) fn new(cells: &[Cell]) -> Self {
        let (mut engines, mut workloads) = (Vec::new(), Vec::new());
        for cell in cells {
            if !engines.contains(&cell.engine) {
                engines.push(cell.engine);
            }
            let workload = (cell.workload.clone(), cell.args.join(" "));
            if !workloads.contains(&workload) {
                workloads.push(workload);
            }
        }
        engines.sort_unstable();
        let mut board = Self { places: vec![vec![Place::Outside; engines.len()]; workloads.len()], engines, workloads };
        for cell in cells {
            if let Some(place) = board.place(cell.engine, &cell.workload, &cell.args.join(" ")) {
                *place = Place::Good(Vec::new());
            }
        }
        board
    }

    fn place(&mut self, engine: Setup, workload: &str, args: &str) -> Option<&mut Place> {
        let row = self.workloads.iter().position(|(name, with)| name == workload && with == args)?;
        let column = self.engines.iter().position(|&e| e == engine)?;
        self.places.get_mut(row)?.get_mut(column)
    }

    /// Adds a run that ended.
    pub(super) fn add(&mut self, row: &RunRow) {
        let Some(place) = self.place(row.engine, &row.workload, &row.args) else { return };
        match (row.status, row.time_ns()) {
            (Status::Ok, Some(ns)) => {
                if let Place::Good(times) = place {
                    times.push(ns as f64);
                }
            }
            (Status::Ok | Status::Interrupted, _) => {}
            (status, _) if matches!(place, Place::Good(_)) => *place = Place::Bad(status),
            _ => {}
        }
    }

    fn median(&self, row: usize, column: usize) -> Option<f64> {
        match self.places.get(row)?.get(column)? {
            Place::Good(times) => median(times),
            _ => None,
        }
    }

    /// What a place shows: the time of native, and how many times it the others take, as far as both are known.
    fn text(&self, row: usize, column: usize) -> String {
        if let Place::Bad(status) = &self.places[row][column] {
            return status.shown().to_owned();
        }
        let native = self.engines.iter().position(|&engine| engine == EngineId::Native);
        let own = self.median(row, column);
        match (own, native.and_then(|native| self.median(row, native))) {
            (None, _) => if self.places[row][column] == Place::Outside { "" } else { "·" }.to_owned(),
            (Some(own), Some(reference)) if native != Some(column) => units::ratio(own / reference),
            (Some(own), _) => units::time(own),
        }
    }

    /// The table in at most so many lines; `None` where the columns do not fit into the width.
    pub(super) fn lines(&self, width: usize, height: usize) -> Option<Vec<String>> {
        let mut table = Table::new();
        // There is nothing to style, and the width is judged here.
        table.load_style(presets::NOTHING).force_no_tty();
        let head = ["median so far".to_owned()].into_iter().chain(self.engines.iter().map(Setup::to_string));
        table.set_header(head);
        for (row, (name, args)) in self.workloads.iter().enumerate() {
            let twice = self.workloads.iter().filter(|(other, _)| other == name).count() > 1;
            let label = if twice { format!("{name} {args}") } else { name.clone() };
            table.add_row([label].into_iter().chain((0..self.engines.len()).map(|column| self.text(row, column))));
        }
        for column in 1..=self.engines.len() {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        if lines.iter().any(|line| line.chars().count() > width) {
            return None;
        }
        if lines.len() > height {
            let hidden = lines.len() - height.max(2) + 1;
            lines.truncate(height.max(2) - 1);
            lines.push(format!(" ... and {hidden} more, for which this terminal is too low"));
        }
        Some(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(engine: EngineId, workload: &str, arg: &str) -> Cell {
        Cell { engine: engine.into(), workload: workload.to_owned(), args: vec![arg.to_owned()] }
    }

    fn row(cell: &Cell, status: Status, ns: u64) -> RunRow {
        RunRow {
            run: 1,
            engine: cell.engine,
            workload: cell.workload.clone(),
            args: cell.args.join(" "),
            image_sha256: String::new(),
            status,
            checksum: None,
            roi_host_ns: None,
            roi_guest_ns: Some(ns),
            wall_ns: ns,
            startup_ns: None,
            guest_instructions: None,
        }
    }

    fn board() -> (Board, Vec<Cell>) {
        let mut cells: Vec<Cell> = ["sieve", "fib"]
            .into_iter()
            .flat_map(|w| [EngineId::Native, EngineId::Kvm, EngineId::EmuInterp].map(|e| cell(e, w, "10")))
            .collect();
        cells.push(cell(EngineId::Kvm, "port_io", "5"));
        (Board::new(&cells), cells)
    }

    #[test]
    fn medians_become_ratios_once_native_has_a_time() {
        let (mut board, cells) = board();
        board.add(&row(&cells[1], Status::Ok, 2_200_000));
        for ns in [1_900_000, 2_000_000, 90_000_000] {
            board.add(&row(&cells[0], Status::Ok, ns));
        }
        board.add(&row(&cells[5], Status::Ok, 7_000_000));
        board.add(&row(&cells[2], Status::Timeout, 0));
        board.add(&row(&cells[2], Status::Ok, 5));
        board.add(&row(&cells[6], Status::Ok, 30_000));
        insta::assert_snapshot!(board.lines(80, 20).expect("it fits").join("\n"));
    }

    #[test]
    fn it_keeps_within_the_terminal() {
        let (board, _) = board();
        let lines = board.lines(80, 3).expect("the width is enough");
        assert_eq!(lines.len(), 3);
        assert!(lines[2].contains("2 more"), "{lines:?}");
        assert_eq!(board.lines(20, 30), None);
        assert!(board.lines(80, 0).is_some_and(|lines| lines.len() == 2), "never empty");
    }

    #[test]
    fn one_workload_with_other_arguments_is_another_row() {
        let cells = ["10", "20"].map(|arg| cell(EngineId::Native, "fib", arg));
        let mut board = Board::new(&cells);
        board.add(&row(&cells[1], Status::Ok, 1000));
        let lines = board.lines(80, 20).expect("it fits");
        assert!(lines[1].contains("fib 10") && lines[1].contains('·'), "{lines:?}");
        assert!(lines[2].contains("fib 20") && lines[2].contains("1.00 µs"), "{lines:?}");
    }
}
