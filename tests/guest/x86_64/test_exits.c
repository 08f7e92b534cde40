/*
 * The way from KVM_RUN to a device and back takes no lock and allocates nothing: whoever does on a
 * vCPU's thread is counted here, by way of the linker's --wrap. The device and port are the test's
 * own.
 */
#include "tests/guest/x86_64/machine.h"
#include "tests/unit/unit.h"

#define EXITS 1000

static __thread bool counting; /* on the vCPU's thread, between its first and last exit */
static unsigned counted;       /* atomic */

static void count(void)
{
    if (counting)
        __atomic_add_fetch(&counted, 1, __ATOMIC_RELAXED);
}

/* What is wrapped: the result's type, name, parameters, arguments. */
#define WRAP(type, name, parameters, arguments)                                                    \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        count();                                                                                   \
        return __real_##name arguments;                                                            \
    }
WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t n, size_t m), (n, m))
WRAP(void *, realloc, (void *p, size_t n), (p, n))
WRAP(void *, g_malloc, (gsize n), (n))
WRAP(void *, g_malloc0, (gsize n), (n))
WRAP(void *, g_malloc_n, (gsize n, gsize m), (n, m))
WRAP(void *, g_malloc0_n, (gsize n, gsize m), (n, m))
WRAP(int, pthread_mutex_lock, (pthread_mutex_t * m), (m))
WRAP(int, pthread_mutex_trylock, (pthread_mutex_t * m), (m))
WRAP(int, pthread_rwlock_rdlock, (pthread_rwlock_t * l), (l))
WRAP(int, pthread_rwlock_wrlock, (pthread_rwlock_t * l), (l))
WRAP(int, pthread_spin_lock, (pthread_spinlock_t * l), (l))

static uint64_t last;

static int read_it(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    counting = true;
    *value = last;
    return 0;
}

static int write_it(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    counting = true;
    last = value;
    return 0;
}

static int end_it(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    counting = false;
    if (offset == 4)
        accel_vcpu_kick(opaque);
    return 0;
}

static const struct mem_device_ops ops = {read_it, write_it, 4};
static const struct mem_device_ops end_ops = {read_it, end_it, 4};

START_TEST(no_lock_no_allocation)
{
    struct machine *m = machine_new(
        &(struct machine_config){.program = "exits", .mode = VCPU_MODE_LONG, .arg = EXITS});
    struct accel_stat rows[128];
    uint64_t mmio = 0, io = 0;

    mem_map_remove_device(m->mem, MACHINE_DEVICE);
    mem_map_remove_device(m->ports, 0);
    mem_map_add_device(m->mem, MACHINE_DEVICE, 0x1000, "device", &ops, NULL);
    mem_map_add_device(m->ports, 0xf0, 8, "end", &end_ops, m->vcpus[0]);
    ck_assert_int_eq(accel_vcpu_run(m->vcpus[0]), VCPU_EXIT_KICKED);
    size_t n = accel_vcpu_stats(m->vcpus[0], rows, G_N_ELEMENTS(rows));
    for (size_t i = 0; i < n; i++) {
        mmio = strcmp(rows[i].name, "exit.mmio") ? mmio : rows[i].value;
        io = strcmp(rows[i].name, "exit.io") ? io : rows[i].value;
    }
    ck_assert_uint_ge(mmio, 2 * EXITS);
    ck_assert_uint_ge(io, 2 * EXITS);
    ck_assert_uint_eq(counted, 0);

    /* The counter counts: a change of the map allocates and locks. */
    counting = true;
    mem_map_remove_device(m->mem, MACHINE_DEVICE);
    counting = false;
    ck_assert_uint_ge(counted, 2);
    machine_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm-exits");
    TCase *tc = tcase_create("all");

    if (!machine_possible())
        return 77;
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, no_lock_no_allocation);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
