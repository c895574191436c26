// SPDX-License-Identifier: Apache-2.0
//! Every state times every event of both machines, as `docs/state-machines.md` has them.
//!
//! `HUSK_BLESS=1 cargo test -p husk-sandbox --test state_machines` writes the page anew.

use std::fmt::Debug;
use std::path::Path;

use husk_sandbox::{ContainerEvent, ContainerState, PodEvent, PodState, Transition};

fn table<S: Copy + Debug, E: Copy + Debug>(states: &[S], events: &[E], on: impl Fn(S, E) -> Transition<S>) -> String {
    let heads: String = events.iter().map(|event| format!(" {event:?} |")).collect();
    let rule = "---|".repeat(events.len());
    let rows = states.iter().map(|state| {
        let cells: String = events.iter().map(|event| cell(on(*state, *event))).collect();
        format!("| **{state:?}** |{cells}\n")
    });
    format!("| state |{heads}\n|---|{rule}\n{}", rows.collect::<String>())
}

fn cell<S: Debug>(transition: Transition<S>) -> String {
    match transition {
        Transition::To(next) => format!(" → {next:?} |"),
        Transition::NoOp => " – |".to_owned(),
        Transition::Illegal => " illegal |".to_owned(),
    }
}

#[test]
fn the_page_shows_the_tables() {
    let page = format!(
        "# State machines\n\n\
         Written by `sandbox/tests/state_machines.rs` from the tables in `sandbox/src/pod_state.rs` and\n\
         `sandbox/src/container_state.rs`; do not edit. `→` is a transition, `–` an event that changes nothing, and\n\
         *illegal* one that only a fault of husk could cause.\n\n\
         ## Pod sandbox\n\n{}\n## Container\n\n{}",
        table(&PodState::ALL, &PodEvent::ALL, PodState::on),
        table(&ContainerState::ALL, &ContainerEvent::ALL, ContainerState::on),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/state-machines.md");
    if std::env::var_os("HUSK_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        page,
        "run again with HUSK_BLESS=1 and read the diff"
    );
}

#[test]
fn nobody_comes_back_from_the_end() {
    for event in PodEvent::ALL {
        assert!(!matches!(PodState::Removing.on(event), Transition::To(_)), "{event:?}");
    }
    for event in ContainerEvent::ALL {
        assert!(!matches!(ContainerState::Removing.on(event), Transition::To(_)), "{event:?}");
        assert!(!matches!(ContainerState::Exited.on(event), Transition::To(ContainerState::Running)), "{event:?}");
    }
}
