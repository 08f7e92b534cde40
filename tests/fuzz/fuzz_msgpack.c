/* MessagePack: what is read is within the bytes, and skipping a value is reading all of it. */
#include "gpu/code/msgpack.h"
#include "tests/fuzz/fuzz.h"

/* The same as msgpack_skip(), by reading alone. */
static bool skip_slowly(struct msgpack *m)
{
    struct msgpack_value v;
    struct msgpack r = *m;

    for (uint64_t left = 1; left; left--) {
        if (!msgpack_read(&r, &v))
            return false;
        g_assert(r.at > m->at && r.at <= r.end);
        g_assert(!v.bytes || (v.bytes > m->at && v.bytes + v.length == r.at));
        left += v.type == MSGPACK_ARRAY ? v.length : v.type == MSGPACK_MAP ? 2ull * v.length : 0;
    }
    *m = r;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *bytes = g_memdup2(data, MAX(size, 1));
    struct msgpack fast = {bytes, bytes + size}, slow = fast;
    bool going = true;

    while (going) {
        going = msgpack_skip(&fast);
        g_assert(skip_slowly(&slow) == going && fast.at == slow.at);
    }
    return 0;
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const char *const texts[] = {
        "\x83\xa3"
        "abc\x93\x01\xff\xc3\xa1"
        "b\xcd\x12\x34\xa0\xca\x3f\x80\x01\x02",
        "\xdc\x01\x04\xcc\x80\xd1\xff\xfe\xd9\x02"
        "hi\xc4\x01"
        "x\xd4\x05"
        "y",
        "\x91\x91\x91\x91\x81\x91\xc0\xc2\xcf\x01\x02\x03\x04\x05\x06\x07\x08",
    };

    if (n >= G_N_ELEMENTS(texts))
        return false;
    g_byte_array_append(out, (const uint8_t *)texts[n], (guint)strlen(texts[n]));
    return true;
}
