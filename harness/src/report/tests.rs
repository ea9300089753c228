use super::*;
use crate::results::{COUNTERS_CSV, EXPERIMENT_JSON, Experiment, HISTOGRAMS_CSV, RUNS_CSV};

/// A results folder with this experiment in it.
fn folder(experiment: &Experiment) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let json = serde_json::to_vec(&experiment.meta).unwrap();
    std::fs::write(dir.path().join(EXPERIMENT_JSON), json).unwrap();
    let mut runs = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    runs.write_record(results::RUN_COLUMNS).unwrap();
    for run in &experiment.runs {
        runs.serialize(run).unwrap();
    }
    std::fs::write(dir.path().join(RUNS_CSV), runs.into_inner().unwrap()).unwrap();
    let mut counters = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    counters.write_record(results::COUNTER_COLUMNS).unwrap();
    for counter in &experiment.counters {
        counters.serialize(counter).unwrap();
    }
    std::fs::write(dir.path().join(COUNTERS_CSV), counters.into_inner().unwrap()).unwrap();
    let mut histograms = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    histograms.write_record(results::HISTOGRAM_COLUMNS).unwrap();
    for row in &experiment.histograms {
        histograms.serialize(row).unwrap();
    }
    std::fs::write(dir.path().join(HISTOGRAMS_CSV), histograms.into_inner().unwrap()).unwrap();
    dir
}

#[test]
fn a_folder_is_rendered_whole_and_again() {
    let dir = folder(&synthetic::full());
    let rendered = render(dir.path(), &[]).unwrap();
    assert_eq!(rendered.plots.len(), 16);
    for file in rendered.plots.iter().chain([&rendered.html, &rendered.summary]) {
        assert!(std::fs::metadata(file).unwrap().len() > 500, "{}", file.display());
    }
    let first = std::fs::read(&rendered.html).unwrap();
    assert_eq!(render(dir.path(), &[]).unwrap(), rendered);
    assert!(first == std::fs::read(&rendered.html).unwrap(), "the same data, the same page");
    // Nothing but the files is left behind.
    let hidden = |d: &Path| {
        std::fs::read_dir(d)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
            .count()
    };
    assert_eq!(hidden(dir.path()) + hidden(&dir.path().join(PLOTS)), 0);
}

#[test]
fn whatever_there_is_is_rendered() {
    for experiment in [synthetic::empty(), synthetic::partial(), synthetic::mismatch(), synthetic::hostile_ablation()] {
        let dir = folder(&experiment);
        let rendered = render(dir.path(), &[]).unwrap();
        assert!(std::fs::read_to_string(rendered.html).unwrap().ends_with("</html>\n"));
    }
}

#[test]
fn an_ablation_has_its_table_and_its_charts() {
    let dir = folder(&synthetic::ablation());
    let rendered = render(dir.path(), &[]).unwrap();
    let table = std::fs::read_to_string(rendered.ablation.expect("it is an ablation")).unwrap();
    assert!(table.starts_with("workload,step,mechanisms,n,median_ns,"), "{table:.100}");
    for name in ["mechanisms", "waterfall-sieve"] {
        assert!(dir.path().join(PLOTS).join(name).with_extension("png").is_file(), "{name}");
    }
    assert_eq!(render(folder(&synthetic::full()).path(), &[]).unwrap().ablation, None);
}

#[test]
fn what_was_measured_beside_it_is_found_and_told() {
    let experiment = synthetic::full();
    let results = folder(&experiment);
    let parent = tempfile::tempdir().unwrap();
    let (dir, beside) = (parent.path().join("studio"), parent.path().join("micro"));
    std::fs::rename(results.path(), &dir).unwrap();
    std::fs::create_dir(&beside).unwrap();
    let measured = crate::micro::made(experiment.meta.host.clone());
    let files = crate::micro::Files::create(&beside).unwrap();
    files.write_meta(&measured.meta).unwrap();
    files.write_cells(&measured.cells).unwrap();
    let rendered = render(&dir, &[]).unwrap();
    assert_eq!((rendered.micro, rendered.isolation), (Some(beside.clone()), None));
    assert!(std::fs::read_to_string(rendered.html).unwrap().contains("evlab micro measured this on"));
    let sheets = render_micro(&beside).unwrap();
    assert!(sheets.iter().all(|file| file.is_file()) && sheets.len() > 2, "{sheets:?}");
    let error = render(&dir, &[parent.path().to_owned()]).unwrap_err().to_string();
    assert!(error.contains("neither micro.json nor isolation.json"), "{error}");
}

#[test]
fn a_folder_that_holds_no_results_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = render(dir.path(), &[]).unwrap_err().to_string();
    assert!(error.contains(&dir.path().display().to_string()) && error.contains("experiment.json"), "{error}");
}

#[test]
fn a_corrupt_table_is_named_with_its_line() {
    let dir = folder(&synthetic::full());
    let path = dir.path().join(RUNS_CSV);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[3] = "three,fields,only";
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let error = render(dir.path(), &[]).unwrap_err().to_string();
    assert!(error.contains("runs.csv, line 4"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = folder(&synthetic::full());
    // A file where the folder of plots should be stops also a privileged user.
    std::fs::write(dir.path().join(PLOTS), "").unwrap();
    let error = render(dir.path(), &[]).unwrap_err().to_string();
    assert!(error.starts_with("cannot write") && error.contains(PLOTS), "{error}");
}
