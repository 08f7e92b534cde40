/*
 * The fixed part of the cache: how code is entered and left, the stubs behind slow accesses and
 * helpers, constants and tables. Written once, before any unit.
 *
 * A stub is called with one word behind the call (back__call_stub()): bits 0..15 the guest
 * instruction's displacement, the rest as the stub says.
 */
#include "xlate/back/x86_64/back_priv.h"

enum { DIGIT_CALL = 2, LDMXCSR = 2, STMXCSR = 3 };
/* In a stub the frame is behind the return address and a word that aligns the stack. */
#define IN_STUB(at) asm_mem(RSP, (at) + 16)
#define CALLER_SAVED (1u << RAX | 1u << RCX | 1u << RDX | 1u << RSI | 1u << RDI | \
                      1u << R8 | 1u << R9 | 1u << R10 | 1u << R11)

struct writer {
    struct back_compiler c; /* its assembler and back alone: for the moves of regs.c */
    struct back *back;
};

static struct asm_buf *buf(struct writer *w)
{
    return &w->c.a;
}

static void mark(struct writer *w, unsigned stub)
{
    asm_nop(buf(w), (8 - (uintptr_t)buf(w)->at % 8) % 8);
    w->back->stub[stub] = (uint32_t)(buf(w)->at - w->back->fixed);
}

static const uint8_t *at(const struct writer *w, uint32_t offset)
{
    return w->back->fixed + offset;
}

/* --- slots ------------------------------------------------------------------------------------ */

/* WIDE: all of an XMM register. */
static void move(struct writer *w, unsigned reg, bool wide, struct asm_mem mem, bool load)
{
    if (wide && reg >= XMM && load)
        back__load_wide(&w->c, reg, mem);
    else if (wide && reg >= XMM)
        back__store_wide(&w->c, reg, mem);
    else if (load)
        back__load_reg(&w->c, reg, mem);
    else
        back__store_reg(&w->c, reg, mem);
}

/* Moves the pinned registers of MASK from or to their slots. */
static void pinned(struct writer *w, uint32_t mask, bool load)
{
    for (mask &= w->back->pinned; mask; mask &= mask - 1) {
        unsigned reg = (unsigned)__builtin_ctz(mask);
        move(w, reg, w->back->wide, SLOT_MEM(w->back->slot_of[reg]), load);
    }
}

/* Moves the registers of MASK to or from the frame. */
static void keep(struct writer *w, uint32_t mask, bool load)
{
    int32_t gpr = FRAME_GPRS;

    for (; mask; mask &= mask - 1) {
        unsigned reg = (unsigned)__builtin_ctz(mask);
        struct asm_mem mem = IN_STUB(reg >= XMM ? FRAME_XMMS + 16 * (int32_t)(reg - XMM) : gpr);
        gpr += reg >= XMM ? 0 : 8;
        move(w, reg, true, mem, load);
    }
}

/* --- the floating-point environment ----------------------------------------------------------- */

enum { TABLE_RMS = 8, TABLE_FLAGS = 32 };

/* MXCSR = the guest's, from cpu->fp_rm and fp_flags; clobbers rax, rcx. The flags that the guest has already are
 * set, as Intel's processors take 25 ns for one that an operation sets anew. */
static void load_guest_mxcsr(struct writer *w)
{
    struct asm_buf *b = buf(w);

    asm_rm(b, A_MOVZX8, false, RAX, CPU_FIELD(fp_flags));
    asm_ri(b, A_AND, false, RAX, TABLE_FLAGS - 1);
    asm_rm(b, A_MOVZX8, false, RCX, CPU_FIELD(fp_rm));
    asm_rm(b, A_LEA, true, RAX, asm_index(RCX, RAX, 3, 0));
    asm_rm(b, A_LEA, true, RCX, asm_rip(at(w, w->back->rm_table)));
    asm_mxcsr(b, LDMXCSR, asm_index(RCX, RAX, 2, 0));
}

/* Adds MXCSR's flags to cpu->fp_flags and loads the host's from HOST; clobbers rcx, rsi. */
static void load_host_mxcsr(struct writer *w, struct asm_mem tmp, struct asm_mem host)
{
    struct asm_buf *b = buf(w);

    asm_mxcsr(b, STMXCSR, tmp);
    asm_rm(b, A_MOV, false, RCX, tmp);
    asm_ri(b, A_AND, false, RCX, 0x3d);
    uint8_t *none = asm_jcc_short(b, CC_E);
    asm_rm(b, A_LEA, true, RSI, asm_rip(at(w, w->back->flag_table)));
    asm_rm(b, A_MOVZX8, false, RCX, asm_index(RSI, RCX, 0, 0));
    asm_rm(b, A_MOVZX8, false, RSI, CPU_FIELD(fp_flags));
    asm_rr(b, A_OR, false, RCX, RSI);
    asm_rm(b, A_MOV_ST8, false, RCX, CPU_FIELD(fp_flags));
    asm_land(b, none);
    asm_mxcsr(b, LDMXCSR, host);
}

/* --- in and out ------------------------------------------------------------------------------- */

static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

static void write_enter(struct writer *w)
{
    struct asm_buf *b = buf(w);

    mark(w, STUB_ENTER); /* rdi: the vCPU, rsi: code */
    for (unsigned i = 0; i < G_N_ELEMENTS(callee_saved); i++)
        asm_push(b, callee_saved[i]);
    asm_ri(b, A_SUB, true, RSP, FRAME_SIZE);
    asm_rm(b, A_LEA, true, RBP, asm_mem(RDI, CPU_BIAS));
    asm_rm(b, A_MOV_ST, true, RSP, CPU_FIELD(frame));
    asm_mxcsr(b, STMXCSR, FRAME_MEM(FRAME_MXCSR));
    load_guest_mxcsr(w);
    pinned(w, UINT32_MAX, true);
    asm_jump_reg(b, 4, RSI);
}

/* Leaves with what enum back_leave says, rdx being the link. */
static void leave_with(struct writer *w, enum back_leave leave, const uint8_t *common)
{
    asm_movi(buf(w), RAX, leave);
    asm_jmp_to(buf(w), common);
}

static void write_leave(struct writer *w)
{
    struct asm_buf *b = buf(w);
    const uint8_t *common = b->at;

    pinned(w, UINT32_MAX, false);
    load_host_mxcsr(w, FRAME_MEM(FRAME_TMP), FRAME_MEM(FRAME_MXCSR));
    asm_mem_movi(b, true, CPU_FIELD(frame), 0);
    asm_ri(b, A_ADD, true, RSP, FRAME_SIZE);
    for (unsigned i = G_N_ELEMENTS(callee_saved); i-- > 0;)
        asm_pop(b, callee_saved[i]);
    asm_ret(b);

    mark(w, STUB_MISS_REL);
    asm_rm(b, A_ADD, true, RAX, CPU_FIELD(pc_page));
    mark(w, STUB_MISS_ABS);
    asm_rm(b, A_MOV_ST, true, RAX, CPU_FIELD(pc));
    leave_with(w, BACK_LEAVE_MISS, common);
    mark(w, STUB_MISS);
    asm_rm(b, A_MOV_ST, true, RAX, CPU_FIELD(pc));
    asm_movi(b, RDX, CACHE_NO_LINK);
    leave_with(w, BACK_LEAVE_MISS, common);
    mark(w, STUB_POLL_REL);
    asm_rm(b, A_ADD, true, RAX, CPU_FIELD(pc_page));
    mark(w, STUB_POLL_ABS);
    asm_rm(b, A_MOV_ST, true, RAX, CPU_FIELD(pc));
    leave_with(w, BACK_LEAVE_POLL, common);
    mark(w, STUB_STATE);
    leave_with(w, BACK_LEAVE_STATE, common);
    mark(w, STUB_FAULT);
    leave_with(w, BACK_LEAVE_FAULT, common);
}

/* --- stubs that units call -------------------------------------------------------------------- */

/* rax = the word behind the call, without the displacement; cpu->pc is set from it. Clobbers rcx. */
static void read_word(struct writer *w)
{
    struct asm_buf *b = buf(w);

    asm_rm(b, A_MOV, true, RAX, asm_mem(RSP, 8));
    asm_rm(b, A_MOV, false, RAX, asm_mem(RAX, 1));
    asm_rr(b, A_MOVSX16, true, RCX, RAX);
    asm_rm(b, A_ADD, true, RCX, CPU_FIELD(pc_page));
    asm_rm(b, A_MOV_ST, true, RCX, CPU_FIELD(pc));
    asm_shift_i(b, SH_SHR, false, RAX, 16);
}

static void check_fault(struct writer *w)
{
    struct asm_buf *b = buf(w);

    asm_mi(b, A_CMP, false, CPU_FIELD(fault), 0);
    uint8_t *fine = asm_jcc_short(b, CC_E);
    asm_ri(b, A_ADD, true, RSP, 16);
    asm_jmp_to(b, at(w, w->back->stub[STUB_FAULT]));
    asm_land(b, fine);
}

/* The access's arguments N of the frame into registers, then its mem (and operation). */
static void load_arguments(struct writer *w, unsigned n, bool has_op)
{
    static const uint8_t regs[] = {RDI, RSI, RDX, RCX, R8, R9};
    struct asm_buf *b = buf(w);

    for (unsigned i = 0; i < n; i++)
        asm_rm(b, A_MOV, true, regs[i + 1], IN_STUB(FRAME_ARG + 8 * (int32_t)i));
    asm_rr(b, A_MOV, false, regs[n + 1], RAX);
    asm_ri(b, A_AND, false, regs[n + 1], (1 << IR_MEM_BITS) - 1);
    if (has_op) {
        asm_rr(b, A_MOV, false, regs[n + 2], RAX);
        asm_shift_i(b, SH_SHR, false, regs[n + 2], IR_MEM_BITS);
    }
    asm_rm(b, A_LEA, true, RDI, asm_mem(RBP, -CPU_BIAS));
}

static void call_c(struct writer *w, const void *fn)
{
    asm_movi(buf(w), RAX, (int64_t)(uintptr_t)fn);
    asm_jump_reg(buf(w), DIGIT_CALL, RAX);
}

/* A slow access: all registers are kept, the result is in the frame. */
static void write_access(struct writer *w, unsigned stub, unsigned n_args, bool has_op,
                         const void *fn)
{
    uint32_t all = CALLER_SAVED | 0xffffu << XMM;

    mark(w, stub);
    asm_ri(buf(w), A_SUB, true, RSP, 8);
    keep(w, all, false);
    read_word(w);
    load_arguments(w, n_args, has_op);
    call_c(w, fn);
    asm_rm(buf(w), A_MOV_ST, true, RAX, IN_STUB(FRAME_RESULT));
    keep(w, all, true);
    check_fault(w);
    asm_ri(buf(w), A_ADD, true, RSP, 8);
    asm_ret(buf(w));
}

/* An access of 16 bytes: the value is at FRAME_VEC, before or after. */
static void write_access16(struct writer *w, unsigned stub, const void *fn)
{
    uint32_t all = CALLER_SAVED | 0xffffu << XMM;
    struct asm_buf *b = buf(w);

    mark(w, stub);
    asm_ri(b, A_SUB, true, RSP, 8);
    keep(w, all, false);
    read_word(w);
    asm_rr(b, A_MOV, false, RCX, RAX);
    asm_rm(b, A_MOV, true, RSI, IN_STUB(FRAME_ARG));
    asm_rm(b, A_LEA, true, RDX, IN_STUB(FRAME_VEC));
    asm_rm(b, A_LEA, true, RDI, asm_mem(RBP, -CPU_BIAS));
    call_c(w, fn);
    keep(w, all, true);
    check_fault(w);
    asm_ri(b, A_ADD, true, RSP, 8);
    asm_ret(b);
}

/* A vector operation by C. All registers are kept. */
static void write_vec(struct writer *w)
{
    uint32_t all = CALLER_SAVED | 0xffffu << XMM;
    struct asm_buf *b = buf(w);

    mark(w, STUB_VEC);
    asm_ri(b, A_SUB, true, RSP, 8);
    keep(w, all, false);
    asm_rm(b, A_LEA, true, RDI, asm_mem(RBP, -CPU_BIAS));
    asm_rm(b, A_LEA, true, RSI, IN_STUB(FRAME_VEC));
    asm_rm(b, A_MOV, true, RDX, IN_STUB(FRAME_HOW));
    call_c(w, (const void *)(uintptr_t)back__slow_vec);
    keep(w, all, true);
    asm_ri(b, A_ADD, true, RSP, 8);
    asm_ret(b);
}

/* A C function of back__slow[]: number in the word. All registers are kept. */
static void write_slow(struct writer *w)
{
    static const uint8_t regs[] = {RDI, RSI, RDX, RCX};
    uint32_t all = CALLER_SAVED | 0xffffu << XMM;
    struct asm_buf *b = buf(w);

    mark(w, STUB_SLOW);
    asm_ri(b, A_SUB, true, RSP, 8);
    keep(w, all, false);
    asm_rm(b, A_MOV, true, RAX, asm_mem(RSP, 8));
    asm_rm(b, A_MOV, false, RAX, asm_mem(RAX, 1));
    asm_shift_i(b, SH_SHR, false, RAX, 16);
    for (unsigned i = 0; i < 4; i++)
        asm_rm(b, A_MOV, true, regs[i], IN_STUB(FRAME_ARG + 8 * (int32_t)i));
    asm_rm(b, A_LEA, true, R8, asm_rip(at(w, w->back->slow_table)));
    asm_jump_mem(b, DIGIT_CALL, asm_index(R8, RAX, 3, 0));
    asm_rm(b, A_MOV_ST, true, RAX, IN_STUB(FRAME_RESULT));
    keep(w, all, true);
    asm_ri(b, A_ADD, true, RSP, 8);
    asm_ret(b);
}

/* A helper: number in the word. Temporaries are the caller's to keep; the result is in rax. */
static void write_helper(struct writer *w, unsigned kind)
{
    static const uint8_t regs[] = {RSI, RDX, RCX, R8};
    uint32_t lost = (CALLER_SAVED | 0xffffu << XMM) & w->back->pinned;
    bool stores = kind & 1, loads = kind & 2, fpenv = kind & 4;
    struct asm_buf *b = buf(w);

    mark(w, STUB_HELPER + kind);
    asm_ri(b, A_SUB, true, RSP, 8);
    if (stores)
        pinned(w, UINT32_MAX, false);
    else
        keep(w, lost, false);
    if (fpenv)
        load_host_mxcsr(w, IN_STUB(FRAME_TMP), IN_STUB(FRAME_MXCSR));
    read_word(w);
    for (unsigned i = 0; i < 4; i++)
        asm_rm(b, A_MOV, true, regs[i], IN_STUB(FRAME_ARG + 8 * (int32_t)i));
    asm_rm(b, A_LEA, true, RDI, asm_mem(RBP, -CPU_BIAS));
    asm_rm(b, A_LEA, true, R9, asm_rip(at(w, w->back->helper_table)));
    asm_jump_mem(b, DIGIT_CALL, asm_index(R9, RAX, 3, 0));
    if (fpenv) {
        asm_rr(b, A_MOV, true, RDX, RAX);
        load_guest_mxcsr(w);
        asm_rr(b, A_MOV, true, RAX, RDX);
    }
    if (loads)
        pinned(w, UINT32_MAX, true);
    else if (stores)
        pinned(w, lost, true);
    else
        keep(w, lost, true);
    check_fault(w);
    asm_ri(b, A_ADD, true, RSP, 8);
    asm_ret(b);
}

/* --- constants and tables --------------------------------------------------------------------- */

static void write_constants(struct writer *w)
{
    static const uint64_t values[K_COUNT][2] = {
        [K_SIGN64] = {UINT64_C(1) << 63, 0},
        [K_SIGN32] = {UINT64_C(1) << 31, 0},
        [K_ABS64] = {UINT64_MAX >> 1, UINT64_MAX >> 1},
        [K_ABS32] = {UINT64_C(0x7fffffff7fffffff), UINT64_C(0x7fffffff7fffffff)},
        [K_BOX] = {UINT64_C(0xffffffff) << 32, 0},
        [K_NAN64] = {UINT64_C(0x7ff8000000000000), 0},
        [K_NAN32] = {UINT64_C(0x7fc00000), 0},
        [K_TWO32_64] = {UINT64_C(0x41f0000000000000), 0},
        [K_TWO32_32] = {UINT64_C(0x4f800000), 0},
        [K_TWO63_64] = {UINT64_C(0x43e0000000000000), 0},
        [K_TWO63_32] = {UINT64_C(0x5f000000), 0},
        [K_MINUS1_64] = {UINT64_C(0xbff0000000000000), 0},
        [K_MINUS1_32] = {UINT64_C(0xbf800000), 0},
        [K_LEAST64] = {UINT64_C(0x0010000000000000), UINT64_C(0x0010000000000000)},
        [K_LEAST32] = {UINT64_C(0x0080000000800000), UINT64_C(0x0080000000800000)},
        [K_SHA1C] = {UINT64_C(0x5a8279995a827999), UINT64_C(0x5a8279995a827999)},
        [K_SHA1P] = {UINT64_C(0x6ed9eba16ed9eba1), UINT64_C(0x6ed9eba16ed9eba1)},
        [K_SHA1M] = {UINT64_C(0x8f1bbcdc8f1bbcdc), UINT64_C(0x8f1bbcdc8f1bbcdc)},
        [K_ONES_OF_4] = {UINT64_C(0x0302020102010100), UINT64_C(0x0403030203020201)},
        [K_REV16_8] = {UINT64_C(0x0607040502030001), UINT64_C(0x0e0f0c0d0a0b0809)},
        [K_REV32_8] = {UINT64_C(0x0405060700010203), UINT64_C(0x0c0d0e0f08090a0b)},
        [K_REV32_16] = {UINT64_C(0x0504070601000302), UINT64_C(0x0d0c0f0e09080b0a)},
        [K_REV64_8] = {UINT64_C(0x0001020304050607), UINT64_C(0x08090a0b0c0d0e0f)},
        [K_REV64_16] = {UINT64_C(0x0100030205040706), UINT64_C(0x09080b0a0d0c0f0e)},
        [K_REV64_32] = {UINT64_C(0x0302010007060504), UINT64_C(0x0b0a09080f0e0d0c)},
        [K_NARROW8] = {UINT64_C(0x0e0c0a0806040200), UINT64_C(0x8080808080808080)},
        [K_NARROW16] = {UINT64_C(0x0d0c090805040100), UINT64_C(0x8080808080808080)},
        [K_NARROW32] = {UINT64_C(0x0b0a090803020100), UINT64_C(0x8080808080808080)},
    };
    struct asm_buf *b = buf(w);

    w->back->constants = (uint32_t)(b->at - w->back->fixed);
    for (unsigned i = 0; i < K_COUNT; i++) {
        asm_64(b, values[i][0]);
        asm_64(b, values[i][1]);
    }
}

static void write_tables(struct writer *w)
{
    static const uint8_t rc[TABLE_RMS] = {[IR_RM_RNE] = 0, [IR_RM_RDN] = 1, [IR_RM_RUP] = 2, [IR_RM_RTZ] = 3};
    const struct back_config *config = &w->back->config;
    struct asm_buf *b = buf(w);

    w->back->rm_table = (uint32_t)(b->at - w->back->fixed);
    G_STATIC_ASSERT(IR_NX == 1 && IR_UF == 2 && IR_OF == 4 && IR_DZ == 8 && IR_NV == 16);
    for (unsigned i = 0; i < TABLE_FLAGS * TABLE_RMS; i++) {
        unsigned flags = i / TABLE_RMS;
        asm_32(b, 0x1f80u | (uint32_t)rc[i % TABLE_RMS] << 13 | (flags & IR_NX ? 0x20 : 0) |
                      (flags & IR_UF ? 0x10 : 0) | (flags & IR_OF ? 0x08 : 0) | (flags & IR_DZ ? 0x04 : 0) |
                      (flags & IR_NV ? 0x01 : 0));
    }
    w->back->flag_table = (uint32_t)(b->at - w->back->fixed);
    for (unsigned i = 0; i < 64; i++)
        asm_8(b, (i & 0x20 ? IR_NX : 0) | (i & 0x10 ? IR_UF : 0) | (i & 0x08 ? IR_OF : 0) |
                 (i & 0x04 ? IR_DZ : 0) | (i & 0x01 ? IR_NV : 0));
    w->back->slow_table = (uint32_t)(b->at - w->back->fixed);
    for (unsigned i = 0; i < SLOW_COUNT; i++)
        asm_64(b, (uintptr_t)back__slow[i]);
    w->back->helper_table = (uint32_t)(b->at - w->back->fixed);
    for (unsigned i = 0; i < config->n_helpers; i++)
        asm_64(b, (uintptr_t)config->helpers[i].fn);
}

void back__write_fixed(struct back *back)
{
    const struct back_slow *slow = &back->config.slow;
    g_autofree struct writer *w = g_new0(struct writer, 1);

    w->back = back;
    w->c.back = back;
    w->c.a.at = back->fixed;
    write_constants(w);
    write_tables(w);
    write_leave(w);
    write_enter(w);
    write_access(w, STUB_LOAD, 1, false, (const void *)(uintptr_t)slow->load);
    write_access(w, STUB_STORE, 2, false, (const void *)(uintptr_t)slow->store);
    write_access(w, STUB_RMW, 2, true, (const void *)(uintptr_t)slow->rmw);
    write_access(w, STUB_CAS, 3, false, (const void *)(uintptr_t)slow->cas);
    write_access(w, STUB_SC, 4, false, (const void *)(uintptr_t)slow->sc);
    write_access16(w, STUB_LOAD16, (const void *)(uintptr_t)slow->load16);
    write_access16(w, STUB_STORE16, (const void *)(uintptr_t)slow->store16);
    write_vec(w);
    write_slow(w);
    for (unsigned kind = 0; kind < 8; kind++)
        write_helper(w, kind);
    mark(w, STUB_JUMP);
    back__jump_cache(&w->c);
    g_assert(w->c.a.at <= back->fixed + CACHE_FIXED_BYTES);
}
