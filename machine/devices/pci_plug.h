/*
 * machine/devices/pci_plug: cards that come and go by ACPI, for guests whose kernel does not drive
 * the slots of PCI Express itself (pci_port.h): the registers that the machine's AML looks at.
 *
 * Each slot has an AML device for its card. The event device (ged.h) makes the guest look for what
 * is to be told: a card is to be looked for, or is asked back. The guest answers by _OST, and lets
 * go by _EJ0. Which of the two roads the guest takes it says by _OSC.
 *
 *   0   read: bits of slots whose card is to be looked for; a write takes those bits back as seen
 *   4   the same of slots whose card is asked back
 *   8   read: bits of slots with a card; written: the guest has let go of those cards
 *   12  written: what _OSC of the host bridge has granted
 *   16  written: the slot's number that an answer is about
 *   20  written: the event that it answers
 *   24  written: its status
 *
 * All are 4 bytes. Slot N of the machine is bit N - 1. What is not there reads zeros.
 *
 * A slot whose card was withdrawn waits for the guest's answer that it looked, PCI_PLUG_SETTLE_MS
 * of guest time at most: a guest that never answers has it back all the same.
 *
 * Locking: one lock. Of the ops only the clock is called with it, and calls nothing here.
 *
 * Specification: ACPI 6.5, 6.3 (removal, _OST), 6.1.5 (_OSC); PCI Firmware 3.3, 4.5 (its bits).
 */
#ifndef MACHINE_DEVICES_PCI_PLUG_H
#define MACHINE_DEVICES_PCI_PLUG_H

#include "machine/devices/device.h"

enum {
    PCI_PLUG_LOOK = 0,
    PCI_PLUG_ASK = 4,
    PCI_PLUG_CARDS = 8,
    PCI_PLUG_GRANTED = 12,
    PCI_PLUG_SLOT = 16,
    PCI_PLUG_EVENT = 20,
    PCI_PLUG_STATUS = 24,
    PCI_PLUG_SIZE = 28,
};

enum { PCI_PLUG_NATIVE = 1 }; /* of PCI_PLUG_GRANTED: the guest drives slots itself */

enum { PCI_PLUG_SETTLE_MS = 30000 };

struct pci_plug_ops {
    void (*changed)(void *opaque);    /* there is something for the guest to look at; any thread */
    uint64_t (*now_ns)(void *opaque); /* guest time; any thread */
};

/* Hears that the guest did something: looks at pci_plug_look() on its own thread. Any thread. */
typedef void (*pci_plug_heard_fn)(void *opaque);

struct pci_plug_state {
    bool acpi;       /* the guest has said that it does not drive slots itself */
    bool let_go;     /* the guest has, of the card that came last */
    bool unsettled;  /* it has not answered yet that it looked, after a card was withdrawn, and may
                        still */
    bool refused;    /* the guest's latest answer was that it will not */
    uint32_t status; /* of _OST then */
};

struct pci_plug;

/* No slots yet. OPS is borrowed. */
struct pci_plug *pci_plug_new(const struct pci_plug_ops *ops, void *opaque);
struct device *pci_plug_device(struct pci_plug *plug);

/* The slot of the root port at SLOT of the root bus is number NUMBER, 1 to LIMIT_HOTPLUG_PORTS.
 * Before the guest runs. */
void pci_plug_add(struct pci_plug *plug, unsigned number, unsigned slot);
/* The next number that has a slot, after NUMBER; 0: there is none. *SLOT is the port's on the root
 * bus. */
unsigned pci_plug_next(const struct pci_plug *plug, unsigned number, unsigned *slot);
/* Who hears; NULL: nobody. Before the guest runs, or when it does no more. */
void pci_plug_listen(struct pci_plug *plug, pci_plug_heard_fn heard, void *opaque);

/* All of these on any thread. There is a card in slot NUMBER: a guest that leaves slots to ACPI is
 * to look. */
void pci_plug_offer(struct pci_plug *plug, unsigned number);
/* The guest is asked for the card, or (ASK false) no longer, if it has not seen that it was. */
void pci_plug_ask_back(struct pci_plug *plug, unsigned number, bool ask);
/* There is no card any more; such a guest that has not let go of it is to look. */
void pci_plug_withdraw(struct pci_plug *plug, unsigned number);
/* Where the guest has not answered yet that it looked, after a card was withdrawn, it is to look
 * once more. */
void pci_plug_look_again(struct pci_plug *plug, unsigned number);
void pci_plug_look(struct pci_plug *plug, unsigned number, struct pci_plug_state *out);

#endif
