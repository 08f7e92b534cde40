/*
 * One row a function. A handler gets x1..x3 in ARGS and puts the results there, x0 first; it says
 * whether the vCPU goes on. Functions of 32 bits get and give 32-bit numbers (DEN 0028, 2.5).
 */
#include "machine/boot/psci.h"

#include <errno.h>
#include <sys/random.h>

enum {
    PSCI_SUCCESS = 0,
    PSCI_NOT_SUPPORTED = -1,
    PSCI_INVALID_PARAMETERS = -2,
    PSCI_DENIED = -3,
    PSCI_ALREADY_ON = -4,
    PSCI_ON_PENDING = -5,
    PSCI_INVALID_ADDRESS = -9,
    TRNG_NO_ENTROPY = -3,

    AFFINITY_ON = 0,
    AFFINITY_OFF = 1,
    AFFINITY_PENDING = 2,

    TRUSTED_OS_NONE = 2, /* MIGRATE_INFO_TYPE: none that would have to move */
    TRNG_WORDS = 3,      /* of one call: x1..x3 or w1..w3 */
};

#define SMCCC_VERSION UINT32_C(0x00010001)
#define PSCI_VERSION  UINT32_C(0x00010001)
#define TRNG_VERSION  UINT32_C(0x00010000)
#define AFFINITY_MASK UINT64_C(0xff00ffffff)
#define WIDE          (UINT32_C(1) << 30) /* of a function's number: 64 bits */

struct call {
    const struct psci_config *config;
    unsigned cpu;
    uint64_t *x; /* x0..x7 */
    bool leave;  /* the vCPU leaves guest code */
};

static void result(struct call *c, int64_t value)
{
    c->x[0] = (uint64_t)value;
}

static const struct function *function_by_id(uint64_t id);

/* --- general ---------------------------------------------------------------------------------- */

static void smccc_version(struct call *c)
{
    result(c, SMCCC_VERSION);
}

static void psci_version(struct call *c)
{
    result(c, PSCI_VERSION);
}

static void trng_version(struct call *c)
{
    result(c, TRNG_VERSION);
}

/* Of the architecture, of PSCI and of TRNG: is function x1 there? No function has optional features, and
 * there are no workarounds: nothing here speculates. */
static void features(struct call *c)
{
    result(c, function_by_id((uint32_t)c->x[1]) ? PSCI_SUCCESS : PSCI_NOT_SUPPORTED);
}

/* --- power of vCPUs --------------------------------------------------------------------------- */

/* The vCPU whose affinity is in x1, or -1. */
static int target_of(const struct call *c)
{
    uint64_t wanted = c->x[1];

    if (wanted & ~AFFINITY_MASK)
        return -1;
    for (unsigned i = 0; i < c->config->cpus; i++) {
        if (c->config->affinity(i) == ((uint32_t)(wanted >> 32) << 24 | (wanted & 0xffffff)))
            return (int)i;
    }
    return -1;
}

static void cpu_on(struct call *c)
{
    const struct psci_config *config = c->config;
    int target = target_of(c);
    struct board_start start = {.pc = c->x[2], .args = {c->x[3]}};

    if (target < 0) {
        result(c, PSCI_INVALID_PARAMETERS);
        return;
    }
    if (start.pc & 3 || !mem_map_host(config->mem, start.pc, 4, false)) {
        result(c, PSCI_INVALID_ADDRESS);
        return;
    }
    switch (config->cpu_ops->start(config->cpu_opaque, (unsigned)target, &start)) {
    case 0:
        result(c, PSCI_SUCCESS);
        return;
    case -EPERM:
        result(c, PSCI_DENIED);
        return;
    }
    enum board_cpu_status now = config->cpu_ops->status(config->cpu_opaque, (unsigned)target);
    result(c, now == BOARD_CPU_STARTING ? PSCI_ON_PENDING : PSCI_ALREADY_ON);
}

static void cpu_off(struct call *c)
{
    c->config->cpu_ops->stop(c->config->cpu_opaque, c->cpu);
    c->leave = true;
    result(c, PSCI_SUCCESS);
}

/* All states are retention states that end at once: the kernel's own WFI sleeps better. */
static void cpu_suspend(struct call *c)
{
    result(c, PSCI_SUCCESS);
}

static void affinity_info(struct call *c)
{
    static const uint8_t info[] = {
        [BOARD_CPU_STOPPED] = AFFINITY_OFF,
        [BOARD_CPU_STARTING] = AFFINITY_PENDING,
        [BOARD_CPU_STARTED] = AFFINITY_ON,
        [BOARD_CPU_STOPPING] = AFFINITY_ON,
    };
    int target = target_of(c);

    if (target < 0 || c->x[2])
        result(c, PSCI_INVALID_PARAMETERS);
    else
        result(c, info[c->config->cpu_ops->status(c->config->cpu_opaque, (unsigned)target)]);
}

static void migrate_info_type(struct call *c)
{
    result(c, TRUSTED_OS_NONE);
}

/* --- power of the machine --------------------------------------------------------------------- */

static void request(struct call *c, enum board_request_kind kind)
{
    struct board_request r = {.kind = kind, .source = "psci"};

    c->config->cpu_ops->request(c->config->cpu_opaque, &r);
    c->leave = true;
    result(c, PSCI_SUCCESS);
}

static void system_off(struct call *c)
{
    request(c, BOARD_REQUEST_POWEROFF);
}

static void system_reset(struct call *c)
{
    request(c, BOARD_REQUEST_REBOOT);
}

/* x1: 0 is the architecture's warm reset; others are vendors'. */
static void system_reset2(struct call *c)
{
    if ((uint32_t)c->x[1])
        result(c, PSCI_INVALID_PARAMETERS);
    else
        request(c, BOARD_REQUEST_REBOOT);
}

/* --- random numbers --------------------------------------------------------------------------- */

static void trng_uuid(struct call *c)
{
    static const uint32_t uuid[4] = {0x3d0b1f9c, 0x4c5e7a61, 0x9f2ad0b8, 0x71e6c5a4};

    for (unsigned i = 0; i < G_N_ELEMENTS(uuid); i++)
        c->x[i] = uuid[i];
}

/* x1 bits, in x3 or w3 first, zero above. */
static void trng_rnd(struct call *c)
{
    uint64_t bits = c->x[1], words[TRNG_WORDS], width = c->x[0] & WIDE ? 64 : 32;

    if (!bits || bits > TRNG_WORDS * width) {
        result(c, PSCI_INVALID_PARAMETERS);
        return;
    }
    if (getrandom(words, sizeof(words), GRND_NONBLOCK) != (ssize_t)sizeof(words)) {
        result(c, TRNG_NO_ENTROPY);
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        uint64_t left = bits > width * i ? MIN(bits - width * i, width) : 0;
        c->x[TRNG_WORDS - i] = left == 64 ? words[i] : words[i] & ((UINT64_C(1) << left) - 1);
    }
    result(c, PSCI_SUCCESS);
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct function {
    uint32_t id; /* of 32 bits */
    bool wide;   /* there is one of 64 bits too */
    bool narrow; /* there is one of 32 bits */
    void (*run)(struct call *c);
} functions[] = {
    {0x80000000, false, true, smccc_version}, {0x80000001, false, true, features},
    {0x84000000, false, true, psci_version},  {0x84000001, true, true, cpu_suspend},
    {0x84000002, false, true, cpu_off},       {0x84000003, true, true, cpu_on},
    {0x84000004, true, true, affinity_info},  {0x84000006, false, true, migrate_info_type},
    {0x84000008, false, true, system_off},    {0x84000009, false, true, system_reset},
    {0x8400000a, false, true, features},      {0x84000012, true, true, system_reset2},
    {0x84000050, false, true, trng_version},  {0x84000051, false, true, features},
    {0x84000052, false, true, trng_uuid},     {0x84000053, true, true, trng_rnd},
};

static const struct function *function_by_id(uint64_t id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(functions); i++) {
        const struct function *f = &functions[i];
        if ((f->narrow && f->id == id) || (f->wide && (f->id | WIDE) == id))
            return f;
    }
    return NULL;
}

bool psci_call(const struct psci_config *config, unsigned cpu, uint64_t args[8])
{
    struct call c = {config, cpu, args, false};
    uint32_t id = (uint32_t)args[0];
    const struct function *f = function_by_id(id);

    if (!f) {
        result(&c, PSCI_NOT_SUPPORTED);
        return true;
    }
    for (unsigned i = 1; i < 4 && !(id & WIDE); i++)
        args[i] = (uint32_t)args[i];
    f->run(&c);
    return !c.leave;
}
