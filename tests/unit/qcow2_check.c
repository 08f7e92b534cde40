/* Counts what refers to each cluster and holds that against the refcounts. See qcow2_check.h. */
#include "tests/unit/qcow2_check.h"

#include <stdbool.h>
#include <string.h>

#define OFFSET UINT64_C(0x00fffffffffffe00)
#define COPIED (UINT64_C(1) << 63)
#define PACKED (UINT64_C(1) << 62)

struct check {
    const uint8_t *file;
    size_t len;
    unsigned bits, order;
    uint64_t size;     /* of a cluster */
    uint64_t clusters; /* in the file, the last of which may be cut short */
    uint64_t table, table_clusters;
    uint32_t *used; /* references, a row a cluster */
    char *wrong;
};

static uint64_t be64(const struct check *c, uint64_t at)
{
    uint64_t v = 0;

    if (at + 8 <= c->len)
        memcpy(&v, c->file + at, 8);
    return GUINT64_FROM_BE(v);
}

static uint32_t be32(const struct check *c, uint64_t at)
{
    uint32_t v = 0;

    if (at + 4 <= c->len)
        memcpy(&v, c->file + at, 4);
    return GUINT32_FROM_BE(v);
}

static void wrong(struct check *c, const char *what, uint64_t at)
{
    if (!c->wrong)
        c->wrong = g_strdup_printf("%s at 0x%" G_GINT64_MODIFIER "x", what, at);
}

/* The clusters of LEN bytes at AT are used once more. */
static void use(struct check *c, const char *what, uint64_t at, uint64_t len)
{
    if (len == 0)
        return;
    for (uint64_t i = at >> c->bits; i <= (at + len - 1) >> c->bits; i++) {
        if (i >= c->clusters) {
            wrong(c, what, at);
            return;
        }
        c->used[i]++;
    }
}

/* The refcount of a cluster as the file has it. */
static uint64_t count(const struct check *c, uint64_t cluster)
{
    uint64_t per = c->size * 8 >> c->order;
    uint64_t entry = cluster / per < c->table_clusters * c->size / 8
                         ? be64(c, c->table + cluster / per * 8)
                         : 0;
    uint64_t bit = cluster % per << c->order, value = 0;

    if (entry == 0)
        return 0;
    if (c->order < 3) {
        uint64_t at = entry + bit / 8;
        return at < c->len ? c->file[at] >> bit % 8 & ((1u << (1u << c->order)) - 1) : 0;
    }
    for (uint64_t i = 0; i < UINT64_C(1) << (c->order - 3); i++) {
        uint64_t at = entry + bit / 8 + i;
        value = value << 8 | (at < c->len ? c->file[at] : 0);
    }
    return value;
}

static void check_copied(struct check *c, bool active, uint64_t entry, uint64_t host)
{
    if (active && (entry & COPIED) && count(c, host >> c->bits) != 1)
        wrong(c, "an entry to be changed in place, of a cluster that is not counted once", host);
}

static void use_l2(struct check *c, bool active, uint64_t table)
{
    for (uint64_t i = 0; i < c->size / 8; i++) {
        uint64_t entry = be64(c, table + i * 8), host = entry & OFFSET;
        if (entry & PACKED) {
            unsigned x = 62 - (c->bits - 8);
            uint64_t at = entry & ((UINT64_C(1) << x) - 1);
            uint64_t sectors = entry >> x & ((UINT64_C(1) << (c->bits - 8)) - 1);
            use(c, "compressed data", at, (sectors + 1) * 512 - at % 512);
        } else if (host) {
            use(c, "data", host, c->size);
            check_copied(c, active, entry, host);
            if (host % c->size)
                wrong(c, "data that is not aligned", host);
        }
    }
}

static void use_l1(struct check *c, bool active, uint64_t table, uint64_t entries)
{
    use(c, "an L1 table", table, entries * 8);
    for (uint64_t i = 0; i < entries && !c->wrong; i++) {
        uint64_t entry = be64(c, table + i * 8), l2 = entry & OFFSET;
        if (l2 == 0)
            continue;
        use(c, "an L2 table", l2, c->size);
        check_copied(c, active, entry, l2);
        use_l2(c, active, l2);
    }
}

static void use_snapshots(struct check *c)
{
    uint64_t first = be64(c, 64), at = first;

    for (uint32_t i = be32(c, 60); i > 0 && !c->wrong; i--) {
        uint32_t id_name = be32(c, at + 12);
        use_l1(c, false, be64(c, at), be32(c, at + 8));
        at += (40 + be32(c, at + 36) + (id_name >> 16) + (id_name & 0xffff) + 7) & ~UINT64_C(7);
    }
    use(c, "the snapshot table", first, at - first);
}

static void use_refcounts(struct check *c)
{
    use(c, "the refcount table", c->table, c->table_clusters * c->size);
    for (uint64_t i = 0; i < c->table_clusters * c->size / 8 && !c->wrong; i++) {
        uint64_t block = be64(c, c->table + i * 8);
        if (block)
            use(c, "a refcount block", block, c->size);
    }
}

char *qcow2_check(const uint8_t *file, size_t len, uint64_t *leaks)
{
    struct check c = {.file = file, .len = len};

    *leaks = 0;
    if (len < 72 || memcmp(file, "QFI\xfb", 4) != 0)
        return g_strdup("no qcow2 header");
    c.bits = be32(&c, 20);
    c.order = be32(&c, 4) >= 3 ? be32(&c, 96) : 4;
    c.size = UINT64_C(1) << c.bits;
    c.clusters = (len + c.size - 1) >> c.bits;
    c.table = be64(&c, 48);
    c.table_clusters = be32(&c, 56);
    c.used = g_new0(uint32_t, c.clusters);
    use(&c, "the header", 0, c.size);
    use_refcounts(&c);
    use_l1(&c, true, be64(&c, 40), be32(&c, 36));
    use_snapshots(&c);
    for (uint64_t i = 0; i < c.clusters && !c.wrong; i++) {
        uint64_t counted = count(&c, i);
        if (counted < c.used[i])
            wrong(&c, "a cluster that is counted less often than it is used", i << c.bits);
        *leaks += counted > c.used[i];
    }
    g_free(c.used);
    return c.wrong;
}
