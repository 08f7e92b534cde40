/*
 * xlate/ir/print.c: a unit as text, for people and golden tests.
 *
 *   b0:
 *     v0 = get.i64 a0
 *     v1 = tr v0 +8 8
 *     v2 = load.i64 v1 +8 s32 ; pc 0x10
 *     exit 0x14
 */
#include "xlate/ir/ir.h"

static const char *const types[] = {
    [IR_VOID] = "void", [IR_I32] = "i32", [IR_I64] = "i64",
    [IR_F32] = "f32",   [IR_F64] = "f64", [IR_HANDLE] = "handle", [IR_V128] = "v128",
};
static const char *const conds[] = {"eq", "ne", "lts", "ges", "ltu", "geu", "gts", "les", "gtu", "leu"};
static const char *const fconds[] = {"eq", "lt", "le"};
static const char *const rmws[] = {"swap", "add", "and", "or", "xor", "mins", "maxs", "minu", "maxu"};
static const char *const rms[] = {"dyn", "rne", "rtz", "rdn", "rup", "rmm"};

static const char *name_of(const char *const *names, size_t n, unsigned i)
{
    return i < n ? names[i] : "?";
}
#define NAME(names, i) name_of(names, G_N_ELEMENTS(names), i)

static void print_offset(GString *out, int64_t imm)
{
    if (imm)
        g_string_append_printf(out, " %+" G_GINT64_FORMAT, imm);
}

static void print_mem(GString *out, const struct ir_insn *insn)
{
    print_offset(out, insn->imm);
    g_string_append_printf(out, " %c%u", insn->mem & IR_MEM_SIGNED ? 's' : 'u',
                           8u << (insn->mem & IR_MEM_SIZE));
    if (insn->mem & IR_MEM_ACQUIRE)
        g_string_append(out, " acquire");
    if (insn->mem & IR_MEM_RELEASE)
        g_string_append(out, " release");
    if (insn->mem & IR_MEM_ALIGNED)
        g_string_append(out, " aligned");
    if (insn->mem & IR_MEM_RESERVE)
        g_string_append(out, " reserve");
    if (insn->mem & IR_MEM_USER)
        g_string_append(out, " user");
}

static void print_slot(GString *out, unsigned slot, const char *const *slot_names)
{
    if (slot_names)
        g_string_append_printf(out, " %s", slot_names[slot]);
    else
        g_string_append_printf(out, " s%u", slot);
}

static void print_exit(GString *out, const struct ir_insn *insn)
{
    if (insn->op == IR_EXIT)
        g_string_append_printf(out, " %#x", insn->disp);
    if (insn->aux & IR_EXIT_CALL)
        g_string_append_printf(out, " call %#x", insn->ret);
    if (insn->aux & IR_EXIT_RETURN)
        g_string_append(out, " return");
    if (insn->aux & IR_EXIT_POLL)
        g_string_append(out, " poll");
}

static void print_branch(const struct ir_unit *unit, GString *out, const struct ir_insn *insn)
{
    if (insn->op == IR_BRIF) {
        g_string_append_printf(out, " b%u b%u%s", insn->block[0], insn->block[1],
                               insn->aux == 1 ? " likely" : insn->aux == 2 ? " unlikely" : "");
        return;
    }
    g_string_append_printf(out, " b%u", insn->block[0]);
    for (uint32_t i = 0; insn->params != IR_NONE && i < unit->block[insn->block[0]].n_params; i++)
        g_string_append_printf(out, " v%u", unit->param[insn->params + i]);
}

static void print_vec(GString *out, const struct ir_insn *insn)
{
    static const struct {
        unsigned flag;
        const char *text;
    } flags[] = {
        {IR_V_SCALAR, "scalar"}, {IR_V_HALF, "half"}, {IR_V_UNSIGNED, "unsigned"},
        {IR_V_HIGH, "high"}, {IR_V_ROUND, "round"}, {IR_V_SAT, "sat"}, {IR_V_ALT, "alt"},
        {IR_V_DN, "dn"}, {IR_V_FZ, "fz"}, {IR_V_AHP, "ahp"},
    };

    print_offset(out, insn->imm);
    g_string_append_printf(out, " x%u", 8u << (insn->aux & IR_V_LANE));
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++)
        if (insn->aux & flags[i].flag)
            g_string_append_printf(out, " %s", flags[i].text);
    if (ir_ops[insn->op].flags & IR_F_FPENV)
        g_string_append_printf(out, " %s", NAME(rms, (insn->aux & IR_V_RM) >> IR_V_RM_SHIFT));
}

/* What stands after the arguments. */
static void print_rest(const struct ir_unit *unit, GString *out, const struct ir_insn *insn)
{
    if (ir_is_vec(insn->op)) {
        print_vec(out, insn);
        return;
    }
    switch (insn->op) {
    case IR_CONST:
        g_string_append_printf(out, " %#" G_GINT64_MODIFIER "x", insn->imm);
        break;
    case IR_PCREL:
        g_string_append_printf(out, " %#" G_GINT64_MODIFIER "x", insn->imm);
        break;
    case IR_SEXT:
    case IR_ZEXT:
        g_string_append_printf(out, " %" G_GINT64_FORMAT, insn->imm);
        break;
    case IR_TR:
        print_offset(out, insn->imm);
        g_string_append_printf(out, " %u%s", insn->aux, insn->mem & IR_MEM_WRITE ? " write" : "");
        if (insn->mem & IR_MEM_USER)
            g_string_append(out, " user");
        break;
    case IR_LOAD:
    case IR_STORE:
    case IR_RMW:
    case IR_CAS:
    case IR_SC:
        print_mem(out, insn);
        break;
    case IR_TRAP:
        g_string_append_printf(out, " %#" G_GINT64_MODIFIER "x", insn->imm);
        break;
    case IR_FENCE:
        g_string_append_printf(out, " %#x", insn->aux);
        break;
    case IR_FMA:
        g_string_append_printf(out, "%s%s", insn->imm & IR_FMA_NEG_PRODUCT ? " -product" : "",
                               insn->imm & IR_FMA_NEG_ADDEND ? " -addend" : "");
        break;
    case IR_FCVTFI:
    case IR_FCVTIF:
        g_string_append_printf(out, " %s%s", NAME(types, insn->from), insn->imm ? " unsigned" : "");
        break;
    case IR_BR:
    case IR_BRIF:
        print_branch(unit, out, insn);
        break;
    case IR_EXIT:
    case IR_EXIT_IND:
        print_exit(out, insn);
        break;
    default:
        break;
    }
}

/* "name.type.detail" */
static void print_op(GString *out, const struct ir_insn *insn)
{
    g_string_append(out, ir_ops[insn->op].text);
    if (insn->type != IR_VOID && insn->type != IR_HANDLE && insn->op != IR_CALL)
        g_string_append_printf(out, ".%s", NAME(types, insn->type));
    switch (insn->op) {
    case IR_CMP:
        g_string_append_printf(out, ".%s", NAME(conds, insn->aux));
        break;
    case IR_FCMP:
        g_string_append_printf(out, ".%s", NAME(fconds, insn->aux));
        break;
    case IR_RMW:
        g_string_append_printf(out, ".%s", NAME(rmws, insn->aux));
        break;
    case IR_FADD: case IR_FSUB: case IR_FMUL: case IR_FDIV: case IR_FSQRT: case IR_FMA:
    case IR_FCVTFF: case IR_FCVTFI: case IR_FCVTIF:
        g_string_append_printf(out, ".%s", NAME(rms, insn->aux));
        break;
    default:
        break;
    }
}

static void print_insn(const struct ir_unit *unit, uint32_t at, const char *const *slot_names,
                       const struct ir_helper *helpers, GString *out)
{
    const struct ir_insn *insn = &unit->insn[at];

    g_string_append(out, "  ");
    if (ir_result_type(insn) != IR_VOID)
        g_string_append_printf(out, "v%u = ", at);
    print_op(out, insn);
    if (insn->op == IR_GET || insn->op == IR_SET)
        print_slot(out, insn->aux, slot_names);
    bool calls = insn->op == IR_CALL || insn->op == IR_TRAP;
    if (calls && helpers)
        g_string_append_printf(out, " %s", helpers[insn->aux].name);
    else if (calls)
        g_string_append_printf(out, " h%u", insn->aux);
    for (unsigned i = 0; i < ir_n_args(insn); i++)
        g_string_append_printf(out, " v%u", insn->arg[i]);
    print_rest(unit, out, insn);
    if (insn->side != IR_NONE)
        g_string_append_printf(out, " ; pc %#x", unit->side[insn->side].pc);
    g_string_append_c(out, '\n');
}

void ir_print(const struct ir_unit *unit, const char *const *slot_names,
              const struct ir_helper *helpers, GString *out)
{
    for (uint32_t b = 0; b < unit->n_blocks; b++) {
        g_string_append_printf(out, "b%u:\n", b);
        for (uint32_t i = unit->block[b].first; i < unit->block[b].end; i++)
            print_insn(unit, i, slot_names, helpers, out);
    }
}
