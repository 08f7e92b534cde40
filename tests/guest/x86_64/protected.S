/* 32-bit protected mode as a PVH kernel is entered: EBX, flat segments; then a GDT of its own and,
 * with paging, compatibility mode. */
        .macro  must cond:req, line:req
        j\cond  1f
        mov     $\line, %eax
        jmp     finish
1:
        .endm

        .section .text.start, "ax"
        .code32
        .globl  start
start:
        cmp     $0xabcd1234, %ebx
        mov     $1, %eax
        jne     finish
        mov     $0x70000, %esp
        mov     %cr0, %eax
        and     $0x80000001, %eax
        cmp     $1, %eax
        must    e, 2
        pushf
        pop     %eax
        test    $0x200, %eax /* interrupts are off */
        must    z, 3

        lgdt    pointer
        ljmp    $8, $1f
1:      mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %ss
        mov     %eax, %es
        mov     $24, %eax
        mov     %eax, %gs /* begins at 1 MiB */
        movl    $0x5555, 0x100010
        cmpl    $0x5555, %gs:0x10
        must    e, 4

        mov     %cr4, %eax /* compatibility mode: the test's tables, the fourth page made the second */
        or      $0x20, %eax
        mov     %eax, %cr4
        mov     $0x1000, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x100, %eax
        wrmsr
        movl    $0x200083, 0x3018
        mov     %cr0, %eax
        or      $0x80000000, %eax
        mov     %eax, %cr0
        movl    $0x77665544, 0x200000
        cmpl    $0x77665544, 0x600000
        must    e, 5
        movl    $0, 0x3018 /* unmapped and mapped anew */
        invlpg  0x600000
        movl    $0xa00083, 0x3018
        invlpg  0x600000
        movl    $0x1111, 0x600004
        cmpl    $0x1111, 0xa00004
        must    e, 6

        mov     $1, %eax /* cmpxchg8b */
        mov     $2, %edx
        mov     %eax, 0x210000
        mov     %edx, 0x210004
        mov     $3, %ebx
        mov     $4, %ecx
        lock cmpxchg8b 0x210000
        must    z, 7
        cmpl    $3, 0x210000
        must    e, 8
        xor     %eax, %eax
finish: mov     $0xf4, %edx
        out     %eax, %dx
1:      hlt
        jmp     1b

        .balign 16
table:  .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00cf93100000ffff
pointer:
        .word   31
        .long   table
        .section .note.GNU-stack, "", @progbits
