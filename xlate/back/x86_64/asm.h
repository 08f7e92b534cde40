/*
 * The assembler: writes x86-64 instructions at a pointer. It checks no room: the compiler leaves
 * enough before each IR operation. Instructions with a ModRM byte come from asm_ops.inc.
 *
 * General registers are 0..15 in hardware order, XMM registers likewise 0..15. W is the operand
 * size of general registers: true for 64 bits.
 */
#ifndef XLATE_BACK_X86_64_ASM_H
#define XLATE_BACK_X86_64_ASM_H

#include "base/base.h"

enum asm_reg {
    RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15,
};
enum asm_cc {
    CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE,
    CC_LE, CC_G,
};

/* An operation: opcode, map (bits 8..9), mandatory prefix (10..11), byte operands (12: r/m, 13:
 * reg). */
#define ASM__MAP(map)       ((map) == 1 ? 0u : (map) == 0x0f ? 1u : (map) == 0x38 ? 2u : 3u)
#define ASM__PREFIX(prefix) ((prefix) == 0 ? 0u : (prefix) == 0x66 ? 1u : (prefix) == 0xf3 ? 2u : 3u)
/* Forms in the order of asm_ops.inc's list; from bit 5 on: which operand is a byte. */
enum asm_form {
    ASM_FORM_RM, ASM_FORM_MR, ASM_FORM_RMW, ASM_FORM_MRW, ASM_FORM_XM, ASM_FORM_MX, ASM_FORM_XG,
    ASM_FORM_GX, ASM_FORM_GXR, ASM_FORM_GXI, ASM_FORM_XMI, ASM_FORM_VRM, ASM_FORM_VMR,
    ASM_FORM_VXM, ASM_FORM_VRI, ASM_FORM_XGI, ASM_FORM_XMP, ASM_FORM_VXP, ASM_FORM_XM0, ASM_FORM_RMB = 1 << 5, ASM_FORM_MRB = 2 << 5,
};
#define ASM_OP(NAME, text, prefix, map, opcode, form) \
    A_##NAME = (opcode) | ASM__MAP(map) << 8 | ASM__PREFIX(prefix) << 10 | \
               ((unsigned)ASM_FORM_##form >> 5) << 12,
enum asm_op {
#include "xlate/back/x86_64/asm_ops.inc"
};
#undef ASM_OP

/* Bytes may alias anything, AT itself: what writes several has a copy of the buffer, which lives in
 * a register. */
struct asm_buf {
    uint8_t *at;
};
#define ASM__INLINE inline __attribute__((always_inline))

/* [base + index * scale + disp]; index may be ASM_NONE. Base ASM_RIP: TARGET, near the code. */
enum { ASM_NONE = 16, ASM_RIP = 17 };
struct asm_mem {
    uint8_t base, index, scale; /* scale: log2 */
    int32_t disp;
    const uint8_t *target;
};

static inline struct asm_mem asm_mem(unsigned base, int32_t disp)
{
    return (struct asm_mem){.base = (uint8_t)base, .index = ASM_NONE, .disp = disp};
}

static inline struct asm_mem asm_index(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    return (struct asm_mem){.base = (uint8_t)base, .index = (uint8_t)index, .scale = (uint8_t)scale,
                            .disp = disp};
}

/* A constant: TARGET is a write address as the buffer's is. */
static inline struct asm_mem asm_rip(const uint8_t *target)
{
    return (struct asm_mem){.base = ASM_RIP, .index = ASM_NONE, .target = target};
}

static ASM__INLINE void asm_8(struct asm_buf *b, unsigned v)
{
    *b->at++ = (uint8_t)v;
}

static ASM__INLINE void asm_32(struct asm_buf *b, uint32_t v)
{
    memcpy(b->at, &v, 4);
    b->at += 4;
}

static ASM__INLINE void asm_64(struct asm_buf *b, uint64_t v)
{
    memcpy(b->at, &v, 8);
    b->at += 8;
}

/* --- encoding --------------------------------------------------------------------------------- */

static ASM__INLINE void asm__opcode(struct asm_buf *b, unsigned op, bool w, unsigned reg,
                                    unsigned index, unsigned base, bool force_rex)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    unsigned rex = (unsigned)w << 3 | (reg >> 3) << 2 | (index >> 3 & 1) << 1 | (base >> 3 & 1);

    if (op >> 10 & 3)
        asm_8(b, prefixes[op >> 10 & 3]);
    if (rex || force_rex)
        asm_8(b, 0x40 | rex);
    if (op >> 8 & 3)
        asm_8(b, 0x0f);
    if ((op >> 8 & 3) > 1)
        asm_8(b, (op >> 8 & 3) == 2 ? 0x38 : 0x3a);
    asm_8(b, op & 0xff);
}

/* IMM: bytes of immediate that follow, which rip-relative addresses count. */
static ASM__INLINE void asm__modrm(struct asm_buf *b, unsigned reg, struct asm_mem m, unsigned imm)
{
    unsigned r = (reg & 7) << 3;

    if (m.base == ASM_RIP) {
        asm_8(b, r | 5);
        asm_32(b, (uint32_t)(m.target - (b->at + 4 + imm)));
        return;
    }
    bool sib = m.index != ASM_NONE || (m.base & 7) == RSP;
    unsigned mod = m.disp == 0 && (m.base & 7) != RBP ? 0 : m.disp == (int8_t)m.disp ? 1 : 2;
    asm_8(b, mod << 6 | r | (sib ? 4 : m.base & 7));
    if (sib)
        asm_8(b, (unsigned)m.scale << 6 | (m.index == ASM_NONE ? 4 : m.index & 7) << 3 | (m.base & 7));
    if (mod == 1)
        asm_8(b, (uint8_t)m.disp);
    else if (mod == 2)
        asm_32(b, (uint32_t)m.disp);
}

static inline void asm_rr(struct asm_buf *buf, enum asm_op op, bool w, unsigned reg, unsigned rm)
{
    struct asm_buf b = *buf;
    bool byte = ((op >> 12 & 3) && rm >= RSP) || ((op >> 13 & 1) && reg >= RSP);

    asm__opcode(&b, op, w, reg, 0, rm, byte);
    asm_8(&b, 0xc0 | (reg & 7) << 3 | (rm & 7));
    *buf = b;
}

static inline void asm_rm(struct asm_buf *buf, enum asm_op op, bool w, unsigned reg,
                          struct asm_mem m)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, op, w, reg, m.index == ASM_NONE ? 0 : m.index, m.base >= ASM_NONE ? 0 : m.base,
                (op >> 13 & 1) && reg >= RSP);
    asm__modrm(&b, reg, m, 0);
    *buf = b;
}

/* With an immediate byte. */
static inline void asm_rri(struct asm_buf *b, enum asm_op op, bool w, unsigned reg, unsigned rm,
                           unsigned imm)
{
    asm_rr(b, op, w, reg, rm);
    asm_8(b, imm);
}

static ASM__INLINE void asm__vex(struct asm_buf *b, unsigned op, bool w, unsigned reg, unsigned v,
                                 unsigned index, unsigned base)
{
    unsigned r = ~reg >> 3 & 1, x = ~index >> 3 & 1, bb = ~base >> 3 & 1;
    unsigned low = (~v & 15) << 3 | (op >> 10 & 3);

    if (x && bb && !w && (op >> 8 & 3) == 1) {
        asm_8(b, 0xc5);
        asm_8(b, r << 7 | low);
    } else {
        asm_8(b, 0xc4);
        asm_8(b, r << 7 | x << 6 | bb << 5 | (op >> 8 & 3));
        asm_8(b, (unsigned)w << 7 | low);
    }
    asm_8(b, op & 0xff);
}

/* Three operands, VEX-encoded: V is the middle one (0 where the instruction has none). */
static inline void asm_vrr(struct asm_buf *buf, enum asm_op op, bool w, unsigned reg, unsigned v,
                           unsigned rm)
{
    struct asm_buf b = *buf;

    asm__vex(&b, op, w, reg, v, 0, rm);
    asm_8(&b, 0xc0 | (reg & 7) << 3 | (rm & 7));
    *buf = b;
}

/* Two operands and an immediate byte. */
static inline void asm_vrri(struct asm_buf *b, enum asm_op op, bool w, unsigned reg, unsigned rm,
                            unsigned imm)
{
    asm_vrr(b, op, w, reg, 0, rm);
    asm_8(b, imm);
}

/* Three operands and an immediate byte. */
static inline void asm_vrrri(struct asm_buf *b, enum asm_op op, bool w, unsigned reg, unsigned v,
                             unsigned rm, unsigned imm)
{
    asm_vrr(b, op, w, reg, v, rm);
    asm_8(b, imm);
}

static inline void asm_vrm(struct asm_buf *buf, enum asm_op op, bool w, unsigned reg, unsigned v,
                           struct asm_mem m)
{
    struct asm_buf b = *buf;

    asm__vex(&b, op, w, reg, v, m.index == ASM_NONE ? 0 : m.index, m.base >= ASM_NONE ? 0 : m.base);
    asm__modrm(&b, reg, m, 0);
    *buf = b;
}

/* With an immediate byte. */
static inline void asm_vrmi(struct asm_buf *buf, enum asm_op op, bool w, unsigned reg, unsigned v,
                            struct asm_mem m, unsigned imm)
{
    struct asm_buf b = *buf;

    asm__vex(&b, op, w, reg, v, m.index == ASM_NONE ? 0 : m.index, m.base >= ASM_NONE ? 0 : m.base);
    asm__modrm(&b, reg, m, 1);
    asm_8(&b, imm);
    *buf = b;
}

/* --- immediates ------------------------------------------------------------------------------- */

static inline bool asm_fits8(int64_t v)
{
    return v == (int8_t)v;
}

static inline bool asm_fits32(int64_t v)
{
    return v == (int32_t)v;
}

/* The digit that an arithmetic operation has in the immediate group. */
static inline unsigned asm__digit(enum asm_op op)
{
    return (op & 0x38) >> 3;
}

/* OP: ADD, OR, AND, SUB, XOR, CMP. */
static inline void asm_ri(struct asm_buf *buf, enum asm_op op, bool w, unsigned reg, int32_t imm)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, asm_fits8(imm) ? 0x83 : 0x81, w, 0, 0, reg, false);
    asm_8(&b, 0xc0 | asm__digit(op) << 3 | (reg & 7));
    if (asm_fits8(imm))
        asm_8(&b, (uint8_t)imm);
    else
        asm_32(&b, (uint32_t)imm);
    *buf = b;
}

static inline void asm_mi(struct asm_buf *buf, enum asm_op op, bool w, struct asm_mem m,
                          int32_t imm)
{
    struct asm_buf b = *buf;
    bool small = asm_fits8(imm);

    asm__opcode(&b, small ? 0x83 : 0x81, w, 0, m.index == ASM_NONE ? 0 : m.index,
                m.base >= ASM_NONE ? 0 : m.base, false);
    asm__modrm(&b, asm__digit(op), m, small ? 1 : 4);
    if (small)
        asm_8(&b, (uint8_t)imm);
    else
        asm_32(&b, (uint32_t)imm);
    *buf = b;
}

/* REG = V in the shortest way that keeps the flags; the upper half of a 32-bit one becomes 0. */
static inline void asm_movi(struct asm_buf *buf, unsigned reg, int64_t v)
{
    struct asm_buf b = *buf;

    if (v == (int64_t)(uint32_t)v) {
        asm__opcode(&b, 0xb8 | (reg & 7), false, 0, 0, reg, false);
        asm_32(&b, (uint32_t)v);
    } else if (asm_fits32(v)) {
        asm__opcode(&b, 0xc7, true, 0, 0, reg, false);
        asm_8(&b, 0xc0 | (reg & 7));
        asm_32(&b, (uint32_t)v);
    } else {
        asm__opcode(&b, 0xb8 | (reg & 7), true, 0, 0, reg, false);
        asm_64(&b, (uint64_t)v);
    }
    *buf = b;
}

/* mov [m], imm: 4 or 8 bytes wide. */
static inline void asm_mem_movi(struct asm_buf *buf, bool w, struct asm_mem m, int32_t imm)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0xc7, w, 0, m.index == ASM_NONE ? 0 : m.index, m.base >= ASM_NONE ? 0 : m.base,
                false);
    asm__modrm(&b, 0, m, 4);
    asm_32(&b, (uint32_t)imm);
    *buf = b;
}

static inline void asm_imul_ri(struct asm_buf *buf, bool w, unsigned reg, unsigned rm, int32_t imm)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0x69, w, reg, 0, rm, false);
    asm_8(&b, 0xc0 | (reg & 7) << 3 | (rm & 7));
    asm_32(&b, (uint32_t)imm);
    *buf = b;
}

/* test r/m, imm32; byte-wide where that is enough. */
static inline void asm_test_ri(struct asm_buf *buf, bool w, unsigned reg, int32_t imm)
{
    struct asm_buf b = *buf;
    bool byte = imm >= 0 && imm < 128;

    asm__opcode(&b, byte ? 0xf6 : 0xf7, !byte && w, 0, 0, reg, byte && reg >= RSP);
    asm_8(&b, 0xc0 | (reg & 7));
    if (byte)
        asm_8(&b, (uint8_t)imm);
    else
        asm_32(&b, (uint32_t)imm);
    *buf = b;
}

/* --- shifts and one-operand instructions ------------------------------------------------------ */

enum asm_shift { SH_ROL = 0, SH_ROR = 1, SH_SHL = 4, SH_SHR = 5, SH_SAR = 7 };

static inline void asm_shift_i(struct asm_buf *buf, enum asm_shift op, bool w, unsigned reg,
                               unsigned count)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0xc1, w, 0, 0, reg, false);
    asm_8(&b, 0xc0 | (unsigned)op << 3 | (reg & 7));
    asm_8(&b, count);
    *buf = b;
}

/* By cl. */
static inline void asm_shift_cl(struct asm_buf *buf, enum asm_shift op, bool w, unsigned reg)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0xd3, w, 0, 0, reg, false);
    asm_8(&b, 0xc0 | (unsigned)op << 3 | (reg & 7));
    *buf = b;
}

/* Shifts of vector lanes by a constant: opcode and digit. */
enum asm_vshift {
    VSH_PSRLW = 0x7102, VSH_PSRAW = 0x7104, VSH_PSLLW = 0x7106, VSH_PSRLD = 0x7202,
    VSH_PSRAD = 0x7204, VSH_PSLLD = 0x7206, VSH_PSRLQ = 0x7302, VSH_PSRLDQ = 0x7303,
    VSH_PSLLQ = 0x7306, VSH_PSLLDQ = 0x7307,
};

/* op reg, count; with VEX op reg, src, count. */
static inline void asm_vshift(struct asm_buf *buf, enum asm_vshift op, bool vex, unsigned reg,
                              unsigned src, unsigned count)
{
    struct asm_buf b = *buf;
    unsigned code = (unsigned)op >> 8 | 1u << 8 | 1u << 10;

    if (vex)
        asm__vex(&b, code, false, 0, reg, 0, src);
    else
        asm__opcode(&b, code, false, 0, 0, reg, false);
    asm_8(&b, 0xc0 | ((unsigned)op & 7) << 3 | ((vex ? src : reg) & 7));
    asm_8(&b, count);
    *buf = b;
}

enum asm_unary { UN_NOT = 2, UN_NEG = 3, UN_MUL = 4, UN_IMUL = 5, UN_DIV = 6, UN_IDIV = 7 };

static inline void asm_unary(struct asm_buf *buf, enum asm_unary op, bool w, unsigned reg)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0xf7, w, 0, 0, reg, false);
    asm_8(&b, 0xc0 | (unsigned)op << 3 | (reg & 7));
    *buf = b;
}

/* cdq, cqo: rdx = sign of rax. */
static inline void asm_sign_rdx(struct asm_buf *buf, bool w)
{
    struct asm_buf b = *buf;

    if (w)
        asm_8(&b, 0x48);
    asm_8(&b, 0x99);
    *buf = b;
}

static inline void asm_bswap(struct asm_buf *buf, bool w, unsigned reg)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0x1c8 | (reg & 7), w, 0, 0, reg, false);
    *buf = b;
}

static inline void asm_setcc(struct asm_buf *buf, enum asm_cc cc, unsigned reg)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0x190 | (unsigned)cc, false, 0, 0, reg, reg >= RSP);
    asm_8(&b, 0xc0 | (reg & 7));
    *buf = b;
}

static inline void asm_cmov(struct asm_buf *buf, enum asm_cc cc, bool w, unsigned reg, unsigned rm)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0x140 | (unsigned)cc, w, reg, 0, rm, false);
    asm_8(&b, 0xc0 | (reg & 7) << 3 | (rm & 7));
    *buf = b;
}

static inline void asm_lock(struct asm_buf *b)
{
    asm_8(b, 0xf0);
}

static inline void asm_push(struct asm_buf *buf, unsigned reg)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0x50 | (reg & 7), false, 0, 0, reg, false);
    *buf = b;
}

static inline void asm_pop(struct asm_buf *buf, unsigned reg)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0x58 | (reg & 7), false, 0, 0, reg, false);
    *buf = b;
}

/* ldmxcsr (digit 2), stmxcsr (digit 3). */
static inline void asm_mxcsr(struct asm_buf *buf, unsigned digit, struct asm_mem m)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0x1ae, false, 0, m.index == ASM_NONE ? 0 : m.index,
                m.base >= ASM_NONE ? 0 : m.base, false);
    asm__modrm(&b, digit, m, 0);
    *buf = b;
}

/* --- jumps ------------------------------------------------------------------------------------ */

static inline void asm_patch(uint8_t *site, const uint8_t *target)
{
    int32_t rel = (int32_t)(target - (site + 4));

    memcpy(site, &rel, 4);
}

/* Jumps to a target to be patched: where the displacement is. */
static inline uint8_t *asm_jcc(struct asm_buf *b, enum asm_cc cc)
{
    asm_8(b, 0x0f);
    asm_8(b, 0x80 | (unsigned)cc);
    asm_32(b, 0);
    return b->at - 4;
}

static inline uint8_t *asm_jmp(struct asm_buf *b)
{
    asm_8(b, 0xe9);
    asm_32(b, 0);
    return b->at - 4;
}

static inline void asm_jmp_to(struct asm_buf *b, const uint8_t *target)
{
    asm_patch(asm_jmp(b), target);
}

static inline void asm_jcc_to(struct asm_buf *b, enum asm_cc cc, const uint8_t *target)
{
    asm_patch(asm_jcc(b, cc), target);
}

/* A short jump over at most 127 bytes: where its displacement is, for asm_land(). */
static inline uint8_t *asm_jcc_short(struct asm_buf *b, enum asm_cc cc)
{
    asm_8(b, 0x70 | (unsigned)cc);
    asm_8(b, 0);
    return b->at - 1;
}

static inline uint8_t *asm_jmp_short(struct asm_buf *b)
{
    asm_8(b, 0xeb);
    asm_8(b, 0);
    return b->at - 1;
}

static inline void asm_land(struct asm_buf *b, uint8_t *site)
{
    g_assert(b->at - (site + 1) < 128);
    *site = (uint8_t)(b->at - (site + 1));
}

static inline void asm_call_to(struct asm_buf *buf, const uint8_t *target)
{
    struct asm_buf b = *buf;

    asm_8(&b, 0xe8);
    asm_32(&b, 0);
    asm_patch(b.at - 4, target);
    *buf = b;
}

/* jmp [m] (digit 4), call [m] (digit 2). */
static inline void asm_jump_mem(struct asm_buf *buf, unsigned digit, struct asm_mem m)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0xff, false, 0, m.index == ASM_NONE ? 0 : m.index,
                m.base >= ASM_NONE ? 0 : m.base, false);
    asm__modrm(&b, digit, m, 0);
    *buf = b;
}

static inline void asm_jump_reg(struct asm_buf *buf, unsigned digit, unsigned reg)
{
    struct asm_buf b = *buf;

    asm__opcode(&b, 0xff, false, 0, 0, reg, false);
    asm_8(&b, 0xc0 | digit << 3 | (reg & 7));
    *buf = b;
}

static inline void asm_ret(struct asm_buf *b)
{
    asm_8(b, 0xc3);
}

/* N bytes that do nothing, N < 10. */
static inline void asm_nop(struct asm_buf *b, unsigned n)
{
    static const uint8_t nops[][9] = {
        {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}, {0x0f, 0x1f, 0x40, 0x00},
        {0x0f, 0x1f, 0x44, 0x00, 0x00}, {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00}, {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
    };

    if (n) {
        memcpy(b->at, nops[n - 1], n);
        b->at += n;
    }
}

#endif
