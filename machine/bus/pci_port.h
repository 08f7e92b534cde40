/*
 * machine/bus: PCI Express root ports, each with a hot-plug slot for one card behind it.
 *
 * A port is a function of the root bus: a bridge to a bus whose number the guest chooses, and a
 * hot-plug controller with an attention button, a power controller, two indicators and surprise
 * removal. What goes into the slot is a function like any other (pci.h), made by its device; on
 * its bus it is device 0, function 0, which answers while the slot has power.
 *
 * The order of a card's life for whoever manages slots:
 *   insert -> the guest powers the slot and takes the card (`configured`)
 *   press  -> the guest's driver lets go and switches the slot's power off (`power_offs` grows)
 *   quiesce the function, withdraw
 * or, whatever the guest does, quiesce and withdraw at any time: a surprise removal.
 *
 * Threads: everything here belongs to the loop thread and takes the bus lock, but
 * pci_port_status(), which any thread may call that does not hold it.
 *
 * Specification: PCI Express Base 5.0, 6.7 (hot-plug) and 7.5.1.3, 7.5.3 (registers).
 */
#ifndef MACHINE_BUS_PCI_PORT_H
#define MACHINE_BUS_PCI_PORT_H

#include "machine/bus/pci.h"

#define PCI_PORT_NUMBER_MAX 8191 /* physical slot numbers have 13 bits */

struct pci_port;

struct pci_port_ops {
    /*
     * The guest did something that pci_port_status() shows. Any thread, the bus lock may be held:
     * wake the loop and look there, nothing else. May be NULL.
     */
    void (*changed)(void *opaque);
};

enum pci_led { PCI_LED_OFF, PCI_LED_ON, PCI_LED_BLINK };

struct pci_port_status {
    bool driven;     /* a driver takes hot-plug interrupts: a press will be noticed */
    bool occupied;   /* there is a card, with or without power */
    bool powered;    /* the guest has the slot's power switched on */
    bool configured; /* since the insertion or the last reset the guest has let the card decode
                      * memory or master the bus: its driver (or firmware) took it */
    enum pci_led power_led, attention_led;
    uint8_t bus;         /* number of the bus behind it; 0: the guest has not given it one */
    unsigned power_offs; /* power-off commands since the insertion, but for that with which the
                          * guest answers an earlier card's surprise removal; a reset is none */
};

/*
 * Puts a root port at SLOT, function 0, of the root bus, with slot number NUMBER (1 to
 * PCI_PORT_NUMBER_MAX), by which the guest tells slots apart. OPS and OPAQUE must outlive it.
 * Before the guest runs. VMD_ERROR_EXISTS when SLOT is taken, VMD_ERROR_INVALID outside the bus.
 */
struct pci_port *pci_port_new(struct pci_host *host, unsigned slot, unsigned number,
                              const struct pci_port_ops *ops, void *opaque, GError **err);

/* Its card has been withdrawn before. Takes NULL. */
void pci_port_free(struct pci_port *port);

/*
 * Puts the card FN, the caller's, into the slot: it is present, its link is up, and once it answers
 * the guest hears of it, if it has enumerated the bus already. Where the guest is just switching
 * the slot off for the last card, it hears of this one when it is done with that.
 * VMD_ERROR_EXISTS when the slot is occupied.
 */
bool pci_port_insert(struct pci_port *port, struct pci_function *fn, GError **err);

/*
 * Takes the card out, whatever the guest thinks of it: on return no vCPU is inside its callbacks
 * and configuration reads give all ones. The guest hears of it, unless it had switched the slot's
 * power off before. Without a card nothing happens.
 */
void pci_port_withdraw(struct pci_port *port);

/*
 * Presses the attention button: asks the guest to let go of the card (or, with the slot's power
 * off, to take it). Asked twice within the guest's grace time (five seconds with Linux) it
 * cancels.
 */
void pci_port_press(struct pci_port *port);

void pci_port_status(struct pci_port *port, struct pci_port_status *out);

/* The card in the slot, or NULL. Loop thread. */
struct pci_function *pci_port_card(struct pci_port *port);

#endif
