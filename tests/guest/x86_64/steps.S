/* Known instructions, one after another, for a debugger: counts in RAX, a word at 0x30000. */
        .section .text.start, "ax"
        .code64
        .globl  start
start:
        xor     %eax, %eax
        inc     %rax            /* 0x10002 */
        inc     %rax            /* 0x10005 */
        inc     %rax            /* 0x10008 */
        mov     %eax, 0x30000   /* 0x1000b, 7 bytes */
        mov     0x30000, %ebx   /* 0x10012, 7 bytes */
        mov     $0xf4, %edx     /* 0x10019 */
        xor     %eax, %eax
        out     %eax, %dx
1:      jmp     1b
        .section .note.GNU-stack, "", @progbits
