/* daemon/pins: where virtual CPUs may run, as lists of the schema. Any thread. */
#ifndef DAEMON_PINS_H
#define DAEMON_PINS_H

#include "proto/schema/types.h"

/* In the list *PINS of *N rows, which is the caller's, VCPU gets CPUS (base/cpulist); NULL: it has no row. */
void pins_set(struct vm_pin_config ***pins, size_t *n, uint32_t vcpu, const char *cpus);
/* What VCPU has there; NULL: no row. Borrowed. */
const char *pins_of(struct vm_pin_config *const *pins, size_t n, uint32_t vcpu);
/* New ones, the caller's: those of CONFIG. */
struct vm_pins *pins_of_config(const struct vm_config *config);
/* Whether CONFIG's are lists of processors of virtual CPUs that it can have, each once. */
bool pins_check(const struct vm_config *config, GError **err);

#endif
