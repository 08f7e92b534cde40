/* What a vCPU cannot come back from: the argument's number in RSI says which. */
        .section .text.start, "ax"
        .code64
        .globl  start
start:
        mov     $0x70000, %esp
        mov     $0xd0000008, %eax
        movl    $0x1234, (%rax) /* the last exit of the report */
        mov     $0x1122334455667788, %rbx
        cmp     $1, %esi
        je      1f
        int3 /* KVM's emulator cannot: an internal error on hosts that emulate ring 0; else a triple fault */
1:      ud2  /* no table of gates: a triple fault */
        .section .note.GNU-stack, "", @progbits
