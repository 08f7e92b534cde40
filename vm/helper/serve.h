/* vm/helper: vmd-helper's side of a connection. */
#ifndef VM_HELPER_SERVE_H
#define VM_HELPER_SERVE_H

#include "vm/helper/host.h"
#include "vm/helper/rules.h"

/*
 * Reads one request from FD (a SOCK_SEQPACKET connection), does it if RULES let its sender, and
 * replies. What is lent to it is in LEASES, by FD; the caller returns that when the connection is
 * over. False when it is: closed by the other side, or a packet that makes no sense.
 */
bool helper_serve(int fd, const struct helper_rules *rules, struct host_leases *leases);

#endif
