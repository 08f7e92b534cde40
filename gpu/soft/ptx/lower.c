/*
 * Instructions become operations: operands are checked and placed, and what the table of operations names is found
 * by opcode, modifiers and type. What needs more than that is in lower_data.c, lower_mem.c and lower_flow.c; a
 * table here says which instruction goes where.
 */
#include "gpu/soft/exec/exec.h"
#include "gpu/soft/ptx/parse.h"

#include <string.h>

char ptx_width(unsigned size)
{
    return size <= 2 ? 'h' : size == 4 ? 'w' : 'd';
}

bool ptx_has(const struct ptx_insn *in, const char *mod)
{
    for (unsigned i = 0; i < in->mods; i++) {
        if (!strcmp(in->mod[i], mod))
            return true;
    }
    return false;
}

bool ptx_insn_type(struct ptx_parser *p, const struct ptx_insn *in, unsigned back, struct ptx_type *out)
{
    const char *name = in->mods > back ? in->mod[in->mods - 1 - back] : "";

    return ptx_type(name, strlen(name), out) ||
           ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' needs a type", in->op);
}

struct soft_op *ptx_emit(struct ptx_parser *p, const struct ptx_insn *in, soft_run *run)
{
    struct soft_op op = {.run = run, .line = in ? in->token.line : p->tok.line};

    if (in) {
        op.guard = in->guard;
        op.guarded = in->guarded;
    }
    if (p->ops->len >= LIMIT_OPS) {
        ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "a function of too many instructions");
        return NULL;
    }
    g_array_append_val(p->ops, op);
    return &g_array_index(p->ops, struct soft_op, p->ops->len - 1);
}

int32_t ptx_temp(struct ptx_parser *p, char width)
{
    uint32_t registers = p->fn->registers;
    int32_t at = ptx_reg_alloc(p, width, 1);

    p->fn->registers = registers;
    return at;
}

int32_t ptx_const(struct ptx_parser *p, uint64_t value, char width)
{
    unsigned stride = ptx_stride(width), size = stride / SOFT_WARP;
    g_autofree char *key = NULL;
    gpointer at;
    uint8_t lanes[8 * SOFT_WARP];

    value &= width == 'd' ? ~0ull : width == 'p' ? 1 : (1ull << 8 * size) - 1;
    key = g_strdup_printf("%c%" PRIx64, width, value);
    at = g_hash_table_lookup(p->const_at, key);
    if (at)
        return -(int32_t)(gintptr)at;
    if (p->consts->len == 0)
        g_byte_array_set_size(p->consts, 64);
    if (width == 'p')
        memset(lanes, value ? 0xff : 0, stride);
    else
        for (unsigned i = 0; i < SOFT_WARP; i++)
            memcpy(lanes + i * size, &value, size);
    at = (gpointer)(gintptr)p->consts->len;
    if (p->consts->len > LIMIT_FRAME) {
        ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "too many constants");
        return -64;
    }
    g_byte_array_append(p->consts, lanes, stride);
    g_hash_table_insert(p->const_at, g_steal_pointer(&key), at);
    return -(int32_t)(gintptr)at;
}

bool ptx_dest(struct ptx_parser *p, const struct ptx_atom *atom, char width, int32_t *out)
{
    if (atom->kind == ATOM_SINK) {
        *out = ptx_temp(p, width);
        return !p->error;
    }
    if (atom->kind != ATOM_REG || atom->invert)
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "expected a register");
    if (atom->width != width)
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "'%.*s' has not the width of the type",
                        (int)MIN(atom->token.len, 200u), atom->token.text);
    *out = atom->reg;
    return true;
}

/* A variable's address as a value. */
static bool source_var(struct ptx_parser *p, const struct ptx_insn *in, const struct ptx_atom *atom,
                       char width, int32_t *out)
{
    const struct ptx_sym *sym = atom->sym;
    struct soft_op *op;

    if (width != 'w' && width != 'd')
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "an address needs 32 or 64 bits");
    if (sym->space != SPACE_LOCAL && !sym->dynamic) {
        *out = ptx_const(p, sym->addr + atom->value, width);
        return !p->error;
    }
    *out = ptx_temp(p, width);
    op = ptx_emit(p, in, sym->dynamic ? exec_shared_dynamic : exec_local_addr);
    if (!op)
        return false;
    op->d = *out;
    op->n = width == 'd' ? 8 : 4;
    op->imm = sym->addr + atom->value;
    return true;
}

static bool source_number(struct ptx_parser *p, const struct ptx_atom *atom, char width, int32_t *out)
{
    uint64_t v = atom->value;

    if (atom->kind == ATOM_F64 && width == 'w') {
        double d;
        float f;

        memcpy(&d, &v, 8);
        f = d;
        v = 0;
        memcpy(&v, &f, 4);
    } else if (atom->kind == ATOM_F32 && width == 'd') {
        float f;
        double d;

        memcpy(&f, &v, 4);
        d = f;
        memcpy(&v, &d, 8);
    } else if (atom->kind != ATOM_INT && (width == 'h' || width == 'p')) {
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "no such number here");
    }
    *out = ptx_const(p, width == 'p' ? v != 0 : v, width);
    return !p->error;
}

bool ptx_source(struct ptx_parser *p, const struct ptx_insn *in, const struct ptx_atom *atom,
                char width, int32_t *out)
{
    struct soft_op *op;

    switch (atom->kind) {
    case ATOM_REG:
        if (!ptx_dest(p, &(struct ptx_atom){.kind = ATOM_REG, .width = atom->width, .reg = atom->reg,
                                            .token = atom->token}, width, out))
            return false;
        if (!atom->invert)
            return true;
        if (width != 'p')
            break;
        op = ptx_emit(p, NULL, exec_not_pred);
        if (!op)
            return false;
        op->a = *out;
        op->d = *out = ptx_temp(p, 'p');
        return !p->error;
    case ATOM_INT:
    case ATOM_F32:
    case ATOM_F64:
        return source_number(p, atom, width, out);
    case ATOM_VAR:
        return source_var(p, in, atom, width, out);
    case ATOM_FUNCTION:
        if (width != 'd')
            break;
        p->fn->takes_functions = true;
        *out = ptx_const(p, SOFT_CODE_BASE + (uint64_t)atom->sym->fn->index * SOFT_CODE_STEP, 'd');
        return !p->error;
    case ATOM_SPECIAL:
        *out = ptx_temp(p, width);
        op = ptx_emit(p, in, width == 'd' ? exec_special_d : width == 'w' ? exec_special_w : exec_special_h);
        if (!op || width == 'p')
            break;
        op->d = *out;
        op->imm = atom->value;
        return !p->error;
    default:
        break;
    }
    return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "'%.*s' is no value here",
                    (int)MIN(atom->token.len, 200u), atom->token.text);
}

bool ptx_emit_key(struct ptx_parser *p, const struct ptx_insn *in, const char *key, int32_t d,
                  int32_t a, int32_t b)
{
    const struct soft_opdef *def = soft_opdef_find(key);
    struct soft_op *op;

    if (!def)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "there is no '%s'", key);
    op = ptx_emit(p, in, def->run);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->b = b;
    return true;
}

/* ---- The general case ---- */

static const char *const ignored[] = {"rn", "approx", "full", "noftz", "uni", "aligned"};
static const struct {
    const char *name;
    uint16_t flag;
} flagged[] = {
    {"ftz", OP_FTZ}, {"sat", OP_SAT},
    {"rz", ROUND_ZERO << OP_ROUND_SHIFT}, {"rm", ROUND_DOWN << OP_ROUND_SHIFT},
    {"rp", ROUND_UP << OP_ROUND_SHIFT},
};

/* The table's key of an instruction, and its flags. */
static void key_of(const struct ptx_insn *in, char key[PTX_KEY], uint16_t *flags)
{
    g_strlcpy(key, in->op, PTX_KEY);
    *flags = 0;
    for (unsigned i = 0; i < in->mods; i++) {
        bool keep = true;

        for (unsigned k = 0; k < G_N_ELEMENTS(ignored); k++)
            keep &= strcmp(in->mod[i], ignored[k]) != 0;
        for (unsigned k = 0; k < G_N_ELEMENTS(flagged); k++) {
            /* Saturated integers are operations of their own. */
            if (strcmp(in->mod[i], flagged[k].name) ||
                (flagged[k].flag == OP_SAT && !strcmp(in->mod[in->mods - 1], "s32")))
                continue;
            *flags |= flagged[k].flag;
            keep = false;
        }
        if (keep) {
            g_strlcat(key, ".", PTX_KEY);
            g_strlcat(key, in->mod[i], PTX_KEY);
        }
    }
}

bool ptx_lower_plain(struct ptx_parser *p, struct ptx_insn *in)
{
    const struct soft_opdef *def;
    int32_t place[6] = {0};
    char key[PTX_KEY];
    struct soft_op *op;
    uint16_t flags;
    uint64_t imm = 0;
    size_t n;

    key_of(in, key, &flags);
    def = soft_opdef_find(key);
    if (!def)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "unknown instruction '%s'", key);
    if (flags & ~def->flags)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' has no such modifier", key);
    n = strlen(def->operands);
    if (in->n != n)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' takes %zu operands, not %u", key, n, in->n);
    for (unsigned i = 0; i < n; i++) {
        const struct ptx_operand *o = &in->operand[i];

        if (o->memory || o->vector || o->paired)
            return ptx_fail(p, SOFT_INVALID_PTX, &o->atom[0].token, "no such operand here");
        if (def->operands[i] == 'i') {
            if (o->atom[0].kind != ATOM_INT)
                return ptx_fail(p, SOFT_INVALID_PTX, &o->atom[0].token, "expected a number");
            imm = o->atom[0].value;
        } else if (i == 0 ? !ptx_dest(p, &o->atom[0], def->operands[0], &place[0])
                          : !ptx_source(p, in, &o->atom[0], def->operands[i], &place[i])) {
            return false;
        }
    }
    op = ptx_emit(p, in, def->run);
    if (!op)
        return false;
    op->d = place[0];
    op->a = place[1];
    op->b = place[2];
    op->c = place[3];
    op->imm = n > 4 && def->operands[4] != 'i' ? (uint32_t)place[4] : imm;
    op->flags = flags;
    return true;
}

/* Instructions that this device lacks: images that use them are well-formed. */
static const char *const lacking[] = {
    "tex", "tld4", "txq", "suld", "sust", "sured", "suq", "wmma", "mma", "ldmatrix", "stmatrix", "movmatrix",
    "wgmma", "tcgen05", "mbarrier", "multimem", "tensormap", "mapa", "getctarank", "barrier.cluster", "griddepcontrol",
    "setmaxnreg", "alloca", "stacksave", "stackrestore", "clusterlaunchcontrol", "istypep", "vadd", "vsub",
    "vabsdiff", "vmin", "vmax", "vshl", "vshr", "vmad", "vset", "vadd2", "vadd4", "createpolicy", "st.async", "pmevent",
    "discard", "applypriority", "szext", "bmsk", "fns", "red.async",
};

static const struct {
    const char *op;
    ptx_lower_fn *lower;
    bool blocks; /* lanes whose guard is false go around it */
} special_ops[] = {
    {"ld", ptx_lower_ld}, {"ldu", ptx_lower_ld}, {"st", ptx_lower_st}, {"atom", ptx_lower_atom},
    {"red", ptx_lower_atom}, {"cvta", ptx_lower_cvta}, {"isspacep", ptx_lower_isspacep},
    {"cp", ptx_lower_cp_async}, {"prefetch", ptx_lower_nothing}, {"prefetchu", ptx_lower_nothing},
    {"membar", ptx_lower_nothing}, {"fence", ptx_lower_nothing}, {"mov", ptx_lower_mov},
    {"setp", ptx_lower_setp}, {"set", ptx_lower_set}, {"selp", ptx_lower_selp}, {"slct", ptx_lower_slct},
    {"cvt", ptx_lower_cvt}, {"bra", ptx_lower_bra}, {"brx", ptx_lower_brx}, {"ret", ptx_lower_ret},
    {"exit", ptx_lower_exit}, {"trap", ptx_lower_exit}, {"brkpt", ptx_lower_exit}, {"nanosleep", ptx_lower_exit},
    {"bar", ptx_lower_bar, true}, {"barrier", ptx_lower_bar, true}, {"shfl", ptx_lower_shfl, true},
    {"vote", ptx_lower_vote, true}, {"match", ptx_lower_match, true}, {"redux", ptx_lower_redux, true},
    {"activemask", ptx_lower_warpsync}, {"elect", ptx_lower_warpsync, true},
};

void ptx_skip_begin(struct ptx_parser *p, struct ptx_insn *in, unsigned *skip)
{
    struct soft_op *op;

    *skip = 0;
    if (!in->guarded)
        return;
    *skip = p->ops->len + 1;
    op = ptx_emit(p, in, exec_bra);
    if (op)
        op->guarded = in->guarded == GUARD_IF ? GUARD_UNLESS : GUARD_IF;
    in->guarded = GUARD_NONE;
}

void ptx_skip_end(struct ptx_parser *p, unsigned skip)
{
    if (!skip || p->error)
        return;
    g_array_index(p->ops, struct soft_op, skip - 1).imm = p->ops->len;
    ptx_emit(p, NULL, exec_join);
}

bool ptx_lower(struct ptx_parser *p, struct ptx_insn *in)
{
    unsigned skip = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(lacking); i++) {
        if (!strcmp(in->op, lacking[i]))
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "instruction '%s' is not supported", in->op);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(special_ops); i++) {
        if (strcmp(in->op, special_ops[i].op))
            continue;
        if (special_ops[i].blocks)
            ptx_skip_begin(p, in, &skip);
        if (p->error || !special_ops[i].lower(p, in))
            return false;
        ptx_skip_end(p, skip);
        return !p->error;
    }
    return ptx_lower_plain(p, in);
}
