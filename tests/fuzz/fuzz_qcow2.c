/*
 * qcow2 images: whatever the bytes are, they are refused with a message, or what is done with the image
 * works or fails with an error. The input is a few bytes that choose what is done, and the image.
 */
#include "machine/block/image.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

enum { CHOICES = 16, CLUSTER = 512, BUFFER = 65536 };

/* Does what CHOICE says at some place of the disk. */
static void use(struct block_image *img, uint8_t choice, unsigned n)
{
    static uint8_t buffer[BUFFER];
    uint64_t size = MIN(img->geometry.size, MIB(1) << (choice >> 6) * 8) / 512;
    uint64_t at = size ? (choice * 2654435761u + n * 40503u) % size : 0;
    uint64_t len = MIN(size - at, 1u + (choice * 37u + n) % 80) * 512;
    struct iovec iov[2] = {{buffer, len / 2}, {buffer + len / 2, len - len / 2}};
    int r = 0;

    if (len == 0)
        return;
    switch (choice % 8) {
    case 0:
    case 1:
        r = img->ops->read(img, at * 512, iov, 2);
        break;
    case 2:
    case 3:
        r = img->geometry.readonly ? 0 : img->ops->write(img, at * 512, iov, 2);
        break;
    case 4:
        r = img->geometry.readonly ? 0 : img->ops->discard(img, at * 512, len);
        break;
    case 5:
    case 6:
        r = img->geometry.readonly ? 0 : img->ops->zero(img, at * 512, len, choice % 8 == 5);
        break;
    default:
        r = img->ops->flush(img);
    }
    g_assert(r <= 0);
    /* Damage is told, and stays. */
    if (img->ops->fault(img))
        g_assert(!strchr(img->ops->fault(img), '\n') && !img->ops->unsaved(img));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) err = NULL;
    autofd fd = memfd_create("image", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

    if (size < CHOICES || write(fd, data + CHOICES, size - CHOICES) != (ssize_t)(size - CHOICES))
        return 0;
    struct block_image *img =
        block_image__open(path, BLOCK_FORMAT_QCOW2, data[0] & 1, NULL, NULL, &err);
    g_assert((img == NULL) == (err != NULL));
    if (!img) {
        g_assert(err->message[0] && !strchr(err->message, '\n'));
        return 0;
    }
    for (unsigned i = 1; i < CHOICES; i++)
        use(img, data[i], i);
    img->ops->flush(img);
    block_image__close(img);
    return 0;
}

static void put32(uint8_t *at, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(at, &v, 4);
}

static void put64(uint8_t *at, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(at, &v, 8);
}

enum { HEADER, REFTABLE, BLOCK, L1, L2, DATA, PACKED, SNAPSHOTS, SNAPSHOT_L1, CLUSTERS };

/* An image of 128 KiB whose first clusters are data, zeroes, compressed, and shared. */
static void image(uint8_t *p, unsigned version, unsigned order)
{
    uint8_t plain[CLUSTER] = "compress me";
    z_stream z = {.next_in = plain, .avail_in = CLUSTER, .next_out = p + PACKED * CLUSTER,
                  .avail_out = CLUSTER};

    memcpy(p, "QFI\xfb", 4);
    put32(p + 4, version);
    put32(p + 20, 9);
    put64(p + 24, KIB(128));
    put32(p + 36, 4);
    put64(p + 40, L1 * CLUSTER);
    put64(p + 48, REFTABLE * CLUSTER);
    put32(p + 56, 1);
    put32(p + 60, 1);
    put64(p + 64, SNAPSHOTS * CLUSTER);
    put32(p + 96, version == 2 ? 0 : order);
    put32(p + 100, version == 2 ? 0 : 104);
    put64(p + REFTABLE * CLUSTER, BLOCK * CLUSTER);
    for (unsigned i = 0; i < CLUSTERS; i++) {
        if (order == 4)
            p[BLOCK * CLUSTER + i * 2 + 1] = i == DATA ? 2 : 1;
        else
            p[BLOCK * CLUSTER + i] = i == DATA ? 2 : 1;
    }
    put64(p + L1 * CLUSTER, L2 * CLUSTER | 1ull << 63);
    put64(p + L2 * CLUSTER, DATA * CLUSTER);
    put64(p + L2 * CLUSTER + 8, version == 2 ? 0 : 1);
    put64(p + L2 * CLUSTER + 16, 1ull << 62 | PACKED * CLUSTER);
    put64(p + SNAPSHOTS * CLUSTER, SNAPSHOT_L1 * CLUSTER);
    put32(p + SNAPSHOTS * CLUSTER + 8, 4);
    p[SNAPSHOTS * CLUSTER + 13] = p[SNAPSHOTS * CLUSTER + 15] = 1;
    memcpy(p + SNAPSHOTS * CLUSTER + 40, "1a", 2);
    deflateInit2(&z, 9, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY);
    deflate(&z, Z_FINISH);
    deflateEnd(&z);
}

bool fuzz_seed(unsigned n, GByteArray *out)
{
    static const uint8_t choices[][CHOICES] = {
        {0, 0, 2, 18, 4, 7, 5, 6, 34, 7, 50, 1, 9, 3, 66, 7},
        {1, 0, 1, 8, 9, 16, 24, 32, 40, 48, 56, 64, 128, 192, 255, 7},
        {2, 255, 254, 253, 252, 251, 250, 249, 248, 194, 130, 7, 133, 4, 196, 7},
    };
    uint8_t bytes[CLUSTERS * CLUSTER] = {0};

    if (n >= 6)
        return false;
    image(bytes, n % 2 ? 2 : 3, n % 2 || n < 3 ? 4 : 3);
    g_byte_array_append(out, choices[n % 3], CHOICES);
    g_byte_array_append(out, bytes, sizeof(bytes));
    return true;
}
