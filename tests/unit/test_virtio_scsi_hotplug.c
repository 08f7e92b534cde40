/* virtio-scsi: units that come and go while a driver runs. The linker lets the test fail writes. */
#include "tests/unit/scsi_rig.h"

#include "tests/unit/block_wrap.h"

enum { BUFFERS = 8, ADDED = VIRTIO_SCSI_EVT_RESET_RESCAN, REMOVED = VIRTIO_SCSI_EVT_RESET_REMOVED };

/* The guest's buffers for events. */
struct events {
    gpa_t buffer[BUFFERS];
    unsigned of_head[64];
};

static void event_add(struct setup *s, struct events *e, unsigned i)
{
    const struct piece p = {e->buffer[i], sizeof(struct virtio_scsi_event), true};

    e->of_head[driver_add(&s->d, 1, &p, 1)] = i;
    driver_kick(&s->d, 1);
}

/* Gives the device the first N buffers. */
static void events_init(struct setup *s, struct events *e, unsigned n)
{
    for (unsigned i = 0; i < BUFFERS; i++)
        e->buffer[i] = guest_alloc(&s->g, 64, false);
    for (unsigned i = 0; i < n; i++)
        event_add(s, e, i);
    guest_poll(&s->g);
}

/* The next event must be of KIND and REASON for LUN; which buffer it is in. */
static unsigned next_event(struct setup *s, struct events *e, unsigned lun, unsigned kind,
                           unsigned reason)
{
    struct virtio_scsi_event event;
    uint16_t head;
    uint32_t length;

    guest_wait(&s->g, driver_used(&s->d, 1, &head, &length));
    ck_assert_uint_eq(length, sizeof(event));
    memcpy(&event, bytes(s, e->buffer[e->of_head[head]]), sizeof(event));
    ck_assert_uint_eq(GUINT32_FROM_LE(event.event), kind);
    ck_assert_uint_eq(GUINT32_FROM_LE(event.reason), reason);
    ck_assert_uint_eq(event.lun[0], 1);
    ck_assert_uint_eq(event.lun[1], 0);
    ck_assert_uint_eq(event.lun[2] << 8 | event.lun[3], lun);
    return e->of_head[head];
}

static unsigned event_take(struct setup *s, struct events *e, unsigned lun, unsigned reason)
{
    return next_event(s, e, lun, VIRTIO_SCSI_T_TRANSPORT_RESET, reason);
}

static void no_event(struct setup *s)
{
    guest_poll(&s->g);
    ck_assert(!driver_used(&s->d, 1, NULL, NULL));
}

static const uint8_t inquiry[16] = {0x12, [4] = 36}, flush[16] = {0x35},
                     read_one[16] = {0x28, [8] = 1};

/* A guest with units up to N, each used once, and as many event buffers. */
static void begin(struct setup *s, struct events *e, unsigned units, unsigned buffers)
{
    setup_open(s, 1);
    for (unsigned lun = 0; lun < units; lun++)
        setup_disk(s, lun, &(struct disk_facts){.hold = true});
    setup_start(s);
    events_init(s, e, buffers);
    for (unsigned lun = 0; lun < units; lun++)
        settle_attention(s, lun);
}

START_TEST(added)
{
    struct setup s;
    struct events e;
    struct virtio_scsi_status status;

    begin(&s, &e, 1, BUFFERS);
    /* What is there from the start is found without events. */
    no_event(&s);
    setup_disk(&s, 3, &(struct disk_facts){0});
    unsigned i = event_take(&s, &e, 3, ADDED);
    ck_assert(virtio_scsi_status(s.dev, 3, &status) && !status.seen);
    struct reply r = command(&s, 3, inquiry, 0, 36);
    ck_assert_uint_eq(r.status, 0);
    ck_assert(s.units[3].status.seen && !s.units[3].status.asked);
    event_add(&s, &e, i);
    /* The first command that is not a question of what it is learns that the unit is new, once. */
    r = command(&s, 3, flush, 0, 0);
    ck_assert_uint_eq(r.sense, SENSE_POWER_ON);
    ck_assert_uint_eq(command(&s, 3, flush, 0, 0).status, 0);
    ck_assert(!s.units[3].status.used);
    ck_assert_uint_eq(command(&s, 3, read_one, 0, 512).status, 0);
    ck_assert(s.units[3].status.used);
    setup_close(&s);
}
END_TEST

START_TEST(removed)
{
    struct setup s;
    struct events e;

    begin(&s, &e, 1, 2);
    virtio_scsi_detach(s.dev, 0);
    virtio_scsi_detach(s.dev, 0);
    unsigned i = event_take(&s, &e, 0, REMOVED);
    no_event(&s);
    ck_assert(s.units[0].status.asked);
    /* The guest flushes; other buffers mean nothing. */
    ck_assert_uint_eq(command(&s, 0, flush, 0, 0).status, 0);
    event_add(&s, &e, 2);
    guest_poll(&s.g);
    ck_assert(!s.units[0].status.released);
    ck_assert_int_eq(virtio_scsi_free_lun(s.dev), 1);
    event_add(&s, &e, i);
    guest_wait(&s.g, s.units[0].status.released);
    ck_assert(s.units[0].status.seen && s.units[0].status.asked);
    ck_assert(!virtio_scsi_status(s.dev, 0, NULL));
    ck_assert_int_eq(virtio_scsi_free_lun(s.dev), 0);
    setup_close_disk(&s, 0);
    ck_assert_uint_eq(command(&s, 0, inquiry, 0, 36).response, VIRTIO_SCSI_S_BAD_TARGET);
    /* The number serves again. */
    setup_disk(&s, 0, &(struct disk_facts){0});
    event_take(&s, &e, 0, ADDED);
    settle_attention(&s, 0);
    setup_close(&s);
}
END_TEST

static void grow(struct setup *s, unsigned lun, uint64_t size)
{
    struct rig_wait w = {0};

    ck_assert_int_eq(block_grow(s->units[lun].block, size, rig_done, &w), 0);
    guest_wait(&s->g, w.done);
    ck_assert_int_eq(w.status, 0);
    virtio_scsi_resized(s->dev, lun);
}

/* A unit's size changes: its next command is told, once, and the driver at once, when it has a buffer. */
START_TEST(resized)
{
    static const uint8_t capacity[16] = {0x25};
    struct setup s;
    struct events e;

    begin(&s, &e, 2, 0);
    grow(&s, 1, DISK + 4096);
    no_event(&s);
    event_add(&s, &e, 0);
    unsigned i = next_event(&s, &e, 1, VIRTIO_SCSI_T_PARAM_CHANGE, 0x2a | 0x09 << 8);
    struct reply r = command(&s, 1, flush, 0, 0);
    ck_assert_uint_eq(r.sense, 0x062a09);
    ck_assert_uint_eq(command(&s, 1, capacity, 0, 8).status, 0);
    ck_assert_int_eq(memcmp(bytes(&s, s.data), "\x00\x00\x20\x07\x00\x00\x02\x00", 8), 0);
    ck_assert_uint_eq(command(&s, 0, flush, 0, 0).status, 0);
    /* Its buffer means nothing for the removal that comes in between. */
    event_add(&s, &e, i);
    virtio_scsi_detach(s.dev, 1);
    grow(&s, 1, DISK + 8192);
    i = event_take(&s, &e, 1, REMOVED);
    event_add(&s, &e, i + 1);
    next_event(&s, &e, 1, VIRTIO_SCSI_T_PARAM_CHANGE, 0x2a | 0x09 << 8);
    guest_poll(&s.g);
    ck_assert(!s.units[1].status.released);
    event_add(&s, &e, i);
    guest_wait(&s.g, s.units[1].status.released);
    /* Nor does one that is gone matter. */
    virtio_scsi_resized(s.dev, 1);
    virtio_scsi_resized(s.dev, LIMIT_SCSI_LUNS);
    no_event(&s);
    setup_close(&s);
}
END_TEST

/* Events wait for buffers. */
START_TEST(no_buffers)
{
    struct setup s;
    struct events e;

    begin(&s, &e, 2, 0);
    virtio_scsi_detach(s.dev, 1);
    virtio_scsi_detach(s.dev, 0);
    setup_disk(&s, 2, &(struct disk_facts){0});
    guest_poll(&s.g);
    ck_assert(!s.units[0].status.asked && !s.units[1].status.asked);
    event_add(&s, &e, 0);
    event_take(&s, &e, 0, REMOVED);
    no_event(&s);
    event_add(&s, &e, 1);
    event_take(&s, &e, 1, REMOVED);
    ck_assert(s.units[1].status.asked && !s.units[0].status.released);
    /* The one of unit 0 comes back, and takes what is still due. */
    event_add(&s, &e, 0);
    event_take(&s, &e, 2, ADDED);
    ck_assert(s.units[0].status.released && !s.units[1].status.released);
    setup_close(&s);
}
END_TEST

/* One that the guest never heard of is taken back without a word. */
START_TEST(added_and_taken_back)
{
    struct setup s;
    struct events e;

    begin(&s, &e, 1, 0);
    setup_disk(&s, 1, &(struct disk_facts){0});
    virtio_scsi_detach(s.dev, 1);
    ck_assert(s.units[1].status.released && !s.units[1].status.seen);
    event_add(&s, &e, 0);
    no_event(&s);
    setup_close(&s);
}
END_TEST

/* A guest has one event of a unit at a time. */
START_TEST(in_order)
{
    struct setup s;
    struct events e;

    begin(&s, &e, 0, 4);
    setup_disk(&s, 1, &(struct disk_facts){0});
    unsigned i = event_take(&s, &e, 1, ADDED);
    virtio_scsi_detach(s.dev, 1);
    no_event(&s);
    ck_assert(!s.units[1].status.asked);
    event_add(&s, &e, i);
    i = event_take(&s, &e, 1, REMOVED);
    event_add(&s, &e, i);
    guest_wait(&s.g, s.units[1].status.released);
    setup_close(&s);
}
END_TEST

START_TEST(reset_during_removal)
{
    struct setup s;
    struct events e;

    begin(&s, &e, 2, 1);
    virtio_scsi_detach(s.dev, 0);
    virtio_scsi_detach(s.dev, 1);
    event_take(&s, &e, 0, REMOVED);
    driver_reset(&s.d);
    ck_assert(s.units[0].status.released && s.units[1].status.released);
    ck_assert_int_eq(virtio_scsi_free_lun(s.dev), 0);
    /* The next driver hears nothing of them. */
    setup_start(&s);
    events_init(&s, &e, 2);
    no_event(&s);
    ck_assert_uint_eq(command(&s, 0, inquiry, 0, 36).response, VIRTIO_SCSI_S_BAD_TARGET);
    setup_close(&s);
}
END_TEST

START_TEST(no_driver)
{
    struct setup s;

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    virtio_scsi_detach(s.dev, 0);
    ck_assert(s.units[0].status.released && !s.units[0].status.asked);
    setup_close(&s);
}
END_TEST

/* A driver that wants no events is sent none. */
START_TEST(no_hotplug)
{
    struct setup s;
    struct events e;

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    driver_start(&s.d, 0, 3);
    events_init(&s, &e, 2);
    setup_disk(&s, 1, &(struct disk_facts){0});
    settle_attention(&s, 1);
    virtio_scsi_detach(s.dev, 1);
    no_event(&s);
    ck_assert(!s.units[1].status.asked && !s.units[1].status.released);
    virtio_scsi_drop(s.dev, 1);
    ck_assert(s.units[1].status.released);
    ck_assert_int_eq(virtio_scsi_free_lun(s.dev), 1);
    setup_close(&s);
}
END_TEST

/* Without asking, with commands under way: they end, then the image is let go of. */
START_TEST(dropped)
{
    struct setup s;
    struct events e;
    static const uint8_t read[16] = {0x28, [7] = 0, [8] = 128};
    unsigned n = 12;

    begin(&s, &e, 2, 2);
    for (unsigned i = 0; i < n; i++) {
        s.data = guest_alloc(&s.g, 65536, false);
        command_add(&s, (const uint8_t[8]){1, 0, 0, 1}, read, 0, 65536);
    }
    driver_kick(&s.d, 2);
    guest_turn(&s.g); /* some are under way, most likely */
    virtio_scsi_drop(s.dev, 1);
    ck_assert(!virtio_scsi_status(s.dev, 1, NULL));
    guest_wait(&s.g, s.units[1].status.released);
    ck_assert_uint_eq(block_inflight(s.units[1].block), 0);
    setup_close_disk(&s, 1);
    while (n--)
        guest_wait(&s.g, driver_used(&s.d, 2, NULL, NULL));
    struct reply r = command(&s, 1, flush, 0, 0);
    ck_assert_uint_eq(r.sense, SENSE_NO_UNIT);
    ck_assert_uint_eq(command(&s, 0, flush, 0, 0).status, 0);
    /* Until the guest has understood, the number is not given away. */
    unsigned i = event_take(&s, &e, 1, REMOVED);
    ck_assert_int_eq(virtio_scsi_free_lun(s.dev), 2);
    event_add(&s, &e, i);
    guest_wait(&s.g, virtio_scsi_free_lun(s.dev) == 1);
    setup_close(&s);
}
END_TEST

/* A guest that was asked and says nothing. */
START_TEST(dropped_after_asking)
{
    struct setup s;
    struct events e;

    begin(&s, &e, 1, 1);
    virtio_scsi_detach(s.dev, 0);
    event_take(&s, &e, 0, REMOVED);
    virtio_scsi_drop(s.dev, 0);
    ck_assert(s.units[0].status.released && s.units[0].status.asked);
    ck_assert_int_eq(virtio_scsi_free_lun(s.dev), 1);
    event_add(&s, &e, 0);
    guest_wait(&s.g, virtio_scsi_free_lun(s.dev) == 0);
    no_event(&s);
    setup_close(&s);
}
END_TEST

/* What is held of a unit ends with it, and the others go on. */
START_TEST(dropped_while_held)
{
    struct setup s;
    struct events e;
    static const uint8_t write[16] = {0x2a, [8] = 1};

    begin(&s, &e, 2, 1);
    wrap_fail_writes(ENOSPC);
    command_add(&s, (const uint8_t[8]){1, 0, 0, 1}, write, 512, 0);
    driver_kick(&s.d, 2);
    guest_wait(&s.g, virtio_scsi_held(s.dev, 1) == 1);
    ck_assert_uint_eq(s.units[1].failures, 1);
    wrap_fail_writes(0);
    virtio_scsi_drop(s.dev, 1);
    ck_assert(s.units[1].status.released);
    guest_wait(&s.g, driver_used(&s.d, 2, NULL, NULL));
    ck_assert_uint_eq(reply_of(&s).sense, SENSE_NO_UNIT);
    ck_assert_uint_eq(command(&s, 0, flush, 0, 0).status, 0);
    setup_close(&s);
}
END_TEST

START_TEST(limit)
{
    struct setup s;
    g_autoptr(GError) err = NULL;
    static const uint8_t report[16] = {0xa0, [8] = 4};

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    /* None is used, so that one image will do. */
    const struct virtio_scsi_unit unit = {.block = s.units[0].block};
    for (unsigned lun = 1; lun < LIMIT_SCSI_LUNS; lun++) {
        ck_assert_int_eq(virtio_scsi_free_lun(s.dev), (int)lun);
        ck_assert(virtio_scsi_attach(s.dev, lun, &unit, NULL));
    }
    ck_assert_int_eq(virtio_scsi_free_lun(s.dev), -1);
    ck_assert(!virtio_scsi_attach(s.dev, LIMIT_SCSI_LUNS, &unit, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_LIMIT);
    g_clear_error(&err);
    ck_assert(!virtio_scsi_attach(s.dev, 7, &unit, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_BUSY);
    setup_start(&s);
    struct reply r = command(&s, 0, report, 0, 1024);
    ck_assert_uint_eq(1024 - r.residual, 8 + 8 * LIMIT_SCSI_LUNS);
    setup_close(&s);
}
END_TEST

static void mark(void *opaque)
{
    *(bool *)opaque = true;
}

/* A standstill with commands under way, and events on both sides of it. */
START_TEST(standstill)
{
    struct setup s;
    struct events e;
    bool quiet = false;
    static const uint8_t read[16] = {0x28, [8] = 128};

    begin(&s, &e, 1, 3);
    for (unsigned i = 0; i < 10; i++) {
        s.data = guest_alloc(&s.g, 65536, false);
        command_add(&s, (const uint8_t[8]){1}, read, 0, 65536);
    }
    driver_kick(&s.d, 2);
    guest_turn(&s.g); /* some are under way, most likely */
    pci_host_quiesce(s.g.host, mark, &quiet);
    guest_wait(&s.g, quiet);
    ck_assert(virtio_device_idle(s.dev));
    virtio_scsi_detach(s.dev, 0);
    setup_disk(&s, 1, &(struct disk_facts){0});
    no_event(&s);
    pci_host_resume(s.g.host);
    unsigned i = event_take(&s, &e, 0, REMOVED);
    event_take(&s, &e, 1, ADDED);
    for (unsigned n = 0; n < 10; n++)
        guest_wait(&s.g, driver_used(&s.d, 2, NULL, NULL));
    event_add(&s, &e, i);
    guest_wait(&s.g, s.units[0].status.released);
    setup_close(&s);
}
END_TEST

static void attach_again(struct setup *s, unsigned lun)
{
    struct unit *u = &s->units[lun];
    const struct virtio_scsi_unit unit = {.block = u->block, .changed = unit_changed, .opaque = u};

    ck_assert(virtio_scsi_attach(s->dev, lun, &unit, NULL));
}

/* Another adapter with units 0 and 1 goes on where the first was saved. */
static void move(struct setup *s)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    struct virtio_env env = guest_env(&s->g);
    struct driver was = s->d;
    bool quiet = false;
    size_t used;

    pci_host_quiesce(s->g.host, mark, &quiet);
    guest_wait(&s->g, quiet);
    pci_host_save(s->g.host, saved);
    driver_detach(&s->d);
    s->dev = virtio_scsi_new(&env, 1);
    attach_again(s, 0);
    attach_again(s, 1);
    driver_attach(&s->d, &s->g, s->dev, 1);
    ck_assert_msg(pci_host_load(s->g.host, saved->data, saved->len, &used, &err), "%s",
                  err ? err->message : "");
    /* The guest's driver noticed nothing. */
    was.vp = s->d.vp;
    s->d = was;
    pci_host_resume(s->g.host);
    guest_poll(&s->g);
}

/* State that was saved with a removal half way, and an addition that waits for a buffer. */
START_TEST(saved)
{
    struct setup s;
    struct events e;

    begin(&s, &e, 1, 1);
    virtio_scsi_detach(s.dev, 0);
    event_take(&s, &e, 0, REMOVED);
    setup_disk(&s, 1, &(struct disk_facts){0});
    move(&s);
    struct virtio_scsi_status status;
    ck_assert(virtio_scsi_status(s.dev, 0, &status) && status.asked && status.seen);
    event_add(&s, &e, 0);
    event_take(&s, &e, 1, ADDED);
    ck_assert(s.units[0].status.released);
    setup_close(&s);
}
END_TEST

/* Saved state of other units is refused. */
START_TEST(saved_of_others)
{
    struct setup s;
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    bool quiet = false;
    size_t used;

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    pci_host_quiesce(s.g.host, mark, &quiet);
    guest_wait(&s.g, quiet);
    pci_host_save(s.g.host, out);
    virtio_scsi_detach(s.dev, 0);
    ck_assert(!pci_host_load(s.g.host, out->data, out->len, &used, &err));
    ck_assert_msg(strstr(err->message, "unit 0") != NULL, "%s", err->message);
    pci_host_resume(s.g.host);
    setup_close(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio_scsi_hotplug");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, added);
    tcase_add_test(tc, removed);
    tcase_add_test(tc, resized);
    tcase_add_test(tc, no_buffers);
    tcase_add_test(tc, added_and_taken_back);
    tcase_add_test(tc, in_order);
    tcase_add_test(tc, reset_during_removal);
    tcase_add_test(tc, no_driver);
    tcase_add_test(tc, no_hotplug);
    tcase_add_test(tc, dropped);
    tcase_add_test(tc, dropped_after_asking);
    tcase_add_test(tc, dropped_while_held);
    tcase_add_test(tc, limit);
    tcase_add_test(tc, standstill);
    tcase_add_test(tc, saved);
    tcase_add_test(tc, saved_of_others);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
