/* SPDX-License-Identifier: MIT (guest/LICENSE) */
/*
 * gpu/code/hip_properties: what hipGetDevicePropertiesR0600() tells of a device, declared anew, and
 * the numbers of a device's attributes: those of HIP 6 that are used here. Guests compile it, too.
 */
#ifndef GPU_CODE_HIP_PROPERTIES_H
#define GPU_CODE_HIP_PROPERTIES_H

#include <stddef.h>

struct hip_properties {
    char name[256], uuid[16], luid[8];
    unsigned luid_node_mask;
    size_t total_memory, shared_per_block;
    int registers_per_block, warp;
    size_t pitch_most;
    int threads_per_block, block_most[3], grid_most[3], clock_khz;
    size_t constant_memory;
    int major, minor;
    size_t texture_alignment, texture_pitch_alignment;
    int overlap, multiprocessors, kernel_timeout, integrated, maps_host, compute_mode;
    int textures[26];
    int surfaces[14];
    size_t surface_alignment;
    int concurrent_kernels, ecc, pci_bus, pci_device, pci_domain, tcc, async_engines,
        unified_addresses, memory_khz, memory_bits, l2_bytes, l2_persisting,
        threads_per_multiprocessor, stream_priorities, l1_of_globals, l1_of_locals;
    size_t shared_per_multiprocessor;
    int registers_per_multiprocessor, managed, multi_board, multi_board_group, host_atomics,
        single_to_double, pageable, managed_concurrently, preemption, registered_at_host_address,
        cooperative, cooperative_multi;
    size_t shared_per_block_optin;
    int pageable_by_host_tables, managed_from_host, blocks_per_multiprocessor, access_window_most;
    size_t reserved_shared;
    int registers_host, sparse_arrays, registers_read_only, timeline_semaphores, pools, rdma;
    unsigned rdma_flush;
    int rdma_order;
    unsigned pool_handles;
    int deferred_arrays, ipc_events, clusters, unified_functions, reserved[63], hip_reserved[32];
    char target[256]; /* gcnArchName: "gfx90a:sramecc+:xnack-" */
    size_t shared_most_per_multiprocessor;
    int clock_instruction_khz;
    unsigned features;
    unsigned *hdp_memory_flush, *hdp_register_flush;
    int unmatched[4], large_bar, revision;
};

_Static_assert(offsetof(struct hip_properties, target) == 1160, "as programs have it");
_Static_assert(sizeof(struct hip_properties) == 1472, "as programs have it");

#endif
