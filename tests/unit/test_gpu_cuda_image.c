/* What a guest gives as a module, before a driver has it: whole images, and each way to lie about
 * sizes. */
#include "gpu/server/cuda_image.h"
#include "tests/unit/unit.h"

enum { ELF = 64, SECTION = 64, SEGMENT = 56, FAT = 16, ENTRY = 64 };

static void put(uint8_t *at, uint64_t v, unsigned size)
{
    memcpy(at, &v, size);
}

/* An ELF file of one segment and two sections, each of which has 16 bytes at its end. */
static size_t make_elf(uint8_t *to)
{
    size_t segments = ELF, sections = segments + SEGMENT, data = sections + 2 * SECTION;

    memset(to, 0, data + 16);
    memcpy(to, "\177ELF\2\1\1", 7);
    put(to + 32, segments, 8);
    put(to + 40, sections, 8);
    put(to + 54, SEGMENT, 2);
    put(to + 56, 1, 2);
    put(to + 58, SECTION, 2);
    put(to + 60, 2, 2);
    put(to + 62, 1, 2);
    put(to + segments + 8, data, 8);
    put(to + segments + 32, 16, 8);
    for (int i = 0; i < 2; i++) {
        put(to + sections + i * SECTION + 4, 1, 4);
        put(to + sections + i * SECTION + 24, data, 8);
        put(to + sections + i * SECTION + 32, 16, 8);
    }
    return data + 16;
}

/* A fat binary with PTX and that ELF file. */
static size_t make_fat(uint8_t *to)
{
    static const char ptx[8] = ".ver 8\n";
    uint8_t *elf = to + FAT + 2 * ENTRY + sizeof(ptx);
    size_t n = make_elf(elf), total = 2 * ENTRY + sizeof(ptx) + n;

    memset(to, 0, FAT + 2 * ENTRY + sizeof(ptx));
    put(to, 0xba55ed50, 4);
    put(to + 4, 1, 2);
    put(to + 6, FAT, 2);
    put(to + 8, total, 8);
    put(to + FAT, 1, 2);
    put(to + FAT + 4, ENTRY, 4);
    put(to + FAT + 8, sizeof(ptx), 8);
    memcpy(to + FAT + ENTRY, ptx, sizeof(ptx));
    put(elf - ENTRY, 2, 2);
    put(elf - ENTRY + 4, ENTRY, 4);
    put(elf - ENTRY + 8, n, 8);
    return FAT + total;
}

/* One number changed; offsets are of the ELF file, or of the fat binary. */
static const struct lie {
    const char *name;
    bool fat;
    unsigned at, size;
    uint64_t value;
} lies[] = {
    {"32 bits", false, 4, 1, 1},
    {"big endian", false, 5, 1, 2},
    {"segments behind the end", false, 32, 8, 4096},
    {"segments at the end of addresses", false, 32, 8, UINT64_MAX - 8},
    {"sections behind the end", false, 40, 8, 4096},
    {"sections at the end of addresses", false, 40, 8, UINT64_MAX - 8},
    {"segments of another size", false, 54, 2, 32},
    {"too many segments", false, 56, 2, 65535},
    {"segments that are not counted", false, 56, 2, 0},
    {"sections of another size", false, 58, 2, 40},
    {"too many sections", false, 60, 2, 65535},
    {"sections that are not counted", false, 60, 2, 0},
    {"names in no section", false, 62, 2, 2},
    {"a segment behind the end", false, ELF + 8, 8, 4096},
    {"a segment that is too long", false, ELF + 32, 8, 17},
    {"a section behind the end", false, ELF + SEGMENT + 24, 8, UINT64_MAX},
    {"a section that is too long", false, ELF + SEGMENT + SECTION + 32, 8, 17},
    {"a header of nothing", true, 6, 2, 0},
    {"a header that is too long", true, 6, 2, 65535},
    {"more than there is", true, 8, 8, 4096},
    {"more than addresses", true, 8, 8, UINT64_MAX},
    {"less than a whole entry", true, 8, 8, 80},
    {"an entry's header of nothing", true, FAT + 4, 4, 0},
    {"an entry's header that is too long", true, FAT + 4, 4, UINT32_MAX},
    {"an entry that is too long", true, FAT + 8, 8, 4096},
    {"an entry without an end", true, FAT + 8, 8, UINT64_MAX - 32},
    {"packed into more than there is", true, FAT + 16, 4, 9},
    {"PTX without an end", true, FAT + ENTRY + 7, 1, ' '},
    {"a damaged ELF file", true, FAT + 2 * ENTRY + 8 + 40, 8, 4096},
};

START_TEST(whole)
{
    uint8_t image[1024];
    size_t n = make_elf(image);

    ck_assert(cuda_image_is_whole(image, n));
    for (size_t less = 4; less < n; less++)
        ck_assert_msg(!cuda_image_is_whole(image, less), "an ELF file cut at %zu", less);
    n = make_fat(image);
    ck_assert(cuda_image_is_whole(image, n));
    for (size_t less = FAT; less < n; less++)
        ck_assert_msg(!cuda_image_is_whole(image, less), "a fat binary cut at %zu", less);
    ck_assert(cuda_image_is_whole((const uint8_t *)".version 8.0", 12));
    ck_assert(!cuda_image_is_whole((const uint8_t *)"", 0));
    /* What has no bytes in the file may be as large as it likes. */
    n = make_elf(image);
    put(image + ELF + SEGMENT + 4, 8, 4);
    put(image + ELF + SEGMENT + 32, GIB(4), 8);
    ck_assert(cuda_image_is_whole(image, n));
}
END_TEST

START_TEST(lie)
{
    const struct lie *l = &lies[_i];
    uint8_t image[1024];
    size_t n = l->fat ? make_fat(image) : make_elf(image);

    put(image + l->at, l->value, l->size);
    ck_assert_msg(!cuda_image_is_whole(image, n), "%s", l->name);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gpu-cuda-image");
    TCase *tc = tcase_create("gpu-cuda-image");

    tcase_add_test(tc, whole);
    tcase_add_loop_test(tc, lie, 0, G_N_ELEMENTS(lies));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
