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

/* A doorbell in the test's device takes writes of any size; then it is one no more. */
static void rings(void)
{
    for (unsigned i = 0; i < 30; i++) {
        *(volatile uint8_t *)(DEVICE + 0x800) = 1;
        *(volatile uint16_t *)(DEVICE + 0x800) = 2;
        *(volatile uint32_t *)(DEVICE + 0x800) = 3;
    }
    *(volatile uint32_t *)(DEVICE + 0x804) = 4; /* beside it */
    call(4);
    *(volatile uint32_t *)(DEVICE + 0x800) = 5;
}

int main(uint64_t arg)
{
    if (arg == 0)
        changes();
    else if (arg == 1)
        writes();
    else
        rings();
    return 0;
}
