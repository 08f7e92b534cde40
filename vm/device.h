/*
 * vm/device: one PCI device of a VM, or what stands for one: its frontend, what is behind it, and what can
 * be asked of it. Where it is and how it comes there is for vm/devices and vm/hotplug. Loop thread only.
 */
#ifndef VM_DEVICE_H
#define VM_DEVICE_H

#include "gpu/vfio/vfio.h"
#include "machine/block/block.h"
#include "machine/net/net.h"
#include "machine/virtio/console.h"
#include "machine/virtio/virtio.h"
#include "proto/schema/types.h"
#include "vm/console.h"
#include "vm/disk.h"
#include "vm/gpu.h"

/* What devices are made with, and whom they tell. */
struct device_env {
    struct virtio_env virtio;
    const char *vm_name; /* told by DHCP */
    unsigned cpus;
    const char *log_dir; /* of consoles */
    unsigned console_ms; /* how long clients of a console that goes may take to read the rest */
    disk_failed_fn disk_failed;
    void (*warning)(void *opaque, const char *text);
    struct gpu_ops gpu;
    void *opaque;
    struct gpu_ports *gpu_ports; /* another way to GPUs; NULL: there is none */
    struct vfio_container *host; /* of functions of the host; NULL: the VM may have none */
};

/* Files that somebody with more rights opened for a device. */
struct device_files {
    struct block_given disk;
    int tap; /* -1: none */
    struct vfio_files host; /* taken */
};

struct vm_device {
    char *id;
    const char *kind; /* "virtio-blk" */
    char *text;       /* for people */
    const struct device_env *env;
    struct virtio_device *frontend; /* NULL: what is behind it belongs to another's */
    struct virtio_pci *pci;         /* owns FRONTEND; NULL likewise */
    struct disk *disk;              /* NULL: it is none */
    struct net_backend *net;        /* of an interface without a frontend of its own; else NULL */
    struct console *console;        /* its own; NULL */
    bool has_mac;
    uint8_t mac[6];                 /* its address, on whatever network */
    struct gpu *gpu;                /* NULL: it is none */
    struct vfio_device *host;       /* NULL: it is none */
    struct device_spec *spec;       /* of one that came later; NULL */
    /* Where it is: vm/devices' and vm/hotplug's own. */
    enum device_road road;
    unsigned place; /* slot of the root bus, or a place of its road */
    bool shown;     /* the guest can find it */
    bool taken;     /* the guest has it: of one without a frontend of its own */
    bool held;      /* another's frontend has it still, or the guest does */
    bool removed;   /* the agent had the guest's kernel forget it, which has searched for none since */
    struct pull *pull;    /* a disk that is taken from the guest; NULL */
    struct road *carrier; /* it is what others come by, of this road: it stays; NULL */
    struct vm_device *guest; /* of a port of the road "link": the device whose backend it has; NULL */
    struct leaver *leaver; /* waits for that to end; NULL */
    struct slot *slot;
    struct question *question; /* what the guest's agent is asked on its behalf; NULL */
    struct hotplug *hotplug; /* who is told when its driver comes or goes; NULL: nobody */
    void (*closed)(void *opaque);
    void *closed_opaque;
};

/*
 * Each makes a device of its configuration, which is kept by reference, with a frontend where FRONTEND.
 * FILES may be NULL. NULL with ERR naming the device.
 */
struct vm_device *vm_device_disk(const struct device_env *env, const struct vm_disk_config *config,
                                 const struct device_files *files, bool frontend, GError **err);
struct vm_device *vm_device_nic(const struct device_env *env, const struct vm_nic_config *config,
                                const struct device_files *files, bool frontend, GError **err);
struct vm_device *vm_device_rng(const struct device_env *env, const char *id);
struct vm_device *vm_device_balloon(const struct device_env *env, const char *id);
/* With a console of its own, named ID, and N MORE ports, of which there may be none. */
struct vm_device *vm_device_console(const struct device_env *env, const char *id,
                                    const struct virtio_console_port *more, unsigned n,
                                    GError **err);
/* A GPU, without a worker yet. */
struct vm_device *vm_device_gpu(const struct device_env *env, const char *id,
                                const struct vm_gpu_config *config, GError **err);
/* A function of the host, to be ON_ROOT bus or behind a port. */
struct vm_device *vm_device_host(const struct device_env *env, const struct vm_host_config *config,
                                 struct device_files *files, bool on_root, GError **err);
/* Any other virtio device, whose FRONTEND is taken. */
struct vm_device *vm_device_of(const struct device_env *env, const char *id, const char *kind,
                               struct virtio_device *frontend);

/* What a SPEC with an id, which is taken, says. */
struct vm_device *vm_device_new(const struct device_env *env, struct device_spec *spec,
                                struct device_files *files, bool frontend, GError **err);

/* Its function, to put on a bus; NULL where what is behind it belongs to another's. */
struct pci_function *vm_device_function(const struct vm_device *device);

/* Takes MAC apart, whose form the schema has checked. */
void vm_device_mac(const char *text, uint8_t mac[6]);

/*
 * Closes what is behind the device, which is on no bus and with no other frontend, with disks flushed, and
 * frees it; then calls CLOSED (may be NULL), at once or later from the loop. Takes NULL.
 */
void vm_device_close(struct vm_device *device, void (*closed)(void *opaque), void *opaque);

#endif
