/*
 * State that must survive: registers of all kinds hold known values while the test saves all of it,
 * makes another machine and has that go on. The local APIC's timer ticks all the time.
 */
#include "guest.h"

static struct gate idt[256];
static volatile uint32_t ticks;
static volatile uint32_t ready; /* the test looks for it */
static volatile uint32_t *const flag = (void *)0x7000;

static IRQ void on_tick(struct frame *f)
{
    ticks++;
    apic_write(APIC_EOI, 0);
}

/* Holds values in all general registers and SSE registers until the test sets the word at FLAG; 0,
 * or what differs. */
__attribute__((naked, noinline)) static uint32_t hold(volatile uint32_t *word, const void *vectors,
                                                      void *out)
{
    __asm__("push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdx;"
            "movups (%rsi), %xmm0; movups 16(%rsi), %xmm7; movups 32(%rsi), %xmm15;"
            "mov $0x1111111122222222, %rax; mov $0x33333333, %ebx; mov $0x44444444, %ecx;"
            "mov $0x5555, %ebp; mov $8, %r8d; mov $9, %r9d; mov $10, %r10d; mov $11, %r11d;"
            "mov $12, %r12d; mov $13, %r13d; mov $14, %r14d; mov $0xffffffffffffff15, %r15;"
            "std;"
            "movl $1, ready;"
            "1: cmpl $0, (%rdi); je 1b;"
            "pushf; cld; pop %rdx; test $0x400, %edx; jz 9f;"
            "mov $0x1111111122222222, %rdx; cmp %rdx, %rax; jne 9f;"
            "cmp $0x33333333, %ebx; jne 9f; cmp $0x44444444, %ecx; jne 9f;"
            "cmp $0x5555, %ebp; jne 9f; cmp $8, %r8; jne 9f; cmp $9, %r9; jne 9f;"
            "cmp $10, %r10; jne 9f; cmp $11, %r11; jne 9f; cmp $12, %r12; jne 9f;"
            "cmp $13, %r13; jne 9f; cmp $14, %r14; jne 9f; cmp $0xffffffffffffff15, %r15; jne 9f;"
            "pop %rdx; push %rdx; movups %xmm0, (%rdx); movups %xmm7, 16(%rdx); movups %xmm15, "
            "32(%rdx);"
            "xor %eax, %eax; jmp 8f;"
            "9: mov $1, %eax;"
            "8: pop %rdx; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret");
}

int main(uint64_t arg)
{
    static uint64_t vectors[6] = {1, 2, 3, 4, 5, 0xfedcba9876543210};
    static uint64_t out[6];
    uint64_t dr, kernel_gs = 0xffff900012345000, star = 0x0023001000000000, then;

    set_gate(idt, 0x40, on_tick);
    load_idt(idt);
    enable_apic();
    wrmsr(0xc0000102, kernel_gs);
    wrmsr(0xc0000081, star);
    wrmsr(0xc0000100, 0x7fff0000);
    __asm__ volatile("mov %%cr4, %0; or $0x600, %0; mov %0, %%cr4" : "=&r"(dr)); /* SSE */
    __asm__ volatile("mov %0, %%dr2" ::"r"(0x5678000ul));
    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, 0x40 | 1 << 17);
    apic_write(APIC_INITIAL, 3000000);
    irq_on();
    *flag = 0;
    then = rdtsc();
    call(1);
    require(hold(flag, vectors, out) == 0);
    for (unsigned i = 0; i < 6; i++)
        require(out[i] == vectors[i]);
    require(rdmsr(0xc0000102) == kernel_gs && rdmsr(0xc0000081) == star);
    require(rdmsr(0xc0000100) == 0x7fff0000);
    __asm__ volatile("mov %%dr2, %0" : "=r"(dr));
    require(dr == 0x5678000);
    require(rdtsc() > then);
    ticks = 0; /* still comes, in the new machine */
    while (ticks < 3)
        ;
    return 0;
}
