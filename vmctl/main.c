/* vmctl: the command line of vmd. The table of commands and the way to them. */
#include "vmctl/commands.h"

#include <locale.h>
#include <signal.h>

const struct command *const commands[] = {
    &command_run,        &command_list,    &command_info,
    &command_start,      &command_stop,    &command_reboot,
    &command_pause,      &command_resume,  &command_reset,
    &command_kill,       &command_delete,  &command_balloon,
    &command_wait,       &command_console, &command_device,
    &command_resize,     &command_pin,     &command_host,
    &command_gpu,        &command_events,  &command_stats,
    &command_xlate,      &command_version, &command_rpc,
    &command_completion, &command_help,    NULL,
};

const struct option_row common_options[] = {
    {"json", NULL, "print JSON, for programs", NULL},
    {"help", NULL, "print what the command takes", NULL},
    {NULL, NULL, NULL, NULL},
};

const struct command *command_find(const char *name)
{
    for (const struct command *const *c = commands; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return *c;
    }
    return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct arguments args = {0};
    g_autoptr(GError) err = NULL;
    int status;

    if (!arguments_parse(command, argc, argv, &args, &err)) {
        status = usage_error(command, "%s", err->message);
    } else if (arguments_has(&args, "help")) {
        struct arguments help = {.command = &command_help};
        help.names = g_ptr_array_new();
        help.values = g_ptr_array_new();
        help.positional = g_ptr_array_new();
        g_ptr_array_add(help.positional, (gpointer)command->name);
        status = command_help.run(&help);
        arguments_clear(&help);
    } else {
        status = command->run(&args);
    }
    arguments_clear(&args);
    return status;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    const struct command *command;

    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    command = command_find(name);
    if (!command) {
        fprintf(stderr, "vmctl: there is no command '%s'\n  See 'vmctl help'.\n", name);
        return VMCTL_EXIT_USAGE;
    }
    int status = run_command(command, argc > 1 ? argc - 2 : 0, argv + 2);
    if (fflush(stdout) != 0 && status == VMCTL_EXIT_OK)
        status = VMCTL_EXIT_ERROR;
    return status;
}
