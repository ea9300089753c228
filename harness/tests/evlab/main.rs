//! Tests of the program as its users run it.

mod ablate;
mod anatomy;
mod cli;
mod common;
mod exec;
mod isolation;
mod micro;
mod programs;
mod sandbox;
mod studio;
