/* The GPU ring: records against the table, and rings that wrap, fill and lie. */
#include "gpu/protocol/ring.h"
#include "gpu/protocol/source.h"
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

/* --- sources ---------------------------------------------------------------------------------- */

/* A source with two of each, and a 0 more behind it. */
struct source_bytes {
    struct gpu_source_head head;
    char strings[42];
};

static const struct source_bytes good_source = {
    {GPU_SOURCE_MAGIC, 2, 2, 2}, "n.hip\0text\0a.h\0b.h\0A\0\0f<int>\0g\0-O3\0-DX=1"};

enum { SOURCE_BYTES = sizeof(struct gpu_source_head) + 41 };

START_TEST(sources)
{
    struct source_bytes again;
    struct gpu_source s;

    ck_assert(gpu_source_read(&good_source, SOURCE_BYTES, &s));
    ck_assert_str_eq(s.strings[GPU_SOURCE_NAME], "n.hip");
    ck_assert_str_eq(s.strings[GPU_SOURCE_TEXT], "text");
    ck_assert_str_eq(gpu_source_header_names(&s)[1], "b.h");
    ck_assert_str_eq(gpu_source_header_texts(&s)[0], "A");
    ck_assert_str_eq(gpu_source_header_texts(&s)[1], "");
    ck_assert_str_eq(gpu_source_names(&s)[0], "f<int>");
    ck_assert_str_eq(gpu_source_options(&s)[1], "-DX=1");
    ck_assert_uint_eq(gpu_source_bytes(&s), SOURCE_BYTES);
    gpu_source_write(&s, &again);
    ck_assert_mem_eq(&again, &good_source, SOURCE_BYTES);
    for (size_t n = 0; n <= sizeof(good_source); n++)
        ck_assert_msg(gpu_source_read(&good_source, n, &s) == (n == SOURCE_BYTES), "%zu bytes", n);
}
END_TEST

static const struct source_case {
    const char *name;
    struct gpu_source_head head;
} source_cases[] = {
    {"another magic", {GPU_SOURCE_MAGIC + 1, 2, 2, 2}},
    {"a header more", {GPU_SOURCE_MAGIC, 3, 2, 2}},
    {"a header less", {GPU_SOURCE_MAGIC, 1, 2, 2}},
    {"an option more", {GPU_SOURCE_MAGIC, 2, 2, 3}},
    {"half of all headers that there can be", {GPU_SOURCE_MAGIC, UINT32_C(0x80000003), 2, 0}},
    {"more options than there can be", {GPU_SOURCE_MAGIC, 2, 2, UINT32_MAX}},
    {"as many strings as may be, and one", {GPU_SOURCE_MAGIC, 0, 0, GPU_SOURCE_STRINGS - 1}},
};

START_TEST(bad_sources)
{
    struct source_bytes bytes = good_source;
    struct gpu_source s;

    bytes.head = source_cases[_i].head;
    ck_assert_msg(!gpu_source_read(&bytes, SOURCE_BYTES, &s), "%s", source_cases[_i].name);
}
END_TEST

START_TEST(many_strings)
{
    ck_assert_uint_eq(gpu_source_strings(0, 0, GPU_SOURCE_STRINGS - 2), GPU_SOURCE_STRINGS);
    ck_assert_uint_eq(gpu_source_strings(0, 1, GPU_SOURCE_STRINGS - 2), 0);
    ck_assert_uint_eq(gpu_source_strings(UINT32_MAX, UINT32_MAX, UINT32_MAX), 0);
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
    tcase_add_test(tc, sources);
    tcase_add_loop_test(tc, bad_sources, 0, sizeof(source_cases) / sizeof(source_cases[0]));
    tcase_add_test(tc, many_strings);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
