/* machine/bus: what pci.c, pci_function.c, pci_msix.c and pci_port.c share. */
#ifndef MACHINE_BUS_PCI_PRIV_H
#define MACHINE_BUS_PCI_PRIV_H

#include "base/state.h"
#include "machine/bus/pci.h"

#include <linux/pci_regs.h>
#include <pthread.h>

#define PCI_DEVFNS (PCI_SLOTS * PCI_FUNCTIONS)
/* Where a function is: slot * 8 + function on the root bus, and PCI_DEVFNS more than that of the
 * port for the card behind it. Ports come before their cards in every walk. */
#define PCI_PLACES (2 * PCI_DEVFNS)

struct pci_port;

struct pci_doorbell {
    uint64_t offset;
    int fd;
};

struct pci_bar {
    uint64_t size; /* 0: no BAR */
    unsigned flags;
    char *name;
    const struct mem_device_ops *ops;
    void *opaque;
    const struct mem_ram *memory; /* what the BAR shows; NULL: OPS have it */
    GArray *doorbells; /* struct pci_doorbell; NULL: none */
    bool mapped;       /* bus lock, as is GPA: where it is in the memory map */
    gpa_t gpa;
};

struct msix_vector {
    uint32_t address_low, address_high, data, control;
    uint8_t pending;
};

struct pci_function {
    char *name;
    const struct pci_function_ops *ops;
    void *opaque;
    bool has_intx;
    unsigned place;                    /* while on a bus: below PCI_PLACES */
    uint8_t config[PCI_CONFIG_SIZE];   /* bus lock */
    uint8_t writable[PCI_CONFIG_SIZE]; /* mask of what the guest may write */
    uint8_t clears[PCI_CONFIG_SIZE];   /* mask of what the guest clears by writing ones */
    uint8_t initial[PCI_CONFIG_SIZE];  /* CONFIG as it was put on the bus */
    struct pci_bar bars[PCI_BARS];
    unsigned cap_last, cap_end; /* offset of the last capability; first free byte */

    bool master;           /* atomic: copy of the command bit */
    uint16_t requester;    /* atomic: bus << 8 | slot << 3 | function, as the guest numbers buses */
    struct pci_port *port; /* whose bridge this is, or NULL */

    pthread_mutex_t irq_lock;
    struct pci_host *host; /* irq_lock for other threads than the loop's; NULL: on no bus */
    uint8_t intx_level;    /* irq_lock: what the device wants */
    bool intx_disabled;    /* irq_lock: command bit */
    bool intx_driven;      /* irq_lock: it holds its line up */
    bool msix_enabled;     /* atomic, changed under irq_lock */
    bool msix_masked;      /* irq_lock: the whole function */
    unsigned msix_wanted;           /* asked for before the host was known */
    bool msix_placed;               /* in BARs of the device's own */
    unsigned table_bar, pba_bar;    /* where table and pending bits are */
    uint32_t table_at, pba_at;
    unsigned msix_cap;              /* offset; 0: none */
    unsigned n_vectors;
    struct msix_vector *vectors; /* irq_lock */

    void (*quiet_done)(void *opaque); /* loop: waiting for pci_function_quiet() */
    void *quiet_opaque;
};

struct pci_host {
    struct pci_host_config config;
    pthread_mutex_t lock; /* the bus lock */
    struct pci_function *functions[PCI_PLACES];
    struct pci_function *bridge;
    pthread_mutex_t intx_lock;
    unsigned intx_users[4]; /* intx_lock: functions that hold a line up */

    unsigned quiet_missing; /* loop: functions that are not quiet yet, and one for the count */
    void (*quiet_done)(void *opaque);
    void *quiet_opaque;
};

static inline uint16_t pci__get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t pci__get32(const uint8_t *p)
{
    return pci__get16(p) | (uint32_t)pci__get16(p + 2) << 16;
}

static inline void pci__set16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void pci__set32(uint8_t *p, uint32_t v)
{
    pci__set16(p, (uint16_t)v);
    pci__set16(p + 2, (uint16_t)(v >> 16));
}

/* pci_function.c. All under the bus lock unless they say otherwise. */
uint32_t pci__config_read(struct pci_function *fn, unsigned offset, unsigned size);
void pci__config_write(struct pci_function *fn, unsigned offset, unsigned size, uint32_t value);
/* Makes everything that follows from CONFIG so, except BAR mappings. */
void pci__config_apply(struct pci_function *fn);
/* Drives or releases the INTx line after a change; irq_lock held. */
void pci__intx_update(struct pci_function *fn);
/* Moves every BAR of the host to where it should be. */
void pci__remap(struct pci_host *host);
void pci__unmap(struct pci_host *host, struct pci_function *fn);

/* pci.c */
/* Puts FN on the bus at PLACE, which is free, and takes it off. Loop thread, without the bus lock.
 */
void pci__attach(struct pci_host *host, struct pci_function *fn, unsigned place);
/* Power-on values of the configuration space, but for what the bus itself decides. Bus lock. */
void pci__reset_config(struct pci_host *host, struct pci_function *fn);

/* pci_port.c. All under the bus lock. */
/* The card that answers as device 0 of bus BUS, or NULL. */
struct pci_function *pci__port_route(struct pci_host *host, unsigned bus);
/* Whether accesses to [GPA, GPA + SIZE) come through the port to the card FN. */
bool pci__port_forwards(const struct pci_host *host, const struct pci_function *fn, gpa_t gpa,
                        uint64_t size);
/* The guest wrote the command word of the card FN. */
void pci__port_card_command(struct pci_function *fn);

/* pci_msix.c */
/* The function is about to be on a host that delivers messages: makes table, BAR, capability. */
void pci__msix_realize(struct pci_function *fn);
/* The capability's control word was written: bus lock held. */
void pci__msix_config_changed(struct pci_function *fn);
/* Masked vectors, nothing pending. */
void pci__msix_reset(struct pci_function *fn);
/* Sends what is pending and may go; irq_lock held. */
void pci__msix_flush(struct pci_function *fn);
extern const struct state_desc pci__msix_vector_state;

#endif
