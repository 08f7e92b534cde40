/* The GPU's PCI function: a guest that maps its BARs finds the registers, and speaks with a worker
 * by the window. */
#include "gpu/device/gpu_function.h"
#include "gpu/server/worker.h"
#include "tests/gpu/engine_test.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>

enum { SLOT = 4, CHANNEL = 3 };

#define REGISTERS  GUEST_WINDOW
#define WINDOW     (GUEST_WINDOW + GPU_SHARED_BYTES)
#define SHARED     (WINDOW + CHANNEL * GPU_CHANNEL_BYTES)
#define AT(member) (SHARED + offsetof(struct gpu_channel, member))

struct rig {
    struct guest guest;
    struct gpu_function *function;
    struct gpu_quota quota;
    struct session_env env;
    struct worker_seats seats;
};

/* The function where a guest's kernel would put it. */
static void rig_init(struct rig *r)
{
    guest_init(&r->guest, true);
    r->function = gpu_function_new(NULL);
    ck_assert(pci_host_add(r->guest.host, gpu_function_pci(r->function), SLOT, 0, NULL));
    guest_config_write(&r->guest, SLOT, PCI_BASE_ADDRESS_0, 4, REGISTERS);
    guest_config_write(&r->guest, SLOT, PCI_BASE_ADDRESS_2, 4, WINDOW);
    guest_config_write(&r->guest, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

static void rig_fini(struct rig *r)
{
    pci_host_remove(gpu_function_pci(r->function));
    gpu_function_free(r->function);
    guest_fini(&r->guest);
}

static void rig_worker(struct rig *r)
{
    int fds[WORKER_FDS];

    r->quota.most = MIB(16);
    r->env = (struct session_env){backend_queue_new(&engine_test), &r->quota};
    fds[0] = dup(gpu_function_memory(r->function));
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        fds[1 + i] = dup(gpu_function_doorbell(r->function, i));
    ck_assert(worker_start(&r->env, &r->seats, fds, false, NULL));
}

START_TEST(registers)
{
    struct rig r = {0};
    uint64_t count = 0;

    rig_init(&r);
    ck_assert_uint_eq(guest_config_read(&r.guest, SLOT, 0, 4),
                      GPU_PCI_DEVICE << 16 | GPU_PCI_VENDOR);
    ck_assert_uint_eq(guest_read(&r.guest, REGISTERS + GPU_REG_MAGIC, 4), (uint32_t)GPU_MAGIC);
    ck_assert_uint_eq(guest_read(&r.guest, REGISTERS + GPU_REG_CHANNELS, 4), GPU_CHANNELS);
    guest_write(&r.guest, REGISTERS + GPU_REG_DOORBELL + 4 * CHANNEL, 4, 1);
    for (unsigned i = 0; i < GPU_CHANNELS; i++) {
        ssize_t n = read(gpu_function_doorbell(r.function, i), &count, sizeof(count));
        ck_assert_msg((n == sizeof(count)) == (i == CHANNEL), "doorbell %u", i);
    }
    guest_write(&r.guest, REGISTERS + GPU_REG_DOORBELL + 4 * GPU_CHANNELS, 4, 1); /* none */
    guest_write(&r.guest, REGISTERS, 4, 0);
    rig_fini(&r);
}
END_TEST

/* The guest's view of the window, as of any RAM. */
static uint64_t window_read(struct guest *g, gpa_t gpa, unsigned size)
{
    uint64_t value = 0;

    ck_assert_int_eq(mem_map_read(g->mem, gpa, &value, size), 0);
    return value;
}

static void window_write(struct guest *g, gpa_t gpa, unsigned size, uint64_t value)
{
    ck_assert_int_eq(mem_map_write(g->mem, gpa, &value, size), 0);
}

/* What the guest writes is where the worker finds it, to the window's last byte, and wherever the
 * guest moves the window. */
START_TEST(window)
{
    const gpa_t last = GPU_SHARED_BYTES - 8, moved = WINDOW + 2 * GPU_SHARED_BYTES;
    struct rig r = {0};
    uint64_t bytes = 0;

    rig_init(&r);
    window_write(&r.guest, WINDOW + last, 8, UINT64_C(0x1122334455667788));
    ck_assert_uint_eq(pread(gpu_function_memory(r.function), &bytes, 8, last), 8);
    ck_assert_uint_eq(bytes, UINT64_C(0x1122334455667788));
    guest_config_write(&r.guest, SLOT, PCI_BASE_ADDRESS_2, 4, moved);
    ck_assert_ptr_null(mem_map_host(r.guest.mem, WINDOW + last, 8, false));
    ck_assert_uint_eq(window_read(&r.guest, moved + last, 1), 0x88);
    guest_config_write(&r.guest, SLOT, PCI_COMMAND, 2, 0);
    ck_assert_ptr_null(mem_map_host(r.guest.mem, moved, 8, false));
    rig_fini(&r);
}
END_TEST

/* A worker that is gone shows as lost; a reset closes what the guest's programs had open. */
START_TEST(lost)
{
    struct rig r = {0};
    uint64_t count;

    rig_init(&r);
    window_write(&r.guest, AT(guest_open), 4, 9);
    window_write(&r.guest, AT(host_open), 4, 9);
    gpu_function_lost(r.function);
    ck_assert_uint_eq(window_read(&r.guest, AT(host_open), 4), 0);
    ck_assert_uint_eq(window_read(&r.guest, AT(guest_open), 4), 9);
    pci_host_reset(r.guest.host);
    ck_assert_int_eq(read(gpu_function_doorbell(r.function, CHANNEL), &count, sizeof(count)),
                     sizeof(count));
    guest_config_write(&r.guest, SLOT, PCI_BASE_ADDRESS_2, 4, WINDOW);
    guest_config_write(&r.guest, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(window_read(&r.guest, AT(guest_open), 4), 0);
    rig_fini(&r);
}
END_TEST

static void write_words(struct guest *g, gpa_t at, const void *from, size_t length)
{
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)from + i, 8);
        window_write(g, at + i, 8, word);
    }
}

/* What a program's library does, access by access. */
START_TEST(hello)
{
    static struct rig r; /* the worker's threads outlive the test */
    struct guest *g = &r.guest;
    const struct {
        struct gpu_call_head head;
        struct gpu_call_hello fields;
    } call = {{sizeof(call), GPU_OP_HELLO, 0, 77, 0}, {GPU_VERSION, GPU_OLDEST}};
    gpa_t answer = SHARED + GPU_ANSWERS_AT;

    rig_init(&r);
    rig_worker(&r);
    while (window_read(g, AT(magic), 8) != GPU_MAGIC)
        sched_yield();
    window_write(g, AT(guest_open), 4, 5);
    guest_write(g, REGISTERS + GPU_REG_DOORBELL + 4 * CHANNEL, 4, 1);
    while (window_read(g, AT(host_open), 4) != 5)
        sched_yield();
    write_words(g, SHARED + GPU_CALLS_AT, &call, sizeof(call));
    window_write(g, AT(calls_tail), 4, sizeof(call));
    guest_write(g, REGISTERS + GPU_REG_DOORBELL + 4 * CHANNEL, 4, 1);
    while (!window_read(g, AT(answers_tail), 4))
        sched_yield();
    ck_assert_uint_eq(window_read(g, answer + offsetof(struct gpu_answer_head, seq), 4), 77);
    ck_assert_uint_eq(window_read(g, answer + offsetof(struct gpu_answer_head, result), 4), 0);
    /* A counter that cannot be: the session ends, and the next program's begins. */
    window_write(g, AT(calls_tail), 4, 0x80000000);
    guest_write(g, REGISTERS + GPU_REG_DOORBELL + 4 * CHANNEL, 4, 1);
    while (window_read(g, AT(host_open), 4))
        sched_yield();
    window_write(g, AT(calls_tail), 4, 0);
    window_write(g, AT(guest_open), 4, 6);
    guest_write(g, REGISTERS + GPU_REG_DOORBELL + 4 * CHANNEL, 4, 1);
    while (window_read(g, AT(host_open), 4) != 6)
        sched_yield();
    rig_fini(&r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-device");
    TCase *tc = tcase_create("gpu-device");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, registers);
    tcase_add_test(tc, window);
    tcase_add_test(tc, lost);
    tcase_add_test(tc, hello);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
