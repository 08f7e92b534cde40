/*
 * xlate/ir/build.c: the builder's operations.
 *
 * What can be simplified on sight is: each operation first asks fold.c for an older value that is
 * the same, then appends. One look at the operands, never at uses, so building stays linear.
 */
#include "xlate/ir/fold.h"

#define NO_ARGS {IR_NONE, IR_NONE, IR_NONE, IR_NONE}

static inline __attribute__((always_inline)) uint32_t add(struct ir_unit *unit, struct ir_insn insn)
{
    uint32_t at = unit->n;

    if (unlikely(at == unit->cap))
        ir__grow(unit);
    /* One by one: copied whole, it is put together in memory first, and the copy waits for that. */
    struct ir_insn *to = &unit->insn[at];
    to->op = insn.op;
    to->type = insn.type;
    to->from = insn.from;
    to->pad = 0;
    to->aux = insn.aux;
    to->mem = insn.mem;
    for (unsigned i = 0; i < G_N_ELEMENTS(insn.arg); i++)
        to->arg[i] = insn.arg[i];
    to->imm = insn.imm;
    to->side = IR_NONE;
    to->params = IR_NONE;
    unit->block[unit->cur].end = unit->n = at + 1;
    return at;
}

/* What follows may look at slots: SETs up to here stay. */
static void see_slots(struct ir_unit *unit)
{
    unit->barrier = unit->n;
}

/* Appends an insn that may fault: all of one guest instruction share a side entry. */
static uint32_t add_side(struct ir_unit *unit, struct ir_insn insn)
{
    if (unit->at_side == IR_NONE) {
        if (unit->n_side == unit->cap_side) {
            unit->cap_side *= 2;
            unit->side = g_renew(struct ir_side, unit->side, unit->cap_side);
        }
        unit->side[unit->n_side] = unit->at;
        unit->at_side = unit->n_side++;
    }
    insn.side = unit->at_side;
    insn.params = IR_NONE;
    see_slots(unit);
    return ir_append(unit, &insn);
}

static int64_t canonical(enum ir_type type, int64_t imm)
{
    if (type == IR_I32)
        return (int32_t)imm;
    if (type == IR_F32)
        return (uint32_t)imm;
    return imm;
}

/* --- values ----------------------------------------------------------------------------------- */

uint32_t ir_const(struct ir_unit *unit, enum ir_type type, int64_t imm)
{
    if (imm == 0 && type == IR_I64) { /* x0 makes many */
        if (unit->zero == IR_NONE)
            unit->zero = add(unit, (struct ir_insn){.op = IR_CONST, .type = type, .arg = NO_ARGS});
        return unit->zero;
    }
    return add(unit, (struct ir_insn){.op = IR_CONST, .type = type, .arg = NO_ARGS,
                                      .imm = canonical(type, imm)});
}

uint32_t ir_pcrel(struct ir_unit *unit, int64_t displacement)
{
    return add(unit, (struct ir_insn){.op = IR_PCREL, .type = IR_I64, .arg = NO_ARGS,
                                      .imm = displacement});
}

static uint32_t get_pair(struct ir_unit *unit, unsigned slot)
{
    uint32_t known = unit->slot[slot];

    if (known != IR_NONE && known == unit->slot[slot + 1]) {
        unit->pattern[IR_PATTERN_GET]++;
        return known;
    }
    unit->set[slot] = unit->set[slot + 1] = IR_NONE;
    unit->slot[slot] = unit->slot[slot + 1] =
        add(unit, (struct ir_insn){.op = IR_GET, .type = IR_V128, .aux = slot, .arg = NO_ARGS});
    return unit->slot[slot];
}

uint32_t ir_get(struct ir_unit *unit, enum ir_type type, unsigned slot)
{
    uint32_t known = unit->slot[slot];

    if (type == IR_V128)
        return get_pair(unit, slot);
    if (known != IR_NONE && type == IR_F32 && unit->insn[known].op == IR_BOX)
        known = unit->insn[known].arg[0];
    if (known != IR_NONE && ir_result_type(&unit->insn[known]) == type) {
        unit->pattern[IR_PATTERN_GET]++;
        return known;
    }
    uint32_t value = add(unit, (struct ir_insn){.op = IR_GET, .type = type, .aux = slot,
                                                .arg = NO_ARGS});
    unit->set[slot] = IR_NONE; /* is read: stays */
    if (unit->slot[slot] == IR_NONE && (type == IR_I64 || type == IR_F64))
        unit->slot[slot] = value;
    return value;
}

static void drop_set(struct ir_unit *unit, uint32_t set)
{
    unit->insn[set] = (struct ir_insn){.op = IR_CONST, .type = IR_I64, .arg = NO_ARGS,
                                       .side = IR_NONE, .params = IR_NONE};
    unit->pattern[IR_PATTERN_DEAD_SET]++;
}

/* A SET of one of the two slots is overwritten whole; one of both if it is of the same two. */
static void set_pair(struct ir_unit *unit, unsigned slot, uint32_t value)
{
    if (unit->slot[slot] == value && unit->slot[slot + 1] == value) {
        unit->pattern[IR_PATTERN_IDENTITY]++;
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        uint32_t old = unit->set[slot + i];
        if (old == IR_NONE || old < unit->barrier || unit->insn[old].op != IR_SET)
            continue;
        if (unit->insn[old].type != IR_V128 || unit->set[slot] == unit->set[slot + 1])
            drop_set(unit, old);
    }
    unit->set[slot] = unit->set[slot + 1] =
        add(unit, (struct ir_insn){.op = IR_SET, .type = IR_V128, .aux = slot,
                                   .arg = {value, IR_NONE, IR_NONE, IR_NONE}});
    unit->slot[slot] = unit->slot[slot + 1] = value;
}

void ir_set(struct ir_unit *unit, unsigned slot, uint32_t value)
{
    const struct ir_insn *from = &unit->insn[value];

    if (ir_result_type(from) == IR_V128) {
        set_pair(unit, slot, value);
        return;
    }
    if (unit->slot[slot] == value) {
        unit->pattern[IR_PATTERN_IDENTITY]++;
        return;
    }
    uint32_t old = unit->set[slot];
    if (old != IR_NONE && old >= unit->barrier && unit->insn[old].type != IR_V128)
        drop_set(unit, old);
    unit->set[slot] = add(unit, (struct ir_insn){.op = IR_SET, .type = ir_result_type(from),
                                                 .aux = slot,
                                                 .arg = {value, IR_NONE, IR_NONE, IR_NONE}});
    unit->slot[slot] = value;
}

uint32_t ir_un(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a)
{
    uint32_t same = ir_fold_un(unit, op, type, a);

    if (same != IR_NONE)
        return same;
    return add(unit, (struct ir_insn){.op = op, .type = type, .arg = {a, IR_NONE, IR_NONE, IR_NONE}});
}

uint32_t ir_bin(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, uint32_t b)
{
    ir_fold_order(unit, op, &a, &b);
    uint32_t same = ir_fold_bin(unit, op, type, a, b);

    if (same != IR_NONE)
        return same;
    return add(unit, (struct ir_insn){.op = op, .type = type, .arg = {a, b, IR_NONE, IR_NONE}});
}

uint32_t ir_bini(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, int64_t imm)
{
    uint32_t same = ir_fold_bini(unit, op, type, a, canonical(type, imm));

    if (same != IR_NONE)
        return same;
    uint32_t b = ir_const(unit, type, imm);
    return add(unit, (struct ir_insn){.op = op, .type = type, .arg = {a, b, IR_NONE, IR_NONE}});
}

uint32_t ir_ext(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, unsigned bits)
{
    uint32_t same = ir_fold_ext(unit, op, type, a, bits);

    if (same != IR_NONE)
        return same;
    return add(unit, (struct ir_insn){.op = op, .type = type, .imm = bits,
                                      .arg = {a, IR_NONE, IR_NONE, IR_NONE}});
}

uint32_t ir_cmp(struct ir_unit *unit, enum ir_cond cond, enum ir_type type, uint32_t a, uint32_t b)
{
    uint32_t same = ir_fold_cmp(unit, cond, type, a, b);

    if (same != IR_NONE)
        return same;
    return add(unit, (struct ir_insn){.op = IR_CMP, .type = type, .aux = cond,
                                      .arg = {a, b, IR_NONE, IR_NONE}});
}

uint32_t ir_nzcv(struct ir_unit *unit, enum ir_op op, enum ir_type type, uint32_t a, uint32_t b,
                 uint32_t carry)
{
    return add(unit, (struct ir_insn){.op = op, .type = type, .arg = {a, b, carry, IR_NONE}});
}

uint32_t ir_select(struct ir_unit *unit, enum ir_type type, uint32_t cond, uint32_t a, uint32_t b)
{
    uint32_t same = ir_fold_select(unit, cond, a, b);

    if (same != IR_NONE)
        return same;
    return add(unit, (struct ir_insn){.op = IR_SELECT, .type = type, .arg = {cond, a, b, IR_NONE}});
}

/* --- floating point --------------------------------------------------------------------------- */

uint32_t ir_fp(struct ir_unit *unit, enum ir_op op, enum ir_type type, enum ir_rm rm, uint32_t a,
               uint32_t b)
{
    uint32_t same = ir_fold_sign(unit, op, type, a, b);

    if (same != IR_NONE)
        return same;
    if (op <= IR_FMAX) {
        a = ir_fold_nan(unit, a);
        b = ir_fold_nan(unit, b);
    }
    return add(unit, (struct ir_insn){.op = op, .type = type, .aux = rm,
                                      .arg = {a, b, IR_NONE, IR_NONE}});
}

uint32_t ir_fma(struct ir_unit *unit, enum ir_type type, enum ir_rm rm, unsigned negate, uint32_t a,
                uint32_t b, uint32_t c)
{
    a = ir_fold_nan(unit, a);
    b = ir_fold_nan(unit, b);
    c = ir_fold_nan(unit, c);
    return add(unit, (struct ir_insn){.op = IR_FMA, .type = type, .aux = rm, .imm = negate,
                                      .arg = {a, b, c, IR_NONE}});
}

uint32_t ir_fcmp(struct ir_unit *unit, enum ir_fcond cond, enum ir_type type, uint32_t a,
                 uint32_t b)
{
    a = ir_fold_nan(unit, a);
    b = ir_fold_nan(unit, b);
    return add(unit, (struct ir_insn){.op = IR_FCMP, .type = type, .aux = cond,
                                      .arg = {a, b, IR_NONE, IR_NONE}});
}

uint32_t ir_fcvt(struct ir_unit *unit, enum ir_op op, enum ir_type type, enum ir_type from,
                 enum ir_rm rm, bool is_unsigned, uint32_t a)
{
    a = ir_fold_nan(unit, a);
    return add(unit, (struct ir_insn){.op = op, .type = type, .from = from, .aux = rm,
                                      .imm = is_unsigned, .arg = {a, IR_NONE, IR_NONE, IR_NONE}});
}

/* --- vectors ---------------------------------------------------------------------------------- */

uint32_t ir_vec(struct ir_unit *unit, enum ir_op op, unsigned aux, int64_t imm, uint32_t a,
                uint32_t b, uint32_t c)
{
    return add(unit, (struct ir_insn){.op = op, .type = IR_V128, .aux = (uint16_t)aux, .imm = imm,
                                      .arg = {a, b, c, IR_NONE}});
}

uint32_t ir_vec_int(struct ir_unit *unit, enum ir_op op, enum ir_type type, unsigned aux,
                    int64_t imm, uint32_t a, uint32_t b)
{
    return add(unit, (struct ir_insn){.op = op, .type = type, .aux = (uint16_t)aux, .imm = imm,
                                      .arg = {a, b, IR_NONE, IR_NONE}});
}

uint32_t ir_vec_from(struct ir_unit *unit, enum ir_type from, unsigned aux, int64_t imm, uint32_t a)
{
    return add(unit, (struct ir_insn){.op = IR_VXTOF, .type = IR_V128, .from = from,
                                      .aux = (uint16_t)aux, .imm = imm,
                                      .arg = {a, IR_NONE, IR_NONE, IR_NONE}});
}

/* --- memory ----------------------------------------------------------------------------------- */

uint32_t ir_tr(struct ir_unit *unit, uint32_t base, int64_t imm, unsigned bytes, bool write)
{
    return add(unit, (struct ir_insn){.op = IR_TR, .type = IR_HANDLE, .aux = bytes,
                                      .mem = write ? IR_MEM_WRITE : 0, .imm = imm,
                                      .arg = {base, IR_NONE, IR_NONE, IR_NONE}});
}

uint32_t ir_user_tr(struct ir_unit *unit, uint32_t base, int64_t imm, unsigned bytes, bool write)
{
    uint32_t tr = ir_tr(unit, base, imm, bytes, write);

    unit->insn[tr].mem |= IR_MEM_USER;
    return tr;
}

/* BASE as a value and a constant added to it. */
static struct ir_reach find_root(const struct ir_unit *unit, uint32_t base)
{
    const struct ir_insn *insn = &unit->insn[base];

    if (insn->op == IR_ADD && unit->insn[insn->arg[1]].op == IR_CONST)
        return (struct ir_reach){.root = insn->arg[0], .offset = unit->insn[insn->arg[1]].imm};
    return (struct ir_reach){.root = base};
}

/* Grows TR over [from, to) relative to its base if the span allows. */
static bool grow(struct ir_insn *tr, int64_t from, int64_t to)
{
    int64_t end = (int64_t)((uint64_t)tr->imm + tr->aux);
    int64_t low = MIN(tr->imm, from), high = MAX(end, to);

    if ((uint64_t)high - (uint64_t)low > IR_TR_SPAN)
        return false;
    tr->imm = low;
    tr->aux = (uint16_t)(high - low);
    return true;
}

uint32_t ir_address(struct ir_unit *unit, uint32_t base, int64_t *imm, unsigned bytes, bool write)
{
    struct ir_reach here = find_root(unit, base);

    for (unsigned i = 0; i < unit->n_reach; i++) {
        const struct ir_reach *r = &unit->reach[i];
        struct ir_insn *tr = &unit->insn[r->tr];
        int64_t at = (int64_t)((uint64_t)*imm + (uint64_t)here.offset - (uint64_t)r->offset);

        if (r->root != here.root || at > IR_TR_SPAN * 64 || at < -IR_TR_SPAN * 64 ||
            !grow(tr, at, at + bytes))
            continue;
        tr->mem |= write ? IR_MEM_WRITE : 0;
        *imm = at;
        unit->pattern[IR_PATTERN_MERGED_TR]++;
        return r->tr;
    }
    here.tr = ir_tr(unit, base, *imm, bytes, write);
    unit->reach[unit->next_reach] = here;
    unit->next_reach = (unit->next_reach + 1) % IR_REACHES;
    unit->n_reach = MIN(unit->n_reach + 1, (uint32_t)IR_REACHES);
    return here.tr;
}

uint32_t ir_load(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle,
                 int64_t imm)
{
    return add_side(unit, (struct ir_insn){.op = IR_LOAD, .type = type, .mem = mem, .imm = imm,
                                           .arg = {handle, IR_NONE, IR_NONE, IR_NONE}});
}

void ir_store(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle, int64_t imm,
              uint32_t value)
{
    add_side(unit, (struct ir_insn){.op = IR_STORE, .type = type, .mem = mem, .imm = imm,
                                    .arg = {handle, value, IR_NONE, IR_NONE}});
}

uint32_t ir_rmw(struct ir_unit *unit, enum ir_rmw op, enum ir_type type, unsigned mem,
                uint32_t handle, int64_t imm, uint32_t value)
{
    return add_side(unit, (struct ir_insn){.op = IR_RMW, .type = type, .aux = op, .mem = mem,
                                           .imm = imm, .arg = {handle, value, IR_NONE, IR_NONE}});
}

uint32_t ir_cas(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle, int64_t imm,
                uint32_t expected, uint32_t desired)
{
    return add_side(unit, (struct ir_insn){.op = IR_CAS, .type = type, .mem = mem, .imm = imm,
                                           .arg = {handle, expected, desired, IR_NONE}});
}

uint32_t ir_sc(struct ir_unit *unit, enum ir_type type, unsigned mem, uint32_t handle, int64_t imm,
               uint32_t cond, uint32_t expected, uint32_t desired)
{
    return add_side(unit, (struct ir_insn){.op = IR_SC, .type = type, .mem = mem, .imm = imm,
                                           .arg = {handle, cond, expected, desired}});
}

void ir_fence(struct ir_unit *unit, unsigned mask)
{
    add(unit, (struct ir_insn){.op = IR_FENCE, .type = IR_VOID, .aux = mask, .arg = NO_ARGS});
}

/* --- calls and terminators -------------------------------------------------------------------- */

uint32_t ir_call(struct ir_unit *unit, unsigned helper, unsigned flags, enum ir_type type,
                 const uint32_t arg[4])
{
    uint32_t barrier = unit->barrier;
    uint32_t value;

    if (flags & IR_CALL_WRITES)
        memset(unit->slot, 0xff, sizeof(unit->slot));
    if (flags & IR_CALL_MMU)
        unit->n_reach = unit->next_reach = 0;
    value = add_side(unit, (struct ir_insn){.op = IR_CALL, .type = type, .aux = helper,
                                            .arg = {arg[0], arg[1], arg[2], arg[3]}});
    if (!(flags & (IR_CALL_READS | IR_CALL_WRITES | IR_CALL_FAULT)))
        unit->barrier = barrier;
    return value;
}

void ir_trap(struct ir_unit *unit, unsigned helper, uint32_t value, unsigned mask)
{
    add_side(unit, (struct ir_insn){.op = IR_TRAP, .type = IR_VOID, .aux = helper, .imm = mask,
                                    .arg = {value, IR_NONE, IR_NONE, IR_NONE}});
}

void ir_br(struct ir_unit *unit, uint32_t block, const uint32_t *args, unsigned n)
{
    struct ir_insn insn = {.op = IR_BR, .arg = NO_ARGS, .block = {block, IR_NONE},
                           .side = IR_NONE, .params = n ? unit->n_param : IR_NONE};

    while (unit->n_param + n > unit->cap_param) {
        unit->cap_param *= 2;
        unit->param = g_renew(uint32_t, unit->param, unit->cap_param);
    }
    for (unsigned i = 0; i < n; i++)
        unit->param[unit->n_param++] = args[i];
    ir_append(unit, &insn);
}

void ir_brif(struct ir_unit *unit, uint32_t cond, unsigned expect, uint32_t then_block,
             uint32_t else_block)
{
    uint32_t at = add(unit, (struct ir_insn){.op = IR_BRIF, .aux = expect,
                                             .arg = {cond, IR_NONE, IR_NONE, IR_NONE}});

    unit->insn[at].block[0] = then_block;
    unit->insn[at].block[1] = else_block;
}

void ir_exit(struct ir_unit *unit, unsigned flags, int32_t disp, int32_t ret)
{
    uint32_t at = add(unit, (struct ir_insn){.op = IR_EXIT, .aux = flags, .arg = NO_ARGS});

    unit->insn[at].disp = disp;
    unit->insn[at].ret = ret;
}

void ir_exit_ind(struct ir_unit *unit, unsigned flags, uint32_t target, int32_t ret)
{
    uint32_t at = add(unit, (struct ir_insn){.op = IR_EXIT_IND, .aux = flags,
                                             .arg = {target, IR_NONE, IR_NONE, IR_NONE}});

    unit->insn[at].ret = ret;
}

void ir_exit_state(struct ir_unit *unit)
{
    add(unit, (struct ir_insn){.op = IR_EXIT_STATE, .arg = NO_ARGS});
}
