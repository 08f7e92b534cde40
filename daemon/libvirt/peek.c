/* Bytes of a domain's disks and of its guest's memory. */
#include "daemon/libvirt/bridge_priv.h"

#include "base/memfile.h"

enum { VIRTUAL = 1 << 0, PHYSICAL = 1 << 1 };

struct peeking {
    struct libvirt_request *request;
    uint32_t size;
};

static void peeked(void *arg, const void *result, int fd, const GError *err)
{
    struct peeking *p = arg;
    autofd file = fd;
    g_autoptr(GError) why = NULL;
    g_autofree uint8_t *bytes = err ? NULL : memfile_read(fd, p->size, &why);

    if (bytes)
        libvirt_reply(p->request, &(struct libvirt_peeked){.data_count = p->size, .data = bytes});
    else
        bridge_fail(p->request, err ? err : why);
    g_free(p);
}

/* Whether so many bytes can be asked for; else REQUEST was answered: none are there at once. */
static bool check_size(struct libvirt_request *request, uint32_t size)
{
    if (size > 0 && size <= LIMIT_PEEK)
        return true;
    if (size == 0)
        libvirt_reply(request, &(struct libvirt_peeked){0});
    else
        libvirt_fail(request, LIBVIRT_ERR_INVALID_ARG, LIBVIRT_FROM_DOMAIN,
                     "%u bytes are more than the %d that are shown at once", size, LIMIT_PEEK);
    return false;
}

static struct peeking *peeking_new(struct libvirt_request *request, uint32_t size)
{
    struct peeking *p = g_new0(struct peeking, 1);

    *p = (struct peeking){request, size};
    libvirt_request_alone(request); /* several such answers are more than is queued */
    return p;
}

static void block_peek(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_block_peek *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, 0))
        return;
    g_autoptr(vm_config) config = bridge_live_config(vm);
    const struct vm_disk_config *disk = bridge_find_disk(request, config, a->device);
    if (!disk || !check_size(request, a->size))
        return;
    struct device_peek_params p = {
        .vm = (char *)vm_id(vm), .device = disk->id, .offset = a->offset, .bytes = a->size};
    rpc_local_call(c->rpc, API_DEVICE_PEEK, &p, peeked, peeking_new(request, a->size));
}

static void memory_peek(struct client *c, struct libvirt_request *request, const void *args)
{
    const struct libvirt_memory_peek *a = args;
    struct vm *vm = bridge_need(c, request, &a->dom);

    if (!vm || !bridge_flags(request, a->flags, VIRTUAL | PHYSICAL))
        return;
    if (a->flags != PHYSICAL) {
        bool one = a->flags == VIRTUAL;
        libvirt_fail(request, one ? LIBVIRT_ERR_OPERATION_UNSUPPORTED : LIBVIRT_ERR_INVALID_ARG,
                     LIBVIRT_FROM_DOMAIN, "memory is shown by physical addresses%s",
                     one ? "" : ", and flags say which are meant");
        return;
    }
    if (!check_size(request, a->size))
        return;
    struct vm_peek_params p = {.vm = (char *)vm_id(vm), .address = a->address, .bytes = a->size};
    rpc_local_call(c->rpc, API_VM_PEEK, &p, peeked, peeking_new(request, a->size));
}

const struct bridge_row bridge_peek_rows[] = {
    {LIBVIRT_DOMAIN_BLOCK_PEEK, block_peek},
    {LIBVIRT_DOMAIN_MEMORY_PEEK, memory_peek},
};
const size_t bridge_peek_count = G_N_ELEMENTS(bridge_peek_rows);
