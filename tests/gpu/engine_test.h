/* An engine whose kernels are C: for tests of what is around an engine. */
#ifndef TESTS_GPU_ENGINE_TEST_H
#define TESTS_GPU_ENGINE_TEST_H

#include "gpu/server/engine.h"

/*
 * An image is the text "kernels". Its kernels: "add" (out, a, b: addresses of 32-bit numbers; n),
 * "spin" (runs until its context ends), "fault" (an illegal address), "say" (prints a line). Its variable "table" has 64
 * bytes.
 */
extern const struct gpu_engine_ops engine_test;

#endif
