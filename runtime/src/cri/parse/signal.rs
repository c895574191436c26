// SPDX-License-Identifier: Apache-2.0
//! Stop signals: CRI's numbers are not the kernel's.

use proto::cri;
use sandbox::config::Signal;

use super::{Field, Refusal};

/// Reads `stop_signal`; `None` when the client leaves it to the image.
pub(super) fn stop_signal(field: &Field<'_>, number: i32) -> Result<Option<Signal>, Refusal> {
    match cri::Signal::try_from(number) {
        Ok(cri::Signal::RuntimeDefault) => Ok(None),
        Ok(known) => match to_kernel(known) {
            Some(signal) => Ok(Some(signal)),
            None => Err(field.invalid(format!("{} is not a signal of this kernel", known.as_str_name()))),
        },
        Err(_) => Err(field.invalid(format!("{number} is not a signal; the CRI's numbers are 0 to 65"))),
    }
}

/// The CRI's name for a signal of the kernel: of several (SIGIO, SIGPOLL) the first.
pub(crate) fn number_in_cri(signal: Signal) -> cri::Signal {
    let same = |known: &cri::Signal| to_kernel(*known) == Some(signal);
    (1..=LAST).filter_map(|number| cri::Signal::try_from(number).ok()).find(same).unwrap_or(cri::Signal::RuntimeDefault)
}

/// The CRI's highest number, SIGRTMAX.
const LAST: i32 = 65;

/// The names differ in their spelling only: `SIGNAL_SIGRTMINPLUS3` is `SIGRTMIN+3`.
fn to_kernel(signal: cri::Signal) -> Option<Signal> {
    let name = signal.as_str_name().strip_prefix("SIGNAL_")?;
    name.replace("PLUS", "+").replace("MINUS", "-").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_cri() {
        let field = Field::of_request("stop_signal");
        assert_eq!(stop_signal(&field, 0), Ok(None));
        for number in 1..=LAST {
            let signal = stop_signal(&field, number).unwrap().unwrap();
            let back = number_in_cri(signal);
            assert_eq!(to_kernel(back), Some(signal), "{number}");
            // Aliases come back under their first name, all others as themselves.
            assert!(back as i32 == number || [5, 12, 15].contains(&number), "{number}");
        }
        for number in [-1, 66, i32::MAX, i32::MIN] {
            assert!(stop_signal(&field, number).is_err(), "{number}");
        }
    }

    #[test]
    fn numbers_of_the_kernel() {
        let table = [
            (cri::Signal::Sigkill, 9),
            (cri::Signal::Sigterm, 15),
            (cri::Signal::Sigrtmin, 34),
            (cri::Signal::Sigrtminplus15, 49),
            (cri::Signal::Sigrtmaxminus14, 50),
            (cri::Signal::Sigrtmax, 64),
        ];
        for (name, number) in table {
            assert_eq!(to_kernel(name).map(Signal::number), Some(number), "{name:?}");
        }
    }
}
