"""The server under test, for the checks of the chart and of the examples."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path

BINARY = Path(os.environ["STATUS_SERVER_BINARY"])


def bound(command):
    """A command that ends when this process does, whatever ends that. The system goes by the thread that started it
    (PR_SET_PDEATHSIG of prctl(2)), so what another thread than the main one starts is left as it is."""
    if threading.current_thread() is not threading.main_thread():
        return command
    return [shutil.which("setpriv"), "--pdeathsig", "KILL", *command]


class Server:
    """One that runs, with these arguments and this environment, and whose log is kept."""

    def __init__(self, *arguments, listen="127.0.0.1:0", environment=None):
        environment = {"PATH": "/nowhere", "STATUS_LISTEN": listen, **(environment or {})}
        command = bound([BINARY, *arguments])
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.log = ""
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"listening on (\S+):(\d+)$", line.rstrip()):
                break
        else:
            raise AssertionError(f"it ended with {self.process.wait()} before it listened:\n{self.log}")
        self.port = int(found[2])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.keep_log, daemon=True).start()

    def keep_log(self):
        for line in self.process.stderr:
            self.log += line

    def get(self, path="/status.json"):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read()

    def status(self):
        return json.loads(self.get())

    def post(self, status):
        request = urllib.request.Request(
            self.url + "/api/status", json.dumps(status).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["success"] is True

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
