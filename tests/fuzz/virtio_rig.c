/* A bus with one virtio device of each kind that needs no file, and an adapter with two disks in memory. */
#include "tests/fuzz/virtio_rig.h"

#include "machine/virtio/balloon.h"
#include "machine/virtio/console.h"
#include "machine/virtio/memory.h"
#include "machine/virtio/net.h"
#include "machine/virtio/rng.h"
#include "machine/virtio/scsi.h"

#include <linux/pci_regs.h>
#include <sys/mman.h>
#include <sys/stat.h>

static void no_line(void *opaque, unsigned number, bool level)
{
}

static bool no_message(void *opaque, uint16_t requester, uint64_t address, uint32_t data)
{
    return true;
}

static size_t take_output(void *opaque, const uint8_t *data, size_t n)
{
    return n / 2;
}

static void nothing(void *opaque)
{
}

static void was_opened(void *opaque, bool open)
{
}

static const struct virtio_console_ops console_ops = {take_output, nothing, was_opened};
static const struct virtio_console_port ports[] = {{NULL, &console_ops, NULL},
                                                   {"second", &console_ops, NULL}};

static bool take_frame(struct net_backend *b, const struct iovec *iov, unsigned n)
{
    uint8_t *flat = g_malloc(NET_FRAME_MAX);
    size_t length = iov_read(iov + 1, n - 1, 0, flat, NET_FRAME_MAX);

    g_assert(n >= 2 && iov[0].iov_len == NET_HEADER && length >= NET_FRAME_MIN);
    net_complete_checksum(iov[0].iov_base, flat, length);
    g_free(flat);
    return length % 5 != 0;
}

static void backend_nothing(struct net_backend *b)
{
}

static void backend_offloads(struct net_backend *b, unsigned offloads)
{
}

static const struct net_backend_ops backend_ops = {
    "fuzz", take_frame, backend_nothing, backend_nothing, backend_offloads, backend_nothing};
static struct net_backend backend = {
    .ops = &backend_ops, .tx_offloads = NET_CSUM | NET_TSO4, .rx_offloads = NET_CSUM | NET_TSO4};

/* Unit LUN with an image of its own. */
static void add_unit(struct rig *r, unsigned lun)
{
    g_autofree char *path = NULL;
    int fd = memfd_create("disk", 0);

    g_assert(fd >= 0 && ftruncate(fd, MIB(1)) == 0);
    path = g_strdup_printf("/proc/self/fd/%d", fd);
    if (!r->blocks[lun])
        r->blocks[lun] =
            block_open(path, BLOCK_FORMAT_RAW, lun == 1, &r->loop, NULL, NULL);
    close(fd);
    const struct virtio_scsi_unit unit = {.block = r->blocks[lun], .serial = "fuzz"};
    g_assert(unit.block && virtio_scsi_attach(r->devices[RIG_SCSI], lun, &unit, NULL));
}

static struct rig *rig_new(void)
{
    static const uint8_t mac[6] = {2};
    struct rig *r = g_new0(struct rig, 1);
    struct pci_host_config config = {
        .ecam = RIG_ECAM, .buses = 1, .mem32 = {RIG_WINDOW, GIB(1)}, .msi = no_message};

    r->mem = config.mem = mem_map_new();
    r->ram = mem_map_add_ram(r->mem, RIG_RAM, RIG_RAM_SIZE, "ram", false, NULL);
    r->room =
        mem_map_add_sparse_ram(r->mem, RIG_ROOM, RIG_BLOCKS * RIG_BLOCK, RIG_BLOCK, "room", NULL);
    uv_loop_init(&r->loop);
    for (unsigned i = 0; i < 4; i++)
        config.intx[i] = (struct irq_line){no_line, NULL, i};
    r->host = pci_host_new(&config, NULL);
    const struct virtio_env env = {.loop = &r->loop, .mem = r->mem};
    r->devices[0] = virtio_rng_new(&env);
    r->devices[1] = virtio_console_new(&env, ports, G_N_ELEMENTS(ports));
    r->devices[2] = virtio_balloon_new(&env);
    r->devices[3] = virtio_net_new(&env, &backend, mac);
    r->devices[RIG_SCSI] = virtio_scsi_new(&env, 2);
    r->devices[RIG_MEMORY] = virtio_mem_new(&env, r->room);
    for (unsigned lun = 0; lun < RIG_UNITS; lun++)
        add_unit(r, lun);
    for (unsigned i = 0; i < RIG_DEVICES; i++)
        pci_host_add(r->host, virtio_pci_function(virtio_pci_new(r->devices[i])), i + 1, 0, NULL);
    return r;
}

struct rig *rig_get(void)
{
    static struct rig *rig;

    if (!rig)
        rig = rig_new();
    return rig;
}

gpa_t rig_bar(unsigned i)
{
    return RIG_WINDOW + (i << 16);
}

void rig_write(struct rig *r, gpa_t gpa, unsigned size, uint64_t value)
{
    mem_map_device_write(r->mem, gpa, size, value);
}

uint64_t rig_read(struct rig *r, gpa_t gpa, unsigned size)
{
    uint64_t value = 0;

    mem_map_device_read(r->mem, gpa, size, &value);
    return value;
}

void rig_map(struct rig *r, unsigned i)
{
    gpa_t config = RIG_ECAM + ((i + 1) << 15);

    rig_write(r, config + PCI_BASE_ADDRESS_0, 4, rig_bar(i));
    rig_write(r, config + PCI_BASE_ADDRESS_2, 4, rig_bar(i) + 0x8000);
    rig_write(r, config + PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void rig_turn(struct rig *r, unsigned n)
{
    while (n--)
        uv_run(&r->loop, UV_RUN_NOWAIT);
}

static void ignore_stats(void *opaque, const struct balloon_stats *stats)
{
}

void rig_poke(struct rig *r)
{
    static const uint8_t frame[3000] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct virtio_net_hdr_v1 hdr = {0};

    for (unsigned port = 0; port < G_N_ELEMENTS(ports); port++) {
        virtio_console_input(r->devices[1], port, frame, sizeof(frame));
        virtio_console_connect(r->devices[1], port, !frame[port]);
        virtio_console_ready(r->devices[1], port);
    }
    virtio_balloon_poll(r->devices[2], ignore_stats, NULL);
    uint64_t blocks = virtio_mem_requested(r->devices[RIG_MEMORY]) / RIG_BLOCK + 3;
    virtio_mem_request(r->devices[RIG_MEMORY], blocks % (RIG_BLOCKS + 1) * RIG_BLOCK);
    for (unsigned i = 14; i < sizeof(frame); i += 700)
        backend.peer->receive(backend.peer_opaque, &hdr, frame, i);
    backend.peer->receive_end(backend.peer_opaque);
    backend.peer->writable(backend.peer_opaque);
}

static void set_true(void *opaque)
{
    *(bool *)opaque = true;
}

/* What the device says that it has plugged is what lookups find; then nothing is, and the host has
 * it again. */
static void reset_memory(struct rig *r)
{
    struct virtio_device *memory = r->devices[RIG_MEMORY];
    uint64_t there = 0;
    struct stat st;

    for (uint64_t at = 0; at < r->room->size; at += RIG_BLOCK)
        there += mem_ram_has(r->room, at) ? RIG_BLOCK : 0;
    g_assert(virtio_mem_plugged(memory) == there);
    virtio_mem_request(memory, 0);
    virtio_mem_system_reset(memory);
    g_assert(virtio_mem_plugged(memory) == 0 && fstat(r->room->fd, &st) == 0 && st.st_blocks == 0);
}

void rig_reset(struct rig *r)
{
    bool quiet = false;

    pci_host_quiesce(r->host, set_true, &quiet);
    while (!quiet)
        uv_run(&r->loop, UV_RUN_ONCE); /* disks have work under way */
    pci_host_reset(r->host);
    pci_host_resume(r->host);
    rig_turn(r, 2);
    reset_memory(r);
    if (!virtio_scsi_status(r->devices[RIG_SCSI], 0, NULL))
        add_unit(r, 0);
    for (unsigned i = 0; i < RIG_DEVICES; i++)
        g_assert(virtio_device_idle(r->devices[i]) && !r->devices[i]->error);
}
