/* The GPU ring: records against the table, and rings that wrap, fill and lie. */
#include "gpu/protocol/ring.h"
#include "tests/unit/unit.h"

#include <string.h>

struct launch {
    struct gpu_call_head head;
    struct gpu_call_launch fields;
    uint8_t payload[16];
};

static struct launch good_launch(void)
{
    return (struct launch){
        .head = {.bytes = sizeof(struct launch), .op = GPU_OP_LAUNCH, .payload = 16},
        .fields = {.stream = 1,
                   .function = 2,
                   .grid_x = 1,
                   .grid_y = 1,
                   .grid_z = 1,
                   .block_x = 32,
                   .block_y = 1,
                   .block_z = 1}};
}

static const struct record_case {
    const char *name;
    size_t offset; /* of 4 bytes that are changed */
    uint32_t value;
    size_t length;
    enum record_verdict verdict;
} record_cases[] = {
    {"as it should be", offsetof(struct launch, payload), 7, sizeof(struct launch), RECORD_GOOD},
    {"no such record", 4, 95, sizeof(struct launch), RECORD_UNKNOWN},
    {"number past the table", 4, 60000, sizeof(struct launch), RECORD_UNKNOWN},
    {"grid of nothing", offsetof(struct launch, fields.grid_x), 0, sizeof(struct launch),
     RECORD_BOUNDS},
    {"grid too wide", offsetof(struct launch, fields.grid_y), 65536, sizeof(struct launch),
     RECORD_BOUNDS},
    {"block too deep", offsetof(struct launch, fields.block_z), 65, sizeof(struct launch),
     RECORD_BOUNDS},
    {"shared memory of a gigabyte", offsetof(struct launch, fields.shared), 1 << 30,
     sizeof(struct launch), RECORD_BOUNDS},
    {"payload longer than the record", 12, 24, sizeof(struct launch), RECORD_BROKEN},
    {"payload shorter by a word", 12, 8, sizeof(struct launch), RECORD_BROKEN},
    {"payload that overflows", 12, 0xffffffff, sizeof(struct launch), RECORD_BROKEN},
    {"another length than it says", 0, 64, sizeof(struct launch), RECORD_BROKEN},
    {"half a head", 0, 8, 8, RECORD_BROKEN},
    {"unknown and cut", 4, 95, sizeof(struct launch) - 8, RECORD_BROKEN},
};

START_TEST(records)
{
    const struct record_case *c = &record_cases[_i];
    struct launch call = good_launch();
    const void *fields = NULL;
    const uint8_t *payload = NULL;

    memcpy((uint8_t *)&call + c->offset, &c->value, 4);
    ck_assert_msg(record_check_call((uint8_t *)&call, c->length, &fields, &payload) == c->verdict,
                  "%s", c->name);
    ck_assert_msg((payload == call.payload) == (c->verdict == RECORD_GOOD), "%s", c->name);
}
END_TEST

START_TEST(answers)
{
    struct {
        struct gpu_answer_head head;
        struct gpu_answer_alloc fields;
    } a = {.head = {.bytes = sizeof(a), .op = GPU_OP_ALLOC}};
    const void *fields;
    const uint8_t *payload;

    ck_assert(record_check_answer((void *)&a, sizeof(a), &fields, &payload) == RECORD_GOOD);
    ck_assert(fields == &a.fields);
    a.head.bytes = sizeof(a.head);
    ck_assert(record_check_answer((void *)&a, sizeof(a.head), &fields, &payload) == RECORD_BROKEN);
    a.head.result = 2;
    ck_assert(record_check_answer((void *)&a, sizeof(a.head), &fields, &payload) == RECORD_GOOD);
    ck_assert(!fields);
}
END_TEST

struct rig {
    _Alignas(8) uint8_t bytes[1024];
    uint32_t head, tail;
    struct gpu_ring writer, reader;
};

static void rig_init(struct rig *r, uint32_t start)
{
    memset(r, 0, sizeof(*r));
    r->head = r->tail = start;
    ring_init(&r->writer, r->bytes, sizeof(r->bytes), &r->head, &r->tail, start);
    ring_init(&r->reader, r->bytes, sizeof(r->bytes), &r->tail, &r->head, start);
}

/* Records of all lengths, around the ring and around the counters' end. */
START_TEST(wraps)
{
    struct rig r;
    uint8_t got[GPU_RECORD_MOST];

    rig_init(&r, 0xfffff000);
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t length = 16 + i % 100 * 8;
        uint8_t record[1024];
        memset(record, (int)i, sizeof(record));
        memcpy(record, &length, 4);
        ck_assert(ring_put(&r.writer, record, length));
        ck_assert(ring_waiting(&r.reader));
        ck_assert_int_eq(ring_get(&r.reader, got), length);
        ck_assert(memcmp(got, record, length) == 0);
    }
    ck_assert_int_eq(ring_get(&r.reader, got), 0);
}
END_TEST

START_TEST(fills)
{
    struct rig r;
    uint32_t record[64] = {256};

    rig_init(&r, 0);
    for (int i = 0; i < 4; i++)
        ck_assert(ring_put(&r.writer, record, 256));
    ck_assert(!ring_put(&r.writer, record, 16));
    ck_assert_int_eq(ring_room(&r.writer), 0);
    r.head = 5000; /* a reader that is ahead of the writer */
    ck_assert_int_eq(ring_room(&r.writer), 0);
}
END_TEST

static const struct lie {
    const char *name;
    uint32_t tail, length;
} lies[] = {
    {"more than the ring holds", 2048, 16},
    {"not a multiple of 8", 20, 16},
    {"less than a head", 8, 8},
    {"record longer than what waits", 16, 24},
    {"record of nothing", 64, 0},
    {"record that is not aligned", 64, 17},
    {"record of gigabytes", 64, 0xfffffff8},
};

START_TEST(lying_writer)
{
    struct rig r;
    uint8_t got[GPU_RECORD_MOST];

    rig_init(&r, 0);
    r.tail = lies[_i].tail;
    memcpy(r.bytes, &lies[_i].length, 4);
    ck_assert_msg(ring_get(&r.reader, got) == -1, "%s", lies[_i].name);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-protocol");
    TCase *tc = tcase_create("gpu-protocol");

    tcase_add_loop_test(tc, records, 0, sizeof(record_cases) / sizeof(record_cases[0]));
    tcase_add_test(tc, answers);
    tcase_add_test(tc, wraps);
    tcase_add_test(tc, fills);
    tcase_add_loop_test(tc, lying_writer, 0, sizeof(lies) / sizeof(lies[0]));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
