/*
 * A guest whose driver watches PCI Express slots, and which does as it is told by letters on the serial port. It
 * is entered in S-mode with the built-in SBI. A card that comes is given its BARs and a driver that sets
 * DRIVER_OK; one that is asked back is let go of. Meanwhile a disk that is there from the start is
 * written and read back without pause, where there is one.
 *
 *   n   does as it should          s   does nothing, whatever happens at the slots
 *   l   answers after two seconds  r   refuses: attention indicator on; a button has it blink, and go on
 *   d   answers everything twice   w   takes cards, and does not hear the button
 *   R   reboots at the next event  C   crashes at it       P   powers off at it
 *   i   tells how many sectors were written and read back
 */
#include "tests/guest/riscv64/guest.h"

#define ECAM       0x30000000ul
#define ROOT_MEM   0x48000000u
#define PORT_MEM   0x50000000u
#define PORT_BYTES 0x00200000u
#define TICK       10000 /* of 10 MHz: a millisecond */

enum { PORTS = 8, COMMON = 1, NOTIFY, CAPS = 5, QUEUE = 4 };
enum { SLOT_CONTROL = 0x18, SLOT_STATUS = 0x1a };
enum { ABP = 1, PDC = 8, PDS = 0x40, DLLSC = 0x100 };
enum { WATCH = 0x1021, OFF = 0x400, LED_ON = 0x100, LED_BLINK = 0x200, LED_OFF = 0x300 };
enum { ATTENTION_ON = 0x40, ATTENTION_OFF = 0xc0 };

struct port {
    uintptr_t config, express;
    uint32_t memory;
    uint8_t bus;
    bool on;
    uint64_t due;   /* when what has happened is looked at; 0: nothing has */
    uint64_t again; /* when a card that was asked back is decided to stay; 0: none is */
    uint16_t events;
};

struct virtio {
    uintptr_t common, notify;
    uint32_t notify_by;
};

struct descriptor {
    uint64_t at;
    uint32_t length;
    uint16_t flags, next;
};

static struct port ports[PORTS];
static unsigned n_ports;
static char mode = 'n';

static struct descriptor table[QUEUE] __attribute__((aligned(4096)));
static volatile uint16_t avail[2 + QUEUE + 1] __attribute__((aligned(64)));
static volatile uint32_t used[1 + 2 * QUEUE + 1] __attribute__((aligned(64)));
static struct {
    uint32_t type, reserved;
    uint64_t sector;
} request __attribute__((aligned(64)));
static uint8_t data[512] __attribute__((aligned(64)));
static volatile uint8_t status;
static struct virtio disk;
static bool has_disk, disk_busy, disk_reads;
static uint16_t disk_done;
static uint64_t disk_turns;

static void sbi(uint64_t ext, uint64_t fn, uint64_t a, uint64_t b)
{
    register uint64_t a0 __asm__("a0") = a, a1 __asm__("a1") = b, a6 __asm__("a6") = fn,
                         a7 __asm__("a7") = ext;

    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
}

static uint16_t read16(uintptr_t at)
{
    return *(volatile uint16_t *)at;
}

static void write16(uintptr_t at, uint16_t value)
{
    *(volatile uint16_t *)at = value;
}

static void print_number(uint64_t n)
{
    char text[21], *at = text + sizeof(text) - 1;

    *at = 0;
    do
        *--at = (char)('0' + n % 10);
    while (n /= 10);
    print(at);
}

void guest_trap(uint64_t cause, uint64_t hart)
{
    fail("trap", 0, cause);
}

void guest_hart(uint64_t hart, uint64_t opaque)
{
}

/* --- PCI and virtio --------------------------------------------------------------------------- */

static uintptr_t config_of(unsigned bus, unsigned slot)
{
    return ECAM + ((uintptr_t)bus << 20) + (slot << 15);
}

static uintptr_t next_capability(uintptr_t config, uintptr_t at)
{
    uint8_t next = read8(at ? at + 1 : config + 0x34);

    return next ? config + next : 0;
}

/* Gives all BARs addresses from *MEMORY on. */
static void place_bars(uintptr_t config, uint32_t *memory)
{
    for (unsigned i = 0; i < 6; i++) {
        uintptr_t at = config + 0x10 + 4 * i;
        write32(at, 0xffffffff);
        uint32_t mask = read32(at) & ~0xfu;
        if (!mask)
            continue;
        *memory = (*memory + ~mask) & mask;
        write32(at, *memory);
        *memory += ~mask + 1;
        if ((read32(at) & 6) == 4) {
            write32(at + 4, 0);
            i++;
        }
    }
}

static struct virtio virtio_of(uintptr_t config)
{
    struct virtio v = {0};

    for (uintptr_t at = next_capability(config, 0); at; at = next_capability(config, at)) {
        if (read8(at) != 9)
            continue;
        uintptr_t where = (read32(config + 0x10 + 4 * read8(at + 4)) & ~0xfu) + read32(at + 8);
        if (read8(at + 3) == COMMON)
            v.common = where;
        if (read8(at + 3) == NOTIFY) {
            v.notify = where;
            v.notify_by = read32(at + 16);
        }
    }
    return v;
}

static bool agree(const struct virtio *v)
{
    write8(v->common + 20, 0);
    for (uint64_t end = now() + 1000 * TICK; read8(v->common + 20) && now() < end;)
        continue;
    write8(v->common + 20, 3);
    write32(v->common + 8, 1);
    write32(v->common + 12, 1); /* VIRTIO_F_VERSION_1 */
    write32(v->common + 8, 0);
    write32(v->common + 12, 0);
    write8(v->common + 20, 11);
    return read8(v->common + 20) == 11;
}

/* --- the disk --------------------------------------------------------------------------------- */

static void start_disk(uintptr_t config)
{
    disk = virtio_of(config);
    write16(config + 4, 6);
    check(agree(&disk), 1);
    write16(disk.common + 22, 0);
    write16(disk.common + 24, QUEUE);
    write64(disk.common + 32, (uintptr_t)table);
    write64(disk.common + 40, (uintptr_t)avail);
    write64(disk.common + 48, (uintptr_t)used);
    write16(disk.common + 28, 1);
    write8(disk.common + 20, 15);
    has_disk = true;
}

static uint8_t pattern(unsigned i)
{
    return (uint8_t)(i * 7 + disk_turns * 13);
}

static void submit(void)
{
    request.type = !disk_reads;
    request.sector = disk_turns % 64;
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = disk_reads ? 0 : pattern(i);
    status = 0xff;
    table[0] = (struct descriptor){(uintptr_t)&request, 16, 1, 1};
    table[1] = (struct descriptor){(uintptr_t)data, sizeof(data), disk_reads ? 3 : 1, 2};
    table[2] = (struct descriptor){(uintptr_t)&status, 1, 2, 0};
    avail[2 + avail[1] % QUEUE] = 0;
    __asm__ volatile("fence rw, rw" ::: "memory");
    avail[1]++;
    __asm__ volatile("fence rw, rw" ::: "memory");
    write16(disk.notify + read16(disk.common + 30) * disk.notify_by, 0);
    disk_busy = true;
}

static void work_disk(void)
{
    if (disk_busy && (uint16_t)used[0] == 0 && (uint16_t)(used[0] >> 16) != disk_done) {
        disk_done++;
        disk_busy = false;
        check(status, 0);
        for (unsigned i = 0; disk_reads && i < sizeof(data); i++)
            check(data[i], pattern(i));
        disk_turns += disk_reads;
        disk_reads = !disk_reads;
    }
    if (!disk_busy)
        submit();
}

/* --- slots ------------------------------------------------------------------------------------ */

static void control(const struct port *p, unsigned bits)
{
    write16(p->express + SLOT_CONTROL, (uint16_t)(WATCH | bits));
}

static void switch_off(struct port *p, unsigned attention)
{
    p->on = false;
    control(p, OFF | LED_OFF | attention);
}

static void take(struct port *p)
{
    uintptr_t card = config_of(p->bus, 0);
    uint32_t memory = p->memory;

    if (mode == 'r') {
        switch_off(p, ATTENTION_ON);
        return;
    }
    p->on = true;
    control(p, LED_BLINK | ATTENTION_OFF);
    if (read16(card) != 0x1af4) {
        switch_off(p, ATTENTION_ON);
        return;
    }
    place_bars(card, &memory);
    write16(card + 4, 6);
    struct virtio v = virtio_of(card);
    for (unsigned i = mode == 'd' ? 2 : 1; i; i--) {
        if (v.common && agree(&v))
            write8(v.common + 20, 15);
    }
    control(p, LED_ON | ATTENTION_OFF);
}

static void let_go(struct port *p)
{
    uintptr_t card = config_of(p->bus, 0);

    control(p, LED_BLINK | ATTENTION_OFF);
    if (mode == 'r') {
        p->again = now() + 100 * TICK;
        return;
    }
    if (read16(card) == 0x1af4) {
        struct virtio v = virtio_of(card);
        if (v.common)
            write8(v.common + 20, 0);
        write16(card + 4, 0);
    }
    switch_off(p, ATTENTION_OFF);
    if (mode == 'd') {
        control(p, LED_BLINK | ATTENTION_OFF);
        switch_off(p, ATTENTION_OFF);
    }
}

static void handle(struct port *p)
{
    uint16_t events = p->events;
    bool present = read16(p->express + SLOT_STATUS) & PDS;

    p->events = 0;
    p->due = 0;
    if (mode == 'R')
        sbi(0x53525354, 0, 1, 0);
    if (mode == 'P')
        sbi(0x53525354, 0, 0, 0);
    if (mode == 'C')
        fail("told to", 0, 0);
    if (!present && p->on)
        switch_off(p, ATTENTION_OFF);
    else if (present && !p->on)
        take(p);
    else if (present && (events & (PDC | DLLSC))) { /* another card, and nobody saw the first go */
        switch_off(p, ATTENTION_OFF);
        take(p);
    } else if ((events & ABP) && p->on && mode != 'w')
        let_go(p);
}

static void look(struct port *p)
{
    uint16_t events = read16(p->express + SLOT_STATUS) & (ABP | PDC | DLLSC);

    if (mode == 's')
        return;
    if (events)
        write16(p->express + SLOT_STATUS, events);
    if (p->again && now() >= p->again) {
        p->again = 0;
        control(p, LED_ON | ATTENTION_OFF);
    }
    p->events |= events;
    if (p->events && !p->due)
        p->due = now() + (mode == 'l' ? 2000 * TICK : 0);
    if (p->due && now() >= p->due)
        handle(p);
}

static void add_port(uintptr_t config)
{
    struct port *p = &ports[n_ports];
    uint16_t block;

    check(n_ports < PORTS, 1);
    p->config = config;
    p->bus = (uint8_t)++n_ports;
    p->memory = PORT_MEM + p->bus * PORT_BYTES;
    block = (uint16_t)(p->memory >> 16);
    write8(config + 0x18, 0);
    write8(config + 0x1a, p->bus);
    write8(config + 0x19, p->bus);
    write16(config + 0x20, block);
    write16(config + 0x22, (uint16_t)(block + (PORT_BYTES >> 16) - 0x10));
    write16(config + 0x24, 0xfff1);
    write16(config + 0x26, 1);
    write16(config + 4, 6);
    for (uintptr_t at = next_capability(config, 0); at; at = next_capability(config, at)) {
        if (read8(at) == 0x10)
            p->express = at;
    }
    write16(p->express + SLOT_STATUS, ABP | PDC | DLLSC);
    if (read16(p->express + SLOT_STATUS) & PDS)
        take(p);
    else
        switch_off(p, ATTENTION_OFF);
}

static void search(void)
{
    uint32_t memory = ROOT_MEM;

    for (unsigned slot = 0; slot < 32; slot++) {
        uintptr_t config = config_of(0, slot);
        if (read16(config) == 0xffff)
            continue;
        if ((read8(config + 0x0e) & 0x7f) == 1) {
            add_port(config);
        } else {
            place_bars(config, &memory);
            if (read32(config) == 0x10421af4 && !has_disk)
                start_disk(config);
        }
    }
}

/* --- what it is told -------------------------------------------------------------------------- */

static void listen(void)
{
    char text[] = "mode ?\n";

    while (read8(UART + 5) & 1) {
        char c = (char)read8(UART);
        if (c == 'i') {
            print("turns ");
            print_number(disk_turns);
            print("\n");
        } else if (c > ' ') {
            mode = c;
            text[5] = c;
            print(text);
        }
    }
}

void guest_main(uint64_t hart, uint64_t fdt)
{
    search();
    print("ready\n");
    csr_set(sie, BIT(S_TIMER));
    for (uint64_t next = now();; next += TICK) {
        listen();
        for (unsigned i = 0; i < n_ports; i++)
            look(&ports[i]);
        if (has_disk)
            work_disk();
        if (next < now())
            next = now() + TICK;
        sbi(0x54494d45, 0, next, 0);
        __asm__ volatile("wfi" ::: "memory");
    }
}
