/*
 * gpu/server/hold: has all sessions of a worker stand still, and things done to them by their own
 * threads meanwhile.
 *
 * Each session has a seat. While a hold is wanted, a session that is at rest parks at its seat and
 * stays until the hold ends. What is to be done to it is done by its own thread, since a context of
 * a driver belongs to that. hold_park() is a session's; all else is the one thread's that holds.
 */
#ifndef GPU_SERVER_HOLD_H
#define GPU_SERVER_HOLD_H

#include "base/base.h"

struct hold;

/* What is done to who PARKED, as hold_park() was given it; true: it went well. */
typedef bool (*hold_job_fn)(void *parked, void *arg);

/* WANTED: sessions park before they begin. */
struct hold *hold_new(unsigned seats, bool wanted);
/* Nobody parks. Takes NULL. */
void hold_free(struct hold *hold);

/* Any thread. */
bool hold_wanted(const struct hold *hold);
/* Until the hold ends; at once where none is wanted. */
void hold_park(struct hold *hold, unsigned seat, void *parked);

void hold_begin(struct hold *hold);
/* Waits until all are parked, at most so long; false: seat *LATE was not. */
bool hold_wait(struct hold *hold, unsigned ms, unsigned *late);
/* All are parked. */
bool hold_do(struct hold *hold, unsigned seat, hold_job_fn job, void *arg);
/* They go on. */
void hold_end(struct hold *hold);

#endif
