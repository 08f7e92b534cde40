/* Files of sessions. See image.h. */
#include "gpu/server/image.h"

#include <errno.h>

#define SUM_FIRST UINT64_C(0xcbf29ce484222325)
#define SUM_PRIME UINT64_C(0x100000001b3)

_Static_assert(sizeof(struct image_head) % 8 == 0 && sizeof(struct image_item) == 8,
               "all is at multiples of 8");

void image_init(struct image *m, int fd)
{
    *m = (struct image){.fd = fd, .sum = SUM_FIRST};
}

void image_clear(struct image *m)
{
    g_clear_pointer(&m->buffer, g_free);
}

/* BYTES, a multiple of 8, go into the sum. */
static void add_up(struct image *m, const uint8_t *at, size_t bytes)
{
    uint64_t word;

    for (size_t i = 0; i < bytes; i += 8) {
        memcpy(&word, at + i, 8);
        m->sum = (m->sum ^ word) * SUM_PRIME;
        m->sum ^= m->sum >> 29;
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

static void flush(struct image *m)
{
    add_up(m, m->buffer, m->have);
    m->written += m->have;
    if (m->most && m->written > m->most && !m->error)
        m->error = EFBIG;
    for (size_t at = 0; at < m->have && !m->error;) {
        ssize_t n = write(m->fd, m->buffer + at, m->have - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            m->error = n == 0 ? EIO : errno;
    }
    m->have = 0;
}

static void put(struct image *m, const void *from, size_t bytes)
{
    const uint8_t *at = from;

    if (!m->buffer)
        m->buffer = g_malloc(IMAGE_CHUNK);
    while (bytes) {
        size_t n = MIN(bytes, IMAGE_CHUNK - m->have);
        memcpy(m->buffer + m->have, at, n);
        m->have += n;
        at += n;
        bytes -= n;
        if (m->have == IMAGE_CHUNK)
            flush(m);
    }
}

void image_begin(struct image *m, const struct image_head *head)
{
    put(m, head, sizeof(*head));
}

void image_put(struct image *m, enum image_kind kind, const void *head, size_t head_bytes,
               const void *body, size_t body_bytes)
{
    static const uint8_t zeros[8];
    size_t bytes = head_bytes + body_bytes;
    const struct image_item item = {kind, (uint32_t)bytes};

    g_assert(bytes <= IMAGE_ITEM_MOST);
    put(m, &item, sizeof(item));
    put(m, head, head_bytes);
    put(m, body, body_bytes);
    put(m, zeros, -bytes % 8);
}

bool image_written(const struct image *m, GError **err)
{
    if (m->error == EFBIG)
        return vmd_fail(err, VMD_ERROR_LIMIT,
                        "the GPU's programs have modules, batches and handles of more than %d MiB",
                        LIMIT_GPU_MOVED_MIB);
    return !m->error || vmd_set_errno(err, m->error, "writing what the GPU's programs have");
}

bool image_finish(struct image *m, GError **err)
{
    const struct image_item item = {IMAGE_END, sizeof(m->sum)};

    put(m, &item, sizeof(item));
    flush(m);
    uint64_t sum = m->sum;
    put(m, &sum, sizeof(sum));
    flush(m);
    return image_written(m, err);
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool get(struct image *m, void *to, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = read(m->fd, (uint8_t *)to + at, bytes - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return false;
    }
    return true;
}

bool image_next(struct image *m, struct image_item *item, const uint8_t **payload)
{
    if (!m->buffer)
        m->buffer = g_malloc(IMAGE_ITEM_MOST);
    if (!get(m, item, sizeof(*item)) || item->bytes > IMAGE_ITEM_MOST ||
        !get(m, m->buffer, ALIGN_UP(item->bytes, 8u)))
        return false;
    *payload = m->buffer;
    return true;
}

static bool is_whole(struct image *m)
{
    struct image_item item;
    const uint8_t *payload;
    uint64_t sum;

    while (image_next(m, &item, &payload)) {
        add_up(m, (const uint8_t *)&item, sizeof(item));
        if (item.kind == IMAGE_END) {
            memcpy(&sum, payload, sizeof(sum));
            return item.bytes == sizeof(sum) && sum == m->sum;
        }
        add_up(m, payload, ALIGN_UP(item.bytes, 8u));
    }
    return false;
}

bool image_open(struct image *m, struct image_head *head, GError **err)
{
    if (lseek(m->fd, 0, SEEK_SET) != 0 || !get(m, head, sizeof(*head)) ||
        head->magic != IMAGE_MAGIC)
        return vmd_fail(err, VMD_ERROR_INVALID, "this is no image of a GPU's programs");
    if (head->version != IMAGE_VERSION || head->backend[sizeof(head->backend) - 1])
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "the image of a GPU's programs has version %u, not %d", head->version,
                        IMAGE_VERSION);
    add_up(m, (const uint8_t *)head, sizeof(*head));
    if (!is_whole(m))
        return vmd_fail(err, VMD_ERROR_INVALID, "the image of a GPU's programs is damaged");
    return lseek(m->fd, sizeof(*head), SEEK_SET) == sizeof(*head) ||
           vmd_set_errno(err, errno, "reading the image of a GPU's programs");
}
