// The decoder's kernel on processor threads: `decoder.cu` as it stands.
#include "emulated.h"

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
    const auto run_thread = [&] { falsetto_decode(*model, weights, streams, stream_count, letters, first_letter); };
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
        running.emplace_back([&] { run_block(run_thread, block); });
        if (!are_bound) {
            running.back().join();
            running.pop_back();
        }
    }
    for (std::thread &thread : running) {
        thread.join();
    }
}
