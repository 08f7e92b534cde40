/*
 * See machine.h. Time is the local APIC's timer, of 1 GHz under KVM.
 *
 * Letters for the machine alone:
 *
 *   c   tells which processors run
 *   k   starts processors 1 to 7 as if all were there, and tells which of them run a moment later
 */
#include "tests/hotplug/machine.h"

#include "tests/guest/x86_64/guest.h"

#define COM1   0x3f8
#define GED    0xfec10000ul
#define IOAPIC 0xfec00000ul
#define BELOW  0x8000u /* where processors begin */

enum { TICK_MS = 2, TICK = 0x40, EVENT = 0x41 }; /* vectors */
enum { GED_GSI = 20, MOST_CPUS = 8 };

extern const char trampoline[], trampoline_end[];
int main(void *boot_params);
void ap_main(unsigned cpu);

static struct gate idt[256] __attribute__((aligned(16)));
static volatile uint64_t time_ms;
static volatile uint32_t events; /* of the event device, not looked at yet */
static volatile bool runs[MOST_CPUS];
static volatile bool leave[MOST_CPUS];

static uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

void print(const char *text)
{
    for (; *text; text++) {
        while (!(inb(COM1 + 5) & 0x20))
            continue;
        outb(COM1, (uint8_t)*text);
    }
}

/* As Linux says it, so that it ends the VM's run. */
void fail(const char *file, int line, uint64_t got)
{
    print("Kernel panic - not syncing: ");
    print(file);
    print(", line ");
    print_number((uint64_t)line);
    print(": got ");
    print_number(got);
    print("\n---[ end Kernel panic - not syncing ]---\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}

IRQ static void on_tick(struct frame *frame)
{
    time_ms += TICK_MS;
    apic_write(APIC_EOI, 0);
}

IRQ static void on_event(struct frame *frame)
{
    events |= read32(GED);
    apic_write(APIC_EOI, 0);
}

static void ioapic_write(unsigned reg, uint32_t value)
{
    write32(IOAPIC, reg);
    write32(IOAPIC + 0x10, value);
}

void machine_start(void)
{
    for (unsigned i = 0; i < (unsigned)(trampoline_end - trampoline); i++)
        write8(BELOW + i, (uint8_t)trampoline[i]);
    runs[0] = true;
    set_gate(idt, TICK, on_tick);
    set_gate(idt, EVENT, on_event);
    load_idt(idt);
    enable_apic();
    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, 0x20000 | TICK);
    apic_write(APIC_INITIAL, TICK_MS * 1000000);
    ioapic_write(0x10 + 2 * GED_GSI + 1, 0);
    ioapic_write(0x10 + 2 * GED_GSI, 0x8000 | EVENT);
    irq_on();
}

uint64_t machine_ms(void)
{
    return time_ms;
}

void machine_sleep(uint64_t until)
{
    while (time_ms < until)
        __asm__ volatile("hlt" ::: "memory");
}

int machine_hear(void)
{
    return inb(COM1 + 5) & 1 ? inb(COM1) : -1;
}

void machine_end(char how)
{
    if (how == 'C')
        fail("told to", 0, 0);
    if (how == 'R')
        outb(0x64, 0xfe);
    else
        write8(GED + 4, 5 << 2 | 1 << 5);
}

int main(void *boot_params)
{
    guest();
    return 0;
}
