/*
 * Moves, comparisons, selections and conversions (PTX ISA, sections 9.7.6, 9.7.7 and 9.7.9).
 */
#include "gpu/soft/exec/exec.h"
#include "gpu/soft/ptx/parse.h"

#include <string.h>

static bool operands(struct ptx_parser *p, const struct ptx_insn *in, unsigned least, unsigned most)
{
    if (in->n < least || in->n > most)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' does not take %u operands", in->op, in->n);
    for (unsigned i = 0; i < in->n; i++) {
        if (in->operand[i].memory || (in->operand[i].vector && strcmp(in->op, "mov")))
            return ptx_fail(p, SOFT_INVALID_PTX, &in->operand[i].atom[0].token, "no such operand here");
    }
    return true;
}

static const char *move_key(char width)
{
    return width == 'p' ? "mov.pred" : width == 'h' ? "mov.b16" : width == 'w' ? "mov.b32" : "mov.b64";
}

static bool pack(struct ptx_parser *p, struct ptx_insn *in, unsigned size)
{
    struct ptx_operand *d = &in->operand[0], *s = &in->operand[1], *v = d->vector ? d : s;
    char whole = ptx_width(size), part;
    int32_t at, elem[PTX_ELEMENTS];

    if ((d->vector && s->vector) || v->n < 2 || v->n > 4 || size % v->n || size / v->n < 2)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "no such vector");
    part = ptx_width(size / v->n);
    if (v == d) {
        if (!ptx_source(p, in, &s->atom[0], whole, &at))
            return false;
    } else if (!ptx_dest(p, &d->atom[0], whole, &at)) {
        return false;
    }
    /* Parts of what is overwritten are taken first. */
    int32_t all = ptx_temp(p, whole);

    if (v == d && !ptx_emit_key(p, in, move_key(whole), all, at, 0))
        return false;
    for (unsigned i = 0; i < v->n; i++) {
        struct soft_op *op;

        if (v == d ? !ptx_dest(p, &v->atom[i], part, &elem[i])
                   : !ptx_source(p, in, &v->atom[i], part, &elem[i]))
            return false;
        op = ptx_emit(p, in, v == d ? exec_unpack : exec_pack);
        if (!op)
            return false;
        op->d = v == d ? elem[i] : all;
        op->a = v == d ? all : elem[i];
        op->n = i;
        op->imm = size;
        op->flags = size / v->n;
    }
    return v == d || ptx_emit_key(p, in, move_key(whole), at, all, 0);
}

bool ptx_lower_mov(struct ptx_parser *p, struct ptx_insn *in)
{
    struct ptx_type type;
    int32_t d, a;
    char width;

    if (!ptx_insn_type(p, in, 0, &type) || !operands(p, in, 2, 2))
        return false;
    if (in->operand[0].vector || in->operand[1].vector)
        return pack(p, in, type.size * type.packed);
    width = type.kind == 'p' ? 'p' : ptx_width(type.size * type.packed);
    return ptx_source(p, in, &in->operand[1].atom[0], width, &a) &&
           ptx_dest(p, &in->operand[0].atom[0], width, &d) &&
           ptx_emit_key(p, in, move_key(width), d, a, 0);
}

/* The comparison of a set or setp: its modifiers but for the boolean operator, and its flags. */
static bool comparison(struct ptx_parser *p, const struct ptx_insn *in, const char *type, unsigned types,
                       const char **logic, char key[PTX_KEY], uint16_t *flags)
{
    *logic = NULL;
    *flags = 0;
    g_strlcpy(key, "setp", PTX_KEY);
    for (unsigned i = 0; i + types < in->mods; i++) {
        const char *m = in->mod[i];

        if (!strcmp(m, "and") || !strcmp(m, "or") || !strcmp(m, "xor")) {
            *logic = m;
        } else if (!strcmp(m, "ftz")) {
            *flags |= OP_FTZ;
        } else {
            g_strlcat(key, ".", PTX_KEY);
            g_strlcat(key, m, PTX_KEY);
        }
    }
    g_strlcat(key, ".", PTX_KEY);
    g_strlcat(key, type, PTX_KEY);
    return soft_opdef_find(key) != NULL ||
           ptx_fail(p, SOFT_INVALID_PTX, &in->token, "unknown comparison '%s'", key);
}

/* D = COMPARE(operands AT, AT+1), with the predicate after them where there is a boolean operator. NOT: of the
 * complement. */
static bool compare(struct ptx_parser *p, struct ptx_insn *in, unsigned at, const char *key,
                    uint16_t flags, const char *logic, int32_t d, int32_t opposite)
{
    const struct soft_opdef *def = soft_opdef_find(key);
    int32_t a, b, c = 0, t = ptx_temp(p, 'p');
    char op_key[16];

    if (in->n != at + (logic ? 3 : 2))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' does not take %u operands", in->op, in->n);
    if (!ptx_source(p, in, &in->operand[at].atom[0], def->operands[1], &a) ||
        !ptx_source(p, in, &in->operand[at + 1].atom[0], def->operands[2], &b))
        return false;
    if (logic && !ptx_source(p, in, &in->operand[at + 2].atom[0], 'p', &c))
        return false;
    if (!ptx_emit_key(p, in, key, t, a, b))
        return false;
    g_array_index(p->ops, struct soft_op, p->ops->len - 1).flags = flags;
    if (opposite >= 0) {
        int32_t other = ptx_temp(p, 'p');

        if (!ptx_emit_key(p, in, "not.pred", other, t, 0))
            return false;
        snprintf(op_key, sizeof(op_key), "%s.pred", logic ? logic : "mov");
        if (!ptx_emit_key(p, in, op_key, opposite, other, c))
            return false;
    }
    snprintf(op_key, sizeof(op_key), "%s.pred", logic ? logic : "mov");
    return ptx_emit_key(p, in, op_key, d, t, c);
}

bool ptx_lower_setp(struct ptx_parser *p, struct ptx_insn *in)
{
    bool two = in->n > 1 && in->operand[0].paired;
    const char *logic;
    char key[PTX_KEY];
    int32_t d, q = -1;
    uint16_t flags;

    if (!operands(p, in, 3, 5) || !in->mods)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "incomplete setp");
    if (!comparison(p, in, in->mod[in->mods - 1], 1, &logic, key, &flags) ||
        !ptx_dest(p, &in->operand[0].atom[0], 'p', &d) ||
        (two && !ptx_dest(p, &in->operand[1].atom[0], 'p', &q)))
        return false;
    /* Packed comparisons always have two results. */
    if (strstr(key, "16x2")) {
        const char *low = key;
        int32_t a, b;

        if (!two || logic || in->n != 4 || !ptx_source(p, in, &in->operand[2].atom[0], 'w', &a) ||
            !ptx_source(p, in, &in->operand[3].atom[0], 'w', &b))
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "this packed comparison is not supported");
        int32_t t = ptx_temp(p, 'p');

        if (!ptx_emit_key(p, in, low, t, a, b))
            return false;
        g_strlcat(key, ".high", PTX_KEY);
        return ptx_emit_key(p, in, key, q, a, b) && ptx_emit_key(p, in, "mov.pred", d, t, 0);
    }
    return compare(p, in, two ? 2 : 1, key, flags, logic, d, q);
}

bool ptx_lower_set(struct ptx_parser *p, struct ptx_insn *in)
{
    struct ptx_type dtype, stype;
    const char *logic;
    char key[PTX_KEY], width;
    uint16_t flags;
    uint64_t one;
    int32_t d, t = ptx_temp(p, 'p');
    struct soft_op *op;

    if (!operands(p, in, 3, 4) || !ptx_insn_type(p, in, 1, &dtype) ||
        !ptx_insn_type(p, in, 0, &stype))
        return false;
    if (dtype.packed == 2 || stype.packed == 2)
        return ptx_lower_plain(p, in);
    if (!comparison(p, in, in->mod[in->mods - 1], 2, &logic, key, &flags) ||
        !compare(p, in, 1, key, flags, logic, t, -1))
        return false;
    width = ptx_width(dtype.size);
    one = dtype.kind == 'g' ? 0x3f80 : dtype.kind != 'f' ? ~0ull : width == 'w' ? 0x3f800000 : 0x3c00;
    if (!ptx_dest(p, &in->operand[0].atom[0], width, &d) ||
        !ptx_emit_key(p, in, width == 'h' ? "selp.b16" : width == 'w' ? "selp.b32" : "selp.b64", d,
                      ptx_const(p, one, width), ptx_const(p, 0, width)))
        return false;
    op = &g_array_index(p->ops, struct soft_op, p->ops->len - 1);
    op->c = t;
    return true;
}

/* selp.type and slct.dtype.ctype: d = c ? a : b */
static bool select_by(struct ptx_parser *p, struct ptx_insn *in, char width, char by, const char *what)
{
    int32_t d, a, b, c;
    char key[32];

    if (!operands(p, in, 4, 4) || !ptx_source(p, in, &in->operand[1].atom[0], width, &a) ||
        !ptx_source(p, in, &in->operand[2].atom[0], width, &b) ||
        !ptx_source(p, in, &in->operand[3].atom[0], by, &c) ||
        !ptx_dest(p, &in->operand[0].atom[0], width, &d))
        return false;
    if (by == 'w') {
        int32_t t = ptx_temp(p, 'p');

        if (!ptx_emit_key(p, in, what, t, c, ptx_const(p, 0, 'w')))
            return false;
        g_array_index(p->ops, struct soft_op, p->ops->len - 1).flags = ptx_has(in, "ftz") ? OP_FTZ : 0;
        c = t;
    }
    snprintf(key, sizeof(key), "selp.b%d", width == 'h' ? 16 : width == 'w' ? 32 : 64);
    if (!ptx_emit_key(p, in, key, d, a, b))
        return false;
    g_array_index(p->ops, struct soft_op, p->ops->len - 1).c = c;
    return true;
}

bool ptx_lower_selp(struct ptx_parser *p, struct ptx_insn *in)
{
    struct ptx_type type;

    return ptx_insn_type(p, in, 0, &type) &&
           select_by(p, in, ptx_width(type.size * type.packed), 'p', NULL);
}

bool ptx_lower_slct(struct ptx_parser *p, struct ptx_insn *in)
{
    struct ptx_type by, type;

    if (!ptx_insn_type(p, in, 0, &by) || !ptx_insn_type(p, in, 1, &type))
        return false;
    if (by.size != 4 || (by.kind != 's' && by.kind != 'f'))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "slct selects by s32 or f32");
    return select_by(p, in, ptx_width(type.size), 'w', by.kind == 'f' ? "setp.ge.f32" : "setp.ge.s32");
}

/* ---- cvt ---- */

static const struct {
    const char *name;
    enum soft_round round;
    uint16_t flags;
} cvt_mods[] = {
    {"rn", ROUND_NEAREST, 0}, {"rz", ROUND_ZERO, 0}, {"rm", ROUND_DOWN, 0}, {"rp", ROUND_UP, 0},
    {"rni", ROUND_NEAREST, CVT_INTEGER}, {"rzi", ROUND_ZERO, CVT_INTEGER},
    {"rmi", ROUND_DOWN, CVT_INTEGER}, {"rpi", ROUND_UP, CVT_INTEGER},
    {"ftz", 0, OP_FTZ}, {"sat", 0, OP_SAT}, {"relu", 0, CVT_RELU},
};

static bool cvt_flags(struct ptx_parser *p, const struct ptx_insn *in, uint16_t *flags)
{
    *flags = 0;
    for (unsigned i = 0; i + 2 < in->mods; i++) {
        bool found = false;

        for (unsigned k = 0; k < G_N_ELEMENTS(cvt_mods); k++) {
            if (strcmp(in->mod[i], cvt_mods[k].name))
                continue;
            *flags |= cvt_mods[k].flags | cvt_mods[k].round << OP_ROUND_SHIFT;
            found = true;
        }
        if (!found)
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "cvt.%s is not supported", in->mod[i]);
    }
    return true;
}

/* A register of a conversion may be wider than its type; a constant is as wide as it. */
static char cvt_width(const struct ptx_atom *atom, char least)
{
    static const char order[] = "hwd";
    const char *w = atom->kind == ATOM_REG ? strchr(order, atom->width) : NULL;

    return w && *w && w >= strchr(order, least) ? *w : least;
}

static bool cvt_one(struct ptx_parser *p, struct ptx_insn *in, const struct ptx_type *dt,
                    const struct ptx_type *st, uint16_t flags, int32_t d, char dw, unsigned source)
{
    const struct ptx_atom *atom = &in->operand[source].atom[0];
    char sw = cvt_width(atom, ptx_width(st->size));
    struct soft_op *op;
    int32_t a;

    if (!ptx_source(p, in, atom, sw, &a))
        return false;
    op = ptx_emit(p, in, exec_cvt);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->b = ptx_stride(dw) / SOFT_WARP;
    op->c = ptx_stride(sw) / SOFT_WARP;
    op->flags = flags;
    op->imm = CVT_PACK(dt->kind, dt->size, st->kind == 'b' ? 'u' : st->kind, st->size);
    return true;
}

bool ptx_lower_cvt(struct ptx_parser *p, struct ptx_insn *in)
{
    struct ptx_type dt, st;
    uint16_t flags;
    int32_t d, half[2];
    char dw;

    if (!strcmp(in->mods ? in->mod[0] : "", "pack"))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "cvt.pack is not supported");
    if (in->mods < 2 || !ptx_type(in->mod[in->mods - 1], strlen(in->mod[in->mods - 1]), &st) ||
        !ptx_type(in->mod[in->mods - 2], strlen(in->mod[in->mods - 2]), &dt))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "this conversion is not supported");
    if (!operands(p, in, 2, 3) || !cvt_flags(p, in, &flags))
        return false;
    if (st.packed == 2 || dt.kind == 'p' || st.kind == 'p' || (dt.packed == 2 && in->n != 3) ||
        (dt.packed == 1 && in->n != 2))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "no such conversion");
    if (dt.packed == 1) {
        dw = cvt_width(&in->operand[0].atom[0], ptx_width(dt.size));
        return ptx_dest(p, &in->operand[0].atom[0], dw, &d) && cvt_one(p, in, &dt, &st, flags, d, dw, 1);
    }
    /* The first source is the upper half. */
    for (unsigned i = 0; i < 2; i++) {
        half[i] = ptx_temp(p, 'h');
        if (!cvt_one(p, in, &dt, &st, flags, half[i], 'h', 2 - i))
            return false;
    }
    if (!ptx_dest(p, &in->operand[0].atom[0], 'w', &d))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        struct soft_op *op = ptx_emit(p, in, exec_pack);

        if (!op)
            return false;
        op->d = d;
        op->a = half[i];
        op->n = i;
        op->imm = 4;
        op->flags = 2;
    }
    return true;
}
