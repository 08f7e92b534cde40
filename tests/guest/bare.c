/*
 * tests/guest/bare.c: see bare.h. Harts have a thread each; the calling thread looks at tohost.
 */
#include "tests/guest/bare.h"
#include "mem/clock.h"
#include "xlate/xlate.h"

#include <elf.h>
#include <pthread.h>

#define PAGE UINT64_C(4096)

struct hart {
    struct bare *bare;
    struct vcpu *vcpu;
    pthread_t thread;
    bool started;
    unsigned levels; /* ARM: its timers' outputs */
};

struct bare {
    struct bare_config config;
    struct mem_map *map;
    struct vm_clock *clock;
    struct accel *accel;
    enum isa isa; /* of the program */
    struct hart hart[LIMIT_XLATE_VCPUS];
    gpa_t tohost; /* 0: none */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t value;
    bool over;
    char *error;
};

/* --- loading ---------------------------------------------------------------------------------- */

static bool segments(struct bare *b, const Elf64_Phdr **first, unsigned *n, gva_t *entry, GError **err)
{
    const struct bare_config *c = &b->config;
    const Elf64_Ehdr *e = (const Elf64_Ehdr *)c->elf;

    if (c->elf_size < sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG) ||
        (e->e_machine != EM_RISCV && e->e_machine != EM_AARCH64) ||
        e->e_phentsize != sizeof(Elf64_Phdr) ||
        e->e_phoff + (uint64_t)e->e_phnum * sizeof(Elf64_Phdr) > c->elf_size)
        return vmd_fail(err, VMD_ERROR_INVALID, "neither a RISC-V nor an A64 program");
    b->isa = e->e_machine == EM_AARCH64 ? ISA_AARCH64 : ISA_RISCV64;
    *first = (const Elf64_Phdr *)(c->elf + e->e_phoff);
    *n = e->e_phnum;
    *entry = e->e_entry;
    return true;
}

/* One piece of RAM from the lowest segment to the end of the highest. */
static bool load(struct bare *b, GError **err)
{
    const Elf64_Phdr *p = NULL;
    uint64_t low = UINT64_MAX, high = 0;
    gva_t entry = 0;
    unsigned n = 0;

    if (!segments(b, &p, &n, &entry, err))
        return false;
    if (!b->config.entry)
        b->config.entry = entry;
    for (unsigned i = 0; i < n; i++) {
        if (p[i].p_type != PT_LOAD)
            continue;
        low = MIN(low, p[i].p_paddr);
        high = MAX(high, p[i].p_paddr + p[i].p_memsz);
    }
    low = ALIGN_DOWN(low, PAGE);
    high = ALIGN_UP(high + b->config.room, PAGE);
    if (low >= high || high - low > GIB(1))
        return vmd_fail(err, VMD_ERROR_INVALID, "its segments span too much");
    if (!mem_map_add_ram(b->map, low, high - low, "ram", false, err))
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (p[i].p_type != PT_LOAD)
            continue;
        if (p[i].p_offset + p[i].p_filesz > b->config.elf_size ||
            mem_map_write(b->map, p[i].p_paddr, b->config.elf + p[i].p_offset, p[i].p_filesz))
            return vmd_fail(err, VMD_ERROR_INVALID, "a segment is cut short");
    }
    return true;
}

/* The value of the symbol "tohost", or 0. */
static gpa_t find_tohost(const struct bare_config *c)
{
    const Elf64_Ehdr *e = (const Elf64_Ehdr *)c->elf;
    const Elf64_Shdr *s = (const Elf64_Shdr *)(c->elf + e->e_shoff);

    if (e->e_shoff + (uint64_t)e->e_shnum * sizeof(*s) > c->elf_size)
        return 0;
    for (unsigned i = 0; i < e->e_shnum; i++) {
        if (s[i].sh_type != SHT_SYMTAB || s[i].sh_link >= e->e_shnum)
            continue;
        const Elf64_Sym *symbol = (const Elf64_Sym *)(c->elf + s[i].sh_offset);
        const char *names = (const char *)c->elf + s[s[i].sh_link].sh_offset;

        for (unsigned k = 0; k < s[i].sh_size / sizeof(*symbol); k++)
            if (!strcmp(names + symbol[k].st_name, "tohost"))
                return symbol[k].st_value;
    }
    return 0;
}

/* --- ending ----------------------------------------------------------------------------------- */

static void finish(struct bare *b, uint64_t value, const char *error)
{
    pthread_mutex_lock(&b->lock);
    if (!b->over) {
        b->over = true;
        b->value = value;
        b->error = g_strdup(error);
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
}

static int exit_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = 0;
    return 0;
}

static int exit_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    finish(opaque, value, NULL);
    return 0;
}

static const struct mem_device_ops exit_ops = {exit_read, exit_write, 15};

static int ipi_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct bare *b = opaque;

    accel_vcpu_set_irq(b->hart[offset / 4].vcpu,
                       b->isa == ISA_AARCH64 ? (unsigned)ARM_IRQ_FIQ : RISCV_IRQ_M_SOFT, value & 1);
    return 0;
}

static const struct mem_device_ops ipi_ops = {exit_read, ipi_write, 4};

static bool hypercall(void *opaque, unsigned vcpu, uint64_t args[8])
{
    struct bare *b = opaque;
    struct accel_fence_range range = {.start = args[1], .size = args[2]};

    accel_fence(b->accel, b->hart[vcpu].vcpu, args[0],
                args[7] == BARE_CALL_FENCE_TLB ? ACCEL_FENCE_TLB : ACCEL_FENCE_CODE, &range);
    args[0] = 0;
    return true;
}

/* There is no interrupt controller: timers are wired to the interrupt input. */
static void line_changed(void *opaque, unsigned vcpu, enum arm_line line, bool level)
{
    struct bare *b = opaque;
    struct hart *h = &b->hart[vcpu];

    h->levels = level ? h->levels | 1u << line : h->levels & ~(1u << line);
    if (h->vcpu)
        accel_vcpu_set_irq(h->vcpu, ARM_IRQ_IRQ, h->levels);
}

static void *hart_thread(void *opaque)
{
    struct hart *h = opaque;

    for (;;) {
        enum vcpu_exit exit = accel_vcpu_run(h->vcpu);

        pthread_mutex_lock(&h->bare->lock);
        bool over = h->bare->over;
        pthread_mutex_unlock(&h->bare->lock);
        if (over)
            return NULL;
        if (exit != VCPU_EXIT_KICKED) {
            finish(h->bare, 0, accel_vcpu_error(h->vcpu));
            return NULL;
        }
    }
}

/* Waits for the end, looking at tohost every millisecond. */
static void watch(struct bare *b)
{
    uint64_t end = g_get_monotonic_time() + b->config.seconds * G_USEC_PER_SEC;
    uint64_t value = 0;

    pthread_mutex_lock(&b->lock);
    while (!b->over) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        pthread_cond_timedwait(&b->changed, &b->lock, &until);
        bool wrote = b->tohost && !mem_map_read(b->map, b->tohost, &value, 8) && value;
        bool late = (uint64_t)g_get_monotonic_time() > end;
        if (!b->over && (wrote || late)) {
            pthread_mutex_unlock(&b->lock);
            finish(b, value, wrote ? NULL : "ran too long");
            pthread_mutex_lock(&b->lock);
        }
    }
    pthread_mutex_unlock(&b->lock);
}

/* --- the machine ------------------------------------------------------------------------------ */

static bool make_harts(struct bare *b, GError **err)
{
    struct accel_config config = {
        .isa = b->isa, .vcpus = b->config.vcpus, .mem = b->map, .clock = b->clock,
        .timebase_hz = 10000000, .firmware_mode = !b->config.supervisor, .tier = b->config.tier,
        .hypercall = hypercall, .hypercall_opaque = b, .line = line_changed, .machine_opaque = b,
    };

    if (!accel_create(&xlate_accel_ops, &config, &b->accel, err))
        return false;
    for (unsigned i = 0; i < b->config.vcpus; i++) {
        struct vcpu_start start = {.pc = b->config.stub ? BARE_STUB : b->config.entry,
                                   .args = {i, b->config.arg}};

        if (!accel_vcpu_create(b->accel, i, &b->hart[i].vcpu, err))
            return false;
        b->hart[i].bare = b;
        accel_vcpu_reset(b->hart[i].vcpu, &start);
    }
    return true;
}

struct bare *bare_new(const struct bare_config *config, GError **err)
{
    struct bare *b = g_new0(struct bare, 1);

    b->config = *config;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->map = mem_map_new();
    b->clock = vm_clock_new(0);
    bool ok = load(b, err) &&
              (!config->stub || mem_map_add_ram(b->map, BARE_STUB, PAGE, "stub", false, err));
    if (ok && config->stub)
        mem_map_write(b->map, BARE_STUB, config->stub, config->stub_words * 4);
    mem_map_add_device(b->map, BARE_EXIT, 8, "exit", &exit_ops, b);
    mem_map_add_device(b->map, BARE_IPI, 4 * config->vcpus, "ipi", &ipi_ops, b);
    if (ok)
        b->tohost = find_tohost(config);
    if (!ok || !make_harts(b, err)) {
        bare_free(b);
        return NULL;
    }
    return b;
}

bool bare_run(struct bare *b, uint64_t *value, GError **err)
{
    for (unsigned i = 0; i < b->config.vcpus; i++)
        b->hart[i].started = !pthread_create(&b->hart[i].thread, NULL, hart_thread, &b->hart[i]);
    watch(b);
    for (unsigned i = 0; i < b->config.vcpus; i++) {
        if (!b->hart[i].started)
            continue;
        accel_vcpu_kick(b->hart[i].vcpu);
        pthread_join(b->hart[i].thread, NULL);
        b->hart[i].started = false;
    }
    *value = b->value;
    return b->error ? vmd_fail(err, VMD_ERROR_INTERNAL, "%s", b->error) : true;
}

struct mem_map *bare_memory(struct bare *b)
{
    return b->map;
}

struct accel *bare_accel(struct bare *b)
{
    return b->accel;
}

void bare_free(struct bare *b)
{
    if (!b)
        return;
    for (unsigned i = 0; i < b->config.vcpus; i++)
        if (b->hart[i].vcpu)
            accel_vcpu_free(b->hart[i].vcpu);
    accel_free(b->accel);
    mem_map_free(b->map);
    vm_clock_free(b->clock);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    g_free(b->error);
    g_free(b);
}
