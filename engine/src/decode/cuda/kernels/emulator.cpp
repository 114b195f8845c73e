// The kernel on processor threads, for tests on machines without a GPU: `decoder.cu` as it stands, compiled as C++20.
//
// Every block is a thread of the system. A block's threads are fibres of it that give way at barriers, or, with THREADS
// defined, threads of the system too, so that ThreadSanitizer sees what is not ordered.
#define EMULATED

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
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
    std::vector<char> stack = std::vector<char>(256 * 1024);
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

inline int add_products(int a, int b, int sum)
{
    for (unsigned byte = 0; byte < 4; ++byte) {
        sum += (signed char)(a >> 8 * byte) * (signed char)(b >> 8 * byte);
    }
    return sum;
}

inline unsigned __reduce_max_sync(unsigned, unsigned value)
{
    return emulated::exchanged(value, [](const unsigned *values) {
        unsigned largest = values[0];
        for (unsigned lane = 1; lane < 32; ++lane) {
            largest = largest > values[lane] ? largest : values[lane];
        }
        return largest;
    });
}
inline int __shfl_xor_sync(unsigned, int value, unsigned mask)
{
    unsigned lane = threadIdx.x % 32;
    return (int)emulated::exchanged((unsigned)value, [&](const unsigned *values) { return values[lane ^ mask]; });
}
inline float __shfl_xor_sync(unsigned all, float value, unsigned mask)
{
    return __uint_as_float((unsigned)__shfl_xor_sync(all, (int)__float_as_uint(value), mask));
}

// On a card a letter is written after all that its value depends on was read; release and acquire say so here.
inline void send_letter(unsigned long long *letter, unsigned value, unsigned number)
{
    std::atomic_ref(*letter).store((unsigned long long)value << 32 | number, std::memory_order_release);
}
inline unsigned open_letter(const unsigned long long *letter, unsigned number)
{
    for (;;) {
        auto read = std::atomic_ref(*const_cast<unsigned long long *>(letter)).load(std::memory_order_acquire);
        if ((unsigned)read == number) {
            return (unsigned)(read >> 32);
        }
        emulated::give_way();
    }
}

#ifdef CLUSTERS
inline unsigned long long *in_block(unsigned long long *mine, unsigned block)
{
    auto offset = (unsigned *)mine - emulated::here->chip->memory.data();
    return (unsigned long long *)(emulated::here->cluster[block]->memory.data() + offset);
}
inline void meet()
{
    // All threads of a block are here before one of them waits for the other blocks.
    __syncthreads();
    if (threadIdx.x == 0) {
        emulated::here->meeting->arrive_and_wait();
    }
    __syncthreads();
}
#endif

#include "decoder.cu"

namespace emulated {

struct Launch {
    const Model *model;
    const u32 *weights;
    const Stream *streams;
    u32 stream_count;
    u64 *letters;
    u32 first_letter;
};

inline void run_thread(const Launch &launch)
{
    falsetto_decode(*launch.model, launch.weights, launch.streams, launch.stream_count, launch.letters,
                    launch.first_letter);
}

#ifdef THREADS

inline void run_block(const Launch &launch, std::vector<Place> &places)
{
    std::vector<std::thread> threads;
    for (Place &place : places) {
        threads.emplace_back([&] {
            here = &place;
            run_thread(launch);
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
}

#else

thread_local const Launch *launched;

inline void begin_fibre()
{
    run_thread(*launched);
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

inline void run_block(const Launch &launch, std::vector<Place> &places)
{
    launched = &launch;
    std::vector<Fibre> fibres(places.size());
    for (Fibre &fibre : fibres) {
        getcontext(&fibre.begin);
        fibre.begin.uc_stack.ss_sp = fibre.stack.data();
        fibre.begin.uc_stack.ss_size = fibre.stack.size();
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

// Words of the structures that the host writes.
extern "C" void falsetto_layout(u32 *words)
{
    words[0] = sizeof(Model) / 4;
    words[1] = sizeof(Layer) / 4;
    words[2] = sizeof(Share) / 4;
    words[3] = sizeof(Stream) / 4;
}

// Blocks that are not bound to each other run one after another, as a card may run them.
extern "C" void falsetto_launch(u32 blocks, bool are_bound, u32 threads, u32 chip_words, const Model *model, const u32 *weights,
                                const Stream *streams, u32 stream_count, u64 *letters, u32 first_letter)
{
    using namespace emulated;
    const Launch launch{model, weights, streams, stream_count, letters, first_letter};
    std::vector<std::unique_ptr<Chip>> chips;
    std::vector<std::unique_ptr<std::barrier<>>> meetings;
    for (u32 block = 0; block < blocks; ++block) {
        chips.push_back(std::make_unique<Chip>(threads, chip_words));
        meetings.push_back(std::make_unique<std::barrier<>>(model->blocks));
    }
    std::vector<std::vector<Place>> places(blocks);
    for (u32 block = 0; block < blocks; ++block) {
        const u32 first = block - block % model->blocks;
        for (u32 thread = 0; thread < threads; ++thread) {
            places[block].push_back({{thread}, {block}, {threads}, {blocks}, chips[block].get(), &chips[first],
                                     meetings[first].get()});
        }
    }
    std::vector<std::thread> running;
    for (auto &block : places) {
        running.emplace_back([&] { run_block(launch, block); });
        if (!are_bound) {
            running.back().join();
            running.pop_back();
        }
    }
    for (std::thread &thread : running) {
        thread.join();
    }
}
