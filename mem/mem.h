/*
 * mem: the guest-physical address space of one VM.
 *
 * RAM is memfd-backed and mapped once; device ranges are callbacks. Translator, KVM and devices
 * all look through this one map. The topology may change while guests run (a BAR moves, memory
 * is added): lookups take no lock, and a device callback may itself change the map.
 *
 * Pages of RAM carry three flags. MEM_PAGE_CODE: the translator holds code made from this page, so
 * whoever writes it must tell (vCPUs through their TLB, devices through mem_map_written()).
 * MEM_PAGE_DIRTY: written since the dirty log was last collected. MEM_PAGE_BACKED: the host was
 * asked for this page's memory, or it was given back: it comes with no neighbour's any more.
 *
 * A stretch of RAM may be sparse: it is there by blocks, which come and go while guests run. Its
 * mapping and its struct stay, so who holds a host pointer never reads what is not his; but lookups
 * find a hole where no block is, and listeners drop what they know of one before it is given back.
 *
 * RAM that a device shows (mem_map_show_ram) comes and goes the same way, with all of it for a
 * block: the memory is the device's, and what the map had for a place is kept for the next time.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "base/base.h"

typedef uint64_t gpa_t; /* guest-physical address */
typedef uint64_t gva_t; /* guest-virtual address */

#define MEM_PAGE_SHIFT 12
#define MEM_PAGE_SIZE  (UINT64_C(1) << MEM_PAGE_SHIFT)

/* A function that reads or writes guest RAM on behalf of guest code. Its races with other vCPUs and
 * with devices are the guest's own, as they would be on hardware; ThreadSanitizer leaves them be.
 */
#define MEM_GUEST_RACES __attribute__((no_sanitize("thread")))

enum mem_page_flag {
    MEM_PAGE_CODE = 1 << 0,
    MEM_PAGE_DIRTY = 1 << 1,
    MEM_PAGE_BACKED = 1 << 2,
};

struct mem_map;

/*
 * What a device range does. OFFSET is from the start of the range; SIZE is 1, 2, 4 or 8 and one
 * of those in SIZES (a mask of 1|2|4|8; other sizes never reach the device). Values are
 * host-endian numbers of the guest's little-endian bus. Returns 0, or -errno, which the guest
 * sees as an access fault (bus error). Called on any vCPU's thread; the device locks for itself.
 */
struct mem_device_ops {
    int (*read)(void *opaque, uint64_t offset, unsigned size, uint64_t *value);
    int (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
    unsigned sizes;
};

/* A stretch of RAM as it is mapped. */
struct mem_ram {
    const char *name;
    gpa_t gpa;
    uint64_t size;
    uint8_t *host;
    int fd;         /* memfd, mapped from offset 0 */
    bool read_only; /* guest and devices may not write (ROM, flash) */
    uint8_t *flags; /* one byte of enum mem_page_flag a page; use the functions below */
    uint64_t *there; /* sparse: a bit a block, atomic; NULL: all of it is always there */
    unsigned block_shift;
    bool shown; /* a device's, shown by mem_map_show_ram(): no memory for other devices' DMA */
};

enum mem_kind {
    MEM_NONE,
    MEM_RAM,
    MEM_DEVICE,
    MEM_SHOWN,     /* to listeners alone: RAM of mem_map_show_ram() */
    MEM_FORGOTTEN, /* likewise: where such RAM was once, of mem_map_forget_ram() */
};

/* What one guest-physical address is. */
struct mem_view {
    enum mem_kind kind;
    struct mem_ram *ram; /* MEM_RAM */
    uint8_t *host;       /* MEM_RAM: the byte at the address */
    uint64_t length;     /* bytes from the address to the end of the range, or of the hole */
};

/* Who wants to know of changes. Called on the thread that made the change, no lock held. */
struct mem_listener {
    /* Bytes of pages flagged MEM_PAGE_CODE were written by something other than a vCPU. */
    void (*code_written)(void *opaque, gpa_t gpa, uint64_t length);
    /* A range was added or removed, or (MEM_RAM) blocks of a sparse one have come or go: cached host
     * pointers into what goes must be dropped before return. Those of MEM_SHOWN may be dropped soon after:
     * the caller may be a vCPU, and nobody is waited for. */
    void (*changed)(void *opaque, gpa_t gpa, uint64_t length, enum mem_kind kind, bool added);
    /* A doorbell was added or is removed. */
    void (*doorbell)(void *opaque, gpa_t gpa, int fd, bool added);
    /* The log of what vCPUs write begins, or ends. */
    void (*dirty_log)(void *opaque, bool on);
    /* What vCPUs wrote is to be flagged now. */
    void (*dirty_sync)(void *opaque);
    void *opaque;
};

struct mem_map *mem_map_new(void);
/* Unmaps and closes everything. Takes NULL. */
void mem_map_free(struct mem_map *map);

/*
 * Adds SIZE bytes of zeroed RAM at GPA (both page-aligned). The map owns it. Fails with
 * VMD_ERROR_EXISTS on overlap, VMD_ERROR_IO when the host has no memory.
 */
struct mem_ram *mem_map_add_ram(struct mem_map *map, gpa_t gpa, uint64_t size, const char *name,
                                bool read_only, GError **err);

/*
 * The same, of which no block is there at first. BLOCK, in bytes, is a power of two and at least a page; GPA and
 * SIZE are multiples of it. For accelerators that look memory up; KVM does not.
 */
struct mem_ram *mem_map_add_sparse_ram(struct mem_map *map, gpa_t gpa, uint64_t size, uint64_t block,
                                       const char *name, GError **err);

/*
 * Blocks of a sparse RAM, from OFFSET and LENGTH bytes, come, reading as zeros, or go: then no vCPU reaches them
 * on return, and their memory is the host's again. What a device has under way there may write to them yet.
 * False: the host would not have the memory, and they stay. One thread at a time.
 */
void mem_map_plug(struct mem_map *map, struct mem_ram *ram, uint64_t offset, uint64_t length);
bool mem_map_unplug(struct mem_map *map, struct mem_ram *ram, uint64_t offset, uint64_t length);

/* Adds a device range; OPS and OPAQUE must outlive it. 0, or -EEXIST on overlap. */
int mem_map_add_device(struct mem_map *map, gpa_t gpa, uint64_t size, const char *name,
                       const struct mem_device_ops *ops, void *opaque);

/*
 * Removes the device range that starts at GPA. On return no vCPU is inside its callbacks, unless
 * the caller is itself inside one (a device may remove ranges from its own callback). 0 or
 * -ENOENT.
 */
int mem_map_remove_device(struct mem_map *map, gpa_t gpa);

/*
 * Makes SIZE bytes at BASE a window of a bus: where no range is in it, reads of a vCPU give zero
 * and writes go nowhere, in place of the fault that there is elsewhere. Four at most, as a rule
 * before any vCPU runs; removed by BASE when none does any more.
 */
void mem_map_add_window(struct mem_map *map, gpa_t base, uint64_t size);
void mem_map_remove_window(struct mem_map *map, gpa_t base);

/*
 * Removes the RAM that starts at GPA. No device or thread uses it any more; a vCPU that still does
 * finds nothing there. 0 or -ENOENT.
 */
int mem_map_remove_ram(struct mem_map *map, gpa_t gpa);

/*
 * Memory of a device's own, SIZE bytes, a power of two and at least a page, which it shows the
 * guest as RAM where the guest wants it. NULL with VMD_ERROR_IO when the host has none.
 */
struct mem_ram *mem_ram_new(const char *name, uint64_t size, GError **err);
/*
 * The same of SIZE bytes at HOST, which are mapped already and taken over, on success alone: registers of a
 * device of the host. Nothing ever asks for their memory.
 */
struct mem_ram *mem_ram_wrap(const char *name, void *host, uint64_t size, GError **err);
/* No map shows it, and no vCPU runs any more or mem_map_forget_ram() came before. Takes NULL. */
void mem_ram_free(struct mem_ram *memory);

/*
 * Shows MEMORY, which stays the caller's, at GPA, a multiple of its size, as RAM; and no longer:
 * then nothing is found there, and a vCPU that had found it is out of it soon. Any thread, also a
 * vCPU's in a device's callback. 0, -EEXIST on overlap, or -ENOENT.
 */
int mem_map_show_ram(struct mem_map *map, gpa_t gpa, const struct mem_ram *memory);
int mem_map_hide_ram(struct mem_map *map, gpa_t gpa);
/*
 * MEMORY, which is hidden wherever it was shown, is about to be unmapped: on return no vCPU knows a host address in
 * it. The loop's thread; it waits for vCPUs.
 */
void mem_map_forget_ram(struct mem_map *map, const struct mem_ram *memory);

/*
 * Adds a doorbell inside a device range: where the accelerator can have the host see to it, a write
 * of any size to GPA signals eventfd FD and does not come to the device; else it does as ever. The
 * fd stays the caller's, who removes the doorbell before the device range. One thread at a time.
 */
void mem_map_add_doorbell(struct mem_map *map, gpa_t gpa, int fd);
void mem_map_remove_doorbell(struct mem_map *map, gpa_t gpa, int fd);

/* The listener hears of the doorbells that there are already. */
void mem_map_add_listener(struct mem_map *map, const struct mem_listener *listener);
/* Takes back a listener with the same opaque. While nobody changes or writes memory. */
void mem_map_remove_listener(struct mem_map *map, const struct mem_listener *listener);

/* Tells what is at GPA; always fills OUT (MEM_NONE for a hole). */
void mem_map_lookup(struct mem_map *map, gpa_t gpa, struct mem_view *out);

/* Calls FN for each stretch of RAM, in rising order. */
void mem_map_each_ram(struct mem_map *map, void (*fn)(void *opaque, struct mem_ram *ram),
                      void *opaque);

/*
 * A device access of a vCPU: SIZE bytes at GPA. 0, or -EFAULT where no device and no window is,
 * -EINVAL for a size or alignment the device does not take, or the device's own -errno.
 */
int mem_map_device_read(struct mem_map *map, gpa_t gpa, unsigned size, uint64_t *value);
int mem_map_device_write(struct mem_map *map, gpa_t gpa, unsigned size, uint64_t value);

/* --- how devices reach RAM (DMA) -------------------------------------------------------------- */

/*
 * Whether devices may read VIEW, or WRITE it: RAM, but not what another device shows, which goes
 * with that device while who reaches it by DMA keeps addresses.
 */
static inline bool mem_view_is_dma(const struct mem_view *view, bool write)
{
    return view->kind == MEM_RAM && !view->ram->shown && !(write && view->ram->read_only);
}

/*
 * The host address of LENGTH bytes at GPA, or NULL unless all of them are in one stretch of RAM
 * that devices may read (and WRITE). After writing through it call mem_map_written().
 */
void *mem_map_host(struct mem_map *map, gpa_t gpa, uint64_t length, bool write);

/* Bytes of RAM were written through a host address: logs them dirty and tells the translator. */
void mem_map_written(struct mem_map *map, gpa_t gpa, uint64_t length);

/* Copies; 0, or -EFAULT when not all of it is RAM (nothing copied then). */
int mem_map_read(struct mem_map *map, gpa_t gpa, void *to, uint64_t length);
int mem_map_write(struct mem_map *map, gpa_t gpa, const void *from, uint64_t length);
/* As mem_map_read(), but what nobody touched yet takes no memory of the host by it. May also fail
 * with another -errno of the host's. */
int mem_map_peek(struct mem_map *map, gpa_t gpa, void *to, uint64_t length);

/*
 * A device of the host reaches RAM by itself and holds its pages, as many times as said with PINNED: nobody may
 * give pages back without taking them from that device first. Any thread.
 */
void mem_map_pin(struct mem_map *map, bool pinned);
bool mem_map_pinned(const struct mem_map *map);

/* All of LENGTH bytes at GPA is about to be written: RAM there gets its memory by one call. */
void mem_map_back(struct mem_map *map, gpa_t gpa, uint64_t length);

/* Whether the byte at OFFSET is there. */
static inline bool mem_ram_has(const struct mem_ram *ram, uint64_t offset)
{
    uint64_t block = offset >> ram->block_shift;

    return likely(!ram->there) || (__atomic_load_n(&ram->there[block / 64], __ATOMIC_SEQ_CST) >> block % 64 & 1);
}

/* --- page flags and the dirty log ------------------------------------------------------------- */

/* Page index of a host-side offset in RAM; flags are atomic. */
static inline uint8_t mem_page_flags(const struct mem_ram *ram, uint64_t page)
{
    return __atomic_load_n(&ram->flags[page], __ATOMIC_ACQUIRE);
}

static inline void mem_page_set(struct mem_ram *ram, uint64_t page, enum mem_page_flag flag)
{
    if (!(mem_page_flags(ram, page) & flag))
        __atomic_fetch_or(&ram->flags[page], flag, __ATOMIC_SEQ_CST);
}

static inline void mem_page_clear(struct mem_ram *ram, uint64_t page, enum mem_page_flag flag)
{
    __atomic_fetch_and(&ram->flags[page], (uint8_t)~flag, __ATOMIC_SEQ_CST);
}

/*
 * Begins or ends the log of what vCPUs write, for accelerators that have to be told: before it is
 * on, MEM_PAGE_DIRTY says only what devices wrote. Sync flags the pages that vCPUs wrote since the
 * last one, or since the log began; those of a vCPU that runs may be left for the next sync. One
 * thread at a time.
 */
void mem_map_dirty_log(struct mem_map *map, bool on);
void mem_map_dirty_sync(struct mem_map *map);

/* Asks the host for the memory of PAGE and its neighbours, unless it was asked before. */
void mem_ram_back_around(struct mem_ram *ram, uint64_t page);

/* PAGE is about to be touched: one call for it and its neighbours, in place of a fault each; a
 * large page where the host has them and all of it is untouched. */
static inline void mem_ram_back(struct mem_ram *ram, uint64_t page)
{
    if (unlikely(!(mem_page_flags(ram, page) & MEM_PAGE_BACKED)))
        mem_ram_back_around(ram, page);
}

/* Gives the memory of LENGTH bytes at OFFSET, whole pages, back to the host: they read as zeros.
 * False when the host would not have it. */
bool mem_ram_discard(struct mem_ram *ram, uint64_t offset, uint64_t length);

#endif
