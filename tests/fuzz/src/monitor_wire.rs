// SPDX-License-Identifier: Apache-2.0
//! F-INITMSG: a datagram between daemon and monitor → a frame; a file of `exits/` → an exit.

use wire::{Exit, Frame};

use crate::{Verdict, message};

/// Reads `data` as a frame and as an exit record.
///
/// # Panics
/// When what was read doesn't survive being written and read again, or is written differently the second time.
pub fn run(data: &[u8]) -> Verdict {
    let frame = Frame::from_bytes(data);
    match &frame {
        Ok(frame) => {
            let written = frame.to_bytes();
            let again = Frame::from_bytes(&written).unwrap_or_else(|error| panic!("{frame:?} is refused: {error}"));
            assert_eq!(again, *frame, "writing changed the frame");
            assert_eq!(again.to_bytes(), written, "a frame has two forms");
        }
        Err(error) => message::check(error),
    }
    let exit = Exit::from_bytes(data);
    match &exit {
        Ok(exit) => {
            assert_eq!(Exit::from_bytes(&exit.to_bytes()), Ok(*exit), "writing changed the exit");
            assert!((0..=128 + 255).contains(&exit.status.shell_code()));
        }
        Err(error) => message::check(error),
    }
    if frame.is_ok() || exit.is_ok() { Verdict::Accepted } else { Verdict::Refused }
}
