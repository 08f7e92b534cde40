/*
 * Says on its standard output what the kernel tells of the guest's virtio and SCSI devices: "bound SUBSYSTEM"
 * when a driver has taken one, "gone SUBSYSTEM" when one has left. For bench/hotplug.py.
 */
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The value of NAME= in the N bytes of strings at TEXT, the message's header first; "" without one. */
static const char *field(const char *text, size_t n, const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; i < n; i += strlen(text + i) + 1) {
        if (strncmp(text + i, name, length) == 0 && text[i + length] == '=')
            return text + i + length + 1;
    }
    return "";
}

static void tell(const char *text, size_t n)
{
    const char *action = field(text, n, "ACTION"), *subsystem = field(text, n, "SUBSYSTEM");
    int scsi = strcmp(subsystem, "scsi") == 0 && !strcmp(field(text, n, "DEVTYPE"), "scsi_device");
    int bound = strcmp(action, "bind") == 0;
    char line[64];

    if ((!scsi && strcmp(subsystem, "virtio") != 0) || (!bound && strcmp(action, "remove") != 0))
        return;
    int length = snprintf(line, sizeof(line), "%s %s\n", bound ? "bound" : "gone", subsystem);
    if (write(1, line, (size_t)length) != length)
        _exit(1);
}

int main(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
    char text[8192];
    ssize_t n;

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        perror("bound");
        return 1;
    }
    puts("watching");
    fflush(stdout);
    while ((n = recv(fd, text, sizeof(text) - 1, 0)) > 0) {
        text[n] = '\0';
        tell(text, (size_t)n);
    }
    perror("bound");
    return 1;
}
