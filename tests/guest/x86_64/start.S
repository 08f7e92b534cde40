/*
 * The way into main() in long mode, and from real mode for processors that the first one starts: those
 * come to ap_main() with their APIC id. What main() returns is how the guest ended: 0, or a line.
 */
#define PORT_END 0xf4
#define STACK    0x2000 /* bytes a processor */

        .section .text.start, "ax"
        .code64
        .globl start
start:
        lea     stacks + STACK(%rip), %rsp
        lgdt    gdt_pointer(%rip)
        mov     %rsi, %rdi
        call    main
        mov     $PORT_END, %edx
        out     %eax, %dx
1:      hlt
        jmp     1b

        .text
        .globl trampoline, trampoline_end
        .code16
trampoline: /* is copied to 0x8000 */
        cli
        xor     %ax, %ax
        mov     %ax, %ds
        lgdtl   0x8000 + gdt_pointer_low - trampoline
        mov     %cr4, %eax
        or      $0x20, %eax
        mov     %eax, %cr4
        mov     $0x1000, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     %cr0, %eax
        or      $0x80000001, %eax
        mov     %eax, %cr0
        ljmpl   $0x10, $ap_start
        .balign 8
gdt_pointer_low:
        .word   gdt_end - gdt - 1
        .long   gdt
trampoline_end:

        .code64
ap_start:
        mov     $0x18, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $0xfee00020, %eax
        mov     (%rax), %edi
        shr     $24, %edi
        lea     1(%rdi), %eax
        imul    $STACK, %rax, %rax
        lea     stacks(%rip), %rsp
        add     %rax, %rsp
        call    ap_main
1:      hlt
        jmp     1b

        .globl  gdt, gdt_pointer
        .data
        .balign 16
gdt:    .quad   0, 0
        .quad   0x00af9b000000ffff /* 0x10: 64-bit code */
        .quad   0x00cf93000000ffff /* 0x18: data */
        .quad   0x00cff3000000ffff /* 0x23: the user's data */
        .quad   0x00affb000000ffff /* 0x2b: the user's 64-bit code */
        .quad   0, 0               /* 0x30: the task state, of main()'s making */
        .quad   0x00cf9b000000ffff /* 0x40: 32-bit code */
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt

        .bss
        .balign 16
stacks: .skip   8 * STACK

        .weak   ap_main
        .section .note.GNU-stack, "", @progbits
