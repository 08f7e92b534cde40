/*
 * machine/boot/riscv_boot: puts firmware, kernel, initrd and device tree into the RAM of a
 * RISC-V machine and says where its harts begin.
 *
 * Layout: the firmware at the start of RAM; the kernel at the next multiple of 2 MiB its header
 * allows; at the top of RAM, or of the part below 3 GiB that every firmware reaches, the device
 * tree; below that the initrd, or at the very top when it is too large for that. A firmware gets
 * OpenSBI's fw_dynamic record, which fw_jump and others ignore.
 */
#ifndef MACHINE_BOOT_RISCV_BOOT_H
#define MACHINE_BOOT_RISCV_BOOT_H

#include "machine/boards/board.h"

/* What the loader found, for /chosen. */
struct riscv_chosen {
    gpa_t initrd_start, initrd_end; /* both 0 without one */
};

struct riscv_boot {
    struct mem_map *mem;
    gpa_t ram_base;
    uint64_t ram_size;
    struct board_file kernel, initrd, firmware;
    /* Makes the device tree; the caller frees it. */
    uint8_t *(*make_fdt)(void *opaque, const struct riscv_chosen *chosen, size_t *size,
                         GError **err);
    void *opaque;
};

/* Where harts begin: a0 is the hart's id, a1 and a2 as here. */
struct riscv_entry {
    gpa_t pc;
    uint64_t a1, a2;
};

/* Loads all of it. Nothing of BOOT is kept. */
bool riscv_boot_load(const struct riscv_boot *boot, struct riscv_entry *out, GError **err);

#endif
