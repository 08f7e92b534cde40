/*
 * Root ports and their slots: what a guest finds in them, the bus behind, and a small driver that
 * does with the slot's registers what pciehp does: cards come, are asked back, and are pulled out.
 */
#include "machine/bus/pci_port.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <linux/pci_regs.h>

#define SLOT    4               /* of the port on the root bus */
#define BUS(n)  ((n)*PCI_SLOTS) /* the "slot" of device 0 on bus N, for guest_config_read() */
#define NUMBER  7
#define SECOND  3 /* how the driver numbers the bus behind */
#define CAP     0x40
#define CONTROL (CAP + PCI_EXP_SLTCTL)
#define STATUS  (CAP + PCI_EXP_SLTSTA)
#define WINDOW  (GUEST_WINDOW + MIB(64))
#define BAR     (WINDOW + MIB(1))
#define TABLE   (WINDOW + MIB(2)) /* the card's MSI-X */
#define DRIVEN                                                                                     \
    (PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_DLLSCE |                           \
     PCI_EXP_SLTCTL_ATTN_IND_OFF)
#define IDLE     (DRIVEN | PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PCC)
#define IN_USE   (DRIVEN | PCI_EXP_SLTCTL_PWR_IND_ON)
#define CAME     (PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC)
#define PRESENT  PCI_EXP_SLTSTA_PDS
#define ALL_ONES UINT32_MAX

struct rig {
    struct guest g;
    struct pci_port *port;
    struct pci_function *card;
    unsigned changes, resets;
};

static void changed(void *opaque)
{
    ((struct rig *)opaque)->changes++;
}

static const struct pci_port_ops port_ops = {changed};

static void card_reset(void *opaque)
{
    ((struct rig *)opaque)->resets++;
}

static const struct pci_function_ops card_ops = {.reset = card_reset};

static int card_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = 0x600d;
    return 0;
}

static int card_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    return 0;
}

static const struct mem_device_ops card_bar = {
    .read = card_read, .write = card_write, .sizes = 1 | 2 | 4 | 8};

static struct pci_function *card_new(void *opaque)
{
    static const struct pci_id id = {
        .vendor = 0x1234, .device = 0x5678, .class_code = 0x020000, .intx = true};
    struct pci_function *fn = pci_function_new("card", &id, &card_ops, opaque);

    pci_function_add_bar(fn, 0, 0x1000, 0, "card-0", &card_bar, NULL);
    pci_function_add_bar(fn, 2, MIB(2), PCI_BAR_64 | PCI_BAR_PREFETCH, "card-2", &card_bar, NULL);
    pci_function_add_msix(fn, 4, 1);
    return fn;
}

static uint16_t get(struct rig *r, unsigned offset)
{
    return (uint16_t)guest_config_read(&r->g, SLOT, offset, 2);
}

static void set(struct rig *r, unsigned offset, uint16_t value)
{
    guest_config_write(&r->g, SLOT, offset, 2, value);
}

static struct pci_port_status status_of(struct rig *r)
{
    struct pci_port_status s;

    pci_port_status(r->port, &s);
    return s;
}

/* Reads the events and acknowledges them, as an interrupt handler does. */
static uint16_t take_events(struct rig *r)
{
    uint16_t events = get(r, STATUS) & (CAME | PCI_EXP_SLTSTA_ABP);

    set(r, STATUS, events);
    return events;
}

static void rig_init(struct rig *r, bool messages)
{
    g_autoptr(GError) err = NULL;

    *r = (struct rig){0};
    guest_init(&r->g, messages);
    r->port = pci_port_new(r->g.host, SLOT, NUMBER, &port_ops, r, &err);
    ck_assert_msg(r->port != NULL, "%s", err ? err->message : "");
    r->card = card_new(r);
}

static void rig_fini(struct rig *r)
{
    pci_port_withdraw(r->port);
    pci_function_free(r->card);
    pci_port_free(r->port);
    guest_fini(&r->g);
}

static void set_window(struct rig *r, unsigned base_at, uint64_t base, uint64_t limit)
{
    set(r, base_at, (uint16_t)(base >> 16));
    set(r, base_at + 2, (uint16_t)(limit >> 16));
}

/* As firmware or a kernel does it: bus numbers, windows, decoding. */
static void enumerate(struct rig *r)
{
    guest_config_write(&r->g, SLOT, PCI_PRIMARY_BUS, 4, SECOND << 16 | SECOND << 8);
    set_window(r, PCI_MEMORY_BASE, WINDOW, WINDOW + MIB(16) - 1);
    set_window(r, PCI_PREF_MEMORY_BASE, GIB(20) & UINT32_MAX, (GIB(20) & UINT32_MAX) + MIB(16) - 1);
    guest_config_write(&r->g, SLOT, PCI_PREF_BASE_UPPER32, 4, GIB(20) >> 32);
    guest_config_write(&r->g, SLOT, PCI_PREF_LIMIT_UPPER32, 4, GIB(20) >> 32);
    set(r, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* The driver's probe: the port's vector, nothing pending, an empty slot's power off. */
static void drive(struct rig *r)
{
    unsigned msix = guest_capability(&r->g, SLOT, PCI_CAP_ID_MSIX, 0);
    gpa_t table = GUEST_WINDOW + MIB(8);

    if (msix) {
        guest_config_write(&r->g, SLOT, PCI_BASE_ADDRESS_0, 4, (uint32_t)table);
        guest_write(&r->g, table, 4, 0xfee00000);
        guest_write(&r->g, table + 8, 4, 0xabc);
        guest_write(&r->g, table + 12, 4, 0);
        set(r, msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
    }
    take_events(r);
    set(r, CONTROL, get(r, STATUS) & PRESENT ? IN_USE : IDLE);
    r->g.messages = 0;
    r->changes = 0;
}

/* The driver sets up the card: BARs, memory decoding, its vector. */
static void set_up_card(struct rig *r, unsigned bus)
{
    unsigned slot = BUS(bus), msix = guest_capability(&r->g, slot, PCI_CAP_ID_MSIX, 0);

    guest_config_write(&r->g, slot, PCI_BASE_ADDRESS_0, 4, (uint32_t)BAR);
    guest_config_write(&r->g, slot, PCI_BASE_ADDRESS_4, 4, (uint32_t)TABLE);
    guest_config_write(&r->g, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    guest_write(&r->g, TABLE, 4, 0xfee01000);
    guest_write(&r->g, TABLE + 12, 4, 0);
    guest_config_write(&r->g, slot, msix + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static void insert(struct rig *r)
{
    g_autoptr(GError) err = NULL;

    ck_assert_msg(pci_port_insert(r->port, r->card, &err), "%s", err ? err->message : "");
}

/* Insertion until the driver has the card. */
static void bring_up(struct rig *r)
{
    insert(r);
    ck_assert_uint_eq(take_events(r), CAME);
    set(r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK);
    set_up_card(r, SECOND);
    set(r, CONTROL, IN_USE);
    r->g.messages = 0;
}

static uint32_t card_id(struct rig *r, unsigned bus)
{
    return guest_config_read(&r->g, BUS(bus), 0, 4);
}

static bool mapped(struct rig *r, gpa_t gpa)
{
    struct mem_view view;

    mem_map_lookup(r->g.mem, gpa, &view);
    return view.kind == MEM_DEVICE;
}

/* --- registers -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned offset, size;
    uint32_t initial, written, after;
} registers[] = {
    {"ids", 0x00, 4, 0x000c1b36, UINT32_MAX, 0x000c1b36},
    {"command", 0x04, 2, 0, 0xffff, 0x0546},
    {"class", 0x08, 4, 0x06040000, 0, 0x06040000},
    {"header type", 0x0e, 1, 1, 0xff, 1},
    {"the BAR of its vectors", 0x10, 4, 0, UINT32_MAX, 0xfffff000},
    {"no second BAR", 0x14, 4, 0, UINT32_MAX, 0},
    {"bus numbers", 0x18, 4, 0, UINT32_MAX, 0x00ffffff},
    {"no I/O window", 0x1c, 4, 0, UINT32_MAX, 0},
    {"memory window", 0x20, 4, 0, UINT32_MAX, 0xfff0fff0},
    {"prefetchable window", 0x24, 4, 0x00010001, UINT32_MAX, 0xfff1fff1},
    {"its upper base", 0x28, 4, 0, UINT32_MAX, UINT32_MAX},
    {"its upper limit", 0x2c, 4, 0, UINT32_MAX, UINT32_MAX},
    {"I/O upper halves", 0x30, 4, 0, UINT32_MAX, 0},
    {"interrupt pin", 0x3d, 1, 1, 0xff, 1},
    {"bridge control", 0x3e, 2, 0, 0xffff, 0x0043},
    {"capability", CAP, 4, 0x01427c10, 0, 0x01427c10},
    {"link capabilities", CAP + 0x0c, 4, 0x07500104, 0, 0x07500104},
    {"link control", CAP + 0x10, 2, 0, 0xffff, 0x00c3},
    {"link status", CAP + 0x12, 2, 0x1104, 0xffff, 0x1104},
    {"slot capabilities", CAP + 0x14, 4, NUMBER << 19 | 0x40c80 | 0x7b, 0,
     NUMBER << 19 | 0x40c80 | 0x7b},
    {"slot control", CAP + 0x18, 2, 0x03c0, 0xffff, 0x17e9},
    {"a reserved LED value", CAP + 0x18, 2, 0x03c0, 0, 0x03c0},
    {"slot status", CAP + 0x1a, 2, 0, 0xffff, 0},
    {"root control", CAP + 0x1c, 2, 0, 0xffff, 0x000f},
    {"link speeds", CAP + 0x2c, 4, 0x1e, UINT32_MAX, 0x1e},
};

START_TEST(register_rows)
{
    struct rig r;

    rig_init(&r, true);
    uint32_t got = guest_config_read(&r.g, SLOT, registers[_i].offset, registers[_i].size);
    ck_assert_msg(got == registers[_i].initial, "%s: reads %x", registers[_i].name, got);
    guest_config_write(&r.g, SLOT, registers[_i].offset, registers[_i].size, registers[_i].written);
    got = guest_config_read(&r.g, SLOT, registers[_i].offset, registers[_i].size);
    ck_assert_msg(got == registers[_i].after, "%s: then %x", registers[_i].name, got);
    rig_fini(&r);
}
END_TEST

START_TEST(refused)
{
    struct rig r;
    g_autoptr(GError) err = NULL;

    rig_init(&r, true);
    ck_assert_ptr_null(pci_port_new(r.g.host, SLOT, 8, NULL, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_EXISTS));
    g_clear_error(&err);
    ck_assert_ptr_null(pci_port_new(r.g.host, PCI_SLOTS, 8, NULL, NULL, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
    g_clear_error(&err);
    insert(&r);
    ck_assert_ptr_eq(pci_port_card(r.port), r.card);
    struct pci_function *second = card_new(&r);
    ck_assert(!pci_port_insert(r.port, second, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_EXISTS));
    pci_function_free(second);
    rig_fini(&r);
}
END_TEST

/* --- the bus behind --------------------------------------------------------------------------- */

/* A card of before the guest's start is there when the guest numbers the bus; nothing happened. */
START_TEST(there_from_the_start)
{
    struct rig r;

    rig_init(&r, true);
    insert(&r);
    ck_assert_uint_eq(card_id(&r, SECOND), ALL_ONES);
    ck_assert_uint_eq(get(&r, STATUS), PRESENT);
    ck_assert_uint_eq(get(&r, CAP + PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA, PCI_EXP_LNKSTA_DLLLA);
    ck_assert_int_eq(status_of(&r).power_led, PCI_LED_ON);
    enumerate(&r);
    ck_assert_uint_eq(card_id(&r, SECOND), 0x56781234);
    ck_assert_uint_eq(guest_config_read(&r.g, BUS(SECOND), PCI_HEADER_TYPE, 1), 0);
    for (unsigned i = 1; i < PCI_SLOTS * PCI_FUNCTIONS;
         i++) /* nothing else is at the end of a link */
        ck_assert_uint_eq(guest_read(&r.g, GUEST_ECAM + (SECOND << 20) + (i << 12), 4), ALL_ONES);
    set_up_card(&r, SECOND);
    ck_assert_uint_eq(guest_read(&r.g, BAR, 4), 0x600d);
    ck_assert(status_of(&r).configured && r.changes == 1);
    pci_function_msix_notify(r.card, 0);
    ck_assert_uint_eq(r.g.messages, 1);
    ck_assert_uint_eq(r.g.message_requester, SECOND << 8);
    rig_fini(&r);
}
END_TEST

START_TEST(renumbered)
{
    struct rig r;

    rig_init(&r, true);
    insert(&r);
    enumerate(&r);
    set_up_card(&r, SECOND);
    guest_config_write(&r.g, SLOT, PCI_SECONDARY_BUS, 1, 9); /* beyond the subordinate number */
    ck_assert_uint_eq(card_id(&r, 9), ALL_ONES);
    guest_config_write(&r.g, SLOT, PCI_SUBORDINATE_BUS, 1, 12);
    ck_assert_uint_eq(card_id(&r, SECOND), ALL_ONES);
    ck_assert_uint_eq(card_id(&r, 9), 0x56781234);
    ck_assert_uint_eq(card_id(&r, 10), ALL_ONES); /* nothing deeper */
    pci_function_msix_notify(r.card, 0);
    ck_assert_uint_eq(r.g.message_requester, 9 << 8);
    ck_assert_uint_eq(guest_read(&r.g, BAR, 4), 0x600d);
    rig_fini(&r);
}
END_TEST

/* Where BARs 0 (4 KiB) and 2 (2 MiB, 64 bits) are put, the port's windows, and which then answer.
 */
static const struct {
    const char *name;
    uint64_t bar0, bar2;
    uint64_t base, limit, pre_base, pre_limit;
    bool decode, zero, two;
} routes[] = {
    {"both inside", BAR, GIB(20), WINDOW, WINDOW + MIB(16) - 1, GIB(20), GIB(20) + MIB(2) - 1, true,
     true, true},
    {"no decoding by the port", BAR, GIB(20), WINDOW, WINDOW + MIB(16) - 1, GIB(20),
     GIB(20) + MIB(2) - 1, false, false, false},
    {"windows closed", BAR, GIB(20), WINDOW + MIB(1), WINDOW - 1, GIB(21), GIB(20) - 1, true, false,
     false},
    {"below", WINDOW - 0x1000, GIB(20), WINDOW, WINDOW + MIB(16) - 1, GIB(20) + MIB(2),
     GIB(20) + MIB(4) - 1, true, false, false},
    {"at the end", WINDOW + MIB(1) - 0x1000, GIB(20) + MIB(2), WINDOW, WINDOW + MIB(1) - 1, GIB(20),
     GIB(20) + MIB(4) - 1, true, true, true},
    {"above", WINDOW + MIB(1), GIB(20) + MIB(4), WINDOW, WINDOW + MIB(1) - 1, GIB(20),
     GIB(20) + MIB(4) - 1, true, false, false},
    {"the first half alone", BAR, GIB(20), WINDOW, WINDOW + MIB(16) - 1, GIB(20),
     GIB(20) + MIB(1) - 1, true, true, false},
    {"the second half alone", BAR, GIB(20), WINDOW, WINDOW + MIB(16) - 1, GIB(20) + MIB(1),
     GIB(20) + MIB(4) - 1, true, true, false},
    {"any BAR in any window", BAR, WINDOW + MIB(4), WINDOW + MIB(4), WINDOW + MIB(6) - 1, WINDOW,
     WINDOW + MIB(2) - 1, true, true, true},
    {"a window outside the host's", GIB(3), GIB(60), 0, GIB(4) - 1, 0, GIB(64) - 1, true, false,
     false},
};

START_TEST(route_rows)
{
    struct rig r;

    rig_init(&r, true);
    insert(&r);
    guest_config_write(&r.g, SLOT, PCI_PRIMARY_BUS, 4, SECOND << 16 | SECOND << 8);
    set(&r, PCI_COMMAND, routes[_i].decode ? PCI_COMMAND_MEMORY : 0);
    guest_config_write(&r.g, BUS(SECOND), PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    guest_config_write(&r.g, BUS(SECOND), 0x10, 4, (uint32_t)routes[_i].bar0);
    guest_config_write(&r.g, BUS(SECOND), 0x18, 4, (uint32_t)routes[_i].bar2);
    guest_config_write(&r.g, BUS(SECOND), 0x1c, 4, (uint32_t)(routes[_i].bar2 >> 32));
    set_window(&r, PCI_MEMORY_BASE, routes[_i].base, routes[_i].limit);
    set_window(&r, PCI_PREF_MEMORY_BASE, routes[_i].pre_base & UINT32_MAX,
               routes[_i].pre_limit & UINT32_MAX);
    guest_config_write(&r.g, SLOT, PCI_PREF_LIMIT_UPPER32, 4,
                       (uint32_t)(routes[_i].pre_limit >> 32));
    guest_config_write(&r.g, SLOT, PCI_PREF_BASE_UPPER32, 4, (uint32_t)(routes[_i].pre_base >> 32));
    ck_assert_msg(mapped(&r, routes[_i].bar0) == routes[_i].zero, "%s: BAR 0", routes[_i].name);
    ck_assert_msg(mapped(&r, routes[_i].bar2) == routes[_i].two, "%s: BAR 2", routes[_i].name);
    set(&r, PCI_COMMAND, 0);
    ck_assert(!mapped(&r, routes[_i].bar0) && !mapped(&r, routes[_i].bar2));
    rig_fini(&r);
}
END_TEST

START_TEST(intx_of_the_card)
{
    struct rig r;

    rig_init(&r, false);
    insert(&r);
    enumerate(&r);
    ck_assert_uint_eq(guest_config_read(&r.g, BUS(SECOND), PCI_INTERRUPT_PIN, 1), 1);
    pci_function_set_intx(r.card, true);
    ck_assert(r.g.line[pci_intx_line(SLOT, 1)]);
    pci_port_withdraw(r.port);
    ck_assert(!r.g.line[pci_intx_line(SLOT, 1)]);
    rig_fini(&r);
}
END_TEST

START_TEST(bus_reset)
{
    struct rig r;

    rig_init(&r, true);
    insert(&r);
    enumerate(&r);
    set_up_card(&r, SECOND);
    set(&r, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET);
    ck_assert_uint_eq(card_id(&r, SECOND), ALL_ONES);
    ck_assert(!mapped(&r, BAR) && !pci_function_master(r.card));
    set(&r, PCI_BRIDGE_CONTROL, 0);
    ck_assert_uint_eq(card_id(&r, SECOND), 0x56781234);
    ck_assert_uint_eq(guest_config_read(&r.g, BUS(SECOND), 0x10, 4), 0);
    rig_fini(&r);
}
END_TEST

START_TEST(sixteen_ports)
{
    struct guest g;
    struct pci_port *ports[16];
    struct pci_function *cards[16];

    guest_init(&g, true);
    for (unsigned i = 0; i < 16; i++) {
        ports[i] = pci_port_new(g.host, 8 + i, i + 1, NULL, NULL, NULL);
        cards[i] = card_new(NULL);
        ck_assert(pci_port_insert(ports[i], cards[i], NULL));
        guest_config_write(&g, 8 + i, PCI_PRIMARY_BUS, 4, (i + 1) << 16 | (i + 1) << 8);
        guest_config_write(&g, BUS(i + 1), PCI_INTERRUPT_LINE, 1, i);
    }
    for (unsigned i = 0; i < 16; i++)
        ck_assert_uint_eq(guest_config_read(&g, BUS(i + 1), PCI_INTERRUPT_LINE, 1), i);
    for (unsigned i = 0; i < 16; i++) {
        pci_port_withdraw(ports[i]);
        ck_assert_uint_eq(guest_config_read(&g, BUS(i + 1), 0, 4), ALL_ONES);
        pci_function_free(cards[i]);
        pci_port_free(ports[i]);
    }
    guest_fini(&g);
}
END_TEST

/* --- the slot --------------------------------------------------------------------------------- */

START_TEST(added)
{
    struct rig r;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    ck_assert(status_of(&r).driven && !status_of(&r).powered && !status_of(&r).occupied);
    insert(&r);
    ck_assert_uint_eq(r.g.messages, 1);
    ck_assert_uint_eq(r.g.message_requester, SLOT << 3);
    ck_assert_uint_eq(r.g.message_data, 0xabc);
    ck_assert_uint_eq(get(&r, STATUS), PRESENT | CAME);
    ck_assert_uint_eq(card_id(&r, SECOND), ALL_ONES); /* no power yet */
    ck_assert_uint_eq(take_events(&r), CAME);
    ck_assert_uint_eq(get(&r, STATUS), PRESENT);
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK);
    ck_assert(get(&r, CAP + PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA);
    ck_assert_uint_eq(card_id(&r, SECOND), 0x56781234);
    ck_assert(!status_of(&r).configured);
    set_up_card(&r, SECOND);
    set(&r, CONTROL, IN_USE);
    struct pci_port_status s = status_of(&r);
    ck_assert(s.occupied && s.powered && s.configured && s.power_led == PCI_LED_ON);
    ck_assert(s.attention_led == PCI_LED_OFF && s.power_offs == 0);
    ck_assert_uint_eq(r.g.messages, 1); /* switching power on is no event */
    rig_fini(&r);
}
END_TEST

START_TEST(asked_back)
{
    struct rig r;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    bring_up(&r);
    pci_port_press(r.port);
    ck_assert_uint_eq(r.g.messages, 1);
    ck_assert_uint_eq(take_events(&r), PCI_EXP_SLTSTA_ABP);
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK);
    ck_assert_int_eq(status_of(&r).power_led, PCI_LED_BLINK);
    pci_port_press(r.port); /* cancelled */
    ck_assert_uint_eq(take_events(&r), PCI_EXP_SLTSTA_ABP);
    set(&r, CONTROL, IN_USE);
    ck_assert(status_of(&r).powered && status_of(&r).power_offs == 0);
    pci_port_press(r.port);
    ck_assert_uint_eq(take_events(&r), PCI_EXP_SLTSTA_ABP);
    r.changes = 0;
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK | PCI_EXP_SLTCTL_PCC);
    ck_assert(r.changes == 1 && status_of(&r).power_offs == 1 && !status_of(&r).powered);
    ck_assert_uint_eq(card_id(&r, SECOND), ALL_ONES);
    ck_assert(!mapped(&r, BAR) && !pci_function_master(r.card));
    pci_port_withdraw(r.port);
    set(&r, CONTROL, IDLE);
    ck_assert_uint_eq(get(&r, STATUS), 0); /* it knows */
    ck_assert_uint_eq(r.g.messages, 3);
    bring_up(&r); /* and once more, the same card */
    ck_assert_uint_eq(status_of(&r).power_offs, 0);
    rig_fini(&r);
}
END_TEST

START_TEST(pulled_out)
{
    struct rig r;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    bring_up(&r);
    pci_port_withdraw(r.port);
    ck_assert_uint_eq(card_id(&r, SECOND), ALL_ONES);
    ck_assert_uint_eq(guest_read(&r.g, BAR, 4), 0); /* a driver's last look harms nobody */
    guest_write(&r.g, BAR, 4, 1);
    ck_assert_uint_eq(r.g.messages, 1);
    ck_assert_uint_eq(get(&r, STATUS), CAME);
    ck_assert(!(get(&r, CAP + PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA));
    pci_port_withdraw(r.port); /* nothing more comes */
    ck_assert_uint_eq(r.g.messages, 1);
    ck_assert(!status_of(&r).occupied);
    rig_fini(&r);
}
END_TEST

/* Between a power-off and its LED a driver is deaf: the next card is told of after that. */
START_TEST(too_early)
{
    struct rig r;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    bring_up(&r);
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK | PCI_EXP_SLTCTL_PCC);
    pci_port_withdraw(r.port);
    insert(&r);
    ck_assert(r.g.messages == 0 && get(&r, STATUS) == PRESENT);
    set(&r, CONTROL, IDLE);
    ck_assert(r.g.messages == 1 && take_events(&r) == CAME);
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK | PCI_EXP_SLTCTL_PCC);
    pci_port_withdraw(r.port);
    take_events(&r);
    insert(&r);
    pci_port_withdraw(r.port); /* it never heard of that one */
    set(&r, CONTROL, IDLE);
    ck_assert_uint_eq(get(&r, STATUS), 0);
    rig_fini(&r);
}
END_TEST

/* Another card comes before the guest has dealt with one that was pulled out. */
START_TEST(swapped)
{
    struct rig r;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    bring_up(&r);
    pci_port_withdraw(r.port);
    insert(&r);
    ck_assert_uint_eq(r.g.messages, 2);
    ck_assert_uint_eq(take_events(&r), CAME);
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_ON | PCI_EXP_SLTCTL_PCC);
    ck_assert(status_of(&r).power_offs == 0 && !status_of(&r).powered); /* that was the other's */
    set(&r, CONTROL, IDLE);
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK);
    set_up_card(&r, SECOND);
    set(&r, CONTROL, IN_USE | PCI_EXP_SLTCTL_PCC);
    ck_assert_uint_eq(status_of(&r).power_offs, 1);
    rig_fini(&r);
}
END_TEST

START_TEST(events_wait)
{
    struct rig r;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    set(&r, CONTROL, IDLE & ~PCI_EXP_SLTCTL_HPIE);
    insert(&r);
    pci_port_press(r.port);
    ck_assert_uint_eq(r.g.messages, 0);
    ck_assert(!status_of(&r).driven);
    set(&r, CONTROL, IDLE);
    ck_assert_uint_eq(r.g.messages, 1); /* on its rise */
    set(&r, STATUS, PCI_EXP_SLTSTA_ABP);
    ck_assert_uint_eq(r.g.messages, 1);
    pci_port_press(r.port); /* one joins those that wait */
    ck_assert_uint_eq(r.g.messages, 2);
    ck_assert_uint_eq(get(&r, STATUS), PRESENT | CAME | PCI_EXP_SLTSTA_ABP);
    set(&r, STATUS, 0); /* zeros clear nothing */
    ck_assert_uint_eq(take_events(&r), CAME | PCI_EXP_SLTSTA_ABP);
    set(&r, CONTROL, IDLE & ~PCI_EXP_SLTCTL_ABPE);
    pci_port_press(r.port);
    ck_assert_uint_eq(r.g.messages, 2);
    rig_fini(&r);
}
END_TEST

START_TEST(events_by_line)
{
    struct rig r;
    unsigned line = pci_intx_line(SLOT, 1);

    rig_init(&r, false);
    enumerate(&r);
    drive(&r);
    insert(&r);
    ck_assert(r.g.line[line]);
    set(&r, STATUS, PCI_EXP_SLTSTA_PDC);
    ck_assert(r.g.line[line]);
    set(&r, STATUS, PCI_EXP_SLTSTA_DLLSC);
    ck_assert(!r.g.line[line]);
    pci_port_press(r.port);
    ck_assert(r.g.line[line]);
    set(&r, CONTROL, IDLE & ~PCI_EXP_SLTCTL_HPIE);
    ck_assert(!r.g.line[line]);
    rig_fini(&r);
}
END_TEST

/* --- reset and saved state -------------------------------------------------------------------- */

START_TEST(reset_with_a_card)
{
    struct rig r;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    bring_up(&r);
    set(&r, CONTROL, DRIVEN | PCI_EXP_SLTCTL_PWR_IND_BLINK | PCI_EXP_SLTCTL_PCC);
    pci_host_reset(r.g.host);
    struct pci_port_status s = status_of(&r);
    ck_assert(s.occupied && s.powered && !s.driven && !s.configured && s.power_offs == 1);
    ck_assert(s.power_led == PCI_LED_ON && r.resets == 1);
    ck_assert_uint_eq(get(&r, STATUS), PRESENT);
    ck_assert_uint_eq(card_id(&r, SECOND), ALL_ONES);
    enumerate(&r);
    drive(&r);
    set_up_card(&r, SECOND);
    ck_assert(status_of(&r).configured && guest_read(&r.g, BAR, 4) == 0x600d);
    rig_fini(&r);
}
END_TEST

START_TEST(state_roundtrip)
{
    struct rig r;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    rig_init(&r, true);
    enumerate(&r);
    drive(&r);
    bring_up(&r);
    pci_port_press(r.port); /* not taken yet */
    pci_host_save(r.g.host, saved);
    pci_host_reset(r.g.host);
    ck_assert_msg(pci_host_load(r.g.host, saved->data, saved->len, &used, &err), "%s",
                  err ? err->message : "");
    ck_assert_uint_eq(used, saved->len);
    pci_host_save(r.g.host, again);
    ck_assert_uint_eq(saved->len, again->len);
    ck_assert_mem_eq(saved->data, again->data, saved->len);
    ck_assert(status_of(&r).driven && status_of(&r).configured &&
              guest_read(&r.g, BAR, 4) == 0x600d);
    ck_assert_uint_eq(get(&r, STATUS), PRESENT | PCI_EXP_SLTSTA_ABP);
    pci_function_msix_notify(r.card, 0);
    ck_assert_uint_eq(r.g.message_requester, SECOND << 8);
    for (guint cut = 0; cut < saved->len; cut += 1 + saved->len / 300) {
        g_clear_error(&err);
        ck_assert(!pci_host_load(r.g.host, saved->data, cut, &used, &err));
        ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
        pci_host_reset(r.g.host);
    }
    pci_port_withdraw(r.port); /* not without the card */
    g_clear_error(&err);
    ck_assert(!pci_host_load(r.g.host, saved->data, saved->len, &used, &err));
    rig_fini(&r);
}
END_TEST

static void count_one(void *opaque, struct pci_function *fn, unsigned slot, unsigned function)
{
    *(unsigned *)opaque += slot * 10 + function;
}

static void quiet(void *opaque)
{
    ++*(unsigned *)opaque;
}

START_TEST(walks_reach_the_card)
{
    struct rig r;
    unsigned sum = 0, quiets = 0;

    rig_init(&r, true);
    pci_host_each(r.g.host, count_one, &sum);
    ck_assert_uint_eq(sum, SLOT * 10);
    insert(&r);
    pci_host_each(r.g.host, count_one, &sum);
    ck_assert_uint_eq(sum, 3 * SLOT * 10);
    pci_host_quiesce(r.g.host, quiet, &quiets);
    ck_assert_uint_eq(quiets, 1);
    pci_host_resume(r.g.host);
    ck_assert_int_eq(pci_host_free_slot(r.g.host), 1);
    rig_fini(&r);
}
END_TEST

/* Any write to port and card, with cards that come and go: no harm, and the masks hold. */
START_TEST(garbage)
{
    struct rig r;
    g_autoptr(GRand) rand = g_rand_new_with_seed(42);

    rig_init(&r, true);
    enumerate(&r);
    for (unsigned i = 0; i < 50000; i++) {
        unsigned size = 1u << g_rand_int_range(rand, 0, 4);
        unsigned offset = (unsigned)g_rand_int_range(rand, 0, i & 1 ? 256 : 64) & ~(size - 1);
        unsigned bus = i & 2 ? (unsigned)g_rand_int_range(rand, 0, 64) : 0;
        gpa_t at = GUEST_ECAM + ((uint64_t)bus << 20) + (bus ? 0 : SLOT << 15) + offset;
        guest_write(&r.g, at, size, (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand));
        if (i % 16 == 0 && pci_port_card(r.port))
            pci_port_withdraw(r.port);
        else if (i % 16 == 8)
            insert(&r);
        if (i % 16 == 4)
            pci_port_press(r.port);
    }
    ck_assert_uint_eq(guest_config_read(&r.g, SLOT, 0, 4), 0x000c1b36);
    rig_fini(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pci_port");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, register_rows, 0, G_N_ELEMENTS(registers));
    tcase_add_test(tc, refused);
    tcase_add_test(tc, there_from_the_start);
    tcase_add_test(tc, renumbered);
    tcase_add_loop_test(tc, route_rows, 0, G_N_ELEMENTS(routes));
    tcase_add_test(tc, intx_of_the_card);
    tcase_add_test(tc, bus_reset);
    tcase_add_test(tc, sixteen_ports);
    tcase_add_test(tc, added);
    tcase_add_test(tc, asked_back);
    tcase_add_test(tc, pulled_out);
    tcase_add_test(tc, too_early);
    tcase_add_test(tc, swapped);
    tcase_add_test(tc, events_wait);
    tcase_add_test(tc, events_by_line);
    tcase_add_test(tc, reset_with_a_card);
    tcase_add_test(tc, state_roundtrip);
    tcase_add_test(tc, walks_reach_the_card);
    tcase_add_test(tc, garbage);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
