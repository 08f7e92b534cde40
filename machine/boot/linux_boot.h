/*
 * machine/boot/linux_boot: puts firmware, kernel, initrd and device tree into the RAM of a machine
 * that boots by a device tree (RISC-V, ARM64), and says where its vCPUs begin.
 *
 * Layout: the firmware, which only RISC-V has in RAM, at its start; the kernel at the next multiple of
 * 2 MiB its header allows; at the top of RAM, or of the part below 3 GiB that every firmware reaches,
 * the device tree; below that the initrd, or at the very top when it is too large for that. A firmware
 * gets OpenSBI's fw_dynamic record, which fw_jump and others ignore.
 */
#ifndef MACHINE_BOOT_LINUX_BOOT_H
#define MACHINE_BOOT_LINUX_BOOT_H

#include "machine/boards/board.h"

/* What the loader found, for /chosen. */
struct boot_chosen {
    gpa_t initrd_start, initrd_end; /* both 0 without one */
};

struct linux_boot {
    enum isa isa;
    struct mem_map *mem;
    gpa_t ram_base;
    uint64_t ram_size;
    struct board_file kernel, initrd, firmware;
    /* Makes the device tree; the caller frees it. */
    uint8_t *(*make_fdt)(void *opaque, const struct boot_chosen *chosen, size_t *size,
                         GError **err);
    void *opaque;
};

/* Where vCPUs begin. */
struct boot_entry {
    gpa_t pc;
    gpa_t fdt;
    gpa_t info; /* fw_dynamic's record; 0 without a firmware */
};

/* Loads all of it. Nothing of BOOT is kept. */
bool linux_boot_load(const struct linux_boot *boot, struct boot_entry *out, GError **err);

#endif
