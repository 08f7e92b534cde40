/* daemon/paths: where a daemon keeps things, and where its programs are. */
#ifndef DAEMON_PATHS_H
#define DAEMON_PATHS_H

#include "base/base.h"

struct paths {
    bool system;   /* the host's daemon, not a user's own */
    char *store;   /* survives reboots: definitions, logs */
    char *runtime; /* sockets and what belongs to running processes */
    char *socket;
    char *libvirt;     /* where libvirt's clients look for sockets */
    char *vm_program;  /* vmd-vm */
    char *gpu_program; /* vmd-gpu */
};

/*
 * Fills OUT with the directories of the system's daemon or of the calling user's own, each
 * overridden by a non-NULL argument, and makes them. Errors name the directory.
 */
bool paths_init(struct paths *out, bool system, const char *store, const char *runtime,
                const char *socket, GError **err);
void paths_clear(struct paths *paths);

/* The directory of VM ID in the store (logs, definition) and at run time; the caller frees. */
char *paths_vm_store(const struct paths *paths, const char *id);
char *paths_vm_runtime(const struct paths *paths, const char *id);

/* Makes DIR and its parents, mode 0700; existing ones stay as they are. */
bool paths_make_dir(const char *dir, GError **err);

/* A folder that others must reach, mode 0755; an existing one stays as it is. */
bool paths_make_shared_dir(const char *dir, GError **err);
/* Gives the socket PATH of the system's daemon to the group vmd, where there is one. */
bool paths_share_socket(const char *path, GError **err);

/* Removes DIR with the files in it (one level). */
void paths_remove_dir(const char *dir);

#endif
