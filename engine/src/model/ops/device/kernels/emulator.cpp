// The trainer's kernels on processor threads: `training.cu` as it stands.
#include "emulated.h"

#include <cstdio>
#include <utility>

#include "training.cu"

namespace {

template <class... Types, size_t... Places>
bool bind(std::function<void()> &run, void (*kernel)(Types...), const void *const *arguments, const u32 *sizes, u32 count,
          std::index_sequence<Places...>)
{
    if (count != sizeof...(Types) || !((sizes[Places] == sizeof(Types)) && ...)) {
        return false;
    }
    run = [=] { kernel(*(const Types *)arguments[Places]...); };
    return true;
}

template <class... Types>
bool bind(std::function<void()> &run, void (*kernel)(Types...), const void *const *arguments, const u32 *sizes, u32 count)
{
    return bind(run, kernel, arguments, sizes, count, std::index_sequence_for<Types...>{});
}

} // namespace

// Runs the kernel called `name`; false where there is none, or it takes other arguments.
extern "C" bool falsetto_launch(const char *name, u32 blocks, u32 threads, const void *const *arguments, const u32 *sizes, u32 count)
{
    using namespace emulated;
    std::function<void()> run;
    bool fits = false;
#define KERNEL_NAMED(kernel)                              \
    if (std::strcmp(name, #kernel) == 0) {                \
        fits = bind(run, kernel, arguments, sizes, count); \
    }
    KERNEL_NAMED(falsetto_swap)
    KERNEL_NAMED(falsetto_row_sums)
    KERNEL_NAMED(falsetto_column_sums)
    KERNEL_NAMED(falsetto_sum_parts)
    KERNEL_NAMED(falsetto_layer_weights)
    KERNEL_NAMED(falsetto_taps)
    KERNEL_NAMED(falsetto_gate)
    KERNEL_NAMED(falsetto_leave_layers)
    KERNEL_NAMED(falsetto_gate_gradient)
    KERNEL_NAMED(falsetto_path_gradient)
    KERNEL_NAMED(falsetto_layer_weights_gradient)
    KERNEL_NAMED(falsetto_skip_relu)
    KERNEL_NAMED(falsetto_hidden)
    KERNEL_NAMED(falsetto_nll)
    KERNEL_NAMED(falsetto_nll_gradient)
    KERNEL_NAMED(falsetto_hidden_gradient)
    KERNEL_NAMED(falsetto_skip_gradient)
    KERNEL_NAMED(falsetto_input)
    KERNEL_NAMED(falsetto_input_tables_gradient)
    KERNEL_NAMED(falsetto_frame_basis)
    KERNEL_NAMED(falsetto_frame_basis_gradient)
    KERNEL_NAMED(falsetto_reflection)
    KERNEL_NAMED(falsetto_reflection_gradient)
    KERNEL_NAMED(falsetto_windows)
    KERNEL_NAMED(falsetto_windows_gradient)
    KERNEL_NAMED(falsetto_leave_convolution)
    KERNEL_NAMED(falsetto_squares)
    KERNEL_NAMED(falsetto_adam)
    KERNEL_NAMED(falsetto_follow)
    if (!fits) {
        return false;
    }
    std::vector<std::unique_ptr<Chip>> chips;
    std::vector<std::vector<Place>> places(blocks);
    for (u32 block = 0; block < blocks; ++block) {
        chips.push_back(std::make_unique<Chip>(threads, 0));
        for (u32 thread = 0; thread < threads; ++thread) {
            places[block].push_back({{thread}, {block}, {threads}, {blocks}, chips[block].get(), &chips[block], nullptr});
        }
    }
    // All blocks at the same time where ThreadSanitizer looks on.
    std::vector<std::thread> running;
    for (auto &block : places) {
#ifdef THREADS
        running.emplace_back([&] { run_block(run, block); });
#else
        run_block(run, block);
#endif
    }
    for (std::thread &thread : running) {
        thread.join();
    }
    return true;
}
