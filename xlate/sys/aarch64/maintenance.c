/*
 * System instructions: TLB maintenance, address translation, caches.
 *
 * Broadcasts to the inner shareable domain wait until every vCPU has done its part, so that DSB has
 * nothing left to wait for. Caches are coherent with memory: of IC, what the code cache made from
 * older bytes goes; of DC by address, the checks are left.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

#include "xlate/mmu/mmu.h"

enum { OP_IC_IALLUIS = A64_SYSREG(1, 0, 7, 1, 0), OP_IC_IALLU = A64_SYSREG(1, 0, 7, 5, 0),
       OP_IC_IVAU = A64_SYSREG(1, 3, 7, 5, 1) };

/* --- TLBI ------------------------------------------------------------------------------------- */

/* What an operation drops (op2; op1 is 0, CRn 8): CRm 3 in all vCPUs, 7 in this one. */
enum tlbi { TLBI_VMALL = 0, TLBI_VA = 1, TLBI_ASID = 2, TLBI_VAA = 3, TLBI_VAL = 5, TLBI_VAAL = 7 };
enum { TLBI_CRN = 8, TLBI_SHARED = 3, TLBI_OWN = 7 };

void a64_tlb_fence(struct xl_cpu *cpu, gva_t start, uint64_t size, uint64_t asid, bool one_space)
{
    struct a64_cpu *c = a64_cpu(cpu);

    if (c->tagged && size != UINT64_MAX) { /* the page may be there under any tag */
        start = 0;
        size = UINT64_MAX;
    }
    mmu_flush(cpu, start, size, one_space ? a64_space(c, asid) : MMU_EVERY_SPACE);
}

/* Bytes that an operation by address speaks of: one page of the largest granule in use there. */
static uint64_t page_bytes(const struct a64_cpu *c, bool high)
{
    static const uint8_t granules[2][4] = {{12, 16, 14, 12}, {12, 14, 12, 16}};

    return BIT(granules[high][c->tcr >> (high ? 30 : 14) & 3]);
}

/* By address, entries of every space go with those asked for: global ones of it have to. */
static struct accel_fence_range range_of(const struct a64_cpu *c, enum tlbi what, uint64_t value)
{
    gva_t va = (gva_t)((int64_t)(value << 20) >> 8); /* bits 55:12 */
    uint64_t bytes = page_bytes(c, va >> 55 & 1);

    if (what == TLBI_VMALL || what == TLBI_ASID)
        return (struct accel_fence_range){.size = UINT64_MAX, .asid = value >> TTBR_ASID_SHIFT};
    return (struct accel_fence_range){.start = va & ~(bytes - 1), .size = bytes};
}

static bool tlbi(struct a64_cpu *c, unsigned number, uint64_t value)
{
    unsigned crm = number >> 3 & 15, what = number & 7;
    struct accel_fence_range range = range_of(c, (enum tlbi)what, value);
    bool one_space = what == TLBI_ASID;

    if ((number >> 11 & 7) || what == 4 || what == 6 || (crm != TLBI_SHARED && crm != TLBI_OWN))
        return false;
    if (crm == TLBI_OWN || a64_config(c)->vcpus == 1)
        a64_tlb_fence(&c->cpu, range.start, range.size, range.asid, one_space);
    else
        accel_fence(c->cpu.vcpu.accel, &c->cpu.vcpu, UINT64_MAX,
                    one_space ? ACCEL_FENCE_TLB_ASID : ACCEL_FENCE_TLB, &range);
    return true;
}

/* --- AT --------------------------------------------------------------------------------------- */

/* S1E1R, S1E1W, S1E0R, S1E0W (CRm 8), and S1E1RP, S1E1WP, which heed PSTATE.PAN (CRm 9). */
static bool address_translate(struct a64_cpu *c, unsigned number, uint64_t value)
{
    unsigned crm = number >> 3 & 15, op2 = number & 7;
    unsigned mode = op2 & 2 ? A64_TLB_EL0 : crm == 9 && c->pan ? A64_TLB_EL1_PAN : A64_TLB_EL1;

    if ((number >> 11 & 7) || op2 > (crm == 8 ? 3 : 1))
        return false;
    c->par = a64_translate(c, mode, value, op2 & 1 ? XL_STORE : XL_LOAD);
    return true;
}

/* --- caches ----------------------------------------------------------------------------------- */

/* Raises what DC and IC by address do where the address may not be read: a write, by maintenance. */
static bool probe(struct a64_cpu *c, gva_t va)
{
    if (mmu_probe(&c->cpu, va, XL_LOAD))
        return true;
    c->syndrome |= ISS_CM | ISS_WNR;
    return false;
}

/* EL0 may where SCTLR_EL1.UCI says so. */
static bool may_maintain(const struct a64_cpu *c)
{
    return c->el != A64_EL0 || (c->sctlr & SCTLR_UCI);
}

uint64_t a64_help_dc(struct xl_cpu *cpu, uint64_t number, uint64_t va, uint64_t rt)
{
    struct a64_cpu *c = a64_cpu(cpu);

    if (!may_maintain(c))
        a64_trap_sysreg(c, (unsigned)number, (unsigned)rt, false);
    else
        probe(c, va);
    return 0;
}

/* IC IVAU of EL0: false where it faults. */
static bool invalidate_code(struct a64_cpu *c, uint64_t number, uint64_t va, uint64_t rt)
{
    if (!may_maintain(c)) {
        a64_trap_sysreg(c, (unsigned)number, (unsigned)rt, false);
        return false;
    }
    if (number == OP_IC_IVAU && !probe(c, va))
        return false;
    c->cpu.host->code_foreign(&c->cpu, number == OP_IC_IVAU ? mmu_translate(&c->cpu, va, 1, 0) : NULL);
    /* But for IALLU, which is this vCPU's alone, it is broadcast: others need no more than an ISB. */
    if (number == OP_IC_IALLU)
        c->cpu.host->fence_code(&c->cpu);
    else
        c->cpu.host->fence_code_all(&c->cpu);
    return true;
}

/* DC by set and way: ISW, CSW, CISW. */
static bool is_set_way(unsigned number)
{
    unsigned crm = number >> 3 & 15;

    return (number >> 7 & 15) == 7 && (number & 7) == 2 && (number >> 11 & 7) == 0 &&
           (crm == 6 || crm == 10 || crm == 14);
}

uint64_t a64_help_sys(struct xl_cpu *cpu, uint64_t number, uint64_t value, uint64_t rt)
{
    struct a64_cpu *c = a64_cpu(cpu);
    unsigned n = (unsigned)number, crn = n >> 7 & 15, crm = n >> 3 & 15;
    bool ok;

    if (n == OP_IC_IVAU || n == OP_IC_IALLU || n == OP_IC_IALLUIS) {
        if (!invalidate_code(c, number, value, rt))
            return 0;
        ok = true;
    } else if (crn == TLBI_CRN) {
        ok = c->el == A64_EL1 && tlbi(c, n, value);
    } else if (crn == 7 && (crm == 8 || crm == 9)) {
        ok = c->el == A64_EL1 && address_translate(c, n, value);
    } else {
        ok = is_set_way(n);
    }
    if (!ok)
        return a64_help_undefined(cpu);
    cpu->pc += 4;
    return 0;
}
