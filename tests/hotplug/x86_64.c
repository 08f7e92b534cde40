/*
 * See machine.h. Time is the local APIC's timer, of 1 GHz under KVM.
 *
 * What an operating system's ACPI does by the machine's AML, this does by the registers that the
 * AML uses: processors (machine/devices/cpu_plug.h), and with "acpi" as the command line cards
 * (machine/devices/pci_plug.h), whose slots it does not touch then. Modes are those of guest.c,
 * and:
 *
 *   o   says that it takes a processor, and leaves it off
 *   q   starts one, and says nothing
 *
 * Letters for the machine alone:
 *
 *   c   tells which processors run
 *   k   starts processors 1 to 7 as if all were there, and tells which of them run a moment later
 *   e   lets go of processor 1 unasked
 *   x   has processor 1, which runs, do so
 */
#include "tests/hotplug/machine.h"

#include "tests/guest/x86_64/guest.h"

#define COM1   0x3f8
#define GED    0xfec10000ul
#define CPUS   0xfec20000ul
#define SLOTS  0xfec30000ul
#define IOAPIC 0xfec00000ul
#define BELOW  0x8000u /* where processors begin */

enum { LOOK = 0, ASK = 4, CARDS = 8, GRANTED = 12, SLOT = 16, SLOT_EVENT = 20, SLOT_STATUS = 24 };
enum { SELECT = 0, FLAGS = 4, COMMAND = 5, DATA = 8 }; /* of CPUS */
enum { PRESENT = 1, COMES = 2, GOES = 4, EJECT = 8 };
enum { NEXT, OST_EVENT, OST_STATUS };
enum { CHECK = 1, EJECT_REQUEST = 3, FAILED = 1, BUSY = 0x81, IN_PROGRESS = 0x84 };

enum { TICK_MS = 2 };
enum { TICK = 0x40, EVENT, WAKE }; /* vectors */
enum { GED_GSI = 20, MOST_CPUS = 8 };

extern const char trampoline[], trampoline_end[];
int main(void *boot_params);
void ap_main(unsigned cpu);

static struct gate idt[256] __attribute__((aligned(16)));
static volatile uint64_t time_ms;
static volatile uint32_t events; /* of the event device, not looked at yet */
static bool by_acpi;
static uint32_t to_look, to_ask; /* slots about which there was a notification */
static volatile bool runs[MOST_CPUS];
static volatile bool leave[MOST_CPUS];
static volatile bool ejects_itself;

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

/* Another processor has something for this one. */
IRQ static void on_wake(struct frame *frame)
{
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
    set_gate(idt, WAKE, on_wake);
    load_idt(idt);
    enable_apic();
    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, 0x20000 | TICK);
    apic_write(APIC_INITIAL, TICK_MS * 1000000);
    ioapic_write(0x10 + 2 * GED_GSI + 1, 0);
    ioapic_write(0x10 + 2 * GED_GSI, 0x8000 | EVENT);
    write32(SLOTS + GRANTED, !by_acpi);
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

/* --- processors ------------------------------------------------------------------------------- */

void ap_main(unsigned cpu)
{
    load_idt(idt);
    enable_apic();
    runs[cpu] = true;
    while (!leave[cpu]) {
        sleep_once();
        irq_off();
    }
    leave[cpu] = false;
    runs[cpu] = false;
    if (ejects_itself) {
        write32(CPUS + SELECT, cpu);
        write8(CPUS + FLAGS, EJECT);
        fail(__FILE__, __LINE__, cpu); /* it is not there any more */
    }
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void send(unsigned cpu, uint32_t what)
{
    apic_write(APIC_ICR_HIGH, cpu << 24);
    apic_write(APIC_ICR, what);
}

/* INIT, then SIPI. */
static void begin(unsigned cpu)
{
    send(cpu, 0x4500);
    machine_sleep(machine_ms() + 10);
    send(cpu, 0x4600 | BELOW >> 12);
}

static bool wait_for(volatile bool *what, bool value)
{
    for (uint64_t end = machine_ms() + 10000; *what != value && machine_ms() < end;)
        __asm__ volatile("pause");
    return *what == value;
}

static void answer(unsigned event, unsigned status)
{
    write8(CPUS + COMMAND, OST_EVENT);
    write32(CPUS + DATA, event);
    write8(CPUS + COMMAND, OST_STATUS);
    write32(CPUS + DATA, status);
}

static void tell(const char *what, unsigned cpu)
{
    print("cpu ");
    print_number(cpu);
    print(what);
}

static void take(unsigned cpu, char mode)
{
    if (mode == 'r') {
        answer(CHECK, FAILED);
        return;
    }
    if (mode != 'o') {
        begin(cpu);
        check(wait_for(&runs[cpu], true), true);
    }
    for (unsigned i = mode == 'd' ? 2 : 1; mode != 'q' && i; i--)
        answer(CHECK, 0);
    tell(" came\n", cpu);
}

static void let_go(unsigned cpu, char mode)
{
    if (mode == 'r') {
        answer(EJECT_REQUEST, BUSY);
        return;
    }
    answer(EJECT_REQUEST, IN_PROGRESS);
    if (runs[cpu]) {
        leave[cpu] = true;
        send(cpu, 0x4000 | WAKE);
        check(wait_for(&runs[cpu], false), true);
    }
    for (unsigned i = mode == 'd' ? 2 : 1; i; i--)
        write8(CPUS + FLAGS, EJECT);
    check(read8(CPUS + FLAGS) & PRESENT, 0);
    answer(EJECT_REQUEST, 0);
    tell(" went\n", cpu);
}

/* What the AML's scan does, and what its notifications lead to. */
static void scan(char mode)
{
    for (;;) {
        write8(CPUS + COMMAND, NEXT);
        unsigned cpu = read32(CPUS + DATA);
        uint8_t flags = read8(CPUS + FLAGS);
        if (!(flags & (COMES | GOES)))
            return;
        write8(CPUS + FLAGS, flags & (COMES | GOES));
        check(cpu > 0 && cpu < MOST_CPUS, true);
        check(flags & PRESENT, PRESENT);
        if (mode == 'R' || mode == 'P' || mode == 'C')
            machine_end(mode);
        if (flags & COMES)
            take(cpu, mode);
        else if (mode != 'w')
            let_go(cpu, mode);
    }
}

/* --- cards ------------------------------------------------------------------------------------ */

bool machine_by_acpi(void)
{
    return by_acpi;
}

static void answer_slot(unsigned number, unsigned event, unsigned status)
{
    write32(SLOTS + SLOT, number);
    write32(SLOTS + SLOT_EVENT, event);
    write32(SLOTS + SLOT_STATUS, status);
}

static void check_slot(unsigned number, char mode)
{
    if (mode == 'r' && read32(SLOTS + CARDS) & 1u << (number - 1)) {
        answer_slot(number, CHECK, FAILED);
        return;
    }
    guest_check(number);
    answer_slot(number, CHECK, 0);
}

static void eject_slot(unsigned number, char mode)
{
    if (mode == 'w')
        return;
    if (mode == 'r') {
        answer_slot(number, EJECT_REQUEST, BUSY);
        return;
    }
    answer_slot(number, EJECT_REQUEST, IN_PROGRESS);
    guest_detach(number);
    for (unsigned i = mode == 'd' ? 2 : 1; i; i--)
        write32(SLOTS + CARDS, 1u << (number - 1));
    check(read32(SLOTS + CARDS) & 1u << (number - 1), 0);
    answer_slot(number, EJECT_REQUEST, 0);
}

/* What the AML's scan does; notifications may be slow. */
static void note_slots(void)
{
    uint32_t look = read32(SLOTS + LOOK), ask = read32(SLOTS + ASK);

    write32(SLOTS + LOOK, look);
    write32(SLOTS + ASK, ask);
    to_look |= look;
    to_ask |= ask;
}

static void handle_slots(char mode)
{
    if ((to_look | to_ask) && (mode == 'R' || mode == 'P' || mode == 'C'))
        machine_end(mode);
    for (unsigned number = 1; number <= 32; number++) {
        if (to_look & 1u << (number - 1))
            check_slot(number, mode);
        if (to_ask & 1u << (number - 1))
            eject_slot(number, mode);
    }
    to_look = to_ask = 0;
}

void machine_look(char mode)
{
    static uint64_t due; /* when what has happened is handled */
    static bool cpus;

    if (mode == 's')
        return;
    if (events) {
        irq_off();
        uint32_t now = events;
        events = 0;
        irq_on();
        cpus |= (now & 2) != 0;
        if (now & 4)
            note_slots();
        due = machine_ms() + (mode == 'l' ? 2000 : 0);
    }
    if (!(cpus || to_look || to_ask) || machine_ms() < due)
        return;
    if (cpus)
        scan(mode);
    cpus = false;
    handle_slots(mode);
}

static void tell_all(void)
{
    print("running");
    for (unsigned i = 0; i < MOST_CPUS; i++) {
        if (runs[i]) {
            print(" ");
            print_number(i);
        }
    }
    print("\n");
}

bool machine_told(char letter)
{
    if (letter == 'k') {
        for (unsigned i = 1; i < MOST_CPUS; i++) {
            if (!runs[i])
                begin(i);
        }
        machine_sleep(machine_ms() + 200);
    } else if (letter == 'e') {
        write32(CPUS + SELECT, 1);
        write8(CPUS + FLAGS, EJECT);
        runs[1] = false;
    } else if (letter == 'x') {
        ejects_itself = true;
        leave[1] = true;
        send(1, 0x4000 | WAKE);
        check(wait_for(&runs[1], false), true);
        machine_sleep(machine_ms() + 100);
        ejects_itself = false;
    } else if (letter != 'c') {
        return false;
    }
    tell_all();
    return true;
}

int main(void *boot_params)
{
    const char *line = (const char *)(uintptr_t)read32((uintptr_t)boot_params + 0x228);

    by_acpi = line && *line == 'a';
    guest();
    return 0;
}
