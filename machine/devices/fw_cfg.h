/*
 * machine/devices/fw_cfg: files that a firmware reads from its machine, in the port form of QEMU's
 * firmware configuration device, with DMA.
 *
 * The files are set by the control thread while no vCPU runs. Reads beyond a file give zeros;
 * nothing can be written. Locking: one lock.
 *
 * Specification: QEMU, docs/specs/fw_cfg.rst.
 */
#ifndef MACHINE_DEVICES_FW_CFG_H
#define MACHINE_DEVICES_FW_CFG_H

#include "machine/devices/device.h"

enum { FW_CFG_PORTS = 12 };

/* Numbered items of PCs, little-endian numbers. */
enum { FW_CFG_CPUS = 0x05, FW_CFG_MOST_CPUS = 0x0f };

enum { FW_CFG_NAME = 56 }; /* bytes of a file's name, its zero included */

struct fw_cfg;

/* DMA goes to MEM, which outlives the device. */
struct fw_cfg *fw_cfg_new(struct mem_map *mem);

struct device *fw_cfg_device(struct fw_cfg *fw);

/* Sets item KEY (of those above), or file NAME, in place of an older one; DATA is copied. */
void fw_cfg_set_item(struct fw_cfg *fw, uint16_t key, const void *data, size_t size);
void fw_cfg_set_file(struct fw_cfg *fw, const char *name, const void *data, size_t size);

#endif
