"""Runs the suites that were asked for. Started by scripts/bench, which says how."""

import argparse
import os
import platform
import signal
import sys
from functools import partial
from pathlib import Path

import binary
import capacity
import deploy
import driven
import images
import kubernetes
from place import Place
from report import Report, say


def main():
    """Measures, prints, and tells by the exit code whether all bars hold."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("suites", nargs="*", metavar="SUITE")
    parser.add_argument("--bowline", required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    suites = arguments.suites or ["images", "deploy", "binary"]
    unknown = set(suites) - {"images", "deploy", "kubernetes", "capacity", "driven", "binary"}
    if unknown:
        parser.error(f"there is no suite {', '.join(sorted(unknown))}; there are images, deploy, kubernetes, capacity, driven and binary")
    say(f"{os.cpu_count()} processors, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}")
    report = Report()
    # Being told to stop is no reason to leave engines behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Place(arguments.bowline, arguments.keep) as place:
        for suite, measure, runs in (("images", images.measure, 3), ("deploy", deploy.measure, 5),
                                     ("kubernetes", kubernetes.measure, 5),
                                     ("capacity", partial(capacity.measure, plot=arguments.plot), 3),
                                     ("driven", partial(driven.measure, pictures=arguments.pictures), 1)):
            if suite not in suites:
                continue
            if os.geteuid() == 0:
                measure(place, report, arguments.runs or runs)
            else:
                report.skip(suite, "all", "engines of our own need root")
        binary.measure(place, report, arguments.build)
    report.print(arguments.json)
    flags = "".join(f" --{name}" for name in ("json", "build") if getattr(arguments, name))
    say(f"load {os.getloadavg()[0]:.1f} at the end; again: scripts/bench {' '.join(suites)}{flags}")
    return 0 if report.holds() else 1


if __name__ == "__main__":
    sys.exit(main())
