"""How many samples one core reads per second, and whether memory stays constant.

    python -m benchmarks.data [--samples 10000000]

Lines in the project's own format, with regions, chains and references to images, come through a pipe from another
process, so that ten million of them need no disk. The reader parses and validates each line, looks up its images in a
store, and refuses repeated ids. Images are not decoded. For comparison, orjson alone parses the first 100,000 of these
lines. Then up to `FILE_SAMPLES` lines are in a file, as in training: it is opened, which checks every line, and read in
random order. The last line is JSON; `memory_growth_mb` is measured from sample 100,000 on.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from corpora.readers.native import NativeReader
from spatial.dataset import open_samples
from spatial.images import ImageStore
from spatial.sample import NumberAnswer, ReasoningPath, Region, SpatialSample

FLOOR_PER_S = 2_000
WARM = 100_000
MB = 10**6
NUM_IMAGES = 1_000
FILE_SAMPLES = 200_000
FILE_READS = 20_000


def make_lines(images: ImageStore) -> list[bytes]:
    """A line for each image, with @@@ in place of its sample's number."""
    lines = []
    for index in range(NUM_IMAGES):
        pixels = np.full((16, 16, 3), index % 256, np.uint8)
        pixels[0, 0] = index // 256
        sample = SpatialSample(
            sample_id="@@@",
            domain="benchmark",
            kind="distance",
            paths=(ReasoningPath.LOR, ReasoningPath.DTR),
            images=(images.put(pixels),),
            question="What is the distance between the red point and the blue point?",
            answer=NumberAnswer(value=1.2, unit="m"),
            regions=(
                Region(mark="red", box_xyxy_px=(1.0, 2.0, 8.0, 9.0), name="cube", center_m=(0.1, 0.2, 2.0)),
                Region(mark="blue", box_xyxy_px=(3.0, 2.0, 9.0, 15.0), name="cone", center_m=(0.7, 0.2, 3.0)),
            ),
            chains={ReasoningPath.LOR: "<think>right 0.6, far 1.0, so 1.2 m.</think><answer>1.2 m</answer>"},
        )
        lines.append(sample.model_dump_json().encode() + b"\n")
    return lines


def send(pipe: Path, lines: list[bytes], number: int) -> None:
    with pipe.open("wb", buffering=2**20) as out:
        for index in range(number):
            out.write(lines[index % len(lines)].replace(b"@@@", b"s%d" % index))


def measure(number: int) -> dict[str, float]:
    """Samples per second of this process's CPU time and of wall time, and the growth of its memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = make_lines(ImageStore(root / "images"))
        pipe = root / "samples.jsonl"
        os.mkfifo(pipe)
        sender = multiprocessing.get_context("spawn").Process(target=send, args=(pipe, lines, number), daemon=True)
        sender.start()
        process, images = psutil.Process(), ImageStore(root / "images")
        warm_mb, most_mb = 0.0, 0.0
        found = NativeReader(file=pipe, images=images.root).read(images)
        with Progress(transient=True) as progress:
            task = progress.add_task("samples", total=number)
            started_s, cpu_s = time.perf_counter(), time.process_time()
            for count, item in enumerate(found, start=1):
                assert isinstance(item, SpatialSample), str(item)
                if count == min(WARM, number):
                    warm_mb = most_mb = process.memory_info().rss / MB
                if count % 10_000 == 0:
                    most_mb = max(most_mb, process.memory_info().rss / MB)
                    progress.update(task, completed=count)
            taken_s, taken_cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        assert count == number
        sender.join()
        of_file = measure_file(root / "file.jsonl", images, lines, min(number, FILE_SAMPLES))
    texts = [line.replace(b"@@@", b"s0") for line in lines] * (WARM // NUM_IMAGES)
    parse_s = time.process_time()
    for text in texts:
        orjson.loads(text)
    parse_s = time.process_time() - parse_s
    return {
        "samples": number,
        "samples_per_s": round(number / taken_cpu_s),
        "samples_per_s_by_the_clock": round(number / taken_s),
        "parsing_alone_per_s": round(len(texts) / parse_s),
        "memory_mb": round(warm_mb, 1),
        "memory_growth_mb": round(most_mb - warm_mb, 1),
        **of_file,
    }


def measure_file(file: Path, images: ImageStore, lines: list[bytes], number: int) -> dict[str, float]:
    """Samples per second of CPU time while a file is opened, and while it is read in random order."""
    send(file, lines, number)
    open_s = time.process_time()
    samples = open_samples(file, images).samples
    open_s = time.process_time() - open_s
    order = np.random.default_rng(0).integers(number, size=FILE_READS).tolist()
    read_s = time.process_time()
    for place in order:
        samples[place]
    read_s = time.process_time() - read_s
    return {"opened_per_s": round(number / open_s), "read_at_random_per_s": round(FILE_READS / read_s)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000_000)
    result = measure(parser.parse_args().samples)
    table = Table(
        "samples",
        "per second of CPU time",
        "per second of wall time",
        "orjson alone",
        "memory after 100,000",
        "growth, at most",
        "opened per second",
        "read in random order per second",
    )
    table.add_row(
        f"{result['samples']:,}",
        f"{result['samples_per_s']:,} ({result['samples_per_s'] / FLOOR_PER_S:.1f} × the floor)",
        f"{result['samples_per_s_by_the_clock']:,}",
        f"{result['parsing_alone_per_s']:,}",
        f"{result['memory_mb']:.0f} MB",
        f"{result['memory_growth_mb']:+.1f} MB",
        f"{result['opened_per_s']:,}",
        f"{result['read_at_random_per_s']:,}",
    )
    Console().print(table)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
