#!/usr/bin/python3 -IS
"""A guest-pull-blobs that lies. Installed under that name beside "blobs.json":

{"first": hexadecimal bytes for the reply pipe at the start, "body": PATH of what to send instead of the blob, "repeat": how often, "last": as
 "first", at the end, "ending": "exit", "kill", "hang" (with pipes open) or "close" (them, and hang)}

The protocol is puller/blobs_protocol.h."""

import json
import os
import signal
import sys
import time

with open(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "blobs.json")) as file:
    script = json.load(file)
os.write(4, bytes.fromhex(script["first"]))
try:
    for _ in range(script.get("repeat", 1)):
        with open(script["body"], "rb") as file:
            data = file.read()
        while data:
            data = data[os.write(3, data):]
except BrokenPipeError:
    pass
os.write(4, bytes.fromhex(script.get("last", "")))
if script["ending"] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if script["ending"] == "close":
    os.close(3)
if script["ending"] != "exit":
    time.sleep(1000)
