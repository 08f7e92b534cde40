/* Checksums that a guest left to its interface (RFC 1071; virtio 1.2, 5.1.6.2). */
#include "machine/net/net.h"

/* The ones' complement sum of LENGTH bytes, unfolded, as numbers of the host's byte order. */
static uint64_t sum(const uint8_t *at, size_t length)
{
    uint64_t total = 0;

    for (; length >= 4; at += 4, length -= 4) {
        uint32_t word;
        memcpy(&word, at, 4);
        total += word;
    }
    if (length >= 2) {
        uint16_t half;
        memcpy(&half, at, 2);
        total += half;
        at += 2;
        length -= 2;
    }
    if (length) {
        uint8_t last[2] = {*at, 0};
        uint16_t half;
        memcpy(&half, last, 2);
        total += half;
    }
    return total;
}

static uint16_t fold(uint64_t total)
{
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)total;
}

bool net_complete_checksum(const struct virtio_net_hdr_v1 *hdr, uint8_t *frame, size_t length)
{
    size_t start = GUINT16_FROM_LE(hdr->csum_start);
    size_t field = start + GUINT16_FROM_LE(hdr->csum_offset);

    if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
        return true;
    if (start < NET_FRAME_MIN || start >= length || field + 2 > length)
        return false;
    /* The field holds the sum of the pseudo header, so that it is part of what is summed. A sum
     * of zero is sent as its other form, since zero means "none" to UDP. */
    uint16_t check = (uint16_t)~fold(sum(frame + start, length - start));
    if (!check)
        check = 0xffff;
    memcpy(frame + field, &check, 2);
    return true;
}
