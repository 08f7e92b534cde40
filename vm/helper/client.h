/* vm/helper: how a VM process gets what it has no right to. */
#ifndef VM_HELPER_CLIENT_H
#define VM_HELPER_CLIENT_H

#include "base/base.h"

/*
 * Opens tap interface NAME: by itself where that is allowed (an interface of the user's own, or
 * CAP_NET_ADMIN), else through vmd-helper at SOCKET_PATH. The descriptor, for net_tap_new(), or
 * -1; where there is no helper the error says what is needed. Blocks for the helper's answer.
 */
int helper_open_tap(const char *socket_path, const char *name, GError **err);

/* A function of the host: VFIO's container, the node of its group, and what it is lent by (-1: it
 * is nobody's). */
struct helper_host {
    int container, group, lease;
};

/*
 * Opens the host's PCI function ADDRESS: by itself where that is vfio-pci's and its node may be
 * opened, else through vmd-helper at SOCKET_PATH, which lends it until the lease is closed. Blocks
 * for the helper's answer.
 */
bool helper_open_host(const char *socket_path, const char *address, struct helper_host *out,
                      GError **err);

#endif
