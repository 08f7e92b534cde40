/*
 * rv_emit.h: what the emitters share. An emitter rv_emit_NAME() turns one decoded instruction into
 * IR; the specification says which with what argument. The ones that end the unit append its
 * terminator and set DONE.
 *
 * x0 reads as the constant 0 and is never written, so that what it makes pointless folds away.
 */
#ifndef XLATE_FRONT_RISCV64_RV_EMIT_H
#define XLATE_FRONT_RISCV64_RV_EMIT_H

#include "xlate/front/riscv64/rv_helpers.h"
#include "xlate/front/riscv64/rv_isa.h"
#include "xlate/front/riscv64/rv_mode.h"
#include "xlate/front/riscv64/rv_slots.h"
#include "xlate/xlate_priv.h"

struct rv_translation {
    struct ir_unit *unit;
    uint32_t mode;
    int32_t pc;   /* displacement of the instruction */
    int32_t next; /* of the one after it */
    bool done;    /* the unit has its terminator */
    bool loops;   /* and the terminator a way back to the unit's start */
};

/* Arguments of the conversions' emitters. */
#define RV_CVT(to, from, is_unsigned) ((to) | (from) << 4 | (is_unsigned) << 8)

/* The instruction at OFFSET; false where it does not end before LENGTH. */
bool rv_fetch(const struct xl_source *source, uint32_t offset, struct rv_insn *insn);

static inline uint32_t rv_x(struct rv_translation *t, unsigned number)
{
    return number ? ir_get(t->unit, IR_I64, RV_SLOT_X + number) : ir_const(t->unit, IR_I64, 0);
}

static inline void rv_set_x(struct rv_translation *t, unsigned number, uint32_t value)
{
    if (number)
        ir_set(t->unit, RV_SLOT_X + number, value);
}

/* The low half of a register. */
static inline uint32_t rv_w(struct rv_translation *t, unsigned number)
{
    return ir_un(t->unit, IR_TRUNC, IR_I32, rv_x(t, number));
}

/* The sign extension of an I32 into a register. */
static inline void rv_set_w(struct rv_translation *t, unsigned number, uint32_t value)
{
    rv_set_x(t, number, ir_ext(t->unit, IR_SEXT, IR_I64, value, 32));
}

/* A handle for an access of BYTES at rs1 + the instruction's immediate; IMM gets the access's. */
uint32_t rv_address(struct rv_translation *t, const struct rv_insn *insn, unsigned bytes, bool write,
                    int64_t *imm);

/* insn.mem of an LR's or SC's access. */
unsigned rv_atomic_mem(const struct rv_insn *insn);
/* LR's load; and its reservation, while rs1 still has the address. */
uint32_t rv_load_reserved(struct rv_translation *t, const struct rv_insn *insn);
void rv_reserve(struct rv_translation *t, const struct rv_insn *insn, uint32_t value);

/*
 * LR is at OFFSET of SOURCE and begun in the unit. Where a loop of at most MOST instructions begins there, all of that
 * is emitted, and the bytes are returned; else 0, and nothing was.
 */
unsigned rv_emit_lrsc(struct rv_translation *t, const struct xl_source *source, uint32_t offset,
                      const struct rv_insn *lr, uint32_t most);

/*
 * The unit of SOURCE branches back to its start. Is it a loop that copies or fills? Then COPY describes it. The unit begins
 * with a look at how much there is to do, and ends, after its terminator, with what does most of that at once; the
 * former's result is the latter's AT.
 */
bool rv_find_copy(const struct xl_source *source, union rv_copy_loop *copy);
uint32_t rv_begin_copy(struct rv_translation *t, const union rv_copy_loop *copy);
void rv_end_copy(struct rv_translation *t, const union rv_copy_loop *copy, uint32_t at);

/* Calls a helper with the arguments up to the first IR_NONE; its result where it has one. */
uint32_t rv_call(struct rv_translation *t, enum rv_helper helper, uint32_t a, uint32_t b,
                 uint32_t c, uint32_t d);

/*
 * The instruction has done its work: counts it, in modes that count. Instructions that end the unit do
 * so themselves, before the terminator; those that trap or start anew don't.
 */
void rv_retire(struct rv_translation *t);

/* Ends the unit after a helper that has set cpu->pc; the instruction has retired. */
void rv_end(struct rv_translation *t);
/* The same where it traps, or starts anew. */
void rv_leave(struct rv_translation *t);

/* The instruction is illegal here. */
void rv_illegal(struct rv_translation *t, const struct rv_insn *insn);

/* Goes on at a displacement; polls where it does not lie ahead. */
void rv_go(struct rv_translation *t, int64_t displacement, unsigned flags, int32_t ret);

#endif
