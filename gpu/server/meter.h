/*
 * gpu/server/meter: how long the launches of a worker had the device, by program, and whether one
 * more may begin: within the time that vmd grants, and with fewer running than it allows.
 *
 * A backend asks before each launch and says when it is over; so the time of a launch is that
 * between these two. All functions: any thread. A program may be NULL, and is not metered then.
 */
#ifndef GPU_SERVER_METER_H
#define GPU_SERVER_METER_H

#include "base/base.h"
#include "gpu/protocol/share.h"

struct meter;
struct meter_program;

/* Counts in USE, SHARE_PAGE bytes, which is emptied; as GRANT says, SHARE_PAGE bytes that somebody
 * else writes. Both stay as long as the meter; NULL: memory of its own, and no bound. */
struct meter *meter_new(void *use, const volatile void *grant);
void meter_free(struct meter *m); /* without programs; takes NULL */

/* A program that nobody has named; METER may be NULL, and then so is the program. */
struct meter_program *meter_program_new(struct meter *m);
void meter_program_free(struct meter_program *p);
/* NAME, of LENGTH bytes of any kind, is cut and what is not printable in it replaced. */
void meter_program_name(struct meter_program *p, uint32_t pid, const void *name, size_t length);

uint64_t meter_now(void);

/* A stream's next operation is a launch that is held back, or is no longer. */
void meter_wait(struct meter_program *p);
void meter_wait_over(struct meter_program *p);
/* Whether a launch may begin. */
bool meter_may(struct meter_program *p);
/* How many launches of the program are in flight. */
uint32_t meter_in_flight(struct meter_program *p);
/* A launch begins, where it may: when, which meter_end() takes; 0: it may not. */
uint64_t meter_begin(struct meter_program *p);
void meter_end(struct meter_program *p, uint64_t began_ns);
/* A launch was given to a device that says afterwards how long it took: NS nanoseconds. Until then
 * the program is taken to have the device, once. */
void meter_submit(struct meter_program *p);
void meter_over(struct meter_program *p, uint64_t ns);

/* The program holds BYTES more, or less, of device memory. */
void meter_memory(struct meter_program *p, int64_t bytes);

/* What was counted, as the page has it, and what is granted; OUT is a copy. */
void meter_read(struct meter *m, struct share_use *use, struct share_grant *grant);

#endif
