//! The book in docs/: every command of its lab pages works as printed, its links lead somewhere, and no page is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::available;

/// The pages whose commands readers type one after another.
const LAB: [&str; 2] = ["theory.md", "studio.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("a page")
}

/// Commands that are typed together, and the exit codes that the last of them may have.
struct Block {
    line: usize,
    script: String,
    codes: Vec<i32>,
}

/// The blocks of a page that are for the shell. Behind `sh`, `exit=0,1` names other exit codes than 0.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) if info == "sh" || info.starts_with("sh ") => {
                let codes = info.strip_prefix("sh exit=").unwrap_or("0");
                let codes = codes.split(',').map(|code| code.parse().expect("an exit code")).collect();
                open = Some(Block { line: number + 2, script: String::new(), codes });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.script += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(open.is_none(), "a block is never closed");
    blocks
}

/// A folder like a clone of the repository, in which results can be left.
fn clone() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (root, results) = (root(), dir.path().join("results"));
    fs::create_dir(&results).expect("make a folder");
    for name in ["reference", "baseline.json"] {
        let of = root.join("results").join(name).canonicalize().expect("it is there");
        std::os::unix::fs::symlink(of, results.join(name)).expect("make a link");
    }
    dir
}

#[test]
fn every_command_of_the_handout_works_as_printed() {
    let all = ["native", "kvm", "emu-naive", "emu-interp", "emu-dbt", "qemu-tcg", "qemu-kvm"];
    if available(&all).len() < all.len() {
        println!("the handout needs all engines");
        return;
    }
    let dir = clone();
    let evlab = assert_cmd::cargo::cargo_bin!("evlab");
    for name in LAB {
        let blocks = blocks(&page(name));
        assert!(blocks.len() >= 5, "{name} has commands");
        for Block { line, script, codes } in blocks {
            println!("docs/{name}:{line}\n{script}");
            // What a clone builds and runs is the program under test.
            let alias = r#"cargo() { [ "$1" = evlab ] || return 99; shift; "$EVLAB" "$@"; }"#;
            let output = Command::new("bash")
                .args(["-euc", &format!("{alias}\n{script}")])
                .env("EVLAB", evlab)
                .current_dir(dir.path())
                .output()
                .expect("start bash");
            let code = output.status.code().expect("an exit code");
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(codes.contains(&code), "docs/{name}:{line} ends with {code}\n{script}\n{out}\n{err}");
        }
    }
    let report = dir.path().join("results/task1/report.html");
    assert!(report.is_file(), "the handout sends its readers to {}", report.display());
}

/// The targets of the links in a page.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

/// The anchor that a heading has, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn links_lead_somewhere() {
    let docs = fs::read_dir(root().join("docs")).expect("docs/");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    pages.extend(["README.md", "CHANGELOG.md", "results/README.md"].map(|name| root().join(name)));
    for path in pages.iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(path).expect("a page");
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().expect("a folder").join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
            if !fragment.is_empty() {
                let target = fs::read_to_string(&target).expect("a page");
                let mut headings =
                    target.lines().filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#')));
                assert!(
                    headings.any(|heading| anchor(heading) == fragment),
                    "{}: no heading for {link}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_book_has_every_page() {
    let docs = fs::read_dir(root().join("docs")).expect("docs/");
    let names = docs.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let pages: BTreeSet<String> = names.filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect();
    let summary = page("SUMMARY.md");
    let listed: BTreeSet<String> = links(&summary).into_iter().map(str::to_owned).collect();
    assert_eq!(listed, pages);
}
