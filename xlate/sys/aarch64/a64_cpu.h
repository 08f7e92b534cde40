/*
 * a64_cpu.h: an A64 vCPU, and what the files of this folder share.
 *
 * It has EL0 and EL1. Firmware is the machine's: HVC and SMC go to the configuration's hypercall
 * handler. Registers that are only stored lie in slots (a64_slots.h).
 *
 * All members belong to the vCPU's thread but for those that say otherwise.
 */
#ifndef XLATE_SYS_AARCH64_A64_CPU_H
#define XLATE_SYS_AARCH64_A64_CPU_H

#include "xlate/front/aarch64/a64_helpers.h"
#include "xlate/front/aarch64/a64_mode.h"
#include "xlate/front/aarch64/a64_slots.h"
#include "xlate/mmu/mmu.h"
#include "xlate/sys/aarch64/aarch64.h"

#define BIT(n) (UINT64_C(1) << (n))

/* SPSR_EL1, and PSTATE as it saves it */
#define SPSR_SPSEL BIT(0)
#define SPSR_EL_SHIFT 2
#define SPSR_MODE  UINT64_C(0x1f) /* with bit 4: AArch32 */
#define SPSR_DAIF  UINT64_C(0x3c0)
#define SPSR_D     BIT(9)
#define SPSR_I     BIT(7)
#define SPSR_F     BIT(6)
#define SPSR_IL    BIT(20)
#define SPSR_SS    BIT(21)
#define SPSR_PAN   BIT(22)
#define SPSR_UAO   BIT(23)

/* SCTLR_EL1 */
#define SCTLR_M    BIT(0)
#define SCTLR_A    BIT(1)
#define SCTLR_SA   BIT(3)
#define SCTLR_SA0  BIT(4)
#define SCTLR_UMA  BIT(9)
#define SCTLR_DZE  BIT(14)
#define SCTLR_UCT  BIT(15)
#define SCTLR_NTWI BIT(16)
#define SCTLR_NTWE BIT(18)
#define SCTLR_WXN  BIT(19)
#define SCTLR_TSCXT BIT(20)
#define SCTLR_SPAN BIT(23)
#define SCTLR_UCI  BIT(26)
/* EE and E0E (data is little-endian), UMA (EL0's DAIF) and bits of later extensions are not offered. */
#define SCTLR_WRITE                                                                                \
    (SCTLR_M | SCTLR_A | BIT(2) | SCTLR_SA | SCTLR_SA0 | SCTLR_UMA | BIT(12) | SCTLR_DZE |         \
     SCTLR_UCT | SCTLR_NTWI | SCTLR_NTWE | SCTLR_WXN | SCTLR_TSCXT | SCTLR_SPAN | SCTLR_UCI)
#define SCTLR_RES1 (BIT(11) | BIT(22) | BIT(28) | BIT(29))

/* CPACR_EL1 */
#define CPACR_FPEN_SHIFT 20

/* TCR_EL1 */
#define TCR_EPD0     BIT(7)
#define TCR_A1       BIT(22)
#define TCR_EPD1     BIT(23)
#define TCR_IPS_SHIFT 32
#define TCR_AS       BIT(36)
#define TCR_TBI0     BIT(37)
#define TCR_TBI1     BIT(38)
#define TCR_HA       BIT(39)
#define TCR_HD       BIT(40)
#define TCR_HPD0     BIT(41)
#define TCR_HPD1     BIT(42)
#define TCR_E0PD0    BIT(55)
#define TCR_E0PD1    BIT(56)
#define TTBR_ASID_SHIFT 48

/* MDSCR_EL1 */
#define MDSCR_SS  BIT(0)
#define MDSCR_TDCC BIT(12)
#define MDSCR_KDE BIT(13)
#define MDSCR_MDE BIT(15)
#define MDSCR_TXFULL BIT(29)
#define MDSCR_RXFULL BIT(30)

/* CNTKCTL_EL1 */
#define CNTKCTL_EL0PCTEN BIT(0)
#define CNTKCTL_EL0VCTEN BIT(1)
#define CNTKCTL_EL0VTEN  BIT(8)
#define CNTKCTL_EL0PTEN  BIT(9)

/* FPCR; trapped exceptions are not offered. */
#define FPCR_RMODE_SHIFT 22
#define FPCR_FZ   BIT(24)
#define FPCR_DN   BIT(25)
#define FPCR_AHP  BIT(26)
#define FPCR_WRITE (UINT64_C(3) << FPCR_RMODE_SHIFT | FPCR_FZ | FPCR_DN | FPCR_AHP)

/* Exception classes, of exceptions from EL0 where the two differ: those from EL1 are one more. */
enum a64_ec {
    A64_EC_UNKNOWN = 0x00,
    A64_EC_WFX = 0x01,
    A64_EC_FP = 0x07,
    A64_EC_ILLEGAL_STATE = 0x0e,
    A64_EC_SVC = 0x15,
    A64_EC_SYSREG = 0x18,
    A64_EC_FETCH_ABORT = 0x20,
    A64_EC_PC_ALIGNMENT = 0x22,
    A64_EC_DATA_ABORT = 0x24,
    A64_EC_SP_ALIGNMENT = 0x26,
    A64_EC_BREAKPOINT = 0x30,
    A64_EC_STEP = 0x32,
    A64_EC_WATCHPOINT = 0x34,
    A64_EC_BRK = 0x3c,
};
#define ESR_EC_SHIFT 26
#define ESR_IL       BIT(25)

/* ISS of aborts */
#define ISS_WNR BIT(6)
#define ISS_CM  BIT(8)
enum a64_fsc {
    A64_FSC_ADDRESS_SIZE = 0x00, /* + level, as those up to 0x0c and the last one */
    A64_FSC_TRANSLATION = 0x04,
    A64_FSC_ACCESS_FLAG = 0x08,
    A64_FSC_PERMISSION = 0x0c,
    A64_FSC_EXTERNAL = 0x10,
    A64_FSC_ALIGNMENT = 0x21,
    A64_FSC_DEBUG = 0x22,
    A64_FSC_WALK_EXTERNAL = 0x14,
};

/* cpu->fault of what is no exception: the pc has a tag that the guest's address space ignores. */
#define A64_FAULT_TAGGED_PC (UINT32_MAX - 1)

/* As Cortex-A72 has them; the last of the breakpoints can match CONTEXTIDR_EL1. */
enum { A64_BREAKPOINTS = 6, A64_CONTEXTS = 2, A64_WATCHPOINTS = 4 };

enum a64_timer_number { A64_TIMER_VIRTUAL, A64_TIMER_PHYSICAL, A64_TIMERS };

struct a64_timer {
    uint64_t cval;
    uint64_t ctl; /* ENABLE, IMASK */
    uint8_t line; /* what the output was last set to */
};

struct a64_cpu {
    struct xl_cpu cpu; /* first */

    /* Interrupt inputs: bits are enum arm_irq. Any thread, atomically. */
    uint32_t lines;
    /* Any thread, atomically: the event register; whether the vCPU waits in WFE (event.c). */
    uint32_t event, wfe;

    /* PSTATE, but for NZCV, DAIF and the stack pointer, which are slots. */
    uint8_t el; /* enum a64_el */
    uint8_t spsel, pan, uao;
    uint8_t ss;     /* software step: the next instruction is run */
    uint8_t tagged; /* an address with a tag was translated: TLBI by address flushes all */
    uint8_t far_valid; /* of cpu->fault: it has an address */

    uint64_t syndrome; /* of cpu->fault: what ESR_EL1 gets */
    uint64_t sctlr, actlr, cpacr;
    uint64_t ttbr[2], tcr, mair, amair;
    uint64_t afsr0, afsr1, par, vbar, contextidr;
    uint64_t cntkctl, csselr, scxtnum, scxtnum_el0;
    uint64_t dtrrx, dtrtx, oseccr; /* the channel to an external debugger, which never comes */
    uint64_t mdscr, mdccint, oslock, osdlr, dbgclaim;
    uint64_t dbgbvr[A64_BREAKPOINTS], dbgbcr[A64_BREAKPOINTS];
    uint64_t dbgwvr[A64_WATCHPOINTS], dbgwcr[A64_WATCHPOINTS];
    uint64_t fpcr;
    struct a64_timer timer[A64_TIMERS];

    /* Of a wait in WFE: when it ends at the latest (guest ns); the word that the monitor holds (or
     * NULL), what was in it, log2 of its bytes. */
    uint64_t wfe_until;
    const void *wfe_word;
    uint64_t wfe_value;
    uint8_t wfe_log2;
    uint8_t wfe_tired; /* the last one took its whole time */

    /* What follows from the registers for debugging (selfhosted.c). */
    uint8_t break_els; /* mask: levels at which a breakpoint may match */
    uint8_t n_watches;
    uint8_t watchpoint[A64_WATCHPOINTS]; /* numbers of WATCHES */
    struct mmu_watch watches[A64_WATCHPOINTS];
};

static inline struct a64_cpu *a64_cpu(struct xl_cpu *cpu)
{
    return container_of(cpu, struct a64_cpu, cpu);
}

static inline const struct accel_config *a64_config(const struct a64_cpu *c)
{
    return &c->cpu.vcpu.accel->config;
}

/* --- a64_sys.c -------------------------------------------------------------------------------- */

/* Computes the translation mode and the address space from what they depend on, and sets them. */
void a64_update_mode(struct a64_cpu *c);
/* The mmu's number of the address space that has ASID. */
uint32_t a64_space(const struct a64_cpu *c, uint64_t asid);
/* Goes to EL and SPSEL, the stack pointers changing places. */
void a64_set_el(struct a64_cpu *c, unsigned el, unsigned spsel);
/* FPCR: rounding mode of generated code, and the mode. */
void a64_set_fpcr(struct a64_cpu *c, uint64_t value);
/* The stack pointer SP_EL0 or SP_EL1, wherever it is. */
uint64_t *a64_sp(struct a64_cpu *c, unsigned el);

/* --- exception.c ------------------------------------------------------------------------------ */

/* Raises an exception, to be taken at the instruction under way. */
void a64_raise(struct a64_cpu *c, enum a64_ec ec, uint64_t iss);
/* One that has an address. */
void a64_raise_at(struct a64_cpu *c, enum a64_ec ec, uint64_t iss, uint64_t far);
void a64_take_fault(struct xl_cpu *cpu);
bool a64_poll(struct xl_cpu *cpu);
bool a64_idle(struct xl_cpu *cpu, uint64_t *deadline);
void a64_set_irq(struct xl_cpu *cpu, unsigned irq, bool level);
/* The exception of WFI or WFE at EL0. */
void a64_trap_wait(struct a64_cpu *c, bool is_wfe);
/* PSTATE as SPSR_EL1 saves it. */
uint64_t a64_spsr(const struct a64_cpu *c);
/* NZCV of it, from and to enum ir_nzcv. */
uint64_t a64_nzcv_from_slot(uint64_t flags);
uint64_t a64_nzcv_to_slot(uint64_t spsr);

/* --- event.c ---------------------------------------------------------------------------------- */

/* a64_idle() of a vCPU in WFE, without an interrupt. */
bool a64_wfe_idle(struct a64_cpu *c, uint64_t *deadline);

/* --- selfhosted.c ----------------------------------------------------------------------------- */

/* The OS lock or the OS double lock has debug exceptions wait. */
static inline bool a64_debug_locked(const struct a64_cpu *c)
{
    return c->oslock || c->osdlr;
}
/* Are debug exceptions but those of BRK taken from EL? */
bool a64_debug_enabled(const struct a64_cpu *c, unsigned el);
/* Mask of enum a64_mode_flag: software step, and whether breakpoints are looked for. */
unsigned a64_debug_flags(const struct a64_cpu *c);
/* Registers for debugging changed: computes what follows from them, the mode included. */
void a64_update_debug(struct a64_cpu *c);
/* DBGBVR, DBGBCR, DBGWVR or DBGWCR, by a number that is there. */
uint64_t *a64_debug_register(struct a64_cpu *c, unsigned number);
/* struct xl_sys.watched. */
bool a64_watched(struct xl_cpu *cpu, unsigned n, gva_t va, enum accel_watch kind);

/* --- sysreg.c --------------------------------------------------------------------------------- */

enum a64_access_result { A64_OK, A64_IS_UNDEFINED, A64_TRAPS };

enum a64_access_result a64_sysreg_read(struct a64_cpu *c, unsigned number, uint64_t *value);
enum a64_access_result a64_sysreg_write(struct a64_cpu *c, unsigned number, uint64_t value);
/* FPSR, put together from the flags of generated code. */
uint64_t a64_fpsr(const struct a64_cpu *c);
void a64_set_fpsr(struct a64_cpu *c, uint64_t value);
/* The exception of an instruction that names NUMBER and register RT, and may not. */
void a64_trap_sysreg(struct a64_cpu *c, unsigned number, unsigned rt, bool reads);

/* --- timer.c ---------------------------------------------------------------------------------- */

/* The counter now. */
uint64_t a64_count(const struct a64_cpu *c);
/* When the counter reaches COUNT, in guest nanoseconds; UINT64_MAX for never. */
uint64_t a64_time_of(const struct a64_cpu *c, uint64_t count);
/* CNTx_CTL_EL0 as it reads, with ISTATUS; the output is brought in line with that. */
uint64_t a64_timer_ctl(struct a64_cpu *c, const struct a64_timer *timer);
/* Brings outputs and the host's timer in line with registers and clock. Not under any lock. */
void a64_update_timers(struct a64_cpu *c);
/* Looks at the clock (XL_REQ_IRQ). */
void a64_refresh(struct xl_cpu *cpu);
/* True where an output is to change by now; DEADLINE gets the guest ns of the next change. */
bool a64_timer_due(const struct a64_cpu *c, uint64_t *deadline);

/* --- walk.c ----------------------------------------------------------------------------------- */

bool a64_walk(struct xl_cpu *cpu, unsigned tlb_mode, gva_t va, enum xl_access access,
              struct xl_walk *out);
void a64_access_fault(struct xl_cpu *cpu, gva_t va, enum xl_access access, bool misaligned);
/* What AT puts into PAR_EL1. */
uint64_t a64_translate(struct a64_cpu *c, unsigned tlb_mode, gva_t va, enum xl_access access);
bool a64_look(struct xl_cpu *cpu, gva_t va, gpa_t *gpa, uint64_t *length);
/* VA without a tag that TCR_EL1 says to ignore. */
gva_t a64_untagged(const struct a64_cpu *c, gva_t va);

/* --- maintenance.c ---------------------------------------------------------------------------- */

void a64_tlb_fence(struct xl_cpu *cpu, gva_t start, uint64_t size, uint64_t asid, bool one_space);

/* --- debug.c ---------------------------------------------------------------------------------- */

enum { A64_REGISTERS = 68 };
extern const struct accel_register a64_registers[A64_REGISTERS];
bool a64_register_get(struct xl_cpu *cpu, unsigned number, uint64_t *value);
bool a64_register_set(struct xl_cpu *cpu, unsigned number, const uint64_t *value);
const char *a64_mode_name(uint32_t mode);

/* --- helpers of the front end: a64_help_<name>() of a64_helpers.inc --------------------------- */

#define A64_ARGS_0
#define A64_ARGS_1 , uint64_t
#define A64_ARGS_2 , uint64_t, uint64_t
#define A64_ARGS_3 , uint64_t, uint64_t, uint64_t
#define A64_ARGS_4 , uint64_t, uint64_t, uint64_t, uint64_t
#define A64_HELPER(NAME, name, n_args, result, flags) \
    uint64_t a64_help_##name(struct xl_cpu *cpu A64_ARGS_##n_args);
#include "xlate/front/aarch64/a64_helpers.inc"
#undef A64_HELPER

#endif
