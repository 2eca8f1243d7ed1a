"""Capacity: how long plans take, and what measuring costs.

Peers that do this do not exist; the bars are those of people who wait, and of machines that have no room to spare. Whether
the arithmetic is right is not measured here: tests hold recommendations against those of the Vertical Pod Autoscaler and of
KRR (reference/), and placement against the real scheduler (scheduler.py)."""

import json
import os
import time
from pathlib import Path

from deploy import Host
from place import Repository, run, timed
from report import say

# How long the sampler is watched, and beside how many containers.
WATCHED = 600
CONTAINERS = 12
PODS = (1_000, 2_000, 5_000, 10_000)
NODES = 1_000


def deployment(name, replicas, cpu="100m", memory="128Mi"):
    """One workload; it may have one pod more while it is updated."""
    return (f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: {replicas}\n"
            f"  selector: {{ matchLabels: {{ app: {name} }} }}\n"
            f"  strategy: {{ rollingUpdate: {{ maxSurge: 1, maxUnavailable: 0 }} }}\n"
            f"  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    spec:\n      containers:\n        - name: app\n"
            f"          image: example.com/{name}:1\n"
            f"          resources: {{ requests: {{ cpu: {cpu}, memory: {memory} }} }}\n")


class Plan:
    """A repository whose manifests are planned with, without a cluster."""

    def __init__(self, place, name, workloads):
        self.place, self.environment = place, place.environment(f"capacity-{name}")
        self.repository = Repository(place, f"capacity-{name}/repository", self.environment)
        self.repository.write({
            "bowline.toml": '[project]\nname = "bench"\n\n[targets.cluster]\nkubernetes = ["k8s/"]\n',
            "k8s/all.yaml": "---\n".join(workloads)})
        self.repository.commit("[minor] first")

    def make(self, nodes, ground="managed"):
        """Plans, and gives what it says."""
        printed = run([self.place.bowline, "-C", self.repository.path, "--json", "capacity", "plan", "cluster", "--nodes",
                       nodes, "--ground", ground], env=self.environment)
        return json.loads(printed.splitlines()[-1])


def measure_few(place, report, runs):
    """Thirteen services on three named machines: room, credits, one lost, an update, cost."""
    plan = Plan(place, "few", [deployment(f"service-{number}", 1) for number in range(13)])
    found = plan.make("3xt2.medium", "shared")
    if not (found["fits"] and found["survives"] and found["monthly"]):
        raise RuntimeError(f"thirteen small services have to fit on three machines: {found}")
    times = [timed(lambda: plan.make("3xt2.medium", "shared")) * 1000 for _ in range(max(runs, 5))]
    report.add("capacity", "13 services, 3 machines, N-1, cost", "ms", times, below=100)


def measure_many(place, report, runs, plot):
    """Ever more pods on a thousand machines."""
    medians = {}
    for pods in PODS:
        plan = Plan(place, f"many-{pods}", [deployment(f"service-{number}", 100) for number in range(pods // 100)])
        found = plan.make(f"{NODES}xm5.large")
        if not found["fits"]:
            raise RuntimeError(f"{pods} small pods have to fit on {NODES} machines: {found['verdict']}")
        times = [timed(lambda plan=plan: plan.make(f"{NODES}xm5.large")) for _ in range(runs)]
        medians[pods] = sorted(times)[len(times) // 2]
        say(f"capacity: {pods} pods on {NODES} machines: {medians[pods]:.2f} s")
    most, half = PODS[-1], PODS[-2]
    report.add("capacity", f"{most} pods on {NODES} machines, each lost once", "s", [medians[most]], below=5)
    report.add("capacity", f"growth from {half} to {most} pods", "times", [medians[most] / medians[half]],
               below=most / half * 1.25)
    if plot:
        plot.write_text(draw(medians))


def draw(medians):
    """Seconds over pods, as a picture."""
    width, height, left, bottom = 520, 300, 60, 40
    most_x, most_y = max(medians), max(medians.values()) * 1.1
    at = lambda pods, seconds: (left + (width - left - 20) * pods / most_x, height - bottom - (height - bottom - 20) * seconds / most_y)
    points = [at(pods, seconds) for pods, seconds in sorted(medians.items())]
    marks = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4"/>' for x, y in points)
    labels = "".join(f'<text x="{at(pods, 0)[0]:.0f}" y="{height - 16}" text-anchor="middle">{pods:,}</text>'
                     f'<text x="{at(pods, seconds)[0] - 8:.0f}" y="{at(pods, seconds)[1] - 8:.0f}" text-anchor="end">{seconds:.2f} s</text>'
                     for pods, seconds in medians.items())
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in [at(0, 0), *points])
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">'
            '<style>text { fill: #5b6577 } polyline, path { fill: none; stroke: #2563eb; stroke-width: 2 } path { stroke: #98a2b3; stroke-width: 1 } '
            'circle { fill: #2563eb } @media (prefers-color-scheme: dark) { text { fill: #98a2b3 } }</style>'
            f'<path d="M{left} 20V{height - bottom}H{width - 20}"/><polyline points="{line}"/>{marks}{labels}'
            f'<text x="{width - 20}" y="{height - 2}" text-anchor="end">pods on {NODES:,} machines, each lost once</text></svg>\n')


def measure_sampler(place, report):
    """What measuring costs the host: ten minutes beside twelve containers."""
    host = Host(place, "capacity")
    directory = place.directory("capacity-image")
    run(["cp", "/bin/busybox", directory / "sh"])
    (directory / "Dockerfile").write_text("FROM scratch\nCOPY sh /bin/sh\n")
    host.docker("build", "-q", "-t", "idle:1", str(directory))
    for number in range(CONTAINERS):
        host.docker("run", "-d", "--name", f"idle-{number}", "idle:1", "/bin/sh", "-c", "while true; do sleep 1; done")
    environment = place.environment("capacity-sampler", DOCKER_HOST=host.variables["DOCKER_HOST"])
    repository = place.directory("capacity-sampler/repository")
    (repository / "bowline.toml").write_text('[project]\nname = "bench"\n\n[targets.box]\ncompose = "compose.yaml"\n')
    (repository / "compose.yaml").write_text("services: {}\n")
    run([place.bowline, "-C", repository, "capacity", "start", "box"], env=environment)
    process = process_of(host.docker("inspect", "-f", "{{.Id}}", "bowline-gate").strip())
    # It starts once, and measures for good.
    time.sleep(30)
    say(f"capacity: watching the sampler for {WATCHED} s")
    begin, before = time.monotonic(), processor_time(process)
    time.sleep(WATCHED)
    share = (processor_time(process) - before) / (time.monotonic() - begin) * 100
    report.add("capacity", "sampler, processor, ten minutes", "% of a core", [share], below=0.1)
    report.add("capacity", "sampler, memory at most", "MiB", [status(process, "VmHWM") / 1024], below=25)


def process_of(container):
    """The first process of a container, as this machine counts them: the host has a count of its own."""
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if container in path.read_text():
                return int(path.parent.name)
        except OSError:
            pass
    raise RuntimeError(f"container {container} has no process")


def processor_time(process):
    """User and system time of a process, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status(process, name):
    """A size of a process, in KiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel tells no {name}")


def measure(place, report, runs, plot=None):
    """The suite."""
    measure_few(place, report, runs)
    measure_many(place, report, min(runs, 3), plot)
    measure_sampler(place, report)
