/*
 * xlate/front/aarch64/front.c: from guest bytes to a unit.
 *
 * A unit is straight code. It ends at a branch, at an instruction that may change the mode, at the
 * page's end, or after max_insns.
 */
#include "xlate/front/aarch64/front.h"
#include "xlate/front/aarch64/a64_disasm.h"
#include "xlate/front/aarch64/a64_emit.h"

enum { MAX_INSNS = 64, PAGE = 4096, BYTES = 4 };

static const char *const slot_names[A64_SLOTS] = {
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
    "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",
    "x29", "x30", "sp", "nzcv", "daif", "exclusive", "exclusive_value", "exclusive_high", "sp_el0",
    "sp_el1", "tpidr_el0", "tpidrro_el0", "tpidr_el1", "elr_el1", "spsr_el1", "esr_el1", "far_el1",
    "breaks", "unused", "v0", "v0h", "v1", "v1h", "v2", "v2h", "v3", "v3h", "v4", "v4h", "v5", "v5h", "v6",
    "v6h", "v7", "v7h", "v8", "v8h", "v9", "v9h", "v10", "v10h", "v11", "v11h", "v12", "v12h", "v13",
    "v13h", "v14", "v14h", "v15", "v15h", "v16", "v16h", "v17", "v17h", "v18", "v18h", "v19", "v19h",
    "v20", "v20h", "v21", "v21h", "v22", "v22h", "v23", "v23h", "v24", "v24h", "v25", "v25h", "v26",
    "v26h", "v27", "v27h", "v28", "v28h", "v29", "v29h", "v30", "v30h", "v31", "v31h",
};

/* By how often units of a C library and of a kernel read and write them. */
static const uint8_t hot_slots[] = {0, 1, 2, A64_SLOT_SP, 19, 3, 20, 29, 30, 21, 4, 5, 22, 0xff};
/* v0 to v7, which take arguments, v16 to v17: what compilers use first. */
static const uint8_t hot_fslots[] = {48, 50, 52, 54, 56, 58, 60, 62, 80, 82, 0xff};
G_STATIC_ASSERT(A64_SLOT_V == 48);

static void emit(struct a64_translation *t, const struct a64_insn *insn)
{
    const struct a64_row *row = &a64_rows[insn->op];

    if (!insn->row || row->privilege > a64_mode_el(t->mode))
        a64_undefined(t);
    else
        row->emit(t, insn, row->arg);
}

/*
 * Breakpoints of the guest's come before all that an instruction may raise, but for what its fetching does.
 * Which are set is not known here, only that there are some: where A64_SLOT_BREAKS has the bit of this place, a
 * helper looks.
 */
static void look_for_breakpoint(struct a64_translation *t)
{
    uint32_t hit = ir_block_reserve(t->unit), on = ir_block_reserve(t->unit);
    uint32_t breaks = ir_get(t->unit, IR_I64, A64_SLOT_BREAKS);
    uint32_t here = ir_bini(t->unit, IR_AND, IR_I64, breaks, (int64_t)(UINT64_C(1) << (t->pc / 4 % 64)));

    ir_brif(t->unit, ir_cmp(t->unit, IR_NE, IR_I64, here, ir_const(t->unit, IR_I64, 0)), 2, hit, on);
    ir_block_start(t->unit, hit);
    a64_call(t, A64_HELPER_BREAKPOINT, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    ir_br(t->unit, on, NULL, 0);
    ir_block_start(t->unit, on);
}

/* A unit that only raises an exception. */
static void raise_first(struct a64_translation *t, enum a64_helper helper)
{
    a64_call(t, helper, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    ir_exit_state(t->unit);
    t->done = true;
}

static void translate(const struct xl_source *source, struct ir_unit *unit)
{
    struct a64_translation t = {.unit = unit, .mode = source->mode, .next = source->start,
                                .flags = {.from = A64_FLAGS_SLOT, .guard = IR_NONE},
                                .aligned_sp = IR_NONE};
    uint32_t most = source->mode & A64_MODE_STEP ? 1 : MIN(source->max_insns, MAX_INSNS), offset = 0;

    unit->start = source->start;
    unit->mode = source->mode;
    while (!t.done) {
        bool fits = offset + BYTES <= source->length && t.next + BYTES <= PAGE;
        if (offset && (unit->n_guest == most || !fits)) {
            a64_go(&t, t.next, 0, 0);
            break;
        }
        t.pc = t.next;
        t.next += BYTES;
        offset += BYTES;
        ir_at(unit, t.pc, BYTES);
        if (source->mode & A64_MODE_STEPPED) {
            raise_first(&t, A64_HELPER_STEPPED);
        } else if (source->start & (BYTES - 1)) {
            raise_first(&t, A64_HELPER_PC_ALIGNMENT);
        } else {
            struct a64_insn insn;
            uint32_t word;
            if (source->mode & A64_MODE_BREAKS)
                look_for_breakpoint(&t);
            memcpy(&word, source->code + offset - BYTES, BYTES);
            a64_decode(GUINT32_FROM_LE(word), &insn);
            emit(&t, &insn);
        }
    }
    unit->bytes = MIN(offset, source->length);
}

static bool mode_ok(uint32_t mode)
{
    unsigned tlb = a64_mode_tlb(mode), el = a64_mode_el(mode);

    return mode < A64_MODE_END && el <= A64_EL1 && (el == A64_EL0) == (tlb == A64_TLB_EL0) &&
           tlb <= A64_TLB_EL1_PAN;
}

const struct xl_front xl_front_aarch64 = {
    .isa = ISA_AARCH64,
    .n_slots = A64_SLOTS,
    .slot_names = slot_names,
    .hot_slots = hot_slots,
    .hot_fslots = hot_fslots,
    .wide_fslots = true,
    .n_helpers = A64_HELPER_COUNT,
    .translate = translate,
    .mode_ok = mode_ok,
    .disassemble = a64_disassemble,
};
