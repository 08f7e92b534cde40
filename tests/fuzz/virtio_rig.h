/* A bus with one virtio device of each kind, for fuzz targets. Made once and kept. */
#ifndef TESTS_FUZZ_VIRTIO_RIG_H
#define TESTS_FUZZ_VIRTIO_RIG_H

#include "machine/block/block.h"
#include "machine/virtio/virtio.h"

#define RIG_RAM      UINT64_C(0x80000000)
#define RIG_RAM_SIZE MIB(1)
#define RIG_ECAM     UINT64_C(0x30000000)
#define RIG_WINDOW   UINT64_C(0x40000000)
#define RIG_ROOM     UINT64_C(0x100000000)
#define RIG_BLOCK    MIB(2)
#define RIG_BLOCKS   8
#define RIG_DEVICES  6
#define RIG_SCSI     4
#define RIG_MEMORY   5
#define RIG_UNITS    3

struct rig {
    struct mem_map *mem;
    struct mem_ram *ram, *room; /* the second is sparse */
    uv_loop_t loop;
    struct pci_host *host;
    struct virtio_device
        *devices[RIG_DEVICES];       /* rng, console, balloon, net, scsi, memory; slots 1 to 6 */
    struct block *blocks[RIG_UNITS]; /* the first comes and goes, the second is read-only */
};

struct rig *rig_get(void);

/* BAR 0 of device I, which the rig maps at the same place each time. */
gpa_t rig_bar(unsigned i);
void rig_map(struct rig *r, unsigned i);
void rig_write(struct rig *r, gpa_t gpa, unsigned size, uint64_t value);
uint64_t rig_read(struct rig *r, gpa_t gpa, unsigned size);

/* Turns the loop without waiting, N times. */
void rig_turn(struct rig *r, unsigned n);
/* What a host does to devices while they run: input, frames, requests. */
void rig_poke(struct rig *r);
/* Everything back to power-on; fails an assertion when that does not come about. */
void rig_reset(struct rig *r);

#endif
