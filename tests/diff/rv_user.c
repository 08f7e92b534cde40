/*
 * tests/diff/rv_user.c: the smallest world in which a unit can run.
 */
#include "tests/diff/rv_user.h"
#include "xlate/back/interp/interp.h"
#include "xlate/front/riscv64/front.h"
#include "xlate/front/riscv64/rv_helpers.h"
#include "xlate/front/riscv64/rv_mode.h"
#include "xlate/front/riscv64/rv_slots.h"
#include "xlate/ir/eval.h"

enum { FAULT = 1, A0 = 10, A1 = 11, A2 = 12, A7 = 17, MAX_UNITS = 50 * 1000 * 1000 };

struct user {
    struct xl_cpu cpu; /* first */
    const struct rv_program *program;
    uint8_t *memory;
    GByteArray *output;
    bool ended;
    uint32_t frm;
};

static struct user *user_of(struct xl_cpu *cpu)
{
    return (struct user *)cpu;
}

/* --- memory ----------------------------------------------------------------------------------- */

static uint8_t *at(struct xl_cpu *cpu, gva_t va, uint32_t mem)
{
    struct user *u = user_of(cpu);
    uint64_t offset = va - u->program->base, size = 1u << (mem & IR_MEM_SIZE);

    if (offset > u->program->size - size || (mem & IR_MEM_ALIGNED && va & (size - 1))) {
        cpu->fault = FAULT;
        cpu->fault_value = va;
        return NULL;
    }
    return u->memory + offset;
}

static uint64_t extend(uint64_t value, uint32_t mem)
{
    unsigned drop = 64 - (8u << (mem & IR_MEM_SIZE));

    value <<= drop;
    return mem & IR_MEM_SIGNED ? (uint64_t)((int64_t)value >> drop) : value >> drop;
}

static uint64_t load(struct xl_cpu *cpu, gva_t va, uint32_t mem)
{
    const uint8_t *p = at(cpu, va, mem);
    uint64_t value = 0;

    if (p)
        memcpy(&value, p, 1u << (mem & IR_MEM_SIZE));
    return extend(value, mem);
}

static void store(struct xl_cpu *cpu, gva_t va, uint64_t value, uint32_t mem)
{
    uint8_t *p = at(cpu, va, mem);

    if (p)
        memcpy(p, &value, 1u << (mem & IR_MEM_SIZE));
}

static uint64_t rmw(struct xl_cpu *cpu, gva_t va, uint64_t operand, uint32_t mem, uint32_t op)
{
    uint64_t old = load(cpu, va, mem);

    if (!cpu->fault)
        store(cpu, va, ir_eval_rmw(op, mem & IR_MEM_SIZE, old, operand), mem);
    return old;
}

static uint64_t cas(struct xl_cpu *cpu, gva_t va, uint64_t expected, uint64_t desired, uint32_t mem)
{
    uint64_t old = load(cpu, va, mem);

    if (!cpu->fault && old == extend(expected, mem))
        store(cpu, va, desired, mem);
    return old;
}

static uint64_t sc(struct xl_cpu *cpu, gva_t va, uint64_t condition, uint64_t expected,
                   uint64_t desired, uint32_t mem)
{
    uint64_t old = load(cpu, va, mem);

    if (cpu->fault || !condition || old != extend(expected, mem))
        return 1;
    store(cpu, va, desired, mem);
    return 0;
}

static const struct back_slow slow = {load, store, rmw, cas, sc};

/* --- helpers ---------------------------------------------------------------------------------- */

static void set_mode(struct user *u)
{
    u->cpu.mode = RV_MODE(RV_TLB_U, RV_PRIV_U, RV_FS_DIRTY,
                          u->frm < 4 ? RV_FRM_HOST : u->frm == 4 ? RV_FRM_RMM : RV_FRM_INVALID);
    u->cpu.fp_rm = u->frm < 4 ? IR_RM_RNE + u->frm : IR_RM_RNE;
}

static uint64_t fault(struct xl_cpu *cpu)
{
    cpu->fault = FAULT;
    cpu->fault_value = cpu->pc;
    return 0;
}

/* write and exit. */
static uint64_t ecall(struct xl_cpu *cpu)
{
    struct user *u = user_of(cpu);
    uint64_t *x = cpu->slots;

    cpu->pc += 4;
    if (x[A7] == 93) {
        u->ended = true;
    } else if (x[A7] == 64 && x[A1] - u->program->base <= u->program->size &&
               x[A2] <= u->program->size - (x[A1] - u->program->base)) {
        g_byte_array_append(u->output, u->memory + (x[A1] - u->program->base), x[A2]);
        x[A0] = x[A2];
    } else {
        return fault(cpu);
    }
    return 0;
}

static uint64_t fcsr_read(struct xl_cpu *cpu, uint64_t csr)
{
    uint64_t frm = user_of(cpu)->frm;

    return csr == RV_CSR_FFLAGS ? cpu->fp_flags : csr == RV_CSR_FRM ? frm : frm << 5 | cpu->fp_flags;
}

static uint64_t fcsr_write(struct xl_cpu *cpu, uint64_t csr, uint64_t operand, uint64_t op)
{
    struct user *u = user_of(cpu);
    uint64_t old = fcsr_read(cpu, csr);
    uint64_t value = op == RV_CSR_SWAP ? operand : op == RV_CSR_SET ? old | operand : old & ~operand;

    if (csr != RV_CSR_FRM)
        cpu->fp_flags = value & 31;
    if (csr != RV_CSR_FFLAGS) {
        u->frm = (csr == RV_CSR_FRM ? value : value >> 5) & 7;
        set_mode(u);
        cpu->pc += 4;
    }
    return old;
}

/* Counters, of which only that they are not 0 is compared. */
static uint64_t csr_read(struct xl_cpu *cpu, uint64_t csr, uint64_t insn)
{
    return csr - 0xc00 < 3 ? 1 : fault(cpu);
}

static uint64_t count_read(struct xl_cpu *cpu, uint64_t csr, uint64_t insn)
{
    cpu->pc += 4;
    return csr_read(cpu, csr, insn);
}

static uint64_t fence_i(struct xl_cpu *cpu)
{
    cpu->pc += 4;
    return 0;
}

static uint64_t nothing(struct xl_cpu *cpu)
{
    return 0;
}

#define FN(f) ((void (*)(void))(f))

static void fill_helpers(struct ir_helper *table)
{
#define RV_HELPER(NAME, name, n_args, result, flags) \
    table[RV_HELPER_##NAME] = (struct ir_helper){#name, FN(fault), n_args, result, flags};
#include "xlate/front/riscv64/rv_helpers.inc"
#undef RV_HELPER
    table[RV_HELPER_ECALL].fn = FN(ecall);
    table[RV_HELPER_FCSR_READ].fn = FN(fcsr_read);
    table[RV_HELPER_FCSR_WRITE].fn = FN(fcsr_write);
    table[RV_HELPER_FFLAGS_WRITE].fn = FN(fcsr_write);
    table[RV_HELPER_CSR_READ].fn = FN(csr_read);
    table[RV_HELPER_COUNT_READ].fn = FN(count_read);
    table[RV_HELPER_FENCE_I].fn = FN(fence_i);
    table[RV_HELPER_PAUSE].fn = FN(nothing);
    table[RV_HELPER_COPY_LOOP].fn = FN(nothing);
}

/* --- running ---------------------------------------------------------------------------------- */

/* The unit for (pc, mode), made when it is met first. */
static struct ir_unit *unit_for(struct user *u, GHashTable *units, const struct ir_helper *helpers,
                                GError **err)
{
    uint64_t pc = u->cpu.pc, offset = pc - u->program->base;
    uint64_t key = pc | (uint64_t)u->cpu.mode << 40;
    struct ir_unit *unit = g_hash_table_lookup(units, &key);
    struct xl_source source = {.code = u->memory + offset, .start = pc & 4095, .mode = u->cpu.mode,
                               .max_insns = 64};

    if (unit)
        return unit;
    if (offset >= u->program->size) {
        vmd_fail(err, VMD_ERROR_INTERNAL, "jumped to %#" G_GINT64_MODIFIER "x", pc);
        return NULL;
    }
    source.length = MIN(4096 - (pc & 4095) + 2, u->program->size - offset);
    unit = ir_unit_new();
    xl_front_riscv64.translate(&source, unit);
    if (!ir_verify(unit, helpers, RV_HELPER_COUNT, err)) {
        ir_unit_free(unit);
        return NULL;
    }
    g_hash_table_insert(units, g_memdup2(&key, sizeof(key)), unit);
    return unit;
}

static bool run(struct user *u, struct interp *interp, const struct ir_helper *helpers,
                GHashTable *units, GError **err)
{
    for (unsigned n = 0; n < MAX_UNITS; n++) {
        struct ir_unit *unit = unit_for(u, units, helpers, err);

        if (!unit)
            return false;
        u->cpu.pc_page = u->cpu.pc & ~UINT64_C(4095);
        if (interp_run(interp, &u->cpu, unit) == BACK_LEAVE_FAULT)
            return vmd_fail(err, VMD_ERROR_INTERNAL, "a fault at %#" G_GINT64_MODIFIER "x of %#"
                            G_GINT64_MODIFIER "x", u->cpu.pc, u->cpu.fault_value);
        if (u->ended)
            return true;
    }
    return vmd_fail(err, VMD_ERROR_TIMEOUT, "does not end; at %#" G_GINT64_MODIFIER "x", u->cpu.pc);
}

static void free_unit(gpointer unit)
{
    ir_unit_free(unit);
}

bool rv_user_run(const struct rv_program *program, GByteArray *output, GError **err)
{
    struct user *u = g_malloc0(sizeof(*u));
    struct ir_helper helpers[RV_HELPER_COUNT];
    struct interp_config config = {helpers, RV_HELPER_COUNT, slow};
    GHashTable *units = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, free_unit);

    fill_helpers(helpers);
    struct interp *interp = interp_new(&config);
    u->program = program;
    u->output = output;
    u->memory = g_malloc0(program->size);
    memcpy(u->memory, program->image, program->size);
    u->cpu.pc = program->entry;
    u->cpu.slots[RV_SLOT_RES_TAG] = RV_RES_NONE;
    set_mode(u);
    bool ok = run(u, interp, helpers, units, err);
    g_hash_table_destroy(units);
    interp_free(interp);
    g_free(u->memory);
    g_free(u);
    return ok;
}
