/*
 * The mmu over an ISA made up for the test: its "page tables" are a list of rows, walks are
 * counted, faults are codes. What the fast TLB holds is checked where generated code would look.
 */
#include "tests/unit/unit.h"

#include "xlate/fpenv.h"
#include "xlate/mmu/mmu.h"

#define RAM   UINT64_C(0x80000000)
#define ROM   UINT64_C(0x1000)
#define DEV   UINT64_C(0x10000)
#define PAGE  UINT64_C(4096)
#define VA(n) (UINT64_C(0x40000000) + (n)*PAGE)

enum { FAULT_PAGE = 100, FAULT_ACCESS = 200, FAULT_ALIGN = 300, FAULT_WATCHED = 400 };
enum { USER, KERNEL, BARE };
enum { R = 1, W = 2, X = 4, RW = 3, RWX = 7 };

struct mapping {
    gva_t va;
    gpa_t gpa;
    uint64_t page;
    unsigned user, kernel; /* rights */
    uint32_t space;        /* 0: global */
};

struct fix {
    struct xl_cpu *cpu;
    struct mem_map *map;
    struct mem_ram *ram;
    struct mapping rows[16];
    unsigned walks, code_drops;
    uint32_t space;
    uint64_t device[2];
    unsigned device_fpenv;
    unsigned watched; /* accesses to what the guest watches: the last one's */
    gva_t watched_at;
    bool dirty_late; /* stores walk apart from loads: the dirty bit is set by the first */
};

static struct fix fix;

static bool walk(struct xl_cpu *cpu, unsigned mode, gva_t va, enum xl_access access,
                 struct xl_walk *out)
{
    fix.walks++;
    if (mode == BARE) {
        *out = (struct xl_walk){.gpa = va, .page = PAGE, .modes = 1 << BARE,
                                .allowed = {1 << BARE, 1 << BARE, 1 << BARE}, .global = true};
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(fix.rows); i++) {
        const struct mapping *m = &fix.rows[i];
        if (!m->page || va - m->va >= m->page || (m->space && m->space != fix.space))
            continue;
        if (!((mode == USER ? m->user : m->kernel) >> access & 1))
            break;
        *out = (struct xl_walk){.gpa = m->gpa + (va - m->va), .page = m->page,
                                .modes = 1 << USER | 1 << KERNEL, .global = !m->space};
        for (unsigned a = 0; a < 3; a++)
            out->allowed[a] = (uint8_t)((m->user >> a & 1) << USER | (m->kernel >> a & 1) << KERNEL);
        if (fix.dirty_late && access != XL_STORE)
            out->allowed[XL_STORE] = 0;
        return true;
    }
    cpu->fault = FAULT_PAGE + access;
    cpu->fault_value = va;
    return false;
}

static void access_fault(struct xl_cpu *cpu, gva_t va, enum xl_access access, bool misaligned)
{
    cpu->fault = (misaligned ? FAULT_ALIGN : FAULT_ACCESS) + access;
    cpu->fault_value = va;
}

/* Number 0 faults, the others let pass. */
static bool watched(struct xl_cpu *cpu, unsigned n, gva_t va, enum accel_watch kind)
{
    fix.watched++;
    fix.watched_at = va;
    if (n)
        return false;
    cpu->fault = FAULT_WATCHED;
    return true;
}

static const struct xl_sys sys = {.walk = walk, .access_fault = access_fault, .watched = watched};

static int dev_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    fix.device_fpenv = xl_fpenv_read();
    *value = fix.device[offset / 8] >> (offset % 8 * 8);
    return 0;
}

static int dev_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 8)
        return -EIO;
    fix.device[0] = value;
    return 0;
}

static const struct mem_device_ops dev_ops = {dev_read, dev_write, 1 | 2 | 4 | 8};

static void page_written(void *opaque, struct mem_ram *ram, uint64_t page)
{
    fix.code_drops++;
    mem_page_clear(ram, page, MEM_PAGE_CODE);
}

static void setup(void)
{
    memset(&fix, 0, sizeof(fix));
    fix.map = mem_map_new();
    fix.ram = mem_map_add_ram(fix.map, RAM, MIB(8), "ram", false, NULL);
    ck_assert_ptr_nonnull(fix.ram);
    ck_assert_ptr_nonnull(mem_map_add_ram(fix.map, ROM, PAGE, "rom", true, NULL));
    ck_assert_int_eq(mem_map_add_device(fix.map, DEV, 16, "dev", &dev_ops, NULL), 0);
    ck_assert_int_eq(posix_memalign((void **)&fix.cpu, 64, sizeof(*fix.cpu)), 0);
    memset(fix.cpu, 0, sizeof(*fix.cpu));
    mmu_init(fix.cpu, fix.map, &sys, &(struct mmu_code_ops){page_written, NULL});
    fix.space = 1;
    mmu_set_context(fix.cpu, KERNEL, KERNEL, 1);
}

static void teardown(void)
{
    mmu_fini(fix.cpu);
    free(fix.cpu);
    mem_map_free(fix.map);
}

static void map_row(unsigned i, gva_t va, gpa_t gpa, uint64_t page, unsigned user, unsigned kernel,
                    uint32_t space)
{
    fix.rows[i] = (struct mapping){va, gpa, page, user, kernel, space};
}

/* Would generated code find VA's page? */
static bool fast(unsigned mode, gva_t va, bool store)
{
    unsigned i = xl_tlb_index(va);
    const struct xl_tlb *t = &fix.cpu->tlb[mode];
    const struct xl_tlb_entry *e = store ? &t->store[i] : &t->load[i];

    return e->tag == (va & ~(PAGE - 1));
}

/* Fetches from VA as the run loop does; code pages are numbered by their address. */
static bool fetch_at(gva_t va, gpa_t *gpa)
{
    struct mmu_fetched got;

    if (!mmu_fetch(fix.cpu, va, &got))
        return false;
    ck_assert_ptr_eq(got.host, got.ram->host + (got.gpa - got.ram->gpa));
    xl_code_map(fix.cpu, va >> 12 & (XL_CODE_PAGES - 1), va & ~(PAGE - 1), got.global);
    *gpa = got.gpa;
    return true;
}

/* Would an edge to VA be taken? */
static bool fast_fetch(gva_t va)
{
    return fix.cpu->code_at[va >> 12 & (XL_CODE_PAGES - 1)] == (va & ~(PAGE - 1));
}

static unsigned take_fault(gva_t *va)
{
    unsigned fault = fix.cpu->fault;

    *va = fix.cpu->fault_value;
    fix.cpu->fault = 0;
    return fault;
}

/* --- loads and stores ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t mem;
    uint64_t value, expect;
} widths[] = {
    {"byte", 0, 0x1180, 0x80},
    {"signed byte", 0 | IR_MEM_SIGNED, 0x1180, 0xffffffffffffff80},
    {"half", 1, 0x118001, 0x8001},
    {"signed half", 1 | IR_MEM_SIGNED, 0x118001, 0xffffffffffff8001},
    {"word", 2, 0x1180000001, 0x80000001},
    {"signed word", 2 | IR_MEM_SIGNED, 0x1180000001, 0xffffffff80000001},
    {"double", 3, 0x8000000000000001, 0x8000000000000001},
};

START_TEST(each_width)
{
    /* in the page, misaligned in it, and across it */
    static const uint64_t offsets[] = {0x10, 0x21, 0x3fc1, 0x1fff, 0x2ff9, 0x4ffe, 0x5ffd};

    map_row(0, VA(0), RAM, 8 * PAGE, RW, RW, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(offsets); i++) {
        gva_t va = VA(0) + offsets[i];
        memset(fix.ram->host, 0x55, 8 * PAGE);
        mmu_store(fix.cpu, va, widths[_i].value, widths[_i].mem);
        ck_assert_msg(mmu_load(fix.cpu, va, widths[_i].mem) == widths[_i].expect, "%s at %lx",
                      widths[_i].name, offsets[i]);
        ck_assert_uint_eq(fix.cpu->fault, 0);
        unsigned n = 1u << (widths[_i].mem & 7);
        ck_assert_msg(fix.ram->host[offsets[i] - 1] == 0x55 && fix.ram->host[offsets[i] + n] == 0x55,
                      "%s at %lx: neighbours", widths[_i].name, offsets[i]);
    }
}
END_TEST

START_TEST(crossing_probes_both)
{
    gva_t at;

    map_row(0, VA(0), RAM, PAGE, RW, RW, 0);
    map_row(1, VA(1), RAM + PAGE, PAGE, R, R, 0);
    memset(fix.ram->host, 0x55, 2 * PAGE);
    mmu_store(fix.cpu, VA(1) - 4, 0, 3);
    ck_assert_uint_eq(take_fault(&at), FAULT_PAGE + XL_STORE);
    ck_assert_uint_eq(at, VA(1)); /* the part that faulted */
    ck_assert_uint_eq(fix.ram->host[PAGE - 4], 0x55);
    mmu_load(fix.cpu, VA(2) - 1, 1);
    ck_assert_uint_eq(take_fault(&at), FAULT_PAGE + XL_LOAD);
    ck_assert_uint_eq(at, VA(2));
    mmu_load(fix.cpu, VA(0) - 1, 1);
    ck_assert_uint_eq(take_fault(&at), FAULT_PAGE + XL_LOAD);
    ck_assert_uint_eq(at, VA(0) - 1);
}
END_TEST

START_TEST(fills)
{
    gpa_t gpa;

    map_row(0, VA(0), RAM, PAGE, 0, RW, 0);
    mmu_load(fix.cpu, VA(0) + 8, 3);
    ck_assert(fast(KERNEL, VA(0), false));
    ck_assert(!fast(KERNEL, VA(0), true));
    ck_assert(!fast(USER, VA(0), false));
    ck_assert_uint_eq(mem_page_flags(fix.ram, 0), MEM_PAGE_BACKED);
    mmu_store(fix.cpu, VA(0) + 8, 1, 3);
    ck_assert(fast(KERNEL, VA(0), true));
    ck_assert_uint_eq(mem_page_flags(fix.ram, 0), MEM_PAGE_DIRTY | MEM_PAGE_BACKED);
    ck_assert_uint_eq(fix.walks, 1); /* one walk tells the rights of both */
    const struct xl_tlb_entry *e = &fix.cpu->tlb[KERNEL].load[xl_tlb_index(VA(0))];
    ck_assert_ptr_eq((void *)(uintptr_t)(VA(0) + e->delta), fix.ram->host);
    ck_assert(!fetch_at(VA(0), &gpa));
}
END_TEST

START_TEST(dirty_bit_walks_again)
{
    map_row(0, VA(0), RAM, PAGE, RW, RW, 0);
    fix.dirty_late = true;
    mmu_load(fix.cpu, VA(0), 3);
    mmu_store(fix.cpu, VA(0), 0, 3);
    ck_assert_uint_eq(fix.walks, 2);
    mmu_flush(fix.cpu, VA(0), PAGE, MMU_EVERY_SPACE);
    ck_assert_ptr_null(mmu_translate(fix.cpu, VA(0), 8, IR_MEM_WRITE));
    ck_assert_uint_eq(fix.walks, 2); /* a handle never walks */
}
END_TEST

START_TEST(translate)
{
    map_row(0, VA(0), RAM, 2 * PAGE, RW, RW, 0);
    mmu_load(fix.cpu, VA(0), 3);
    mmu_load(fix.cpu, VA(1), 3);
    ck_assert_ptr_eq(mmu_translate(fix.cpu, VA(0) + 24, 32, 0), fix.ram->host + 24);
    ck_assert_ptr_eq(mmu_translate(fix.cpu, VA(1) - 32, 32, 0), fix.ram->host + PAGE - 32);
    ck_assert_ptr_null(mmu_translate(fix.cpu, VA(1) - 31, 32, 0));
    ck_assert_ptr_eq(mmu_translate(fix.cpu, VA(1), 8, IR_MEM_WRITE), fix.ram->host + PAGE);
    ck_assert(fast(KERNEL, VA(1), true));
    ck_assert_uint_eq(mem_page_flags(fix.ram, 1), MEM_PAGE_DIRTY | MEM_PAGE_BACKED);
    ck_assert_ptr_null(mmu_translate(fix.cpu, VA(5), 8, 0));
    ck_assert_uint_eq(fix.cpu->fault, 0);
}
END_TEST

START_TEST(range)
{
    gva_t at;

    map_row(0, VA(0), RAM, PAGE, R, RW, 0);
    for (unsigned i = 0; i < 2; i++) /* by the walk, by the entry that it left */
        ck_assert_ptr_eq(mmu_range(fix.cpu, VA(0) + 64, 64, XL_STORE), fix.ram->host + 64);
    ck_assert_uint_eq(fix.walks, 1);
    ck_assert_uint_eq(mem_page_flags(fix.ram, 0) & MEM_PAGE_DIRTY, MEM_PAGE_DIRTY);
    mem_page_set(fix.ram, 0, MEM_PAGE_CODE);
    mmu_drop_code_stores(fix.cpu, false);
    ck_assert_ptr_nonnull(mmu_range(fix.cpu, VA(0), 64, XL_STORE));
    ck_assert_uint_eq(fix.code_drops, 1);
    mmu_set_context(fix.cpu, USER, USER, 1);
    ck_assert_ptr_null(mmu_range(fix.cpu, VA(0), 64, XL_STORE));
    ck_assert_uint_eq(take_fault(&at), FAULT_PAGE + XL_STORE);
}
END_TEST

/* --- loops ------------------------------------------------------------------------------------ */

/* From VA(0) and VA(1), whose pages are RAM's first two, and VA(8), an alias of the first. */
static const struct {
    const char *name;
    gva_t to, from;
    unsigned log2;
    uint64_t n, done;
} copies[] = {
    {"bytes", VA(0) + 512, VA(0), 0, 100, 100},
    {"halves and an odd tail", VA(1) + 2, VA(0), 1, 7, 7},
    {"words", VA(1), VA(0) + 4, 2, 9, 9},
    {"doublewords", VA(1) + 8, VA(0), 3, 64, 64},
    {"to the page's end", VA(1) + PAGE - 5, VA(0), 0, 100, 5},
    {"to the other page's end", VA(1), VA(0) + PAGE - 24, 3, 100, 3},
    {"an element across the end", VA(1) + PAGE - 4, VA(0), 3, 100, 0},
    {"the last one would cross", VA(1) + PAGE - 12, VA(0), 3, 100, 1},
    {"none", VA(1), VA(0), 0, 0, 0},
    {"a byte ahead", VA(0) + 65, VA(0) + 64, 0, 200, 200},
    {"three bytes ahead", VA(0) + 67, VA(0) + 64, 0, 200, 200},
    {"seven bytes ahead", VA(0) + 71, VA(0) + 64, 0, 200, 200},
    {"a word ahead", VA(0) + 68, VA(0) + 64, 2, 50, 50},
    {"within a doubleword", VA(0) + 67, VA(0) + 64, 3, 50, 50},
    {"a doubleword ahead", VA(0) + 72, VA(0) + 64, 3, 50, 50},
    {"behind", VA(0) + 61, VA(0) + 64, 0, 200, 200},
    {"onto itself", VA(0) + 64, VA(0) + 64, 2, 50, 50},
    {"ahead by way of an alias", VA(8) + 66, VA(0) + 64, 1, 50, 50},
    {"no store entry", VA(9), VA(0), 0, 10, 0},
    {"no load entry", VA(0), VA(9), 0, 10, 0},
};

static void open_pages(void)
{
    static const gva_t pages[] = {VA(0), VA(1), VA(8)};

    map_row(0, VA(0), RAM, 2 * PAGE, RW, RW, 0);
    map_row(1, VA(8), RAM, 2 * PAGE, RW, RW, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++) {
        mmu_load(fix.cpu, pages[i], 0);
        mmu_store(fix.cpu, pages[i], 0, 0);
    }
    for (unsigned i = 0; i < 2 * PAGE; i++)
        fix.ram->host[i] = (uint8_t)(i * 7 + i / 256);
}

/* The same one by one, by the path for all. */
START_TEST(copying)
{
    unsigned size = 1u << copies[_i].log2;
    uint64_t last = 0, expected = 0;
    uint8_t got[2 * PAGE];

    open_pages();
    ck_assert_uint_eq(mmu_copy(fix.cpu, copies[_i].to, copies[_i].from, copies[_i].log2, copies[_i].n, &last),
                      copies[_i].done);
    memcpy(got, fix.ram->host, sizeof(got));
    open_pages();
    for (uint64_t i = 0; i < copies[_i].done; i++) {
        expected = mmu_load(fix.cpu, copies[_i].from + i * size, copies[_i].log2);
        mmu_store(fix.cpu, copies[_i].to + i * size, expected, copies[_i].log2);
    }
    ck_assert_msg(!memcmp(got, fix.ram->host, sizeof(got)), "%s", copies[_i].name);
    ck_assert_uint_eq(last, expected);
    ck_assert_uint_eq(fix.cpu->fault, 0);
}
END_TEST

START_TEST(filling)
{
    for (unsigned log2 = 0; log2 < 4; log2++) {
        uint8_t got[2 * PAGE];
        open_pages();
        ck_assert_uint_eq(mmu_fill(fix.cpu, VA(0) + 3, 0x8182838485868788, log2, 13), 13);
        ck_assert_uint_eq(mmu_fill(fix.cpu, VA(1) - (16 << log2), 0x1122334455667788, log2, 50), 16);
        memcpy(got, fix.ram->host, sizeof(got));
        open_pages();
        for (unsigned i = 0; i < 13; i++)
            mmu_store(fix.cpu, VA(0) + 3 + (i << log2), 0x8182838485868788, log2);
        for (unsigned i = 0; i < 16; i++)
            mmu_store(fix.cpu, VA(1) - ((16 - i) << log2), 0x1122334455667788, log2);
        ck_assert_msg(!memcmp(got, fix.ram->host, sizeof(got)), "%u", log2);
    }
    ck_assert_uint_eq(mmu_fill(fix.cpu, VA(9), 0, 0, 1), 0);
}
END_TEST

/* What must come by the path for all does. */
START_TEST(loops_keep_out)
{
    const struct mmu_watch watch = {VA(1) + 100, VA(1) + 100, ACCEL_WATCH_READ};
    uint64_t last;

    open_pages();
    mem_page_set(fix.ram, 0, MEM_PAGE_CODE);
    mmu_drop_code_stores(fix.cpu, false);
    ck_assert_uint_eq(mmu_copy(fix.cpu, VA(0), VA(1), 0, 1, &last), 0);
    ck_assert_uint_eq(mmu_fill(fix.cpu, VA(8), 0, 0, 1), 0);
    ck_assert_uint_eq(mmu_copy(fix.cpu, VA(1), VA(0), 0, 1, &last), 1);
    mmu_watch(fix.cpu, &watch, 1);
    mmu_load(fix.cpu, VA(0), 0);
    mmu_load(fix.cpu, VA(1), 0);
    mmu_store(fix.cpu, VA(1), 0, 0);
    ck_assert_uint_eq(mmu_copy(fix.cpu, VA(1), VA(0), 0, 1, &last), 0);
    ck_assert_uint_eq(mmu_fill(fix.cpu, VA(1), 0, 0, 1), 0);
    ck_assert_uint_eq(fix.code_drops, 0);
}
END_TEST

/* --- what the guest watches ------------------------------------------------------------------- */

#define TAG (UINT64_C(0xa5) << 56)

enum { LOAD, STORE, ADD, SC, LOAD16, STORE16 };

/* Number 0 is for loads of [100, 107] by KERNEL, number 1 for stores there. */
static const struct {
    const char *name;
    unsigned op;
    uint32_t mem;
    gva_t offset;
    unsigned hits;
    uint32_t fault;
    uint64_t at;
} own_watches[] = {
    {"before it", LOAD, 2, 96, 0, 0, 0},
    {"behind it", LOAD, 3, 108, 0, 0, 0},
    {"its first byte", LOAD, 3, 93, 1, FAULT_WATCHED, 100},
    {"its last byte", LOAD, 0, 107, 1, FAULT_WATCHED, 107},
    {"a store", STORE, 3, 104, 1, 0, 104},
    {"an atomic does both", ADD, 3, 104, 1, FAULT_WATCHED, 104},
    {"an SC stores", SC, 3, 104, 1, 0, 104},
    {"16 bytes", LOAD16, 4, 86, 1, FAULT_WATCHED, 100},
    {"16 bytes stored", STORE16, 4, 86, 1, 0, 100},
    {"with a tag", LOAD, 0, TAG + 100, 1, FAULT_WATCHED, TAG + 100},
    {"with a tag, its first byte", LOAD, 3, TAG + 96, 1, FAULT_WATCHED, TAG + 100},
    {"as USER", LOAD, 3 | IR_MEM_USER, 100, 0, 0, 0},
    {"alignment comes first", LOAD, 2 | IR_MEM_ALIGNED, 101, 0, FAULT_ALIGN, 0},
};

static void access_by(unsigned op, gva_t va, uint32_t mem)
{
    struct ir_v128 wide = {{0, 0}};

    switch (op) {
    case LOAD:
        mmu_load(fix.cpu, va, mem);
        break;
    case STORE:
        mmu_store(fix.cpu, va, 0, mem);
        break;
    case ADD:
        mmu_rmw(fix.cpu, va, 1, mem, IR_RMW_ADD);
        break;
    case SC:
        mmu_sc(fix.cpu, va, 1, 0, 0, mem);
        break;
    case LOAD16:
        mmu_load16(fix.cpu, va, &wide, mem);
        break;
    default:
        mmu_store16(fix.cpu, va, &wide, mem);
        break;
    }
}

START_TEST(own_watch_rows)
{
    const struct mmu_watch own[] = {{VA(0) + 100, VA(0) + 107, ACCEL_WATCH_READ, 1 << KERNEL},
                                    {VA(0) + 100, VA(0) + 107, ACCEL_WATCH_WRITE, 1 << KERNEL}};
    const char *name = own_watches[_i].name;

    map_row(0, VA(0), RAM, PAGE, RWX, RWX, 1);
    map_row(1, VA(0) + TAG, RAM, PAGE, RWX, RWX, 1);
    access_by(own_watches[_i].op, VA(0) + own_watches[_i].offset, own_watches[_i].mem);
    fix.cpu->fault = 0;
    mmu_watch_own(fix.cpu, own, 2);
    access_by(own_watches[_i].op, VA(0) + own_watches[_i].offset, own_watches[_i].mem);
    ck_assert_msg(fix.cpu->fault == own_watches[_i].fault, "%s: fault %u", name, fix.cpu->fault);
    ck_assert_msg(fix.watched == own_watches[_i].hits, "%s: %u hits", name, fix.watched);
    ck_assert_msg(!fix.watched || fix.watched_at == VA(0) + own_watches[_i].at, "%s: at %lx", name,
                  fix.watched_at);
    ck_assert_msg(!fast(KERNEL, VA(0), false) && !fast(KERNEL, VA(0), true), "%s: fast", name);
}
END_TEST

/* Faults of translation come before watchpoints, of both pages; pages are fast again where nothing
 * is watched. */
START_TEST(own_watches_come_and_go)
{
    const struct mmu_watch own = {VA(1) - 4, VA(1) - 1, ACCEL_WATCH_ACCESS, 1 << KERNEL};

    map_row(0, VA(0), RAM, PAGE, RWX, R, 1);
    mmu_watch_own(fix.cpu, &own, 1);
    mmu_store(fix.cpu, VA(1) - 4, 0, 2);
    ck_assert_uint_eq(fix.cpu->fault, FAULT_PAGE + XL_STORE);
    fix.cpu->fault = 0;
    mmu_load(fix.cpu, VA(1) - 4, 3);
    ck_assert_uint_eq(fix.cpu->fault, FAULT_PAGE + XL_LOAD);
    ck_assert_uint_eq(fix.cpu->fault_value, VA(1));
    ck_assert_uint_eq(fix.watched, 0);
    fix.cpu->fault = 0;
    mmu_load(fix.cpu, VA(0), 3 | IR_MEM_USER);
    ck_assert(fast(USER, VA(0), false));
    mmu_load(fix.cpu, VA(0), 3);
    ck_assert(!fast(KERNEL, VA(0), false));
    mmu_watch_own(fix.cpu, NULL, 0);
    ck_assert(!fast(USER, VA(0), false));
    mmu_load(fix.cpu, VA(1) - 4, 2);
    ck_assert_uint_eq(fix.cpu->fault, 0);
    ck_assert(fast(KERNEL, VA(0), false));
}
END_TEST

/* --- atomics ---------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum ir_rmw op;
    uint32_t mem;
    uint64_t memory, operand, result, after;
} rmws[] = {
    {"swap", IR_RMW_SWAP, 3, 1, 2, 1, 2},
    {"add wraps in 32 bits", IR_RMW_ADD, 2 | IR_MEM_SIGNED, 0xffffffff, 2, UINT64_MAX, 1},
    {"add keeps its neighbours", IR_RMW_ADD, 2, 0x1ffffffff, 1, 0xffffffff, 0x100000000},
    {"and", IR_RMW_AND, 3, 0xff, 0x0f, 0xff, 0x0f},
    {"or", IR_RMW_OR, 3, 0xf0, 0x0f, 0xf0, 0xff},
    {"xor", IR_RMW_XOR, 3, 0xff, 0x0f, 0xff, 0xf0},
    {"signed min", IR_RMW_MINS, 2 | IR_MEM_SIGNED, 1, 0xffffffff, 1, 0xffffffff},
    {"signed max", IR_RMW_MAXS, 2 | IR_MEM_SIGNED, 1, 0xffffffff, 1, 1},
    {"unsigned min", IR_RMW_MINU, 2, 1, 0xffffffff, 1, 1},
    {"unsigned max", IR_RMW_MAXU, 2, 1, 0xffffffff, 1, 0xffffffff},
    {"min of halves", IR_RMW_MINS, 1 | IR_MEM_SIGNED, 0x10001, 0xffff8000, 1, 0x18000},
    {"min of bytes", IR_RMW_MINU, 0, 0x180, 0x7f, 0x80, 0x17f},
};

START_TEST(rmw)
{
    map_row(0, VA(0), RAM, PAGE, RW, RW, 0);
    uint64_t *p = (uint64_t *)(void *)fix.ram->host;
    *p = rmws[_i].memory;
    uint64_t old = mmu_rmw(fix.cpu, VA(0), rmws[_i].operand, rmws[_i].mem, rmws[_i].op);
    ck_assert_msg(old == rmws[_i].result, "%s: result %lx", rmws[_i].name, old);
    ck_assert_msg(*p == rmws[_i].after, "%s: memory %lx", rmws[_i].name, *p);
}
END_TEST

START_TEST(conditional_stores)
{
    map_row(0, VA(0), RAM, PAGE, RW, RW, 0);
    uint32_t *p = (uint32_t *)(void *)fix.ram->host;
    *p = 0x80000000;
    ck_assert_uint_eq(mmu_cas(fix.cpu, VA(0), 0xffffffff80000000, 7, 2 | IR_MEM_SIGNED),
                      0xffffffff80000000);
    ck_assert_uint_eq(*p, 7);
    ck_assert_uint_eq(mmu_cas(fix.cpu, VA(0), 8, 9, 2), 7);
    ck_assert_uint_eq(*p, 7);
    ck_assert_uint_eq(mmu_sc(fix.cpu, VA(0), 0, 7, 1, 2), 1);
    ck_assert_uint_eq(mmu_sc(fix.cpu, VA(0), 1, 6, 1, 2), 1);
    ck_assert_uint_eq(*p, 7);
    ck_assert_uint_eq(mmu_sc(fix.cpu, VA(0), 1, 7, 0, 2), 0);
    ck_assert_uint_eq(*p, 0);
    ck_assert_uint_eq(mmu_sc(fix.cpu, VA(0), 1, 0, 5, 2), 0); /* a reservation of value 0 */
}
END_TEST

static const struct {
    const char *name;
    gva_t va;
    uint32_t mem;
    unsigned fault; /* of a store-like access, less XL_STORE */
} bad_atomics[] = {
    {"misaligned", VA(0) + 4, 3, FAULT_ALIGN},
    {"across the page", VA(1) - 2, 2, FAULT_ALIGN},
    {"no write right", VA(1), 2, FAULT_PAGE},
    {"device", VA(2), 2, FAULT_ACCESS},
    {"rom", VA(3), 2, FAULT_ACCESS},
    {"nothing there", VA(4), 2, FAULT_ACCESS},
};

START_TEST(atomics_that_fault)
{
    gva_t at;

    map_row(0, VA(0), RAM, PAGE, RW, RW, 0);
    map_row(1, VA(1), RAM + PAGE, PAGE, R, R, 0);
    map_row(2, VA(2), DEV, PAGE, RW, RW, 0);
    map_row(3, VA(3), ROM, PAGE, RW, RW, 0);
    map_row(4, VA(4), 0x5000000, PAGE, RW, RW, 0);
    for (unsigned kind = 0; kind < 3; kind++) {
        if (kind == 0)
            mmu_rmw(fix.cpu, bad_atomics[_i].va, 1, bad_atomics[_i].mem, IR_RMW_ADD);
        else if (kind == 1)
            mmu_cas(fix.cpu, bad_atomics[_i].va, 0, 0, bad_atomics[_i].mem);
        else /* faults though it would store nothing */
            mmu_sc(fix.cpu, bad_atomics[_i].va, 0, 0, 0, bad_atomics[_i].mem);
        ck_assert_msg(take_fault(&at) == bad_atomics[_i].fault + XL_STORE, "%s, kind %u",
                      bad_atomics[_i].name, kind);
        ck_assert_uint_eq(at, bad_atomics[_i].va);
    }
}
END_TEST

/* --- devices and holes ------------------------------------------------------------------------ */

START_TEST(device)
{
    gva_t at;
    uint32_t host = xl_fpenv_read(), guest = host ^ 0x6020; /* another rounding mode, a flag */

    map_row(0, VA(0), DEV, PAGE, RW, RW, 0);
    mmu_store(fix.cpu, VA(0), 0x11223344, 2);
    ck_assert_uint_eq(fix.device[0], 0x11223344);
    xl_fpenv_write(guest);
    uint64_t got = mmu_load(fix.cpu, VA(0), 1 | IR_MEM_SIGNED);
    uint32_t after = xl_fpenv_read();
    xl_fpenv_write(host);
    ck_assert_uint_eq(got, 0x3344);
    ck_assert_uint_eq(fix.device_fpenv, XL_FPENV_HOST);
    ck_assert_uint_eq(after, guest);
    ck_assert(!fast(KERNEL, VA(0), false));

    mmu_store(fix.cpu, VA(0) + 8, 0, 2); /* the device refuses */
    ck_assert_uint_eq(take_fault(&at), FAULT_ACCESS + XL_STORE);
    mmu_load(fix.cpu, VA(0) + 16, 2); /* beyond it */
    ck_assert_uint_eq(take_fault(&at), FAULT_ACCESS + XL_LOAD);
    mmu_load(fix.cpu, VA(0) + 2, 2); /* misaligned */
    ck_assert_uint_eq(take_fault(&at), FAULT_ACCESS + XL_LOAD);
    ck_assert_uint_eq(fix.walks, 1);
}
END_TEST

START_TEST(rom)
{
    gva_t at;
    gpa_t gpa;

    map_row(0, VA(0), ROM, PAGE, RWX, RWX, 0);
    ck_assert_uint_eq(mmu_load(fix.cpu, VA(0), 3), 0);
    ck_assert(fast(KERNEL, VA(0), false));
    mmu_store(fix.cpu, VA(0), 1, 3);
    ck_assert_uint_eq(take_fault(&at), FAULT_ACCESS + XL_STORE);
    ck_assert_ptr_null(mmu_translate(fix.cpu, VA(0), 8, IR_MEM_WRITE));
    ck_assert_ptr_null(mmu_range(fix.cpu, VA(0), 64, XL_STORE));
    ck_assert_uint_eq(take_fault(&at), FAULT_ACCESS + XL_STORE);
    ck_assert(fetch_at(VA(0) + 6, &gpa));
    ck_assert_uint_eq(gpa, ROM + 6);
}
END_TEST

START_TEST(fetch)
{
    gva_t at;
    gpa_t gpa;

    map_row(0, VA(0), RAM, PAGE, RWX, RW, 0);
    map_row(1, VA(1), DEV, PAGE, RWX, RWX, 0);
    map_row(2, VA(2), RAM, PAGE, RW, RWX, 0);
    ck_assert(!fetch_at(VA(0), &gpa));
    ck_assert_uint_eq(take_fault(&at), FAULT_PAGE + XL_FETCH);
    ck_assert(!fetch_at(VA(1) + 2, &gpa));
    ck_assert_uint_eq(take_fault(&at), FAULT_ACCESS + XL_FETCH);
    ck_assert_uint_eq(at, VA(1) + 2);
    ck_assert(fetch_at(VA(2) + 2, &gpa));
    ck_assert_uint_eq(gpa, RAM + 2);
    ck_assert(fast_fetch(VA(2)));
    mmu_set_context(fix.cpu, KERNEL, USER, 1); /* data as before, fetches as a user */
    ck_assert(fetch_at(VA(0), &gpa));
    ck_assert(!fetch_at(VA(2), &gpa));
}
END_TEST

/* --- code pages ------------------------------------------------------------------------------- */

START_TEST(code_pages)
{
    map_row(0, VA(0), RAM, 2 * PAGE, RWX, RWX, 0);
    map_row(1, VA(8), RAM, PAGE, RWX, RWX, 0); /* an alias */
    mmu_store(fix.cpu, VA(0), 1, 3);
    mmu_store(fix.cpu, VA(8), 1, 3);
    mmu_store(fix.cpu, VA(1), 1, 3);
    mem_page_set(fix.ram, 0, MEM_PAGE_CODE);
    mmu_drop_code_stores(fix.cpu, false);
    ck_assert_uint_eq(fix.code_drops, 0);
    ck_assert(!fast(KERNEL, VA(0), true));
    ck_assert(!fast(KERNEL, VA(8), true));
    ck_assert(fast(KERNEL, VA(1), true));
    mem_page_set(fix.ram, 1, MEM_PAGE_CODE);
    mmu_drop_code_stores(fix.cpu, true); /* the second page may have been written since */
    ck_assert_uint_eq(fix.code_drops, 1);
    ck_assert(!fast(KERNEL, VA(1), true));
    mmu_drop_code_stores(fix.cpu, true);
    ck_assert_uint_eq(fix.code_drops, 1);
    fix.code_drops = 0;

    ck_assert_ptr_null(mmu_translate(fix.cpu, VA(0), 8, IR_MEM_WRITE));
    ck_assert_uint_eq(fix.code_drops, 0);
    mmu_store(fix.cpu, VA(8) + 8, 5, 3);
    ck_assert_uint_eq(fix.code_drops, 1);
    ck_assert(fast(KERNEL, VA(8), true));
    ck_assert_ptr_nonnull(mmu_translate(fix.cpu, VA(0), 8, IR_MEM_WRITE));
    mem_page_set(fix.ram, 1, MEM_PAGE_CODE);
    mmu_store(fix.cpu, VA(1) - 4, 5, 3); /* crosses into it */
    ck_assert_uint_eq(fix.code_drops, 2);
    mem_page_set(fix.ram, 0, MEM_PAGE_CODE);
    mmu_rmw(fix.cpu, VA(0), 1, 3, IR_RMW_ADD);
    ck_assert_uint_eq(fix.code_drops, 3);
}
END_TEST

/* --- flushes ---------------------------------------------------------------------------------- */

/* Touches a page of each kind; the rows of "flushes" say which are still there afterwards. */
enum { LOCAL = 1, GLOBAL = 2, LARGE = 4, LARGE_END = 8, OTHER = 16 };

static const struct {
    const char *name;
    gva_t start;
    uint64_t size;
    uint32_t space;
    unsigned kept; /* pages that need no new walk */
} flushes[] = {
    {"everything", 0, UINT64_MAX, MMU_EVERY_SPACE, 0},
    {"space 1", 0, UINT64_MAX, 1, GLOBAL | OTHER},
    {"space 2", 0, UINT64_MAX, 2, LOCAL | GLOBAL | LARGE | LARGE_END},
    {"a page of space 1", VA(0), PAGE, 1, GLOBAL | LARGE | LARGE_END | OTHER},
    {"a byte of a page", VA(0) + 77, 1, 1, GLOBAL | LARGE | LARGE_END | OTHER},
    {"a page in every space", VA(0), PAGE, MMU_EVERY_SPACE, GLOBAL | LARGE | LARGE_END},
    {"a global page in one space", VA(1), PAGE, 1, LOCAL | GLOBAL | LARGE | LARGE_END | OTHER},
    {"a global page in every space", VA(1), PAGE, MMU_EVERY_SPACE, LOCAL | LARGE | LARGE_END | OTHER},
    {"an address in a superpage", MIB(1024 + 2) + 5 * PAGE, 1, 1, LOCAL | GLOBAL | OTHER},
    {"two pages", VA(0), 2 * PAGE, MMU_EVERY_SPACE, LARGE | LARGE_END},
    {"nothing", VA(0), 0, 1, LOCAL | GLOBAL | LARGE | LARGE_END | OTHER},
    {"a large range", VA(0), MIB(512), 1, GLOBAL | OTHER},
};

static unsigned touch(gva_t va, unsigned bit)
{
    unsigned before = fix.walks;
    gpa_t gpa;

    mmu_load(fix.cpu, va, 3);
    ck_assert(fetch_at(va, &gpa));
    return fix.walks == before ? bit : 0;
}

static unsigned touch_all(void)
{
    unsigned kept;

    kept = touch(VA(0), LOCAL) | touch(VA(1), GLOBAL) | touch(MIB(1026), LARGE) |
           touch(MIB(1028) - PAGE, LARGE_END);
    fix.space = 2;
    mmu_set_context(fix.cpu, KERNEL, KERNEL, 2);
    kept |= touch(VA(0), OTHER);
    fix.space = 1;
    mmu_set_context(fix.cpu, KERNEL, KERNEL, 1);
    return kept;
}

START_TEST(flush)
{
    map_row(0, VA(0), RAM, PAGE, RWX, RWX, 1);
    map_row(1, VA(0), RAM + PAGE, PAGE, RWX, RWX, 2);
    map_row(2, VA(1), RAM + 2 * PAGE, PAGE, RWX, RWX, 0);
    map_row(3, MIB(1026), RAM + MIB(2), MIB(2), RWX, RWX, 1);
    touch_all();
    ck_assert_uint_eq(touch_all(), LOCAL | GLOBAL | LARGE | LARGE_END | OTHER);
    touch(MIB(1028) - PAGE, 0);
    touch(VA(0), 0);
    mmu_flush(fix.cpu, flushes[_i].start, flushes[_i].size, flushes[_i].space);
    /* The fast entries never outlive what is behind them. */
    if (!(flushes[_i].kept & LARGE_END)) {
        ck_assert(!fast(KERNEL, MIB(1028) - PAGE, false));
        ck_assert(!fast_fetch(MIB(1028) - PAGE));
    }
    if (!(flushes[_i].kept & LOCAL)) {
        ck_assert(!fast(KERNEL, VA(0), false));
        ck_assert(!fast_fetch(VA(0)));
    }
    unsigned kept = touch_all();
    /* The superpage's second address finds what its first one walked for. */
    if (!(flushes[_i].kept & LARGE))
        kept &= ~(unsigned)LARGE_END;
    ck_assert_msg(kept == flushes[_i].kept, "%s: kept %x", flushes[_i].name, kept);
}
END_TEST

START_TEST(spaces)
{
    map_row(0, VA(0), RAM, PAGE, RW, RW, 1);
    map_row(1, VA(0), RAM + PAGE, PAGE, RW, RW, 2);
    mmu_store(fix.cpu, VA(0), 11, 3);
    fix.space = 2;
    mmu_set_context(fix.cpu, KERNEL, KERNEL, 2);
    mmu_store(fix.cpu, VA(0), 22, 3);
    for (unsigned i = 0; i < 4; i++) {
        fix.space = 1 + i % 2;
        mmu_set_context(fix.cpu, KERNEL, KERNEL, fix.space);
        ck_assert(!fast(KERNEL, VA(0), false));
        ck_assert_uint_eq(mmu_load(fix.cpu, VA(0), 3), i % 2 ? 22 : 11);
    }
    ck_assert_uint_eq(fix.walks, 2);
}
END_TEST

START_TEST(modes_keep_apart)
{
    gva_t at;

    map_row(0, VA(0), RAM, PAGE, R, RW, 0);
    mmu_store(fix.cpu, VA(0), 11, 3);
    mmu_set_context(fix.cpu, USER, USER, 1);
    mmu_store(fix.cpu, VA(0), 12, 3);
    ck_assert_uint_eq(take_fault(&at), FAULT_PAGE + XL_STORE);
    ck_assert_uint_eq(mmu_load(fix.cpu, VA(0), 3), 11);
    mmu_set_context(fix.cpu, BARE, BARE, 1);
    mmu_store(fix.cpu, RAM + 8, 33, 3);
    ck_assert_uint_eq(mmu_load(fix.cpu, RAM, 3), 11);
    mmu_load(fix.cpu, VA(0), 3); /* nothing is there */
    ck_assert_uint_eq(take_fault(&at), FAULT_ACCESS + XL_LOAD);
}
END_TEST

/* Modes have tags of their own, and the same ones each time. */
START_TEST(jump_salt)
{
    uint64_t kernel = fix.cpu->jump_salt;

    mmu_set_context(fix.cpu, USER, USER, 1);
    ck_assert_uint_ne(fix.cpu->jump_salt, kernel);
    mmu_set_context(fix.cpu, KERNEL, KERNEL, 2);
    ck_assert_uint_eq(fix.cpu->jump_salt, kernel);
}
END_TEST

/* Another space keeps where global code is, and only that. */
START_TEST(code_of_spaces)
{
    gpa_t gpa;

    map_row(0, VA(0), RAM, PAGE, RWX, RWX, 1);
    map_row(1, VA(1), RAM + PAGE, PAGE, RWX, RWX, 0);
    ck_assert(fetch_at(VA(0), &gpa) && fetch_at(VA(1), &gpa));
    mmu_set_context(fix.cpu, USER, USER, 1);
    ck_assert(fast_fetch(VA(0)) && fast_fetch(VA(1)));
    mmu_set_context(fix.cpu, KERNEL, KERNEL, 2);
    ck_assert(!fast_fetch(VA(0)) && fast_fetch(VA(1)));
    mmu_flush(fix.cpu, VA(1), PAGE, MMU_EVERY_SPACE);
    ck_assert(!fast_fetch(VA(1)));
}
END_TEST

/* More pages than the filter of fetched ones holds apart, and sets of superpages that overflow. */
START_TEST(many_pages)
{
    gpa_t gpa;

    map_row(0, VA(0), RAM, MIB(8), RWX, RWX, 0);
    fix.rows[0].page = UINT64_C(1) << 40;
    for (unsigned i = 0; i < 5000; i++) {
        gva_t va = VA(0) + i % 2048 * PAGE;
        fix.rows[0].va = va; /* a 4 KiB row that follows the address */
        fix.rows[0].gpa = RAM + i % 2048 * PAGE;
        fix.rows[0].page = PAGE;
        ck_assert(fetch_at(va + 4, &gpa));
        ck_assert_uint_eq(gpa, RAM + i % 2048 * PAGE + 4);
        ck_assert(fast_fetch(va));
    }
    for (uint64_t i = 0; i < 20000; i++) {
        gva_t va = (UINT64_C(1) << 40) + i * MIB(2);
        map_row(0, va, RAM, MIB(2), RW, RW, 0);
        mmu_store(fix.cpu, va + 16, i, 3);
        ck_assert_uint_eq(mmu_load(fix.cpu, va + 16, 3), i);
    }
    ck_assert_uint_eq(fix.cpu->fault, 0);
}
END_TEST

/* Arrays that lie a multiple of the TLB's reach apart have entries of their own. */
START_TEST(arrays_have_their_own_entries)
{
    uint64_t reach = XL_TLB_SIZE * MEM_PAGE_SIZE;

    for (unsigned i = 0; i < 64; i++)
        for (unsigned k = 0; k < i; k++)
            ck_assert_uint_ne(xl_tlb_index(VA(0) + i * reach), xl_tlb_index(VA(0) + k * reach));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mmu");
    TCase *tc = tcase_create("mmu");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, each_width, 0, G_N_ELEMENTS(widths));
    tcase_add_test(tc, crossing_probes_both);
    tcase_add_test(tc, fills);
    tcase_add_test(tc, dirty_bit_walks_again);
    tcase_add_test(tc, translate);
    tcase_add_test(tc, range);
    tcase_add_loop_test(tc, copying, 0, (int)G_N_ELEMENTS(copies));
    tcase_add_test(tc, filling);
    tcase_add_test(tc, loops_keep_out);
    tcase_add_loop_test(tc, own_watch_rows, 0, G_N_ELEMENTS(own_watches));
    tcase_add_test(tc, own_watches_come_and_go);
    tcase_add_loop_test(tc, rmw, 0, G_N_ELEMENTS(rmws));
    tcase_add_test(tc, conditional_stores);
    tcase_add_loop_test(tc, atomics_that_fault, 0, G_N_ELEMENTS(bad_atomics));
    tcase_add_test(tc, device);
    tcase_add_test(tc, rom);
    tcase_add_test(tc, fetch);
    tcase_add_test(tc, code_pages);
    tcase_add_loop_test(tc, flush, 0, G_N_ELEMENTS(flushes));
    tcase_add_test(tc, spaces);
    tcase_add_test(tc, modes_keep_apart);
    tcase_add_test(tc, jump_salt);
    tcase_add_test(tc, code_of_spaces);
    tcase_add_test(tc, many_pages);
    tcase_add_test(tc, arrays_have_their_own_entries);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
