/* virtio-scsi: what commands do to a disk, errors of the host, and task management. */
#include "tests/unit/block_wrap.h"
#include "tests/unit/scsi_rig.h"

static void begin(struct setup *s, const struct disk_facts *facts)
{
    wrap_fail_writes(0);
    setup_open(s, 2);
    setup_disk(s, 0, facts);
    driver_start(&s->d, VIRTIO_FEATURE(VIRTIO_SCSI_F_HOTPLUG), 4);
    settle_attention(s, 0);
    memset(bytes(s, s->data), 0x5a, MIB(1));
}

/* Commands, and whether what was written before, or by them, is on the disk when they end. */
static const struct {
    const char *name;
    uint8_t cdb[16];
    uint32_t out;
    bool flushed;
} flushes[] = {
    {"write", {0x2a, 0, [8] = 1}, 512, false},
    {"write with FUA", {0x2a, 0x08, [8] = 1}, 512, true},
    {"16 with FUA", {0x8a, 0x08, [13] = 1}, 512, true},
    {"DPO alone", {0x2a, 0x10, [8] = 1}, 512, false},
    {"6 has no FUA", {0x0a, 0x08, [4] = 1}, 512, false}, /* it is a part of the address */
    {"synchronize", {0x35}, 0, true},
    {"synchronize, immediately", {0x35, 2, [8] = 1}, 0, true},
    {"synchronize 16", {0x91}, 0, true},
    {"stop", {0x1b}, 0, true},
    {"stop, no flush", {0x1b, [4] = 4}, 0, false},
    {"start", {0x1b, [4] = 1}, 0, false},
    {"keep it in", {0x1e, [4] = 1}, 0, false},
};

START_TEST(flush_rows)
{
    struct setup s;

    begin(&s, &(struct disk_facts){0});
    unsigned before = wrap_count();
    /* The row of 6 bytes is out of range: it never gets to write, nor to flush. */
    command(&s, 0, flushes[_i].cdb, flushes[_i].out, 0);
    ck_assert_msg((wrap_count() > before) == flushes[_i].flushed, "%s", flushes[_i].name);
    setup_close(&s);
}
END_TEST

/* WRITE SAME: what 1,000 blocks from 100 on are afterwards. */
static const struct {
    const char *name;
    uint8_t cdb[16];
    uint32_t out;
    uint8_t fill, want;
} sames[] = {
    {"bytes", {0x41, 0, [5] = 100, [7] = 3, 0xe8}, 512, 0x77, 0x77},
    {"zeroes", {0x41, 0, [5] = 100, [7] = 3, 0xe8}, 512, 0, 0},
    {"zeroes that are unmapped", {0x41, 0x08, [5] = 100, [7] = 3, 0xe8}, 512, 0, 0},
    {"16", {0x93, 0, [9] = 100, [12] = 3, 0xe8}, 512, 0x77, 0x77},
    {"no data", {0x93, 1, [9] = 100, [12] = 3, 0xe8}, 0, 0x77, 0},
    {"no data, unmapped", {0x93, 9, [9] = 100, [12] = 3, 0xe8}, 0, 0x77, 0},
};

START_TEST(same_rows)
{
    struct setup s;
    g_autofree uint8_t *want = g_malloc(1002 * 512);

    begin(&s, &(struct disk_facts){0});
    ck_assert_uint_eq(command(&s, 0, (const uint8_t[16]){0x2a, [7] = 6}, 1536 * 512, 0).status, 0);
    memset(bytes(&s, s.data), sames[_i].fill, 512);
    struct reply r = command(&s, 0, sames[_i].cdb, sames[_i].out, 0);
    ck_assert_msg(r.response + r.status == 0, "%s: sense %x", sames[_i].name, r.sense);
    ck_assert_uint_eq(r.residual, 0);
    memset(want, 0x5a, 1002 * 512);
    memset(want + 512, sames[_i].want, 1000 * 512);
    check_file(&s, 0, 99 * 512, want, 1002 * 512);
    setup_close(&s);
}
END_TEST

/* UNMAP: a list, and what comes of it. */
static const struct {
    const char *name;
    unsigned descriptors; /* as the list says */
    uint64_t lba;
    uint32_t blocks;
    uint32_t sense;
} unmaps[] = {
    {"one", 1, 8, 8, 0},
    {"sixteen", 16, 8, 8, 0},
    {"none", 0, 0, 0, 0},
    {"seventeen", 17, 8, 8, SENSE_INVALID_PARAMETER},
    {"of no blocks", 2, 8, 0, 0},
    {"behind the end", 1, DISK / 512, 1, SENSE_OUT_OF_RANGE},
    {"over the end", 2, DISK / 512 - 1, 2, SENSE_OUT_OF_RANGE},
    {"wraps", 1, UINT64_MAX, 2, SENSE_OUT_OF_RANGE},
};

START_TEST(unmap_rows)
{
    struct setup s;
    unsigned n = unmaps[_i].descriptors;
    uint32_t length = 8 + 16 * n;
    const uint8_t cdb[16] = {0x42, [7] = (uint8_t)(length >> 8), (uint8_t)length};

    begin(&s, &(struct disk_facts){0});
    uint8_t *list = bytes(&s, s.data);
    memset(list, 0, length);
    list[2] = (uint8_t)(16 * n >> 8);
    list[3] = (uint8_t)(16 * n);
    for (unsigned i = 0; i < n; i++) {
        uint64_t lba = GUINT64_TO_BE(unmaps[_i].lba);
        uint32_t blocks = GUINT32_TO_BE(unmaps[_i].blocks);
        memcpy(list + 8 + 16 * i, &lba, 8);
        memcpy(list + 16 + 16 * i, &blocks, 4);
    }
    struct reply r = command(&s, 0, cdb, length, 0);
    ck_assert_msg(r.response == 0 && r.sense == unmaps[_i].sense, "%s: sense %x", unmaps[_i].name,
                  r.sense);
    struct block_stats stats;
    block_stats(s.units[0].block, &stats);
    ck_assert_uint_eq(stats.kind[BLOCK_DISCARD].requests,
                      unmaps[_i].sense || !unmaps[_i].blocks ? 0 : n);
    setup_close(&s);
}
END_TEST

START_TEST(verify)
{
    struct setup s;
    const uint8_t write[16] = {0x2a, [7] = 1}, look[16] = {0x2f, [7] = 1};
    const uint8_t compare[16] = {0x8f, 0x02, [12] = 1};

    begin(&s, &(struct disk_facts){0});
    ck_assert_uint_eq(command(&s, 0, write, 256 * 512, 0).status, 0);
    ck_assert_uint_eq(command(&s, 0, look, 0, 0).status, 0);
    struct reply r = command(&s, 0, compare, 256 * 512, 0);
    ck_assert_uint_eq(r.status, 0);
    ck_assert_uint_eq(r.residual, 0);
    bytes(&s, s.data)[200 * 512 + 7] ^= 1;
    r = command(&s, 0, compare, 256 * 512, 0);
    ck_assert_uint_eq(r.sense, 0x0e1d00);
    setup_close(&s);
}
END_TEST

/* Errors of the host, whether they are held, and what the guest is told. */
static const struct {
    const char *name;
    int error;
    bool readonly;
    uint8_t cdb[16];
    uint32_t sense;
    unsigned failures;
} errors[] = {
    {"no space", ENOSPC, false, {0x2a, [8] = 1}, 0x072707, 1},
    {"write error", EIO, false, {0x2a, [8] = 1}, 0x030c00, 1},
    {"in the same", EIO, false, {0x41, [8] = 1}, 0x030c00, 1},
    {"another", EBADF, false, {0x2a, [8] = 1}, 0x044400, 1},
    {"read-only", 0, true, {0x2a, [8] = 1}, 0x072700, 0},
    {"read-only, the same", 0, true, {0x93, [13] = 1}, 0x072700, 0},
    {"read-only, unmap", 0, true, {0x42}, 0x072700, 0},
    {"read-only, flush", 0, true, {0x35}, 0, 0},
};

START_TEST(error_rows)
{
    struct setup s;

    begin(&s, &(struct disk_facts){.readonly = errors[_i].readonly});
    wrap_fail_writes(errors[_i].error);
    struct reply r = command(&s, 0, errors[_i].cdb, 512, 0);
    ck_assert_msg(r.response == 0 && r.sense == errors[_i].sense, "%s: sense %x", errors[_i].name,
                  r.sense);
    ck_assert_uint_eq(s.units[0].failures, errors[_i].failures);
    wrap_fail_writes(0);
    const uint8_t mode[16] = {0x1a, 0, 8, 0, 24};
    command(&s, 0, mode, 0, 24);
    ck_assert_uint_eq(bytes(&s, s.data)[2], errors[_i].readonly ? 0x90 : 0x10);
    setup_close(&s);
}
END_TEST

static void mark(void *opaque)
{
    *(bool *)opaque = true;
}

/* What is held stops the rest, and is tried again when the machine goes on. */
START_TEST(held)
{
    struct setup s;
    bool quiet = false;
    const uint8_t write[16] = {0x2a, [5] = 2, [8] = 1};

    begin(&s, &(struct disk_facts){.hold = true});
    wrap_fail_writes(ENOSPC);
    command_add(&s, (const uint8_t[8]){1}, write, 512, 0);
    driver_kick(&s.d, 2);
    guest_wait(&s.g, virtio_scsi_held(s.dev, 0) == 1);
    command_add(&s, (const uint8_t[8]){1}, write, 512, 0);
    driver_kick(&s.d, 2);
    guest_poll(&s.g);
    ck_assert(!driver_used(&s.d, 2, NULL, NULL));
    pci_host_quiesce(s.g.host, mark, &quiet);
    guest_wait(&s.g, quiet);
    ck_assert(!virtio_device_idle(s.dev));
    wrap_fail_writes(0);
    pci_host_resume(s.g.host);
    guest_wait(&s.g, driver_used(&s.d, 2, NULL, NULL));
    guest_wait(&s.g, driver_used(&s.d, 2, NULL, NULL));
    ck_assert_uint_eq(reply_of(&s).status, 0);
    ck_assert_uint_eq(virtio_scsi_held(s.dev, 0), 0);
    check_file(&s, 0, 1024, bytes(&s, s.data), 512);
    setup_close(&s);
}
END_TEST

/* A driver's reset, and the machine's end, let go of what is held. */
START_TEST(held_and_reset)
{
    struct setup s;
    const uint8_t write[16] = {0x2a, [8] = 1};

    begin(&s, &(struct disk_facts){.hold = true});
    for (unsigned round = 0; round < 2; round++) {
        wrap_fail_writes(ENOSPC);
        command_add(&s, (const uint8_t[8]){1}, write, 512, 0);
        driver_kick(&s.d, 2);
        guest_wait(&s.g, virtio_scsi_held(s.dev, 0) == 1);
        if (round)
            break;
        driver_reset(&s.d);
        ck_assert_uint_eq(virtio_scsi_held(s.dev, 0), 0);
        ck_assert(virtio_device_idle(s.dev));
        wrap_fail_writes(0);
        setup_start(&s);
        settle_attention(&s, 0);
    }
    setup_close(&s);
}
END_TEST

/* One function of task management on the control queue; its response. */
static uint8_t manage(struct setup *s, uint32_t type, uint32_t subtype, const uint8_t lun[8],
                      uint64_t tag)
{
    gpa_t at = guest_alloc(&s->g, 64, false);
    struct virtio_scsi_ctrl_tmf_req req = {
        .type = GUINT32_TO_LE(type), .subtype = GUINT32_TO_LE(subtype), .tag = tag};
    bool tmf = type == VIRTIO_SCSI_T_TMF;
    const struct piece p[] = {{at, tmf ? sizeof(req) : 16, false}, {at + 32, tmf ? 1 : 5, true}};

    memcpy(req.lun, lun, 8);
    memcpy(bytes(s, at), &req, sizeof(req));
    if (!tmf)
        memcpy(bytes(s, at) + 4, lun, 8);
    memset(bytes(s, at + 32), 0xee, 8);
    driver_do(&s->d, 0, p, 2);
    return bytes(s, at + 32)[tmf ? 0 : 4];
}

/* Task management with a write of tag 3 held, and what becomes of both. */
static const struct {
    const char *name;
    uint32_t type, subtype;
    uint8_t lun[8];
    uint64_t tag;
    uint8_t response;
    int ended; /* the write's response; -1: it stays */
} tasks[] = {
    {"abort it", 0, VIRTIO_SCSI_T_TMF_ABORT_TASK, {1}, 3, 0, VIRTIO_SCSI_S_ABORTED},
    {"abort another", 0, VIRTIO_SCSI_T_TMF_ABORT_TASK, {1}, 99, 0, -1},
    {"abort all", 0, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, {1}, 0, 0, VIRTIO_SCSI_S_ABORTED},
    {"clear all", 0, VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET, {1}, 0, 0, VIRTIO_SCSI_S_ABORTED},
    {"reset the unit", 0, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, {1}, 0, 0, VIRTIO_SCSI_S_RESET},
    {"reset the target",
     0,
     VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET,
     {1, 0, 0, 9},
     0,
     0,
     VIRTIO_SCSI_S_RESET},
    {"query it", 0, VIRTIO_SCSI_T_TMF_QUERY_TASK, {1}, 3, VIRTIO_SCSI_S_FUNCTION_SUCCEEDED, -1},
    {"query another", 0, VIRTIO_SCSI_T_TMF_QUERY_TASK, {1}, 99, 0, -1},
    {"query all",
     0,
     VIRTIO_SCSI_T_TMF_QUERY_TASK_SET,
     {1},
     0,
     VIRTIO_SCSI_S_FUNCTION_SUCCEEDED,
     -1},
    {"no ACA", 0, VIRTIO_SCSI_T_TMF_CLEAR_ACA, {1}, 0, VIRTIO_SCSI_S_FUNCTION_REJECTED, -1},
    {"unknown", 0, 77, {1}, 0, VIRTIO_SCSI_S_FUNCTION_REJECTED, -1},
    {"no unit",
     0,
     VIRTIO_SCSI_T_TMF_ABORT_TASK_SET,
     {1, 0, 0, 1},
     0,
     VIRTIO_SCSI_S_INCORRECT_LUN,
     -1},
    {"no target", 0, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, {1, 3}, 0, VIRTIO_SCSI_S_BAD_TARGET, -1},
    {"notification", VIRTIO_SCSI_T_AN_QUERY, 0, {1}, 0, 0, -1},
    {"subscription", VIRTIO_SCSI_T_AN_SUBSCRIBE, 0, {1}, 0, 0, -1},
    {"of no unit", VIRTIO_SCSI_T_AN_QUERY, 0, {1, 0, 0, 1}, 0, VIRTIO_SCSI_S_INCORRECT_LUN, -1},
    {"of no target", VIRTIO_SCSI_T_AN_QUERY, 0, {1, 3}, 0, VIRTIO_SCSI_S_BAD_TARGET, -1},
};

START_TEST(task_rows)
{
    struct setup s;
    const uint8_t write[16] = {0x2a, [8] = 1};

    begin(&s, &(struct disk_facts){.hold = true});
    wrap_fail_writes(EIO);
    ck_assert_uint_eq(s.tag, 2);
    command_add(&s, (const uint8_t[8]){1}, write, 512, 0);
    driver_kick(&s.d, 2);
    guest_wait(&s.g, virtio_scsi_held(s.dev, 0) == 1);
    uint8_t got = manage(&s, tasks[_i].type, tasks[_i].subtype, tasks[_i].lun, tasks[_i].tag);
    ck_assert_msg(got == tasks[_i].response, "%s: response %u", tasks[_i].name, got);
    ck_assert_uint_eq(virtio_scsi_held(s.dev, 0), tasks[_i].ended < 0);
    if (tasks[_i].ended >= 0) {
        ck_assert(driver_used(&s.d, 2, NULL, NULL));
        ck_assert_int_eq(reply_of(&s).response, tasks[_i].ended);
    }
    if (tasks[_i].ended == VIRTIO_SCSI_S_RESET)
        ck_assert_uint_eq(command(&s, 0, (const uint8_t[16]){0}, 0, 0).sense, 0x062903);
    wrap_fail_writes(0);
    setup_close(&s);
}
END_TEST

/* A function waits for what is under way. */
START_TEST(abort_under_way)
{
    struct setup s;
    const uint8_t read[16] = {0x28, [8] = 128};

    begin(&s, &(struct disk_facts){0});
    for (unsigned i = 0; i < 10; i++) {
        s.data = guest_alloc(&s.g, 65536, false);
        command_add(&s, (const uint8_t[8]){1}, read, 0, 65536);
    }
    driver_kick(&s.d, 2);
    guest_turn(&s.g); /* some are under way, most likely */
    ck_assert_uint_eq(manage(&s, 0, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, (const uint8_t[8]){1}, 0),
                      0);
    ck_assert_uint_eq(block_inflight(s.units[0].block), 0);
    for (unsigned i = 0; i < 10; i++)
        ck_assert(driver_used(&s.d, 2, NULL, NULL));
    setup_close(&s);
}
END_TEST

/* More commands than the block layer takes at once: each ends well, or is told to come again. */
START_TEST(more_than_fits)
{
    enum { EACH = 85 };
    struct setup s;
    unsigned full = 0;
    const uint8_t write[16] = {0x2a, [8] = 8};

    begin(&s, &(struct disk_facts){0});
    ck_assert(driver_negotiate(&s.d, 0));
    for (unsigned q = 0; q < 4; q++)
        driver_queue(&s.d, q, q < 2 ? 64 : 256);
    driver_ok(&s.d);
    put_header(&s, (const uint8_t[8]){1}, write, 1);
    gpa_t responses = guest_alloc(&s.g, 2 * EACH * 128, false);
    for (unsigned i = 0; i < 2 * EACH; i++) {
        struct piece p[] = {
            {s.header, 51, false}, {s.data, 4096, false}, {responses + i * 128, 108, true}};
        driver_add(&s.d, 2 + i % 2, p, 3);
    }
    driver_kick(&s.d, 2);
    driver_kick(&s.d, 3);
    for (unsigned i = 0; i < 2 * EACH; i++)
        guest_wait(&s.g, driver_used(&s.d, 2 + i % 2, NULL, NULL));
    for (unsigned i = 0; i < 2 * EACH; i++) {
        const struct virtio_scsi_cmd_resp *resp = guest_ptr(&s.g, responses + i * 128);
        ck_assert_uint_eq(resp->response, 0);
        ck_assert(resp->status == 0 || resp->status == 0x28);
        full += resp->status == 0x28;
    }
    ck_assert_uint_le(full, 2 * EACH - LIMIT_BLOCK_INFLIGHT);
    setup_close(&s);
}
END_TEST

/* What a driver says of the sizes of commands and sense holds, and is forgotten with it. */
static const struct {
    const char *name;
    uint32_t sense, cdb;
    bool broken;
} sizes[] = {
    {"shorter", 18, 16, false},        {"no sense", 0, 32, false},
    {"short commands", 96, 6, false},  {"longest", 255, 255, false},
    {"too much sense", 256, 32, true}, {"too long", 96, 256, true},
};

START_TEST(size_rows)
{
    struct setup s;
    const uint8_t behind[16] = {0x08, 0, 0x20, 0, 1};

    begin(&s, &(struct disk_facts){0});
    ck_assert(driver_negotiate(&s.d, 0));
    guest_write(&s.g, s.d.config + offsetof(struct virtio_scsi_config, sense_size), 4,
                sizes[_i].sense);
    guest_write(&s.g, s.d.config + offsetof(struct virtio_scsi_config, cdb_size), 4, sizes[_i].cdb);
    for (unsigned q = 0; q < 3; q++)
        driver_queue(&s.d, q, 64);
    driver_ok(&s.d);
    guest_poll(&s.g);
    ck_assert_uint_eq(!!(driver_status(&s.d) & VIRTIO_CONFIG_S_NEEDS_RESET), sizes[_i].broken);
    if (!sizes[_i].broken) {
        put_header(&s, (const uint8_t[8]){1}, behind, 1);
        struct piece p[] = {{s.header, 19 + sizes[_i].cdb, false},
                            {s.response, 12 + sizes[_i].sense, true},
                            {s.data, 512, true}};
        ck_assert_uint_eq(driver_do(&s.d, 2, p, 3), 12 + sizes[_i].sense);
        const struct virtio_scsi_cmd_resp *resp = guest_ptr(&s.g, s.response);
        ck_assert_uint_eq(resp->status, 2);
        ck_assert_uint_eq(GUINT32_FROM_LE(resp->sense_len), MIN(18, sizes[_i].sense));
    }
    driver_reset(&s.d);
    ck_assert_uint_eq(
        guest_read(&s.g, s.d.config + offsetof(struct virtio_scsi_config, cdb_size), 4), 32);
    setup_close(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio_scsi_io");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, flush_rows, 0, G_N_ELEMENTS(flushes));
    tcase_add_loop_test(tc, same_rows, 0, G_N_ELEMENTS(sames));
    tcase_add_loop_test(tc, unmap_rows, 0, G_N_ELEMENTS(unmaps));
    tcase_add_test(tc, verify);
    tcase_add_loop_test(tc, error_rows, 0, G_N_ELEMENTS(errors));
    tcase_add_test(tc, held);
    tcase_add_test(tc, held_and_reset);
    tcase_add_loop_test(tc, task_rows, 0, G_N_ELEMENTS(tasks));
    tcase_add_test(tc, abort_under_way);
    tcase_add_test(tc, more_than_fits);
    tcase_add_loop_test(tc, size_rows, 0, G_N_ELEMENTS(sizes));
    suite_add_tcase(s, tc);
    return unit_run(s);
}
