/* vmctl: commands that begin a job and wait for its end. */
#ifndef VMCTL_JOBS_H
#define VMCTL_JOBS_H

#include "vmctl/command.h"

/* The text of a member of JOB's result; "" where there is none. Good until JOB is freed. */
const char *job_result_word(const struct job_info *job, const char *member);

/* The exit status of the command that began job NUMBER: its end is the answer, which SAY prints when all went well,
 * unless --json or --no-wait was given. */
int wait_for_job(struct vmd_client *client, const struct arguments *args, uint64_t number,
                 void (*say)(const struct job_info *job));

/* --timeout, in seconds. */
bool arguments_timeout(const struct arguments *args, uint32_t *out, GError **err);

#endif
