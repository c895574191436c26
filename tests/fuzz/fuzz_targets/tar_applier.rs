// SPDX-License-Identifier: Apache-2.0
//! libFuzzer's entry to [`husk_fuzz::tar_applier`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    husk_fuzz::tar_applier::run(data);
});

// Headers carry a checksum. Seven times in eight it is made right again, so that the other parts of a header are reached too.
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(8) {
        husk_fuzz::tar_writer::reseal(&mut data[..size]);
    }
    size
});
