#!/usr/bin/env python3
"""Asks the real scheduler where it places the pods of random cases, and compares it with what Bowline says.

    bench/scheduler.py [--store]

starts etcd, the API server and the scheduler of the lab's Kubernetes on this machine, and nothing else: nodes are objects
without kubelets, and no controller marks them as lost. The cases are those that `cargo run -p bowline-core --example
placement cases` prints. One pod is created after the other; one that finds no node is deleted again, so that each step
depends on the bindings before it alone. The scheduler's log says how it rated the nodes that took a pod. Of nodes that it
rates alike it takes any, so that no two runs are the same: the core's test follows each of its bindings.

Without --store, what the tests compare with from day to day is afterwards what it was."""

import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from http.client import HTTPSConnection
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
STORED = HOME / "crates/bowline-core/tests/it/placement/truth.jsonl"
VERSION = "1.35.4"
# Admission that needs controllers, or that would not let through what is to be tried.
WITHOUT = "ServiceAccount,TaintNodesByCondition,StorageObjectInUseProtection,RuntimeClass"
# What the scheduler says when a node does not take a pod, and which of its plugins says so.
REASONS = [
    ("node(s) were unschedulable", "NodeUnschedulable"),
    ("node(s) had untolerated taint", "TaintToleration"),
    ("node(s) didn't match Pod's node affinity/selector", "NodeAffinity"),
    ("node(s) didn't have free ports", "NodePorts"),
    ("node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod", "VolumeRestrictions"),
    ("node(s) didn't match PersistentVolume's node affinity", "VolumeBinding"),
    ("node(s) had no available volume zone", "VolumeBinding"),
    ("node(s) didn't match pod topology spread constraints", "PodTopologySpread"),
    ("node(s) didn't match pod affinity rules", "InterPodAffinity"),
    ("node(s) didn't match pod anti-affinity rules", "InterPodAffinity"),
    ("node(s) didn't satisfy existing pods anti-affinity rules", "InterPodAffinity"),
    ("Insufficient ", "NodeResourcesFit"),
    ("Too many pods", "NodeResourcesFit"),
]


class Control:
    """etcd, API server and scheduler, in a directory of their own."""

    def __init__(self, programs, at):
        self.at, self.token, self.running = Path(at), secrets.token_hex(16), []
        self.etcd, self.peer, self.port = 23790, 23800, 26443
        (self.at / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        key = self.at / "account.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        self.start("etcd", "etcd", "--data-dir", self.at / "etcd", "--unsafe-no-fsync",
                   "--listen-client-urls", f"http://127.0.0.1:{self.etcd}",
                   "--advertise-client-urls", f"http://127.0.0.1:{self.etcd}",
                   "--listen-peer-urls", f"http://127.0.0.1:{self.peer}",
                   "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer}",
                   "--initial-cluster", f"default=http://127.0.0.1:{self.peer}")
        self.start("apiserver", programs / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self.etcd}",
                   f"--secure-port={self.port}", "--bind-address=127.0.0.1", f"--cert-dir={self.at}",
                   f"--token-auth-file={self.at / 'tokens.csv'}", "--authorization-mode=RBAC",
                   f"--disable-admission-plugins={WITHOUT}", "--service-cluster-ip-range=10.81.0.0/16",
                   "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                   f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}")
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        self.way = HTTPSConnection("127.0.0.1", self.port, context=trust, timeout=30)
        self.wait(lambda: self.answers("/readyz"), 60, "the API server")
        (self.at / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                                                    "insecure-skip-tls-verify": True}}],
            "users": [{"name": "it", "user": {"token": self.token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}]}))
        self.start("scheduler", programs / "kube-scheduler", f"--kubeconfig={self.at / 'kubeconfig'}",
                   "--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=500",
                   "--vmodule=schedule_one=10")
        self.log = open(self.at / "scheduler.log", encoding="utf-8", errors="replace")

    def start(self, name, *command):
        """Starts a program that ends with this one."""
        log = open(self.at / f"{name}.log", "wb")
        self.running.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log,
                                             stdin=subprocess.DEVNULL))

    def end(self):
        """Ends all programs."""
        for program in reversed(self.running):
            program.kill()
            program.wait()

    def answers(self, path):
        """Whether the API server answers."""
        try:
            return self.ask("GET", path, want=None)[0] == 200
        except OSError:
            self.way.close()
            return False

    def ask(self, method, path, body=None, want=(200, 201, 202)):
        """A request; gives the status and what was answered."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.way.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
        answer = self.way.getresponse()
        text = answer.read()
        if want and answer.status not in want:
            raise SystemExit(f"{method} {path}: {answer.status} {text.decode()[:2000]}\n{json.dumps(body)[:3000]}")
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    @staticmethod
    def wait(condition, seconds, what):
        """Waits until something holds."""
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if time.monotonic() > end:
                raise SystemExit(f"{what} did not come in {seconds} s")
            time.sleep(0.01)

    def scores(self):
        """What the scheduler has said since the last time: totals by pod and node."""
        totals = {}
        for line in self.log:
            if '"Plugin scored node for pod"' not in line:
                continue
            fields = dict(re.findall(r'(\w+)="([^"]*)"', line))
            score = int(re.search(r"score=(-?\d+)", line)[1])
            nodes = totals.setdefault(fields["pod"], {})
            nodes[fields["node"]] = nodes.get(fields["node"], 0) + score
        return totals


def path_of(thing):
    """Where things of a kind are created."""
    namespace = thing["metadata"].get("namespace")
    kind = {"Node": "nodes", "Pod": "pods", "PersistentVolume": "persistentvolumes",
            "PersistentVolumeClaim": "persistentvolumeclaims"}[thing["kind"]]
    return f"/api/v1/namespaces/{namespace}/{kind}" if namespace else f"/api/v1/{kind}"


def reasons(message, nodes):
    """How many nodes each plugin kept from a pod; none where the message does not say."""
    found = re.match(r"0/(\d+) nodes are available: (.*?)\.(?: |$)", message)
    if not found:
        return None
    if int(found[1]) != nodes:
        raise SystemExit(f"the scheduler saw {found[1]} nodes of {nodes}: {message}")
    counts = Counter()
    for part in re.split(r", (?=\d)", found[2]):
        count = re.match(r"(\d+) (.*)", part)
        plugin = count and next((plugin for text, plugin in REASONS if count[2].startswith(text)), None)
        if not plugin:
            return None
        counts[plugin] += int(count[1])
    # A node can lack more than one resource, and is one node all the same.
    others = sum(count for plugin, count in counts.items() if plugin != "NodeResourcesFit")
    if counts["NodeResourcesFit"]:
        counts["NodeResourcesFit"] = nodes - others
    return {plugin: count for plugin, count in sorted(counts.items()) if count}


def decide(control, pod):
    """Creates a pod and waits for what becomes of it: its node, or why it has none."""
    control.ask("POST", path_of(pod), pod)
    at = f"{path_of(pod)}/{pod['metadata']['name']}"

    def decided():
        _, there = control.ask("GET", at)
        if there["spec"].get("nodeName"):
            return there["spec"]["nodeName"], ""
        for condition in there["status"].get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return None, condition.get("message", "")
        return None

    node, message = control.wait(decided, 30, f"an answer for {at}")
    if not node:
        control.ask("DELETE", at, {"gracePeriodSeconds": 0})
    return node, message


def run_case(control, number, case):
    """What the scheduler does with one case."""
    things = case["nodes"] + case["volumes"] + case["claims"]
    present = [pod for pod in case["pods"] if pod["spec"].get("nodeName")]
    for thing in things + present:
        control.ask("POST", path_of(thing), thing)
    # The scheduler hears of nodes and pods a moment later.
    time.sleep(0.25)
    steps = []
    for pod in case["pods"]:
        if pod["spec"].get("nodeName"):
            steps.append([pod["spec"]["nodeName"], None, None])
            continue
        node, message = decide(control, pod)
        steps.append([node, None, None if node else reasons(message, len(case["nodes"]))])
    time.sleep(0.05)
    scores = control.scores()
    for pod, step in zip(case["pods"], steps):
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if not pod["spec"].get("nodeName") and step[0]:
            step[1] = scores.get(name)
    for namespace in ("east", "west"):
        control.ask("DELETE", f"/api/v1/namespaces/{namespace}/pods", {"gracePeriodSeconds": 0})
    for thing in case["claims"] + case["volumes"] + case["nodes"]:
        control.ask("DELETE", f"{path_of(thing)}/{thing['metadata']['name']}")
    return {"case": number, "pods": steps}


def prepare(control):
    """Namespaces and priorities, which all cases share."""
    for name, team in (("east", "a"), ("west", "b")):
        control.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": {"team": team}}})
    for name, value in (("first", 1000), ("second", 500), ("third", 1)):
        control.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses",
                    {"metadata": {"name": name}, "value": value, "preemptionPolicy": "Never"})


def main():
    """Runs all cases."""
    if sys.argv[1:] not in ([], ["--store"]):
        raise SystemExit(__doc__)
    before = STORED.read_bytes() if STORED.exists() and not sys.argv[1:] else None
    cache = Path(os.environ.get("BOWLINE_LAB_CACHE", "/var/cache/bowline-lab"))
    subprocess.run([HOME / "lab/kubernetes", "build"], check=True)
    command = ["cargo", "run", "--quiet", "-p", "bowline-core", "--example", "placement", "cases"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HOME).stdout
    cases = [json.loads(line) for line in printed.splitlines()]
    at = tempfile.mkdtemp(prefix="bowline-scheduler-")
    control = None
    try:
        control = Control(cache / "kubernetes" / VERSION, at)
        prepare(control)
        lines = []
        for number, case in enumerate(cases):
            line = run_case(control, number, case)
            lines.append(json.dumps(line, separators=(",", ":"), sort_keys=True) + "\n")
            if number % 20 == 19:
                print(f"{number + 1} of {len(cases)} cases", file=sys.stderr)
    finally:
        if control:
            control.end()
        shutil.rmtree(at, ignore_errors=True)
    try:
        STORED.write_text("".join(lines), encoding="utf-8")
        test = ["cargo", "test", "-p", "bowline-core", "--test", "it", "real_scheduler", "--", "--nocapture"]
        sys.exit(subprocess.run(test, cwd=HOME).returncode)
    finally:
        if before is not None:
            STORED.write_bytes(before)


if __name__ == "__main__":
    main()
