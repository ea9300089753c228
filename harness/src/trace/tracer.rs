//! The witness of `evlab trace`: chooses what is shown, and writes it.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use vmm_min::{CpuError, End, Scene, SeenExit, Why, Witness};

use super::exits::exit_line;
use super::step::Before;
use super::{Line, Options, text};
use crate::engines::{self, EngineError, Job, StopFlag};
use crate::walk::Hex;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 << 10;

/// Why a trace was not made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The guest could not be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was seen could not be written.
    #[error("cannot write the trace: {0}")]
    Write(#[from] io::Error),
    /// The guest could not be looked at.
    #[error("cannot look at the guest: {0}")]
    Look(#[from] CpuError),
}

/// A trace that was made.
#[derive(Debug)]
pub struct Traced {
    /// How the run ended.
    pub end: End,
    /// The trace was over before the guest: at its limit, or at the end of the region of interest.
    pub complete: bool,
}

impl Traced {
    /// Whether the guest ended badly while it was traced.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        !self.complete && !matches!(self.end, End::Exited(0) | End::Stopped)
    }
}

/// Runs a job and writes what it does.
///
/// # Errors
/// A [`TraceError`].
pub fn trace(job: &Job<'_>, stop: &StopFlag, options: &Options, out: &mut dyn Write) -> Result<Traced, TraceError> {
    let emulated = job.request.engine.id.has_emulated_cpu();
    let mut tracer = Tracer::new(options, emulated, out);
    let watched = engines::watch(job, stop, &mut tracer)?;
    if let Some(error) = tracer.failed {
        return Err(error);
    }
    let complete = tracer.over.is_some();
    tracer.out.flush()?;
    Ok(Traced { end: watched.end, complete })
}

/// Why a trace is over before its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Limit,
    Roi,
}

struct Tracer<'a> {
    options: &'a Options,
    emulated: bool,
    out: BufWriter<&'a mut dyn Write>,
    /// Steps are looked at.
    active: bool,
    /// What was seen before the step to come, if it is of interest.
    before: Option<Before>,
    /// The last steps that were not shown, to be shown before an exception.
    kept: VecDeque<Vec<Line>>,
    /// Steps that are still shown after an exception.
    following: usize,
    /// Steps were left out since the last that was shown.
    gap: bool,
    shown: u64,
    exits: u64,
    resumed: Instant,
    over: Option<Over>,
    failed: Option<TraceError>,
}

impl<'a> Tracer<'a> {
    fn new(options: &'a Options, emulated: bool, out: &'a mut dyn Write) -> Self {
        Self {
            options,
            emulated,
            out: BufWriter::with_capacity(BUFFER, out),
            active: false,
            before: None,
            kept: VecDeque::new(),
            following: 0,
            gap: false,
            shown: 0,
            exits: 0,
            resumed: Instant::now(),
            over: None,
            failed: None,
        }
    }

    /// From now on every step is looked at.
    fn start(&mut self, scene: &mut Scene<'_>) -> Result<(), TraceError> {
        self.active = true;
        if !self.options.json {
            text::header(self.emulated, &mut self.out)?;
        }
        if self.emulated {
            scene.set_stepping(true)?;
        }
        self.prepare(scene)
    }

    /// Looks at the CPU before the step to come, if that is of interest.
    fn prepare(&mut self, scene: &mut Scene<'_>) -> Result<(), TraceError> {
        let wanted = scene.emulated().is_some_and(|cpu| self.options.covers(cpu.linear_rip(), cpu.ring()));
        self.before = if wanted { Before::take(scene, self.options)? } else { None };
        Ok(())
    }

    /// An exit, be it a step or one of the machine's own.
    fn attend(&mut self, exit: &SeenExit, scene: &mut Scene<'_>) -> Result<(), TraceError> {
        self.exits += 1;
        let marker = marker(&exit.why);
        if !self.active {
            let roi = self.options.roi && marker == Some(b'B');
            let ring3 = !self.options.roi && marker == Some(b'U');
            return if roi || ring3 { self.start(scene) } else { Ok(()) };
        }
        if self.emulated {
            if let (Some(before), Some(cpu)) = (self.before.take(), scene.emulated()) {
                let lines = before.finish(cpu, &exit.why);
                self.step(lines)?;
            }
        } else {
            let registers = scene.registers()?;
            if self.options.covers(registers.linear_rip(), registers.cpl) {
                let mut line = exit_line(self.exits, &exit.why);
                let ns = exit.at.saturating_duration_since(self.resumed).as_nanos();
                line.ns = Some(u64::try_from(ns).unwrap_or(u64::MAX));
                (line.rip, line.ring) = (Some(Hex(registers.rip)), Some(registers.cpl));
                self.show(&[Line::Exit(line)])?;
            }
        }
        if self.options.roi && marker == Some(b'E') {
            self.over.get_or_insert(Over::Roi);
        }
        if self.over.is_none() && self.emulated {
            self.prepare(scene)?;
        }
        Ok(())
    }

    /// Shows a step, or keeps it until an exception follows.
    fn step(&mut self, mut lines: Vec<Line>) -> Result<(), TraceError> {
        let options = self.options;
        let unwanted = |line: &Line| matches!(line, Line::Exception(event) if !options.has_exception(event.vector));
        lines.retain(|line| !unwanted(line));
        let fault = lines.iter().any(|line| matches!(line, Line::Exception(_)));
        lines.retain(|line| line.kind().is_none_or(|kind| options.shows(kind)));
        let Some(around) = options.around else { return self.show(&lines) };
        if fault {
            if self.gap && self.shown > 0 && !options.json {
                writeln!(self.out, "--")?;
            }
            self.gap = false;
            self.following = around;
            for kept in std::mem::take(&mut self.kept) {
                self.show(&kept)?;
            }
            return self.show(&lines);
        }
        if self.following > 0 {
            self.following -= 1;
            return self.show(&lines);
        }
        self.kept.push_back(lines);
        if self.kept.len() > around {
            self.kept.pop_front();
            self.gap = true;
        }
        Ok(())
    }

    /// Writes what belongs to one step, unless that is nothing, or the limit is reached.
    fn show(&mut self, lines: &[Line]) -> Result<(), TraceError> {
        if lines.is_empty() || self.over.is_some() {
            return Ok(());
        }
        self.write(lines)?;
        self.shown += 1;
        if self.shown >= self.options.limit {
            self.over = Some(Over::Limit);
        }
        Ok(())
    }

    fn write(&mut self, lines: &[Line]) -> Result<(), TraceError> {
        if !self.options.json {
            return Ok(text::write(lines, &mut self.out)?);
        }
        for line in lines {
            serde_json::to_writer(&mut self.out, line).map_err(io::Error::from)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn last_line(&self, end: &End) -> Line {
        let (reason, message) = match self.over {
            Some(Over::Limit) => {
                ("limit", format!("the limit of {} steps that are shown; --limit sets it", self.options.limit))
            }
            Some(Over::Roi) => ("roi", "the region of interest is over".to_owned()),
            None if !self.active && self.options.roi => ("guest", format!("{end}; no region of interest began")),
            None => ("guest", end.to_string()),
        };
        Line::End { reason, message }
    }
}

impl Witness for Tracer<'_> {
    fn ready(&mut self, scene: &mut Scene<'_>) {
        if !self.options.roi && !self.options.begins_in_ring3() {
            self.failed = self.start(scene).err();
        }
        self.resumed = Instant::now();
    }

    fn exit(&mut self, exit: &SeenExit, scene: &mut Scene<'_>) -> ControlFlow<()> {
        if self.failed.is_none() {
            self.failed = self.attend(exit, scene).err();
        }
        self.resumed = Instant::now();
        if self.failed.is_some() || self.over.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn ended(&mut self, end: &End, _scene: &mut Scene<'_>) {
        if self.failed.is_none() {
            let line = self.last_line(end);
            self.failed = self.write(&[line]).err();
        }
    }
}

/// The byte on the marker channel, if the exit wrote one.
fn marker(why: &Why) -> Option<u8> {
    match why {
        Why::Port { out: true, data, .. } if why.device() == Some("marker") => data.first().copied(),
        _ => None,
    }
}
