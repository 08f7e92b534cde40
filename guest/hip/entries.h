/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* guest/hip/entries: the tables made from functions.txt and errors.txt, and what each of the
 * library's functions begins and ends with. */
#ifndef GUEST_HIP_ENTRIES_H
#define GUEST_HIP_ENTRIES_H

#include <stddef.h>

#define HIP_API __attribute__((visibility("default")))

enum { hipErrorNotSupported = 801 };

/* Before each call that needs a device: the library has begun, and the thread has a context. A
 * hipError_t. */
int hip_enter(void);
/* RC, which is also the thread's last error where it is one. */
int hip_left(int rc);

/* A symbol of the library, by name. */
struct hip_entry {
    const char *symbol;
    void *function;
};
extern const struct hip_entry hip_entries[];
extern const size_t hip_n_entries;

struct hip_error_name {
    int number;
    const char *name, *text;
};
extern const struct hip_error_name hip_errors[];
extern const size_t hip_n_errors;

#endif
