"""The back of the pair that this program replaces: takes a status by POST and writes it where nginx serves it."""

import json
import os
from threading import get_ident

from flask import Flask, jsonify, request

app = Flask(__name__)
path = os.environ["STATUS_FILE"]


@app.post("/api/status")
def update():
    status = request.get_json(silent=True)
    if not isinstance(status, dict):
        return jsonify(success=False, message="Invalid JSON"), 400
    # By rename, for nginx would serve half a file now and then.
    new = f"{path}.{get_ident()}"
    with open(new, "w") as file:
        json.dump(status, file)
    os.replace(new, path)
    return jsonify(success=True, message="Status updated successfully", status=status)


@app.get("/ready")
def ready():
    return jsonify(status="ready") if os.access(path, os.R_OK) else (jsonify(status="not ready"), 503)
