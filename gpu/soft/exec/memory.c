/*
 * Loads, stores and addresses. Every access is checked for its range and alignment; what fails faults the launch.
 */
#include "gpu/soft/exec/exec.h"

#include <string.h>
#include <sys/mman.h>

enum { LOCAL_BYTES = SOFT_MAX_LOCAL * SOFT_WARP };

static struct exec_view local_view(struct warp *w)
{
    if (!w->local) {
        void *p = mmap(NULL, LOCAL_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p != MAP_FAILED)
            w->local = p;
    }
    return (struct exec_view){w->local, 0, w->local ? SOFT_MAX_LOCAL : 0, SOFT_MAX_LOCAL};
}

/* The view of one state space; generic and global addresses are looked up one by one. */
static struct exec_view view_of(struct warp *w, unsigned flags)
{
    switch (flags & MEM_SPACE) {
    case SPACE_SHARED:
        return w->block->shared_view;
    case SPACE_LOCAL:
        return local_view(w);
    case SPACE_PARAM:
        if (flags & MEM_KERNEL_PARAM)
            return w->block->grid->params;
        return (struct exec_view){w->frame->pmem, 0, w->frame->fn->pmem, w->frame->fn->pmem};
    default:
        return w->global;
    }
}

static bool inside(const struct exec_view *v, uint64_t addr, unsigned size)
{
    uint64_t off = addr - v->start;

    return v->size >= size && off <= v->size - size;
}

/* The range of a global address becomes the view. */
static bool find_range(struct warp *w, uint64_t addr)
{
    const struct soft_range *r = soft_map_find(w->block->grid->map, addr);

    if (r)
        w->global = (struct exec_view){r->host, r->addr, r->size, 0};
    return r != NULL;
}

uint8_t *exec_generic(struct warp *w, unsigned lane, uint64_t addr, uint64_t *left)
{
    struct exec_view v;

    switch (addr & SOFT_WINDOW_MASK) {
    case 0:
        if (!inside(&w->global, addr, 1) && !find_range(w, addr))
            return NULL;
        v = w->global;
        break;
    case SOFT_WINDOW_SHARED:
        v = w->block->shared_view;
        break;
    case SOFT_WINDOW_LOCAL:
        v = local_view(w);
        break;
    case SOFT_WINDOW_PARAM:
        v = w->block->grid->params;
        break;
    default:
        return NULL;
    }
    if (addr & SOFT_WINDOW_MASK)
        addr &= ~SOFT_WINDOW_MASK;
    if (!inside(&v, addr, 1))
        return NULL;
    *left = v.size - (addr - v.start);
    return v.base + lane * v.stride + (addr - v.start);
}

static uint8_t *slow_address(struct warp *w, const struct soft_op *op, unsigned lane, uint64_t addr, unsigned size)
{
    static const char *const names[] = {"generic", "global", "constant", "shared", "local", "parameter"};
    unsigned space = op->flags & MEM_SPACE;
    uint64_t left = 0;
    uint8_t *at = NULL;

    if (space == SPACE_GENERIC || ((space == SPACE_GLOBAL || space == SPACE_CONST) && !(addr & SOFT_WINDOW_MASK)))
        at = exec_generic(w, lane, addr, &left);
    if (at && left >= size)
        return at;
    exec_fault(w, op, SOFT_ILLEGAL_ADDRESS, "lane %u: %u bytes at 0x%" PRIx64 " of %s memory", lane, size, addr,
               names[space]);
    return NULL;
}

uint8_t *exec_address(struct warp *w, const struct soft_op *op, unsigned lane, uint64_t addr,
                      unsigned size, unsigned align)
{
    struct exec_view v = view_of(w, op->flags);

    if (addr & (align - 1)) {
        exec_fault(w, op, SOFT_MISALIGNED_ADDRESS, "lane %u: address 0x%" PRIx64 " is not aligned to %u", lane,
                   addr, align);
        return NULL;
    }
    if (inside(&v, addr, size))
        return v.base + lane * v.stride + (addr - v.start);
    return slow_address(w, op, lane, addr, size);
}

uint64_t exec_addr_of(const struct warp *w, const struct soft_op *op, unsigned lane)
{
    if (op->flags & MEM_NARROW)
        return (uint32_t)(((const uint32_t *)exec_reg(w, op->a))[lane] + (uint32_t)op->imm);
    return ((const uint64_t *)exec_reg(w, op->a))[lane] + op->imm;
}

/* Offsets into V of all lanes' addresses; true when every one is inside and aligned, so that none need be looked at. */
static inline bool all_inside(const struct warp *w, const struct soft_op *op, const struct exec_view *v, unsigned size,
                              uint64_t off[SOFT_WARP])
{
    uint64_t bad = 0, base = op->imm - v->start;
    const uint64_t *wide = exec_reg(w, op->a);
    const uint32_t *narrow = exec_reg(w, op->a);

    if (w->exec != ~0u || v->size < size)
        return false;
    if (op->flags & MEM_NARROW) {
        for (unsigned i = 0; i < SOFT_WARP; i++)
            off[i] = (uint32_t)(narrow[i] + (uint32_t)op->imm) - v->start;
    } else {
        for (unsigned i = 0; i < SOFT_WARP; i++)
            off[i] = wide[i] + base;
    }
    for (unsigned i = 0; i < SOFT_WARP; i++)
        bad |= (uint64_t)(off[i] > v->size - size) | ((off[i] + v->start) & op->n);
    return !bad;
}

/* The view becomes that of the first lane's address, where that is another range of global memory. */
static bool refill(struct warp *w, const struct soft_op *op, struct exec_view *v)
{
    if (w->exec != ~0u || (op->flags & MEM_SPACE) > SPACE_CONST || !find_range(w, exec_addr_of(w, op, 0)))
        return false;
    *v = w->global;
    return true;
}

/* The loop of a load or store: BODY has the place at. */
#define EACH_PLACE(size, body)                                                      \
    struct exec_view v = view_of(w, op->flags);                                     \
    uint64_t off[SOFT_WARP];                                                        \
    uint8_t *at;                                                                    \
                                                                                    \
    if (all_inside(w, op, &v, size, off) || (refill(w, op, &v) && all_inside(w, op, &v, size, off))) { \
        for (unsigned i = 0; i < SOFT_WARP; i++) {                                  \
            at = v.base + i * v.stride + off[i];                                    \
            body;                                                                   \
        }                                                                           \
        return;                                                                     \
    }                                                                               \
    for (unsigned i = 0; i < SOFT_WARP; i++) {                                      \
        if (!(w->exec >> i & 1))                                                    \
            continue;                                                               \
        at = exec_address(w, op, i, exec_addr_of(w, op, i), size, op->n + 1u);      \
        if (!at)                                                                    \
            return;                                                                 \
        body;                                                                       \
    }

#define DEFINE_LOAD(id, M, D)                                                       \
    static void load_##id(struct warp *w, const struct soft_op *op)                 \
    {                                                                               \
        D *d = exec_reg(w, op->d);                                                  \
        EACH_PLACE(sizeof(M), d[i] = (D)__atomic_load_n((const M *)at, __ATOMIC_RELAXED)) \
    }
#define DEFINE_STORE(id, M, D)                                                      \
    static void store_##id(struct warp *w, const struct soft_op *op)                \
    {                                                                               \
        const D *d = exec_reg(w, op->d);                                            \
        EACH_PLACE(sizeof(M), __atomic_store_n((M *)at, (M)d[i], __ATOMIC_RELEASE)) \
    }

DEFINE_LOAD(s8h, int8_t, uint16_t)
DEFINE_LOAD(u8h, uint8_t, uint16_t)
DEFINE_LOAD(s8w, int8_t, uint32_t)
DEFINE_LOAD(u8w, uint8_t, uint32_t)
DEFINE_LOAD(s8d, int8_t, uint64_t)
DEFINE_LOAD(u8d, uint8_t, uint64_t)
DEFINE_LOAD(16h, uint16_t, uint16_t)
DEFINE_LOAD(s16w, int16_t, uint32_t)
DEFINE_LOAD(u16w, uint16_t, uint32_t)
DEFINE_LOAD(s16d, int16_t, uint64_t)
DEFINE_LOAD(u16d, uint16_t, uint64_t)
DEFINE_LOAD(32w, uint32_t, uint32_t)
DEFINE_LOAD(s32d, int32_t, uint64_t)
DEFINE_LOAD(u32d, uint32_t, uint64_t)
DEFINE_LOAD(64d, uint64_t, uint64_t)
DEFINE_STORE(8h, uint8_t, uint16_t)
DEFINE_STORE(8w, uint8_t, uint32_t)
DEFINE_STORE(8d, uint8_t, uint64_t)
DEFINE_STORE(16h, uint16_t, uint16_t)
DEFINE_STORE(16w, uint16_t, uint32_t)
DEFINE_STORE(16d, uint16_t, uint64_t)
DEFINE_STORE(32w, uint32_t, uint32_t)
DEFINE_STORE(32d, uint32_t, uint64_t)
DEFINE_STORE(64d, uint64_t, uint64_t)

static const struct {
    unsigned size;
    char width;
    soft_run *load[2], *store; /* load by whether it extends the sign */
} accesses[] = {
    {1, 'h', {load_u8h, load_s8h}, store_8h},    {1, 'w', {load_u8w, load_s8w}, store_8w},
    {1, 'd', {load_u8d, load_s8d}, store_8d},    {2, 'h', {load_16h, load_16h}, store_16h},
    {2, 'w', {load_u16w, load_s16w}, store_16w}, {2, 'd', {load_u16d, load_s16d}, store_16d},
    {4, 'w', {load_32w, load_32w}, store_32w},   {4, 'd', {load_u32d, load_s32d}, store_32d},
    {8, 'd', {load_64d, load_64d}, store_64d},
};

static unsigned access_row(unsigned size, char width)
{
    unsigned i = 0;

    while (accesses[i].size != size || accesses[i].width != width)
        g_assert(++i < G_N_ELEMENTS(accesses));
    return i;
}

soft_run *exec_load(unsigned size, bool sign, char width)
{
    return accesses[access_row(size, width)].load[sign];
}

soft_run *exec_store(unsigned size, char width)
{
    return accesses[access_row(size, width)].store;
}

/* ---- Addresses ---- */

static void set_address(struct warp *w, const struct soft_op *op, uint64_t v)
{
    for (unsigned i = 0; i < SOFT_WARP; i++) {
        if (!(w->exec >> i & 1))
            continue;
        if (op->n == 8)
            ((uint64_t *)exec_reg(w, op->d))[i] = v;
        else
            ((uint32_t *)exec_reg(w, op->d))[i] = v;
    }
}

void exec_local_addr(struct warp *w, const struct soft_op *op)
{
    set_address(w, op, w->frame->local_base + op->imm);
}

void exec_shared_dynamic(struct warp *w, const struct soft_op *op)
{
    set_address(w, op, w->block->grid->dynamic + op->imm);
}

void exec_isspacep(struct warp *w, const struct soft_op *op)
{
    const uint64_t *a = exec_reg(w, op->a);
    uint32_t *d = exec_pred(w, op->d), m = 0;

    for (unsigned i = 0; i < SOFT_WARP; i++)
        m |= (uint32_t)((a[i] & SOFT_WINDOW_MASK) == op->imm) << i;
    *d = (*d & ~w->exec) | (m & w->exec);
}

/* ---- cp.async: at once ---- */

static void copy(struct warp *w, const struct soft_op *op, const uint32_t *sizes)
{
    struct soft_op from = *op;

    from.flags = SPACE_GLOBAL;
    for (unsigned i = 0; i < SOFT_WARP && !w->stop; i++) {
        uint8_t bytes[16] = {0}, *to, *src;
        unsigned n = sizes ? MIN(sizes[i], op->n) : op->n;

        if (!(w->exec >> i & 1))
            continue;
        uint64_t src_addr = ((const uint64_t *)exec_reg(w, op->a))[i] + (uint32_t)op->imm;
        uint64_t addr = op->flags & MEM_NARROW ? ((const uint32_t *)exec_reg(w, op->d))[i]
                                               : ((const uint64_t *)exec_reg(w, op->d))[i];

        if (n) {
            src = exec_address(w, &from, i, src_addr, n, op->n);
            if (!src)
                return;
            memcpy(bytes, src, n);
        }
        to = exec_address(w, op, i, addr + (op->imm >> 32), op->n, op->n);
        if (!to)
            return;
        memcpy(to, bytes, op->n);
    }
}

void exec_cp_async(struct warp *w, const struct soft_op *op)
{
    copy(w, op, NULL);
}

void exec_cp_async_zfill(struct warp *w, const struct soft_op *op)
{
    copy(w, op, exec_reg(w, op->c));
}
