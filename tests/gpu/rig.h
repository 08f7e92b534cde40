/*
 * A program with libcuda.so.1 and a worker's sessions in one process: for tests of the whole way
 * between them. The engine's kernels are C (engine_test.h).
 */
#ifndef TESTS_GPU_RIG_H
#define TESTS_GPU_RIG_H

#include "gpu/server/worker.h"
#include "guest/cuda/api.h"
#include "tests/gpu/engine_test.h"
#include "tests/unit/unit.h"

/* Programs' own prototypes are left out: arguments have the width that they are given here. */
#pragma GCC diagnostic ignored "-Wstrict-prototypes"

extern struct gpu_quota rig_quota;
extern char rig_path[64];
/* How often the worker put something of the host's into a stream: for a host function, and for a wait. */
extern unsigned rig_hosts;
/* How many programs the worker lets go as soon as they have come; before rig_begin(). */
extern unsigned rig_lose;
/* NULL, or what changes the operations of the worker's backend: rig_begin() calls it before the
 * worker is there. */
extern void (*rig_change)(struct gpu_backend_ops *ops);
/* Bytes of device memory that all programs hold. */
uint64_t rig_used(void);

/* The driver API's function NAME, as programs find it. */
void *rig_function(const char *name);

#define CU(name, ...)        ((int (*)())rig_function("cu" #name))(__VA_ARGS__)
#define CU_OK(name, ...)     ck_assert_int_eq(CU(name, __VA_ARGS__), 0)
#define CU_IS(rc, name, ...) ck_assert_int_eq(CU(name, __VA_ARGS__), rc)

/* Loads the library, which finds a worker at rig_path; STREAM: without a window. */
void rig_load(bool stream);
/* A worker on a thread of this process, which is a test's own (Check forks), and a context; by
 * rings, or, I not 0, by a stream of bytes. */
CUcontext rig_begin(int i);
void rig_end(void);
/* A kernel of a module of its own. */
CUfunction rig_kernel(const char *name);

#endif
