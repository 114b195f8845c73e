// What the card has and the emulator must stand in for.
#pragma once

#ifndef EMULATED

#define CHIP_MEMORY(name) extern __shared__ __align__(16) u32 name[]

// `sum` and the products of four signed bytes with four others.
__device__ __forceinline__ int add_products(int a, int b, int sum)
{
    int result;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

// A letter is what one block tells another: a value and its number in one word of 64 bits, which is written and read whole.
// So no fence and no flag are needed, and every thread waits for its own value alone.
__device__ __forceinline__ void send_letter(u64 *letter, u32 value, u32 number)
{
    *(volatile u64 *)letter = (u64)value << 32 | number;
}

__device__ __forceinline__ u32 open_letter(const u64 *letter, u32 number)
{
    u64 read;
    do {
        read = *(const volatile u64 *)letter;
    } while ((u32)read != number);
    return (u32)(read >> 32);
}

#ifdef CLUSTERS

// The same place in the chip memory of another block of the cluster.
__device__ __forceinline__ u64 *in_block(u64 *mine, u32 block)
{
    u64 *theirs;
    asm("mapa.u64 %0, %1, %2;" : "=l"(theirs) : "l"(mine), "r"(block));
    return theirs;
}

// Waits for all threads of the cluster.
__device__ __forceinline__ void meet()
{
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

#endif
#endif
