"""Compiles CUDA kernels to PTX with NVRTC, and has ptxas look at what cards make of them.

compile.py SOURCE.cu OUT.ptx ...: a driver of CUDA 12.0 or later takes the PTX. What it is for goes by its name: `clusters` for
cards that have them, `training` for the trainer's kernels, else for cards of compute capability 8.0 or later.
"""

import ctypes
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile

CARDS = ["sm_80", "sm_86", "sm_89", "sm_90"]
# What is compiled for, with which options, the cards that ptxas is asked about. The decoder rounds where it says so.
KINDS = {
    "decoder": ("compute_80", ["--fmad=false"], CARDS),
    "decoder_clusters": ("compute_90", ["--fmad=false", "-DCLUSTERS"], ["sm_90"]),
    "training": ("compute_80", [], CARDS),
}
# 512 threads share the 65,536 registers of a multiprocessor.
MOST_REGISTERS = 128


def compile_to_ptx(nvidia, source, architecture, own):
    nvrtc = ctypes.CDLL(str(nvidia / "cuda_nvrtc/lib/libnvrtc.so.12"))
    program = ctypes.c_void_p()
    # The name stands in the PTX, so it must not tell where the source lies.
    text, name = source.read_bytes(), source.name.encode()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None) != 0:
        sys.exit("NVRTC takes no program")
    options = [f"--gpu-architecture={architecture}", "--std=c++17", f"-I{source.parent}", *own]
    encoded = [option.encode() for option in options]
    failed = nvrtc.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))

    def text_of(what):
        size = ctypes.c_size_t()
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    log = text_of("ProgramLog")
    if log:
        print(log)
    if failed:
        sys.exit(f"NVRTC does not compile {source}")
    return text_of("PTX")


def check_budget(nvidia, ptx, cards):
    with tempfile.TemporaryDirectory() as folder:
        for card in cards:
            command = [nvidia / "cuda_nvcc/bin/ptxas", "-v", f"-arch={card}", ptx, "-o", f"{folder}/kernel.cubin"]
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode != 0:
                sys.exit(f"ptxas does not assemble the kernel for {card}: {said.stderr}")
            registers = max(int(n) for n in re.findall(r"Used (\d+) registers", said.stderr))
            stacks = re.findall(
                r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said.stderr)
            stack = max(int(frame) + int(stores) + int(loads) for frame, stores, loads in stacks)
            print(f"{ptx.stem} on {card}: at most {registers} registers, {stack} bytes of stack")
            if registers > MOST_REGISTERS or stack > 0:
                sys.exit(f"{card} is to do with {MOST_REGISTERS} registers and no stack: {said.stderr}")


def main():
    paths = [pathlib.Path(path) for path in sys.argv[1:]]
    nvidia = pathlib.Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    for source, out in zip(paths[::2], paths[1::2], strict=True):
        architecture, own, cards = KINDS[out.stem]
        out.write_text(compile_to_ptx(nvidia, source, architecture, own))
        check_budget(nvidia, out, cards)


main()
