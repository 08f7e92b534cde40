/*
 * A board without vCPUs: what it drives, asks and sends is recorded. Shared by the board tests.
 */
#ifndef TESTS_UNIT_BOARD_RIG_H
#define TESTS_UNIT_BOARD_RIG_H

#include "machine/boards/board.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>

struct rig {
    uv_loop_t loop;
    struct mem_map *mem;
    struct vm_clock *clock;
    struct board *board;
    bool irq[LIMIT_XLATE_VCPUS][16];
    enum board_cpu_status status[LIMIT_XLATE_VCPUS];
    uint64_t kept; /* harts that may not be started, a bit each */
    struct board_start started; /* the last hart start */
    unsigned n_requests;
    struct board_request request; /* the last */
    unsigned n_fences;
    unsigned fence_from;
    uint64_t fence_mask;
    enum board_fence fence_kind;
    struct board_fence_range fence_range;
    GString *output;
    bool flushes; /* the backend flushes whenever it is given something */
    size_t output_most; /* what the backend takes before it stalls */
    unsigned rooms;     /* calls of input_room */
};

static inline void rig_set_irq(void *opaque, unsigned cpu, unsigned irq, bool level)
{
    struct rig *r = opaque;

    if (cpu >= LIMIT_XLATE_VCPUS || irq >= 16)
        ck_abort_msg("input %u of hart %u", irq, cpu);
    r->irq[cpu][irq] = level;
}

static inline int rig_start(void *opaque, unsigned cpu, const struct board_start *start)
{
    struct rig *r = opaque;

    if (r->status[cpu] != BOARD_CPU_STOPPED)
        return -EALREADY;
    if (r->kept & UINT64_C(1) << cpu)
        return -EPERM;
    r->status[cpu] = BOARD_CPU_STARTING;
    r->started = *start;
    return 0;
}

static inline void rig_stop(void *opaque, unsigned self)
{
    struct rig *r = opaque;

    r->status[self] = BOARD_CPU_STOPPING;
}

static inline enum board_cpu_status rig_status(void *opaque, unsigned cpu)
{
    struct rig *r = opaque;

    return r->status[cpu];
}

static inline void rig_fence(void *opaque, unsigned from, uint64_t mask, enum board_fence kind,
                             const struct board_fence_range *range)
{
    struct rig *r = opaque;

    r->n_fences++;
    r->fence_from = from;
    r->fence_mask = mask;
    r->fence_kind = kind;
    r->fence_range = *range;
}

static inline void rig_request(void *opaque, const struct board_request *request)
{
    struct rig *r = opaque;

    r->n_requests++;
    r->request = *request;
}

static const struct board_cpu_ops rig_cpu_ops = {
    .set_irq = rig_set_irq,
    .start = rig_start,
    .stop = rig_stop,
    .status = rig_status,
    .fence = rig_fence,
    .request = rig_request,
};

static inline size_t rig_output(void *opaque, const uint8_t *data, size_t n)
{
    struct rig *r = opaque;
    size_t take = MIN(n, r->output_most);

    if (r->flushes)
        board_console_flush(r->board);

    g_string_append_len(r->output, (const char *)data, (gssize)take);
    r->output_most -= take;
    return take;
}

static inline void rig_room(void *opaque)
{
    struct rig *r = opaque;

    r->rooms++;
}

static const struct board_console_ops rig_console_ops = {.output = rig_output,
                                                         .input_room = rig_room};

/* A rig with a configuration for a board with CPUS harts and 64 MiB, not yet made. */
static inline struct board_config rig_begin(struct rig *r, unsigned cpus)
{
    *r = (struct rig){.output = g_string_new(NULL), .output_most = SIZE_MAX};
    ck_assert_int_eq(uv_loop_init(&r->loop), 0);
    r->mem = mem_map_new();
    r->clock = vm_clock_new(1000000000);
    r->status[0] = BOARD_CPU_STARTED;
    return (struct board_config){
        .isa = ISA_RISCV64,
        .cpus = cpus,
        .memory = MIB(64),
        .mem = r->mem,
        .clock = r->clock,
        .loop = &r->loop,
        .kernel = {-1, NULL},
        .initrd = {-1, NULL},
        .firmware = {-1, NULL},
        .vars = {-1, NULL},
        .cpu_ops = &rig_cpu_ops,
        .cpu_opaque = r,
        .console_ops = &rig_console_ops,
        .console_opaque = r,
    };
}

static inline void rig_make(struct rig *r, const struct board_config *config)
{
    g_autoptr(GError) err = NULL;

    r->board = board_new(config, &err);
    ck_assert_msg(r->board != NULL, "board_new: %s", err ? err->message : "");
}

static inline void rig_end(struct rig *r)
{
    board_free(r->board);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&r->loop), 0);
    mem_map_free(r->mem);
    vm_clock_free(r->clock);
    g_string_free(r->output, TRUE);
}

/* Lets the loop do what it has been told to, until it has nothing left but waiting. */
static inline void rig_turn(struct rig *r)
{
    int timeout;

    uv_run(&r->loop, UV_RUN_NOWAIT);
    while ((timeout = uv_backend_timeout(&r->loop)) >= 0) {
        poll(&(struct pollfd){uv_backend_fd(&r->loop), POLLIN, 0}, 1, timeout);
        uv_run(&r->loop, UV_RUN_NOWAIT);
    }
}

static inline uint64_t rig_read(struct rig *r, gpa_t gpa, unsigned size)
{
    uint64_t value = 0;

    if (mem_map_device_read(r->mem, gpa, size, &value) < 0)
        ck_abort_msg("the read at 0x%x is refused", (unsigned)gpa);
    return value;
}

static inline void rig_write(struct rig *r, gpa_t gpa, unsigned size, uint64_t value)
{
    if (mem_map_device_write(r->mem, gpa, size, value) < 0)
        ck_abort_msg("the write at 0x%x is refused", (unsigned)gpa);
}

/* Pauses the VM's clock until the host's time of day has left the second that the VM is in, which is returned. */
static inline uint64_t rig_pause_a_second(struct rig *r)
{
    const uint64_t second = 1000000000;
    struct timespec next = {0};

    vm_clock_pause(r->clock);
    uint64_t paused = vm_clock_time_of_day(r->clock, vm_clock_now(r->clock)) / second;
    next.tv_sec = (time_t)paused + 1;
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &next, NULL) != 0)
        ;
    return paused;
}

/* A file in memory with SIZE bytes of DATA. */
static inline struct board_file rig_file(const char *name, const void *data, size_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    return (struct board_file){fd, name};
}

#endif
