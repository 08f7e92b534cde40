/*
 * The translator as a whole: programs of tests/guest/riscv64 on a bare machine, interpreted and
 * translated, and what an accelerator promises its VM.
 */
#include "tests/guest/bare.h"
#include "tests/unit/unit.h"

#include "xlate/xlate.h"

#include <pthread.h>

enum { SECONDS = 60 };

static const struct {
    const char *name;
    unsigned vcpus;
    bool supervisor;
} programs[] = {
    {"atomics", 4, false}, {"lrsc", 1, false},  {"ring", 4, false},     {"timer", 1, false},
    {"fencei", 2, true},   {"smc", 1, true},    {"cross", 1, true},     {"shootdown", 4, true},
    {"mutual", 4, true},  {"adbits", 4, true},  {"patch", 4, true},
};

static char *read_program(const char *name, size_t *size)
{
    g_autofree char *path = g_build_filename(g_getenv("VMD_GUEST_PROGRAMS"), name, NULL);
    char *elf = NULL;

    ck_assert_msg(g_file_get_contents(path, &elf, size, NULL), "%s", path);
    return elf;
}

static void run(unsigned program, unsigned tier)
{
    const char *name = programs[program].name;
    struct bare_config config = {.room = MIB(1), .tier = tier, .vcpus = programs[program].vcpus,
                                 .supervisor = programs[program].supervisor, .seconds = SECONDS};
    g_autofree char *elf = read_program(name, &config.elf_size);
    g_autoptr(GError) err = NULL;
    uint64_t value = 0;

    config.elf = (const uint8_t *)elf;
    struct bare *bare = bare_new(&config, &err);
    ck_assert_msg(bare != NULL, "%s: %s", name, err ? err->message : "");
    bool ok = bare_run(bare, &value, &err);
    bare_free(bare);
    ck_assert_msg(ok, "%s, tier %u: %s", name, tier, ok ? "" : err->message);
    ck_assert_msg(value == 1, "%s, tier %u: check %lu failed", name, tier, value);
}

START_TEST(interpreted)
{
    run((unsigned)_i, 0);
}
END_TEST

START_TEST(translated)
{
    run((unsigned)_i, 1);
}
END_TEST

/* --- the accelerator -------------------------------------------------------------------------- */

#define RAM UINT64_C(0x80000000)
#define DMA 0x1000 /* offset of what a device writes by itself */

static struct {
    struct mem_map *map;
    struct mem_ram *ram;
    struct vm_clock *clock;
    struct accel *accel;
    struct vcpu *vcpu;
    pthread_t thread;
    enum vcpu_exit exit;
    unsigned calls;
    uint64_t called_with;    /* a0 of the latest call */
    const uint32_t *written; /* a word that a device writes to DMA when the guest calls; NULL: none does */
} t;

static bool leave_on_call(void *opaque, unsigned vcpu, uint64_t args[8])
{
    t.calls++;
    t.called_with = args[0];
    if (t.written)
        memcpy(t.ram->host + DMA, t.written, sizeof(*t.written));
    args[0] = 42;
    return args[7] != 1;
}

static struct accel_config config_of(unsigned tier)
{
    return (struct accel_config){.isa = ISA_RISCV64, .vcpus = 1, .mem = t.map, .clock = t.clock,
                                 .timebase_hz = 10000000, .hypercall = leave_on_call, .tier = tier};
}

static void setup(void)
{
    memset(&t, 0, sizeof(t));
    t.map = mem_map_new();
    t.ram = mem_map_add_ram(t.map, RAM, MIB(1), "ram", false, NULL);
    t.clock = vm_clock_new(0);
    struct accel_config config = config_of(1);
    ck_assert(accel_create(&xlate_accel_ops, &config, &t.accel, NULL));
    ck_assert(accel_vcpu_create(t.accel, 0, &t.vcpu, NULL));
}

static void teardown(void)
{
    accel_vcpu_free(t.vcpu);
    accel_free(t.accel);
    vm_clock_free(t.clock);
    mem_map_free(t.map);
}

static void program(const uint32_t *words, size_t n)
{
    mem_map_write(t.map, RAM, words, n * sizeof(words[0]));
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM, .args = {1, 2, 3, 4}});
}

static void *thread_main(void *opaque)
{
    t.exit = accel_vcpu_run(t.vcpu);
    return NULL;
}

static void start(void)
{
    ck_assert_int_eq(pthread_create(&t.thread, NULL, thread_main, NULL), 0);
}

static enum vcpu_exit join(void)
{
    pthread_join(t.thread, NULL);
    return t.exit;
}

/* Calls DMA before and after a device of the host has written there, and a fence. */
static const uint32_t foreign_words[] = {
    0x000010ef, /* jal ra, DMA */
    0x00000893, /* li a7, 0 */
    0x00000073, /* ecall */
    0x0000100f, /* fence.i */
    0x7f1000ef, /* jal ra, DMA */
    0x00100893, /* li a7, 1 */
    0x00000073, /* ecall */
};
static const uint32_t one[] = {0x00100513, 0x00008067}; /* li a0, 1; ret */
static const uint32_t two[] = {0x00200513, 0x00008067};

static void run_foreign(const uint32_t *written, uint64_t expected)
{
    program(foreign_words, G_N_ELEMENTS(foreign_words));
    t.written = written;
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_eq(t.called_with, expected);
}

/* A device of the host wrote over code that is translated: the guest's fence has it seen. */
START_TEST(foreign_code)
{
    if (_i)
        mem_map_pin(t.map, true);
    mem_map_write(t.map, RAM + DMA, one, sizeof(one));
    program(foreign_words, G_N_ELEMENTS(foreign_words));
    if (!_i) /* the device comes when the code was marked already */
        mem_map_pin(t.map, true);
    t.written = two;
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_eq(t.called_with, 2);
    mem_map_pin(t.map, false);
}
END_TEST

/* Another device writes what was there when the first one was. */
START_TEST(foreign_code_again)
{
    mem_map_pin(t.map, true);
    mem_map_write(t.map, RAM + DMA, two, sizeof(two));
    run_foreign(two, 2);
    mem_map_pin(t.map, false);
    mem_map_write(t.map, RAM + DMA, one, sizeof(one));
    run_foreign(one, 1);
    mem_map_pin(t.map, true);
    run_foreign(two, 2);
    mem_map_pin(t.map, false);
}
END_TEST

static uint64_t stat_row(const char *name)
{
    struct accel_stat rows[128];
    size_t n = accel_stats(t.accel, rows, G_N_ELEMENTS(rows));

    for (size_t i = 0; i < n; i++) {
        if (!strcmp(rows[i].name, name))
            return rows[i].value;
    }
    ck_abort_msg("no row %s", name);
}

static const struct {
    const char *name;
    enum isa isa;
    unsigned vcpus;
    uint64_t hz;
    bool calls;
    uint64_t cache;
    enum vmd_error error;
} bad_configs[] = {
    {"another ISA", ISA_X86_64, 1, 1, true, 0, VMD_ERROR_UNSUPPORTED},
    {"no vCPU", ISA_RISCV64, 0, 1, true, 0, VMD_ERROR_LIMIT},
    {"too many", ISA_RISCV64, LIMIT_XLATE_VCPUS + 1, 1, true, 0, VMD_ERROR_LIMIT},
    {"no time", ISA_RISCV64, 1, 0, true, 0, VMD_ERROR_INVALID},
    {"nobody to call", ISA_RISCV64, 1, 1, false, 0, VMD_ERROR_INVALID},
    {"a tiny cache", ISA_RISCV64, 1, 1, true, 4096, VMD_ERROR_INVALID},
};

START_TEST(config_refused)
{
    struct accel_config config = config_of(1);
    g_autoptr(GError) err = NULL;
    struct accel *accel = NULL;

    config.isa = bad_configs[_i].isa;
    config.vcpus = bad_configs[_i].vcpus;
    config.timebase_hz = bad_configs[_i].hz;
    config.hypercall = bad_configs[_i].calls ? leave_on_call : NULL;
    config.code_cache_bytes = bad_configs[_i].cache;
    ck_assert_msg(!accel_create(&xlate_accel_ops, &config, &accel, &err), "%s",
                  bad_configs[_i].name);
    ck_assert_msg(g_error_matches(err, VMD_ERROR, bad_configs[_i].error), "%s: %s",
                  bad_configs[_i].name, err->message);
}
END_TEST

enum {
    LOOP = 0x0000006f,
    WFI = 0x10500073,
    ECALL = 0x00000073,
    LI_A7_1 = 0x00100893,
    BACK_4 = 0xffdff06f,
    ADDI_A0 = 0x00150513,
};

START_TEST(kick_running)
{
    const uint32_t code[] = {LOOP};

    program(code, 1);
    start();
    accel_vcpu_kick(t.vcpu);
    ck_assert_int_eq(join(), VCPU_EXIT_KICKED);
    accel_vcpu_kick(t.vcpu); /* before it runs: counts for the next run */
    accel_vcpu_kick(t.vcpu);
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    start();
    accel_vcpu_kick(t.vcpu);
    ck_assert_int_eq(join(), VCPU_EXIT_KICKED);
}
END_TEST

/* A vCPU that waits for an interrupt says so, leaves on a kick, and waits on. */
START_TEST(kick_waiting)
{
    const uint32_t code[] = {WFI, BACK_4};
    struct accel_vcpu_info info = {0};

    program(code, 2);
    for (unsigned i = 0; i < 3; i++) {
        start();
        do
            accel_vcpu_info(t.vcpu, &info);
        while (!info.halted);
        accel_vcpu_kick(t.vcpu);
        ck_assert_int_eq(join(), VCPU_EXIT_KICKED);
        accel_vcpu_info(t.vcpu, &info);
        ck_assert(!info.halted);
    }
}
END_TEST

START_TEST(hypercall_leaves)
{
    const uint32_t code[] = {ECALL, LI_A7_1, ECALL, LOOP};
    void *object;

    program(code, 4);
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_eq(t.calls, 2);
    const struct state_desc *desc = accel_vcpu_state(t.vcpu, &object);
    g_autofree char *text = state_print(desc, object);
    ck_assert_msg(strstr(text, "cpu.pc=0x8000000c") != NULL, "%s", text);
}
END_TEST

#define SHOWN UINT64_C(0x40000000)
#define BELL  UINT64_C(0x10000000)

static int hide(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    return mem_map_hide_ram(t.map, SHOWN);
}

/* A vCPU's write to a device takes the RAM away that the vCPU itself has just read: it soon finds
 * what a window of a bus has where nothing is. */
START_TEST(hidden_by_itself)
{
    const uint32_t code[] = {
        0x00053283, /* ld t0, 0(a0) */
        0x00a5a023, /* sw a0, 0(a1) */
        0x00053303, /* ld t1, 0(a0) */
        0xfe031ee3, /* bnez t1, the load */
        0x00563023, /* sd t0, 0(a2) */
        LI_A7_1,    ECALL, LOOP,
    };
    const struct mem_device_ops bell = {.write = hide, .sizes = 4};
    struct mem_ram *memory = mem_ram_new("window", MIB(1), NULL);
    uint64_t word = 77, got = 0;

    memcpy(memory->host, &word, sizeof(word));
    mem_map_add_window(t.map, SHOWN, MIB(1));
    ck_assert_int_eq(mem_map_show_ram(t.map, SHOWN, memory), 0);
    ck_assert_int_eq(mem_map_add_device(t.map, BELL, 4096, "bell", &bell, NULL), 0);
    program(code, G_N_ELEMENTS(code));
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM, .args = {SHOWN, BELL, RAM + 0x1000}});
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    mem_map_read(t.map, RAM + 0x1000, &got, sizeof(got));
    ck_assert_uint_eq(got, 77);
    mem_map_remove_window(t.map, SHOWN);
    mem_ram_free(memory);
}
END_TEST

/* Code in RAM that a device shows is translated anew where it comes back to, after it was written
 * elsewhere. */
START_TEST(code_shown_again)
{
    const uint32_t code[] = {LI_A7_1, ECALL}, longer[] = {ECALL, LI_A7_1, ECALL};
    const gpa_t other = SHOWN + MIB(1);
    struct mem_ram *memory = mem_ram_new("window", MIB(1), NULL);

    mem_map_add_window(t.map, SHOWN, MIB(2));
    ck_assert_int_eq(mem_map_show_ram(t.map, SHOWN, memory), 0);
    mem_map_write(t.map, SHOWN, code, sizeof(code));
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = SHOWN});
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_eq(t.calls, 1);

    ck_assert_int_eq(mem_map_hide_ram(t.map, SHOWN), 0);
    ck_assert_int_eq(mem_map_show_ram(t.map, other, memory), 0);
    mem_map_write(t.map, other, longer, sizeof(longer));
    ck_assert_int_eq(mem_map_hide_ram(t.map, other), 0);
    ck_assert_int_eq(mem_map_show_ram(t.map, SHOWN, memory), 0);
    t.calls = 0;
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = SHOWN});
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_eq(t.calls, 2);
    ck_assert_int_eq(mem_map_hide_ram(t.map, SHOWN), 0);
    mem_map_remove_window(t.map, SHOWN);
    mem_ram_free(memory);
}
END_TEST

/* State that was taken out can be put into another vCPU, which goes on from there. */
START_TEST(state_moves)
{
    const uint32_t code[] = {ADDI_A0, LI_A7_1, ECALL, ADDI_A0, ADDI_A0, ECALL};
    g_autoptr(GByteArray) saved = g_byte_array_new();
    const struct state_desc *desc;
    void *object;
    size_t used;

    program(code, 6);
    accel_vcpu_run(t.vcpu);
    desc = accel_vcpu_state(t.vcpu, &object);
    state_save(desc, object, saved);
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = 0x1234});
    desc = accel_vcpu_state(t.vcpu, &object);
    ck_assert(state_load(desc, object, saved->data, saved->len, &used, NULL));
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_eq(t.calls, 2);
    g_autofree char *text = state_print(desc, object);
    ck_assert_msg(strstr(text, "cpu.pc=0x80000018") != NULL, "%s", text);
}
END_TEST

/* Code that a device writes over is translated anew. */
START_TEST(dma_into_code)
{
    const uint32_t code[] = {LI_A7_1, ECALL};
    const uint32_t longer[] = {ECALL, LI_A7_1, ECALL};

    for (unsigned i = 0; i < 3; i++) {
        program(code, 2);
        t.calls = 0;
        accel_vcpu_run(t.vcpu);
        ck_assert_uint_eq(t.calls, 1);
        program(longer, 3);
        t.calls = 0;
        accel_vcpu_run(t.vcpu);
        ck_assert_uint_eq(t.calls, 2);
    }
    ck_assert_uint_ge(stat_row("invalidations"), 5);
}
END_TEST

START_TEST(statistics)
{
    const uint32_t code[] = {ADDI_A0, ADDI_A0, LI_A7_1, ECALL};
    struct accel_stat few[2];

    program(code, 4);
    accel_vcpu_run(t.vcpu);
    ck_assert_uint_ge(stat_row("len"), 1);
    ck_assert_uint_gt(stat_row("bytes"), 0);
    ck_assert_uint_ge(stat_row("translated_instructions"), 4);
    ck_assert_uint_gt(stat_row("translation_ns"), 0);
    ck_assert_uint_ge(stat_row("lookups"), stat_row("hits"));
    ck_assert_uint_eq(accel_stats(t.accel, few, 2), 2);
    accel_code_clear(t.accel);
    ck_assert_uint_eq(stat_row("len"), 0);
    ck_assert_uint_eq(stat_row("clears"), 1);
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM});
    t.calls = 0;
    accel_vcpu_run(t.vcpu);
    ck_assert_uint_eq(t.calls, 1);
    ck_assert(!accel_code_limit(t.accel, 4096, NULL));
    ck_assert(accel_code_limit(t.accel, MIB(8), NULL));
    ck_assert_uint_eq(stat_row("limit_bytes"), MIB(8));
}
END_TEST

/* --- debugging -------------------------------------------------------------------------------- */

/* Counts t0 up to a1; each number is stored at a0 + 0x200 and loaded back. */
static const uint32_t counting[] = {
    0x00000293, /* 00: li t0, 0 */
    0x00128293, /* 04: addi t0, t0, 1 */
    0x20553023, /* 08: sd t0, 0x200(a0) */
    0x20053303, /* 0c: ld t1, 0x200(a0) */
    0xfeb29ae3, /* 10: bne t0, a1, 04 */
    LI_A7_1,    /* 14 */
    ECALL,      /* 18 */
    WFI,        /* 1c */
    ADDI_A0,    /* 20 */
    0x0001,     /* 24: c.nop, with nothing behind */
};

static void debug_setup(unsigned tier)
{
    struct accel_config config;

    memset(&t, 0, sizeof(t));
    t.map = mem_map_new();
    t.ram = mem_map_add_ram(t.map, RAM, MIB(1), "ram", false, NULL);
    t.clock = vm_clock_new(0);
    config = config_of(tier);
    ck_assert(accel_create(&xlate_accel_ops, &config, &t.accel, NULL));
    ck_assert(accel_vcpu_create(t.accel, 0, &t.vcpu, NULL));
    mem_map_write(t.map, RAM, counting, sizeof(counting));
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM, .args = {RAM, 3}});
}

static const struct accel_register *reg_named(const char *name)
{
    size_t n;
    const struct accel_register *regs = accel_registers(t.accel, &n);

    for (size_t i = 0; i < n; i++)
        if (!strcmp(regs[i].name, name))
            return &regs[i];
    ck_abort_msg("no register %s", name);
}

static uint64_t reg(const char *name)
{
    uint64_t value;

    ck_assert(accel_register_get(t.vcpu, reg_named(name), &value));
    return value;
}

static void set_points(const gva_t *points, size_t n)
{
    accel_debug(t.accel, &(struct accel_debug){.breakpoints = points, .n_breakpoints = n});
}

static void expect_stop(enum accel_stop_kind kind, uint64_t pc, uint64_t t0)
{
    struct accel_stop stop;

    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_DEBUG);
    accel_vcpu_stop(t.vcpu, &stop);
    ck_assert_int_eq(stop.kind, kind);
    ck_assert_uint_eq(reg("pc"), RAM + pc);
    ck_assert_uint_eq(reg("t0"), t0);
}

static void expect_step(uint64_t pc, uint64_t t0)
{
    accel_vcpu_step(t.vcpu, ACCEL_STEP_HELD);
    expect_stop(ACCEL_STOP_STEP, pc, t0);
}

/* Interpreted and translated: _i is the tier. */
START_TEST(debug_breakpoints)
{
    const gva_t points[] = {RAM + 8, RAM + 0x20};

    debug_setup((unsigned)_i);
    set_points(points, 2);
    expect_stop(ACCEL_STOP_BREAK, 8, 1);
    expect_stop(ACCEL_STOP_BREAK, 8, 1); /* until it is stepped over */
    expect_step(0xc, 1);
    expect_stop(ACCEL_STOP_BREAK, 8, 2);
    expect_step(0xc, 2);
    set_points(NULL, 0);
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_eq(reg("pc"), RAM + 0x1c);
    ck_assert_uint_eq(reg("t0"), 3);
    teardown();
}
END_TEST

/* Code that ran already stops at breakpoints that come later, also inside what was one unit. */
START_TEST(debug_late_breakpoints)
{
    debug_setup((unsigned)_i);
    for (unsigned offset = 4; offset <= 0x10; offset += 4) {
        const gva_t point = RAM + offset;
        accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM, .args = {RAM, 3}});
        ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
        accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM, .args = {RAM, 3}});
        set_points(&point, 1);
        expect_stop(ACCEL_STOP_BREAK, offset, offset > 4);
        set_points(NULL, 0);
    }
    teardown();
}
END_TEST

START_TEST(debug_steps)
{
    debug_setup((unsigned)_i);
    expect_step(4, 0);
    expect_step(8, 1);
    expect_step(0xc, 1);
    expect_step(0x10, 1);
    expect_step(4, 1);
    ck_assert(accel_register_set(t.vcpu, reg_named("pc"), &(uint64_t){RAM + 0x14}));
    expect_step(0x18, 1);
    expect_step(0x1c, 1); /* over the call */
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED); /* which wanted to leave */
    expect_step(0x20, 1); /* over WFI, and on */
    expect_step(0x24, 1);
    expect_step(0x26, 1);
    /* A fault leads to its handler. */
    ck_assert(accel_register_set(t.vcpu, reg_named("stvec"), &(uint64_t){RAM + 0x40}));
    expect_step(0x40, 1);
    ck_assert_uint_eq(reg("scause"), 2);
    ck_assert_uint_eq(reg("sepc"), RAM + 0x26);
    teardown();
}
END_TEST

static const struct {
    const char *name;
    struct accel_watchpoint watch;
    uint64_t pc[3]; /* of the first stops; 0: none */
    uint64_t address;
} watches[] = {
    {"write", {RAM + 0x200, 8, ACCEL_WATCH_WRITE}, {0xc, 0xc, 0xc}, RAM + 0x200},
    {"read", {RAM + 0x200, 8, ACCEL_WATCH_READ}, {0x10, 0x10, 0x10}, RAM + 0x200},
    {"both", {RAM + 0x200, 8, ACCEL_WATCH_ACCESS}, {0xc, 0x10, 0xc}, RAM + 0x200},
    {"a byte inside", {RAM + 0x205, 1, ACCEL_WATCH_WRITE}, {0xc, 0xc, 0xc}, RAM + 0x205},
    {"more than the access", {RAM + 0x1f0, 64, ACCEL_WATCH_WRITE}, {0xc, 0xc, 0xc}, RAM + 0x200},
    {"just before", {RAM + 0x1ff, 1, ACCEL_WATCH_ACCESS}, {0}, 0},
    {"just after", {RAM + 0x208, 1, ACCEL_WATCH_ACCESS}, {0}, 0},
    {"to the end of everything", {RAM + 0x204, UINT64_MAX, ACCEL_WATCH_READ}, {0x10, 0x10, 0x10},
     RAM + 0x204},
};

/* Counts the word at a0 + 0x200 up to a1, by LR and SC. */
static const uint32_t reserving[] = {
    0x20050613, /* 00: addi a2, a0, 0x200 */
    0x100622af, /* 04: lr.w t0, (a2) */
    0x0012829b, /* 08: addiw t0, t0, 1 */
    0x1856232f, /* 0c: sc.w t1, t0, (a2) */
    0xfe031ae3, /* 10: bnez t1, 04 */
    0xfeb298e3, /* 14: bne t0, a1, 04 */
    LI_A7_1,    /* 18 */
    ECALL,      /* 1c */
};

/* A loop that is one piece elsewhere goes on from an SC at which a watchpoint stopped it. */
START_TEST(debug_watched_reservation)
{
    static const struct accel_watchpoint word = {RAM + 0x200, 4, ACCEL_WATCH_WRITE};

    for (unsigned tier = 0; tier < 2; tier++) {
        debug_setup(tier);
        mem_map_write(t.map, RAM, reserving, sizeof(reserving));
        accel_debug(t.accel, &(struct accel_debug){.watchpoints = &word, .n_watchpoints = 1});
        for (uint32_t i = 1; i <= 3; i++) {
            uint32_t value = 0;
            ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_DEBUG);
            ck_assert_uint_eq(reg("pc"), RAM + 0x10);
            ck_assert_uint_eq(reg("t1"), 0);
            mem_map_read(t.map, RAM + 0x200, &value, 4);
            ck_assert_uint_eq(value, i);
        }
        ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
        teardown();
    }
}
END_TEST

/* Copies 64 words from a0 + 0x1000 to a0 + 0x2000. */
static const uint32_t copying[] = {
    0x00001637, /* 00: lui a2, 1 */
    0x00c50633, /* 04: add a2, a0, a2 */
    0x000016b7, /* 08: lui a3, 1 */
    0x00d606b3, /* 0c: add a3, a2, a3 */
    0x10060713, /* 10: addi a4, a2, 0x100 */
    0x00000013, /* 14: nop */
    0x00062283, /* 18: lw t0, 0(a2) */
    0x00460613, /* 1c: addi a2, a2, 4 */
    0x0056a023, /* 20: sw t0, 0(a3) */
    0x00468693, /* 24: addi a3, a3, 4 */
    0xfee618e3, /* 28: bne a2, a4, 18 */
    LI_A7_1,    /* 2c */
    ECALL,      /* 30 */
};

/* Of a loop that is done at once no access to what is watched is missed, and it goes on. */
START_TEST(debug_watched_copy)
{
    static const struct accel_watchpoint words[] = {{RAM + 0x2080, 8, ACCEL_WATCH_WRITE},
                                                    {RAM + 0x1090, 1, ACCEL_WATCH_READ}};
    static const struct {
        uint64_t pc, a2; /* behind the access */
    } stops[] = {{0x24, 0x1084}, {0x24, 0x1088}, {0x1c, 0x1090}};
    uint32_t words_at[64];

    for (unsigned tier = 0; tier < 2; tier++) {
        debug_setup(tier);
        mem_map_write(t.map, RAM, copying, sizeof(copying));
        for (uint32_t i = 0; i < 64; i++)
            mem_map_write(t.map, RAM + 0x1000 + 4 * i, &i, 4);
        for (unsigned round = 0; round < 2; round++) { /* nothing is watched in the second */
            accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM, .args = {RAM, 3}});
            accel_debug(t.accel, &(struct accel_debug){.watchpoints = words, .n_watchpoints = round ? 0 : 2});
            for (unsigned i = 0; !round && i < G_N_ELEMENTS(stops); i++) {
                ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_DEBUG);
                ck_assert_uint_eq(reg("pc"), RAM + stops[i].pc);
                ck_assert_uint_eq(reg("a2"), RAM + stops[i].a2);
            }
            ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
            ck_assert_uint_eq(reg("a2"), RAM + 0x1100);
            ck_assert_uint_eq(reg("a3"), RAM + 0x2100);
            mem_map_read(t.map, RAM + 0x2000, words_at, sizeof(words_at));
            for (uint32_t i = 0; i < 64; i++)
                ck_assert_uint_eq(words_at[i], i);
        }
        ck_assert_uint_ge(stat_row("pattern.copy-loop"), tier);
        teardown();
    }
}
END_TEST

START_TEST(debug_watchpoints)
{
    for (unsigned tier = 0; tier < 2; tier++) {
        debug_setup(tier);
        accel_debug(t.accel, &(struct accel_debug){.watchpoints = &watches[_i].watch,
                                                   .n_watchpoints = 1});
        for (unsigned i = 0; i < 3 && watches[_i].pc[i]; i++) {
            struct accel_stop stop;
            ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_DEBUG);
            accel_vcpu_stop(t.vcpu, &stop);
            ck_assert_int_eq(stop.kind, ACCEL_STOP_WATCH);
            ck_assert_int_eq(stop.watch, watches[_i].watch.kind);
            ck_assert_msg(stop.address == watches[_i].address, "%s: %lx", watches[_i].name,
                          stop.address);
            ck_assert_msg(reg("pc") == RAM + watches[_i].pc[i], "%s: pc %lx", watches[_i].name,
                          reg("pc"));
        }
        accel_debug(t.accel, &(struct accel_debug){.n_watchpoints = watches[_i].pc[0] ? 0 : 1,
                                                   .watchpoints = &watches[_i].watch});
        ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
        ck_assert_uint_eq(reg("t1"), 3);
        teardown();
    }
}
END_TEST

static const struct {
    const char *name;
    uint64_t write, read;
    bool takes;
} registers[] = {
    {"zero", 5, 0, true}, {"t6", UINT64_MAX, UINT64_MAX, true}, {"pc", 0x1235, 0x1234, true},
    {"ft0", 7, 7, true}, {"fa7", 1, 1, true}, {"fcsr", 0x7f, 0x7f, true}, {"frm", 1, 1, true},
    {"fflags", 0xff, 0x1f, true}, {"stvec", 0x80001000, 0x80001000, true},
    {"satp", UINT64_C(8) << 60 | 5, UINT64_C(8) << 60 | 5, true},
    {"satp", UINT64_C(7) << 60, 0, true}, {"priv", 0, 0, true}, {"priv", 2, 1, false},
    {"priv", 3, 1, false}, {"time", 0, 0, false}, {"mhartid", 1, 0, false},
    {"pmpaddr15", 0x3ffc00, 0x3ffc00, true}, {"sscratch", 1, 1, true},
};

START_TEST(debug_registers)
{
    const struct accel_register *r;
    uint64_t value;
    size_t n;

    vm_clock_pause(t.clock);
    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM});
    r = accel_registers(t.accel, &n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(r[i].name && r[i].feature && r[i].type, "row %zu", i);
        ck_assert_msg(accel_register_get(t.vcpu, &r[i], &value), "%s", r[i].name);
    }
    r = reg_named(registers[_i].name);
    ck_assert_msg(accel_register_set(t.vcpu, r, &registers[_i].write) == registers[_i].takes, "%s",
                  registers[_i].name);
    if (strcmp(registers[_i].name, "time"))
        ck_assert_msg(reg(registers[_i].name) == registers[_i].read, "%s: %lx", registers[_i].name,
                      reg(registers[_i].name));
}
END_TEST

/* A look through page tables, of a gigabyte's superpage and of nothing. */
START_TEST(debug_looks)
{
    const uint64_t root[2] = {0, (RAM >> 12 << 10) | 0xcf};
    uint64_t length;
    gpa_t gpa;

    accel_vcpu_reset(t.vcpu, &(struct vcpu_start){.pc = RAM});
    ck_assert(accel_vcpu_look(t.vcpu, RAM + 5, &gpa, &length));
    ck_assert_uint_eq(gpa, RAM + 5);
    ck_assert_uint_eq(length, 4091);
    mem_map_write(t.map, RAM + 0x1000, root, sizeof(root));
    ck_assert(accel_register_set(t.vcpu, reg_named("satp"),
                                 &(uint64_t){UINT64_C(8) << 60 | (RAM + 0x1000) >> 12}));
    ck_assert(accel_vcpu_look(t.vcpu, 0x40001234, &gpa, &length));
    ck_assert_uint_eq(gpa, RAM + 0x1234);
    ck_assert(!accel_vcpu_look(t.vcpu, 0x1234, &gpa, &length));
    ck_assert(!accel_vcpu_look(t.vcpu, UINT64_C(1) << 40, &gpa, &length));
}
END_TEST

static void count_code(void *opaque, const struct accel_code *code)
{
    unsigned *n = opaque;

    ck_assert(code->host && code->bytes && !strcmp(code->mode, "S") && code->instructions);
    ck_assert(code->pc == code->gpa);
    (*n)++;
}

static unsigned codes(void)
{
    unsigned n = 0, part = 0;

    do
        part = accel_code_each(t.accel, part, count_code, &n);
    while (part);
    return n;
}

START_TEST(debug_code)
{
    debug_setup(1);
    ck_assert_uint_eq(codes(), 0);
    ck_assert_int_eq(accel_vcpu_run(t.vcpu), VCPU_EXIT_KICKED);
    ck_assert_uint_ge(codes(), stat_row("len"));
    accel_code_clear(t.accel);
    ck_assert_uint_eq(codes(), 0);
    teardown();
}
END_TEST

int main(void)
{
    TCase *debug = tcase_create("debugging");
    Suite *suite = suite_create("xlate");
    TCase *guests = tcase_create("programs"), *accel = tcase_create("accelerator");

    tcase_set_timeout(guests, 2 * SECONDS);
    tcase_add_loop_test(guests, interpreted, 0, (int)G_N_ELEMENTS(programs));
    tcase_add_loop_test(guests, translated, 0, (int)G_N_ELEMENTS(programs));
    suite_add_tcase(suite, guests);
    tcase_add_checked_fixture(accel, setup, teardown);
    tcase_add_loop_test(accel, config_refused, 0, (int)G_N_ELEMENTS(bad_configs));
    tcase_add_test(accel, kick_running);
    tcase_add_test(accel, kick_waiting);
    tcase_add_test(accel, hypercall_leaves);
    tcase_add_test(accel, hidden_by_itself);
    tcase_add_test(accel, code_shown_again);
    tcase_add_test(accel, state_moves);
    tcase_add_test(accel, dma_into_code);
    tcase_add_loop_test(accel, foreign_code, 0, 2);
    tcase_add_test(accel, foreign_code_again);
    tcase_add_test(accel, statistics);
    tcase_add_loop_test(accel, debug_registers, 0, (int)G_N_ELEMENTS(registers));
    tcase_add_test(accel, debug_looks);
    tcase_add_test(debug, debug_code);
    tcase_add_loop_test(debug, debug_breakpoints, 0, 2);
    tcase_add_loop_test(debug, debug_late_breakpoints, 0, 2);
    tcase_add_loop_test(debug, debug_steps, 0, 2);
    tcase_add_test(debug, debug_watched_reservation);
    tcase_add_test(debug, debug_watched_copy);
    tcase_add_loop_test(debug, debug_watchpoints, 0, (int)G_N_ELEMENTS(watches));
    suite_add_tcase(suite, debug);
    suite_add_tcase(suite, accel);
    return unit_run(suite);
}
