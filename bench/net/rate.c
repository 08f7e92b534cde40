/*
 * One side of a measured TCP connection, for the guest: sends or receives a number of bytes.
 *
 *     rate send|receive ADDRESS PORT BYTES
 *
 * The first byte that goes over says which of the two. At the end the receiver answers with one
 * byte, so that the sender knows that all has arrived; run.py on the other side takes the time.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[256 * 1024];

static int connect_to(const char *address, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        err(1, "connecting to %s:%s", address, port);
    return fd;
}

static void send_all(int fd, size_t left)
{
    while (left) {
        ssize_t n = write(fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer));
        if (n < 0)
            err(1, "sending");
        left -= (size_t)n;
    }
    if (read(fd, buffer, 1) != 1)
        err(1, "waiting for the answer");
}

static void receive_all(int fd, size_t left)
{
    while (left) {
        ssize_t n = read(fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer));
        if (n <= 0)
            err(1, "receiving");
        left -= (size_t)n;
    }
    if (write(fd, buffer, 1) != 1)
        err(1, "answering");
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: rate send|receive ADDRESS PORT BYTES");
    int sending = strcmp(argv[1], "send") == 0;
    int fd = connect_to(argv[2], argv[3]);
    size_t bytes = strtoul(argv[4], NULL, 10);

    if (write(fd, sending ? "s" : "r", 1) != 1)
        err(1, "beginning");
    if (sending)
        send_all(fd, bytes);
    else
        receive_all(fd, bytes);
    return 0;
}
