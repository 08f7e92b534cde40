/*
 * Guest RAM in an IOMMU: type 1, version 2. Each stretch of RAM is one mapping; of one that comes
 * by blocks each block is one, since a mapping goes whole or not at all.
 *
 * While a group is in the container RAM is pinned: the kernel holds its pages, and who would give
 * pages back to the host is told not to. Blocks of memory that the guest gave back are unmapped
 * first.
 */
#include "gpu/vfio/vfio_priv.h"

#include <errno.h>
#include <sys/resource.h>

struct vfio_container {
    struct mem_map *mem;
    bool messages; /* the guest's bus has MSI */
    const struct vfio_sys *sys;
    void (*warning)(void *opaque, const char *text);
    void *opaque;
    pthread_mutex_t lock; /* memory comes and goes on any thread */
    int fd;               /* -1: nothing is mapped */
    unsigned groups;
};

static int container_ioctl(const struct vfio_container *c, int fd, unsigned long request, void *arg)
{
    return c->sys->ioctl(c->sys->opaque, fd, request, arg);
}

const struct vfio_sys *vfio__sys(const struct vfio_container *c)
{
    return c->sys;
}

struct mem_map *vfio__mem(const struct vfio_container *c)
{
    return c->mem;
}

bool vfio__messages(const struct vfio_container *c)
{
    return c->messages;
}

void vfio__warn(const struct vfio_container *c, const char *text)
{
    c->warning(c->opaque, text);
}

/* --- mappings --------------------------------------------------------------------------------- */

static int map_one(struct vfio_container *c, const struct mem_ram *ram, uint64_t offset,
                   uint64_t length)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = VFIO_DMA_MAP_FLAG_READ | (ram->read_only ? 0 : VFIO_DMA_MAP_FLAG_WRITE),
        .vaddr = (uintptr_t)(ram->host + offset),
        .iova = ram->gpa + offset,
        .size = length,
    };

    return container_ioctl(c, c->fd, VFIO_IOMMU_MAP_DMA, &map);
}

static void unmap_all_of(struct vfio_container *c, gpa_t gpa, uint64_t length)
{
    struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap), .iova = gpa, .size = length};

    container_ioctl(c, c->fd, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

/* Bytes that one mapping of RAM has. */
static uint64_t piece_of(const struct mem_ram *ram)
{
    return ram->there ? UINT64_C(1) << ram->block_shift : ram->size;
}

/* Maps what is there of LENGTH bytes at OFFSET, whole pieces; 0 or the first -errno. */
static int map_range(struct vfio_container *c, const struct mem_ram *ram, uint64_t offset,
                     uint64_t length)
{
    uint64_t piece = piece_of(ram);
    int rc = 0;

    for (uint64_t at = offset; rc == 0 && at < offset + length; at += piece) {
        if (mem_ram_has(ram, at))
            rc = map_one(c, ram, at, piece);
    }
    return rc;
}

/* --- what becomes of memory ------------------------------------------------------------------- */

static void changed(void *opaque, gpa_t gpa, uint64_t length, enum mem_kind kind, bool added)
{
    struct vfio_container *c = opaque;
    struct mem_view view;
    int rc = 0;

    if (kind != MEM_RAM)
        return;
    mem_map_lookup(c->mem, gpa, &view);
    pthread_mutex_lock(&c->lock);
    if (c->fd >= 0 && added && view.kind == MEM_RAM && !view.ram->shown)
        rc = map_range(c, view.ram, gpa - view.ram->gpa, length);
    else if (c->fd >= 0 && !added)
        unmap_all_of(c, gpa, length);
    pthread_mutex_unlock(&c->lock);
    if (rc < 0) {
        g_autofree char *size = size_format(length);
        g_autofree char *text =
            g_strdup_printf("%s of memory that came cannot be reached by the VM's host devices: %s",
                            size, g_strerror(-rc));
        vfio__warn(c, text);
    }
}

struct vfio_container *vfio_container_new(struct mem_map *mem, bool messages,
                                          const struct vfio_sys *sys,
                                          void (*warning)(void *opaque, const char *text),
                                          void *opaque)
{
    struct vfio_container *c = g_new0(struct vfio_container, 1);
    const struct mem_listener listener = {.changed = changed, .opaque = c};

    c->mem = mem;
    c->messages = messages;
    c->sys = sys;
    c->warning = warning;
    c->opaque = opaque;
    c->fd = -1;
    pthread_mutex_init(&c->lock, NULL);
    mem_map_add_listener(mem, &listener);
    return c;
}

void vfio_container_free(struct vfio_container *c)
{
    const struct mem_listener listener = {.opaque = c};

    if (!c)
        return;
    g_assert(!c->groups);
    mem_map_remove_listener(c->mem, &listener);
    pthread_mutex_destroy(&c->lock);
    g_free(c);
}

/* --- groups ----------------------------------------------------------------------------------- */

struct mapping {
    GPtrArray *stretches; /* of struct mem_ram */
    uint64_t bytes;
    int rc;
};

static void note_ram(void *opaque, struct mem_ram *ram)
{
    struct mapping *m = opaque;

    if (ram->shown)
        return;
    m->bytes += ram->size;
    g_ptr_array_add(m->stretches, ram);
}

/* Pinning takes its time, during which the map is left to others. */
static void map_all(struct vfio_container *c, struct mapping *m)
{
    g_autoptr(GPtrArray) stretches = m->stretches = g_ptr_array_new();

    mem_map_each_ram(c->mem, note_ram, m);
    for (guint i = 0; m->rc == 0 && i < stretches->len; i++) {
        const struct mem_ram *ram = g_ptr_array_index(stretches, i);
        m->rc = map_range(c, ram, 0, ram->size);
    }
}

static bool map_failed(const struct mapping *m, GError **err)
{
    g_autofree char *size = size_format(m->bytes);
    struct rlimit limit;

    if (m->rc == -ENOMEM && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY) {
        g_autofree char *most = size_format(limit.rlim_cur);
        return vmd_fail(
            err, VMD_ERROR_LIMIT,
            "the VM's process may lock %s of memory (RLIMIT_MEMLOCK), and a host device "
            "needs all of the guest's, %s",
            most, size);
    }
    if (m->rc == -EINVAL)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the host's IOMMU does not take guest memory of %s where the guest has it: "
                        "a part of it is "
                        "where the host has its own (0xfee00000 on x86), or beyond its reach",
                        size);
    return vmd_set_errno(err, -m->rc, "mapping %s of guest memory for a host device", size);
}

/* The IOMMU of a container whose first group was added: FD. */
static bool begin(struct vfio_container *c, int fd, GError **err)
{
    struct mapping m = {0};

    int rc = container_ioctl(c, fd, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU);
    if (rc < 0)
        return vmd_set_errno(err, -rc, "giving a host device an IOMMU");
    /* From here on memory that comes is mapped, or was seen by the walk. */
    mem_map_pin(c->mem, true);
    c->fd = fd;
    map_all(c, &m);
    if (m.rc == 0)
        return true;
    c->fd = -1;
    mem_map_pin(c->mem, false);
    return map_failed(&m, err);
}

static bool check_container(const struct vfio_container *c, int fd, GError **err)
{
    int version = container_ioctl(c, fd, VFIO_GET_API_VERSION, NULL);

    if (version != VFIO_API_VERSION)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the host's kernel speaks another VFIO (%d)",
                        version);
    if (container_ioctl(c, fd, VFIO_CHECK_EXTENSION, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) <= 0)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the host's kernel has no IOMMU of type 1 for VFIO (vfio_iommu_type1)");
    return true;
}

static bool check_group(const struct vfio_container *c, int group, GError **err)
{
    struct vfio_group_status status = {.argsz = sizeof(status)};
    int rc = container_ioctl(c, group, VFIO_GROUP_GET_STATUS, &status);

    if (rc < 0)
        return vmd_set_errno(err, -rc, "looking at an IOMMU group");
    return status.flags & VFIO_GROUP_FLAGS_VIABLE ||
           vmd_fail(err, VMD_ERROR_BUSY,
                    "another device of its IOMMU group has a driver of the host's");
}

static bool join(struct vfio_container *c, struct vfio_files *files, GError **err)
{
    int fd = c->fd >= 0 ? c->fd : files->container;

    if (!check_group(c, files->group, err) || (c->fd < 0 && !check_container(c, fd, err)))
        return false;
    int rc = container_ioctl(c, files->group, VFIO_GROUP_SET_CONTAINER, &fd);
    if (rc < 0)
        return vmd_set_errno(err, -rc, "adding an IOMMU group to the VM's");
    if (c->fd < 0 && !begin(c, fd, err)) {
        container_ioctl(c, files->group, VFIO_GROUP_UNSET_CONTAINER, NULL);
        return false;
    }
    if (c->fd == files->container)
        files->container = -1; /* the container's from here on */
    c->groups++;
    return true;
}

bool vfio__join(struct vfio_container *c, struct vfio_files *files, GError **err)
{
    pthread_mutex_lock(&c->lock);
    bool ok = join(c, files, err);
    pthread_mutex_unlock(&c->lock);
    return ok;
}

void vfio__leave(struct vfio_container *c, const struct vfio_files *files)
{
    pthread_mutex_lock(&c->lock);
    /* With the last group go the IOMMU and all that is mapped in it. */
    container_ioctl(c, files->group, VFIO_GROUP_UNSET_CONTAINER, NULL);
    if (--c->groups == 0) {
        close(c->fd);
        c->fd = -1;
        mem_map_pin(c->mem, false);
    }
    pthread_mutex_unlock(&c->lock);
}
