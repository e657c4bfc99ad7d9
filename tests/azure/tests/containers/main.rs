//! Containers as real processes: needs util-linux, and the right to make namespaces.

mod dialogue;
mod files;
mod fixture;
mod processes;
mod streams;
mod terminal;
