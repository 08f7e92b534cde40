/*
 * base/hotlist: the list of hot blocks of translated guest code, by page content.
 *
 * A page is known by the SHA-256 of its 4096 bytes, a block by its offset in the page and its
 * translation mode. Only where blocks begin is listed, never code of guest or host: whoever uses
 * the list translates what the page holds. Pages stand in the order in which they were first run.
 *
 * Bounded by LIMIT_XLATE_WARM_PAGES and LIMIT_XLATE_WARM_BLOCKS. As a file: a header with version,
 * instruction set, counts and a checksum, then pages, then blocks, little-endian. A list that does not
 * check is refused as a whole. Not thread-safe.
 */
#ifndef BASE_HOTLIST_H
#define BASE_HOTLIST_H

#include "base/base.h"

/* What a VM process calls the list of its run, in its runtime directory. */
#define HOTLIST_NAME "hot.list"

enum {
    HOTLIST_VERSION = 1, /* of the file, and of what translation modes mean */
    HOTLIST_PAGE = 4096,
    HOTLIST_DIGEST = 32,
    HOTLIST_PAGE_BLOCKS = 4096, /* most blocks of one page */
    HOTLIST_HEAT_MOST = UINT16_MAX,
};

struct hotlist_block {
    uint16_t offset; /* in the page; even */
    uint16_t heat;   /* nonzero */
    uint32_t mode;
};

struct hotlist_page {
    uint8_t digest[HOTLIST_DIGEST];
    uint64_t quick; /* hotlist_quick() of the same bytes */
    uint64_t place; /* guest-physical address where it was last seen: a hint */
    uint32_t index;   /* its place in list->pages */
    uint32_t n, room;
    struct hotlist_block *blocks; /* by offset, then mode */
    struct hotlist_page *same;    /* next page of the same quick value */
};

struct hotlist {
    uint32_t isa; /* its number in enum isa, and in enum vm_arch of the schema */
    uint32_t n_blocks;
    GPtrArray *pages;     /* of struct hotlist_page */
    GHashTable *by_quick; /* the first page of a quick value */
};

struct hotlist *hotlist_new(uint32_t isa);
/* Takes NULL. */
void hotlist_free(struct hotlist *list);

/* A copy. */
struct hotlist *hotlist_copy(const struct hotlist *list);

/* A cheap value of the HOTLIST_PAGE bytes at BYTES (8-aligned), to look for candidates with. */
uint64_t hotlist_quick(const uint8_t *bytes);
/* What they are known by. */
void hotlist_digest(const uint8_t *bytes, uint8_t digest[HOTLIST_DIGEST]);

/* The first page of value QUICK; its others follow by page->same. NULL: none. */
struct hotlist_page *hotlist_candidates(const struct hotlist *list, uint64_t quick);
struct hotlist_page *hotlist_find(const struct hotlist *list, uint64_t quick,
                                  const uint8_t digest[HOTLIST_DIGEST]);

/* The page of that content, added where it is new; PLACE is taken. NULL when the list is full. */
struct hotlist_page *hotlist_page(struct hotlist *list, uint64_t quick,
                                  const uint8_t digest[HOTLIST_DIGEST], uint64_t place);
/* Adds HEAT to a block of PAGE, a page of LIST; new blocks of a full list are left out. */
void hotlist_block(struct hotlist *list, struct hotlist_page *page, uint16_t offset, uint32_t mode,
                   unsigned heat);

/*
 * What comes of OLD when a run has seen NOW: a new list, NOW's pages first. Blocks of a page that the
 * run saw without them lose a quarter of their heat, and go when none is left. Where it would be
 * too long, pages that the run did not see lose heat first, then the coldest blocks go.
 * OLD may be NULL.
 */
struct hotlist *hotlist_merge(const struct hotlist *old, const struct hotlist *now);

/* The list as a file's bytes; the caller frees. */
GByteArray *hotlist_encode(const struct hotlist *list);
/* NULL with VMD_ERROR_INVALID where BYTES are no list of ISA, of this version, whole and in order. */
struct hotlist *hotlist_decode(const uint8_t *bytes, size_t length, uint32_t isa, GError **err);

/* Most bytes that a list has as a file. */
size_t hotlist_file_most(void);
/* NULL with VMD_ERROR_NOT_FOUND where there is no file, or what reading and hotlist_decode() say. */
struct hotlist *hotlist_read(const char *path, uint32_t isa, GError **err);
/* Replaces PATH as one step. */
bool hotlist_write(const struct hotlist *list, const char *path, GError **err);

#endif
