/* Entered in 32-bit protected mode with EBX at hvm_start_info (PVH); and where other processors begin. */
    .section .note.pvh, "a", @note
    .long 4, 4, 18              /* "Xen", XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start

    .text
    .globl start
start:
    cli
    mov     $stack_end, %esp
    lgdt    gdtr
    push    %ebx
    call    guest
0:  hlt
    jmp     0b

/* Copied to TRAMPOLINE; real mode at CS:0. */
    .globl trampoline, trampoline_end
    .code16
trampoline:
    cli
    lgdtl   %cs:(gdtr_real - trampoline)
    mov     $1, %eax
    mov     %eax, %cr0
    ljmpl   $8, $second
gdtr_real:
    .word   23
    .long   gdt
trampoline_end:

    .code32
second:
    mov     $16, %eax
    mov     %eax, %ds
    mov     %eax, %es
    mov     %eax, %ss
    mov     $second_stack_end, %esp
    call    guest_second
1:  hlt
    jmp     1b

/* Loads a limit under which no exception can be taken, and takes one. */
    .globl triple_fault
triple_fault:
    lidt    none
    ud2

/* The power button's interrupt, which does not return: a KVM that emulates has no 32-bit iret. */
    .globl button_entry
button_entry:
    mov     $stack_end, %esp
    call    guest_button
2:  hlt
    jmp     2b

    .globl beyond_entry
beyond_entry:
    call    guest_beyond
3:  hlt
    jmp     3b

    .balign 8
gdt:
    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word   23
    .long   gdt
none:
    .word   0
    .long   0

    .bss
    .balign 16
    .space  8192
stack_end:
    .space  4096
second_stack_end:

    .section .note.GNU-stack, "", @progbits
