/* vmctl console: the console of a running VM, or its log. */
#include "vmctl/commands.h"

enum { REPLAY = 4096 }; /* bytes of past output that a newcomer sees */

/* Prints the log from its oldest byte. */
static int print_log(struct vmd_client *c, const struct arguments *args, char *console)
{
    struct console_log_params p = {.vm = (char *)arguments_at(args, 0),
                                   .console = console,
                                   .limit = 65536,
                                   .encoding = TEXT_ENCODING_BASE64};
    GError *err = NULL;

    for (;;) {
        g_autoptr(console_chunk) chunk = NULL;
        gsize n;
        if (!vmd_client_invoke(c, API_CONSOLE_LOG, &p, &chunk, NULL, &err))
            return fail(c, err);
        if (!*chunk->data)
            return VMCTL_EXIT_OK;
        g_autofree guchar *data = g_base64_decode(chunk->data, &n);
        if (fwrite(data, 1, n, stdout) != n)
            return VMCTL_EXIT_ERROR;
        p.has_offset = true;
        p.offset = chunk->next;
    }
}

/* Whether CONSOLE was taken from the VM, which goes on. */
static bool is_taken(struct vmd_client *c, const char *vm, const char *console)
{
    struct device_list_params p = {.vm = (char *)vm};
    g_autoptr(device_list_result) list = NULL;
    bool there = strcmp(console, "serial0") == 0; /* which is no device that could go */

    if (!vmd_client_invoke(c, API_DEVICE_LIST, &p, &list, NULL, NULL))
        return false;
    for (size_t i = 0; i < list->n_devices; i++)
        there |= strcmp(list->devices[i]->id, console) == 0;
    return !there;
}

static int follow(struct vmd_client **c, const struct arguments *args, char *console)
{
    bool readonly = arguments_has(args, "readonly");
    struct vm_get_params get = {.vm = (char *)arguments_at(args, 0)};
    struct console_attach_params attach = {
        .vm = get.vm, .console = console, .readonly = readonly, .replay = REPLAY};
    g_autoptr(vm_info) vm = NULL;
    g_autoptr(console_attach_result) attached = NULL;
    GError *err = NULL;
    int fd = -1;

    if (!vmd_client_invoke(*c, API_VM_GET, &get, &vm, NULL, &err) ||
        !vmd_client_invoke(*c, API_CONSOLE_ATTACH, &attach, &attached, &fd, &err))
        return fail(*c, err);
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "vmctl: console %s of %s; ^] leaves it\n", console, vm->name);
    switch (console_stream(fd, readonly, &err)) {
    case CONSOLE_ENDED:
        if (is_taken(*c, vm->id, console)) {
            fprintf(stderr, "vmctl: console %s was taken from VM %s\n", console, vm->name);
            return VMCTL_EXIT_OK;
        }
        return wait_for_end(c, vm->id, vm->name);
    case CONSOLE_FAILED:
        return fail(*c, err);
    default:
        fprintf(stderr, "\n");
        return VMCTL_EXIT_OK;
    }
}

static int run(const struct arguments *args)
{
    const char *name = arguments_get(args, "console");
    char *console = (char *)(name ? name : "serial0");
    int status;
    struct vmd_client *c = connect_daemon(&status);

    if (!c)
        return status;
    status = arguments_has(args, "log") ? print_log(c, args, console) : follow(&c, args, console);
    vmd_client_free(c);
    return status;
}

static const struct option_row options[] = {
    {"console", "NAME", "which console: serial0 or hvc0 (serial0)", "serial0 hvc0"},
    {"readonly", NULL, "only watch", NULL},
    {"log", NULL, "print what the console has said so far, and return", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command command_console = {
    .name = "console",
    .synopsis = "VM",
    .doc = "connect this terminal to a VM's console; ^] leaves it",
    .options = options,
    .least = 1,
    .most = 1,
    .positional_kind = "@vm",
    .run = run,
};
