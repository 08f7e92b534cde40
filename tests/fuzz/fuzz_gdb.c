/*
 * A debugger's session: any bytes end in answers, each a whole packet or an acknowledgement. The
 * target has a little memory, two threads, and stops after whatever it was told to do.
 */
#include "tests/fuzz/fuzz.h"
#include "vm/gdb/packet.h"
#include "vm/gdb/stub.h"

enum { THREADS = 2, MEMORY = 4096 };

struct target {
    struct gdb_stub *stub;
    uint64_t reg[THREADS][2];
    uint8_t memory[MEMORY];
    unsigned turns;
    bool running;
    struct gdb_reader reader;
};

static const struct accel_register regs[] = {
    {"r0", "core", "int", 0, 64}, {"pc", "core", "code_ptr", 1, 64}};

static const struct accel_register *registers(void *opaque, size_t *n)
{
    *n = G_N_ELEMENTS(regs);
    return regs;
}

static bool register_get(void *opaque, unsigned thread, const struct accel_register *reg,
                         uint64_t *value)
{
    struct target *t = opaque;

    g_assert(thread < THREADS);
    *value = t->reg[thread][reg->number];
    return true;
}

static bool register_set(void *opaque, unsigned thread, const struct accel_register *reg,
                         const uint64_t *value)
{
    struct target *t = opaque;

    g_assert(thread < THREADS && !t->running);
    t->reg[thread][reg->number] = *value;
    return true;
}

static size_t read_memory(void *opaque, unsigned thread, bool physical, uint64_t address, void *to,
                          size_t n)
{
    struct target *t = opaque;

    n = address < MEMORY ? MIN(n, MEMORY - address) : 0;
    if (n)
        memcpy(to, t->memory + address, n);
    return n;
}

static bool write_memory(void *opaque, unsigned thread, bool physical, uint64_t address,
                         const void *from, size_t n)
{
    struct target *t = opaque;

    if (address > MEMORY || n > MEMORY - address)
        return false;
    memcpy(t->memory + address, from, n);
    return true;
}

static bool points(void *opaque, const struct accel_debug *debug)
{
    g_assert(debug->n_breakpoints <= LIMIT_DEBUG_POINTS);
    g_assert(debug->n_watchpoints <= LIMIT_DEBUG_POINTS);
    for (size_t i = 0; i < debug->n_watchpoints; i++)
        g_assert(debug->watchpoints[i].length);
    return debug->n_breakpoints < 4;
}

static void go(void *opaque, const enum gdb_go *how, enum accel_step step)
{
    struct target *t = opaque;

    g_assert(!t->running);
    t->running = true;
}

static void interrupt(void *opaque)
{
    struct target *t = opaque;

    g_assert(t->running);
    t->running = false;
    gdb_stub_stopped(t->stub, 0, NULL);
}

static bool is_on(void *opaque, unsigned thread)
{
    return thread == 0;
}

static char *describe(void *opaque, unsigned thread)
{
    return g_strdup("x");
}

static bool reset(void *opaque, GError **err)
{
    return vmd_fail(err, VMD_ERROR_STATE, "no");
}

static void leave(void *opaque)
{
}

/* What is sent is well formed. */
static void send_bytes(void *opaque, const void *data, size_t n)
{
    struct target *t = opaque;
    enum gdb_input input = GDB_MORE;

    for (size_t i = 0; i < n; i++)
        input = gdb_read(&t->reader, ((const uint8_t *)data)[i]);
    g_assert(input == GDB_PACKET || input == GDB_ACK || input == GDB_NAK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct gdb_target_ops ops = {
        .registers = registers, .register_get = register_get, .register_set = register_set,
        .read = read_memory, .write = write_memory, .points = points, .go = go,
        .interrupt = interrupt, .is_on = is_on, .describe = describe, .reset = reset,
        .detach = leave, .kill = leave, .send = send_bytes,
    };
    struct target *t = g_new0(struct target, 1);

    t->stub = gdb_stub_new(&ops, t, THREADS, "arch");
    for (size_t i = 0; i < size; i++) {
        gdb_stub_input(t->stub, data + i, 1);
        if (t->running && data[i] % 4) {
            struct accel_stop stop = {.kind = data[i] % 3, .address = i,
                                      .watch = 1 + data[i] % 3};
            t->running = false;
            gdb_stub_stopped(t->stub, data[i] % THREADS, &stop);
        }
    }
    gdb_stub_ended(t->stub, false);
    gdb_stub_free(t->stub);
    g_free(t);
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const seeds[] = {
        "qSupported:swbreak+;hwbreak+", "QStartNoAckMode", "?", "g", "G00", "p1", "P1=0000000000000010",
        "m0,100", "M0,4:01020304", "X0,3:a}b", "Z0,1000,4", "z0,1000,4", "Z4,8,8", "vCont?",
        "vCont;c", "vCont;s:1;c", "vCont;r0,100:2", "Hg1", "Hc-1", "qfThreadInfo", "qThreadExtraInfo,1",
        "qXfer:features:read:target.xml:0,ffb", "qRcmd,696e666f", "qRcmd,70687973206f6e", "D", "k",
        "vKill;1", "c", "s", "C05", "S05;10", "T1",
    };

    if (n > G_N_ELEMENTS(seeds))
        return false;
    /* The last seed is all of them in one session. */
    for (unsigned i = 0; i < G_N_ELEMENTS(seeds); i++)
        if (i == n || (n == G_N_ELEMENTS(seeds) && *seeds[i] != 'D' && *seeds[i] != 'k'))
            gdb_frame(out, seeds[i], strlen(seeds[i]));
    return true;
}
