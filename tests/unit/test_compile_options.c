/* Options of compilers that guests may give, and those that load code. */
#include "gpu/server/compile_options.h"
#include "tests/unit/unit.h"

static const struct {
    const char *option;
    bool refused;
} options[] = {
    {"", false},
    {"-O3", false},
    {"-std=c++17", false},
    {"-DX=\"a b\"", false},
    {"-Dplugin=@", false},
    {"-D", false},
    {"-DLOAD=-load", false},
    {"-I/opt/plugins", false},
    {"--offload-arch=gfx90a:sramecc+:xnack-", false},
    {"-mllvm", false},
    {"-amdgpu-early-inline-all=true", false},
    {"-include", false},
    {"-lm", false},
    {"-Xclang", false},
    {"-munsafe-fp-atomics", false},
    {"-fplugin=/tmp/x.so", true},
    {"-fplugin-arg-x-y", true},
    {"-fpass-plugin=/tmp/x.so", true},
    {"--fpass-plugin=x", true},
    {"-plugin", true},
    {"-add-plugin", true},
    {"-load", true},
    {"--load", true},
    {"-load=/tmp/x.so", true},
    {"-load-pass-plugin=/tmp/x.so", true},
    {"-Xclang=-load", true},
    {"-mllvm=-load=/tmp/x.so", true},
    {"-mllvm -load=/tmp/x.so", true},
    {"-DX -load x.so", true},
    {"\t-load", true},
    {"\"-load\"", true},
    {"@options", true},
    {"-O3 @options", true},
    {"-B/tmp", true},
    {"--prefix=/tmp", true},
    {"--config", true},
    {"--config=/tmp/x", true},
    {"-fuse-ld=/tmp/x", true},
    {"--ld-path=/tmp/x", true},
    {"-wrapper", true},
    {"-specs=x", true},
    {"-Wl,-mllvm,-load=x", true},
    {"-Xlinker", true},
    {"-Xoffload-linker", true},
};

START_TEST(each)
{
    ck_assert_msg(compile_option_is_refused(options[_i].option) == options[_i].refused, "%s",
                  options[_i].option);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("compile-options");
    TCase *tc = tcase_create("compile-options");

    tcase_add_loop_test(tc, each, 0, G_N_ELEMENTS(options));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
