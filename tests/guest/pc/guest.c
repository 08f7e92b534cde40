/*
 * A guest of the pc machine, small enough for a KVM that emulates. Its command line says what it does: words, in
 * their order. It talks on COM1.
 *
 *   hello      a line that begins with "pc:"
 *   cpus       starts the second processor by INIT and SIPI, which says that it runs
 *   echo       sends back what it is sent, up to a q
 *   button     waits for the power button, halted, and goes on
 *   count      prints growing numbers for ever
 *   poweroff   by the sleep register of ACPI
 *   reset      by the keyboard controller
 *   fault      an exception that nothing can handle
 *   beyond     int3 in ring 0 with a handler, which a KVM that emulates does not know
 */
#include <stddef.h>
#include <stdint.h>

#define COM1       0x3f8
#define GED        0xfec10000u
#define IOAPIC     0xfec00000u
#define LAPIC      0xfee00000u
#define TRAMPOLINE 0x8000u
#define BUTTON     0x40 /* vector */

struct hvm_start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp;
};

extern const char trampoline[], trampoline_end[], button_entry[], beyond_entry[];
_Noreturn void triple_fault(void);
void guest(const struct hvm_start_info *info);
void guest_second(void);
void guest_button(void);
void guest_beyond(void);

static volatile int second_runs;
static const char *words; /* what is still to be done */
static uint64_t idt[BUTTON + 1];

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static volatile uint32_t *at(uint32_t address)
{
    return (volatile uint32_t *)address;
}

static void put(char c)
{
    while (!(in8(COM1 + 5) & 0x20))
        ;
    out8(COM1, (uint8_t)c);
}

static void say(const char *text)
{
    while (*text)
        put(*text++);
}

static void say_number(unsigned n)
{
    if (n >= 10)
        say_number(n / 10);
    put((char)('0' + n % 10));
}

static void echo(void)
{
    uint8_t c = 0;

    say("pc: echo\n");
    while (c != 'q') {
        while (!(in8(COM1 + 5) & 1))
            __asm__ volatile("pause");
        c = in8(COM1);
        put((char)c);
    }
    put('\n');
}

void guest_second(void)
{
    second_runs = 1;
}

static void start_second(void)
{
    volatile char *to = (volatile char *)TRAMPOLINE;

    for (ptrdiff_t i = 0; i < trampoline_end - trampoline; i++)
        to[i] = trampoline[i];
    *at(LAPIC + 0xf0) = 0x1ff; /* on */
    *at(LAPIC + 0x310) = 1u << 24;
    *at(LAPIC + 0x300) = 0x4500; /* INIT */
    *at(LAPIC + 0x310) = 1u << 24;
    *at(LAPIC + 0x300) = 0x4600 | TRAMPOLINE >> 12; /* SIPI */
    while (!second_runs)
        __asm__ volatile("pause");
    say("pc: the second processor runs\n");
}

static void handle(unsigned vector, const char *entry)
{
    uint32_t to = (uint32_t)entry;
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } idtr = {sizeof(idt) - 1, (uint32_t)idt};

    idt[vector] = (to & 0xffff) | 8u << 16 | (uint64_t)0x8e00 << 32 | (uint64_t)(to >> 16) << 48;
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

static void wait_for_button(void)
{
    handle(BUTTON, button_entry);
    *at(LAPIC + 0xf0) = 0x1ff;
    *at(IOAPIC) = 0x10 + 2 * 20 + 1;
    *at(IOAPIC + 0x10) = 0;
    *at(IOAPIC) = 0x10 + 2 * 20; /* the event device's input, by level */
    *at(IOAPIC + 0x10) = 0x8000 | BUTTON;
    say("pc: waits for the button\n");
    for (;;)
        __asm__ volatile("sti; hlt");
}

static void count(void)
{
    for (unsigned n = 0;; n++) {
        say("pc: ");
        say_number(n);
        put('\n');
        for (unsigned i = 0; i < 200; i++)
            in8(COM1 + 7);
    }
}

/* Whether WORD begins at TEXT and ends there. */
static int is(const char *text, const char *word)
{
    while (*word && *text == *word)
        text++, word++;
    return !*word && (!*text || *text == ' ');
}

static void act(const char *word)
{
    if (is(word, "hello"))
        say("pc: hello\n");
    else if (is(word, "cpus"))
        start_second();
    else if (is(word, "echo"))
        echo();
    else if (is(word, "button"))
        wait_for_button();
    else if (is(word, "count"))
        count();
    else if (is(word, "poweroff"))
        *(volatile uint8_t *)(GED + 4) = 5 << 2 | 1 << 5;
    else if (is(word, "reset"))
        out8(0x64, 0xfe);
    else if (is(word, "fault"))
        triple_fault();
    else if (is(word, "beyond")) {
        handle(3, beyond_entry);
        __asm__ volatile("int3");
    } else
        say("pc: what is that?\n");
}

static void act_all(void)
{
    while (*words) {
        const char *word = words;
        while (*words && *words != ' ')
            words++;
        while (*words == ' ')
            words++;
        act(word);
    }
}

/* Neither of these returns to what it interrupted. */
void guest_button(void)
{
    uint32_t events = *at(GED);

    *at(LAPIC + 0xb0) = 0;
    say(events == 1 ? "pc: the power button\n" : "pc: another event\n");
    act_all();
}

void guest_beyond(void)
{
    say("pc: int3 was handled\n");
    act_all();
}

void guest(const struct hvm_start_info *info)
{
    words = info->cmdline ? (const char *)(uint32_t)info->cmdline : "";
    act_all();
}
