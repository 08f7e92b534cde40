/* Libvirt's calls at a daemon that has two VMs: results as golden bytes, lists by flags, refusals.
 */
#include "daemon/accels.h"
#include "daemon/hostdevs.h"
#include "daemon/libvirt/bridge.h"
#include "daemon/methods.h"
#include "daemon/registry.h"
#include "daemon/warm.h"
#include "proto/jsonrpc/local.h"
#include "tests/unit/libvirt_rig.h"

#include <glib/gstdio.h>
#include <sys/un.h>

static struct rig {
    uv_loop_t loop;
    struct daemon daemon;
    struct bridge *bridge;
    char *dir;
    struct vm *alpha;
    uint8_t uuid[16]; /* alpha's */
    int fd;
    int console; /* the VM's end of the console that was opened last; -1: none */
    bool done;
} rig;

void __real_rpc_local_call(struct rpc_conn *conn, size_t method, const void *params,
                           rpc_client_reply reply, void *arg);
void __wrap_rpc_local_call(struct rpc_conn *conn, size_t method, const void *params,
                           rpc_client_reply reply, void *arg);

/* A console needs no VM that runs: the test has the other end, of which little goes ahead. */
void __wrap_rpc_local_call(struct rpc_conn *conn, size_t method, const void *params,
                           rpc_client_reply reply, void *arg)
{
    int ends[2], bytes = 4096;

    if (method != API_CONSOLE_ATTACH) {
        __real_rpc_local_call(conn, method, params, reply, arg);
        return;
    }
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    ck_assert_int_eq(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    ck_assert_int_eq(rig.console, -1);
    rig.console = ends[1];
    reply(arg, NULL, ends[0], NULL);
}

static struct vm *define(const char *name, bool ephemeral)
{
    struct vm_config *config = vm_config_new();
    g_autoptr(GError) err = NULL;

    config->name = g_strdup(name);
    config->arch = VM_ARCH_RISCV64;
    config->cpus = 2;
    config->memory = 64 << 20;
    config->has_max_memory = true;
    config->max_memory = 128 << 20;
    config->ephemeral = ephemeral;
    config->kernel = g_build_filename(rig.dir, "kernel", NULL);
    struct vm *vm = registry_create(rig.daemon.registry, NULL, config, geteuid(), &err);
    ck_assert_msg(vm != NULL, "%s", err ? err->message : "");
    return vm;
}

static int join(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", rig.dir, name);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void send_call(int32_t procedure, const struct libvirt_layout *layout, const void *args)
{
    g_autoptr(GByteArray) out = g_byte_array_new();

    rig_call(out, procedure, 1, layout, args);
    rig_send(&rig.loop, rig.fd, out->data, out->len);
}

/* The payload of a good answer to a call. */
static GByteArray *ask(int32_t procedure, const struct libvirt_layout *layout, const void *args)
{
    struct libvirt_head head;

    send_call(procedure, layout, args);
    GByteArray *got = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_ptr_nonnull(got);
    ck_assert_int_eq(head.procedure, procedure);
    ck_assert_msg(head.status == 0, "call %d was refused", procedure);
    return got;
}

static void open_as(const char *uri, uint32_t flags)
{
    struct libvirt_open a = {.name = (char *)uri, .flags = flags};
    g_autoptr(GByteArray) got = ask(LIBVIRT_CONNECT_OPEN, &libvirt_open_layout, &a);

    ck_assert_uint_eq(got->len, 0);
}

static void setup_daemon(void)
{
    struct daemon *d = &rig.daemon;
    g_autofree char *store = g_build_filename(rig.dir, "store", NULL);
    g_autofree char *kernel = g_build_filename(rig.dir, "kernel", NULL);
    g_autofree char *socket = g_build_filename(rig.dir, "vmd.sock", NULL);

    ck_assert(g_file_set_contents(kernel, "kernel", -1, NULL));
    d->loop = &rig.loop;
    ck_assert(paths_init(&d->paths, false, store, rig.dir, socket, NULL));
    d->events = events_open(d->paths.store, NULL);
    d->jobs = jobs_open(d->paths.store, d->loop, d->events, NULL);
    d->warm = warm_lists_new(d->loop, d->paths.store);
    d->accels = accels_new(d->loop, d->paths.vm_program);
    d->registry = registry_open(d, NULL);
    d->hostdevs = hostdevs_open(d);
    d->server = methods_server(d);
}

static void setup(void)
{
    rig = (struct rig){.fd = -1, .console = -1, .dir = g_dir_make_tmp("vmd-libvirt-XXXXXX", NULL)};
    uv_loop_init(&rig.loop);
    setup_daemon();
    rig.alpha = define("alpha", false);
    define("beta", true);
    for (int i = 0, at = 0; i < 16; i++, at += 2) {
        at += vm_id(rig.alpha)[at] == '-';
        rig.uuid[i] = (uint8_t)(g_ascii_xdigit_value(vm_id(rig.alpha)[at]) << 4 |
                                g_ascii_xdigit_value(vm_id(rig.alpha)[at + 1]));
    }
    g_autofree char *looked = g_build_filename(rig.dir, "libvirt", NULL);
    rig.bridge = bridge_open(&rig.daemon, &(struct bridge_options){.dir = looked}, NULL);
    ck_assert_ptr_nonnull(rig.bridge);
    rig.fd = join("libvirt-sock");
}

static void bridge_closed(void *arg)
{
    rig.done = true;
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        remove_tree(inner);
    }
    g_remove(path);
}

static void teardown(void)
{
    close(rig.fd);
    bridge_close(rig.bridge, bridge_closed, NULL);
    for (int64_t until = rig_patience(); !rig.done;)
        rig_turn(&rig.loop, until);
    ck_assert_uint_eq(rpc_server_clients(rig.daemon.server), 0);
    rpc_server_close(rig.daemon.server, NULL, NULL);
    registry_free(rig.daemon.registry);
    hostdevs_free(rig.daemon.hostdevs);
    accels_free(rig.daemon.accels);
    warm_lists_free(rig.daemon.warm);
    jobs_free(rig.daemon.jobs);
    events_free(rig.daemon.events);
    paths_clear(&rig.daemon.paths);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    remove_tree(rig.dir);
    g_free(rig.dir);
}

static struct libvirt_flagged_dom alpha_dom(uint32_t flags)
{
    struct libvirt_flagged_dom a = {.dom = {.name = (char *)"any", .id = 77}, .flags = flags};

    memcpy(a.dom.uuid, rig.uuid, sizeof(rig.uuid));
    return a;
}

/* Calls whose result does not depend on the VM's id, on alpha where they take a domain. */
static const struct golden {
    const char *name;
    int32_t procedure;
    enum { NONE, DOM, FLAGGED } args;
    size_t length;
    uint8_t wire[64];
} goldens[] = {
    {"authentication: none", LIBVIRT_AUTH_LIST, NONE, 8, {0, 0, 0, 1, 0, 0, 0, 0}},
    {"type", LIBVIRT_CONNECT_GET_TYPE, NONE, 8, {0, 0, 0, 3, 'v', 'm', 'd'}},
    {"uri",
     LIBVIRT_CONNECT_GET_URI,
     NONE,
     20,
     {0, 0, 0, 14, 'v', 'm', 'd', ':', '/', '/', '/', 's', 'e', 's', 's', 'i', 'o', 'n'}},
    {"the protocol's release",
     LIBVIRT_CONNECT_GET_LIB_VERSION,
     NONE,
     8,
     {0, 0, 0, 0, 0, 0x89, 0x54, 0x40}},
    {"secure", LIBVIRT_CONNECT_IS_SECURE, NONE, 4, {0, 0, 0, 1}},
    {"no security model", LIBVIRT_NODE_GET_SECURITY_MODEL, NONE, 8, {0}},
    {"a close callback", LIBVIRT_CONNECT_REGISTER_CLOSE_CALLBACK, NONE, 0, {0}},
    {"state", LIBVIRT_DOMAIN_GET_STATE, FLAGGED, 8, {0, 0, 0, 5, 0, 0, 0, 0}},
    {"info", LIBVIRT_DOMAIN_GET_INFO, DOM, 32, {0, 0, 0, 5, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
                                                0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0}},
    {"most memory", LIBVIRT_DOMAIN_GET_MAX_MEMORY, DOM, 8, {0, 0, 0, 0, 0, 2, 0, 0}},
    {"most processors", LIBVIRT_DOMAIN_GET_MAX_VCPUS, DOM, 4, {0, 0, 0, 2}},
    {"kind of guest", LIBVIRT_DOMAIN_GET_OS_TYPE, DOM, 8, {0, 0, 0, 3, 'h', 'v', 'm'}},
    {"inactive", LIBVIRT_DOMAIN_IS_ACTIVE, DOM, 4, {0, 0, 0, 0}},
    {"persistent", LIBVIRT_DOMAIN_IS_PERSISTENT, DOM, 4, {0, 0, 0, 1}},
    {"not updated", LIBVIRT_DOMAIN_IS_UPDATED, DOM, 4, {0, 0, 0, 0}},
    {"no image", LIBVIRT_DOMAIN_HAS_MANAGED_SAVE_IMAGE, FLAGGED, 4, {0, 0, 0, 0}},
    {"no labels", LIBVIRT_DOMAIN_GET_SECURITY_LABEL_LIST, DOM, 8, {0}},
    {"processors", LIBVIRT_DOMAIN_GET_VCPUS_FLAGS, FLAGGED, 4, {0, 0, 0, 2}},
    {"no autostart", LIBVIRT_DOMAIN_GET_AUTOSTART, DOM, 4, {0, 0, 0, 0}},
    {"domains that run", LIBVIRT_CONNECT_NUM_OF_DOMAINS, NONE, 4, {0, 0, 0, 0}},
    {"domains that do not", LIBVIRT_CONNECT_NUM_OF_DEFINED_DOMAINS, NONE, 4, {0, 0, 0, 2}},
};

START_TEST(golden)
{
    const struct golden *c = &goldens[_i];
    struct libvirt_flagged_dom a = alpha_dom(0);
    const struct libvirt_layout *const layouts[] = {NULL, &libvirt_one_dom_layout,
                                                    &libvirt_flagged_dom_layout};

    open_as("vmd:///session", 0);
    g_autoptr(GByteArray) got = ask(c->procedure, layouts[c->args], &a);
    ck_assert_msg(got->len == c->length, "%s: %u bytes", c->name, got->len);
    ck_assert_msg(c->length == 0 || memcmp(got->data, c->wire, c->length) == 0, "%s", c->name);
}
END_TEST

/* Which features there are. */
START_TEST(features)
{
    static const int32_t there[] = {2, 9, 10, 14, 15}, not_there[] = {0, 1, 4, 6, 8, 13, 16, 99};

    for (size_t i = 0; i < G_N_ELEMENTS(there) + G_N_ELEMENTS(not_there); i++) {
        bool yes = i < G_N_ELEMENTS(there);
        struct libvirt_number a = {yes ? there[i] : not_there[i - G_N_ELEMENTS(there)]};
        g_autoptr(GByteArray) got =
            ask(LIBVIRT_CONNECT_SUPPORTS_FEATURE, &libvirt_number_layout, &a);
        ck_assert_msg(got->data[3] == yes, "feature %d", a.value);
    }
}
END_TEST

static const struct {
    const char *uri;  /* NULL: none named */
    const char *type; /* NULL: refused */
} uris[] = {
    {"vmd:///system", "vmd"},
    {"vmd:///session", "vmd"},
    {"qemu:///system", "QEMU"},
    {"qemu:///session", "QEMU"},
    {NULL, "vmd"},
    {"", "vmd"},
    {"xen:///system", NULL},
    {"vmd:///other", NULL},
    {"test:///default", NULL},
};

START_TEST(opened_names)
{
    struct libvirt_open a = {.name = (char *)uris[_i].uri};
    struct libvirt_text text;

    if (!uris[_i].type) {
        send_call(LIBVIRT_CONNECT_OPEN, &libvirt_open_layout, &a);
        rig_error(&rig.loop, rig.fd, 5, uris[_i].uri);
        send_call(LIBVIRT_CONNECT_GET_TYPE, NULL, NULL);
        rig_error(&rig.loop, rig.fd, 1, "before a connection was opened");
        return;
    }
    open_as(uris[_i].uri, 6); /* as of a user's own daemon, which might have to be started */
    g_autoptr(GByteArray) got = ask(LIBVIRT_CONNECT_GET_TYPE, NULL, NULL);
    ck_assert_int_eq(libvirt_read(&libvirt_text_layout, got->data, got->len, &text), 0);
    ck_assert_str_eq(text.value, uris[_i].type);
    libvirt_clear(&libvirt_text_layout, &text);
}
END_TEST

static const struct {
    uint32_t flags;
    const char *names; /* by name */
} lists[] = {
    {0, "alpha beta"},  {1, ""},
    {2, "alpha beta"},  {1 | 2, "alpha beta"},
    {4, "alpha"},       {8, "beta"},
    {2 | 8, "beta"},    {1 | 8, ""},
    {64, "alpha beta"}, {16 | 32 | 128, ""},
    {256, ""},          {512 | 2048 | 8192 | 32768, "alpha beta"},
    {1024, ""},
};

START_TEST(list_flags)
{
    struct libvirt_list_all a = {.need_results = 1, .flags = lists[_i].flags};
    g_autoptr(GString) names = g_string_new(NULL);
    struct libvirt_doms doms;

    open_as("vmd:///session", 0);
    g_autoptr(GByteArray) got = ask(LIBVIRT_CONNECT_LIST_ALL_DOMAINS, &libvirt_list_all_layout, &a);
    ck_assert_int_eq(libvirt_read(&libvirt_doms_layout, got->data, got->len, &doms), 0);
    for (uint32_t i = 0; i < doms.doms_count; i++) {
        g_string_append_printf(names, "%s%s", i ? " " : "", doms.doms[i].name);
        ck_assert_int_eq(doms.doms[i].id, -1);
    }
    ck_assert_msg(strcmp(names->str, lists[_i].names) == 0, "flags %u: %s", a.flags, names->str);
    ck_assert_uint_eq(doms.count, doms.doms_count);
    if (_i == 0)
        ck_assert_mem_eq(doms.doms[0].uuid, rig.uuid, 16);
    libvirt_clear(&libvirt_doms_layout, &doms);
    a.need_results = 0;
    g_autoptr(GByteArray) counted =
        ask(LIBVIRT_CONNECT_LIST_ALL_DOMAINS, &libvirt_list_all_layout, &a);
    ck_assert_uint_eq(counted->len, 8);
    ck_assert_uint_eq(counted->data[7], got->data[3]);
}
END_TEST

/* By name and by UUID it is the same domain. */
START_TEST(lookups)
{
    struct libvirt_text name = {.value = (char *)"alpha"};
    struct libvirt_uuid uuid;
    struct libvirt_number id = {-1};
    uint8_t want[32] = {0, 0, 0, 5, 'a', 'l', 'p', 'h', 'a'};

    open_as("vmd:///session", 0);
    memcpy(want + 12, rig.uuid, 16);
    memset(want + 28, 0xff, 4);
    memcpy(uuid.value, rig.uuid, 16);
    g_autoptr(GByteArray) by_name = ask(LIBVIRT_DOMAIN_LOOKUP_BY_NAME, &libvirt_text_layout, &name);
    g_autoptr(GByteArray) by_uuid = ask(LIBVIRT_DOMAIN_LOOKUP_BY_UUID, &libvirt_uuid_layout, &uuid);
    ck_assert_mem_eq(by_name->data, want, 32);
    ck_assert_mem_eq(by_uuid->data, want, 32);

    send_call(LIBVIRT_DOMAIN_LOOKUP_BY_ID, &libvirt_number_layout, &id);
    rig_error(&rig.loop, rig.fd, 42, "-1");
    name.value = (char *)"gamma";
    send_call(LIBVIRT_DOMAIN_LOOKUP_BY_NAME, &libvirt_text_layout, &name);
    rig_error(&rig.loop, rig.fd, 42, "gamma");
    uuid.value[0] ^= 1;
    send_call(LIBVIRT_DOMAIN_LOOKUP_BY_UUID, &libvirt_uuid_layout, &uuid);
    rig_error(&rig.loop, rig.fd, 42, "no domain");
}
END_TEST

/* Names of what does not run, at most as many as the client takes. */
START_TEST(name_lists)
{
    struct libvirt_number most = {1};
    static const uint8_t one[] = {0, 0, 0, 1, 0, 0, 0, 5, 'a', 'l', 'p', 'h', 'a', 0, 0, 0};

    open_as("vmd:///session", 0);
    g_autoptr(GByteArray) got =
        ask(LIBVIRT_CONNECT_LIST_DEFINED_DOMAINS, &libvirt_number_layout, &most);
    ck_assert_uint_eq(got->len, sizeof(one));
    ck_assert_mem_eq(got->data, one, sizeof(one));
    most.value = -1;
    g_autoptr(GByteArray) none =
        ask(LIBVIRT_CONNECT_LIST_DEFINED_DOMAINS, &libvirt_number_layout, &most);
    ck_assert_uint_eq(none->len, 4);
    most.value = 10;
    g_autoptr(GByteArray) ids = ask(LIBVIRT_CONNECT_LIST_DOMAINS, &libvirt_number_layout, &most);
    ck_assert_uint_eq(ids->len, 4);
}
END_TEST

/* What the state, the flags or the rights do not allow. */
static const struct {
    const char *name;
    int32_t procedure;
    uint32_t flags;
    int32_t code;
    const char *text;
} refusals[] = {
    {"not running", LIBVIRT_DOMAIN_DESTROY_FLAGS, 1, 55, "is not running"},
    {"unknown flag of destroy", LIBVIRT_DOMAIN_DESTROY_FLAGS, 2, 8, "0x2"},
    {"not running", LIBVIRT_DOMAIN_SHUTDOWN_FLAGS, 0, 55, "is not running"},
    {"by an agent", LIBVIRT_DOMAIN_SHUTDOWN_FLAGS, 2, 8, "0x2"},
    {"not running", LIBVIRT_DOMAIN_REBOOT, 0, 55, "is not running"},
    {"not running", LIBVIRT_DOMAIN_RESET, 0, 55, "defined"},
    {"unknown flag of reset", LIBVIRT_DOMAIN_RESET, 1, 8, "0x1"},
    {"destroyed with the connection", LIBVIRT_DOMAIN_CREATE_WITH_FLAGS, 2, 8, "0x2"},
    {"processors of a run", LIBVIRT_DOMAIN_GET_VCPUS_FLAGS, 1, 55, "not running"},
    {"unknown flag of processors", LIBVIRT_DOMAIN_GET_VCPUS_FLAGS, 16, 8, "0x10"},
    {"unknown flag of undefine", LIBVIRT_DOMAIN_UNDEFINE_FLAGS, 64, 8, "0x40"},
};

START_TEST(refused)
{
    struct libvirt_flagged_dom a = alpha_dom(refusals[_i].flags);

    open_as("vmd:///session", 0);
    send_call(refusals[_i].procedure, &libvirt_flagged_dom_layout, &a);
    rig_error(&rig.loop, rig.fd, refusals[_i].code, refusals[_i].text);
}
END_TEST

/* Who has registered hears of all domains, or of one, until it deregisters. */
START_TEST(events)
{
    static const uint8_t undefined[] = {0, 0, 0, 1, 0, 0, 0, 0};
    struct libvirt_dom only = {.name = (char *)"alpha", .id = -1};
    struct libvirt_register_event all = {.event = 0},
                                  one = {.event = 0, .dom_count = 1, .dom = &only};
    struct libvirt_number first = {1}, unknown = {9};
    struct libvirt_lifecycle_event got;
    struct libvirt_head head;

    open_as("vmd:///session", 0);
    memcpy(only.uuid, rig.uuid, sizeof(rig.uuid));
    g_autoptr(GByteArray) id1 = ask(LIBVIRT_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
                                    &libvirt_register_event_layout, &all);
    g_autoptr(GByteArray) id2 = ask(LIBVIRT_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
                                    &libvirt_register_event_layout, &one);
    ck_assert_uint_eq(id1->data[3], 1);
    ck_assert_uint_eq(id2->data[3], 2);
    struct vm *gamma = define("gamma", false);
    g_autoptr(GByteArray) defined = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_int_eq(head.procedure, 318);
    ck_assert_int_eq(head.type, 2);
    ck_assert_int_eq(
        libvirt_read(&libvirt_lifecycle_event_layout, defined->data, defined->len, &got), 0);
    ck_assert_str_eq(got.dom.name, "gamma");
    ck_assert_int_eq(got.callback, 1);
    ck_assert_int_eq(got.event, 0);
    libvirt_clear(&libvirt_lifecycle_event_layout, &got);

    g_autoptr(GByteArray) gone =
        ask(LIBVIRT_CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY, &libvirt_number_layout, &first);
    send_call(LIBVIRT_CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY, &libvirt_number_layout,
              &unknown);
    rig_error(&rig.loop, rig.fd, 8, "no callback 9");
    registry_drop(rig.daemon.registry, gamma);
    registry_drop(rig.daemon.registry, rig.alpha);
    g_autoptr(GByteArray) last = rig_frame(&rig.loop, rig.fd, &head);
    ck_assert_mem_eq(last->data, ((uint8_t[]){0, 0, 0, 2}), 4);
    ck_assert_mem_eq(last->data + last->len - 8, undefined, 8);
    ck_assert_mem_eq(last->data + 4, ((uint8_t[]){0, 0, 0, 5, 'a', 'l', 'p', 'h', 'a'}), 9);
}
END_TEST

/* The list is the present one, also when it was asked for before. */
START_TEST(list_is_fresh)
{
    struct libvirt_list_all a = {.need_results = 0};

    open_as("vmd:///session", 0);
    for (int n = 2; n < 5; n++) {
        g_autofree char *name = g_strdup_printf("more%d", n);
        for (int again = 0; again < 2; again++) {
            g_autoptr(GByteArray) got =
                ask(LIBVIRT_CONNECT_LIST_ALL_DOMAINS, &libvirt_list_all_layout, &a);
            ck_assert_int_eq(got->data[7], n);
        }
        define(name, false);
    }
}
END_TEST

/* XML of what is there, and a definition by it. */
START_TEST(xml)
{
    struct libvirt_flagged_dom a = alpha_dom(0);
    struct libvirt_text text;
    uint8_t want[32] = {0, 0, 0, 5, 'a', 'l', 'p', 'h', 'a'};

    open_as("vmd:///session", 0);
    g_autoptr(GByteArray) got = ask(LIBVIRT_DOMAIN_GET_XML_DESC, &libvirt_flagged_dom_layout, &a);
    ck_assert_int_eq(libvirt_read(&libvirt_text_layout, got->data, got->len, &text), 0);
    ck_assert(strstr(text.value, vm_id(rig.alpha)) != NULL);
    g_autoptr(GByteArray) again = ask(LIBVIRT_DOMAIN_DEFINE_XML, &libvirt_text_layout, &text);
    memcpy(want + 12, rig.uuid, 16);
    memset(want + 28, 0xff, 4);
    ck_assert_uint_eq(again->len, sizeof(want));
    ck_assert_mem_eq(again->data, want, sizeof(want));
    libvirt_clear(&libvirt_text_layout, &text);
    text.value = (char *)"<domain type='kvm'><name>alpha</name></domain>";
    send_call(LIBVIRT_DOMAIN_DEFINE_XML, &libvirt_text_layout, &text);
    rig_error(&rig.loop, rig.fd, 9, "exists already");
    text.value = (char *)"<domain type='kvm'><name>new</name>";
    send_call(LIBVIRT_DOMAIN_CREATE_XML, &libvirt_text_layout, &text);
    rig_error(&rig.loop, rig.fd, 39, "malformed");
    send_call(LIBVIRT_DOMAIN_DEFINE_XML, &libvirt_text_layout, &text);
    rig_error(&rig.loop, rig.fd, 27, "XML");
}
END_TEST

START_TEST(undefine)
{
    struct libvirt_flagged_dom a = alpha_dom(0x1f);

    open_as("qemu:///session", 1);
    send_call(LIBVIRT_DOMAIN_UNDEFINE_FLAGS, &libvirt_flagged_dom_layout, &a);
    rig_error(&rig.loop, rig.fd, 29, "read only");
    close(rig.fd);
    rig.fd = join("libvirt/virtvmdd-sock-ro");
    open_as("vmd:///session", 0);
    send_call(LIBVIRT_DOMAIN_UNDEFINE_FLAGS, &libvirt_flagged_dom_layout, &a);
    rig_error(&rig.loop, rig.fd, 29, "read only");
    close(rig.fd);
    rig.fd = join("libvirt/virtvmdd-sock");
    open_as("vmd:///session", 0);
    g_autoptr(GByteArray) gone =
        ask(LIBVIRT_DOMAIN_UNDEFINE_FLAGS, &libvirt_flagged_dom_layout, &a);
    ck_assert_uint_eq(gone->len, 0);
    ck_assert_ptr_null(registry_find(rig.daemon.registry, "alpha"));
}
END_TEST

static void open_console(uint32_t flags)
{
    struct libvirt_open_console a = {.dom = alpha_dom(0).dom, .flags = flags};
    g_autoptr(GByteArray) got = ask(LIBVIRT_DOMAIN_OPEN_CONSOLE, &libvirt_open_console_layout, &a);

    ck_assert_uint_eq(got->len, 0);
    ck_assert_int_ge(rig.console, 0);
}

/* The client says LEN bytes there. */
static void say(size_t len)
{
    struct libvirt_head head = {.program = RIG_REMOTE,
                                .version = 1,
                                .procedure = LIBVIRT_DOMAIN_OPEN_CONSOLE,
                                .type = LIBVIRT_STREAM,
                                .serial = 1,
                                .status = LIBVIRT_CONTINUE};
    g_autoptr(GByteArray) out = g_byte_array_new();

    libvirt_frame_begin(out, &head);
    g_byte_array_set_size(out, (guint)(out->len + len));
    memset(out->data + LIBVIRT_HEAD_BYTES, 'x', len);
    ck_assert_int_eq(libvirt_frame_end(out, 0), 0);
    rig_send(&rig.loop, rig.fd, out->data, out->len);
}

/* A client whose bytes the VM does not take waits, and no longer than it has the console. */
START_TEST(console_lost_with_input)
{
    struct libvirt_head head;
    uint8_t byte;

    open_as("vmd:///session", 0);
    open_console(0);
    for (int i = 0; i < 3; i++)
        say(40000);
    send_call(LIBVIRT_CONNECT_GET_TYPE, NULL, NULL);
    for (int i = 0; i < 100; i++)
        rig_turn(&rig.loop, rig_patience());
    ck_assert_int_eq(recv(rig.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);

    int first = rig.fd;
    close(rig.console); /* with what it has not read, as where another one comes by force */
    rig.console = -1;
    for (int i = 0; i < 100; i++)
        rig_turn(&rig.loop, rig_patience());
    rig.fd = join("libvirt-sock");
    open_as("vmd:///session", 0);
    open_console(1);

    g_autoptr(GByteArray) end = rig_frame(&rig.loop, first, &head);
    ck_assert_int_eq(head.type, LIBVIRT_STREAM);
    ck_assert_uint_eq(end->len, 0);
    g_autoptr(GByteArray) type = rig_frame(&rig.loop, first, &head);
    ck_assert_int_eq(head.procedure, LIBVIRT_CONNECT_GET_TYPE);
    ck_assert_int_eq(head.status, LIBVIRT_OK);
    ck_assert_uint_eq(type->len, 8);
    close(first);
    close(rig.console);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("libvirt_bridge");
    TCase *tc = tcase_create("rig");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, golden, 0, G_N_ELEMENTS(goldens));
    tcase_add_test(tc, features);
    tcase_add_loop_test(tc, opened_names, 0, G_N_ELEMENTS(uris));
    tcase_add_loop_test(tc, list_flags, 0, G_N_ELEMENTS(lists));
    tcase_add_test(tc, lookups);
    tcase_add_test(tc, name_lists);
    tcase_add_loop_test(tc, refused, 0, G_N_ELEMENTS(refusals));
    tcase_add_test(tc, events);
    tcase_add_test(tc, list_is_fresh);
    tcase_add_test(tc, xml);
    tcase_add_test(tc, undefine);
    tcase_add_test(tc, console_lost_with_input);
    suite_add_tcase(s, tc);
    return unit_run(s);
}
