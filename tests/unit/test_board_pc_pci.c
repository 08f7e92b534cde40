/*
 * Interrupts of PCI devices on the pc machine, from a virtio device's used buffer to what the
 * accelerator is told: an input of the I/O APIC, or a message.
 */
#include "machine/boards/board.h"
#include "machine/boards/pc.h"
#include "machine/virtio/rng.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#define FREE_RAM     MIB(1)
#define MSIX_VECTOR  16 /* bytes of the table */
#define PIN_REG(pin) (0x10 + 2 * (pin))

struct pc_guest {
    struct guest g; /* its messages are those that the local APICs get */
    struct mem_map *ports;
    struct board *board;
    struct driver d;
    gpa_t buffer;
    bool gsi[24];
};

static void take_gsi(void *opaque, unsigned gsi, bool level)
{
    struct pc_guest *p = opaque;

    ck_assert_uint_lt(gsi, G_N_ELEMENTS(p->gsi));
    p->gsi[gsi] = level;
}

static void take_msi(void *opaque, uint64_t address, uint32_t data)
{
    struct pc_guest *p = opaque;

    p->g.messages++;
    p->g.message_address = address;
    p->g.message_data = data;
}

static void take_route(void *opaque, unsigned pin, bool used, uint64_t address, uint32_t data)
{
}

static void take_request(void *opaque, const struct board_request *request)
{
    ck_abort_msg("a request");
}

static const struct board_cpu_ops cpu_ops = {
    .gsi = take_gsi, .msi = take_msi, .route = take_route, .request = take_request};

/* What the serial port says does not matter. */
static size_t take_output(void *opaque, const uint8_t *data, size_t n)
{
    return n;
}

static const struct board_console_ops console_ops = {.output = take_output};

/* A pc with a source of entropy in SLOT, whose driver does not run yet. */
static void begin(struct pc_guest *p, unsigned slot, bool split)
{
    g_autoptr(GError) err = NULL;
    const struct board_file none = {.fd = -1};

    *p = (struct pc_guest){.g = {.ecam = PC_ECAM, .heap = FREE_RAM, .bars = PC_MEM32}};
    ck_assert_int_eq(uv_loop_init(&p->g.loop), 0);
    p->g.mem = mem_map_new();
    p->ports = mem_map_new();
    p->g.clock = vm_clock_new(0);
    const struct board_config config = {
        .isa = ISA_X86_64,
        .cpus = 1,
        .memory = MIB(64),
        .mem = p->g.mem,
        .ports = p->ports,
        .split_irqchip = split,
        .clock = p->g.clock,
        .loop = &p->g.loop,
        .kernel = none,
        .initrd = none,
        .firmware = none,
        .cpu_ops = &cpu_ops,
        .cpu_opaque = p,
        .console_ops = &console_ops,
        .console_opaque = p,
    };
    p->board = board_new(&config, &err);
    ck_assert_msg(p->board != NULL, "%s", err ? err->message : "");
    p->g.host = board_pci(p->board);
    struct virtio_env env = guest_env(&p->g);
    driver_attach(&p->d, &p->g, virtio_rng_new(&env), slot);
    p->buffer = guest_alloc(&p->g, 16, false);
}

static void end(struct pc_guest *p)
{
    driver_detach(&p->d);
    board_free(p->board);
    uv_run(&p->g.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&p->g.loop), 0);
    mem_map_free(p->g.mem);
    mem_map_free(p->ports);
    vm_clock_free(p->g.clock);
}

static void fill(struct pc_guest *p)
{
    const struct piece piece = {p->buffer, 16, true};

    ck_assert_uint_eq(driver_do(&p->d, 0, &piece, 1), 16);
}

static unsigned raised(const struct pc_guest *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(p->gsi); i++)
        n += p->gsi[i];
    return n;
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

/* --- INTx ------------------------------------------------------------------------------------- */

/* INTA of each slot, by the usual swizzle, on inputs 16 to 19. */
static const struct {
    unsigned slot, gsi;
} wires[] = {{1, 17}, {2, 18}, {3, 19}, {4, 16}, {31, 19}};

START_TEST(intx)
{
    struct pc_guest p;
    unsigned gsi = wires[_i].gsi;
    bool quiet = false;

    begin(&p, wires[_i].slot, false);
    driver_start(&p.d, 0, 1);
    ck_assert_uint_eq(raised(&p), 0);
    for (unsigned i = 0; i < 2; i++) {
        fill(&p);
        ck_assert_msg(p.gsi[gsi] && raised(&p) == 1, "slot %u, round %u", wires[_i].slot, i);
        guest_read(&p.g, p.d.isr, 1); /* takes the interrupt */
        ck_assert_uint_eq(raised(&p), 0);
    }
    fill(&p);
    ck_assert(p.gsi[gsi]);
    pci_host_quiesce(p.g.host, set_true, &quiet);
    guest_wait(&p.g, quiet);
    board_reset(p.board);
    ck_assert_uint_eq(raised(&p), 0);
    ck_assert_uint_eq(p.g.messages, 0);
    pci_host_resume(p.g.host);
    end(&p);
}
END_TEST

/* The machine's own I/O APIC makes a message of it, once an EOI while the line is up. */
START_TEST(intx_split)
{
    struct pc_guest p;
    unsigned pin = 18;

    begin(&p, 2, true);
    driver_start(&p.d, 0, 1);
    guest_write(&p.g, PC_IOAPIC, 4, PIN_REG(pin) + 1);
    guest_write(&p.g, PC_IOAPIC + 0x10, 4, 5u << 24); /* to APIC 5 */
    guest_write(&p.g, PC_IOAPIC, 4, PIN_REG(pin));
    guest_write(&p.g, PC_IOAPIC + 0x10, 4, 1 << 15 | 0x61); /* a level, to vector 0x61 */
    ck_assert_uint_eq(p.g.messages, 0);
    fill(&p);
    ck_assert_uint_eq(p.g.messages, 1);
    ck_assert_uint_eq(p.g.message_address, 0xfee05000);
    ck_assert_uint_eq(p.g.message_data & 0xff, 0x61);
    board_eoi(p.board, 0x61);
    ck_assert_uint_eq(p.g.messages, 2);
    guest_read(&p.g, p.d.isr, 1);
    board_eoi(p.board, 0x61);
    ck_assert_uint_eq(p.g.messages, 2);
    ck_assert_uint_eq(raised(&p), 0); /* the accelerator has no I/O APIC to drive */
    end(&p);
}
END_TEST

/* --- MSI-X ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    uint64_t address;
    uint32_t data;
    bool delivered;
} messages[] = {
    {"fixed, physical", 0xfee00000, 0x0041, true},
    {"another APIC, logical, level", 0xfee7f00c, 0xc1fe, true},
    {"the last address", 0xfeeffffc, 0x0030, true},
    {"below the local APICs", 0xfedffffc, 0x0041, false},
    {"above them", 0xfef00000, 0x0041, false},
    {"beyond 4 GiB", 0x1fee00000, 0x0041, false},
};

static gpa_t msix_table(struct pc_guest *p)
{
    unsigned slot = p->d.slot, cap = guest_capability(&p->g, slot, PCI_CAP_ID_MSIX, 0);

    ck_assert_uint_ne(cap, 0);
    guest_config_write(&p->g, slot, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    uint32_t where = guest_config_read(&p->g, slot, cap + PCI_MSIX_TABLE, 4);
    uint32_t bar = guest_config_read(&p->g, slot, PCI_BASE_ADDRESS_0 + 4 * (where & 7), 4);
    return (bar & ~15u) + (where & ~7u);
}

START_TEST(msix)
{
    struct pc_guest p;

    begin(&p, 2, false);
    gpa_t vector = msix_table(&p) + MSIX_VECTOR; /* vector 1: driver_queue() gives it to queue 0 */
    guest_write(&p.g, vector, 8, messages[_i].address);
    guest_write(&p.g, vector + 8, 4, messages[_i].data);
    guest_write(&p.g, vector + 12, 4, 0);
    driver_start(&p.d, 0, 1);
    fill(&p);
    fill(&p);
    ck_assert_msg(p.g.messages == (messages[_i].delivered ? 2 : 0), "%s: %u messages",
                  messages[_i].name, p.g.messages);
    if (messages[_i].delivered) {
        ck_assert_uint_eq(p.g.message_address, messages[_i].address);
        ck_assert_uint_eq(p.g.message_data, messages[_i].data);
    }
    ck_assert_uint_eq(raised(&p), 0);
    end(&p);
}
END_TEST

/* While the vector is masked the message waits. */
START_TEST(msix_masked)
{
    struct pc_guest p;

    begin(&p, 2, false);
    gpa_t vector = msix_table(&p) + MSIX_VECTOR;
    guest_write(&p.g, vector, 8, PC_LAPIC);
    guest_write(&p.g, vector + 8, 4, 0x55);
    driver_start(&p.d, 0, 1);
    fill(&p);
    fill(&p);
    ck_assert_uint_eq(p.g.messages, 0);
    guest_write(&p.g, vector + 12, 4, 0);
    ck_assert_uint_eq(p.g.messages, 1);
    ck_assert_uint_eq(p.g.message_data, 0x55);
    ck_assert_uint_eq(raised(&p), 0);
    end(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("board_pc_pci");
    TCase *tc = tcase_create("pc");

    tcase_add_loop_test(tc, intx, 0, G_N_ELEMENTS(wires));
    tcase_add_test(tc, intx_split);
    tcase_add_loop_test(tc, msix, 0, G_N_ELEMENTS(messages));
    tcase_add_test(tc, msix_masked);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
