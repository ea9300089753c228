//! Regressions that tests of the gate plant: `EVLAB_PLANTED=emu-interp:slower=5` for 5% more time, or `emu-interp:exit` for an
//! exit more. In builds with debug assertions or the feature `planted` alone.

use vmm_min::Regression;

use crate::model::EngineId;

/// What is planted into this engine; nothing where the variable is not set, speaks of another engine or is not understood.
pub(super) fn regression(engine: EngineId) -> Option<Regression> {
    parse(&std::env::var("EVLAB_PLANTED").ok()?, engine)
}

fn parse(text: &str, engine: EngineId) -> Option<Regression> {
    let (name, what) = text.split_once(':')?;
    if name != engine.name() {
        return None;
    }
    match what.split_once('=') {
        Some(("slower", percent)) => Some(Regression::Slower(percent.parse::<f64>().ok()? / 100.0)),
        None if what == "exit" => Some(Regression::Exit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regression_is_for_one_engine() {
        assert_eq!(parse("emu-interp:slower=5", EngineId::EmuInterp), Some(Regression::Slower(0.05)));
        assert_eq!(parse("emu-dbt:exit", EngineId::EmuDbt), Some(Regression::Exit));
        for (text, engine) in
            [("emu-interp:exit", EngineId::EmuDbt), ("emu-interp:faster", EngineId::EmuInterp), ("", EngineId::Kvm)]
        {
            assert_eq!(parse(text, engine), None, "{text}");
        }
    }
}
