/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * Bundles. See bundle.h.
 *
 * A bundle is its magic and a count of entries; each has the offset and the size of its image and
 * the name of what that is for: a kind ("host", "hip", "hipv4"), a triple, and of a GPU its target.
 */
#include "gpu/code/bundle.h"

#include <string.h>

/* --- targets ---------------------------------------------------------------------------------- */

/* Images that several processors run, and which. */
static const struct {
    const char *name, *of;
} families[] = {
    {"gfx9-generic", "gfx900 gfx902 gfx904 gfx906 gfx909 gfx90c"},
    {"gfx9-4-generic", "gfx940 gfx941 gfx942 gfx950"},
    {"gfx10-1-generic", "gfx1010 gfx1011 gfx1012 gfx1013"},
    {"gfx10-3-generic", "gfx1030 gfx1031 gfx1032 gfx1033 gfx1034 gfx1035 gfx1036"},
    {"gfx11-generic", "gfx1100 gfx1101 gfx1102 gfx1103 gfx1150 gfx1151 gfx1152 gfx1153"},
    {"gfx12-generic", "gfx1200 gfx1201"},
};

/* Bytes of a name up to its first ':'. */
static size_t processor_bytes(const char *name, size_t length)
{
    const char *colon = memchr(name, ':', length);

    return colon ? (size_t)(colon - name) : length;
}

static bool in_family(const char *name, size_t length, const char *processor, size_t bytes)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (strlen(families[i].name) != length || memcmp(families[i].name, name, length) != 0)
            continue;
        for (const char *at = families[i].of; at; at = strchr(at, ' ')) {
            at += *at == ' ';
            if (strcspn(at, " ") == bytes && memcmp(at, processor, bytes) == 0)
                return true;
        }
    }
    return false;
}

/* Whether the device named by DEVICE has the feature of LENGTH bytes, with its '+' or '-', as it
 * says. */
static bool device_has(const char *device, const char *feature, size_t length)
{
    while ((device = strchr(device, ':'))) {
        device++;
        if (strcspn(device, ":") == length && memcmp(device, feature, length) == 0)
            return true;
    }
    return false;
}

int target_match(const char *image, size_t length, const char *device)
{
    enum { GENERIC = 1, EXACT = 100 };
    size_t mine = processor_bytes(image, length), its = processor_bytes(device, strlen(device));
    int score = 0;

    if (mine == its && memcmp(image, device, mine) == 0)
        score = EXACT;
    else if (in_family(image, mine, device, its))
        score = GENERIC;
    for (size_t at = mine; score && at < length;) {
        const char *feature = image + at + 1;
        size_t bytes = processor_bytes(feature, length - at - 1);
        if (!device_has(device, feature, bytes))
            return 0;
        score++;
        at += 1 + bytes;
    }
    return score;
}

/* --- bundles ---------------------------------------------------------------------------------- */

enum { MAGIC = sizeof(BUNDLE_MAGIC) - 1, HEAD = MAGIC + 8, ENTRY = 24 };

static uint64_t number(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof(v));
    return v;
}

bool bundle_is(const void *at, size_t length)
{
    return length >= MAGIC && memcmp(at, BUNDLE_MAGIC, MAGIC) == 0;
}

/* The target in an entry's name: what begins with "gfx" behind the triple; NULL: not one for HIP.
 */
static const char *target_of(const char *id, size_t length, size_t *bytes)
{
    if (length < 3 || memcmp(id, "hip", 3) != 0)
        return NULL;
    for (size_t i = 0; i + 4 <= length; i++) {
        if (memcmp(id + i, "-gfx", 4) == 0) {
            *bytes = length - i - 1;
            return id + i + 1;
        }
    }
    return NULL;
}

enum bundle_result bundle_find(const void *at, size_t length, const char *device, size_t *offset,
                               size_t *bytes)
{
    const uint8_t *bundle = at;
    size_t next = HEAD;
    int best = 0;

    if (!bundle_is(at, length) || length < HEAD || number(bundle + MAGIC) > BUNDLE_ENTRIES)
        return BUNDLE_BROKEN;
    for (uint64_t n = number(bundle + MAGIC); n; n--) {
        if (length - next < ENTRY)
            return BUNDLE_BROKEN;
        uint64_t from = number(bundle + next), size = number(bundle + next + 8);
        uint64_t named = number(bundle + next + 16);
        next += ENTRY;
        if (named > BUNDLE_ID || named > length - next || from > length || size > length - from)
            return BUNDLE_BROKEN;
        size_t target_bytes = 0;
        const char *target = target_of((const char *)bundle + next, (size_t)named, &target_bytes);
        int score = target && size ? target_match(target, target_bytes, device) : 0;
        if (score > best) {
            best = score;
            *offset = (size_t)from;
            *bytes = (size_t)size;
        }
        next += (size_t)named;
    }
    return best ? BUNDLE_FOUND : BUNDLE_NONE;
}
