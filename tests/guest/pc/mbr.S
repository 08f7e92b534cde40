/*
 * The first sector of a disk: talks through the BIOS that read it, then itself on COM1, and resets the machine. With
 * READS it reads the sector for ever instead, by the BIOS, and says a dot each few times.
 */
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
1:
#ifdef READS
    mov     $16, %cx
2:  push    %cx
    movw    $0, BUFFER + 510
    mov     $0x42, %ah          /* read by the packet at SI from drive DL */
    mov     $0x80, %dl
    mov     $packet, %si
    int     $0x13
    jc      3f
    cmpw    $0xaa55, BUFFER + 510
    jne     3f
    pop     %cx
    loop    2b
    mov     $dot, %si
    call    say
    jmp     1b
3:  mov     $wrong, %si
    call    say
#else
    mov     $by_itself, %si
    call    say
    mov     $0xfe, %al
    out     %al, $0x64          /* the keyboard controller's reset */
#endif
4:  hlt
    jmp     4b

say:
    lodsb
    test    %al, %al
    jz      6f
    mov     %al, %ah
    mov     $0x3fd, %dx
5:  in      %dx, %al
    test    $0x20, %al          /* room to send */
    jz      5b
    mov     $0x3f8, %dx
    mov     %ah, %al
    out     %al, %dx
    jmp     say
6:  ret

by_bios:
    .asciz  "mbr: read\r\n"
#ifdef READS
    .set    BUFFER, 0x8000
dot:
    .asciz  "."
wrong:
    .asciz  "mbr: cannot read\r\n"
    .balign 4
packet:
    .byte   16, 0
    .word   1, BUFFER, 0        /* sectors, to offset and segment */
    .quad   0                   /* from */
#else
by_itself:
    .asciz  "\r\nmbr: resets\r\n"
#endif
    .org    510
    .word   0xaa55
    .section .note.GNU-stack, "", @progbits
