/* vm/process: what the program vmd-vm does from its start to its end. */
#ifndef VM_PROCESS_H
#define VM_PROCESS_H

#include "base/base.h"

/* Serves vmd on the connected socket FD (taken) until the VM's life is over. */
bool process_run(int fd, GError **err);

#endif
