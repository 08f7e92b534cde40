/* Pools and their images: which names and folders are taken, what the next daemon knows, sizes of new images; their XML. */
#include "daemon/image.h"
#include "daemon/pools.h"
#include "proto/libvirt/xml/storage.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

enum { MIB_BYTES = 1 << 20 };

ssize_t __real_copy_file_range(int in, off_t *from, int out, off_t *to, size_t n, unsigned flags);
ssize_t __wrap_copy_file_range(int in, off_t *from, int out, off_t *to, size_t n, unsigned flags);

static int copy_error; /* what the host's own copying fails with; 0: it works */

ssize_t __wrap_copy_file_range(int in, off_t *from, int out, off_t *to, size_t n, unsigned flags)
{
    if (!copy_error)
        return __real_copy_file_range(in, from, out, to, n, flags);
    errno = copy_error;
    return -1;
}

static char *dir, *folder;
static struct pools *pools;

static void setup(void)
{
    dir = g_dir_make_tmp("vmd-pools-XXXXXX", NULL);
    folder = g_build_filename(dir, "disks", NULL);
    pools = pools_open(dir, NULL);
    ck_assert_ptr_nonnull(pools);
}

static void remove_all(const char *path)
{
    g_autoptr(GDir) open = g_dir_open(path, 0, NULL);
    const char *name;

    while (open && (name = g_dir_read_name(open))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        remove_all(inner);
    }
    g_remove(path);
}

static void teardown(void)
{
    pools_free(pools);
    remove_all(dir);
    g_free(dir);
    g_free(folder);
}

static struct pool *made(void)
{
    struct pool *pool = pools_define(pools, "disks", NULL, folder, true, NULL);

    ck_assert_ptr_nonnull(pool);
    ck_assert(pools_build(pool, NULL));
    ck_assert(pools_start(pools, pool, NULL));
    return pool;
}

START_TEST(remembered)
{
    struct pool *pool = made();
    g_autofree char *uuid = g_strdup(pool->uuid);

    ck_assert(pools_set_autostart(pools, pool, true, NULL));
    pools_free(pools);
    pools = pools_open(dir, NULL);
    pool = pools_by_uuid(pools, uuid);
    ck_assert_ptr_nonnull(pool);
    ck_assert_str_eq(pool->name, "disks");
    ck_assert(pool->active && pool->autostart && pool->persistent);
    ck_assert_ptr_eq(pools_by_folder(pools, folder), pool);
    /* Its folder is gone: it is not active then. */
    pools_free(pools);
    ck_assert_int_eq(g_rmdir(folder), 0);
    pools = pools_open(dir, NULL);
    ck_assert(!pools_named(pools, "disks")->active);
}
END_TEST

START_TEST(damaged)
{
    static const char *const texts[] = {"{", "3", "[1, {}, {\"name\": \"a\", \"uuid\": \"b\", \"path\": \"/\"}]"};
    g_autofree char *file = g_build_filename(dir, "pools.json", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        pools_free(pools);
        ck_assert(g_file_set_contents(file, texts[i], -1, NULL));
        pools = pools_open(dir, NULL);
        ck_assert_ptr_nonnull(pools);
        g_autoptr(GPtrArray) all = pools_list(pools);
        ck_assert_uint_eq(all->len, 0);
    }
}
END_TEST

static const struct {
    const char *name, *uuid, *path;
    enum vmd_error kind;
} refused[] = {
    {"", NULL, "/x", VMD_ERROR_INVALID},
    {"a/b", NULL, "/x", VMD_ERROR_INVALID},
    {"a", NULL, "x", VMD_ERROR_INVALID},
    {"disks", "11111111-2222-3333-4444-555555555555", "/x", VMD_ERROR_EXISTS},
    {"disks", NULL, "/x", VMD_ERROR_STATE},
    {".disks", NULL, "/x", VMD_ERROR_INVALID},
    {"a\nb", NULL, "/x", VMD_ERROR_INVALID},
};

START_TEST(definitions_refused)
{
    g_autoptr(GError) err = NULL;
    struct pool *pool = made();

    ck_assert_ptr_null(pools_define(pools, refused[_i].name, refused[_i].uuid, refused[_i].path,
                                    true, &err));
    ck_assert_msg(err->code == (int)refused[_i].kind, "%s", err->message);
    g_clear_error(&err);
    ck_assert_ptr_null(pools_define(pools, "other", NULL, folder, true, &err));
    g_clear_error(&err);
    ck_assert_ptr_null(pools_define(pools, "other", pool->uuid, "/x", true, &err));
}
END_TEST

/* Names, UUIDs and folders are not mixed up. */
START_TEST(namespaces)
{
    struct pool *pool = made(), *other;
    g_autofree char *x = g_build_filename(dir, "x", NULL);

    other = pools_define(pools, pool->uuid, NULL, x, true, NULL);
    ck_assert_ptr_nonnull(other);
    ck_assert_ptr_eq(pools_named(pools, pool->uuid), other);
    ck_assert_ptr_eq(pools_by_uuid(pools, pool->uuid), pool);
    ck_assert_ptr_null(pools_by_uuid(pools, "disks"));
    ck_assert_ptr_null(pools_by_folder(pools, "disks"));
    ck_assert_ptr_null(pools_named(pools, folder));
}
END_TEST

/* What cannot be kept did not happen. */
START_TEST(unkept)
{
    g_autofree char *away = g_strconcat(dir, ".away", NULL);
    struct pool *pool = made(), *passing;

    passing = pools_define(pools, "passing", NULL, "/", false, NULL);
    ck_assert(passing && pools_start(pools, passing, NULL));
    ck_assert_int_eq(g_rename(dir, away), 0);
    ck_assert(!pools_set_autostart(pools, pool, true, NULL));
    ck_assert(!pool->autostart);
    ck_assert(!pools_stop(pools, pool, NULL));
    ck_assert(pool->active);
    ck_assert(!pools_stop(pools, passing, NULL));
    ck_assert_ptr_eq(pools_named(pools, "passing"), passing);
    ck_assert(passing->active);
    ck_assert_ptr_null(pools_define(pools, "new", NULL, "/x", true, NULL));
    ck_assert_ptr_null(pools_named(pools, "new"));
    ck_assert_int_eq(g_rename(away, dir), 0);
    ck_assert(pools_stop(pools, pool, NULL));
    ck_assert_int_eq(g_rename(dir, away), 0);
    ck_assert_ptr_null(pools_define(pools, "disks", NULL, "/x", true, NULL));
    ck_assert_str_eq(pool->path, folder);
    ck_assert(!pools_start(pools, pool, NULL)); /* there is no folder */
    ck_assert(!pools_undefine(pools, pool, NULL));
    ck_assert_ptr_eq(pools_named(pools, "disks"), pool);
    ck_assert_int_eq(g_rename(away, dir), 0);
    ck_assert(pools_undefine(pools, pool, NULL));
}
END_TEST

static bool make_image(const char *path, bool qcow2, uint64_t capacity, const char *backing, bool full,
                       GError **err)
{
    struct image_plan p = {
        .path = path, .capacity = capacity, .qcow2 = qcow2, .taken = full ? capacity : 0, .backing = backing};

    return image_create(&p, NULL, err);
}

static bool is_qcow2(const char *path)
{
    struct image_state state;

    ck_assert(image_look(path, &state, NULL));
    return state.qcow2;
}

START_TEST(volumes)
{
    static const char *const names[] = {"",     ".",     "..",      ".hidden", "a/b",
                                        "../a", "a\nb", "a\033b", "a\xff",  "a\xef\xbf\xbf"};
    struct pool *pool = made();
    struct image_state state;
    g_autofree char *path = pool_path(pool, "a.img", NULL);
    g_autofree char *link = g_build_filename(folder, "link", NULL);
    g_autofree char *odd = g_build_filename(folder, "a\nb", NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        ck_assert_msg(!pool_path(pool, names[i], NULL), "%zu", i);
    ck_assert(make_image(path, false, MIB_BYTES, NULL, false, NULL));
    ck_assert_int_eq(symlink(path, link), 0);
    ck_assert(g_file_set_contents(odd, "x", 1, NULL));
    g_autoptr(GPtrArray) all = pool_volumes(pool, NULL);
    ck_assert_uint_eq(all->len, 1);
    ck_assert_str_eq(all->pdata[0], "a.img");
    ck_assert_ptr_eq(pools_of_path(pools, path), pool);
    ck_assert_ptr_null(pools_of_path(pools, link));
    ck_assert_ptr_null(pools_of_path(pools, odd));
    ck_assert_ptr_null(pools_of_path(pools, "/etc/passwd"));
    /* A link that takes a volume's place later is no volume either. */
    ck_assert(image_look(path, &state, NULL));
    ck_assert(!image_look(link, &state, NULL));
    ck_assert_int_lt(image_open(link, true, NULL), 0);
    ck_assert(!image_resize(link, MIB_BYTES, 0, NULL));
    ck_assert(!image_remove(link, NULL));
    ck_assert(!image_look(folder, &state, NULL));
    ck_assert(!pools_undefine(pools, pool, NULL));
    ck_assert(pools_stop(pools, pool, NULL));
    ck_assert(!pools_remove(pool, NULL)); /* it is not empty */
    ck_assert_ptr_null(pool_volumes(pool, NULL));
    ck_assert(pools_undefine(pools, pool, NULL));
}
END_TEST

/* A pool that has more than is shown says so. */
START_TEST(volumes_most)
{
    struct pool *pool = made();
    g_autoptr(GError) err = NULL;

    for (int i = 0; i < LIMIT_VOLUMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/%d", folder, i);
        autofd fd = g_creat(path, 0600);
        ck_assert_int_ge(fd, 0);
    }
    g_autoptr(GPtrArray) all = pool_volumes(pool, NULL);
    ck_assert_uint_eq(all->len, LIMIT_VOLUMES);
    g_autofree char *one_more = g_build_filename(folder, "more", NULL);
    ck_assert(g_file_set_contents(one_more, "", 0, NULL));
    ck_assert_ptr_null(pool_volumes(pool, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_LIMIT);
}
END_TEST

START_TEST(images)
{
    g_autofree char *raw = g_build_filename(dir, "raw", NULL), *q = g_build_filename(dir, "q", NULL),
                    *copy = g_build_filename(dir, "copy", NULL);
    struct image_sizes s;
    g_autoptr(GError) err = NULL;

    ck_assert(make_image(raw, false, 1, NULL, true, NULL));
    ck_assert(image_measure(raw, false, &s, NULL));
    ck_assert_uint_eq(s.capacity, 512);
    ck_assert_uint_gt(s.allocation, 0);
    ck_assert(!image_measure(raw, true, &s, NULL));
    ck_assert(!make_image(raw, false, 1, NULL, false, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_EXISTS);
    ck_assert(make_image(q, true, 10ULL << 40, raw, false, NULL));
    ck_assert(is_qcow2(q) && !is_qcow2(raw));
    ck_assert(image_measure(q, true, &s, NULL));
    ck_assert_uint_eq(s.capacity, 10ULL << 40);
    ck_assert(image_resize(q, 1ULL << 40, IMAGE_BY, NULL));
    ck_assert(!image_resize(q, 60ULL << 40, 0, NULL)); /* its table has no room */
    ck_assert(!image_resize(q, 1 << 30, IMAGE_SHRINK, NULL));
    ck_assert(image_measure(q, true, &s, NULL));
    ck_assert_uint_eq(s.capacity, 11ULL << 40);
    ck_assert(!make_image(copy, true, 65ULL << 40, NULL, false, NULL));
    ck_assert(image_copy(q, copy, 0, true, NULL, NULL));
    ck_assert(is_qcow2(copy));
    ck_assert(!image_copy(q, copy, 0, true, NULL, NULL));
    /* From one file system to another Linux copies nothing. */
    g_autofree char *content = NULL, *copied = NULL;
    gsize length, copied_length;
    unlink(copy);
    copy_error = EXDEV;
    ck_assert(image_copy(q, copy, 0, true, NULL, NULL));
    copy_error = 0;
    ck_assert(g_file_get_contents(q, &content, &length, NULL));
    ck_assert(g_file_get_contents(copy, &copied, &copied_length, NULL));
    ck_assert_uint_eq(length, copied_length);
    ck_assert_mem_eq(content, copied, length);
    unlink(copy);
    copy_error = ENOSPC;
    ck_assert(!image_copy(q, copy, 0, true, NULL, NULL));
    copy_error = 0;
    ck_assert(access(copy, F_OK) < 0);
    /* A copy may be larger than what is copied, and is never smaller. */
    ck_assert(image_copy(q, copy, 12ULL << 40, true, NULL, NULL));
    ck_assert(image_measure(copy, true, &s, NULL));
    ck_assert_uint_eq(s.capacity, 12ULL << 40);
    unlink(copy);
    ck_assert(image_copy(q, copy, 1, true, NULL, NULL));
    ck_assert(image_measure(copy, true, &s, NULL));
    ck_assert_uint_eq(s.capacity, 11ULL << 40);
    unlink(copy);
    ck_assert(!image_copy(q, copy, 0, false, NULL, NULL)); /* as raw */
    ck_assert(image_resize(raw, MIB_BYTES, 0, NULL));
    ck_assert(!image_resize(raw, 512, 0, NULL)); /* unasked */
    ck_assert(image_measure(raw, false, &s, NULL));
    ck_assert_uint_eq(s.capacity, MIB_BYTES);
    ck_assert(image_resize(raw, 512, IMAGE_BY | IMAGE_SHRINK, NULL));
    ck_assert(image_measure(raw, false, &s, NULL));
    ck_assert_uint_eq(s.capacity, MIB_BYTES - 512);
}
END_TEST

static guint entries(const char *path)
{
    g_autoptr(GDir) open = g_dir_open(path, 0, NULL);
    guint n = 0;

    while (g_dir_read_name(open))
        n++;
    return n;
}

/* What is stopped leaves nothing behind, and what a daemon that died has left is in nobody's way. */
START_TEST(stopped)
{
    g_autofree char *raw = g_build_filename(dir, "raw", NULL),
                    *copy = g_build_filename(dir, "copy", NULL),
                    *left = g_build_filename(dir, ".copy.new", NULL);
    struct image_plan p = {.path = copy, .capacity = MIB_BYTES, .taken = MIB_BYTES};
    g_autoptr(GError) err = NULL;
    gint stop = 1;

    ck_assert(make_image(raw, false, MIB_BYTES, NULL, true, NULL));
    guint before = entries(dir);
    ck_assert(!image_create(&p, &stop, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_GONE);
    g_clear_error(&err);
    autofd fd = image_open(raw, false, NULL);
    ck_assert_int_eq(pwrite(fd, "x", 1, 0), 1);
    close(steal_fd(&fd));
    ck_assert(!image_copy(raw, copy, 0, false, &stop, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_GONE);
    ck_assert_uint_eq(entries(dir), before);
    ck_assert(g_file_set_contents(left, "left", 4, NULL));
    ck_assert(image_copy(raw, copy, 0, false, NULL, NULL));
    ck_assert_uint_eq(entries(dir), before + 1);
}
END_TEST

/* One writer or many readers. */
START_TEST(locked)
{
    g_autofree char *raw = g_build_filename(dir, "raw", NULL),
                    *copy = g_build_filename(dir, "copy", NULL);
    g_autoptr(GError) err = NULL;

    ck_assert(make_image(raw, false, MIB_BYTES, NULL, false, NULL));
    autofd reader = image_open(raw, true, NULL);
    ck_assert_int_ge(reader, 0);
    ck_assert(!image_remove(raw, &err));
    ck_assert_int_eq(err->code, VMD_ERROR_BUSY);
    ck_assert(!image_resize(raw, 2 * MIB_BYTES, 0, NULL));
    ck_assert(image_copy(raw, copy, 0, false, NULL, NULL));
    unlink(copy);
    close(steal_fd(&reader));
    autofd writer = image_open(raw, false, NULL);
    ck_assert_int_ge(writer, 0);
    ck_assert(!image_copy(raw, copy, 0, false, NULL, NULL));
    ck_assert_int_lt(image_open(raw, true, NULL), 0);
    close(steal_fd(&writer));
    ck_assert(image_remove(raw, NULL));
    ck_assert(access(raw, F_OK) < 0);
}
END_TEST

static const char *const bad_volumes[] = {
    "<volume/>", "<volume><name>a</name></volume>", "<pool/>",
    "<volume><name>a</name><capacity>-1</capacity></volume>",
    "<volume><name>a</name><capacity unit='stone'>1</capacity></volume>",
    "<volume><name>a</name><capacity>1</capacity><target><format type='vdi'/></target></volume>",
    "<volume><name>a</name><capacity>1</capacity><target><encryption/></target></volume>"};
static const char *const bad_pools[] = {
    "<pool/>", "<pool type='dir'/>", "<pool type='dir'><name>a</name></pool>", "<volume/>",
    "<pool type='iscsi'><name>a</name><target><path>/x</path></target></pool>",
    "<pool type='dir'><name>a</name><uuid>b</uuid><target><path>/x</path></target></pool>"};

START_TEST(xml)
{
    struct volume_xml v;
    struct pool_xml p;

    for (size_t i = 0; i < G_N_ELEMENTS(bad_volumes); i++)
        ck_assert_msg(!volume_xml_read(bad_volumes[i], &v, NULL), "%s", bad_volumes[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(bad_pools); i++)
        ck_assert_msg(!pool_xml_read(bad_pools[i], &p, NULL), "%s", bad_pools[i]);
    ck_assert(volume_xml_read("<volume><name>a</name><capacity unit='G'>2</capacity><allocation>0"
                              "</allocation><target><format type='qcow2'/></target><backingStore>"
                              "<path>/b</path><format type='raw'/></backingStore></volume>",
                              &v, NULL));
    ck_assert_uint_eq(v.capacity, 2ULL << 30);
    ck_assert(v.has_allocation && v.allocation == 0 && v.qcow2 && !v.backing_qcow2);
    ck_assert_str_eq(v.backing, "/b");
    volume_xml_clear(&v);
    struct pool_xml own = {(char *)"a<b", (char *)"11111111-2222-3333-4444-555555555555",
                           (char *)"/x & y"};
    struct pool_state state = {0};
    g_autofree char *text = pool_xml_write(&own, &state);
    ck_assert(pool_xml_read(text, &p, NULL));
    ck_assert_str_eq(p.name, own.name);
    ck_assert_str_eq(p.uuid, own.uuid);
    ck_assert_str_eq(p.path, own.path);
    pool_xml_clear(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pools");
    TCase *tc = tcase_create("all");

    tcase_set_timeout(tc, 300); /* for what hangs: one test makes thousands of files */
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, remembered);
    tcase_add_test(tc, damaged);
    tcase_add_loop_test(tc, definitions_refused, 0, G_N_ELEMENTS(refused));
    tcase_add_test(tc, namespaces);
    tcase_add_test(tc, unkept);
    tcase_add_test(tc, volumes);
    tcase_add_test(tc, volumes_most);
    tcase_add_test(tc, images);
    tcase_add_test(tc, stopped);
    tcase_add_test(tc, locked);
    tcase_add_test(tc, xml);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
