/* Asking drivers what they have. See probe.h. */
#include "gpu/server/probe.h"

#include "gpu/server/hip_driver.h"
#include "gpu/server/nvml.h"

#include <stdio.h>
#include <sys/socket.h>

/* Adds what D has, which is NULL for a driver that is not there. */
static void add(const struct cuda_driver *d, struct worker_gpus *all, struct worker_gpu *gpus)
{
    int count = 0;

    if (d)
        d->device_count(&count);
    for (int i = 0; i < count && all->count < GPU_DEVICES; i++)
        all->count += cuda_driver_describe(d, i, &gpus[all->count]);
}

static void tell_drivers(int fd)
{
    struct worker_gpus all = {.magic = WORKER_MAGIC, .size = sizeof(all)};
    struct worker_gpu gpus[GPU_DEVICES];
    g_autoptr(GError) no_cuda = NULL, no_hip = NULL;
    const struct cuda_driver *cuda = cuda_driver_open(&no_cuda);

    add(cuda, &all, gpus);
    all.driver = cuda ? (uint32_t)cuda->version : 0;
    add(hip_driver_open(&no_hip), &all, gpus);
    if (no_cuda && no_hip)
        snprintf(all.text, sizeof(all.text), "%.110s; %.110s", no_cuda->message, no_hip->message);
    if (send(fd, &all, sizeof(all), MSG_NOSIGNAL) == sizeof(all) && all.count)
        (void)!send(fd, gpus, all.count * sizeof(gpus[0]), MSG_NOSIGNAL);
}

static void tell_nvml(int fd)
{
    struct worker_nvml head;
    struct worker_nvml_gpu gpus[GPU_DEVICES];

    if (nvml_ask(&head, gpus) && send(fd, &head, sizeof(head), MSG_NOSIGNAL) == sizeof(head) &&
        head.count)
        (void)!send(fd, gpus, head.count * sizeof(gpus[0]), MSG_NOSIGNAL);
}

/* What drivers said is sent when the management library is asked: where that hangs or dies, the
 * rest is known. */
void probe_tell(int fd)
{
    tell_drivers(fd);
    tell_nvml(fd);
}
