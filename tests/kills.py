"""Kill processes of a watched tree at random, and check that each death is reported once.

    python tests/kills.py --times 1000

A supervisor runs workers that note what they do; each is killed, or ends cleanly, after
it has been seen. The store must then contain exactly those deaths, with the last words
of each. Needs crashenv to be installed, or the checkout.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.driver import environment, importable

SUPERVISOR = """
import glob, json, os, random, signal, subprocess, sys, time
monitor = os.environ["PYDEBUG"].partition("/proc/")[2].partition("/")[0]
def wait_until_seen(pids):
    # until the monitor has a pidfd of each
    while pids:
        for path in glob.glob("/proc/%s/fdinfo/*" % monitor):
            try:
                with open(path) as file: text = file.read()
            except OSError: continue
            pid = text.partition("\\nPid:\\t")[2].partition("\\n")[0]
            if pid: pids.discard(int(pid))
        time.sleep(0.001)
choose = random.Random(int(sys.argv[2]))
WORKER = '''
import crashenv, sys
crashenv.note("worker %d at work" % int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
'''
killed = {}
for start in range(0, int(sys.argv[1]), 8):
    workers = []
    for n in range(start, min(start + 8, int(sys.argv[1]))):
        command = [sys.executable, "-c", WORKER, str(n)]
        workers.append((n, subprocess.Popen(command, stdin=-1, stdout=-1)))
    for _, worker in workers: worker.stdout.readline()
    wait_until_seen({worker.pid for _, worker in workers})
    choose.shuffle(workers)
    for n, worker in workers:
        number = choose.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, 0, signal.SIGTERM))
        if number: worker.send_signal(number)
        worker.communicate()
        if number in (signal.SIGKILL, signal.SIGSEGV): killed[worker.pid, n] = number.name
print(json.dumps([[pid, n, name] for (pid, n), name in killed.items()]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    told = parser.parse_args()
    env = environment()
    env["PYTHONPATH"] = ":".join(filter(None, [env.get("PYTHONPATH", ""), importable()]))
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        options = ["--quiet", "--store", str(store), "--max-records", "100000"]
        command = [sys.executable, "-m", "crashenv", "run", *options, "--", sys.executable]
        command += ["-c", SUPERVISOR, str(told.times), str(told.seed)]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
        killed = sorted(json.loads(done.stdout.splitlines()[-1]))
        found = []
        for path in store.glob("*.json"):
            record = json.loads(path.read_bytes())
            words = record.get("last_words", "worker -1 at").split()
            signal = (record.get("ending") or {}).get("signal")
            found.append([record["pid"], int(words[1]), signal])
    missing = [item for item in killed if item not in found]
    extra = [item for item in found if item not in killed]
    twice = len(found) - len({tuple(map(str, item)) for item in found})
    print("seed %d: %d of %d ended by a signal" % (told.seed, len(killed), told.times))
    print("missing %d, without cause %d, twice %d" % (len(missing), len(extra), twice))
    for pid, n, name in missing:
        print("process %d, worker %d, %s is not told of" % (pid, n, name))
    return bool(missing or extra or twice)


if __name__ == "__main__":
    sys.exit(main())
