/* A folder for what a target keeps in files: in memory where there is such a place, gone with the process. */
#ifndef TESTS_FUZZ_FOLDER_H
#define TESTS_FUZZ_FOLDER_H

#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *fuzz_folder_path;

static inline void fuzz_folder_remove(void)
{
    const char *name;
    GDir *d = g_dir_open(fuzz_folder_path, 0, NULL);

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(fuzz_folder_path, name, NULL);
        g_unlink(path);
    }
    if (d)
        g_dir_close(d);
    g_rmdir(fuzz_folder_path);
}

static inline const char *fuzz_folder(void)
{
    if (!fuzz_folder_path) {
        gboolean shm = access("/dev/shm", W_OK) == 0;
        fuzz_folder_path = g_strdup_printf("%s/vmd-fuzz-%d", shm ? "/dev/shm" : g_get_tmp_dir(),
                                           (int)getpid());
        g_assert(g_mkdir(fuzz_folder_path, 0700) == 0);
        atexit(fuzz_folder_remove);
    }
    return fuzz_folder_path;
}

#endif
