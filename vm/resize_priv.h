/* vm/resize: what the files of it share: the job, and its two parts. */
#ifndef VM_RESIZE_PRIV_H
#define VM_RESIZE_PRIV_H

#include "vm/agent.h"
#include "vm/resize.h"

enum { RESIZE_TICK_MS = 25, RESIZE_REST_MS = 100, RESIZE_STILL_MS = 250, RESIZE_UNREST_MOST = 8 };

/* Where a part of a job is. */
enum progress { DONE, WAITING, REFUSED };

/* Of the processors' part. */
struct resize_cpus {
    unsigned wanted;  /* 0: as they are */
    unsigned before;  /* as many were granted */
    int64_t question; /* of the agent; -1: none */
    unsigned about;   /* which vCPU */
    uint64_t asked;   /* about these, a bit each */
    bool refused;     /* by the guest's kernel */
    /* Where there is a plug. */
    bool begun[LIMIT_VCPUS];  /* this one was made ready to come */
    bool told[LIMIT_VCPUS];   /* the guest was, that it comes, or is to go */
    bool helped[LIMIT_VCPUS]; /* the agent was asked to bring it online */
};

/* Of the memory's part. */
struct resize_memory {
    bool wanted;      /* else as it is */
    uint64_t bytes;   /* wanted in all */
    uint64_t before;  /* plugged when the job began */
    int64_t question; /* of the agent; -1: none */
    bool policy;      /* that is how memory is to come online, and nothing was plugged yet */
    uint64_t about;   /* plugged when it was asked */
    uint64_t online;  /* plugged when it last said that all is online */
    bool refused;     /* by the guest's kernel */
};

struct resize {
    const struct vm_config *config;
    struct vcpus *vcpus;
    struct cpu_plug *plug; /* NULL: the guest calls for processors */
    struct devices *devices;
    const struct hotplug_ops *ops;
    void *opaque;
    uv_timer_t *timer;
    bool held;
    uv_async_t *wake; /* something changed, */
    uv_timer_t *rest; /* which is looked at a moment later: memory goes by blocks */
    struct vmi_size_event told;
    uint64_t balloon_told, balloon_seen; /* bytes */
    unsigned unrest; /* looks at which that was another */

    uint64_t job; /* 0: none */
    int left_ms;  /* of its time */
    struct resize_cpus cpus;
    struct resize_memory memory;
    GString *why; /* of a refusal, or what is waited for */
};

/* --- resize.c: the job ------------------------------------------------------------------------ */

/* Something may have changed: ends the job if it is over. */
void resize__look(struct resize *r);
/* Asks the agent WORDS for as long as the job may take; -1 where it cannot be asked. */
int64_t resize__ask(struct resize *r, const char *const *words, void (*reply)(void *, const struct agent_reply *));

/* --- resize_cpus.c and resize_memory.c: a part each ------------------------------------------- */

/* Whether what PARAMS ask for can be. */
bool resize__check_cpus(const struct resize *r, const struct vmi_resize_params *params, GError **err);
bool resize__check_memory(const struct resize *r, const struct vmi_resize_params *params, GError **err);
void resize__begin_cpus(struct resize *r, const struct vmi_resize_params *params);
void resize__begin_memory(struct resize *r, const struct vmi_resize_params *params);
/* How far it is; says in WHY what is missing. */
enum progress resize__look_at_cpus(struct resize *r);
enum progress resize__look_at_memory(struct resize *r);
/* The job did not get there: what the guest does not use is taken back, and no more is asked of it. */
void resize__settle_cpus(struct resize *r);
void resize__settle_memory(struct resize *r);
/* resize_plug.c: the same for processors that come and go by ACPI. */
enum progress resize__look_at_plug(struct resize *r);
void resize__settle_plug(struct resize *r);
/* By which road memory came or went. */
enum resize_road resize__road(const struct resize *r);

#endif
