/*
 * Branches, calls, barriers and what lanes of a warp do together (PTX ISA, sections 9.7.12 to 9.7.14).
 */
#include "gpu/soft/exec/exec.h"
#include "gpu/soft/ptx/parse.h"

#include <string.h>

static bool count(struct ptx_parser *p, const struct ptx_insn *in, unsigned least, unsigned most)
{
    return (in->n >= least && in->n <= most) ||
           ptx_fail(p, SOFT_INVALID_PTX, &in->token, "'%s' does not take %u operands", in->op, in->n);
}

static bool branch(struct ptx_parser *p, const struct ptx_insn *in, const struct ptx_token *label)
{
    struct ptx_fixup fix = {.op = p->ops->len, .scope = p->scope};

    if (label)
        fix.label = *label;
    g_array_append_val(p->fixups, fix);
    return ptx_emit(p, in, exec_bra) != NULL;
}

bool ptx_lower_bra(struct ptx_parser *p, struct ptx_insn *in)
{
    return count(p, in, 1, 1) && branch(p, in, &in->operand[0].atom[0].token);
}

bool ptx_lower_ret(struct ptx_parser *p, struct ptx_insn *in)
{
    return count(p, in, 0, 0) && branch(p, in, NULL);
}

bool ptx_lower_brx(struct ptx_parser *p, struct ptx_insn *in)
{
    struct ptx_sym *table;
    struct soft_op *op;
    unsigned skip;
    int32_t a;

    if (!count(p, in, 2, 2))
        return false;
    table = ptx_find(p, p->scope, &in->operand[1].atom[0].token);
    if (!table || table->kind != SYM_TABLE)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "brx.idx needs .branchtargets");
    ptx_skip_begin(p, in, &skip);
    if (p->error || !ptx_source(p, in, &in->operand[0].atom[0], 'w', &a))
        return false;
    op = ptx_emit(p, in, exec_brx);
    if (!op)
        return false;
    op->a = a;
    op->imm = table->index;
    ptx_skip_end(p, skip);
    return !p->error;
}

bool ptx_lower_exit(struct ptx_parser *p, struct ptx_insn *in)
{
    soft_run *run = in->op[0] == 'e' ? exec_exit : in->op[0] == 'n' ? exec_sleep : exec_trap;

    return count(p, in, 0, run == exec_sleep) && ptx_emit(p, in, run);
}

/* ---- call ---- */

/* "(a, b)": each a .param variable. */
static bool call_list(struct ptx_parser *p, struct ptx_insn *in, unsigned *n, struct soft_formal *list)
{
    struct ptx_operand o;

    if (!ptx_expect(p, '('))
        return false;
    while (!ptx_is(p, ')')) {
        if (*n == LIMIT_OPERANDS)
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &p->tok, "too many arguments");
        if (!ptx_operand(p, &o))
            return false;
        if (o.memory || o.vector || o.atom[0].kind != ATOM_VAR || o.atom[0].sym->space != SPACE_PARAM ||
            o.atom[0].sym->kernel_param)
            return ptx_fail(p, SOFT_NOT_SUPPORTED, &o.atom[0].token,
                            "arguments and results of calls are .param variables");
        list[*n].offset = o.atom[0].sym->addr;
        list[*n].size = o.atom[0].sym->size;
        ++*n;
        if (!ptx_accept(p, ','))
            break;
    }
    return ptx_expect(p, ')');
}

static bool sizes_match(const struct soft_formal *got, unsigned n, const struct soft_formal *want, unsigned wanted)
{
    if (n != wanted)
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (got[i].size != want[i].size)
            return false;
    }
    return true;
}

static bool signature(struct ptx_parser *p, const struct ptx_insn *in, const struct soft_call *call,
                      const struct ptx_token *proto)
{
    bool ok;

    if (call->callee) {
        const struct soft_function *fn = call->callee;

        ok = sizes_match(call->arg, call->args, (void *)fn->params->data, fn->params->len) &&
             sizes_match(call->ret, call->rets, (void *)fn->rets->data, fn->rets->len);
    } else {
        struct ptx_sym *sym = proto ? ptx_find(p, p->scope, proto) : NULL;

        if (!sym || sym->kind != SYM_PROTO)
            return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "an indirect call needs a .callprototype");
        ok = sizes_match(call->arg, call->args, sym->proto->arg, sym->proto->args) &&
             sizes_match(call->ret, call->rets, sym->proto->ret, sym->proto->rets);
    }
    return ok || ptx_fail(p, SOFT_INVALID_PTX, &in->token, "arguments don't fit the function's parameters");
}

static bool call_emit(struct ptx_parser *p, struct ptx_insn *in, const struct ptx_atom *target,
                      unsigned index, const struct soft_call *call)
{
    struct soft_op *op;
    unsigned skip;
    int32_t a = 0;

    ptx_skip_begin(p, in, &skip);
    if (p->error || (!call->callee && !ptx_source(p, in, target, 'd', &a)))
        return false;
    op = ptx_emit(p, in, call->callee ? exec_call : exec_call_indirect);
    if (!op)
        return false;
    op->a = a;
    op->imm = index;
    /* Lanes that call different functions meet here. */
    if (!call->callee)
        ptx_emit(p, NULL, exec_join);
    ptx_skip_end(p, skip);
    return !p->error;
}

bool ptx_lower_call(struct ptx_parser *p, struct ptx_insn *in)
{
    struct soft_call *call = g_new0(struct soft_call, 1);
    struct ptx_operand target;
    struct ptx_token proto;
    bool have_proto = false;

    g_ptr_array_add(p->fn->calls, call);
    if (ptx_is(p, '(') && (!call_list(p, in, &call->rets, call->ret) || !ptx_expect(p, ',')))
        return false;
    if (!ptx_operand(p, &target))
        return false;
    if (target.memory || target.vector)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "expected a function");
    if (target.atom[0].kind == ATOM_FUNCTION)
        call->callee = target.atom[0].sym->fn;
    if (call->callee && call->callee->entry)
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "kernels can't be called");
    if (target.atom[0].kind == ATOM_NAME)
        return ptx_fail(p, SOFT_INVALID_PTX, &target.atom[0].token, "unknown function '%.*s'",
                        (int)MIN(target.atom[0].token.len, 200u), target.atom[0].token.text);
    if (ptx_accept(p, ',')) {
        if (ptx_is(p, '(') && !call_list(p, in, &call->args, call->arg))
            return false;
        if (ptx_accept(p, ',') || p->tok.kind == PTX_ID) {
            proto = p->tok;
            have_proto = true;
            if (!ptx_next(p))
                return false;
        }
    }
    return ptx_expect(p, ';') && signature(p, in, call, have_proto ? &proto : NULL) &&
           call_emit(p, in, &target.atom[0], p->fn->calls->len - 1, call);
}

/* ---- Barriers ---- */

static bool warpsync_mask(struct ptx_parser *p, const struct ptx_insn *in, unsigned operand, int32_t *out)
{
    return ptx_source(p, in, &in->operand[operand].atom[0], 'w', out);
}

static bool bar_red(struct ptx_parser *p, struct ptx_insn *in)
{
    bool popc = ptx_has(in, "popc");
    struct soft_op *op;
    int32_t d, id, threads = 0, c;

    if (!count(p, in, 3, 4) || !ptx_dest(p, &in->operand[0].atom[0], popc ? 'w' : 'p', &d) ||
        !ptx_source(p, in, &in->operand[1].atom[0], 'w', &id) ||
        (in->n == 4 && !ptx_source(p, in, &in->operand[2].atom[0], 'w', &threads)) ||
        !ptx_source(p, in, &in->operand[in->n - 1].atom[0], 'p', &c))
        return false;
    op = ptx_emit(p, in, exec_bar);
    if (!op)
        return false;
    op->d = d;
    op->a = id;
    op->b = threads;
    op->c = c;
    op->n = popc ? BAR_POPC : ptx_has(in, "and") ? BAR_AND : BAR_OR;
    return true;
}

bool ptx_lower_bar(struct ptx_parser *p, struct ptx_insn *in)
{
    struct soft_op *op;
    int32_t id = 0, threads = 0;

    if (ptx_has(in, "cluster"))
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "clusters are not supported");
    if (ptx_has(in, "warp")) {
        if (!count(p, in, 1, 1) || !warpsync_mask(p, in, 0, &id))
            return false;
        op = ptx_emit(p, in, exec_warpsync);
        if (op)
            op->a = id;
        return op != NULL;
    }
    if (ptx_has(in, "red"))
        return bar_red(p, in);
    if (!ptx_has(in, "sync") && !ptx_has(in, "arrive"))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "unknown barrier");
    if (!count(p, in, 1, 2) || !ptx_source(p, in, &in->operand[0].atom[0], 'w', &id) ||
        (in->n == 2 && !ptx_source(p, in, &in->operand[1].atom[0], 'w', &threads)))
        return false;
    op = ptx_emit(p, in, exec_bar);
    if (!op)
        return false;
    op->a = id;
    op->b = threads;
    op->n = ptx_has(in, "arrive") ? BAR_ARRIVE : BAR_SYNC;
    return op->n == BAR_SYNC || in->n == 2 ||
           ptx_fail(p, SOFT_INVALID_PTX, &in->token, "bar.arrive needs a count of threads");
}

/* ---- Lanes together ---- */

static int choice(const struct ptx_insn *in, const char *const *names, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (ptx_has(in, names[i]))
            return i;
    }
    return -1;
}

/* shfl[.sync].mode.b32 d[|p], a, b, c[, mask] */
bool ptx_lower_shfl(struct ptx_parser *p, struct ptx_insn *in)
{
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    int mode = choice(in, modes, 4);
    bool sync = ptx_has(in, "sync"), pair = in->n && in->operand[0].paired;
    unsigned at = pair ? 2 : 1;
    int32_t d, q = 0, a, b, c, mask = 0, both;
    struct soft_op *op;

    if (mode < 0 || !count(p, in, at + 3 + sync, at + 3 + sync) || !ptx_has(in, "b32"))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "malformed shfl");
    if (!ptx_dest(p, &in->operand[0].atom[0], 'w', &d) ||
        (pair && !ptx_dest(p, &in->operand[1].atom[0], 'p', &q)) ||
        !ptx_source(p, in, &in->operand[at].atom[0], 'w', &a) ||
        !ptx_source(p, in, &in->operand[at + 1].atom[0], 'w', &b) ||
        !ptx_source(p, in, &in->operand[at + 2].atom[0], 'w', &c) ||
        (sync && !ptx_source(p, in, &in->operand[at + 3].atom[0], 'w', &mask)))
        return false;
    /* b and c travel as one 64-bit register. */
    both = ptx_temp(p, 'd');
    for (unsigned i = 0; i < 2; i++) {
        op = ptx_emit(p, in, exec_pack);
        if (!op)
            return false;
        op->d = both;
        op->a = i ? c : b;
        op->n = i;
        op->imm = 8;
        op->flags = 4;
    }
    op = ptx_emit(p, in, exec_shfl);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->b = both;
    op->c = q;
    op->n = mode;
    op->flags = (sync ? WARP_SYNC : 0) | (pair ? WARP_PRED : 0);
    op->imm = (uint32_t)mask;
    return true;
}

/* vote[.sync].mode d, {!}a[, mask] */
bool ptx_lower_vote(struct ptx_parser *p, struct ptx_insn *in)
{
    static const char *const modes[] = {"all", "any", "uni", "ballot"};
    int mode = choice(in, modes, 4);
    bool sync = ptx_has(in, "sync");
    int32_t d, a, mask = 0;
    struct soft_op *op;

    if (mode < 0 || !count(p, in, 2 + sync, 2 + sync))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "malformed vote");
    if (!ptx_dest(p, &in->operand[0].atom[0], mode == VOTE_BALLOT ? 'w' : 'p', &d) ||
        !ptx_source(p, in, &in->operand[1].atom[0], 'p', &a) ||
        (sync && !warpsync_mask(p, in, 2, &mask)))
        return false;
    op = ptx_emit(p, in, exec_vote);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->n = mode;
    op->flags = sync ? WARP_SYNC : 0;
    op->imm = (uint32_t)mask;
    return true;
}

/* match.any.sync.type d, a, mask; match.all.sync.type d[|p], a, mask */
bool ptx_lower_match(struct ptx_parser *p, struct ptx_insn *in)
{
    bool all = ptx_has(in, "all"), wide = ptx_has(in, "b64"), pair = in->n && in->operand[0].paired;
    unsigned at = pair ? 2 : 1;
    int32_t d, q = 0, a, mask;
    struct soft_op *op;

    if ((!all && !ptx_has(in, "any")) || (pair && !all) || !count(p, in, at + 2, at + 2))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "malformed match");
    if (!ptx_dest(p, &in->operand[0].atom[0], 'w', &d) ||
        (pair && !ptx_dest(p, &in->operand[1].atom[0], 'p', &q)) ||
        !ptx_source(p, in, &in->operand[at].atom[0], wide ? 'd' : 'w', &a) ||
        !warpsync_mask(p, in, at + 1, &mask))
        return false;
    op = ptx_emit(p, in, exec_match);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->b = q;
    op->flags = WARP_SYNC | (pair ? WARP_PRED : 0) | (all ? WARP_ALL : 0) | (wide ? WARP_WIDE : 0);
    op->imm = (uint32_t)mask;
    return true;
}

/* redux.sync.op.type d, a, mask */
bool ptx_lower_redux(struct ptx_parser *p, struct ptx_insn *in)
{
    static const char *const kinds[] = {"add", "min", "max", "and", "or", "xor"};
    static const uint8_t atoms[] = {ATOM_ADD, ATOM_MIN, ATOM_MAX, ATOM_AND, ATOM_OR, ATOM_XOR};
    int kind = choice(in, kinds, 6);
    struct ptx_type type;
    struct soft_op *op;
    int32_t d, a, mask;

    if (!ptx_insn_type(p, in, 0, &type) || kind < 0 || !count(p, in, 3, 3))
        return ptx_fail(p, SOFT_INVALID_PTX, &in->token, "malformed redux");
    if (type.size != 4 || type.kind == 'f')
        return ptx_fail(p, SOFT_NOT_SUPPORTED, &in->token, "redux of this type is not supported");
    if (!ptx_dest(p, &in->operand[0].atom[0], 'w', &d) ||
        !ptx_source(p, in, &in->operand[1].atom[0], 'w', &a) || !warpsync_mask(p, in, 2, &mask))
        return false;
    op = ptx_emit(p, in, exec_redux);
    if (!op)
        return false;
    op->d = d;
    op->a = a;
    op->n = atoms[kind];
    op->flags = WARP_SYNC | (type.kind == 's' ? WARP_SIGNED : 0);
    op->imm = (uint32_t)mask;
    return true;
}

/* activemask.b32 d; elect.sync d|p, mask */
bool ptx_lower_warpsync(struct ptx_parser *p, struct ptx_insn *in)
{
    bool elect = in->op[0] == 'e';
    struct soft_op *op;
    int32_t d, q = 0, mask = 0;

    if (!count(p, in, elect ? 3 : 1, elect ? 3 : 1) || !ptx_dest(p, &in->operand[0].atom[0], 'w', &d) ||
        (elect && (!ptx_dest(p, &in->operand[1].atom[0], 'p', &q) || !warpsync_mask(p, in, 2, &mask))))
        return false;
    op = ptx_emit(p, in, elect ? exec_elect : exec_activemask);
    if (!op)
        return false;
    op->d = d;
    op->a = q;
    op->flags = elect ? WARP_SYNC : 0;
    op->imm = (uint32_t)mask;
    return true;
}
