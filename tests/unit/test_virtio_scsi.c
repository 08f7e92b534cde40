/* virtio-scsi through a driver's eyes: commands, over raw images. Coming and going is
 * test_virtio_scsi_hotplug.c's. */
#include "tests/unit/scsi_rig.h"

#include <errno.h>

/* --- what is read without an image ------------------------------------------------------------ */

START_TEST(configuration)
{
    struct setup s;
    struct virtio_scsi_config c;

    setup_open(&s, 4);
    ck_assert(driver_offered(&s.d) & VIRTIO_FEATURE(VIRTIO_SCSI_F_HOTPLUG));
    ck_assert(!(driver_offered(&s.d) & VIRTIO_FEATURE(VIRTIO_SCSI_F_INOUT)));
    for (unsigned i = 0; i < sizeof(c); i++)
        ((uint8_t *)&c)[i] = (uint8_t)guest_read(&s.g, s.d.config + i, 1);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.num_queues), 4);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.cmd_per_lun), LIMIT_BLOCK_INFLIGHT);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.sense_size), 96);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.cdb_size), 32);
    ck_assert_uint_eq(GUINT32_FROM_LE(c.max_lun), LIMIT_SCSI_LUNS - 1);
    ck_assert_uint_eq(GUINT16_FROM_LE(c.max_target), 0);
    setup_close(&s);
}
END_TEST

/* Data that are asked for, and bytes of the answer at an offset. */
static const struct {
    const char *name;
    uint8_t cdb[16];
    uint32_t room;
    uint32_t length; /* that is given */
    unsigned at, n;
    const char *bytes;
} answers[] = {
    {"inquiry", {0x12, 0, 0, 0, 96}, 96, 96, 0, 8, "\x00\x00\x06\x12\x5b\x00\x00\x02"},
    {"vendor", {0x12, 0, 0, 0, 96}, 96, 96, 8, 24, "vmd     a disk          "},
    {"36 bytes of it", {0x12, 0, 0, 0, 36}, 36, 36, 32, 4, "1   "},
    {"none of it", {0x12}, 96, 0, 0, 0, ""},
    {"pages", {0x12, 1, 0, 0, 255}, 255, 10, 0, 10, "\x00\x00\x00\x06\x00\x80\x83\xb0\xb1\xb2"},
    {"serial", {0x12, 1, 0x80, 0, 255}, 255, 10, 0, 10, "\x00\x80\x00\x06serial"},
    {"identification",
     {0x12, 1, 0x83, 0, 255},
     255,
     22,
     0,
     22,
     "\x00\x83\x00\x12\x02\x01\x00\x0evmd     serial"},
    {"limits", {0x12, 1, 0xb0, 0, 255}, 255, 64, 0, 5, "\x00\xb0\x00\x3c\x01"},
    {"most a transfer", {0x12, 1, 0xb0, 0, 255}, 255, 64, 8, 4, "\x00\x02\x00\x00"},
    {"most of unmap", {0x12, 1, 0xb0, 0, 255}, 255, 64, 20, 8, "\x00\x40\x00\x00\x00\x00\x00\x10"},
    {"most of write same", {0x12, 1, 0xb0, 0, 255}, 255, 64, 36, 8, "\0\0\0\0\x00\x08\x00\x00"},
    {"rotation", {0x12, 1, 0xb1, 0, 255}, 255, 64, 0, 6, "\x00\xb1\x00\x3c\x00\x01"},
    {"provisioning", {0x12, 1, 0xb2, 0, 255}, 255, 8, 0, 8, "\x00\xb2\x00\x04\x00\xe0\x02\x00"},
    {"no sense", {3, 0, 0, 0, 18}, 18, 18, 0, 18, "\x70\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\0\0\0"},
    {"no sense, described", {3, 1, 0, 0, 18}, 18, 8, 0, 8, "\x72\0\0\0\0\0\0\0"},
    {"caching", {0x1a, 8, 8, 0, 192}, 192, 24, 0, 7, "\x17\x00\x10\x00\x08\x12\x04"},
    {"nothing can be changed", {0x1a, 8, 0x48, 0, 192}, 192, 24, 4, 4, "\x08\x12\x00\x00"},
    {"all pages",
     {0x1a, 0, 0x3f, 0, 192},
     192,
     44,
     0,
     14,
     "\x2b\x00\x10\x08\x00\x00\x20\x00\x00\x00\x02\x00\x08\x12"},
    {"ten bytes",
     {0x5a, 0x10, 0x0a, 0, 0, 0, 0, 1, 0},
     256,
     36,
     0,
     8,
     "\x00\x22\x00\x10\x01\x00\x00\x10"},
    {"ten bytes' descriptor",
     {0x5a, 0x10, 0x0a, 0, 0, 0, 0, 1, 0},
     256,
     36,
     8,
     20,
     "\0\0\0\0\x00\x00\x20\x00\0\0\0\0\x00\x00\x02\x00\x0a\x0a\x00\x10"},
    {"capacity", {0x25}, 8, 8, 0, 8, "\x00\x00\x1f\xff\x00\x00\x02\x00"},
    {"capacity 16",
     {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32},
     32,
     32,
     0,
     12,
     "\0\0\0\0\x00\x00\x1f\xff\x00\x00\x02\x00"},
    {"it is thin", {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32}, 32, 32, 14, 2, "\x80\x00"},
    {"units",
     {0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0},
     256,
     24,
     0,
     24,
     "\x00\x00\x00\x10\0\0\0\0\0\x00\0\0\0\0\0\0\0\x05\0\0\0\0\0\0"},
    {"units and well-known ones",
     {0xa0, 0, 2, 0, 0, 0, 0, 0, 0, 16},
     16,
     16,
     0,
     10,
     "\x00\x00\x00\x18\0\0\0\0\xc1\x01"},
    {"one opcode",
     {0xa3, 0x0c, 1, 0x28, 0, 0, 0, 0, 1, 0},
     256,
     14,
     0,
     14,
     "\x00\x03\x00\x0a\x28\x18\xff\xff\xff\xff\x00\xff\xff\x00"},
    {"an unknown opcode", {0xa3, 0x0c, 1, 0x15, 0, 0, 0, 0, 1, 0}, 256, 4, 0, 2, "\x00\x01"},
    {"an opcode with action",
     {0xa3, 0x0c, 2, 0x9e, 0, 0x10, 0, 0, 1, 0},
     256,
     20,
     0,
     6,
     "\x00\x03\x00\x10\x9e\x10"},
    {"an unknown action", {0xa3, 0x0c, 2, 0x9e, 0, 0x12, 0, 0, 1, 0}, 256, 4, 0, 2, "\x00\x01"},
    {"with its time",
     {0xa3, 0x0c, 0x81, 0, 0, 0, 0, 0, 1, 0},
     256,
     22,
     0,
     12,
     "\x00\x83\x00\x06\0\0\0\0\0\0\x00\x0a"},
    {"all opcodes", {0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 4, 0}, 1024, 220, 0, 4, "\x00\x00\x00\xd8"},
};

START_TEST(answer_rows)
{
    struct setup s;

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    setup_disk(&s, 5, &(struct disk_facts){0});
    setup_start(&s);
    settle_attention(&s, 0);
    struct reply r = command(&s, 0, answers[_i].cdb, 0, answers[_i].room);
    ck_assert_msg(r.response == 0 && r.status == 0, "%s: response %u, status %u, sense %x",
                  answers[_i].name, r.response, r.status, r.sense);
    ck_assert_msg(r.residual == answers[_i].room - answers[_i].length, "%s: %u bytes are left",
                  answers[_i].name, r.residual);
    ck_assert_msg(memcmp(bytes(&s, s.data) + answers[_i].at, answers[_i].bytes, answers[_i].n) == 0,
                  "%s: other bytes", answers[_i].name);
    setup_close(&s);
}
END_TEST

/* --- what is refused -------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint8_t cdb[16];
    uint32_t out, in; /* bytes of data */
    uint8_t response;
    uint32_t sense; /* 0: GOOD */
    uint16_t field; /* 1 + byte in the command where sense says so */
} refusals[] = {
    {"unknown opcode", {0xff}, 0, 0, 0, SENSE_INVALID_OPCODE, 0},
    {"mode select", {0x15, 0x10, 0, 0, 24}, 24, 0, 0, SENSE_INVALID_OPCODE, 0},
    {"mode select 10", {0x55, 0x10, 0, 0, 0, 0, 0, 0, 24}, 24, 0, 0, SENSE_INVALID_OPCODE, 0},
    {"unknown action", {0x9e, 0x12}, 0, 32, 0, SENSE_INVALID_FIELD, 2},
    {"a bit of no meaning", {0x00, 0, 0, 4}, 0, 0, 0, SENSE_INVALID_FIELD, 4},
    {"control byte", {0x28, 0, 0, 0, 0, 0, 0, 0, 1, 4}, 0, 512, 0, SENSE_INVALID_FIELD, 10},
    {"protection", {0x28, 0x20, 0, 0, 0, 0, 0, 0, 1}, 0, 512, 0, SENSE_INVALID_FIELD, 2},
    {"page of no page", {0x12, 0, 0x80, 0, 36}, 0, 36, 0, SENSE_INVALID_FIELD, 3},
    {"unknown page", {0x12, 1, 0x84, 0, 36}, 0, 36, 0, SENSE_INVALID_FIELD, 3},
    {"unknown mode page", {0x1a, 0, 0x1c, 0, 36}, 0, 36, 0, SENSE_INVALID_FIELD, 3},
    {"unknown subpage", {0x1a, 0, 0x0a, 5, 36}, 0, 36, 0, SENSE_INVALID_FIELD, 4},
    {"saved pages", {0x1a, 0, 0xc8, 0, 36}, 0, 36, 0, 0x053900, 0},
    {"no room for units", {0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15}, 0, 15, 0, SENSE_INVALID_FIELD, 7},
    {"unknown units", {0xa0, 0, 3, 0, 0, 0, 0, 0, 0, 16}, 0, 16, 0, SENSE_INVALID_FIELD, 3},
    {"eject", {0x1b, 0, 0, 0, 2}, 0, 0, 0, SENSE_INVALID_FIELD, 5},
    {"action of none", {0xa3, 0x0c, 2, 0x28, 0, 0, 0, 0, 1, 0}, 0, 256, 0, SENSE_INVALID_FIELD, 5},
    {"none of action", {0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 1, 0}, 0, 256, 0, SENSE_INVALID_FIELD, 5},
    {"behind the end", {0x28, 0, 0, 0, 0x20, 0, 0, 0, 1}, 0, 512, 0, SENSE_OUT_OF_RANGE, 0},
    {"over the end", {0x28, 0, 0, 0, 0x1f, 0xff, 0, 0, 2}, 0, 1024, 0, SENSE_OUT_OF_RANGE, 0},
    {"far away",
     {0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1},
     0,
     512,
     0,
     SENSE_OUT_OF_RANGE,
     0},
    {"sum wraps",
     {0x8a, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
     512,
     0,
     0,
     SENSE_OUT_OF_RANGE,
     0},
    {"none behind the end", {0x28, 0, 0, 0, 0x20, 0, 0, 0, 0}, 0, 0, 0, SENSE_OUT_OF_RANGE, 0},
    {"six bytes over the end", {0x08, 0, 0x1f, 0xff, 0}, 0, 512, 0, SENSE_OUT_OF_RANGE, 0},
    {"flush behind the end", {0x35, 0, 0, 0, 0x20, 0, 0, 0, 0}, 0, 0, 0, SENSE_OUT_OF_RANGE, 0},
    {"verify behind the end", {0x2f, 0, 0, 0, 0x20, 0, 0, 0, 1}, 0, 0, 0, SENSE_OUT_OF_RANGE, 0},
    {"verify of a kind", {0x2f, 0x06, 0, 0, 0, 0, 0, 0, 1}, 512, 0, 0, SENSE_INVALID_FIELD, 2},
    {"the same, none", {0x41, 0, 0, 0, 0, 0, 0, 0, 0}, 512, 0, 0, SENSE_INVALID_FIELD, 8},
    {"unmap, short list", {0x42, 0, 0, 0, 0, 0, 0, 0, 7}, 8, 0, 0, 0x051a00, 0},
    {"unmap, no list", {0x42, 0, 0, 0, 0, 0, 0, 0, 0}, 0, 0, 0, 0, 0},
    {"too little room", {0x28, 0, 0, 0, 0, 0, 0, 0, 2}, 0, 1023, VIRTIO_SCSI_S_OVERRUN, 0, 0},
    {"too little data", {0x2a, 0, 0, 0, 0, 0, 0, 0, 2}, 1023, 0, VIRTIO_SCSI_S_OVERRUN, 0, 0},
    {"the wrong way", {0x2a, 0, 0, 0, 0, 0, 0, 0, 1}, 0, 512, VIRTIO_SCSI_S_OVERRUN, 0, 0},
    {"no room for an answer", {0x12, 0, 0, 0, 36}, 0, 35, VIRTIO_SCSI_S_OVERRUN, 0, 0},
    {"no list to unmap", {0x42, 0, 0, 0, 0, 0, 0, 0, 24}, 8, 0, VIRTIO_SCSI_S_OVERRUN, 0, 0},
    {"no block to write",
     {0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
     511,
     0,
     VIRTIO_SCSI_S_OVERRUN,
     0,
     0},
    {"both ways", {0x00}, 512, 512, VIRTIO_SCSI_S_FAILURE, 0, 0},
};

START_TEST(refusal_rows)
{
    struct setup s;

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    setup_start(&s);
    settle_attention(&s, 0);
    struct reply r = command(&s, 0, refusals[_i].cdb, refusals[_i].out, refusals[_i].in);
    ck_assert_msg(r.response == refusals[_i].response && r.sense == refusals[_i].sense &&
                      r.status == (refusals[_i].sense ? 2 : 0),
                  "%s: response %u, status %u, sense %x", refusals[_i].name, r.response, r.status,
                  r.sense);
    ck_assert_msg(r.field == refusals[_i].field, "%s: byte %d", refusals[_i].name, r.field - 1);
    if (refusals[_i].sense)
        ck_assert_uint_eq(r.residual, refusals[_i].out + refusals[_i].in);
    /* The next one is served. */
    r = command(&s, 0, (const uint8_t[16]){0x28, [8] = 1}, 0, 512);
    ck_assert_uint_eq(r.response + r.status, 0);
    setup_close(&s);
}
END_TEST

/* Addresses, and what is there: units 0 and 5 of target 0. */
static const struct {
    const char *name;
    uint8_t lun[8];
    uint8_t opcode;
    uint8_t response;
    uint32_t sense;
    int type; /* of INQUIRY; -1: not asked */
} addresses[] = {
    {"unit", {1, 0, 0, 5}, 0x12, 0, 0, 0x00},
    {"unit, flat", {1, 0, 0x40, 5}, 0x12, 0, 0, 0x00},
    {"no unit", {1, 0, 0, 1}, 0x12, 0, 0, 0x7f},
    {"no unit's sense", {1, 0, 0, 1}, 0x03, 0, 0, -1},
    {"no unit is ready", {1, 0, 0, 1}, 0x00, 0, SENSE_NO_UNIT, -1},
    {"beyond all units",
     {1, 0, 0x40 | LIMIT_SCSI_LUNS >> 8, LIMIT_SCSI_LUNS & 0xff},
     0x00,
     0,
     SENSE_NO_UNIT,
     -1},
    {"16383", {1, 0, 0x7f, 0xff}, 0x12, 0, 0, 0x7f},
    {"another form", {1, 0, 0x80, 5}, 0x00, 0, SENSE_NO_UNIT, -1},
    {"two levels", {1, 0, 0, 5, 0, 1}, 0x00, 0, SENSE_NO_UNIT, -1},
    {"well-known", {0xc1, 1}, 0x12, 0, 0, 0x1e},
    {"another target", {1, 1, 0, 0}, 0x12, VIRTIO_SCSI_S_BAD_TARGET, 0, -1},
    {"no target", {0}, 0x12, VIRTIO_SCSI_S_BAD_TARGET, 0, -1},
};

START_TEST(address_rows)
{
    struct setup s;
    uint8_t cdb[16] = {addresses[_i].opcode};

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    setup_disk(&s, 5, &(struct disk_facts){0});
    setup_start(&s);
    settle_attention(&s, 5);
    if (cdb[0])
        cdb[4] = 18;
    struct reply r = command_to(&s, addresses[_i].lun, cdb, 0, 36);
    ck_assert_msg(r.response == addresses[_i].response && r.sense == addresses[_i].sense,
                  "%s: response %u, sense %x", addresses[_i].name, r.response, r.sense);
    if (addresses[_i].type >= 0)
        ck_assert_int_eq(bytes(&s, s.data)[0], addresses[_i].type);
    setup_close(&s);
}
END_TEST

/* --- reading and writing ---------------------------------------------------------------------- */

/* The four lengths of commands, through each of which the same blocks go. */
static const struct {
    const char *name;
    uint8_t write[16], read[16]; /* of 3 blocks at 7 */
} lengths[] = {
    {"6", {0x0a, 0, 0, 7, 3}, {0x08, 0, 0, 7, 3}},
    {"10", {0x2a, 0, 0, 0, 0, 7, 0, 0, 3}, {0x28, 0, 0, 0, 0, 7, 0, 0, 3}},
    {"12", {0xaa, 0, 0, 0, 0, 7, 0, 0, 0, 3}, {0xa8, 0, 0, 0, 0, 7, 0, 0, 0, 3}},
    {"16",
     {0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3},
     {0x88, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3}},
};

START_TEST(length_rows)
{
    struct setup s;
    uint8_t want[3 * 512];
    uint64_t seed = 9;

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    setup_start(&s);
    settle_attention(&s, 0);
    rig_fill(&seed, want, sizeof(want));
    memcpy(bytes(&s, s.data), want, sizeof(want));
    /* More than is needed is left over. */
    struct reply r = command(&s, 0, lengths[_i].write, sizeof(want) + 100, 0);
    ck_assert_uint_eq(r.response + r.status, 0);
    ck_assert_uint_eq(r.residual, 100);
    memset(bytes(&s, s.data), 0x11, 4096);
    r = command(&s, 0, lengths[_i].read, 0, sizeof(want) + 100);
    ck_assert_uint_eq(r.response + r.status, 0);
    ck_assert_uint_eq(r.residual, 100);
    ck_assert_uint_eq(r.used, 108 + sizeof(want));
    ck_assert_mem_eq(bytes(&s, s.data), want, sizeof(want));
    ck_assert_uint_eq(bytes(&s, s.data)[sizeof(want)], 0x11);
    check_file(&s, 0, 7 * 512, want, sizeof(want));
    setup_close(&s);
}
END_TEST

/* Where a driver cuts its buffers is its own affair (virtio 1.2, 2.7.4). */
START_TEST(any_layout)
{
    struct setup s;
    uint8_t cdb[16] = {0x2a, [5] = 9, [8] = 2};

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    setup_start(&s);
    settle_attention(&s, 0);
    /* Header and data are one buffer but for the header's first 5 bytes. */
    gpa_t whole = guest_alloc(&s.g, 4096, true);
    put_header(&s, (const uint8_t[8]){1}, cdb, 1);
    memcpy(bytes(&s, whole), bytes(&s, s.header) + 5, 46);
    memset(bytes(&s, whole) + 46, 0x3c, 1024);
    struct piece out[] = {{s.header, 5, false},
                          {whole, 46 + 300, false},
                          {whole + 346, 724, false},
                          {s.response, 100, true},
                          {s.response + 100, 8, true}};
    ck_assert_uint_eq(driver_do(&s.d, 2, out, 5), 108);
    ck_assert_uint_eq(reply_of(&s).status, 0);
    /* Response and data are one buffer. */
    cdb[0] = 0x28;
    put_header(&s, (const uint8_t[8]){1}, cdb, 1);
    struct piece in[] = {{s.header, 51, false}, {whole, 108 + 100, true}, {whole + 208, 924, true}};
    ck_assert_uint_eq(driver_do(&s.d, 2, in, 3), 108 + 1024);
    for (unsigned i = 0; i < 1024; i++)
        ck_assert_uint_eq(bytes(&s, whole)[108 + i], 0x3c);
    setup_close(&s);
}
END_TEST

/* Chains in which there is nowhere to put an answer. */
static const struct {
    const char *name;
    unsigned queue;
    struct piece pieces[2]; /* addresses are filled in */
    unsigned n;
} malformed[] = {
    {"short header", 2, {{0, 50, false}, {0, 108, true}}, 2},
    {"short response", 2, {{0, 51, false}, {0, 107, true}}, 2},
    {"no response", 2, {{0, 51, false}}, 1},
    {"no header", 2, {{0, 512, true}}, 1},
    {"short event", 1, {{0, 15, true}}, 1},
    {"no control", 0, {{0, 3, false}, {0, 1, true}}, 2},
    {"short control", 0, {{0, 23, false}, {0, 1, true}}, 2},
    {"no answer", 0, {{0, 24, false}}, 1},
};

START_TEST(malformed_rows)
{
    struct setup s;
    struct piece p[2];

    setup_open(&s, 1);
    setup_disk(&s, 0, &(struct disk_facts){0});
    setup_start(&s);
    for (unsigned i = 0; i < malformed[_i].n; i++) {
        p[i] = malformed[_i].pieces[i];
        p[i].gpa = s.data;
    }
    driver_add(&s.d, malformed[_i].queue, p, malformed[_i].n);
    driver_kick(&s.d, malformed[_i].queue);
    guest_wait(&s.g, driver_status(&s.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
    driver_reset(&s.d);
    setup_start(&s);
    settle_attention(&s, 0);
    setup_close(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio_scsi");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, configuration);
    tcase_add_loop_test(tc, answer_rows, 0, G_N_ELEMENTS(answers));
    tcase_add_loop_test(tc, refusal_rows, 0, G_N_ELEMENTS(refusals));
    tcase_add_loop_test(tc, address_rows, 0, G_N_ELEMENTS(addresses));
    tcase_add_loop_test(tc, length_rows, 0, G_N_ELEMENTS(lengths));
    tcase_add_test(tc, any_layout);
    tcase_add_loop_test(tc, malformed_rows, 0, G_N_ELEMENTS(malformed));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
