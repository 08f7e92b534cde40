/*
 * The function's registers and its window. vCPU threads come to the registers at once and without a
 * lock; to the window they come without anybody.
 */
#include "gpu/device/gpu_function.h"

#include <errno.h>
#include <sys/eventfd.h>

struct gpu_function {
    struct pci_function *pci;
    struct mem_ram *window;
    int doorbells[GPU_CHANNELS];
};

/* --- BAR 0 ------------------------------------------------------------------------------------ */

static int regs_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = offset == GPU_REG_MAGIC      ? (uint32_t)GPU_MAGIC
             : offset == GPU_REG_CHANNELS ? GPU_CHANNELS
                                          : 0;
    return 0;
}

static int regs_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    const struct gpu_function *f = opaque;
    uint64_t channel = (offset - GPU_REG_DOORBELL) / 4, one = 1;

    if (offset >= GPU_REG_DOORBELL && channel < GPU_CHANNELS)
        (void)!write(f->doorbells[channel], &one, sizeof(one));
    return 0;
}

static const struct mem_device_ops regs_ops = {.read = regs_read, .write = regs_write, .sizes = 4};

/* --- the function ----------------------------------------------------------------------------- */

static volatile struct gpu_channel *channel_of(const struct gpu_function *f, unsigned channel)
{
    return (volatile struct gpu_channel *)(f->window->host + (size_t)channel * GPU_CHANNEL_BYTES);
}

/* The guest's programs are gone without closing their channels. */
static void function_reset(void *opaque)
{
    const struct gpu_function *f = opaque;
    uint64_t one = 1;

    for (unsigned i = 0; i < GPU_CHANNELS; i++) {
        gpu_store(&channel_of(f, i)->guest_open, 0);
        (void)!write(f->doorbells[i], &one, sizeof(one));
    }
}

/* Nothing of its own is ever under way. */
static const struct pci_function_ops function_ops = {.reset = function_reset};

static const struct pci_id function_id = {
    .vendor = GPU_PCI_VENDOR,
    .device = GPU_PCI_DEVICE,
    .subsystem_vendor = GPU_PCI_VENDOR,
    .subsystem = GPU_PCI_DEVICE,
    .class_code = 0x120000, /* processing accelerator */
};

static bool make_window(struct gpu_function *f, GError **err)
{
    f->window = mem_ram_new("gpu-window", GPU_SHARED_BYTES, err);
    if (!f->window)
        return false;
    for (unsigned i = 0; i < GPU_CHANNELS; i++) {
        f->doorbells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (f->doorbells[i] < 0)
            return vmd_set_errno(err, errno, "making the doorbells of a GPU");
    }
    return true;
}

struct gpu_function *gpu_function_new(GError **err)
{
    struct gpu_function *f = g_new0(struct gpu_function, 1);

    memset(f->doorbells, -1, sizeof(f->doorbells));
    if (!make_window(f, err)) {
        gpu_function_free(f);
        return NULL;
    }
    f->pci = pci_function_new("gpu", &function_id, &function_ops, f);
    pci_function_add_bar(f->pci, 0, GPU_REG_BYTES, 0, "gpu-registers", &regs_ops, f);
    pci_function_add_memory_bar(f->pci, 2, PCI_BAR_64 | PCI_BAR_PREFETCH, f->window);
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        pci_function_add_doorbell(f->pci, 0, GPU_REG_DOORBELL + 4 * i, f->doorbells[i]);
    return f;
}

void gpu_function_free(struct gpu_function *f)
{
    if (!f)
        return;
    pci_function_free(f->pci);
    mem_ram_free(f->window);
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        base__close_fd(&f->doorbells[i]);
    g_free(f);
}

struct pci_function *gpu_function_pci(struct gpu_function *f)
{
    return f->pci;
}

const struct mem_ram *gpu_function_window(const struct gpu_function *f)
{
    return f->window;
}

int gpu_function_memory(const struct gpu_function *f)
{
    return f->window->fd;
}

int gpu_function_doorbell(const struct gpu_function *f, unsigned channel)
{
    return f->doorbells[channel];
}

void gpu_function_lost(struct gpu_function *f)
{
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        gpu_store(&channel_of(f, i)->host_open, 0);
}
