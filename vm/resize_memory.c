/*
 * The memory's part of a change of size. Below what the VM began with, the balloon takes the
 * difference; what is above it comes and goes by virtio-mem. All truth is in what the two devices
 * hold.
 *
 * Memory that was plugged is of use to the guest once its kernel has it online. Kernels that do
 * that by themselves need nothing; for the others the agent is asked, each time more was plugged,
 * as drivers plug no more while too much is offline. A kernel that brings memory online by itself,
 * as Debian's does, gives it to its own data by default, and cannot be rid of what these lie in: so
 * the agent is asked first, before anything is plugged, to have that done for movable pages alone.
 */
#include "vm/resize_priv.h"

#include "machine/virtio/memory.h"
#include "vm/devices.h"

#include <errno.h>
#include <inttypes.h>

/* As much memory, for each byte that the VM began with, may be for movable pages alone, and so be
 * taken back: a kernel's own data need the rest. It is what Linux goes by
 * (memory_hotplug.auto_movable_ratio). */
#define MOVABLE_RATIO 3

static struct virtio_device *device_of(const struct resize *r)
{
    return devices_memory(r->devices);
}

static uint64_t plugged(const struct resize *r)
{
    return device_of(r) ? virtio_mem_plugged(device_of(r)) : 0;
}

/* What balloon and virtio-mem are to hold. */
static uint64_t balloon_wanted(const struct resize *r)
{
    return r->memory.bytes < r->config->memory ? r->config->memory - r->memory.bytes : 0;
}

static uint64_t plugged_wanted(const struct resize *r)
{
    return r->memory.bytes > r->config->memory ? r->memory.bytes - r->config->memory : 0;
}

enum resize_road resize__road(const struct resize *r)
{
    return device_of(r) && r->memory.bytes >= r->config->memory ? RESIZE_ROAD_VIRTIO_MEM
                                                                : RESIZE_ROAD_BALLOON;
}

uint64_t resize_memory(const struct resize *r)
{
    uint64_t away = devices_balloon_bytes(r->devices);

    return (away < r->config->memory ? r->config->memory - away : 0) + plugged(r);
}

/* --- asking for it ---------------------------------------------------------------------------- */

/* Whether BYTES, plugged, may be for movable pages alone. */
static const char *way_of(const struct resize *r, uint64_t bytes)
{
    return bytes <= MOVABLE_RATIO * r->config->memory ? "online_movable" : "online";
}

static void policy_answered(void *opaque, const struct agent_reply *reply)
{
    struct resize *r = opaque;

    /* A kernel that has no such policy, or will not hear of it, has the last word: it does what it
     * can. */
    r->memory.question = -1;
    r->memory.policy = false;
    virtio_mem_request(device_of(r), plugged_wanted(r));
    resize__look(r);
}

/* Asks the driver for what is wanted, now or when the kernel knows how it is to come online. */
static void request(struct resize *r)
{
    const char *const words[] = {"memory-policy", way_of(r, plugged_wanted(r)), NULL};

    if (plugged_wanted(r) > r->memory.before)
        r->memory.question = resize__ask(r, words, policy_answered);
    r->memory.policy = r->memory.question >= 0;
    if (!r->memory.policy)
        virtio_mem_request(device_of(r), plugged_wanted(r));
}

/* --- bringing it online ----------------------------------------------------------------------- */

static void answered(void *opaque, const struct agent_reply *reply)
{
    struct resize *r = opaque;

    r->memory.question = -1;
    if (!reply->error) {
        r->memory.online = r->memory.about;
    } else if (reply->error != ECONNRESET && reply->error != EPROTO && reply->error != ETIMEDOUT) {
        r->memory.refused = true;
        g_string_printf(r->why, "the agent in the guest, about its new memory: %s", reply->text);
    }
    resize__look(r);
}

/* The agent, where there is one, has all of what is plugged brought online. */
static enum progress bring_online(struct resize *r)
{
    const char *const words[] = {"memory-online", way_of(r, plugged(r)), NULL};

    if (r->memory.question >= 0)
        return WAITING;
    if (r->memory.refused)
        return REFUSED;
    if (plugged(r) <= r->memory.online)
        return DONE;
    r->memory.question = resize__ask(r, words, answered);
    r->memory.about = plugged(r);
    return r->memory.question >= 0 ? WAITING : DONE;
}

/* --- the job's part --------------------------------------------------------------------------- */

/* Whole MiB where it is that, else KiB, as guests have pages. The caller frees. */
static char *exactly(uint64_t bytes)
{
    bool mib = bytes % MIB(1) == 0;

    return g_strdup_printf("%" PRIu64 " %s", bytes >> (mib ? 20 : 10), mib ? "MiB" : "KiB");
}

/* Why the guest has not its size yet: it is at IS of WANTED. */
static void tell(struct resize *r, const char *what, uint64_t is, uint64_t wanted, const char *rest)
{
    g_autofree char *a = exactly(is), *b = exactly(wanted);

    g_string_printf(r->why, "%s %s of %s%s", what, a, b, rest);
}

static enum progress look_at_plugged(struct resize *r)
{
    struct virtio_device *dev = device_of(r);
    bool more = plugged_wanted(r) > r->memory.before;

    if (r->memory.policy) {
        g_string_assign(r->why, "the agent in the guest has not said how new memory comes online");
        return WAITING;
    }
    if (more && bring_online(r) == REFUSED)
        return REFUSED;
    if (plugged(r) == plugged_wanted(r))
        return more && r->memory.question >= 0 ? WAITING : DONE;
    if (!virtio_running(dev))
        g_string_printf(
            r->why,
            "no driver in the guest has taken the device %s: its kernel has none for virtio-mem "
            "(Debian's for riscv64 has not), or its module virtio_mem is not loaded",
            MEMORY_ID);
    else if (more)
        tell(r, "the guest took", plugged(r) - r->memory.before,
             plugged_wanted(r) - r->memory.before, "");
    else
        tell(r, "the guest gave", r->memory.before - MIN(plugged(r), r->memory.before),
             r->memory.before - plugged_wanted(r), " back; it uses the rest");
    return WAITING;
}

static enum progress look_at_balloon(struct resize *r)
{
    uint64_t there = devices_balloon_bytes(r->devices);

    if (there == balloon_wanted(r))
        return DONE;
    tell(r, "the balloon holds", there, balloon_wanted(r), "");
    return WAITING;
}

enum progress resize__look_at_memory(struct resize *r)
{
    enum progress balloon, memory;

    if (!r->memory.wanted)
        return DONE;
    balloon = look_at_balloon(r);
    memory = device_of(r) ? look_at_plugged(r) : DONE;
    return memory == DONE ? balloon : memory;
}

/* What the guest has plugged stays, unless its kernel would not have it online; what it gave stays
 * given. */
void resize__settle_memory(struct resize *r)
{
    uint64_t target, actual;

    if (!r->memory.wanted)
        return;
    devices_balloon(r->devices, devices_balloon_bytes(r->devices), &target, &actual);
    if (device_of(r))
        virtio_mem_request(device_of(r), r->memory.refused ? r->memory.before : plugged(r));
}

bool resize__check_memory(const struct resize *r, const struct vmi_resize_params *p, GError **err)
{
    const struct vm_config *c = r->config;
    uint64_t block = device_of(r) ? virtio_mem_block(device_of(r)) : MEM_PAGE_SIZE;
    g_autofree char *first = exactly(c->memory), *most = exactly(c->max_memory),
                    *step = exactly(block);

    if (!p->has_memory)
        return true;
    if (p->memory % MEM_PAGE_SIZE)
        return vmd_fail(err, VMD_ERROR_INVALID, "params.memory is not a multiple of 4 KiB");
    if (p->memory > c->memory && !device_of(r))
        return vmd_fail(
            err, VMD_ERROR_UNSUPPORTED,
            "params.memory: the VM was started without room for more memory (max_memory)");
    if (p->memory > c->memory && p->memory > c->max_memory)
        return vmd_fail(err, VMD_ERROR_LIMIT,
                        "params.memory: the VM was started with room for %s (max_memory)", most);
    if (p->memory > c->memory && (p->memory - c->memory) % block)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "params.memory: beyond the %s that it began with, memory comes by blocks "
                        "of %s",
                        first, step);
    return p->memory >= c->memory || devices_has_balloon(r->devices) ||
           vmd_fail(err, VMD_ERROR_UNSUPPORTED, "VM %s has no balloon", c->name);
}

void resize__begin_memory(struct resize *r, const struct vmi_resize_params *p)
{
    uint64_t target, actual;

    r->memory = (struct resize_memory){.wanted = p->has_memory,
                                       .bytes = p->memory,
                                       .before = plugged(r),
                                       .online = plugged(r),
                                       .question = -1};
    if (!r->memory.wanted)
        return;
    devices_balloon(r->devices, balloon_wanted(r), &target, &actual);
    if (device_of(r))
        request(r);
}
