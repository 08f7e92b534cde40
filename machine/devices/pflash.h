/*
 * machine/devices/pflash: a bank of NOR flash with Intel's command set, whose contents are a file's. It
 * is where a firmware keeps its variables.
 *
 * The bank is one chip, or several side by side that take the same commands. What the guest programs or
 * erases is in the file before the command is done, so that a process that is killed loses nothing of it;
 * what the file cannot take is told to the guest as an error of the command.
 *
 * Locking: one lock, held over reads and writes of the file.
 *
 * Specification: JEDEC JESD68.01 (common flash interface), command set 0001 as Intel's J3 and P30 chips
 * have it. As in QEMU's pflash_cfi01, the status register is 0 once it was cleared: OVMF knows flash by that.
 */
#ifndef MACHINE_DEVICES_PFLASH_H
#define MACHINE_DEVICES_PFLASH_H

#include "machine/devices/device.h"

struct pflash;

struct pflash_config {
    int fd;          /* open for reading and writing; stays the caller's */
    uint64_t size;   /* bytes of the file and the bank: a multiple of BLOCK */
    uint32_t block;  /* bytes that are erased at once, of all chips together: a power of 2 */
    unsigned width;  /* bytes of the bus: 1, 2 or 4 */
    unsigned chips;  /* of WIDTH / CHIPS bytes each */
};

struct pflash *pflash_new(const struct pflash_config *config);

struct device *pflash_device(struct pflash *flash);

#endif
