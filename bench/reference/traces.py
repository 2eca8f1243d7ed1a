"""Writes the traces that the reference and the core's tests read: `python3 traces.py DIRECTORY`.

Every value is a whole number and nothing is random, so that the same files come out everywhere. A trace has

- `start`, milliseconds since 1970, and `step`, seconds: sample number n (from 0) was taken at start + (n + 1) * step
- `now`: when a recommendation is asked for, milliseconds since 1970
- `pods`, by name, of containers, by name:
  - `after`: how many samples of the trace had been taken before its first one
  - `request`, `limit`: bytes of memory
  - `cpu`: runs of [how many samples, milliseconds of processor time in each]
  - `memory`: runs of [how many samples, bytes of working set]
  - `gaps`: ranges [first, end) of its samples that were not taken
  - `kills`: at which of its samples the kernel had killed it for want of memory
"""

import json
import pathlib
import sys

MI = 1 << 20
# A Tuesday, at some minute that is not the start of anything, and some second that is not the start of a minute.
START = 1_788_228_427_000
# One at which KRR looks exactly when a sample is taken.
ALIGNED = START // 75_000 * 75_000


def noise(seed):
    """Numbers of 31 bits, always the same ones."""
    state = seed
    while True:
        state = (state * 1_103_515_245 + 12_345) % (1 << 31)
        yield state >> 8


def runs(values):
    out = []
    for value in values:
        if out and out[-1][1] == value:
            out[-1][0] += 1
        else:
            out.append([1, value])
    return out


def container(cpu, memory, request=0, limit=0, after=0, gaps=(), kills=()):
    cpu, memory = list(cpu), list(memory)
    assert len(cpu) == len(memory), (len(cpu), len(memory))
    return {
        "after": after, "request": request, "limit": limit, "cpu": runs(cpu), "memory": runs(memory),
        "gaps": [list(gap) for gap in gaps], "kills": list(kills),
    }


def trace(about, pods, step=60, start=START):
    ends = [c["after"] + sum(n for n, _ in c["cpu"]) for pod in pods.values() for c in pod.values()]
    return {"about": about, "start": start, "step": step, "now": start + max(ends) * step * 1000 + 11_000, "pods": pods}


def one(**rest):
    return {"web-1": {"web": container(**rest)}}


def hill(minute):
    """A day's shape without a sine: 0 at night, 1000 in the middle of the day."""
    of_day = minute % 1440
    distance = abs(of_day - 840)
    return max(0, 1000 - distance * distance * 1000 // (600 * 600))


def steady():
    return trace("the same all the time", one(cpu=[6_000] * 2_880, memory=[200 * MI] * 2_880, limit=512 * MI))


def wave():
    random = noise(7)
    length = 9 * 1_440
    cpu, memory = [], []
    for block in range(length // 6):
        cpu += [1_200 + hill(block * 6) * 30 + next(random) % 2_000] * 6
    for block in range(length // 30):
        memory += [(180 + hill(block * 30) * 90 // 1000) * MI + next(random) % 4_000_000] * 30
    return trace("nine days, each with a quiet night", one(cpu=cpu, memory=memory, request=256 * MI, limit=512 * MI))


def jvm():
    random = noise(11)
    length = 26 * 60
    cpu = [96_000, 104_313, 71_007, 38_210, 19_999] + [3_600 + next(random) % 400 for _ in range(length - 5)]
    memory = [min(90 + minute * 47, 612) * MI for minute in range(length)]
    return trace("start-up of a JVM, then nearly nothing", one(cpu=cpu, memory=memory, request=768 * MI, limit=768 * MI))


def growing():
    length = 3 * 1_440
    memory = [100 * MI + minute // 5 * 500_003 for minute in range(length)]
    return trace("memory that is never given back", one(cpu=[4_217] * length, memory=memory, request=128 * MI))


def killed():
    length = 2 * 1_440 + 700
    memory = [(60 + minute % 601 * 195 // 600) * MI for minute in range(length)]
    kills = [minute for minute in range(600, length, 601)]
    cpu = [9_000 if minute % 601 < 3 else 2_400 for minute in range(length)]
    pod = one(cpu=cpu, memory=memory, request=200 * MI, limit=256 * MI, kills=kills)
    # What it takes at once between two samples is never seen.
    spike = container([600] * 1_000, [20 * MI] * 1_000, request=600 * MI, limit=700 * MI, kills=[400, 900])
    pod["web-1"]["spike"] = spike
    return trace("killed whenever it reaches its limit", pod)


def minutes():
    cpu, memory = [48_000, 30_000, 12_001, 6_059, 6_060], [80 * MI, 120 * MI, 200 * MI, 310 * MI, 310 * MI]
    return trace("five minutes", one(cpu=cpu, memory=memory))


def half_hour():
    random = noise(3)
    cpu = [15_000 + next(random) % 9_000 for _ in range(60)]
    return trace("half an hour, looked at every thirty seconds", one(cpu=cpu, memory=[700 * MI] * 60), step=30)


def gaps():
    random = noise(23)
    length = 4 * 1_440
    cpu, memory = [], []
    for block in range(length // 10):
        cpu += [2_000 + next(random) % 12_000] * 10
        memory += [300 * MI + next(random) % (64 * MI)] * 10
    holes = [(200, 203), (431, 432), (1_000, 1_420), (2_000, 3_561), (5_000, 5_004)]
    return trace("with gaps of minutes, hours and more than a day", one(cpu=cpu, memory=memory, gaps=holes))


def idle():
    length = 3 * 1_440
    cpu = [59 if minute % 10 == 0 else 12 for minute in range(length)]
    return trace("nothing to do: the floors hold", one(cpu=cpu, memory=[9 * MI + 1] * length, limit=64 * MI))


def sidecars():
    random = noise(41)
    length = 2_160
    web = container([12_000 + next(random) % 30 * 600 for _ in range(length // 4) for _ in range(4)],
                    [(400 + minute // 60) * MI for minute in range(length)], request=512 * MI, limit=1_024 * MI)
    proxy = container([700] * length, [40 * MI] * length)
    log = container([90] * length, [17 * MI + 5] * length, after=0, gaps=[(100, 160)])
    return trace("three containers share a pod and its floors", {"web-1": {"web": web, "proxy": proxy, "log": log}})


def bursty():
    random = noise(97)
    cpu, memory = [], []
    for _ in range(2_880):
        draw = next(random)
        cpu.append(55_000 + draw % 5_000 if draw % 23 == 0 else 300 + draw % 17 * 20)
    for _ in range(288):
        memory += [150 * MI + next(random) % 40 * MI] * 10
    return trace("short bursts, looked at every thirty seconds", one(cpu=cpu, memory=memory), step=30, start=ALIGNED)


def replicas():
    random = noise(5)
    long, short = 3 * 1_440, 1_440 + 77

    def loads(count, base):
        return [base + next(random) % 3_000 for _ in range(count // 8) for _ in range(8)]

    short -= short % 8
    pods = {
        "web-1": {"web": container(loads(long, 4_000), [220 * MI] * long, request=256 * MI, limit=300 * MI, kills=[900])},
        "web-2": {"web": container(loads(long - 1_440, 9_000), [260 * MI] * (long - 1_440), request=256 * MI)},
        "web-3": {"web": container(loads(short, 22_000), [390 * MI] * short, after=long - short, request=256 * MI)},
    }
    return trace("three of a kind, one stopped early, one started late", pods)


def borders():
    """Values on the very borders of the buckets of the VPA's histograms, and just below them.

    The borders that are whole numbers are small ones: many containers in the pod make the floors smaller yet.
    """
    length = 1_500
    pod = {}
    for size in [10_000_000, 20_500_000, 31_525_000, 43_101_250]:
        pod[f"on-{size}"] = container([600] * length, [size] * length)
        pod[f"below-{size}"] = container([540] * length, [size - 1] * length)
    for number in range(17):
        pod[f"idle-{number}"] = container([0] * 3, [MI] * 3)
    return trace("values on the borders of buckets", {"web-1": pod})


def levels():
    """The same all the time at many levels: where rounding up makes one more of the last digit's noise."""
    length = 300
    levels = [7, 13, 29, 57, 101, 113, 127, 219, 251, 333, 417, 499, 507, 611, 773, 859, 911, 1_001, 1_303, 2_047]
    pod = {f"at-{level}": container([level * 30] * length, [level * MI] * length) for level in levels}
    second = {f"at-{level}": container([level * 30 - 1] * length, [level * MI] * length) for level in levels[::2]}
    return trace("constant loads at many levels", {"web-1": pod, "web-2": second}, step=30, start=ALIGNED)


def young():
    """Replicas that live for ten minutes, so that single rates, at ends and at gaps, decide."""
    length = 40
    pods = {}
    for number in range(9):
        quiet = [300 + number] * length
        first, last, after_gap = quiet[:], quiet[:], quiet[:]
        first[:3] = [10, 9_000, 2_000 + number]
        last[-2:] = [7_000, 9_000 + 13 * number]
        after_gap[19:21] = [5_000, 9_500]
        memory = [(100 + number) * MI] * length
        after = number * 43
        pods[f"web-{number}"] = {
            "first": container(first, memory, after=after),
            "last": container(last, memory, after=after),
            "gap": container(after_gap, memory, after=after, gaps=[(12, 19)]),
        }
    return trace("many short lives", pods, step=15)


def sparse():
    return trace("looked at every four minutes", one(cpu=[24_000] * 40, memory=[300 * MI] * 40), step=240)


def months():
    random = noise(13)
    length = 230 * 8
    cpu = [10_800 * (50 + next(random) % 400) for _ in range(length)]
    memory = [500 * MI + next(random) % 100 * MI for _ in range(length)]
    return trace("so long that old weights are scaled down", one(cpu=cpu, memory=memory), step=10_800)


TRACES = [
    steady, wave, jvm, growing, killed, minutes, half_hour, gaps, idle, sidecars, bursty, replicas, borders, levels, young,
    sparse, months,
]


def main():
    place = pathlib.Path(sys.argv[1])
    for make in TRACES:
        text = json.dumps(make(), separators=(",", ":")).replace('"pods":', '\n"pods":').replace('"memory":', '\n"memory":')
        (place / f"{make.__name__}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
