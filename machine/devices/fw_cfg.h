/*
 * machine/devices/fw_cfg: files that a firmware reads from its machine: QEMU's firmware configuration
 * device, with DMA, at ports or in memory.
 *
 * The files are set by the control thread while no vCPU runs. Reads beyond a file give zeros;
 * nothing can be written. Locking: one lock, held over reads of the host's files.
 *
 * Specification: QEMU, docs/specs/fw_cfg.rst.
 */
#ifndef MACHINE_DEVICES_FW_CFG_H
#define MACHINE_DEVICES_FW_CFG_H

#include "machine/devices/device.h"

enum { FW_CFG_PORTS = 12, FW_CFG_BYTES = 24 };

enum fw_cfg_place { FW_CFG_AT_PORTS, FW_CFG_IN_MEMORY };

/* Numbered items; sizes and counts are little-endian. */
enum {
    FW_CFG_CPUS = 0x05,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_MOST_CPUS = 0x0f,
    FW_CFG_KERNEL = 0x11,
    FW_CFG_INITRD = 0x12,
    FW_CFG_APPEND_SIZE = 0x14,
    FW_CFG_APPEND = 0x15,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP = 0x18,
};

enum { FW_CFG_NAME = 56 }; /* bytes of a file's name, its zero included */

struct fw_cfg;

/* DMA goes to MEM, which outlives the device. */
struct fw_cfg *fw_cfg_new(struct mem_map *mem, enum fw_cfg_place place);

struct device *fw_cfg_device(struct fw_cfg *fw);

/* Sets item KEY (of those above), or file NAME, in place of an older one; DATA is copied. */
void fw_cfg_set_item(struct fw_cfg *fw, uint16_t key, const void *data, size_t size);
void fw_cfg_set_file(struct fw_cfg *fw, const char *name, const void *data, size_t size);

/* Sets item KEY to SIZE bytes of an open file from OFFSET on, read when the guest reads them; FD stays the
 * caller's. */
void fw_cfg_set_source(struct fw_cfg *fw, uint16_t key, int fd, uint32_t offset, uint32_t size);

#endif
