/*
 * A guest whose driver watches PCI Express slots, and which does as it is told by letters on the
 * serial port. A card that comes is given its BARs and a driver that sets DRIVER_OK; one that is
 * asked back is let go of. Meanwhile a disk that is there from the start is written and read back
 * without pause, where there is one; a GPU that comes is used without pause too (gpu.h). What differs
 * between machines is in machine.h.
 *
 *   n   does as it should
 *   s   does nothing, whatever happens at the slots
 *   l   answers after two seconds
 *   r   refuses: attention indicator on; a button has it blink, and go on
 *   d   answers everything twice
 *   w   takes cards, and does not hear the button
 *   R   reboots at the next event; C crashes at it; P powers off at it
 *   u   as n, and uses what it takes: a disk's first sector gets a pattern and is flushed, a
 *       network sends a frame, a console a line, and of random numbers some come; it says so
 *   i   tells how many sectors were written and read back
 *   j   tells how many fills, or launches, the GPU made
 *   k   has the next GPU run kernels
 */
#include "tests/hotplug/machine.h"

#include "tests/hotplug/gpu.h"

#define PORT_BYTES 0x00200000u
/* The first ports have a window for a large prefetchable BAR. */
#define LARGE_MEM   (PORT_MEM + 0x04000000u)
#define LARGE_BYTES 0x04000000u

enum { PORTS = 8, LARGE_PORTS = 4, COMMON = 1, NOTIFY, QUEUE = 4 };
enum { SLOT_CAPABILITIES = 0x14, SLOT_CONTROL = 0x18, SLOT_STATUS = 0x1a };
enum { ABP = 1, PDC = 8, PDS = 0x40, DLLSC = 0x100 };
enum { WATCH = 0x1021, OFF = 0x400, LED_ON = 0x100, LED_BLINK = 0x200, LED_OFF = 0x300 };
enum { ATTENTION_ON = 0x40, ATTENTION_OFF = 0xc0 };
enum { PREFETCHABLE = 8 }; /* of a BAR */

struct port {
    uintptr_t config, express;
    uint32_t memory, large; /* where BARs go; LARGE 0: there is no such window */
    uint8_t bus;
    bool on, is_gpu;
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

/* A queue with one request at a time, whose descriptors begin at the first. */
struct queue {
    struct descriptor table[QUEUE] __attribute__((aligned(64)));
    volatile uint16_t avail[2 + QUEUE + 1] __attribute__((aligned(64)));
    volatile uint32_t used[1 + 2 * QUEUE + 1] __attribute__((aligned(64)));
    uintptr_t bell;
    uint16_t number, done;
};

/* What a request to a disk is. */
struct sector {
    struct {
        uint32_t type, reserved;
        uint64_t sector;
    } request __attribute__((aligned(64)));
    uint8_t data[512] __attribute__((aligned(64)));
    volatile uint8_t status;
};

enum { WRITES = 2, MORE = 1 }; /* of a descriptor: the device writes it; another follows */
enum { READ, WRITE, FLUSH = 4 };

static struct port ports[PORTS];
static unsigned n_ports;
static char mode = 'n';

static struct queue disk_queue, card_queue;
static struct sector disk_sector, card_sector;
static uint8_t card_data[64] __attribute__((aligned(64)));
static struct virtio disk;
static bool has_disk, disk_busy, disk_reads;
static uint64_t disk_turns;

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

/* Gives all BARs addresses from *MEMORY on, prefetchable ones from LARGE on, where that is not 0. */
static void place_bars(uintptr_t config, uint32_t *memory, uint32_t large)
{
    for (unsigned i = 0; i < 6; i++) {
        uintptr_t at = config + 0x10 + 4 * i;
        write32(at, 0xffffffff);
        uint32_t mask = read32(at) & ~0xfu;
        if (!mask)
            continue;
        uint32_t *from = large && (read32(at) & PREFETCHABLE) ? &large : memory;
        *from = (*from + ~mask) & mask;
        write32(at, *from);
        *from += ~mask + 1;
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
    for (uint64_t end = machine_ms() + 1000; read8(v->common + 20) && machine_ms() < end;)
        continue;
    write8(v->common + 20, 3);
    write32(v->common + 8, 1);
    write32(v->common + 12, 1); /* VIRTIO_F_VERSION_1 */
    write32(v->common + 8, 0);
    write32(v->common + 12, 0);
    write8(v->common + 20, 11);
    return read8(v->common + 20) == 11;
}

/* Between agree() and DRIVER_OK. */
static void start_queue(const struct virtio *v, unsigned number, struct queue *q)
{
    q->number = (uint16_t)number;
    q->done = 0;
    q->avail[0] = q->avail[1] = 0;
    q->used[0] = 0;
    write16(v->common + 22, q->number);
    write16(v->common + 24, QUEUE);
    write64(v->common + 32, (uintptr_t)q->table);
    write64(v->common + 40, (uintptr_t)q->avail);
    write64(v->common + 48, (uintptr_t)q->used);
    write16(v->common + 28, 1);
    q->bell = v->notify + read16(v->common + 30) * v->notify_by;
}

static void set(struct queue *q, unsigned i, const volatile void *at, uint32_t length,
                uint16_t flags)
{
    q->table[i] = (struct descriptor){(uintptr_t)at, length, flags, (uint16_t)(i + 1)};
}

static void submit(struct queue *q)
{
    q->avail[2 + q->avail[1] % QUEUE] = 0;
    machine_fence();
    q->avail[1]++;
    machine_fence();
    write16(q->bell, q->number);
}

/* Whether the request is done, which is told once. */
static bool is_done(struct queue *q)
{
    if ((uint16_t)(q->used[0] >> 16) == q->done)
        return false;
    q->done++;
    machine_fence();
    return true;
}

static bool finish(struct queue *q)
{
    uint64_t end = machine_ms() + 5000;

    submit(q);
    while (machine_ms() < end) {
        if (is_done(q))
            return true;
    }
    return false;
}

static void set_sector(struct queue *q, struct sector *s, uint32_t type, uint64_t sector)
{
    s->request.type = type;
    s->request.reserved = 0;
    s->request.sector = sector;
    s->status = 0xff;
    set(q, 0, &s->request, 16, MORE);
    if (type != FLUSH)
        set(q, 1, s->data, sizeof(s->data), type == READ ? MORE | WRITES : MORE);
    set(q, type == FLUSH ? 1 : 2, &s->status, 1, WRITES);
}

/* --- the disk --------------------------------------------------------------------------------- */

static void start_disk(uintptr_t config)
{
    disk = virtio_of(config);
    write16(config + 4, 6);
    check(agree(&disk), 1);
    start_queue(&disk, 0, &disk_queue);
    write8(disk.common + 20, 15);
    has_disk = true;
}

static uint8_t pattern(unsigned i)
{
    return (uint8_t)(i * 7 + disk_turns * 13);
}

static void submit_sector(void)
{
    for (unsigned i = 0; i < sizeof(disk_sector.data); i++)
        disk_sector.data[i] = disk_reads ? 0 : pattern(i);
    set_sector(&disk_queue, &disk_sector, disk_reads ? READ : WRITE, disk_turns % 64);
    submit(&disk_queue);
    disk_busy = true;
}

static void work_disk(void)
{
    if (disk_busy && is_done(&disk_queue)) {
        disk_busy = false;
        check(disk_sector.status, 0);
        for (unsigned i = 0; disk_reads && i < sizeof(disk_sector.data); i++)
            check(disk_sector.data[i], pattern(i));
        disk_turns += disk_reads;
        disk_reads = !disk_reads;
    }
    if (!disk_busy)
        submit_sector();
}

/* --- what came is used ------------------------------------------------------------------------ */

static bool use_disk(struct queue *q)
{
    struct sector *s = &card_sector;

    for (unsigned i = 0; i < sizeof(s->data); i++)
        s->data[i] = (uint8_t)(i * 3 + 1);
    set_sector(q, s, WRITE, 0);
    if (!finish(q) || s->status)
        return false;
    set_sector(q, s, FLUSH, 0);
    return finish(q) && !s->status;
}

/* A frame to everybody, of a type for experiments. The header of virtio is zeros. */
static bool use_net(struct queue *q)
{
    enum { HEADER = 12, FRAME = 60, TYPE = HEADER + 12 };
    static uint8_t frame[HEADER + FRAME];

    for (unsigned i = HEADER; i < TYPE; i++)
        frame[i] = i < HEADER + 6 ? 0xff : (uint8_t)i & 0xfe;
    frame[TYPE] = 0x88;
    frame[TYPE + 1] = 0xb5;
    set(q, 0, frame, sizeof(frame), 0);
    return finish(q);
}

static bool use_console(struct queue *q)
{
    static const char line[] = "a line by a hot console\n";

    set(q, 0, line, sizeof(line) - 1, 0);
    return finish(q);
}

static bool use_rng(struct queue *q)
{
    unsigned ones = 0;

    set(q, 0, card_data, sizeof(card_data), WRITES);
    if (!finish(q))
        return false;
    for (unsigned i = 0; i < sizeof(card_data); i++)
        ones += card_data[i] & 1;
    return ones > 8 && ones < 56;
}

/* By the type of a virtio device: its name, which queue takes what is sent, how it is used. */
static const struct use {
    const char *name;
    unsigned queue;
    bool (*use)(struct queue *q);
} uses[] = {
    [1] = {"net", 1, use_net},
    [2] = {"disk", 0, use_disk},
    [3] = {"console", 1, use_console},
    [4] = {"rng", 0, use_rng},
};

/* How CARD is used; NULL: not. */
static const struct use *use_of(uintptr_t card)
{
    unsigned type = read16(card + 2) - 0x1040u;

    return mode == 'u' && type < sizeof(uses) / sizeof(*uses) && uses[type].use ? &uses[type] : 0;
}

static void use_card(const struct use *use)
{
    print(use->use(&card_queue) ? "used " : "could not use ");
    print(use->name);
    print("\n");
}

/* --- slots ------------------------------------------------------------------------------------ */

static void control(const struct port *p, unsigned bits)
{
    write16(p->express + SLOT_CONTROL, (uint16_t)(WATCH | bits));
}

static void switch_off(struct port *p, unsigned attention)
{
    p->on = false;
    if (p->is_gpu)
        gpu_gone();
    p->is_gpu = false;
    control(p, OFF | LED_OFF | attention);
}

static bool attach_gpu(struct port *p, uintptr_t card)
{
    uint32_t memory = p->memory;

    place_bars(card, &memory, p->large);
    write16(card + 4, 2);
    gpu_begin(read32(card + 0x10) & ~0xfu, read32(card + 0x18) & ~0xfu);
    p->is_gpu = true;
    return true;
}

/* Whether there is a card, which has a driver now. */
static bool attach(struct port *p)
{
    uintptr_t card = config_of(p->bus, 0);
    uint32_t memory = p->memory;

    if (read32(card) == (GPU_PCI_VENDOR | GPU_PCI_DEVICE << 16))
        return attach_gpu(p, card);
    if (read16(card) != 0x1af4)
        return false;
    place_bars(card, &memory, p->large);
    write16(card + 4, 6);
    struct virtio v = virtio_of(card);
    const struct use *use = use_of(card);
    for (unsigned i = mode == 'd' ? 2 : 1; i; i--) {
        if (!v.common || !agree(&v))
            continue;
        if (use)
            start_queue(&v, use->queue, &card_queue);
        write8(v.common + 20, 15);
        if (use)
            use_card(use);
    }
    return true;
}

static void detach(const struct port *p)
{
    uintptr_t card = config_of(p->bus, 0);

    if (read16(card) != 0x1af4)
        return;
    struct virtio v = virtio_of(card);
    if (v.common)
        write8(v.common + 20, 0);
    write16(card + 4, 0);
}

static void take(struct port *p)
{
    if (mode == 'r') {
        switch_off(p, ATTENTION_ON);
        return;
    }
    p->on = true;
    control(p, LED_BLINK | ATTENTION_OFF);
    if (attach(p))
        control(p, LED_ON | ATTENTION_OFF);
    else
        switch_off(p, ATTENTION_ON);
}

static void let_go(struct port *p)
{
    control(p, LED_BLINK | ATTENTION_OFF);
    if (mode == 'r') {
        p->again = machine_ms() + 100;
        return;
    }
    detach(p);
    switch_off(p, ATTENTION_OFF);
    if (mode == 'd') {
        control(p, LED_BLINK | ATTENTION_OFF);
        switch_off(p, ATTENTION_OFF);
    }
}

/* By its slot's number, where ACPI tells of it. */
static struct port *port_of(unsigned number)
{
    for (unsigned i = 0; i < n_ports; i++) {
        if (read32(ports[i].express + SLOT_CAPABILITIES) >> 19 == number)
            return &ports[i];
    }
    fail(__FILE__, __LINE__, number);
    return 0;
}

void guest_check(unsigned number)
{
    struct port *p = port_of(number);

    p->on = attach(p);
}

void guest_detach(unsigned number)
{
    struct port *p = port_of(number);

    detach(p);
    p->on = false;
}

static void handle(struct port *p)
{
    uint16_t events = p->events;
    bool present = read16(p->express + SLOT_STATUS) & PDS;

    p->events = 0;
    p->due = 0;
    if (mode == 'R' || mode == 'P' || mode == 'C')
        machine_end(mode);
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

    if (mode == 's' || machine_by_acpi())
        return;
    if (events)
        write16(p->express + SLOT_STATUS, events);
    if (p->again && machine_ms() >= p->again) {
        p->again = 0;
        control(p, LED_ON | ATTENTION_OFF);
    }
    p->events |= events;
    if (p->events && !p->due)
        p->due = machine_ms() + (mode == 'l' ? 2000 : 0);
    if (p->due && machine_ms() >= p->due)
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
    p->large = p->bus <= LARGE_PORTS ? LARGE_MEM + (p->bus - 1u) * LARGE_BYTES : 0;
    write16(config + 0x24, p->large ? (uint16_t)(p->large >> 16 | 1) : 0xfff1);
    write16(config + 0x26, p->large ? (uint16_t)((p->large + LARGE_BYTES - 1) >> 16 | 1) : 1);
    write16(config + 4, 6);
    for (uintptr_t at = next_capability(config, 0); at; at = next_capability(config, at)) {
        if (read8(at) == 0x10)
            p->express = at;
    }
    if (machine_by_acpi()) {
        p->on = attach(p);
        return;
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
            place_bars(config, &memory, 0);
            if (read32(config) == 0x10421af4 && !has_disk)
                start_disk(config);
        }
    }
}

/* --- what it is told -------------------------------------------------------------------------- */

static void listen(void)
{
    char text[] = "mode ?\n";

    for (int c; (c = machine_hear()) >= 0;) {
        if (c == 'i') {
            print("turns ");
            print_number(disk_turns);
            print("\n");
        } else if (c == 'k') {
            gpu.kernels = true;
            print("kernels\n");
        } else if (c == 'j') {
            print("fills ");
            print_number(gpu.turns);
            print("\n");
        } else if (!machine_told((char)c) && c > ' ') {
            mode = (char)c;
            text[5] = (char)c;
            print(text);
        }
    }
}

void guest(void)
{
    machine_start();
    search();
    print("ready\n");
    for (uint64_t next = machine_ms();; next++) {
        listen();
        for (unsigned i = 0; i < n_ports; i++)
            look(&ports[i]);
        machine_look(mode);
        if (has_disk)
            work_disk();
        gpu_work();
        if (next < machine_ms())
            next = machine_ms() + 1;
        machine_sleep(next);
    }
}
