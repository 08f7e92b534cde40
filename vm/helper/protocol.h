/*
 * vm/helper: what vmd-helper and its clients say to each other.
 *
 * One SOCK_SEQPACKET connection, one packet a request, one a reply, both of fixed size and in the
 * host's byte order (the two run on one machine). A descriptor comes with the reply. A packet of
 * another size or version ends the connection.
 */
#ifndef VM_HELPER_PROTOCOL_H
#define VM_HELPER_PROTOCOL_H

#include "base/base.h"

#define HELPER_SOCKET  "/run/vmd-helper.sock"
#define HELPER_RULES   "/etc/vmd/helper.rules"
#define HELPER_LEASES  "/run/vmd-helper/leases"
#define HELPER_VERSION 1

/* Every request there is. */
enum helper_kind {
    HELPER_TAP = 1, /* open tap interface NAME, made if it is not there, and set it up */
    /* give the host's PCI function NAME ("0000:01:00.0") to vfio-pci while the connection lasts,
     * and open its IOMMU group */
    HELPER_HOST = 2,
};

struct helper_request {
    uint32_t version;
    uint32_t kind;
    char name[16]; /* ends with a zero */
};

struct helper_reply {
    uint32_t version;
    int32_t error;  /* -1: done; else an enum vmd_error */
    char text[248]; /* of the error; ends with a zero */
};

#endif
