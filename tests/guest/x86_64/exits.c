/* Exits and nothing else: ARG of each kind, reads and writes of the device and of a port. */
#include "guest.h"

int main(uint64_t arg)
{
    volatile uint32_t *device = (void *)DEVICE;

    for (uint64_t i = 0; i < arg; i++) {
        device[4] = (uint32_t)i;
        require(device[4] == (uint32_t)i);
        call(1);
    }
    return 0;
}
