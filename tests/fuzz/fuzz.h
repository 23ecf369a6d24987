/* SPDX-License-Identifier: MIT */
/*
 * fuzz - what every fuzz target provides.
 *
 * One target per module, tests/fuzz/fuzz_<module>.c, with its inputs in
 * tests/fuzz/corpus/<module>/. A target checks itself with assert. It is linked either
 * with libFuzzer (clang -fsanitize=fuzzer), which looks for new inputs, or with replay.c,
 * which runs the inputs in the corpus as a plain test. An input that made a target fail
 * joins the corpus.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Runs one input; data has exactly size bytes. Always 0, libFuzzer keeps other values for
 * itself. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
