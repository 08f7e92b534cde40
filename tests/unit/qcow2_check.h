/*
 * Whether a qcow2 file is whole, by the specification alone (QEMU's docs/interop/qcow2.txt): shares nothing
 * with machine/block, and takes a thousandth of the time of a run of qemu-img.
 */
#ifndef TESTS_UNIT_QCOW2_CHECK_H
#define TESTS_UNIT_QCOW2_CHECK_H

#include <glib.h>
#include <stdint.h>

/*
 * What is wrong with the LEN bytes of FILE, the caller's; NULL: nothing. LEAKS gets the clusters that are
 * counted more often than they are used, which is no damage. Every table must lie in the file.
 */
char *qcow2_check(const uint8_t *file, size_t len, uint64_t *leaks);

#endif
