/*
 * Records of a stream of bytes, as they come by a serial port: in pieces of any size. What is taken
 * is the same as from the whole, up to the first length that cannot be; nothing is taken after it.
 */
#include "gpu/protocol/ring.h"
#include "gpu/server/link.h"
#include "tests/fuzz/fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_MOST = 9000, FEW = 3 };

/* The record at DATA: its length; 0: not all of it is there; -1: none can be. */
static int record_at(const uint8_t *data, size_t size)
{
    uint32_t length;

    if (size < sizeof(struct gpu_call_head))
        return 0;
    memcpy(&length, data, sizeof(length));
    if (length < sizeof(struct gpu_call_head) || length > GPU_RECORD_MOST || length % GPU_ALIGN)
        return -1;
    return length <= size ? (int)length : 0;
}

/* Takes what there is, which lies at *AT of DATA; false: the stream is over. */
static bool take(struct link *link, const uint8_t *data, size_t size, size_t *at)
{
    static uint8_t record[GPU_RECORD_MOST];
    int n;

    while ((n = link_next(link, record)) > 0) {
        g_assert(n == record_at(data + *at, size - *at));
        g_assert(memcmp(record, data + *at, (size_t)n) == 0);
        *at += (size_t)n;
    }
    return n == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0, sent = 0, most;
    unsigned state;
    int fds[2];

    if (size < 2)
        return 0;
    state = data[0];
    most = data[1] % 2 ? PIECE_MOST : FEW; /* and pieces that cut each head */
    data += 2;
    size -= 2;
    if (most == FEW)
        size = MIN(size, 256);
    g_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    struct link *link = link_stream(fds[0]);
    bool open = link_open(link);
    g_assert(open && link_window_bytes(link) == 0 && !link_window(link, 0, 1));
    while (sent < size && open) {
        state = state * 1103515245 + 12345;
        size_t piece = MIN(size - sent, 1 + (state >> 8) % most);
        g_assert(send(fds[1], data + sent, piece, MSG_NOSIGNAL) == (ssize_t)piece);
        sent += piece;
        open = take(link, data, sent, &at);
        g_assert(record_at(data + at, sent - at) == (open ? 0 : -1));
    }
    close(fds[1]);
    g_assert(!take(link, data, sent, &at));
    link_close(link);
    g_assert(!link_open(link));
    link_free(link);
    close(fds[0]);
    return 0;
}

static void put(GByteArray *out, uint32_t bytes, uint32_t length)
{
    const struct gpu_call_head head = {.bytes = length, .op = GPU_OP_HELLO};
    guint at = out->len;

    g_byte_array_set_size(out, at + bytes);
    memset(out->data + at, (int)bytes, bytes);
    memcpy(out->data + at, &head, MIN(sizeof(head), bytes));
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const uint32_t lengths[] = {16, 24, 64, 4096, GPU_RECORD_MOST, 32, 16};

    if (n > 2)
        return false;
    g_byte_array_append(out, (const uint8_t[]){7, n != 1}, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++)
        put(out, lengths[i], lengths[i]);
    if (n == 2)
        put(out, 24, GPU_RECORD_MOST + GPU_ALIGN);
    return true;
}
