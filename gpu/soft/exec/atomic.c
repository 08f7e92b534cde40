/*
 * Atomic operations (PTX ISA, sections 9.7.13.5 and 9.7.13.6): lane by lane, each a compare-and-swap of the host.
 */
#include "gpu/soft/exec/exec.h"
#include "gpu/soft/exec/half.h"

static uint64_t mask_of(unsigned size)
{
    return size == 8 ? ~0ull : (1ull << 8 * size) - 1;
}

static uint64_t add_value(char kind, unsigned size, uint64_t a, uint64_t b)
{
    if (kind != 'f' && kind != 'g')
        return a + b;
    if (size == 8)
        return f64_bits(bits_f64(a) + bits_f64(b));
    if (size == 4)
        return f32_bits(bits_f32(a) + bits_f32(b));
    return small_bits(kind, add_odd(small_value(kind, a), small_value(kind, b)), ROUND_NEAREST);
}

static bool less(char kind, unsigned size, uint64_t a, uint64_t b)
{
    if (kind == 'f' || kind == 'g')
        return small_value(kind, a) < small_value(kind, b);
    if (kind == 's')
        return (int64_t)(a << (64 - 8 * size)) < (int64_t)(b << (64 - 8 * size));
    return a < b;
}

/* What OLD becomes. */
static uint64_t apply(enum exec_atom_kind op, char kind, unsigned size, uint64_t old, uint64_t b, uint64_t c)
{
    switch (op) {
    case ATOM_ADD:
        return add_value(kind, size, old, b);
    case ATOM_MIN:
        return less(kind, size, b, old) ? b : old;
    case ATOM_MAX:
        return less(kind, size, old, b) ? b : old;
    case ATOM_INC:
        return old >= b ? 0 : old + 1;
    case ATOM_DEC:
        return old == 0 || old > b ? b : old - 1;
    case ATOM_AND:
        return old & b;
    case ATOM_OR:
        return old | b;
    case ATOM_XOR:
        return old ^ b;
    case ATOM_EXCH:
        return b;
    default:
        return old == b ? c : old;
    }
}

static uint64_t load(const uint8_t *at, unsigned size)
{
    switch (size) {
    case 2:
        return __atomic_load_n((const uint16_t *)at, __ATOMIC_SEQ_CST);
    case 4:
        return __atomic_load_n((const uint32_t *)at, __ATOMIC_SEQ_CST);
    default:
        return __atomic_load_n((const uint64_t *)at, __ATOMIC_SEQ_CST);
    }
}

static bool swap(uint8_t *at, unsigned size, uint64_t *old, uint64_t new)
{
    uint16_t h = *old;
    uint32_t v = *old;
    bool done;

    switch (size) {
    case 2:
        done = __atomic_compare_exchange_n((uint16_t *)at, &h, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        *old = h;
        return done;
    case 4:
        done = __atomic_compare_exchange_n((uint32_t *)at, &v, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        *old = v;
        return done;
    default:
        return __atomic_compare_exchange_n((uint64_t *)at, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
}

void exec_atom(struct warp *w, const struct soft_op *op)
{
    char kind = op->imm >> 56;
    unsigned part = op->imm >> 48 & 0xff, packed = op->imm >> 40 & 0xff, size = part * packed;
    int64_t offset = (int64_t)(op->imm << 24) >> 24;
    uint8_t *pd = exec_reg(w, op->d);
    const uint8_t *pb = exec_reg(w, op->b), *pc = exec_reg(w, op->c);

    for (unsigned i = 0; i < SOFT_WARP; i++) {
        uint64_t addr, b = 0, c = 0, old, new;
        uint8_t *at;

        if (!(w->exec >> i & 1))
            continue;
        addr = (op->flags & MEM_NARROW ? ((const uint32_t *)exec_reg(w, op->a))[i]
                                       : ((const uint64_t *)exec_reg(w, op->a))[i]) + offset;
        at = exec_address(w, op, i, addr, size, size);
        if (!at)
            return;
        memcpy(&b, pb + i * size, size);
        memcpy(&c, pc + i * size, size);
        old = load(at, size);
        do {
            new = 0;
            for (unsigned k = 0; k < packed; k++)
                new |= (apply(op->n, kind, part, old >> 8 * part * k & mask_of(part), b >> 8 * part * k & mask_of(part),
                              c >> 8 * part * k & mask_of(part)) & mask_of(part)) << 8 * part * k;
        } while (!swap(at, size, &old, new));
        memcpy(pd + i * size, &old, size);
    }
}
