/*
 * The guest's side of PCI and virtio for tests: a memory map with RAM and a host bridge, and a
 * small driver that finds a device through ECAM, sets it up and passes buffers through its
 * queues. Failures are Check assertions. One thread: the loop runs while the driver waits.
 */
#ifndef TESTS_UNIT_VIRTIO_GUEST_H
#define TESTS_UNIT_VIRTIO_GUEST_H

#include "machine/virtio/virtio.h"

#define GUEST_ECAM     UINT64_C(0x30000000)
#define GUEST_WINDOW   UINT64_C(0x40000000)
#define GUEST_RAM      UINT64_C(0x80000000)
#define GUEST_RAM_SIZE MIB(16)
#define GUEST_ROM      UINT64_C(0x20000000) /* 64 KiB that cannot be written */
#define GUEST_QUEUES   14

struct guest {
    struct mem_map *mem;
    struct mem_ram *ram;
    struct vm_clock *clock;
    uv_loop_t loop;
    struct pci_host *host;
    bool line[4];       /* INTA..INTD */
    unsigned line_sets; /* changes of any line */
    unsigned messages;  /* MSIs delivered */
    uint16_t message_requester;
    uint64_t message_address;
    uint32_t message_data;
    gpa_t ecam;
    gpa_t heap; /* the next free byte of RAM */
    gpa_t bars; /* the next free byte of the window */
};

/* With MESSAGES the host delivers MSIs, else INTx is all there is. */
void guest_init(struct guest *g, bool messages);
/* Everything on the bus has been removed. Runs the loop until its handles are closed. */
void guest_fini(struct guest *g);

/* Saves the bus, resets it, and loads it again: devices go on as if nothing had been. */
void guest_save_and_load(struct guest *g);

struct virtio_env guest_env(struct guest *g);

uint32_t guest_config_read(struct guest *g, unsigned slot, unsigned offset, unsigned size);
void guest_config_write(struct guest *g, unsigned slot, unsigned offset, unsigned size,
                        uint32_t value);
uint64_t guest_read(struct guest *g, gpa_t gpa, unsigned size);
void guest_write(struct guest *g, gpa_t gpa, unsigned size, uint64_t value);

/* Offset of capability number N (0-based) with ID in SLOT's function, or 0. */
unsigned guest_capability(struct guest *g, unsigned slot, uint8_t id, unsigned n);

/* LENGTH zeroed bytes of RAM, aligned to 4096 or to 16. */
gpa_t guest_alloc(struct guest *g, uint64_t length, bool page);
/* The host address of guest RAM. */
void *guest_ptr(struct guest *g, gpa_t gpa);

/* Turns the loop once, waiting for something to happen. */
void guest_turn(struct guest *g);
/* Turns the loop until CONDITION holds; Check's time limit ends what never does. */
#define guest_wait(g, condition)                                                                   \
    do {                                                                                           \
        while (!(condition))                                                                       \
            guest_turn(g);                                                                         \
    } while (0)
/* Runs what is due now without waiting. */
void guest_poll(struct guest *g);

/* A piece of a buffer. */
struct piece {
    gpa_t gpa;
    uint32_t length;
    bool write; /* the device writes */
};

struct guest_queue {
    uint16_t size;
    gpa_t desc, avail, used;
    uint16_t next_desc; /* rings are used round and round: buffers in flight stay few */
    uint16_t last_used;
    gpa_t bell;
};

struct driver {
    struct guest *g;
    struct virtio_pci *vp;
    unsigned slot;
    gpa_t common, isr, config, notify;
    uint32_t notify_step;
    uint64_t features;
    struct guest_queue queues[GUEST_QUEUES];
};

/* Puts DEV (taken over) on the bus at SLOT, finds its capabilities, maps its BARs. */
void driver_attach(struct driver *d, struct guest *g, struct virtio_device *dev, unsigned slot);
/* Quiesces it, takes it off the bus and frees it. */
void driver_detach(struct driver *d);

/* Features the device offers. */
uint64_t driver_offered(struct driver *d);
/* Reset up to FEATURES_OK with FEATURES (VERSION_1 is added); whether the device took them. */
bool driver_negotiate(struct driver *d, uint64_t features);
/* Gives queue INDEX SIZE descriptors and enables it. */
void driver_queue(struct driver *d, unsigned index, uint16_t size);
void driver_ok(struct driver *d);
/* The usual life: negotiate FEATURES, N queues of 64, DRIVER_OK. */
void driver_start(struct driver *d, uint64_t features, unsigned n);
uint8_t driver_status(struct driver *d);
/* Writes 0 to the status and waits until it reads so. */
void driver_reset(struct driver *d);

/* Writes PIECES as one chain and makes it available; returns its head. No doorbell. */
uint16_t driver_add(struct driver *d, unsigned queue, const struct piece *pieces, unsigned n);
void driver_kick(struct driver *d, unsigned queue);
/* Whether a buffer was used; then its head and length. */
bool driver_used(struct driver *d, unsigned queue, uint16_t *head, uint32_t *length);
/* Adds, kicks and waits; returns the length that was used. */
uint32_t driver_do(struct driver *d, unsigned queue, const struct piece *pieces, unsigned n);

#endif
