/*
 * What the parts of accel/kvm share.
 *
 * Threads: a vCPU's own thread is inside KVM_RUN most of the time, and KVM makes any other call on
 * the vCPU wait for its end; so whatever reads or writes a vCPU's state does it while the vCPU does
 * not run, as accel.h demands. Memory slots and routes have a lock each, taken last. No lock and no
 * allocation is on the way from KVM_RUN to a device and back.
 */
#ifndef ACCEL_KVM_KVM_PRIV_H
#define ACCEL_KVM_KVM_PRIV_H

#include "accel/kvm/kvm.h"

#include <linux/kvm.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/types.h>

#if defined(__x86_64__)
#include "accel/kvm/x86.h"
#else
#include "accel/kvm/one_reg.h"
#endif

#define KVM_EXIT_REASONS 64 /* reasons told apart; later ones count as KVM_EXIT_UNKNOWN */
#define KVM_LAST_EXITS   16 /* kept for reports */

/* An exit to a device, or another one, as a report shows it. */
struct kvm_past {
    uint32_t reason;
    uint32_t size; /* bytes of the access */
    bool write;
    uint64_t address; /* physical address or port */
    uint64_t value;   /* of the first item */
};

struct kvm_vcpu {
    struct vcpu vcpu;
    struct kvm *kvm;
    int fd;
    struct kvm_run *run;
    int stats_fd; /* -1: KVM has none */

    pid_t tid;  /* of the thread inside accel_vcpu_run(); 0: none. Atomic */
    int kicked; /* atomic */
    bool waiting; /* for another vCPU's SIPI, when its thread last looked; atomic */

    char *error;
    uint64_t exits[KVM_EXIT_REASONS]; /* atomic, written by its thread alone */
    struct kvm_past past[KVM_LAST_EXITS];
    unsigned n_past; /* all so far */

    struct kvm_dirty_gfn *ring; /* NULL: no dirty ring */
    uint32_t ring_next;         /* of memory.c, slots_lock */
    struct kvm_arch_vcpu arch;
};

/* One memory slot of KVM, whose number is its index in kvm.slots. */
struct kvm_slot {
    struct mem_ram *ram; /* NULL: the number is free */
};

struct kvm {
    struct accel accel;
    int vm;
    size_t run_bytes;        /* of struct kvm_run's mapping */
    uint32_t ring_bytes;     /* of a vCPU's dirty ring; 0: there are none */
    struct kvm_vcpu **vcpus; /* config.vcpus of them, NULL where not made */
    char *failed;            /* why no vCPU may go on; set once, atomic */

    pthread_mutex_t slots_lock;
    GArray *slots; /* struct kvm_slot */
    bool logging;
    bool doorbells; /* KVM has them for writes of any size */

    pthread_mutex_t routes_lock;
    struct kvm_irq_routing *routes; /* as KVM has them, with room for N_GSIS */
    unsigned n_gsis;
    unsigned fixed_routes; /* the first ones, to KVM's own controllers */

    struct kvm_stat_name *stat_names; /* stats.c; owned */
    size_t n_stat_names;
    struct kvm_arch arch;
};

static inline struct kvm *kvm_from(struct accel *accel)
{
    return container_of(accel, struct kvm, accel);
}

static inline struct kvm_vcpu *kvm_vcpu_from(struct vcpu *vcpu)
{
    return container_of(vcpu, struct kvm_vcpu, vcpu);
}

/* ioctl() that goes on after signals: its result, or -errno. */
int kvm__ioctl(int fd, unsigned long request, const void *argument);
/* Whether, or how much of, capability CAP is there. */
int kvm__capability(int fd, unsigned cap);

/* No vCPU can go on, for the reason given. Any thread; the first reason counts. */
void kvm__fail(struct kvm *k, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* --- run.c ------------------------------------------------------------------------------------ */

/* Has the kick's signal end KVM_RUN and do nothing else, in the whole process. */
bool kvm__catch_kicks(GError **err);
void kvm__vcpu_kick(struct vcpu *vcpu);
enum vcpu_exit kvm__vcpu_run(struct vcpu *vcpu);
/* The counter of exits for REASON: "exit.NAME". */
const char *kvm__exit_counter(unsigned reason);
/* VCPU_EXIT_ERROR with a text for people. */
enum vcpu_exit kvm__vcpu_fail(struct kvm_vcpu *v, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* --- memory.c --------------------------------------------------------------------------------- */

/* Gives KVM the map's memory, now and later; RINGS: its dirty log may come from rings. */
bool kvm__memory_start(struct kvm *k, bool rings, GError **err);
void kvm__memory_stop(struct kvm *k);
bool kvm__memory_vcpu(struct kvm_vcpu *v, GError **err);
void kvm__memory_vcpu_free(struct kvm_vcpu *v);
/* The vCPU's dirty ring is full. */
void kvm__memory_ring_full(struct kvm *k);

/* --- irq.c ------------------------------------------------------------------------------------ */

bool kvm__irq_start(struct kvm *k, GError **err);
void kvm__irq_stop(struct kvm *k);
void kvm__gsi(struct accel *accel, unsigned gsi, bool level);
void kvm__msi(struct accel *accel, uint64_t address, uint32_t data);
int kvm__route(struct accel *accel, unsigned gsi, const struct accel_route *route);
int kvm__irqfd(struct accel *accel, int fd, unsigned gsi, bool on);

/* --- stats.c ---------------------------------------------------------------------------------- */

void kvm__vcpu_info(struct vcpu *vcpu, struct accel_vcpu_info *out);
size_t kvm__vcpu_stats(struct vcpu *vcpu, struct accel_stat *rows, size_t most);
size_t kvm__stats(struct accel *accel, struct accel_stat *rows, size_t most);
void kvm__stats_vcpu(struct kvm_vcpu *v);
void kvm__stats_free(struct kvm *k);

/* --- the host's ISA: x86.c, arm64.c, riscv64.c --------------------------------------------------
 */

extern const enum isa kvm__arch_isa;

/* Refuses what this KVM or this configuration lacks; before the VM is made. */
bool kvm__arch_check(const struct accel_config *config, int device, GError **err);
/* The argument of KVM_CREATE_VM. */
unsigned long kvm__arch_type(int device);
/* The VM was made, and has no vCPU; DEVICE may be closed afterwards. */
bool kvm__arch_create(struct kvm *k, int device, GError **err);
void kvm__arch_free(struct kvm *k);
bool kvm__arch_vcpu_create(struct kvm_vcpu *v, GError **err);
void kvm__arch_vcpu_free(struct kvm_vcpu *v);
int kvm__arch_vcpu_reset(struct kvm_vcpu *v, const struct vcpu_start *start);
/* An exit that is not every ISA's. False: it is none of this ISA's either. True: go on, unless WHY
 * was set to something else than -1. */
bool kvm__arch_exit(struct kvm_vcpu *v, int *why);
/* Registers and code of a vCPU that does not run, for a report. */
void kvm__arch_describe(struct kvm_vcpu *v, GString *out);
/* The routes that a VM begins with; returns their number. */
unsigned kvm__arch_routes(struct kvm *k, struct kvm_irq_routing_entry *routes);
void kvm__arch_gsi(struct kvm *k, unsigned gsi, bool level);

/* The rest of struct accel_ops. */
void kvm__arch_reset(struct accel *accel);
void kvm__arch_clock_changed(struct accel *accel);
const struct state_desc *kvm__arch_vcpu_state(struct vcpu *vcpu, void **object);
const struct state_desc *kvm__arch_state(struct accel *accel, void **object);
bool kvm__arch_restored(struct accel *accel, GError **err);
void kvm__arch_set_irq(struct vcpu *vcpu, unsigned irq, bool level); /* not x86 */

/* x86 alone has these. */
bool kvm__arch_debug(struct accel *accel, const struct accel_debug *debug);
void kvm__arch_step(struct vcpu *vcpu, enum accel_step step);
void kvm__arch_stop(struct vcpu *vcpu, struct accel_stop *out);
bool kvm__arch_look(struct vcpu *vcpu, gva_t va, gpa_t *gpa, uint64_t *length);
const struct accel_register *kvm__arch_registers(struct accel *accel, size_t *n);
bool kvm__arch_register_get(struct vcpu *vcpu, const struct accel_register *reg, uint64_t *value);
bool kvm__arch_register_set(struct vcpu *vcpu, const struct accel_register *reg,
                            const uint64_t *value);

#endif
