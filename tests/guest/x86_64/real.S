/* Real mode, from the reset vector: registers, segments, strings, ports, a device beyond 1 MiB in unreal mode. */
        .macro  must cond:req, line:req
        j\cond  1f
        mov     $\line, %eax
        jmp     finish
1:
        .endm

        .section .text.start, "ax"
        .code16
        .globl  start
start:
        cli
        mov     %cs, %ax
        mov     %ax, %ds
        mov     $0x3000, %ax
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0xfffe, %sp

        mov     $0x1234, %ax
        push    %ax
        pop     %bx
        cmp     $0x1234, %bx
        must    e, 1

        mov     $7, %cx
        mov     $6, %ax
        mul     %cx
        cmp     $42, %ax
        must    e, 2

        lea     text - start, %si /* DS is the image's segment */
        xor     %di, %di
        mov     $6, %cx
        cld
        rep movsb
        cmpl    $0x656c6576, %es:0 /* "veLe" in the way it lies there */
        must    e, 3

        in      $0x50, %al /* no device: all ones */
        cmp     $0xff, %al
        must    e, 4
        mov     $0x50, %dx
        in      %dx, %eax
        cmp     $0xffffffff, %eax
        must    e, 5

        lcall   $0x1000, $far_call - start
        cmp     $0x77, %ax
        must    e, 6

        /* Protected mode and back leaves a limit of 4 GiB in FS: a byte of the test's device. */
        lgdtl   table - start
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        mov     $8, %bx
        mov     %bx, %fs
        and     $0xfe, %al
        mov     %eax, %cr0
        mov     $0xd0000010, %ebx
        movb    $0x5a, %fs:(%ebx)
        mov     %fs:(%ebx), %cl
        cmp     $0x5a, %cl
        must    e, 7
        xor     %eax, %eax
finish: mov     $0xf4, %dx
        out     %eax, %dx
1:      hlt
        jmp     1b

far_call:
        mov     $0x77, %ax
        lret

text:   .ascii  "vele42"
        .balign 8
descriptors:
        .quad   0, 0x00cf93000000ffff
table:  .word   15
        .long   0x10000 + descriptors - start
        .section .note.GNU-stack, "", @progbits
