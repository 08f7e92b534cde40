/*
 * Code that two vCPUs take turns to rewrite, and both call: after DC CVAU, IC IVAU and their barriers the
 * writer runs what it wrote, and so does the other once it is told and has passed an ISB. Once the call is of a
 * page of its own, once it and what it calls share a page.
 */
#include "prog.inc"
#define CPUS    2
#define ROUNDS  400

        /* w0 becomes movz w0, #w11: "what f returns in round w11". */
        .macro  write_to function
        adr     x1, \function
        ldr     w0, =0x52800000
        orr     w0, w0, w11, lsl #5
        str     w0, [x1]
        dc      cvau, x1
        dsb     ish
        ic      ivau, x1
        dsb     ish
        .endm

main:
        mov     x10, x0                 /* who this is */
        adr     x12, turn
        adr     x13, seen
        mov     w11, #1
round:
        and     w14, w11, #1
        cmp     w14, w10
        b.ne    reader
        write_to far
        write_to near
        isb
        bl      far
        cmp     w0, w11
        fail_unless eq, 1
        bl      near
        cmp     w0, w11
        fail_unless eq, 2
        stlr    w11, [x12]
1:      ldar    w0, [x13]
        cmp     w0, w11
        b.ne    1b
        b       next
reader:
2:      ldar    w0, [x12]
        cmp     w0, w11
        b.ne    2b
        isb
        bl      far
        cmp     w0, w11
        fail_unless eq, 3
        bl      near
        cmp     w0, w11
        fail_unless eq, 4
        stlr    w11, [x13]
next:
        add     w11, w11, #1
        cmp     w11, #ROUNDS
        b.ls    round
        cbz     x10, pass
3:      wfe
        b       3b

near:   mov     w0, #0
        ret

        .balign 4096
far:    mov     w0, #0
        ret

        .data
        .balign 64
turn:   .word   0
        .balign 64
seen:   .word   0
