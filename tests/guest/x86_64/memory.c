/*
 * Memory that changes under a running guest (ARG 0): looks at a place over and over, where RAM
 * comes and goes. Memory that is written for the dirty log (ARG 1): the pages that the test asks
 * for, round by round.
 */
#include "guest.h"

#define PLACE  0x40000000ul /* where RAM comes and goes */
#define PAGES  0x800000ul   /* of the dirty log */
#define ROUNDS 20

static void changes(void)
{
    volatile uint32_t *at = (void *)PLACE;

    for (uint32_t i = 1; i <= ROUNDS; i++) {
        require(*at == UINT32_MAX); /* nothing there */
        call(1);                    /* RAM is to come, from another thread */
        while (*at == UINT32_MAX)
            ;
        require(*at == 0);
        for (unsigned page = 0; page < 16; page++)
            at[page * 1024] = i;
        require(at[15 * 1024] == i);
        call(2); /* and to go */
        while (*at != UINT32_MAX)
            require(*at == i || *at == UINT32_MAX);
    }
}

static void writes(void)
{
    for (;;) {
        uint32_t pages = call(3); /* one page in so many */
        if (pages == 0)
            return;
        for (uint32_t i = 0; i < 512; i += pages)
            *(volatile uint32_t *)(PAGES + i * 4096ul) += 1;
    }
}

int main(uint64_t arg)
{
    if (arg == 0)
        changes();
    else
        writes();
    return 0;
}
