/* See the header. */
#include "tests/guest/x86_64/machine.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define PORT_CALL 0xf0
#define PORT_END  0xf4

bool machine_possible(void)
{
    g_autoptr(GError) err = NULL;
    autofd fd = kvm_open(&err);

    if (fd < 0)
        printf("skipped: needs /dev/kvm: no guest ran on KVM here: %s\n", err->message);
    return fd >= 0;
}

static void end(struct machine *m, uint32_t status)
{
    pthread_mutex_lock(&m->lock);
    if (!m->ended)
        m->status = status;
    m->ended = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    for (unsigned i = 0; i < m->config.cpus; i++)
        accel_vcpu_kick(m->vcpus[i]);
}

static int port_read(void *opaque, uint64_t port, unsigned size, uint64_t *value)
{
    struct machine *m = opaque;

    if (port != PORT_CALL)
        return -EFAULT;
    *value = m->answer;
    return 0;
}

static int port_write(void *opaque, uint64_t port, unsigned size, uint64_t value)
{
    struct machine *m = opaque;

    if (port == PORT_END)
        end(m, (uint32_t)value);
    if (port != PORT_CALL)
        return 0;
    if (m->config.call)
        m->answer = m->config.call(m, (uint32_t)value);
    pthread_mutex_lock(&m->lock);
    m->calls[value % G_N_ELEMENTS(m->calls)]++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static int device_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    struct machine *m = opaque;

    *value = 0;
    memcpy(value, m->device + offset, size);
    m->reads++;
    return 0;
}

static int device_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct machine *m = opaque;

    memcpy(m->device + offset, &value, size);
    m->writes++;
    m->last_offset = offset;
    m->last_size = size;
    m->last_value = value;
    return 0;
}

static const struct mem_device_ops port_ops = {port_read, port_write, 1 | 2 | 4};
static const struct mem_device_ops device_ops = {device_read, device_write, 1 | 2 | 4 | 8};

/* Four levels, with pages of 2 MiB. */
static void make_tables(uint8_t *ram)
{
    uint64_t *pml4 = (uint64_t *)(ram + MACHINE_TABLES);
    uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;

    pml4[0] = (MACHINE_TABLES + 0x1000) | 7;
    for (unsigned i = 0; i < 4; i++)
        pdpt[i] = (MACHINE_TABLES + 0x2000 + i * 0x1000) | 7;
    for (uint64_t i = 0; i < 4 * 512; i++)
        pd[i] = i << 21 | 0x87;
}

static void load(struct machine *m)
{
    g_autofree char *path = NULL;
    g_autofree char *bytes = NULL;
    gsize size;

    memset(m->ram->host, 0, MACHINE_RAM); /* the image has no .bss */
    make_tables(m->ram->host);
    if (!m->config.program)
        return;
    path = g_build_filename(g_getenv("VMD_X86_GUESTS"), m->config.program, NULL);
    ck_assert_msg(g_file_get_contents(path, &bytes, &size, NULL), "no guest '%s'", path);
    ck_assert_uint_lt(MACHINE_PROGRAM + size, MACHINE_RAM);
    memcpy(m->ram->host + MACHINE_PROGRAM, bytes, size);
}

void machine_reset(struct machine *m)
{
    load(m);
    for (unsigned i = 0; i < m->config.cpus; i++) {
        struct vcpu_start start = {.pc = MACHINE_PROGRAM,
                                   .args = {m->config.arg},
                                   .mode = i ? VCPU_MODE_WAIT : m->config.mode,
                                   .cr3 = MACHINE_TABLES};
        accel_vcpu_reset(m->vcpus[i], &start);
    }
}

static void send_msi(void *opaque, uint64_t address, uint32_t data)
{
    accel_msi(((struct machine *)opaque)->accel, address, data);
}

static void set_route(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data)
{
    const struct accel_route route = {address, data};

    ck_assert_int_eq(accel_route(((struct machine *)opaque)->accel, pin, used ? &route : NULL), 0);
}

static const struct ioapic_ops ioapic_ops = {.msi = send_msi, .route = set_route};

static void eoi(void *opaque, uint8_t vector)
{
    ioapic_eoi(((struct machine *)opaque)->ioapic, vector);
}

void machine_gsi(struct machine *m, unsigned pin, bool level)
{
    if (m->ioapic)
        ioapic_set(m->ioapic, pin, level);
    else
        accel_gsi(m->accel, pin, level);
}

static void make_vcpus(struct machine *m)
{
    const struct accel_config config = {.isa = ISA_X86_64,
                                        .vcpus = m->config.cpus,
                                        .mem = m->mem,
                                        .ports = m->ports,
                                        .clock = m->clock,
                                        .cpu = m->config.cpu,
                                        .split_irqchip = m->config.split,
                                        .eoi = eoi,
                                        .machine_opaque = m};
    const struct kvm_options options = {.dirty_bitmap = m->config.bitmap};
    g_autoptr(GError) err = NULL;

    ck_assert_msg(kvm_accel_create(&config, &options, &m->accel, &err), "%s",
                  err ? err->message : "");
    for (unsigned i = 0; i < m->config.cpus; i++)
        ck_assert_msg(accel_vcpu_create(m->accel, i, &m->vcpus[i], &err), "%s",
                      err ? err->message : "");
}

struct machine *machine_new(const struct machine_config *config)
{
    struct machine *m = g_new0(struct machine, 1);

    m->config = *config;
    m->config.cpus = MAX(config->cpus, 1);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    m->mem = mem_map_new();
    m->ports = mem_map_new();
    m->clock = vm_clock_new(0);
    m->ram = mem_map_add_ram(m->mem, 0, MACHINE_RAM, "ram", false, NULL);
    ck_assert_ptr_nonnull(m->ram);
    mem_map_add_device(m->mem, MACHINE_DEVICE, sizeof(m->device), "device", &device_ops, m);
    mem_map_add_device(m->ports, 0, 0x100, "ports", &port_ops, m);
    if (m->config.split) {
        m->ioapic = ioapic_new(&ioapic_ops, m);
        device_map(ioapic_device(m->ioapic), m->mem, 0xfec00000);
    }
    make_vcpus(m);
    machine_reset(m);
    return m;
}

void machine_free(struct machine *m)
{
    for (unsigned i = 0; i < m->config.cpus; i++)
        accel_vcpu_free(m->vcpus[i]);
    accel_free(m->accel);
    if (m->ioapic)
        device_free(ioapic_device(m->ioapic));
    mem_map_free(m->mem);
    mem_map_free(m->ports);
    vm_clock_free(m->clock);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    g_free(m);
}

struct vcpu_thread {
    struct machine *m;
    unsigned index;
};

static void *run(void *arg)
{
    g_autofree struct vcpu_thread *t = arg;
    struct machine *m = t->m;

    m->exits[t->index] = accel_vcpu_run(m->vcpus[t->index]);
    if (m->exits[t->index] != VCPU_EXIT_KICKED)
        end(m, UINT32_MAX);
    return NULL;
}

void machine_start(struct machine *m)
{
    for (unsigned i = 0; i < m->config.cpus; i++) {
        struct vcpu_thread *t = g_new(struct vcpu_thread, 1);
        *t = (struct vcpu_thread){m, i};
        ck_assert_int_eq(pthread_create(&m->threads[i], NULL, run, t), 0);
    }
}

void machine_wait_call(struct machine *m, uint32_t number, uint32_t times)
{
    pthread_mutex_lock(&m->lock);
    while (m->calls[number] < times && !m->ended)
        pthread_cond_wait(&m->changed, &m->lock);
    bool ended = m->ended && m->calls[number] < times;
    pthread_mutex_unlock(&m->lock);
    ck_assert_msg(!ended, "the guest ended early: %u: %s", m->status,
                  accel_vcpu_error(m->vcpus[0]));
}

static void join(struct machine *m)
{
    for (unsigned i = 0; i < m->config.cpus; i++)
        pthread_join(m->threads[i], NULL);
}

void machine_join(struct machine *m)
{
    pthread_mutex_lock(&m->lock);
    while (!m->ended)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    join(m);
}

void machine_stop(struct machine *m)
{
    for (unsigned i = 0; i < m->config.cpus; i++)
        accel_vcpu_kick(m->vcpus[i]);
    join(m);
}

void machine_pass(struct machine *m)
{
    machine_start(m);
    machine_join(m);
    for (unsigned i = 0; i < m->config.cpus; i++)
        ck_assert_msg(m->exits[i] == VCPU_EXIT_KICKED, "vCPU %u: %s", i,
                      accel_vcpu_error(m->vcpus[i]));
    ck_assert_msg(m->status == 0, "line %u of %s does not hold", m->status, m->config.program);
}

uint32_t machine_word(struct machine *m, gpa_t at)
{
    return __atomic_load_n((uint32_t *)(m->ram->host + at), __ATOMIC_SEQ_CST);
}
