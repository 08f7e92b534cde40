/* Long mode: device accesses of every size, repeated, locked and across ends; ports, also in
 * strings. */
#include "guest.h"

#define AT(type, offset) (*(volatile type *)(DEVICE + (offset)))

static void sizes(void)
{
    AT(uint8_t, 0x10) = 0x11;
    AT(uint16_t, 0x12) = 0x2222;
    AT(uint32_t, 0x14) = 0x33333333;
    AT(uint64_t, 0x18) = 0x4444444455555555;
    require(AT(uint8_t, 0x10) == 0x11);
    require(AT(uint16_t, 0x12) == 0x2222);
    require(AT(uint32_t, 0x14) == 0x33333333);
    require(AT(uint64_t, 0x18) == 0x4444444455555555);
    require(AT(uint64_t, 0x10) == 0x3333333322220011);
    AT(uint32_t, 0x21) = 0xaabbccdd; /* not aligned: in pieces */
    require(AT(uint32_t, 0x21) == 0xaabbccdd);
    AT(uint64_t, 0x2ffc) = 0x0123456789abcdef; /* over the end of a page */
    require(AT(uint64_t, 0x2ffc) == 0x0123456789abcdef);
    AT(uint64_t, 0x2ffd) = 0xfedcba9876543210;
    require(AT(uint64_t, 0x2ffd) == 0xfedcba9876543210);
}

static void repeated(void)
{
    static uint32_t from[16], to[16];
    void *source = from, *target = (void *)(DEVICE + 0x100);
    uint64_t n = 16;

    for (unsigned i = 0; i < 16; i++)
        from[i] = i * 0x01010101;
    __asm__ volatile("rep movsl" : "+S"(source), "+D"(target), "+c"(n)::"memory");
    source = (void *)(DEVICE + 0x100);
    target = to;
    n = 16;
    __asm__ volatile("rep movsl" : "+S"(source), "+D"(target), "+c"(n)::"memory");
    for (unsigned i = 0; i < 16; i++)
        require(to[i] == i * 0x01010101);
    target = (void *)(DEVICE + 0x200);
    n = 8;
    __asm__ volatile("rep stosq" : "+D"(target), "+c"(n) : "a"(0x7777777777777777) : "memory");
    require(AT(uint64_t, 0x238) == 0x7777777777777777 && AT(uint8_t, 0x240) == 0);
}

static void locked(void)
{
    uint32_t value = 5;

    AT(uint32_t, 0x300) = 40;
    __asm__ volatile("lock xaddl %0, %1" : "+r"(value), "+m"(AT(uint32_t, 0x300))::"memory");
    require(value == 40 && AT(uint32_t, 0x300) == 45);
    value = 9;
    __asm__ volatile("xchgl %0, %1" : "+r"(value), "+m"(AT(uint32_t, 0x300))::"memory");
    require(value == 45 && AT(uint32_t, 0x300) == 9);
    __asm__ volatile("lock orl $0x10, %0" : "+m"(AT(uint32_t, 0x300))::"memory");
    require(AT(uint32_t, 0x300) == 0x19);
}

static void nothing_there(void)
{
    require(*(volatile uint8_t *)0xc0000000ul == 0xff);
    require(*(volatile uint64_t *)0xc0000000ul == UINT64_MAX);
    *(volatile uint32_t *)0xc0000000ul = 5;
    require(AT(uint32_t, 0x10004) == UINT32_MAX); /* just past the device */
    require(inl(0x5000) == UINT32_MAX);
    outl(0x5000, 1);
}

/* The test's port counts what it was given and answers with it. */
static void strings(void)
{
    static uint32_t words[32];
    void *at = words;
    uint64_t n = 32;

    for (unsigned i = 0; i < 32; i++)
        words[i] = 2;
    __asm__ volatile("rep outsl" : "+S"(at), "+c"(n) : "d"(PORT_CALL) : "memory");
    require(n == 0 && at == words + 32);
    at = words;
    n = 32;
    __asm__ volatile("rep insl" : "+D"(at), "+c"(n) : "d"(PORT_CALL) : "memory");
    require(n == 0 && words[0] == 32 && words[31] == 32);
}

static void registers(void)
{
    uint64_t value = 0x123456789000;

    __asm__ volatile("mov %0, %%dr0" ::"r"(value));
    __asm__ volatile("mov %%dr0, %0" : "=r"(value));
    require(value == 0x123456789000);
    wrmsr(0xc0000102, 0xffff800012345678); /* KERNEL_GS_BASE */
    require(rdmsr(0xc0000102) == 0xffff800012345678);
    __asm__ volatile("swapgs");
    require(rdmsr(0xc0000101) == 0xffff800012345678);
}

int main(uint64_t arg)
{
    require(arg == 0x1122334455667788);
    sizes();
    repeated();
    locked();
    nothing_there();
    strings();
    registers();
    return 0;
}
