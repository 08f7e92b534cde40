/*
 * The full path of an access: refill, page crossing, devices, code pages, faults.
 *
 * RAM is touched with atomic accesses of the guest's width wherever it is naturally aligned, so that
 * other vCPUs never see half of one; a misaligned access inside a page is a byte copy, as the
 * architectures allow.
 */
#include "xlate/mmu/mmu_priv.h"

#include "xlate/fpenv.h"

#define PAGE_MASK (MEM_PAGE_SIZE - 1)

static unsigned width(uint32_t mem)
{
    return 1u << (mem & IR_MEM_SIZE);
}

/* The TLB mode of an access. */
static unsigned mode_of(const struct xl_cpu *cpu, uint32_t mem)
{
    return mem & IR_MEM_USER ? 0 : xl_tlb_mode(cpu->mode);
}

static uint64_t extend(uint64_t value, uint32_t mem)
{
    unsigned drop = 64 - 8 * width(mem);

    value <<= drop;
    return mem & IR_MEM_SIGNED ? (uint64_t)((int64_t)value >> drop) : value >> drop;
}

static bool crosses(gva_t va, unsigned size)
{
    return (va & PAGE_MASK) + size > MEM_PAGE_SIZE;
}

/* --- RAM -------------------------------------------------------------------------------------- */

/* N bytes, of which no more than each by itself is read at once. */
MEM_GUEST_RACES static void copy_in(void *to, const uint8_t *from, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ((uint8_t *)to)[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

MEM_GUEST_RACES static void copy_out(uint8_t *to, const void *from, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        __atomic_store_n(&to[i], ((const uint8_t *)from)[i], __ATOMIC_RELAXED);
}

MEM_GUEST_RACES static uint64_t ram_load(const uint8_t *p, unsigned size)
{
    uint64_t value = 0;

    if ((uintptr_t)p & (size - 1)) {
        copy_in(&value, p, size);
        return GUINT64_FROM_LE(value);
    }
    switch (size) {
    case 1:
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);
    case 2:
        return GUINT16_FROM_LE(__atomic_load_n((const uint16_t *)p, __ATOMIC_SEQ_CST));
    case 4:
        return GUINT32_FROM_LE(__atomic_load_n((const uint32_t *)p, __ATOMIC_SEQ_CST));
    default:
        return GUINT64_FROM_LE(__atomic_load_n((const uint64_t *)p, __ATOMIC_SEQ_CST));
    }
}

/* ORDERED: a release or a sequentially consistent store. */
MEM_GUEST_RACES static void ram_store(uint8_t *p, unsigned size, uint64_t value, bool ordered)
{
    if ((uintptr_t)p & (size - 1)) {
        value = GUINT64_TO_LE(value);
        copy_out(p, &value, size);
        return;
    }
    switch (size) {
    case 1:
        __atomic_store_n(p, (uint8_t)value, __ATOMIC_RELEASE);
        break;
    case 2:
        __atomic_store_n((uint16_t *)p, GUINT16_TO_LE((uint16_t)value), __ATOMIC_RELEASE);
        break;
    case 4:
        __atomic_store_n((uint32_t *)p, GUINT32_TO_LE((uint32_t)value), __ATOMIC_RELEASE);
        break;
    default:
        __atomic_store_n((uint64_t *)p, GUINT64_TO_LE(value), __ATOMIC_RELEASE);
        break;
    }
    if (ordered)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Compare-and-swap of SIZE aligned bytes; the old value. */
MEM_GUEST_RACES static uint64_t ram_cas(uint8_t *p, unsigned size, uint64_t expected,
                                        uint64_t desired)
{
    uint8_t e1 = (uint8_t)expected;
    uint16_t e2 = GUINT16_TO_LE((uint16_t)expected);
    uint32_t e4 = GUINT32_TO_LE((uint32_t)expected);
    uint64_t e8 = GUINT64_TO_LE(expected);

    switch (size) {
    case 1:
        __atomic_compare_exchange_n(p, &e1, (uint8_t)desired, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
        return e1;
    case 2:
        __atomic_compare_exchange_n((uint16_t *)p, &e2, GUINT16_TO_LE((uint16_t)desired), false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        return GUINT16_FROM_LE(e2);
    case 4:
        __atomic_compare_exchange_n((uint32_t *)p, &e4, GUINT32_TO_LE((uint32_t)desired), false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        return GUINT32_FROM_LE(e4);
    default:
        __atomic_compare_exchange_n((uint64_t *)p, &e8, GUINT64_TO_LE(desired), false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        return GUINT64_FROM_LE(e8);
    }
}

/* What an RMW writes; OLD and OPERAND are zero-extended numbers of the width of MEM. */
static uint64_t combine(enum ir_rmw op, uint64_t old, uint64_t operand, uint32_t mem)
{
    int64_t so = (int64_t)extend(old, mem | IR_MEM_SIGNED);
    int64_t sv = (int64_t)extend(operand, mem | IR_MEM_SIGNED);

    switch (op) {
    case IR_RMW_SWAP:
        return operand;
    case IR_RMW_ADD:
        return old + operand;
    case IR_RMW_AND:
        return old & operand;
    case IR_RMW_OR:
        return old | operand;
    case IR_RMW_XOR:
        return old ^ operand;
    case IR_RMW_MINS:
        return sv < so ? operand : old;
    case IR_RMW_MAXS:
        return sv > so ? operand : old;
    case IR_RMW_MINU:
        return operand < old ? operand : old;
    case IR_RMW_MAXU:
        return operand > old ? operand : old;
    }
    g_assert_not_reached();
}

/* --- devices ---------------------------------------------------------------------------------- */

/* A device's callback is foreign C code: it runs with the host's floating-point environment. */
static int device(struct xl_cpu *cpu, gpa_t gpa, unsigned size, uint64_t *value, bool store)
{
    uint32_t env = xl_fpenv_read();
    int rc;

    xl_fpenv_write(XL_FPENV_HOST);
    if (store)
        rc = mem_map_device_write(cpu->mmu->map, gpa, size, *value);
    else
        rc = mem_map_device_read(cpu->mmu->map, gpa, size, value);
    xl_fpenv_write(env);
    return rc;
}

static void fault(struct xl_cpu *cpu, gva_t va, enum xl_access access)
{
    cpu->mmu->sys->access_fault(cpu, va, access, false);
}

/* --- one access ------------------------------------------------------------------------------- */

/* The two halves of an access that crosses a page, both probed. False with cpu->fault set. */
static bool resolve_two(struct xl_cpu *cpu, gva_t va, uint32_t mem, enum xl_access access,
                        struct mmu_place place[2], unsigned *first)
{
    unsigned mode = mode_of(cpu, mem);
    gva_t next = (va | PAGE_MASK) + 1;

    *first = (unsigned)(next - va);
    if (!mmu__resolve(cpu, mode, va, access, &place[0]) ||
        !mmu__resolve(cpu, mode, next, access, &place[1]))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        if (!place[i].ram || (access == XL_STORE && place[i].ram->read_only)) {
            fault(cpu, i ? next : va, access);
            return false;
        }
    }
    return true;
}

/* VALUE has the bytes as they are in memory. */
static void load_crossing(struct xl_cpu *cpu, gva_t va, void *value, uint32_t mem)
{
    struct mmu_place place[2];
    unsigned first;

    if (!resolve_two(cpu, va, mem, XL_LOAD, place, &first))
        return;
    copy_in(value, place[0].host, first);
    copy_in((uint8_t *)value + first, place[1].host, width(mem) - first);
}

static void store_crossing(struct xl_cpu *cpu, gva_t va, const void *value, uint32_t mem)
{
    struct mmu_place place[2];
    unsigned first;

    if (!resolve_two(cpu, va, mem, XL_STORE, place, &first))
        return;
    mmu__before_store(cpu->mmu, &place[0]);
    mmu__before_store(cpu->mmu, &place[1]);
    copy_out(place[0].host, value, first);
    copy_out(place[1].host, (const uint8_t *)value + first, width(mem) - first);
    mmu__after_store(cpu->mmu, &place[0]);
    mmu__after_store(cpu->mmu, &place[1]);
}

uint64_t mmu_load(struct xl_cpu *cpu, gva_t va, uint32_t mem)
{
    unsigned mode = mode_of(cpu, mem), size = width(mem);
    struct mmu_place place;
    uint64_t value = 0;

    if ((mem & IR_MEM_ALIGNED) && (va & (size - 1))) {
        cpu->mmu->sys->access_fault(cpu, va, XL_LOAD, true);
        return 0;
    }
    if (!mmu__may_access(cpu, mode, va, size, ACCEL_WATCH_READ))
        return 0;
    if (crosses(va, size)) {
        xl_count(&cpu->count.slow_accesses, 1);
        load_crossing(cpu, va, &value, mem);
        return extend(GUINT64_FROM_LE(value), mem);
    }
    if (!mmu__resolve(cpu, mode, va, XL_LOAD, &place))
        return 0;
    if (place.ram) {
        xl_count(&cpu->count.tlb_misses, 1);
        mmu__fill(cpu, mode, va, place.host, false);
        return extend(ram_load(place.host, size), mem);
    }
    xl_count(&cpu->count.slow_accesses, 1);
    if (device(cpu, place.gpa, size, &value, false)) {
        fault(cpu, va, XL_LOAD);
        return 0;
    }
    return extend(value, mem);
}

/* Atomics are for RAM alone. An SC reads nothing that the program sees. */
enum store { STORE_PLAIN, STORE_SC, STORE_ATOMIC };

/* Resolves a store to RAM or, where it is plain, a device, and makes the page writable. */
static bool resolve_store(struct xl_cpu *cpu, gva_t va, uint32_t mem, enum store store,
                          struct mmu_place *place)
{
    enum accel_watch kind = store == STORE_ATOMIC ? ACCEL_WATCH_ACCESS : ACCEL_WATCH_WRITE;
    unsigned mode = mode_of(cpu, mem);

    if ((mem & IR_MEM_ALIGNED) && (va & (width(mem) - 1))) {
        cpu->mmu->sys->access_fault(cpu, va, XL_STORE, true);
        return false;
    }
    if (!mmu__may_access(cpu, mode, va, width(mem), kind))
        return false;
    if ((mem & IR_MEM_RESERVE) && !mmu__resolve(cpu, mode, va, XL_LOAD, place))
        return false;
    if (!mmu__resolve(cpu, mode, va, XL_STORE, place))
        return false;
    if (!place->ram) {
        if (store != STORE_PLAIN)
            fault(cpu, va, XL_STORE);
        return store == STORE_PLAIN;
    }
    if (place->ram->read_only) {
        fault(cpu, va, XL_STORE);
        return false;
    }
    xl_count(&cpu->count.tlb_misses, 1);
    mmu__before_store(cpu->mmu, place);
    mmu__fill(cpu, mode, va, place->host, true);
    return true;
}

void mmu_store(struct xl_cpu *cpu, gva_t va, uint64_t value, uint32_t mem)
{
    unsigned size = width(mem);
    struct mmu_place place;

    value = extend(value, mem & ~(uint32_t)IR_MEM_SIGNED);
    if (crosses(va, size) && !(mem & IR_MEM_ALIGNED)) {
        xl_count(&cpu->count.slow_accesses, 1);
        if (!mmu__may_access(cpu, mode_of(cpu, mem), va, size, ACCEL_WATCH_WRITE))
            return;
        value = GUINT64_TO_LE(value);
        store_crossing(cpu, va, &value, mem);
        return;
    }
    if (!resolve_store(cpu, va, mem, STORE_PLAIN, &place))
        return;
    if (place.ram) {
        ram_store(place.host, size, value, mem & IR_MEM_RELEASE);
        return;
    }
    xl_count(&cpu->count.slow_accesses, 1);
    if (device(cpu, place.gpa, size, &value, true))
        fault(cpu, va, XL_STORE);
}

/* --- 16 bytes ----------------------------------------------------------------------------------
 * Each half is one access where it is aligned; a device sees two.
 */

static void load_halves(struct xl_cpu *cpu, gva_t va, const struct mmu_place *place,
                        struct ir_v128 *value)
{
    for (unsigned i = 0; i < 2; i++) {
        if (place->ram)
            value->d[i] = ram_load(place->host + 8 * i, 8);
        else if (device(cpu, place->gpa + 8 * i, 8, &value->d[i], false)) {
            fault(cpu, va + 8 * i, XL_LOAD);
            return;
        }
    }
}

void mmu_load16(struct xl_cpu *cpu, gva_t va, struct ir_v128 *value, uint32_t mem)
{
    unsigned mode = mode_of(cpu, mem);
    struct mmu_place place;

    if ((mem & IR_MEM_ALIGNED) && va % 16) {
        cpu->mmu->sys->access_fault(cpu, va, XL_LOAD, true);
        return;
    }
    if (!mmu__may_access(cpu, mode, va, 16, ACCEL_WATCH_READ))
        return;
    if (crosses(va, 16)) {
        xl_count(&cpu->count.slow_accesses, 1);
        load_crossing(cpu, va, value->d, mem);
        value->d[0] = GUINT64_FROM_LE(value->d[0]);
        value->d[1] = GUINT64_FROM_LE(value->d[1]);
        return;
    }
    if (!mmu__resolve(cpu, mode, va, XL_LOAD, &place))
        return;
    xl_count(place.ram ? &cpu->count.tlb_misses : &cpu->count.slow_accesses, 1);
    if (place.ram)
        mmu__fill(cpu, mode, va, place.host, false);
    load_halves(cpu, va, &place, value);
}

void mmu_store16(struct xl_cpu *cpu, gva_t va, const struct ir_v128 *value, uint32_t mem)
{
    struct ir_v128 bytes = {{GUINT64_TO_LE(value->d[0]), GUINT64_TO_LE(value->d[1])}};
    struct mmu_place place;

    if (crosses(va, 16) && !(mem & IR_MEM_ALIGNED)) {
        xl_count(&cpu->count.slow_accesses, 1);
        if (mmu__may_access(cpu, mode_of(cpu, mem), va, 16, ACCEL_WATCH_WRITE))
            store_crossing(cpu, va, bytes.d, mem);
        return;
    }
    if (!resolve_store(cpu, va, mem, STORE_PLAIN, &place))
        return;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t half = value->d[i];
        if (place.ram) {
            ram_store(place.host + 8 * i, 8, half, false);
        } else if (device(cpu, place.gpa + 8 * i, 8, &half, true)) {
            fault(cpu, va + 8 * i, XL_STORE);
            return;
        }
    }
}

uint64_t mmu_rmw(struct xl_cpu *cpu, gva_t va, uint64_t operand, uint32_t mem, uint32_t op)
{
    uint32_t plain = mem & ~(uint32_t)IR_MEM_SIGNED;
    struct mmu_place place;
    uint64_t old, seen;

    if (!resolve_store(cpu, va, mem | IR_MEM_ALIGNED, STORE_ATOMIC, &place))
        return 0;
    operand = extend(operand, plain);
    seen = ram_load(place.host, width(mem));
    do {
        old = seen;
        seen = ram_cas(place.host, width(mem), old,
                       extend(combine((enum ir_rmw)op, old, operand, mem), plain));
    } while (seen != old);
    return extend(old, mem);
}

uint64_t mmu_cas(struct xl_cpu *cpu, gva_t va, uint64_t expected, uint64_t desired, uint32_t mem)
{
    struct mmu_place place;

    if (!resolve_store(cpu, va, mem | IR_MEM_ALIGNED, STORE_ATOMIC, &place))
        return 0;
    return extend(ram_cas(place.host, width(mem), expected, desired), mem);
}

uint64_t mmu_sc(struct xl_cpu *cpu, gva_t va, uint64_t condition, uint64_t expected,
                uint64_t desired, uint32_t mem)
{
    uint32_t plain = mem & ~(uint32_t)IR_MEM_SIGNED;
    struct mmu_place place;

    if (!resolve_store(cpu, va, mem | IR_MEM_ALIGNED, STORE_SC, &place) || !condition)
        return 1;
    expected = extend(expected, plain);
    return ram_cas(place.host, width(mem), expected, extend(desired, plain)) != expected;
}

/* --- helpers' accesses ------------------------------------------------------------------------ */

bool mmu_probe(struct xl_cpu *cpu, gva_t va, enum xl_access access)
{
    unsigned mode = access == XL_FETCH ? cpu->mmu->fetch_mode : xl_tlb_mode(cpu->mode);
    struct mmu_place place;

    return mmu__resolve(cpu, mode, va, access, &place);
}

/* The byte at VA, where generated code would find it too: such a page is ready for ACCESS. */
static void *find_fast(const struct xl_cpu *cpu, gva_t va, enum xl_access access)
{
    const struct xl_tlb *tlb = &cpu->tlb[xl_tlb_mode(cpu->mode)];
    unsigned i = xl_tlb_index(va);
    const struct xl_tlb_entry *e = access == XL_STORE ? &tlb->store[i] : &tlb->load[i];

    return e->tag == (va & ~PAGE_MASK) ? (void *)(uintptr_t)(va + e->delta) : NULL;
}

const void *mmu_at_hand(const struct xl_cpu *cpu, gva_t va)
{
    return find_fast(cpu, va, XL_LOAD);
}

void *mmu_range(struct xl_cpu *cpu, gva_t va, uint32_t length, enum xl_access access)
{
    struct mmu_place place;
    void *host = find_fast(cpu, va, access);

    g_assert(!crosses(va, length));
    if (host)
        return host;
    if (!mmu__may_access(cpu, xl_tlb_mode(cpu->mode), va, length,
                         access == XL_STORE ? ACCEL_WATCH_WRITE : ACCEL_WATCH_READ))
        return NULL;
    if (!mmu__resolve(cpu, xl_tlb_mode(cpu->mode), va, access, &place))
        return NULL;
    if (!place.ram || (access == XL_STORE && place.ram->read_only)) {
        fault(cpu, va, access);
        return NULL;
    }
    if (access == XL_STORE) {
        mmu__before_store(cpu->mmu, &place);
        mmu__fill(cpu, xl_tlb_mode(cpu->mode), va, place.host, true);
    }
    return place.host;
}

/* --- page tables ------------------------------------------------------------------------------ */

uint64_t *mmu_pte(struct xl_cpu *cpu, gpa_t gpa)
{
    struct mem_ram *ram = mmu__ram(cpu->mmu, gpa);

    return ram ? (uint64_t *)(void *)(ram->host + (gpa - ram->gpa)) : NULL;
}

bool mmu_pte_replace(struct xl_cpu *cpu, gpa_t gpa, uint64_t *pte, uint64_t expected,
                     uint64_t desired, bool *read_only)
{
    struct mmu_place place = {.gpa = gpa, .ram = mmu__ram(cpu->mmu, gpa)};

    *read_only = !place.ram || place.ram->read_only; /* it may have gone since the walk read it */
    if (*read_only)
        return false;
    mmu__before_store(cpu->mmu, &place);
    if (ram_cas((uint8_t *)pte, 8, GUINT64_FROM_LE(expected), GUINT64_FROM_LE(desired)) !=
        GUINT64_FROM_LE(expected))
        return false;
    mmu__after_store(cpu->mmu, &place);
    return true;
}
