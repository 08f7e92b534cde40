/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/protocol/share: two pages between vmd and a worker, by which workers share a device's time.
 *
 * Each page is a file of the VM's run, and has one writer. In struct share_use the worker counts
 * the time that launches had the device, in total and by program; vmd reads it with pread(), and
 * believes nothing of it. In struct share_grant, which the worker maps and cannot write, vmd says
 * until which count of its time the worker may begin launches. Neither is sent: a daemon that was
 * started anew opens the files again.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC. What of launches that run has passed is not stored: the
 * time used at NOW is done_ns + running * NOW - begun_ns, sums modulo 2^64.
 */
#ifndef GPU_PROTOCOL_SHARE_H
#define GPU_PROTOCOL_SHARE_H

#include <stdint.h>

enum {
    SHARE_MAGIC = 0x31534756,
    SHARE_PAGE = 4096,
    SHARE_PROGRAMS = 32, /* those that are told apart; others count in the total alone */
    SHARE_NAME = 32,     /* bytes of a program's name with the 0 behind it: printable ASCII */
    /* A grant that vmd has not renewed for so long bounds nothing: vmd is gone, or stands still. */
    SHARE_STALE_MS = 2000,
};

struct share_count {
    uint64_t done_ns;   /* of launches that are over */
    uint64_t begun_ns;  /* sum of the times at which those that run began */
    uint64_t launches;  /* that began, ever */
    uint64_t memory;    /* bytes of device memory held */
    uint32_t running;   /* whose time is still to be counted */
    uint32_t in_flight; /* launches that the device was given, and that are not over */
    uint32_t waiting;   /* streams whose next operation is a launch that is held back */
    uint32_t reserved;
};

struct share_program {
    uint64_t id; /* of a worker's, never used twice; 0: the row is free */
    struct share_count count;
    uint32_t pid, reserved; /* as the guest says */
    char name[SHARE_NAME];  /* as the guest says */
};

struct share_use {
    uint32_t magic, size; /* of this struct */
    uint64_t changes;     /* odd while the page is written */
    struct share_count total;
    struct share_program programs[SHARE_PROGRAMS];
};

#define SHARE_UNBOUND UINT64_MAX

struct share_grant {
    uint32_t magic, size; /* of this struct */
    uint64_t renewed_ns;  /* when vmd wrote last */
    uint64_t until_ns;    /* launches may begin while the time used is less; SHARE_UNBOUND */
    uint32_t launches;    /* that may be in flight; 0: any number */
    uint32_t weight;      /* the share, against those of others */
};

_Static_assert(sizeof(struct share_count) == 48, "the same in all workers");
_Static_assert(sizeof(struct share_use) <= SHARE_PAGE, "a page");
_Static_assert(sizeof(struct share_grant) <= SHARE_PAGE, "a page");

static inline uint64_t share_time(const struct share_count *c, uint64_t now)
{
    return c->done_ns + c->running * now - c->begun_ns;
}

#endif
