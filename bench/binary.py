"""The program itself: how fast it answers, how big it is, how long it takes to build."""

import os
import resource
import shutil
import subprocess
import time

from place import run
from report import say


def measure(place, report, build):
    """The suite."""
    begin_to_end = []
    for _ in range(41):
        begin = time.perf_counter()
        subprocess.run([place.bowline, "--help"], stdout=subprocess.DEVNULL, check=True)
        begin_to_end.append((time.perf_counter() - begin) * 1000)
    report.add("binary", "bowline --help", "ms", begin_to_end, below=10)
    report.add("binary", "size, stripped", "MB", [os.path.getsize(place.bowline) / 1e6], below=30)
    if not build:
        report.skip("binary", "clean release build", "takes minutes: ask for it with --build")
        return
    say("binary: a clean release build, from downloaded sources, on two cores")
    run(["cargo", "fetch", "--locked"])
    target = place.directory("target")
    environment = {key: value for key, value in os.environ.items() if key != "CARGO_BUILD_BUILD_DIR"}
    command = ["cargo", "build", "--release", "--locked", "--offline", "-p", "bowline", "-j", "2", "--target-dir", target]
    if os.cpu_count() > 2:
        command = ["taskset", "-c", "0,1", *command]
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    begin, before = time.monotonic(), spent()
    run(command, env=environment)
    # Tells a slow build from a busy machine.
    say(f"binary: the build took {(spent() - before) / 60:.1f} minutes of processor time")
    report.add("binary", "clean release build, two cores", "min", [(time.monotonic() - begin) / 60], below=10)
    shutil.rmtree(target)
