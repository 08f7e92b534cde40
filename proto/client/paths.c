/* Where daemons listen. */
#include "proto/client/libvmd.h"

char *vmd_socket_path_user(void)
{
    const char *dir = g_getenv("XDG_RUNTIME_DIR");

    if (dir && dir[0] == '/')
        return g_build_filename(dir, "vmd", "vmd.sock", NULL);
    return g_strdup_printf("/tmp/vmd-%u/vmd.sock", getuid());
}

char **vmd_socket_paths(void)
{
    const char *set = g_getenv("VMD_SOCKET");
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    if (set && set[0]) {
        g_ptr_array_add(paths, g_strdup(set));
    } else {
        g_ptr_array_add(paths, vmd_socket_path_user());
        g_ptr_array_add(paths, g_strdup(VMD_SOCKET_PATH_SYSTEM));
    }
    g_ptr_array_add(paths, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&paths), FALSE);
}
