/* See pins.h. */
#include "daemon/pins.h"

#include "base/cpulist.h"

static size_t find(struct vm_pin_config *const *pins, size_t n, uint32_t vcpu)
{
    size_t i = 0;

    while (i < n && pins[i]->vcpu != vcpu)
        i++;
    return i;
}

void pins_set(struct vm_pin_config ***pins, size_t *n, uint32_t vcpu, const char *cpus)
{
    size_t i = find(*pins, *n, vcpu);

    if (i < *n && !cpus) {
        vm_pin_config_free((*pins)[i]);
        memmove(*pins + i, *pins + i + 1, (--*n - i) * sizeof(**pins));
    }
    if (!cpus)
        return;
    if (i == *n) {
        *pins = g_renew(struct vm_pin_config *, *pins, *n + 1);
        (*pins)[(*n)++] = vm_pin_config_new();
        (*pins)[i]->vcpu = vcpu;
    }
    g_free((*pins)[i]->cpus);
    (*pins)[i]->cpus = g_strdup(cpus);
}

const char *pins_of(struct vm_pin_config *const *pins, size_t n, uint32_t vcpu)
{
    size_t i = find(pins, n, vcpu);

    return i < n ? pins[i]->cpus : NULL;
}

struct vm_pins *pins_of_config(const struct vm_config *config)
{
    struct vm_pins *pins = vm_pins_new();

    for (size_t i = 0; i < config->n_pins; i++)
        pins_set(&pins->pins, &pins->n_pins, config->pins[i]->vcpu, config->pins[i]->cpus);
    return pins;
}

bool pins_check(const struct vm_config *c, GError **err)
{
    uint32_t most = c->has_max_cpus ? c->max_cpus : c->cpus;
    cpu_set_t set;

    for (size_t i = 0; i < c->n_pins; i++) {
        if (c->pins[i]->vcpu >= most)
            return vmd_fail(err, VMD_ERROR_INVALID, "config.pins: the VM has no vCPU %u", c->pins[i]->vcpu);
        if (find(c->pins, c->n_pins, c->pins[i]->vcpu) < i)
            return vmd_fail(err, VMD_ERROR_INVALID, "config.pins: vCPU %u is there twice", c->pins[i]->vcpu);
        if (!cpulist_parse(c->pins[i]->cpus, &set, err)) {
            g_prefix_error(err, "config.pins: ");
            return false;
        }
    }
    return true;
}
