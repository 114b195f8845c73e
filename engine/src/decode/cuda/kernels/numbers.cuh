// The approximations of the numeric specification (`decode.rs`, `decode/math.rs`), operation by operation. Every function
// that rounds is written as an intrinsic, so that no compiler merges or reorders two of them.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;

// Adding it rounds to an integer, which then sits in the low bits of the mantissa.
#define SHIFT 12582912.0f
#define LOG2_E 1.44269504088896340736f

__device__ __forceinline__ float larger(float a, float b) { return a > b ? a : b; }
__device__ __forceinline__ float smaller(float a, float b) { return a < b ? a : b; }
__device__ __forceinline__ float held(float x, float bound) { return larger(smaller(x, bound), -bound); }

// 2^x for x <= 127; below -126 it stays at 2^-126.
__device__ __forceinline__ float exp2_of(float x)
{
    x = larger(x, -126.0f);
    float shifted = __fadd_rn(x, SHIFT);
    float f = __fsub_rn(x, __fsub_rn(shifted, SHIFT));
    float sum = 0.000153533517732284960f;
    sum = __fmaf_rn(sum, f, 0.00133988878224045040f);
    sum = __fmaf_rn(sum, f, 0.00961843784898519500f);
    sum = __fmaf_rn(sum, f, 0.0555033236742019650f);
    sum = __fmaf_rn(sum, f, 0.240226477384567260f);
    sum = __fmaf_rn(sum, f, 0.693147182464599600f);
    sum = __fmaf_rn(sum, f, 1.0f);
    return __uint_as_float(__float_as_uint(sum) + (__float_as_uint(shifted) << 23));
}

// The polynomials of tanh in gates, of the argument's square.
__device__ __forceinline__ float gate_numerator(float square)
{
    float sum = __fmaf_rn(0.00065006810961292110f, square, 0.10155465672030730f);
    return __fmaf_rn(sum, square, 0.99979956339754140f);
}

__device__ __forceinline__ float gate_denominator(float square)
{
    float sum = __fmaf_rn(0.012589360965402693f, square, 0.43430903411022886f);
    return __fmaf_rn(sum, square, 1.0f);
}

// tanh(a) sigmoid(b), to within 1e-4.
__device__ __forceinline__ float gate_of(float a, float b)
{
    a = held(a, 5.05f);
    float c = held(__fmul_rn(b, 0.5f), 5.05f);
    float aa = __fmul_rn(a, a), cc = __fmul_rn(c, c);
    float tanh_over = __fmul_rn(__fmul_rn(a, 0.5f), gate_numerator(aa));
    float sigmoid_under = gate_denominator(cc);
    float sigmoid_over = __fmaf_rn(c, gate_numerator(cc), sigmoid_under);
    return __fdiv_rn(__fmul_rn(tanh_over, sigmoid_over), __fmul_rn(gate_denominator(aa), sigmoid_under));
}

// The logarithm of the logistic density at n, without its scale.
__device__ __forceinline__ float ln_logistic(float n)
{
    float minus = smaller(n, __fsub_rn(0.0f, n));
    float x = exp2_of(__fmul_rn(minus, LOG2_E));
    float sum = 0.005232664290815592f;
    sum = __fmaf_rn(sum, x, -0.029505116865038872f);
    sum = __fmaf_rn(sum, x, 0.0782257467508316f);
    sum = __fmaf_rn(sum, x, -0.1366322785615921f);
    sum = __fmaf_rn(sum, x, 0.19105997681617737f);
    sum = __fmaf_rn(sum, x, -0.2484297901391983f);
    sum = __fmaf_rn(sum, x, 0.3331909775733948f);
    sum = __fmaf_rn(sum, x, -0.4999949336051941f);
    sum = __fmaf_rn(sum, x, 0.9999999403953552f);
    return __fmaf_rn(-2.0f, __fmul_rn(x, sum), minus);
}

// sin(2 pi turns) of a phase in units of 2^-32 turns.
__device__ __forceinline__ float sine_of(u32 phase)
{
    float x = __fmul_rn(__int2float_rn((int)phase), 1.0f / 4294967296.0f);
    x = smaller(x, __fsub_rn(0.5f, x));
    x = larger(x, __fsub_rn(-0.5f, x));
    float square = __fmul_rn(x, x);
    float sum = 39.71092224121094f;
    sum = __fmaf_rn(sum, square, -76.57498931884766f);
    sum = __fmaf_rn(sum, square, 81.60223388671875f);
    sum = __fmaf_rn(sum, square, -41.341678619384766f);
    sum = __fmaf_rn(sum, square, 6.283185482025146f);
    return __fmul_rn(x, sum);
}

// What takes activations of magnitude `largest` to `steps` integers, and what one of these is worth.
__device__ __forceinline__ float factor_of(float largest, float steps)
{
    return largest > 1e-30f ? __fdiv_rn(steps, largest) : 0.0f;
}
__device__ __forceinline__ float step_of(float largest, float steps) { return __fdiv_rn(largest, steps); }

// An activation as an integer of at most `steps`, halves to even.
__device__ __forceinline__ int in_steps(float value, float factor, float steps)
{
    return __float2int_rn(larger(smaller(__fmul_rn(value, factor), steps), -steps));
}

// What an exact sum of integer products is worth, added to `start`.
__device__ __forceinline__ float scaled(int sum, float row_scale, float step, float start)
{
    return __fmaf_rn(__int2float_rn(sum), __fmul_rn(row_scale, step), start);
}
