/* Launches without end, of which always so many wait that a guest which the host interrupts for half a
 * second does not run out of them: what a share of a device is measured by. See program.h. */
#include "tests/gpu/program/program.h"

#include <stdio.h>

int share_run(void)
{
    enum { BATCH = 128, BATCHES = 4, THREADS = 32, ROUNDS = 4000 };
    CUevent events[BATCHES];

    program_begin("numbers.sm_80.ptx");
    CUdeviceptr hits = program_put(NULL, 4);
    unsigned seed = 1;
    int rounds = ROUNDS;
    void *params[] = {&hits, &seed, &rounds};
    CUfunction f = program_kernel("monte_carlo");
    for (int i = 0; i < BATCHES; i++)
        CU(cuEventCreate(&events[i], 0));
    puts("launching");
    fflush(stdout);
    for (unsigned batch = 0;; batch++) {
        CUevent e = events[batch % BATCHES];
        CU(cuEventSynchronize(e)); /* what was launched so many batches before */
        for (int i = 0; i < BATCH; i++)
            CU(cuLaunchKernel(f, 1, 1, 1, THREADS, 1, 1, 0, NULL, params, NULL));
        CU(cuEventRecord(e, NULL));
    }
}
