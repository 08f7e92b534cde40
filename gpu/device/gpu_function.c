/*
 * The function's registers and its window. vCPU threads come here at once and without a lock: a
 * word of the window is moved by one access, as memory would, and what order words have is the
 * rings' business.
 */
#include "gpu/device/gpu_function.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

struct gpu_function {
    struct pci_function *pci;
    int memory;
    uint8_t *window;
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

/* --- BAR 2 ------------------------------------------------------------------------------------ */

static int window_read(void *opaque, uint64_t offset, unsigned size, uint64_t *value)
{
    const uint8_t *at = ((struct gpu_function *)opaque)->window + offset;

    switch (size) {
    case 1:
        *value = __atomic_load_n(at, __ATOMIC_SEQ_CST);
        break;
    case 2:
        *value = __atomic_load_n((const uint16_t *)at, __ATOMIC_SEQ_CST);
        break;
    case 4:
        *value = __atomic_load_n((const uint32_t *)at, __ATOMIC_SEQ_CST);
        break;
    default:
        *value = __atomic_load_n((const uint64_t *)at, __ATOMIC_SEQ_CST);
    }
    return 0;
}

static int window_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    uint8_t *at = ((struct gpu_function *)opaque)->window + offset;

    switch (size) {
    case 1:
        __atomic_store_n(at, (uint8_t)value, __ATOMIC_SEQ_CST);
        break;
    case 2:
        __atomic_store_n((uint16_t *)at, (uint16_t)value, __ATOMIC_SEQ_CST);
        break;
    case 4:
        __atomic_store_n((uint32_t *)at, (uint32_t)value, __ATOMIC_SEQ_CST);
        break;
    default:
        __atomic_store_n((uint64_t *)at, value, __ATOMIC_SEQ_CST);
    }
    return 0;
}

static const struct mem_device_ops window_ops = {
    .read = window_read, .write = window_write, .sizes = 1 | 2 | 4 | 8};

/* --- the function ----------------------------------------------------------------------------- */

static volatile struct gpu_channel *channel_of(const struct gpu_function *f, unsigned channel)
{
    return (volatile struct gpu_channel *)(f->window + (size_t)channel * GPU_CHANNEL_BYTES);
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

/* Words are moved when a vCPU asks for them: nothing is ever under way. */
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
    f->memory = memfd_create("gpu-window", MFD_CLOEXEC);
    if (f->memory < 0 || ftruncate(f->memory, GPU_SHARED_BYTES) < 0)
        return vmd_set_errno(err, errno, "making the window of a GPU");
    void *at = mmap(NULL, GPU_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->memory, 0);
    if (at == MAP_FAILED)
        return vmd_set_errno(err, errno, "mapping the window of a GPU");
    f->window = at;
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

    f->memory = -1;
    memset(f->doorbells, -1, sizeof(f->doorbells));
    if (!make_window(f, err)) {
        gpu_function_free(f);
        return NULL;
    }
    f->pci = pci_function_new("gpu", &function_id, &function_ops, f);
    pci_function_add_bar(f->pci, 0, GPU_REG_BYTES, 0, "gpu-registers", &regs_ops, f);
    pci_function_add_bar(f->pci, 2, GPU_SHARED_BYTES, PCI_BAR_64 | PCI_BAR_PREFETCH, "gpu-window",
                         &window_ops, f);
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        pci_function_add_doorbell(f->pci, 0, GPU_REG_DOORBELL + 4 * i, f->doorbells[i]);
    return f;
}

void gpu_function_free(struct gpu_function *f)
{
    if (!f)
        return;
    pci_function_free(f->pci);
    if (f->window)
        munmap(f->window, GPU_SHARED_BYTES);
    base__close_fd(&f->memory);
    for (unsigned i = 0; i < GPU_CHANNELS; i++)
        base__close_fd(&f->doorbells[i]);
    g_free(f);
}

struct pci_function *gpu_function_pci(struct gpu_function *f)
{
    return f->pci;
}

int gpu_function_memory(const struct gpu_function *f)
{
    return f->memory;
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
