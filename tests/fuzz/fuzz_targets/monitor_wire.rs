// SPDX-License-Identifier: Apache-2.0
//! libFuzzer's entry to [`husk_fuzz::monitor_wire`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    husk_fuzz::monitor_wire::run(data);
});
