/* gpu/server/sandbox_priv: rows that the lists of workers and of compilers share. */
#ifndef GPU_SERVER_SANDBOX_PRIV_H
#define GPU_SERVER_SANDBOX_PRIV_H

#include "base/confine.h"

#include <fcntl.h>

#define SANDBOX__FCNTL(phases_, command_)                                                          \
    {                                                                                              \
        "fcntl", (phases_), CONFINE_ALLOW,                                                         \
        {                                                                                          \
            CONFINE_INT(1, (command_))                                                             \
        }                                                                                          \
    }

/* Descriptors, and nothing that has signals sent: no owner, no other signal, no O_ASYNC. */
#define SANDBOX_FCNTL(phases_)                                                                     \
    SANDBOX__FCNTL(phases_, F_DUPFD), SANDBOX__FCNTL(phases_, F_DUPFD_CLOEXEC),                    \
        SANDBOX__FCNTL(phases_, F_GETFD), SANDBOX__FCNTL(phases_, F_SETFD),                        \
        SANDBOX__FCNTL(phases_, F_GETFL), SANDBOX__FCNTL(phases_, F_GETLK),                        \
        SANDBOX__FCNTL(phases_, F_SETLK), SANDBOX__FCNTL(phases_, F_SETLKW),                       \
        SANDBOX__FCNTL(phases_, F_OFD_GETLK), SANDBOX__FCNTL(phases_, F_OFD_SETLK),                \
        SANDBOX__FCNTL(phases_, F_OFD_SETLKW), SANDBOX__FCNTL(phases_, F_ADD_SEALS),               \
        SANDBOX__FCNTL(phases_, F_GET_SEALS),                                                      \
    {                                                                                              \
        "fcntl", (phases_), CONFINE_ALLOW,                                                         \
        {                                                                                          \
            CONFINE_INT(1, F_SETFL), CONFINE_BITS(2, O_ASYNC, 0)                                   \
        }                                                                                          \
    }

#define SANDBOX__OPEN(phases_, call_, flags_)                                                      \
    {(call_), (phases_), CONFINE_ALLOW, {CONFINE_BITS(flags_, O_TRUNC, 0)}},                       \
        {(call_),                                                                                  \
         (phases_),                                                                                \
         CONFINE_ALLOW,                                                                            \
         {CONFINE_BITS(flags_, O_TRUNC | O_ACCMODE, O_TRUNC | O_WRONLY)}},                         \
    {                                                                                              \
        (call_), (phases_), CONFINE_ALLOW,                                                         \
        {                                                                                          \
            CONFINE_BITS(flags_, O_TRUNC | O_ACCMODE, O_TRUNC | O_RDWR)                            \
        }                                                                                          \
    }

/* What is truncated is opened to write: Landlock knows that right, and that of truncation only
 * since its third version (Linux 6.2). */
#define SANDBOX_OPEN(phases_) SANDBOX__OPEN(phases_, "open", 1), SANDBOX__OPEN(phases_, "openat", 2)

#endif
