/*
 * vm/panic: notices a Linux kernel's panic on its console.
 *
 * A stock kernel has no other way to say that it died, unless it was built with a pvpanic driver. The
 * text must stand where the kernel prints it: at the start of a line, after the time stamp.
 */
#ifndef VM_PANIC_H
#define VM_PANIC_H

#include "base/base.h"

enum panic_state {
    PANIC_NONE,
    PANIC_SEEN, /* "Kernel panic - not syncing: ..." was printed; a reset may follow */
    PANIC_END,  /* "---[ end Kernel panic": the kernel stands still for good */
};

struct panic_watch {
    char line[256]; /* the present line, cut to size */
    size_t n;
    enum panic_state state;
    char text[256]; /* what the kernel said */
};

/* Begins anew, as at a reset. */
void panic_reset(struct panic_watch *watch);
/* Takes N bytes of console output and returns the state after them. */
enum panic_state panic_feed(struct panic_watch *watch, const uint8_t *data, size_t n);

#endif
