/* virtio-blk through a driver's eyes, over a raw image. The linker lets the test see each fdatasync(),
 * and fail writes. */
#include "machine/virtio/blk.h"
#include "tests/unit/block_rig.h"
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_blk.h>

#define ALL_FEATURES                                                                               \
    (VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH) | VIRTIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE) |                \
     VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD) | VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES) |            \
     VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX))

enum { DISK = 4 << 20, UNTOUCHED = 0xee, WCE = offsetof(struct virtio_blk_config, wce) };

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);

static unsigned syncs;   /* atomic */
static int write_errors; /* atomic: what writes fail with; 0: they work */
static int writes_wait;  /* atomic: they do not go on */

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
    while (__atomic_load_n(&writes_wait, __ATOMIC_SEQ_CST))
        g_usleep(1000);
    int error = __atomic_load_n(&write_errors, __ATOMIC_SEQ_CST);

    if (error == 0)
        return __real_pwritev64(fd, iov, n, offset);
    errno = error;
    return -1;
}

int __wrap_fdatasync(int fd)
{
    __atomic_fetch_add(&syncs, 1, __ATOMIC_SEQ_CST);
    return __real_fdatasync(fd);
}

/* What the owner of a disk was told, and wants. */
struct owner {
    bool hold;
    unsigned told;
    int error;
};

static bool owner_failed(void *opaque, const struct block_req *req, int error)
{
    struct owner *o = opaque;

    o->told++;
    o->error = error;
    return o->hold;
}

/* A guest with a disk. */
struct setup {
    struct rig rig; /* its folder and path */
    struct guest g;
    struct driver d;
    struct block *block;
    struct virtio_device *dev; /* the bus's */
    char *path;
    struct owner owner;
    gpa_t header, status, data; /* 16, 1 and 64 KiB */
};

static void setup_open(struct setup *s, bool readonly, unsigned queues)
{
    struct virtio_blk_options options = {.serial = "serial-0123456789abcdef",
                                         .queues = queues,
                                         .failed = owner_failed,
                                         .opaque = &s->owner};

    s->owner = (struct owner){.hold = true};
    __atomic_store_n(&write_errors, 0, __ATOMIC_SEQ_CST);
    rig_open(&s->rig);
    s->path = rig_file(&s->rig, "disk", DISK);
    guest_init(&s->g, false);
    struct virtio_env env = guest_env(&s->g);
    s->block = block_open(s->path, BLOCK_FORMAT_RAW, readonly, env.loop, NULL, NULL);
    ck_assert_ptr_nonnull(s->block);
    s->dev = virtio_blk_new(&env, s->block, &options);
    driver_attach(&s->d, &s->g, s->dev, 1);
    s->header = guest_alloc(&s->g, 64, false);
    s->status = guest_alloc(&s->g, 1, false);
    s->data = guest_alloc(&s->g, 65536, true);
}

static void setup_close(struct setup *s)
{
    struct rig_wait w = {0};

    driver_detach(&s->d);
    block_close(s->block, rig_closed, &w);
    guest_wait(&s->g, w.done);
    ck_assert_int_eq(w.status, 0);
    guest_fini(&s->g);
    g_free(s->path);
    rig_close(&s->rig);
}

static uint8_t *bytes(struct setup *s, gpa_t gpa)
{
    return guest_ptr(&s->g, gpa);
}

static void put_header(struct setup *s, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr h = {GUINT32_TO_LE(type), 0, GUINT64_TO_LE(sector)};

    memcpy(guest_ptr(&s->g, s->header), &h, sizeof(h));
    *bytes(s, s->status) = UNTOUCHED;
}

/* One request with LENGTH bytes of data. Returns its status. */
static uint8_t request(struct setup *s, uint32_t type, uint64_t sector, uint32_t length)
{
    bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    struct piece p[3] = {{s->header, 16, false}};
    unsigned n = 1;

    put_header(s, type, sector);
    if (length)
        p[n++] = (struct piece){s->data, length, in};
    p[n++] = (struct piece){s->status, 1, true};
    uint32_t used = driver_do(&s->d, 0, p, n);
    ck_assert_uint_eq(used, in ? length + 1 : 1);
    return *bytes(s, s->status);
}

START_TEST(configuration)
{
    struct setup s;
    struct virtio_blk_config c;

    setup_open(&s, false, 4);
    uint64_t offered = driver_offered(&s.d);
    ck_assert_uint_eq(offered & ALL_FEATURES, ALL_FEATURES);
    ck_assert(offered & VIRTIO_FEATURE(VIRTIO_BLK_F_MQ));
    ck_assert(!(offered & VIRTIO_FEATURE(VIRTIO_BLK_F_RO)));
    for (unsigned i = 0; i < 60; i++)
        ((uint8_t *)&c)[i] = (uint8_t)guest_read(&s.g, s.d.config + i, 1);
    ck_assert_uint_eq(GUINT64_FROM_LE(c.capacity), DISK / 512);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.blk_size), 512);
    ck_assert_uint_eq(512u << c.physical_block_exp, block_geometry(s.block)->physical_block);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.seg_max), 254);
    ck_assert_uint_eq(GUINT16_FROM_LE(c.num_queues), 4);
    ck_assert_uint_eq(c.wce, 1);
    ck_assert_uint_eq(c.write_zeroes_may_unmap, 1);
    ck_assert_uint_gt(GUINT32_FROM_LE(c.max_discard_sectors), 0);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.discard_sector_alignment),
                      block_geometry(s.block)->discard_alignment / 512);
    setup_close(&s);
}
END_TEST

START_TEST(all_requests)
{
    struct setup s;
    struct virtio_blk_discard_write_zeroes range[3] = {
        {GUINT64_TO_LE(8), GUINT32_TO_LE(1), GUINT32_TO_LE(1)},
        {GUINT64_TO_LE(10), GUINT32_TO_LE(2), 0},
        {GUINT64_TO_LE(100), 0, 0}};
    uint64_t seed = 5;
    g_autofree uint8_t *want = g_malloc(65536);

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    rig_fill(&seed, want, 65536);
    memcpy(bytes(&s, s.data), want, 65536);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_OUT, 3, 65536), VIRTIO_BLK_S_OK);
    unsigned before = __atomic_load_n(&syncs, __ATOMIC_SEQ_CST);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(__atomic_load_n(&syncs, __ATOMIC_SEQ_CST), before + 1);

    memcpy(bytes(&s, s.data), range, sizeof(range));
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof(range)), VIRTIO_BLK_S_OK);
    memset(want + 5 * 512, 0, 512);
    memset(want + 7 * 512, 0, 1024);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, 3, 65536), VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(bytes(&s, s.data), want, 65536);

    range[0].flags = 0;
    memcpy(bytes(&s, s.data), range, sizeof(range));
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_DISCARD, 0, sizeof(range)), VIRTIO_BLK_S_OK);
    memset(bytes(&s, s.data), 0, 32);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(bytes(&s, s.data), "serial-0123456789abc\0", 21);
    /* Nothing to transfer is no error. */
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_OK);
    setup_close(&s);
}
END_TEST

/* Where a driver cuts its buffers is its own affair (virtio 1.2, 2.7.4). */
START_TEST(any_layout)
{
    struct setup s;

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    /* Header and data are one buffer but for the header's first 5 bytes. */
    gpa_t whole = guest_alloc(&s.g, 2048, true);
    put_header(&s, VIRTIO_BLK_T_OUT, 7);
    memcpy(bytes(&s, whole), bytes(&s, s.header) + 5, 11);
    memset(bytes(&s, whole) + 11, 0x3c, 1024);
    struct piece out[] = {{s.header, 5, false}, {whole, 11 + 300, false},
                          {whole + 311, 724, false}, {s.status, 1, true}};
    ck_assert_uint_eq(driver_do(&s.d, 0, out, 4), 1);
    ck_assert_uint_eq(*bytes(&s, s.status), VIRTIO_BLK_S_OK);
    /* Data and status are one buffer. */
    put_header(&s, VIRTIO_BLK_T_IN, 7);
    struct piece in[] = {{s.header, 16, false}, {s.data, 100, true}, {s.data + 100, 925, true}};
    ck_assert_uint_eq(driver_do(&s.d, 0, in, 3), 1025);
    for (unsigned i = 0; i < 1024; i++)
        ck_assert_uint_eq(bytes(&s, s.data)[i], 0x3c);
    ck_assert_uint_eq(bytes(&s, s.data)[1024], VIRTIO_BLK_S_OK);
    setup_close(&s);
}
END_TEST

/* Requests that are refused, one by one, with the status they get. */
static const struct {
    const char *name;
    uint32_t type;
    uint64_t sector;
    uint32_t length;
    uint64_t range_sector;
    uint32_t range_sectors, range_flags;
    uint64_t features; /* that are left out */
    uint8_t status;
} refusals[] = {
    {"behind the end", VIRTIO_BLK_T_IN, DISK / 512, 512, 0, 0, 0, 0, VIRTIO_BLK_S_IOERR},
    {"over the end", VIRTIO_BLK_T_OUT, DISK / 512 - 1, 1024, 0, 0, 0, 0, VIRTIO_BLK_S_IOERR},
    {"far away", VIRTIO_BLK_T_IN, UINT64_MAX, 512, 0, 0, 0, 0, VIRTIO_BLK_S_IOERR},
    {"wraps to 0", VIRTIO_BLK_T_OUT, 1ull << 55, 512, 0, 0, 0, 0, VIRTIO_BLK_S_IOERR},
    {"no sector", VIRTIO_BLK_T_IN, 0, 100, 0, 0, 0, 0, VIRTIO_BLK_S_IOERR},
    {"SCSI command", 2, 0, 512, 0, 0, 0, 0, VIRTIO_BLK_S_UNSUPP},
    {"secure erase", VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0, 1, 0, 0, VIRTIO_BLK_S_UNSUPP},
    {"absurd type", 0xffffffff, 0, 16, 0, 0, 0, 0, VIRTIO_BLK_S_UNSUPP},
    {"discard unmaps", VIRTIO_BLK_T_DISCARD, 0, 16, 0, 8, 1, 0, VIRTIO_BLK_S_UNSUPP},
    {"unknown flag", VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, 8, 2, 0, VIRTIO_BLK_S_UNSUPP},
    {"half a range", VIRTIO_BLK_T_DISCARD, 0, 24, 0, 8, 0, 0, VIRTIO_BLK_S_IOERR},
    {"no range", VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, 0, 0, 0, 0, VIRTIO_BLK_S_IOERR},
    {"too many ranges", VIRTIO_BLK_T_DISCARD, 0, 17 * 16, 0, 8, 0, 0, VIRTIO_BLK_S_IOERR},
    {"range outside", VIRTIO_BLK_T_DISCARD, 0, 16, DISK / 512, 8, 0, 0, VIRTIO_BLK_S_IOERR},
    {"range wraps", VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 1ull << 55, 8, 0, 0, VIRTIO_BLK_S_IOERR},
    {"long range", VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, UINT32_MAX, 0, 0, VIRTIO_BLK_S_IOERR},
    {"discard not agreed", VIRTIO_BLK_T_DISCARD, 0, 16, 0, 8, 0,
     VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD), VIRTIO_BLK_S_UNSUPP},
    {"zeroes not agreed", VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, 8, 0,
     VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES), VIRTIO_BLK_S_UNSUPP},
};

START_TEST(refusal_rows)
{
    struct setup s;
    struct virtio_blk_discard_write_zeroes range = {GUINT64_TO_LE(refusals[_i].range_sector),
                                                    GUINT32_TO_LE(refusals[_i].range_sectors),
                                                    GUINT32_TO_LE(refusals[_i].range_flags)};

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES & ~refusals[_i].features, 1);
    memcpy(bytes(&s, s.data), &range, sizeof(range));
    uint8_t got = request(&s, refusals[_i].type, refusals[_i].sector, refusals[_i].length);
    ck_assert_msg(got == refusals[_i].status, "%s: status %u", refusals[_i].name, got);
    /* The next one is served. */
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    setup_close(&s);
}
END_TEST

START_TEST(readonly)
{
    struct setup s;

    setup_open(&s, true, 1);
    uint64_t offered = driver_offered(&s.d);
    ck_assert(offered & VIRTIO_FEATURE(VIRTIO_BLK_F_RO));
    ck_assert(!(offered & (VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD) |
                           VIRTIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE))));
    driver_start(&s.d, VIRTIO_FEATURE(VIRTIO_BLK_F_RO), 1);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    setup_close(&s);
}
END_TEST

/* Chains in which there is nowhere to put an answer. */
static const struct {
    const char *name;
    struct piece pieces[2]; /* addresses are filled in */
    unsigned n;
} malformed[] = {
    {"short header", {{0, 15, false}, {0, 1, true}}, 2},
    {"no status", {{0, 16, false}}, 1},
    {"no header", {{0, 512, true}}, 1},
};

START_TEST(malformed_rows)
{
    struct setup s;
    struct piece p[2];

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    for (unsigned i = 0; i < malformed[_i].n; i++) {
        p[i] = malformed[_i].pieces[i];
        p[i].gpa = s.data;
    }
    driver_add(&s.d, 0, p, malformed[_i].n);
    driver_kick(&s.d, 0);
    guest_wait(&s.g, driver_status(&s.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
    driver_reset(&s.d);
    driver_start(&s.d, ALL_FEATURES, 1);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    setup_close(&s);
}
END_TEST

/* How the cache mode is agreed, and whether a write is flushed by itself. */
static const struct {
    const char *name;
    uint64_t features;
    int wce; /* written by the driver; -1: not */
    bool flushed;
} caches[] = {
    {"write-back", ALL_FEATURES, -1, false},
    {"write-back asked for", ALL_FEATURES, 1, false},
    {"write-through asked for", ALL_FEATURES, 0, true},
    {"no flush", VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD), -1, true},
    {"flush alone", VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH), -1, false},
};

START_TEST(cache_rows)
{
    struct setup s;

    setup_open(&s, false, 1);
    driver_start(&s.d, caches[_i].features, 1);
    if (caches[_i].wce >= 0)
        guest_write(&s.g, s.d.config + WCE, 1, (uint64_t)caches[_i].wce);
    unsigned before = __atomic_load_n(&syncs, __ATOMIC_SEQ_CST);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
    ck_assert_msg((__atomic_load_n(&syncs, __ATOMIC_SEQ_CST) > before) == caches[_i].flushed, "%s",
                  caches[_i].name);
    /* The next driver finds it as the first did. */
    driver_reset(&s.d);
    ck_assert_uint_eq(guest_read(&s.g, s.d.config + WCE, 1), 1);
    setup_close(&s);
}
END_TEST

/* More requests than the block layer takes at once, from two queues. */
START_TEST(more_than_fits)
{
    enum { EACH = 85 };
    struct setup s;

    setup_open(&s, false, 2);
    ck_assert(driver_negotiate(&s.d, ALL_FEATURES | VIRTIO_FEATURE(VIRTIO_BLK_F_MQ)));
    driver_queue(&s.d, 0, 256);
    driver_queue(&s.d, 1, 256);
    driver_ok(&s.d);
    ck_assert_uint_gt(2 * EACH, LIMIT_BLOCK_INFLIGHT);
    put_header(&s, VIRTIO_BLK_T_OUT, 0);
    gpa_t statuses = guest_alloc(&s.g, 2 * EACH, false);
    memset(bytes(&s, statuses), UNTOUCHED, 2 * EACH);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 2 * EACH; i++) {
            struct piece p[] = {{s.header, 16, false}, {s.data, 4096, false},
                                {statuses + i, 1, true}};
            driver_add(&s.d, i % 2, p, 3);
        }
        driver_kick(&s.d, 0);
        driver_kick(&s.d, 1);
        for (unsigned i = 0; i < 2 * EACH; i++)
            guest_wait(&s.g, driver_used(&s.d, i % 2, NULL, NULL));
        for (unsigned i = 0; i < 2 * EACH; i++)
            ck_assert_uint_eq(bytes(&s, statuses)[i], VIRTIO_BLK_S_OK);
    }
    setup_close(&s);
}
END_TEST

/* A reset, and a quiesce, with requests under way: they end first. */
START_TEST(interrupted)
{
    struct setup s;
    struct piece p[3];

    setup_open(&s, false, 1);
    gpa_t data = guest_alloc(&s.g, 20 * 65536, true);
    for (unsigned round = 0; round < 20; round++) {
        driver_start(&s.d, ALL_FEATURES, 1);
        put_header(&s, VIRTIO_BLK_T_IN, 0);
        p[0] = (struct piece){s.header, 16, false};
        p[2] = (struct piece){s.status, 1, true};
        for (unsigned i = 0; i < 20; i++) {
            p[1] = (struct piece){data + i * 65536, 65536, true};
            driver_add(&s.d, 0, p, 3);
        }
        driver_kick(&s.d, 0);
        for (unsigned i = 0; i < round % 4; i++)
            guest_poll(&s.g);
        driver_reset(&s.d);
        ck_assert_uint_eq(block_inflight(s.block), 0);
        /* Now the memory is the driver's. */
        memset(bytes(&s, data), 0x99, 20 * 65536);
        guest_poll(&s.g);
        for (unsigned i = 0; i < 20; i++)
            ck_assert_uint_eq(bytes(&s, data)[i * 65536 + 65535], 0x99);
    }
    driver_start(&s.d, ALL_FEATURES, 1);
    for (unsigned i = 0; i < 20; i++) {
        p[1] = (struct piece){data + i * 65536, 65536, true};
        driver_add(&s.d, 0, p, 3);
    }
    driver_kick(&s.d, 0);
    setup_close(&s);
}
END_TEST

/* --- the host's errors ---------------------------------------------------------------------- */

static void mark(void *opaque)
{
    *(bool *)opaque = true;
}

static void stand_still(struct setup *s)
{
    bool quiet = false;

    pci_host_quiesce(s->g.host, mark, &quiet);
    guest_wait(&s->g, quiet);
}

/* Makes N writes of the byte FILL available, and has the device look. */
static void begin_writes(struct setup *s, unsigned n, uint8_t fill)
{
    memset(bytes(s, s->data), fill, 65536);
    put_header(s, VIRTIO_BLK_T_OUT, 0);
    for (unsigned i = 0; i < n; i++) {
        struct piece p[] = {{s->header, 16, false}, {s->data, 65536, false}, {s->status, 1, true}};
        driver_add(&s->d, 0, p, 3);
    }
    driver_kick(&s->d, 0);
}

static uint8_t first_byte(struct setup *s)
{
    *bytes(s, s->data) = 0;
    ck_assert_uint_eq(request(s, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    return *bytes(s, s->data);
}

/* What is held survives standstills, is tried again after each, and is done when the host lets it. */
START_TEST(held)
{
    struct setup s;

    setup_open(&s, false, 1);
    struct virtio_device *dev = s.dev;
    driver_start(&s.d, ALL_FEATURES, 1);
    __atomic_store_n(&write_errors, ENOSPC, __ATOMIC_SEQ_CST);
    begin_writes(&s, 3, 0x77);
    for (unsigned round = 1; round <= 3; round++) {
        guest_wait(&s.g, virtio_blk_held(dev) == 3);
        ck_assert_int_eq(s.owner.error, -ENOSPC);
        ck_assert_uint_ge(s.owner.told, 3 * round);
        stand_still(&s);
        ck_assert(!virtio_device_idle(dev));
        ck_assert(!driver_used(&s.d, 0, NULL, NULL));
        ck_assert_uint_eq(*bytes(&s, s.status), UNTOUCHED);
        if (round == 3)
            __atomic_store_n(&write_errors, 0, __ATOMIC_SEQ_CST);
        pci_host_resume(s.g.host);
    }
    for (unsigned i = 0; i < 3; i++)
        guest_wait(&s.g, driver_used(&s.d, 0, NULL, NULL));
    ck_assert_uint_eq(*bytes(&s, s.status), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(virtio_blk_held(dev), 0);
    ck_assert_uint_eq(first_byte(&s), 0x77);
    setup_close(&s);
}
END_TEST

/* Requests that came later than a held one wait for it. */
START_TEST(held_stops_the_rest)
{
    struct setup s;

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    __atomic_store_n(&write_errors, ENOSPC, __ATOMIC_SEQ_CST);
    begin_writes(&s, 1, 0x11);
    guest_wait(&s.g, virtio_blk_held(s.dev) == 1);
    __atomic_store_n(&write_errors, 0, __ATOMIC_SEQ_CST);
    begin_writes(&s, 1, 0x22);
    guest_poll(&s.g);
    guest_poll(&s.g);
    ck_assert(!driver_used(&s.d, 0, NULL, NULL));
    stand_still(&s);
    pci_host_resume(s.g.host);
    guest_wait(&s.g, driver_used(&s.d, 0, NULL, NULL));
    guest_wait(&s.g, driver_used(&s.d, 0, NULL, NULL));
    setup_close(&s);
}
END_TEST

/* Whoever resets the device, a driver or the machine, has let go of what is held. */
START_TEST(held_and_reset)
{
    struct setup s;

    setup_open(&s, false, 1);
    for (unsigned round = 0; round < 2; round++) {
        driver_start(&s.d, ALL_FEATURES, 1);
        __atomic_store_n(&write_errors, ENOSPC, __ATOMIC_SEQ_CST);
        begin_writes(&s, 2, 0x77);
        guest_wait(&s.g, virtio_blk_held(s.dev) == 2);
        if (round)
            stand_still(&s);
        if (round)
            pci_host_reset(s.g.host);
        else
            driver_reset(&s.d);
        ck_assert_uint_eq(virtio_blk_held(s.dev), 0);
        ck_assert(virtio_device_idle(s.dev));
        __atomic_store_n(&write_errors, 0, __ATOMIC_SEQ_CST);
        if (round)
            pci_host_resume(s.g.host);
    }
    setup_close(&s);
}
END_TEST

/* A disk that is lost fails what it holds and whatever is asked for later, and has no room left. */
START_TEST(lost)
{
    struct setup s;
    uint64_t capacity;

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    request(&s, VIRTIO_BLK_T_OUT, 0, 512);
    __atomic_store_n(&write_errors, ENOSPC, __ATOMIC_SEQ_CST);
    begin_writes(&s, 2, 0x77);
    guest_wait(&s.g, virtio_blk_held(s.dev) == 2);
    ck_assert_uint_eq(virtio_blk_refused(s.dev), 0);
    virtio_blk_lose(s.dev);
    guest_wait(&s.g, driver_used(&s.d, 0, NULL, NULL));
    guest_wait(&s.g, driver_used(&s.d, 0, NULL, NULL));
    ck_assert_uint_eq(*bytes(&s, s.status), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(virtio_blk_held(s.dev), 0);
    ck_assert(!virtio_config_seen(s.dev));
    ck_assert_uint_eq(guest_read(&s.g, s.d.config, 8), 0);
    ck_assert(virtio_config_seen(s.dev));
    virtio_config_get(s.dev, offsetof(struct virtio_blk_config, capacity), &capacity, 8);
    ck_assert_uint_eq(capacity, 0);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(virtio_blk_refused(s.dev), 2);
    __atomic_store_n(&write_errors, 0, __ATOMIC_SEQ_CST);
    setup_close(&s);
}
END_TEST

/* A driver that runs is told of another size, and gets at what is new. */
START_TEST(resized)
{
    struct setup s;
    struct rig_wait w = {0};

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    uint64_t sectors = guest_read(&s.g, s.d.config, 8);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, sectors, 512), VIRTIO_BLK_S_IOERR);
    guest_read(&s.g, s.d.isr, 1);
    ck_assert_int_eq(block_grow(s.block, (sectors + 8) * 512, rig_done, &w), 0);
    guest_wait(&s.g, w.done);
    ck_assert_int_eq(w.status, 0);
    virtio_blk_resized(s.dev);
    ck_assert_uint_eq(guest_read(&s.g, s.d.isr, 1) & 2, 2);
    ck_assert_uint_eq(guest_read(&s.g, s.d.config, 8), sectors + 8);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, sectors + 7, 512), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(request(&s, VIRTIO_BLK_T_IN, sectors + 8, 512), VIRTIO_BLK_S_IOERR);
    virtio_blk_lose(s.dev);
    virtio_blk_resized(s.dev);
    ck_assert_uint_eq(guest_read(&s.g, s.d.config, 8), 0);
    setup_close(&s);
}
END_TEST

/* What is under way then, and fails later, is told to the guest: nobody would try it again. */
START_TEST(lost_under_way)
{
    struct setup s;

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    __atomic_store_n(&writes_wait, 1, __ATOMIC_SEQ_CST);
    begin_writes(&s, 2, 0x77);
    guest_wait(&s.g, block_inflight(s.block) == 2);
    virtio_blk_lose(s.dev);
    __atomic_store_n(&write_errors, ENOSPC, __ATOMIC_SEQ_CST);
    __atomic_store_n(&writes_wait, 0, __ATOMIC_SEQ_CST);
    guest_wait(&s.g, driver_used(&s.d, 0, NULL, NULL));
    guest_wait(&s.g, driver_used(&s.d, 0, NULL, NULL));
    ck_assert_uint_eq(*bytes(&s, s.status), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(virtio_blk_held(s.dev), 0);
    __atomic_store_n(&write_errors, 0, __ATOMIC_SEQ_CST);
    setup_close(&s);
}
END_TEST

/* A machine may end while a disk holds requests. */
START_TEST(held_at_the_end)
{
    struct setup s;

    setup_open(&s, false, 1);
    driver_start(&s.d, ALL_FEATURES, 1);
    __atomic_store_n(&write_errors, ENOSPC, __ATOMIC_SEQ_CST);
    begin_writes(&s, 2, 0x77);
    guest_wait(&s.g, virtio_blk_held(s.dev) == 2);
    setup_close(&s);
}
END_TEST

/* Errors, who is told, and what the guest gets. */
static const struct {
    const char *name;
    int error;
    bool hold;
    uint32_t type;
    uint64_t sector;
    unsigned told;
    uint8_t status;
} errors[] = {
    {"not held", ENOSPC, false, VIRTIO_BLK_T_OUT, 0, 1, VIRTIO_BLK_S_IOERR},
    {"another error", EIO, false, VIRTIO_BLK_T_OUT, 0, 1, VIRTIO_BLK_S_IOERR},
    {"the guest's own", EIO, true, VIRTIO_BLK_T_OUT, DISK / 512, 0, VIRTIO_BLK_S_IOERR},
    {"reading works", EIO, true, VIRTIO_BLK_T_IN, 0, 0, VIRTIO_BLK_S_OK},
};

START_TEST(error_rows)
{
    struct setup s;

    setup_open(&s, false, 1);
    s.owner.hold = errors[_i].hold;
    driver_start(&s.d, ALL_FEATURES, 1);
    __atomic_store_n(&write_errors, errors[_i].error, __ATOMIC_SEQ_CST);
    uint8_t got = request(&s, errors[_i].type, errors[_i].sector, 512);
    ck_assert_msg(got == errors[_i].status, "%s: status %u", errors[_i].name, got);
    ck_assert_msg(s.owner.told == errors[_i].told, "%s: told %u times", errors[_i].name,
                  s.owner.told);
    __atomic_store_n(&write_errors, 0, __ATOMIC_SEQ_CST);
    setup_close(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio_blk");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, configuration);
    tcase_add_test(tc, all_requests);
    tcase_add_test(tc, any_layout);
    tcase_add_loop_test(tc, refusal_rows, 0, G_N_ELEMENTS(refusals));
    tcase_add_test(tc, readonly);
    tcase_add_loop_test(tc, malformed_rows, 0, G_N_ELEMENTS(malformed));
    tcase_add_loop_test(tc, cache_rows, 0, G_N_ELEMENTS(caches));
    tcase_add_test(tc, more_than_fits);
    tcase_add_test(tc, interrupted);
    tcase_add_test(tc, held);
    tcase_add_test(tc, held_stops_the_rest);
    tcase_add_test(tc, held_and_reset);
    tcase_add_test(tc, held_at_the_end);
    tcase_add_test(tc, resized);
    tcase_add_test(tc, lost);
    tcase_add_test(tc, lost_under_way);
    tcase_add_loop_test(tc, error_rows, 0, G_N_ELEMENTS(errors));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
