// Kernels for AMD's GPUs, compiled by make.sh beside this file without any of ROCm's headers and libraries. What they take
// is of each size and alignment that arguments have; what they do is little: the stand-in for the driver does it in C.
#define GLOBAL extern "C" __attribute__((global))
#define SHARED __attribute__((shared))

struct odd {
    char bytes[3];
};

struct wide {
    int number;
    double value;
    short last;
};

struct __attribute__((aligned(16))) vec {
    float x, y, z, w;
};

struct many {
    unsigned v[200];
};

static __attribute__((device)) unsigned index()
{
    return __builtin_amdgcn_workgroup_id_x() * __builtin_amdgcn_workgroup_size_x() + __builtin_amdgcn_workitem_id_x();
}

__attribute__((device)) unsigned table[16];

GLOBAL void nothing()
{
}

GLOBAL void add(float *out, const float *a, const float *b, int n)
{
    unsigned i = index();
    if (i < (unsigned)n)
        out[i] = a[i] + b[i];
}

GLOBAL void twice(unsigned *v, unsigned n)
{
    unsigned i = index();
    if (i < n)
        v[i] *= 2;
}

GLOBAL void mixed(char c, double d, short s, float f, odd o, unsigned char *out, long long l, wide w, bool b, vec v, int last)
{
    double sum = c + d + s + f + o.bytes[0] + l + w.number + w.value + w.last + b + v.x + v.w + last;
    *(double *)out = sum;
}

GLOBAL void large(unsigned *out, many all, unsigned which)
{
    *out = all.v[which % 200];
}

GLOBAL void dims(unsigned *out)
{
    if (__builtin_amdgcn_workitem_id_x() == 0) {
        out[0] = __builtin_amdgcn_workgroup_size_x();
        out[1] = __builtin_amdgcn_workgroup_size_y();
        out[2] = __builtin_amdgcn_workgroup_size_z();
        out[3] = __builtin_amdgcn_grid_size_x();
    }
}

GLOBAL __attribute__((amdgpu_flat_work_group_size(1, 128))) void shared_sum(const unsigned *in, unsigned *out)
{
    SHARED unsigned part[128];
    unsigned t = __builtin_amdgcn_workitem_id_x();
    part[t] = in[t];
    __builtin_amdgcn_s_barrier();
    if (t == 0) {
        unsigned sum = 0;
        for (int i = 0; i < 128; i++)
            sum += part[i];
        *out = sum + table[0];
    }
}

extern SHARED unsigned dynamic[];
GLOBAL void dynamic_lds(unsigned *out, unsigned n)
{
    unsigned t = __builtin_amdgcn_workitem_id_x();
    dynamic[t] = t;
    __builtin_amdgcn_s_barrier();
    if (t == 0)
        *out = dynamic[n];
}

template <typename T> __attribute__((global)) void scale(T *v, T by)
{
    v[index()] *= by;
}
template __attribute__((global)) void scale<int>(int *, int);
template __attribute__((global)) void scale<double>(double *, double);
