/* See jobs.h. */
#include "vmctl/jobs.h"

#include <inttypes.h>

const char *job_result_word(const struct job_info *job, const char *member)
{
    struct json_object *value = NULL;

    return json_object_is_type(job->result, json_type_object) &&
                   json_object_object_get_ex(job->result, member, &value)
               ? json_object_get_string(value)
               : "";
}

int wait_for_job(struct vmd_client *c, const struct arguments *args, uint64_t number,
                 void (*say)(const struct job_info *job))
{
    struct job_wait_params wait = {.job = number};
    g_autoptr(job_info) job = NULL;
    GError *err = NULL;

    if (arguments_has(args, "no-wait")) {
        printf("job %" PRIu64 "\n", number);
        return VMCTL_EXIT_OK;
    }
    if (!vmd_client_invoke(c, API_JOB_WAIT, &wait, &job, NULL, &err))
        return fail(c, err);
    if (arguments_has(args, "json")) {
        struct json_object *json = job_info_encode(job);
        print_json(json);
        json_object_put(json);
    }
    if (job->state == JOB_STATE_DONE) {
        if (!arguments_has(args, "json"))
            say(job);
        return VMCTL_EXIT_OK;
    }
    if (job->state == JOB_STATE_CANCELLED)
        vmd_fail(&err, VMD_ERROR_STATE, "the job was cancelled");
    else
        vmd_fail(&err, job->error ? vmd_error_named(job->error->kind) : VMD_ERROR_STATE, "%s",
                 job->error ? job->error->message : "the job failed");
    return fail(c, err);
}

bool arguments_timeout(const struct arguments *args, uint32_t *out, GError **err)
{
    uint64_t timeout = LIMIT_DEVICE_TIMEOUT_S;

    if (!arguments_number(args, "timeout", 3600, &timeout, err))
        return false;
    *out = (uint32_t)timeout;
    return true;
}
