/*
 * vmd: the daemon. Arguments, signals, readiness, and the order in which its parts come and go.
 *
 * It stops by SIGTERM, SIGINT or system.shutdown, and VMs go on without it.
 */
#include "base/log.h"
#include "daemon/accels.h"
#include "daemon/gpu_share.h"
#include "daemon/gpus.h"
#include "daemon/confine.h"
#include "daemon/daemon.h"
#include "daemon/disks.h"
#include "daemon/ending.h"
#include "daemon/hostdevs.h"
#include "daemon/libvirt/bridge.h"
#include "daemon/methods.h"
#include "daemon/opener.h"
#include "daemon/registry.h"
#include "daemon/store.h"
#include "daemon/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>

enum {
    IDLE_MAX_S = 86400,
    END_MS = 10000, /* how long the daemon takes to end at most; clients have a part of it */
};

struct program {
    struct daemon daemon;
    uv_loop_t loop;
    uv_signal_t signals[2];
    uv_timer_t idle; /* with --idle */
    int64_t idle_s;
    uint64_t quiet_since; /* loop time in ms */
    struct ending ending;
    struct bridge *bridge; /* to libvirt's clients; NULL: none */
    char *keys_path; /* of remembered idempotency keys */
    int lock;
};

struct options {
    gboolean system, user, version, libvirt_alias, libvirt_headless;
    char *store, *runtime, *socket, *libvirt, *libvirt_forward;
    gint idle; /* seconds; 0: never */
    gint soft_gpus;
};

static bool parse(int *argc, char ***argv, struct options *o, GError **err)
{
    const GOptionEntry entries[] = {
        {"system", 0, 0, G_OPTION_ARG_NONE, &o->system, "Be the system's daemon", NULL},
        {"user", 0, 0, G_OPTION_ARG_NONE, &o->user, "Be the user's own daemon (default)", NULL},
        {"store", 0, 0, G_OPTION_ARG_FILENAME, &o->store, "Keep VMs in DIR", "DIR"},
        {"runtime", 0, 0, G_OPTION_ARG_FILENAME, &o->runtime, "Keep sockets in DIR", "DIR"},
        {"socket", 0, 0, G_OPTION_ARG_FILENAME, &o->socket, "Listen at PATH", "PATH"},
        {"libvirt", 0, 0, G_OPTION_ARG_FILENAME, &o->libvirt,
         "Serve libvirt's clients in DIR, their own run directory by default; \"off\": nowhere",
         "DIR"},
        {"libvirt-alias", 0, 0, G_OPTION_ARG_NONE, &o->libvirt_alias,
         "Be there in the place of libvirt's virtqemud too", NULL},
        {"libvirt-headless", 0, 0, G_OPTION_ARG_NONE, &o->libvirt_headless,
         "Drop the screens of domain XML, which are refused otherwise", NULL},
        {"libvirt-forward", 0, 0, G_OPTION_ARG_STRING, &o->libvirt_forward,
         "Pass calls about storage, network, nodedev, interface, secret or nwfilter on to libvirtd",
         "WHAT[=SOCKET],..."},
        {"idle", 0, 0, G_OPTION_ARG_INT, &o->idle,
         "End after SECONDS without clients and running VMs", "SECONDS"},
        {"soft-gpus", 0, 0, G_OPTION_ARG_INT, &o->soft_gpus, "Have NUMBER software GPUs (1)",
         "NUMBER"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &o->version, "Print the version and exit", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);

    g_option_context_set_summary(context, "The virtual machine daemon; see vmd(8).");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, err))
        return false;
    if (*argc > 1)
        return vmd_fail(err, VMD_ERROR_INVALID, "unexpected argument '%s'", (*argv)[1]);
    if (o->idle < 0 || o->idle > IDLE_MAX_S)
        return vmd_fail(err, VMD_ERROR_INVALID, "--idle takes 0 to %d seconds", IDLE_MAX_S);
    if (o->soft_gpus < 1 || o->soft_gpus > LIMIT_SOFT_GPUS)
        return vmd_fail(err, VMD_ERROR_INVALID, "--soft-gpus takes 1 to %d devices",
                        LIMIT_SOFT_GPUS);
    if (o->system && o->user)
        return vmd_fail(err, VMD_ERROR_INVALID, "--system and --user exclude each other");
    return true;
}

static void options_clear(struct options *o)
{
    g_free(o->store);
    g_free(o->runtime);
    g_free(o->socket);
    g_free(o->libvirt);
    g_free(o->libvirt_forward);
}

/* --- idempotency keys ------------------------------------------------------------------------- */

static void keys_changed(void *user)
{
    struct program *p = container_of((struct daemon *)user, struct program, daemon);
    g_autoptr(GError) err = NULL;

    if (!p->daemon.server)
        return; /* what ends with the daemon is not remembered */
    struct json_object *keys = rpc_server_keys_save(p->daemon.server);
    if (!store_write(p->keys_path, keys, false, &err))
        log_error("%s", err->message);
    json_object_put(keys);
}

static void keys_load(struct program *p)
{
    struct json_object *keys = NULL;
    g_autoptr(GError) err = NULL;

    if (!store_read(p->keys_path, &keys, &err) ||
        (keys && !rpc_server_keys_load(p->daemon.server, keys, &err)))
        log_warning("remembered answers are forgotten: %s", err->message);
    json_object_put(keys);
    rpc_server_keys_watch(p->daemon.server, keys_changed);
}

/* --- coming ----------------------------------------------------------------------------------- */

/* Sockets that the service manager holds, or our own. */
static bool listen_all(struct program *p, GError **err)
{
    struct daemon *d = &p->daemon;
    char **names = NULL;
    int n = sd_listen_fds_with_names(0, &names);
    int own = 0;
    bool ok = true;

    for (int i = 0; i < n; i++) {
        if (ok && !g_str_has_prefix(names[i], "libvirt")) {
            ok = rpc_server_listen_fd(d->server, SD_LISTEN_FDS_START + i, err);
            own++;
        }
        free(names[i]);
    }
    free(names);
    if (!ok || own > 0)
        return ok;
    return rpc_server_listen(d->server, d->paths.socket, 0600, err) &&
           (!d->paths.system || paths_share_socket(d->paths.socket, err));
}

/* Sockets of libvirt's, where they are not "off". */
static bool listen_libvirt(struct program *p, const struct options *o, GError **err)
{
    struct daemon *d = &p->daemon;
    struct bridge_options b = {.dir = o->libvirt ? o->libvirt : d->paths.libvirt,
                               .alias = o->libvirt_alias,
                               .headless = o->libvirt_headless,
                               .forward = o->libvirt_forward};

    if (strcmp(b.dir, "off") != 0)
        p->bridge = bridge_open(d, &b, err);
    sd_listen_fds(1); /* no child is to take them for its own */
    return !*err;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool open_all(struct program *p, const struct options *o, GError **err)
{
    struct daemon *d = &p->daemon;

    d->loop = &p->loop;
    d->started_ns = clock_ns(CLOCK_REALTIME);
    d->started_monotonic_ns = clock_ns(CLOCK_MONOTONIC);
    p->keys_path = g_build_filename(d->paths.store, "keys.json", NULL);
    p->lock = store_lock(d->paths.store, err);
    if (p->lock < 0)
        return false;
    d->events = events_open(d->paths.store, err);
    if (!d->events)
        return false;
    d->jobs = jobs_open(d->paths.store, d->loop, d->events, err);
    d->warm = warm_lists_new(d->loop, d->paths.store);
    d->disks = disks_new(d->loop);
    d->accels = accels_new(d->loop, d->paths.vm_program);
    d->soft_gpus = (unsigned)o->soft_gpus;
    d->gpus = gpus_new(d);
    d->gpu_shares = gpu_shares_new(d->loop);
    d->openers = openers_new(d);
    d->registry = d->jobs ? registry_open(d, err) : NULL;
    if (!d->registry)
        return false;
    d->hostdevs = hostdevs_open(d);
    d->server = methods_server(d);
    keys_load(p);
    return listen_all(p, err) && listen_libvirt(p, o, err);
}

/* --- going ------------------------------------------------------------------------------------ */

static void close_all(struct program *p)
{
    gpus_free(p->daemon.gpus); /* its answers name VMs and devices */
    registry_free(p->daemon.registry);
    gpu_shares_free(p->daemon.gpu_shares);
    openers_free(p->daemon.openers);
    hostdevs_free(p->daemon.hostdevs);
    accels_free(p->daemon.accels);
    warm_lists_free(p->daemon.warm);
    disks_free(p->daemon.disks);
    jobs_free(p->daemon.jobs);
    events_free(p->daemon.events);
    if (p->lock >= 0)
        close(p->lock);
    g_free(p->keys_path);
    paths_clear(&p->daemon.paths);
}

static void server_closed(void *arg)
{
    struct program *p = arg;

    p->daemon.server = NULL;
    uv_close((uv_handle_t *)&p->idle, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(p->signals); i++)
        uv_close((uv_handle_t *)&p->signals[i], NULL);
    uv_stop(&p->loop);
}

static void bridge_closed(void *arg)
{
    struct program *p = arg;

    rpc_server_close(p->daemon.server, server_closed, p);
}

static void leave(struct daemon *d)
{
    struct program *p = container_of(d, struct program, daemon);

    if (d->leaving)
        return;
    d->leaving = true;
    ending_begin(&p->ending, END_MS);
    sd_notify(0, "STOPPING=1");
    events_emit(d->events, API_EVENT_SYSTEM_STOPPING, NULL, 0, NULL);
    if (p->bridge)
        bridge_close(g_steal_pointer(&p->bridge), bridge_closed, p);
    else
        bridge_closed(p);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    leave(handle->data);
}

static void catch_signals(struct program *p)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like any other */
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        uv_signal_init(&p->loop, &p->signals[i]);
        p->signals[i].data = &p->daemon;
        uv_signal_start(&p->signals[i], on_signal, numbers[i]);
    }
}

/* Now and then: nobody is connected and nothing runs, for long enough? */
static void look_idle(uv_timer_t *timer)
{
    struct program *p = container_of(timer, struct program, idle);
    struct daemon *d = &p->daemon;
    uint64_t now = uv_now(&p->loop);

    if (rpc_server_clients(d->server) || registry_count(d->registry, true)) {
        p->quiet_since = now;
    } else if (now - p->quiet_since >= (uint64_t)p->idle_s * 1000) {
        log_info("nobody needs this daemon any more");
        leave(d);
    }
}

static void watch_idle(struct program *p)
{
    uint64_t turn = MAX((uint64_t)p->idle_s * 1000 / 4, 250);

    uv_timer_init(&p->loop, &p->idle);
    p->quiet_since = uv_now(&p->loop);
    if (p->idle_s)
        uv_timer_start(&p->idle, look_idle, turn, turn);
}

static void serve(struct program *p)
{
    struct daemon *d = &p->daemon;
    struct system_started_event started = {.version = (char *)VMD_VERSION,
                                           .pid = (uint32_t)getpid()};

    catch_signals(p);
    watch_idle(p);
    events_emit(d->events, API_EVENT_SYSTEM_STARTED, NULL, 0, &started);
    registry_recover(d->registry);
    log_info("listening at %s", d->paths.socket);
    sd_notify(0, "READY=1");
    uv_run(&p->loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    struct program p = {.lock = -1, .daemon.leave = leave};
    struct options options = {.soft_gpus = 1};
    g_autoptr(GError) err = NULL;
    bool ok;

    log_init("vmd");
    if (!parse(&argc, &argv, &options, &err)) {
        log_error("%s", err->message);
        return 2;
    }
    if (options.version) {
        puts("vmd " VMD_VERSION);
        return EXIT_SUCCESS;
    }
    umask(0077);
    p.idle_s = options.idle;
    uv_loop_init(&p.loop);
    ending_init(&p.ending, &p.loop);
    ok = daemon_confine(&err) &&
         paths_init(&p.daemon.paths, options.system, options.store, options.runtime, options.socket,
                    &err) &&
         open_all(&p, &options, &err);
    if (ok)
        serve(&p);
    else
        log_error("%s", err->message);
    close_all(&p);
    ending_run_out(&p.ending);
    options_clear(&options);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
