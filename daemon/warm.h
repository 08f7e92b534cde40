/*
 * daemon/warm: the lists of hot blocks that are kept over runs, one for each owner and instruction
 * set, in the folder "warm" of the store: a fresh VM starts warm from what others of its owner ran.
 *
 * VM processes only read them. What a run adds they write into their own runtime directory, and the
 * daemon, which alone writes the store, merges it: files are read on the loop, merged and written in a
 * worker thread, one after another. A damaged list is refused with a line in the log and replaced
 * by the next. Loop thread.
 */
#ifndef DAEMON_WARM_H
#define DAEMON_WARM_H

#include "proto/schema/types.h"

#include <uv.h>

struct warm_lists;

/* STORE: the store's directory. */
struct warm_lists *warm_lists_new(uv_loop_t *loop, const char *store);
/* What was handed in is still merged, while the loop runs on. Takes NULL. */
void warm_lists_free(struct warm_lists *lists);

/* The file of OWNER's list for guests of ARCH, whether it is there or not; the caller frees. */
char *warm_lists_path(struct warm_lists *lists, enum vm_arch arch, uid_t owner);

/* Merges the list that a VM process left in RUNTIME, its runtime directory, if there is one. */
void warm_lists_take(struct warm_lists *lists, enum vm_arch arch, uid_t owner,
                     const char *runtime);
/* Removes the list. */
void warm_lists_forget(struct warm_lists *lists, enum vm_arch arch, uid_t owner);

#endif
