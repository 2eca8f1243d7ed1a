"""What KRR recommends, from Prometheus' answers: `python3 krr.py DIRECTORY < answers.json` writes krr.json there.

KRR itself is on no package index. This is an independent second implementation of the arithmetic of its strategies
`simple` and `simple_limit` as published (strategies/simple.py, strategies/simple_limit.py, and the rounding in
core/runner.py), with numpy, as there. The queries are evaluated by Prometheus' own engine, in prometheus.go.
"""

import json
import math
import pathlib
import sys

import numpy

MI = 1024**2


def millicores(cores):
    """Rounded up to thousandths of a core, not below ten of them."""
    return round(max(math.ceil(cores * 10**3) / 10**3, 1 / 1000 * 10) * 1000)


def whole(size):
    """Rounded up to whole MiB, not below a hundred of them."""
    one = 1 / MI
    return int(max(math.ceil(size * one) / one, MI * 100))


def values(answer):
    return {pod: numpy.array(found, dtype=numpy.float64) for pod, found in (answer or {}).items()}


def missing(answer, count):
    if not values(answer):
        return "no data"
    if sum(found[0] for found in values(count).values()) < 100:
        return "not enough data"
    return None


def cpu(answers, limits):
    used = values(answers["cpu_range" if limits else "cpu"])
    reason = missing(used, answers["cpu_count"])
    if reason:
        return {"missing": reason}
    together = numpy.concatenate(list(used.values()))
    if not limits:
        return {"request": millicores(numpy.max(together)), "limit": None}
    return {
        "request": millicores(numpy.percentile(together, 66)),
        "limit": millicores(numpy.percentile(together, 96)),
    }


def memory(answers, kills):
    reason = missing(answers["memory"], answers["memory_count"])
    if reason:
        return {"missing": reason}
    peak = numpy.max([found[0] for found in values(answers["memory"]).values()]) * (1 + 15 / 100)
    if kills:
        limits = [found[0] for found in values(answers["killed"]).values()]
        peak = max(peak, (numpy.max(limits) if limits else 0) * (1 + 25 / 100))
    return {"request": whole(peak), "limit": whole(peak)}


def lines(result):
    """JSON with a line for each container."""
    traces = []
    for trace, containers in result.items():
        each = [f"\n {json.dumps(name)}:{json.dumps(found, separators=(',', ':'))}" for name, found in containers.items()]
        traces.append(f"{json.dumps(trace)}:{{{','.join(each)}}}")
    return "{\n" + ",\n".join(traces) + "\n}\n"


def main():
    result = {}
    for trace, containers in json.load(sys.stdin).items():
        result[trace] = {}
        for container, answers in sorted(containers.items()):
            result[trace][container] = {
                "simple": {"cpu": cpu(answers, False), "memory": memory(answers, False)},
                "simple_limit": {"cpu": cpu(answers, True), "memory": memory(answers, False)},
                "use_oomkill_data": {"cpu": cpu(answers, False), "memory": memory(answers, True)},
            }
    (pathlib.Path(sys.argv[1]) / "krr.json").write_text(lines(result))


if __name__ == "__main__":
    main()
