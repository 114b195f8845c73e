"""Makes static libraries that stand for CUDA's: each function of theirs looks for the library when it is first called.

loaders.py CUDARC_SOURCE INTO: candle has CUDA's libraries linked, so a program with it would not even start on a machine without
them. Linked with these instead it starts anywhere: where a library is missing, its functions answer with an error. The functions
are those that cudarc declares. For Linux on x86-64; needs gcc.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

# cudarc's module, the library's name, the files it may be in, the error that says it is not there.
LIBRARIES = [
    ("driver", "cuda", ["libcuda.so.1"], 100),
    ("cublas", "cublas", ["libcublas.so.13", "libcublas.so.12"], 1),
    ("cublaslt", "cublasLt", ["libcublasLt.so.13", "libcublasLt.so.12"], 1),
    ("curand", "curand", ["libcurand.so.10"], 101),
    ("nvrtc", "nvrtc", ["libnvrtc.so.13", "libnvrtc.so.12"], 2),
]
INTEGER_REGISTERS = ["rdi", "rsi", "rdx", "rcx", "r8", "r9"]
FLOAT_REGISTERS = range(8)


def jumps(name, functions):
    """Assembly: every function jumps to where its table says, at first to what fills the table and leaves all arguments be."""
    lines = [".text"]
    for index, function in enumerate(functions):
        lines += [
            f".globl {function}", f".type {function}, @function", f"{function}:",
            f" movq {name}_table+{8 * index}(%rip), %r11", " testq %r11, %r11", " je 1f", " jmp *%r11",
            f"1: pushq ${index}", f" jmp {name}_first_call",
        ]
    # The stack is a multiple of 16 at the call: index and return address, six registers, eight of 16 bytes.
    lines += [f"{name}_first_call:"]
    lines += [f" pushq %{register}" for register in INTEGER_REGISTERS]
    lines += [" subq $128, %rsp"]
    lines += [f" movups %xmm{k}, {16 * k}(%rsp)" for k in FLOAT_REGISTERS]
    lines += [f" movq {128 + 48}(%rsp), %rdi", f" call {name}_find", " movq %rax, %r11"]
    lines += [f" movups {16 * k}(%rsp), %xmm{k}" for k in FLOAT_REGISTERS]
    lines += [" addq $128, %rsp"]
    lines += [f" popq %{register}" for register in reversed(INTEGER_REGISTERS)]
    lines += [" addq $8, %rsp", " jmp *%r11"]
    lines += [
        ".bss", ".balign 8", f".globl {name}_table", f".hidden {name}_table",
        f"{name}_table: .zero {8 * len(functions)}", '.section .note.GNU-stack, "", @progbits',
    ]
    return "\n".join(lines) + "\n"


def finder(name, files, error, functions):
    def quoted(texts):
        return ", ".join(f'"{text}"' for text in texts)

    return f"""
#include <dlfcn.h>
#include <stddef.h>

extern void *{name}_table[] __attribute__((visibility("hidden")));
static const char *const functions[] = {{{quoted(functions)}}};
static const char *const files[] = {{{quoted(files)}}};

static int missing(void) {{ return {error}; }}

__attribute__((visibility("hidden"))) void *{name}_find(long index)
{{
    void *library = NULL;
    for (size_t file = 0; library == NULL && file < sizeof files / sizeof *files; ++file) {{
        library = dlopen(files[file], RTLD_NOW | RTLD_GLOBAL);
    }}
    void *function = library == NULL ? NULL : dlsym(library, functions[index]);
    if (function == NULL) {{
        function = (void *)missing;
    }}
    __atomic_store_n(&{name}_table[index], function, __ATOMIC_RELEASE);
    return function;
}}
"""


def main():
    source, into = (pathlib.Path(path) for path in sys.argv[1:])
    into.mkdir(parents=True, exist_ok=True)
    for module, name, files, error in LIBRARIES:
        text = (source / module / "sys/mod.rs").read_text()
        functions = sorted(set(re.findall(r'extern "C" \{\s*fn (\w+)\(', text)))
        with tempfile.TemporaryDirectory() as folder:
            assembly, c = pathlib.Path(folder, f"{name}.s"), pathlib.Path(folder, f"{name}_find.c")
            assembly.write_text(jumps(name, functions))
            c.write_text(finder(name, files, error, functions))
            objects = [assembly.with_suffix(".o"), c.with_suffix(".o")]
            for part, made in zip([assembly, c], objects):
                subprocess.run(["gcc", "-O1", "-fPIC", "-c", part, "-o", made], check=True)
            archive = into / f"lib{name}.a"
            archive.unlink(missing_ok=True)
            subprocess.run(["ar", "crs", archive, *objects], check=True)


main()
