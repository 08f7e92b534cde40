/* vmctl/profile: vmctl xlate profile, and the files that it writes. */
#ifndef VMCTL_PROFILE_H
#define VMCTL_PROFILE_H

#include "vmctl/command.h"

/* Samples the VM that ARGS name, prints what was found and writes the files asked for. */
int profile_command(struct vmd_client *c, const struct arguments *args);

#endif
