/*
 * Loads, stores, atomic operations and addresses (PTX ISA, sections 9.7.9 and 9.7.13). Every access is
 * strong enough for any ordering that PTX can ask for, so that modifiers of order and scope only need to be
 * known ones.
 */
#include "gpu/soft/exec/exec.h"
#include "gpu/soft/ptx/parse.h"

#include <string.h>

static const struct {
    const char *name;
    enum soft_space_kind space;
} spaces[] = {
    {"global", SPACE_GLOBAL}, {"const", SPACE_CONST}, {"shared", SPACE_SHARED}, {"shared::cta", SPACE_SHARED},
    {"local", SPACE_LOCAL}, {"param", SPACE_PARAM}, {"param::entry", SPACE_PARAM}, {"param::func", SPACE_PARAM},
};

static enum soft_space_kind space_named(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(spaces); i++) {
        if (!strcmp(name, spaces[i].name))
            return spaces[i].space;
    }
    return SPACE_GENERIC;
}

static enum soft_space_kind space_of(const struct ptx_insn *in)
{
    enum soft_space_kind space = SPACE_GENERIC;

    for (unsigned i = 0; i < in->mods && !space; i++)
        space = space_named(in->mod[i]);
    return space;
}

/* What an access may say besides its space and types. */
static bool known_mods(struct ptx_parser *p, const struct ptx_insn *in, unsigned types)
{
    static const char *const known[] = {
        "weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "sc", "cta", "cluster", "gpu", "sys", "mmio", "nc",
        "ca", "cg", "cs", "lu", "cv", "wb", "wt", "v2", "v4", "v8", "noftz", "unified",
    };

    for (unsigned i = 0; i + types < in->mods; i++) {
        const char *m = in->mod[i];
        bool ok = space_named(m) != SPACE_GENERIC || g_str_has_prefix(m, "L1::") || g_str_has_prefix(m, "L2::");

        for (unsigned k = 0; k < G_N_ELEMENTS(known); k++)
            ok |= !strcmp(m, known[k]);
        if (!ok)
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "%s.%s is not supported", in->op, m);
    }
    return true;
}

/* Where O's address is, its flags and what is added to it. */
static bool address(struct ptx_parser *p, const struct ptx_insn *in, const struct ptx_operand *o,
                    enum soft_space_kind space, int32_t *at, uint16_t *flags, uint64_t *offset)
{
    const struct ptx_atom *atom = &o->atom[0];
    bool narrow = atom->kind == ATOM_REG && atom->width == 'w';

    if (!o->memory)
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "expected an address");
    *flags = space | (narrow ? MEM_NARROW : 0);
    *offset = o->offset;
    if (space == SPACE_PARAM && (atom->kind == ATOM_VAR ? atom->sym->kernel_param : p->fn->entry))
        *flags |= MEM_KERNEL_PARAM;
    if (atom->kind == ATOM_VAR && space && atom->sym->space != space)
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "the variable is in another state space");
    if (atom->kind == ATOM_VAR && !space)
        *flags |= atom->sym->space;
    if (narrow && (space == SPACE_GENERIC || space == SPACE_GLOBAL || space == SPACE_CONST))
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "an address of 32 bits");
    if (atom->kind == ATOM_FUNCTION)
        return ptx_fail(p, SOFT_INVALID_PTX, &atom->token, "a function is no memory");
    return ptx_source(p, in, atom, narrow ? 'w' : 'd', at);
}

static unsigned elements(const struct ptx_insn *in)
{
    return ptx_has(in, "v2") ? 2 : ptx_has(in, "v4") ? 4 : ptx_has(in, "v8") ? 8 : 1;
}

/* A loaded or stored register may be wider than the type. */
static char wide_enough(const struct ptx_atom *atom, char least)
{
    static const char order[] = "hwd";
    const char *w = atom->kind == ATOM_REG ? strchr(order, atom->width) : NULL;

    return w && *w && w > strchr(order, least) ? *w : least;
}

/* The accesses of ld (LOAD) or st, one an element; the first checks the whole's alignment. */
static bool accesses(struct ptx_parser *p, struct ptx_insn *in, bool load)
{
    const struct ptx_operand *data = &in->operand[load ? 0 : 1], *mem = &in->operand[load ? 1 : 0];
    unsigned n = elements(in), size;
    struct ptx_type type;
    uint16_t flags;
    uint64_t offset;
    int32_t at;

    if (in->n != 2 || !ptx_insn_type(p, in, 0, &type))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' takes a type and two operands", in->op);
    size = type.size * type.packed;
    if (type.kind == 'p' || data->n != n || data->memory || data->vector != (n > 1) || size * n > 32)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "operands don't fit the type");
    if (!known_mods(p, in, 1) || !address(p, in, mem, space_of(in), &at, &flags, &offset))
        return false;
    if (load && n > 1 && mem->atom[0].kind == ATOM_REG) {
        int32_t copy = ptx_temp(p, mem->atom[0].width);

        if (!ptx_emit_key(p, in, flags & MEM_NARROW ? "mov.b32" : "mov.b64", copy, at, 0))
            return false;
        at = copy;
    }
    if (!load && ((flags & MEM_SPACE) == SPACE_CONST || flags & MEM_KERNEL_PARAM))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "this state space is read only");
    for (unsigned i = 0; i < n; i++) {
        char width = wide_enough(&data->atom[i], ptx_width(size));
        struct soft_op *op;
        int32_t reg;

        if (load ? !ptx_dest(p, &data->atom[i], width, &reg) : !ptx_source(p, in, &data->atom[i], width, &reg))
            return false;
        op = ptx_emit(p, in, load ? exec_load(size, type.kind == 's', width) : exec_store(size, width));
        if (!op)
            return false;
        op->d = reg;
        op->a = at;
        op->flags = flags;
        op->imm = offset + i * size;
        op->n = (i ? size : size * n) - 1;
    }
    return true;
}

bool ptx_lower_ld(struct ptx_parser *p, struct ptx_insn *in)
{
    return accesses(p, in, true);
}

bool ptx_lower_st(struct ptx_parser *p, struct ptx_insn *in)
{
    return accesses(p, in, false);
}

/* ---- atom, red ---- */

static const struct {
    const char *name;
    enum exec_atom_kind kind;
} atoms[] = {
    {"add", ATOM_ADD}, {"min", ATOM_MIN}, {"max", ATOM_MAX}, {"inc", ATOM_INC}, {"dec", ATOM_DEC},
    {"and", ATOM_AND}, {"or", ATOM_OR}, {"xor", ATOM_XOR}, {"exch", ATOM_EXCH}, {"cas", ATOM_CAS},
};

static int atom_kind(const struct ptx_insn *in)
{
    for (unsigned i = 0; i < in->mods; i++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(atoms); k++) {
            if (!strcmp(in->mod[i], atoms[k].name))
                return atoms[k].kind;
        }
    }
    return -1;
}

static bool atom_type_ok(int kind, const struct ptx_type *t)
{
    bool real = t->kind == 'f' || t->kind == 'g';

    if (t->kind == 'p' || t->size == 1 || (t->kind == 'u' && t->packed == 2))
        return false;
    switch (kind) {
    case ATOM_ADD:
        return t->kind != 'b' && (real || t->size >= 4);
    case ATOM_MIN:
    case ATOM_MAX:
        return t->kind != 'b' && (real ? t->size == 2 : t->size >= 4);
    case ATOM_INC:
    case ATOM_DEC:
        return t->kind == 'u' && t->size == 4;
    default:
        return !real && (t->size >= 4 || kind == ATOM_CAS);
    }
}

bool ptx_lower_atom(struct ptx_parser *p, struct ptx_insn *in)
{
    bool red = in->op[0] == 'r';
    int kind = atom_kind(in);
    struct ptx_type type;
    int32_t d = 0, at, b, c = 0;
    uint64_t offset;
    uint16_t flags;
    struct soft_op *op;
    unsigned n = (red ? 2 : 3) + (kind == ATOM_CAS);
    char width;

    if (!ptx_insn_type(p, in, 0, &type))
        return false;
    if (kind < 0 || !atom_type_ok(kind, &type) || (red && kind >= ATOM_EXCH))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "this atomic operation is not supported");
    if (in->n != n || ptx_has(in, "v2") || ptx_has(in, "v4"))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' takes %u operands here", in->op, n);
    width = ptx_width(type.size * type.packed);
    if (!address(p, in, &in->operand[red ? 0 : 1], space_of(in), &at, &flags, &offset) ||
        !ptx_source(p, in, &in->operand[red ? 1 : 2].atom[0], width, &b) ||
        (kind == ATOM_CAS && !ptx_source(p, in, &in->operand[3].atom[0], width, &c)))
        return false;
    if (red ? (d = ptx_temp(p, width), p->error) : !ptx_dest(p, &in->operand[0].atom[0], width, &d))
        return false;
    if ((flags & MEM_SPACE) == SPACE_CONST || (flags & MEM_SPACE) == SPACE_PARAM)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "no atomic operations in this state space");
    op = ptx_emit(p, in, exec_atom);
    if (!op)
        return false;
    op->d = d;
    op->a = at;
    op->b = b;
    op->c = c;
    op->n = kind;
    op->flags = flags;
    op->imm = ATOM_IMM(type.kind, type.size, type.packed, offset);
    return true;
}

/* ---- Addresses ---- */

static uint64_t window(enum soft_space_kind space)
{
    return space == SPACE_SHARED  ? SOFT_WINDOW_SHARED
           : space == SPACE_LOCAL ? SOFT_WINDOW_LOCAL
           : space == SPACE_PARAM ? SOFT_WINDOW_PARAM
                                  : 0;
}

bool ptx_lower_cvta(struct ptx_parser *p, struct ptx_insn *in)
{
    uint64_t base = window(space_of(in));
    bool to = ptx_has(in, "to");
    struct ptx_type type;
    int32_t d, a;

    if (!ptx_insn_type(p, in, 0, &type))
        return false;
    if (type.size != 8 || in->n != 2 || space_of(in) == SPACE_GENERIC)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "cvta takes a state space, u64 and two operands");
    /* A function's parameters have no generic address of their own. */
    if (space_of(in) == SPACE_PARAM && !p->fn->entry)
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "cvta.param is supported in kernels only");
    if (!ptx_source(p, in, &in->operand[1].atom[0], 'd', &a) ||
        !ptx_dest(p, &in->operand[0].atom[0], 'd', &d))
        return false;
    return ptx_emit_key(p, in, to ? "sub.u64" : "add.u64", d, a, ptx_const(p, base, 'd'));
}

bool ptx_lower_isspacep(struct ptx_parser *p, struct ptx_insn *in)
{
    enum soft_space_kind space = space_of(in);
    struct soft_op *op;
    int32_t d, a;

    if (in->n != 2 || space == SPACE_GENERIC)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "isspacep takes a state space and two operands");
    if (!ptx_source(p, in, &in->operand[1].atom[0], 'd', &a) ||
        !ptx_dest(p, &in->operand[0].atom[0], 'p', &d))
        return false;
    op = ptx_emit(p, in, exec_isspacep);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->imm = window(space);
    return true;
}

/* cp.async copies at once, so that what waits for it has nothing to do. */
bool ptx_lower_cp_async(struct ptx_parser *p, struct ptx_insn *in)
{
    struct soft_op *op;
    uint16_t from, to;
    uint64_t from_offset, to_offset;
    int32_t d, a, size_at = 0;

    if (in->mods < 2 || strcmp(in->mod[0], "async") || ptx_has(in, "bulk") || ptx_has(in, "mbarrier"))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "this form of cp is not supported");
    if (!ptx_has(in, "shared") && !ptx_has(in, "shared::cta"))
        return true;
    if (in->n < 3 || in->n > 4 || in->operand[2].atom[0].kind != ATOM_INT ||
        (in->operand[2].atom[0].value != 4 && in->operand[2].atom[0].value != 8 &&
         in->operand[2].atom[0].value != 16))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "cp.async copies 4, 8 or 16 bytes");
    if (!address(p, in, &in->operand[0], SPACE_SHARED, &d, &to, &to_offset) ||
        !address(p, in, &in->operand[1], SPACE_GLOBAL, &a, &from, &from_offset) ||
        (in->n == 4 && !ptx_source(p, in, &in->operand[3].atom[0], 'w', &size_at)))
        return false;
    if (to_offset > INT32_MAX || from_offset > INT32_MAX)
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "such offsets are not supported");
    op = ptx_emit(p, in, in->n == 4 ? exec_cp_async_zfill : exec_cp_async);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->c = size_at;
    op->n = in->operand[2].atom[0].value;
    op->flags = to;
    op->imm = to_offset << 32 | from_offset;
    return true;
}

bool ptx_lower_nothing(struct ptx_parser *p, struct ptx_insn *in)
{
    return in->mods > 0 || ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' needs modifiers", in->op);
}
