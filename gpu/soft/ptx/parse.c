/*
 * PTX modules: directives, functions, scopes and errors (PTX ISA, chapters 4, 5 and 11). Bodies are in body.c,
 * variables in var.c, instructions in insn.c, and what they become in lower*.c.
 */
#include "gpu/soft/ptx/parse.h"

#include <stdarg.h>
#include <string.h>

bool ptx_fail(struct ptx_parser *p, int error, const struct ptx_token *at, const char *format, ...)
{
    va_list ap;

    if (p->error)
        return false;
    p->error = error;
    g_string_append_printf(p->log, "ptx, line %u, column %u: error: ", at->line, at->column);
    va_start(ap, format);
    g_string_append_vprintf(p->log, format, ap);
    va_end(ap);
    /* Names come from the image. */
    for (char *c = p->log->str; *c; c++) {
        if (!g_ascii_isprint(*c))
            *c = '?';
    }
    return false;
}

bool ptx_next(struct ptx_parser *p)
{
    p->tok = ptx_lex_next(&p->lexer);
    return p->tok.kind != PTX_BAD ||
           ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "'%.*s' is no token",
                    (int)MIN(p->tok.len, 40u), p->tok.text);
}

bool ptx_is(const struct ptx_parser *p, char punct)
{
    return p->tok.kind == PTX_PUNCT && p->tok.text[0] == punct;
}

bool ptx_token_is(const struct ptx_token *t, const char *text)
{
    return t->len == strlen(text) && !memcmp(t->text, text, t->len);
}

const char *ptx_begin(const struct ptx_token *t)
{
    return t->text - (t->kind == PTX_DOT || t->kind == PTX_STRING);
}

bool ptx_is_dot(const struct ptx_parser *p, const char *name)
{
    return p->tok.kind == PTX_DOT && ptx_token_is(&p->tok, name);
}

bool ptx_accept(struct ptx_parser *p, char punct)
{
    return ptx_is(p, punct) && ptx_next(p);
}

bool ptx_expect(struct ptx_parser *p, char punct)
{
    if (!ptx_is(p, punct))
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected '%c' before '%.*s'", punct,
                        (int)MIN(p->tok.len, 40u), p->tok.text);
    return ptx_next(p);
}

bool ptx_int(struct ptx_parser *p, int64_t *out)
{
    bool minus = ptx_accept(p, '-');

    if (p->tok.kind != PTX_INT)
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected a number");
    *out = minus ? -p->tok.num : p->tok.num;
    return ptx_next(p);
}

bool ptx_type(const char *name, size_t len, struct ptx_type *out)
{
    static const struct {
        const char *name;
        struct ptx_type type;
    } types[] = {
        {"u8", {'u', 1, 1}}, {"u16", {'u', 2, 1}}, {"u32", {'u', 4, 1}}, {"u64", {'u', 8, 1}},
        {"s8", {'s', 1, 1}}, {"s16", {'s', 2, 1}}, {"s32", {'s', 4, 1}}, {"s64", {'s', 8, 1}},
        {"b8", {'b', 1, 1}}, {"b16", {'b', 2, 1}}, {"b32", {'b', 4, 1}}, {"b64", {'b', 8, 1}},
        {"f16", {'f', 2, 1}}, {"f32", {'f', 4, 1}}, {"f64", {'f', 8, 1}}, {"bf16", {'g', 2, 1}},
        {"f16x2", {'f', 2, 2}}, {"bf16x2", {'g', 2, 2}}, {"pred", {'p', 1, 1}},
        {"u16x2", {'u', 2, 2}}, {"s16x2", {'s', 2, 2}},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (strlen(types[i].name) == len && !memcmp(types[i].name, name, len)) {
            *out = types[i].type;
            return true;
        }
    }
    return false;
}

/* ---- Scopes ---- */

static void sym_free(void *data)
{
    struct ptx_sym *sym = data;

    g_free(sym->proto);
    g_free(sym);
}

static void scope_free(void *data)
{
    struct ptx_scope *scope = data;

    g_hash_table_unref(scope->syms);
    g_free(scope);
}

struct ptx_scope *ptx_scope_push(struct ptx_parser *p)
{
    struct ptx_scope *scope = g_new0(struct ptx_scope, 1);

    scope->syms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, sym_free);
    scope->up = p->scope;
    scope->param_mark = p->params;
    p->scope = scope;
    g_ptr_array_add(p->scopes, scope);
    return scope;
}

/* REGISTERS of "%r<n>" are found by their stem and number. */
static struct ptx_sym *find_numbered(struct ptx_scope *scope, const char *name, unsigned *number)
{
    size_t len = strlen(name), stem = len;
    g_autofree char *prefix = NULL;
    struct ptx_sym *sym;

    while (stem > 0 && g_ascii_isdigit(name[stem - 1]))
        stem--;
    /* "%x1<3>" has %x10: the number may begin at any of the digits. */
    for (; stem < len; stem++) {
        if ((name[stem] == '0' && stem + 1 < len) || len - stem > 9)
            continue;
        g_free(prefix);
        prefix = g_strndup(name, stem);
        sym = g_hash_table_lookup(scope->syms, prefix);
        *number = atoi(name + stem);
        if (sym && sym->kind == SYM_REG && *number < sym->count)
            return sym;
    }
    return NULL;
}

struct ptx_sym *ptx_find(struct ptx_parser *p, struct ptx_scope *scope, const struct ptx_token *name)
{
    g_autofree char *key = g_strndup(name->text, name->len);
    unsigned number;

    for (; scope; scope = scope->up) {
        struct ptx_sym *sym = g_hash_table_lookup(scope->syms, key);

        if (sym && (sym->kind != SYM_REG || !sym->count))
            return sym;
        sym = find_numbered(scope, key, &number);
        if (sym) {
            /* A symbol of its own, so that the next look-up is quick. */
            struct ptx_sym *one = g_new0(struct ptx_sym, 1);

            one->kind = SYM_REG;
            one->width = sym->width;
            one->addr = sym->addr + (uint64_t)number * ptx_stride(sym->width);
            g_hash_table_insert(scope->syms, g_steal_pointer(&key), one);
            return one;
        }
    }
    return NULL;
}

struct ptx_sym *ptx_declare(struct ptx_parser *p, const struct ptx_token *name, enum ptx_sym_kind kind)
{
    g_autofree char *key = g_strndup(name->text, name->len);
    struct ptx_sym *sym;

    if (name->kind != PTX_ID || g_hash_table_contains(p->scope->syms, key)) {
        ptx_fail(p, SOFT_INVALID_PTX, name,
                 name->kind == PTX_ID ? "'%.*s' is declared twice" : "expected a name before '%.*s'",
                 (int)MIN(name->len, 200u), name->text);
        return NULL;
    }
    sym = g_new0(struct ptx_sym, 1);
    sym->kind = kind;
    g_hash_table_insert(p->scope->syms, g_steal_pointer(&key), sym);
    return sym;
}

/* ---- Functions ---- */

struct soft_function *soft_function_new(struct soft_module *module, const char *name, size_t len)
{
    struct soft_function *fn = g_new0(struct soft_function, 1);

    fn->name = g_strndup(name, len);
    fn->module = module;
    fn->index = module->functions->len;
    fn->params = g_array_new(false, false, sizeof(struct soft_formal));
    fn->rets = g_array_new(false, false, sizeof(struct soft_formal));
    fn->calls = g_ptr_array_new_with_free_func(g_free);
    fn->tables = g_ptr_array_new_with_free_func((GDestroyNotify)g_array_unref);
    fn->max_threads = SOFT_MAX_THREADS;
    g_ptr_array_add(module->functions, fn);
    return fn;
}

/* "(.param ..., ...)" to OUT. */
static bool formals(struct ptx_parser *p, GArray *out)
{
    struct soft_formal f;

    if (!ptx_expect(p, '('))
        return false;
    if (ptx_accept(p, ')'))
        return true;
    do {
        if (out->len == LIMIT_OPERANDS * 4)
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "too many parameters");
        if (!ptx_formal(p, &p->params, &f, true))
            return false;
        g_array_append_val(out, f);
    } while (ptx_accept(p, ','));
    return ptx_expect(p, ')');
}

static bool dimensions(struct ptx_parser *p, uint32_t out[3])
{
    int64_t v;

    out[0] = out[1] = out[2] = 1;
    for (unsigned i = 0; i < 3; i++) {
        if (!ptx_int(p, &v))
            return false;
        if (v < 1 || v > SOFT_MAX_THREADS)
            return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "a block of %" PRId64 " threads", v);
        out[i] = v;
        if (!ptx_accept(p, ','))
            return !p->error;
    }
    return true;
}

/* Performance directives between a function's head and its body (section 11.4). */
static bool directives(struct ptx_parser *p, struct soft_function *fn)
{
    uint32_t dim[3];
    int64_t skip;

    while (p->tok.kind == PTX_DOT && !p->error) {
        bool req = ptx_is_dot(p, "reqntid"), max = ptx_is_dot(p, "maxntid");

        if (req || max) {
            if (!ptx_next(p) || !dimensions(p, dim))
                return false;
            if ((uint64_t)dim[0] * dim[1] * dim[2] > SOFT_MAX_THREADS)
                return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "a block of too many threads");
            fn->max_threads = dim[0] * dim[1] * dim[2];
            if (req)
                memcpy(fn->required, dim, sizeof(dim));
        } else if (ptx_is_dot(p, "minnctapersm") || ptx_is_dot(p, "maxnctapersm") ||
                   ptx_is_dot(p, "maxnreg")) {
            if (!ptx_next(p) || !ptx_int(p, &skip))
                return false;
        } else if (ptx_is_dot(p, "noreturn")) {
            ptx_next(p);
        } else if (ptx_is_dot(p, "pragma")) {
            if (!ptx_next(p) || !ptx_next(p) || !ptx_expect(p, ';'))
                return false;
        } else {
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "directive .%.*s is not supported",
                            (int)p->tok.len, p->tok.text);
        }
    }
    return !p->error;
}

static const struct {
    const char *name;
    enum soft_builtin builtin;
    unsigned params, rets;
} builtins[] = {
    {"vprintf", BUILTIN_VPRINTF, 2, 1},
    {"malloc", BUILTIN_MALLOC, 1, 1},
    {"free", BUILTIN_FREE, 1, 0},
    {"__assertfail", BUILTIN_ASSERT, 5, 0},
};

static bool builtin(struct ptx_parser *p, struct soft_function *fn, const struct ptx_token *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(builtins); i++) {
        if (strcmp(fn->name, builtins[i].name))
            continue;
        if (fn->params->len != builtins[i].params || fn->rets->len != builtins[i].rets)
            return ptx_fail(p, SOFT_INVALID_PTX, name, "%s is declared otherwise", fn->name);
        fn->builtin = builtins[i].builtin;
    }
    return true;
}

static bool same_formals(const GArray *a, const GArray *b)
{
    if (a->len != b->len)
        return false;
    for (unsigned i = 0; i < a->len; i++) {
        if (g_array_index(a, struct soft_formal, i).size != g_array_index(b, struct soft_formal, i).size)
            return false;
    }
    return true;
}

/* The function called NAME, new or declared before. */
static struct soft_function *function_for(struct ptx_parser *p, const struct ptx_token *name, bool entry)
{
    struct ptx_sym *sym = name->kind == PTX_ID ? ptx_find(p, p->top, name) : NULL;

    if (sym && sym->kind == SYM_FUNCTION && !sym->fn->defined && sym->fn->entry == entry)
        return sym->fn;
    if (p->module->functions->len >= LIMIT_FUNCTIONS) {
        ptx_fail(p, SOFT_NOT_SUPPORTED, name, "too many functions");
        return NULL;
    }
    sym = ptx_declare(p, name, SYM_FUNCTION);
    if (!sym)
        return NULL;
    sym->fn = soft_function_new(p->module, name->text, name->len);
    sym->fn->entry = entry;
    return sym->fn;
}

static bool function_head(struct ptx_parser *p, bool entry, GArray *params, GArray *rets,
                          struct ptx_token *name)
{
    /* Names of parameters are the body's. */
    ptx_scope_push(p);
    if (!entry && ptx_is(p, '(') && !formals(p, rets))
        return false;
    *name = p->tok;
    if (!ptx_next(p) || (ptx_is(p, '(') && !formals(p, params)))
        return false;
    if (entry && p->params > SOFT_MAX_PARAM)
        return ptx_fail(p, SOFT_INVALID_PTX, name, "too many parameter bytes");
    return true;
}

static bool function(struct ptx_parser *p, bool entry, bool external)
{
    g_autoptr(GArray) params = g_array_new(false, false, sizeof(struct soft_formal));
    g_autoptr(GArray) rets = g_array_new(false, false, sizeof(struct soft_formal));
    struct soft_function self = {.entry = entry}; /* what the parameters see */
    struct ptx_scope *inner;
    struct ptx_token name;
    bool known, ok;

    p->params = 0;
    p->fn = &self;
    if (!ptx_next(p) || !function_head(p, entry, params, rets, &name))
        return false;
    inner = p->scope;
    p->scope = p->top;
    known = name.kind == PTX_ID && ptx_find(p, p->top, &name);
    p->fn = function_for(p, &name, entry);
    if (!p->fn)
        return false;
    if (known && (!same_formals(p->fn->params, params) || !same_formals(p->fn->rets, rets)))
        return ptx_fail(p, SOFT_INVALID_PTX, &name, "%s is declared otherwise", p->fn->name);
    g_array_set_size(p->fn->params, 0);
    g_array_set_size(p->fn->rets, 0);
    g_array_append_vals(p->fn->params, params->data, params->len);
    g_array_append_vals(p->fn->rets, rets->data, rets->len);
    p->fn->param_bytes = p->params;
    if (!directives(p, p->fn))
        return false;
    if (!ptx_is(p, '{'))
        return builtin(p, p->fn, &name) && ptx_expect(p, ';');
    p->scope = inner;
    ok = ptx_body(p);
    p->scope = p->top;
    return ok;
}

/* ---- The module ---- */

static bool version(struct ptx_parser *p)
{
    double v;

    if (!ptx_next(p))
        return false;
    if (p->tok.kind != PTX_FLOAT)
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected a version");
    memcpy(&v, &p->tok.num, sizeof(v));
    p->module->version = v > 0 && v < 100 ? (unsigned)(v * 10 + 0.5) : 1000;
    if (p->module->version > SOFT_PTX_VERSION)
        return ptx_fail(p, SOFT_UNSUPPORTED_PTX_VERSION, &p->tok, "version %.1f is newer than %d.%d", v,
                        SOFT_PTX_VERSION / 10, SOFT_PTX_VERSION % 10);
    return ptx_next(p);
}

static bool target(struct ptx_parser *p)
{
    do {
        const char *comma = p->tok.text;

        if (!ptx_next(p))
            return false;
        if (p->tok.kind != PTX_ID)
            return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected a target");
        if (ptx_token_is(&p->tok, "debug") && *comma == ',') /* what is for debuggers is left out */
            ptx_edit_drop(p->edits, comma, p->tok.text + p->tok.len);
        if (p->tok.len > 3 && !memcmp(p->tok.text, "sm_", 3)) {
            for (unsigned i = 3; i < p->tok.len && g_ascii_isdigit(p->tok.text[i]) && i < 7; i++)
                p->module->target = p->module->target * 10 + p->tok.text[i] - '0';
        }
        if (!ptx_next(p))
            return false;
    } while (ptx_is(p, ','));
    if (p->module->target > SOFT_COMPUTE_MAJOR * 10 + SOFT_COMPUTE_MINOR)
        return ptx_fail(p, SOFT_NO_BINARY_FOR_GPU, &p->tok, "made for sm_%u; this device is sm_%d%d",
                        p->module->target, SOFT_COMPUTE_MAJOR, SOFT_COMPUTE_MINOR);
    return true;
}

/* .file and .section and the like say nothing that a kernel's result depends on. */
static bool debug(struct ptx_parser *p)
{
    bool section = ptx_is_dot(p, "section");
    const char *from = ptx_begin(&p->tok);

    if (!section) {
        unsigned line = p->tok.line;

        while (p->tok.kind != PTX_END && p->tok.line == line && !p->error)
            ptx_next(p);
        ptx_edit_drop(p->edits, from, ptx_begin(&p->tok));
        return !p->error;
    }
    while (p->tok.kind != PTX_END && !ptx_is(p, '}'))
        p->tok = ptx_lex_next(&p->lexer); /* what is in it is not ours to judge */
    if (p->tok.kind != PTX_END)
        ptx_edit_drop(p->edits, from, p->tok.text + 1);
    return ptx_expect(p, '}');
}

static bool statement(struct ptx_parser *p)
{
    static const char *const linkage[] = {"visible", "extern", "weak", "common"};
    const char *first = ptx_begin(&p->tok);
    bool external = false, more = true;

    while (more) {
        more = false;
        for (unsigned i = 0; i < G_N_ELEMENTS(linkage); i++) {
            if (ptx_is_dot(p, linkage[i])) {
                external |= i == 1;
                more = ptx_next(p);
            }
        }
    }
    if (ptx_is_dot(p, "entry"))
        return function(p, true, external);
    if (ptx_is_dot(p, "func"))
        return function(p, false, external);
    if (ptx_is_dot(p, "global") || ptx_is_dot(p, "const") || ptx_is_dot(p, "shared"))
        return ptx_variables(p, external, first);
    if (ptx_is_dot(p, "file") || ptx_is_dot(p, "section") || ptx_is_dot(p, "loc"))
        return debug(p);
    if (ptx_is_dot(p, "pragma"))
        return ptx_next(p) && ptx_next(p) && ptx_expect(p, ';');
    if (ptx_is_dot(p, "alias") || ptx_is_dot(p, "tex"))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, ".%.*s is not supported", (int)p->tok.len,
                        p->tok.text);
    return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "'%.*s' begins no statement",
                    (int)MIN(p->tok.len, 40u), p->tok.text);
}

static bool header(struct ptx_parser *p)
{
    int64_t bits;

    if (!ptx_next(p))
        return false;
    if (!ptx_is_dot(p, "version"))
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "a module begins with .version");
    if (!version(p))
        return false;
    if (!ptx_is_dot(p, "target"))
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected .target after .version");
    if (!target(p))
        return false;
    if (!ptx_is_dot(p, "address_size"))
        return true;
    if (!ptx_next(p) || !ptx_int(p, &bits))
        return false;
    return bits == 64 || ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "only 64-bit addresses are supported");
}

/* Calls of functions that were only declared are errors of linking. */
static bool resolved(struct ptx_parser *p)
{
    for (unsigned i = 0; i < p->module->functions->len; i++) {
        struct soft_function *fn = p->module->functions->pdata[i];

        for (unsigned k = 0; k < fn->calls->len; k++) {
            const struct soft_call *call = fn->calls->pdata[k];

            if (call->callee && !call->callee->defined && !call->callee->builtin)
                return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "unresolved function '%s'",
                                call->callee->name);
        }
    }
    return true;
}

int ptx_parse(struct soft_module *module, const char *text, size_t len, struct ptx_edits *edits, char **log)
{
    struct ptx_parser p = {.module = module, .edits = edits};

    p.log = g_string_new(NULL);
    p.scopes = g_ptr_array_new_with_free_func(scope_free);
    p.ops = g_array_new(false, false, sizeof(struct soft_op));
    p.fixups = g_array_new(false, false, sizeof(struct ptx_fixup));
    p.consts = g_byte_array_new();
    p.const_at = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    p.top = ptx_scope_push(&p);
    ptx_lex_init(&p.lexer, text, len);
    if (header(&p)) {
        while (p.tok.kind != PTX_END && statement(&p))
            continue;
        if (!p.error)
            resolved(&p);
    }
    g_hash_table_unref(p.const_at);
    g_byte_array_unref(p.consts);
    g_array_unref(p.fixups);
    g_array_unref(p.ops);
    g_ptr_array_unref(p.scopes);
    *log = g_string_free(p.log, !p.error);
    return p.error;
}
