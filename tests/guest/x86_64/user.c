/*
 * Ring 3: code that the processor itself runs, with arithmetic that ring 0 cannot be sure of,
 * accesses to a device and to ports, an interrupt from the local APIC's timer, and the way back by
 * a fault.
 */
#include "guest.h"

static struct gate idt[256];
static struct {
    uint32_t reserved;
    uint64_t rsp0, rest[12];
    uint16_t more, iomap;
} __attribute__((packed)) task;
static uint8_t kernel_stack[4096], user_stack[4096];
static volatile uint32_t ticks;
__attribute__((used)) static uint64_t came_back; /* stack of main() */
extern uint64_t gdt[];

static IRQ void on_tick(struct frame *f)
{
    ticks++;
    apic_write(APIC_EOI, 0);
}

#define IN_USER __attribute__((section(".text.user"), noinline))

static IN_USER void user(void)
{
    uint64_t n;
    uint64_t x = 0x3ff8000000000000; /* 1.5 */

    uint16_t cs;

    __asm__("mov %%cs, %0" : "=r"(cs));
    require((cs & 3) == 3);
    __asm__ volatile("popcnt %1, %0" : "=r"(n) : "r"(0xf0f0ul));
    require(n == 8);
    __asm__ volatile("movsd %0, %%xmm0; addsd %%xmm0, %%xmm0; movsd %%xmm0, %0" : "+m"(x));
    require(x == 0x4008000000000000); /* 3.0 */
    *(volatile uint32_t *)(DEVICE + 0x40) = 0xfeed;
    require(*(volatile uint32_t *)(DEVICE + 0x40) == 0xfeed);
    require(call(3) == 33); /* IOPL is 3 */
    while (ticks == 0)
        ;
    __asm__ volatile("ud2");
    require(false);
}

__attribute__((naked)) static void on_call(void)
{
    __asm__("mov came_back, %rsp; ret");
}

/* Comes back when user code has asked for it. */
__attribute__((naked, noinline)) static void go_down(void (*code)(void), void *stack)
{
    __asm__("push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15;"
            "lea 1f(%rip), %rax; push %rax; mov %rsp, came_back;"
            "push $0x23; push %rsi; push $0x3202; push $0x2b; push %rdi; iretq;"
            "1: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret");
}

int main(uint64_t arg)
{
    uint64_t at = (uintptr_t)&task;

    task.rsp0 = (uintptr_t)(kernel_stack + sizeof(kernel_stack));
    task.iomap = sizeof(task);
    gdt[6] =
        0x0000890000000000 | (sizeof(task) - 1) | (at & 0xffffff) << 16 | (at >> 24 & 0xff) << 56;
    gdt[7] = at >> 32;
    __asm__ volatile("ltr %0" ::"r"((uint16_t)0x30));
    set_gate(idt, 0x40, on_tick);
    set_gate(idt, 6, on_call);
    load_idt(idt);
    enable_apic();
    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, 0x40 | 1 << 17);
    apic_write(APIC_INITIAL, 2000000);
    go_down(user, user_stack + sizeof(user_stack) - 8);
    require(ticks > 0);
    return 0;
}
