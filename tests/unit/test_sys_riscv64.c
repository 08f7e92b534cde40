/*
 * A hart's privileged state without any code to run: CSRs, traps, interrupts, page tables, physical
 * memory protection, each as a table of cases.
 */
#include "tests/unit/unit.h"

#include "xlate/mmu/mmu.h"
#include "xlate/sys/riscv64/rv_hart.h"

#define RAM  UINT64_C(0x80000000)
#define HOLE UINT64_C(0x40000000)
#define PAGE UINT64_C(4096)
#define ALL  UINT64_MAX

static struct {
    struct accel accel;
    struct mem_map *map;
    struct mem_ram *ram;
    struct rv_hart *hart;
    uint64_t timer;       /* what the hart last asked for */
    unsigned attended, code_fences;
    bool calls_go_on;
    uint64_t args[8];
} t;

static void fence_code(struct xl_cpu *cpu)
{
    t.code_fences++;
}

static void set_timer(struct xl_cpu *cpu, uint64_t guest_ns)
{
    t.timer = guest_ns;
}

static void attend(struct xl_cpu *cpu)
{
    t.attended++;
}

static void code_foreign(struct xl_cpu *cpu, const void *host_page)
{
}

static const struct xl_host host = {.code_foreign = code_foreign, .fence_code = fence_code, .timer = set_timer, .attend = attend};

static bool hypercall(void *opaque, unsigned vcpu, uint64_t args[8])
{
    memcpy(t.args, args, sizeof(t.args));
    args[0] = 0x11;
    args[1] = 0x22;
    return t.calls_go_on;
}

static void page_written(void *opaque, struct mem_ram *ram, uint64_t page)
{
    mem_page_clear(ram, page, MEM_PAGE_CODE);
}

static void make(bool firmware)
{
    struct xl_cpu *cpu;

    memset(&t, 0, sizeof(t));
    t.map = mem_map_new();
    t.ram = mem_map_add_ram(t.map, RAM, MIB(8), "ram", false, NULL);
    t.accel.config = (struct accel_config){
        .isa = ISA_RISCV64, .vcpus = 1, .mem = t.map, .clock = vm_clock_new(1000000),
        .timebase_hz = 10000000, .firmware_mode = firmware, .hypercall = hypercall};
    vm_clock_pause(t.accel.config.clock);
    ck_assert_int_eq(posix_memalign((void **)&cpu, 64, riscv64_sys.cpu_size), 0);
    memset(cpu, 0, riscv64_sys.cpu_size);
    cpu->vcpu.accel = &t.accel;
    cpu->vcpu.index = 3;
    cpu->host = &host;
    t.hart = rv_hart(cpu);
    mmu_init(cpu, t.map, &riscv64_sys, &(struct mmu_code_ops){page_written, NULL});
    riscv64_sys.init(cpu);
    riscv64_sys.reset(cpu, &(struct vcpu_start){.pc = RAM, .args = {5, 6, 7, 8}});
}

static void setup_firmware(void)
{
    make(true);
}

static void setup_supervisor(void)
{
    make(false);
}

static void teardown(void)
{
    riscv64_sys.fini(&t.hart->cpu);
    mmu_fini(&t.hart->cpu);
    free(t.hart);
    vm_clock_free(t.accel.config.clock);
    mem_map_free(t.map);
}

static void go_to(enum rv_priv priv)
{
    t.hart->priv = (uint8_t)priv;
    rv_update_mode(t.hart);
}

/* --- CSRs ------------------------------------------------------------------------------------- */

/* In M-mode: writes BEFORE (as it is), then VALUE; READ comes back. */
static const struct {
    const char *name;
    unsigned csr;
    uint64_t before, value, read;
} csrs[] = {
    {"mstatus has fixed XLENs", 0x300, 0, 0, 0xa00000000},
    {"mstatus of all ones", 0x300, 0, ALL, 0x8000000a007e79aa},
    {"mstatus keeps a legal MPP", 0x300, 0x800, 0x1000, 0xa00000800},
    {"mstatus FS initial", 0x300, 0, 0x2000, 0xa00002000},
    {"mstatus FS dirty shows SD", 0x300, 0, 0x6000, 0x8000000a00006000},
    {"sstatus of all ones", 0x100, 0, ALL, 0x80000002000c6122},
    {"sstatus reads mstatus", 0x100, 0, 0, 0x200000000},
    {"misa can't be changed", 0x301, 0, 0, 0x800000000014112f},
    {"medeleg", 0x302, 0, ALL, 0xb3ff},
    {"mideleg", 0x303, 0, ALL, 0x222},
    {"mie", 0x304, 0, ALL, 0xaaa},
    {"sie without delegation", 0x104, 0, ALL, 0},
    {"mtvec direct", 0x305, 0, 0x80000004, 0x80000004},
    {"mtvec mode 3 is no mode", 0x305, 0, 0x80000003, 0x80000001},
    {"mtvec mode 2 is no mode", 0x305, 0, 0x80000002, 0x80000000},
    {"stvec vectored", 0x105, 0, 0x80000001, 0x80000001},
    {"mepc is even", 0x341, 0, ALL, ALL - 1},
    {"sepc is even", 0x141, 0, ALL, ALL - 1},
    {"mcause", 0x342, 0, 0x8000000000000007, 0x8000000000000007},
    {"scause", 0x142, 0, 15, 15},
    {"mtval", 0x343, 0, ALL, ALL},
    {"mscratch", 0x340, 0, ALL, ALL},
    {"sscratch", 0x140, 0, 0x1234, 0x1234},
    {"mcounteren", 0x306, 0, ALL, 0xffffffff},
    {"scounteren", 0x106, 0, 7, 7},
    {"mcountinhibit has no time", 0x320, 0, ALL, 5},
    {"menvcfg of all ones", 0x30a, 0, ALL, 0x80000000000000f1},
    {"menvcfg CBIE 2 is reserved", 0x30a, 0x10, 0x20, 0x10},
    {"senvcfg of all ones", 0x10a, 0, ALL, 0xf1},
    {"senvcfg CBIE 2 is reserved", 0x10a, 0x30, 0x20, 0x30},
    {"satp Sv39", 0x180, 0, 0x8ffff00000080000, 0x8ffff00000080000},
    {"satp Sv48", 0x180, 0, 0x9000000000080000, 0x9000000000080000},
    {"satp Sv57 changes nothing", 0x180, 0x8000000000080000, 0xa000000000000001,
     0x8000000000080000},
    {"satp Bare", 0x180, 0x8000000000080000, 0, 0},
    {"stimecmp", 0x14d, 0, 0x12345, 0x12345},
    {"mvendorid", 0xf11, 0, 0, 0},
    {"mhartid", 0xf14, 0, 0, 3},
    {"mip takes SSIP, STIP, SEIP", 0x344, 0, ALL, 0x222},
    {"mhpmcounter3 is nothing", 0xb03, 0, ALL, 0},
    {"mhpmevent31 is nothing", 0x33f, 0, ALL, 0},
    {"pmpaddr0 has 54 bits and pages", 0x3b0, 0, ALL, 0x3ffffffffffc00},
    {"pmpcfg0", 0x3a0, 0, 0x1f1f1f1f0f0f0f0f, 0x1f1f1f1f0f0f0f0f},
    {"pmpcfg2 has no write without read", 0x3a2, 0, 0x1a, 0x18},
    {"pmpcfg0 has no NA4 under 4 KiB", 0x3a0, 0x0f, 0x17, 0x0f},
    {"pmpcfg0 bits 5 and 6 are zero", 0x3a0, 0, 0x60, 0},
    {"mcycle follows the clock", 0xb00, 0, 77, 77},
    {"minstret holds what was written", 0xb02, 0, ALL, ALL},
};

START_TEST(csr_values)
{
    uint64_t got;
    bool read_only = csrs[_i].csr >> 10 == 3;

    if (!read_only) {
        ck_assert(rv_csr_set(t.hart, csrs[_i].csr, csrs[_i].before));
        ck_assert(rv_csr_set(t.hart, csrs[_i].csr, csrs[_i].value));
    }
    ck_assert(rv_csr_get(t.hart, csrs[_i].csr, &got));
    ck_assert_msg(got == csrs[_i].read, "%s: %lx", csrs[_i].name, got);
}
END_TEST

/* Who may touch which CSR, under which settings. The front end has checked the number's bits. */
static const struct {
    const char *name;
    unsigned csr;
    enum rv_priv priv;
    unsigned setting; /* a CSR written first, in M-mode; 0: none */
    uint64_t value;
    bool legal;
} csr_rights[] = {
    {"an unknown CSR", 0x7c0, RV_PRIV_M, 0, 0, false},
    {"pmpcfg1 is for RV32", 0x3a1, RV_PRIV_M, 0, 0, false},
    {"pmpaddr16 isn't there", 0x3c0, RV_PRIV_M, 0, 0, false},
    {"CSR 0", 0x000, RV_PRIV_U, 0, 0, false},
    {"cycle from S, not enabled", 0xc00, RV_PRIV_S, 0, 0, false},
    {"cycle from S", 0xc00, RV_PRIV_S, 0x306, 1, true},
    {"time from S, cycle enabled", 0xc01, RV_PRIV_S, 0x306, 1, false},
    {"instret from M", 0xc02, RV_PRIV_M, 0, 0, true},
    {"time from U, M allows", 0xc01, RV_PRIV_U, 0x306, 7, false},
    {"time from U, S allows", 0xc01, RV_PRIV_U, 0x106, 7, false},
    {"hpmcounter3 from S", 0xc03, RV_PRIV_S, 0x306, 8, true},
    {"satp under TVM", 0x180, RV_PRIV_S, 0x300, MSTATUS_TVM, false},
    {"satp under TVM from M", 0x180, RV_PRIV_M, 0x300, MSTATUS_TVM, true},
    {"satp", 0x180, RV_PRIV_S, 0, 0, true},
    {"stimecmp without STCE", 0x14d, RV_PRIV_S, 0x306, 2, false},
    {"stimecmp with STCE only", 0x14d, RV_PRIV_S, 0x30a, ENVCFG_STCE, false},
    {"stimecmp from M", 0x14d, RV_PRIV_M, 0, 0, true},
};

START_TEST(csr_access)
{
    uint64_t got;

    if (csr_rights[_i].setting)
        ck_assert(rv_csr_set(t.hart, csr_rights[_i].setting, csr_rights[_i].value));
    go_to(csr_rights[_i].priv);
    bool legal = rv_csr_get(t.hart, csr_rights[_i].csr, &got);
    ck_assert_msg(legal == csr_rights[_i].legal, "%s", csr_rights[_i].name);
}
END_TEST

START_TEST(csr_both_enables)
{
    uint64_t got;

    rv_csr_set(t.hart, 0x306, 7);
    rv_csr_set(t.hart, 0x106, 2);
    rv_csr_set(t.hart, 0x30a, ENVCFG_STCE);
    go_to(RV_PRIV_U);
    ck_assert(rv_csr_get(t.hart, 0xc01, &got));
    ck_assert(!rv_csr_get(t.hart, 0xc00, &got));
    go_to(RV_PRIV_S);
    ck_assert(rv_csr_get(t.hart, 0x14d, &got));
}
END_TEST

/* The helpers around the table: old values, set and clear, the next instruction, faults. */
START_TEST(csr_helpers)
{
    struct xl_cpu *cpu = &t.hart->cpu;

    cpu->pc = 0x1000;
    ck_assert_uint_eq(rv_help_csr_write(cpu, 0x340, 0xf0, RV_CSR_SWAP, 0), 0);
    ck_assert_uint_eq(cpu->pc, 0x1004);
    ck_assert_uint_eq(rv_help_csr_write_plain(cpu, 0x340, 0x0f, RV_CSR_SET, 0), 0xf0);
    ck_assert_uint_eq(rv_help_csr_write_plain(cpu, 0x340, 0x11, RV_CSR_CLEAR, 0), 0xff);
    ck_assert_uint_eq(rv_help_csr_read(cpu, 0x340, 0), 0xee);
    rv_help_csr_write(cpu, 0x7c0, 1, RV_CSR_SWAP, 0xabcd);
    ck_assert_uint_eq(cpu->fault, RV_ILLEGAL + 1);
    ck_assert_uint_eq(cpu->fault_value, 0xabcd);
    ck_assert_uint_eq(cpu->pc, 0x1004);
}
END_TEST

static const struct {
    const char *name;
    uint8_t test;   /* enum ir_cond */
    int16_t step;
    uint64_t counter, end, done;
} copy_rows[] = {
    {"up to not equal", IR_NE, 1, 5, 25, 19},
    {"down to not equal", IR_NE, -1, 20, 0, 19},
    {"steps of three", IR_NE, 3, 1, 31, 9},
    {"past the end", IR_NE, 3, 0, 31, 0},
    {"equal at the start", IR_NE, 1, 7, 7, 0},
    {"the last one", IR_NE, 1, 6, 7, 0},
    {"round all numbers", IR_NE, 1, (uint64_t)-5, 5, 9},
    {"below", IR_LTU, 4, 0, 40, 9},
    {"below, not even", IR_LTU, 4, 0, 41, 10},
    {"not below", IR_LTU, 4, 41, 40, 0},
    {"far below", IR_LTU, 2047, 0, UINT64_MAX, 512},
    {"less", IR_LTS, 1, (uint64_t)-5, 5, 9},
    {"not less", IR_LTS, 1, 5, (uint64_t)-5, 0},
    {"from the least", IR_LTS, 1, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 10, 9},
    {"to the greatest", IR_LTS, 1, INT64_MAX - 10, INT64_MAX, 9},
};

/* Every iteration but the last, which the guest's own code does; counted where the mode counts. */
START_TEST(copy_loops)
{
    union rv_copy_loop copy = {.from = 10, .to = 11, .value = 14, .counter = 12, .end = 13, .mem = 3,
                               .insns = 6, .from_offset = 8, .to_offset = -8, .test = copy_rows[_i].test,
                               .reg = {10, 11, 12}, .step = {8, 8, copy_rows[_i].step}};
    struct xl_cpu *cpu = &t.hart->cpu;
    uint64_t *x = cpu->slots, n = copy_rows[_i].done;

    mmu_load(cpu, RAM, 3);
    mmu_store(cpu, RAM + PAGE, 0, 3);
    for (unsigned i = 0; i < 512; i++)
        ((uint64_t *)t.ram->host)[i] = i + 1;
    for (unsigned counts = 0; counts < 2; counts++) {
        cpu->mode = counts ? cpu->mode | RV_MODE_COUNT : cpu->mode & ~RV_MODE_COUNT;
        x[10] = RAM - 8;
        x[11] = RAM + PAGE + 8;
        x[12] = copy_rows[_i].counter;
        x[13] = copy_rows[_i].end;
        x[14] = 99;
        x[RV_SLOT_INSTRET] = 1000;
        rv_help_copy_loop(cpu, copy.word[0], copy.word[1], copy.word[2]);
        ck_assert_msg(x[10] == RAM - 8 + 8 * n, "%s: %lu", copy_rows[_i].name, (x[10] - RAM + 8) / 8);
        ck_assert_uint_eq(x[11], RAM + PAGE + 8 + 8 * n);
        ck_assert_uint_eq(x[12], copy_rows[_i].counter + n * (uint64_t)copy_rows[_i].step);
        ck_assert_uint_eq(x[14], n ? n : 99);
        ck_assert_uint_eq(x[RV_SLOT_INSTRET], 1000 + counts * 6 * n);
        ck_assert_int_eq(memcmp(t.ram->host, t.ram->host + PAGE, 8 * n), 0);
    }
}
END_TEST

/* The register that was loaded is as the load has it; a fill stores it, or x0. */
START_TEST(copy_loop_values)
{
    union rv_copy_loop copy = {.from = 10, .to = 11, .value = 14, .counter = 10, .end = 13, .insns = 5,
                               .mem = IR_MEM_SIGNED, .test = IR_NE, .reg = {10, 11}, .step = {1, 1}};
    struct xl_cpu *cpu = &t.hart->cpu;
    uint64_t *x = cpu->slots;

    mmu_store(cpu, RAM, 0, 3);
    mmu_load(cpu, RAM, 3);
    memset(t.ram->host, 0x80, 64);
    for (unsigned i = 0; i < 2; i++) {
        x[10] = RAM;
        x[11] = RAM + 100;
        x[13] = RAM + 20;
        copy.mem = i ? 0 : IR_MEM_SIGNED;
        rv_help_copy_loop(cpu, copy.word[0], copy.word[1], copy.word[2]);
        ck_assert_uint_eq(x[14], i ? 0x80 : 0xffffffffffffff80);
    }
    copy.from = copy.value = 0;
    copy.to = 10;
    copy.reg[1] = 0;
    x[0] = ALL; /* nobody's */
    x[10] = RAM;
    rv_help_copy_loop(cpu, copy.word[0], copy.word[1], copy.word[2]);
    ck_assert_uint_eq(x[10], RAM + 19);
    ck_assert_uint_eq(t.ram->host[18], 0);
    ck_assert_uint_eq(t.ram->host[19], 0x80);
}
END_TEST

/* mip.SEIP is what software wrote or the input; setting another bit must not latch the input. */
START_TEST(seip_and_its_input)
{
    struct xl_cpu *cpu = &t.hart->cpu;

    rv_set_irq(cpu, RISCV_IRQ_S_EXT, true);
    ck_assert_uint_eq(rv_help_csr_write(cpu, 0x344, 2, RV_CSR_SET, 0), 0x200);
    rv_set_irq(cpu, RISCV_IRQ_S_EXT, false);
    ck_assert_uint_eq(rv_mip(t.hart), 2);
    rv_help_csr_write(cpu, 0x344, 0x200, RV_CSR_SET, 0);
    ck_assert_uint_eq(rv_mip(t.hart), 0x202);
}
END_TEST

START_TEST(pmp_locks)
{
    uint64_t got;

    rv_csr_set(t.hart, 0x3b1, 0x20000000);
    rv_csr_set(t.hart, 0x3a0, 0x8f00); /* entry 1: locked, TOR, so entry 0's address is, too */
    rv_csr_set(t.hart, 0x3b0, 0x1000000);
    rv_csr_set(t.hart, 0x3b1, 0x1000000);
    rv_csr_set(t.hart, 0x3a0, 0x0007);
    rv_csr_get(t.hart, 0x3b0, &got);
    ck_assert_uint_eq(got, 0);
    rv_csr_get(t.hart, 0x3b1, &got);
    ck_assert_uint_eq(got, 0x20000000);
    rv_csr_get(t.hart, 0x3a0, &got);
    ck_assert_uint_eq(got, 0x8f07);
    rv_csr_set(t.hart, 0x3a0, 0x181f); /* NAPOT shows the granularity's ones */
    rv_csr_get(t.hart, 0x3b0, &got);
    ck_assert_uint_eq(got, 0x1ff);
}
END_TEST

START_TEST(fcsr)
{
    struct xl_cpu *cpu = &t.hart->cpu;

    cpu->pc = 0;
    rv_help_fcsr_write(cpu, RV_CSR_FCSR, 0xff, RV_CSR_SWAP);
    ck_assert_uint_eq(rv_mode_frm(cpu->mode), RV_FRM_INVALID);
    ck_assert_uint_eq(rv_mode_fs(cpu->mode), RV_FS_DIRTY);
    ck_assert_uint_eq(rv_help_fcsr_read(cpu, RV_CSR_FFLAGS), 0x1f);
    rv_help_fcsr_write(cpu, RV_CSR_FRM, 4, RV_CSR_SWAP);
    ck_assert_uint_eq(rv_mode_frm(cpu->mode), RV_FRM_RMM);
    ck_assert_uint_eq(cpu->fp_rm, IR_RM_RMM);
    rv_help_fcsr_write(cpu, RV_CSR_FRM, 1, RV_CSR_SWAP);
    ck_assert_uint_eq(cpu->fp_rm, IR_RM_RTZ);
    ck_assert_uint_eq(rv_help_fflags_write(cpu, RV_CSR_FFLAGS, 0x11, RV_CSR_CLEAR), 0x1f);
    ck_assert_uint_eq(rv_help_fcsr_read(cpu, RV_CSR_FCSR), 0x2e);
    ck_assert_uint_eq(cpu->pc, 12);
}
END_TEST

/* --- traps ------------------------------------------------------------------------------------ */

/* Cause taken at PRIV with these settings: where it goes. */
static const struct {
    const char *name;
    enum rv_priv priv;
    uint64_t cause, medeleg, mideleg;
    bool to_s;
    uint64_t pc; /* mtvec is 0x1001, stvec 0x2001 */
} traps[] = {
    {"illegal in M", RV_PRIV_M, 2, ALL, 0, false, 0x1000},
    {"illegal in S", RV_PRIV_S, 2, 0, 0, false, 0x1000},
    {"illegal in S, delegated", RV_PRIV_S, 2, 4, 0, true, 0x2000},
    {"page fault in U, delegated", RV_PRIV_U, 13, 1 << 13, 0, true, 0x2000},
    {"page fault in U, another delegated", RV_PRIV_U, 13, 1 << 15, 0, false, 0x1000},
    {"ecall in U", RV_PRIV_U, 8, 1 << 8, 0, true, 0x2000},
    {"timer of S in S", RV_PRIV_S, BIT(63) | 5, 0, 1 << 5, true, 0x2014},
    {"timer of S, not delegated", RV_PRIV_S, BIT(63) | 5, ALL, 0, false, 0x1014},
    {"M external in U", RV_PRIV_U, BIT(63) | 11, ALL, 0, false, 0x102c},
};

START_TEST(trap)
{
    struct rv_hart *h = t.hart;
    uint64_t status = MSTATUS_SIE | MSTATUS_MIE;

    rv_csr_set(h, 0x302, traps[_i].medeleg);
    rv_csr_set(h, 0x303, traps[_i].mideleg);
    rv_csr_set(h, 0x305, 0x1001);
    rv_csr_set(h, 0x105, 0x2001);
    rv_csr_set(h, 0x300, status);
    go_to(traps[_i].priv);
    h->cpu.pc = 0x8000;
    h->cpu.slots[RV_SLOT_RES_TAG] = 0x80001000;
    rv_trap(h, traps[_i].cause, 0x77);
    ck_assert_msg(h->cpu.pc == traps[_i].pc, "%s: pc %lx", traps[_i].name, h->cpu.pc);
    ck_assert_uint_eq(h->cpu.slots[RV_SLOT_RES_TAG], RV_RES_NONE);
    ck_assert_uint_eq(rv_mode_priv(h->cpu.mode), h->priv);
    if (traps[_i].to_s) {
        ck_assert_uint_eq(h->priv, RV_PRIV_S);
        ck_assert_uint_eq(h->sepc, 0x8000);
        ck_assert_uint_eq(h->scause, traps[_i].cause);
        ck_assert_uint_eq(h->stval, 0x77);
        ck_assert_uint_eq(h->mstatus, MSTATUS_MIE | MSTATUS_SPIE |
                                          (traps[_i].priv == RV_PRIV_S ? MSTATUS_SPP : 0));
    } else {
        ck_assert_uint_eq(h->priv, RV_PRIV_M);
        ck_assert_uint_eq(h->mepc, 0x8000);
        ck_assert_uint_eq(h->mcause, traps[_i].cause);
        ck_assert_uint_eq(h->mtval, 0x77);
        ck_assert_uint_eq(h->mstatus, MSTATUS_SIE | MSTATUS_MPIE |
                                          (uint64_t)traps[_i].priv << MSTATUS_MPP_SHIFT);
    }
}
END_TEST

/* xRET at PRIV with mstatus STATUS: mstatus and privilege after it, or an illegal instruction. */
static const struct {
    const char *name;
    bool mret;
    enum rv_priv priv;
    uint64_t status;
    bool legal;
    enum rv_priv to;
    uint64_t after;
} returns[] = {
    {"mret to M", true, RV_PRIV_M, MSTATUS_MPP | MSTATUS_MPIE | MSTATUS_MPRV, true, RV_PRIV_M,
     MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPRV},
    {"mret to S drops MPRV", true, RV_PRIV_M, 0x800 | MSTATUS_MPRV | MSTATUS_MIE, true, RV_PRIV_S,
     MSTATUS_MPIE},
    {"mret to U", true, RV_PRIV_M, MSTATUS_MPIE, true, RV_PRIV_U, MSTATUS_MPIE | MSTATUS_MIE},
    {"mret in S", true, RV_PRIV_S, MSTATUS_MPP, false, 0, 0},
    {"sret to S", false, RV_PRIV_S, MSTATUS_SPP | MSTATUS_SPIE, true, RV_PRIV_S,
     MSTATUS_SIE | MSTATUS_SPIE},
    {"sret to U", false, RV_PRIV_S, MSTATUS_SIE, true, RV_PRIV_U, MSTATUS_SPIE},
    {"sret in M drops MPRV", false, RV_PRIV_M, MSTATUS_SPP | MSTATUS_MPRV, true, RV_PRIV_S,
     MSTATUS_SPIE},
    {"sret in S under TSR", false, RV_PRIV_S, MSTATUS_TSR, false, 0, 0},
    {"sret in M under TSR", false, RV_PRIV_M, MSTATUS_TSR, true, RV_PRIV_U,
     MSTATUS_TSR | MSTATUS_SPIE},
    {"sret in U", false, RV_PRIV_U, 0, false, 0, 0},
};

START_TEST(trap_return)
{
    struct rv_hart *h = t.hart;

    rv_csr_set(h, 0x300, returns[_i].status);
    rv_csr_set(h, 0x341, 0x1111110);
    rv_csr_set(h, 0x141, 0x2222220);
    go_to(returns[_i].priv);
    if (returns[_i].mret)
        rv_help_mret(&h->cpu, 0x30200073);
    else
        rv_help_sret(&h->cpu, 0x10200073);
    ck_assert_msg((h->cpu.fault == 0) == returns[_i].legal, "%s", returns[_i].name);
    if (!returns[_i].legal) {
        ck_assert_uint_eq(h->cpu.fault, RV_ILLEGAL + 1);
        ck_assert_uint_eq(h->cpu.fault_value, returns[_i].mret ? 0x30200073 : 0x10200073);
        return;
    }
    ck_assert_uint_eq(h->cpu.pc, returns[_i].mret ? 0x1111110 : 0x2222220);
    ck_assert_msg(h->priv == returns[_i].to, "%s: to %u", returns[_i].name, h->priv);
    ck_assert_msg(h->mstatus == returns[_i].after, "%s: %lx", returns[_i].name, h->mstatus);
    ck_assert_uint_eq(rv_mode_priv(h->cpu.mode), h->priv);
}
END_TEST

/* Pending and enabled (all enabled in mie) at PRIV: what is taken, or -1. */
static const struct {
    const char *name;
    enum rv_priv priv;
    uint64_t pending, mideleg, status;
    int taken;
} interrupts[] = {
    {"nothing", RV_PRIV_U, 0, 0, 0, -1},
    {"all of M, in the order of the manual", RV_PRIV_S, 0xaaa, 0, 0, 11},
    {"software before timer", RV_PRIV_S, 0x0aa, 0, 0, 3},
    {"M timer before S external", RV_PRIV_S, 0x2a2, 0, 0, 7},
    {"S external before S software", RV_PRIV_S, 0x222, 0, 0, 9},
    {"S software before S timer", RV_PRIV_S, 0x022, 0, 0, 1},
    {"not delegated comes first", RV_PRIV_S, 0x2a2, 0x222, MSTATUS_SIE, 7},
    {"S in S, off", RV_PRIV_S, 0x222, 0x222, 0, -1},
    {"S in S, on", RV_PRIV_S, 0x222, 0x222, MSTATUS_SIE, 9},
    {"S in U, always", RV_PRIV_U, 0x020, 0x222, 0, 5},
    {"S in M, never", RV_PRIV_M, 0x222, 0x222, MSTATUS_SIE | MSTATUS_MIE, -1},
    {"M in M, off", RV_PRIV_M, 0x888, 0, 0, -1},
    {"M in M, on", RV_PRIV_M, 0x888, 0, MSTATUS_MIE, 11},
    {"M in S, always", RV_PRIV_S, 0x080, 0x222, 0, 7},
};

START_TEST(interrupt)
{
    struct rv_hart *h = t.hart;

    rv_csr_set(h, 0x303, interrupts[_i].mideleg);
    rv_csr_set(h, 0x304, ALL);
    rv_csr_set(h, 0x300, interrupts[_i].status);
    for (unsigned irq = 0; irq < 12; irq++)
        rv_set_irq(&h->cpu, irq, interrupts[_i].pending >> irq & 1);
    go_to(interrupts[_i].priv);
    bool took = riscv64_sys.poll(&h->cpu);
    uint64_t cause = h->priv == RV_PRIV_M ? h->mcause : h->scause;
    int taken = took ? (int)(cause & 63) : -1;
    ck_assert_msg(taken == interrupts[_i].taken, "%s: %d", interrupts[_i].name, taken);
    if (took)
        ck_assert(cause & RV_CAUSE_INTERRUPT);
}
END_TEST

START_TEST(inputs)
{
    struct rv_hart *h = t.hart;
    uint64_t deadline;

    rv_set_irq(&h->cpu, RISCV_IRQ_M_EXT, true);
    rv_set_irq(&h->cpu, RISCV_IRQ_M_EXT, true);
    ck_assert_uint_eq(t.attended, 1); /* a level that stays tells nothing */
    rv_set_irq(&h->cpu, RISCV_IRQ_M_EXT, false);
    ck_assert_uint_eq(rv_mip(h), 0);
    rv_set_irq(&h->cpu, RISCV_IRQ_S_SOFT, true);
    rv_set_irq(&h->cpu, RISCV_IRQ_S_SOFT, false); /* a latch */
    ck_assert_uint_eq(rv_mip(h), 2);
    ck_assert(riscv64_sys.idle(&h->cpu, &deadline)); /* not enabled: it wakes nobody */
    rv_csr_set(h, 0x304, 2);
    ck_assert(!riscv64_sys.idle(&h->cpu, &deadline)); /* whatever mstatus says */
    rv_csr_set(h, 0x344, 0);
    ck_assert_uint_eq(rv_mip(h), 0);
}
END_TEST

START_TEST(timer)
{
    struct rv_hart *h = t.hart;
    uint64_t deadline, now;

    rv_csr_set(h, 0x30a, ENVCFG_STCE);
    rv_csr_set(h, 0x304, 0x20);
    rv_csr_get(h, 0xc01, &now);
    ck_assert_uint_eq(now, vm_clock_now(t.accel.config.clock) / 100);
    rv_csr_set(h, 0x14d, now + 1); /* the clock is paused */
    ck_assert_uint_eq(t.timer, (now + 1) * 100);
    ck_assert(riscv64_sys.idle(&h->cpu, &deadline));
    ck_assert_uint_eq(deadline, (now + 1) * 100);
    ck_assert(!riscv64_sys.poll(&h->cpu));
    rv_csr_set(h, 0x14d, now);
    ck_assert_uint_eq(t.timer, UINT64_MAX);
    ck_assert_uint_eq(rv_mip(h), 0x20);
    rv_csr_set(h, 0x344, 0); /* STIP is stimecmp's alone */
    ck_assert_uint_eq(rv_mip(h), 0x20);
    rv_csr_set(h, 0x14d, ALL);
    ck_assert_uint_eq(rv_mip(h), 0);
    ck_assert_uint_eq(t.timer, UINT64_MAX);
    rv_csr_set(h, 0x14d, ALL - 1); /* beyond what a clock can show */
    ck_assert_uint_eq(t.timer, UINT64_MAX);
}
END_TEST

/* --- instructions ----------------------------------------------------------------------------- */

START_TEST(ecall_traps)
{
    static const enum rv_priv privs[] = {RV_PRIV_U, RV_PRIV_S, RV_PRIV_M};

    go_to(privs[_i]);
    rv_help_ecall(&t.hart->cpu);
    ck_assert_uint_eq(t.hart->cpu.fault, 8 + privs[_i] + 1);
    ck_assert_uint_eq(t.hart->cpu.fault_value, 0);
}
END_TEST

START_TEST(hypercalls)
{
    struct rv_hart *h = t.hart;

    t.calls_go_on = true;
    h->cpu.pc = 0x100;
    for (unsigned i = 0; i < 8; i++)
        h->cpu.slots[10 + i] = 100 + i;
    rv_help_ecall(&h->cpu);
    ck_assert_uint_eq(t.args[7], 107);
    ck_assert_uint_eq(h->cpu.slots[10], 0x11);
    ck_assert_uint_eq(h->cpu.slots[11], 0x22);
    ck_assert_uint_eq(h->cpu.slots[12], 102);
    ck_assert_uint_eq(h->cpu.pc, 0x104);
    ck_assert_uint_eq(h->cpu.request, 0);
    t.calls_go_on = false;
    rv_help_ecall(&h->cpu);
    ck_assert_uint_eq(h->cpu.request, XL_REQ_KICK);
    go_to(RV_PRIV_U);
    rv_help_ecall(&h->cpu);
    ck_assert_uint_eq(h->cpu.fault, 8 + 1);
    rv_take_fault(&h->cpu);
    ck_assert_uint_eq(h->priv, RV_PRIV_S);
    ck_assert_uint_eq(h->scause, 8);
}
END_TEST

/* A hart over the machine's own SBI finds what a firmware would have left. */
START_TEST(supervisor_start)
{
    struct rv_hart *h = t.hart;
    uint64_t got;

    ck_assert_uint_eq(h->priv, RV_PRIV_S);
    ck_assert_uint_eq(h->cpu.pc, RAM);
    ck_assert_uint_eq(h->cpu.slots[10], 5);
    ck_assert_uint_eq(h->cpu.slots[13], 8);
    ck_assert_uint_eq(h->cpu.slots[14], 0);
    ck_assert(rv_csr_get(h, 0x14d, &got)); /* stimecmp */
    ck_assert_uint_eq(got, ALL);
    ck_assert(rv_csr_get(h, 0xc01, &got));
    rv_csr_set(h, 0x104, ALL);
    rv_csr_get(h, 0x104, &got);
    ck_assert_uint_eq(got, 0x222);
    go_to(RV_PRIV_U);
    ck_assert(rv_csr_get(h, 0xc01, &got));
}
END_TEST

/* The instruction at PRIV with mstatus STATUS is illegal or not. */
enum { WFI, SFENCE, CBO_ZERO, CBO_CLEAN, CBO_INVAL };
static const struct {
    const char *name;
    unsigned insn;
    enum rv_priv priv;
    uint64_t status, menvcfg, senvcfg;
    bool legal;
} rights[] = {
    {"wfi in U", WFI, RV_PRIV_U, 0, 0, 0, false},
    {"wfi in S", WFI, RV_PRIV_S, 0, 0, 0, true},
    {"wfi in S under TW", WFI, RV_PRIV_S, MSTATUS_TW, 0, 0, false},
    {"wfi in M under TW", WFI, RV_PRIV_M, MSTATUS_TW, 0, 0, true},
    {"sfence in U", SFENCE, RV_PRIV_U, 0, 0, 0, false},
    {"sfence in S", SFENCE, RV_PRIV_S, 0, 0, 0, true},
    {"sfence in S under TVM", SFENCE, RV_PRIV_S, MSTATUS_TVM, 0, 0, false},
    {"sfence in M under TVM", SFENCE, RV_PRIV_M, MSTATUS_TVM, 0, 0, true},
    {"cbo.zero in S, off", CBO_ZERO, RV_PRIV_S, 0, 0, ENVCFG_CBZE, false},
    {"cbo.zero in S", CBO_ZERO, RV_PRIV_S, 0, ENVCFG_CBZE, 0, true},
    {"cbo.zero in M", CBO_ZERO, RV_PRIV_M, 0, 0, 0, true},
    {"cbo.zero in U, S says no", CBO_ZERO, RV_PRIV_U, 0, ENVCFG_CBZE, 0, false},
    {"cbo.zero in U", CBO_ZERO, RV_PRIV_U, 0, ENVCFG_CBZE, ENVCFG_CBZE, true},
    {"cbo.clean in S, off", CBO_CLEAN, RV_PRIV_S, 0, ENVCFG_CBZE, 0, false},
    {"cbo.clean in S", CBO_CLEAN, RV_PRIV_S, 0, ENVCFG_CBCFE, 0, true},
    {"cbo.inval in S, off", CBO_INVAL, RV_PRIV_S, 0, ENVCFG_CBCFE, 0, false},
    {"cbo.inval in S, as flush", CBO_INVAL, RV_PRIV_S, 0, BIT(4), 0, true},
};

START_TEST(instruction_rights)
{
    struct rv_hart *h = t.hart;
    struct xl_cpu *cpu = &h->cpu;

    rv_csr_set(h, 0x3b0, ALL);
    rv_csr_set(h, 0x3a0, 0x1f);
    rv_csr_set(h, 0x300, rights[_i].status);
    rv_csr_set(h, 0x30a, rights[_i].menvcfg);
    rv_csr_set(h, 0x10a, rights[_i].senvcfg);
    go_to(rights[_i].priv);
    cpu->pc = 0x40;
    switch (rights[_i].insn) {
    case WFI:
        rv_help_wfi(cpu, 0x1234);
        ck_assert_uint_eq(cpu->waiting, rights[_i].legal);
        break;
    case SFENCE:
        rv_help_sfence_vma(cpu, 0, 0, UINT64_C(0x1234) << 8);
        break;
    case CBO_ZERO:
        rv_help_cbo_zero(cpu, RAM + 70, 0x1234);
        break;
    case CBO_CLEAN:
        rv_help_cbo_clean(cpu, RAM + 70, 0x1234);
        break;
    case CBO_INVAL:
        rv_help_cbo_inval(cpu, RAM + 70, 0x1234);
        break;
    }
    ck_assert_msg((cpu->fault == 0) == rights[_i].legal, "%s: fault %u", rights[_i].name, cpu->fault);
    if (cpu->fault) {
        ck_assert_uint_eq(cpu->fault, RV_ILLEGAL + 1);
        ck_assert_uint_eq(cpu->fault_value, 0x1234);
        ck_assert_uint_eq(cpu->pc, 0x40);
    }
}
END_TEST

START_TEST(cbo_zero_a_block)
{
    memset(t.ram->host, 0x55, 256);
    rv_help_cbo_zero(&t.hart->cpu, RAM + 100, 0);
    for (unsigned i = 0; i < 256; i++)
        ck_assert_uint_eq(t.ram->host[i], i >= 64 && i < 128 ? 0 : 0x55);
    rv_help_cbo_zero(&t.hart->cpu, HOLE + 7, 0);
    ck_assert_uint_eq(t.hart->cpu.fault, RV_STORE_ACCESS + 1);
    ck_assert_uint_eq(t.hart->cpu.fault_value, HOLE + 7);
}
END_TEST

/* --- page tables ------------------------------------------------------------------------------ */

enum { V = 1, R = 2, W = 4, X = 8, U = 16, G = 32, A = 64, D = 128, AD = A | D };
enum { OK = 1000 };

#define ROOT  (RAM + 0x10000)
#define LEVEL(n) (ROOT + (n)*PAGE) /* tables: root, then one of each lower level */
#define FRAME (RAM + MIB(4))
#define VA39  (UINT64_C(0x12) << 30 | UINT64_C(0x34) << 21 | UINT64_C(0x56) << 12 | 0x789)
#define VA48  (UINT64_C(0x0a) << 39 | VA39)

static uint64_t *pte_at(gpa_t table, unsigned index)
{
    return (uint64_t *)(void *)(t.ram->host + (table - RAM)) + index;
}

/* Tables of MODE that lead VA to a leaf at LEVEL_ (0: 4 KiB) with LEAF; pointers are POINTER. */
static uint64_t *build(unsigned mode, gva_t va, unsigned level, uint64_t leaf, uint64_t pointer)
{
    unsigned levels = mode == RV_SV39 ? 3 : 4;
    uint64_t *pte = NULL;

    for (unsigned l = levels; l-- > level;) {
        gpa_t table = LEVEL(levels - 1 - l);
        pte = pte_at(table, (unsigned)(va >> (12 + 9 * l) & 511));
        *pte = (table + PAGE) >> 12 << 10 | pointer;
    }
    *pte = leaf;
    rv_csr_set(t.hart, 0x180, (uint64_t)mode << 60 | ROOT >> 12);
    return pte;
}

/* A leaf PTE of FLAGS, accessed as ACCESS in TLB; AFTER: its flags afterwards. */
static const struct {
    const char *name;
    unsigned flags, tlb;
    enum xl_access access;
    unsigned result; /* OK or the fault's cause */
    unsigned after;
} leaves[] = {
    {"load", V | R | AD, RV_TLB_S, XL_LOAD, OK, V | R | AD},
    {"load sets A", V | R | W, RV_TLB_S, XL_LOAD, OK, V | R | W | A},
    {"store sets A and D", V | R | W, RV_TLB_S, XL_STORE, OK, V | R | W | AD},
    {"store sets D", V | R | W | A, RV_TLB_S, XL_STORE, OK, V | R | W | AD},
    {"fetch sets A", V | X, RV_TLB_S, XL_FETCH, OK, V | X | A},
    {"load of nothing valid", R | W | AD, RV_TLB_S, XL_LOAD, RV_LOAD_PAGE, R | W | AD},
    {"store to nothing valid", 0, RV_TLB_S, XL_STORE, RV_STORE_PAGE, 0},
    {"fetch of nothing valid", 0, RV_TLB_S, XL_FETCH, RV_FETCH_PAGE, 0},
    {"store to read-only keeps D", V | R, RV_TLB_S, XL_STORE, RV_STORE_PAGE, V | R},
    {"fetch of data", V | R | W, RV_TLB_S, XL_FETCH, RV_FETCH_PAGE, V | R | W},
    {"load of execute-only", V | X, RV_TLB_S, XL_LOAD, RV_LOAD_PAGE, V | X},
    {"load of execute-only under MXR", V | X, RV_TLB_S_MXR, XL_LOAD, OK, V | X | A},
    {"W without R is reserved", V | W | AD, RV_TLB_S, XL_STORE, RV_STORE_PAGE, V | W | AD},
    {"W and X without R too", V | W | X | AD, RV_TLB_S, XL_FETCH, RV_FETCH_PAGE, V | W | X | AD},
    {"a user's page from S", V | R | W | U, RV_TLB_S, XL_LOAD, RV_LOAD_PAGE, V | R | W | U},
    {"a user's page from S with SUM", V | R | W | U, RV_TLB_S_SUM, XL_STORE, OK, V | R | W | U | AD},
    {"a user's code from S", V | R | X | U, RV_TLB_S, XL_FETCH, RV_FETCH_PAGE, V | R | X | U},
    {"a user's code from S with SUM", V | R | X | U, RV_TLB_S_SUM, XL_FETCH, RV_FETCH_PAGE,
     V | R | X | U},
    {"a user's code, read with SUM and MXR", V | X | U, RV_TLB_S_SUM_MXR, XL_LOAD, OK, V | X | U | A},
    {"S's page from U", V | R | W, RV_TLB_U, XL_LOAD, RV_LOAD_PAGE, V | R | W},
    {"S's code from U", V | X, RV_TLB_U, XL_FETCH, RV_FETCH_PAGE, V | X},
    {"a user's page from U", V | R | W | U, RV_TLB_U, XL_STORE, OK, V | R | W | U | AD},
    {"a user's code from U", V | X | U, RV_TLB_U, XL_FETCH, OK, V | X | U | A},
    {"execute-only from U with MXR", V | X | U, RV_TLB_U_MXR, XL_LOAD, OK, V | X | U | A},
    {"a pointer at the last level", V | AD, RV_TLB_S, XL_LOAD, RV_LOAD_PAGE, V | AD},
};

START_TEST(leaf)
{
    uint64_t *pte = build(RV_SV39, VA39, 0, FRAME >> 2 | leaves[_i].flags, V);
    struct xl_walk walk;
    struct xl_cpu *cpu = &t.hart->cpu;
    bool ok = rv_walk(cpu, leaves[_i].tlb, VA39, leaves[_i].access, &walk);

    ck_assert_msg(ok == (leaves[_i].result == OK), "%s: fault %u", leaves[_i].name, cpu->fault);
    ck_assert_msg((*pte & 1023) == leaves[_i].after, "%s: flags %lx", leaves[_i].name, *pte & 1023);
    if (!ok) {
        ck_assert_msg(cpu->fault == leaves[_i].result + 1, "%s: %u", leaves[_i].name, cpu->fault);
        ck_assert_uint_eq(cpu->fault_value, VA39);
        return;
    }
    ck_assert_uint_eq(walk.gpa, FRAME + 0x789);
    ck_assert_uint_eq(walk.page, PAGE);
    ck_assert(walk.modes >> leaves[_i].tlb & 1);
    ck_assert(walk.allowed[leaves[_i].access] >> leaves[_i].tlb & 1);
    /* A clean page lets no store pass without a walk, in any mode. */
    if (!(leaves[_i].after & D))
        ck_assert_uint_eq(walk.allowed[XL_STORE], 0);
}
END_TEST

/* Shapes of tables: mode, level of the leaf, leaf, pointers, address; result and size. */
static const struct {
    const char *name;
    unsigned mode, level;
    uint64_t leaf, pointer;
    gva_t va; /* asked for */
    unsigned result;
    uint64_t page;
    bool global;
} shapes[] = {
    {"Sv39, 4 KiB", RV_SV39, 0, FRAME >> 2 | V | R | AD, V, VA39, OK, PAGE, false},
    {"Sv39, 2 MiB", RV_SV39, 1, FRAME >> 2 | V | R | AD, V, VA39, OK, MIB(2), false},
    {"Sv39, 1 GiB", RV_SV39, 2, RAM >> 2 | V | R | AD, V, VA39, OK, GIB(1), false},
    {"Sv48, 4 KiB", RV_SV48, 0, FRAME >> 2 | V | R | AD, V, VA48, OK, PAGE, false},
    {"Sv48, 2 MiB", RV_SV48, 1, FRAME >> 2 | V | R | AD, V, VA48, OK, MIB(2), false},
    {"Sv48, 1 GiB", RV_SV48, 2, RAM >> 2 | V | R | AD, V, VA48, OK, GIB(1), false},
    {"Sv48, 512 GiB", RV_SV48, 3, 0 | V | R | AD, V, VA48, OK, GIB(512), false},
    {"a misaligned 2 MiB page", RV_SV39, 1, (FRAME + PAGE) >> 2 | V | R | AD, V, VA39, RV_LOAD_PAGE, 0,
     false},
    {"a misaligned 1 GiB page", RV_SV39, 2, FRAME >> 2 | V | R | AD, V, VA39, RV_LOAD_PAGE, 0, false},
    {"a global leaf", RV_SV39, 0, FRAME >> 2 | V | R | G | AD, V, VA39, OK, PAGE, true},
    {"a global table", RV_SV39, 0, FRAME >> 2 | V | R | AD, V | G, VA39, OK, PAGE, true},
    {"pointers with A", RV_SV39, 0, FRAME >> 2 | V | R | AD, V | A, VA39, RV_LOAD_PAGE, 0, false},
    {"pointers with D", RV_SV39, 0, FRAME >> 2 | V | R | AD, V | D, VA39, RV_LOAD_PAGE, 0, false},
    {"pointers with U", RV_SV39, 0, FRAME >> 2 | V | R | AD, V | U, VA39, RV_LOAD_PAGE, 0, false},
    {"pointers that aren't valid", RV_SV39, 0, FRAME >> 2 | V | R | AD, 0, VA39, RV_LOAD_PAGE, 0, false},
    {"bit 54 is reserved", RV_SV39, 0, BIT(54) | FRAME >> 2 | V | R | AD, V, VA39, RV_LOAD_PAGE, 0, false},
    {"so is the memory type", RV_SV39, 0, BIT(61) | FRAME >> 2 | V | R | AD, V, VA39, RV_LOAD_PAGE, 0,
     false},
    {"and the N bit", RV_SV39, 0, BIT(63) | FRAME >> 2 | V | R | AD, V, VA39, RV_LOAD_PAGE, 0, false},
    {"and all of it in pointers", RV_SV39, 0, FRAME >> 2 | V | R | AD, V | BIT(60), VA39, RV_LOAD_PAGE, 0,
     false},
    {"software's bits are free", RV_SV39, 0, FRAME >> 2 | 0x300 | V | R | AD, V, VA39, OK, PAGE, false},
    {"Sv39 address with bit 39 set", RV_SV39, 0, FRAME >> 2 | V | R | AD, V, VA39 | BIT(39),
     RV_LOAD_PAGE, 0, false},
    {"Sv48 address with bit 63 set", RV_SV48, 0, FRAME >> 2 | V | R | AD, V, VA48 | BIT(63),
     RV_LOAD_PAGE, 0, false},
    {"another entry of the root", RV_SV39, 0, FRAME >> 2 | V | R | AD, V, VA39 + GIB(1), RV_LOAD_PAGE, 0,
     false},
};

START_TEST(shape)
{
    struct xl_cpu *cpu = &t.hart->cpu;
    gva_t va = shapes[_i].mode == RV_SV39 ? VA39 : VA48;
    struct xl_walk walk;

    build(shapes[_i].mode, va, shapes[_i].level, shapes[_i].leaf, shapes[_i].pointer);
    bool ok = rv_walk(cpu, RV_TLB_S, shapes[_i].va, XL_LOAD, &walk);
    ck_assert_msg(ok == (shapes[_i].result == OK), "%s: fault %u", shapes[_i].name, cpu->fault);
    if (!ok) {
        ck_assert_uint_eq(cpu->fault, shapes[_i].result + 1);
        ck_assert_uint_eq(cpu->fault_value, shapes[_i].va);
        return;
    }
    ck_assert_msg(walk.page == shapes[_i].page, "%s: %lx", shapes[_i].name, walk.page);
    ck_assert_uint_eq(walk.global, shapes[_i].global);
    gpa_t base = shapes[_i].leaf << 2 & (BIT(56) - PAGE);
    ck_assert_uint_eq(walk.gpa, base | (shapes[_i].va & (shapes[_i].page - 1)));
}
END_TEST

/* Tables where there is no memory, and physical addresses beyond what there is. */
START_TEST(access_faults)
{
    static const unsigned cause[] = {RV_LOAD_ACCESS, RV_STORE_ACCESS, RV_FETCH_ACCESS};
    struct xl_cpu *cpu = &t.hart->cpu;
    struct mmu_fetched got;
    struct xl_walk walk;

    rv_csr_set(t.hart, 0x180, BIT(63) | HOLE >> 12); /* the root itself */
    ck_assert(!rv_walk(cpu, RV_TLB_S, VA39, (enum xl_access)_i, &walk));
    ck_assert_uint_eq(cpu->fault, cause[_i] + 1);
    ck_assert_uint_eq(cpu->fault_value, VA39);

    build(RV_SV39, VA39, 0, HOLE >> 2 | V | R | W | X | AD, V); /* what is mapped */
    go_to(RV_PRIV_S);
    cpu->fault = 0;
    if (_i == XL_LOAD)
        mmu_load(cpu, VA39, 0);
    else if (_i == XL_STORE)
        mmu_store(cpu, VA39, 0, 0);
    else
        mmu_fetch(cpu, VA39, &got);
    ck_assert_uint_eq(cpu->fault, cause[_i] + 1);

    rv_csr_set(t.hart, 0x180, 0); /* no translation */
    ck_assert(!rv_walk(cpu, RV_TLB_S, BIT(56), (enum xl_access)_i, &walk));
    ck_assert_uint_eq(cpu->fault, cause[_i] + 1);
    ck_assert(rv_walk(cpu, RV_TLB_S, RAM, (enum xl_access)_i, &walk));
    ck_assert_uint_eq(walk.gpa, RAM);
}
END_TEST

/* M-mode's own accesses know neither page tables nor, unless locked, protection; MPRV's do. */
START_TEST(mprv)
{
    struct rv_hart *h = t.hart;
    uint64_t *p = (uint64_t *)(void *)(t.ram->host + MIB(4));

    build(RV_SV39, VA39, 0, FRAME >> 2 | V | R | W | AD, V);
    rv_csr_set(h, 0x3b0, ALL);
    rv_csr_set(h, 0x3a0, 0x1f);
    p[0x788 / 8] = 0x4200;
    ck_assert_uint_eq(rv_mode_tlb(h->cpu.mode), RV_TLB_PHYS);
    ck_assert_uint_eq(mmu_load(&h->cpu, FRAME + 0x789, 0), 0x42);
    rv_csr_set(h, 0x300, MSTATUS_MPRV | 0x800);
    ck_assert_uint_eq(rv_mode_tlb(h->cpu.mode), RV_TLB_S);
    ck_assert_uint_eq(mmu_load(&h->cpu, VA39, 0), 0x42);
    rv_csr_set(h, 0x300, MSTATUS_MPRV | 0x800 | MSTATUS_SUM | MSTATUS_MXR);
    ck_assert_uint_eq(rv_mode_tlb(h->cpu.mode), RV_TLB_S_SUM_MXR);
    rv_csr_set(h, 0x300, MSTATUS_MPRV); /* as U: S's page */
    mmu_load(&h->cpu, VA39, 0);
    ck_assert_uint_eq(h->cpu.fault, RV_LOAD_PAGE + 1);
}
END_TEST

/* --- physical memory protection --------------------------------------------------------------- */

#define CFG(i, v) ((uint64_t)(v) << (8 * (i)))
enum { PR = 1, PW = 2, PX = 4, TOR = 8, NAPOT = 24, LOCK = 128 };
#define ADDR(a) ((a) >> 2)
/* pmpaddr of a naturally aligned region */
#define REGION(a, size) (ADDR(a) | ((size) / 8 - 1))

static const struct {
    const char *name;
    uint64_t cfg, addr[4];
    enum rv_priv priv;
    gpa_t gpa;
    unsigned rights; /* of PR, PW, PX */
} pmps[] = {
    {"no entry: S has nothing", 0, {0}, RV_PRIV_S, RAM, 0},
    {"no entry: M has all", 0, {0}, RV_PRIV_M, RAM, 7},
    {"NAPOT", CFG(0, NAPOT | PR), {REGION(RAM, MIB(1))}, RV_PRIV_S, RAM + MIB(1) - 1, PR},
    {"beyond NAPOT", CFG(0, NAPOT | PR), {REGION(RAM, MIB(1))}, RV_PRIV_S, RAM + MIB(1), 0},
    {"NAPOT of a page", CFG(0, NAPOT | 7), {REGION(RAM, PAGE)}, RV_PRIV_U, RAM + PAGE - 1, 7},
    {"all of memory", CFG(0, NAPOT | 7), {ALL}, RV_PRIV_U, RAM, 7},
    {"TOR", CFG(1, TOR | PR | PW), {ADDR(RAM), ADDR(RAM + MIB(1))}, RV_PRIV_S, RAM, PR | PW},
    {"TOR's top is outside", CFG(1, TOR | 7), {ADDR(RAM), ADDR(RAM + MIB(1))}, RV_PRIV_S,
     RAM + MIB(1), 0},
    {"TOR from 0", CFG(0, TOR | 7), {ADDR(RAM + PAGE)}, RV_PRIV_S, RAM, 7},
    {"TOR that ends before it starts", CFG(1, TOR | 7), {ADDR(RAM + PAGE), ADDR(RAM)}, RV_PRIV_S, RAM, 0},
    {"the first match decides", CFG(0, NAPOT) | CFG(1, NAPOT | 7), {REGION(RAM, PAGE), ALL}, RV_PRIV_S,
     RAM, 0},
    {"beside the first match", CFG(0, NAPOT) | CFG(1, NAPOT | 7), {REGION(RAM, PAGE), ALL}, RV_PRIV_S,
     RAM + PAGE, 7},
    {"M isn't bound", CFG(0, NAPOT), {ALL}, RV_PRIV_M, RAM, 7},
    {"but by locked ones", CFG(0, NAPOT | LOCK | PR), {ALL}, RV_PRIV_M, RAM, PR},
};

START_TEST(pmp)
{
    static const unsigned need[] = {[XL_LOAD] = PR, [XL_STORE] = PW, [XL_FETCH] = PX};
    static const unsigned cause[] = {RV_LOAD_ACCESS, RV_STORE_ACCESS, RV_FETCH_ACCESS};
    struct xl_cpu *cpu = &t.hart->cpu;
    unsigned tlb = pmps[_i].priv == RV_PRIV_M ? RV_TLB_PHYS : pmps[_i].priv ? RV_TLB_S : RV_TLB_U;
    struct xl_walk walk;

    for (unsigned i = 0; i < 4; i++)
        rv_csr_set(t.hart, 0x3b0 + i, pmps[_i].addr[i]);
    rv_csr_set(t.hart, 0x3a0, pmps[_i].cfg);
    for (unsigned a = 0; a < 3; a++) {
        bool want = pmps[_i].rights & need[a];
        cpu->fault = 0;
        bool ok = rv_walk(cpu, tlb, pmps[_i].gpa, (enum xl_access)a, &walk);
        ck_assert_msg(ok == want, "%s: access %u", pmps[_i].name, a);
        if (!ok)
            ck_assert_uint_eq(cpu->fault, cause[a] + 1);
    }
}
END_TEST

/* Protection of what the walker itself reads and writes, and of parts of a superpage. */
START_TEST(pmp_and_tables)
{
    struct rv_hart *h = t.hart;
    struct xl_walk walk;

    build(RV_SV39, VA39, 1, FRAME >> 2 | V | R | W, V);
    rv_csr_set(h, 0x3b1, ALL);
    rv_csr_set(h, 0x3b0, REGION(ROOT, 0x4000));
    rv_csr_set(h, 0x3a0, CFG(0, NAPOT | PR) | CFG(1, NAPOT | 7)); /* tables can't be written */
    ck_assert(!rv_walk(&h->cpu, RV_TLB_S, VA39, XL_LOAD, &walk));
    ck_assert_uint_eq(h->cpu.fault, RV_LOAD_ACCESS + 1);
    rv_csr_set(h, 0x3a0, CFG(0, NAPOT | PW | PR) | CFG(1, NAPOT | 7));
    ck_assert(rv_walk(&h->cpu, RV_TLB_S, VA39, XL_STORE, &walk));
    ck_assert_uint_eq(walk.page, MIB(2));
    rv_csr_set(h, 0x3a0, CFG(0, NAPOT) | CFG(1, NAPOT | 7)); /* nor read */
    ck_assert(!rv_walk(&h->cpu, RV_TLB_S, VA39, XL_STORE, &walk));
    ck_assert_uint_eq(h->cpu.fault, RV_STORE_ACCESS + 1);
    rv_csr_set(h, 0x3b0, REGION(FRAME + MIB(1), PAGE)); /* a hole in the superpage */
    ck_assert(rv_walk(&h->cpu, RV_TLB_S, VA39, XL_STORE, &walk));
    ck_assert_uint_eq(walk.page, PAGE);
    ck_assert(!rv_walk(&h->cpu, RV_TLB_S, (VA39 & ~(MIB(2) - 1)) + MIB(1), XL_LOAD, &walk));
    ck_assert_uint_eq(h->cpu.fault, RV_LOAD_ACCESS + 1);
}
END_TEST

/* What PMP allowed is not cached beyond a change of it. */
START_TEST(pmp_change_flushes)
{
    struct rv_hart *h = t.hart;

    rv_csr_set(h, 0x3b0, ALL);
    rv_csr_set(h, 0x3a0, NAPOT | 7);
    go_to(RV_PRIV_S);
    mmu_load(&h->cpu, RAM, 3);
    ck_assert_uint_eq(h->cpu.fault, 0);
    rv_csr_set(h, 0x3a0, 0);
    ck_assert_ptr_null(mmu_translate(&h->cpu, RAM, 8, 0));
    mmu_load(&h->cpu, RAM, 3);
    ck_assert_uint_eq(h->cpu.fault, RV_LOAD_ACCESS + 1);
}
END_TEST

/* --- sfence, saved state ---------------------------------------------------------------------- */

static uint64_t load_byte(gva_t va)
{
    uint64_t value = mmu_load(&t.hart->cpu, va, 0);

    ck_assert_uint_eq(t.hart->cpu.fault, 0);
    return value;
}

/* A changed leaf is seen after the right fence, and (this TLB being a cache) not before. */
START_TEST(sfence)
{
    struct rv_hart *h = t.hart;
    uint64_t *pte = build(RV_SV39, VA39, 0, FRAME >> 2 | V | R | AD, V);
    uint64_t one = (FRAME + PAGE) >> 2 | V | R | AD, zero = *pte;

    t.ram->host[MIB(4) + 0x789] = 10;
    t.ram->host[MIB(4) + PAGE + 0x789] = 11;
    go_to(RV_PRIV_S);
    rv_csr_set(h, 0x180, h->satp | UINT64_C(7) << 44);
    ck_assert_uint_eq(load_byte(VA39), 10);
    *pte = one;
    rv_help_sfence_vma(&h->cpu, VA39, 8, 3); /* another space */
    rv_help_sfence_vma(&h->cpu, VA39 + PAGE, 7, 3); /* another page */
    ck_assert_uint_eq(load_byte(VA39), 10);
    rv_help_sfence_vma(&h->cpu, VA39, 7, 3);
    ck_assert_uint_eq(load_byte(VA39), 11);
    *pte = zero;
    rv_help_sfence_vma(&h->cpu, VA39, 0, 1); /* every space */
    ck_assert_uint_eq(load_byte(VA39), 10);
    *pte = one | G;
    rv_help_sfence_vma(&h->cpu, 0, 7, 2); /* the whole space */
    ck_assert_uint_eq(load_byte(VA39), 11);
    *pte = zero;
    rv_help_sfence_vma(&h->cpu, 0, 7, 2); /* which leaves global pages */
    ck_assert_uint_eq(load_byte(VA39), 11);
    rv_help_sfence_vma(&h->cpu, 0, 0, 0);
    ck_assert_uint_eq(load_byte(VA39), 10);
}
END_TEST

/* A valid entry in place of an invalid one needs no fence (Svvptc). */
START_TEST(svvptc)
{
    uint64_t *pte = build(RV_SV39, VA39, 0, 0, V);

    go_to(RV_PRIV_S);
    mmu_load(&t.hart->cpu, VA39, 0);
    ck_assert_uint_eq(t.hart->cpu.fault, RV_LOAD_PAGE + 1);
    t.hart->cpu.fault = 0;
    *pte = FRAME >> 2 | V | R | AD;
    load_byte(VA39);
}
END_TEST

START_TEST(saved_state)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();
    struct rv_hart *h = t.hart;
    size_t used;

    rv_csr_set(h, 0x340, 0x1234);
    rv_csr_set(h, 0x300, 0x6000 | MSTATUS_SUM);
    rv_csr_set(h, 0x3b0, ALL);
    rv_csr_set(h, 0x3a0, NAPOT | 7);
    rv_csr_set(h, 0x14d, 20000000);
    rv_csr_set(h, 0x30a, ENVCFG_STCE);
    rv_help_fcsr_write(&h->cpu, RV_CSR_FCSR, 0x65, RV_CSR_SWAP);
    h->cpu.slots[5] = 55;
    h->cpu.pc = RAM + 64;
    go_to(RV_PRIV_S);
    uint32_t mode = h->cpu.mode;
    state_save(riscv64_sys.state, h, saved);
    riscv64_sys.reset(&h->cpu, &(struct vcpu_start){.pc = RAM});
    ck_assert(state_load(riscv64_sys.state, h, saved->data, saved->len, &used, NULL));
    riscv64_sys.loaded(&h->cpu);
    ck_assert_uint_eq(h->cpu.mode, mode);
    ck_assert_uint_eq(h->mscratch, 0x1234);
    ck_assert_uint_eq(h->cpu.slots[5], 55);
    ck_assert_uint_eq(h->cpu.pc, RAM + 64);
    ck_assert_uint_eq(h->cpu.fp_rm, IR_RM_RUP);
    ck_assert_uint_eq(h->cpu.fp_flags, 5);
    ck_assert_uint_eq(t.timer, 2000000000);
    mmu_load(&h->cpu, RAM, 3); /* PMP is back */
    ck_assert_uint_eq(h->cpu.fault, 0);
}
END_TEST

/* A file may say anything. */
START_TEST(state_made_legal)
{
    struct rv_hart *h = t.hart;

    h->priv = 2;
    h->mstatus = ALL;
    h->satp = ALL;
    h->frm = 255;
    h->cpu.pc = 3;
    riscv64_sys.loaded(&h->cpu);
    ck_assert_uint_ne(h->priv, 2);
    ck_assert_uint_eq(h->satp, 0);
    ck_assert_uint_eq(h->mstatus & ~MSTATUS_WRITE, 0);
    ck_assert_uint_eq(h->cpu.pc, 2);
    ck_assert_uint_eq(rv_mode_frm(h->cpu.mode), RV_FRM_INVALID);
}
END_TEST

#define LOOP(tc, test, rows) tcase_add_loop_test(tc, test, 0, (int)G_N_ELEMENTS(rows))

int main(void)
{
    Suite *suite = suite_create("sys_riscv64");
    TCase *m = tcase_create("with M-mode"), *s = tcase_create("over SBI");

    tcase_add_checked_fixture(m, setup_firmware, teardown);
    LOOP(m, csr_values, csrs);
    LOOP(m, csr_access, csr_rights);
    tcase_add_test(m, csr_both_enables);
    tcase_add_test(m, csr_helpers);
    LOOP(m, copy_loops, copy_rows);
    tcase_add_test(m, copy_loop_values);
    tcase_add_test(m, seip_and_its_input);
    tcase_add_test(m, pmp_locks);
    tcase_add_test(m, fcsr);
    LOOP(m, trap, traps);
    LOOP(m, trap_return, returns);
    LOOP(m, interrupt, interrupts);
    tcase_add_test(m, inputs);
    tcase_add_test(m, timer);
    tcase_add_loop_test(m, ecall_traps, 0, 3);
    LOOP(m, instruction_rights, rights);
    tcase_add_test(m, mprv);
    LOOP(m, pmp, pmps);
    tcase_add_test(m, pmp_and_tables);
    tcase_add_test(m, pmp_change_flushes);
    tcase_add_test(m, saved_state);
    tcase_add_test(m, state_made_legal);
    suite_add_tcase(suite, m);

    tcase_add_checked_fixture(s, setup_supervisor, teardown);
    tcase_add_test(s, hypercalls);
    tcase_add_test(s, supervisor_start);
    tcase_add_test(s, cbo_zero_a_block);
    LOOP(s, leaf, leaves);
    LOOP(s, shape, shapes);
    tcase_add_loop_test(s, access_faults, 0, 3);
    tcase_add_test(s, sfence);
    tcase_add_test(s, svvptc);
    tcase_add_test(s, state_made_legal);
    suite_add_tcase(suite, s);
    return unit_run(suite);
}
