/*
 * vm/sandbox: what a VM process gives up, and when.
 *
 *   1. sandbox_enter(), before it has read a byte from anybody: new privileges, core dumps with the
 *      guest's memory in them, and every system call that it has no use for. No process is started and
 *      no program run from here on.
 *   2. sandbox_confine_files(), once it knows its VM and before it has a second thread: opening
 *      anything but the files and folders of this VM.
 *   3. sandbox_run(), when the machine is built: what only building it took. No socket can be made or
 *      connected any more but those that user networking needs, where the VM has that.
 *
 * A refused call answers EPERM and is named in the log (base/confine.h). docs/architecture/confinement.md
 * says the same for people.
 */
#ifndef VM_SANDBOX_H
#define VM_SANDBOX_H

#include "base/base.h"

/* For all threads, those to come too. */
bool sandbox_enter(GError **err);

/* What a VM's files are for. */
enum sandbox_use {
    SANDBOX_READ,   /* an image, kernel or firmware that is only read */
    SANDBOX_CHANGE, /* a writable disk */
    SANDBOX_FOLDER, /* the VM's own: its sockets, logs and notes are made here */
};

struct sandbox_files; /* made by sandbox_files_new(), ended by sandbox_confine_files() */

struct sandbox_files *sandbox_files_new(void);
/* PATH is copied; NULL is passed over. */
void sandbox_files_add(struct sandbox_files *files, const char *path, enum sandbox_use use);
/* User networking reads where the host's name server is. */
void sandbox_files_add_resolver(struct sandbox_files *files);
void sandbox_files_free(struct sandbox_files *files);

/* For this thread and those that it starts from then on. Nothing happens where the kernel has no
 * Landlock. Does not free FILES. */
bool sandbox_confine_files(const struct sandbox_files *files, GError **err);

/* What the VM has, or may get: user networking; KVM, which runs it; functions of the host. */
struct sandbox_have {
    bool user_net, kvm, host;
};
/* For all threads. */
bool sandbox_run(const struct sandbox_have *have, GError **err);

#endif
