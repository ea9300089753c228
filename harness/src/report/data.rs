//! An experiment with all that is computed from it, once.

use super::clocks::Clocks;
use super::companions::Companions;
use super::counters::Counters;
use super::summary::Summary;
use crate::ablation::Analysis;
use crate::calibration::Calibration;
use crate::results::Experiment;

/// An experiment and what it says.
pub(super) struct Data<'a> {
    /// The whole experiment.
    pub(super) experiment: &'a Experiment,
    /// All of it in numbers.
    pub(super) summary: Summary,
    /// The counters of all of it.
    pub(super) counters: Counters,
    /// Whether host and guest measured the same times.
    pub(super) clocks: Clocks,
    /// What the host can tell, where it was calibrated.
    pub(super) calibration: Option<Calibration>,
    /// What was measured beside it.
    pub(super) companions: Companions,
    /// What its steps are worth, if it is an ablation.
    pub(super) analysis: Option<Analysis>,
    /// Of an ablation, the engines as they are: two dozen setups would drown the charts that compare engines.
    plain: Option<(Experiment, Summary)>,
}

impl<'a> Data<'a> {
    /// Computes everything.
    pub(super) fn new(experiment: &'a Experiment) -> Self {
        let summary = Summary::new(experiment);
        let analysis = Analysis::new(experiment, &summary);
        let plain = analysis.is_some().then(|| {
            let plain = plain(experiment);
            let summary = Summary::new(&plain);
            (plain, summary)
        });
        Self {
            experiment,
            summary,
            counters: Counters::new(experiment),
            clocks: Clocks::new(experiment),
            calibration: None,
            companions: Companions::default(),
            analysis,
            plain,
        }
    }

    /// With what the host can tell.
    pub(super) fn calibrated(self, calibration: Option<Calibration>) -> Self {
        Self { calibration, ..self }
    }

    /// With what was measured beside it.
    pub(super) fn beside(self, companions: Companions) -> Self {
        Self { companions, ..self }
    }

    /// What charts and tables that compare engines show: in an ablation the engines as they are, else everything.
    pub(super) fn engines(&self) -> (&Experiment, &Summary) {
        match &self.plain {
            Some((experiment, summary)) => (experiment, summary),
            None => (self.experiment, &self.summary),
        }
    }
}

/// The experiment without the engines whose mechanisms are not as usual.
fn plain(experiment: &Experiment) -> Experiment {
    let mut plain = experiment.clone();
    plain.meta.plan.cells.retain(|cell| cell.engine.is_plain());
    plain.runs.retain(|run| run.engine.is_plain());
    plain
}
