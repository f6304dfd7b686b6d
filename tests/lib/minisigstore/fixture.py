#!/usr/bin/python3
"""fixture.py: prints tests/unit/sigstore/mini_fixture.h anew, one signature with everything around it."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import minisigstore as mini  # noqa: E402
from minisigstore import ARTIFACT, NOW, b64, from_b64, to_pem  # noqa: E402
from minisigstore.authority import TimestampAuthority  # noqa: E402


def literal(name: str, text: str) -> str:
    lines = [text[at:at + 100] for at in range(0, len(text), 100)]
    quoted = "\n".join('    "' + line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"' for line in lines)
    return f"static const char {name}[] G_GNUC_UNUSED =\n{quoted};\n"


def main():
    instance = mini.Sigstore()
    bundle = instance.bundle(ARTIFACT, stamps=1)
    material = bundle["verificationMaterial"]
    stranger = TimestampAuthority(mini.START)
    signature = bundle["messageSignature"]["signature"]
    person = instance.bundle(ARTIFACT, twists={"leaf": lambda old: {
        **old, "san": [mini.email("me@team.example"), mini.x509.DNSName("*.team.example")], "scts": ()}})
    print("/* Made by tests/lib/minisigstore/fixture.py: one signature of a miniature Sigstore and what vouches for it. Certificates live from\n"
          f" * {mini.rfc3339(mini.START)} on; the signer's for ten minutes around FIXTURE_TIME. */\n#pragma once\n\n#include <glib.h>\n")
    print(f"#define FIXTURE_TIME {NOW} /* of the log's entry; the timestamp is five seconds later */\n")
    entry = material["tlogEntries"][0]
    for name, text in (
            ("fixture_root", mini.to_bytes(instance.trusted_root()).decode()),
            ("fixture_leaf", material["certificate"]["rawBytes"]),
            ("fixture_person", person["verificationMaterial"]["certificate"]["rawBytes"]),
            ("fixture_chain", "".join(to_pem(item).decode() for item in instance.fulcio.chain)),
            ("fixture_signature", signature),
            ("fixture_timestamp", material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"]),
            ("fixture_strange_timestamp", b64(stranger.stamp(from_b64(signature), NOW, embed_chain=stranger.chain))),
            ("fixture_promise", mini.to_bytes({
                "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
                "Payload": {"body": entry["canonicalizedBody"], "integratedTime": int(entry["integratedTime"]),
                            "logIndex": int(entry["logIndex"]), "logID": from_b64(entry["logId"]["keyId"]).hex()}}).decode())):
        print(literal(name, text))


if __name__ == "__main__":
    main()
