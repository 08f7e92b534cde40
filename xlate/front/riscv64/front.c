/*
 * xlate/front/riscv64/front.c: from guest bytes to a unit.
 *
 * A unit is straight code. It ends at a branch, at an instruction that may change the mode, at the
 * page's end, before an instruction that crosses into the next page, or after max_insns.
 */
#include "xlate/front/riscv64/front.h"
#include "xlate/front/riscv64/rv_disasm.h"
#include "xlate/front/riscv64/rv_emit.h"

enum { MAX_INSNS = 64, PAGE = 4096 };

static const char *const slot_names[RV_SLOTS] = {
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3",
    "fa4", "fa5", "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11",
    "ft8", "ft9", "ft10", "ft11", "reservation", "reserved_value",
    "instret",
};

/* By how often units of a C library and of a kernel read and write them: a5 a0 a4 sp s0 ra s1 a3 a1
 * a2 s2 s3 s4 s5 s6 a6 a7. */
static const uint8_t hot_slots[] = {15, 10, 14, 2, 8, 1, 9, 13, 11, 12, 18, 19, 20, 21, 22, 16, 17, 0xff};
/* The same of libm: fa0 fa5 fa4 fs0 fa1 fa3 fs1 fa2 ft0 ft1 fs2 ft2. */
static const uint8_t hot_fslots[] = {42, 47, 46, 40, 43, 45, 41, 44, 32, 33, 50, 34, 0xff};

bool rv_fetch(const struct xl_source *source, uint32_t offset, struct rv_insn *insn)
{
    uint16_t low, high = 0;

    if (offset + 2 > source->length)
        return false;
    memcpy(&low, source->code + offset, 2);
    if ((low & 3) == 3) {
        if (offset + 4 > source->length)
            return false;
        memcpy(&high, source->code + offset + 2, 2);
    }
    rv_decode(low | (uint32_t)high << 16, insn);
    return true;
}

static void emit(struct rv_translation *t, const struct rv_insn *insn)
{
    const struct rv_row *row = &rv_rows[insn->op];

    if (!insn->row || rv_rows[insn->row].privilege > rv_mode_priv(t->mode))
        rv_illegal(t, insn);
    else
        row->emit(t, insn, row->arg);
}

/* COPY: the loop that the unit was found to be, or NULL. True: it goes back to its start. */
static bool translate_once(const struct xl_source *source, const union rv_copy_loop *copy, struct ir_unit *unit)
{
    struct rv_translation t = {.unit = unit, .mode = source->mode, .next = source->start};
    uint32_t most = MIN(source->max_insns, MAX_INSNS), offset = 0, look = 0;
    struct rv_insn insn;

    unit->start = source->start;
    unit->mode = source->mode;
    while (!t.done) {
        bool fits = rv_fetch(source, offset, &insn);
        bool crosses = fits && t.next + insn.length > PAGE;

        if (offset && (unit->n_guest == most || t.next >= PAGE || !fits || crosses)) {
            rv_go(&t, t.next, 0, 0);
            break;
        }
        if (!fits) /* nothing to decode: an illegal instruction of no bits */
            insn = (struct rv_insn){.length = 2};
        t.pc = t.next;
        t.next += insn.length;
        ir_at(unit, t.pc, insn.length);
        if (copy && !offset)
            look = rv_begin_copy(&t, copy);
        uint32_t loop = rv_rows[insn.op].emit == rv_emit_lr && insn.row
                            ? rv_emit_lrsc(&t, source, offset, &insn, most - unit->n_guest + 1)
                            : 0;
        offset += loop ? loop : insn.length;
        if (loop)
            continue;
        emit(&t, &insn);
        if (!t.done)
            rv_retire(&t);
    }
    unit->bytes = offset;
    if (copy)
        rv_end_copy(&t, copy, look);
    return t.loops;
}

/* Loops are known by their ends. */
static void translate(const struct xl_source *source, struct ir_unit *unit)
{
    union rv_copy_loop copy;

    if (translate_once(source, NULL, unit) && rv_find_copy(source, &copy)) {
        ir_unit_clear(unit);
        translate_once(source, &copy, unit);
    }
}

static bool mode_ok(uint32_t mode)
{
    return rv_mode_tlb(mode) <= RV_TLB_S_SUM_MXR && rv_mode_priv(mode) != 2 &&
           rv_mode_fs(mode) <= RV_FS_DIRTY && rv_mode_frm(mode) <= RV_FRM_INVALID &&
           (mode & ~RV_MODE_COUNT) < RV_MODE(0, 0, 0, RV_FRM_INVALID + 1);
}

const struct xl_front xl_front_riscv64 = {
    .isa = ISA_RISCV64,
    .n_slots = RV_SLOTS,
    .slot_names = slot_names,
    .hot_slots = hot_slots,
    .hot_fslots = hot_fslots,
    .n_helpers = RV_HELPER_COUNT,
    .translate = translate,
    .mode_ok = mode_ok,
    .disassemble = rv_disassemble,
};
