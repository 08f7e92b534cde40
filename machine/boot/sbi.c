/*
 * One row a function, one table of rows an extension. A handler gets the hart and a0..a5 and
 * returns an error and a value, and whether the hart has to leave guest code.
 */
#include "machine/boot/sbi.h"

#include "machine/devices/hart_timer.h"

#include <errno.h>

enum {
    SBI_SUCCESS = 0,
    SBI_ERR_FAILED = -1,
    SBI_ERR_NOT_SUPPORTED = -2,
    SBI_ERR_INVALID_PARAM = -3,
    SBI_ERR_DENIED = -4,
    SBI_ERR_INVALID_ADDRESS = -5,
    SBI_ERR_ALREADY_AVAILABLE = -6,
};

#define SBI_SPEC_VERSION UINT64_C(0x02000000) /* 2.0 */

struct sbi {
    struct device dev;
    struct sbi_config config;
    uint64_t timer[LIMIT_XLATE_VCPUS]; /* saved here; the hart timer has the live ones */
    struct hart_timer *harts;
};

struct result {
    int64_t error;
    uint64_t value;
    bool leave;
};

typedef struct result (*sbi_fn)(struct sbi *sbi, unsigned cpu, const uint64_t args[8]);

struct extension {
    uint64_t id;
    const sbi_fn *functions; /* by function number */
    size_t n;
    bool legacy; /* the result is one number in a0; the function number means nothing */
};

static struct result fail(int64_t error)
{
    return (struct result){.error = error};
}

static struct result ok(uint64_t value)
{
    return (struct result){.value = value};
}

/* --- base (chapter 4) --------------------------------------------------------------------- */

static const struct extension *extension_by_id(uint64_t id);

static struct result base_spec_version(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return ok(SBI_SPEC_VERSION);
}

static struct result base_impl_id(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return ok(SBI_IMPL_ID);
}

static struct result base_impl_version(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return ok(SBI_IMPL_VERSION);
}

static struct result base_probe(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return ok(extension_by_id(args[0]) != NULL);
}

/* mvendorid, marchid, mimpid: 0 says "not told", as the CSRs may. */
static struct result base_machine_id(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return ok(0);
}

static const sbi_fn base_functions[] = {
    base_spec_version, base_impl_id,    base_impl_version, base_probe,
    base_machine_id,   base_machine_id, base_machine_id,
};

/* --- TIME (chapter 6) --------------------------------------------------------------------- */

static struct result time_set_timer(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    hart_timer_set(sbi->harts, cpu, args[0]);
    return ok(0);
}

static const sbi_fn time_functions[] = {time_set_timer};

/* --- masks of harts (section 3.1) --------------------------------------------------------- */

/* The harts that MASK from BASE on names; false when one of them isn't there. */
static bool hart_mask(const struct sbi *sbi, uint64_t mask, uint64_t base, uint64_t *out)
{
    uint64_t all = (UINT64_C(1) << sbi->config.cpus) - 1;

    if (base == UINT64_MAX) {
        *out = all;
        return true;
    }
    if (mask == 0) {
        *out = 0;
        return true;
    }
    if (base >= sbi->config.cpus || mask > all >> base)
        return false;
    *out = mask << base;
    return true;
}

/* --- IPI (chapter 7) ---------------------------------------------------------------------- */

static struct result ipi_send(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    uint64_t mask;

    if (!hart_mask(sbi, args[0], args[1], &mask))
        return fail(SBI_ERR_INVALID_PARAM);
    for (; mask; mask &= mask - 1)
        sbi->config.cpu_ops->set_irq(sbi->config.cpu_opaque, (unsigned)__builtin_ctzll(mask),
                                     HART_IRQ_S_SOFT, true);
    return ok(0);
}

static const sbi_fn ipi_functions[] = {ipi_send};

/* --- RFENCE (chapter 8) ------------------------------------------------------------------- */

static struct result fence(struct sbi *sbi, unsigned cpu, const uint64_t args[8],
                           enum board_fence kind)
{
    struct board_fence_range range = {.size = UINT64_MAX};
    uint64_t mask;

    if (!hart_mask(sbi, args[0], args[1], &mask))
        return fail(SBI_ERR_INVALID_PARAM);
    if (kind != BOARD_FENCE_CODE) {
        range.start = args[2];
        range.size = args[3];
        range.asid = kind == BOARD_FENCE_TLB_ASID ? args[4] : 0;
        if (range.size != UINT64_MAX && range.start + range.size < range.start)
            return fail(SBI_ERR_INVALID_ADDRESS);
    }
    if (mask)
        sbi->config.cpu_ops->fence(sbi->config.cpu_opaque, cpu, mask, kind, &range);
    return ok(0);
}

static struct result rfence_i(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return fence(sbi, cpu, args, BOARD_FENCE_CODE);
}

static struct result rfence_vma(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return fence(sbi, cpu, args, BOARD_FENCE_TLB);
}

static struct result rfence_vma_asid(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return fence(sbi, cpu, args, BOARD_FENCE_TLB_ASID);
}

/* The rest fence a guest of the guest, which needs the hypervisor extension. */
static const sbi_fn rfence_functions[] = {rfence_i, rfence_vma, rfence_vma_asid};

/* --- HSM (chapter 9) ---------------------------------------------------------------------- */

static struct result hsm_start(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    struct board_start start = {.pc = args[1], .args = {args[0], args[2]}};
    struct mem_view view;

    if (args[0] >= sbi->config.cpus)
        return fail(SBI_ERR_INVALID_PARAM);
    mem_map_lookup(sbi->config.mem, args[1], &view);
    if (view.kind != MEM_RAM || (args[1] & 1))
        return fail(SBI_ERR_INVALID_ADDRESS);
    switch (sbi->config.cpu_ops->start(sbi->config.cpu_opaque, (unsigned)args[0], &start)) {
    case 0:
        return ok(0);
    case -EPERM: /* what the caller may not have; the section knows no error of its own for it */
        return fail(SBI_ERR_DENIED);
    default:
        return fail(SBI_ERR_ALREADY_AVAILABLE);
    }
}

static struct result hsm_stop(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    sbi->config.cpu_ops->stop(sbi->config.cpu_opaque, cpu);
    return (struct result){.leave = true};
}

static struct result hsm_status(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    static const uint8_t numbers[] = {
        [BOARD_CPU_STARTED] = 0,
        [BOARD_CPU_STOPPED] = 1,
        [BOARD_CPU_STARTING] = 2,
        [BOARD_CPU_STOPPING] = 3,
    };

    if (args[0] >= sbi->config.cpus)
        return fail(SBI_ERR_INVALID_PARAM);
    return ok(numbers[sbi->config.cpu_ops->status(sbi->config.cpu_opaque, (unsigned)args[0])]);
}

/*
 * The default retentive suspend may resume for any reason (table 9.3), so it ends at once. The
 * default non-retentive one is defined but not offered; all else is reserved or unimplemented.
 */
static struct result hsm_suspend(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    switch ((uint32_t)args[0]) {
    case 0x00000000:
        return ok(0);
    case 0x80000000:
        return fail(SBI_ERR_NOT_SUPPORTED);
    default:
        return fail(SBI_ERR_INVALID_PARAM);
    }
}

static const sbi_fn hsm_functions[] = {hsm_start, hsm_stop, hsm_status, hsm_suspend};

/* --- SRST (chapter 10) -------------------------------------------------------------------- */

static struct result srst_reset(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    enum { SHUTDOWN, COLD_REBOOT, WARM_REBOOT };
    enum { NO_REASON, SYSTEM_FAILURE };
    uint32_t type = (uint32_t)args[0], reason = (uint32_t)args[1];
    struct board_request request = {.source = "sbi-srst", .code = type, .reason = reason};

    if (type > WARM_REBOOT || reason > SYSTEM_FAILURE)
        return fail(SBI_ERR_INVALID_PARAM);
    if (type != SHUTDOWN)
        request.kind = BOARD_REQUEST_REBOOT;
    else
        request.kind = reason == SYSTEM_FAILURE ? BOARD_REQUEST_FAILED : BOARD_REQUEST_POWEROFF;
    sbi->config.cpu_ops->request(sbi->config.cpu_opaque, &request);
    return (struct result){.leave = true};
}

static const sbi_fn srst_functions[] = {srst_reset};

/* --- DBCN (chapter 12) -------------------------------------------------------------------- */

/* The guest's buffer of a0 bytes at a1 (a2: the address's upper half, beyond RV64's reach). */
static void *console_buffer(struct sbi *sbi, const uint64_t args[8], bool write)
{
    return args[2] ? NULL : mem_map_host(sbi->config.mem, args[1], args[0], write);
}

static struct result dbcn_write(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    if (args[0] == 0)
        return ok(0);
    const void *from = console_buffer(sbi, args, false);
    if (!from)
        return fail(SBI_ERR_INVALID_PARAM);
    return ok(serial_transmit(sbi->config.console, from, args[0]));
}

static struct result dbcn_read(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    if (args[0] == 0)
        return ok(0);
    void *to = console_buffer(sbi, args, true);
    if (!to)
        return fail(SBI_ERR_INVALID_PARAM);
    size_t n = serial_receive(sbi->config.console, to, args[0]);
    mem_map_written(sbi->config.mem, args[1], n);
    return ok(n);
}

static struct result dbcn_write_byte(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    uint8_t byte = (uint8_t)args[0];

    return serial_transmit(sbi->config.console, &byte, 1) ? ok(0) : fail(SBI_ERR_FAILED);
}

static const sbi_fn dbcn_functions[] = {dbcn_write, dbcn_read, dbcn_write_byte};

/* --- legacy (chapter 5): the value is all of the result ----------------------------------- */

static struct result legacy_getchar(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    uint8_t byte;

    return ok(serial_receive(sbi->config.console, &byte, 1) ? byte : UINT64_MAX);
}

static struct result legacy_putchar(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    return ok((uint64_t)dbcn_write_byte(sbi, cpu, args).error);
}

static struct result legacy_shutdown(struct sbi *sbi, unsigned cpu, const uint64_t args[8])
{
    struct board_request request = {.kind = BOARD_REQUEST_POWEROFF, .source = "sbi-legacy"};

    sbi->config.cpu_ops->request(sbi->config.cpu_opaque, &request);
    return (struct result){.leave = true};
}

static const sbi_fn legacy_set_timer_functions[] = {time_set_timer};
static const sbi_fn legacy_putchar_functions[] = {legacy_putchar};
static const sbi_fn legacy_getchar_functions[] = {legacy_getchar};
static const sbi_fn legacy_shutdown_functions[] = {legacy_shutdown};

/* --- dispatch ----------------------------------------------------------------------------- */

#define EXTENSION(id_, functions_)                                                                 \
    {                                                                                              \
        .id = (id_), .functions = (functions_), .n = G_N_ELEMENTS(functions_)                      \
    }
#define LEGACY(id_, functions_)                                                                    \
    {                                                                                              \
        .id = (id_), .functions = (functions_), .n = 1, .legacy = true                             \
    }
static const struct extension extensions[] = {
    EXTENSION(0x54494d45, time_functions),   EXTENSION(0x52464e43, rfence_functions),
    EXTENSION(0x735049, ipi_functions),      EXTENSION(0x4442434e, dbcn_functions),
    EXTENSION(0x48534d, hsm_functions),      EXTENSION(0x53525354, srst_functions),
    EXTENSION(0x10, base_functions),         LEGACY(0x00, legacy_set_timer_functions),
    LEGACY(0x01, legacy_putchar_functions),  LEGACY(0x02, legacy_getchar_functions),
    LEGACY(0x08, legacy_shutdown_functions),
};

static const struct extension *extension_by_id(uint64_t id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(extensions); i++) {
        if (extensions[i].id == id)
            return &extensions[i];
    }
    return NULL;
}

bool sbi_call(struct sbi *sbi, unsigned cpu, uint64_t args[8])
{
    const struct extension *e = extension_by_id(args[7]);
    struct result r = {.error = SBI_ERR_NOT_SUPPORTED};

    if (e && e->legacy) {
        r = e->functions[0](sbi, cpu, args);
        args[0] = r.value;
        return !r.leave;
    }
    if (e && args[6] < e->n)
        r = e->functions[args[6]](sbi, cpu, args);
    args[0] = (uint64_t)r.error;
    args[1] = r.value;
    return !r.leave;
}

/* --- as a device -------------------------------------------------------------------------- */

static void sbi_reset(struct device *dev)
{
    struct sbi *sbi = container_of(dev, struct sbi, dev);

    hart_timer_reset(sbi->harts);
}

static void sbi_saving(struct device *dev)
{
    struct sbi *sbi = container_of(dev, struct sbi, dev);

    for (unsigned i = 0; i < sbi->config.cpus; i++)
        sbi->timer[i] = hart_timer_get(sbi->harts, i);
}

static bool sbi_restored(struct device *dev)
{
    struct sbi *sbi = container_of(dev, struct sbi, dev);

    for (unsigned i = 0; i < sbi->config.cpus; i++)
        hart_timer_restore(sbi->harts, i, sbi->timer[i]);
    return true;
}

static void sbi_free(struct device *dev)
{
    struct sbi *sbi = container_of(dev, struct sbi, dev);

    hart_timer_free(sbi->harts);
    g_free(sbi);
}

static const struct state_field sbi_fields[] = {
    STATE_FIELD_U64(struct sbi, timer, 1),
};

static const struct state_desc sbi_state = {
    .name = "sbi",
    .version = 1,
    .size = sizeof(struct sbi),
    .n_fields = G_N_ELEMENTS(sbi_fields),
    .fields = sbi_fields,
};

static const struct device_class sbi_class = {
    .name = "sbi",
    .state = &sbi_state,
    .reset = sbi_reset,
    .saving = sbi_saving,
    .restored = sbi_restored,
    .free = sbi_free,
};

struct sbi *sbi_new(const struct sbi_config *config)
{
    struct sbi *sbi = g_new0(struct sbi, 1);
    struct hart_timer_config harts = {
        .cpus = config->cpus,
        .irq = HART_IRQ_S_TIMER,
        .hz = config->timebase_hz,
        .timers = config->timers,
        .set_irq = config->cpu_ops->set_irq,
        .opaque = config->cpu_opaque,
    };

    sbi->dev.class = &sbi_class;
    sbi->config = *config;
    sbi->harts = hart_timer_new(&harts);
    return sbi;
}

struct device *sbi_device(struct sbi *sbi)
{
    return &sbi->dev;
}
