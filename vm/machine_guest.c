/* What a machine's board asks of its vCPUs, on their threads, and its serial console. See
 * machine_priv.h. */
#include "vm/machine_priv.h"

/* --- what the board asks of vCPUs ------------------------------------------------------------- */

static void cpu_set_irq(void *opaque, unsigned cpu, unsigned irq, bool level)
{
    struct machine *m = opaque;

    if (m->vcpus) /* else the machine is being taken apart */
        accel_vcpu_set_irq(vcpus_get(m->vcpus, cpu), irq, level);
}

static void cpu_gsi(void *opaque, unsigned gsi, bool level)
{
    struct machine *m = opaque;

    accel_gsi(m->accel, gsi, level);
}

static void cpu_msi(void *opaque, uint64_t address, uint32_t data)
{
    struct machine *m = opaque;

    accel_msi(m->accel, address, data);
}

static void cpu_route(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data)
{
    const struct accel_route route = {.address = address, .data = data};
    struct machine *m = opaque;

    accel_route(m->accel, pin, used ? &route : NULL);
}

int machine__cpu_start(void *opaque, unsigned cpu, const struct board_start *start)
{
    static const enum vcpu_mode modes[] = {
        [BOARD_MODE_RESET] = VCPU_MODE_RESET,
        [BOARD_MODE_PVH] = VCPU_MODE_PVH,
        [BOARD_MODE_LONG] = VCPU_MODE_LONG,
    };
    struct machine *m = opaque;
    struct vcpu_start s = {.pc = start->pc, .mode = modes[start->mode], .cr3 = start->cr3};

    memcpy(s.args, start->args, sizeof(s.args));
    return vcpus_start(m->vcpus, cpu, &s);
}

static void cpu_stop(void *opaque, unsigned self)
{
    struct machine *m = opaque;

    vcpus_stop_self(m->vcpus, self);
}

static enum board_cpu_status cpu_status(void *opaque, unsigned cpu)
{
    static const enum board_cpu_status status[] = {
        [VCPU_OFF] = BOARD_CPU_STOPPED,
        [VCPU_STARTING] = BOARD_CPU_STARTING,
        [VCPU_ON] = BOARD_CPU_STARTED,
        [VCPU_STOPPING] = BOARD_CPU_STOPPING,
    };
    struct machine *m = opaque;

    return status[vcpus_power(m->vcpus, cpu)];
}

static void cpu_ejected(void *opaque, unsigned cpu)
{
    struct machine *m = opaque;

    vcpus_grant_one(m->vcpus, cpu, false);
    vcpus_stop(m->vcpus, cpu);
    resize_changed(m->resize);
}

static void cpu_fence(void *opaque, unsigned from, uint64_t mask, enum board_fence kind,
                      const struct board_fence_range *range)
{
    static const enum accel_fence kinds[] = {
        [BOARD_FENCE_CODE] = ACCEL_FENCE_CODE,
        [BOARD_FENCE_TLB] = ACCEL_FENCE_TLB,
        [BOARD_FENCE_TLB_ASID] = ACCEL_FENCE_TLB_ASID,
    };
    struct machine *m = opaque;
    struct accel_fence_range r = {.start = range->start, .size = range->size, .asid = range->asid};

    accel_fence(m->accel, vcpus_get(m->vcpus, from), mask, kinds[kind], &r);
}

/* Keeps the first request until the loop takes it, and stops the guest meanwhile. Any thread. */
static void post_request(struct machine *m, const struct request *r)
{
    pthread_mutex_lock(&m->request_lock);
    if (!m->request.pending) {
        m->request = *r;
        m->request.pending = true;
    }
    pthread_mutex_unlock(&m->request_lock);
    vcpus_halt_async(m->vcpus);
    uv_async_send(m->wake);
}

static void cpu_request(void *opaque, const struct board_request *request)
{
    struct request r = {.board = *request};

    post_request(opaque, &r);
}

const struct board_cpu_ops machine__cpu_ops = {
    .set_irq = cpu_set_irq,
    .gsi = cpu_gsi,
    .msi = cpu_msi,
    .route = cpu_route,
    .start = machine__cpu_start,
    .stop = cpu_stop,
    .status = cpu_status,
    .ejected = cpu_ejected,
    .fence = cpu_fence,
    .request = cpu_request,
};

void machine__vcpu_failed(void *opaque, unsigned index, enum vcpu_exit why, const char *text)
{
    struct request r = {.failed = true, .why = why};

    g_snprintf(r.text, sizeof(r.text), "vCPU %u cannot go on: %s", index, text ? text : "unknown");
    post_request(opaque, &r);
}

void machine__vcpu_stopped(void *opaque)
{
    struct machine *m = opaque;

    pthread_mutex_lock(&m->request_lock);
    m->stopped = true;
    pthread_mutex_unlock(&m->request_lock);
    uv_async_send(m->wake);
}

/* --- the serial console ----------------------------------------------------------------------- */

static size_t serial_output(void *opaque, const uint8_t *data, size_t n)
{
    struct machine *m = opaque;

    console_output(m->serial, data, n);
    return n;
}

static void serial_input_room(void *opaque)
{
    struct machine *m = opaque;

    console_input_room(m->serial);
}

const struct board_console_ops machine__board_console_ops = {
    .output = serial_output,
    .input_room = serial_input_room,
};

static size_t serial_input(void *opaque, const uint8_t *data, size_t n)
{
    struct machine *m = opaque;

    return m->board && !m->end ? board_console_input(m->board, data, n) : n;
}

static void serial_seen(void *opaque, const uint8_t *data, size_t n)
{
    struct machine *m = opaque;

    sysrq_seen(m->sysrq, data, n);
    if (panic_feed(&m->panic, data, n) == PANIC_END && !m->end)
        machine_end(m, VM_END_REASON_GUEST_PANIC, m->panic.text);
}

static bool serial_break(void *opaque)
{
    struct machine *m = opaque;

    return board_console_break(m->board);
}

static void serial_type(void *opaque, char key)
{
    struct machine *m = opaque;

    board_console_input(m->board, (const uint8_t *)&key, 1);
}

const struct sysrq_ops machine__sysrq_ops = {.send_break = serial_break, .type = serial_type};

const struct console_ops machine__serial_ops = {.input = serial_input, .seen = serial_seen};
