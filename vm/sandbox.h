/*
 * vm/sandbox: what a VM process gives up, and when.
 *
 * First of all, before it has read a byte from anybody: new privileges, core dumps with the guest's
 * memory in them, and every system call that it has no use for. Once it knows its VM: writing to
 * any file but its own disks and directories.
 */
#ifndef VM_SANDBOX_H
#define VM_SANDBOX_H

#include "base/base.h"

/* The first part; for all threads, those to come too. */
bool sandbox_enter(GError **err);

/*
 * The second part, by Landlock: files can be changed only below PATHS (directories, or files;
 * those that don't exist are passed over). For this thread and those it starts from then on.
 * True, and nothing done, where the kernel has no Landlock.
 */
bool sandbox_confine_writes(const char *const *paths, size_t n, GError **err);

#endif
