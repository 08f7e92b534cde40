/*
 * The virtio core through a driver's eyes: negotiation, queues, doorbells, interrupts, resets,
 * quiet, saved state, and rings that break the rules. The device under test echoes: it copies
 * what it reads to where it may write.
 */
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#define ECHO_FEATURE  0 /* a feature bit of its own */
#define ECHO_REFUSED  1 /* one that it offers and then refuses */
#define ECHO_EVENT    VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)
#define ECHO_INDIRECT VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC)
#define ECHO_RESET    VIRTIO_FEATURE(VIRTIO_F_RING_RESET)

struct echo {
    struct virtio_device vdev;
    bool hold;          /* keep elements instead of finishing them */
    bool leave;         /* let buffers lie in the queue, as who receives does */
    bool hold_at_reset; /* and let them outlive the start of a reset */
    GPtrArray *held;
    unsigned starts, resets, queue_resets, turns, config_writes;
    uint64_t done;
};

static void echo_finish(struct virtqueue_element *e)
{
    char buffer[256];
    size_t n = iov_read(e->out, e->out_n, 0, buffer, sizeof(buffer));

    n = iov_write(e->in, e->in_n, 0, buffer, n);
    virtqueue_push(e, (uint32_t)n);
}

static void echo_notify(struct virtio_device *dev, struct virtqueue *vq)
{
    struct echo *echo = (struct echo *)dev;
    struct virtqueue_element *e;

    echo->turns++;
    if (echo->leave)
        return;
    while ((e = virtqueue_pop(vq, sizeof(*e)))) {
        if (echo->hold) {
            g_ptr_array_add(echo->held, e);
            continue;
        }
        echo_finish(e);
        echo->done++;
    }
    virtqueue_notify(vq);
}

static void echo_finish_held(struct echo *echo)
{
    while (echo->held->len)
        echo_finish(g_ptr_array_remove_index(echo->held, 0));
}

static void echo_start(struct virtio_device *dev)
{
    ((struct echo *)dev)->starts++;
}

static void echo_reset(struct virtio_device *dev, struct virtqueue *vq)
{
    struct echo *echo = (struct echo *)dev;

    ++*(vq ? &echo->queue_resets : &echo->resets);
    while (!echo->hold_at_reset && echo->held->len)
        virtqueue_drop(g_ptr_array_remove_index(echo->held, 0));
}

static void echo_quiesce(struct virtio_device *dev)
{
    struct echo *echo = (struct echo *)dev;

    while (!echo->hold_at_reset && echo->held->len)
        virtqueue_unpop(g_ptr_array_remove_index(echo->held, echo->held->len - 1));
}

static bool echo_features_ok(const struct virtio_device *dev, uint64_t features)
{
    return !(features & VIRTIO_FEATURE(ECHO_REFUSED));
}

static void echo_config_written(struct virtio_device *dev)
{
    ((struct echo *)dev)->config_writes++;
}

static void echo_free(struct virtio_device *dev)
{
    struct echo *echo = (struct echo *)dev;

    ck_assert_uint_eq(echo->held->len, 0);
    g_ptr_array_free(echo->held, TRUE);
    virtio_device_fini(dev);
    g_free(echo);
}

static const struct state_field echo_fields[] = {STATE_FIELD_U64(struct echo, done, 1)};
static const struct state_desc echo_state = {"echo", 1, sizeof(struct echo), 1, echo_fields};

static const struct virtio_ops echo_ops = {
    .name = "echo",
    .id = 42,
    .pci_class = 0xff0000,
    .state = &echo_state,
    .features_ok = echo_features_ok,
    .start = echo_start,
    .queue_notify = echo_notify,
    .config_written = echo_config_written,
    .reset = echo_reset,
    .quiesce = echo_quiesce,
    .free = echo_free,
};

struct rig {
    struct guest g;
    struct driver d;
    struct echo *echo;
    gpa_t from, to; /* a page each */
};

static void rig_attach(struct rig *r)
{
    static const uint16_t sizes[] = {128, 64};
    struct virtio_env env = guest_env(&r->g);

    r->echo = g_new0(struct echo, 1);
    r->echo->held = g_ptr_array_new();
    virtio_device_init(&r->echo->vdev, &echo_ops, &env,
                       VIRTIO_FEATURE(ECHO_FEATURE) | VIRTIO_FEATURE(ECHO_REFUSED), 2, sizes, 12);
    virtio_config_writable(&r->echo->vdev, 4, 4);
    virtio_config_set(&r->echo->vdev, 0, "abcd1234wxyz", 12);
    driver_attach(&r->d, &r->g, &r->echo->vdev, 2);
}

static void rig_init(struct rig *r, bool messages)
{
    guest_init(&r->g, messages);
    r->from = guest_alloc(&r->g, 4096, true);
    r->to = guest_alloc(&r->g, 4096, true);
    rig_attach(r);
}

static void rig_fini(struct rig *r)
{
    driver_detach(&r->d);
    guest_fini(&r->g);
}

/* One round through queue 0: "hello" comes back. */
static void round_trip(struct rig *r)
{
    struct piece p[] = {{r->from, 6, false}, {r->to, 16, true}};

    memcpy(guest_ptr(&r->g, r->from), "hello", 6);
    memset(guest_ptr(&r->g, r->to), 0, 16);
    ck_assert_uint_eq(driver_do(&r->d, 0, p, 2), 6);
    ck_assert_str_eq(guest_ptr(&r->g, r->to), "hello");
}

/* --- negotiation ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    uint64_t features;
    bool ok;
} negotiations[] = {
    {"nothing", 0, true},
    {"its own", VIRTIO_FEATURE(ECHO_FEATURE), true},
    {"the rings'", ECHO_EVENT | ECHO_INDIRECT | ECHO_RESET, true},
    {"one not offered", VIRTIO_FEATURE(7), false},
    {"one refused", VIRTIO_FEATURE(ECHO_REFUSED), false},
    {"a high one", VIRTIO_FEATURE(63), false},
};

START_TEST(negotiate)
{
    struct rig r;

    rig_init(&r, false);
    ck_assert_uint_eq(driver_offered(&r.d),
                      VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | ECHO_EVENT | ECHO_INDIRECT | ECHO_RESET |
                          VIRTIO_FEATURE(ECHO_FEATURE) | VIRTIO_FEATURE(ECHO_REFUSED));
    bool ok = driver_negotiate(&r.d, negotiations[_i].features);
    ck_assert_msg(ok == negotiations[_i].ok, "%s", negotiations[_i].name);
    driver_ok(&r.d); /* without FEATURES_OK it does not start */
    guest_poll(&r.g);
    ck_assert_msg(r.echo->starts == negotiations[_i].ok, "%s", negotiations[_i].name);
    rig_fini(&r);
}
END_TEST

START_TEST(legacy_refused)
{
    struct rig r;

    rig_init(&r, false);
    driver_reset(&r.d);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_FEATURES_OK);
    ck_assert_uint_eq(driver_status(&r.d), 0);
    rig_fini(&r);
}
END_TEST

START_TEST(features_hold_still)
{
    struct rig r;

    rig_init(&r, false);
    ck_assert(driver_negotiate(&r.d, 0));
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_GF, 4, UINT32_MAX);
    ck_assert_uint_eq(guest_read(&r.g, r.d.common + VIRTIO_PCI_COMMON_GF, 4), 0);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_GFSELECT, 4, 2);
    ck_assert_uint_eq(guest_read(&r.g, r.d.common + VIRTIO_PCI_COMMON_GF, 4), 0);
    rig_fini(&r);
}
END_TEST

START_TEST(queue_registers)
{
    struct rig r;
    gpa_t c;

    rig_init(&r, true);
    c = r.d.common;
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_NUMQ, 2), 2);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
    static const uint16_t bad[] = {0, 3, 128, 65535};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_SIZE, 2, bad[i]);
        ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
    }
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_MSIX, 2, 3); /* three vectors: 0, 1, 2 */
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_DESCLO, 8, UINT64_C(0x123456789abcdef0));
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x123456789abcdef0);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0); /* enabled: holds still */
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0x9abcdef0);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_SELECT, 2, 2); /* there is no such queue */
    ck_assert_uint_eq(guest_read(&r.g, c + VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
    guest_write(&r.g, c + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    rig_fini(&r);
}
END_TEST

START_TEST(configuration)
{
    struct rig r;

    rig_init(&r, false);
    driver_start(&r.d, 0, 1);
    guest_poll(&r.g);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config, 4), 0x64636261);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 11, 1), 'z');
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 12, 4), 0);
    guest_write(&r.g, r.d.config, 4, 0);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config, 4), 0x64636261);
    guest_poll(&r.g);
    ck_assert_uint_eq(r.echo->config_writes, 0);
    guest_write(&r.g, r.d.config, 8, UINT64_C(0x5a5a5a5a5a5a5a5a));
    guest_poll(&r.g);
    ck_assert_uint_eq(r.echo->config_writes, 1);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config, 8), 0x5a5a5a5a64636261);
    uint64_t before = guest_read(&r.g, r.d.common + VIRTIO_PCI_COMMON_CFGGENERATION, 1);
    virtio_config_set(&r.echo->vdev, 0, "ABCD", 4);
    ck_assert_uint_ne(guest_read(&r.g, r.d.common + VIRTIO_PCI_COMMON_CFGGENERATION, 1), before);
    ck_assert(r.g.line[pci_intx_line(2, 1)]);
    ck_assert_uint_eq(guest_read(&r.g, r.d.isr, 1), 2);
    ck_assert(!r.g.line[pci_intx_line(2, 1)]);
    virtio_config_set(&r.echo->vdev, 0, "ABCD", 4); /* the same: nobody is told */
    ck_assert(!r.g.line[pci_intx_line(2, 1)]);
    rig_fini(&r);
}
END_TEST

/* The capability that reaches the registers through configuration space. */
START_TEST(config_window)
{
    struct rig r;
    unsigned cap = 0;

    rig_init(&r, false);
    for (unsigned n = 0; n < 5; n++) {
        cap = guest_capability(&r.g, 2, PCI_CAP_ID_VNDR, n);
        if (guest_config_read(&r.g, 2, cap + 3, 1) == VIRTIO_PCI_CAP_PCI_CFG)
            break;
    }
    guest_config_write(&r.g, 2, cap + 4, 1, 0);
    guest_config_write(&r.g, 2, cap + 8, 4, VIRTIO_PCI_COMMON_NUMQ);
    guest_config_write(&r.g, 2, cap + 12, 4, 2);
    ck_assert_uint_eq(guest_config_read(&r.g, 2, cap + 16, 4), 2);
    guest_config_write(&r.g, 2, cap + 8, 4, VIRTIO_PCI_COMMON_STATUS);
    guest_config_write(&r.g, 2, cap + 12, 4, 1);
    guest_config_write(&r.g, 2, cap + 16, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    ck_assert_uint_eq(driver_status(&r.d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    /* Targets that make no sense do nothing. */
    static const uint32_t bad[][3] = {{1, 0, 4},      {0, 2, 4},          {0, 0, 3},
                                      {0, 0x4000, 4}, {0, 0xfffffffc, 4}, {255, 0, 1}};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        guest_config_write(&r.g, 2, cap + 4, 1, bad[i][0]);
        guest_config_write(&r.g, 2, cap + 8, 4, bad[i][1]);
        guest_config_write(&r.g, 2, cap + 12, 4, bad[i][2]);
        guest_config_write(&r.g, 2, cap + 16, 4, 0xff);
        guest_config_read(&r.g, 2, cap + 16, 4);
    }
    ck_assert_uint_eq(driver_status(&r.d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    rig_fini(&r);
}
END_TEST

/* --- buffers ---------------------------------------------------------------------------------- */

static const uint64_t ring_features[] = {0, ECHO_EVENT, ECHO_INDIRECT, ECHO_EVENT | ECHO_INDIRECT};

START_TEST(echoes)
{
    struct rig r;

    rig_init(&r, false);
    driver_start(&r.d, ring_features[_i], 2);
    for (unsigned i = 0; i < 200; i++)
        round_trip(&r);
    ck_assert_uint_eq(r.echo->done, 200);
    /* Written pages are logged, and only they. */
    ck_assert(mem_page_flags(r.g.ram, (r.to - GUEST_RAM) / 4096) & MEM_PAGE_DIRTY);
    ck_assert(!(mem_page_flags(r.g.ram, (r.from - GUEST_RAM) / 4096) & MEM_PAGE_DIRTY));
    ck_assert(mem_page_flags(r.g.ram, (r.d.queues[0].used - GUEST_RAM) / 4096) & MEM_PAGE_DIRTY);
    rig_fini(&r);
}
END_TEST

START_TEST(index_wraps)
{
    struct rig r;
    struct piece p = {0, 4, true};

    rig_init(&r, false);
    driver_start(&r.d, ECHO_EVENT, 1);
    p.gpa = r.to;
    for (unsigned i = 0; i < 66000; i++) {
        driver_add(&r.d, 0, &p, 1);
        if (i % 50 == 49) {
            driver_kick(&r.d, 0);
            guest_wait(&r.g, r.echo->done == i + 1);
        }
    }
    ck_assert_ptr_null(r.echo->vdev.error);
    rig_fini(&r);
}
END_TEST

START_TEST(scattered_and_indirect)
{
    struct rig r;
    char expect[40];

    rig_init(&r, false);
    driver_start(&r.d, ECHO_INDIRECT, 1);
    struct vring_desc table[4] = {
        {r.from, 10, VRING_DESC_F_NEXT, 1},
        {r.from + 100, 0, VRING_DESC_F_NEXT, 2}, /* empty is harmless */
        {r.from + 200, 30, VRING_DESC_F_NEXT, 3},
        {r.to, 64, VRING_DESC_F_WRITE, 0},
    };
    memset(guest_ptr(&r.g, r.from), 'a', 10);
    memset(guest_ptr(&r.g, r.from + 200), 'b', 30);
    gpa_t at = guest_alloc(&r.g, sizeof(table), false);
    memcpy(guest_ptr(&r.g, at), table, sizeof(table));
    struct piece p = {at, sizeof(table), false};
    uint16_t head = driver_add(&r.d, 0, &p, 1);
    struct vring_desc *desc = guest_ptr(&r.g, r.d.queues[0].desc);
    desc[head].flags = VRING_DESC_F_INDIRECT;
    driver_kick(&r.d, 0);
    uint32_t length;
    guest_wait(&r.g, driver_used(&r.d, 0, NULL, &length));
    ck_assert_uint_eq(length, 40);
    memset(expect, 'a', 10);
    memset(expect + 10, 'b', 30);
    ck_assert_mem_eq(guest_ptr(&r.g, r.to), expect, 40);
    rig_fini(&r);
}
END_TEST

/* --- interrupts and doorbells ----------------------------------------------------------------- */

START_TEST(interrupts_intx)
{
    struct rig r;

    rig_init(&r, false);
    driver_start(&r.d, 0, 1);
    round_trip(&r);
    ck_assert(r.g.line[pci_intx_line(2, 1)]);
    ck_assert_uint_eq(guest_read(&r.g, r.d.isr, 1), 1);
    ck_assert(!r.g.line[pci_intx_line(2, 1)]);
    ck_assert_uint_eq(guest_read(&r.g, r.d.isr, 1), 0);
    struct vring_avail *avail = guest_ptr(&r.g, r.d.queues[0].avail);
    avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    round_trip(&r);
    ck_assert(!r.g.line[pci_intx_line(2, 1)]);
    rig_fini(&r);
}
END_TEST

/* The driver asks for an interrupt at a used index: just that one comes. */
START_TEST(interrupts_event_index)
{
    struct rig r;

    rig_init(&r, false);
    driver_start(&r.d, ECHO_EVENT, 1);
    round_trip(&r);
    guest_read(&r.g, r.d.isr, 1);
    struct vring_avail *avail = guest_ptr(&r.g, r.d.queues[0].avail);
    avail->ring[64] = 4; /* when entry 4 is used, the fifth */
    for (unsigned i = 2; i <= 6; i++) {
        round_trip(&r);
        ck_assert_msg(r.g.line[pci_intx_line(2, 1)] == (i == 5), "after %u", i);
        guest_read(&r.g, r.d.isr, 1);
    }
    rig_fini(&r);
}
END_TEST

START_TEST(interrupts_msix)
{
    struct rig r;

    rig_init(&r, true);
    gpa_t table = (gpa_t)guest_config_read(&r.g, 2, 0x18, 4) & ~15u;
    for (unsigned i = 0; i < 3; i++) {
        guest_write(&r.g, table + 16 * i + 8, 4, 100 + i);
        guest_write(&r.g, table + 16 * i + 12, 4, 0);
    }
    unsigned cap = guest_capability(&r.g, 2, PCI_CAP_ID_MSIX, 0);
    guest_config_write(&r.g, 2, cap + 2, 2, PCI_MSIX_FLAGS_ENABLE);
    driver_start(&r.d, 0, 2);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_MSIX, 2, 0);
    round_trip(&r);
    ck_assert_uint_eq(r.g.messages, 1);
    ck_assert_uint_eq(r.g.message_data, 101);
    ck_assert_uint_eq(r.g.line_sets, 0);
    virtio_config_set(&r.echo->vdev, 0, "ABCD", 4);
    ck_assert_uint_eq(r.g.message_data, 100);
    rig_fini(&r);
}
END_TEST

/* While a turn runs the driver need not ring; afterwards it is asked to again. */
START_TEST(doorbells_suppressed)
{
    struct rig r;
    struct piece p;

    rig_init(&r, false);
    driver_start(&r.d, _i ? ECHO_EVENT : 0, 1);
    p = (struct piece){r.to, 4, true};
    struct vring_used *used = guest_ptr(&r.g, r.d.queues[0].used);
    round_trip(&r);
    ck_assert_uint_eq(used->flags, 0);
    if (_i)
        ck_assert_uint_eq(*(uint16_t *)&used->ring[64], 1);
    virtqueue_want_notify(virtio_queue(&r.echo->vdev, 0), false);
    ck_assert_uint_eq(used->flags, _i ? 0 : VRING_USED_F_NO_NOTIFY);
    driver_add(&r.d, 0, &p, 1); /* not rung for */
    guest_poll(&r.g);
    ck_assert_uint_eq(r.echo->done, 1);
    virtqueue_want_notify(virtio_queue(&r.echo->vdev, 0), true);
    guest_wait(&r.g, r.echo->done == 2); /* it was there when the device asked again */
    rig_fini(&r);
}
END_TEST

/* An accelerator: it hears of doorbells and has "the host" ring them. */
struct bells {
    gpa_t gpa[4];
    int fd[4];
    unsigned n;
};

static void hear_bell(void *opaque, gpa_t gpa, int fd, bool added)
{
    struct bells *b = opaque;

    if (!added) {
        b->n--;
        return;
    }
    ck_assert_uint_lt(b->n, G_N_ELEMENTS(b->gpa));
    b->gpa[b->n] = gpa;
    b->fd[b->n++] = fd;
}

START_TEST(doorbells_of_the_host)
{
    struct bells b = {0};
    struct rig r;
    uint32_t length;

    rig_init(&r, false);
    driver_start(&r.d, 0, 2);
    mem_map_add_listener(r.g.mem, &(struct mem_listener){.doorbell = hear_bell, .opaque = &b});
    ck_assert_uint_eq(b.n, 2); /* those that are there */
    for (unsigned queue = 0; queue < 2; queue++) {
        struct piece p[] = {{r.from, 6, false}, {r.to, 16, true}};
        unsigned i = b.gpa[0] == r.d.queues[queue].bell ? 0 : 1;
        ck_assert_uint_eq(b.gpa[i], r.d.queues[queue].bell);
        driver_add(&r.d, queue, p, 2);
        ck_assert_int_eq(eventfd_write(b.fd[i], 1), 0);
        guest_wait(&r.g, driver_used(&r.d, queue, NULL, &length));
    }
    ck_assert_uint_eq(r.echo->done, 2);
    rig_fini(&r);
    ck_assert_uint_eq(b.n, 0); /* gone with the BAR */
}
END_TEST

/* A process without a descriptor to spare gets a device all the same, whose doorbells are its own. */
START_TEST(doorbells_without_descriptors)
{
    struct bells b = {0};
    struct rlimit before, none;
    struct rig r;

    rig_init(&r, false);
    driver_detach(&r.d);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig_attach(&r);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    driver_start(&r.d, 0, 2);
    mem_map_add_listener(r.g.mem, &(struct mem_listener){.doorbell = hear_bell, .opaque = &b});
    ck_assert_uint_eq(b.n, 0);
    round_trip(&r);
    rig_fini(&r);
}
END_TEST

/* Buffers that the device lets lie cost it one turn, not turns without end. */
START_TEST(buffers_may_lie)
{
    struct rig r;
    struct piece p;

    rig_init(&r, false);
    driver_start(&r.d, _i ? ECHO_EVENT : 0, 1);
    r.echo->leave = true;
    p = (struct piece){r.to, 4, true};
    for (unsigned i = 0; i < 5; i++)
        driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0);
    for (unsigned i = 0; i < 20; i++)
        guest_poll(&r.g);
    ck_assert_uint_ge(r.echo->turns, 1);
    ck_assert_uint_le(r.echo->turns, 2);
    r.echo->leave = false;
    virtqueue_kick(virtio_queue(&r.echo->vdev, 0));
    guest_wait(&r.g, r.echo->done == 5);
    rig_fini(&r);
}
END_TEST

START_TEST(no_master_no_dma)
{
    struct rig r;
    struct piece p;

    rig_init(&r, false);
    driver_start(&r.d, 0, 1);
    p = (struct piece){r.to, 4, true};
    guest_config_write(&r.g, 2, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0);
    guest_poll(&r.g);
    ck_assert(!driver_used(&r.d, 0, NULL, NULL));
    guest_config_write(&r.g, 2, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    guest_wait(&r.g, driver_used(&r.d, 0, NULL, NULL));
    rig_fini(&r);
}
END_TEST

/* --- rings that break the rules --------------------------------------------------------------- */

#define BAD_RAM_END (GUEST_RAM + GUEST_RAM_SIZE)

/* Descriptor 0 is the head; with INDIRECT the rows are a table that descriptor 0 points at. */
static const struct {
    const char *name;
    const char *why; /* NULL: there is nothing wrong */
    uint64_t features;
    bool indirect;
    struct vring_desc d[3];
} malformed[] = {
    {"good", NULL, 0, false, {{GUEST_RAM, 8, 1, 1}, {GUEST_RAM, 8, 2, 0}}},
    {"good indirect", NULL, ECHO_INDIRECT, true, {{GUEST_RAM, 8, 1, 1}, {GUEST_RAM, 8, 2, 0}}},
    {"self loop", "loop", 0, false, {{GUEST_RAM, 8, 1, 0}}},
    {"loop of two", "loop", 0, false, {{GUEST_RAM, 8, 1, 1}, {GUEST_RAM, 8, 1, 0}}},
    {"indirect loop", "loop", ECHO_INDIRECT, true, {{GUEST_RAM, 8, 1, 1}, {GUEST_RAM, 8, 1, 0}}},
    {"next outside", "outside the table", 0, false, {{GUEST_RAM, 8, 1, 64}}},
    {"next far outside", "outside the table", 0, false, {{GUEST_RAM, 8, 1, 65535}}},
    {"indirect next outside", "outside the table", ECHO_INDIRECT, true, {{GUEST_RAM, 8, 1, 3}}},
    {"address zero", "not in RAM", 0, false, {{0, 8, 0, 0}}},
    {"beyond RAM", "not in RAM", 0, false, {{BAD_RAM_END, 1, 0, 0}}},
    {"across the end", "not in RAM", 0, false, {{BAD_RAM_END - 4, 8, 0, 0}}},
    {"top of memory", "not in RAM", 0, false, {{UINT64_MAX - 3, 16, 0, 0}}},
    {"ECAM", "not in RAM", 0, false, {{GUEST_ECAM, 4, 0, 0}}},
    {"ROM to write", "not in RAM", 0, false, {{GUEST_ROM, 8, 2, 0}}},
    {"ROM to read", NULL, 0, false, {{GUEST_ROM, 8, 0, 0}}},
    {"huge", "not in RAM", 0, false, {{GUEST_RAM, UINT32_MAX, 0, 0}}},
    {"over 4 GiB",
     "longer than 4 GiB",
     ECHO_INDIRECT,
     true,
     {{GUEST_RAM, MIB(16), 1, 1}, {GUEST_RAM, UINT32_MAX, 0, 0}}},
    {"write before read",
     "follows a writable",
     0,
     false,
     {{GUEST_RAM, 8, 3, 1}, {GUEST_RAM, 8, 0, 0}}},
    {"indirect not negotiated", "not negotiated", 0, true, {{GUEST_RAM, 8, 0, 0}}},
    {"indirect in indirect", "inside another", ECHO_INDIRECT, true, {{GUEST_RAM, 16, 4, 0}}},
    {"indirect with next", "has a successor", ECHO_INDIRECT, false, {{GUEST_RAM, 16, 5, 1}}},
    {"indirect of no length", "bad length", ECHO_INDIRECT, false, {{GUEST_RAM, 0, 4, 0}}},
    {"indirect of odd length", "bad length", ECHO_INDIRECT, false, {{GUEST_RAM, 24, 4, 0}}},
    {"indirect too long",
     "bad length",
     ECHO_INDIRECT,
     false,
     {{GUEST_RAM, 16 * (LIMIT_VIRTQUEUE_CHAIN + 1), 4, 0}}},
    {"indirect not in RAM", "not in RAM", ECHO_INDIRECT, false, {{4096, 16, 4, 0}}},
    {"indirect at the end", "not in RAM", ECHO_INDIRECT, false, {{BAD_RAM_END - 16, 32, 4, 0}}},
};

/* Whether the device broke, told the driver, and comes back after a reset. */
static void check_broken(struct rig *r, const char *name, const char *why)
{
    ck_assert_msg(r->echo->vdev.error && strstr(r->echo->vdev.error, why), "%s: %s", name,
                  r->echo->vdev.error ? r->echo->vdev.error : "not seen");
    ck_assert_msg(driver_status(&r->d) & VIRTIO_CONFIG_S_NEEDS_RESET, "%s", name);
    ck_assert_msg(guest_read(&r->g, r->d.isr, 1) == 2, "%s: the driver was not told", name);
    driver_kick(&r->d, 0);
    guest_poll(&r->g);
    driver_start(&r->d, 0, 1);
    round_trip(r);
    ck_assert_ptr_null(r->echo->vdev.error);
}

START_TEST(malformed_rows)
{
    struct rig r;
    struct piece p = {GUEST_RAM, 8, false};

    rig_init(&r, false);
    driver_start(&r.d, malformed[_i].features, 1);
    struct vring_desc *table = guest_ptr(&r.g, r.d.queues[0].desc);
    driver_add(&r.d, 0, &p, 1);
    if (malformed[_i].indirect) {
        gpa_t at = guest_alloc(&r.g, sizeof(malformed[_i].d), false);
        memcpy(guest_ptr(&r.g, at), malformed[_i].d, sizeof(malformed[_i].d));
        table[0] = (struct vring_desc){at, sizeof(malformed[_i].d), VRING_DESC_F_INDIRECT, 0};
    } else {
        memcpy(table, malformed[_i].d, sizeof(malformed[_i].d));
    }
    driver_kick(&r.d, 0);
    if (malformed[_i].why) {
        guest_wait(&r.g, r.echo->vdev.error);
        check_broken(&r, malformed[_i].name, malformed[_i].why);
    } else {
        guest_wait(&r.g, driver_used(&r.d, 0, NULL, NULL));
    }
    rig_fini(&r);
}
END_TEST

START_TEST(malformed_head)
{
    struct rig r;

    rig_init(&r, false);
    driver_start(&r.d, 0, 1);
    struct vring_avail *avail = guest_ptr(&r.g, r.d.queues[0].avail);
    avail->ring[0] = 64;
    avail->idx = 1;
    driver_kick(&r.d, 0);
    guest_wait(&r.g, r.echo->vdev.error);
    check_broken(&r, "head", "outside the table");
    rig_fini(&r);
}
END_TEST

START_TEST(malformed_index)
{
    struct rig r;

    rig_init(&r, false);
    driver_start(&r.d, 0, 1);
    struct vring_avail *avail = guest_ptr(&r.g, r.d.queues[0].avail);
    avail->idx = 65;
    driver_kick(&r.d, 0);
    guest_wait(&r.g, r.echo->vdev.error);
    check_broken(&r, "index", "ran past");
    rig_fini(&r);
}
END_TEST

static const struct {
    const char *name;
    gpa_t desc, avail, used;
} bad_rings[] = {
    {"nowhere", 0, 0, 0},
    {"desc unaligned", GUEST_RAM + 8, GUEST_RAM + 4096, GUEST_RAM + 8192},
    {"avail unaligned", GUEST_RAM, GUEST_RAM + 4097, GUEST_RAM + 8192},
    {"used unaligned", GUEST_RAM, GUEST_RAM + 4096, GUEST_RAM + 8194},
    {"desc off the end", BAD_RAM_END - 64 * 16 + 16, GUEST_RAM + 4096, GUEST_RAM + 8192},
    {"avail off the end", GUEST_RAM, BAD_RAM_END - 130, GUEST_RAM + 8192},
    {"used off the end", GUEST_RAM, GUEST_RAM + 4096, BAD_RAM_END - 512},
    {"used in ROM", GUEST_RAM, GUEST_RAM + 4096, GUEST_ROM},
    {"desc at the top", UINT64_MAX & ~15, GUEST_RAM, GUEST_RAM},
};

START_TEST(bad_ring_rows)
{
    struct rig r;
    const gpa_t at[] = {bad_rings[_i].desc, bad_rings[_i].avail, bad_rings[_i].used};

    rig_init(&r, false);
    ck_assert(driver_negotiate(&r.d, 0));
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_Q_SIZE, 2, 64);
    for (unsigned i = 0; i < 3; i++)
        guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_Q_DESCLO + 8 * i, 8, at[i]);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    r.d.queues[0].bell = r.d.notify;
    driver_ok(&r.d);
    guest_wait(&r.g, r.echo->vdev.error);
    check_broken(&r, bad_rings[_i].name, "a ring is not");
    rig_fini(&r);
}
END_TEST

/* --- resets ----------------------------------------------------------------------------------- */

/* A reset ends only when the last element is back. */
START_TEST(reset_waits)
{
    struct rig r;
    struct piece p;

    rig_init(&r, false);
    driver_start(&r.d, 0, 1);
    r.echo->hold = r.echo->hold_at_reset = true;
    p = (struct piece){r.to, 4, true};
    driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0);
    guest_wait(&r.g, r.echo->held->len == 1);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_STATUS, 1, 0);
    guest_wait(&r.g, r.echo->resets == 1);
    guest_poll(&r.g);
    ck_assert_uint_ne(driver_status(&r.d), 0);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_STATUS, 1, 1); /* too early: lost */
    echo_finish_held(r.echo);
    ck_assert_uint_eq(driver_status(&r.d), 0);
    ck_assert(!driver_used(&r.d, 0, NULL, NULL)); /* the ring was left alone */
    r.echo->hold = false;
    driver_start(&r.d, 0, 1);
    round_trip(&r);
    ck_assert_uint_eq(r.echo->starts, 2);
    rig_fini(&r);
}
END_TEST

START_TEST(reset_of_a_queue)
{
    struct rig r;
    struct piece p;

    rig_init(&r, false);
    driver_start(&r.d, ECHO_RESET, 2);
    r.echo->hold = r.echo->hold_at_reset = true;
    p = (struct piece){r.to, 4, true};
    driver_add(&r.d, 1, &p, 1);
    driver_kick(&r.d, 1);
    guest_wait(&r.g, r.echo->held->len == 1);
    guest_write(&r.g, r.d.common + VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    guest_write(&r.g, r.d.common + 58, 2, 1);
    ck_assert_uint_eq(guest_read(&r.g, r.d.common + 58, 2), 1);
    guest_wait(&r.g, r.echo->queue_resets == 1);
    r.echo->hold = false;
    round_trip(&r); /* the other queue goes on */
    ck_assert_uint_eq(guest_read(&r.g, r.d.common + 58, 2), 1);
    echo_finish_held(r.echo);
    ck_assert_uint_eq(guest_read(&r.g, r.d.common + 58, 2), 0);
    ck_assert_uint_eq(guest_read(&r.g, r.d.common + VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    driver_queue(&r.d, 1, 16);
    ck_assert_uint_eq(driver_do(&r.d, 1, &p, 1), 0);
    rig_fini(&r);
}
END_TEST

/* --- quiet and saved state -------------------------------------------------------------------- */

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

START_TEST(quiesce_waits)
{
    struct rig r;
    struct piece p;
    bool quiet = false;

    rig_init(&r, false);
    driver_start(&r.d, 0, 1);
    r.echo->hold = r.echo->hold_at_reset = true;
    p = (struct piece){r.to, 4, true};
    driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0);
    guest_wait(&r.g, r.echo->held->len == 1);
    driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0); /* rung, and not to be taken any more */
    pci_host_quiesce(r.g.host, set_true, &quiet);
    guest_poll(&r.g);
    ck_assert(!quiet);
    ck_assert_uint_eq(r.echo->held->len, 2); /* what had been rung for is caught up with first */
    echo_finish_held(r.echo);
    ck_assert(!quiet); /* whoever pushed may still raise its interrupt */
    guest_poll(&r.g);
    ck_assert(quiet);
    driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0);
    guest_poll(&r.g);
    ck_assert_uint_eq(r.echo->held->len, 0);
    pci_host_resume(r.g.host);
    guest_wait(&r.g, r.echo->held->len == 1);
    echo_finish_held(r.echo);
    rig_fini(&r);
}
END_TEST

/* A running device is saved, another like it goes on where it was: elements held come again. */
START_TEST(state_moves)
{
    struct rig r;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    struct piece p;
    bool quiet = false;
    size_t used;

    rig_init(&r, true);
    driver_start(&r.d, ECHO_EVENT, 2);
    for (unsigned i = 0; i < 5; i++)
        round_trip(&r);
    r.echo->hold = true;
    p = (struct piece){r.to, 4, true};
    driver_add(&r.d, 0, &p, 1);
    driver_add(&r.d, 0, &p, 1);
    driver_kick(&r.d, 0);
    guest_wait(&r.g, r.echo->held->len == 2);
    pci_host_quiesce(r.g.host, set_true, &quiet);
    ck_assert(quiet);
    pci_host_save(r.g.host, saved);

    struct driver old = r.d;
    driver_detach(&r.d);
    rig_attach(&r);
    quiet = false;
    pci_host_quiesce(r.g.host, set_true, &quiet);
    ck_assert_msg(pci_host_load(r.g.host, saved->data, saved->len, &used, &err), "%s",
                  err ? err->message : "");
    ck_assert_uint_eq(used, saved->len);
    pci_host_save(r.g.host, again);
    ck_assert_uint_eq(saved->len, again->len);
    ck_assert_mem_eq(saved->data, again->data, saved->len);
    old.vp = r.d.vp;
    r.d = old;
    pci_host_resume(r.g.host);
    guest_wait(&r.g, r.echo->done == 7);
    ck_assert(driver_used(&r.d, 0, NULL, NULL) && driver_used(&r.d, 0, NULL, NULL));
    round_trip(&r);
    ck_assert_uint_eq(r.echo->starts, 1);
    rig_fini(&r);
}
END_TEST

START_TEST(state_garbage)
{
    struct rig r;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    bool quiet = false;
    unsigned refused = 0;

    rig_init(&r, false);
    driver_start(&r.d, ECHO_EVENT, 2);
    round_trip(&r);
    pci_host_quiesce(r.g.host, set_true, &quiet);
    pci_host_save(r.g.host, saved);
    for (unsigned i = 0; i < 2000; i++) {
        g_autofree uint8_t *copy = g_memdup2(saved->data, saved->len);
        size_t used;
        for (unsigned k = 0; k < 3; k++)
            copy[g_rand_int_range(rand, 0, (gint32)saved->len)] = (uint8_t)g_rand_int(rand);
        refused += !pci_host_load(r.g.host, copy, saved->len, &used, NULL);
        pci_host_resume(r.g.host);
        guest_poll(&r.g);
        pci_host_quiesce(r.g.host, set_true, &quiet);
        pci_host_reset(r.g.host);
    }
    ck_assert_uint_gt(refused, 0);
    rig_fini(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, negotiate, 0, G_N_ELEMENTS(negotiations));
    tcase_add_test(tc, legacy_refused);
    tcase_add_test(tc, features_hold_still);
    tcase_add_test(tc, queue_registers);
    tcase_add_test(tc, configuration);
    tcase_add_test(tc, config_window);
    tcase_add_loop_test(tc, echoes, 0, G_N_ELEMENTS(ring_features));
    tcase_add_test(tc, index_wraps);
    tcase_add_test(tc, scattered_and_indirect);
    tcase_add_test(tc, interrupts_intx);
    tcase_add_test(tc, interrupts_event_index);
    tcase_add_test(tc, interrupts_msix);
    tcase_add_loop_test(tc, doorbells_suppressed, 0, 2);
    tcase_add_test(tc, doorbells_of_the_host);
    tcase_add_test(tc, doorbells_without_descriptors);
    tcase_add_loop_test(tc, buffers_may_lie, 0, 2);
    tcase_add_test(tc, no_master_no_dma);
    tcase_add_loop_test(tc, malformed_rows, 0, G_N_ELEMENTS(malformed));
    tcase_add_test(tc, malformed_head);
    tcase_add_test(tc, malformed_index);
    tcase_add_loop_test(tc, bad_ring_rows, 0, G_N_ELEMENTS(bad_rings));
    tcase_add_test(tc, reset_waits);
    tcase_add_test(tc, reset_of_a_queue);
    tcase_add_test(tc, quiesce_waits);
    tcase_add_test(tc, state_moves);
    tcase_add_test(tc, state_garbage);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
