/*
 * PCI: what a guest finds and may change in configuration space, BARs that follow it, INTx lines,
 * MSI-X, slots at run time, reset and saved state.
 */
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <linux/pci_regs.h>

struct toy {
    struct pci_function *fn;
    unsigned bar; /* which BAR was written last */
    uint64_t offset, value;
    unsigned resets, masters;
};

static int toy_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = offset + 1;
    return 0;
}

static int toy_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct toy *toy = opaque;

    toy->offset = offset;
    toy->value = value;
    return 0;
}

static const struct mem_device_ops toy_bar = {.read = toy_read, .write = toy_write, .sizes = 4};

static void toy_reset(void *opaque)
{
    ((struct toy *)opaque)->resets++;
}

static void toy_master(void *opaque, bool on)
{
    ((struct toy *)opaque)->masters += on;
}

static const struct pci_function_ops toy_ops = {.reset = toy_reset, .master_changed = toy_master};

static const struct pci_id toy_id = {
    .vendor = 0x1234,
    .device = 0x5678,
    .subsystem_vendor = 0x9abc,
    .subsystem = 0xdef0,
    .class_code = 0x020000,
    .revision = 7,
    .intx = true,
};

static const uint8_t toy_cap[] = {0x11, 0x22, 0x33, 0x44}, toy_cap_mask[] = {0, 0xf0, 0, 0};

static struct toy *toy_new(struct guest *g, unsigned slot, unsigned function)
{
    struct toy *toy = g_new0(struct toy, 1);

    toy->fn = pci_function_new("toy", &toy_id, &toy_ops, toy);
    pci_function_add_bar(toy->fn, 0, 0x1000, 0, "toy-0", &toy_bar, toy);
    pci_function_add_bar(toy->fn, 2, MIB(1), PCI_BAR_64 | PCI_BAR_PREFETCH, "toy-2", &toy_bar, toy);
    pci_function_add_capability(toy->fn, PCI_CAP_ID_VNDR, toy_cap, toy_cap_mask, sizeof(toy_cap));
    pci_function_add_msix(toy->fn, 4, 3);
    ck_assert(pci_host_add(g->host, toy->fn, slot, function, NULL));
    return toy;
}

static void toy_free(struct toy *toy)
{
    pci_host_remove(toy->fn);
    pci_function_free(toy->fn);
    g_free(toy);
}

static bool mapped(struct guest *g, gpa_t gpa)
{
    struct mem_view view;

    mem_map_lookup(g->mem, gpa, &view);
    return view.kind == MEM_DEVICE;
}

/* --- configuration space ---------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned offset, size;
    uint32_t initial, written, after;
} header[] = {
    {"ids", 0x00, 4, 0x56781234, 0xffffffff, 0x56781234},
    {"vendor by byte", 0x00, 1, 0x34, 0xff, 0x34},
    {"command", 0x04, 2, 0, 0xffff, 0x0546},
    {"status", 0x06, 2, 0x0010, 0xffff, 0x0010},
    {"class and revision", 0x08, 4, 0x02000007, 0, 0x02000007},
    {"cache line", 0x0c, 1, 0, 0x40, 0x40},
    {"latency", 0x0d, 1, 0, 0xff, 0},
    {"header type", 0x0e, 1, 0, 0xff, 0},
    {"32-bit BAR", 0x10, 4, 0, 0xffffffff, 0xfffff000},
    {"no BAR", 0x14, 4, 0, 0xffffffff, 0},
    {"64-bit BAR, low", 0x18, 4, 0xc, 0xffffffff, 0xfff0000c},
    {"64-bit BAR, high", 0x1c, 4, 0, 0xffffffff, 0xffffffff},
    {"BAR by byte", 0x13, 1, 0, 0x5a, 0x5a},
    {"subsystem", 0x2c, 4, 0xdef09abc, 0, 0xdef09abc},
    {"expansion ROM", 0x30, 4, 0, 0xffffffff, 0},
    {"capabilities", 0x34, 1, 0x40, 0, 0x40},
    {"interrupt line", 0x3c, 1, 0, 0x2a, 0x2a},
    {"interrupt pin", 0x3d, 1, 1, 4, 1},
    {"capability header", 0x40, 2, 0x4809, 0, 0x4809},
    {"capability body", 0x42, 2, 0x2211, 0xffff, 0xf211},
    {"MSI-X header", 0x48, 2, 0x0011, 0, 0x0011},
    {"MSI-X control", 0x4a, 2, 2, 0xffff, 0xc002},
    {"MSI-X table", 0x4c, 4, 4, 0xffffffff, 4},
    {"MSI-X pending", 0x50, 4, 0x804, 0, 0x804},
    {"extended space", 0x100, 4, 0, 0xffffffff, 0},
    {"last word", 0xffc, 4, 0, 0xffffffff, 0},
};

START_TEST(config_rows)
{
    struct guest g;

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    uint32_t got = guest_config_read(&g, 3, header[_i].offset, header[_i].size);
    ck_assert_msg(got == header[_i].initial, "%s: reads %x", header[_i].name, got);
    guest_config_write(&g, 3, header[_i].offset, header[_i].size, header[_i].written);
    got = guest_config_read(&g, 3, header[_i].offset, header[_i].size);
    ck_assert_msg(got == header[_i].after, "%s: reads %x after the write", header[_i].name, got);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

START_TEST(config_widths)
{
    struct guest g;

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    gpa_t at = GUEST_ECAM + (3 << 15);
    ck_assert_uint_eq(guest_read(&g, at, 8), 0x0010000056781234);
    ck_assert_uint_eq(guest_read(&g, at + 2, 2), 0x5678);
    guest_write(&g, at + 0x18, 8, 0x0000000412345678);
    ck_assert_uint_eq(guest_read(&g, at + 0x18, 8), 0x000000041230000c);
    /* Nothing there: all ones, and writes are lost. */
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t ones = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
        ck_assert_uint_eq(guest_read(&g, GUEST_ECAM + (4 << 15), size), ones);
        guest_write(&g, GUEST_ECAM + (4 << 15), size, 0);
    }
    ck_assert_uint_eq(guest_config_read(&g, 0, 0, 4), 0x00081b36);
    ck_assert_uint_eq(guest_config_read(&g, 0, 0x0a, 2), 0x0600);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

/* Every byte of every function takes any value without harm, and stays within its mask. */
START_TEST(config_garbage)
{
    struct guest g;
    g_autoptr(GRand) rand = g_rand_new_with_seed(42);

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    for (unsigned i = 0; i < 50000; i++) {
        unsigned size = 1u << g_rand_int_range(rand, 0, 4);
        unsigned offset = (unsigned)g_rand_int_range(rand, 0, i & 1 ? 4096 : 128) & ~(size - 1);
        guest_write(&g, GUEST_ECAM + (3 << 15) + offset, size,
                    (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand));
    }
    ck_assert_uint_eq(guest_config_read(&g, 3, 0, 4), 0x56781234);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

/* --- BARs ------------------------------------------------------------------------------------- */

START_TEST(bars_follow)
{
    struct guest g;
    gpa_t a = GUEST_WINDOW + MIB(2), b = GIB(20);

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    guest_config_write(&g, 3, 0x10, 4, (uint32_t)a);
    ck_assert(!mapped(&g, a)); /* decoding is off */
    guest_config_write(&g, 3, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(guest_read(&g, a + 8, 4), 9);
    guest_config_write(&g, 3, 0x10, 4, (uint32_t)a + 0x1000);
    ck_assert(!mapped(&g, a) && mapped(&g, a + 0x1000));
    guest_config_write(&g, 3, 0x18, 4, (uint32_t)b);
    guest_config_write(&g, 3, 0x1c, 4, b >> 32);
    guest_write(&g, b + 0xffffc, 4, 77);
    ck_assert_uint_eq(toy->offset, 0xffffc);
    ck_assert_uint_eq(toy->value, 77);
    guest_config_write(&g, 3, PCI_COMMAND, 2, 0);
    ck_assert(!mapped(&g, b) && !mapped(&g, a + 0x1000));
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

static const struct {
    const char *name;
    uint64_t gpa;
    bool wide, there;
} places[] = {
    {"start of the window", GUEST_WINDOW, false, true},
    {"end of the window", GUEST_WINDOW + GIB(1) - 0x1000, false, true},
    {"below it", GUEST_WINDOW - 0x1000, false, false},
    {"beyond it, on RAM", GUEST_RAM, false, false},
    {"on ECAM", GUEST_ECAM, false, false},
    {"zero", 0, false, false},
    {"64-bit window", GIB(16), true, true},
    {"its end", GIB(32) - MIB(1), true, true},
    {"beyond its end", GIB(32), true, false},
    {"64-bit BAR in the low window", GUEST_WINDOW, true, true},
    {"top of the address space", UINT64_MAX - MIB(1) + 1, true, false},
};

START_TEST(bar_places)
{
    struct guest g;
    unsigned at = places[_i].wide ? 0x18 : 0x10;
    struct mem_view v;

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    guest_config_write(&g, 3, at, 4, (uint32_t)places[_i].gpa);
    guest_config_write(&g, 3, at + 4, 4, places[_i].gpa >> 32);
    guest_config_write(&g, 3, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    ck_assert_msg((mapped(&g, places[_i].gpa) && guest_read(&g, places[_i].gpa, 4) == 1) ==
                      places[_i].there,
                  "%s", places[_i].name);
    mem_map_lookup(g.mem, GUEST_RAM, &v);
    ck_assert(v.kind == MEM_RAM);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

START_TEST(bars_overlap)
{
    struct guest g;

    guest_init(&g, true);
    struct toy *a = toy_new(&g, 3, 0), *b = toy_new(&g, 4, 0);
    for (unsigned slot = 3; slot <= 4; slot++) {
        guest_config_write(&g, slot, 0x10, 4, GUEST_WINDOW);
        guest_config_write(&g, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    }
    guest_write(&g, GUEST_WINDOW, 4, 1);
    ck_assert_uint_eq(a->value, 1);
    ck_assert_uint_eq(b->value, 0);
    /* The first goes elsewhere: the second appears. */
    guest_config_write(&g, 3, 0x10, 4, GUEST_WINDOW + 0x1000);
    guest_write(&g, GUEST_WINDOW, 4, 2);
    ck_assert_uint_eq(b->value, 2);
    /* They change places, one write after the other. */
    guest_config_write(&g, 3, 0x10, 4, GUEST_WINDOW);
    guest_config_write(&g, 4, 0x10, 4, GUEST_WINDOW + 0x1000);
    guest_write(&g, GUEST_WINDOW, 4, 3);
    ck_assert_uint_eq(a->value, 3);
    toy_free(a);
    guest_write(&g, GUEST_WINDOW + 0x1000, 4, 4);
    ck_assert_uint_eq(b->value, 4);
    toy_free(b);
    guest_fini(&g);
}
END_TEST

/* --- interrupts ------------------------------------------------------------------------------- */

START_TEST(intx_lines)
{
    struct guest g;

    guest_init(&g, false);
    /* Slots 1 and 5 share a line, as does function 1 of slot 4 (pin B). */
    struct toy *a = toy_new(&g, 1, 0), *b = toy_new(&g, 5, 0), *c = toy_new(&g, 4, 1);
    unsigned line = pci_intx_line(1, 1);
    ck_assert_uint_eq(line, pci_intx_line(5, 1));
    ck_assert_uint_eq(line, pci_intx_line(4, 2));
    pci_function_set_intx(a->fn, true);
    pci_function_set_intx(a->fn, true);
    pci_function_set_intx(b->fn, true);
    pci_function_set_intx(c->fn, true);
    ck_assert(g.line[line]);
    ck_assert_uint_eq(g.line_sets, 1);
    ck_assert_uint_eq(guest_config_read(&g, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 8);
    pci_function_set_intx(a->fn, false);
    pci_function_set_intx(c->fn, false);
    ck_assert(g.line[line]);
    guest_config_write(&g, 5, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    ck_assert(!g.line[line]);
    guest_config_write(&g, 5, PCI_COMMAND, 2, 0);
    ck_assert(g.line[line]);
    toy_free(b); /* a function that leaves lets go of its line */
    ck_assert(!g.line[line]);
    toy_free(a);
    toy_free(c);
    guest_fini(&g);
}
END_TEST

static gpa_t msix_up(struct guest *g, unsigned slot)
{
    guest_config_write(g, slot, 0x20, 4, GUEST_WINDOW + MIB(8));
    guest_config_write(g, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return GUEST_WINDOW + MIB(8);
}

START_TEST(msix_masks)
{
    struct guest g;

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    gpa_t table = msix_up(&g, 3), pba = table + 0x800;
    ck_assert_uint_eq(guest_read(&g, table + 16 + 12, 4), 1); /* masked after reset */
    guest_write(&g, table + 16, 8, 0x00000001fee00007);
    guest_write(&g, table + 24, 4, 0x1234);
    pci_function_msix_notify(toy->fn, 1); /* not switched on: lost */
    guest_config_write(&g, 3, 0x4a, 2, PCI_MSIX_FLAGS_ENABLE);
    ck_assert(pci_function_msix_enabled(toy->fn));
    ck_assert_uint_eq(guest_read(&g, pba, 8), 0);
    pci_function_msix_notify(toy->fn, 1); /* masked: pending */
    pci_function_msix_notify(toy->fn, 99);
    ck_assert_uint_eq(guest_read(&g, pba, 8), 2);
    ck_assert_uint_eq(g.messages, 0);
    guest_write(&g, table + 28, 4, 0);
    ck_assert_uint_eq(g.messages, 1);
    ck_assert_uint_eq(g.message_requester, 3 << 3);
    ck_assert_uint_eq(g.message_address, 0x1fee00004);
    ck_assert_uint_eq(g.message_data, 0x1234);
    ck_assert_uint_eq(guest_read(&g, pba, 4), 0);
    guest_config_write(&g, 3, 0x4a, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    pci_function_msix_notify(toy->fn, 1);
    ck_assert_uint_eq(g.messages, 1);
    guest_config_write(&g, 3, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    guest_config_write(&g, 3, 0x4a, 2, PCI_MSIX_FLAGS_ENABLE);
    ck_assert_uint_eq(g.messages, 1); /* no bus master: no message */
    guest_config_write(&g, 3, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    ck_assert_uint_eq(g.messages, 2);
    guest_write(&g, pba, 8, UINT64_MAX); /* read-only */
    guest_write(&g, table, 1, 0xff);     /* too narrow */
    ck_assert_uint_eq(guest_read(&g, pba, 8), 0);
    ck_assert_uint_eq(guest_read(&g, table, 4), 0);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

START_TEST(msix_needs_messages)
{
    struct guest g;

    guest_init(&g, false);
    struct toy *toy = toy_new(&g, 3, 0);
    ck_assert_uint_eq(guest_capability(&g, 3, PCI_CAP_ID_MSIX, 0), 0);
    ck_assert_uint_ne(guest_capability(&g, 3, PCI_CAP_ID_VNDR, 0), 0);
    guest_config_write(&g, 3, 0x20, 4, UINT32_MAX);
    ck_assert_uint_eq(guest_config_read(&g, 3, 0x20, 4), 0);
    ck_assert_uint_eq(pci_function_msix_vectors(toy->fn), 0);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

/* --- slots, reset, state ---------------------------------------------------------------------- */

static void count_one(void *opaque, struct pci_function *fn, unsigned slot, unsigned function)
{
    *(unsigned *)opaque += slot * 10 + function;
}

START_TEST(slots)
{
    struct guest g;
    g_autoptr(GError) err = NULL, err2 = NULL;
    unsigned sum = 0;

    guest_init(&g, false);
    ck_assert_int_eq(pci_host_free_slot(g.host), 1);
    struct toy *a = toy_new(&g, 1, 0), *b = toy_new(&g, 1, 2);
    ck_assert_int_eq(pci_host_free_slot(g.host), 2);
    ck_assert_uint_eq(guest_config_read(&g, 1, PCI_HEADER_TYPE, 1), 0x80);
    pci_host_each(g.host, count_one, &sum);
    ck_assert_uint_eq(sum, 22);
    struct pci_function *fn = pci_function_new("other", &toy_id, NULL, NULL);
    ck_assert(!pci_host_add(g.host, fn, 1, 0, &err));
    ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_EXISTS));
    ck_assert(!pci_host_add(g.host, fn, 32, 0, &err2));
    ck_assert(g_error_matches(err2, VMD_ERROR, VMD_ERROR_INVALID));
    pci_function_free(fn);
    toy_free(b);
    ck_assert_uint_eq(guest_config_read(&g, 1, PCI_HEADER_TYPE, 1), 0);
    /* A function may leave and come back. */
    pci_host_remove(a->fn);
    ck_assert_uint_eq(guest_config_read(&g, 1, 0, 4), UINT32_MAX);
    ck_assert(pci_host_add(g.host, a->fn, 7, 0, NULL));
    ck_assert_uint_eq(guest_config_read(&g, 7, 0, 4), 0x56781234);
    toy_free(a);
    guest_fini(&g);
}
END_TEST

START_TEST(reset_host)
{
    struct guest g;

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    gpa_t table = msix_up(&g, 3);
    guest_write(&g, table + 12, 4, 0);
    pci_function_set_intx(toy->fn, true);
    ck_assert_uint_eq(toy->masters, 1);
    pci_host_reset(g.host);
    ck_assert_uint_eq(toy->resets, 1);
    ck_assert(!pci_function_master(toy->fn));
    ck_assert(!mapped(&g, table));
    ck_assert(!g.line[pci_intx_line(3, 1)]);
    ck_assert_uint_eq(guest_config_read(&g, 3, 0x20, 4), 0);
    table = msix_up(&g, 3);
    ck_assert_uint_eq(guest_read(&g, table + 12, 4), 1);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

START_TEST(state_roundtrip)
{
    struct guest g;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    size_t used;

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    gpa_t table = msix_up(&g, 3);
    guest_config_write(&g, 3, 0x10, 4, GUEST_WINDOW);
    guest_config_write(&g, 3, 0x4a, 2, PCI_MSIX_FLAGS_ENABLE);
    guest_write(&g, table + 8, 4, 99);
    pci_function_msix_notify(toy->fn, 0);
    pci_function_set_intx(toy->fn, true);
    pci_host_save(g.host, saved);
    pci_host_reset(g.host);
    ck_assert_msg(pci_host_load(g.host, saved->data, saved->len, &used, &err), "%s",
                  err ? err->message : "");
    ck_assert_uint_eq(used, saved->len);
    pci_host_save(g.host, again);
    ck_assert_uint_eq(saved->len, again->len);
    ck_assert_mem_eq(saved->data, again->data, saved->len);
    ck_assert(mapped(&g, GUEST_WINDOW) && g.line[pci_intx_line(3, 1)]);
    ck_assert_uint_eq(guest_read(&g, table + 0x800, 4), 1);
    guest_write(&g, table + 12, 4, 0);
    ck_assert_uint_eq(g.message_data, 99);
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

/* A stream cut anywhere, or for another machine, is an error. */
START_TEST(state_refused)
{
    struct guest g;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    size_t used;

    guest_init(&g, true);
    struct toy *toy = toy_new(&g, 3, 0);
    pci_host_save(g.host, saved);
    for (guint cut = 0; cut < saved->len; cut += 1 + saved->len / 300) {
        g_autoptr(GError) err = NULL;
        ck_assert(!pci_host_load(g.host, saved->data, cut, &used, &err));
        ck_assert(g_error_matches(err, VMD_ERROR, VMD_ERROR_INVALID));
        pci_host_reset(g.host);
    }
    pci_host_remove(toy->fn);
    g_autoptr(GError) err = NULL;
    ck_assert(!pci_host_load(g.host, saved->data, saved->len, &used, &err));
    ck_assert(pci_host_add(g.host, toy->fn, 4, 0, NULL));
    g_clear_error(&err);
    ck_assert(!pci_host_load(g.host, saved->data, saved->len, &used, &err));
    toy_free(toy);
    guest_fini(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pci");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, config_rows, 0, G_N_ELEMENTS(header));
    tcase_add_test(tc, config_widths);
    tcase_add_test(tc, config_garbage);
    tcase_add_test(tc, bars_follow);
    tcase_add_loop_test(tc, bar_places, 0, G_N_ELEMENTS(places));
    tcase_add_test(tc, bars_overlap);
    tcase_add_test(tc, intx_lines);
    tcase_add_test(tc, msix_masks);
    tcase_add_test(tc, msix_needs_messages);
    tcase_add_test(tc, slots);
    tcase_add_test(tc, reset_host);
    tcase_add_test(tc, state_roundtrip);
    tcase_add_test(tc, state_refused);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
