/*
 * Bodies of functions: registers, labels, blocks and the instructions between them, up to finished operations.
 */
#include "gpu/soft/exec/exec.h"
#include "gpu/soft/ptx/parse.h"

#include <string.h>

unsigned ptx_stride(char width)
{
    switch (width) {
    case 'p':
        return 64;
    case 'h':
        return 2 * SOFT_WARP;
    case 'w':
        return 4 * SOFT_WARP;
    default:
        return 8 * SOFT_WARP;
    }
}

int32_t ptx_reg_alloc(struct ptx_parser *p, char width, uint32_t count)
{
    uint64_t bytes = (uint64_t)count * ptx_stride(width);
    int32_t at = p->fn->frame;

    if (bytes > LIMIT_FRAME || p->fn->frame + bytes > LIMIT_FRAME) {
        ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "too many registers");
        return 0;
    }
    p->fn->frame += bytes;
    p->fn->registers += count * (width == 'd' ? 2 : width != 'p');
    return at;
}

/* .reg .type %name<n>, other; */
static bool registers(struct ptx_parser *p)
{
    struct ptx_type type;
    struct ptx_token name;
    struct ptx_sym *sym;
    int64_t count;
    char width;

    if (!ptx_next(p))
        return false;
    if (p->tok.kind != PTX_DOT || !ptx_type(p->tok.text, p->tok.len, &type))
        return ptx_fail(p, p->tok.kind == PTX_DOT ? SOFT_NOT_SUPPORTED : SOFT_INVALID_PTX, &p->tok,
                        "'%.*s' is no type of a register", (int)MIN(p->tok.len, 40u), p->tok.text);
    width = type.kind == 'p' ? 'p' : ptx_width(type.size * type.packed);
    do {
        if (!ptx_next(p))
            return false;
        name = p->tok;
        sym = ptx_declare(p, &name, SYM_REG);
        count = 0;
        if (!sym || !ptx_next(p))
            return false;
        if (ptx_is(p, '<') && (!ptx_next(p) || !ptx_int(p, &count) || !ptx_expect(p, '>')))
            return false;
        if (count < 0 || count > LIMIT_FRAME)
            return ptx_fail(p, SOFT_INVALID_PTX, &name, "%" PRId64 " registers", count);
        sym->width = width;
        sym->count = count;
        sym->addr = ptx_reg_alloc(p, width, MAX(count, 1));
    } while (ptx_is(p, ','));
    return ptx_expect(p, ';');
}

/* NAME: .branchtargets L1, L2; */
static bool branch_targets(struct ptx_parser *p, const struct ptx_token *name)
{
    struct ptx_sym *sym = ptx_declare(p, name, SYM_TABLE);
    GArray *table;
    uint32_t none = 0;

    if (!sym)
        return false;
    table = g_array_new(false, false, sizeof(uint32_t));
    sym->index = p->fn->tables->len;
    g_ptr_array_add(p->fn->tables, table);
    do {
        struct ptx_fixup fix = {.op = table->len, .table = table, .scope = p->scope};

        if (!ptx_next(p))
            return false;
        fix.label = p->tok;
        if (p->tok.kind != PTX_ID || table->len >= LIMIT_OPS)
            return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected a label");
        g_array_append_val(table, none);
        g_array_append_val(p->fixups, fix);
        if (!ptx_next(p))
            return false;
    } while (ptx_is(p, ','));
    return ptx_expect(p, ';');
}

bool ptx_callprototype(struct ptx_parser *p, const struct ptx_token *name)
{
    struct ptx_sym *sym = ptx_declare(p, name, SYM_PROTO);
    struct soft_call *call;
    bool params = false;
    uint32_t bytes = 0;

    if (!sym || !ptx_next(p))
        return false;
    call = sym->proto = g_new0(struct soft_call, 1);
    for (unsigned part = 0; part < 2 && !p->error; part++) {
        if (ptx_accept(p, '(')) {
            while (!ptx_is(p, ')')) {
                unsigned *n = params ? &call->args : &call->rets;
                struct soft_formal *list = params ? call->arg : call->ret;

                if (*n == LIMIT_OPERANDS)
                    return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "too many parameters");
                if (!ptx_formal(p, &bytes, &list[*n], false))
                    return false;
                ++*n;
                if (!ptx_accept(p, ','))
                    break;
            }
            if (!ptx_expect(p, ')'))
                return false;
        }
        if (!params && (p->tok.kind != PTX_ID || !ptx_next(p)))
            return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected '_'");
        params = true;
    }
    if (ptx_is_dot(p, "noreturn"))
        ptx_next(p);
    return ptx_expect(p, ';');
}

/* A name at the start of a statement is a label or an opcode. */
static bool named(struct ptx_parser *p)
{
    struct ptx_lexer ahead = p->lexer;
    struct ptx_token name = p->tok, next = ptx_lex_next(&ahead);
    struct ptx_sym *sym;

    if (next.kind != PTX_PUNCT || next.text[0] != ':')
        return ptx_instruction(p);
    if (!ptx_next(p) || !ptx_next(p))
        return false;
    if (ptx_is_dot(p, "callprototype"))
        return ptx_callprototype(p, &name);
    if (ptx_is_dot(p, "branchtargets"))
        return branch_targets(p, &name);
    sym = ptx_declare(p, &name, SYM_LABEL);
    if (!sym)
        return false;
    sym->index = p->ops->len;
    return ptx_emit(p, NULL, exec_join) != NULL;
}

/* .loc file line column [, function_name label, inlined_at file line column] */
static bool location(struct ptx_parser *p)
{
    const char *from = ptx_begin(&p->tok);

    if (!ptx_next(p))
        return false;
    while (!p->error && (p->tok.kind == PTX_INT || ptx_is(p, ',') || ptx_is(p, '+') ||
                         ptx_token_is(&p->tok, "function_name") || ptx_token_is(&p->tok, "inlined_at"))) {
        bool names = ptx_token_is(&p->tok, "function_name");

        if (!ptx_next(p) || (names && !ptx_next(p)))
            return false;
    }
    ptx_edit_drop(p->edits, from, ptx_begin(&p->tok));
    return !p->error;
}

static bool directive(struct ptx_parser *p)
{
    if (ptx_is_dot(p, "reg"))
        return registers(p);
    if (ptx_is_dot(p, "local") || ptx_is_dot(p, "shared") || ptx_is_dot(p, "param") ||
        ptx_is_dot(p, "global") || ptx_is_dot(p, "const"))
        return ptx_variables(p, false, ptx_begin(&p->tok));
    if (ptx_is_dot(p, "extern"))
        return ptx_next(p) && ptx_variables(p, true, ptx_begin(&p->tok));
    if (ptx_is_dot(p, "loc"))
        return location(p);
    if (ptx_is_dot(p, "pragma"))
        return ptx_next(p) && ptx_next(p) && ptx_expect(p, ';');
    return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "unexpected .%.*s", (int)MIN(p->tok.len, 40u),
                    p->tok.text);
}

/* Statements up to the brace that ends the body. */
static bool statements(struct ptx_parser *p)
{
    unsigned depth = 1;

    while (depth && !p->error) {
        if (ptx_is(p, '{')) {
            if (++depth > LIMIT_SCOPES)
                return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "blocks too deep");
            ptx_scope_push(p);
            ptx_next(p);
        } else if (ptx_is(p, '}')) {
            p->params = p->scope->param_mark;
            p->scope = p->scope->up;
            depth--;
            ptx_next(p);
        } else if (p->tok.kind == PTX_DOT) {
            directive(p);
        } else if (p->tok.kind == PTX_ID) {
            named(p);
        } else if (ptx_is(p, '@')) {
            ptx_instruction(p);
        } else if (!ptx_accept(p, ';')) {
            ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "'%.*s' begins no statement",
                     (int)MIN(p->tok.len, 40u), p->tok.text);
        }
    }
    return !p->error;
}

/* Branches learn where their labels are. */
static bool resolve(struct ptx_parser *p)
{
    for (unsigned i = 0; i < p->fixups->len; i++) {
        struct ptx_fixup *fix = &g_array_index(p->fixups, struct ptx_fixup, i);
        struct ptx_sym *sym = NULL;

        /* An empty name stands for the function's end. */
        if (fix->label.len)
            sym = ptx_find(p, fix->scope, &fix->label);
        if (fix->label.len && (!sym || sym->kind != SYM_LABEL))
            return ptx_fail(p, SOFT_INVALID_PTX, &fix->label, "no label '%.*s'",
                            (int)MIN(fix->label.len, 200u), fix->label.text);
        uint32_t to = sym ? sym->index : p->ops->len - 2;

        if (fix->table)
            g_array_index(fix->table, uint32_t, fix->op) = to;
        else
            g_array_index(p->ops, struct soft_op, fix->op).imm = to;
    }
    return true;
}

static void finish(struct ptx_parser *p)
{
    struct soft_function *fn = p->fn;

    fn->n_ops = p->ops->len;
    fn->ops = g_memdup2(p->ops->data, (gsize)fn->n_ops * sizeof(struct soft_op));
    fn->consts = g_aligned_alloc0(1, MAX(p->consts->len, 64u), 64);
    memcpy(fn->consts, p->consts->data ? (void *)p->consts->data : "", p->consts->len);
    fn->registers = MIN(fn->registers, 255);
    fn->defined = true;
    if (fn->entry)
        fn->shared = p->entry_used_shared || fn->calls->len ? p->shared_end : 0;
    ptx_flow(fn);
}

bool ptx_body(struct ptx_parser *p)
{
    g_array_set_size(p->ops, 0);
    g_array_set_size(p->fixups, 0);
    g_byte_array_set_size(p->consts, 0);
    g_hash_table_remove_all(p->const_at);
    p->entry_used_shared = false;
    p->shared_end = p->shared;
    p->fn->registers = 0;
    p->fn->frame = 64; /* the carry flag */
    /* An entry's parameters are elsewhere: its calls' begin anew. */
    if (p->fn->entry)
        p->params = 0;
    p->fn->pmem = p->params;
    p->scope->param_mark = p->params;
    ptx_edit_function(p->edits, p->tok.text + 1);
    if (!ptx_next(p) || !statements(p))
        return false;
    if (!ptx_emit(p, NULL, exec_join) || !ptx_emit(p, NULL, exec_ret) || !resolve(p))
        return false;
    finish(p);
    ptx_edit_function_end(p->edits);
    p->fn = NULL;
    return true;
}
