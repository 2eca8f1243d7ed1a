"""Orchestration: `bowline deploy` of eight services until all are healthy, against `docker compose up -d` of the same
project, which waits for nothing.

The services are one static program of half a megabyte that answers at once; two of them depend on the six others. Both
releases are on the host already, so that nothing is pulled; where something is, its time is taken off. Two bars: the
whole against the peer's, which replaces the same containers on the same engine; and in seconds the orchestration, which
is the whole without the time in which Compose replaces containers: that is the engine's, and their boot. The host is a
network namespace with an engine and an SSH server of its own; SSH leads through a proxy that delays."""

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path

from place import Repository, free_port, answers, run, timed, wait_for
from report import say

SERVICES = ["user", "chat", "room", "file", "search", "notify", "gateway", "admin"]
LEAVES = SERVICES[:6]
ROUND_TRIP = 20
HOME = Path(__file__).resolve().parent
LAB = HOME.parent / "lab/host"


def compose(image):
    """The compose file; `image` makes an image's name of a service's."""
    text = "services:\n"
    for service in SERVICES:
        text += f"  {service}:\n    image: {image(service)}\n    restart: always\n"
        if service not in LEAVES:
            text += "    depends_on: [" + ", ".join(LEAVES) + "]\n"
    return text


def project(near):
    """The files of the repository. `near` is the local project's directory."""
    config = '[project]\nname = "bench"\n'
    files = {"compose.yaml": compose(lambda service: f"bench-{service}:latest"), ".gitignore": "program\n"}
    for service in SERVICES:
        config += (f'\n[services.{service}]\ncontext = "{service}"\nimages = ["bench-{service}"]\nport = 8080\n'
                   'health = { http = "/health" }\n')
        files[f"{service}/Dockerfile"] = ('FROM scratch\nCOPY program /program\nCOPY version /version\n'
                                          'ENTRYPOINT ["/program"]\n')
    config += f'\n[targets.near]\ncompose = "compose.yaml"\nproject = "bench"\ndirectory = "{near}"\n'
    config += '\n[targets.far]\ncompose = "compose.yaml"\nproject = "bench"\ndirectory = "/srv/bench"\nhost = "ssh://far"\n'
    return files | {"bowline.toml": config}


class Host:
    """A lab host."""

    def __init__(self, place, hint):
        self.name = f"bench-{hint}-{place.root.name.rsplit('-')[-1]}"
        printed = run([LAB, "up", self.name, "--owner", os.getpid()])
        place.endings.append(lambda: run([LAB, "down", self.name]))
        self.variables = dict(line.split("=", 1) for line in printed.splitlines())

    def docker(self, *arguments):
        """Runs docker on its engine."""
        return run([LAB, "docker", self.name, *arguments])

    def write_delayed_ssh(self, place, path):
        """SSH to it as the host `far`, through the proxy."""
        port = free_port()
        command = ["python3", HOME / "delay.py", port, self.variables["ADDRESS"], 22, ROUND_TRIP]
        place.start([str(word) for word in command], place.root / "delay.log")
        wait_for("the proxy", lambda: answers(port))
        settings = Path(self.variables["SSH_CONFIG"]).read_text()
        settings = settings.replace(f"Host {self.name}", "Host far")
        settings = settings.replace(f"HostName {self.variables['ADDRESS']}", f"HostName 127.0.0.1\n  Port {port}")
        path.write_text(settings)


class Ours:
    """`bowline deploy` of one of two releases to one target."""

    def __init__(self, place, repository, environment, target, prefix):
        self.command = [*prefix, place.bowline, "-C", repository.path, "--json", "deploy", target]
        self.environment, self.releases, self.events = environment, [], []

    def deploy(self, number):
        """Deploys a release and keeps what the run told."""
        command = [str(word) for word in [*self.command, self.releases[number]]]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        self.events = [json.loads(line) for line in done.stdout.splitlines()]

    def pulling(self):
        """Seconds that the last run spent pulling."""
        steps = {event["step"] for event in self.events
                 if event.get("event") == "step-started" and event["what"].startswith("pull")}
        return max((event["seconds"] for event in self.events
                    if event.get("event") == "step-finished" and event["step"] in steps), default=0)

    def replacing(self):
        """Seconds of the last run in which Compose replaced containers: the engine's work, and their boot."""
        steps = {event["step"] for event in self.events
                 if event.get("event") == "step-started" and event["what"].startswith("replace")}
        spans = sorted((end - event["seconds"], end) for event in self.events
                       if event.get("event") == "step-finished" and event["step"] in steps
                       for end in [datetime.fromisoformat(event["at"][:26] + "+00:00").timestamp()])
        total, until = 0, 0
        for begin, end in spans:
            total += max(0, end - max(begin, until))
            until = max(until, end)
        return total

    def phases(self):
        """What the last run spent its time on."""
        spent = self.events[-1].get("phases", []) if self.events else []
        return ", ".join(f"{phase['name']} {phase['seconds']:.2f}" for phase in spent)


def release(place, repository, environment, program):
    """Two releases in which everything differs; gives their tags."""
    tags = []
    for number in range(2):
        for service in SERVICES:
            repository.write({f"{service}/version": f"{service} {number}\n"})
            copy = repository.path / service / "program"
            if not copy.exists():
                run(["cp", program, copy])
        repository.commit(f"[minor] release {number}")
        printed = run([place.bowline, "-C", repository.path, "--json", "release"], env=environment)
        tags.append(json.loads(printed.splitlines()[-1])["tag"])
    return tags


def measure_target(report, where, ours, host, up, runs):
    """One way to a host, both sides in turns."""
    for number in (0, 1):
        ours.deploy(number)
        for service in SERVICES:
            host.docker("tag", f"bench-{service}:latest", f"peer-{service}:{number}")
        up(number)
    # Where nothing changes, the peer asks the engine once, and keeps, checks and prunes nothing.
    cases = {"nothing changed": (3, None), "all changed": (5, 1.5)}
    times = {case: ([], []) for case in cases}
    orchestrating = {case: [] for case in cases}
    current = 1
    for turn in range(runs):
        for case in cases:
            current = current if case == "nothing changed" else 1 - current

            def own():
                seconds = timed(lambda: ours.deploy(current)) - ours.pulling()
                say(f"deploy: {where}, {case}: ours {seconds:.2f} s ({ours.phases()})")
                times[case][0].append(seconds)
                orchestrating[case].append(seconds - ours.replacing())

            def other():
                seconds = timed(lambda: up(current))
                say(f"deploy: {where}, {case}: peer {seconds:.2f} s")
                times[case][1].append(seconds)

            for side in (own, other) if turn % 2 == 0 else (other, own):
                side()
    for case, (bar, ratio) in cases.items():
        report.add("deploy", f"{where}, {case}", "s", *times[case], "docker compose up -d", ratio=ratio)
        report.add("deploy", f"{where}, {case}: orchestration", "s", orchestrating[case], below=bar)


def measure(place, report, runs):
    """The suite."""
    program = place.root / "program"
    run(["rustc", "--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-C", "strip=symbols",
         HOME.parent / "crates/bowline-testkit/program/main.rs", "-o", program])
    near, far = Host(place, "near"), Host(place, "far")
    ssh = place.root / "ssh"
    far.write_delayed_ssh(place, ssh)
    environment = place.environment("deploy", BOWLINE_SSH_CONFIG=str(ssh))
    repository = Repository(place, "deploy/repository", environment)
    directory = place.directory("deploy/near")
    repository.write(project(directory))
    tags = release(place, repository, environment, program)
    peer = place.directory("deploy/peer") / "compose.yaml"
    peer.write_text(compose(lambda service: f"peer-{service}:${{RELEASE}}"))
    run(["ssh", "-F", ssh, "far", "mkdir -p /srv/peer && cat >/srv/peer/compose.yaml"], input=peer.read_text())

    def up_near(number):
        variables = environment | {"DOCKER_HOST": near.variables["DOCKER_HOST"], "RELEASE": str(number)}
        run(["docker", "compose", "-f", peer, "up", "-d"], env=variables)

    def up_far(number):
        run(["ssh", "-F", ssh, "far", f"cd /srv/peer && RELEASE={number} docker compose up -d"])

    ours = Ours(place, repository, environment, "near", [LAB, "exec", near.name])
    ours.releases = tags
    measure_target(report, "local", ours, near, up_near, runs)
    ours = Ours(place, repository, environment, "far", [])
    ours.releases = tags
    measure_target(report, f"SSH with {ROUND_TRIP} ms", ours, far, up_far, runs)
