/* The debugger's connection, and the machine as its target; see debugger.h. */
#include "vm/debugger.h"

#include "vm/gdb/stub.h"
#include "vm/machine.h"
#include "vm/vcpus.h"

#include <errno.h>

enum {
    QUEUE_MOST = 1 << 20, /* unsent bytes for a debugger that does not read */
    SETTLE_MS = 100,      /* a guest that runs for less between two stops is not said to run */
};

struct debugger {
    struct machine *machine;
    uv_tcp_t *listener;
    uv_timer_t *settle;
    uv_tcp_t *client; /* NULL: nobody is connected */
    struct gdb_stub *stub;
    bool leaving; /* the client goes once what is under way is done */
    char buffer[16384];
};

struct sending {
    uv_write_t req;
    char bytes[];
};

static void free_handle(uv_handle_t *handle)
{
    g_free(handle);
}

/* --- the machine as a target ------------------------------------------------------------------ */

static struct vcpus *vcpus_of(struct debugger *d)
{
    return machine_vcpus(d->machine);
}

static struct vcpu *vcpu_of(struct debugger *d, unsigned thread)
{
    return vcpus_get(vcpus_of(d), thread);
}

static const struct accel_register *registers(void *opaque, size_t *n)
{
    struct debugger *d = opaque;

    return accel_registers(machine_accel(d->machine), n);
}

static bool register_get(void *opaque, unsigned thread, const struct accel_register *reg,
                         uint64_t *value)
{
    return accel_register_get(vcpu_of(opaque, thread), reg, value);
}

static bool register_set(void *opaque, unsigned thread, const struct accel_register *reg,
                         const uint64_t *value)
{
    return accel_register_set(vcpu_of(opaque, thread), reg, value);
}

/* Where ADDRESS is, and how many of N bytes are there likewise. */
static bool look(struct debugger *d, unsigned thread, bool physical, uint64_t address, size_t n,
                 gpa_t *gpa, uint64_t *length)
{
    *gpa = address;
    *length = MEM_PAGE_SIZE - address % MEM_PAGE_SIZE;
    if (!physical && !accel_vcpu_look(vcpu_of(d, thread), address, gpa, length))
        return false;
    *length = MIN(*length, n);
    return true;
}

static size_t read_bytes(void *opaque, unsigned thread, bool physical, uint64_t address, void *to,
                         size_t n)
{
    struct debugger *d = opaque;
    struct mem_map *mem = machine_memory(d->machine);
    uint64_t length;
    size_t done = 0;
    gpa_t gpa;

    while (done < n && look(d, thread, physical, address + done, n - done, &gpa, &length) &&
           !mem_map_read(mem, gpa, (char *)to + done, length))
        done += length;
    return done;
}

static bool write_bytes(void *opaque, unsigned thread, bool physical, uint64_t address,
                        const void *from, size_t n)
{
    struct debugger *d = opaque;
    struct mem_map *mem = machine_memory(d->machine);
    uint64_t length;
    gpa_t gpa;

    for (size_t done = 0; done < n; done += length)
        if (!look(d, thread, physical, address + done, n - done, &gpa, &length) ||
            !mem_map_host(mem, gpa, length, true))
            return false;
    for (size_t done = 0; done < n; done += length) {
        look(d, thread, physical, address + done, n - done, &gpa, &length);
        mem_map_write(mem, gpa, (const char *)from + done, length);
    }
    return true;
}

static bool set_points(void *opaque, const struct accel_debug *debug)
{
    struct debugger *d = opaque;

    return accel_debug(machine_accel(d->machine), debug);
}

static bool is_on(void *opaque, unsigned thread)
{
    return vcpus_power(vcpus_of(opaque), thread) != VCPU_OFF;
}

static char *describe(void *opaque, unsigned thread)
{
    static const char *const power[] = {[VCPU_OFF] = "off", [VCPU_STARTING] = "starting",
                                        [VCPU_ON] = "on", [VCPU_STOPPING] = "stopping"};

    return g_strdup_printf("vCPU %u, %s", thread, power[vcpus_power(vcpus_of(opaque), thread)]);
}

static void go(void *opaque, const enum gdb_go *how, enum accel_step step)
{
    struct debugger *d = opaque;

    for (unsigned i = 0; i < vcpus_count(vcpus_of(d)); i++) {
        vcpus_hold(vcpus_of(d), i, how[i] == GDB_HOLD);
        accel_vcpu_step(vcpu_of(d, i),
                        how[i] == GDB_STEP && is_on(d, i) ? step : ACCEL_STEP_OFF);
    }
    machine_release(d->machine);
    uv_timer_again(d->settle);
}

static void interrupt(void *opaque)
{
    struct debugger *d = opaque;
    unsigned thread = 0;

    machine_hold(d->machine);
    debugger_stopped(d); /* one may have stopped by itself meanwhile */
    machine_hold(d->machine);
    while (thread + 1 < vcpus_count(vcpus_of(d)) && !is_on(d, thread))
        thread++;
    if (d->stub)
        gdb_stub_stopped(d->stub, thread, NULL);
}

static bool reset(void *opaque, GError **err)
{
    struct debugger *d = opaque;

    return machine_reset(d->machine, NULL, NULL, err);
}

/* Lets the machine run as if there had been no debugger. */
static void let_go(struct debugger *d)
{
    static const struct accel_debug none;

    machine_hold(d->machine);
    accel_debug(machine_accel(d->machine), &none);
    for (unsigned i = 0; i < vcpus_count(vcpus_of(d)); i++) {
        struct accel_stop stop;
        vcpus_take_stop(vcpus_of(d), i, &stop);
        vcpus_hold(vcpus_of(d), i, false);
        accel_vcpu_step(vcpu_of(d, i), ACCEL_STEP_OFF);
    }
    machine_release(d->machine);
    uv_timer_again(d->settle);
}

static void detach(void *opaque)
{
    struct debugger *d = opaque;

    d->leaving = true;
}

static void kill_machine(void *opaque)
{
    struct debugger *d = opaque;

    d->leaving = true;
    machine_end(d->machine, VM_END_REASON_KILLED, "killed by the debugger");
}

/* --- the connection ---------------------------------------------------------------------------- */

static void sent(uv_write_t *req, int status)
{
    g_free(container_of(req, struct sending, req));
}

static void send_bytes(void *opaque, const void *data, size_t n)
{
    struct debugger *d = opaque;
    struct sending *s;

    if (!d->client || d->leaving)
        return;
    if (uv_stream_get_write_queue_size((uv_stream_t *)d->client) > QUEUE_MOST) {
        d->leaving = true;
        return;
    }
    s = g_malloc(sizeof(*s) + n);
    memcpy(s->bytes, data, n);
    uv_buf_t buf = uv_buf_init(s->bytes, (unsigned)n);
    if (uv_write(&s->req, (uv_stream_t *)d->client, &buf, 1, sent))
        g_free(s);
}

static const struct gdb_target_ops target_ops = {
    .registers = registers,
    .register_get = register_get,
    .register_set = register_set,
    .read = read_bytes,
    .write = write_bytes,
    .points = set_points,
    .go = go,
    .interrupt = interrupt,
    .is_on = is_on,
    .describe = describe,
    .reset = reset,
    .detach = detach,
    .kill = kill_machine,
    .send = send_bytes,
};

/* The write queue is sent before the close. */
static void close_after_write(uv_shutdown_t *req, int status)
{
    uv_close((uv_handle_t *)req->handle, free_handle);
    g_free(req);
}

static void close_client(struct debugger *d)
{
    uv_shutdown_t *req;
    uv_tcp_t *client = g_steal_pointer(&d->client);

    if (!client)
        return;
    req = g_new0(uv_shutdown_t, 1);
    uv_read_stop((uv_stream_t *)client);
    client->data = NULL;
    if (uv_shutdown(req, (uv_stream_t *)client, close_after_write)) {
        uv_close((uv_handle_t *)client, free_handle);
        g_free(req);
    }
    gdb_stub_free(d->stub);
    d->stub = NULL;
    d->leaving = false;
}

static void client_gone(struct debugger *d)
{
    close_client(d);
    let_go(d);
}

static void give_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct debugger *d = handle->data;

    *buf = uv_buf_init(d->buffer, sizeof(d->buffer));
}

static void have_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct debugger *d = stream->data;

    if (!d)
        return;
    if (n > 0)
        gdb_stub_input(d->stub, buf->base, (size_t)n);
    if (n < 0 || d->leaving)
        client_gone(d);
}

static void connected(uv_stream_t *listener, int status)
{
    struct debugger *d = listener->data;
    uv_tcp_t *client;

    if (status)
        return;
    client = g_new0(uv_tcp_t, 1);
    uv_tcp_init(listener->loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) || d->client) {
        uv_close((uv_handle_t *)client, free_handle); /* one at a time */
        return;
    }
    client->data = d;
    d->client = client;
    uv_tcp_nodelay(client, 1);
    machine_hold(d->machine);
    d->stub = gdb_stub_new(&target_ops, d, vcpus_count(vcpus_of(d)), machine_gdb_name(d->machine));
    uv_read_start((uv_stream_t *)client, give_buffer, have_read);
}

/* --- the machine's news ------------------------------------------------------------------------ */

struct stops {
    struct vcpus *vcpus;
    struct accel_stop stop[LIMIT_VCPUS];
    bool has[LIMIT_VCPUS], any;
};

static void take_stops(void *opaque)
{
    struct stops *s = opaque;

    for (unsigned i = 0; i < vcpus_count(s->vcpus); i++)
        s->any |= s->has[i] = vcpus_take_stop(s->vcpus, i, &s->stop[i]);
}

/* Breakpoints and watchpoints are told before steps, after which a stub may go on by itself. */
void debugger_stopped(struct debugger *d)
{
    struct stops s = {.vcpus = vcpus_of(d)};

    /* What has stopped may run again by now, if it was let go before this was heard. */
    vcpus_stop_world(s.vcpus, take_stops, &s);
    if (s.any && !d->stub)
        let_go(d); /* the debugger has left meanwhile */
    for (unsigned late = 0; late < 2; late++) {
        for (unsigned i = 0; i < vcpus_count(s.vcpus); i++) {
            if (!s.has[i] || !d->stub || (s.stop[i].kind == ACCEL_STOP_STEP) != late)
                continue;
            machine_hold(d->machine);
            gdb_stub_stopped(d->stub, i, &s.stop[i]);
        }
    }
}

void debugger_ended(struct debugger *d, bool signalled)
{
    if (d && d->stub)
        gdb_stub_ended(d->stub, signalled);
}

static void settled(uv_timer_t *timer)
{
    struct debugger *d = timer->data;

    uv_timer_stop(timer);
    machine_tell_state(d->machine);
}

/* --- life --------------------------------------------------------------------------------------- */

static bool start_listening(struct debugger *d, const struct vm_gdb_config *config, GError **err)
{
    struct sockaddr_storage addr;
    int rc = uv_ip4_addr(config->addr, config->port, (struct sockaddr_in *)&addr);

    if (rc)
        rc = uv_ip6_addr(config->addr, config->port, (struct sockaddr_in6 *)&addr);
    if (!rc)
        rc = uv_tcp_bind(d->listener, (struct sockaddr *)&addr, 0);
    if (!rc)
        rc = uv_listen((uv_stream_t *)d->listener, 1, connected);
    return !rc || vmd_set_errno(err, -rc, "listening for a debugger at %s port %u", config->addr,
                                config->port);
}

struct debugger *debugger_new(uv_loop_t *loop, struct machine *machine,
                              const struct vm_gdb_config *config, GError **err)
{
    struct debugger *d = g_new0(struct debugger, 1);

    d->machine = machine;
    d->listener = g_new0(uv_tcp_t, 1);
    d->settle = g_new0(uv_timer_t, 1);
    uv_tcp_init(loop, d->listener);
    uv_timer_init(loop, d->settle);
    uv_timer_start(d->settle, settled, SETTLE_MS, SETTLE_MS);
    uv_timer_stop(d->settle);
    d->listener->data = d->settle->data = d;
    if (start_listening(d, config, err))
        return d;
    debugger_free(d);
    return NULL;
}

void debugger_free(struct debugger *d)
{
    if (!d)
        return;
    close_client(d);
    uv_close((uv_handle_t *)d->listener, free_handle);
    uv_close((uv_handle_t *)d->settle, free_handle);
    g_free(d);
}
