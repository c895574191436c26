// SPDX-License-Identifier: Apache-2.0
//! Fuzz targets for everything that reads hostile bytes (threats.md, part 3).
//!
//! Each target is a module with `run(data)`, which panics when the code under test breaks a promise and otherwise tells whether the
//! input was accepted. `fuzz_targets/` wraps them for libFuzzer; the tests of this package replay the committed corpora, whose file
//! names say what the verdict must be. `./run` builds and runs all of them.

pub mod arena;
pub mod cni_conf;
pub mod cni_result;
pub mod image_reference;
pub mod ledger_record;
pub mod limits;
pub mod manifest;
pub mod message;
pub mod monitor_wire;
pub mod record_loader;
pub mod tar_applier;
pub mod tar_entries;
pub mod tar_writer;
pub mod verdict;

#[cfg(test)]
mod corpus;

pub use verdict::Verdict;
