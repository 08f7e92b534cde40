/*
 * What a debugger sees of a vCPU: its registers by GDB's numbers ("AArch64 Features" of its manual).
 *
 * x0..x30 are 0..30, sp 31, pc 32, cpsr 33; v0..v31 are 34..65, fpsr 66, fpcr 67.
 */
#include "xlate/sys/aarch64/a64_cpu.h"

enum { REG_SP = 31, REG_PC = 32, REG_CPSR = 33, REG_V = 34, REG_FPSR = 66, REG_FPCR = 67 };

#define CORE(number_, name_, type_, bits_)                                                         \
    {.name = (name_), .feature = "org.gnu.gdb.aarch64.core", .type = (type_), .number = (number_), \
     .bits = (bits_)},
#define X(n) CORE(n, "x" #n, "int", 64)
#define FPU(number_, name_, type_, bits_)                                                          \
    {.name = (name_), .feature = "org.gnu.gdb.aarch64.fpu", .type = (type_), .number = (number_),  \
     .bits = (bits_)},
#define V(n) FPU(REG_V + n, "v" #n, "aarch64v", 128)

const struct accel_register a64_registers[A64_REGISTERS] = {
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17)
    X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30)
    CORE(REG_SP, "sp", "data_ptr", 64) CORE(REG_PC, "pc", "code_ptr", 64)
    CORE(REG_CPSR, "cpsr", "int", 32)
    V(0) V(1) V(2) V(3) V(4) V(5) V(6) V(7) V(8) V(9) V(10) V(11) V(12) V(13) V(14) V(15) V(16) V(17)
    V(18) V(19) V(20) V(21) V(22) V(23) V(24) V(25) V(26) V(27) V(28) V(29) V(30) V(31)
    FPU(REG_FPSR, "fpsr", "int", 32) FPU(REG_FPCR, "fpcr", "int", 32)
};
G_STATIC_ASSERT(G_N_ELEMENTS(a64_registers) == A64_REGISTERS);

static bool is_v(unsigned number)
{
    return number - REG_V < 32;
}

bool a64_register_get(struct xl_cpu *cpu, unsigned number, uint64_t *value)
{
    if (number <= REG_SP)
        *value = cpu->slots[A64_SLOT_X + number];
    else if (number == REG_PC)
        *value = cpu->pc;
    else if (number == REG_CPSR)
        *value = a64_spsr(a64_cpu(cpu));
    else if (is_v(number))
        memcpy(value, &cpu->slots[A64_SLOT_V + 2 * (number - REG_V)], 16);
    else if (number == REG_FPSR)
        *value = a64_fpsr(a64_cpu(cpu));
    else if (number == REG_FPCR)
        *value = a64_cpu(cpu)->fpcr;
    else
        return false;
    return true;
}

/* All but the exception level, which has the stack pointers with it. */
static void set_cpsr(struct a64_cpu *c, uint64_t value)
{
    c->cpu.slots[A64_SLOT_NZCV] = a64_nzcv_to_slot(value);
    c->cpu.slots[A64_SLOT_DAIF] = value & SPSR_DAIF;
    c->pan = !!(value & SPSR_PAN);
    c->uao = !!(value & SPSR_UAO);
    a64_update_mode(c);
}

bool a64_register_set(struct xl_cpu *cpu, unsigned number, const uint64_t *value)
{
    if (number <= REG_SP) {
        cpu->slots[A64_SLOT_X + number] = *value;
    } else if (number == REG_PC) {
        cpu->pc = *value;
        cpu->waiting = false;
    } else if (number == REG_CPSR) {
        set_cpsr(a64_cpu(cpu), *value);
    } else if (is_v(number)) {
        memcpy(&cpu->slots[A64_SLOT_V + 2 * (number - REG_V)], value, 16);
    } else if (number == REG_FPSR) {
        a64_set_fpsr(a64_cpu(cpu), *value);
    } else if (number == REG_FPCR) {
        a64_set_fpcr(a64_cpu(cpu), *value);
    } else {
        return false;
    }
    return true;
}

const char *a64_mode_name(uint32_t mode)
{
    return a64_mode_el(mode) == A64_EL0 ? "EL0" : "EL1";
}
