/*
 * virtio-mem through a driver's eyes: requests of every kind, good and bad; what is there and what is not; resets,
 * and saved state.
 */
#include "machine/virtio/memory.h"
#include "tests/unit/unit.h"
#include "tests/unit/virtio_guest.h"

#include <linux/virtio_mem.h>
#include <linux/virtio_pci.h>
#include <sys/stat.h>

#define ROOM   GIB(4)
#define BLOCK  MIB(2)
#define BLOCKS 8
#define UNPLUGGED_INACCESSIBLE VIRTIO_FEATURE(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

struct mem_rig {
    struct guest g;
    struct driver d;
    struct virtio_device *dev;
    struct mem_ram *ram;
    gpa_t buffers;
};

static void rig_init(struct mem_rig *r)
{
    guest_init(&r->g, false);
    struct virtio_env env = guest_env(&r->g);
    r->ram = mem_map_add_sparse_ram(r->g.mem, ROOM, BLOCKS * BLOCK, BLOCK, "room", NULL);
    r->dev = virtio_mem_new(&env, r->ram);
    driver_attach(&r->d, &r->g, r->dev, 1);
    driver_start(&r->d, UNPLUGGED_INACCESSIBLE, 1);
    r->buffers = guest_alloc(&r->g, 4096, true);
}

static void rig_fini(struct mem_rig *r)
{
    driver_detach(&r->d);
    guest_fini(&r->g);
}

/* What the device answers; STATE may be NULL. */
static unsigned ask(struct mem_rig *r, unsigned type, uint64_t addr, unsigned n, unsigned *state)
{
    struct virtio_mem_req *req = guest_ptr(&r->g, r->buffers);
    struct virtio_mem_resp *resp = guest_ptr(&r->g, r->buffers + 64);
    const struct piece p[] = {{r->buffers, sizeof(*req), false}, {r->buffers + 64, sizeof(*resp), true}};

    *req = (struct virtio_mem_req){.type = GUINT16_TO_LE(type)};
    req->u.plug.addr = GUINT64_TO_LE(addr);
    req->u.plug.nb_blocks = GUINT16_TO_LE(n);
    memset(resp, 0xff, sizeof(*resp));
    ck_assert_uint_eq(driver_do(&r->d, 0, p, 2), sizeof(*resp));
    if (state)
        *state = GUINT16_FROM_LE(resp->u.state.state);
    return GUINT16_FROM_LE(resp->type);
}

static enum mem_kind kind_at(struct mem_rig *r, gpa_t gpa, uint64_t *length)
{
    struct mem_view v;

    mem_map_lookup(r->g.mem, gpa, &v);
    *length = v.length;
    return v.kind;
}

/* With blocks 2 and 3 plugged, and four asked for. */
static const struct {
    const char *name;
    unsigned type;
    uint64_t addr;
    unsigned n, answer, state;
} rows[] = {
    {"state of plugged ones", VIRTIO_MEM_REQ_STATE, ROOM + 2 * BLOCK, 2, VIRTIO_MEM_RESP_ACK, VIRTIO_MEM_STATE_PLUGGED},
    {"state of others", VIRTIO_MEM_REQ_STATE, ROOM + 4 * BLOCK, 4, VIRTIO_MEM_RESP_ACK, VIRTIO_MEM_STATE_UNPLUGGED},
    {"state of both", VIRTIO_MEM_REQ_STATE, ROOM, BLOCKS, VIRTIO_MEM_RESP_ACK, VIRTIO_MEM_STATE_MIXED},
    {"state of none", VIRTIO_MEM_REQ_STATE, ROOM, 0, VIRTIO_MEM_RESP_ERROR, 0},
    {"state beyond the end", VIRTIO_MEM_REQ_STATE, ROOM, BLOCKS + 1, VIRTIO_MEM_RESP_ERROR, 0},
    {"plug up to what is asked", VIRTIO_MEM_REQ_PLUG, ROOM + 4 * BLOCK, 2, VIRTIO_MEM_RESP_ACK, 0},
    {"plug more", VIRTIO_MEM_REQ_PLUG, ROOM + 4 * BLOCK, 3, VIRTIO_MEM_RESP_NACK, 0},
    {"plug a plugged one", VIRTIO_MEM_REQ_PLUG, ROOM + 2 * BLOCK, 1, VIRTIO_MEM_RESP_ERROR, 0},
    {"plug over one", VIRTIO_MEM_REQ_PLUG, ROOM + BLOCK, 2, VIRTIO_MEM_RESP_ERROR, 0},
    {"plug between blocks", VIRTIO_MEM_REQ_PLUG, ROOM + 4096, 1, VIRTIO_MEM_RESP_ERROR, 0},
    {"plug below", VIRTIO_MEM_REQ_PLUG, ROOM - BLOCK, 1, VIRTIO_MEM_RESP_ERROR, 0},
    {"plug above", VIRTIO_MEM_REQ_PLUG, ROOM + BLOCKS * BLOCK, 1, VIRTIO_MEM_RESP_ERROR, 0},
    {"plug all of 64 bits", VIRTIO_MEM_REQ_PLUG, UINT64_MAX - BLOCK + 1, 65535, VIRTIO_MEM_RESP_ERROR, 0},
    {"unplug one", VIRTIO_MEM_REQ_UNPLUG, ROOM + 3 * BLOCK, 1, VIRTIO_MEM_RESP_ACK, 0},
    {"unplug what is not", VIRTIO_MEM_REQ_UNPLUG, ROOM + 3 * BLOCK, 2, VIRTIO_MEM_RESP_ERROR, 0},
    {"unplug none", VIRTIO_MEM_REQ_UNPLUG, ROOM + 3 * BLOCK, 0, VIRTIO_MEM_RESP_ERROR, 0},
    {"unplug all", VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0, VIRTIO_MEM_RESP_ACK, 0},
    {"what there is not", 4, ROOM, 1, VIRTIO_MEM_RESP_ERROR, 0},
};

START_TEST(request_rows)
{
    struct mem_rig r;
    unsigned state;

    rig_init(&r);
    virtio_mem_request(r.dev, 4 * BLOCK);
    ck_assert_uint_eq(ask(&r, VIRTIO_MEM_REQ_PLUG, ROOM + 2 * BLOCK, 2, NULL), VIRTIO_MEM_RESP_ACK);
    ck_assert_msg(ask(&r, rows[_i].type, rows[_i].addr, rows[_i].n, &state) == rows[_i].answer, "%s", rows[_i].name);
    ck_assert_msg(state == rows[_i].state, "%s: state %u", rows[_i].name, state);
    rig_fini(&r);
}
END_TEST

START_TEST(comes_and_goes)
{
    struct mem_rig r;
    uint64_t length;
    struct stat st;

    rig_init(&r);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config, 8), BLOCK);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 16, 8), ROOM);
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 24, 8), BLOCKS * BLOCK);
    ck_assert_int_eq(kind_at(&r, ROOM, &length), MEM_NONE);
    guest_read(&r.g, r.d.isr, 1);
    virtio_mem_request(r.dev, 4 * BLOCK);
    ck_assert_uint_eq(guest_read(&r.g, r.d.isr, 1) & 2, 2);
    ck_assert_uint_eq(ask(&r, VIRTIO_MEM_REQ_PLUG, ROOM + BLOCK, 2, NULL), VIRTIO_MEM_RESP_ACK);
    ck_assert_uint_eq(guest_read(&r.g, r.d.isr, 1) & 2, 0); /* who asked knows */
    ck_assert_uint_eq(guest_read(&r.g, r.d.config + 40, 8), 2 * BLOCK);
    ck_assert_int_eq(kind_at(&r, ROOM + BLOCK + 4096, &length), MEM_RAM);
    ck_assert_uint_eq(length, 2 * BLOCK - 4096);
    ck_assert_int_eq(kind_at(&r, ROOM + 3 * BLOCK, &length), MEM_NONE);
    ck_assert_int_eq(mem_map_write(r.g.mem, ROOM + 2 * BLOCK - 2, "abcd", 4), 0);
    ck_assert_int_ne(mem_map_write(r.g.mem, ROOM + 3 * BLOCK - 2, "abcd", 4), 0);
    memset(r.ram->host + BLOCK, 0x55, 2 * BLOCK);
    /* A driver's reset and saved state leave it, what was plugged and what it holds. */
    guest_save_and_load(&r.g);
    driver_start(&r.d, UNPLUGGED_INACCESSIBLE, 1);
    ck_assert_uint_eq(virtio_mem_plugged(r.dev), 2 * BLOCK);
    ck_assert_uint_eq(r.ram->host[2 * BLOCK], 0x55);
    /* Unplugged, it is the host's again, and comes back empty. */
    ck_assert_uint_eq(ask(&r, VIRTIO_MEM_REQ_UNPLUG, ROOM + 2 * BLOCK, 1, NULL), VIRTIO_MEM_RESP_ACK);
    ck_assert_int_eq(fstat(r.ram->fd, &st), 0);
    ck_assert_uint_eq((uint64_t)st.st_blocks * 512, BLOCK);
    ck_assert_int_eq(kind_at(&r, ROOM + 2 * BLOCK, &length), MEM_NONE);
    ck_assert_uint_eq(ask(&r, VIRTIO_MEM_REQ_PLUG, ROOM + 2 * BLOCK, 1, NULL), VIRTIO_MEM_RESP_ACK);
    ck_assert_uint_eq(r.ram->host[2 * BLOCK], 0);
    ck_assert_uint_eq(r.ram->host[BLOCK], 0x55);
    virtio_mem_system_reset(r.dev);
    ck_assert_uint_eq(virtio_mem_plugged(r.dev), 0);
    ck_assert_uint_eq(virtio_mem_requested(r.dev), 4 * BLOCK);
    rig_fini(&r);
}
END_TEST

static void count_change(void *opaque)
{
    ++*(unsigned *)opaque;
}

/* Who watches hears of what was done, asked for or not, and of nothing else. */
START_TEST(watched)
{
    struct mem_rig r;
    unsigned changes = 0;

    rig_init(&r);
    virtio_mem_watch(r.dev, count_change, &changes);
    virtio_mem_request(r.dev, 2 * BLOCK);
    ck_assert_uint_eq(changes, 0);
    ask(&r, VIRTIO_MEM_REQ_PLUG, ROOM, 2, NULL);
    ck_assert_uint_eq(changes, 1);
    ck_assert_uint_eq(ask(&r, VIRTIO_MEM_REQ_PLUG, ROOM, 1, NULL), VIRTIO_MEM_RESP_ERROR);
    ck_assert_uint_eq(changes, 1);
    ask(&r, VIRTIO_MEM_REQ_UNPLUG, ROOM, 1, NULL);
    ck_assert_uint_eq(changes, 2);
    virtio_mem_system_reset(r.dev);
    ck_assert_uint_eq(changes, 3);
    virtio_mem_watch(r.dev, NULL, NULL);
    ask(&r, VIRTIO_MEM_REQ_PLUG, ROOM, 1, NULL);
    ck_assert_uint_eq(changes, 3);
    rig_fini(&r);
}
END_TEST

START_TEST(drivers_that_break_rules)
{
    struct mem_rig r;

    rig_init(&r);
    const struct piece p[] = {{r.buffers, 23, false}, {r.buffers + 64, 10, true}};
    driver_do(&r.d, 0, p, 2);
    ck_assert_uint_ne(driver_status(&r.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    /* One that would read what is not plugged is not taken. */
    ck_assert(!driver_negotiate(&r.d, 0));
    rig_fini(&r);
}
END_TEST

START_TEST(block_sizes)
{
    ck_assert_uint_eq(virtio_mem_block_bytes(GIB(1)), MIB(2));
    ck_assert_uint_eq(virtio_mem_block_bytes(LIMIT_MEMORY_BLOCKS * MIB(2)), MIB(2));
    ck_assert_uint_eq(virtio_mem_block_bytes(LIMIT_MEMORY_BLOCKS * MIB(2) + GIB(1)), MIB(4));
    ck_assert_uint_eq(virtio_mem_block_bytes(MIB(LIMIT_MEMORY_MAX_MIB)), MIB(32));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("virtio-mem");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, request_rows, 0, G_N_ELEMENTS(rows));
    tcase_add_test(tc, comes_and_goes);
    tcase_add_test(tc, watched);
    tcase_add_test(tc, drivers_that_break_rules);
    tcase_add_test(tc, block_sizes);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
