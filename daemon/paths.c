/* Directories by the file-hierarchy and XDG conventions. */
#include "daemon/paths.h"

#include "base/log.h"
#include "proto/client/libvmd.h"

#include <errno.h>
#include <grp.h>
#include <sys/stat.h>

/* The per-user runtime directory holds the user's socket: one rule, in libvmd. */
static char *user_runtime(void)
{
    g_autofree char *socket = vmd_socket_path_user();

    return g_path_get_dirname(socket);
}

static char *user_store(void)
{
    const char *state = g_getenv("XDG_STATE_HOME");

    if (state && g_path_is_absolute(state))
        return g_build_filename(state, "vmd", NULL);
    return g_build_filename(g_get_home_dir(), ".local", "state", "vmd", NULL);
}

static char *absolute(const char *path)
{
    return g_canonicalize_filename(path, NULL);
}

/* Libvirt's clients look in its run directory. What was told to be elsewhere stays there. */
static char *libvirt_dir(const struct paths *p, bool elsewhere)
{
    const char *xdg = g_getenv("XDG_RUNTIME_DIR");

    if (p->system && !elsewhere)
        return g_strdup("/run/libvirt");
    if (!elsewhere && xdg && g_path_is_absolute(xdg))
        return g_build_filename(xdg, "libvirt", NULL);
    return g_build_filename(p->runtime, "libvirt", NULL);
}

/* The program NAME: what the variable SET names, or beside this program, or in FOLDER of the build
 * tree, or where it is installed. */
static char *find_program(const char *name, const char *set, const char *folder)
{
    const char *named = g_getenv(set);
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = self ? g_path_get_dirname(self) : NULL;
    const char *places[] = {"", folder};

    if (named)
        return absolute(named);
    for (size_t i = 0; dir && i < G_N_ELEMENTS(places); i++) {
        g_autofree char *path = g_build_filename(dir, places[i], name, NULL);
        if (access(path, X_OK) == 0)
            return g_steal_pointer(&path);
    }
    return g_build_filename(VMD_LIBEXECDIR, name, NULL);
}

bool paths_make_dir(const char *dir, GError **err)
{
    struct stat st;

    if (g_mkdir_with_parents(dir, 0700) < 0)
        return vmd_set_errno(err, errno, "making the directory %s", dir);
    if (stat(dir, &st) == 0 && st.st_uid != geteuid() && geteuid() != 0)
        return vmd_fail(err, VMD_ERROR_DENIED, "the directory %s belongs to another user", dir);
    return true;
}

bool paths_make_shared_dir(const char *dir, GError **err)
{
    if (access(dir, F_OK) == 0)
        return true;
    if (!paths_make_dir(dir, err))
        return false;
    return chmod(dir, 0755) == 0 || vmd_set_errno(err, errno, "opening the directory %s", dir);
}

bool paths_share_socket(const char *path, GError **err)
{
    const struct group *group = getgrnam("vmd");

    if (!group) {
        log_info("there is no group vmd: only root can use %s", path);
        return true;
    }
    if (chown(path, (uid_t)-1, group->gr_gid) < 0 || chmod(path, 0660) < 0)
        return vmd_set_errno(err, errno, "giving %s to the group vmd", path);
    log_info("the group vmd can use %s", path);
    return true;
}

bool paths_init(struct paths *out, bool system, const char *store, const char *runtime,
                const char *socket, GError **err)
{
    out->system = system;
    out->store = store ? absolute(store) : system ? g_strdup("/var/lib/vmd") : user_store();
    out->runtime = runtime ? absolute(runtime) : system ? g_strdup("/run/vmd") : user_runtime();
    out->socket = socket ? absolute(socket) : g_build_filename(out->runtime, "vmd.sock", NULL);
    out->libvirt = libvirt_dir(out, runtime != NULL);
    out->vm_program = find_program("vmd-vm", "VMD_VM_PROGRAM", "../vm");
    out->gpu_program = find_program("vmd-gpu", "VMD_GPU_PROGRAM", "../gpu/server");

    g_autofree char *vms = g_build_filename(out->store, "vms", NULL);
    g_autofree char *run = g_build_filename(out->runtime, "vms", NULL);
    g_autofree char *socket_dir = g_path_get_dirname(out->socket);
    /* A unix socket's path has 107 bytes; those of VMs are the longest. */
    if (strlen(run) + 1 + 36 + strlen("/control.sock") > 107 || strlen(out->socket) > 107)
        return vmd_fail(err, VMD_ERROR_LIMIT, "the path %s is too long for a socket", run);
    if (system &&
        (!paths_make_shared_dir(out->runtime, err) || !paths_make_shared_dir(socket_dir, err)))
        return false;
    return paths_make_dir(vms, err) && paths_make_dir(run, err) &&
           (access(socket_dir, F_OK) == 0 || paths_make_dir(socket_dir, err));
}

void paths_clear(struct paths *paths)
{
    g_free(paths->store);
    g_free(paths->runtime);
    g_free(paths->socket);
    g_free(paths->libvirt);
    g_free(paths->vm_program);
    g_free(paths->gpu_program);
    memset(paths, 0, sizeof(*paths));
}

char *paths_vm_store(const struct paths *paths, const char *id)
{
    return g_build_filename(paths->store, "vms", id, NULL);
}

char *paths_vm_runtime(const struct paths *paths, const char *id)
{
    return g_build_filename(paths->runtime, "vms", id, NULL);
}

void paths_remove_dir(const char *dir)
{
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        unlink(path);
    }
    rmdir(dir);
}
