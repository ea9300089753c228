//! Tests of the program as its users run it.

mod ablate;
mod anatomy;
mod bad_guests;
mod cli;
mod common;
mod compare;
mod crowd;
mod debug;
mod deterministic;
mod exec;
mod explain;
mod gate;
mod handout;
mod isolation;
mod micro;
mod programs;
mod sandbox;
mod studio;
mod trace;
mod walk;
mod warmup;
