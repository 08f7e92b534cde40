/* Code objects: targets, and the metadata of kernels. See code_object.h. */
#include "gpu/code/code_priv.h"

#include "gpu/code/msgpack.h"

#include <stdio.h>

/* --- targets ---------------------------------------------------------------------------------- */

/* EF_AMDGPU_MACH_*: processors that there is HIP for, and families of them. */
static const struct {
    uint8_t number;
    const char *name;
} processors[] = {
    {0x28, "gfx801"},        {0x29, "gfx802"},          {0x2a, "gfx803"},
    {0x2b, "gfx810"},        {0x2c, "gfx900"},          {0x2d, "gfx902"},
    {0x2e, "gfx904"},        {0x2f, "gfx906"},          {0x30, "gfx908"},
    {0x31, "gfx909"},        {0x32, "gfx90c"},          {0x33, "gfx1010"},
    {0x34, "gfx1011"},       {0x35, "gfx1012"},         {0x36, "gfx1030"},
    {0x37, "gfx1031"},       {0x38, "gfx1032"},         {0x39, "gfx1033"},
    {0x3c, "gfx805"},        {0x3d, "gfx1035"},         {0x3e, "gfx1034"},
    {0x3f, "gfx90a"},        {0x40, "gfx940"},          {0x41, "gfx1100"},
    {0x42, "gfx1013"},       {0x43, "gfx1150"},         {0x44, "gfx1103"},
    {0x45, "gfx1036"},       {0x46, "gfx1101"},         {0x47, "gfx1102"},
    {0x48, "gfx1200"},       {0x4a, "gfx1151"},         {0x4b, "gfx941"},
    {0x4c, "gfx942"},        {0x4e, "gfx1201"},         {0x4f, "gfx950"},
    {0x51, "gfx9-generic"},  {0x52, "gfx10-1-generic"}, {0x53, "gfx10-3-generic"},
    {0x54, "gfx11-generic"}, {0x55, "gfx1152"},         {0x58, "gfx1153"},
    {0x59, "gfx12-generic"}, {0x5f, "gfx9-4-generic"},
};

static const char *processor_of(uint32_t flags)
{
    for (size_t i = 0; i < G_N_ELEMENTS(processors); i++) {
        if (processors[i].number == (flags & 0xff))
            return processors[i].name;
    }
    return NULL;
}

/* A feature of version 4 and later: two bits, which tell that it is none of the processor's,
 * either, off or on. Before there was one bit a feature. */
static const char *feature(uint32_t flags, unsigned version, unsigned shift, const char *off,
                           const char *on)
{
    enum { OFF = 2, ON = 3 };
    unsigned bits = flags >> (8 + 2 * shift) & 3;

    if (version < 4)
        return flags >> (8 + shift) & 1 ? on : "";
    return bits == ON ? on : bits == OFF ? off : "";
}

bool code__target(struct code_object *o, uint32_t flags, unsigned abi, GError **err)
{
    enum { ABI_V3 = 1, ABI_V6 = 4 };
    const char *processor = processor_of(flags);

    if (abi < ABI_V3 || abi > ABI_V6)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the code object has ABI version %u, none of %d to %d", abi, ABI_V3,
                        ABI_V6);
    if (!processor)
        return vmd_fail(err, VMD_ERROR_UNSUPPORTED,
                        "the code object is for a processor that is not known: flags %#x", flags);
    o->version = abi + 2;
    snprintf(o->target, sizeof(o->target), "%s%s%s", processor,
             feature(flags, o->version, 1, ":sramecc-", ":sramecc+"),
             feature(flags, o->version, 0, ":xnack-", ":xnack+"));
    return true;
}

/* --- arguments -------------------------------------------------------------------------------- */

static bool wrong(GError **err, const char *kernel, const char *what)
{
    return vmd_fail(err, VMD_ERROR_INVALID, "the metadata of kernel %s is wrong: %s",
                    kernel ? kernel : "(without a name)", what);
}

static const struct {
    const char *name;
    enum code_arg_kind kind;
} kinds[] = {
    {"by_value", CODE_ARG_VALUE},
    {"global_buffer", CODE_ARG_POINTER},
    {"dynamic_shared_pointer", CODE_ARG_VALUE},
    {"sampler", CODE_ARG_POINTER},
    {"image", CODE_ARG_POINTER},
    {"pipe", CODE_ARG_POINTER},
    {"queue", CODE_ARG_POINTER},
    {"hidden_global_offset_x", CODE_ARG_GLOBAL_OFFSET},
    {"hidden_global_offset_y", CODE_ARG_GLOBAL_OFFSET},
    {"hidden_global_offset_z", CODE_ARG_GLOBAL_OFFSET},
    {"hidden_block_count_x", CODE_ARG_BLOCK_COUNT_X},
    {"hidden_block_count_y", CODE_ARG_BLOCK_COUNT_Y},
    {"hidden_block_count_z", CODE_ARG_BLOCK_COUNT_Z},
    {"hidden_group_size_x", CODE_ARG_GROUP_SIZE_X},
    {"hidden_group_size_y", CODE_ARG_GROUP_SIZE_Y},
    {"hidden_group_size_z", CODE_ARG_GROUP_SIZE_Z},
    {"hidden_remainder_x", CODE_ARG_REMAINDER},
    {"hidden_remainder_y", CODE_ARG_REMAINDER},
    {"hidden_remainder_z", CODE_ARG_REMAINDER},
    {"hidden_grid_dims", CODE_ARG_GRID_DIMS},
    {"hidden_dynamic_lds_size", CODE_ARG_DYNAMIC_LDS},
};

/* False where it is a kind that nobody could set: later compilers may have more that are hidden. */
static bool kind_of(const struct msgpack_value *v, enum code_arg_kind *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (msgpack_is(v, kinds[i].name)) {
            *out = kinds[i].kind;
            return true;
        }
    }
    *out = CODE_ARG_HIDDEN;
    return v->type == MSGPACK_STR && v->length > 7 && memcmp(v->bytes, "hidden_", 7) == 0;
}

static bool is_given(const struct code_arg *a)
{
    return a->kind <= CODE_ARG_POINTER;
}

static bool read_arg(struct msgpack *m, const char *kernel, struct code_arg *out, GError **err)
{
    struct msgpack_value map, key, v;
    bool offset = false, size = false, kind = false;

    *out = (struct code_arg){0};
    if (!msgpack_read(m, &map) || map.type != MSGPACK_MAP)
        return wrong(err, kernel, "an argument is no map");
    for (uint32_t i = 0; i < map.length; i++) {
        if (!msgpack_read(m, &key))
            return wrong(err, kernel, "an argument ends early");
        struct msgpack before = *m;
        if (!msgpack_skip(m) || !msgpack_read(&before, &v))
            return wrong(err, kernel, "an argument ends early");
        bool small = v.type == MSGPACK_UINT && v.number <= CODE_KERNARG;
        if (msgpack_is(&key, ".offset") && small) {
            out->offset = (uint32_t)v.number;
            offset = true;
        } else if (msgpack_is(&key, ".size") && small) {
            out->size = (uint32_t)v.number;
            size = true;
        } else if (msgpack_is(&key, ".value_kind")) {
            kind = kind_of(&v, &out->kind);
        }
    }
    return (offset && size && kind) ||
           wrong(err, kernel, "an argument has no offset, size or kind that is known");
}

/* --- kernels ---------------------------------------------------------------------------------- */

/* A copy with a 0 behind it; NULL: it is none. */
static const char *name_of(struct code_object *o, const struct msgpack_value *v)
{
    if (v->type != MSGPACK_STR || !v->length || v->length >= CODE_NAME ||
        memchr(v->bytes, 0, v->length))
        return NULL;
    char *name = g_strndup((const char *)v->bytes, v->length);
    g_ptr_array_add(o->owned, name);
    return name;
}

/* The array of arguments at M: those that a program gives come first, and none is where another
 * is. */
static bool read_args(struct code_object *o, struct code_kernel *k, struct msgpack m, GError **err)
{
    struct msgpack_value list;

    if (!msgpack_read(&m, &list) || list.type != MSGPACK_ARRAY || list.length > CODE_ARGS)
        return wrong(err, k->name, "its arguments are no list, or too many");
    struct code_arg *args = g_new0(struct code_arg, MAX(list.length, 1));
    uint32_t end = 0;
    bool hidden = false;

    g_ptr_array_add(o->owned, args);
    for (uint32_t i = 0; i < list.length; i++) {
        struct code_arg *a = &args[i];
        if (!read_arg(&m, k->name, a, err))
            return false;
        if (a->offset < end || a->size > k->kernarg_bytes || a->offset > k->kernarg_bytes - a->size)
            return wrong(err, k->name, "an argument is not within the segment, or in another");
        if (is_given(a) && hidden)
            return wrong(err, k->name, "an argument follows those that are hidden");
        hidden = !is_given(a);
        end = a->offset + a->size;
        if (!hidden) {
            k->n_given = i + 1;
            k->given_bytes = end;
        }
    }
    k->args = args;
    k->n_args = list.length;
    return true;
}

/* What a kernel's map is read for: numbers go where they are kept. */
static uint32_t *number_of(struct code_kernel *k, const struct msgpack_value *key)
{
    const struct {
        const char *name;
        uint32_t *to;
    } numbers[] = {
        {".kernarg_segment_size", &k->kernarg_bytes},
        {".kernarg_segment_align", &k->kernarg_align},
        {".group_segment_fixed_size", &k->group_bytes},
        {".private_segment_fixed_size", &k->private_bytes},
        {".wavefront_size", &k->wavefront},
        {".max_flat_workgroup_size", &k->max_threads},
        {".sgpr_count", &k->sgprs},
        {".vgpr_count", &k->vgprs},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (msgpack_is(key, numbers[i].name))
            return numbers[i].to;
    }
    return NULL;
}

static bool check_numbers(const struct code_kernel *k, GError **err)
{
    uint32_t align = k->kernarg_align;

    if (!k->name || !k->symbol || strlen(k->symbol) < 4)
        return wrong(err, k->name, "it has no name or no symbol");
    if (k->kernarg_bytes > CODE_KERNARG)
        return wrong(err, k->name, "its kernarg segment is too large");
    if (!align || (align & (align - 1)) || align > 4096)
        return wrong(err, k->name, "its kernarg segment has an alignment that is none");
    if ((k->wavefront != 32 && k->wavefront != 64) || !k->max_threads || k->max_threads > 1024)
        return wrong(err, k->name, "its wavefront or its largest work-group is none");
    return true;
}

static bool read_kernel(struct code_object *o, struct msgpack *m, GError **err)
{
    struct code_kernel k = {0};
    struct msgpack args = {0};
    struct msgpack_value map, key, v;

    if (!msgpack_read(m, &map) || map.type != MSGPACK_MAP)
        return wrong(err, NULL, "it is no map");
    for (uint32_t i = 0; i < map.length; i++) {
        if (!msgpack_read(m, &key))
            return wrong(err, k.name, "it ends early");
        struct msgpack before = *m, value = *m;
        if (!msgpack_skip(m) || !msgpack_read(&value, &v))
            return wrong(err, k.name, "it ends early");
        uint32_t *to = number_of(&k, &key);
        if (to && (v.type != MSGPACK_UINT || v.number > UINT32_MAX))
            return wrong(err, k.name, "a number is none");
        if (to)
            *to = (uint32_t)v.number;
        else if (msgpack_is(&key, ".name"))
            k.name = name_of(o, &v);
        else if (msgpack_is(&key, ".symbol"))
            k.symbol = name_of(o, &v);
        else if (msgpack_is(&key, ".args"))
            args = before;
    }
    if (!check_numbers(&k, err) || (args.at && !read_args(o, &k, args, err)))
        return false;
    g_array_append_val(o->kernels, k);
    return true;
}

/* --- the note --------------------------------------------------------------------------------- */

static bool read_kernels(struct code_object *o, struct msgpack *m, GError **err)
{
    struct msgpack_value list;

    if (!msgpack_read(m, &list) || list.type != MSGPACK_ARRAY || list.length > CODE_KERNELS)
        return vmd_fail(err, VMD_ERROR_INVALID, "the metadata's kernels are no list, or too many");
    for (uint32_t i = 0; i < list.length; i++) {
        if (!read_kernel(o, m, err))
            return false;
    }
    return true;
}

/* Versions of the metadata are 1.0 for code objects of version 3 and one more for each later one.
 */
static bool check_version(struct msgpack *m, GError **err)
{
    struct msgpack_value list, major, minor;

    if (!msgpack_read(m, &list) || list.type != MSGPACK_ARRAY || list.length != 2 ||
        !msgpack_read(m, &major) || !msgpack_read(m, &minor) || major.type != MSGPACK_UINT ||
        minor.type != MSGPACK_UINT)
        return vmd_fail(err, VMD_ERROR_INVALID, "the metadata's version is none");
    return major.number == 1 ||
           vmd_fail(err, VMD_ERROR_UNSUPPORTED, "the metadata has version %" G_GUINT64_FORMAT,
                    (guint64)major.number);
}

/* Since version 4 it says what it is for, as the flags of the ELF file do. */
static bool check_target(const struct code_object *o, struct msgpack *m, GError **err)
{
    static const char triple[] = "amdgcn-amd-amdhsa--";
    struct msgpack_value v;
    size_t skip = sizeof(triple) - 1;

    if (msgpack_read(m, &v) && v.type == MSGPACK_STR && v.length - skip == strlen(o->target) &&
        v.length > skip && memcmp(v.bytes, triple, skip) == 0 &&
        memcmp(v.bytes + skip, o->target, v.length - skip) == 0)
        return true;
    return vmd_fail(err, VMD_ERROR_INVALID, "the metadata is not for %s, as the ELF file is",
                    o->target);
}

bool code__metadata(struct code_object *o, const uint8_t *note, size_t bytes, GError **err)
{
    struct msgpack m = {note, note + bytes};
    struct msgpack_value map, key;
    bool version = false;

    if (!msgpack_read(&m, &map) || map.type != MSGPACK_MAP)
        return vmd_fail(err, VMD_ERROR_INVALID, "the metadata is no map");
    for (uint32_t i = 0; i < map.length; i++) {
        bool whole = msgpack_read(&m, &key);
        struct msgpack value = m;
        if (!whole || !msgpack_skip(&m))
            return vmd_fail(err, VMD_ERROR_INVALID, "the metadata ends early");
        if (msgpack_is(&key, "amdhsa.version")) {
            version = check_version(&value, err);
            if (!version)
                return false;
        } else if (msgpack_is(&key, "amdhsa.target")) {
            if (!check_target(o, &value, err))
                return false;
        } else if (msgpack_is(&key, "amdhsa.kernels")) {
            if (!read_kernels(o, &value, err))
                return false;
        }
    }
    return version || vmd_fail(err, VMD_ERROR_INVALID, "the metadata has no version");
}
