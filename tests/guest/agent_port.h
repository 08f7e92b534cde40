/* A port for vmd-agent on a bare board, and who asks it things. */
#ifndef TESTS_GUEST_AGENT_PORT_H
#define TESTS_GUEST_AGENT_PORT_H

#include "machine/virtio/virtio.h"

struct agent_port;

/* A virtio console on PCI. Each time that an agent comes it is asked ASKED, one after another; who
 * it is and what it answers is printed. ASKED outlives it. */
struct agent_port *agent_port_new(const struct virtio_env *env, struct pci_host *pci, char **asked,
                                  GError **err);
void agent_port_clock_changed(struct agent_port *port);
/* No vCPU runs. Takes NULL. */
void agent_port_free(struct agent_port *port);

#endif
