/* The debugger's side: registers, steps, breakpoints, watchpoints and translations. */
#include "tests/guest/x86_64/machine.h"
#include "tests/unit/unit.h"

static const struct machine_config config = {.program = "steps", .mode = VCPU_MODE_LONG};

static const struct accel_register *named(struct machine *m, const char *name)
{
    size_t n;
    const struct accel_register *regs = accel_registers(m->accel, &n);

    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(regs[i].number, i);
        if (strcmp(regs[i].name, name) == 0)
            return &regs[i];
    }
    ck_abort_msg("no register %s", name);
}

static uint64_t get(struct machine *m, const char *name)
{
    uint64_t value[ACCEL_REGISTER_WORDS];

    ck_assert(accel_register_get(m->vcpus[0], named(m, name), value));
    return value[0];
}

/* Runs to the next stop, of kind KIND. */
static struct accel_stop go(struct machine *m, enum accel_step step, enum accel_stop_kind kind)
{
    struct accel_stop stop;

    accel_vcpu_step(m->vcpus[0], step);
    ck_assert_int_eq(accel_vcpu_run(m->vcpus[0]), VCPU_EXIT_DEBUG);
    accel_vcpu_stop(m->vcpus[0], &stop);
    ck_assert_int_eq(stop.kind, kind);
    return stop;
}

START_TEST(steps)
{
    static const gva_t at[] = {0x10002, 0x10005, 0x10008, 0x1000b, 0x10012, 0x10019};
    struct machine *m = machine_new(&config);

    for (size_t i = 0; i < G_N_ELEMENTS(at); i++) {
        go(m, i % 2 ? ACCEL_STEP_HELD : ACCEL_STEP_OPEN, ACCEL_STOP_STEP);
        ck_assert_uint_eq(get(m, "rip"), at[i]);
    }
    ck_assert_uint_eq(get(m, "rax"), 3);
    ck_assert_uint_eq(get(m, "rbx"), 3);
    accel_vcpu_step(m->vcpus[0], ACCEL_STEP_OFF);
    machine_pass(m);
    machine_free(m);
}
END_TEST

START_TEST(breakpoints)
{
    static const gva_t at[] = {0x10005, 0x1000b};
    struct machine *m = machine_new(&config);
    const struct accel_debug debug = {.breakpoints = at, .n_breakpoints = 2}, none = {0};

    ck_assert(accel_debug(m->accel, &debug));
    ck_assert_uint_eq(go(m, ACCEL_STEP_OFF, ACCEL_STOP_BREAK).address, 0x10005);
    ck_assert_uint_eq(get(m, "rax"), 1); /* it was not run */
    ck_assert_uint_eq(go(m, ACCEL_STEP_OFF, ACCEL_STOP_BREAK).address, 0x1000b);
    ck_assert_uint_eq(get(m, "rax"), 3);
    go(m, ACCEL_STEP_OPEN, ACCEL_STOP_STEP); /* over the breakpoint */
    ck_assert_uint_eq(get(m, "rip"), 0x10012);
    ck_assert(accel_debug(m->accel, &none));
    accel_vcpu_step(m->vcpus[0], ACCEL_STEP_OFF);
    machine_pass(m);
    machine_free(m);
}
END_TEST

/* Kicked before it got over the breakpoint that it stopped at, it does not stop there again. */
START_TEST(kicked_at_a_breakpoint)
{
    static const gva_t at[] = {0x10005, 0x1000b};
    struct machine *m = machine_new(&config);
    const struct accel_debug debug = {.breakpoints = at, .n_breakpoints = 2};

    ck_assert(accel_debug(m->accel, &debug));
    ck_assert_uint_eq(go(m, ACCEL_STEP_OFF, ACCEL_STOP_BREAK).address, 0x10005);
    for (unsigned i = 0; i < 2; i++) {
        accel_vcpu_step(m->vcpus[0], ACCEL_STEP_OFF);
        accel_vcpu_kick(m->vcpus[0]);
        ck_assert_int_eq(accel_vcpu_run(m->vcpus[0]), VCPU_EXIT_KICKED);
        ck_assert_uint_eq(get(m, "rip"), 0x10005);
    }
    ck_assert_uint_eq(go(m, ACCEL_STEP_OFF, ACCEL_STOP_BREAK).address, 0x1000b);
    machine_free(m);
}
END_TEST

/* What does not fit the processor is refused, and changes nothing. */
static const struct {
    const char *name;
    unsigned breakpoints;
    struct accel_watchpoint watch[3];
    unsigned watches;
    bool fits;
} points[] = {
    {"none", 0, {{0}}, 0, true},
    {"four breakpoints", 4, {{0}}, 0, true},
    {"five", 5, {{0}}, 0, false},
    {"three and a word", 3, {{0x30000, 8, ACCEL_WATCH_WRITE}}, 1, true},
    {"three and a word that is not aligned", 3, {{0x30002, 8, ACCEL_WATCH_WRITE}}, 1, false},
    {"that word alone", 0, {{0x30002, 8, ACCEL_WATCH_WRITE}}, 1, true},
    {"32 bytes", 0, {{0x30000, 32, ACCEL_WATCH_ACCESS}}, 1, true},
    {"33 bytes", 0, {{0x30000, 33, ACCEL_WATCH_ACCESS}}, 1, false},
    {"a great many", 0, {{0, UINT64_MAX, ACCEL_WATCH_ACCESS}}, 1, false},
};

START_TEST(fitting)
{
    static const gva_t at[8] = {1, 2, 3, 4, 5};
    struct machine *m = machine_new(&config);
    const struct accel_debug debug = {.breakpoints = at,
                                      .n_breakpoints = points[_i].breakpoints,
                                      .watchpoints = points[_i].watch,
                                      .n_watchpoints = points[_i].watches};

    ck_assert_msg(accel_debug(m->accel, &debug) == points[_i].fits, "%s", points[_i].name);
    machine_free(m);
}
END_TEST

START_TEST(other_registers)
{
    uint64_t value[ACCEL_REGISTER_WORDS] = {0x1122334455667788, 0x99aabbccddeeff00};
    uint64_t got[ACCEL_REGISTER_WORDS];
    struct machine *m = machine_new(&config);
    struct vcpu *v = m->vcpus[0];
    gpa_t gpa;
    uint64_t length;

    ck_assert_uint_eq(get(m, "cr3"), MACHINE_TABLES);
    ck_assert_uint_eq(get(m, "cs"), 0x10);
    ck_assert_uint_eq(get(m, "fctrl"), 0x37f);
    ck_assert_uint_eq(get(m, "fop"), 0);
    ck_assert_uint_eq(get(m, "mxcsr"), 0x1f80);
    ck_assert(accel_register_set(v, named(m, "xmm15"), value));
    ck_assert(accel_register_get(v, named(m, "xmm15"), got));
    ck_assert_mem_eq(got, value, sizeof(value));
    ck_assert(accel_register_set(v, named(m, "r9"), value));
    ck_assert_uint_eq(get(m, "r9"), value[0]);
    value[0] = 0x7fff12345000;
    ck_assert(accel_register_set(v, named(m, "gs_base"), value));
    ck_assert_uint_eq(get(m, "gs_base"), value[0]);
    ck_assert_uint_eq(get(m, "ftag"), 0xffff);
    ck_assert(!accel_register_set(v, named(m, "ftag"), value));
    ck_assert(accel_vcpu_look(v, 0x30123, &gpa, &length));
    ck_assert_uint_eq(gpa, 0x30123);
    ck_assert_uint_eq(length, 0x1000 - 0x123);
    ck_assert(!accel_vcpu_look(v, GIB(5), &gpa, &length));
    machine_free(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm-debug");
    TCase *tc = tcase_create("all");

    if (!machine_possible())
        return 77;
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, steps);
    tcase_add_test(tc, breakpoints);
    tcase_add_test(tc, kicked_at_a_breakpoint);
    tcase_add_loop_test(tc, fitting, 0, G_N_ELEMENTS(points));
    tcase_add_test(tc, other_registers);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
