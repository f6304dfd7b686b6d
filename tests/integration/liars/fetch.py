#!/usr/bin/python3 -IS
"""A guest-pull-fetch that lies. Installed under that name beside "fetch.json":

{"start": what to say first ("ready", "silent", "exit", or the text itself),
 "answers": {"SELECTOR": {"file": PATH, "send": bytes of it (all), "claim": bytes reported (as sent), "do": ONE OF "" "exit-before" "exit-in-body"
             "kill-in-body" "exit-without-reply" "hang" "hang-in-body" "hang-without-reply", "reply": hexadecimal bytes instead of a frame}}}

The protocol is puller/fetch_protocol.h. What has no answer is not found."""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time


def frame(document: dict) -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<II", 1, len(text)) + text


def act(what: str, when: str):
    action, _, moment = what.partition("-")
    if moment != when:
        return
    if action == "exit":
        os._exit(0)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1000)


def serve(answer: dict | None, body: int, reply: int):
    if answer is None:
        missing = {"status": 404, "bytes": 0, "error": {"code": "not-found", "message": "no such thing"}}
        os.close(body)
        os.write(reply, frame(missing))
        os.close(reply)
        return
    do = answer.get("do", "")
    act(do + "-before" if do == "hang" else do, "before")
    with open(answer["file"], "rb") as file:
        data = file.read()[:answer.get("send")]
    half = len(data) // 2
    try:
        with open(body, "wb", buffering=0) as out:
            for part in (data[:half], data[half:]):
                while part:
                    part = part[out.write(part):]
                act(do, "in-body")
    except BrokenPipeError:
        pass
    act(do, "without-reply")
    said = bytes.fromhex(answer["reply"]) if "reply" in answer else frame(
        {"status": 200, "bytes": answer.get("claim", len(data)), "contentType": answer.get("type", "application/octet-stream")})
    os.write(reply, said)
    os.close(reply)


def main():
    with open(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "fetch.json")) as file:
        script = json.load(file)
    control = socket.socket(fileno=3)
    control.recv(65536)
    start = script.get("start", "ready")
    if start == "exit":
        os._exit(0)
    if start == "silent":
        time.sleep(1000)
    control.send(b'{"ready":true}' if start == "ready" else start.encode())
    while True:
        message, fds, _, _ = socket.recv_fds(control, 65536, 2)
        if not message:
            os._exit(0)
        request = json.loads(message)
        threading.Thread(target=serve, args=(script["answers"].get(request.get("selector", request.get("url"))), *fds)).start()


main()
