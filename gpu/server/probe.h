/* gpu/server/probe: which GPUs the host's drivers have. */
#ifndef GPU_SERVER_PROBE_H
#define GPU_SERVER_PROBE_H

/* Tells at socket FD which devices there are: a struct worker_gpus, and a struct worker_gpu each;
 * and a struct worker_nvml with its own, where that library is there. */
void probe_tell(int fd);

#endif
