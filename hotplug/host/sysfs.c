/* Reading sysfs. Every file may be missing, go while it is read, or hold anything: then it says nothing. */
#include "hotplug/host/host_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { TEXT_MOST = 255, FILE_MOST = 4096, NAMES_MOST = 65536 };

char *sysfs_clean(char *text)
{
    char *valid = g_utf8_make_valid(text, -1);

    g_free(text);
    for (char *at = valid; *at; at++) {
        if (g_ascii_iscntrl(*at))
            *at = ' ';
    }
    if (strlen(valid) > TEXT_MOST)
        *g_utf8_find_prev_char(valid, valid + TEXT_MOST + 1) = '\0';
    g_strstrip(valid);
    if (!*valid)
        g_clear_pointer(&valid, g_free);
    return valid;
}

/* All of DIR/NAME but what is beyond FILE_MOST; NULL. */
static char *read_file(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *text = g_malloc(FILE_MOST + 1);
    autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t n = 0;
    ssize_t got = 0;

    if (fd < 0)
        return NULL;
    while (n < FILE_MOST && (got = read(fd, text + n, FILE_MOST - n)) > 0)
        n += (size_t)got;
    if (got < 0)
        return NULL;
    text[n] = '\0';
    return g_steal_pointer(&text);
}

char *sysfs_text(const char *dir, const char *name)
{
    char *text = read_file(dir, name);

    if (!text)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return sysfs_clean(text);
}

bool sysfs_number(const char *dir, const char *name, uint64_t max, uint64_t *out)
{
    g_autofree char *text = sysfs_text(dir, name);
    guint64 value;

    if (!text)
        return false;
    bool hex = g_str_has_prefix(text, "0x");
    if (!g_ascii_string_to_unsigned(hex ? text + 2 : text, hex ? 16 : 10, 0, max, &value, NULL))
        return false;
    *out = value;
    return true;
}

char *sysfs_link(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *target = g_file_read_link(path, NULL);

    return target ? sysfs_clean(g_path_get_basename(target)) : NULL;
}

bool sysfs_has(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    return access(path, F_OK) == 0;
}

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool sysfs_names(const char *dir, GPtrArray **out)
{
    DIR *d = opendir(dir);
    struct dirent *entry;

    if (!d)
        return false;
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (errno = 0; names->len < NAMES_MOST && (entry = readdir(d)); errno = 0) {
        if (entry->d_name[0] != '.')
            g_ptr_array_add(names, g_strdup(entry->d_name));
    }
    int errnum = errno;
    closedir(d);
    if (errnum) {
        errno = errnum;
        return false;
    }
    g_ptr_array_sort(names, by_text);
    *out = g_steal_pointer(&names);
    return true;
}
