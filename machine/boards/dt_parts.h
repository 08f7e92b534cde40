/* The parts of device trees that all boards have. */
#ifndef MACHINE_BOARDS_DT_PARTS_H
#define MACHINE_BOARDS_DT_PARTS_H

#include "machine/boot/dt.h"
#include "machine/boot/linux_boot.h"

/* /chosen: the command line (APPEND may be NULL), the console's node, the initrd, and a seed. */
void dt_chosen(struct dt *dt, const char *append, const char *console,
               const struct boot_chosen *chosen);

enum { DT_INTX_CELLS = 8 }; /* the most that dt_intx_fn writes */

/* Writes to CELLS what a host bridge's INTx line LINE (0..3) is: the unit address of the
 * interrupt's parent and the interrupt, as that wants them; returns how many. The same for each
 * line. */
typedef unsigned (*dt_intx_fn)(uint32_t *cells, unsigned line);

/* "interrupt-map" and its mask of a host bridge whose INTx go to PARENT. */
void dt_interrupt_map(struct dt *dt, uint32_t parent, dt_intx_fn intx);

#endif
