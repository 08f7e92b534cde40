/*
 * Iterations of a loop that copies or fills, done at once (rv_emit_copy.c).
 */
#include "xlate/mmu/mmu.h"
#include "xlate/sys/riscv64/rv_hart.h"

/* How often, from here on, the branch at the loop's end goes back before it doesn't; 0 where it may never end. */
static uint64_t iterations(const union rv_copy_loop *copy, const uint64_t *x)
{
    uint64_t counter = x[copy->counter], end = copy->end ? x[copy->end] : 0;
    int64_t step = rv_copy_step(copy);
    uint64_t each = (uint64_t)ABS(step), left = step > 0 ? end - counter : counter - end;

    if (copy->test == IR_NE)
        return left && left % each == 0 ? left / each - 1 : 0;
    if (copy->test == IR_LTS) {
        counter ^= UINT64_C(1) << 63;
        end ^= UINT64_C(1) << 63;
    }
    return counter < end ? (left - 1) / each : 0;
}

/* As a load would have it. */
static uint64_t extend(uint64_t value, unsigned mem)
{
    unsigned drop = 64 - (8u << (mem & IR_MEM_SIZE));

    return mem & IR_MEM_SIGNED ? (uint64_t)((int64_t)(value << drop) >> drop) : value;
}

uint64_t rv_help_copy_loop(struct xl_cpu *cpu, uint64_t a, uint64_t b, uint64_t c)
{
    const union rv_copy_loop copy = {.word = {a, b, c}};
    uint64_t *x = &cpu->slots[RV_SLOT_X];
    unsigned log2 = copy.mem & IR_MEM_SIZE;
    gva_t to = x[copy.to] + (uint64_t)copy.to_offset;
    uint64_t n = iterations(&copy, x), last;

    if (!copy.from) {
        n = mmu_fill(cpu, to, copy.value ? x[copy.value] : 0, log2, n);
    } else {
        n = mmu_copy(cpu, to, x[copy.from] + (uint64_t)copy.from_offset, log2, n, &last);
        if (n)
            x[copy.value] = extend(last, copy.mem);
    }
    for (unsigned i = 0; i < RV_COPY_STEPS && copy.reg[i]; i++)
        x[copy.reg[i]] += n * (uint64_t)copy.step[i];
    if (cpu->mode & RV_MODE_COUNT)
        cpu->slots[RV_SLOT_INSTRET] += n * copy.insns;
    return 0;
}
