/* The built-in SBI: each function and each of its errors, a row a call. */
#include "machine/boards/virt_riscv64.h"
#include "machine/boot/sbi.h"
#include "machine/devices/hart_irq.h"
#include "tests/unit/board_rig.h"

enum {
    OK = 0,
    FAILED = -1,
    NOT_SUPPORTED = -2,
    INVALID_PARAM = -3,
    DENIED = -4,
    INVALID_ADDRESS = -5,
    ALREADY_AVAILABLE = -6,
};

#define BASE   0x10
#define TIME   0x54494d45
#define IPI    0x735049
#define RFENCE 0x52464e43
#define HSM    0x48534d
#define SRST   0x53525354
#define DBCN   0x4442434e

#define RAM VIRT_RAM

/* On a rig with four harts, of which 0 makes the call and 2 is running too. */
static const struct {
    const char *name;
    uint64_t ext, fn, args[5];
    int64_t error;
    uint64_t value;
} calls[] = {
    {"spec version", BASE, 0, {0}, OK, 0x2000000},
    {"implementation id", BASE, 1, {0}, OK, SBI_IMPL_ID},
    {"implementation version", BASE, 2, {0}, OK, SBI_IMPL_VERSION},
    {"probe TIME", BASE, 3, {TIME}, OK, 1},
    {"probe IPI", BASE, 3, {IPI}, OK, 1},
    {"probe RFENCE", BASE, 3, {RFENCE}, OK, 1},
    {"probe HSM", BASE, 3, {HSM}, OK, 1},
    {"probe SRST", BASE, 3, {SRST}, OK, 1},
    {"probe DBCN", BASE, 3, {DBCN}, OK, 1},
    {"probe base", BASE, 3, {BASE}, OK, 1},
    {"probe legacy putchar", BASE, 3, {1}, OK, 1},
    {"probe legacy remote fence", BASE, 3, {6}, OK, 0},
    {"probe PMU", BASE, 3, {0x504d55}, OK, 0},
    {"probe with bits above 32", BASE, 3, {UINT64_C(1) << 32 | TIME}, OK, 0},
    {"mvendorid", BASE, 4, {0}, OK, 0},
    {"marchid", BASE, 5, {0}, OK, 0},
    {"mimpid", BASE, 6, {0}, OK, 0},
    {"no such base function", BASE, 7, {0}, NOT_SUPPORTED, 0},
    {"no such extension", 0x12345678, 0, {0}, NOT_SUPPORTED, 0},
    {"legacy remote fence", 6, 0, {0}, NOT_SUPPORTED, 0},
    {"legacy clear_ipi", 3, 0, {0}, NOT_SUPPORTED, 0},
    {"function number of all ones", TIME, UINT64_MAX, {0}, NOT_SUPPORTED, 0},

    {"ipi to nobody", IPI, 0, {0, 0}, OK, 0},
    {"ipi to nobody, base anywhere", IPI, 0, {0, 77}, OK, 0},
    {"ipi to all", IPI, 0, {0, UINT64_MAX}, OK, 0},
    {"ipi to one", IPI, 0, {1, 3}, OK, 0},
    {"ipi beyond the last", IPI, 0, {1, 4}, INVALID_PARAM, 0},
    {"ipi to some and beyond", IPI, 0, {0x1f, 0}, INVALID_PARAM, 0},
    {"ipi with a mask that shifts out", IPI, 0, {UINT64_C(1) << 63, 1}, INVALID_PARAM, 0},
    {"ipi from a base of 64", IPI, 0, {1, 64}, INVALID_PARAM, 0},
    {"no such ipi function", IPI, 1, {0}, NOT_SUPPORTED, 0},

    {"fence.i", RFENCE, 0, {0xf, 0}, OK, 0},
    {"fence.i beyond", RFENCE, 0, {2, 3}, INVALID_PARAM, 0},
    {"sfence", RFENCE, 1, {5, 0, 0x1000, 0x2000}, OK, 0},
    {"sfence of everything", RFENCE, 1, {5, 0, 0, UINT64_MAX}, OK, 0},
    {"sfence that wraps", RFENCE, 1, {5, 0, UINT64_MAX - 4095, 0x2000}, INVALID_ADDRESS, 0},
    {"sfence beyond", RFENCE, 1, {0x10, 0, 0, 0}, INVALID_PARAM, 0},
    {"sfence of an ASID", RFENCE, 2, {1, 1, 0x1000, 0x1000, 7}, OK, 0},
    {"hfence", RFENCE, 3, {1, 0, 0, 0}, NOT_SUPPORTED, 0},
    {"hfence asid", RFENCE, 6, {1, 0, 0, 0}, NOT_SUPPORTED, 0},
    {"no such fence", RFENCE, 7, {1, 0, 0, 0}, NOT_SUPPORTED, 0},

    {"start", HSM, 0, {1, RAM + 0x1000, 42}, OK, 0},
    {"start outside RAM", HSM, 0, {1, RAM - 4, 0}, INVALID_ADDRESS, 0},
    {"start at a device", HSM, 0, {1, VIRT_UART, 0}, INVALID_ADDRESS, 0},
    {"start at an odd address", HSM, 0, {1, RAM + 1, 0}, INVALID_ADDRESS, 0},
    {"start of a hart there is not", HSM, 0, {4, RAM, 0}, INVALID_PARAM, 0},
    {"start of a hart far away", HSM, 0, {UINT64_C(1) << 32, RAM, 0}, INVALID_PARAM, 0},
    {"start of oneself", HSM, 0, {0, RAM, 0}, ALREADY_AVAILABLE, 0},
    {"start of a running hart", HSM, 0, {2, RAM, 0}, ALREADY_AVAILABLE, 0},
    {"status of oneself", HSM, 2, {0}, OK, 0},
    {"status of a stopped hart", HSM, 2, {1}, OK, 1},
    {"status of a hart there is not", HSM, 2, {4}, INVALID_PARAM, 0},
    {"suspend, retentive", HSM, 3, {0}, OK, 0},
    {"suspend, non-retentive", HSM, 3, {0x80000000, RAM, 0}, NOT_SUPPORTED, 0},
    {"suspend, reserved", HSM, 3, {1}, INVALID_PARAM, 0},
    {"suspend, of a platform", HSM, 3, {0x10000000}, INVALID_PARAM, 0},
    {"no such hart function", HSM, 4, {0}, NOT_SUPPORTED, 0},

    {"reset of a reserved type", SRST, 0, {3, 0}, INVALID_PARAM, 0},
    {"reset of a vendor's type", SRST, 0, {0xf0000000, 0}, INVALID_PARAM, 0},
    {"reset for a reserved reason", SRST, 0, {0, 2}, INVALID_PARAM, 0},
    {"no such reset function", SRST, 1, {0}, NOT_SUPPORTED, 0},

    {"write of nothing", DBCN, 0, {0, 0, 0}, OK, 0},
    {"write", DBCN, 0, {5, RAM + 0x100, 0}, OK, 5},
    {"write from outside RAM", DBCN, 0, {5, RAM - 2, 0}, INVALID_PARAM, 0},
    {"write from beyond RAM", DBCN, 0, {5, RAM + MIB(64) - 4, 0}, INVALID_PARAM, 0},
    {"write from a device", DBCN, 0, {1, VIRT_UART, 0}, INVALID_PARAM, 0},
    {"write of too much", DBCN, 0, {UINT64_MAX, RAM, 0}, INVALID_PARAM, 0},
    {"write with an upper half", DBCN, 0, {5, RAM, 1}, INVALID_PARAM, 0},
    {"read of nothing", DBCN, 1, {0, 0, 0}, OK, 0},
    {"read with none waiting", DBCN, 1, {5, RAM, 0}, OK, 0},
    {"read to outside RAM", DBCN, 1, {5, RAM - 5, 0}, INVALID_PARAM, 0},
    {"read with an upper half", DBCN, 1, {5, RAM, UINT64_MAX}, INVALID_PARAM, 0},
    {"write of a byte", DBCN, 2, {'x'}, OK, 0},
    {"no such console function", DBCN, 3, {0}, NOT_SUPPORTED, 0},
};

static void begin(struct rig *r)
{
    struct board_config config = rig_begin(r, 4);

    r->status[2] = BOARD_CPU_STARTED;
    rig_make(r, &config);
    ck_assert_int_eq(mem_map_write(r->mem, RAM + 0x100, "hello", 5), 0);
}

/* Calls from hart CPU; A gets the results. */
static bool call(struct rig *r, unsigned cpu, uint64_t ext, uint64_t fn, const uint64_t args[5],
                 uint64_t a[8])
{
    memset(a, 0, 8 * sizeof(a[0]));
    memcpy(a, args, 5 * sizeof(a[0]));
    a[6] = fn;
    a[7] = ext;
    return board_hypercall(r->board, cpu, a);
}

START_TEST(results)
{
    struct rig r;
    uint64_t a[8];

    begin(&r);
    bool stays = call(&r, 0, calls[_i].ext, calls[_i].fn, calls[_i].args, a);
    ck_assert_msg(stays, "%s: the hart left", calls[_i].name);
    ck_assert_msg((int64_t)a[0] == calls[_i].error, "%s: error %d", calls[_i].name, (int)a[0]);
    ck_assert_msg(a[1] == calls[_i].value, "%s: value 0x%x", calls[_i].name, (unsigned)a[1]);
    ck_assert_uint_eq(a[6], calls[_i].fn);
    ck_assert_uint_eq(a[7], calls[_i].ext);
    ck_assert_uint_eq(r.n_requests, 0);
    rig_end(&r);
}
END_TEST

START_TEST(ipi_reaches)
{
    struct rig r;
    uint64_t a[8];

    begin(&r);
    call(&r, 0, IPI, 0, (uint64_t[5]){5, 1}, a);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(r.irq[i][HART_IRQ_S_SOFT], i == 1 || i == 3);
    call(&r, 0, IPI, 0, (uint64_t[5]){0, UINT64_MAX}, a);
    for (unsigned i = 0; i < 4; i++)
        ck_assert(r.irq[i][HART_IRQ_S_SOFT]);
    rig_end(&r);
}
END_TEST

static const struct {
    uint64_t fn, args[5];
    unsigned fences;
    uint64_t mask;
    enum board_fence kind;
    struct board_fence_range range;
} fences[] = {
    {0, {6, 0}, 1, 6, BOARD_FENCE_CODE, {0, UINT64_MAX, 0}},
    {0, {0, UINT64_MAX}, 1, 15, BOARD_FENCE_CODE, {0, UINT64_MAX, 0}},
    {0, {0, 0}, 0, 0, 0, {0}},
    {1, {3, 2, 0x5000, 0x3000, 9}, 1, 12, BOARD_FENCE_TLB, {0x5000, 0x3000, 0}},
    {1, {1, 0, 0, 0}, 1, 1, BOARD_FENCE_TLB, {0, 0, 0}},
    {2, {1, 3, 0x5000, UINT64_MAX, 9}, 1, 8, BOARD_FENCE_TLB_ASID, {0x5000, UINT64_MAX, 9}},
    {1, {16, 0, 0, 0}, 0, 0, 0, {0}},
};

START_TEST(fence_reaches)
{
    struct rig r;
    uint64_t a[8];

    begin(&r);
    call(&r, 2, RFENCE, fences[_i].fn, fences[_i].args, a);
    ck_assert_uint_eq(r.n_fences, fences[_i].fences);
    if (r.n_fences) {
        ck_assert_uint_eq(r.fence_from, 2);
        ck_assert_uint_eq(r.fence_mask, fences[_i].mask);
        ck_assert_int_eq(r.fence_kind, fences[_i].kind);
        ck_assert_uint_eq(r.fence_range.start, fences[_i].range.start);
        ck_assert_uint_eq(r.fence_range.size, fences[_i].range.size);
        ck_assert_uint_eq(r.fence_range.asid, fences[_i].range.asid);
    }
    rig_end(&r);
}
END_TEST

/* A hart that the guest may not have is a stopped one that does not start; a running one goes on. */
START_TEST(hart_kept)
{
    static const uint64_t start[5] = {3, RAM + 0x2000, 0};
    struct rig r;
    uint64_t a[8];

    begin(&r);
    r.kept = 1 << 2 | 1 << 3;
    call(&r, 0, HSM, 0, start, a);
    ck_assert_int_eq((int64_t)a[0], DENIED);
    call(&r, 0, HSM, 2, start, a);
    ck_assert_int_eq((int64_t)a[0], OK);
    ck_assert_uint_eq(a[1], 1);
    call(&r, 0, HSM, 0, (uint64_t[5]){2, RAM, 0}, a);
    ck_assert_int_eq((int64_t)a[0], ALREADY_AVAILABLE);
    r.kept = 0;
    call(&r, 0, HSM, 0, start, a);
    ck_assert_int_eq((int64_t)a[0], OK);
    rig_end(&r);
}
END_TEST

START_TEST(hart_life)
{
    struct rig r;
    uint64_t a[8];

    begin(&r);
    call(&r, 0, HSM, 0, (uint64_t[5]){3, RAM + 0x2000, 0x1234}, a);
    ck_assert_uint_eq(r.started.pc, RAM + 0x2000);
    ck_assert_uint_eq(r.started.args[0], 3);
    ck_assert_uint_eq(r.started.args[1], 0x1234);
    call(&r, 0, HSM, 2, (uint64_t[5]){3}, a);
    ck_assert_uint_eq(a[1], 2); /* start pending */
    call(&r, 0, HSM, 0, (uint64_t[5]){3, RAM, 0}, a);
    ck_assert_int_eq((int64_t)a[0], ALREADY_AVAILABLE);
    ck_assert(!call(&r, 2, HSM, 1, (uint64_t[5]){0}, a));
    ck_assert_int_eq(r.status[2], BOARD_CPU_STOPPING);
    call(&r, 0, HSM, 2, (uint64_t[5]){2}, a);
    ck_assert_uint_eq(a[1], 3); /* stop pending */
    rig_end(&r);
}
END_TEST

static const struct {
    uint64_t ext, args[5];
    enum board_request_kind kind;
    uint32_t reason;
} resets[] = {
    {SRST, {0, 0}, BOARD_REQUEST_POWEROFF, 0}, {SRST, {0, 1}, BOARD_REQUEST_FAILED, 1},
    {SRST, {1, 0}, BOARD_REQUEST_REBOOT, 0},   {SRST, {2, 1}, BOARD_REQUEST_REBOOT, 1},
    {8, {0}, BOARD_REQUEST_POWEROFF, 0},
};

START_TEST(reset_requests)
{
    struct rig r;
    uint64_t a[8];

    begin(&r);
    ck_assert(!call(&r, 0, resets[_i].ext, 0, resets[_i].args, a));
    ck_assert_uint_eq(r.n_requests, 1);
    ck_assert_int_eq(r.request.kind, resets[_i].kind);
    ck_assert_uint_eq(r.request.reason, resets[_i].reason);
    rig_end(&r);
}
END_TEST

/* The timer raises the input when its time has come, is taken back by a later one. */
START_TEST(timer)
{
    struct rig r;
    uint64_t a[8], now;

    begin(&r);
    now = vm_clock_now(r.clock) / 100;
    call(&r, 1, TIME, 0, (uint64_t[5]){now}, a);
    ck_assert(r.irq[1][HART_IRQ_S_TIMER] && !r.irq[0][HART_IRQ_S_TIMER]);
    call(&r, 1, TIME, 0, (uint64_t[5]){UINT64_MAX}, a);
    ck_assert_int_eq((int64_t)a[0], OK);
    ck_assert(!r.irq[1][HART_IRQ_S_TIMER]);
    call(&r, 1, 0, 0, (uint64_t[5]){now + 1000}, a); /* legacy */
    while (!r.irq[1][HART_IRQ_S_TIMER])
        uv_run(&r.loop, UV_RUN_ONCE);
    ck_assert_uint_ge(vm_clock_now(r.clock) / 100, now + 1000);
    board_reset(r.board);
    ck_assert(!r.irq[1][HART_IRQ_S_TIMER]);
    rig_end(&r);
}
END_TEST

START_TEST(debug_console)
{
    struct rig r;
    uint64_t a[8];
    char got[8] = "";

    begin(&r);
    call(&r, 0, DBCN, 0, (uint64_t[5]){5, RAM + 0x100, 0}, a);
    call(&r, 0, DBCN, 2, (uint64_t[5]){0x121}, a); /* '!': the low byte counts */
    call(&r, 0, 1, 0, (uint64_t[5]){'?'}, a);      /* legacy putchar */
    ck_assert_uint_eq(a[0], 0);
    rig_turn(&r);
    ck_assert_str_eq(r.output->str, "hello!?");

    call(&r, 0, 2, 0, (uint64_t[5]){0}, a); /* legacy getchar */
    ck_assert_uint_eq(a[0], UINT64_MAX);
    board_console_input(r.board, (const uint8_t *)"keys", 4);
    call(&r, 0, 2, 0, (uint64_t[5]){0}, a);
    ck_assert_uint_eq(a[0], 'k');
    call(&r, 0, DBCN, 1, (uint64_t[5]){7, RAM + 0x200, 0}, a);
    ck_assert_uint_eq(a[1], 3);
    ck_assert_int_eq(mem_map_read(r.mem, RAM + 0x200, got, 4), 0);
    ck_assert_str_eq(got, "eys");
    rig_end(&r);
}
END_TEST

/* The console takes what it has room for and says how much; a byte that finds none fails. */
START_TEST(debug_console_full)
{
    struct rig r;
    uint64_t a[8];

    begin(&r);
    r.output_most = 0;
    call(&r, 0, DBCN, 0, (uint64_t[5]){MIB(1), RAM, 0}, a);
    ck_assert_int_eq((int64_t)a[0], OK);
    ck_assert_uint_gt(a[1], 4096);
    ck_assert_uint_lt(a[1], MIB(1));
    call(&r, 0, DBCN, 0, (uint64_t[5]){10, RAM, 0}, a);
    ck_assert_uint_eq(a[1], 0);
    call(&r, 0, DBCN, 2, (uint64_t[5]){'x'}, a);
    ck_assert_int_eq((int64_t)a[0], FAILED);
    call(&r, 0, 1, 0, (uint64_t[5]){'x'}, a);
    ck_assert_int_eq((int64_t)a[0], FAILED);
    rig_end(&r);
}
END_TEST

START_TEST(timer_state)
{
    struct rig a, b;
    uint64_t args[8];
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    begin(&a);
    call(&a, 1, TIME, 0, (uint64_t[5]){0}, args);
    call(&a, 2, TIME, 0, (uint64_t[5]){UINT64_C(1) << 62}, args);
    board_state_save(a.board, saved);
    rig_end(&a);

    begin(&b);
    ck_assert(board_state_load(b.board, saved->data, saved->len, &used, &err));
    ck_assert(b.irq[1][HART_IRQ_S_TIMER] && !b.irq[2][HART_IRQ_S_TIMER]);
    rig_end(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("board_sbi");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, results, 0, G_N_ELEMENTS(calls));
    tcase_add_test(tc, ipi_reaches);
    tcase_add_loop_test(tc, fence_reaches, 0, G_N_ELEMENTS(fences));
    tcase_add_test(tc, hart_life);
    tcase_add_test(tc, hart_kept);
    tcase_add_loop_test(tc, reset_requests, 0, G_N_ELEMENTS(resets));
    tcase_add_test(tc, timer);
    tcase_add_test(tc, debug_console);
    tcase_add_test(tc, debug_console_full);
    tcase_add_test(tc, timer_state);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
