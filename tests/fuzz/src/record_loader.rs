// SPDX-License-Identifier: Apache-2.0
//! F-RECORD, the pods' part: a file of a pod's directory → a record of one of the four types.

use std::fmt::Debug;

use sandbox::records::{self, BadRecord, ContainerRecord, ContainerStatusRecord, PodRecord, PodStatusRecord, VERSION};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Verdict;

/// Reads `data` as each type of record. The verdict is whether any of them takes it.
///
/// # Panics
/// When a record of another version is taken, one doesn't survive being written and read again, or holds a value that its type rules out.
pub fn run(data: &[u8]) -> Verdict {
    let pod = read::<PodRecord>(data);
    let status = read::<PodStatusRecord>(data);
    let container = read::<ContainerRecord>(data);
    let exit = read::<ContainerStatusRecord>(data);
    for version in [
        pod.as_ref().map(|record| record.version),
        status.as_ref().map(|record| record.version),
        container.as_ref().map(|record| record.version),
        exit.as_ref().map(|record| record.version),
    ] {
        assert!(version.is_none_or(|version| version == VERSION), "a record of another version was taken");
    }
    if let Some(container) = &container {
        let signals = [Some(container.stop_signal), container.config.stop_signal];
        for signal in signals.into_iter().flatten() {
            // A signal that no kernel has would make every stop of the container fail.
            assert!((1..=64).contains(&signal.number()), "a record has the signal {}", signal.number());
            assert!(!signal.to_string().is_empty());
        }
    }
    let taken = pod.is_some() || status.is_some() || container.is_some() || exit.is_some();
    if taken { Verdict::Accepted } else { Verdict::Refused }
}

fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    match records::parse::<T>(data) {
        Ok(record) => {
            let written = serde_json::to_vec_pretty(&record).expect("a record that was read can be written");
            let again = records::parse::<T>(&written).unwrap_or_else(|error| panic!("{record:?} is refused: {error}"));
            assert_eq!(again, record, "writing changed the record");
            Some(record)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error has no text");
            // `parse` opens no file, so it can't fail as if it had.
            assert!(
                matches!(error, BadRecord::Malformed(_) | BadRecord::OtherVersion(_)),
                "parsing failed with {error}"
            );
            None
        }
    }
}
