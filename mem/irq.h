/* mem/irq.h: an interrupt line, as a device sees it. May be raised and lowered from any thread. */
#ifndef MEM_IRQ_H
#define MEM_IRQ_H

#include <stdbool.h>

struct irq_line {
    void (*set)(void *opaque, unsigned number, bool level);
    void *opaque;
    unsigned number;
};

/* Drives LINE to LEVEL. A line without a controller (set is NULL) is not connected. */
static inline void irq_line_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->opaque, line->number, level);
}

#endif
