/* What the tests of virtio-scsi share: a guest with an adapter, disks, and commands that are waited
 * for. */
#ifndef TESTS_UNIT_SCSI_RIG_H
#define TESTS_UNIT_SCSI_RIG_H

#include "machine/virtio/scsi.h"
#include "tests/unit/block_rig.h"
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_scsi.h>

enum {
    DISK = 4 << 20,
    DISKS = 8, /* with images, at most */
    SENSE_INVALID_OPCODE = 0x052000,
    SENSE_OUT_OF_RANGE = 0x052100,
    SENSE_INVALID_FIELD = 0x052400,
    SENSE_NO_UNIT = 0x052500,
    SENSE_INVALID_PARAMETER = 0x052600,
    SENSE_POWER_ON = 0x062901,
};

struct disk_facts {
    bool readonly;
    bool hold; /* what the host fails */
};

/* A unit's image, and what its owner was told. */
struct unit {
    struct block *block;
    char *path;
    bool hold;
    unsigned failures, changes;
    struct virtio_scsi_status status;
};

struct setup {
    struct rig rig; /* its folder and path */
    struct guest g;
    struct driver d;
    struct virtio_device *dev; /* the bus's */
    struct unit units[DISKS];
    gpa_t header, response, data; /* 64, 256 bytes, 1 MiB */
    uint64_t tag;
};

static inline void setup_open(struct setup *s, unsigned queues)
{
    *s = (struct setup){0};
    rig_open(&s->rig);
    guest_init(&s->g, false);
    struct virtio_env env = guest_env(&s->g);
    s->dev = virtio_scsi_new(&env, queues);
    driver_attach(&s->d, &s->g, s->dev, 1);
    s->header = guest_alloc(&s->g, 64, false);
    s->response = guest_alloc(&s->g, 256, false);
    s->data = guest_alloc(&s->g, MIB(1), true);
}

static inline bool unit_failed(void *opaque, const struct block_req *req, int error)
{
    struct unit *u = opaque;

    u->failures++;
    return u->hold;
}

static inline void unit_changed(void *opaque, unsigned lun, const struct virtio_scsi_status *status)
{
    struct unit *u = opaque;

    u->changes++;
    u->status = *status;
}

/* Makes an image and attaches it as LUN. */
static inline void setup_disk(struct setup *s, unsigned lun, const struct disk_facts *facts)
{
    g_autoptr(GError) err = NULL;
    struct unit *u = &s->units[lun];
    g_autofree char *name = g_strdup_printf("disk%u", lun);

    *u = (struct unit){.path = rig_file(&s->rig, name, DISK), .hold = facts->hold};
    u->block = block_open(u->path, BLOCK_FORMAT_RAW, facts->readonly, &s->g.loop, NULL, NULL);
    ck_assert_ptr_nonnull(u->block);
    const struct virtio_scsi_unit unit = {.block = u->block,
                                          .serial = "serial",
                                          .product = "a disk",
                                          .failed = unit_failed,
                                          .changed = unit_changed,
                                          .opaque = u};
    ck_assert_msg(virtio_scsi_attach(s->dev, lun, &unit, &err), "%s", err ? err->message : "");
}

/* Ends what was LUN's: the adapter is through with it. */
static inline void setup_close_disk(struct setup *s, unsigned lun)
{
    struct unit *u = &s->units[lun];
    struct rig_wait w = {0};

    block_close(u->block, rig_closed, &w);
    guest_wait(&s->g, w.done);
    g_free(u->path);
    u->block = NULL;
}

static inline void setup_close(struct setup *s)
{
    driver_detach(&s->d);
    for (unsigned lun = 0; lun < DISKS; lun++) {
        if (s->units[lun].block)
            setup_close_disk(s, lun);
    }
    guest_fini(&s->g);
    rig_close(&s->rig);
}

static inline void setup_start(struct setup *s)
{
    driver_start(&s->d,
                 VIRTIO_FEATURE(VIRTIO_SCSI_F_HOTPLUG) | VIRTIO_FEATURE(VIRTIO_SCSI_F_CHANGE) |
                     VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX),
                 3);
}

static inline uint8_t *bytes(struct setup *s, gpa_t gpa)
{
    return guest_ptr(&s->g, gpa);
}

/* How a command ended. */
struct reply {
    uint32_t used; /* bytes that the ring says */
    uint8_t response, status;
    uint32_t residual;
    uint32_t sense; /* key, code and qualifier; 0: none */
    uint16_t field; /* 1 + the byte of the command that sense complains of; 0: of none */
};

static inline struct reply reply_of(struct setup *s)
{
    struct virtio_scsi_cmd_resp resp;

    memcpy(&resp, bytes(s, s->response), sizeof(resp));
    const uint8_t *b = resp.sense;
    bool sense = GUINT32_FROM_LE(resp.sense_len) >= 18;
    return (struct reply){
        .response = resp.response,
        .status = resp.status,
        .residual = GUINT32_FROM_LE(resp.resid),
        .sense = sense ? (uint32_t)(b[2] << 16 | b[12] << 8 | b[13]) : 0,
        .field = sense && (b[15] & 0xc0) == 0xc0 ? (uint16_t)(1 + (b[16] << 8 | b[17])) : 0,
    };
}

static inline void put_header(struct setup *s, const uint8_t lun[8], const uint8_t cdb[16],
                              uint64_t tag)
{
    struct virtio_scsi_cmd_req req = {.tag = tag};

    memcpy(req.lun, lun, 8);
    memcpy(req.cdb, cdb, 16);
    memcpy(bytes(s, s->header), &req, sizeof(req));
    memset(bytes(s, s->response), 0xee, 256);
}

/* Makes a command available on request queue 0, with OUT or IN bytes of data; no doorbell. */
static inline void command_add(struct setup *s, const uint8_t lun[8], const uint8_t cdb[16],
                               uint32_t out, uint32_t in)
{
    struct piece p[4] = {{s->header, sizeof(struct virtio_scsi_cmd_req), false}};
    unsigned n = 1;

    put_header(s, lun, cdb, ++s->tag);
    if (out)
        p[n++] = (struct piece){s->data, out, false};
    p[n++] = (struct piece){s->response, sizeof(struct virtio_scsi_cmd_resp), true};
    if (in)
        p[n++] = (struct piece){s->data, in, true};
    driver_add(&s->d, 2, p, n);
}

static inline struct reply command_to(struct setup *s, const uint8_t lun[8], const uint8_t cdb[16],
                                      uint32_t out, uint32_t in)
{
    uint32_t used = 0;

    command_add(s, lun, cdb, out, in);
    driver_kick(&s->d, 2);
    guest_wait(&s->g, driver_used(&s->d, 2, NULL, &used));
    struct reply r = reply_of(s);
    r.used = used;
    return r;
}

static inline struct reply command(struct setup *s, unsigned lun, const uint8_t cdb[16],
                                   uint32_t out, uint32_t in)
{
    return command_to(s, (const uint8_t[8]){1, 0, 0, (uint8_t)lun}, cdb, out, in);
}

/* The first command of a new unit is told so, once. */
static inline void settle_attention(struct setup *s, unsigned lun)
{
    static const uint8_t ready[16] = {0};
    struct reply r = command(s, lun, ready, 0, 0);

    if (r.status)
        ck_assert_uint_eq(r.sense, SENSE_POWER_ON);
    ck_assert_uint_eq(command(s, lun, ready, 0, 0).status, 0);
}

/* The image's file holds WANT at OFFSET. */
static inline void check_file(struct setup *s, unsigned lun, off_t offset, const void *want,
                              size_t n)
{
    g_autofree uint8_t *got = g_malloc(n);
    int fd = open(s->units[lun].path, O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(pread(fd, got, n, offset), (ssize_t)n);
    close(fd);
    ck_assert_mem_eq(got, want, n);
}

#endif
