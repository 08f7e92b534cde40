/* vmctl xlate: what the translator does for a VM, its code cache, and what it remembers. */
#include "vmctl/commands.h"
#include "vmctl/profile.h"

#include <inttypes.h>

static void print_stats(const struct vm_xlate_stats *s)
{
    g_autofree char *bytes = size_format(s->bytes), *limit = size_format(s->limit_bytes);
    g_autofree char *size = size_format(s->size_bytes);
    g_autofree char *time = format_duration(s->translation_ns);

    printf("blocks        %" PRIu64 " in %s (size %s, limit %s)\n", s->len, bytes, size, limit);
    printf("size          grown %" PRIu64 " times, shrunk %" PRIu64 "; %" PRIu64
           " blocks translated again\n", s->grown, s->shrunk, s->retranslations);
    printf("lookups       %" PRIu64 ", %.2f %% hits\n", s->lookups, 100 * s->hit_rate);
    printf("edges         %" PRIu64 " direct, %.2f %% linked (%" PRIu64 " ever, %" PRIu64
           " across pages)\n",
           s->direct_edges, 100 * s->link_rate, s->links, s->cross_page_links);
    printf("translated    %" PRIu64 " blocks, %" PRIu64 " instructions in %s", s->translations,
           s->translated_instructions, time);
    if (s->translated_instructions)
        printf(" (%.0f ns each)",
               (double)s->translation_ns / (double)s->translated_instructions);
    printf("\ndropped       %" PRIu64 " for room, %" PRIu64 " changed; %" PRIu64 " clears\n",
           s->evictions, s->invalidations, s->clears);
    printf("warm          %" PRIu64 " blocks known before, %" PRIu64 " compiled ahead, %" PRIu64
           " used; %" PRIu64 " pages known, %" PRIu64 " not\n",
           s->warm_listed, s->warm_blocks, s->warm_used, s->warm_pages, s->warm_unmatched);
    printf("interpreted   %" PRIu64 " instructions\n", s->interpreted_instructions);
    for (size_t i = 0; i < s->n_patterns; i++)
        printf("pattern       %s: %" PRIu64 "\n", s->patterns[i]->name, s->patterns[i]->hits);
    for (size_t i = 0; i < s->n_vcpus; i++) {
        const struct vcpu_xlate_stats *v = s->vcpus[i];
        printf("vcpu%u         %" PRIu64 " entries, %" PRIu64 " lookups (%" PRIu64
               " hits), %" PRIu64 " TLB misses, %" PRIu64 " faults, %" PRIu64 " interrupts\n",
               v->index, v->blocks, v->lookups, v->hits, v->tlb_misses, v->faults, v->interrupts);
    }
}

static int stats(struct vmd_client *c, const struct arguments *args)
{
    struct xlate_stats_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(vm_xlate_stats) s = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_XLATE_STATS, &p, &s, NULL, &err))
        return fail(c, err);
    if (arguments_has(args, "json")) {
        struct json_object *json = vm_xlate_stats_encode(s);
        print_json(json);
        json_object_put(json);
    } else {
        print_stats(s);
    }
    return VMCTL_EXIT_OK;
}

static int clear(struct vmd_client *c, const struct arguments *args)
{
    struct xlate_clear_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(xlate_clear_result) r = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_XLATE_CLEAR, &p, &r, NULL, &err))
        return fail(c, err);
    g_autofree char *bytes = size_format(r->bytes);
    printf("dropped %" PRIu64 " blocks, %s\n", r->blocks, bytes);
    return VMCTL_EXIT_OK;
}

static int limit(struct vmd_client *c, const struct arguments *args)
{
    struct xlate_limit_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(xlate_limit_result) r = NULL;
    GError *err = NULL;

    if (!arguments_at(args, 2))
        return usage_error(args->command, "limit needs a SIZE");
    if (!size_parse(arguments_at(args, 2), &p.bytes, &err) ||
        !vmd_client_invoke(c, API_XLATE_LIMIT, &p, &r, NULL, &err))
        return fail(c, err);
    g_autofree char *bytes = size_format(r->bytes);
    printf("limit %s\n", bytes);
    return VMCTL_EXIT_OK;
}

static int warm(struct vmd_client *c, const struct arguments *args)
{
    struct xlate_warm_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(xlate_warm_result) r = NULL;
    GError *err = NULL;

    if (!vmd_client_invoke(c, API_XLATE_WARM, &p, &r, NULL, &err))
        return fail(c, err);
    printf("remembered %" PRIu64 " blocks in %" PRIu64 " pages\n", r->blocks, r->pages);
    return VMCTL_EXIT_OK;
}

static int watch(struct vmd_client *c, const struct arguments *args)
{
    struct xlate_watch_params p = {.vm = (char *)arguments_at(args, 1)};
    g_autoptr(xlate_watch_result) r = NULL;
    uint64_t hit = 0, link = 0;
    GError *err = NULL;

    if (!arguments_number(args, "least-hit", 100, &hit, &err) ||
        !arguments_number(args, "least-link", 100, &link, &err))
        return fail(c, err);
    p.has_hit_percent = arguments_has(args, "least-hit");
    p.hit_percent = (uint32_t)hit;
    p.has_link_percent = arguments_has(args, "least-link");
    p.link_percent = (uint32_t)link;
    if (!vmd_client_invoke(c, API_XLATE_WATCH, &p, &r, NULL, &err))
        return fail(c, err);
    printf("least hits    %u %%\nleast linked  %u %%\n", r->hit_percent, r->link_percent);
    return VMCTL_EXIT_OK;
}

/* Takes an instruction set in place of a VM. */
static int forget(struct vmd_client *c, const struct arguments *args)
{
    struct xlate_forget_params p = {0};
    GError *err = NULL;

    if (!vm_arch_from_string(arguments_at(args, 1), &p.arch, NULL))
        return usage_error(args->command, "'%s' is no instruction set: riscv64, aarch64 or x86_64",
                           arguments_at(args, 1));
    if (!vmd_client_invoke(c, API_XLATE_FORGET, &p, NULL, NULL, &err))
        return fail(c, err);
    return VMCTL_EXIT_OK;
}

static int run(const struct arguments *args)
{
    static const struct part_row parts[] = {{"stats", stats, 2}, {"clear", clear, 2}, {"limit", limit, 3}, {"warm", warm, 2},
                 {"watch", watch, 2}, {"profile", profile_command, 2}, {"forget", forget, 2}};

    return run_part(args, parts, G_N_ELEMENTS(parts));
}

static const struct option_row options[] = {
    {"least-hit", "PERCENT", "of watch: tell when less of the lookups hit; 0: never", NULL},
    {"least-link", "PERCENT", "of watch: tell when less of the direct edges are linked; 0: never",
     NULL},
    {"seconds", "N", "of profile: how long to sample, 10 where not given; Ctrl-C ends it earlier", NULL},
    {"rate", "HZ", "of profile: samples a second of each vCPU, 1 to 1000; 200 where not given", NULL},
    {"folded", "FILE", "of profile: write folded stacks there, for flame graphs", "@file"},
    {"map", "FILE", "of profile: write the addresses of translated code there, as perf reads them",
     "@file"},
    {"symbols", "FILE", "of profile: a System.map or an ELF file that names the guest's addresses",
     "@file"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_xlate = {
    .name = "xlate",
    .synopsis = "stats|clear|limit|warm|watch|profile VM [SIZE] | forget ARCH",
    .doc = "show the translator's counters, drop its code, bound its cache, remember what is hot, profile",
    .more = "profile samples where the vCPUs are and prints the blocks of guest code in which they were found "
            "most; the guest goes on meanwhile. The file of --folded is what flamegraph.pl and speedscope read; that "
            "of --map is for perf, which looks for it as /tmp/perf-PID.map, PID being the VM's process.",
    .options = options,
    .least = 2,
    .most = 3,
    .positional_kind = "stats clear limit warm watch profile forget",
    .run = run,
};
