/*
 * What an exit to a device costs on KVM, beside the barest loop that can serve it, in turns in one
 * run.
 *
 *   bench_kvm_exits [ROUNDS]
 *
 * Both sides run the same guest: 32-bit code that does one access over and over. The bare side has
 * KVM_RUN and a switch; ours has the accelerator, the memory map and a device that does as little.
 * A line a kind of access: the median cost of both, and the median of the rounds' ratios.
 */
#include "accel/kvm/kvm.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define EXITS  3000 /* a round */
#define CODE   0x1000
#define DEVICE 0xd0000000u
#define ROUNDS 41

static const struct {
    const char *name;
    uint8_t bytes[5];
    uint8_t n;
} kinds[] = {
    {"mmio write", {0xa3, 0, 0, 0, 0xd0}, 5},
    {"mmio read", {0xa1, 0, 0, 0, 0xd0}, 5},
    {"pio write", {0xe7, 0x50}, 2},
    {"pio read", {0xe5, 0x50}, 2},
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* mov ecx, EXITS; again: the access; dec ecx; jnz again; out 0xf4, al; jmp to the start */
static void write_code(uint8_t *to, size_t kind)
{
    uint32_t exits = EXITS;
    uint8_t *p = to;

    *p++ = 0xb9;
    memcpy(p, &exits, 4);
    p += 4;
    memcpy(p, kinds[kind].bytes, kinds[kind].n);
    p += kinds[kind].n;
    *p++ = 0x49;
    *p++ = 0x75;
    *p++ = (uint8_t)(-kinds[kind].n - 3);
    *p++ = 0xe6;
    *p++ = 0xf4;
    *p++ = 0xeb;
    *p = (uint8_t)(to - p - 1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* --- the bare side ------------------------------------------------------------------------------
 */

struct bare {
    int vm, vcpu;
    struct kvm_run *run;
    uint8_t *ram;
    uint64_t value;
};

static void bare_start(struct bare *b, int device)
{
    struct kvm_userspace_memory_region slot = {.memory_size = MIB(1)};
    struct kvm_segment flat = {
        .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
    struct kvm_regs regs = {.rip = CODE, .rflags = 2};
    struct kvm_sregs sregs;

    b->vm = ioctl(device, KVM_CREATE_VM, 0);
    b->ram = mmap(NULL, MIB(1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    slot.userspace_addr = (uintptr_t)b->ram;
    if (b->vm < 0 || ioctl(b->vm, KVM_CREATE_IRQCHIP, 0) < 0 ||
        ioctl(b->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
        die("the bare VM");
    b->vcpu = ioctl(b->vm, KVM_CREATE_VCPU, 0);
    b->run = mmap(NULL, (size_t)ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
                  MAP_SHARED, b->vcpu, 0);
    if (ioctl(b->vcpu, KVM_GET_SREGS, &sregs) < 0)
        die("the bare vCPU");
    sregs.cs = flat;
    flat.type = 3;
    sregs.ds = sregs.es = sregs.ss = flat;
    sregs.cr0 |= 1;
    if (ioctl(b->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(b->vcpu, KVM_SET_REGS, &regs) < 0)
        die("the bare vCPU's state");
}

static void bare_round(struct bare *b)
{
    for (;;) {
        struct kvm_run *run = b->run;
        if (ioctl(b->vcpu, KVM_RUN, 0) < 0)
            die("KVM_RUN");
        uint8_t *data = run->mmio.data;
        switch (run->exit_reason) {
        case KVM_EXIT_MMIO:
            if (run->mmio.is_write)
                memcpy(&b->value, data, run->mmio.len);
            else
                memcpy(data, &b->value, run->mmio.len);
            break;
        case KVM_EXIT_IO:
            if (run->io.port == 0xf4)
                return;
            data = (uint8_t *)run + run->io.data_offset;
            if (run->io.direction == KVM_EXIT_IO_OUT)
                memcpy(&b->value, data, run->io.size);
            else
                memcpy(data, &b->value, run->io.size);
            break;
        default:
            die("an exit of another kind");
        }
    }
}

/* --- ours ---------------------------------------------------------------------------------------
 */

struct ours {
    struct mem_map *mem, *ports;
    struct vm_clock *clock;
    struct mem_ram *ram;
    struct accel *accel;
    struct vcpu *vcpu;
    uint64_t value;
};

static int read_it(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = ((struct ours *)opaque)->value;
    return 0;
}

static int write_it(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    ((struct ours *)opaque)->value = value;
    return 0;
}

static int end_it(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    accel_vcpu_kick(((struct ours *)opaque)->vcpu);
    return 0;
}

static const struct mem_device_ops ops = {read_it, write_it, 15}, end_ops = {read_it, end_it, 1};

/* As many ranges as a machine has. */
static void ours_start(struct ours *o)
{
    g_autoptr(GError) err = NULL;

    o->mem = mem_map_new();
    o->ports = mem_map_new();
    o->clock = vm_clock_new(0);
    o->ram = mem_map_add_ram(o->mem, 0, MIB(1), "ram", false, NULL);
    for (unsigned i = 0; i < 16; i++) {
        mem_map_add_device(o->mem, DEVICE + i * 0x10000, 0x1000, "device", &ops, o);
        mem_map_add_device(o->ports, i * 0x10, 0x8, "port", &ops, o);
    }
    mem_map_remove_device(o->ports, 0xf0);
    mem_map_add_device(o->ports, 0xf4, 1, "end", &end_ops, o);
    const struct accel_config config = {
        .isa = ISA_X86_64, .vcpus = 1, .mem = o->mem, .ports = o->ports, .clock = o->clock};
    if (!accel_create(&kvm_accel_ops, &config, &o->accel, &err) ||
        !accel_vcpu_create(o->accel, 0, &o->vcpu, &err)) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
    accel_vcpu_reset(o->vcpu, &(struct vcpu_start){.pc = CODE, .mode = VCPU_MODE_PVH});
}

static void ours_round(struct ours *o)
{
    if (accel_vcpu_run(o->vcpu) != VCPU_EXIT_KICKED) {
        fprintf(stderr, "%s\n", accel_vcpu_error(o->vcpu));
        exit(1);
    }
}

/* --- the comparison -----------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), by_value);
    return values[n / 2];
}

static void compare(struct bare *b, struct ours *o, size_t kind, size_t rounds)
{
    g_autofree double *bare = g_new(double, rounds);
    g_autofree double *mine = g_new(double, rounds);
    g_autofree double *ratio = g_new(double, rounds);

    write_code(b->ram + CODE, kind);
    write_code(o->ram->host + CODE, kind);
    bare_round(b);
    ours_round(o);
    for (size_t i = 0; i < rounds; i++) {
        double start = now();
        i % 2 ? bare_round(b) : ours_round(o);
        double middle = now();
        i % 2 ? ours_round(o) : bare_round(b);
        double end = now();
        bare[i] = (i % 2 ? middle - start : end - middle) / EXITS;
        mine[i] = (i % 2 ? end - middle : middle - start) / EXITS;
        ratio[i] = mine[i] / bare[i];
    }
    printf("%-11s bare %7.0f ns  vmd %7.0f ns  ratio %.3f\n", kinds[kind].name,
           median(bare, rounds), median(mine, rounds), median(ratio, rounds));
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : ROUNDS;
    g_autoptr(GError) err = NULL;
    int device = kvm_open(&err);
    struct bare b = {0};
    struct ours o = {0};

    if (device < 0 || rounds < 1) {
        fprintf(stderr, "%s\n", err ? err->message : "rounds: at least 1");
        return 1;
    }
    bare_start(&b, device);
    ours_start(&o);
    for (size_t kind = 0; kind < G_N_ELEMENTS(kinds); kind++)
        compare(&b, &o, kind, rounds);
    return 0;
}
