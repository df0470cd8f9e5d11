#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The host's side of the storage guest's tests.

make DIR                          files for the guest's disk
verify LOG TRACE BAR IMAGE        where the disk's DMA went, by QEMU's own trace, and what is in the files behind the BAR and the disk

verify prints "dma: ..." for each phase, and "ok ..." or "not ok ..." for each check.
"""
import json
import re
import subprocess
import sys
import tempfile

MIB = 1 << 20
DATA_BYTES = 16 * MIB
MARKS_LBA = 112 * MIB // 512
MASK = (1 << 64) - 1


def mix(index):
    """The words of the guest's file (guest.c)."""
    z = (index * 0x9e3779b97f4a7c15 + 0x1234567) & MASK
    z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & MASK
    return z ^ (z >> 27)


def data(offset, count, flip=0):
    return b"".join((mix(i) ^ flip).to_bytes(8, "little") for i in range(offset // 8, (offset + count) // 8))


def model():
    """Three tensors, one page of header, then the words of the other files."""
    sizes = (("first", "F32", 3 * MIB), ("second", "U8", 12345 * 8), ("third", "BF16", 1000 * 1024))
    header, at = {}, 0
    for name, dtype, count in sizes:
        width = {"F32": 4, "U8": 1, "BF16": 2}[dtype]
        header[name] = {"dtype": dtype, "shape": [count // width], "data_offsets": [at, at + count]}
        at += count
    text = json.dumps(header).encode().ljust(4096 - 8)
    return len(text).to_bytes(8, "little") + text + data(0, at)


def make(folder):
    with open(folder + "/data", "wb") as f:
        f.write(data(0, DATA_BYTES))
    with open(folder + "/model.safetensors", "wb") as f:
        f.write(model())
    # one that is read and written over a network
    with open(folder + "/copy", "wb") as f:
        f.write(data(0, DATA_BYTES))
    with open(folder + "/out", "wb") as f:
        f.write(b"\xee" * DATA_BYTES)


def phases(trace, first, last):
    """Return: of each phase, bytes of its commands that were mapped within the BAR, and elsewhere.

    The guest reads one sector behind its file system to say where a phase begins (even) and ends (odd).
    """
    found, current, marking = {}, None, False
    with open(trace, encoding="utf-8") as f:
        for line in f:
            command = re.search(r"pci_nvme_(read|write) .* nlb (\d+) .* lba 0x([0-9a-f]+)", line)
            if command:
                at = int(command.group(3), 16) - MARKS_LBA
                marking = int(command.group(2)) == 1 and at >= 0
                if marking:
                    current = None if at % 2 else at // 2
                    found.setdefault(at // 2, [0, 0])
                continue
            mapped = re.search(r"pci_nvme_map_addr addr 0x([0-9a-f]+) len (\d+)", line)
            if mapped and current is not None and not marking:
                found[current][not first <= int(mapped.group(1), 16) <= last] += int(mapped.group(2))
    return found


def result(good, what):
    print(("ok " if good else "not ok ") + what)


def verify_dma(log, trace):
    bar = re.search(r"^vm-dma: bar (0x\w+) (0x\w+)", log, re.M)
    found = phases(trace, int(bar.group(1), 16), int(bar.group(2), 16))
    total = 0
    for number, asked, what in re.findall(r"^vm-dma: phase (\d+) (\d+) (.*)$", log, re.M):
        near, elsewhere = found.get(int(number), (-1, -1))
        print("dma: %s: %s bytes asked for, %d to or from the BAR, %d staged in memory" % (what, asked, near, elsewhere))
        if what.startswith("staged: "):
            result(near == 0 and elsewhere >= int(asked), "host: the trace sees what is staged")
        else:
            result(near == int(asked) and elsewhere == 0, "host: DMA of " + what)
            total += near
    print("dma: in all %d bytes between disk and BAR, none of them through memory" % total if total else "dma: nothing was measured")


def verify_contents(log, bar, image):
    for at, count, offset in re.findall(r"^vm-bar: (\d+) (\d+) (\d+)$", log, re.M):
        with open(bar, "rb") as f:
            f.seek(int(at))
            result(f.read(int(count)) == data(int(offset), int(count)), "host: the file behind the BAR has what the guest read")
    for at, count, offset, flip in re.findall(r"^vm-out: (\d+) (\d+) (\d+) (\d+)$", log, re.M):
        with tempfile.NamedTemporaryFile() as out:
            subprocess.run(["debugfs", "-R", "dump /out %s" % out.name, image], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(out.name, "rb") as f:
                f.seek(int(at))
                result(f.read(int(count)) == data(int(offset), int(count), int(flip)), "host: the file on the disk has what the guest wrote")


def main():
    if sys.argv[1] == "make":
        make(sys.argv[2])
        return
    with open(sys.argv[2], encoding="utf-8", errors="replace") as f:
        log = f.read()
    verify_dma(log, sys.argv[3])
    verify_contents(log, sys.argv[4], sys.argv[5])


main()
