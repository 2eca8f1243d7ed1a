"""A cluster: `bowline deploy` against `kubectl apply`, on the same three nodes, in turns.

Objects are half ConfigMaps, a quarter Services, a quarter Deployments without pods, so that it is the applying that is
measured. Each peer has a namespace of its own with the same objects. The bars are for kubectl; kapp, which also looks
before it writes, and Helm, which most people have, are there to compare, each as it comes. What runs pods runs one static
program of half a megabyte.

Since 1.27 `kubectl apply` reads the whole schema of an object's group anew for each object, twice (`openapi3.root.GVSpec`),
some 0.1 s of processor time: an older one took 0.44 s for 100 objects in which nothing changed."""

import json
import re
import subprocess
import time
from pathlib import Path

import peer
from place import Repository, run, timed
from report import say

HOME = Path(__file__).resolve().parent
LAB = HOME.parent / "lab/kubernetes"
GROUPS = 6
# How long each workload of the ordered release takes until it answers.
SLOW = 2


class Cluster:
    """The lab's cluster, started where none runs."""

    def __init__(self, place):
        running = subprocess.run([LAB, "vars"], capture_output=True).returncode == 0
        if not running:
            say("kubernetes: building (once) and starting a cluster of three nodes")
            run([LAB, "up"])
            place.endings.append(lambda: run([LAB, "down"]))
        printed = run([LAB, "vars"])
        self.variables = dict(line.split("=", 1) for line in printed.splitlines())
        self.registry = self.variables["REGISTRY"]
        self.namespaces = []
        place.endings.append(self.clear)

    def kubectl(self, *arguments, **options):
        """Runs kubectl."""
        return run([self.variables["KUBECTL"], "--kubeconfig", self.variables["KUBECONFIG"], *arguments], **options)

    def namespace(self, name):
        """A namespace of ours, deleted in the end."""
        name = f"bench-{name}"
        subprocess.run([self.variables["KUBECTL"], "--kubeconfig", self.variables["KUBECONFIG"], "delete", "namespace",
                        name, "--wait=true", "--ignore-not-found"], capture_output=True)
        self.kubectl("create", "namespace", name)
        self.namespaces.append(name)
        return name

    def clear(self):
        """Deletes what was made."""
        if self.namespaces:
            self.kubectl("delete", "namespace", "--wait=false", "--ignore-not-found", *self.namespaces)

    def versions(self, namespace):
        """The resource versions of all objects of a namespace."""
        printed = self.kubectl("-n", namespace, "get", "configmap,service,deployment", "-o", "json")
        return {(item["kind"], item["metadata"]["name"]): item["metadata"]["resourceVersion"]
                for item in json.loads(printed)["items"]}

    def requests(self):
        """How many requests the API server has had, the steady ones of nodes and controllers apart."""
        total = 0
        for line in self.kubectl("get", "--raw", "/metrics").splitlines():
            found = re.match(r"apiserver_request_total\{(.*)\} (\S+)$", line)
            if found and 'resource="leases"' not in found[1] and 'verb="WATCH"' not in found[1]:
                total += float(found[2])
        return total


def objects(count, changed):
    """Manifests in files of fifty, by their paths; ten objects of variant 1 differ from variant 0."""
    files, texts = {}, []
    for number in range(count):
        value = "changed" if changed and number % (count // 10) == 0 else "as it was"
        name = f"object-{number}"
        kind = number % 4
        metadata = f"metadata:\n  name: {name}\n  labels: {{ app: {name} }}\n"
        note = f"  annotations: {{ note: \"{value}\" }}\n"
        if kind < 2:
            text = f"apiVersion: v1\nkind: ConfigMap\n{metadata}data:\n  value: \"{value}\"\n  more: |\n    a = 1\n    b = 2\n"
        elif kind == 2:
            # Of a release of which nothing runs no Service selects anything: it leads elsewhere.
            text = (f"apiVersion: v1\nkind: Service\n{metadata}{note}spec:\n  type: ExternalName\n"
                    f"  externalName: {name}.example.com\n")
        else:
            text = (f"apiVersion: apps/v1\nkind: Deployment\n{metadata}{note}spec:\n  replicas: 0\n"
                    f"  selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n"
                    f"    metadata: {{ labels: {{ app: {name} }} }}\n    spec:\n      containers:\n"
                    f"        - name: app\n          image: example.com/nothing:1\n          env:\n"
                    f"            - {{ name: A, value: \"1\" }}\n            - {{ name: B, value: \"2\" }}\n"
                    f"          ports: [{{ containerPort: 8080 }}]\n")
        texts.append(text)
        if len(texts) == 50 or number == count - 1:
            files[f"k8s/part-{number // 50}.yaml"] = "---\n".join(texts)
            texts = []
    return files


class Project:
    """A repository with one service and manifests, and its releases."""

    def __init__(self, place, cluster, name, namespace, program, more=""):
        self.name, self.place, self.cluster = name, place, cluster
        self.environment = place.environment(f"kubernetes-{name}", KUBECONFIG=cluster.variables["KUBECONFIG"])
        self.repository = Repository(place, f"kubernetes-{name}/repository", self.environment)
        self.repository.write({
            "bowline.toml": (f'[project]\nname = "bench-{name}"\n\n[registry]\n'
                             f'repository = "{cluster.registry}/bench-{name}"\ninsecure = true\n\n[services.app]\n'
                             'context = "app"\nimages = ["bench-app"]\n\n[targets.cluster]\nkubernetes = ["k8s/"]\n'
                             f'namespace = "{namespace}"\nstart = "120s"\nsettle = "1s"\n{more}'),
            "app/Dockerfile": 'FROM scratch\nCOPY program /program\nENTRYPOINT ["/program"]\n', ".gitignore": "program\n"})
        run(["cp", program, self.repository.path / "app/program"])

    def release(self, files, title):
        """Makes a release with these manifests; gives its tag."""
        self.repository.write(files)
        self.repository.commit(title)
        printed = self.bowline("--json", "release")
        return json.loads(printed.splitlines()[-1])["tag"]

    def bowline(self, *arguments):
        """Runs bowline."""
        return run([self.place.bowline, "-C", self.repository.path, *arguments], env=self.environment)

    def deploy(self, tag):
        """Deploys a release."""
        return self.bowline("--quiet", "deploy", "cluster", tag)


class Peer:
    """A program that brings the same manifests into a namespace of its own."""

    def __init__(self, name, command, namespace, directory, environment):
        self.name, self.command, self.directory, self.environment = name, command, directory, environment
        self.namespace, self.times, self.slow, self.failure = namespace, {}, False, None

    def write(self, variant, files):
        """Keeps one variant's manifests; for Helm they are those of a chart."""
        chart = {"Chart.yaml": f"apiVersion: v2\nname: bench\nversion: 0.{variant}.0\n"}
        chart |= {f"templates/{path}": text for path, text in files.items()}
        for path, text in (chart if "upgrade" in self.command else files).items():
            at = self.directory / str(variant) / path
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(text)

    def apply(self, variant):
        """Applies a variant. Without what is there only to compare the others are measured all the same."""
        if self.failure is None:
            try:
                run([*self.command, self.directory / str(variant), "-n", self.namespace], env=self.environment)
            except RuntimeError as error:
                if self.name.startswith("kubectl"):
                    raise
                self.fail(error)

    def fail(self, error):
        """From here on it is not measured."""
        self.failure = " ".join(str(error).split())[-300:]

    def measure(self, turn, case, variant):
        """Takes a case's time; of what takes minutes, as kubectl does with 1,000 objects, only in the first turn."""
        if turn == 0 or not self.slow:
            took = timed(lambda: self.apply(variant))
            self.times.setdefault(case, []).append(took)
            self.slow = self.slow or took > 60


def make_peers(place, cluster, count):
    """All peers."""
    environment = place.environment("kubernetes-peers", KUBECONFIG=cluster.variables["KUBECONFIG"])
    kubectl = cluster.variables["KUBECTL"]
    commands = {
        "kubectl apply": [kubectl, "apply", "-R", "-f"],
        "kubectl apply --server-side": [kubectl, "apply", "-R", "--server-side", "-f"],
        "kapp deploy": ["kapp", "deploy", "--yes", "-a", "bench", "-f"],
        "helm upgrade": ["helm", "upgrade", "--install", "bench"],
    }
    peers = []
    for number, (name, command) in enumerate(commands.items()):
        namespace = cluster.namespace(f"peer-{number}-{count}")
        each = Peer(name, command, namespace, place.directory(f"kubernetes-{namespace}"), environment)
        peers.append(each)
        if command[0] in peer.MODULES:
            each.name += f" ({peer.MODULES[command[0]][1]})"
            try:
                command[0] = peer.build(command[0])
            except (OSError, RuntimeError) as error:
                each.fail(error)
    return peers


def in_turns(turn, sides):
    """Runs the sides, the other way around every second time."""
    for side in sides if turn % 2 == 0 else reversed(sides):
        side()


def measure_many(place, report, cluster, program, count, runs):
    """So many objects: nothing changed, or ten of them."""
    own = cluster.namespace(f"own-{count}")
    project = Project(place, cluster, f"many-{count}", own, program)
    peers = make_peers(place, cluster, count)
    say(f"kubernetes: {count} objects: releases, and everything applied once")
    tags = []
    for variant in (0, 1):
        files = objects(count, variant == 1)
        tags.append(project.release(files, f"[minor] variant {variant}"))
        for each in peers:
            each.write(variant, files)
    project.deploy(tags[0])
    for each in peers:
        each.apply(0)
    current = 0
    cases = {"nothing changed": [], "ten changed": []}
    for turn in range(runs):
        for case, ours in cases.items():
            if case == "ten changed":
                current = 1 - current
            sides = [lambda: ours.append(timed(lambda: project.deploy(tags[current])))]
            sides += [lambda each=each: each.measure(turn, case, current) for each in peers]
            in_turns(turn, sides)
            say(f"kubernetes: {count} objects, {case}: ours {ours[-1]:.2f} s, "
                + ", ".join(f"{each.name} {each.times[case][-1]:.2f} s" for each in peers if each.failure is None))
    bars = {(100, "nothing changed", "kubectl apply"): 1, (1000, "ten changed", "kubectl apply"): 1 / 3,
            (1000, "ten changed", "kubectl apply --server-side"): 1 / 10}
    for case, ours in cases.items():
        for each in peers:
            title = f"{count} objects, {case}"
            if each.failure is None:
                report.add("kubernetes", title, "s", ours, each.times[case], each.name,
                           ratio=bars.get((count, case, each.name)))
            else:
                report.skip("kubernetes", title, f"{each.name} not measured: {each.failure}")
    return project, own, tags[current]


def count_requests(cluster, project, tag):
    """How many requests a deploy takes that has nothing to do."""
    counts = []
    for _ in range(5):
        before = cluster.requests()
        project.deploy(tag)
        # The question itself is one.
        counts.append(cluster.requests() - before - 1)
    return [min(counts)]


def check_drift(report, cluster, project, namespace, tag):
    """What somebody changed by hand is found, and nothing else is written."""
    before = cluster.versions(namespace)
    project.deploy(tag)
    written = sum(1 for key, version in cluster.versions(namespace).items() if before.get(key) != version)
    report.add("kubernetes", "objects written, nothing changed", "objects", [written], below=1)
    cluster.kubectl("-n", namespace, "patch", "configmap", "object-0", "--type", "merge", "-p", '{"data":{"value":"drift"}}')
    project.deploy(tag)
    value = json.loads(cluster.kubectl("-n", namespace, "get", "configmap", "object-0", "-o", "json"))["data"]["value"]
    report.add("kubernetes", "drift left after a deploy", "objects", [int(value == "drift")], below=1)


def workload(name, group, environment, probe=True):
    """One Deployment of our image."""
    check = ("          readinessProbe: { httpGet: { path: /health, port: 8080 }, periodSeconds: 1 }\n" if probe else "")
    variables = "".join(f"            - {{ name: {key}, value: \"{value}\" }}\n" for key, value in environment.items())
    return {f"k8s/p{group}-{name}.yaml":
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: 1\n"
            f"  selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n"
            f"    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n        - name: app\n"
            f"          image: bench-app\n          env:\n{variables}          ports: [{{ containerPort: 8080 }}]\n{check}"}


def seconds_between(begin, end):
    """Seconds between two times as the API writes them."""
    parse = lambda text: time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    return parse(end) - parse(begin)


def critical_path(cluster, namespace):
    """How long the slowest pod of each group took from its creation until it was ready, group after group. The API tells
    whole seconds."""
    slowest = {}
    for pod in json.loads(cluster.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]:
        group = pod["metadata"]["labels"]["app"].split("-")[1]
        ready = next(found for found in pod["status"]["conditions"] if found["type"] == "Ready")
        took = seconds_between(pod["metadata"]["creationTimestamp"], ready["lastTransitionTime"])
        slowest[group] = max(slowest.get(group, 0), took)
    return sum(slowest.values())


def measure_order(place, report, cluster, program, runs):
    """Twelve workloads in six groups, cold, against scripts that apply a group and sleep."""
    ours, paths, peer = [], [], []
    for turn in range(runs):
        own = cluster.namespace(f"order-{turn}")
        project = Project(place, cluster, f"order-{turn}", own, program)
        files = {}
        for group in range(1, GROUPS + 1):
            for side in "ab":
                files |= workload(f"w-{group}-{side}", group, {"LISTEN_AFTER": SLOW})
        tag = project.release(files, "[minor] twelve workloads")
        ours.append(timed(lambda: project.deploy(tag)))
        paths.append(critical_path(cluster, own))
        say(f"kubernetes: six groups, cold: {ours[-1]:.1f} s, of which readiness {paths[-1]:.0f} s")
    # The scripts that teams have: `kubectl apply` of a group, then `sleep 20`. Nobody has to wait for that to know it.
    peer = [GROUPS * 20.0]
    report.add("kubernetes", "twelve workloads, six groups, cold", "s", ours, peer, "apply and sleep 20", ratio=1)
    over = [mine - path for mine, path in zip(ours, paths)]
    report.add("kubernetes", "the same, beyond the pods' own readiness", "s", over, below=2)


def measure_failures(place, report, cluster, program):
    """What cannot work: an image that is not there, and a crash loop."""
    own = cluster.namespace("failures")
    project = Project(place, cluster, "failures", own, program)
    good = project.release(workload("app", 1, {"VERSION": "1"}), "[minor] good")
    project.deploy(good)
    before = cluster.versions(own)
    missing = workload("app", 1, {"VERSION": "2"})
    missing = {path: text.replace("image: bench-app", f"image: {cluster.registry}/nobody/nothing:1")
               for path, text in missing.items()}
    tag = project.release(missing, "[minor] an image that is not there")
    refused = subprocess.run([project.place.bowline, "-C", project.repository.path, "deploy", "cluster", tag],
                             env=project.environment, capture_output=True, text=True)
    written = sum(1 for key, version in cluster.versions(own).items() if before.get(key) != version)
    wrong = int(refused.returncode != 2) + written
    report.add("kubernetes", "writes for an image that is not there", "objects", [wrong], below=1)
    tag = project.release(workload("app", 1, {"EXIT_AFTER": "0", "EXIT_CODE": "3"}), "[minor] a crash loop")
    command = [project.place.bowline, "-C", project.repository.path, "--json", "deploy", "cluster", tag]
    begin = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], env=project.environment, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    named = 999.0
    for line in process.stdout:
        event = json.loads(line)
        told = event.get("text", "") if event.get("event") == "warning" else " ".join(event.get("log") or [])
        if "exiting as told" in told:
            named = time.monotonic() - begin
            break
    process.stdout.read()
    process.wait()
    report.add("kubernetes", "crash loop named with its log", "s", [named], below=30)


def measure(place, report, runs):
    """The suite."""
    program = place.root / "kubernetes-program"
    run(["rustc", "--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-C", "strip=symbols",
         HOME.parent / "crates/bowline-testkit/program/main.rs", "-o", program])
    cluster = Cluster(place)
    project, namespace, tag = measure_many(place, report, cluster, program, 100, runs)
    check_drift(report, cluster, project, namespace, tag)
    few = count_requests(cluster, project, tag)
    project, namespace, tag = measure_many(place, report, cluster, program, 1000, runs)
    many = count_requests(cluster, project, tag)
    report.add("kubernetes", "requests, 1,000 objects, nothing changed", "requests", many, few, "the same with 100 objects",
               ratio=2)
    measure_failures(place, report, cluster, program)
    measure_order(place, report, cluster, program, min(runs, 2))
