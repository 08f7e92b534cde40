/* Floating point: scalar double, vectorisable loops, libm. Checksums are
 * rounded, so that fused multiply-add may be used or not. */
#include "xb.h"
#include <math.h>
#include <string.h>

static u64 fix(double x, double scale)
{
    return (u64)llround(fabs(x) * scale);
}

static u64 b_nbody(void)
{
    static struct body {
        double p[3], v[3], m;
    } b[5] = {{{0}, {0}, 39.478},
              {{4.84, -1.16, -0.1}, {0.6, 2.81, -0.02}, 0.0377},
              {{8.34, 4.12, -0.4}, {-1.01, 1.82, 0.008}, 0.0113},
              {{12.89, -15.11, -0.22}, {1.08, 0.87, -0.01}, 0.0017},
              {{15.38, -25.92, 0.18}, {0.98, 0.59, -0.03}, 0.002}};
    double e = 0;

    start();
    for (int n = 0; n < 1000000; n++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double d[3], q = 0, f;
                for (int k = 0; k < 3; k++) {
                    d[k] = b[i].p[k] - b[j].p[k];
                    q += d[k] * d[k];
                }
                f = 0.001 / (q * sqrt(q));
                for (int k = 0; k < 3; k++) {
                    b[i].v[k] -= d[k] * b[j].m * f;
                    b[j].v[k] += d[k] * b[i].m * f;
                }
            }
        for (int i = 0; i < 5; i++)
            for (int k = 0; k < 3; k++)
                b[i].p[k] += 0.001 * b[i].v[k];
    }
    for (int i = 0; i < 5; i++) {
        double v = 0;
        for (int k = 0; k < 3; k++)
            v += b[i].v[k] * b[i].v[k];
        e += 0.5 * b[i].m * v;
        for (int j = i + 1; j < 5; j++) {
            double q = 0;
            for (int k = 0; k < 3; k++)
                q += (b[i].p[k] - b[j].p[k]) * (b[i].p[k] - b[j].p[k]);
            e -= b[i].m * b[j].m / sqrt(q);
        }
    }
    return fix(e, 1e6);
}

static u64 b_mandel(void)
{
    u64 in = 0;
    for (int y = 0; y < 500; y++)
        for (int x = 0; x < 500; x++) {
            /* offsets keep points off the exact boundary */
            double cr = x * 0.006 - 2.2003, ci = y * 0.0056 - 1.4003;
            double zr = 0, zi = 0;
            int n = 0;
            while (n < 300) {
                double r2 = zr * zr, i2 = zi * zi;
                if (r2 + i2 > 4)
                    break;
                zi = 2 * zr * zi + ci;
                zr = r2 - i2 + cr;
                n++;
            }
            in += n == 300;
        }
    return (in + 25) / 50;
}

enum { MM = 320 };
static double ma[MM][MM], mb[MM][MM], mc[MM][MM];
static u64 b_matmul(void) /* double, vectorised where the ISA can */
{
    double t = 0;
    for (int i = 0; i < MM; i++)
        for (int j = 0; j < MM; j++) {
            ma[i][j] = (i * 7 + j * 3) % 11 * 0.25 - 1;
            mb[i][j] = (i * 5 + j * 9) % 13 * 0.5 - 2;
        }
    start();
    for (int r = 0; r < 10; r++) {
        memset(mc, 0, sizeof mc);
        for (int i = 0; i < MM; i++)
            for (int k = 0; k < MM; k++) {
                double a = ma[i][k] + r;
                for (int j = 0; j < MM; j++)
                    mc[i][j] += a * mb[k][j];
            }
        for (int i = 0; i < MM; i++)
            for (int j = 0; j < MM; j++)
                t += mc[i][j] * ((i ^ j) & 3);
    }
    return fix(t, 1);
}

static float fa[8192], fb[8192];
static u64 b_saxpy(void) /* float */
{
    float t = 0;
    for (int i = 0; i < 8192; i++)
        fa[i] = i % 17, fb[i] = 0;
    start();
    for (int k = 0; k < 30000; k++) {
        float c = k % 3 == 0 ? 0.5f : k % 3 == 1 ? -0.25f : -0.25f;
        for (int i = 0; i < 8192; i++)
            fb[i] += c * fa[i];
    }
    for (int i = 0; i < 8192; i++)
        t += fb[i] + fa[i];
    return fix(t, 1);
}

static u64 b_linpack(void) /* LU with partial pivoting, 400x400 x6 */
{
    enum { N = 400 };
    static double a[N][N], x[N];
    double t = 0;

    for (int r = 0; r < 6; r++) {
        u64 s = 42 + r;
        for (int i = 0; i < N; i++) {
            x[i] = 0;
            for (int j = 0; j < N; j++) {
                a[i][j] = (double)(rnd(&s) >> 40) / 65536 - 128;
                x[i] += a[i][j];
            }
        }
        if (!r)
            start();
        for (int k = 0; k < N; k++) {
            int p = k;
            for (int i = k + 1; i < N; i++)
                if (fabs(a[i][k]) > fabs(a[p][k]))
                    p = i;
            if (p != k) {
                double tmp[N], y = x[k];
                memcpy(tmp, a[k], sizeof tmp);
                memcpy(a[k], a[p], sizeof tmp);
                memcpy(a[p], tmp, sizeof tmp);
                x[k] = x[p];
                x[p] = y;
            }
            for (int i = k + 1; i < N; i++) {
                double f = a[i][k] / a[k][k];
                for (int j = k; j < N; j++)
                    a[i][j] -= f * a[k][j];
                x[i] -= f * x[k];
            }
        }
        for (int i = N - 1; i >= 0; i--) {
            for (int j = i + 1; j < N; j++)
                x[i] -= a[i][j] * x[j];
            x[i] /= a[i][i];
        }
        for (int i = 0; i < N; i++)
            t += x[i]; /* all ones */
    }
    return fix(t, 1e3);
}

static u64 b_whet(void) /* libm and mixed scalar code */
{
    double x = 0.5, y = 0.7, t = 0.49, e[4] = {1, -1, -1, -1}, s = 0;
    for (int i = 0; i < 800000; i++) {
        for (int k = 0; k < 4; k++) {
            e[0] = (e[0] + e[1] + e[2] - e[3]) * t;
            e[1] = (e[0] + e[1] - e[2] + e[3]) * t;
            e[2] = (e[0] - e[1] + e[2] + e[3]) * t;
            e[3] = (-e[0] + e[1] + e[2] + e[3]) * t;
        }
        x = t * atan(2 * sin(x) * cos(x) / (cos(x + y) + cos(x - y) + 2.1));
        y = t * exp(log(x * x + 1.3) / 0.75);
        s += sqrt(x * x + y * y) + pow(y + 1, 0.3) + (e[0] + e[3]) * 1e-3;
    }
    return fix(s, 1);
}

static u64 b_fconv(void) /* conversions, compares, div, sqrt, min/max */
{
    u64 s = 3, n = 0;
    double acc = 0;
    for (int i = 0; i < 8000000; i++) {
        u64 r = rnd(&s);
        double d = (double)(int64_t)(r >> 20);
        float f = (float)(int)(r & 0xfffff);
        double q = d / (f + 1.0);
        if (q > acc)
            acc += sqrt(q);
        else
            acc = acc * 0.5 + f;
        acc = fmin(acc, 1e12);
        n += (u64)(q * 0.0009765625) & 1;
        n += (int)f > (int)(d * 1e-8);
    }
    return n + (acc > 1);
}

const struct bench fp_benches[] = {
    {"nbody", "fp", b_nbody, 0x297b0},      {"mandel", "fp", b_mandel, 0x389},
    {"whet", "fp", b_whet, 0x16c9b4},       {"fconv", "fp", b_fconv, 0xacdf84},
    {"linpack", "fp", b_linpack, 0x249f00}, {"matmul", "fp", b_matmul, 0x8b283b0f},
    {"saxpy", "fp", b_saxpy, 0xfff1},       {0}};
