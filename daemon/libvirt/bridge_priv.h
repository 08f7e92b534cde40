/*
 * daemon/libvirt/bridge_priv.h: what the files of the bridge share: clients, handlers by procedure,
 * and how a VM is a domain.
 *
 * A handler answers its request once, now or later. What it keeps over a call of a method is the
 * request alone: the client may be gone by the answer, and its VM too.
 */
#ifndef DAEMON_LIBVIRT_BRIDGE_PRIV_H
#define DAEMON_LIBVIRT_BRIDGE_PRIV_H

#include "daemon/libvirt/bridge.h"
#include "daemon/libvirt/forward.h"
#include "daemon/registry.h"
#include "proto/jsonrpc/local.h"
#include "proto/libvirt/server.h"
#include "proto/libvirt/xml/xml.h"

/* The answer to a question for all domains, and the latest event before it. */
struct bridge_list_cache {
    uint64_t event;
    uint32_t flags;
    int32_t need_results;
    GByteArray *written; /* NULL: none yet */
};

struct bridge {
    struct daemon *daemon;
    struct libvirt_server *server; /* NULL: it has ended */
    struct bridge_list_cache list; /* lists.c's */
    struct polkit *polkit; /* NULL: the system has none, or this is a user's own daemon */
    struct forward *forward; /* NULL: nothing is passed on */
    struct pools *pools;
    GPtrArray *clients; /* struct client, borrowed */
    GQueue works; /* volumes.c's, under way */
    GQueue consoles;        /* console.c's, whose streams have not ended */
    struct xml_options xml; /* how clients' XML is read */
    void (*done)(void *arg);
    void *done_arg;
};

/* One connection of libvirt's. */
struct client {
    struct bridge *bridge;
    struct libvirt_conn *conn;
    struct rpc_conn *rpc; /* the same client at the JSON-RPC server */
    bool locked;          /* it has yet to show who it is */
    struct asking *asking; /* auth.c's; NULL: nobody is asked */
    struct forwarded *forwarded; /* forward.c's; NULL: nothing was passed on yet */
    bool open;            /* it has named a URI */
    char *uri;
    GPtrArray *callbacks; /* that it has registered for events; events.c's */
    int32_t last_callback;
    bool subscribed; /* to the daemon's events */
};

/* Handles REQUEST of C, whose arguments are ARGS. */
typedef void (*bridge_handler)(struct client *c, struct libvirt_request *request, const void *args);

/* A row of a table of handlers. */
struct bridge_row {
    int32_t procedure;
    bridge_handler handler;
};
extern const struct bridge_row bridge_auth_rows[], bridge_connect_rows[], bridge_domain_rows[], bridge_list_rows[],
    bridge_life_rows[], bridge_define_rows[], bridge_console_rows[], bridge_event_rows[],
    bridge_device_rows[], bridge_stats_rows[], bridge_host_rows[], bridge_counter_rows[],
    bridge_node_rows[], bridge_network_rows[], bridge_snapshot_rows[], bridge_vcpu_rows[],
    bridge_pool_rows[], bridge_volume_rows[], bridge_transfer_rows[], bridge_tuning_rows[],
    bridge_peek_rows[];
extern const size_t bridge_auth_count, bridge_connect_count, bridge_domain_count, bridge_list_count, bridge_life_count,
    bridge_define_count, bridge_console_count, bridge_event_count, bridge_device_count,
    bridge_stats_count, bridge_host_count, bridge_counter_count, bridge_node_count,
    bridge_network_count, bridge_snapshot_count, bridge_vcpu_count, bridge_pool_count,
    bridge_volume_count, bridge_transfer_count, bridge_tuning_count,
    bridge_peek_count;

/* --- who a client is --- */

/* C has connected, and is joined to the daemon's server. */
void bridge__auth_begin(struct client *c);
/* Whether C may call what REQUEST does; else it was answered with an error. */
bool bridge__auth_passed(struct client *c, struct libvirt_request *request);
/* C has left. */
void bridge__auth_end(struct client *c);

/* --- domains --- */

/* The VM that DOM names by its UUID; NULL, and REQUEST was answered with an error. */
struct vm *bridge_need(struct client *c, struct libvirt_request *request,
                       const struct libvirt_dom *dom);
/* The VM of REF, a name or an id, likewise. */
struct vm *bridge_need_ref(struct client *c, struct libvirt_request *request, const char *ref);
/* The bytes of the UUID TEXT. */
void bridge_uuid(const char *text, uint8_t out[16]);
char *bridge_uuid_text(const uint8_t uuid[16]);
/* The VMs that the protocol's list flags ask for; the caller frees the array. */
GPtrArray *bridge_list(struct client *c, uint32_t flags);
/* VM's configuration, where it runs with the devices that it has now; the caller frees. */
struct vm_config *bridge_live_config(const struct vm *vm);
/* The disk of CONFIG that NAME, a target or a file, means; NULL, and REQUEST was answered with an error. */
const struct vm_disk_config *bridge_find_disk(struct libvirt_request *request,
                                              const struct vm_config *config, const char *name);
/* VM's domain. The name is borrowed. */
void bridge_fill(const struct vm *vm, struct libvirt_dom *out);
/* The number of a VM that runs: its process; -1 where it does not run, or not yet. */
int32_t bridge_number(const struct vm *vm);
/* State and reason of VM, as the protocol numbers them. */
struct libvirt_state bridge_state(const struct vm *vm);
/* The bits of the protocol's list flags that are true of VM. */
uint32_t bridge_list_bits(const struct vm *vm);

/* --- storage: each answers REQUEST with an error where it says no --- */

struct pool;

/* Whether the client may do all. */
bool bridge_need_admin(struct client *c, struct libvirt_request *request);
struct pool *bridge_need_pool(struct client *c, struct libvirt_request *request,
                              const struct libvirt_named *named);
/* The path of a volume; the caller frees. */
char *bridge_need_volume(struct client *c, struct libvirt_request *request,
                         const struct libvirt_vol *vol);
/* How C's XML is read: volumes of vmd's pools, and what the daemon was told of screens. */
const struct xml_options *bridge_xml_options(const struct client *c);
/* Its volume(), of which BRIDGE is the user. */
char *bridge__volume_path(void *bridge, const char *pool, const char *volume, GError **err);
void bridge_fail_storage(struct libvirt_request *request, const GError *err);

/* Has what threads do end soon. Each that has ended calls bridge__work_over(). */
void bridge__stop_works(struct bridge *b);
void bridge__work_over(struct bridge *b);

/* What is kept of VM, of KIND and, where that is an element, of the namespace URI, is another: tells all that want to know. */
void bridge_tell_metadata(struct bridge *b, struct vm *vm, int32_t kind, const char *uri);

/* The daemon's notification of an event, for C. */
void bridge_event(struct client *c, struct json_object *params);

/* --- changes: of the run, then of the definition (devices.c) --- */

enum { BRIDGE_LIVE = 1 << 0, BRIDGE_CONFIG = 1 << 1 };

/* What a definition is to say; what is 0 or NULL is not asked for, but where the change is of that. */
struct bridge_wish {
    uint32_t cpus;
    uint64_t memory; /* bytes, whole pages */
    bool most;       /* these are the most that there can be */
    uint32_t vcpu;
    char *pin; /* the host's processors of that vCPU; NULL: all */
    uint32_t period_s;
};

struct change {
    struct client *c; /* valid while a call does not fail with GONE */
    struct libvirt_request *request;
    char *id;               /* the VM's */
    struct vm_config *next; /* NULL: the definition stays */
    /* Makes WISH true in the definition as it is when it is stored; NULL: NEXT is that. */
    bool (*apply)(struct vm_config *next, const struct bridge_wish *wish, GError **err);
    struct bridge_wish wish;
    struct device_spec *added;
    char *removed; /* a device */
};

/* LIVE and CONFIG as FLAGS mean them for VM; 0, and REQUEST was answered with an error. */
uint32_t bridge_affected(struct libvirt_request *request, const struct vm *vm, uint32_t flags);
/* A change of what AFFECTS says; with CONFIG there, its NEXT is a copy of the definition. */
struct change *bridge_change_new(struct client *c, struct libvirt_request *request,
                                 const struct vm *vm, uint32_t affects);
void bridge_change_free(struct change *ch);
/* The run's part is done: the definition's is, and then the request is answered. */
void bridge_change_definition(struct change *ch);
/* A reply of rpc_local_call() for a change (ARG) of the run without results: likewise, or the error. */
void bridge_change_done(void *arg, const void *result, int fd, const GError *err);

/* All of the host's processors as a list; the caller frees. */
char *bridge_all_cpus(void);

/* --- answers --- */

/* Answers REQUEST with ERR, borrowed, of a method or of ours. */
void bridge_fail(struct libvirt_request *request, const GError *err);
/* The same for what is not about a domain. */
void bridge_fail_from(struct libvirt_request *request, const GError *err,
                      enum libvirt_domain domain);
/* The same where it is about XML that the client sent. */
void bridge_fail_xml(struct libvirt_request *request, const GError *err);
/* Answers with VM's domain. */
void bridge_reply_dom(struct libvirt_request *request, const struct vm *vm);
/* Whether FLAGS has none but ALLOWED; else REQUEST was answered with an error. */
bool bridge_flags(struct libvirt_request *request, uint32_t flags, uint32_t allowed);
/* A reply of rpc_local_call() for a request (ARG) without results. */
void bridge_done(void *arg, const void *result, int fd, const GError *err);
/* vm.configure for C. CONFIG is borrowed. */
void bridge_configure(struct client *c, const struct vm *vm, struct vm_config *config,
                      rpc_client_reply reply, void *arg);
/* Calls METHOD with PARAMS for C, and answers REQUEST when that is answered. */
void bridge_call(struct client *c, struct libvirt_request *request, enum api_method method,
                 const void *params);

#endif
