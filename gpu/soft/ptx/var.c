/*
 * Variables and parameters of PTX: their places and first values (PTX ISA, sections 5.1 to 5.4). Global and
 * constant variables are allocated in the module's space, one allocation each.
 */
#include "gpu/soft/ptx/parse.h"

#include <string.h>

#define VAR_MAX (1ull << 32) /* bytes of one variable */

struct decl {
    enum soft_space_kind space;
    struct ptx_type type;
    uint32_t align;
    unsigned vector; /* elements of .v2, .v4 */
    bool external;
    struct ptx_token name;
    uint64_t count;  /* elements; 0 where [] is open */
};

static uint64_t align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

static bool alignment(struct ptx_parser *p, uint32_t *out)
{
    int64_t v;

    if (!ptx_next(p) || !ptx_int(p, &v))
        return false;
    if (v < 1 || v > 4096 || (v & (v - 1)))
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "an alignment of %" PRId64, v);
    *out = v;
    return true;
}

/* .align, .ptr, .v2 and the type, in any order. */
static bool attributes(struct ptx_parser *p, struct decl *d)
{
    struct ptx_type type;
    bool typed = false, pointer = false;
    uint32_t pointee;

    d->align = 0;
    d->vector = 1;
    while (p->tok.kind == PTX_DOT && !p->error) {
        bool ok;

        if (ptx_is_dot(p, "align")) {
            ok = alignment(p, pointer ? &pointee : &d->align);
        } else if (ptx_type(p->tok.text, p->tok.len, &type) && !typed && type.kind != 'p') {
            d->type = type;
            typed = true;
            ok = ptx_next(p);
        } else if (ptx_is_dot(p, "v2") || ptx_is_dot(p, "v4")) {
            d->vector = p->tok.text[1] - '0';
            ok = ptx_next(p);
        } else if (ptx_is_dot(p, "ptr") || (pointer && (ptx_is_dot(p, "global") || ptx_is_dot(p, "const") ||
                                                        ptx_is_dot(p, "shared") || ptx_is_dot(p, "local")))) {
            pointer = true;
            ptx_edit_const(p->edits, &p->tok);
            ok = ptx_next(p);
        } else {
            bool opaque = ptx_is_dot(p, "texref") || ptx_is_dot(p, "surfref") || ptx_is_dot(p, "samplerref") ||
                          ptx_is_dot(p, "attribute");

            return ptx_fail(p, opaque ? SOFT_NOT_SUPPORTED : SOFT_INVALID_PTX, &p->tok,
                            ".%.*s is not supported here", (int)MIN(p->tok.len, 40u), p->tok.text);
        }
        if (!ok)
            return false;
    }
    if (!typed)
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected a type");
    d->align = MAX(d->align, d->type.size * d->type.packed * d->vector);
    return true;
}

/* NAME[n][m] */
static bool declarator(struct ptx_parser *p, struct decl *d)
{
    int64_t n;

    d->name = p->tok;
    d->count = d->vector;
    if (p->tok.kind != PTX_ID)
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "expected a name");
    if (!ptx_next(p))
        return false;
    while (ptx_accept(p, '[')) {
        if (ptx_accept(p, ']')) {
            d->count = 0;
            continue;
        }
        if (!ptx_int(p, &n) || !ptx_expect(p, ']'))
            return false;
        if (n < 0 || __builtin_mul_overflow(d->count, (uint64_t)n, &d->count) || d->count > VAR_MAX)
            return ptx_fail(p, SOFT_INVALID_PTX, &d->name, "an array of such a size");
    }
    return !p->error;
}

bool ptx_formal(struct ptx_parser *p, uint32_t *bytes, struct soft_formal *out, bool declare)
{
    struct decl d = {.space = SPACE_PARAM};
    struct ptx_sym *sym;
    uint64_t size;

    if (!ptx_is_dot(p, "param"))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "only .param parameters are supported");
    if (!ptx_next(p) || !attributes(p, &d) || !declarator(p, &d))
        return false;
    size = d.count * d.type.size * d.type.packed;
    out->offset = align_up(*bytes, d.align);
    if (size > SOFT_MAX_PARAM || out->offset + size > SOFT_MAX_PARAM)
        return ptx_fail(p, SOFT_INVALID_PTX, &d.name, "too many parameter bytes");
    out->size = size;
    out->align = d.align;
    *bytes = out->offset + size;
    if (!declare || ptx_token_is(&d.name, "_"))
        return true;
    sym = ptx_declare(p, &d.name, SYM_VAR);
    if (!sym)
        return false;
    sym->space = SPACE_PARAM;
    sym->kernel_param = p->fn->entry;
    sym->addr = out->offset;
    sym->size = size;
    return true;
}

/* ---- First values ---- */

struct init {
    struct soft_global *global;
    uint8_t *host;
    uint64_t at, size;
    struct ptx_type type;
};

/* A name, with generic() or an offset, as an address. */
static bool init_address(struct ptx_parser *p, struct soft_global *global, uint64_t *out)
{
    bool generic = ptx_token_is(&p->tok, "generic");
    const char *from = ptx_begin(&p->tok);
    struct ptx_sym *sym;
    int64_t offset = 0;

    if (generic && (!ptx_next(p) || !ptx_expect(p, '(')))
        return false;
    sym = ptx_find(p, p->scope, &p->tok);
    if (sym && sym->kind == SYM_FUNCTION) {
        *out = SOFT_CODE_BASE + (uint64_t)sym->fn->index * SOFT_CODE_STEP;
        global->functions = true;
    } else if (sym && sym->kind == SYM_VAR && sym->global) {
        *out = sym->addr;
        sym->global->used = true;
        global->functions |= sym->global->functions;
    } else {
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "'%.*s' has no address yet",
                        (int)MIN(p->tok.len, 200u), p->tok.text);
    }
    if (!ptx_next(p) || (generic && !ptx_expect(p, ')')))
        return false;
    if (ptx_is(p, '+') && (!ptx_next(p) || !ptx_int(p, &offset)))
        return false;
    *out += offset;
    if (sym->kind == SYM_VAR)
        ptx_edit_value(p->edits, from, ptx_begin(&p->tok), global, sym->global, *out);
    return true;
}

static bool init_value(struct ptx_parser *p, struct init *in)
{
    uint64_t v = 0;
    double d;
    float f;
    bool minus = ptx_accept(p, '-');

    if (in->at + in->type.size > in->size)
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "more values than elements");
    if (p->tok.kind == PTX_ID) {
        if (!init_address(p, in->global, &v))
            return false;
    } else if (p->tok.kind == PTX_INT) {
        v = minus ? -p->tok.num : p->tok.num;
    } else if (p->tok.kind == PTX_FLOAT && in->type.kind == 'f' && in->type.size >= 4) {
        memcpy(&d, &p->tok.num, 8);
        d = minus ? -d : d;
        f = d;
        memcpy(&v, in->type.size == 8 ? (void *)&d : &f, in->type.size);
    } else if (p->tok.kind == PTX_FLOAT32 && in->type.size == 4) {
        v = p->tok.num;
    } else {
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "no such value here");
    }
    memcpy(in->host + in->at, &v, in->type.size);
    in->at += in->type.size;
    return p->tok.kind == PTX_ID || ptx_is(p, ',') || ptx_is(p, '}') || ptx_is(p, ';') || ptx_next(p);
}

/* A brace nested DEPTH deep, or a value. */
static bool init_list(struct ptx_parser *p, struct init *in, unsigned depth)
{
    if (!ptx_is(p, '{'))
        return init_value(p, in);
    if (depth > 8)
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "braces too deep");
    if (!ptx_next(p))
        return false;
    while (!ptx_is(p, '}')) {
        if (!init_list(p, in, depth + 1))
            return false;
        if (!ptx_accept(p, ','))
            break;
    }
    return ptx_expect(p, '}');
}

/* ---- Places ---- */

static bool place_global(struct ptx_parser *p, struct decl *d, struct ptx_sym *sym)
{
    struct soft_module *m = p->module;
    struct init in = {.size = sym->size, .type = d->type};
    struct soft_global *g;

    if (d->external)
        return ptx_fail(p, SOFT_INVALID_PTX, &d->name, "unresolved variable '%.*s'",
                        (int)MIN(d->name.len, 200u), d->name.text);
    if (sym->size == 0)
        return ptx_fail(p, SOFT_INVALID_PTX, &d->name, "a variable without a size");
    if (soft_space_alloc_own(m->space, sym->size, &sym->addr))
        return ptx_fail(p, SOFT_OUT_OF_MEMORY, &d->name, "no memory for %" PRIu64 " bytes", sym->size);
    g_array_append_val(m->owned, sym->addr);
    in.host = soft_space_host(m->space, sym->addr, sym->size);
    g = g_new0(struct soft_global, 1);
    g->name = g_strndup(d->name.text, d->name.len);
    g->addr = sym->addr;
    g->size = sym->size;
    g_ptr_array_add(m->variables, g);
    g_hash_table_replace(m->globals, g->name, g);
    sym->global = in.global = g;
    if (d->space == SPACE_CONST)
        m->const_bytes += sym->size;
    if (ptx_is(p, '=') && (!ptx_next(p) || !init_list(p, &in, 0)))
        return false;
    ptx_edit_variable(p->edits, g);
    return true;
}

static bool place_shared(struct ptx_parser *p, struct decl *d, struct ptx_sym *sym)
{
    uint32_t *end = p->fn ? &p->shared_end : &p->shared;

    if (sym->size == 0) {
        sym->dynamic = true;
        return true;
    }
    if (p->fn && !p->fn->entry)
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &d->name, "shared variables of a .func are not supported");
    p->entry_used_shared |= p->fn != NULL;
    sym->addr = align_up(*end, d->align);
    if (sym->size > SOFT_MAX_SHARED || sym->addr + sym->size > SOFT_MAX_SHARED)
        return ptx_fail(p, SOFT_INVALID_PTX, &d->name, "too much shared memory (at most %u bytes)",
                        SOFT_MAX_SHARED);
    *end = sym->addr + sym->size;
    return true;
}

static bool place_local(struct ptx_parser *p, struct decl *d, struct ptx_sym *sym)
{
    uint32_t *end = d->space == SPACE_LOCAL ? &p->fn->local : &p->params;
    uint32_t limit = d->space == SPACE_LOCAL ? SOFT_MAX_LOCAL : SOFT_MAX_PARAM;

    sym->addr = align_up(*end, d->align);
    if (!sym->size || sym->size > limit || sym->addr + sym->size > limit)
        return ptx_fail(p, SOFT_INVALID_PTX, &d->name, "too much local memory");
    *end = sym->addr + sym->size;
    p->fn->pmem = MAX(p->fn->pmem, p->params);
    return true;
}

static bool place(struct ptx_parser *p, struct decl *d)
{
    struct ptx_sym *sym = ptx_declare(p, &d->name, SYM_VAR);

    if (!sym)
        return false;
    sym->space = d->space;
    sym->size = d->count * d->type.size * d->type.packed;
    switch (d->space) {
    case SPACE_GLOBAL:
    case SPACE_CONST:
        return place_global(p, d, sym);
    case SPACE_SHARED:
        return place_shared(p, d, sym);
    default:
        return place_local(p, d, sym);
    }
}

bool ptx_variables(struct ptx_parser *p, bool external, const char *first)
{
    static const struct {
        const char *name;
        enum soft_space_kind space;
    } spaces[] = {{"global", SPACE_GLOBAL}, {"const", SPACE_CONST}, {"shared", SPACE_SHARED},
                  {"local", SPACE_LOCAL}, {"param", SPACE_PARAM}};
    const struct ptx_token space = p->tok;
    struct decl d = {.external = external};

    for (unsigned i = 0; i < G_N_ELEMENTS(spaces); i++) {
        if (ptx_is_dot(p, spaces[i].name))
            d.space = spaces[i].space;
    }
    if (!p->fn && (d.space == SPACE_LOCAL || d.space == SPACE_PARAM))
        return ptx_fail(p, SOFT_INVALID_PTX, &p->tok, "only functions have such variables");
    ptx_edit_variables(p->edits);
    if (!ptx_next(p) || !attributes(p, &d))
        return false;
    do {
        if (!declarator(p, &d) || !place(p, &d))
            return false;
    } while (ptx_accept(p, ','));
    if (ptx_is(p, ';') && !ptx_edit_variables_end(p->edits, first, &space, p->tok.text + 1))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &d.name,
                        "'%.*s' has addresses of functions, and is declared with others or has its own",
                        (int)MIN(d.name.len, 200u), d.name.text);
    return ptx_expect(p, ';');
}
