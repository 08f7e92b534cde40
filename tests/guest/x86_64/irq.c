/* Interrupts: the local APIC's timer in its modes, messages, inputs of the I/O APIC, and NMIs by a
 * message. */
#include "guest.h"

#define IOAPIC 0xfec00000ul
#define COUNT  0x7000ul

static struct gate idt[256];
static volatile uint32_t ticks, messages, edges, levels, nmis;

static IRQ void on_tick(struct frame *f)
{
    ticks++;
    apic_write(APIC_EOI, 0);
}

static IRQ void on_message(struct frame *f)
{
    messages++;
    *(volatile uint32_t *)COUNT = messages; /* for the test, which sends one after another */
    apic_write(APIC_EOI, 0);
}

static IRQ void on_edge(struct frame *f)
{
    edges++;
    apic_write(APIC_EOI, 0);
}

static IRQ void on_level(struct frame *f)
{
    levels++;
    if (levels == 3)
        call(4); /* the line falls */
    apic_write(APIC_EOI, 0);
}

static IRQ void on_nmi(struct frame *f)
{
    nmis++;
}

static void wait(volatile uint32_t *count, uint32_t least)
{
    irq_off();
    while (*count < least) {
        sleep_once();
        irq_off();
    }
}

static void timers(void)
{
    uint64_t then;

    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, 0x40); /* once */
    apic_write(APIC_INITIAL, 1000000);
    wait(&ticks, 1);
    require(apic_read(APIC_CURRENT) == 0);
    apic_write(APIC_TIMER, 0x40 | 1 << 17); /* again and again */
    apic_write(APIC_INITIAL, 1000000);
    wait(&ticks, 4);
    apic_write(APIC_INITIAL, 0);
    apic_write(APIC_TIMER, 0x40 | 2 << 17); /* at a time */
    ticks = 0;
    then = rdtsc() + 3000000;
    wrmsr(0x6e0, then);
    wait(&ticks, 1);
    require(rdtsc() >= then);
    require(rdmsr(0x6e0) == 0);
}

static void set_pin(unsigned pin, uint32_t low)
{
    volatile uint32_t *select = (void *)IOAPIC, *window = (void *)(IOAPIC + 0x10);

    *select = 0x10 + 2 * pin + 1;
    *window = 0;
    *select = 0x10 + 2 * pin;
    *window = low;
    require((*window & 0x1ffff & ~(1u << 12)) == (low & 0x1ffff & ~(1u << 12)));
}

int main(uint64_t arg)
{
    set_gate(idt, 2, on_nmi);
    set_gate(idt, 0x40, on_tick);
    set_gate(idt, 0x41, on_message);
    set_gate(idt, 0x42, on_edge);
    set_gate(idt, 0x43, on_level);
    load_idt(idt);
    enable_apic();
    if (arg == 0) {
        timers();
        return 0;
    }
    set_pin(10, 0x42);
    set_pin(21, 0x43 | 1 << 15);
    irq_on();
    call(1); /* a message from this processor's thread */
    wait(&messages, 1);
    call(2); /* messages from another thread */
    wait(&messages, 11);
    call(3); /* inputs */
    wait(&edges, 1);
    /* Awake: a KVM that emulates may sleep in HLT over an EOI that it has yet to tell of (kvm_pvm).
     */
    irq_on();
    while (levels < 3)
        ;
    require(edges == 1);
    /* one more may have been under way when the line fell, but then it is quiet */
    require(apic_read(APIC_ID) == 0 && levels <= 4);
    irq_off();
    call(5); /* an eventfd that stands for a message */
    wait(&messages, 16);
    call(6);
    while (nmis == 0)
        ;
    return 0;
}
