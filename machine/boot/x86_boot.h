/*
 * machine/boot/x86_boot: loads a kernel for x86-64 and what it is told.
 *
 * A bzImage (boot protocol 2.12 or later) and an ELF file are entered in long mode with RSI at
 * boot_params; an ELF with the PVH note is entered in 32-bit protected mode with EBX at its
 * hvm_start_info. Everything of ours is below 640 KiB; the kernel is where it asks to be, the
 * initrd at the top of what it can reach. No locking: boot is on the control thread.
 *
 * Specifications: Linux, Documentation/arch/x86/boot.rst and zero-page.rst; Xen,
 * public/arch-x86/hvm/start_info.h.
 */
#ifndef MACHINE_BOOT_X86_BOOT_H
#define MACHINE_BOOT_X86_BOOT_H

#include "machine/boot/image.h"

/* Where things are that the loader makes. */
#define X86_PAGE_TABLES UINT64_C(0x1000) /* six pages, an identity map of 4 GiB */
#define X86_BOOT_PARAMS UINT64_C(0x7000) /* or hvm_start_info */
#define X86_COMMAND     UINT64_C(0x20000)
#define X86_LOW_END     UINT64_C(0x9fc00)
#define X86_KERNEL_LOW  MIB(1) /* nothing is loaded below */

enum x86_range_kind { X86_RANGE_RAM = 1, X86_RANGE_RESERVED = 2 }; /* numbers of e820 */

struct x86_range {
    gpa_t start;
    uint64_t size;
    enum x86_range_kind kind;
};

enum x86_mode {
    X86_MODE_PVH,  /* 32-bit, paging off, ARG in EBX */
    X86_MODE_LONG, /* 64-bit, page tables at CR3, ARG in RSI */
};

struct x86_entry {
    enum x86_mode mode;
    gpa_t pc, arg, cr3;
};

/* A kernel in memory. */
struct x86_kernel {
    struct image_place place;
    enum x86_mode mode;
    uint64_t initrd_max;   /* highest address an initrd's last byte may have */
    uint32_t command_max;  /* longest command line */
    uint8_t header[0x100]; /* a bzImage's setup header, from 0x1f1; else zero */
    size_t header_size;
};

struct x86_boot {
    struct mem_map *mem;
    uint64_t low_ram; /* bytes of RAM from 0 on */
    const struct x86_range *ranges;
    unsigned n_ranges; /* at most X86_RANGES */
    gpa_t rsdp;
    int kernel_fd, initrd_fd; /* initrd_fd -1: none */
    const char *kernel_name, *initrd_name;
    const char *append; /* NULL for none */
};

enum { X86_RANGES = 16 };

/* Puts IMAGE into the LOW_RAM bytes of RAM at 0. */
bool x86_kernel_load(const struct image *image, struct mem_map *mem, uint64_t low_ram,
                     struct x86_kernel *out, GError **err);

/* Loads all of it. Nothing of BOOT is kept. */
bool x86_boot_load(const struct x86_boot *boot, struct x86_entry *out, GError **err);

#endif
