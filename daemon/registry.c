/* Two tables over the same VMs; the one by id owns them. */
#include "daemon/registry.h"

#include "base/log.h"
#include "base/pciaddr.h"
#include "daemon/gpus.h"
#include "daemon/host.h"
#include "daemon/hostdevs.h"
#include "daemon/pins.h"
#include "daemon/vm_devices.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

struct registry {
    struct daemon *daemon;
    GHashTable *by_id;   /* char * -> struct vm, owned */
    GHashTable *by_name; /* char *, owned -> struct vm */
};

static void free_vm(gpointer p)
{
    vm_free(p);
}

static void add(struct registry *r, struct vm *vm)
{
    g_hash_table_insert(r->by_id, (gpointer)vm_id(vm), vm);
    g_hash_table_insert(r->by_name, g_strdup(vm_name(vm)), vm);
}

/* What a daemon that was killed left of a VM: not made to the end, or deleted. */
static bool is_remains(struct registry *r, const char *vms, const char *id)
{
    g_autofree char *file = g_build_filename(vms, id, "vm.json", NULL);

    return g_uuid_string_is_valid(id) && (events_vm_deleted(r->daemon->events, id) ||
                                          (access(file, F_OK) < 0 && errno == ENOENT));
}

static void load(struct registry *r, const char *vms, const char *id)
{
    g_autoptr(GError) why = NULL;

    if (is_remains(r, vms, id)) {
        g_autofree char *dir = g_build_filename(vms, id, NULL);
        paths_remove_dir(dir);
        return;
    }
    struct vm *vm = g_uuid_string_is_valid(id) ? vm_load(r->daemon, id, &why) : NULL;
    if (vm && registry_find(r, vm_name(vm))) {
        vmd_fail(&why, VMD_ERROR_EXISTS, "there is another VM %s", vm_name(vm));
        vm_free(g_steal_pointer(&vm));
    }
    if (vm)
        add(r, vm);
    else
        log_error("VM %s is left out, its files stay in %s: %s", id, vms,
                  why ? why->message : "this is no name of a VM's folder");
}

struct registry *registry_open(struct daemon *daemon, GError **err)
{
    g_autofree char *vms = g_build_filename(daemon->paths.store, "vms", NULL);
    g_autoptr(GDir) dir = g_dir_open(vms, 0, NULL);
    const char *id;

    if (!dir) {
        vmd_set_errno(err, errno, "reading %s", vms);
        return NULL;
    }
    struct registry *r = g_new0(struct registry, 1);
    r->daemon = daemon;
    r->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_vm);
    r->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    while ((id = g_dir_read_name(dir))) {
        load(r, vms, id);
    }
    return r;
}

static void host_lost(void *arg, const struct host_device *device)
{
    g_autoptr(GPtrArray) all = registry_list(arg);
    const struct registry *r = arg;

    if (device->kind == HOST_PCI)
        gpus_host_lost(r->daemon->gpus);
    for (guint i = 0; i < all->len; i++)
        vm_devices_host_lost(vm_devices_of(g_ptr_array_index(all, i)));
}

static void host_renamed(void *arg, const struct host_device *device, const char *was)
{
    g_autoptr(GPtrArray) all = registry_list(arg);

    for (guint i = 0; i < all->len; i++)
        vm_devices_host_renamed(vm_devices_of(g_ptr_array_index(all, i)), was, device);
}

/* Once after each boot, which empties the runtime directory. */
static void autostart(struct registry *r)
{
    g_autofree char *done = g_build_filename(r->daemon->paths.runtime, "autostarted", NULL);
    autofd fd = open(done, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    g_autoptr(GPtrArray) all = registry_list(r);

    for (guint i = 0; i < all->len && fd >= 0; i++) {
        struct vm *vm = g_ptr_array_index(all, i);
        if (vm_config_of(vm)->autostart && !vm_active(vm))
            vm_autostart(vm);
    }
}

void registry_recover(struct registry *r)
{
    hostdevs_on_gone(r->daemon->hostdevs, host_lost, host_renamed, r);
    g_autoptr(GPtrArray) all = registry_list(r);

    for (guint i = 0; i < all->len; i++)
        vm_recover(g_ptr_array_index(all, i));
    jobs_end_orphans(r->daemon->jobs);
    autostart(r);
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    /* VMs first: calls that they still answer look for one. */
    g_hash_table_destroy(r->by_id);
    g_hash_table_destroy(r->by_name);
    g_free(r);
}

struct vm *registry_find(struct registry *r, const char *ref)
{
    struct vm *vm = g_hash_table_lookup(r->by_name, ref);

    return vm ? vm : g_hash_table_lookup(r->by_id, ref);
}

unsigned registry_count(const struct registry *r, bool active)
{
    GHashTableIter it;
    gpointer vm;
    unsigned n = 0;

    g_hash_table_iter_init(&it, r->by_id);
    while (g_hash_table_iter_next(&it, NULL, &vm))
        n += !active || vm_active(vm);
    return n;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(vm_name(*(struct vm *const *)a), vm_name(*(struct vm *const *)b));
}

GPtrArray *registry_list(struct registry *r)
{
    GPtrArray *all = g_ptr_array_new();
    GHashTableIter it;
    gpointer vm;

    g_hash_table_iter_init(&it, r->by_id);
    while (g_hash_table_iter_next(&it, NULL, &vm))
        g_ptr_array_add(all, vm);
    g_ptr_array_sort(all, by_name);
    return all;
}

void registry_drop(struct registry *r, struct vm *vm)
{
    g_hash_table_remove(r->by_name, vm_name(vm));
    g_hash_table_steal(r->by_id, vm_id(vm));
    vm_deleted(vm);
    vm_free(vm);
}

void registry_connection_gone(struct registry *r, const struct rpc_conn *conn)
{
    g_autoptr(GPtrArray) all = registry_list(r);

    for (guint i = 0; i < all->len; i++)
        vm_connection_gone(g_ptr_array_index(all, i), conn);
}

/* --- checks of a configuration ---------------------------------------------------------------- */

/* MODE is access()'s. */
static bool check_file(const char *what, const char *path, int mode, GError **err)
{
    struct stat st;

    if (!path)
        return true;
    if (stat(path, &st) < 0)
        return vmd_set_errno(err, errno, "the %s %s", what, path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return vmd_fail(err, VMD_ERROR_INVALID, "the %s %s is not a file", what, path);
    if (access(path, mode) < 0)
        return vmd_set_errno(err, errno, "the %s %s", what, path);
    return true;
}

/* FEATURE, with its sign. Whether the host's processor has it is seen at the start. */
static bool check_feature(const char *feature, GError **err)
{
    enum { BASE, ONLY_HOST, ASK, NEVER };
    static const struct {
        const char *name;
        int rule;
    } known[] = {
#define FEATURE(name, word, bit, rule) {name, rule},
#include "base/x86_features.inc"
#undef FEATURE
    };

    if ((feature[0] != '+' && feature[0] != '-') || !feature[1])
        return vmd_fail(err, VMD_ERROR_INVALID, "config.cpu: '%s' is not of the form +FEATURE or -FEATURE",
                        feature);
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (strcmp(known[i].name, feature + 1) == 0)
            return feature[0] == '-' || known[i].rule != NEVER ||
                   vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                            "config.cpu: CPU feature '%s' is not offered to guests", known[i].name);
    }
    return vmd_fail(err, VMD_ERROR_INVALID, "config.cpu: there is no CPU feature '%s'", feature + 1);
}

static bool check_cpu(const char *cpu, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(cpu ? cpu : "host", ",", -1);

    if (strcmp(parts[0], "host") != 0 && strcmp(parts[0], "baseline") != 0)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "config.cpu: there is no CPU model '%s': there are 'host' and 'baseline'",
                        parts[0]);
    for (unsigned i = 1; parts[i]; i++) {
        if (!check_feature(parts[i], err))
            return false;
    }
    return true;
}

/* Processors for later: where the machine itself decides which of them the guest may start, or
 * tells it by ACPI. */
static bool check_max_cpus(const struct vm_config *c, GError **err)
{
    if (!c->has_max_cpus || c->max_cpus == c->cpus)
        return true;
    if (c->max_cpus < c->cpus)
        return vmd_fail(err, VMD_ERROR_INVALID, "config.max_cpus: %u, and %u to begin with", c->max_cpus,
                        c->cpus);
    if (c->arch == VM_ARCH_X86_64)
        return true;
    if (c->accel == VM_ACCEL_KVM)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "config.max_cpus: %s guests on KVM have the same processors always",
                        vm_arch_to_string(c->arch));
    if (c->max_cpus > LIMIT_XLATE_VCPUS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "config.max_cpus: %s guests have at most %d virtual CPUs, not %u",
                        vm_arch_to_string(c->arch), LIMIT_XLATE_VCPUS, c->max_cpus);
    if (c->arch == VM_ARCH_RISCV64 && c->firmware)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "config.max_cpus: a firmware of riscv64 machines starts all processors");
    return true;
}

/* Memory for later, which virtio-mem brings. */
static bool check_max_memory(const struct vm_config *c, GError **err)
{
    if (!c->has_max_memory || c->max_memory == c->memory)
        return true;
    if (c->max_memory < c->memory || c->max_memory & (MEMORY_GRAIN - 1))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "config.max_memory is less than config.memory, or not a multiple of 4 KiB");
    if (c->arch == VM_ARCH_X86_64 || c->accel == VM_ACCEL_KVM)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "config.max_memory: %s have the same memory always",
                        c->arch == VM_ARCH_X86_64 ? "x86_64 guests" : "guests on KVM");
    return true;
}

static bool check_gpu(const struct vm_config *c, GError **err)
{
    if (!c->gpu)
        return true;
    if (c->gpu->memory & (MIB(1) - 1))
        return vmd_fail(err, VMD_ERROR_INVALID, "config.gpu.memory is not a multiple of 1 MiB");
    if (c->gpu->device && c->gpu->backend == VM_GPU_BACKEND_SOFT &&
        !g_ascii_string_to_unsigned(c->gpu->device, 10, 0, LIMIT_SOFT_GPUS - 1, NULL, NULL))
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "config.gpu.device: of the backend soft it is a number from 0 to %d",
                        LIMIT_SOFT_GPUS - 1);
    return true;
}

/* Names by which clients and guests know ports apart. */
static bool check_channels(const struct vm_config *c, GError **err)
{
    if (c->n_channels && !c->devices->console)
        return vmd_fail(err, VMD_ERROR_INVALID,
                        "config.channels: they are ports of the virtio console, which is not there");
    for (size_t i = 0; i < c->n_channels; i++) {
        const char *name = c->channels[i];
        if (g_str_has_prefix(name, "org.vmd.") || g_str_has_prefix(name, "hvc") ||
            strcmp(name, "serial0") == 0)
            return vmd_fail(err, VMD_ERROR_INVALID, "config.channels: %s is a name of vmd's own", name);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(c->channels[j], name) == 0)
                return vmd_fail(err, VMD_ERROR_INVALID, "config.channels: %s is there twice", name);
        }
    }
    return true;
}

static bool check_machine(const struct vm_config *c, GError **err)
{
    if ((c->cpu || c->has_irqchip) && c->arch != VM_ARCH_X86_64)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "config.%s: only x86_64 guests have a choice of that",
                        c->cpu ? "cpu" : "irqchip");
    if (c->arch != VM_ARCH_X86_64 && c->cpus > LIMIT_XLATE_VCPUS)
        return vmd_fail(err, VMD_ERROR_LIMIT, "config.cpus: %s guests have at most %d virtual CPUs, not %u",
                        vm_arch_to_string(c->arch), LIMIT_XLATE_VCPUS, c->cpus);
    if (!check_max_cpus(c, err))
        return false;
    if (c->memory & (MEMORY_GRAIN - 1))
        return vmd_fail(err, VMD_ERROR_INVALID, "config.memory is not a multiple of 4 KiB");
    if (!check_max_memory(c, err) || !check_gpu(c, err) || !pins_check(c, err) ||
        !check_channels(c, err))
        return false;
    if (!c->kernel && !c->firmware)
        return vmd_fail(err, VMD_ERROR_INVALID, "a kernel or a firmware is needed to boot");
    if (c->initrd && !c->kernel)
        return vmd_fail(err, VMD_ERROR_INVALID, "an initrd needs a kernel");
    if (c->firmware_vars && !c->firmware)
        return vmd_fail(err, VMD_ERROR_INVALID, "firmware variables need a firmware");
    if (c->firmware_vars && c->arch == VM_ARCH_RISCV64)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s machines have no firmware variables",
                        vm_arch_to_string(c->arch));
    if (c->arch == VM_ARCH_X86_64 && c->kernel && c->firmware)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED, "%s machines start a kernel or a firmware, not both",
                        vm_arch_to_string(c->arch));
    return check_cpu(c->cpu, err) && check_file("kernel", c->kernel, R_OK, err) &&
           check_file("initrd", c->initrd, R_OK, err) && check_file("firmware", c->firmware, R_OK, err) &&
           check_file("variables", c->firmware_vars, R_OK | W_OK, err);
}

/* Reads enough of a disk to know its format for good: a guest can write the header of another. */
static bool settle_format(struct vm_disk_config *disk, GError **err)
{
    static const char magic[4] = {'Q', 'F', 'I', '\xfb'};
    char head[4];
    autofd fd = open(disk->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return vmd_set_errno(err, errno, "the disk %s", disk->path);
    if (disk->format == VM_DISK_FORMAT_AUTO)
        disk->format = pread(fd, head, 4, 0) == 4 && memcmp(head, magic, 4) == 0
                           ? VM_DISK_FORMAT_QCOW2
                           : VM_DISK_FORMAT_RAW;
    return true;
}

/* Notes the id of a device that has one, and refuses doubles. */
static bool note_id(GHashTable *seen, char *id, GError **err)
{
    return !id || g_hash_table_add(seen, id) ||
           vmd_fail(err, VMD_ERROR_INVALID, "two devices have the id %s", id);
}

/* Gives a device without an id its own: by its place, or the next one that is free. */
static void settle_id(GHashTable *seen, char **id, const char *stem, size_t index)
{
    while (!*id) {
        char *own = g_strdup_printf("%s%zu", stem, index++);
        if (g_hash_table_add(seen, own))
            *id = own;
        else
            g_free(own);
    }
}

bool registry_check_nic(const struct vm_nic_config *nic, GError **err)
{
    const char *id = nic->id ? nic->id : "to be added";

    if (nic->kind == VM_NIC_KIND_TAP && !nic->tap)
        return vmd_fail(err, VMD_ERROR_INVALID, "interface %s: no tap was named", id);
    if (nic->kind != VM_NIC_KIND_TAP && nic->tap)
        return vmd_fail(err, VMD_ERROR_INVALID, "interface %s: a tap goes with kind tap", id);
    if (nic->kind != VM_NIC_KIND_USER && nic->n_hostfwd)
        return vmd_fail(err, VMD_ERROR_INVALID, "interface %s: port forwards go with kind user", id);
    if (nic->kind != VM_NIC_KIND_USER && nic->network)
        return vmd_fail(err, VMD_ERROR_INVALID, "interface %s: a network goes with kind user", id);
    /* IEEE 802: the lowest bit of the first byte says "a group". */
    if (nic->mac && g_ascii_xdigit_value(nic->mac[1]) & 1)
        return vmd_fail(err, VMD_ERROR_INVALID, "interface %s: %s is the address of a group", id,
                        nic->mac);
    return true;
}

bool registry_check_host(const struct vm_host_config *host, GError **err)
{
    return pciaddr_valid(host->device) ||
           vmd_fail(err, VMD_ERROR_INVALID,
                    "host device %s: '%s' is no address of a PCI function such as 0000:01:00.0",
                    host->id ? host->id : "to be added", host->device);
}

char *registry_new_mac(void)
{
    guint32 n = g_random_int();

    return g_strdup_printf("52:54:00:%02x:%02x:%02x", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff);
}

static bool settle_nic(struct vm_nic_config *nic, GError **err)
{
    if (!registry_check_nic(nic, err))
        return false;
    if (!nic->mac)
        nic->mac = registry_new_mac();
    return true;
}

/* Whether two disks are one file or block device, one of them to be written. */
static bool disks_clash(const struct vm_disk_config *a, const struct vm_disk_config *b)
{
    struct stat x, y;

    if ((a->readonly && b->readonly) || stat(a->path, &x) < 0 || stat(b->path, &y) < 0)
        return false;
    if (S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode))
        return x.st_rdev == y.st_rdev;
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool check_doubles(const struct vm_config *c, GError **err)
{
    for (size_t i = 0; i < c->n_disks; i++) {
        for (size_t j = 0; j < i; j++) {
            if (disks_clash(c->disks[i], c->disks[j]))
                return vmd_fail(err, VMD_ERROR_INVALID,
                                "%s and %s are the same file, %s: only disks that are all read-only may be",
                                c->disks[j]->id, c->disks[i]->id, c->disks[i]->path);
        }
    }
    for (size_t i = 0; i < c->n_nics; i++) {
        for (size_t j = 0; j < i; j++) {
            if (g_ascii_strcasecmp(c->nics[i]->mac, c->nics[j]->mac) == 0)
                return vmd_fail(err, VMD_ERROR_INVALID,
                                "interfaces %s and %s have the same address, %s", c->nics[j]->id,
                                c->nics[i]->id, c->nics[i]->mac);
        }
    }
    for (size_t i = 0; i < c->n_host_devices; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(c->host_devices[i]->device, c->host_devices[j]->device) == 0)
                return vmd_fail(err, VMD_ERROR_INVALID, "%s and %s are the same PCI function, %s",
                                c->host_devices[j]->id, c->host_devices[i]->id,
                                c->host_devices[i]->device);
        }
    }
    return true;
}

/* Fills in what the client left to us, once, so that it stays the same over runs. */
static bool settle(struct vm_config *c, GError **err)
{
    /* The VM's own devices have names too (vm/devices.c). */
    static const char *const own[] = {"hvc0",  "rng0",  "balloon0", "scsi0", "mem0",
                                      "gpu0",  "link0", "link1",    "link2", "link3",
                                      "link4", "link5", "link6",    "link7"};
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    G_STATIC_ASSERT(G_N_ELEMENTS(own) == 6 + LIMIT_NICS);
    for (size_t i = 0; i < G_N_ELEMENTS(own); i++)
        g_hash_table_add(seen, (gpointer)own[i]);
    for (size_t i = 0; i < c->n_disks; i++) {
        if (!note_id(seen, c->disks[i]->id, err))
            return false;
    }
    for (size_t i = 0; i < c->n_nics; i++) {
        if (!note_id(seen, c->nics[i]->id, err))
            return false;
    }
    for (size_t i = 0; i < c->n_host_devices; i++) {
        if (!note_id(seen, c->host_devices[i]->id, err))
            return false;
    }
    for (size_t i = 0; i < c->n_disks; i++) {
        settle_id(seen, &c->disks[i]->id, "disk", i);
        if (!check_file("disk", c->disks[i]->path, R_OK, err) || !settle_format(c->disks[i], err))
            return false;
    }
    for (size_t i = 0; i < c->n_nics; i++) {
        settle_id(seen, &c->nics[i]->id, "net", i);
        if (!settle_nic(c->nics[i], err))
            return false;
    }
    for (size_t i = 0; i < c->n_host_devices; i++) {
        settle_id(seen, &c->host_devices[i]->id, "host", i);
        if (!registry_check_host(c->host_devices[i], err))
            return false;
    }
    return check_doubles(c, err);
}

/* Whether no other VM that is active has DISK, of VM. */
static bool check_free(struct registry *r, const struct vm *vm, const struct vm_disk_config *disk,
                       GError **err)
{
    GHashTableIter it;
    gpointer other;

    g_hash_table_iter_init(&it, r->by_id);
    while (g_hash_table_iter_next(&it, NULL, &other)) {
        const struct vm_config *o = vm_config_of(other);
        for (size_t i = 0; other != vm && vm_active(other) && i < o->n_disks; i++) {
            if (disks_clash(disk, o->disks[i]))
                return vmd_fail(err, VMD_ERROR_BUSY, "disk %s: disk image %s is in use by VM %s",
                                disk->id ? disk->id : "to be added", disk->path, o->name);
        }
    }
    return true;
}

bool registry_settle_disk(struct registry *r, const struct vm *vm, struct vm_disk_config *disk,
                          GError **err)
{
    return check_file("disk", disk->path, disk->readonly ? R_OK : R_OK | W_OK, err) && settle_format(disk, err) &&
           check_free(r, vm, disk, err);
}

/* The guest's memory, and that of its GPU where that is the host's too. */
static bool check_memory(const struct vm_config *c, GError **err)
{
    struct host_info_result *host = host_describe();
    uint64_t most = host->memory->total_bytes, least = c->memory,
             wants = c->has_max_memory ? c->max_memory : c->memory,
             gpu = c->gpu && c->gpu->backend == VM_GPU_BACKEND_SOFT ? c->gpu->memory : 0;

    host_info_result_free(host);
    if (!most || wants + gpu <= most)
        return true;
    g_autofree char *wanted = size_format(wants + gpu), *there = size_format(most),
                    *its = size_format(gpu);
    g_autofree char *more = gpu ? g_strdup_printf(", %s of it for its GPU", its) : g_strdup("");
    return vmd_fail(err, VMD_ERROR_LIMIT, "VM %s needs %s%s of memory%s; the host has %s", c->name,
                    wants > least ? "up to " : "", wanted, more, there);
}

/* The program of its workers. */
static bool check_worker(struct registry *r, const struct vm_config *c, GError **err)
{
    return !c->gpu || access(r->daemon->paths.gpu_program, X_OK) == 0 ||
           vmd_set_errno(err, errno, "VM %s has a GPU, for which there is no worker: %s", c->name,
                         r->daemon->paths.gpu_program);
}

bool registry_check_gpu(struct registry *r, const struct vm *vm, const struct vm_gpu_config *gpu,
                        GError **err)
{
    struct vm_config with = *vm_config_of(vm); /* borrows all that it points to */

    with.gpu = (struct vm_gpu_config *)gpu;
    return check_gpu(&with, err) && check_memory(&with, err) && check_worker(r, &with, err);
}

bool registry_check_start(struct registry *r, const struct vm *vm, GError **err)
{
    const struct vm_config *c = vm_config_of(vm);
    if (!check_memory(c, err) || !gpus_check_start(r->daemon->gpus, vm, err) ||
        !check_worker(r, c, err))
        return false;
    for (size_t i = 0; i < c->n_disks; i++) {
        if (!check_free(r, vm, c->disks[i], err))
            return false;
    }
    return true;
}

static bool check_name(struct registry *r, const char *name, GError **err)
{
    if (g_uuid_string_is_valid(name))
        return vmd_fail(err, VMD_ERROR_INVALID, "config.name: %s could be the id of a VM", name);
    return !registry_find(r, name) ||
           vmd_fail(err, VMD_ERROR_EXISTS, "there is a VM %s already", name);
}

static bool check_id(struct registry *r, const char *id, GError **err)
{
    g_autofree char *small = id ? g_ascii_strdown(id, -1) : NULL;

    if (!id)
        return true;
    if (!g_uuid_string_is_valid(id) || strcmp(id, small) != 0)
        return vmd_fail(err, VMD_ERROR_INVALID, "params.id: %s is no UUID in small letters", id);
    return !registry_find(r, id) ||
           vmd_fail(err, VMD_ERROR_EXISTS, "there is a VM with the id %s already", id);
}

struct vm *registry_create(struct registry *r, const char *id, struct vm_config *config, uid_t uid,
                           GError **err)
{
    struct vm *vm = NULL;

    if (g_hash_table_size(r->by_id) >= LIMIT_VMS)
        vmd_fail(err, VMD_ERROR_LIMIT, "there are %d VMs already", LIMIT_VMS);
    else if (check_name(r, config->name, err) && check_id(r, id, err) &&
             registry_check_config(config, err))
        vm = vm_new(r->daemon, id, g_steal_pointer(&config), uid, err);
    vm_config_free(config);
    if (!vm)
        return NULL;
    add(r, vm);
    struct event_source source = {.vm = vm_name(vm), .vm_id = vm_id(vm)};
    struct vm_created_event event = {.state = vm_state(vm)};
    events_emit(r->daemon->events, API_EVENT_VM_CREATED, &source, 0, &event);
    return vm;
}

bool registry_check_config(struct vm_config *config, GError **err)
{
    return codec_check(&vm_config_type, config, "config", err) && check_machine(config, err) &&
           settle(config, err);
}

bool registry_configure(struct registry *r, struct vm *vm, struct vm_config *config, GError **err)
{
    g_autofree char *was = g_strdup(vm_name(vm));
    bool renamed = strcmp(was, config->name) != 0;

    if (renamed && vm_active(vm)) {
        vmd_fail(err, VMD_ERROR_STATE, "VM %s is %s: it keeps its name until its run ends", was,
                 vm_state_to_string(vm_state(vm)));
    } else if ((!renamed || check_name(r, config->name, err)) &&
               registry_check_config(config, err) && vm_configure(vm, config, err)) {
        if (renamed) {
            g_hash_table_remove(r->by_name, was);
            g_hash_table_insert(r->by_name, g_strdup(vm_name(vm)), vm);
        }
        return true;
    }
    vm_config_free(config);
    return false;
}
