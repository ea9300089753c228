//! Times of the cells of a plan.

/// Times of every cell, nanoseconds, by its place in the plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<Vec<f64>>);

impl Samples {
    /// No times of so many cells.
    #[must_use]
    pub fn new(cells: usize) -> Self {
        Self(vec![Vec::new(); cells])
    }

    /// These times of each cell.
    #[must_use]
    pub const fn of(times: Vec<Vec<f64>>) -> Self {
        Self(times)
    }

    /// One more time of a cell.
    pub fn add(&mut self, cell: usize, ns: f64) {
        if let Some(times) = self.0.get_mut(cell) {
            times.push(ns);
        }
    }

    /// The times of a cell.
    #[must_use]
    pub fn get(&self, cell: usize) -> &[f64] {
        self.0.get(cell).map_or(&[], Vec::as_slice)
    }
}
