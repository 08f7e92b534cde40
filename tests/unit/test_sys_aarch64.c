/*
 * A vCPU's privileged state without any code to run: system registers, exceptions, timers, and page
 * tables of every granule, each as a table of cases.
 */
#include "tests/unit/unit.h"

#include "xlate/mmu/mmu.h"
#include "xlate/sys/aarch64/a64_cpu.h"

#define RAM UINT64_C(0x40000000)

static struct {
    struct accel accel;
    struct mem_map *map;
    struct a64_cpu *cpu;
    uint64_t timer;    /* what the vCPU last asked for */
    unsigned attended;
    int lines[2];      /* times each output changed */
    bool level[2];
    uint64_t args[8];
} t;

static void fence_code(struct xl_cpu *cpu)
{
}

static void set_timer(struct xl_cpu *cpu, uint64_t guest_ns)
{
    t.timer = guest_ns;
}

static void attend(struct xl_cpu *cpu)
{
    t.attended++;
}

static void each(struct xl_cpu *cpu, void (*fn)(struct xl_cpu *each))
{
    fn(cpu);
}

static void code_foreign(struct xl_cpu *cpu, const void *host_page)
{
}

static const struct xl_host host = {.code_foreign = code_foreign, .fence_code = fence_code, .fence_code_all = fence_code,
                                    .timer = set_timer, .attend = attend, .each = each};

static bool hypercall(void *opaque, unsigned vcpu, uint64_t args[8])
{
    memcpy(t.args, args, sizeof(t.args));
    for (unsigned i = 0; i < 8; i++)
        args[i] = 0x10 + i;
    return true;
}

static void line_changed(void *opaque, unsigned vcpu, enum arm_line line, bool level)
{
    t.lines[line]++;
    t.level[line] = level;
}

/* The machine has one register: it keeps nothing and reads as its number. */
static bool machine_register(void *opaque, unsigned vcpu, unsigned number, bool write, uint64_t *value)
{
    if (number != A64_SYSREG(3, 0, 12, 12, 0))
        return false;
    *value = number;
    return true;
}

static void page_written(void *opaque, struct mem_ram *ram, uint64_t page)
{
}

static void setup(void)
{
    struct xl_cpu *cpu;

    memset(&t, 0, sizeof(t));
    t.map = mem_map_new();
    mem_map_add_ram(t.map, RAM, MIB(8), "ram", false, NULL);
    t.accel.config = (struct accel_config){
        .isa = ISA_AARCH64, .vcpus = 1, .mem = t.map, .clock = vm_clock_new(1000000),
        .timebase_hz = 1000000000, .hypercall = hypercall, .sysreg = machine_register,
        .line = line_changed};
    vm_clock_pause(t.accel.config.clock);
    ck_assert_int_eq(posix_memalign((void **)&cpu, 64, aarch64_sys.cpu_size), 0);
    memset(cpu, 0, aarch64_sys.cpu_size);
    cpu->vcpu.accel = &t.accel;
    cpu->vcpu.index = 18;
    cpu->host = &host;
    t.cpu = a64_cpu(cpu);
    mmu_init(cpu, t.map, &aarch64_sys, &(struct mmu_code_ops){page_written, NULL});
    aarch64_sys.init(cpu);
    aarch64_sys.reset(cpu, &(struct vcpu_start){.pc = RAM, .args = {5, 6, 7, 8}});
}

static void teardown(void)
{
    aarch64_sys.fini(&t.cpu->cpu);
    mmu_fini(&t.cpu->cpu);
    free(t.cpu);
    mem_map_free(t.map);
    vm_clock_free(t.accel.config.clock);
}

static uint64_t *slot(unsigned number)
{
    return &t.cpu->cpu.slots[number];
}

START_TEST(reset_state)
{
    ck_assert_uint_eq(*slot(A64_SLOT_X + 3), 8);
    ck_assert_uint_eq(a64_spsr(t.cpu), 0x3c5); /* EL1h, everything masked */
    ck_assert_uint_eq(t.cpu->cpu.mode, A64_MODE(A64_TLB_EL1, A64_EL1, A64_MODE_ZVA));
}
END_TEST

/* --- system registers ------------------------------------------------------------------------- */

enum { EL0_FREE = 1, EL0_TRAPS, EL0_UNDEFINED };

static const struct {
    const char *name;
    unsigned number;
    uint64_t write, read; /* 0 and 0 of what is not to be written */
    bool read_only;
    int at_el0;
} registers[] = {
    {"ID space that is not there", A64_SYSREG(3, 0, 0, 3, 4), 0, 0, true, EL0_FREE},
    {"MPIDR_EL1 of vCPU 18", A64_SYSREG(3, 0, 0, 0, 5), 0, 0x80000102, true, EL0_FREE},
    {"VBAR_EL1 is aligned", A64_SYSREG(3, 0, 12, 0, 0), UINT64_MAX, ~UINT64_C(0x7ff), false, EL0_FREE},
    {"SCTLR_EL1 keeps what is offered", A64_SYSREG(3, 0, 1, 0, 0), UINT64_C(1) << 25 | 4, 0x30400804, false,
     EL0_FREE},
    {"FPCR traps nothing", A64_SYSREG(3, 3, 4, 4, 0), UINT64_MAX, 0x07c00000, false, EL0_FREE},
    {"CTR_EL0", A64_SYSREG(3, 3, 0, 0, 1), 0, 0x9444c004, true, EL0_TRAPS},
    {"CNTFRQ_EL0", A64_SYSREG(3, 3, 14, 0, 0), 0, 1000000000, true, EL0_TRAPS},
    {"CNTV_CVAL_EL0", A64_SYSREG(3, 3, 14, 3, 2), 123456, 123456, false, EL0_TRAPS},
    {"SCXTNUM_EL0", A64_SYSREG(3, 3, 13, 0, 7), 77, 77, false, EL0_TRAPS},
    {"MDCCSR_EL0", A64_SYSREG(2, 3, 0, 1, 0), 0, 0, true, EL0_FREE},
    {"DCZID_EL0", A64_SYSREG(3, 3, 0, 0, 7), 0, 4, true, EL0_FREE},
    {"the machine's", A64_SYSREG(3, 0, 12, 12, 0), 1, A64_SYSREG(3, 0, 12, 12, 0), false, EL0_UNDEFINED},
};

START_TEST(register_rows)
{
    unsigned number = registers[_i].number;
    const char *name = registers[_i].name;
    uint64_t value = 0;

    enum a64_access_result rc = a64_sysreg_write(t.cpu, number, registers[_i].write);
    ck_assert_msg(rc == (registers[_i].read_only ? A64_IS_UNDEFINED : A64_OK), "%s: write", name);
    ck_assert_msg(a64_sysreg_read(t.cpu, number, &value) == A64_OK, "%s: read", name);
    ck_assert_msg(value == registers[_i].read, "%s: reads %#" G_GINT64_MODIFIER "x", name, value);
    a64_set_el(t.cpu, A64_EL0, 0);
    rc = a64_sysreg_read(t.cpu, number, &value);
    ck_assert_msg((rc == A64_TRAPS) == (registers[_i].at_el0 == EL0_TRAPS), "%s: trap", name);
    ck_assert_msg((rc == A64_IS_UNDEFINED) == (registers[_i].at_el0 == EL0_UNDEFINED), "%s: EL0", name);
}
END_TEST

/* What is written to an external debugger is never taken; EL0 may look where MDSCR_EL1.TDCC lets it. */
START_TEST(debug_channel)
{
    const unsigned status = A64_SYSREG(2, 3, 0, 1, 0), channel = A64_SYSREG(2, 3, 0, 5, 0);
    const unsigned wide = A64_SYSREG(2, 3, 0, 4, 0), mdscr = A64_SYSREG(2, 0, 0, 2, 2);
    uint64_t value = 1;

    ck_assert(a64_sysreg_read(t.cpu, status, &value) == A64_OK && value == 0);
    ck_assert(a64_sysreg_write(t.cpu, channel, UINT64_C(0xff00000055)) == A64_OK);
    ck_assert(a64_sysreg_read(t.cpu, status, &value) == A64_OK && value == BIT(29));
    ck_assert(a64_sysreg_read(t.cpu, A64_SYSREG(2, 0, 0, 3, 2), &value) == A64_OK && value == 0x55);
    ck_assert(a64_sysreg_read(t.cpu, channel, &value) == A64_OK && value == 0);
    ck_assert(a64_sysreg_write(t.cpu, wide, UINT64_C(0x1200000034)) == A64_OK);
    ck_assert(a64_sysreg_read(t.cpu, wide, &value) == A64_OK && value == UINT64_C(0x3400000012));
    ck_assert(a64_sysreg_write(t.cpu, mdscr, BIT(30)) == A64_OK); /* under the OS lock */
    ck_assert(a64_sysreg_read(t.cpu, status, &value) == A64_OK && value == BIT(30));
    a64_sysreg_write(t.cpu, A64_SYSREG(2, 0, 1, 0, 4), 0);
    ck_assert(a64_sysreg_write(t.cpu, mdscr, BIT(12)) == A64_OK);
    ck_assert(a64_sysreg_read(t.cpu, mdscr, &value) == A64_OK && value == (BIT(30) | BIT(12)));
    a64_set_el(t.cpu, A64_EL0, 0);
    ck_assert(a64_sysreg_read(t.cpu, status, &value) == A64_TRAPS);
    ck_assert(a64_sysreg_write(t.cpu, channel, 1) == A64_TRAPS);
    t.cpu->mdscr = 0;
    ck_assert(a64_sysreg_read(t.cpu, channel, &value) == A64_OK);
}
END_TEST

/* --- exceptions ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned el, spsel;
    bool irq;
    unsigned offset;
} vectors[] = {
    {"from EL0", A64_EL0, 0, false, 0x400},       {"an interrupt of EL0", A64_EL0, 0, true, 0x480},
    {"from EL1 with SP_EL1", A64_EL1, 1, false, 0x200}, {"with SP_EL0", A64_EL1, 0, false, 0x000},
    {"an interrupt of EL1", A64_EL1, 1, true, 0x280},
};

START_TEST(vector_rows)
{
    struct xl_cpu *cpu = &t.cpu->cpu;
    const char *name = vectors[_i].name;

    t.cpu->vbar = 0x1000;
    *slot(A64_SLOT_DAIF) = 0;
    *slot(A64_SLOT_NZCV) = IR_NZCV_C;
    *slot(A64_SLOT_EXCL_TAG) = 0x40;
    a64_set_el(t.cpu, vectors[_i].el, vectors[_i].spsel);
    uint64_t spsr = a64_spsr(t.cpu);
    if (vectors[_i].irq) {
        a64_set_irq(cpu, ARM_IRQ_IRQ, true);
        ck_assert_msg(a64_poll(cpu), "%s", name);
    } else {
        a64_help_brk(cpu, 0x55);
        a64_take_fault(cpu);
        ck_assert_msg(*slot(A64_SLOT_ESR_EL1) == 0xf2000055, "%s: syndrome", name);
    }
    ck_assert_msg(cpu->pc == 0x1000u + vectors[_i].offset, "%s: goes to %#" G_GINT64_MODIFIER "x", name, cpu->pc);
    ck_assert_msg(*slot(A64_SLOT_SPSR_EL1) == spsr, "%s: saved state", name);
    ck_assert_msg(*slot(A64_SLOT_ELR_EL1) == RAM, "%s: return address", name);
    ck_assert_msg(a64_spsr(t.cpu) == (0x3c5 | UINT64_C(1) << 29), "%s: new state", name);
    ck_assert_msg(*slot(A64_SLOT_EXCL_TAG) == A64_EXCL_NONE, "%s: monitor", name);
}
END_TEST

/* A fault in the saved state of ERET is the next instruction's, in the old exception level. */
static const struct {
    const char *name;
    uint64_t spsr;
    bool illegal;
} returns[] = {
    {"to EL0", 0, false}, {"to EL1 with SP_EL0", 4, false}, {"to EL2", 9, true},
    {"to EL0 with SP_EL1", 1, true}, {"to AArch32", 0x10, true},
};

START_TEST(return_rows)
{
    struct xl_cpu *cpu = &t.cpu->cpu;

    t.cpu->vbar = 0x1000;
    *slot(A64_SLOT_ELR_EL1) = 0x8000;
    *slot(A64_SLOT_SPSR_EL1) = returns[_i].spsr;
    a64_help_eret(cpu);
    if (!returns[_i].illegal) {
        ck_assert_msg(cpu->pc == 0x8000 && a64_spsr(t.cpu) == returns[_i].spsr, "%s", returns[_i].name);
        return;
    }
    ck_assert_msg(cpu->pc == 0x1200, "%s", returns[_i].name);
    ck_assert_msg(*slot(A64_SLOT_ESR_EL1) == 0x3a000000, "%s: syndrome", returns[_i].name);
    ck_assert_msg(*slot(A64_SLOT_SPSR_EL1) & SPSR_IL, "%s: PSTATE.IL", returns[_i].name);
}
END_TEST

/* What a debugger reads back of what it wrote, of two words where the register has them. */
START_TEST(debugger_rows)
{
    static const struct {
        unsigned number;
        uint64_t write[2], read[2];
    } rows[] = {
        {0, {UINT64_MAX}, {UINT64_MAX}},
        {31, {0x1000}, {0x1000}},
        {34, {1, 2}, {1, 2}},
        {65, {UINT64_MAX, 5}, {UINT64_MAX, 5}},
        {66, {UINT64_MAX}, {0x0800009f}},
        {67, {UINT64_MAX}, {0x07c00000}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint64_t value[2] = {0};
        ck_assert(a64_register_set(&t.cpu->cpu, rows[i].number, rows[i].write));
        ck_assert(a64_register_get(&t.cpu->cpu, rows[i].number, value));
        ck_assert_msg(!memcmp(value, rows[i].read, sizeof(value)), "%u: %lx %lx", rows[i].number,
                      value[0], value[1]);
    }
    ck_assert(!a64_register_set(&t.cpu->cpu, A64_REGISTERS, rows[0].write));
}
END_TEST

START_TEST(hypercalls)
{
    a64_help_hvc(&t.cpu->cpu, 0);
    ck_assert_uint_eq(t.args[0], 5);
    ck_assert_uint_eq(*slot(A64_SLOT_X + 3), 0x13);
    ck_assert_uint_eq(*slot(A64_SLOT_X + 4), 0); /* x4 and up stay */
    ck_assert_uint_eq(t.cpu->cpu.pc, RAM + 4);
}
END_TEST

/* --- events ------------------------------------------------------------------------------------ */

enum { LATE = 50000, LONGEST = 10000000 }; /* what a host sleeps too long; without a stream */

/* CNTKCTL_EL1, and when WFE ends, with the clock at 1 ms and the counter at 100,000, or a little more. */
static const struct {
    const char *name;
    uint64_t cntkctl, end;
} streams[] = {
    {"no event stream", 0, LONGEST},
    {"bit 15 rises", 4 | 15 << 4, (65536 * 2 + 32768) * 10},
    {"bit 15 falls", 4 | 8 | 15 << 4, 65536 * 2 * 10},
    {"bit 0 rises, too soon to sleep", 4, 0},
};

START_TEST(event_streams)
{
    const char *name = streams[_i].name;
    uint64_t deadline = 0, end = streams[_i].end;

    if (end == LONGEST)
        end += vm_clock_now(t.accel.config.clock);
    t.accel.config.timebase_hz = 100000000;
    t.cpu->cntkctl = streams[_i].cntkctl;
    a64_help_wfe(&t.cpu->cpu);
    ck_assert_msg(t.cpu->cpu.waiting && t.cpu->cpu.pc == RAM + 4, "%s", name);
    bool idle = aarch64_sys.idle(&t.cpu->cpu, &deadline);
    ck_assert_msg(idle == !!end, "%s", name);
    ck_assert_msg(!idle || deadline == end - LATE, "%s: %lu", name, deadline);
}
END_TEST

/* What ends a wait that has begun, and what doesn't. */
enum { NOTHING, SEV, STORE, IRQ, IRQ_MASKED };

static const struct {
    const char *name;
    int what;
    bool monitor, ends;
} wakers[] = {
    {"nothing", NOTHING, true, false},
    {"SEV", SEV, false, true},
    {"a store to the monitor's word", STORE, true, true},
    {"a store to another", STORE, false, false},
    {"an interrupt", IRQ, false, true},
    {"one that is masked", IRQ_MASKED, false, false},
};

START_TEST(wake_ups)
{
    struct xl_cpu *cpu = &t.cpu->cpu;
    uint64_t deadline = 0, word = 1;

    mem_map_write(t.map, RAM + 64, &word, 8);
    mmu_load(cpu, RAM + 64, 3);
    if (wakers[_i].monitor) {
        *slot(A64_SLOT_EXCL_TAG) = (RAM + 64) ^ UINT64_C(4) << 56;
        *slot(A64_SLOT_EXCL_VALUE) = 1;
    }
    *slot(A64_SLOT_DAIF) = wakers[_i].what == IRQ ? 0 : SPSR_DAIF;
    a64_help_wfe(cpu);
    ck_assert(cpu->waiting && aarch64_sys.idle(cpu, &deadline));
    t.attended = 0;
    if (wakers[_i].what == SEV) {
        a64_help_sev(cpu, 0);
        ck_assert_uint_eq(t.attended, 1);
    } else if (wakers[_i].what == STORE) {
        mmu_store(cpu, RAM + 64, 2, 3);
    } else if (wakers[_i].what >= IRQ) {
        a64_set_irq(cpu, ARM_IRQ_IRQ, true);
    }
    ck_assert_msg(aarch64_sys.idle(cpu, &deadline) == !wakers[_i].ends, "%s", wakers[_i].name);
}
END_TEST

/* No wait at all: the event register is set; the events are used up by it. */
START_TEST(events_of_before)
{
    for (unsigned i = 0; i < 3; i++) {
        if (i < 2)
            a64_help_sev(&t.cpu->cpu, i);
        else
            a64_help_eret(&t.cpu->cpu);
        t.attended = 0;
        a64_help_wfe(&t.cpu->cpu);
        ck_assert(!t.cpu->cpu.waiting && !t.cpu->cpu.fault);
        ck_assert_uint_eq(t.attended, 0);
    }
    ck_assert_uint_eq(t.cpu->el, A64_EL0);
    a64_help_wfe(&t.cpu->cpu); /* which EL0 may not, now that it has to wait */
    ck_assert_uint_eq(t.cpu->syndrome, 0x07e00001);
}
END_TEST

/* --- self-hosted debug ------------------------------------------------------------------------- */

#define MDSCR A64_SYSREG(2, 0, 0, 2, 2)
#define BVR(n) A64_SYSREG(2, 0, 0, n, 4)
#define BCR(n) A64_SYSREG(2, 0, 0, n, 5)
#define WVR(n) A64_SYSREG(2, 0, 0, n, 6)
#define WCR(n) A64_SYSREG(2, 0, 0, n, 7)

enum { BCR_EL1 = 0x1e3, BCR_LINK_5 = 0x150000, BCR_CONTEXT = 0x200000, BCR_LINKED = 0x300000 };

/* Number 0 is at PC 0x1000 but for what the row says; number 5 is another. */
static const struct {
    const char *name;
    uint64_t bvr, bcr, bvr5, bcr5;
    bool looks, hits; /* in a mode that looks for them; it is there */
} break_rows[] = {
    {"an address", 0x1000, BCR_EL1, 0, 0, true, true},
    {"another in the same place", 0x2000, BCR_EL1, 0, 0, true, false},
    {"bits above 48 are copies", 0x1000 | UINT64_C(0x7f) << 50, BCR_EL1, 0, 0, true, true},
    {"bit 48 counts", 0x1000 | UINT64_C(1) << 48, BCR_EL1, 0, 0, true, false},
    {"off", 0x1000, BCR_EL1 - 1, 0, 0, false, false},
    {"of EL0", 0x1000, BCR_EL1 + 2, 0, 0, false, false},
    {"of a security state", 0x1000, BCR_EL1 | 0x4000, 0, 0, false, false},
    {"a reserved type", 0x1000, BCR_EL1 | 0x800000, 0, 0, false, false},
    {"a context", 0, 0, 0x77, BCR_EL1 | BCR_CONTEXT, true, true},
    {"another context", 0, 0, 0x76, BCR_EL1 | BCR_CONTEXT, true, false},
    {"a context where none can be", 0x77, BCR_EL1 | BCR_CONTEXT, 0, 0, true, false},
    {"linked", 0x1000, BCR_EL1 | BCR_LINK_5, 0x77, BCR_EL1 | BCR_LINKED, true, true},
    {"linked with another", 0x1000, BCR_EL1 | BCR_LINK_5, 0x78, BCR_EL1 | BCR_LINKED, true, false},
    {"linked with what is off", 0x1000, BCR_EL1 | BCR_LINK_5, 0x77, BCR_LINKED, true, false},
    {"linked with an address", 0x1000, BCR_EL1 | BCR_LINK_5, 0x77, BCR_EL1 + 2, true, false},
    {"linked with what is not there", 0x1000, BCR_EL1 | 0x1f0000, 0, 0, true, false},
    {"a link alone", 0, 0, 0x77, BCR_EL1 | BCR_LINKED, false, false},
};

static void debug_on(void)
{
    *slot(A64_SLOT_DAIF) = 0;
    a64_sysreg_write(t.cpu, A64_SYSREG(2, 0, 1, 0, 4), 0);
    a64_sysreg_write(t.cpu, MDSCR, MDSCR_MDE | MDSCR_KDE);
}

START_TEST(breakpoints)
{
    const char *name = break_rows[_i].name;

    debug_on();
    a64_sysreg_write(t.cpu, A64_SYSREG(3, 0, 13, 0, 1), 0x77);
    a64_sysreg_write(t.cpu, BVR(0), break_rows[_i].bvr);
    a64_sysreg_write(t.cpu, BCR(0), break_rows[_i].bcr);
    a64_sysreg_write(t.cpu, BVR(5), break_rows[_i].bvr5);
    a64_sysreg_write(t.cpu, BCR(5), break_rows[_i].bcr5);
    bool looks = (t.cpu->cpu.mode & A64_MODE_BREAKS) && (*slot(A64_SLOT_BREAKS) & 1);
    ck_assert_msg(looks == break_rows[_i].looks, "%s: slot %lx", name, *slot(A64_SLOT_BREAKS));
    t.cpu->cpu.pc = 0x1000;
    a64_help_breakpoint(&t.cpu->cpu);
    ck_assert_msg(!!t.cpu->cpu.fault == break_rows[_i].hits, "%s", name);
    t.cpu->cpu.fault = 0;
    *slot(A64_SLOT_DAIF) = SPSR_D; /* it may be set while the mode still looks */
    a64_help_breakpoint(&t.cpu->cpu);
    ck_assert_msg(!t.cpu->cpu.fault, "%s: masked", name);
}
END_TEST

#define WCR_OF(mask, bas) ((uint64_t)(mask) << 24 | (uint64_t)(bas) << 5 | 0x1b)

static const struct {
    const char *name;
    uint64_t wvr, wcr;
    uint64_t first, last; /* offsets in RAM of what is watched; both 0: nothing */
} watch_rows[] = {
    {"a doubleword", 8, WCR_OF(0, 0xff), 8, 15},
    {"a byte", 8, WCR_OF(0, 0x08), 11, 11},
    {"some bytes", 8, WCR_OF(0, 0x3c), 10, 13},
    {"with a gap", 8, WCR_OF(0, 0xcc), 10, 11},
    {"a word", 12, WCR_OF(0, 0xff), 12, 15},
    {"no byte", 8, WCR_OF(0, 0), 0, 0},
    {"no byte of a word", 12, WCR_OF(0, 0xf0), 0, 0},
    {"eight bytes by mask", 8, WCR_OF(3, 0xff), 8, 15},
    {"a page", 0x1008, WCR_OF(12, 0xff), 0x1000, 0x1fff},
    {"a reserved mask", 8, WCR_OF(2, 0xff), 0, 0},
    {"off", 8, WCR_OF(0, 0xff) - 1, 0, 0},
    {"of neither loads nor stores", 8, WCR_OF(0, 0xff) & ~UINT64_C(0x18), 0, 0},
    {"of EL0", 8, WCR_OF(0, 0xff) + 2, 0, 0},
};

START_TEST(watchpoints)
{
    uint64_t first = watch_rows[_i].first, last = watch_rows[_i].last;
    const char *name = watch_rows[_i].name;

    debug_on();
    a64_sysreg_write(t.cpu, WVR(3), RAM + watch_rows[_i].wvr);
    a64_sysreg_write(t.cpu, WCR(3), watch_rows[_i].wcr);
    for (gva_t va = 0; va < 0x2008; va++) {
        t.cpu->cpu.fault = 0;
        mmu_load(&t.cpu->cpu, RAM + va, 0);
        bool hit = last && va >= first && va <= last;
        ck_assert_msg(!!t.cpu->cpu.fault == hit, "%s: offset %lx", name, va);
        ck_assert_msg(!hit || (t.cpu->syndrome == 0xd2000022 && t.cpu->cpu.fault_value == RAM + va), "%s",
                      name);
    }
    t.cpu->cpu.fault = 0;
    aarch64_sys.reset(&t.cpu->cpu, &(struct vcpu_start){.pc = RAM});
    debug_on();
    mmu_load(&t.cpu->cpu, RAM + first, 0);
    ck_assert_msg(!t.cpu->cpu.fault, "%s: reset", name);
}
END_TEST

/* --- timers ----------------------------------------------------------------------------------- */

START_TEST(timers)
{
    uint64_t value = 0, now = a64_count(t.cpu);
    unsigned ctl = A64_SYSREG(3, 3, 14, 3, 1), cval = A64_SYSREG(3, 3, 14, 3, 2);

    a64_sysreg_write(t.cpu, cval, now + 5000);
    ck_assert_uint_eq(t.timer, UINT64_MAX); /* it is off */
    a64_sysreg_write(t.cpu, ctl, 1);
    ck_assert_uint_eq(t.timer, now + 5000);
    a64_sysreg_write(t.cpu, cval, now);
    ck_assert(t.level[ARM_LINE_VIRTUAL_TIMER] && t.timer == UINT64_MAX);
    a64_sysreg_read(t.cpu, ctl, &value);
    ck_assert_uint_eq(value, 5);
    a64_sysreg_write(t.cpu, ctl, 3); /* masked: the condition stays */
    ck_assert(!t.level[ARM_LINE_VIRTUAL_TIMER]);
    a64_sysreg_read(t.cpu, ctl, &value);
    ck_assert_uint_eq(value, 7);
    ck_assert_int_eq(t.lines[ARM_LINE_VIRTUAL_TIMER], 2);
    ck_assert_int_eq(t.lines[ARM_LINE_PHYSICAL_TIMER], 0);
}
END_TEST

/* A guest that polls for the condition has the interrupt with it, whenever the host's timer goes off. */
START_TEST(timer_polled)
{
    uint64_t value = 0;

    a64_sysreg_write(t.cpu, A64_SYSREG(3, 3, 14, 3, 2), a64_count(t.cpu) + 1000000);
    a64_sysreg_write(t.cpu, A64_SYSREG(3, 3, 14, 3, 1), 1);
    ck_assert(!t.level[ARM_LINE_VIRTUAL_TIMER]);
    vm_clock_resume(t.accel.config.clock);
    while (!(value & 4))
        a64_sysreg_read(t.cpu, A64_SYSREG(3, 3, 14, 3, 1), &value);
    ck_assert(t.level[ARM_LINE_VIRTUAL_TIMER]);
}
END_TEST

/* --- page tables ------------------------------------------------------------------------------ */

#define T(unused, tg0) ((uint64_t)(unused) | (uint64_t)(tg0) << 14 | UINT64_C(5) << 32 | TCR_EPD1)

/* One entry a level, the tables 64 KiB apart from RAM + 64 KiB on; the last is a leaf. */
static const struct {
    const char *name;
    uint64_t tcr;
    gva_t va;
    unsigned levels;
    uint16_t index[4];
    bool block;
    uint64_t page;
} geometries[] = {
    {"4K, four levels", T(16, 0), 0x812345678abc, 4, {0x102, 0x8d, 0x2b, 0x78}, false, 0x1000},
    {"4K, three levels", T(25, 0), 0x5a2345678, 3, {0x16, 0x111, 0x145}, false, 0x1000},
    {"4K, a block of 2M", T(25, 0), 0x5a2345678, 2, {0x16, 0x111}, true, 0x200000},
    {"16K, three levels", T(17, 2), 0x512345678abc, 3, {0x512, 0x1a2, 0x59e}, false, 0x4000},
    {"16K, a block of 32M", T(17, 2), 0x512345678abc, 2, {0x512, 0x1a2}, true, 0x2000000},
    {"64K, two levels", T(22, 1), 0x23456789abc, 2, {0x11a2, 0x1678}, false, 0x10000},
    {"64K, three levels", T(16, 1), 0x823456789abc, 3, {0x20, 0x11a2, 0x1678}, false, 0x10000},
};

static gpa_t table_at(unsigned level)
{
    return RAM + 0x10000 * (level + 1);
}

START_TEST(geometry_rows)
{
    struct xl_walk out = {0};
    unsigned n = geometries[_i].levels;
    uint64_t page = geometries[_i].page, target = UINT64_C(0x100000000) & ~(page - 1);

    for (unsigned level = 0; level < n; level++) {
        uint64_t entry = level + 1 < n ? table_at(level + 1) | 3
                                       : target | 0x400 | (geometries[_i].block ? 1 : 3);
        mem_map_write(t.map, table_at(level) + 8u * geometries[_i].index[level], &entry, 8);
    }
    a64_sysreg_write(t.cpu, A64_SYSREG(3, 0, 2, 0, 0), table_at(0));
    a64_sysreg_write(t.cpu, A64_SYSREG(3, 0, 2, 0, 2), geometries[_i].tcr);
    a64_sysreg_write(t.cpu, A64_SYSREG(3, 0, 1, 0, 0), SCTLR_M);
    gva_t va = geometries[_i].va;
    ck_assert_msg(a64_walk(&t.cpu->cpu, A64_TLB_EL1, va, XL_LOAD, &out), "%s: fault %#" G_GINT64_MODIFIER "x",
                  geometries[_i].name, t.cpu->syndrome);
    ck_assert_msg(out.page == page, "%s: %#" G_GINT64_MODIFIER "x bytes", geometries[_i].name, out.page);
    ck_assert_msg(out.gpa == (target | (va & (page - 1))), "%s: at %#" G_GINT64_MODIFIER "x", geometries[_i].name,
                  out.gpa);
    ck_assert_msg(out.global, "%s", geometries[_i].name);
    ck_assert(!a64_walk(&t.cpu->cpu, A64_TLB_EL0, va, XL_LOAD, &out)); /* not EL0's */
    ck_assert(!a64_walk(&t.cpu->cpu, A64_TLB_EL1, va | BIT(55), XL_LOAD, &out)); /* nor that half's */
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sys_aarch64");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, reset_state);
    tcase_add_loop_test(tc, register_rows, 0, G_N_ELEMENTS(registers));
    tcase_add_test(tc, debug_channel);
    tcase_add_loop_test(tc, vector_rows, 0, G_N_ELEMENTS(vectors));
    tcase_add_test(tc, debugger_rows);
    tcase_add_loop_test(tc, return_rows, 0, G_N_ELEMENTS(returns));
    tcase_add_test(tc, hypercalls);
    tcase_add_loop_test(tc, event_streams, 0, G_N_ELEMENTS(streams));
    tcase_add_loop_test(tc, wake_ups, 0, G_N_ELEMENTS(wakers));
    tcase_add_test(tc, events_of_before);
    tcase_add_loop_test(tc, breakpoints, 0, G_N_ELEMENTS(break_rows));
    tcase_add_loop_test(tc, watchpoints, 0, G_N_ELEMENTS(watch_rows));
    tcase_add_test(tc, timers);
    tcase_add_test(tc, timer_polled);
    tcase_add_loop_test(tc, geometry_rows, 0, G_N_ELEMENTS(geometries));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
