// A card's threads on the processor's, for tests on machines without a GPU: what kernels, compiled as C++20, find of CUDA.
//
// Every block is a thread of the system. A block's threads are fibres of it that give way at barriers, or, with THREADS
// defined, threads of the system too, so that ThreadSanitizer sees what is not ordered.
#pragma once
#define EMULATED

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>
#ifndef THREADS
#include <csetjmp>
#include <ucontext.h>
#endif

namespace emulated {

struct Index { unsigned x; };

#ifdef THREADS

struct Barrier {
    std::barrier<> barrier;
    explicit Barrier(unsigned threads) : barrier(threads) {}
    void wait() { barrier.arrive_and_wait(); }
};
inline void give_way() { std::this_thread::yield(); }

#else

// Begun by a context, which costs calls of the system, and gone on with by jumps, which cost none.
struct Fibre {
    ucontext_t begin;
    jmp_buf left_at;
    // Not cleared: most of it is never touched.
    static constexpr size_t STACK_BYTES = 256 * 1024;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    bool has_begun = false, is_done = false;
};
thread_local jmp_buf scheduler;
thread_local Fibre *fibre;

inline void give_way()
{
    if (_setjmp(fibre->left_at) == 0) {
        _longjmp(scheduler, 1);
    }
}

struct Barrier {
    unsigned threads, waiting = 0, rounds = 0;
    explicit Barrier(unsigned threads) : threads(threads) {}
    void wait()
    {
        unsigned round = rounds;
        if (++waiting == threads) {
            waiting = 0;
            ++rounds;
        } else {
            while (rounds == round) {
                give_way();
            }
        }
    }
};

#endif

struct Warp {
    Barrier barrier{32};
    unsigned values[32];
};

struct Chip {
    std::vector<unsigned> memory;
    Barrier barrier;
    std::vector<std::unique_ptr<Warp>> warps;
    // Filled with what is no number, so that what is read before it was written is seen.
    Chip(unsigned threads, unsigned words) : memory(words, 0x7fc00000u), barrier(threads)
    {
        for (unsigned warp = 0; warp < threads / 32; ++warp) {
            warps.push_back(std::make_unique<Warp>());
        }
    }
};

struct Place {
    Index thread, block, threads, blocks;
    Chip *chip;
    // Of the first block of this one's cluster, and what the cluster's threads meet at.
    std::unique_ptr<Chip> *cluster;
    std::barrier<> *meeting;
};
thread_local Place *here;

inline Warp &warp() { return *here->chip->warps[here->thread.x / 32]; }

// Every lane's value, for `use` to read.
template <class Use> unsigned exchanged(unsigned value, Use use)
{
    Warp &mine = warp();
    mine.values[here->thread.x % 32] = value;
    mine.barrier.wait();
    unsigned result = use(mine.values);
    mine.barrier.wait();
    return result;
}

} // namespace emulated

#define threadIdx (emulated::here->thread)
#define blockIdx (emulated::here->block)
#define blockDim (emulated::here->threads)
#define gridDim (emulated::here->blocks)
#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define CHIP_MEMORY(name) unsigned *name = emulated::here->chip->memory.data()

inline void __syncthreads() { emulated::here->chip->barrier.wait(); }
inline void __syncwarp() { emulated::warp().barrier.wait(); }

inline float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline unsigned __float_as_uint(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __int2float_rn(int value) { return (float)value; }
inline int __float2int_rn(float value) { return (int)std::lrint(value); }

inline int __shfl_xor_sync(unsigned, int value, unsigned mask)
{
    unsigned lane = threadIdx.x % 32;
    return (int)emulated::exchanged((unsigned)value, [&](const unsigned *values) { return values[lane ^ mask]; });
}
inline float __shfl_xor_sync(unsigned all, float value, unsigned mask)
{
    return __uint_as_float((unsigned)__shfl_xor_sync(all, (int)__float_as_uint(value), mask));
}
inline double __shfl_xor_sync(unsigned all, double value, unsigned mask)
{
    unsigned halves[2];
    std::memcpy(halves, &value, 8);
    for (unsigned &half : halves) {
        half = (unsigned)__shfl_xor_sync(all, (int)half, mask);
    }
    std::memcpy(&value, halves, 8);
    return value;
}

namespace emulated {

#ifdef THREADS

inline void run_block(const std::function<void()> &run_thread, std::vector<Place> &places)
{
    std::vector<std::thread> threads;
    for (Place &place : places) {
        threads.emplace_back([&] {
            here = &place;
            run_thread();
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

#else

thread_local const std::function<void()> *launched;

inline void begin_fibre()
{
    (*launched)();
    fibre->is_done = true;
    _longjmp(scheduler, 1);
}

// Runs a fibre until it gives way or ends.
inline void resume()
{
    if (_setjmp(scheduler) != 0) {
        return;
    }
    if (fibre->has_begun) {
        _longjmp(fibre->left_at, 1);
    }
    fibre->has_begun = true;
    setcontext(&fibre->begin);
}

inline void run_block(const std::function<void()> &run_thread, std::vector<Place> &places)
{
    launched = &run_thread;
    std::vector<Fibre> fibres(places.size());
    for (Fibre &fibre : fibres) {
        getcontext(&fibre.begin);
        fibre.begin.uc_stack.ss_sp = fibre.stack.get();
        fibre.begin.uc_stack.ss_size = Fibre::STACK_BYTES;
        fibre.begin.uc_link = nullptr;
        makecontext(&fibre.begin, begin_fibre, 0);
    }
    for (bool runs = true; runs;) {
        runs = false;
        for (size_t index = 0; index < fibres.size(); ++index) {
            if (!fibres[index].is_done) {
                runs = true;
                fibre = &fibres[index];
                here = &places[index];
                resume();
            }
        }
        // The other blocks may wait for this processor.
        std::this_thread::yield();
    }
}

#endif

} // namespace emulated
