/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/protocol/contract: what a VM process and its worker say to each other, over the stream socket
 * that the worker is started with.
 *
 * The VM process speaks first: struct worker_hello, with WORKER_FDS descriptors. The worker answers
 * with a struct worker_report when it serves, and with another to each WORKER_ASK that it is sent:
 * whoever does not answer hangs. The worker ends when the other end is closed.
 *
 * A program that comes by a stream of bytes is one descriptor: a WORKER_STREAM with a socket, which
 * the worker serves until either end of it is closed.
 *
 * A worker that is told WORKER_SAVE, and for how many milliseconds it may wait for what runs
 * (uint32_t), has its sessions stand still and answers with a struct worker_moved, which carries
 * the descriptor of an image of them (gpu/server/image.h) where it could be made; else they go on.
 * They stand until WORKER_GO. One whose hello has WORKER_MOVED_MAGIC takes the place of such a
 * worker: it reports when it has its device, takes no calls, is told WORKER_LOAD with the image's
 * descriptor, answers with a struct worker_moved, and serves from WORKER_GO on. It is not to be
 * told that before the other is told nothing more; the other ends as ever.
 */
#ifndef GPU_PROTOCOL_CONTRACT_H
#define GPU_PROTOCOL_CONTRACT_H

#include "gpu/protocol/ring.h"

enum {
    WORKER_MAGIC = 0x32775547,
    WORKER_MOVED_MAGIC = 0x33775547,
    WORKER_NVML_MAGIC = 0x4d755547,
};

struct worker_hello {
    uint32_t magic, size; /* of this struct */
    uint64_t memory;      /* quota in bytes */
    char backend[16];     /* "soft", "cuda", "hip" */
    char device[80]; /* which of the backend's: a number, a UUID, a PCI address; "": the first */
};

/* A worker that came with a later vmd serves the VM processes of an earlier one, whose hello ended
 * before the device. */
enum { WORKER_HELLO_LEAST = 32 };

/* The window's memory, and a doorbell (eventfd) for each channel. */
enum { WORKER_FDS = 1 + GPU_CHANNELS };

/* Bytes of the VM process. */
enum worker_order {
    WORKER_ASK = '?',
    WORKER_STREAM = 'S',
    WORKER_SAVE = 'H',
    WORKER_LOAD = 'L',
    WORKER_GO = 'G'
};

/* Streams that a worker serves at once; it closes others. Ports of a VM are fewer, so that one can
 * be opened again before all of what it was to another program has ended. */
enum { WORKER_PORTS = 4, WORKER_STREAMS = 3 * WORKER_PORTS };

/* Names of the serial ports by which programs without access to the PCI function come: a number
 * from 0 follows. */
#define WORKER_PORT "org.vmd.gpu."

struct worker_report {
    uint32_t magic, size; /* of this struct */
    uint64_t used;        /* of the quota */
};

struct worker_moved {
    uint32_t magic; /* WORKER_MOVED_MAGIC */
    uint32_t size;  /* of this struct */
    uint32_t done;  /* 0: it could not, and TEXT says why */
    uint32_t reserved;
    uint64_t used; /* of the quota */
    char text[240];
};

/* What vmd-gpu --probe says at its socket, and ends: which devices drivers of the host have. COUNT
 * struct worker_gpu follow, those of one driver in its order. */
struct worker_gpus {
    uint32_t magic, size; /* of this struct */
    uint32_t driver; /* version of CUDA's: 1000 times the major number, 10 times the minor one; 0 */
    uint32_t count;  /* at most GPU_DEVICES */
    char text[240];  /* why there are none */
};

struct worker_gpu {
    char name[128];
    char uuid[40]; /* 8-4-4-4-12 hexadecimal digits; HIP's 16 characters, or "XX" */
    char pci[32];  /* 0000:01:00.0 */
    uint64_t memory;
    uint32_t major, minor;     /* compute capability */
    char backend[8];           /* "cuda", "hip" */
    uint32_t number, reserved; /* the driver's */
};

/* Said behind them, where NVIDIA's management library is there: COUNT struct worker_nvml_gpu
 * follow. Those to whom it means nothing leave it unread. */
struct worker_nvml {
    uint32_t magic, size; /* WORKER_NVML_MAGIC; of this struct */
    uint32_t count;       /* at most GPU_DEVICES */
    uint32_t reserved;
    char release[80]; /* of the kernel's driver, as in 550.54.14; "": not known */
    char text[240];   /* what it does not tell, and why; "" */
};

/* What of a struct worker_nvml_gpu is known besides texts, which are "" where they are not. */
enum { WORKER_NVML_MEMORY = 1, WORKER_NVML_MIG = 2 };

struct worker_nvml_gpu {
    char pci[24]; /* 0000:01:00.0 */
    char name[96];
    char uuid[96]; /* GPU- and 8-4-4-4-12 hexadecimal digits */
    uint64_t memory, free;
    uint32_t known, mig; /* mig: it is cut in pieces, or may be */
    char text[80];       /* why it is of no use: it is lost, it has to be reset */
};

#endif
