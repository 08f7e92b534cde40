/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/* What vmd-agent can be asked; see verbs.h and docs/architecture/agent.md. */
#include "guest/agent/verbs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { PATH_BYTES = 512, TEXT_BYTES = 640, SLOT_BYTES = 32 };

/* One request under way. */
struct call {
    const char *root;
    const char *const *args; /* NULL after the last */
    struct line *out;        /* has the number and "ok", for words to be added */
    char text[TEXT_BYTES];   /* of a failure */
};

static int fail(struct call *call, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns ERROR, with words for it. */
static int fail(struct call *call, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(call->text, sizeof(call->text), format, args);
    va_end(args);
    return error;
}

/* --- files of sysfs --------------------------------------------------------------------------- */

/* Writes TEXT to the file that FORMAT names below sysfs; 0 or an errno. */
static int put(struct call *call, const char *text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int put(struct call *call, const char *text, const char *format, ...)
{
    char path[PATH_BYTES];
    va_list args;
    int n = snprintf(path, sizeof(path), "%s/", call->root);

    va_start(args, format);
    n += vsnprintf(path + n, sizeof(path) - (size_t)n, format, args);
    va_end(args);
    if (n >= (int)sizeof(path))
        return fail(call, ENAMETOOLONG, "the path is too long");
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t done = fd < 0 ? -1 : write(fd, text, strlen(text));
    int error = done < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error ? fail(call, error, "%s: %s", path, strerror(error)) : 0;
}

/* --- names ------------------------------------------------------------------------------------ */

/* "0000:00:02.0", as sysfs writes it. */
static bool is_pci_address(const char *text)
{
    static const char form[] = "hhhh:hh:hh.o";

    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; form[i]; i++) {
        char c = text[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (form[i] == 'h' ? !hex : form[i] == 'o' ? c < '0' || c > '7' : c != form[i])
            return false;
    }
    return true;
}

/* What slot drivers call their slots: "7", "0-2". */
static bool is_slot(const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
            return false;
    }
    return n > 0 && n <= SLOT_BYTES;
}

/* "HOST:CHANNEL:TARGET:LUN". */
static bool is_scsi_address(const char *text)
{
    for (unsigned part = 0; part < 4; part++) {
        char number[12];
        uint32_t value;
        size_t n = strcspn(text, ":");
        if (n >= sizeof(number))
            return false;
        memcpy(number, text, n);
        number[n] = '\0';
        if (!line_number(number, UINT32_MAX, &value) || text[n] != (part < 3 ? ':' : '\0'))
            return false;
        text += n + 1;
    }
    return true;
}

static int bad_argument(struct call *call, const char *what)
{
    return fail(call, EINVAL, "'%.64s' is no %s", call->args[0], what);
}

/* --- verbs: each returns 0 or an errno -------------------------------------------------------- */

static int do_hello(struct call *call);

static int do_ping(struct call *call)
{
    return 0;
}

static int do_pci_rescan(struct call *call)
{
    return put(call, "1", "bus/pci/rescan");
}

static int do_pci_remove(struct call *call)
{
    if (!is_pci_address(call->args[0]))
        return bad_argument(call, "PCI address");
    return put(call, "1", "bus/pci/devices/%s/remove", call->args[0]);
}

static int do_slot_power(struct call *call)
{
    const char *power = call->args[1];

    if (!is_slot(call->args[0]))
        return bad_argument(call, "slot");
    if (strcmp(power, "on") != 0 && strcmp(power, "off") != 0)
        return fail(call, EINVAL, "power is on or off");
    return put(call, power[1] == 'n' ? "1" : "0", "bus/pci/slots/%s/power", call->args[0]);
}

static int do_scsi_rescan(struct call *call)
{
    uint32_t host;

    if (!line_number(call->args[0], UINT16_MAX, &host))
        return bad_argument(call, "SCSI host");
    return put(call, "- - -", "class/scsi_host/host%u/scan", host);
}

static int do_scsi_remove(struct call *call)
{
    if (!is_scsi_address(call->args[0]))
        return bad_argument(call, "SCSI address");
    return put(call, "1", "bus/scsi/devices/%s/delete", call->args[0]);
}

static int set_cpu(struct call *call, const char *online)
{
    uint32_t cpu;

    if (!line_number(call->args[0], UINT16_MAX, &cpu))
        return bad_argument(call, "CPU");
    return put(call, online, "devices/system/cpu/cpu%u/online", cpu);
}

static int do_cpu_online(struct call *call)
{
    return set_cpu(call, "1");
}

static int do_cpu_offline(struct call *call)
{
    return set_cpu(call, "0");
}

/* Whether memory block NAME, "memoryN", is offline. */
static bool is_offline_block(const struct call *call, const char *name)
{
    char path[PATH_BYTES], state[16] = "";
    uint32_t number;

    if (strncmp(name, "memory", 6) != 0 || !line_number(name + 6, UINT32_MAX, &number))
        return false;
    if (snprintf(path, sizeof(path), "%s/devices/system/memory/memory%u/state", call->root,
                 number) >= (int)sizeof(path))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, state, sizeof(state) - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 && strncmp(state, "offline", 7) == 0;
}

/* Brings block NAME online. Its kernel may do the same by itself, and refuses a block that is there
 * already. */
static int bring_online(struct call *call, const char *name, const char *how, unsigned *done)
{
    int error = put(call, how, "devices/system/memory/%s/state", name);

    if (error && !is_offline_block(call, name))
        return 0;
    *done += !error;
    return error;
}

/* All blocks that are offline come online; the answer counts them. */
static int do_memory_online(struct call *call)
{
    const char *how = call->args[0] ? call->args[0] : "online";
    char path[PATH_BYTES], count[16];
    struct dirent *entry;
    unsigned done = 0;
    int error = 0;

    if (strcmp(how, "online") != 0 && strcmp(how, "online_movable") != 0)
        return bad_argument(call, "way to online memory");
    snprintf(path, sizeof(path), "%s/devices/system/memory", call->root);
    DIR *folder = opendir(path);
    if (!folder)
        return fail(call, errno, "%s: %s", path, strerror(errno));
    while (!error && (entry = readdir(folder))) {
        if (!is_offline_block(call, entry->d_name))
            continue;
        error = bring_online(call, entry->d_name, how, &done);
    }
    closedir(folder);
    snprintf(count, sizeof(count), "%u", done);
    line_add_pair(call->out, "blocks", count);
    return error;
}

/* How memory is to come online in a kernel that does that by itself; one that does not is left so.
 */
static int do_memory_policy(struct call *call)
{
    const char *how = call->args[0];
    char path[PATH_BYTES], now[16] = "";

    if (strcmp(how, "online") != 0 && strcmp(how, "online_movable") != 0)
        return bad_argument(call, "way to online memory");
    snprintf(path, sizeof(path), "%s/devices/system/memory/auto_online_blocks", call->root);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, now, sizeof(now) - 1);
    int error = n < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (error)
        return fail(call, error, "%s: %s", path, strerror(error));
    if (strncmp(now, "offline", 7) == 0)
        return 0;
    return put(call, how, "devices/system/memory/auto_online_blocks");
}

static const struct {
    const char *name;
    unsigned least, most; /* arguments */
    int (*run)(struct call *call);
} verbs[] = {
    {"hello", 1, 1, do_hello},
    {"ping", 0, 0, do_ping},
    {"pci-rescan", 0, 0, do_pci_rescan},
    {"pci-remove", 1, 1, do_pci_remove},
    {"slot-power", 2, 2, do_slot_power},
    {"scsi-rescan", 1, 1, do_scsi_rescan},
    {"scsi-remove", 1, 1, do_scsi_remove},
    {"cpu-online", 1, 1, do_cpu_online},
    {"cpu-offline", 1, 1, do_cpu_offline},
    {"memory-online", 0, 1, do_memory_online},
    {"memory-policy", 1, 1, do_memory_policy},
};

enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

/* Says who it is, to a host that speaks protocols up to the one it names. */
static int do_hello(struct call *call)
{
    char list[512] = "";
    struct utsname name;
    uint32_t protocol;

    if (!line_number(call->args[0], UINT32_MAX, &protocol) || protocol < LINE_PROTOCOL)
        return fail(call, EPROTONOSUPPORT, "this agent speaks protocol %u", LINE_PROTOCOL);
    if (uname(&name) != 0)
        return fail(call, errno, "uname: %s", strerror(errno));
    for (unsigned i = 0; i < N_VERBS; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof(list) - n, "%s%s", i ? "," : "", verbs[i].name);
    }
    line_add_pair(call->out, "protocol", "1");
    line_add_pair(call->out, "agent", AGENT_VERSION);
    line_add_pair(call->out, "kernel", name.release);
    line_add_pair(call->out, "verbs", list);
    return 0;
}

static int run(struct call *call, const struct line_words *request)
{
    unsigned n = request->n < 2 ? 0 : request->n - 2;

    if (request->n < 2)
        return fail(call, EINVAL, "there is no verb");
    for (unsigned i = 0; i < N_VERBS; i++) {
        if (strcmp(verbs[i].name, request->word[1]) != 0)
            continue;
        if (n < verbs[i].least || n > verbs[i].most)
            return fail(call, EINVAL, "'%s' takes %u to %u arguments", verbs[i].name,
                        verbs[i].least, verbs[i].most);
        return verbs[i].run(call);
    }
    return fail(call, ENOSYS, "this agent does not know '%.64s'", request->word[1]);
}

void verbs_error(uint32_t id, int error, const char *text, struct line *out)
{
    memset(out, 0, sizeof(*out));
    line_add_number(out, id);
    line_add(out, "error");
    line_add_number(out, (uint32_t)error);
    line_add(out, text);
    line_end(out);
}

bool verbs_answer(const char *root, const struct line_words *request, struct line *out)
{
    struct call call = {.root = root, .args = request->word + 2, .out = out};
    uint32_t id;

    if (!line_number(request->word[0], UINT32_MAX, &id))
        return false;
    memset(out, 0, sizeof(*out));
    line_add_number(out, id);
    line_add(out, "ok");
    int error = run(&call, request);
    if (!error && !line_end(out))
        error = fail(&call, EMSGSIZE, "the answer is too long");
    if (error)
        verbs_error(id, error, call.text, out);
    return true;
}
