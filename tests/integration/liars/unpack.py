#!/usr/bin/python3 -IS
"""A guest-pull-unpack that lies: copies the file "frames" beside it to descriptor 4, whatever it gets on descriptor 3. "unpack.json" beside it:

{"drain": whether descriptor 3 is read to its end first, "repeat": how often "flood" (hexadecimal frames) is sent between "frames" and "tail",
 "number": bytes of "flood" that are replaced by a counter: [offset, digits] or null, "end": "exit", "exit-3", "kill", "hang", "close"}"""

import json
import os
import signal
import sys
import time


def send(data: bytes):
    while data:
        data = data[os.write(4, data):]


def main():
    place = os.path.dirname(os.path.abspath(sys.argv[0]))
    with open(os.path.join(place, "unpack.json")) as file:
        script = json.load(file)
    while script["drain"] and os.read(3, 1 << 20):
        pass
    with open(os.path.join(place, "frames"), "rb") as file:
        send(file.read())
    flood, batch = bytes.fromhex(script["flood"]), 1000
    for start in range(0, script["repeat"], batch):
        numbers = range(start, min(start + batch, script["repeat"]))
        if script["number"]:
            offset, digits = script["number"]
            send(b"".join(flood[:offset] + b"%0*d" % (digits, number) + flood[offset + digits:] for number in numbers))
        else:
            send(flood * len(numbers))
    send(bytes.fromhex(script["tail"]))
    if script["end"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if script["end"] == "hang":
        time.sleep(1000)
    if script["end"] == "close":
        os.close(4)
        time.sleep(1000)
    os._exit(3 if script["end"] == "exit-3" else 0)


main()
