/* vmctl/commands: the commands, one file each, and what some of them share. */
#ifndef VMCTL_COMMANDS_H
#define VMCTL_COMMANDS_H

#include "vmctl/command.h"

extern const struct command command_run, command_list, command_info, command_start, command_stop,
    command_reboot, command_pause, command_resume, command_reset, command_kill, command_balloon,
    command_delete, command_wait, command_console, command_events, command_stats, command_device,
    command_resize, command_pin, command_host, command_gpu, command_xlate, command_version,
    command_rpc, command_completion, command_help;

/* Says how a run ended, where that is worth a word; returns the exit status. */
int report_end(const struct vm_end *end, const char *name);
/* Waits for the end of the present run of VM_ID, also over a restart of the daemon (*CLIENT is then
 * replaced, perhaps by NULL), and reports it. */
int wait_for_end(struct vmd_client **client, const char *vm_id, const char *name);

#endif
