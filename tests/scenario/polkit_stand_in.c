/*
 * In polkit's place on a bus: says who asks for what, and answers what a file says then: yes, no,
 * nobody (no agent is there), dismissed, or wait (not at all).
 *
 *     polkit_stand_in FILE
 */
#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

static const char *file;

/* "yes" and its like; the caller frees. */
static char *answer(void)
{
    char *text = NULL;

    return g_file_get_contents(file, &text, NULL, NULL) ? g_strchomp(text) : g_strdup("no");
}

static int on_check(sd_bus_message *m, void *user, sd_bus_error *error)
{
    const char *kind, *key, *type, *action, *id;
    uint64_t started = 0;
    uint32_t pid = 0, flags;
    int32_t uid = -1;
    int r = sd_bus_message_enter_container(m, 'r', "sa{sv}");

    if (r < 0 || sd_bus_message_read(m, "s", &kind) < 0 ||
        sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
        return -EINVAL;
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        sd_bus_message_read(m, "s", &key);
        sd_bus_message_peek_type(m, NULL, &type);
        void *into = strcmp(key, "pid") == 0          ? (void *)&pid
                     : strcmp(key, "start-time") == 0 ? (void *)&started
                                                      : (void *)&uid;
        if (sd_bus_message_read(m, "v", type, into) < 0)
            return -EINVAL;
        sd_bus_message_exit_container(m);
    }
    sd_bus_message_exit_container(m);
    sd_bus_message_exit_container(m);
    if (sd_bus_message_read(m, "s", &action) < 0 || sd_bus_message_skip(m, "a{ss}") < 0 ||
        sd_bus_message_read(m, "us", &flags, &id) < 0)
        return -EINVAL;
    g_autofree char *says = answer();
    printf("asked: %s of uid %d, %s, flags %u: %s\n", action, uid, pid && started ? kind : "nobody",
           flags, says);
    if (strcmp(says, "wait") == 0)
        return 1;
    bool dismissed = strcmp(says, "dismissed") == 0;
    return sd_bus_reply_method_return(m, "(bba{ss})", strcmp(says, "yes") == 0,
                                      strcmp(says, "nobody") == 0, dismissed, "polkit.dismissed",
                                      "true");
}

static int on_cancel(sd_bus_message *m, void *user, sd_bus_error *error)
{
    const char *id = "";

    sd_bus_message_read(m, "s", &id);
    printf("cancelled: %s\n", id);
    return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable table[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("CancelCheckAuthorization", "s", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int main(int argc, char **argv)
{
    sd_bus *bus = NULL;
    int r = argc == 2 ? sd_bus_open_system(&bus) : -EINVAL;

    setvbuf(stdout, NULL, _IOLBF, 0);
    file = argv[1];
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                     "org.freedesktop.PolicyKit1.Authority", table, NULL);
    if (r >= 0)
        r = sd_bus_request_name(bus, "org.freedesktop.PolicyKit1", 0);
    if (r >= 0)
        puts("ready");
    while (r >= 0) {
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
    }
    fprintf(stderr, "polkit_stand_in: %s\n", g_strerror(-r));
    sd_bus_unref(bus);
    return 1;
}
