/*
 * tests/guest/x86_64/machine: KVM alone with one of this folder's guests, and a test around it.
 *
 * RAM up to 16 MiB, an identity map of 4 GiB that user code may use, a device of memory at
 * MACHINE_DEVICE that counts accesses, and ports: what a guest calls the test for comes to `call`
 * on the vCPU's thread. The guest is a flat image at MACHINE_PROGRAM.
 */
#ifndef TESTS_GUEST_X86_64_MACHINE_H
#define TESTS_GUEST_X86_64_MACHINE_H

#include "accel/kvm/kvm.h"
#include "machine/devices/ioapic.h"

#include <pthread.h>

#define MACHINE_PROGRAM UINT64_C(0x10000)
#define MACHINE_TABLES  UINT64_C(0x1000)
#define MACHINE_RAM     MIB(16)
#define MACHINE_DEVICE  UINT64_C(0xd0000000)
#define MACHINE_CPUS    8

struct machine;

struct machine_config {
    const char *program; /* name of the image, in the folder of VMD_X86_GUESTS; NULL: none */
    unsigned cpus;       /* 0: one */
    enum vcpu_mode mode;
    bool split, bitmap;
    const char *cpu;
    uint32_t (*call)(struct machine *machine, uint32_t number);
    uint64_t arg;
};

struct machine {
    struct machine_config config;
    struct mem_map *mem, *ports;
    struct mem_ram *ram;
    struct vm_clock *clock;
    struct accel *accel;
    struct ioapic *ioapic; /* with SPLIT; else KVM's */
    struct vcpu *vcpus[MACHINE_CPUS];
    pthread_t threads[MACHINE_CPUS];
    enum vcpu_exit exits[MACHINE_CPUS];

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended;        /* by the guest's last word, or by a vCPU that cannot go on */
    uint32_t status;   /* the last word */
    uint32_t answer;   /* to the last call */
    uint32_t calls[8]; /* of each number */
    uint8_t device[65536];
    unsigned reads, writes; /* of the device */
    uint64_t last_offset, last_value;
    unsigned last_size;
};

/* Whether there is a KVM; else says so for the run's closing line. */
bool machine_possible(void);

/* A machine with its vCPUs at the start of its program. The test fails where it cannot be. */
struct machine *machine_new(const struct machine_config *config);
void machine_free(struct machine *m);
/* Sets memory and all vCPUs to their start. */
void machine_reset(struct machine *m);

/* Has the vCPUs run, each on a thread of its own, until the guest ends or machine_stop(). */
void machine_start(struct machine *m);
/* The guest has called for NUMBER at least TIMES times. */
void machine_wait_call(struct machine *m, uint32_t number, uint32_t times);
/* Waits for the guest's end, then for the threads'. */
void machine_join(struct machine *m);
/* Kicks the vCPUs out and waits for the threads; machine_start() goes on. */
void machine_stop(struct machine *m);
/* start, join, and the guest must have ended with 0. */
void machine_pass(struct machine *m);

/* Drives input PIN of the I/O APIC, whosever it is. */
void machine_gsi(struct machine *m, unsigned pin, bool level);

/* A word of guest memory, which the guest may change meanwhile. */
uint32_t machine_word(struct machine *m, gpa_t at);

#endif
