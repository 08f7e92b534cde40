/* vmctl help and completion: all made from the table of commands and from the schema. */
#include "vmctl/commands.h"

static void print_options(const struct option_row *o)
{
    for (; o && o->name; o++) {
        g_autofree char *head =
            o->arg ? g_strdup_printf("--%s %s", o->name, o->arg) : g_strdup_printf("--%s", o->name);
        if (strlen(head) > 24)
            printf("  %s\n  %-24s  %s\n", head, "", o->doc);
        else
            printf("  %-24s  %s\n", head, o->doc);
    }
}

static void print_command(const struct command *c)
{
    printf("vmctl %s [option]... %s\n\n%s\n\n", c->name, c->synopsis, c->doc);
    print_options(c->options);
    print_options(common_options);
    if (c->more)
        printf("\n%s\n", c->more);
}

static void print_overview(void)
{
    puts("vmctl COMMAND [option]... [argument]...\n");
    for (const struct command *const *c = commands; *c; c++)
        printf("  %-12s %s\n", (*c)->name, (*c)->doc);
    puts("\n'vmctl help COMMAND' tells more; vmctl(1) tells all.");
}

/* --- the manual page -------------------------------------------------------------------------- */

/* Text for troff: a leading dot or quote and every backslash and dash is protected. */
static void put_troff(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else if (*text == '^')
            fputs("\\(ha", stdout);
        else
            putchar(*text);
    }
}

static void man_option(const struct option_row *o)
{
    fputs(".TP\n.BI \"\\-\\-", stdout);
    put_troff(o->name);
    if (o->arg) {
        fputs(" \" \"", stdout);
        put_troff(o->arg);
    }
    puts("\"");
    put_troff(o->doc);
    puts(".");
}

static void man_command(const struct command *c)
{
    fputs(".SS vmctl ", stdout);
    put_troff(c->name);
    putchar(' ');
    put_troff(c->synopsis);
    putchar('\n');
    put_troff(c->doc);
    puts(".");
    for (const struct option_row *o = c->options; o && o->name; o++)
        man_option(o);
    if (c->more) {
        puts(".PP");
        put_troff(c->more);
        putchar('\n');
    }
}

#define X(name, value, doc) {value, doc},
static const struct {
    int value;
    const char *doc;
} exits[] = {EXIT_ROWS(X)};
#undef X

static void print_man(void)
{
    puts(".TH VMCTL 1 \"\" \"vmd " VMD_VERSION "\" \"User Commands\"\n"
         ".SH NAME\nvmctl \\- manage virtual machines\n"
         ".SH SYNOPSIS\n.B vmctl\n.I COMMAND\n.RI [ option ]...\n.RI [ argument ]...\n"
         ".SH DESCRIPTION\nvmctl manages the VMs of a vmd. Where no daemon listens, it starts one "
         "for its user. A VM is named by its name or by its id.\n"
         ".SH COMMANDS");
    for (const struct command *const *c = commands; *c; c++)
        man_command(*c);
    puts(".SH OPTIONS OF ALL COMMANDS");
    for (const struct option_row *o = common_options; o->name; o++)
        man_option(o);
    puts(".SH EXIT STATUS");
    for (size_t i = 0; i < G_N_ELEMENTS(exits); i++) {
        printf(".TP\n.B %d\n", exits[i].value);
        put_troff(exits[i].doc);
        putchar('\n');
    }
    puts(".SH ENVIRONMENT\n.TP\n.B VMD_SOCKET\nThe daemon's socket; no other is looked for, and no "
         "daemon is started.\n.TP\n.B XDG_RUNTIME_DIR\nThe user's own daemon listens below it, at "
         "vmd/vmd.sock.\n.SH SEE ALSO\n.BR vmd (8)");
}

static int run_help(const struct arguments *args)
{
    const char *name = arguments_at(args, 0);
    const struct command *c = name ? command_find(name) : NULL;

    if (arguments_has(args, "man")) {
        print_man();
        return VMCTL_EXIT_OK;
    }
    if (name && !c)
        return usage_error(args->command, "there is no command '%s'", name);
    if (c)
        print_command(c);
    else
        print_overview();
    return VMCTL_EXIT_OK;
}

/* --- completion ------------------------------------------------------------------------------- */

static void bash_words(const char *kind)
{
    if (!kind)
        return;
    if (strcmp(kind, "@file") == 0) {
        fputs("COMPREPLY=($(compgen -f -- \"$cur\"))", stdout);
    } else if (strcmp(kind, "@vm") == 0) {
        fputs("COMPREPLY=($(compgen -W \"$(_vmctl_vms)\" -- \"$cur\"))", stdout);
    } else if (strcmp(kind, "@method") == 0) {
        fputs("COMPREPLY=($(compgen -W \"", stdout);
        for (size_t i = 0; i < api_service.n_methods; i++)
            printf("%s ", api_service.methods[i].name);
        fputs("\" -- \"$cur\"))", stdout);
    } else {
        printf("COMPREPLY=($(compgen -W \"%s\" -- \"$cur\"))", kind);
    }
}

static void bash_command(const struct command *c)
{
    printf("    %s)\n        case $prev in\n", c->name);
    for (const struct option_row *o = c->options; o && o->name; o++) {
        if (!o->arg)
            continue;
        printf("        --%s) ", o->name);
        bash_words(o->choices);
        puts(o->choices ? "; return ;;" : "return ;;");
    }
    fputs("        esac\n        case $cur in\n        -*) COMPREPLY=($(compgen -W \"", stdout);
    for (const struct option_row *o = c->options; o && o->name; o++)
        printf("--%s ", o->name);
    for (const struct option_row *o = common_options; o->name; o++)
        printf("--%s ", o->name);
    fputs("\" -- \"$cur\")) ;;\n        *) ", stdout);
    bash_words(c->positional_kind);
    puts(" ;;\n        esac ;;");
}

static void print_bash(void)
{
    puts("# Completion of vmctl for bash, made by 'vmctl completion bash'.\n"
         "_vmctl_vms() {\n"
         "    vmctl list 2>/dev/null | sed 1d | cut -d' ' -f1\n}\n"
         "_vmctl() {\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
         "    COMPREPLY=()\n"
         "    if [ \"$COMP_CWORD\" = 1 ]; then");
    fputs("        COMPREPLY=($(compgen -W \"", stdout);
    for (const struct command *const *c = commands; *c; c++)
        printf("%s ", (*c)->name);
    puts("\" -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in");
    for (const struct command *const *c = commands; *c; c++)
        bash_command(*c);
    puts("    esac\n}\ncomplete -o default -F _vmctl vmctl");
}

static int run_completion(const struct arguments *args)
{
    const char *shell = arguments_at(args, 0);

    if (strcmp(shell, "bash") == 0) {
        print_bash();
    } else if (strcmp(shell, "zsh") == 0) {
        puts("#compdef vmctl\nautoload -Uz bashcompinit && bashcompinit");
        print_bash();
    } else {
        return usage_error(args->command, "completion is offered for bash and zsh, not '%s'", shell);
    }
    return VMCTL_EXIT_OK;
}

static const struct option_row help_options[] = {
    {"man", NULL, "print the manual page, in troff", NULL},
    {NULL, NULL, NULL, NULL},
};
static const struct option_row no_options[] = {{NULL, NULL, NULL, NULL}};

const struct command command_help = {
    .name = "help",
    .synopsis = "[COMMAND]",
    .doc = "print what commands there are, or what one takes",
    .options = help_options,
    .most = 1,
    .run = run_help,
};
const struct command command_completion = {
    .name = "completion",
    .synopsis = "bash|zsh",
    .doc = "print a script that completes vmctl's arguments",
    .options = no_options,
    .least = 1,
    .most = 1,
    .positional_kind = "bash zsh",
    .run = run_completion,
};
