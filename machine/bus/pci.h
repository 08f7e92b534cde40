/*
 * machine/bus: PCI Express. A host bridge with ECAM, functions on its root bus, BARs that follow
 * what the guest writes, capabilities, INTx lines and MSI-X. Ports with a card behind them are in
 * pci_port.h.
 *
 * A function is built by its device (pci_function_new, then BARs and capabilities), and put on
 * the bus when it is ready (pci_host_add), before the guest starts or while it runs. The guest's
 * configuration accesses are masked byte by byte, so nothing a guest writes needs checking by a
 * device.
 *
 * Threads. Configuration accesses come on vCPU threads under the bus lock. BAR callbacks
 * (struct mem_device_ops) come on vCPU threads without it and must not take it: functions marked
 * "bus lock" may not be called from them. Interrupts may be raised on any thread. What is marked
 * "loop thread" belongs to the thread that owns the VM's devices. Lock order: bus lock, then a
 * device's lock, then a function's interrupt lock, then the interrupt controller's.
 *
 * Specifications: PCI Local Bus 3.0 chapter 6, PCI Express Base 5.0 chapter 7.
 */
#ifndef MACHINE_BUS_PCI_H
#define MACHINE_BUS_PCI_H

#include "base/base.h"
#include "mem/irq.h"
#include "mem/mem.h"

#define PCI_SLOTS       32
#define PCI_FUNCTIONS   8
#define PCI_BARS        6
#define PCI_CONFIG_SIZE 4096
#define PCI_ECAM_BUS    (UINT64_C(1) << 20) /* bytes of ECAM one bus takes */

struct pci_host;
struct pci_function;

/* A window of guest-physical addresses that the bridge forwards to BARs; size 0: none. */
struct pci_window {
    gpa_t base;
    uint64_t size;
};

/*
 * Delivers the message DATA of REQUESTER (bus << 8 | slot << 3 | function, by which some
 * controllers tell devices apart) to ADDRESS: an MSI is a memory write. Any thread. False when the
 * address is no interrupt controller's.
 */
typedef bool (*pci_msi_fn)(void *opaque, uint16_t requester, uint64_t address, uint32_t data);

struct pci_host_config {
    struct mem_map *mem;
    gpa_t ecam;              /* where bus 0 begins */
    unsigned buses;          /* 1..256: ECAM takes PCI_ECAM_BUS of them each */
    struct pci_window mem32; /* below 4 GiB, for any BAR */
    struct pci_window mem64; /* for 64-bit BARs */
    struct pci_window io;    /* where I/O space is memory; no function has a port in it */
    struct irq_line intx[4]; /* INTA..INTD of the root bus, as the board wires them */
    pci_msi_fn msi;          /* NULL where nothing takes messages: functions show no MSI-X */
    void *msi_opaque;
};

/*
 * Makes a bridge: ECAM is mapped and 00:00.0 answers. CONFIG is copied. NULL with
 * VMD_ERROR_EXISTS when ECAM overlaps another range of the map.
 */
struct pci_host *pci_host_new(const struct pci_host_config *config, GError **err);

/* Whether messages reach an interrupt controller: else no function has MSI or MSI-X. */
bool pci_host_has_msi(const struct pci_host *host);

/* Unmaps ECAM. Its functions have been removed before, but for the bridge's own. Takes NULL. */
void pci_host_free(struct pci_host *host);

/*
 * The root bus's INTx wiring, for device trees and interrupt routing tables: the line (0..3, an
 * index of pci_host_config.intx) that pin PIN (1..4) of slot SLOT drives. The usual swizzle.
 */
static inline unsigned pci_intx_line(unsigned slot, unsigned pin)
{
    return (slot + pin - 1) & 3;
}

/* --- functions -------------------------------------------------------------------------------- */

/* What a device tells of itself; numbers as in the configuration header. */
struct pci_id {
    uint16_t vendor, device;
    uint16_t subsystem_vendor, subsystem;
    uint32_t class_code; /* 24 bits: base class, subclass, programming interface */
    uint8_t revision;
    bool intx; /* has an INTx pin (A for function 0, then B, C, D) */
};

/* What a function does beyond its configuration space. Every member may be NULL. */
struct pci_function_ops {
    /*
     * Bytes [offset, offset + size) are about to be read, or have been written (through the
     * masks): for capabilities that do something. Bus lock held; vCPU thread.
     */
    void (*config_read)(void *opaque, unsigned offset, unsigned size);
    void (*config_written)(void *opaque, unsigned offset, unsigned size);
    /* Bus mastering was allowed or forbidden. Bus lock held; vCPU or loop thread. */
    void (*master_changed)(void *opaque, bool on);
    /* Back to the state after power-on; the configuration space already is. Loop thread. */
    void (*reset)(void *opaque);
    /*
     * Begin no new work; call pci_function_quiet() once nothing is under way, at once or later.
     * Then resume: go on. Loop thread.
     */
    void (*quiesce)(void *opaque);
    void (*resume)(void *opaque);
    /* The device's own saved state, after the function's. While quiet. Loop thread. */
    void (*save)(void *opaque, GByteArray *out);
    bool (*load)(void *opaque, const uint8_t *data, size_t length, size_t *used, GError **err);
};

/* A function with ID and the header's defaults, on no bus. OPS and OPAQUE must outlive it. */
struct pci_function *pci_function_new(const char *name, const struct pci_id *id,
                                      const struct pci_function_ops *ops, void *opaque);
/* It has been removed from its bus before. Takes NULL. */
void pci_function_free(struct pci_function *fn);
const char *pci_function_name(const struct pci_function *fn);

enum pci_bar_flag {
    PCI_BAR_64 = 1 << 0, /* takes this BAR and the next */
    PCI_BAR_PREFETCH = 1 << 1,
};

/*
 * Gives the function memory BAR INDEX of SIZE bytes (a power of two, at least 16). The range
 * appears in the memory map wherever the guest puts it inside a window, with memory decoding on.
 * Where it overlaps something else it stays unmapped until the other goes. Before pci_host_add().
 */
void pci_function_add_bar(struct pci_function *fn, unsigned index, uint64_t size, unsigned flags,
                          const char *name, const struct mem_device_ops *ops, void *opaque);

/*
 * Adds BAR INDEX that shows MEMORY (mem_ram_new()), the device's own, as RAM: the guest's accesses
 * are not seen. Before pci_host_add().
 */
void pci_function_add_memory_bar(struct pci_function *fn, unsigned index, unsigned flags,
                                 const struct mem_ram *memory);

/*
 * Makes OFFSET of memory BAR INDEX a doorbell: a write there signals eventfd FD, the caller's, or
 * comes to the BAR's own write, as the accelerator can. Before pci_host_add().
 */
void pci_function_add_doorbell(struct pci_function *fn, unsigned index, uint64_t offset, int fd);

/*
 * Appends capability ID whose body (after the two bytes of header) is BODY, LENGTH bytes, with
 * WRITABLE (or NULL: none) the mask of bits that the guest may write. Returns the offset of its
 * header in configuration space. Before pci_host_add().
 */
unsigned pci_function_add_capability(struct pci_function *fn, uint8_t id, const void *body,
                                     const void *writable, size_t length);

/*
 * Gives the function MSI-X with VECTORS (1..2048) vectors in BAR INDEX, which is made for it.
 * On a host without message delivery the capability and the BAR do not appear. Before
 * pci_host_add(), after the other capabilities.
 */
void pci_function_add_msix(struct pci_function *fn, unsigned bar, unsigned vectors);

/*
 * Gives the function MSI-X whose table and pending bits lie in BARs of the device's own, at TABLE
 * and PBA as the capability has them (an offset, a multiple of 8, and the number of the BAR): the
 * device hands what is read and written there to pci_function_msix_read() and
 * pci_function_msix_write(). The rest is as above.
 */
void pci_function_place_msix(struct pci_function *fn, unsigned vectors, uint32_t table,
                             uint32_t pba);

/* The bytes of configuration space, for config_read and config_written. Bus lock. */
uint8_t *pci_function_config(struct pci_function *fn);

/*
 * Puts FN at SLOT.FUNCTION of the root bus; from then on the guest can find it. Any time, loop
 * thread. Takes the bus lock. VMD_ERROR_EXISTS when the place is taken, VMD_ERROR_INVALID
 * outside the bus.
 */
bool pci_host_add(struct pci_host *host, struct pci_function *fn, unsigned slot, unsigned function,
                  GError **err);

/*
 * Takes FN off its bus: BARs go, its INTx falls. When this returns no vCPU is inside its
 * callbacks. Any time, loop thread. Takes the bus lock.
 */
void pci_host_remove(struct pci_function *fn);

/* The lowest slot from 1 on whose function 0 is free, or -ENOSPC. */
int pci_host_free_slot(struct pci_host *host);

/* Calls EACH for each function but the bridge's own, by slot; then for each card behind a port,
 * with the port's slot. */
void pci_host_each(struct pci_host *host,
                   void (*each)(void *opaque, struct pci_function *fn, unsigned slot,
                                unsigned function),
                   void *opaque);

/* Whether the guest has given each BAR of FN, which is on a bus, an address. Takes the bus lock. */
bool pci_function_placed(const struct pci_function *fn);

/* --- what a device uses while it runs --------------------------------------------------------- */

/* Whether the guest lets the function reach memory: without it no DMA. Any thread, no lock. */
bool pci_function_master(const struct pci_function *fn);

/* Drives the function's INTx pin. Any thread; no lock needed. */
void pci_function_set_intx(struct pci_function *fn, bool level);

/* Whether the guest has MSI-X switched on, so that INTx is not to be used. Any thread. */
bool pci_function_msix_enabled(const struct pci_function *fn);

/* Number of MSI-X vectors the guest sees; 0 without MSI-X. */
unsigned pci_function_msix_vectors(const struct pci_function *fn);

/*
 * Raises MSI-X vector VECTOR: sent now, or kept pending while masked. Without MSI-X switched on,
 * or for a vector there is not, nothing happens. Any thread.
 */
void pci_function_msix_notify(struct pci_function *fn, unsigned vector);

/* Sends the message DATA to ADDRESS as the function's, unless it may not reach memory. Any thread.
 */
void pci_function_send_msi(struct pci_function *fn, uint64_t address, uint32_t data);

/*
 * Of a function with pci_function_place_msix(): whether an access at OFFSET of BAR touches the
 * table or the pending bits; such an access, SIZE bytes, of which the table takes 4 and 8 only;
 * whether VECTOR is not masked by itself. Any thread, without the bus lock.
 */
bool pci_function_msix_at(const struct pci_function *fn, unsigned bar, uint64_t offset,
                          unsigned size);
void pci_function_msix_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned size,
                            uint64_t *value);
void pci_function_msix_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned size,
                             uint64_t value);
bool pci_function_msix_unmasked(struct pci_function *fn, unsigned vector);

/* --- quiet, reset, saved state: loop thread --------------------------------------------------- */

/*
 * Lets every function finish what is under way and begin nothing new, then calls DONE (perhaps
 * before this returns). vCPUs are stopped, or their doorbells wait. One at a time.
 */
void pci_host_quiesce(struct pci_host *host, void (*done)(void *opaque), void *opaque);
/* The same for one function, as before its removal. */
void pci_function_quiesce(struct pci_function *fn, void (*done)(void *opaque), void *opaque);
/* A device reports that it is quiet. */
void pci_function_quiet(struct pci_function *fn);
/* All functions go on. */
void pci_host_resume(struct pci_host *host);
void pci_function_resume(struct pci_function *fn);

/* Puts every function back to its state after power-on. After a quiesce. */
void pci_host_reset(struct pci_host *host);

/*
 * The state of all functions on the bus. Loading needs the same functions in the same places,
 * quiet, and leaves them quiet; after a failure reset the host.
 */
void pci_host_save(struct pci_host *host, GByteArray *out);
bool pci_host_load(struct pci_host *host, const uint8_t *data, size_t length, size_t *used,
                   GError **err);

#endif
