"""Disk images as bytes: ext4 file systems, GUID partition tables, qcow2."""
import os
import struct
import zlib

from debian import output_of

SECTOR = 512


def make_file_system(path, size, *options):
    """An ext4 file system of SIZE bytes in the file PATH."""
    with open(path, "wb") as image:
        image.truncate(size)
    output_of("mke2fs", "-q", "-F", "-t", "ext4", *options, str(path))


def partition_table(size, partitions, disk):
    """A GUID partition table (UEFI 2.10, 5.3) for a disk of SIZE bytes whose GUID is DISK: what its first
    and its last bytes are. PARTITIONS are of (type, GUID, name, first sector, number of sectors)."""
    sectors = size // SECTOR
    entries = b"".join(
        struct.pack("<16s16sQQQ72s", kind.bytes_le, own.bytes_le, first, first + n - 1, 0,
                    name.encode("utf-16-le"))
        for kind, own, name, first, n in partitions).ljust(128 * 128, b"\0")

    def header(here, other, table):
        fields = struct.pack("<8s4sIIIQQQQ16sQIII", b"EFI PART", b"\0\0\1\0", 92, 0, 0, here, other,
                             34, sectors - 34, disk.bytes_le, table, 128, 128, zlib.crc32(entries))
        check = zlib.crc32(fields)
        return (fields[:16] + struct.pack("<I", check) + fields[20:]).ljust(SECTOR, b"\0")

    protective = struct.pack("<446x4B4BII48xH", 0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1,
                             min(sectors - 1, 0xffffffff), 0xaa55)
    return (protective + header(1, sectors - 1, 2) + entries,
            entries + header(sectors - 1, 1, sectors - 33))


def data_clusters(raw, size, cluster):
    """The numbers of RAW's clusters that are not all zero, each with its contents."""
    at = 0
    while at < size:
        try:
            at = os.lseek(raw, at, os.SEEK_DATA) // cluster * cluster
        except OSError:  # nothing but a hole up to the end
            return
        data = os.pread(raw, cluster, at).ljust(cluster, b"\0")
        if data.count(0) != cluster:
            yield at // cluster, data
        at += cluster


def write_qcow2(source, target, bits=16):
    """Copies the raw image SOURCE to TARGET as qcow2 (version 3, clusters of 1 << BITS), zeros left
    out."""
    cluster = 1 << bits
    entries, counts = cluster // 8, cluster // 2        # of an L2 table, a refcount block
    size = source.stat().st_size
    tables = -(-size // (cluster * entries))            # of second level, a cluster each
    l1, l2 = [0] * tables, {}
    with open(source, "rb", buffering=0) as raw, open(target, "wb") as out:
        first = 1 + -(-tables * 8 // cluster)           # behind the header and the L1 table
        out.seek(first * cluster)
        count = first
        for number, data in data_clusters(raw.fileno(), size, cluster):
            out.write(data)
            row = l2.setdefault(number // entries, [0] * entries)
            row[number % entries] = count * cluster | 1 << 63
            count += 1
        for table, row in l2.items():
            out.write(struct.pack(f">{entries}Q", *row))
            l1[table] = count * cluster | 1 << 63
            count += 1
        # The blocks of reference counts and the table of these are counted, too.
        blocks, table_clusters = 0, 1
        while (wanted := -(-(count + blocks + table_clusters) // counts)) != blocks:
            blocks, table_clusters = wanted, -(-wanted * 8 // cluster)
        total = count + blocks + table_clusters
        for block in range(blocks):
            used = min(counts, total - block * counts)
            out.write(struct.pack(">H", 1) * used + bytes(cluster - 2 * used))
        refcounts = (count + blocks) * cluster
        out.write(struct.pack(f">{blocks}Q", *((count + i) * cluster for i in range(blocks)))
                  .ljust(table_clusters * cluster, b"\0"))
        out.seek(0)
        out.write(struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, bits, size, 0, tables,
                              cluster, refcounts, table_clusters, 0, 0, 0, 0, 0, 4, 104))
        out.seek(cluster)
        out.write(struct.pack(f">{tables}Q", *l1))
        out.flush()
        os.fsync(out.fileno())
