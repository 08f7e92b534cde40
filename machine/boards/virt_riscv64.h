/*
 * The address map and interrupt numbers of virt-riscv64, and its device tree. They are those of
 * QEMU's riscv "virt" machine, so that stock firmware and boot loaders find what they expect.
 */
#ifndef MACHINE_BOARDS_VIRT_RISCV64_H
#define MACHINE_BOARDS_VIRT_RISCV64_H

#include "machine/boot/linux_boot.h"

#define VIRT_TIMEBASE_HZ UINT64_C(10000000)

#define VIRT_SYSCON UINT64_C(0x00100000)
#define VIRT_RTC    UINT64_C(0x00101000)
#define VIRT_ACLINT UINT64_C(0x02000000)
#define VIRT_PLIC   UINT64_C(0x0c000000)
#define VIRT_UART   UINT64_C(0x10000000)
#define VIRT_ECAM   UINT64_C(0x30000000)
#define VIRT_MEM32  UINT64_C(0x40000000)
#define VIRT_RAM    UINT64_C(0x80000000)

#define VIRT_MEM32_SIZE GIB(1)
/* The window for 64-bit BARs follows RAM, at a multiple of its own size. */
#define VIRT_MEM64_SIZE GIB(16)

#define VIRT_PCI_BUSES 256

enum {
    VIRT_IRQ_UART = 10,
    VIRT_IRQ_RTC = 11,
    VIRT_IRQ_INTX = 0x20, /* INTA; B to D follow */
};

/* Where the 64-bit window is on a machine with SPAN bytes that are RAM, or may be later. */
static inline gpa_t virt_mem64(uint64_t span)
{
    return ALIGN_UP(VIRT_RAM + span, VIRT_MEM64_SIZE);
}

/* What a device tree tells that differs between two of these machines. */
struct virt_dt {
    unsigned cpus;
    uint64_t memory, span; /* as of virt_mem64() */
    bool firmware_mode;
    const char *append; /* or NULL */
    struct boot_chosen chosen;
};

/* The tree; the caller frees it. */
uint8_t *virt_dt_make(const struct virt_dt *config, size_t *size, GError **err);

#endif
