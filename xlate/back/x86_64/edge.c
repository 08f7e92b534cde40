/*
 * Edges: how a unit begins and where it goes, and calls of helpers.
 *
 * A unit starts with its checked entry: rax is the guest address, and code_at must say that the
 * unit's page is where it points. Then comes the entry, for who knows that already: the run loop
 * and units of the same page.
 */
#include "xlate/back/x86_64/back_priv.h"

enum { DIGIT_JMP = 4 };

void back__entry(struct back_compiler *c)
{
    int32_t offset = (int32_t)(c->place->gpa & (MEM_PAGE_SIZE - 1));
    size_t at = offsetof(struct xl_cpu, code_at) + sizeof(uint64_t) * c->place->page_id;

    c->place->checked = (uint32_t)(c->a.at - c->place->hot);
    asm_rm(&c->a, A_LEA, true, RDX, asm_mem(RAX, -offset));
    asm_rm(&c->a, A_CMP, true, RDX, CPU_MEM(at));
    asm_jcc_to(&c->a, CC_NE, back__stub(c, STUB_MISS));
    asm_rm(&c->a, A_MOV_ST, true, RDX, CPU_FIELD(pc_page));
    c->place->entry = (uint32_t)(c->a.at - c->place->hot);
}

/* --- links ------------------------------------------------------------------------------------ */

/* A jump whose displacement is 4-aligned, so that it can be patched while others run it. CC: or -1.
 * It leads to a cold piece of KIND until it is linked. */
static struct cold *link_jump(struct back_compiler *c, int cc, enum cold_kind kind, bool checked)
{
    struct cache_place *place = c->place;
    struct cold *cold = back__cold(c, kind);

    if (place->n_links == CACHE_UNIT_LINKS) {
        c->full = true;
        place->n_links = 0;
    }
    asm_nop(&c->a, (4 - ((uintptr_t)c->a.at + (cc < 0 ? 1 : 2)) % 4) % 4);
    uint8_t *site = cc < 0 ? asm_jmp(&c->a) : asm_jcc(&c->a, (enum asm_cc)cc);
    cold->link = place->n_links;
    cold->from[0] = site;
    place->links[place->n_links].site = site;
    place->links[place->n_links].checked = checked;
    place->n_links++;
    return cold;
}

static void poll(struct back_compiler *c, enum cold_kind kind, int32_t disp)
{
    struct cold *cold = back__cold(c, kind);

    cold->imm = disp;
    asm_mi(&c->a, A_CMP, false, CPU_FIELD(request), 0);
    cold->from[0] = asm_jcc(&c->a, CC_NE);
}

/* Pushes the return address at displacement RET; rax is kept. */
static void push_return(struct back_compiler *c, int32_t ret)
{
    struct cold *landing = back__cold(c, COLD_LANDING);
    int32_t ras = (int32_t)offsetof(struct xl_cpu, ras) - CPU_BIAS;

    asm_rm(&c->a, A_MOV, false, RCX, CPU_FIELD(ras_top));
    asm_rm(&c->a, A_MOV, true, RDX, CPU_FIELD(pc_page));
    asm_ri(&c->a, A_ADD, false, RCX, sizeof(struct xl_ras));
    asm_ri(&c->a, A_AND, false, RCX, (XL_RAS_SIZE - 1) * (int32_t)sizeof(struct xl_ras));
    if (ret)
        asm_rm(&c->a, A_LEA, true, RDX, asm_mem(RDX, ret));
    asm_rm(&c->a, A_XOR, true, RDX, CPU_FIELD(jump_salt));
    asm_rm(&c->a, A_MOV_ST, false, RCX, CPU_FIELD(ras_top));
    asm_rm(&c->a, A_MOV_ST, true, RDX,
           asm_index(RBP, RCX, 0, ras + (int32_t)offsetof(struct xl_ras, tag)));
    asm_rm(&c->a, A_LEA, true, RSI, asm_rip(c->a.at));
    landing->from[0] = c->a.at - 4;
    asm_rm(&c->a, A_MOV_ST, true, RSI,
           asm_index(RBP, RCX, 0, ras + (int32_t)offsetof(struct xl_ras, code)));
}

static bool same_page(const struct back_compiler *c, int32_t disp)
{
    return disp >= 0 && disp < (int32_t)MEM_PAGE_SIZE;
}

static void load_pc(struct back_compiler *c, int32_t disp)
{
    asm_rm(&c->a, A_MOV, true, RAX, CPU_FIELD(pc_page));
    if (disp)
        asm_ri(&c->a, A_ADD, true, RAX, disp);
}

static void exit_direct(struct back_compiler *c, const struct ir_insn *insn)
{
    if (insn->aux & IR_EXIT_POLL)
        poll(c, COLD_POLL, insn->disp);
    if (insn->aux & IR_EXIT_CALL)
        push_return(c, insn->ret);
    if (same_page(c, insn->disp)) {
        link_jump(c, -1, COLD_LINK, false)->imm = insn->disp;
    } else {
        load_pc(c, insn->disp);
        link_jump(c, -1, COLD_LINK_ABS, true);
    }
}

/* rax is the target. */
void back__jump_cache(struct back_compiler *c)
{
    int32_t jump = (int32_t)offsetof(struct xl_cpu, jump) - CPU_BIAS;

    G_STATIC_ASSERT(sizeof(struct xl_jump) == 16);
    asm_rr(&c->a, A_MOV, true, RDX, RAX);
    asm_rr(&c->a, A_MOV, false, RCX, RAX);
    asm_rm(&c->a, A_XOR, true, RDX, CPU_FIELD(jump_salt));
    asm_ri(&c->a, A_AND, false, RCX, (XL_JUMP_SIZE - 1) << 1);
    asm_rm(&c->a, A_CMP, true, RDX,
           asm_index(RBP, RCX, 3, jump + (int32_t)offsetof(struct xl_jump, tag)));
    asm_jcc_to(&c->a, CC_NE, back__stub(c, STUB_MISS));
    asm_mi(&c->a, A_ADD, true, CPU_FIELD(count.jumps), 1);
    asm_jump_mem(&c->a, DIGIT_JMP,
                 asm_index(RBP, RCX, 3, jump + (int32_t)offsetof(struct xl_jump, code)));
}

static void pop_return(struct back_compiler *c)
{
    int32_t ras = (int32_t)offsetof(struct xl_cpu, ras) - CPU_BIAS;

    asm_rm(&c->a, A_MOV, false, RCX, CPU_FIELD(ras_top));
    asm_rr(&c->a, A_MOV, true, RDX, RAX);
    asm_rm(&c->a, A_XOR, true, RDX, CPU_FIELD(jump_salt));
    asm_rm(&c->a, A_CMP, true, RDX,
           asm_index(RBP, RCX, 0, ras + (int32_t)offsetof(struct xl_ras, tag)));
    asm_jcc_to(&c->a, CC_NE, back__stub(c, STUB_JUMP));
    asm_rm(&c->a, A_LEA, false, RDX, asm_mem(RCX, -(int32_t)sizeof(struct xl_ras)));
    asm_ri(&c->a, A_AND, false, RDX, (XL_RAS_SIZE - 1) * (int32_t)sizeof(struct xl_ras));
    asm_rm(&c->a, A_MOV_ST, false, RDX, CPU_FIELD(ras_top));
    asm_jump_mem(&c->a, DIGIT_JMP,
                 asm_index(RBP, RCX, 0, ras + (int32_t)offsetof(struct xl_ras, code)));
}

static void exit_indirect(struct back_compiler *c, const struct ir_insn *insn)
{
    back__gpr_in(c, insn->arg[0], RAX);
    if (insn->aux & IR_EXIT_POLL)
        poll(c, COLD_POLL_ABS, 0);
    if (insn->aux & IR_EXIT_CALL)
        push_return(c, insn->ret);
    if (insn->aux & IR_EXIT_RETURN)
        pop_return(c);
    else
        back__jump_cache(c);
}

void back__cold_edge(struct back_compiler *c, struct cold *cold)
{
    struct cache_link *link = &c->place->links[cold->link];

    switch (cold->kind) {
    case COLD_POLL:
        asm_movi(&c->a, RAX, cold->imm);
        asm_jmp_to(&c->a, back__stub(c, STUB_POLL_REL));
        return;
    case COLD_POLL_ABS:
        asm_jmp_to(&c->a, back__stub(c, STUB_POLL_ABS));
        return;
    case COLD_LANDING: /* rax is the return address */
        link_jump(c, -1, COLD_LINK_ABS, true);
        return;
    case COLD_LINK:
        link->unlinked = c->a.at;
        asm_movi(&c->a, RAX, cold->imm);
        asm_movi(&c->a, RDX, c->place->first_link + cold->link);
        asm_jmp_to(&c->a, back__stub(c, STUB_MISS_REL));
        return;
    default:
        link->unlinked = c->a.at;
        asm_movi(&c->a, RDX, c->place->first_link + cold->link);
        asm_jmp_to(&c->a, back__stub(c, STUB_MISS_ABS));
    }
}

/* --- blocks and terminators ------------------------------------------------------------------- */

void back__jump_block(struct back_compiler *c, int cc, uint32_t block)
{
    uint8_t *site;

    if (cc < 0 && block == c->block + 1)
        return; /* it comes next */
    site = cc < 0 ? asm_jmp(&c->a) : asm_jcc(&c->a, (enum asm_cc)cc);
    if (block <= c->block) {
        asm_patch(site, c->block_at[block]);
    } else if (c->n_fixups == MOST_FIXUPS) {
        c->full = true;
    } else {
        c->fixup[c->n_fixups++] = (struct fixup){site, block};
    }
}

/* Does BLOCK only leave the unit for a place in its page, with nothing to do before? */
static bool is_plain_exit(const struct back_compiler *c, uint32_t block)
{
    const struct ir_block *b = &c->unit->block[block];
    const struct ir_insn *exit = back__insn(c, b->first);

    return b->end == b->first + 1 && exit->op == IR_EXIT && !exit->aux && same_page(c, exit->disp);
}

/* The conditional jump is the link. */
static void link_block(struct back_compiler *c, int cc, uint32_t block)
{
    int32_t disp = back__insn(c, c->unit->block[block].first)->disp;

    link_jump(c, cc, COLD_LINK, false)->imm = disp;
    c->linked_block = block;
}

static bool ends_unit(const struct back_compiler *c, uint32_t block)
{
    unsigned op = back__insn(c, c->unit->block[block].end - 1)->op;

    return op == IR_EXIT || op == IR_EXIT_IND || op == IR_EXIT_STATE;
}

/* Does only the present block lead to BLOCK? */
static bool is_mine(const struct back_compiler *c, uint32_t block)
{
    for (uint32_t b = 0; b < c->unit->n_blocks; b++) {
        const struct ir_insn *last = back__insn(c, c->unit->block[b].end - 1);
        bool leads = last->op == IR_BR || last->op == IR_BRIF;
        if (b != c->block && leads &&
            (last->block[0] == block || (last->op == IR_BRIF && last->block[1] == block)))
            return false;
    }
    return true;
}

static bool link_by_condition(struct back_compiler *c, enum asm_cc cc, uint32_t then_block,
                              uint32_t else_block)
{
    if (c->linked_block || then_block != c->block + 1 || else_block != c->block + 2 ||
        !ends_unit(c, then_block) || !ends_unit(c, else_block) || !is_mine(c, then_block) ||
        !is_mine(c, else_block))
        return false;
    if (is_plain_exit(c, else_block))
        link_block(c, (int)cc ^ 1, else_block);
    else if (is_plain_exit(c, then_block))
        link_block(c, (int)cc, then_block);
    else
        return false;
    return true;
}

static void brif(struct back_compiler *c, const struct ir_insn *insn)
{
    uint32_t cond = insn->arg[0], then_block = insn->block[0], else_block = insn->block[1];
    enum asm_cc cc = CC_NE;

    if (c->value[cond].fused && back__insn(c, cond)->op == IR_FCMP) {
        back__fcmp_branch(c, back__insn(c, cond), then_block, else_block);
        return;
    }
    if (c->value[cond].fused) {
        cc = back__compare(c, back__insn(c, cond));
    } else {
        unsigned reg = back__gpr(c, cond);
        asm_rr(&c->a, A_TEST, true, reg, reg);
    }
    if (link_by_condition(c, cc, then_block, else_block))
        return; /* to the other block, which comes next */
    if (then_block == c->block + 1) {
        back__jump_block(c, (int)cc ^ 1, else_block);
    } else {
        back__jump_block(c, (int)cc, then_block);
        back__jump_block(c, -1, else_block);
    }
}

/* Parameters live on the stack. All arguments are read before one is written: they may be
 * parameters of the same block. */
static void br(struct back_compiler *c, const struct ir_insn *insn)
{
    const struct ir_block *to = &c->unit->block[insn->block[0]];
    const uint32_t *arg = &c->unit->param[insn->params];
    uint32_t n = to->n_params, at = c->n_stack;

    if (at + n > STACK_SLOTS) {
        c->full = true;
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        c->in_stack[c->n_stack++] = c->idx; /* nobody else's */
    for (uint32_t i = 0; i < n; i++)
        back__store_value(c, arg[i], STACK_MEM(at + i));
    for (uint32_t i = 0; i < n; i++) {
        asm_rm(&c->a, A_MOV, true, RAX, STACK_MEM(at + i));
        asm_rm(&c->a, A_MOV_ST, true, RAX, STACK_MEM(c->value[to->first + i].stack));
    }
    back__jump_block(c, -1, insn->block[0]);
}

void back__terminator(struct back_compiler *c, const struct ir_insn *insn)
{
    switch (insn->op) {
    case IR_BR:
        br(c, insn);
        break;
    case IR_BRIF:
        brif(c, insn);
        break;
    case IR_EXIT:
        exit_direct(c, insn);
        break;
    case IR_EXIT_IND:
        exit_indirect(c, insn);
        break;
    default:
        asm_jmp_to(&c->a, back__stub(c, STUB_STATE));
    }
}

/* --- helpers ---------------------------------------------------------------------------------- */

/* What a stub must know comes as the operand of a test behind the call: the guest instruction's
 * displacement, and 16 bits of its own. */
void back__call_stub(struct back_compiler *c, unsigned stub, int32_t pc, uint32_t imm)
{
    asm_call_to(&c->a, back__stub(c, stub));
    asm_8(&c->a, 0xa9); /* test eax, imm32 */
    asm_32(&c->a, (uint32_t)(uint16_t)pc | imm << 16);
}

void back__call(struct back_compiler *c, const struct ir_insn *insn)
{
    const struct ir_helper *helper = &c->back->config.helpers[insn->aux];
    bool writes = helper->flags & IR_CALL_WRITES;
    bool slots = helper->flags & (IR_CALL_READS | IR_CALL_WRITES);
    unsigned kind = slots | writes << 1 | !!(helper->flags & IR_CALL_FPENV) << 2;

    for (unsigned i = 0; i < ir_n_args(insn); i++)
        back__store_value(c, insn->arg[i], FRAME_MEM(FRAME_ARG + 8 * (int32_t)i));
    back__spill_all(c, writes);
    back__call_stub(c, STUB_HELPER + kind, c->unit->side[insn->side].pc, insn->aux);
    if (insn->type != IR_VOID) {
        c->locked = 1u << RAX;
        back__define(c, RAX);
    }
}

void back__trap(struct back_compiler *c, const struct ir_insn *insn)
{
    struct cold *cold = back__cold(c, COLD_TRAP);

    asm_test_ri(&c->a, false, back__gpr(c, insn->arg[0]), (int32_t)insn->imm);
    cold->from[0] = asm_jcc(&c->a, CC_NE);
    cold->aux = insn->aux;
    cold->pc = c->unit->side[insn->side].pc;
}

/* The helper faults: nothing comes back, so that temporaries may be lost. */
void back__cold_trap(struct back_compiler *c, const struct cold *cold)
{
    back__call_stub(c, STUB_HELPER, cold->pc, cold->aux);
}
