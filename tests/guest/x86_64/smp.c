/* Processors that start others by INIT and SIPI, then count under a lock and send one another IPIs.
 */
#include "guest.h"

#define ROUNDS 2000
#define HITS   50

static struct gate idt[256];
static volatile uint32_t present, hits[8];
static uint32_t lock, counter, atomic_counter, done;
extern uint8_t trampoline[], trampoline_end[];
static uint32_t cpus;

static uint32_t self(void)
{
    return apic_read(APIC_ID) >> 24;
}

static IRQ void on_ipi(struct frame *f)
{
    uint32_t me = self();

    __atomic_fetch_add(&hits[me], 1, __ATOMIC_SEQ_CST);
    apic_write(APIC_EOI, 0);
}

static void send(uint32_t to, uint32_t command)
{
    apic_write(APIC_ICR_HIGH, to << 24);
    apic_write(APIC_ICR, command);
    while (apic_read(APIC_ICR) & 1 << 12)
        ;
}

static void take(void)
{
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        ;
}

/* What all do: plain counting under the lock, atomic counting without, then IPIs round the ring. */
static void work(uint32_t me)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        take();
        counter++;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
        __atomic_fetch_add(&atomic_counter, 1, __ATOMIC_SEQ_CST);
    }
    for (unsigned i = 0; i < HITS; i++) {
        uint32_t next = (me + 1) % cpus;
        send(next, 0x4050);
        irq_off();
        while (hits[me] <= i) {
            sleep_once();
            irq_off();
        }
        irq_on();
        while (hits[next] <= i) /* or the next one would merge with it */
            ;
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

void ap_main(uint32_t me)
{
    load_idt(idt);
    enable_apic();
    __atomic_fetch_or(&present, 1u << me, __ATOMIC_SEQ_CST);
    while (present != (1u << cpus) - 1)
        ;
    irq_on();
    work(me);
}

int main(uint64_t arg)
{
    cpus = (uint32_t)arg;
    for (unsigned i = 0; i < trampoline_end - trampoline; i++)
        ((volatile uint8_t *)0x8000)[i] = trampoline[i];
    set_gate(idt, 0x50, on_ipi);
    load_idt(idt);
    enable_apic();
    require(self() == 0);
    __atomic_fetch_or(&present, 1, __ATOMIC_SEQ_CST);
    for (uint32_t i = 1; i < cpus; i++) {
        send(i, 0x4500); /* INIT */
        send(i, 0x4608); /* SIPI: page 8 */
        send(i, 0x4608); /* ignored by now, or not */
        while (!(present & 1u << i))
            ;
    }
    irq_on();
    work(0);
    while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) != cpus)
        ;
    require(counter == ROUNDS * cpus && atomic_counter == counter);
    return 0;
}
