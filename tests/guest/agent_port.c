/* A port for vmd-agent on a bare board; see agent_port.h. */
#include "tests/guest/agent_port.h"

#include "guest/agent/line.h"
#include "machine/virtio/console.h"
#include "vm/agent.h"

#include <stdio.h>

enum { PORT_CONSOLE, PORT_AGENT, ANSWER_MS = 60000 };

struct agent_port {
    struct virtio_device *console;
    struct virtio_pci *pci;
    struct agent *agent;
    char **asked, **next;
};

/* --- the ports -------------------------------------------------------------------------------- */

static size_t console_out(void *opaque, const uint8_t *data, size_t n)
{
    fwrite(data, 1, n, stdout);
    fflush(stdout);
    return n;
}

static void console_room(void *opaque)
{
}

/* From here on Linux takes what is written to its hvc0; to open that earlier fails. */
static void console_opened(void *opaque, bool open)
{
    printf("port 0: %s\n", open ? "open" : "closed");
    fflush(stdout);
}

static const struct virtio_console_ops console_ops = {console_out, console_room, console_opened};

static size_t agent_out(void *opaque, const uint8_t *data, size_t n)
{
    agent_input(((struct agent_port *)opaque)->agent, data, n);
    return n;
}

static void port_room(void *opaque)
{
    agent_room(((struct agent_port *)opaque)->agent);
}

static void port_opened(void *opaque, bool open)
{
    agent_opened(((struct agent_port *)opaque)->agent, open);
}

static const struct virtio_console_ops port_ops = {agent_out, port_room, port_opened};

static size_t send_to_guest(void *opaque, const uint8_t *data, size_t n)
{
    return virtio_console_input(((struct agent_port *)opaque)->console, PORT_AGENT, data, n);
}

static void connect_port(void *opaque, bool connected)
{
    struct agent_port *p = opaque;

    printf("agent: %s%s\n", connected ? "heard again" : "cut off: ",
           connected ? "" : agent_fault(p->agent));
    fflush(stdout);
    virtio_console_connect(p->console, PORT_AGENT, connected);
}

/* --- questions -------------------------------------------------------------------------------- */

static void ask_next(struct agent_port *p);

static void answered(void *opaque, const struct agent_reply *reply)
{
    struct agent_port *p = opaque;

    printf("agent: %s: ", *p->next);
    if (reply->error)
        printf("error %d %s", reply->error, reply->text);
    else
        printf("ok");
    for (unsigned i = 0; i < reply->n; i++)
        printf(" %s", reply->words[i]);
    printf("\n");
    fflush(stdout);
    p->next++;
    ask_next(p);
}

static void ask_next(struct agent_port *p)
{
    for (; *p->next; p->next++) {
        g_auto(GStrv) words = g_strsplit(*p->next, " ", -1);
        int64_t number = agent_ask(p->agent, (const char *const *)words, ANSWER_MS, answered, p);
        if (number > 0)
            return;
        printf("agent: %s: not asked: %s\n", *p->next, g_strerror((int)-number));
    }
    printf("agent: that was all\n");
    fflush(stdout);
}

static void changed(void *opaque)
{
    struct agent_port *p = opaque;

    if (!agent_present(p->agent)) {
        printf("agent: gone\n");
    } else {
        printf("agent: %s, Linux %s\n", agent_version(p->agent), agent_kernel(p->agent));
        p->next = p->asked;
        ask_next(p);
    }
    fflush(stdout);
}

static const struct agent_ops agent_ops = {send_to_guest, connect_port, changed};

/* --- the object ------------------------------------------------------------------------------- */

struct agent_port *agent_port_new(const struct virtio_env *env, struct pci_host *pci, char **asked,
                                  GError **err)
{
    struct agent_port *p = g_new0(struct agent_port, 1);
    const struct virtio_console_port ports[] = {
        [PORT_CONSOLE] = {NULL, &console_ops, p}, [PORT_AGENT] = {LINE_PORT, &port_ops, p}};
    int slot = pci_host_free_slot(pci);

    p->asked = asked;
    p->agent = agent_new(env->loop, env->clock, &agent_ops, p);
    p->console = virtio_console_new(env, ports, G_N_ELEMENTS(ports));
    p->pci = virtio_pci_new(p->console);
    g_assert(slot >= 0);
    if (pci_host_add(pci, virtio_pci_function(p->pci), (unsigned)slot, 0, err))
        return p;
    virtio_pci_free(p->pci);
    agent_free(p->agent);
    g_free(p);
    return NULL;
}

void agent_port_clock_changed(struct agent_port *p)
{
    agent_clock_changed(p->agent);
}

void agent_port_free(struct agent_port *p)
{
    if (!p)
        return;
    pci_host_remove(virtio_pci_function(p->pci));
    virtio_pci_free(p->pci);
    agent_free(p->agent);
    g_free(p);
}
