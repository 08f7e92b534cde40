/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * guest/agent/verbs: what vmd-agent can be asked, as a table, and how it is done: by files of
 * sysfs.
 *
 * Names are checked before they become part of a path: an address, a slot or a number has the form
 * that it must have, or the request is refused with EINVAL.
 */
#ifndef GUEST_AGENT_VERBS_H
#define GUEST_AGENT_VERBS_H

#include "guest/agent/line.h"

#define AGENT_VERSION "0.1.0"

/* Does what REQUEST asks (its number, a verb, arguments) and makes the answer, a whole line. ROOT
 * is where sysfs is, "/sys" but in tests. False where REQUEST has no number, so that there is
 * nobody to answer. May take as long as the kernel does. */
bool verbs_answer(const char *root, const struct line_words *request, struct line *out);

/* The answer to request ID: an errno and words. */
void verbs_error(uint32_t id, int error, const char *text, struct line *out);

#endif
