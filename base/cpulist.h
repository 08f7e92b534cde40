/* base/cpulist: sets of the host's processors as people write them, "0-3,8". Any thread. */
#ifndef BASE_CPULIST_H
#define BASE_CPULIST_H

#include "base/base.h"

#include <sched.h>

/*
 * Numbers below CPU_SETSIZE and ranges of them, with commas; "^2" and "^2-3" take out of what stands before. False
 * with VMD_ERROR_INVALID, and for a set of none.
 */
bool cpulist_parse(const char *text, cpu_set_t *out, GError **err);

/* The shortest such text of SET, without "^"; the caller frees. */
char *cpulist_format(const cpu_set_t *set);

#endif
