/* vmctl/devices: devices as they are given on a command line. */
#ifndef VMCTL_DEVICES_H
#define VMCTL_DEVICES_H

#include "vmctl/command.h"

/* What --disk and --net take, into a new *OUT; "none" is the caller's to see to. */
bool parse_disk(const char *text, struct vm_disk_config **out, GError **err);
bool parse_net(const char *text, struct vm_nic_config **out, GError **err);
/* "0000:01:00.0", or without the domain 0000; what else is wrong the daemon says. The caller frees.
 */
struct vm_host_config *parse_host(const char *text);
/* "soft[,memory=SIZE]". */
bool parse_gpu(const char *text, struct vm_gpu_config **out, GError **err);
/* A port's number. */
bool parse_port(const char *text, uint16_t *out);

#endif
