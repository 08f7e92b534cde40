/*
 * One PTX instruction: guard, opcode, modifiers, operands (PTX ISA, sections 6 and 9.1).
 */
#include "gpu/soft/exec/exec.h"
#include "gpu/soft/ptx/parse.h"

#include <string.h>

/* "%tid" with its ".x" where it has one. */
static bool special(struct ptx_parser *p, struct ptx_atom *atom)
{
    char name[48];
    int id;

    if (p->tok.len > 30 || p->tok.text[0] != '%')
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)p->tok.len, p->tok.text);
    id = exec_special_find(name);
    if (id < 0) {
        struct ptx_lexer ahead = p->lexer;
        struct ptx_token next = ptx_lex_next(&ahead);

        if (next.kind != PTX_DOT || next.len != 1)
            return false;
        snprintf(name + strlen(name), 3, ".%c", next.text[0]);
        id = exec_special_find(name);
        if (id < 0)
            return false;
        ptx_next(p);
    }
    atom->kind = ATOM_SPECIAL;
    atom->value = id;
    return true;
}

static void symbol(struct ptx_parser *p, struct ptx_atom *atom)
{
    struct ptx_sym *sym = ptx_find(p, p->scope, &p->tok);

    atom->sym = sym;
    if (sym && sym->kind == SYM_REG) {
        atom->kind = ATOM_REG;
        atom->width = sym->width;
        atom->reg = sym->addr;
    } else if (sym && sym->kind == SYM_VAR) {
        atom->kind = ATOM_VAR;
        p->entry_used_shared |= sym->space == SPACE_SHARED;
        if (sym->global) {
            sym->global->used = true;
            p->fn->takes_functions |= sym->global->functions;
        }
    } else if (sym && sym->kind == SYM_FUNCTION) {
        atom->kind = ATOM_FUNCTION;
    } else if (ptx_token_is(&p->tok, "WARP_SZ")) {
        atom->kind = ATOM_INT;
        atom->value = SOFT_WARP;
    } else {
        atom->kind = ATOM_NAME;
    }
}

static bool atom(struct ptx_parser *p, struct ptx_atom *out)
{
    memset(out, 0, sizeof(*out));
    out->invert = ptx_accept(p, '!');
    out->negate = ptx_accept(p, '-');
    out->token = p->tok;
    switch (p->tok.kind) {
    case PTX_INT:
        out->kind = ATOM_INT;
        out->value = out->negate ? -p->tok.num : p->tok.num;
        break;
    case PTX_FLOAT32:
        out->kind = ATOM_F32;
        out->value = p->tok.num ^ (out->negate ? 1u << 31 : 0);
        break;
    case PTX_FLOAT:
        out->kind = ATOM_F64;
        out->value = p->tok.num ^ (out->negate ? 1ull << 63 : 0);
        break;
    case PTX_ID:
        if (out->negate)
            return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected a number");
        if (ptx_token_is(&p->tok, "_"))
            out->kind = ATOM_SINK;
        else if (!special(p, out))
            symbol(p, out);
        break;
    default:
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "'%.*s' is no operand",
                        (int)MIN(p->tok.len, 40u), p->tok.text);
    }
    if (!ptx_next(p))
        return false;
    if (out->kind == ATOM_VAR && ptx_is(p, '+')) {
        int64_t offset;

        if (!ptx_next(p) || !ptx_int(p, &offset))
            return false;
        out->value += offset;
    }
    if (out->kind == ATOM_VAR)
        ptx_edit_operand(p->edits, &out->token, ptx_begin(&p->tok), out->sym->global, out->value);
    return true;
}

/* [base], [base+offset], [base+-offset], [number] */
static bool memory(struct ptx_parser *p, struct ptx_operand *out)
{
    out->memory = true;
    out->n = 1;
    if (!ptx_next(p) || !atom(p, &out->atom[0]))
        return false;
    if (ptx_is(p, '+') || ptx_is(p, '-')) {
        bool minus = ptx_is(p, '-');

        if (!ptx_next(p) || !ptx_int(p, &out->offset))
            return false;
        if (minus)
            out->offset = (int64_t)-(uint64_t)out->offset;
    }
    if (ptx_is(p, ','))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "coordinates are not supported");
    return ptx_expect(p, ']');
}

bool ptx_operand(struct ptx_parser *p, struct ptx_operand *out)
{
    memset(out, 0, sizeof(*out));
    if (ptx_is(p, '['))
        return memory(p, out);
    if (!ptx_is(p, '{')) {
        out->n = 1;
        if (!atom(p, &out->atom[0]))
            return false;
        out->paired = ptx_is(p, '|');
        return true;
    }
    out->vector = true;
    do {
        if (!ptx_next(p))
            return false;
        if (out->n == PTX_ELEMENTS)
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "a vector of more than %d elements", PTX_ELEMENTS);
        if (!atom(p, &out->atom[out->n++]))
            return false;
    } while (ptx_is(p, ','));
    return ptx_expect(p, '}');
}

static bool guard(struct ptx_parser *p, struct ptx_insn *in)
{
    struct ptx_operand o;

    if (!ptx_is(p, '@'))
        return true;
    if (!ptx_next(p) || !ptx_operand(p, &o))
        return false;
    if (o.vector || o.memory || o.atom[0].kind != ATOM_REG || o.atom[0].width != 'p')
        return ptx_fail(p, SOFT_INVALID_PTX, &o.atom[0].token, "expected a predicate");
    in->guard = o.atom[0].reg;
    in->guarded = o.atom[0].invert ? GUARD_UNLESS : GUARD_IF;
    return true;
}

static bool opcode(struct ptx_parser *p, struct ptx_insn *in)
{
    in->token = p->tok;
    if (p->tok.kind != PTX_ID || p->tok.len >= PTX_MOD_LEN)
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected an instruction");
    memcpy(in->op, p->tok.text, p->tok.len);
    if (!ptx_next(p))
        return false;
    while (p->tok.kind == PTX_DOT) {
        if (in->mods == PTX_MODS || p->tok.len >= PTX_MOD_LEN)
            return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "too many modifiers");
        memcpy(in->mod[in->mods++], p->tok.text, p->tok.len);
        ptx_edit_const(p->edits, &p->tok);
        if (!ptx_next(p))
            return false;
    }
    return !p->error;
}

bool ptx_instruction(struct ptx_parser *p)
{
    g_autofree struct ptx_insn *in = g_new0(struct ptx_insn, 1);

    ptx_edit_insn(p->edits, &p->tok);
    if (!guard(p, in) || !opcode(p, in))
        return false;
    if (!strcmp(in->op, "call"))
        return ptx_lower_call(p, in);
    while (!ptx_is(p, ';')) {
        if (in->n == PTX_OPERANDS)
            return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "too many operands");
        if (!ptx_operand(p, &in->operand[in->n++]))
            return false;
        if (!ptx_accept(p, ',') && !ptx_accept(p, '|'))
            break;
    }
    return ptx_expect(p, ';') && ptx_lower(p, in);
}
