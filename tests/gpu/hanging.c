/*
 * A stand-in for a driver, as vmd's own library is one, which does not come back from one call: an
 * allocation of HANGING bytes. Linked with that library, which has all the rest.
 */
#include <poll.h>
#include <stddef.h>
#include <stdint.h>

enum { HANGING = 3145739, CUDA_3_2 = 3020 };

int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags);
int cuMemAlloc_v2(uint64_t *address, size_t bytes);

int cuMemAlloc_v2(uint64_t *address, size_t bytes)
{
    void *alloc = NULL;

    while (bytes == HANGING)
        poll(NULL, 0, -1);
    int rc = cuGetProcAddress("cuMemAlloc", &alloc, CUDA_3_2, 0);
    return rc ? rc : ((int (*)(uint64_t *, size_t))alloc)(address, bytes);
}
