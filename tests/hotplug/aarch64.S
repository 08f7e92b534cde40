/* Entered at EL1 with translation off, on the first processor alone. What no handler is for ends the guest. */
        .section .text.start, "ax"
        .globl  _start
_start: adrp    x1, stack_end
        add     sp, x1, :lo12:stack_end
        adrp    x1, vectors
        add     x1, x1, :lo12:vectors
        msr     vbar_el1, x1
        isb
        bl      guest
1:      wfi
        b       1b

        .text
        .balign 0x800
vectors:
        .rept   16
        .balign 0x80
        ldr     w0, =0x84000008 /* SYSTEM_OFF */
        hvc     #0
        b       .
        .ltorg
        .endr

        .bss
        .balign 16
        .skip   16384
stack_end:
