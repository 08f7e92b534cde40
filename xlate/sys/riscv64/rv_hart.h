/*
 * rv_hart.h: a RISC-V hart, and what the files of this folder share.
 *
 * Two kinds of hart. With config.firmware_mode a hart has M-mode, PMP and delegation. Without, it
 * starts in S-mode: M-mode's CSRs can't be reached, everything is delegated, ecalls from S-mode go
 * to the machine's hypercall handler, and what M-mode would enable is enabled.
 *
 * All members belong to the vCPU's thread but for LINES, which any thread changes atomically.
 */
#ifndef XLATE_SYS_RISCV64_RV_HART_H
#define XLATE_SYS_RISCV64_RV_HART_H

#include "xlate/front/riscv64/rv_helpers.h"
#include "xlate/front/riscv64/rv_mode.h"
#include "xlate/front/riscv64/rv_slots.h"
#include "xlate/sys/riscv64/riscv64.h"

#define BIT(n) (UINT64_C(1) << (n))

enum { RV_PMP_ENTRIES = 16, RV_PMP_CFGS = RV_PMP_ENTRIES / 8 };

/* mstatus */
#define MSTATUS_SIE  BIT(1)
#define MSTATUS_MIE  BIT(3)
#define MSTATUS_SPIE BIT(5)
#define MSTATUS_MPIE BIT(7)
#define MSTATUS_SPP  BIT(8)
#define MSTATUS_MPP  (BIT(11) | BIT(12))
#define MSTATUS_FS   (BIT(13) | BIT(14))
#define MSTATUS_MPRV BIT(17)
#define MSTATUS_SUM  BIT(18)
#define MSTATUS_MXR  BIT(19)
#define MSTATUS_TVM  BIT(20)
#define MSTATUS_TW   BIT(21)
#define MSTATUS_TSR  BIT(22)
#define MSTATUS_UXL  BIT(33) /* 64 bits, read-only */
#define MSTATUS_SXL  BIT(35)
#define MSTATUS_SD   BIT(63) /* FS is dirty, read-only */
#define MSTATUS_MPP_SHIFT 11
#define MSTATUS_FS_SHIFT  13

#define SSTATUS_WRITE \
    (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_FS | MSTATUS_SUM | MSTATUS_MXR)
#define MSTATUS_WRITE                                                                              \
    (SSTATUS_WRITE | MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP | MSTATUS_MPRV | MSTATUS_TVM |       \
     MSTATUS_TW | MSTATUS_TSR)

/* Interrupts: bit numbers are enum riscv_irq. */
#define RV_S_IRQS (BIT(RISCV_IRQ_S_SOFT) | BIT(RISCV_IRQ_S_TIMER) | BIT(RISCV_IRQ_S_EXT))
#define RV_M_IRQS (BIT(RISCV_IRQ_M_SOFT) | BIT(RISCV_IRQ_M_TIMER) | BIT(RISCV_IRQ_M_EXT))

/* menvcfg, senvcfg */
#define ENVCFG_FIOM  BIT(0)
#define ENVCFG_CBIE  (BIT(4) | BIT(5))
#define ENVCFG_CBCFE BIT(6)
#define ENVCFG_CBZE  BIT(7)
#define ENVCFG_STCE  BIT(63)
#define SENVCFG_WRITE (ENVCFG_FIOM | ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE)
#define MENVCFG_WRITE (SENVCFG_WRITE | ENVCFG_STCE)

/* mcountinhibit */
#define MCOUNTINHIBIT_CY BIT(0)
#define MCOUNTINHIBIT_IR BIT(2)

/* satp */
#define SATP_MODE_SHIFT 60
#define SATP_ASID_SHIFT 44
#define SATP_ASID_MASK  UINT64_C(0xffff)
#define SATP_PPN_MASK   (BIT(44) - 1)
enum rv_satp_mode { RV_BARE = 0, RV_SV39 = 8, RV_SV48 = 9 };

enum rv_cause {
    RV_FETCH_MISALIGNED = 0,
    RV_FETCH_ACCESS = 1,
    RV_ILLEGAL = 2,
    RV_BREAKPOINT = 3,
    RV_LOAD_MISALIGNED = 4,
    RV_LOAD_ACCESS = 5,
    RV_STORE_MISALIGNED = 6,
    RV_STORE_ACCESS = 7,
    RV_ECALL = 8, /* + privilege */
    RV_FETCH_PAGE = 12,
    RV_LOAD_PAGE = 13,
    RV_STORE_PAGE = 15,
};
#define RV_CAUSE_INTERRUPT BIT(63)

struct rv_hart {
    struct xl_cpu cpu; /* first */

    uint8_t priv; /* enum rv_priv */
    uint8_t frm;  /* fcsr.frm as written; fp_rm and the mode follow from it */
    uint8_t stip; /* stimecmp has passed */
    uint8_t firmware; /* has M-mode; from the configuration */

    /* Interrupt inputs, and the latched supervisor software interrupt. Any thread, atomically. */
    uint32_t lines;
    uint32_t soft; /* what M-mode wrote to mip.SEIP and mip.STIP */

    uint64_t mstatus; /* without the read-only SD, UXL, SXL */
    uint64_t mie;
    uint64_t medeleg, mideleg;
    uint64_t mtvec, mepc, mcause, mtval, mscratch;
    uint64_t stvec, sepc, scause, stval, sscratch;
    uint64_t satp;
    uint64_t menvcfg, senvcfg;
    uint64_t mcounteren, scounteren, mcountinhibit;
    uint64_t cycle_offset; /* added to guest time; frozen: the value itself */
    uint8_t counting;      /* instructions have been asked for since reset */
    uint64_t stimecmp;
    uint64_t pmpaddr[RV_PMP_ENTRIES];
    uint8_t pmpcfg[RV_PMP_ENTRIES];

    /* What PMP entries match, from pmpaddr and pmpcfg: [first, last]; none where last < first. */
    struct rv_pmp_range {
        uint64_t first, last;
    } pmp[RV_PMP_ENTRIES];
};

static inline struct rv_hart *rv_hart(struct xl_cpu *cpu)
{
    return container_of(cpu, struct rv_hart, cpu);
}

/* Raises CAUSE with VALUE for xtval, to be taken at the instruction under way. */
static inline void rv_raise(struct rv_hart *hart, enum rv_cause cause, uint64_t value)
{
    hart->cpu.fault = (uint32_t)cause + 1;
    hart->cpu.fault_value = value;
}

/* --- rv_sys.c --------------------------------------------------------------------------------- */

/* Computes the translation mode from privilege, mstatus, satp and frm, and sets it. */
void rv_update_mode(struct rv_hart *hart);

/* The mmu's number of the address space that has ASID in the present satp mode. */
uint32_t rv_space(const struct rv_hart *hart, uint64_t asid);

/* --- csr.c ------------------------------------------------------------------------------------ */

/* Guest ticks of the time CSR now. */
uint64_t rv_time(const struct rv_hart *hart);
/* mip as the guest sees it; looks at the clock. */
uint64_t rv_mip(struct rv_hart *hart);
/* The same as of the last look at the clock. */
uint64_t rv_pending(const struct rv_hart *hart);
/* Looks at the clock: stip, or the timer armed anew where it was early. */
void rv_refresh(struct xl_cpu *cpu);
/* Brings stip and the timer in line with stimecmp, menvcfg and the clock. */
void rv_update_timer(struct rv_hart *hart);
/* Puts stimecmp's guest time in nanoseconds; UINT64_MAX for never. */
uint64_t rv_deadline(const struct rv_hart *hart);
/* Reads CSR for an instruction of the present privilege; false when it is illegal. */
bool rv_csr_get(struct rv_hart *hart, unsigned csr, uint64_t *value);
/* Writes it; the same. */
bool rv_csr_set(struct rv_hart *hart, unsigned csr, uint64_t value);
/* Name of CSR, or NULL. */
const char *rv_csr_name(unsigned csr);
/* fcsr.frm: rounding mode of generated code, and the mode. */
void rv_set_frm(struct rv_hart *hart, unsigned frm);

/* --- walk.c ----------------------------------------------------------------------------------- */

bool rv_walk(struct xl_cpu *cpu, unsigned tlb_mode, gva_t va, enum xl_access access,
             struct xl_walk *out);
void rv_access_fault(struct xl_cpu *cpu, gva_t va, enum xl_access access, bool misaligned);
/* pmpcfg or pmpaddr changed: computes hart->pmp and drops what was checked by the old ones. */
void rv_update_pmp(struct rv_hart *hart);

/* --- trap.c ----------------------------------------------------------------------------------- */

/* Enters the handler for CAUSE (with RV_CAUSE_INTERRUPT for interrupts) from cpu->pc. */
void rv_trap(struct rv_hart *hart, uint64_t cause, uint64_t tval);
void rv_take_fault(struct xl_cpu *cpu);
bool rv_poll(struct xl_cpu *cpu);
bool rv_idle(struct xl_cpu *cpu, uint64_t *deadline);
void rv_tlb_fence(struct xl_cpu *cpu, gva_t start, uint64_t size, uint64_t asid, bool one_space);
void rv_set_irq(struct xl_cpu *cpu, unsigned irq, bool level);

/* --- debug.c ---------------------------------------------------------------------------------- */

enum { RV_REGISTERS = 127 };
extern const struct accel_register rv_registers[RV_REGISTERS];
bool rv_register_get(struct xl_cpu *cpu, unsigned number, uint64_t *value);
bool rv_register_set(struct xl_cpu *cpu, unsigned number, const uint64_t *value);
const char *rv_mode_name(uint32_t mode);
bool rv_look(struct xl_cpu *cpu, gva_t va, gpa_t *gpa, uint64_t *length);

/* --- helpers of the front end: rv_help_<name>() of rv_helpers.inc ----------------------------- */

#define RV_ARGS_0
#define RV_ARGS_1 , uint64_t
#define RV_ARGS_2 , uint64_t, uint64_t
#define RV_ARGS_3 , uint64_t, uint64_t, uint64_t
#define RV_ARGS_4 , uint64_t, uint64_t, uint64_t, uint64_t
#define RV_HELPER(NAME, name, n_args, result, flags) \
    uint64_t rv_help_##name(struct xl_cpu *cpu RV_ARGS_##n_args);
#include "xlate/front/riscv64/rv_helpers.inc"
#undef RV_HELPER

#endif
