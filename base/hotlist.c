/* The list of hot blocks; see hotlist.h. */
#include "base/hotlist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static const char MAGIC[8] = "vmd-hot";

enum {
    HEADER_BYTES = 40, /* magic, version, isa, pages, blocks, checksum, zero */
    PAGE_BYTES = HOTLIST_DIGEST + 20,
    BLOCK_BYTES = 8,
    CHECKSUM_AT = 24,
};

/* --- pages and blocks ------------------------------------------------------------------------- */

static void page_free(void *p)
{
    struct hotlist_page *page = p;

    g_free(page->blocks);
    g_free(page);
}

struct hotlist *hotlist_new(uint32_t isa)
{
    struct hotlist *list = g_new0(struct hotlist, 1);

    list->isa = isa;
    list->pages = g_ptr_array_new_with_free_func(page_free);
    list->by_quick = g_hash_table_new(g_int64_hash, g_int64_equal);
    return list;
}

void hotlist_free(struct hotlist *list)
{
    if (!list)
        return;
    g_hash_table_destroy(list->by_quick);
    g_ptr_array_free(list->pages, TRUE);
    g_free(list);
}

uint64_t hotlist_quick(const uint8_t *bytes)
{
    uint64_t lane[4] = {1, 2, 3, 4}, h = 0;

    for (unsigned i = 0; i < HOTLIST_PAGE; i += 32) {
        for (unsigned k = 0; k < 4; k++) {
            uint64_t word;
            memcpy(&word, bytes + i + 8 * k, 8);
            lane[k] = (lane[k] ^ word) * UINT64_C(0x9e3779b97f4a7c15);
            lane[k] ^= lane[k] >> 29;
        }
    }
    for (unsigned k = 0; k < 4; k++)
        h = (h ^ lane[k]) * UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 31;
}

void hotlist_digest(const uint8_t *bytes, uint8_t digest[HOTLIST_DIGEST])
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize length = HOTLIST_DIGEST;

    g_checksum_update(sum, bytes, HOTLIST_PAGE);
    g_checksum_get_digest(sum, digest, &length);
    g_checksum_free(sum);
}

struct hotlist_page *hotlist_candidates(const struct hotlist *list, uint64_t quick)
{
    return g_hash_table_lookup(list->by_quick, &quick);
}

struct hotlist_page *hotlist_find(const struct hotlist *list, uint64_t quick,
                                  const uint8_t digest[HOTLIST_DIGEST])
{
    struct hotlist_page *page = hotlist_candidates(list, quick);

    while (page && memcmp(page->digest, digest, HOTLIST_DIGEST) != 0)
        page = page->same;
    return page;
}

static struct hotlist_page *add_page(struct hotlist *list, uint64_t quick,
                                     const uint8_t digest[HOTLIST_DIGEST], uint64_t place)
{
    struct hotlist_page *page = g_new0(struct hotlist_page, 1);
    struct hotlist_page *first = hotlist_candidates(list, quick);

    memcpy(page->digest, digest, HOTLIST_DIGEST);
    page->quick = quick;
    page->place = place;
    page->index = list->pages->len;
    g_ptr_array_add(list->pages, page);
    if (first) {
        page->same = first->same;
        first->same = page;
    } else {
        g_hash_table_insert(list->by_quick, &page->quick, page);
    }
    return page;
}

struct hotlist_page *hotlist_page(struct hotlist *list, uint64_t quick,
                                  const uint8_t digest[HOTLIST_DIGEST], uint64_t place)
{
    struct hotlist_page *page = hotlist_find(list, quick, digest);

    if (!page && list->pages->len < LIMIT_XLATE_WARM_PAGES)
        page = add_page(list, quick, digest, place);
    if (page)
        page->place = place;
    return page;
}

static uint64_t block_key(uint16_t offset, uint32_t mode)
{
    return (uint64_t)offset << 32 | mode;
}

/* Where the block is, or belongs. */
static uint32_t block_at(const struct hotlist_page *page, uint16_t offset, uint32_t mode)
{
    uint32_t low = 0, high = page->n;

    while (low < high) {
        uint32_t mid = (low + high) / 2;
        const struct hotlist_block *b = &page->blocks[mid];
        if (block_key(b->offset, b->mode) < block_key(offset, mode))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool block_is(const struct hotlist_page *page, uint32_t at, uint16_t offset, uint32_t mode)
{
    return at < page->n && page->blocks[at].offset == offset && page->blocks[at].mode == mode;
}

static void insert_block(struct hotlist *list, struct hotlist_page *page, uint32_t at,
                         const struct hotlist_block *block)
{
    if (page->n == page->room) {
        page->room = page->room ? page->room * 2 : 8;
        page->blocks = g_renew(struct hotlist_block, page->blocks, page->room);
    }
    memmove(page->blocks + at + 1, page->blocks + at, (page->n - at) * sizeof(page->blocks[0]));
    page->blocks[at] = *block;
    page->n++;
    list->n_blocks++;
}

static void add_block(struct hotlist *list, struct hotlist_page *page, uint16_t offset,
                      uint32_t mode, unsigned heat, uint32_t most)
{
    uint32_t at = block_at(page, offset, mode);

    heat = MIN(heat, HOTLIST_HEAT_MOST);
    if (!heat)
        return;
    if (block_is(page, at, offset, mode))
        page->blocks[at].heat = (uint16_t)MIN(page->blocks[at].heat + heat, HOTLIST_HEAT_MOST);
    else if (page->n < HOTLIST_PAGE_BLOCKS && list->n_blocks < most)
        insert_block(list, page, at, &(struct hotlist_block){offset, (uint16_t)heat, mode});
}

void hotlist_block(struct hotlist *list, struct hotlist_page *page, uint16_t offset, uint32_t mode,
                   unsigned heat)
{
    add_block(list, page, offset, mode, heat, LIMIT_XLATE_WARM_BLOCKS);
}

static struct hotlist_page *page_of(const struct hotlist *list, guint i)
{
    return g_ptr_array_index(list->pages, i);
}

/* Adds FROM, a page with blocks in order, without looking whether there is room. */
static void append(struct hotlist *to, const struct hotlist_page *from)
{
    struct hotlist_page *page = add_page(to, from->quick, from->digest, from->place);

    page->n = page->room = from->n;
    page->blocks = g_memdup2(from->blocks, from->n * sizeof(from->blocks[0]));
    to->n_blocks += from->n;
}

struct hotlist *hotlist_copy(const struct hotlist *list)
{
    struct hotlist *copy = hotlist_new(list->isa);

    for (guint i = 0; i < list->pages->len; i++)
        append(copy, page_of(list, i));
    return copy;
}

/* --- merging ---------------------------------------------------------------------------------- */

/* PAGE (of a run) gets the heat that OLD had; blocks the run did not see keep most of theirs. */
static void merge_page(struct hotlist *list, struct hotlist_page *page,
                       const struct hotlist_page *old)
{
    for (uint32_t i = 0; i < old->n; i++) {
        const struct hotlist_block *b = &old->blocks[i];
        bool seen = block_is(page, block_at(page, b->offset, b->mode), b->offset, b->mode);
        unsigned lost = seen ? 0 : MAX(1, b->heat / 4u);
        /* Past the bound too: what is too much is taken away at the end, by heat. */
        add_block(list, page, b->offset, b->mode, b->heat - lost, UINT32_MAX);
    }
}

static void halve_unseen(struct hotlist *list, guint first_unseen)
{
    for (guint i = first_unseen; i < list->pages->len; i++)
        for (uint32_t k = 0; k < page_of(list, i)->n; k++)
            page_of(list, i)->blocks[k].heat /= 2;
}

/* The heat that a block must have to stay, and how many of just that heat may. */
static unsigned find_bar(const struct hotlist *list, uint32_t *room)
{
    g_autofree uint32_t *count = g_new0(uint32_t, HOTLIST_HEAT_MOST + 1);
    uint32_t left = LIMIT_XLATE_WARM_BLOCKS;
    unsigned heat = HOTLIST_HEAT_MOST;

    for (guint i = 0; i < list->pages->len; i++)
        for (uint32_t k = 0; k < page_of(list, i)->n; k++)
            count[page_of(list, i)->blocks[k].heat]++;
    for (; heat > 1 && count[heat] < left; heat--)
        left -= count[heat];
    *room = left;
    return heat;
}

/* A list with LIST's blocks that stay and pages that have some. */
static struct hotlist *trim(const struct hotlist *list)
{
    struct hotlist *out = hotlist_new(list->isa);
    uint32_t room;
    unsigned bar = find_bar(list, &room);

    for (guint i = 0; i < list->pages->len && out->pages->len < LIMIT_XLATE_WARM_PAGES; i++) {
        const struct hotlist_page *from = page_of(list, i);
        struct hotlist_page *page = NULL;
        for (uint32_t k = 0; k < from->n; k++) {
            const struct hotlist_block *b = &from->blocks[k];
            if (b->heat < bar || (b->heat == bar && !room))
                continue;
            room -= b->heat == bar;
            if (!page)
                page = add_page(out, from->quick, from->digest, from->place);
            hotlist_block(out, page, b->offset, b->mode, b->heat);
        }
    }
    return out;
}

struct hotlist *hotlist_merge(const struct hotlist *old, const struct hotlist *now)
{
    struct hotlist *all = hotlist_copy(now), *out;
    guint seen = all->pages->len;

    for (guint i = 0; old && i < old->pages->len; i++) {
        const struct hotlist_page *o = page_of(old, i);
        struct hotlist_page *page = hotlist_find(all, o->quick, o->digest);
        if (page)
            merge_page(all, page, o);
        else
            append(all, o);
    }
    if (all->n_blocks > LIMIT_XLATE_WARM_BLOCKS || all->pages->len > LIMIT_XLATE_WARM_PAGES)
        halve_unseen(all, seen);
    out = trim(all);
    hotlist_free(all);
    return out;
}

/* --- files ------------------------------------------------------------------------------------ */

static void put(GByteArray *to, uint64_t value, unsigned bytes)
{
    uint64_t le = GUINT64_TO_LE(value);

    g_byte_array_append(to, (const uint8_t *)&le, bytes);
}

static uint64_t get(const uint8_t **at, unsigned bytes)
{
    uint64_t le = 0;

    memcpy(&le, *at, bytes);
    *at += bytes;
    return GUINT64_FROM_LE(le);
}

/* FNV-1a by words, then bytes: finds damage, proves nothing. The field itself counts as zero. */
static uint64_t checksum(const uint8_t *bytes, size_t length)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325), word;
    size_t i = 0;

    for (; i + 8 <= length; i += 8) {
        memcpy(&word, bytes + i, 8);
        h = (h ^ (i == CHECKSUM_AT ? 0 : GUINT64_FROM_LE(word))) * UINT64_C(0x100000001b3);
        h ^= h >> 32;
    }
    for (; i < length; i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

GByteArray *hotlist_encode(const struct hotlist *list)
{
    GByteArray *to = g_byte_array_new();
    uint64_t sum;

    g_byte_array_append(to, (const uint8_t *)MAGIC, sizeof(MAGIC));
    put(to, HOTLIST_VERSION, 4);
    put(to, list->isa, 4);
    put(to, list->pages->len, 4);
    put(to, list->n_blocks, 4);
    put(to, 0, 8);
    put(to, 0, 8);
    for (guint i = 0; i < list->pages->len; i++) {
        const struct hotlist_page *page = page_of(list, i);
        g_byte_array_append(to, page->digest, HOTLIST_DIGEST);
        put(to, page->quick, 8);
        put(to, page->place, 8);
        put(to, page->n, 4);
    }
    for (guint i = 0; i < list->pages->len; i++) {
        const struct hotlist_page *page = page_of(list, i);
        for (uint32_t k = 0; k < page->n; k++) {
            put(to, page->blocks[k].offset, 2);
            put(to, page->blocks[k].heat, 2);
            put(to, page->blocks[k].mode, 4);
        }
    }
    sum = GUINT64_TO_LE(checksum(to->data, to->len));
    memcpy(to->data + CHECKSUM_AT, &sum, sizeof(sum));
    return to;
}

size_t hotlist_file_most(void)
{
    return HEADER_BYTES + (size_t)LIMIT_XLATE_WARM_PAGES * PAGE_BYTES +
           (size_t)LIMIT_XLATE_WARM_BLOCKS * BLOCK_BYTES;
}

/* One page's row and its blocks; false where they are not as hotlist_encode() writes them. */
static bool decode_page(struct hotlist *list, const uint8_t **row, const uint8_t **blocks,
                        const uint8_t *end)
{
    const uint8_t *digest = *row;
    uint64_t last = 0;

    *row += HOTLIST_DIGEST;
    uint64_t quick = get(row, 8), place = get(row, 8);
    uint32_t n = (uint32_t)get(row, 4);
    if (!n || n > HOTLIST_PAGE_BLOCKS || n > (size_t)(end - *blocks) / BLOCK_BYTES ||
        place % HOTLIST_PAGE || hotlist_find(list, quick, digest))
        return false;
    struct hotlist_page *page = add_page(list, quick, digest, place);
    page->blocks = g_new(struct hotlist_block, n);
    page->room = n;
    for (; page->n < n; page->n++) {
        struct hotlist_block *b = &page->blocks[page->n];
        b->offset = (uint16_t)get(blocks, 2);
        b->heat = (uint16_t)get(blocks, 2);
        b->mode = (uint32_t)get(blocks, 4);
        uint64_t key = block_key(b->offset, b->mode) + 1;
        if (b->offset >= HOTLIST_PAGE || b->offset % 2 || !b->heat || key <= last)
            return false;
        last = key;
    }
    list->n_blocks += n;
    return true;
}

struct hotlist *hotlist_decode(const uint8_t *bytes, size_t length, uint32_t isa, GError **err)
{
    const uint8_t *at = bytes + sizeof(MAGIC), *end = bytes + length;
    bool ok = length >= HEADER_BYTES && memcmp(bytes, MAGIC, sizeof(MAGIC)) == 0;

    if (!ok) {
        vmd_fail(err, VMD_ERROR_INVALID, "not a list of hot blocks");
        return NULL;
    }
    uint32_t version = (uint32_t)get(&at, 4), of = (uint32_t)get(&at, 4);
    uint32_t n_pages = (uint32_t)get(&at, 4), n_blocks = (uint32_t)get(&at, 4);
    uint64_t sum = get(&at, 8), zero = get(&at, 8);
    if (version != HOTLIST_VERSION || of != isa) {
        vmd_fail(err, VMD_ERROR_INVALID, "a list of version %u for instruction set %u", version, of);
        return NULL;
    }
    ok = n_pages <= LIMIT_XLATE_WARM_PAGES && n_blocks <= LIMIT_XLATE_WARM_BLOCKS && !zero &&
         length == HEADER_BYTES + (size_t)n_pages * PAGE_BYTES + (size_t)n_blocks * BLOCK_BYTES &&
         sum == checksum(bytes, length);
    struct hotlist *list = hotlist_new(isa);
    const uint8_t *blocks = at + (size_t)n_pages * PAGE_BYTES;
    for (uint32_t i = 0; ok && i < n_pages; i++)
        ok = decode_page(list, &at, &blocks, end);
    if (ok && blocks == end)
        return list;
    hotlist_free(list);
    vmd_fail(err, VMD_ERROR_INVALID, "a damaged list of hot blocks");
    return NULL;
}

struct hotlist *hotlist_read(const char *path, uint32_t isa, GError **err)
{
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    size_t n = 0;
    ssize_t got = 1;

    if (fd < 0 || fstat(fd, &st) < 0) {
        vmd_set_errno(err, errno, "reading %s", path);
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > hotlist_file_most()) {
        vmd_fail(err, VMD_ERROR_INVALID, "%s: not a list of hot blocks", path);
        return NULL;
    }
    g_autofree uint8_t *bytes = g_malloc((size_t)st.st_size + 1);
    while (n < (size_t)st.st_size && got > 0) {
        got = read(fd, bytes + n, (size_t)st.st_size - n);
        n += got > 0 ? (size_t)got : 0;
    }
    struct hotlist *list = hotlist_decode(bytes, n, isa, err);
    if (!list)
        g_prefix_error(err, "%s: ", path);
    return list;
}

bool hotlist_write(const struct hotlist *list, const char *path, GError **err)
{
    g_autoptr(GByteArray) bytes = hotlist_encode(list);
    g_autofree char *made = g_strconcat(path, ".new", NULL);
    size_t done = 0;
    ssize_t n = 1;

    autofd fd = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return vmd_set_errno(err, errno, "writing %s", made);
    while (done < bytes->len && n > 0) {
        n = write(fd, bytes->data + done, bytes->len - done);
        done += n > 0 ? (size_t)n : 0;
    }
    /* A list that a crash of the host cuts short is refused by its checksum: no sync. */
    if (done < bytes->len || rename(made, path) < 0) {
        vmd_set_errno(err, errno, "writing %s", path);
        unlink(made);
        return false;
    }
    return true;
}
