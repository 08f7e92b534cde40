# Entry of the bare guest programs, in S-mode or with -DM_MODE in M-mode: a stack a hart, the trap
# vector, then guest_main() on hart 0 and guest_hart() on the others.
#ifdef M_MODE
#define TVEC   mtvec
#define CAUSE  mcause
#define SCR    mscratch
#define RETURN mret
#else
#define TVEC   stvec
#define CAUSE  scause
#define SCR    sscratch
#define RETURN sret
#endif
    .section .text.start, "ax"
    .globl _start
_start:
    la sp, stacks
    addi t0, a0, 1
    slli t0, t0, 12
    add sp, sp, t0
    csrw SCR, a0
    la t0, trap
    csrw TVEC, t0
    bnez a0, 1f
    call guest_main
0:  wfi
    j 0b
1:  call guest_hart
    j 0b

    .balign 4
trap:
    addi sp, sp, -136
    sd ra, 0(sp)
    .set i, 0
    .irp r, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7
    .set i, i + 8
    sd \r, i(sp)
    .endr
    csrr a0, CAUSE
    csrr a1, SCR
    call guest_trap
    ld ra, 0(sp)
    .set i, 0
    .irp r, t0, t1, t2, t3, t4, t5, t6, a0, a1, a2, a3, a4, a5, a6, a7
    .set i, i + 8
    ld \r, i(sp)
    .endr
    addi sp, sp, 136
    RETURN

    .bss
    .balign 4096
stacks:
    .skip 8 * 4096
