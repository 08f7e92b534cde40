/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/protocol/contract: what a VM process and its worker say to each other, over the stream socket
 * that the worker is started with.
 *
 * The VM process speaks first: struct worker_hello, with WORKER_FDS descriptors. The worker answers
 * with a struct worker_report when it serves, and with another to each byte that it is sent:
 * whoever does not answer hangs. The worker ends when the other end is closed.
 */
#ifndef GPU_PROTOCOL_CONTRACT_H
#define GPU_PROTOCOL_CONTRACT_H

#include "gpu/protocol/ring.h"

enum { WORKER_MAGIC = 0x32775547 };

struct worker_hello {
    uint32_t magic, size; /* of this struct */
    uint64_t memory;      /* quota in bytes */
    char backend[16];     /* "soft" */
};

/* The window's memory, and a doorbell (eventfd) for each channel. */
enum { WORKER_FDS = 1 + GPU_CHANNELS };

struct worker_report {
    uint32_t magic, size; /* of this struct */
    uint64_t used;        /* of the quota */
};

#endif
