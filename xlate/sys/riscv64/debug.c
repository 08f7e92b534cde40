/*
 * What a debugger sees of a hart: its registers by GDB's numbers, and where its addresses lead.
 *
 * Numbers: x0..x31 are 0..31, pc 32, f0..f31 33..64, CSR N is 65 + N, the privilege 65 + 4096. The
 * features' names are those of GDB's manual, "RISC-V Features".
 */
#include "xlate/sys/riscv64/rv_hart.h"

#include "xlate/mmu/mmu.h"

enum {
    REG_PC = 32,
    REG_F = 33,
    REG_CSR = 65,
    REG_PRIV = REG_CSR + 4096,
};

#define PTE_V         BIT(0)
#define PTE_LEAF      (BIT(1) | BIT(3))
#define PTE_PPN_SHIFT 10
#define GPA_LIMIT     BIT(56)

/* --- registers -------------------------------------------------------------------------------- */

#define CPU(number_, name_, type_)                                                                 \
    {.name = (name_), .feature = "org.gnu.gdb.riscv.cpu", .type = (type_), .number = (number_),    \
     .bits = 64},
#define FPU(number_, name_)                                                                        \
    {.name = (name_), .feature = "org.gnu.gdb.riscv.fpu", .type = "riscv_double",                  \
     .number = REG_F + (number_), .bits = 64},
#define FCSR(csr, name_)                                                                           \
    {.name = (name_), .feature = "org.gnu.gdb.riscv.fpu", .type = "int",                           \
     .number = REG_CSR + (csr), .bits = 32},
#define CSR(csr, name_)                                                                            \
    {.name = (name_), .feature = "org.gnu.gdb.riscv.csr", .type = "int",                           \
     .number = REG_CSR + (csr), .bits = 64},

/* Every CSR but for those of which there are many that hold nothing. */
#define CSR_FIELD(number, name, field, mask) CSR(number, #name)
#define CSR_CONST(number, name, value)       CSR(number, #name)
#define CSR_FN(number, name, get, set)       CSR(number, #name)
#define CSR_FNS(first, last, name, get, set)

const struct accel_register rv_registers[RV_REGISTERS] = {
    CPU(0, "zero", "int") CPU(1, "ra", "code_ptr") CPU(2, "sp", "data_ptr")
    CPU(3, "gp", "data_ptr") CPU(4, "tp", "data_ptr") CPU(5, "t0", "int") CPU(6, "t1", "int")
    CPU(7, "t2", "int") CPU(8, "fp", "data_ptr") CPU(9, "s1", "int") CPU(10, "a0", "int")
    CPU(11, "a1", "int") CPU(12, "a2", "int") CPU(13, "a3", "int") CPU(14, "a4", "int")
    CPU(15, "a5", "int") CPU(16, "a6", "int") CPU(17, "a7", "int") CPU(18, "s2", "int")
    CPU(19, "s3", "int") CPU(20, "s4", "int") CPU(21, "s5", "int") CPU(22, "s6", "int")
    CPU(23, "s7", "int") CPU(24, "s8", "int") CPU(25, "s9", "int") CPU(26, "s10", "int")
    CPU(27, "s11", "int") CPU(28, "t3", "int") CPU(29, "t4", "int") CPU(30, "t5", "int")
    CPU(31, "t6", "int") CPU(REG_PC, "pc", "code_ptr")
    FPU(0, "ft0") FPU(1, "ft1") FPU(2, "ft2") FPU(3, "ft3") FPU(4, "ft4") FPU(5, "ft5")
    FPU(6, "ft6") FPU(7, "ft7") FPU(8, "fs0") FPU(9, "fs1") FPU(10, "fa0") FPU(11, "fa1")
    FPU(12, "fa2") FPU(13, "fa3") FPU(14, "fa4") FPU(15, "fa5") FPU(16, "fa6") FPU(17, "fa7")
    FPU(18, "fs2") FPU(19, "fs3") FPU(20, "fs4") FPU(21, "fs5") FPU(22, "fs6") FPU(23, "fs7")
    FPU(24, "fs8") FPU(25, "fs9") FPU(26, "fs10") FPU(27, "fs11") FPU(28, "ft8") FPU(29, "ft9")
    FPU(30, "ft10") FPU(31, "ft11")
    FCSR(RV_CSR_FFLAGS, "fflags") FCSR(RV_CSR_FRM, "frm") FCSR(RV_CSR_FCSR, "fcsr")
#include "xlate/sys/riscv64/rv_csrs.inc"
    CSR(0x3b0, "pmpaddr0") CSR(0x3b1, "pmpaddr1") CSR(0x3b2, "pmpaddr2") CSR(0x3b3, "pmpaddr3")
    CSR(0x3b4, "pmpaddr4") CSR(0x3b5, "pmpaddr5") CSR(0x3b6, "pmpaddr6") CSR(0x3b7, "pmpaddr7")
    CSR(0x3b8, "pmpaddr8") CSR(0x3b9, "pmpaddr9") CSR(0x3ba, "pmpaddr10")
    CSR(0x3bb, "pmpaddr11") CSR(0x3bc, "pmpaddr12") CSR(0x3bd, "pmpaddr13")
    CSR(0x3be, "pmpaddr14") CSR(0x3bf, "pmpaddr15")
    {.name = "priv", .feature = "org.gnu.gdb.riscv.virtual", .type = "int", .number = REG_PRIV,
     .bits = 64},
};
G_STATIC_ASSERT(G_N_ELEMENTS(rv_registers) == RV_REGISTERS);
#undef CSR_FIELD
#undef CSR_CONST
#undef CSR_FN
#undef CSR_FNS

/* Reads or writes CSR as M-mode would: a debugger may do what the present privilege may not. */
static bool csr(struct rv_hart *hart, unsigned number, uint64_t *value, bool write)
{
    uint8_t priv = hart->priv;
    bool ok;

    hart->priv = RV_PRIV_M;
    ok = write ? rv_csr_set(hart, number, *value) : rv_csr_get(hart, number, value);
    hart->priv = priv;
    if (write)
        rv_update_mode(hart);
    return ok;
}

bool rv_register_get(struct xl_cpu *cpu, unsigned number, uint64_t *value)
{
    struct rv_hart *hart = rv_hart(cpu);

    if (number < REG_PC)
        *value = number ? cpu->slots[RV_SLOT_X + number] : 0;
    else if (number == REG_PC)
        *value = cpu->pc;
    else if (number < REG_CSR)
        *value = cpu->slots[RV_SLOT_F + number - REG_F];
    else if (number == REG_PRIV)
        *value = hart->priv;
    else if (number - REG_CSR >= RV_CSR_FFLAGS && number - REG_CSR <= RV_CSR_FCSR)
        *value = rv_help_fcsr_read(cpu, number - REG_CSR);
    else
        return number < REG_PRIV && csr(hart, number - REG_CSR, value, false);
    return true;
}

static bool set_priv(struct rv_hart *hart, uint64_t priv)
{
    if (priv > RV_PRIV_M || priv == 2 || (priv == RV_PRIV_M && !hart->firmware))
        return false;
    hart->priv = (uint8_t)priv;
    rv_update_mode(hart);
    return true;
}

static void set_fcsr(struct rv_hart *hart, unsigned number, uint64_t value)
{
    if (number != RV_CSR_FRM)
        hart->cpu.fp_flags = value & 0x1f;
    if (number != RV_CSR_FFLAGS)
        rv_set_frm(hart, (unsigned)(number == RV_CSR_FCSR ? value >> 5 : value) & 7);
}

bool rv_register_set(struct xl_cpu *cpu, unsigned number, const uint64_t *words)
{
    struct rv_hart *hart = rv_hart(cpu);
    uint64_t value = *words;

    if (number < REG_PC) {
        if (number)
            cpu->slots[RV_SLOT_X + number] = value;
        return true;
    }
    if (number == REG_PC) {
        cpu->pc = value & ~UINT64_C(1);
        cpu->waiting = false;
        return true;
    }
    if (number == REG_PRIV)
        return set_priv(hart, value);
    if (number < REG_CSR) {
        cpu->slots[RV_SLOT_F + number - REG_F] = value;
    } else if (number - REG_CSR >= RV_CSR_FFLAGS && number - REG_CSR <= RV_CSR_FCSR) {
        set_fcsr(hart, number - REG_CSR, value);
    } else {
        number -= REG_CSR;
        return number < 4096 && number >> 10 != 3 && csr(hart, number, &value, true);
    }
    hart->mstatus |= MSTATUS_FS;
    rv_update_mode(hart);
    return true;
}

const char *rv_mode_name(uint32_t mode)
{
    static const char *const names[] = {[RV_PRIV_U] = "U", [RV_PRIV_S] = "S", "?", [RV_PRIV_M] = "M"};

    return names[rv_mode_priv(mode)];
}

/* --- addresses -------------------------------------------------------------------------------- */

/* How many levels the page tables of data accesses have; 0 where addresses are physical. */
static unsigned levels(const struct rv_hart *hart)
{
    if (rv_mode_tlb(hart->cpu.mode) == RV_TLB_PHYS)
        return 0;
    switch (hart->satp >> SATP_MODE_SHIFT) {
    case RV_SV39:
        return 3;
    case RV_SV48:
        return 4;
    default:
        return 0;
    }
}

bool rv_look(struct xl_cpu *cpu, gva_t va, gpa_t *gpa, uint64_t *length)
{
    struct rv_hart *hart = rv_hart(cpu);
    unsigned n = levels(hart), unused = 64 - (MEM_PAGE_SHIFT + 9 * n);
    gpa_t table = (hart->satp & SATP_PPN_MASK) << MEM_PAGE_SHIFT;

    *gpa = va;
    *length = MEM_PAGE_SIZE - (va & (MEM_PAGE_SIZE - 1));
    if (!n)
        return va < GPA_LIMIT;
    if ((gva_t)((int64_t)(va << unused) >> unused) != va)
        return false;
    for (unsigned level = n; level-- > 0;) {
        unsigned shift = MEM_PAGE_SHIFT + 9 * level;
        const uint64_t *at = mmu_pte(cpu, table + (va >> shift & 511) * 8);
        uint64_t pte = at ? GUINT64_FROM_LE(__atomic_load_n(at, __ATOMIC_ACQUIRE)) : 0;

        if (!(pte & PTE_V))
            return false;
        table = pte << (MEM_PAGE_SHIFT - PTE_PPN_SHIFT) & (GPA_LIMIT - MEM_PAGE_SIZE);
        if (!(pte & PTE_LEAF))
            continue;
        *gpa = (table & ~(BIT(shift) - 1)) | (va & (BIT(shift) - 1));
        return true;
    }
    return false;
}
