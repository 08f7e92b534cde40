/* The first sector of a disk: talks through the BIOS that read it, then itself on COM1, and resets the machine. */
    .code16
    .text
    .globl start
start:
    xor     %ax, %ax
    mov     %ax, %ds
    mov     $by_bios, %si
0:  lodsb
    test    %al, %al
    jz      1f
    mov     $0x0e, %ah          /* teletype */
    xor     %bx, %bx
    int     $0x10
    jmp     0b
1:  mov     $by_itself, %si
2:  lodsb
    test    %al, %al
    jz      4f
    mov     %al, %ah
    mov     $0x3fd, %dx
3:  in      %dx, %al
    test    $0x20, %al          /* room to send */
    jz      3b
    mov     $0x3f8, %dx
    mov     %ah, %al
    out     %al, %dx
    jmp     2b
4:  mov     $0xfe, %al
    out     %al, $0x64          /* the keyboard controller's reset */
5:  hlt
    jmp     5b

by_bios:
    .asciz  "mbr: read\r\n"
by_itself:
    .asciz  "\r\nmbr: resets\r\n"
    .org    510
    .word   0xaa55
    .section .note.GNU-stack, "", @progbits
