/* What the boards share: the machine's parts that every ISA has, and what a machine provides. */
#ifndef MACHINE_BOARDS_BOARD_PRIV_H
#define MACHINE_BOARDS_BOARD_PRIV_H

#include "machine/boards/board.h"
#include "machine/bus/pci.h"
#include "machine/devices/device.h"
#include "machine/devices/guest_timer.h"
#include "machine/devices/serial.h"

enum { BOARD_DEVICES = 16 };

/* One machine. All functions have a board whose shared part is filled in. */
struct board_type {
    enum isa isa;
    const char *name;
    unsigned most_cpus;
    /* Makes RAM, devices and PCI host. After a failure free() comes. */
    bool (*build)(struct board *board, GError **err);
    /* Frees what build() made beyond the shared part. */
    void (*free)(struct board *board);
    bool (*load)(struct board *board, GError **err);
    bool (*cpu_start)(const struct board *board, unsigned cpu, struct board_start *out);
    bool (*hypercall)(struct board *board, unsigned cpu, uint64_t args[8]);
    /* These are NULL where the machine has none. */
    bool (*sysreg)(struct board *board, unsigned cpu, uint32_t encoding, bool write,
                   uint64_t *value);
    void (*cpu_line)(struct board *board, unsigned cpu, enum board_cpu_line line, bool level);
    bool (*power_button)(struct board *board); /* as board_power_button() */
    void (*eoi)(struct board *board, uint8_t vector);
    struct cpu_plug *(*cpu_plug)(struct board *board); /* as board_cpu_plug() */
    struct pci_plug *(*pci_plug)(struct board *board); /* as board_pci_plug() */
};

struct board {
    const struct board_type *type;
    struct board_config config; /* its strings are owned */
    struct board_traits traits; /* build() fills in all but the name */
    struct guest_timers *timers;
    struct device *devices[BOARD_DEVICES]; /* in the order of saved state */
    gpa_t places[BOARD_DEVICES];           /* of the registers of those that have some */
    struct mem_map *maps[BOARD_DEVICES];   /* where these are; NULL: it has none */
    unsigned n_devices;
    struct mem_ram *room;   /* NULL: none; the map's */
    struct serial *console; /* one of them; made by build() */
    struct pci_host *pci;
    void *machine; /* the type's own part */
};

/* Bytes from the base of RAM to the end of what may be RAM later: with the room, which begins where guests with
 * any size of page can take all of it. BASE is the address of RAM. */
uint64_t board__span(const struct board_config *config, gpa_t base);
/* Adds RAM at BASE, and the room. */
bool board__add_ram(struct board *board, gpa_t base, GError **err);

/* Takes DEV; maps its registers at GPA when it has some. */
bool board__add_device(struct board *board, struct device *dev, gpa_t gpa, GError **err);

/* Takes DEV; puts its registers at the N ports from PORT. */
bool board__add_ports(struct board *board, struct device *dev, gpa_t port, unsigned n,
                      GError **err);

/* The backend of the serial port that board_console_*() talk to; its opaque is the board. */
extern const struct serial_ops board__console_ops;

extern const struct board_type board__virt_riscv64, board__virt_arm64, board__pc;

#endif
