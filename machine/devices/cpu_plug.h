/*
 * machine/devices/cpu_plug: processors that come and go by ACPI: the registers that the machine's
 * AML looks at, and what is so of each processor.
 *
 * A processor is present or not. What is to be told to the guest is an event of the processor's;
 * the event device (ged.h) makes the guest look. The guest answers by _OST, and lets go by _EJ0:
 * then the processor is not present any more.
 *
 *   0  written, 4 bytes: which processor the others are about; read: 0
 *   4  read, a byte:     CPU_PLUG_PRESENT, CPU_PLUG_COMES and CPU_PLUG_GOES of the processor
 *      written:          COMES and GOES take the event back as seen; EJECT: the guest has let go
 *   5  written, a byte:  the command, an enum cpu_plug_command
 *   8  4 bytes:          the command's value
 *
 * These are the registers of the "modern" interface that virtual machines have in common, so that
 * whoever knows them from elsewhere knows these. What is not there reads zeros.
 *
 * Locking: one lock. EJECTED and CHANGED are called without it.
 *
 * Specification: ACPI 6.5, 6.3.5 (_OST, with its codes), 8.4 (processors), 5.6.6 (notifications).
 */
#ifndef MACHINE_DEVICES_CPU_PLUG_H
#define MACHINE_DEVICES_CPU_PLUG_H

#include "machine/devices/device.h"

enum {
    CPU_PLUG_SELECT = 0,
    CPU_PLUG_FLAGS = 4,
    CPU_PLUG_COMMAND = 5,
    CPU_PLUG_DATA = 8,
    CPU_PLUG_SIZE = 12,
};

/* Bits of CPU_PLUG_FLAGS. */
enum {
    CPU_PLUG_PRESENT = 1 << 0,
    CPU_PLUG_COMES = 1 << 1,
    CPU_PLUG_GOES = 1 << 2,
    CPU_PLUG_EJECT = 1 << 3, /* written alone */
};

enum cpu_plug_command {
    CPU_PLUG_NEXT, /* selects the next processor with an event; the value is which */
    CPU_PLUG_OST_EVENT,
    CPU_PLUG_OST_STATUS,
    CPU_PLUG_ARCH_ID, /* the value is the local APIC's id */
};

/* Notifications of a processor, which are events of _OST too. */
enum { CPU_PLUG_CHECK = 1, CPU_PLUG_EJECT_REQUEST = 3 };

struct cpu_plug_ops {
    /* There is something for the guest to look at. Any thread. */
    void (*changed)(void *opaque);
    /* The guest has let go of processor CPU, which is not present any more. On the vCPU's thread
     * that did it. */
    void (*ejected)(void *opaque, unsigned cpu);
};

/* What is so of a processor. */
struct cpu_plug_state {
    bool present;
    bool taken;      /* since it came, the guest said that it has it */
    bool refused;    /* the guest's answer to the latest event was that it will not */
    uint32_t status; /* of _OST then */
};

struct cpu_plug;

/* CPUS processors, none of them present but the first. OPS is borrowed. */
struct cpu_plug *cpu_plug_new(unsigned cpus, const struct cpu_plug_ops *ops, void *opaque);
struct device *cpu_plug_device(struct cpu_plug *plug);

/* While no vCPU runs, at a start: CPU is there or not, and the guest learns of it by its tables. */
void cpu_plug_set(struct cpu_plug *plug, unsigned cpu, bool present);

/* All of these on any thread. CPU comes: the guest is told. */
void cpu_plug_offer(struct cpu_plug *plug, unsigned cpu);
/* The guest is asked to let go of CPU, or (ASK false) is no longer asked if it has not seen that it
 * was. */
void cpu_plug_ask_back(struct cpu_plug *plug, unsigned cpu, bool ask);
/* CPU is not present any more, whatever the guest does. */
void cpu_plug_withdraw(struct cpu_plug *plug, unsigned cpu);
void cpu_plug_look(struct cpu_plug *plug, unsigned cpu, struct cpu_plug_state *out);

#endif
