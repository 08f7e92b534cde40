/*
 * The x86-64 back end against the interpreter: every IR operation on the numbers where arithmetic
 * is hard, in every place a value can be; random units; edges, faults, polls, returns.
 */
#include "tests/unit/unit.h"
#include "xlate/back/back.h"
#include "xlate/back/interp/interp.h"
#include "xlate/xlate_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MODE   8u
#define PAGE   UINT64_C(0x40000000)  /* where units run */
#define DATA   UINT64_C(0x7ffff0000) /* two pages; the TLB has the first */
#define MISS   (DATA + 8192)         /* faults */
#define RAM    UINT64_C(0x80000000)
#define CAUSE  42

static const uint8_t hot_slots[] = {10, 11, 12, 13, 14, 15, 16, 17, 8, 0xff};
static const uint8_t hot_fslots[] = {42, 43, 44, 45, 46, 47, 48, 49, 40, 41, 0xff};
static const uint8_t hot_pairs[] = {80, 82, 84, 86, 88, 90, 92, 94, 96, 98, 0xff};

struct bed {
    struct cache *cache;
    struct cache_user *user;
    struct back *back;
    struct back_compiler *compiler;
    struct interp *interp;
    struct ir_unit *unit;
    struct xl_cpu *cpu;
    uint8_t *data; /* DATA's two pages */
    gpa_t next;    /* where the next unit is */
};

/* The guest's memory, for the slow functions: reached from the vCPU as helpers would. */
struct cpu_and_data {
    struct xl_cpu cpu;
    uint8_t *data;
};

static uint8_t *host_of(struct xl_cpu *cpu, gva_t va, uint32_t mem)
{
    uint8_t *data = ((struct cpu_and_data *)cpu)->data;
    unsigned size = 1u << (mem & IR_MEM_SIZE);

    if (va < DATA || va + size > MISS || ((mem & IR_MEM_ALIGNED) && va % size)) {
        cpu->fault = CAUSE;
        cpu->fault_value = va;
        return NULL;
    }
    return data + (va - DATA);
}

static uint64_t extended(uint64_t v, uint32_t mem)
{
    unsigned bits = 8u << (mem & IR_MEM_SIZE);

    if (bits == 64)
        return v;
    v &= (UINT64_C(1) << bits) - 1;
    if ((mem & IR_MEM_SIGNED) && (v >> (bits - 1) & 1))
        v |= UINT64_MAX << bits;
    return v;
}

static uint64_t slow_load(struct xl_cpu *cpu, gva_t va, uint32_t mem)
{
    uint8_t *at = host_of(cpu, va, mem);
    uint64_t v = 0;

    if (at)
        memcpy(&v, at, 1u << (mem & IR_MEM_SIZE));
    return extended(v, mem);
}

static void slow_store(struct xl_cpu *cpu, gva_t va, uint64_t value, uint32_t mem)
{
    uint8_t *at = host_of(cpu, va, mem);

    if (at)
        memcpy(at, &value, 1u << (mem & IR_MEM_SIZE));
}

/* 16 bytes: what host_of() takes for 8 has its end looked at too. */
static uint8_t *host_of16(struct xl_cpu *cpu, gva_t va, uint32_t mem)
{
    uint8_t *at = host_of(cpu, va, 0);

    if (at && (host_of(cpu, va + 15, 0) == NULL || ((mem & IR_MEM_ALIGNED) && va % 16))) {
        cpu->fault = CAUSE;
        cpu->fault_value = va;
        return NULL;
    }
    return at;
}

static void slow_load16(struct xl_cpu *cpu, gva_t va, struct ir_v128 *value, uint32_t mem)
{
    uint8_t *at = host_of16(cpu, va, mem);

    if (at)
        memcpy(value, at, 16);
}

static void slow_store16(struct xl_cpu *cpu, gva_t va, const struct ir_v128 *value, uint32_t mem)
{
    uint8_t *at = host_of16(cpu, va, mem);

    if (at)
        memcpy(at, value, 16);
}

static uint64_t rmw_result(uint64_t old, uint64_t v, uint32_t op, bool wide)
{
    int64_t a = wide ? (int64_t)old : (int32_t)old, b = wide ? (int64_t)v : (int32_t)v;
    uint64_t ua = wide ? old : (uint32_t)old, ub = wide ? v : (uint32_t)v;

    switch (op) {
    case IR_RMW_SWAP: return v;
    case IR_RMW_ADD: return old + v;
    case IR_RMW_AND: return old & v;
    case IR_RMW_OR: return old | v;
    case IR_RMW_XOR: return old ^ v;
    case IR_RMW_MINS: return (uint64_t)MIN(a, b);
    case IR_RMW_MAXS: return (uint64_t)MAX(a, b);
    case IR_RMW_MINU: return MIN(ua, ub);
    default: return MAX(ua, ub);
    }
}

static uint64_t slow_rmw(struct xl_cpu *cpu, gva_t va, uint64_t operand, uint32_t mem, uint32_t op)
{
    uint8_t *at = host_of(cpu, va, mem | IR_MEM_ALIGNED);
    unsigned size = 1u << (mem & IR_MEM_SIZE);
    uint64_t old = 0, new_value;

    if (!at)
        return 0;
    memcpy(&old, at, size);
    new_value = rmw_result(old, operand, op, size == 8);
    memcpy(at, &new_value, size);
    return extended(old, mem);
}

static uint64_t slow_cas(struct xl_cpu *cpu, gva_t va, uint64_t expected, uint64_t desired,
                         uint32_t mem)
{
    uint8_t *at = host_of(cpu, va, mem | IR_MEM_ALIGNED);
    unsigned size = 1u << (mem & IR_MEM_SIZE);
    uint64_t old = 0;

    if (!at)
        return 0;
    memcpy(&old, at, size);
    if (!memcmp(&old, &expected, size))
        memcpy(at, &desired, size);
    return extended(old, mem);
}

static uint64_t slow_sc(struct xl_cpu *cpu, gva_t va, uint64_t condition, uint64_t expected,
                        uint64_t desired, uint32_t mem)
{
    uint8_t *at = host_of(cpu, va, mem | IR_MEM_ALIGNED);
    unsigned size = 1u << (mem & IR_MEM_SIZE);

    if (!at || !condition || memcmp(at, &expected, size))
        return 1;
    memcpy(at, &desired, size);
    return 0;
}

/* --- helpers ---------------------------------------------------------------------------------- */

static uint64_t help_mix(struct xl_cpu *cpu, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return a + 3 * b + 5 * c + 7 * d;
}

static uint64_t help_read(struct xl_cpu *cpu, uint64_t a)
{
    return cpu->slots[10] ^ cpu->slots[42] ^ cpu->slots[3] ^ a;
}

static uint64_t help_write(struct xl_cpu *cpu, uint64_t a)
{
    cpu->slots[11] += a;
    cpu->slots[43] ^= a;
    cpu->slots[5] -= a;
    cpu->slots[35] += a;
    return a;
}

static uint64_t help_fault(struct xl_cpu *cpu, uint64_t a)
{
    if (a & 1) {
        cpu->fault = CAUSE + 1;
        cpu->fault_value = cpu->pc;
    }
    return a >> 1;
}

static uint64_t help_trap(struct xl_cpu *cpu)
{
    cpu->fault = CAUSE + 2;
    cpu->fault_value = cpu->pc;
    return 0;
}

static uint64_t help_fpenv(struct xl_cpu *cpu, uint64_t a)
{
    uint64_t old = cpu->fp_flags | (uint64_t)cpu->fp_rm << 8;

    cpu->fp_flags = a & 31;
    cpu->fp_rm = (uint8_t)(IR_RM_RNE + (a >> 5) % 4);
    return old;
}

enum { HELP_MIX, HELP_READ, HELP_WRITE, HELP_FAULT, HELP_FPENV, HELP_TRAP, HELP_COUNT };
#define FN(fn) ((void (*)(void))(fn))
static const struct ir_helper helpers[HELP_COUNT] = {
    [HELP_MIX] = {"mix", FN(help_mix), 4, true, 0},
    [HELP_READ] = {"read", FN(help_read), 1, true, IR_CALL_READS},
    [HELP_WRITE] = {"write", FN(help_write), 1, true, IR_CALL_READS | IR_CALL_WRITES},
    [HELP_FAULT] = {"fault", FN(help_fault), 1, true, IR_CALL_FAULT | IR_CALL_PC},
    [HELP_FPENV] = {"fpenv", FN(help_fpenv), 1, true, IR_CALL_FPENV},
    [HELP_TRAP] = {"trap", FN(help_trap), 0, false, IR_CALL_FAULT | IR_CALL_PC},
};

/* --- the bed ---------------------------------------------------------------------------------- */

static void kick(void *opaque)
{
}

/* WIDE: XMM registers hold pairs of slots. */
static void setup_wide(struct bed *bed, unsigned features, bool wide)
{
    struct cache_config cc = {.kick = kick};
    struct back_slow slow = {slow_load, slow_store, slow_rmw, slow_cas, slow_sc, slow_load16,
                             slow_store16};
    struct interp_config ic = {.helpers = helpers, .n_helpers = HELP_COUNT, .slow = slow};
    g_autoptr(GError) err = NULL;
    struct cpu_and_data *both = g_new0(struct cpu_and_data, 1);

    memset(bed, 0, sizeof(*bed));
    ck_assert_msg(cache_new(&cc, &bed->cache, &err), "%s", err ? err->message : "");
    struct back_config bc = {.cache = bed->cache, .n_slots = IR_SLOTS, .hot_slots = hot_slots,
                             .hot_fslots = wide ? hot_pairs : hot_fslots, .wide_fslots = wide,
                             .helpers = helpers, .n_helpers = HELP_COUNT,
                             .slow = slow, .features = features};
    ck_assert_msg(back_new(&bc, &bed->back, &err), "%s", err ? err->message : "");
    bed->compiler = back_compiler_new(bed->back);
    bed->interp = interp_new(&ic);
    bed->unit = ir_unit_new();
    bed->cpu = &both->cpu;
    bed->data = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    both->data = bed->data;
    bed->user = cache_user_new(bed->cache, bed->cpu);
    cache_join(bed->user);
    bed->cpu->mode = MODE;
    bed->cpu->jump_salt = UINT64_C(0x5a17000000000001);
    bed->cpu->pc_page = PAGE;
    bed->cpu->fp_rm = IR_RM_RNE;
    bed->next = RAM;
    for (unsigned m = 0; m < XL_TLB_MODES; m++)
        for (unsigned i = 0; i < XL_TLB_SIZE; i++)
            bed->cpu->tlb[m].load[i].tag = bed->cpu->tlb[m].store[i].tag = XL_TLB_NONE;
    unsigned i = xl_tlb_index(DATA);
    struct xl_tlb_entry entry = {.tag = DATA, .delta = (uintptr_t)bed->data - DATA};
    bed->cpu->tlb[xl_tlb_mode(MODE)].load[i] = entry;
    bed->cpu->tlb[xl_tlb_mode(MODE)].store[i] = entry;
}

static void setup(struct bed *bed, unsigned features)
{
    setup_wide(bed, features, false);
}

static void teardown(struct bed *bed)
{
    cache_leave(bed->user);
    cache_user_free(bed->user);
    back_compiler_free(bed->compiler);
    back_free(bed->back);
    interp_free(bed->interp);
    ir_unit_free(bed->unit);
    cache_free(bed->cache);
    munmap(bed->data, 8192);
    g_free(bed->cpu);
}

static void begin(struct bed *bed)
{
    ir_unit_clear(bed->unit);
    bed->unit->mode = MODE;
    ir_at(bed->unit, 0x10, 4);
}

static struct cache_unit *compile_at(struct bed *bed, gpa_t gpa, uint32_t *first_link)
{
    struct cache_place place;
    g_autoptr(GError) err = NULL;

    if (!ir_verify(bed->unit, helpers, HELP_COUNT, &err)) {
        g_autoptr(GString) text = g_string_new(NULL);
        ir_print(bed->unit, NULL, helpers, text);
        ck_abort_msg("%s\n%s", err->message, text->str);
    }
    while (cache_begin(bed->user, gpa, CACHE_NO_PAGE, MODE, &place) < 0)
        cache_wait(bed->user);
    if (back_compile(bed->compiler, bed->unit, &place) < 0) {
        cache_abandon(bed->user);
        return NULL;
    }
    if (first_link)
        *first_link = place.first_link;
    return cache_commit(bed->user, &place);
}

static struct cache_unit *compile(struct bed *bed)
{
    bed->next += 2;
    if (bed->next - RAM > 4096 * 4000) {
        bed->next = RAM;
        cache_clear(bed->cache);
        cache_safepoint(bed->user);
    }
    return compile_at(bed, bed->next, NULL);
}

/* What a run leaves behind. */
struct outcome {
    uint64_t slots[XL_SLOTS];
    uint64_t pc;
    uint32_t fault;
    uint64_t fault_value;
    uint8_t flags, rm;
    unsigned leave;
    uint8_t data[8192];
};

static void save(const struct bed *bed, struct outcome *out, unsigned leave)
{
    const struct xl_cpu *cpu = bed->cpu;

    memcpy(out->slots, cpu->slots, sizeof(out->slots));
    memcpy(out->data, bed->data, sizeof(out->data));
    out->pc = leave == BACK_LEAVE_STATE ? 0 : cpu->pc;
    out->fault = cpu->fault;
    out->fault_value = cpu->fault ? cpu->fault_value : 0;
    out->flags = cpu->fp_flags;
    out->rm = cpu->fp_rm;
    out->leave = leave;
}

static void load(const struct bed *bed, const struct outcome *from)
{
    struct xl_cpu *cpu = bed->cpu;

    memcpy(cpu->slots, from->slots, sizeof(cpu->slots));
    memcpy(bed->data, from->data, sizeof(from->data));
    cpu->fault = 0;
    cpu->fp_flags = from->flags;
    cpu->fp_rm = from->rm;
    cpu->ras_top = 0;
    cpu->pc_page = PAGE;
}

static G_GNUC_NORETURN void report(struct bed *bed, const struct outcome *start, const struct outcome *want,
                   const struct outcome *got, const char *what)
{
    g_autoptr(GString) text = g_string_new(what);

    g_string_append_printf(text, ": pc %" G_GINT64_MODIFIER "x/%" G_GINT64_MODIFIER
                           "x leave %u/%u fault %u/%u flags %x/%x rm %u/%u of %u\n", want->pc, got->pc,
                           want->leave, got->leave, want->fault, got->fault, want->flags,
                           got->flags, want->rm, got->rm, start->rm);
    for (unsigned i = 0; i < XL_SLOTS; i++)
        if (want->slots[i] != got->slots[i])
            g_string_append_printf(text, "slot %u: want %016" G_GINT64_MODIFIER "x got %016"
                                   G_GINT64_MODIFIER "x\n", i, want->slots[i], got->slots[i]);
    for (unsigned i = 0; i < 8192; i++)
        if (want->data[i] != got->data[i])
            g_string_append_printf(text, "data %u: want %02x got %02x\n", i, want->data[i],
                                   got->data[i]);
    for (unsigned i = 0; i < XL_SLOTS; i++)
        if (start->slots[i])
            g_string_append_printf(text, "slot %u was %016" G_GINT64_MODIFIER "x\n", i,
                                   start->slots[i]);
    ir_print(bed->unit, NULL, helpers, text);
    if (text->len > 4000) /* more than Check's messages take */
        g_printerr("%s\n", text->str);
    ck_abort_msg("%.4000s", text->str);
}

/* Runs the bed's unit, compiled as CODE, both ways from START. */
static void compare(struct bed *bed, const struct cache_unit *code, const struct outcome *start,
                    const char *what)
{
    struct outcome want, got;

    load(bed, start);
    save(bed, &want, interp_run(bed->interp, bed->cpu, bed->unit));
    load(bed, start);
    save(bed, &got, (unsigned)back_enter(bed->back, bed->cpu, code).leave);
    if (memcmp(want.slots, got.slots, sizeof(want.slots)) || want.pc != got.pc ||
        want.fault != got.fault || want.fault_value != got.fault_value ||
        want.flags != got.flags || want.rm != got.rm || want.leave != got.leave ||
        memcmp(want.data, got.data, sizeof(want.data)))
        report(bed, start, &want, &got, what);
}

/* --- one operation at a time ------------------------------------------------------------------ */

static const uint64_t ints[] = {
    0, 1, 2, 3, 31, 32, 33, 63, 64, 100, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
    0x80000000, 0x80000001, 0xffffffff, UINT64_C(0x100000000), UINT64_C(0x7fffffffffffffff),
    UINT64_C(0x8000000000000000), UINT64_C(0x8000000000000001), UINT64_MAX, UINT64_MAX - 1,
    UINT64_C(0xffffffff80000000), UINT64_C(0x0123456789abcdef), UINT64_C(0xfedcba9876543210),
    UINT64_C(0x00ff00ff00000001), UINT64_C(0xffffffff00000000),
};

static const uint64_t doubles[] = {
    0, UINT64_C(0x8000000000000000), UINT64_C(0x3ff0000000000000), UINT64_C(0xbff0000000000000),
    UINT64_C(0x3ff8000000000000), UINT64_C(0x4004000000000000), UINT64_C(0xbfe0000000000000),
    UINT64_C(0x3fefffffffffffff), UINT64_C(0xbfefffffffffffff), UINT64_C(0x0000000000000001),
    UINT64_C(0x800fffffffffffff), UINT64_C(0x0010000000000000), UINT64_C(0x7fefffffffffffff),
    UINT64_C(0xffefffffffffffff), UINT64_C(0x7ff0000000000000), UINT64_C(0xfff0000000000000),
    UINT64_C(0x7ff8000000000000), UINT64_C(0xfff8000000000001), UINT64_C(0x7ff0000000000001),
    UINT64_C(0xfff4000000000000), UINT64_C(0x41dfffffffc00000), UINT64_C(0x41e0000000000000),
    UINT64_C(0x41e0000000100000), UINT64_C(0xc1e0000000000000), UINT64_C(0xc1e0000000100000),
    UINT64_C(0xc1e0000000200000), UINT64_C(0x41efffffffe00000), UINT64_C(0x41f0000000000000),
    UINT64_C(0x41f0000000080000), UINT64_C(0x43e0000000000000), UINT64_C(0x43dfffffffffffff),
    UINT64_C(0xc3e0000000000000), UINT64_C(0xc3e0000000000001), UINT64_C(0x43f0000000000000),
    UINT64_C(0x43efffffffffffff), UINT64_C(0x400921fb54442d18), UINT64_C(0x3ca0000000000000),
    UINT64_C(0x36a0000000000000), UINT64_C(0x47efffffe0000000), UINT64_C(0x3810000000000000),
    UINT64_C(0x380fffffffffffff),
};

#define BOX(v) (UINT64_C(0xffffffff00000000) | (v))
static const uint64_t singles[] = {
    BOX(0), BOX(0x80000000), BOX(0x3f800000), BOX(0xbf800000), BOX(0x3fc00000), BOX(0x40200000),
    BOX(0xbf000000), BOX(0x3f7fffff), BOX(0xbf7fffff), BOX(1), BOX(0x807fffff), BOX(0x00800000),
    BOX(0x7f7fffff), BOX(0xff7fffff), BOX(0x7f800000), BOX(0xff800000), BOX(0x7fc00000),
    BOX(0xffc00001), BOX(0x7f800001), BOX(0xffa00000), BOX(0x4effffff), BOX(0x4f000000),
    BOX(0x4f000001), BOX(0xcf000000), BOX(0xcf000001), BOX(0x4f7fffff), BOX(0x4f800000),
    BOX(0x5f000000), BOX(0x5effffff), BOX(0xdf000000), BOX(0xdf000001), BOX(0x5f800000),
    BOX(0x5f7fffff), BOX(0x40490fdb), UINT64_C(0x3f800000), UINT64_C(0xfffffffe3f800000),
};

/* Where operands and results live: slots pinned and not, the same one, a constant. */
struct shape {
    const char *name;
    uint8_t a, b, c, to; /* slots of integers; floats are 32 above */
    bool b_const;
};
static const struct shape shapes[] = {
    {"pinned", 10, 11, 12, 13, false},   {"memory", 1, 2, 3, 4, false},
    {"to a", 10, 11, 12, 10, false},     {"to b", 10, 11, 12, 11, false},
    {"to c", 10, 11, 12, 12, false},     {"mixed", 10, 2, 12, 4, false},
    {"mixed, to b", 1, 17, 3, 17, false}, {"constant", 10, 11, 12, 10, true},
    {"constant, memory", 1, 2, 3, 4, true},
};

struct op_case {
    uint8_t op, type, from;
    uint16_t aux;
    int64_t imm;
    uint8_t n;
};

static uint32_t fetch(struct bed *bed, unsigned type, unsigned slot)
{
    switch (type) {
    case IR_F32:
        return ir_un(bed->unit, IR_UNBOX, IR_F32, ir_get(bed->unit, IR_F64, slot + 32));
    case IR_F64:
        return ir_get(bed->unit, IR_F64, slot + 32);
    default:
        return ir_get(bed->unit, type, slot);
    }
}

static void put(struct bed *bed, unsigned slot, uint32_t v)
{
    struct ir_unit *u = bed->unit;

    switch (ir_result_type(&u->insn[v])) {
    case IR_I32:
        ir_set(u, slot, ir_ext(u, IR_SEXT, IR_I64, v, 32));
        break;
    case IR_F32:
        ir_set(u, slot + 32, ir_un(u, IR_BOX, IR_F64, v));
        break;
    case IR_F64:
        ir_set(u, slot + 32, v);
        break;
    default:
        ir_set(u, slot, v);
    }
}

/* The type of argument I of an operation. */
static unsigned arg_type(const struct op_case *o, unsigned i)
{
    switch (o->op) {
    case IR_FCVTFI: case IR_FCVTIF:
        return o->from;
    case IR_FCVTFF:
        return o->type == IR_F32 ? IR_F64 : IR_F32;
    case IR_SELECT:
        return i == 0 ? IR_I64 : o->type;
    case IR_SEXT: case IR_ZEXT: case IR_TRUNC:
        return o->from;
    case IR_FBITS:
        return o->type == IR_F32 ? IR_I32 : o->type == IR_F64 ? IR_I64
               : o->type == IR_I32 ? IR_F32 : IR_F64;
    case IR_BOX:
        return IR_F32;
    case IR_UNBOX:
        return IR_F64;
    default:
        return o->type;
    }
}

static bool needs_canon(unsigned op)
{
    return (op >= IR_FADD && op <= IR_FMA) || op == IR_FCVTFF;
}

static void build(struct bed *bed, const struct op_case *o, const struct shape *s, uint64_t k)
{
    struct ir_insn insn = {.op = o->op, .type = o->type, .from = o->from, .aux = o->aux,
                           .imm = o->imm, .side = IR_NONE, .params = IR_NONE,
                           .arg = {IR_NONE, IR_NONE, IR_NONE, IR_NONE}};
    const uint8_t slot[] = {s->a, s->b, s->c};
    struct ir_unit *u = bed->unit;

    if (o->op == IR_FCVTFI || o->op == IR_FCVTIF)
        insn.from = o->from;
    else
        insn.from = 0;
    begin(bed);
    for (unsigned i = 0; i < o->n; i++) {
        unsigned type = arg_type(o, i);
        if (i == 0 && o->op == IR_SELECT) {
            insn.arg[i] = ir_bini(u, IR_AND, IR_I64, ir_get(u, IR_I64, 5), 1);
            continue;
        }
        bool is_const = i == 1 && s->b_const && type <= IR_I64;
        insn.arg[i] = is_const ? ir_const(u, type, (int64_t)k) : fetch(bed, type, slot[i]);
    }
    uint32_t v = ir_append(u, &insn);
    if (needs_canon(o->op))
        v = ir_un(u, IR_FCANON, o->type, v);
    put(bed, s->to, v);
    ir_exit(u, 0, 0x20, 0);
}

static const uint64_t *operands(unsigned type, unsigned *n)
{
    *n = type == IR_F32 ? G_N_ELEMENTS(singles) : type == IR_F64 ? G_N_ELEMENTS(doubles)
                                                                 : G_N_ELEMENTS(ints);
    return type == IR_F32 ? singles : type == IR_F64 ? doubles : ints;
}

static void set_operand(struct outcome *start, unsigned type, unsigned slot, uint64_t v)
{
    start->slots[type == IR_F32 || type == IR_F64 ? slot + 32 : slot] = v;
}

/* One unit on all pairs of operands. */
static void run_pairs(struct bed *bed, const struct op_case *o, const struct shape *s,
                      const struct cache_unit *code, struct outcome *start, const char *name)
{
    unsigned na, nb, t0 = arg_type(o, o->op == IR_SELECT), t1 = arg_type(o, 1);
    const uint64_t *a = operands(t0, &na), *b = operands(t1, &nb);

    for (unsigned i = 0; i < na; i++) {
        for (unsigned j = 0; j < (o->n > 1 && !s->b_const ? nb : 1); j++) {
            set_operand(start, t0, o->op == IR_SELECT ? s->b : s->a, a[i]);
            if (o->n > 1)
                set_operand(start, t1, o->op == IR_SELECT ? s->c : s->b, b[j]);
            if (o->op == IR_FMA)
                set_operand(start, t1, s->c, a[(i * 7 + j * 3) % na]);
            start->slots[5] = i ^ j;
            compare(bed, code, start, name);
        }
    }
}

static void run_case(struct bed *bed, const struct op_case *o, const struct shape *s)
{
    g_autofree struct outcome *start = g_new0(struct outcome, 1);
    bool is_float = o->op >= IR_FADD && o->op <= IR_UNBOX;
    unsigned n_consts = s->b_const ? G_N_ELEMENTS(ints) : 1;
    g_autofree char *name = g_strdup_printf("%s type %u from %u aux %u imm %d, %s",
                                            ir_ops[o->op].text, o->type, o->from, o->aux,
                                            (int)o->imm, s->name);

    for (unsigned k = 0; k < n_consts; k++) {
        uint64_t v = o->type == IR_I32 ? (uint64_t)(int64_t)(int32_t)ints[k] : ints[k];
        build(bed, o, s, v);
        struct cache_unit *code = compile(bed);
        ck_assert_ptr_nonnull(code);
        for (unsigned rm = IR_RM_RNE; rm <= (is_float ? IR_RM_RUP : IR_RM_RNE); rm++) {
            for (unsigned i = 0; i < XL_SLOTS; i++)
                start->slots[i] = i * UINT64_C(0x0101010101010101);
            start->rm = (uint8_t)rm;
            run_pairs(bed, o, s, code, start, name);
        }
    }
}

static void run_op(struct bed *bed, struct op_case o)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(shapes); i++)
        if (!shapes[i].b_const || (o.n > 1 && o.type <= IR_I64 && o.op < IR_TR))
            run_case(bed, &o, &shapes[i]);
}

static const unsigned features[] = {BACK_ALL, BACK_BMI, BACK_FMA | BACK_CRYPTO, 0};

START_TEST(integer_ops)
{
    struct bed bed;

    setup(&bed, features[_i]);
    for (unsigned type = IR_I32; type <= IR_I64; type++) {
        for (unsigned op = IR_ADD; op <= IR_ROTR; op++)
            run_op(&bed, (struct op_case){.op = (uint8_t)op, .type = (uint8_t)type, .n = 2});
        for (unsigned op = IR_CLZ; op <= IR_ORCB; op++)
            run_op(&bed, (struct op_case){.op = (uint8_t)op, .type = (uint8_t)type, .n = 1});
        for (unsigned cond = IR_EQ; cond <= IR_LEU; cond++)
            run_op(&bed, (struct op_case){.op = IR_CMP, .type = (uint8_t)type, .aux = (uint16_t)cond,
                                          .n = 2});
        for (unsigned op = IR_NZCV_ADD; op <= IR_NZCV_SUB; op++)
            run_op(&bed, (struct op_case){.op = (uint8_t)op, .type = (uint8_t)type, .n = 2});
        for (unsigned bits = 8; bits <= 32; bits *= 2)
            for (unsigned from = IR_I32; from <= IR_I64; from++)
                for (unsigned op = IR_SEXT; op <= IR_ZEXT; op++)
                    run_op(&bed, (struct op_case){.op = (uint8_t)op, .type = (uint8_t)type,
                                                  .from = (uint8_t)from, .imm = bits, .n = 1});
    }
    run_op(&bed, (struct op_case){.op = IR_TRUNC, .type = IR_I32, .from = IR_I64, .n = 1});
    for (unsigned type = IR_I32; type <= IR_F64; type++)
        run_op(&bed, (struct op_case){.op = IR_SELECT, .type = (uint8_t)type, .n = 3});
    teardown(&bed);
}
END_TEST

START_TEST(float_ops)
{
    struct bed bed;

    setup(&bed, features[_i]);
    for (unsigned t = IR_F32; t <= IR_F64; t++) {
        uint8_t type = (uint8_t)t;
        for (unsigned rm = IR_RM_DYN; rm <= IR_RM_RMM; rm++) {
            uint16_t aux = (uint16_t)rm;
            for (unsigned op = IR_FADD; op <= IR_FDIV; op++)
                run_op(&bed, (struct op_case){.op = (uint8_t)op, .type = type, .aux = aux, .n = 2});
            run_op(&bed, (struct op_case){.op = IR_FSQRT, .type = type, .aux = aux, .n = 1});
            for (unsigned negate = 0; negate < 4; negate++)
                run_op(&bed, (struct op_case){.op = IR_FMA, .type = type, .aux = aux,
                                              .imm = negate, .n = 3});
            run_op(&bed, (struct op_case){.op = IR_FCVTFF, .type = type, .aux = aux, .n = 1});
            for (unsigned k = 0; k < 4; k++) {
                uint8_t integer = k & 1 ? IR_I64 : IR_I32;
                run_op(&bed, (struct op_case){.op = IR_FCVTFI, .type = integer, .from = type,
                                              .aux = aux, .imm = k >> 1, .n = 1});
                run_op(&bed, (struct op_case){.op = IR_FCVTIF, .type = type, .from = integer,
                                              .aux = aux, .imm = k >> 1, .n = 1});
            }
        }
        for (unsigned op = IR_FMIN; op <= IR_FMAX; op++)
            run_op(&bed, (struct op_case){.op = (uint8_t)op, .type = type, .n = 2});
        for (unsigned cond = IR_FEQ; cond <= IR_FLE; cond++)
            run_op(&bed, (struct op_case){.op = IR_FCMP, .type = type, .aux = (uint16_t)cond, .n = 2});
        for (unsigned op = IR_FSGNJ; op <= IR_FSGNJX; op++)
            run_op(&bed, (struct op_case){.op = (uint8_t)op, .type = type, .n = 2});
        run_op(&bed, (struct op_case){.op = IR_FNEG, .type = type, .n = 1});
        run_op(&bed, (struct op_case){.op = IR_FABS, .type = type, .n = 1});
        run_op(&bed, (struct op_case){.op = IR_FCLASS, .type = type, .n = 1});
        run_op(&bed, (struct op_case){.op = IR_FCANON, .type = type, .n = 1});
    }
    for (unsigned type = IR_I32; type <= IR_F64; type++)
        run_op(&bed, (struct op_case){.op = IR_FBITS, .type = (uint8_t)type, .n = 1});
    run_op(&bed, (struct op_case){.op = IR_BOX, .type = IR_F64, .n = 1});
    run_op(&bed, (struct op_case){.op = IR_UNBOX, .type = IR_F32, .n = 1});
    teardown(&bed);
}
END_TEST

/* --- random units ----------------------------------------------------------------------------- */

struct maker {
    struct bed *bed;
    GRand *rand;
    uint32_t pool[IR_V128 + 1][64]; /* values by type */
    unsigned n[IR_V128 + 1];
    uint32_t handle;      /* the newest TR, or IR_NONE */
    int64_t handle_imm;
    unsigned handle_span;
};

static unsigned pick(struct maker *m, unsigned n)
{
    return (unsigned)g_rand_int_range(m->rand, 0, (gint32)n);
}

static void keep(struct maker *m, uint32_t v)
{
    unsigned type = ir_result_type(&m->bed->unit->insn[v]);
    unsigned at = m->n[type] < 64 ? m->n[type]++ : pick(m, 64);

    m->pool[type][at] = v;
}

static unsigned any_int_slot(struct maker *m)
{
    static const uint8_t slots[] = {8, 10, 11, 12, 13, 14, 15, 16, 17, 1, 2, 3, 4, 5};

    return slots[pick(m, sizeof(slots))];
}

static unsigned any_float_slot(struct maker *m)
{
    static const uint8_t slots[] = {40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 33, 34, 35};

    return slots[pick(m, sizeof(slots))];
}

static unsigned any_pair(struct maker *m)
{
    return 66 + 2 * pick(m, 22);
}

static uint32_t any(struct maker *m, unsigned type)
{
    struct ir_unit *u = m->bed->unit;

    if (m->n[type] && pick(m, 4))
        return m->pool[type][pick(m, m->n[type])];
    if (type == IR_V128 && !pick(m, 8))
        return ir_const(u, IR_V128, (int64_t)ints[pick(m, G_N_ELEMENTS(ints))]);
    if (type == IR_V128)
        return ir_get(u, IR_V128, any_pair(m));
    if (type == IR_F64)
        return ir_get(u, IR_F64, pick(m, 8) ? any_float_slot(m) : any_pair(m) + pick(m, 2));
    if (type == IR_F32)
        return ir_un(u, IR_UNBOX, IR_F32, ir_get(u, IR_F64, any_float_slot(m)));
    if (!pick(m, 3))
        return ir_const(u, type, (int64_t)ints[pick(m, G_N_ELEMENTS(ints))]);
    if (type == IR_I64 && !pick(m, 6))
        return ir_pcrel(u, (int64_t)pick(m, 100000) - 50000);
    return ir_get(u, type, any_int_slot(m));
}

static void make_int(struct maker *m)
{
    struct ir_unit *u = m->bed->unit;
    enum ir_type type = pick(m, 3) ? IR_I64 : IR_I32;
    unsigned op = IR_ADD + pick(m, IR_SELECT - IR_ADD + 1);

    if (op <= IR_ROTR) {
        uint32_t count = op >= IR_SHL && pick(m, 2) ? any(m, IR_I64) : any(m, type);
        keep(m, ir_bin(u, op, type, any(m, type), count));
    } else if (op <= IR_ORCB) {
        keep(m, ir_un(u, op, type, any(m, type)));
    } else if (op <= IR_ZEXT) {
        keep(m, ir_ext(u, op, type, any(m, pick(m, 2) ? IR_I64 : IR_I32), 8u << pick(m, 3)));
    } else if (op == IR_TRUNC) {
        keep(m, ir_un(u, IR_TRUNC, IR_I32, any(m, IR_I64)));
    } else {
        uint32_t cond = ir_cmp(u, pick(m, IR_LEU + 1), type, any(m, type), any(m, type));
        if (op == IR_CMP) {
            keep(m, cond);
        } else if (op != IR_SELECT) {
            uint32_t carry = op == IR_NZCV_ADC ? cond : IR_NONE;
            keep(m, ir_nzcv(u, op, type, any(m, type), any(m, type), carry));
        } else {
            enum ir_type of = pick(m, 5) ? IR_I32 + pick(m, 4) : IR_V128;
            keep(m, ir_select(u, of, cond, any(m, of), any(m, of)));
        }
    }
}

static void make_float(struct maker *m)
{
    struct ir_unit *u = m->bed->unit;
    enum ir_type type = IR_F32 + pick(m, 2), integer = IR_I32 + pick(m, 2);
    enum ir_rm rm = pick(m, 4) ? IR_RM_DYN : pick(m, IR_RM_RMM + 1);
    unsigned op = IR_FADD + pick(m, IR_UNBOX - IR_FADD + 1);

    if (op <= IR_FSQRT) {
        uint32_t b = op == IR_FSQRT ? IR_NONE : any(m, type);
        keep(m, ir_un(u, IR_FCANON, type, ir_fp(u, op, type, rm, any(m, type), b)));
    } else if (op == IR_FMA) {
        keep(m, ir_un(u, IR_FCANON, type, ir_fma(u, type, rm, pick(m, 4), any(m, type),
                                                 any(m, type), any(m, type))));
    } else if (op <= IR_FMAX || (op >= IR_FSGNJ && op <= IR_FSGNJX)) {
        keep(m, ir_fp(u, op, type, 0, any(m, type), any(m, type)));
    } else if (op == IR_FCMP) {
        keep(m, ir_fcmp(u, pick(m, 3), type, any(m, type), any(m, type)));
    } else if (op == IR_FCVTFF) {
        uint32_t v = ir_fcvt(u, op, type, 0, rm, false, any(m, type == IR_F32 ? IR_F64 : IR_F32));
        keep(m, ir_un(u, IR_FCANON, type, v));
    } else if (op == IR_FCVTFI) {
        keep(m, ir_fcvt(u, op, integer, type, rm, pick(m, 2), any(m, type)));
    } else if (op == IR_FCVTIF) {
        keep(m, ir_fcvt(u, op, type, integer, rm, pick(m, 2), any(m, integer)));
    } else if (op == IR_FBITS) {
        keep(m, ir_un(u, op, type, any(m, type == IR_F32 ? IR_I32 : IR_I64)));
    } else if (op == IR_BOX) {
        keep(m, ir_un(u, op, IR_F64, any(m, IR_F32)));
    } else if (op == IR_UNBOX) {
        keep(m, ir_un(u, op, IR_F32, any(m, IR_F64)));
    } else {
        keep(m, ir_un(u, op, type, any(m, type)));
    }
}

/* What a front end may ask of each vector operation. */
#define ANY (IR_V_HALF | IR_V_SCALAR)
#define FP  (ANY | IR_V_DN | IR_V_FZ)
static const struct vec_row {
    uint8_t op;
    uint8_t lanes;  /* mask */
    uint16_t flags; /* mask of enum ir_vec: any of them, but for HALF with SCALAR */
} vec_rows[] = {
    {IR_VMOV, 15, ANY}, {IR_VZEXT, 15, 0}, {IR_VGET, 15, IR_V_UNSIGNED}, {IR_VPUT, 15, 0},
    {IR_VDUP, 15, IR_V_HALF}, {IR_VLANE, 15, ANY}, {IR_VAND, 15, ANY}, {IR_VOR, 15, ANY},
    {IR_VXOR, 15, ANY}, {IR_VANDN, 15, ANY}, {IR_VADD, 15, ANY}, {IR_VSUB, 15, ANY},
    {IR_VMUL, 14, IR_V_HALF}, {IR_VMUL, 1, IR_V_HALF | IR_V_ALT}, {IR_VMIN, 7, ANY | IR_V_UNSIGNED},
    {IR_VMAX, 7, ANY | IR_V_UNSIGNED}, {IR_VCMPEQ, 15, ANY}, {IR_VCMPGT, 15, ANY | IR_V_UNSIGNED},
    {IR_VSHL, 15, ANY}, {IR_VSHR, 15, ANY}, {IR_VSAR, 15, ANY}, {IR_VABS, 15, ANY},
    {IR_VCNT, 1, IR_V_HALF}, {IR_VCLZ, 7, IR_V_HALF | IR_V_ALT}, {IR_VRBIT, 1, IR_V_HALF},
    {IR_VREV, 7, IR_V_HALF}, {IR_VZIP, 15, IR_V_HIGH}, {IR_VZIP, 7, IR_V_HIGH | IR_V_HALF},
    {IR_VUZP, 15, IR_V_HIGH}, {IR_VUZP, 7, IR_V_HIGH | IR_V_HALF}, {IR_VTRN, 15, IR_V_HIGH},
    {IR_VTRN, 7, IR_V_HIGH | IR_V_HALF}, {IR_VEXTR, 1, IR_V_HALF}, {IR_VTBL, 1, IR_V_HALF},
    {IR_VWIDEN, 7, IR_V_UNSIGNED | IR_V_HIGH},
    {IR_VHADD, 7, IR_V_HALF | IR_V_UNSIGNED | IR_V_ROUND},
    {IR_VHADD, 7, IR_V_HALF | IR_V_UNSIGNED | IR_V_ALT},
    {IR_VMULL, 7, IR_V_UNSIGNED | IR_V_HIGH}, {IR_VMULL, 1, IR_V_ALT | IR_V_HIGH},
    {IR_VDOT, 4, IR_V_HALF | IR_V_UNSIGNED}, {IR_VCRYPT, 1, 0},
    {IR_VNARROW, 7, IR_V_SCALAR | IR_V_SAT | IR_V_UNSIGNED | IR_V_ALT}, {IR_VQABS, 15, ANY},
    {IR_VQADD, 15, ANY | IR_V_UNSIGNED | IR_V_ALT}, {IR_VQSUB, 15, ANY | IR_V_UNSIGNED},
    {IR_VSHIFT, 15, ANY | IR_V_UNSIGNED | IR_V_ROUND | IR_V_SAT},
    {IR_VQDMULH, 6, ANY | IR_V_ROUND}, {IR_VQRDMLA, 6, ANY | IR_V_ALT},
    {IR_VQDMULL, 6, IR_V_SCALAR | IR_V_HIGH}, {IR_VFADD, 12, FP}, {IR_VFSUB, 12, FP},
    {IR_VFMUL, 12, FP | IR_V_ALT}, {IR_VFDIV, 12, FP}, {IR_VFSQRT, 12, FP},
    {IR_VFMIN, 12, FP | IR_V_ALT}, {IR_VFMAX, 12, FP | IR_V_ALT}, {IR_VFMA, 12, FP},
    {IR_VFCMP, 12, FP | IR_V_ALT}, {IR_VFNZCV, 12, IR_V_ALT | IR_V_FZ}, {IR_VFEST, 12, FP},
    {IR_VFSTEP, 12, FP | IR_V_ALT}, {IR_VFROUND, 12, FP | IR_V_ALT},
    {IR_VFCVT, 14, IR_V_SCALAR | IR_V_DN | IR_V_FZ | IR_V_AHP}, {IR_VFCVT, 14, IR_V_HIGH | IR_V_DN | IR_V_FZ},
    {IR_VFTOI, 12, FP | IR_V_UNSIGNED}, {IR_VITOF, 12, FP | IR_V_UNSIGNED},
    {IR_VFTOX, 12, IR_V_UNSIGNED | IR_V_FZ}, {IR_VXTOF, 12, IR_V_UNSIGNED | IR_V_FZ},
};
#undef ANY
#undef FP

static int64_t vec_imm(struct maker *m, unsigned op, unsigned lane, unsigned aux)
{
    switch (op) {
    case IR_VGET: case IR_VPUT: case IR_VLANE:
        return pick(m, 16u >> lane);
    case IR_VSHL: case IR_VSHR: case IR_VSAR:
        return pick(m, (8u << lane) + 1);
    case IR_VREV:
        return lane + 1 + pick(m, 3 - lane);
    case IR_VEXTR:
        return pick(m, aux & IR_V_HALF ? 8 : 16);
    case IR_VCRYPT:
        return pick(m, IR_CRYPT_COUNT);
    case IR_VFMA:
        return pick(m, 4);
    case IR_VFCMP:
        return pick(m, IR_VGT + 1);
    case IR_VFEST:
        return pick(m, IR_VEST_INT_ROOT + 1);
    case IR_VFCVT:
        return lane == 1 ? 2 + pick(m, 2) : lane == 2 ? 1 + 2 * pick(m, 2) : 2;
    case IR_VFTOI: case IR_VITOF: case IR_VFTOX: case IR_VXTOF:
        return pick(m, 2) ? pick(m, 65) : 0;
    default:
        return 0;
    }
}

static void make_vec(struct maker *m)
{
    struct ir_unit *u = m->bed->unit;
    const struct vec_row *row = &vec_rows[pick(m, G_N_ELEMENTS(vec_rows))];
    struct ir_insn insn = {.op = row->op, .type = IR_V128, .side = IR_NONE, .params = IR_NONE,
                           .arg = {IR_NONE, IR_NONE, IR_NONE, IR_NONE}};
    unsigned lane, aux;

    do
        lane = pick(m, 4);
    while (!(row->lanes >> lane & 1));
    do
        aux = (pick(m, 2) ? g_rand_int(m->rand) : 0) & row->flags;
    while ((aux & IR_V_HALF) && ((aux & IR_V_SCALAR) || (lane == 3 && row->op >= IR_VFADD)));
    if (row->op == IR_VMUL && lane == 0 && !(aux & IR_V_ALT) && pick(m, 2))
        aux |= IR_V_ALT;
    if (row->op == IR_VFROUND || row->op == IR_VFTOX || row->op == IR_VFTOI)
        aux |= pick(m, IR_RM_RMM + 1) << IR_V_RM_SHIFT;
    insn.imm = vec_imm(m, row->op, lane, aux);
    insn.aux = (uint16_t)(lane | aux);
    if (row->op == IR_VGET || row->op == IR_VFNZCV)
        insn.type = IR_I64;
    if (row->op == IR_VFTOX)
        insn.type = IR_I32 + (uint8_t)pick(m, 2);
    insn.from = row->op == IR_VXTOF ? IR_I32 + (uint8_t)pick(m, 2) : 0;
    for (unsigned i = 0; i < ir_ops[row->op].n_args; i++) {
        bool integer = row->op == IR_VZEXT || row->op == IR_VDUP || (row->op == IR_VPUT && i);
        insn.arg[i] = any(m, row->op == IR_VXTOF ? insn.from : integer ? IR_I64 : IR_V128);
    }
    uint32_t v = ir_append(u, &insn);
    keep(m, v);
    if (row->op == IR_VCRYPT && insn.imm == IR_AESE) {
        if (pick(m, 2))
            ir_set(u, any_pair(m), v);
        keep(m, ir_vec(u, IR_VCRYPT, 0, IR_AESMC, v, v, v));
    }
    if (!pick(m, 8))
        keep(m, ir_vec(u, IR_VZEXT, 3, 0, any(m, IR_F64), IR_NONE, IR_NONE));
}

/* Addresses come from slots 6 and 7, one of which may be bad. */
static void make_access(struct maker *m)
{
    struct ir_unit *u = m->bed->unit;
    unsigned kind = pick(m, 8), size = pick(m, 4);
    unsigned mem = size | (pick(m, 2) ? IR_MEM_SIGNED : 0) | (pick(m, 4) ? 0 : IR_MEM_ACQUIRE) |
                   (pick(m, 4) ? 0 : IR_MEM_RELEASE) | (pick(m, 4) ? 0 : IR_MEM_ALIGNED);
    enum ir_type type = size == 3 ? IR_I64 : IR_I32 + pick(m, 2);

    if (m->handle == IR_NONE || !pick(m, 3)) {
        uint32_t base = ir_get(u, IR_I64, 6 + pick(m, 2));
        m->handle_imm = (int64_t)pick(m, 3) * 8 - 8;
        m->handle_span = 16 + 8 * pick(m, 5);
        if (!pick(m, 4))
            base = ir_bini(u, IR_ADD, IR_I64, base, 16);
        m->handle = ir_tr(u, base, m->handle_imm, m->handle_span, true);
    }
    bool wide = kind < 5 && !pick(m, 3);
    int64_t imm = m->handle_imm + (int64_t)pick(m, m->handle_span - (wide ? 16 : 8) + 1);
    if (pick(m, 2))
        imm &= -8;
    if (imm < m->handle_imm)
        imm = m->handle_imm;
    if (wide) {
        type = IR_V128;
        mem = (mem & ~(unsigned)IR_MEM_SIZE) | 4;
    } else if (kind < 3 && size >= 2 && !pick(m, 3))
        type = size == 2 ? IR_F32 : IR_F64;
    if (kind < 3)
        keep(m, ir_load(u, type, mem, m->handle, imm));
    else if (kind < 5)
        ir_store(u, type, mem, m->handle, imm, any(m, type));
    else if (kind == 5)
        keep(m, ir_rmw(u, pick(m, IR_RMW_MAXU + 1), type, mem, m->handle, imm, any(m, type)));
    else if (kind == 6)
        keep(m, ir_cas(u, type, mem, m->handle, imm, any(m, type), any(m, type)));
    else
        keep(m, ir_sc(u, type, mem, m->handle, imm,
                      ir_bini(u, IR_AND, IR_I64, any(m, IR_I64), 1), any(m, type), any(m, type)));
}

static void make_call(struct maker *m)
{
    struct ir_unit *u = m->bed->unit;
    unsigned helper = pick(m, HELP_COUNT);
    uint32_t arg[4] = {any(m, IR_I64), IR_NONE, IR_NONE, IR_NONE};

    if (helper == HELP_TRAP) {
        ir_trap(u, helper, arg[0], 1 + pick(m, 127));
        return;
    }
    if (helper == HELP_FAULT && pick(m, 4))
        helper = HELP_MIX;
    for (unsigned i = 1; i < helpers[helper].n_args; i++)
        arg[i] = any(m, IR_I64);
    keep(m, ir_call(u, helper, helpers[helper].flags, IR_I64, arg));
}

static void make_some(struct maker *m, unsigned n)
{
    struct ir_unit *u = m->bed->unit;

    for (unsigned i = 0; i < n; i++) {
        unsigned what = pick(m, 20);
        ir_at(u, (int32_t)(0x10 + u->n % 1000 * 4), 4);
        if (what < 5)
            make_int(m);
        else if (what < 8)
            make_float(m);
        else if (what < 10)
            make_access(m);
        else if (what < 13)
            ir_set(u, any_int_slot(m), any(m, IR_I64));
        else if (what < 15)
            ir_set(u, any_float_slot(m), any(m, IR_F64));
        else if (what == 15)
            ir_set(u, any_pair(m), any(m, IR_V128));
        else if (what == 16 && !pick(m, 4))
            ir_set(u, any_pair(m) + pick(m, 2), any(m, IR_F64 - pick(m, 3) / 2 * 2));
        else if (what < 19)
            make_vec(m);
        else if (!pick(m, 3))
            make_call(m);
    }
}

static void make_exit(struct maker *m)
{
    struct ir_unit *u = m->bed->unit;

    switch (pick(m, 4)) {
    case 0:
        ir_exit_ind(u, pick(m, 8), any(m, IR_I64), 0x44);
        break;
    case 1:
        ir_exit_state(u);
        break;
    default:
        ir_exit(u, pick(m, 4), (int32_t)pick(m, 20000) - 10000, 0x1004);
    }
}

/* Blocks: 0 branches to 1 or 2; 1 goes to 3 with arguments, 3 may loop once; all values of block 0
 * may be used in the others. */
static void make_unit(struct maker *m)
{
    struct ir_unit *u = m->bed->unit;
    bool flat = pick(m, 2);

    begin(m->bed);
    memset(m->n, 0, sizeof(m->n));
    m->handle = IR_NONE;
    make_some(m, 1 + pick(m, 40));
    if (flat) {
        make_exit(m);
        return;
    }
    uint32_t left = ir_block_reserve(u), right = ir_block_reserve(u), join = ir_block_reserve(u);
    unsigned n[IR_V128 + 1];
    uint32_t cond = pick(m, 3) ? ir_cmp(u, pick(m, 10), IR_I64, any(m, IR_I64), any(m, IR_I64))
                               : ir_fcmp(u, pick(m, 3), IR_F64, any(m, IR_F64), any(m, IR_F64));
    uint32_t args[3] = {any(m, IR_I64), any(m, IR_F64), any(m, IR_F32)};
    memcpy(n, m->n, sizeof(n));
    ir_brif(u, cond, 0, pick(m, 2) ? left : right, pick(m, 4) ? right : left);
    ir_block_start(u, left);
    m->handle = IR_NONE;
    make_some(m, pick(m, 10));
    ir_br(u, join, args, 3);
    memcpy(m->n, n, sizeof(n));
    ir_block_start(u, right);
    m->handle = IR_NONE;
    make_some(m, pick(m, 10));
    args[0] = any(m, IR_I64);
    ir_br(u, join, args, 3);
    memcpy(m->n, n, sizeof(n));
    ir_block_start(u, join);
    m->handle = IR_NONE;
    keep(m, ir_param(u, IR_I64));
    keep(m, ir_param(u, IR_F64));
    keep(m, ir_param(u, IR_F32));
    make_some(m, pick(m, 10));
    make_exit(m);
}

static void random_start(struct maker *m, struct outcome *start)
{
    for (unsigned i = 0; i < XL_SLOTS; i++) {
        bool is_float = (i >= 32 && i < 64) || (i >= 66 && pick(m, 2));
        uint64_t v = is_float ? (pick(m, 2) ? doubles[pick(m, G_N_ELEMENTS(doubles))]
                                            : singles[pick(m, G_N_ELEMENTS(singles))])
                              : ints[pick(m, G_N_ELEMENTS(ints))];
        if (!pick(m, 4))
            v = (uint64_t)g_rand_int(m->rand) << 32 | g_rand_int(m->rand);
        start->slots[i] = v;
    }
    for (unsigned i = 6; i < 8; i++) {
        static const uint64_t bases[] = {DATA + 8, DATA + 64, DATA + 4088, DATA + 4072, DATA + 5000,
                                         DATA + 1001, DATA + 8180, 8};
        start->slots[i] = bases[pick(m, i == 6 ? 5 : 8)];
    }
    for (unsigned i = 0; i < 8192; i++)
        start->data[i] = (uint8_t)g_rand_int(m->rand);
    start->rm = (uint8_t)(IR_RM_RNE + pick(m, 4));
    start->flags = (uint8_t)(pick(m, 4) ? 0 : pick(m, 32));
}

static const struct {
    unsigned features;
    bool wide;
} beds[] = {
    {BACK_ALL, false}, {BACK_BMI, false}, {BACK_FMA | BACK_CRYPTO, false}, {0, false},
    {BACK_ALL, true}, {0, true},
};

START_TEST(random_units)
{
    struct bed bed;
    const char *rounds = g_getenv("VMD_TEST_ROUNDS"), *seed = g_getenv("VMD_TEST_SEED");
    unsigned n = rounds ? (unsigned)atoi(rounds) : 2000;
    struct maker m = {.bed = &bed};
    g_autofree struct outcome *start = g_new0(struct outcome, 1);

    setup_wide(&bed, beds[_i].features, beds[_i].wide);
    for (unsigned i = 0; i < n; i++) {
        unsigned s = (seed ? (unsigned)atoi(seed) : 1) * 1000003 + i;
        g_autofree char *name = g_strdup_printf("round %u", i);
        m.rand = g_rand_new_with_seed(s);
        make_unit(&m);
        struct cache_unit *code = compile(&bed);
        for (unsigned k = 0; k < 6 && code; k++) {
            random_start(&m, start);
            compare(&bed, code, start, name);
        }
        g_rand_free(m.rand);
    }
    teardown(&bed);
}
END_TEST

/* One vector operation after another, each alone, of what is pinned and what is not. */
START_TEST(vector_ops)
{
    struct bed bed;
    struct maker m = {.bed = &bed};
    g_autofree struct outcome *start = g_new0(struct outcome, 1);

    setup_wide(&bed, features[_i], true);
    m.rand = g_rand_new_with_seed(1);
    for (unsigned i = 0; i < 3000; i++) {
        g_autofree char *name = g_strdup_printf("operation %u", i);
        begin(&bed);
        memset(m.n, 0, sizeof(m.n));
        make_vec(&m);
        uint32_t v = bed.unit->n - 1;
        enum ir_type type = ir_result_type(&bed.unit->insn[v]);
        if (type == IR_I32)
            v = ir_ext(bed.unit, IR_SEXT, IR_I64, v, 32);
        ir_set(bed.unit, type == IR_V128 ? any_pair(&m) : any_int_slot(&m), v);
        ir_exit(bed.unit, 0, 0x20, 0);
        struct cache_unit *code = compile(&bed);
        for (unsigned k = 0; k < 12; k++) {
            random_start(&m, start);
            compare(&bed, code, start, name);
        }
    }
    g_rand_free(m.rand);
    teardown(&bed);
}
END_TEST

/* A value whose only home is a slot, SET into that slot at its last use. */
START_TEST(set_to_what_is_there)
{
    struct bed bed;
    g_autofree struct outcome *start = g_new0(struct outcome, 1);

    setup(&bed, features[_i]);
    for (unsigned slot = 1; slot < 64; slot++) {
        struct ir_unit *u = bed.unit;
        begin(&bed);
        uint32_t v = ir_get(u, slot < 32 ? IR_I64 : IR_F64, slot);
        struct ir_insn set = {.op = IR_SET, .type = u->insn[v].type, .aux = (uint16_t)slot,
                              .arg = {v, IR_NONE, IR_NONE, IR_NONE}, .side = IR_NONE,
                              .params = IR_NONE};
        ir_append(u, &set);
        ir_exit(u, 0, 0x20, 0);
        struct cache_unit *code = compile(&bed);
        start->rm = IR_RM_RNE;
        start->slots[slot] = ints[slot % G_N_ELEMENTS(ints)];
        compare(&bed, code, start, "set to what is there");
    }
    teardown(&bed);
}
END_TEST

/* --- edges -------------------------------------------------------------------------------------- */

enum { LOOPS = 10 };

/* Adds 1 to slot SLOT and goes on; the unit that is made at GPA. */
static struct cache_unit *step(struct bed *bed, gpa_t gpa, unsigned slot, unsigned flags,
                               int32_t disp, int32_t ret, uint32_t *link)
{
    struct ir_unit *u = bed->unit;

    begin(bed);
    ir_set(u, slot, ir_bini(u, IR_ADD, IR_I64, ir_get(u, IR_I64, slot), 1));
    ir_exit(u, flags, disp, ret);
    return compile_at(bed, gpa, link);
}

static void run_from(struct bed *bed, struct cache_unit *unit, gva_t page, struct back_exit *out)
{
    xl_code_map(bed->cpu, unit->page_id, page, false);
    bed->cpu->pc_page = page;
    *out = back_enter(bed->back, bed->cpu, unit);
}

START_TEST(edge_in_page)
{
    struct bed bed;
    struct back_exit out;
    uint32_t link_a, link_b;

    setup(&bed, BACK_ALL);
    struct cache_unit *a = step(&bed, RAM + 0x10, 10, 0, 0x40, 0, &link_a);
    struct cache_unit *b = step(&bed, RAM + 0x40, 1, IR_EXIT_POLL, 0x1010, 0, &link_b);

    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.leave, BACK_LEAVE_MISS);
    ck_assert_uint_eq(out.link, link_a);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x40);
    cache_link(bed.user, (uint32_t)out.link, b);
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.link, link_b);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x1010);
    ck_assert_uint_eq(bed.cpu->slots[10], 2);
    ck_assert_uint_eq(bed.cpu->slots[1], 1);
    bed.cpu->request = XL_REQ_KICK; /* b polls */
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.leave, BACK_LEAVE_POLL);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x1010);
    bed.cpu->request = 0;
    cache_invalidate_page(bed.cache, RAM);
    a = step(&bed, RAM + 0x10, 10, 0, 0x40, 0, &link_a);
    run_from(&bed, a, PAGE, &out); /* b is gone */
    ck_assert_uint_eq(out.link, link_a);
    teardown(&bed);
}
END_TEST

/* Both ways of a branch whose exits are linked by the conditional jump itself. */
START_TEST(edge_of_condition)
{
    static const struct {
        unsigned then_flags, else_flags;
        int32_t then_disp, else_disp;
    } rows[] = {
        {0, 0, 0x40, 0x80}, {IR_EXIT_POLL, 0, 0x40, 0x80}, {0, IR_EXIT_POLL, 0x40, 0x80},
        {0, 0, 0x1040, 0x80}, {0, 0, 0x40, 0x1080}, {IR_EXIT_POLL, IR_EXIT_POLL, 0x40, 0x80},
    };
    struct bed bed;
    struct back_exit out;

    setup(&bed, BACK_ALL);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct ir_unit *u = bed.unit;
        gpa_t at = RAM + 0x10000 * (i + 1);
        begin(&bed);
        uint32_t cond = ir_cmp(u, IR_LTS, IR_I64, ir_get(u, IR_I64, 10), ir_get(u, IR_I64, 1));
        uint32_t then_block = ir_block_reserve(u), else_block = ir_block_reserve(u);
        ir_brif(u, cond, 0, then_block, else_block);
        ir_block_start(u, then_block);
        ir_exit(u, rows[i].then_flags, rows[i].then_disp, 0);
        ir_block_start(u, else_block);
        ir_exit(u, rows[i].else_flags, rows[i].else_disp, 0);
        struct cache_unit *code = compile_at(&bed, at + 0x10, NULL);
        struct cache_unit *after[2];
        after[0] = step(&bed, at + (gpa_t)rows[i].then_disp, 2, 0, 0x2000, 0, NULL);
        after[1] = step(&bed, at + (gpa_t)rows[i].else_disp, 3, 0, 0x3000, 0, NULL);
        for (unsigned round = 0; round < 2; round++) { /* before it is linked, and then */
            for (unsigned way = 0; way < 2; way++) {
                bed.cpu->slots[10] = way ? 5 : UINT64_MAX;
                bed.cpu->slots[1] = 5;
                bed.cpu->slots[2 + way] = 0;
                gva_t to = PAGE + (gva_t)(way ? rows[i].else_disp : rows[i].then_disp);
                xl_code_map(bed.cpu, after[way]->page_id, to & ~UINT64_C(4095), false);
                run_from(&bed, code, PAGE, &out);
                ck_assert_uint_eq(out.leave, BACK_LEAVE_MISS);
                ck_assert_msg(round || bed.cpu->pc == to, "row %u, way %u", i, way);
                ck_assert_uint_eq(bed.cpu->slots[2 + way], round);
                if (!round)
                    cache_link(bed.user, (uint32_t)out.link, after[way]);
            }
        }
    }
    teardown(&bed);
}
END_TEST

START_TEST(edge_across_pages)
{
    struct bed bed;
    struct back_exit out;
    uint32_t link;

    setup(&bed, BACK_ALL);
    struct cache_unit *a = step(&bed, RAM + 0x10, 10, 0, 0x1ffe, 0, &link);
    struct cache_unit *b = step(&bed, RAM + 0x9ffe, 11, 0, 0x10, 0, NULL);
    /* The same page elsewhere: where the vCPU last found it is another address. */
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.link, link);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x1ffe);
    cache_link(bed.user, link, b);
    xl_code_map(bed.cpu, b->page_id, PAGE + 0x5000, false);
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.leave, BACK_LEAVE_MISS);
    ck_assert_uint_eq(out.link, CACHE_NO_LINK);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x1ffe);
    ck_assert_uint_eq(bed.cpu->slots[11], 0);
    xl_code_map(bed.cpu, b->page_id, PAGE + 0x1000, true);
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(bed.cpu->slots[11], 1);
    ck_assert_uint_eq(bed.cpu->pc_page, PAGE + 0x1000);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x1010);
    xl_code_unmap(bed.cpu, XL_TLB_NONE, false); /* it is global */
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(bed.cpu->slots[11], 2);
    xl_code_unmap(bed.cpu, PAGE + 0x1000, true);
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.link, CACHE_NO_LINK);
    ck_assert_uint_eq(bed.cpu->slots[11], 2);
    teardown(&bed);
}
END_TEST

START_TEST(edge_indirect)
{
    struct bed bed;
    struct back_exit out;
    struct ir_unit *u;

    setup(&bed, BACK_ALL);
    u = bed.unit;
    begin(&bed);
    ir_exit_ind(u, IR_EXIT_POLL, ir_get(u, IR_I64, 12), 0);
    struct cache_unit *a = compile_at(&bed, RAM, NULL);
    struct cache_unit *b = step(&bed, RAM + 0x5004, 10, 0, 0, 0, NULL);
    gva_t target = PAGE + 0x77004;
    bed.cpu->slots[12] = target;
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.leave, BACK_LEAVE_MISS);
    ck_assert_uint_eq(out.link, CACHE_NO_LINK);
    ck_assert_uint_eq(bed.cpu->pc, target);
    cache_remember(bed.user, target, b);
    xl_code_map(bed.cpu, b->page_id, target & ~UINT64_C(4095), false);
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(bed.cpu->slots[10], 1);
    bed.cpu->jump_salt ^= 2; /* another mode or space */
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(bed.cpu->slots[10], 1);
    bed.cpu->jump_salt ^= 2;
    bed.cpu->request = XL_REQ_IRQ;
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.leave, BACK_LEAVE_POLL);
    ck_assert_uint_eq(bed.cpu->pc, target);
    bed.cpu->request = 0;
    cache_invalidate_page(bed.cache, RAM + 0x5000);
    cache_safepoint(bed.user);
    run_from(&bed, a, PAGE, &out);
    ck_assert_uint_eq(out.leave, BACK_LEAVE_MISS);
    ck_assert_uint_eq(bed.cpu->slots[10], 1);
    teardown(&bed);
}
END_TEST

START_TEST(edge_call_and_return)
{
    struct bed bed;
    struct back_exit out;
    uint32_t call_link;
    struct ir_unit *u;

    setup(&bed, BACK_ALL);
    u = bed.unit;
    /* caller at +0x10 calls +0x2000, returns to +0x14 */
    begin(&bed);
    ir_set(u, 1, ir_pcrel(u, 0x14));
    ir_exit(u, IR_EXIT_CALL, 0x2000, 0x14);
    struct cache_unit *caller = compile_at(&bed, RAM + 0x10, &call_link);
    struct cache_unit *after = step(&bed, RAM + 0x14, 13, 0, 0x18, 0, NULL);
    begin(&bed);
    ir_set(u, 14, ir_bini(u, IR_ADD, IR_I64, ir_get(u, IR_I64, 14), 1));
    ir_exit_ind(u, IR_EXIT_POLL | IR_EXIT_RETURN, ir_get(u, IR_I64, 1), 0);
    struct cache_unit *callee = compile_at(&bed, RAM + 0x2000, NULL);

    run_from(&bed, caller, PAGE, &out);
    ck_assert_uint_eq(out.link, call_link);
    cache_link(bed.user, call_link, callee);
    xl_code_map(bed.cpu, callee->page_id, PAGE + 0x2000, false);
    run_from(&bed, caller, PAGE, &out);
    ck_assert_uint_eq(bed.cpu->slots[14], 1);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x14); /* the landing is an edge of its own */
    ck_assert_uint_ne(out.link, CACHE_NO_LINK);
    ck_assert_uint_ne(out.link, call_link);
    cache_link(bed.user, (uint32_t)out.link, after);
    for (unsigned i = 0; i < LOOPS; i++)
        run_from(&bed, caller, PAGE, &out);
    ck_assert_uint_eq(bed.cpu->slots[13], LOOPS);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x18);
    ck_assert_uint_eq(bed.cpu->pc_page, PAGE);
    memset(bed.cpu->ras, 0, sizeof(bed.cpu->ras)); /* the first run left an entry */
    bed.cpu->slots[1] = PAGE + 0x14; /* nobody called: by way of the jump cache */
    run_from(&bed, callee, PAGE + 0x2000, &out);
    ck_assert_uint_eq(out.link, CACHE_NO_LINK);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0x14);
    cache_remember(bed.user, PAGE + 0x14, after);
    run_from(&bed, callee, PAGE + 0x2000, &out);
    ck_assert_uint_eq(bed.cpu->slots[13], LOOPS + 1);
    teardown(&bed);
}
END_TEST

/* A hundred calls deep: the return stack forgets the oldest, and nothing else happens. */
START_TEST(deep_calls)
{
    struct bed bed;
    struct back_exit out;

    setup(&bed, BACK_ALL);
    struct cache_unit *unit = step(&bed, RAM, 10, IR_EXIT_CALL, 0, 8, NULL);
    for (unsigned i = 0; i < 100; i++)
        run_from(&bed, unit, PAGE, &out);
    ck_assert_uint_eq(bed.cpu->ras_top % sizeof(struct xl_ras), 0);
    ck_assert_uint_lt(bed.cpu->ras_top, sizeof(bed.cpu->ras));
    ck_assert_uint_eq(bed.cpu->slots[10], 100);
    teardown(&bed);
}
END_TEST

START_TEST(fault_says_where)
{
    struct bed bed;
    struct back_exit out;
    struct ir_unit *u;

    setup(&bed, BACK_ALL);
    u = bed.unit;
    begin(&bed);
    ir_set(u, 10, ir_const(u, IR_I64, 5));
    ir_at(u, 0xffe, 2);
    uint32_t h = ir_tr(u, ir_const(u, IR_I64, (int64_t)MISS), 0, 8, true);
    ir_set(u, 10, ir_load(u, IR_I64, 3, h, 0));
    ir_exit(u, 0, 0, 0);
    run_from(&bed, compile_at(&bed, RAM, NULL), PAGE, &out);
    ck_assert_uint_eq(out.leave, BACK_LEAVE_FAULT);
    ck_assert_uint_eq(bed.cpu->pc, PAGE + 0xffe);
    ck_assert_uint_eq(bed.cpu->slots[10], 5);
    ck_assert_uint_eq(bed.cpu->fault, CAUSE);
    ck_assert_uint_eq(bed.cpu->fault_value, MISS);
    teardown(&bed);
}
END_TEST

/* Too much for a unit is said, not done; what comes after works. */
START_TEST(too_big)
{
    struct bed bed;
    struct ir_unit *u;
    struct cache_place place;

    setup(&bed, BACK_ALL);
    u = bed.unit;
    begin(&bed);
    for (unsigned i = 0; i < 4000; i++) {
        uint32_t h = ir_tr(u, ir_get(u, IR_I64, 6), 8 * i, 8, true);
        ir_store(u, IR_I64, 3, h, 8 * i, ir_const(u, IR_I64, i));
    }
    ir_exit(u, 0, 0, 0);
    ck_assert_int_eq(cache_begin(bed.user, RAM, CACHE_NO_PAGE, MODE, &place), 0);
    ck_assert_int_eq(back_compile(bed.compiler, u, &place), -E2BIG);
    begin(&bed);
    ir_exit(u, 0, 0, 0);
    ck_assert_int_eq(back_compile(bed.compiler, u, &place), 0);
    ck_assert_ptr_nonnull(cache_commit(bed.user, &place));
    teardown(&bed);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("back_x86_64");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, integer_ops, 0, G_N_ELEMENTS(features));
    tcase_add_loop_test(tc, float_ops, 0, G_N_ELEMENTS(features));
    tcase_add_loop_test(tc, set_to_what_is_there, 0, G_N_ELEMENTS(features));
    tcase_add_test(tc, edge_in_page);
    tcase_add_test(tc, edge_of_condition);
    tcase_add_test(tc, edge_across_pages);
    tcase_add_test(tc, edge_indirect);
    tcase_add_test(tc, edge_call_and_return);
    tcase_add_test(tc, deep_calls);
    tcase_add_test(tc, fault_says_where);
    tcase_add_test(tc, too_big);
    suite_add_tcase(s, tc);
    tc = tcase_create("random");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, vector_ops, 0, G_N_ELEMENTS(features));
    tcase_add_loop_test(tc, random_units, 0, G_N_ELEMENTS(beds));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
