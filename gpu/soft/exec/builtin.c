/*
 * Functions that CUDA's device runtime has: printf, malloc, free, assert.
 */
#include "gpu/soft/exec/exec.h"

#include <string.h>

enum { TEXT_MAX = 4096, SPEC_MAX = 32 };

void exec_print(struct warp *w, const char *text, size_t len)
{
    struct exec_grid *g = w->block->grid;

    if (!g->launch->print || !len)
        return;
    pthread_mutex_lock(&g->lock);
    g->launch->print(g->launch->arg, text, len);
    pthread_mutex_unlock(&g->lock);
}

/* Argument N of a call for LANE, of at most 8 bytes. */
static uint64_t argument(const struct warp *w, const struct soft_call *call, unsigned n, unsigned lane)
{
    uint64_t v = 0;

    memcpy(&v, w->frame->pmem + (size_t)lane * w->frame->fn->pmem + call->arg[n].offset, MIN(call->arg[n].size, 8));
    return v;
}

static void result(struct warp *w, const struct soft_call *call, unsigned lane, uint64_t v)
{
    memcpy(w->frame->pmem + (size_t)lane * w->frame->fn->pmem + call->ret[0].offset, &v, MIN(call->ret[0].size, 8));
}

/* The string at generic ADDR, at most TEXT_MAX bytes of it. */
static char *string_at(struct warp *w, unsigned lane, uint64_t addr)
{
    uint64_t left;
    const uint8_t *at = exec_generic(w, lane, addr, &left);

    return at ? g_strndup((const char *)at, strnlen((const char *)at, MIN(left, TEXT_MAX))) : NULL;
}

/* One conversion, whose text with its '%' is SPEC of length N; the next argument is at *ARG. */
static bool convert(struct warp *w, unsigned lane, GString *out, const char *spec, size_t n, uint64_t *arg)
{
    char type = spec[n - 1], format[SPEC_MAX + 4];
    bool wide = n > 2 && (spec[n - 2] == 'l' || spec[n - 2] == 'j' || spec[n - 2] == 'z' || spec[n - 2] == 't');
    size_t flags = 1 + strspn(spec + 1, "-+ #0123456789.");
    uint64_t v = 0, left;
    unsigned size = wide || strchr("fFeEgGaAsp", type) ? 8 : 4;
    const uint8_t *at;
    double d;

    if (n >= SPEC_MAX || strspn(spec + 1, "-+ #0123456789.") > 12)
        return false;
    *arg = (*arg + size - 1) & ~(uint64_t)(size - 1);
    at = exec_generic(w, lane, *arg, &left);
    if (!at || left < size)
        return false;
    memcpy(&v, at, size);
    *arg += size;
    snprintf(format, sizeof(format), "%.*s", (int)flags, spec);
    switch (type) {
    case 'd':
    case 'i':
        strcat(format, PRId64);
        g_string_append_printf(out, format, wide ? (int64_t)v : (int64_t)(int32_t)v);
        return true;
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        snprintf(format + strlen(format), 8, "l%c", type);
        g_string_append_printf(out, format, v);
        return true;
    case 'c':
        strcat(format, "c");
        g_string_append_printf(out, format, (int)v);
        return true;
    case 'p':
        g_string_append_printf(out, "0x%" PRIx64, v);
        return true;
    case 's': {
        g_autofree char *s = string_at(w, lane, v);

        strcat(format, "s");
        g_string_append_printf(out, format, s ? s : "(null)");
        return true;
    }
    default:
        memcpy(&d, &v, 8);
        snprintf(format + strlen(format), 4, "%c", type);
        g_string_append_printf(out, format, d);
        return strchr("fFeEgGaA", type) != NULL;
    }
}

/* One lane's vprintf(): the text, or -1. */
static int format_text(struct warp *w, unsigned lane, uint64_t format, uint64_t arg)
{
    g_autofree char *f = string_at(w, lane, format);
    g_autoptr(GString) out = g_string_new(NULL);

    if (!f)
        return -1;
    for (const char *c = f; *c && out->len < TEXT_MAX;) {
        size_t n = strcspn(c, "%");

        g_string_append_len(out, c, n);
        c += n;
        if (!*c)
            break;
        if (c[1] == '%') {
            g_string_append_c(out, '%');
            c += 2;
            continue;
        }
        n = 1 + strspn(c + 1, "-+ #0123456789.hljzt");
        if (!strchr("diuxXocpsfFeEgGaA", c[n]) || !c[n] || !convert(w, lane, out, c, n + 1, &arg))
            return -1;
        c += n + 1;
    }
    exec_print(w, out->str, out->len);
    return out->len;
}

static void assert_failed(struct warp *w, const struct soft_op *op, const struct soft_call *call, unsigned lane)
{
    const uint32_t *dim = w->block->grid->launch->block;
    g_autofree char *what = string_at(w, lane, argument(w, call, 0, lane));
    g_autofree char *file = string_at(w, lane, argument(w, call, 1, lane));
    g_autofree char *func = string_at(w, lane, argument(w, call, 3, lane));
    uint32_t t = w->index * SOFT_WARP + lane;
    g_autofree char *text = g_strdup_printf(
        "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s` failed.\n", file ? file : "?",
        (uint32_t)argument(w, call, 2, lane), func ? func : "?", w->block->ctaid[0], w->block->ctaid[1],
        w->block->ctaid[2], t % dim[0], t / dim[0] % dim[1], t / dim[0] / dim[1], what ? what : "?");

    exec_print(w, text, strlen(text));
}

/* ---- The heap of kernels: a sorted list of what is in use ---- */

uint64_t exec_malloc(struct soft_module *module, uint64_t size)
{
    GArray *used = module->heap_used;
    struct soft_global g = {.addr = module->heap};
    unsigned i;

    if (!module->heap || size > SOFT_HEAP)
        return 0;
    g.size = (MAX(size, 1) + 15) & ~15ull;
    pthread_mutex_lock(&module->heap_lock);
    for (i = 0; i < used->len; i++) {
        const struct soft_global *at = &g_array_index(used, struct soft_global, i);

        if (at->addr - g.addr >= g.size)
            break;
        g.addr = at->addr + at->size;
    }
    if (g.addr + g.size > module->heap + SOFT_HEAP)
        g.addr = 0;
    else
        g_array_insert_val(used, i, g);
    pthread_mutex_unlock(&module->heap_lock);
    return g.addr;
}

bool exec_free(struct soft_module *module, uint64_t addr)
{
    bool found = addr == 0;

    pthread_mutex_lock(&module->heap_lock);
    for (unsigned i = 0; i < module->heap_used->len && !found; i++) {
        if (g_array_index(module->heap_used, struct soft_global, i).addr != addr)
            continue;
        g_array_remove_index(module->heap_used, i);
        found = true;
    }
    pthread_mutex_unlock(&module->heap_lock);
    return found;
}

void exec_builtin(struct warp *w, const struct soft_op *op, const struct soft_call *call, enum soft_builtin which)
{
    struct soft_module *m = w->block->grid->fn->module;

    for (unsigned i = 0; i < SOFT_WARP && !w->stop; i++) {
        if (!(w->mask >> i & 1))
            continue;
        switch (which) {
        case BUILTIN_VPRINTF:
            result(w, call, i, (uint32_t)format_text(w, i, argument(w, call, 0, i), argument(w, call, 1, i)));
            break;
        case BUILTIN_MALLOC:
            result(w, call, i, exec_malloc(m, argument(w, call, 0, i)));
            break;
        case BUILTIN_FREE:
            if (!exec_free(m, argument(w, call, 0, i)))
                exec_fault(w, op, SOFT_ILLEGAL_ADDRESS, "free() of what malloc() did not give");
            break;
        default:
            assert_failed(w, op, call, i);
        }
    }
    if (which == BUILTIN_ASSERT)
        exec_fault(w, op, SOFT_ASSERT, "assertion failed");
}
