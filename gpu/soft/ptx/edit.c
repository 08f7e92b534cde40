#include "gpu/soft/ptx/edit.h"

/* A program that has such names for itself is refused by whoever compiles what becomes of it. */
#define REGISTER "%%vmd_place_"

enum edit_kind { EDIT_DROP, EDIT_GLOBAL, EDIT_NUMBER, EDIT_REGISTER, EDIT_LOAD, EDIT_DECLARE };

struct edit {
    const char *from;
    uint32_t len; /* of what is replaced */
    uint16_t kind, reg;
    uint64_t value;
};

void ptx_edits_init(struct ptx_edits *edits)
{
    *edits = (struct ptx_edits){.all = g_array_new(false, false, sizeof(struct edit))};
}

void ptx_edits_clear(struct ptx_edits *edits)
{
    g_array_unref(edits->all);
}

static void add(struct ptx_edits *e, enum edit_kind kind, const char *from, const char *end, unsigned reg, uint64_t value)
{
    const struct edit edit = {from, (uint32_t)(end - from), kind, (uint16_t)reg, value};

    g_array_append_val(e->all, edit);
}

/* ---- Functions ---- */

void ptx_edit_function(struct ptx_edits *edits, const char *body)
{
    if (!edits)
        return;
    edits->declare = edits->all->len;
    edits->most = 0;
    add(edits, EDIT_DECLARE, body, body, 0, 0); /* before all else of that place */
}

void ptx_edit_function_end(struct ptx_edits *edits)
{
    if (edits)
        g_array_index(edits->all, struct edit, edits->declare).reg = (uint16_t)edits->most;
}

void ptx_edit_insn(struct ptx_edits *edits, const struct ptx_token *first)
{
    if (!edits)
        return;
    edits->insn = first->text;
    edits->used = 0;
}

void ptx_edit_operand(struct ptx_edits *edits, const struct ptx_token *name, const char *end, const struct soft_global *g,
                      uint64_t offset)
{
    if (!edits || !g || g->functions)
        return;
    add(edits, EDIT_LOAD, edits->insn, edits->insn, edits->used, g->addr + offset);
    add(edits, EDIT_REGISTER, name->text, end, edits->used, 0);
    edits->used++;
    edits->most = MAX(edits->most, edits->used);
}

void ptx_edit_const(struct ptx_edits *edits, const struct ptx_token *token)
{
    if (edits && token->kind == PTX_DOT && token->len == 5 && !memcmp(token->text, "const", 5))
        add(edits, EDIT_GLOBAL, token->text, token->text + token->len, 0, 0);
}

/* ---- Variables ---- */

void ptx_edit_variables(struct ptx_edits *edits)
{
    if (!edits)
        return;
    edits->statement = edits->all->len;
    edits->fixed = edits->kept = edits->self = false;
}

void ptx_edit_variable(struct ptx_edits *edits, const struct soft_global *g)
{
    if (!edits)
        return;
    edits->kept |= g->functions;
    edits->fixed |= !g->functions;
}

void ptx_edit_value(struct ptx_edits *edits, const char *from, const char *end, const struct soft_global *of,
                    const struct soft_global *g, uint64_t address)
{
    if (!edits || g->functions)
        return;
    edits->self |= g == of;
    add(edits, EDIT_NUMBER, from, end, 0, address);
}

bool ptx_edit_variables_end(struct ptx_edits *edits, const char *first, const struct ptx_token *space, const char *end)
{
    if (!edits)
        return true;
    if (edits->kept && (edits->fixed || edits->self))
        return false;
    if (edits->kept) {
        ptx_edit_const(edits, space);
    } else if (edits->fixed) {
        g_array_set_size(edits->all, edits->statement);
        add(edits, EDIT_DROP, first, end, 0, 0);
    }
    return true;
}

void ptx_edit_drop(struct ptx_edits *edits, const char *from, const char *end)
{
    if (edits)
        add(edits, EDIT_DROP, from, end, 0, 0);
}

/* ---- The text ---- */

/* Those of one place stay in their order: it is a stable sort. */
static gint by_place(gconstpointer a, gconstpointer b)
{
    const char *one = ((const struct edit *)a)->from, *two = ((const struct edit *)b)->from;

    return one < two ? -1 : one > two;
}

static void put(GString *out, const struct edit *e)
{
    switch ((enum edit_kind)e->kind) {
    case EDIT_DROP:
        g_string_append_c(out, '\n');
        break;
    case EDIT_GLOBAL:
        g_string_append(out, "global");
        break;
    case EDIT_NUMBER:
        g_string_append_printf(out, "0x%" PRIx64, e->value);
        break;
    case EDIT_REGISTER:
        g_string_append_printf(out, REGISTER "%u", e->reg);
        break;
    case EDIT_LOAD:
        g_string_append_printf(out, "mov.u64 " REGISTER "%u, 0x%" PRIx64 ";\n", e->reg, e->value);
        break;
    case EDIT_DECLARE:
        if (e->reg)
            g_string_append_printf(out, "\n.reg .b64 " REGISTER "<%u>;\n", e->reg);
        break;
    }
}

char *ptx_edits_apply(struct ptx_edits *edits, const char *text, size_t len)
{
    GString *out = g_string_sized_new(len + 1);
    const char *at = text;

    g_array_sort(edits->all, by_place);
    for (unsigned i = 0; i < edits->all->len; i++) {
        const struct edit *e = &g_array_index(edits->all, struct edit, i);

        g_assert(e->from >= at);
        g_string_append_len(out, at, e->from - at);
        put(out, e);
        at = e->from + e->len;
    }
    g_string_append_len(out, at, text + len - at);
    return g_string_free(out, false);
}
