/* One register at 0: the request in bits 15..0, a failure's code in bits 31..16. */
#include "machine/devices/syscon.h"

struct syscon {
    struct device dev;
    void (*finish)(void *opaque, unsigned what, unsigned code);
    void *opaque;
};

static int syscon_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = 0;
    return 0;
}

static int syscon_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct syscon *syscon = opaque;
    unsigned what = value & 0xffff;

    if (offset == 0 && (what == SYSCON_FAIL || what == SYSCON_POWEROFF || what == SYSCON_REBOOT))
        syscon->finish(syscon->opaque, what, (unsigned)(value >> 16) & 0xffff);
    return 0;
}

static void syscon_reset(struct device *dev)
{
}

static bool syscon_restored(struct device *dev)
{
    return true;
}

static void syscon_free(struct device *dev)
{
    g_free(container_of(dev, struct syscon, dev));
}

static const struct state_desc syscon_state = {
    .name = "syscon",
    .version = 1,
    .size = sizeof(struct syscon),
};

static const struct device_class syscon_class = {
    .name = "syscon",
    .size = 0x1000,
    .regs = {.read = syscon_read, .write = syscon_write, .sizes = 2 | 4},
    .state = &syscon_state,
    .reset = syscon_reset,
    .restored = syscon_restored,
    .free = syscon_free,
};

struct syscon *syscon_new(void (*finish)(void *opaque, unsigned what, unsigned code), void *opaque)
{
    struct syscon *syscon = g_new0(struct syscon, 1);

    syscon->dev.class = &syscon_class;
    syscon->finish = finish;
    syscon->opaque = opaque;
    return syscon;
}

struct device *syscon_device(struct syscon *syscon)
{
    return &syscon->dev;
}
