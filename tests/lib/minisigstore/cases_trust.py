"""The second half of the table of bundles (cases.py): certificates, transparency of certificates, identities, timestamps, trusted roots."""

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

import minisigstore as mini
import minisigstore.der as der
from minisigstore import ARTIFACT, IDENTITY, ISSUER, NOW, START, b64, from_b64
from minisigstore.authority import CODE_SIGNING, ISSUER_V1, ISSUER_V2, CtLog, Fulcio, TimestampAuthority, sct_extension, to_der, usage
from minisigstore.cases import HOUR, MATERIAL, STAMP, Maker, edit, flip, flip64, window
from minisigstore.keys import Key

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


def leaf(**options):
    """A twist of what the certificate is issued with."""
    return {"leaf": lambda old: {**old, **options}}


def certificate_cases(make: Maker):
    base = make.base
    past = leaf(start=NOW - 2 * HOUR)
    yield make.case("expired when logged", twists=past, reason="certificate-expired-at-time")
    yield make.case("not yet valid when logged", twists=leaf(start=NOW + HOUR), reason="certificate-expired-at-time")
    yield make.case("expired when stamped", "v2", twists={"stamp": lambda old: {**old, "seconds": NOW + HOUR}}, reason="certificate-expired-at-time")
    yield make.case("stamped before it was valid", "v2", twists={"stamp": lambda old: {**old, "seconds": NOW - HOUR}}, reason="certificate-expired-at-time")
    yield make.case("one of its times too late", "stamped", twists={"stamp": lambda old: {**old, "seconds": NOW + HOUR}}, reason="certificate-expired-at-time")
    yield make.case("no code signing", twists=leaf(eku=()), reason="certificate-usage")
    yield make.case("for servers", twists=leaf(eku=(SERVER_AUTH,)), reason="certificate-usage")
    yield make.case("for any use", twists=leaf(eku=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), reason="certificate-usage")
    yield make.case("a CA as signer", twists=leaf(ca=True), reason="certificate-usage")
    yield make.case("not for signatures", twists=leaf(key_usage=usage(key_encipherment=True)), reason="certificate-usage")
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    yield make.case("unknown critical extension", twists=leaf(extra=[(unknown, True)]), reason="certificate-untrusted")
    yield make.case("certificate signed by nobody known", twists=leaf(signer=Key()), reason="certificate-untrusted")
    stranger = Fulcio(START)
    yield make.case("another CA of the same name", instance=base.but(fulcio=stranger), reason="certificate-untrusted")
    yield make.case("self-signed", twists=leaf(signer=base.signer), reason="certificate-untrusted")
    yield make.case("signature of the certificate changed", reason="certificate-untrusted", twists={
        "certificate": lambda old: x509.load_der_x509_certificate(flip(to_der(old)))})

    def own_chain(old):
        old["x509CertificateChain"]["certificates"] += [{"rawBytes": b64(to_der(item))} for item in stranger.chain]
        return old
    yield make.case("a stranger's chain beside it", "0.2", instance=base.but(fulcio=stranger),
                    twists={"bundle": edit("verificationMaterial", own_chain)}, reason="bundle-format")
    for name, options, reason in (
            ("intermediate without code signing", {"intermediate_eku": (SERVER_AUTH,)}, "certificate-usage"),
            ("intermediate that is no CA", {"intermediate_ca": False}, "certificate-untrusted"),
            ("intermediate that may not issue", {"intermediate_usage": False}, "certificate-untrusted"),
            ("intermediate expired (CVE-2026-24122)", {"intermediate_end": NOW - HOUR}, "certificate-expired-at-time"),
            ("root expired (CVE-2026-24122)", {"root_end": NOW - HOUR}, "certificate-expired-at-time")):
        instance = base.but(fulcio=Fulcio(START, **options))
        yield make.case(name, instance=instance, trust=instance, reason=reason)
    yield make.case("CA ended before", root=window("certificateAuthorities", 0, START, NOW - HOUR), reason="certificate-untrusted")
    yield make.case("CA began later", root=window("certificateAuthorities", 0, NOW + HOUR, None), reason="certificate-untrusted")
    yield make.case("no CA trusted", root=edit("certificateAuthorities", []), reason="certificate-untrusted")
    yield make.case("key of another certificate", reason="bad-signature", twists={
        "bundle": edit(MATERIAL + "certificate.rawBytes", b64(to_der(base.but(signer=Key()).certificate())))})


def sct_cases(make: Maker):
    ct, stranger = make.base.ct, CtLog()
    when = NOW - 60
    with_scts = lambda *makers: leaf(scts=makers)  # noqa: E731
    yield make.case("no SCT", twists=with_scts(), reason="sct-missing")
    yield make.case("a list of no SCTs", twists=leaf(scts=(), extra=[(sct_extension([]), False)]), reason="sct-missing")
    yield make.case("SCT of an unknown log", twists=with_scts(lambda tbs, issuer: stranger.sct(tbs, issuer, when)), reason="sct-missing")
    makers = {
        "signature changed": lambda tbs, issuer: ct.sct(tbs, issuer, when, spoil=flip),
        "signed with another key": lambda tbs, issuer: ct.sct(tbs, issuer, when, signer=stranger.key),
        "of another certificate": lambda tbs, issuer: ct.sct(flip(tbs, 30), issuer, when),
        "of another issuer": lambda tbs, issuer: ct.sct(tbs, flip(issuer), when),
        "time changed": lambda tbs, issuer: (lambda raw: raw[:40] + flip(raw[40:41]) + raw[41:])(ct.sct(tbs, issuer, when)),
        "of version 2": lambda tbs, issuer: ct.sct(tbs, issuer, when, version=1),
        "cut": lambda tbs, issuer: ct.sct(tbs, issuer, when)[:-1],
        "log id changed": lambda tbs, issuer: ct.sct(tbs, issuer, when, log_id=bytes(32)),
    }
    for name, maker in makers.items():
        yield make.case("SCT " + name, twists=with_scts(maker), reason="sct-missing" if name == "log id changed" else "sct-invalid")
        yield make.case(f"SCT {name}, in Rekor v2's bundle", "v2", twists=with_scts(maker), reason="sct-missing" if name == "log id changed" else "sct-invalid")
    yield make.case("CT key ended before", root=window("ctlogs", 0, START, NOW - HOUR), reason="sct-invalid")
    yield make.case("CT key began later", root=window("ctlogs", 0, NOW + HOUR, None), reason="sct-invalid")
    yield make.case("no CT log trusted", root=edit("ctlogs", []), reason="sct-missing")
    yield make.case("data behind the list", reason="sct-invalid", twists={
        "certificate": lambda old: make.base.fulcio.issue(make.base.signer.public, mini.uri(), ISSUER, when, extra=[(
            x509.UnrecognizedExtension(sct_extension([]).oid, sct_extension([b"x" * 50]).value + b"\0"), False)])})


def identity_cases(make: Maker):
    for name, asked in {
            "another": "https://forge.example/other", "longer": IDENTITY + "x", "a prefix": IDENTITY[:-1], "other case": IDENTITY.upper(),
            "a pattern": "https://forge.example/.*", "a part": "forge.example/team/app", "empty": "", "with a space": IDENTITY + " "}.items():
        case = make.case(f"identity asked for: {name}", reason="identity-mismatch")
        case.identity = asked
        yield case
    for name, asked in {"another": "https://other.example", "longer": ISSUER + "/", "a prefix": ISSUER[:-1], "http": ISSUER.replace("https", "http"),
                        "a pattern": "https://.*"}.items():
        case = make.case(f"issuer asked for: {name}", reason="identity-mismatch")
        case.issuer = asked
        yield case
    unreadable = "certificate-identity"
    leaves = {
        "no name": {"san": None, "subject": "https://forge.example"}, "the name in the subject": {"san": None, "subject": IDENTITY},
        "a DNS name": {"san": x509.DNSName("forge.example")}, "other name of another kind": {"san": mini.other_name(IDENTITY, "1.2.3.4")},
        "no issuer": {"issuer_v1": False, "issuer_v2": False},
        "issuers disagree (v1 other)": {"issuer_v1": b"https://other.example"},
        "issuers disagree (v2 other)": {"issuer_v2": der.utf8("https://other.example")},
        "issuer v2 of another string type": {"issuer_v2": der.tlv(0x16, ISSUER.encode()), "issuer_v1": False},
        "issuer v2 raw": {"issuer_v2": ISSUER.encode(), "issuer_v1": False},
        "issuer v2 with bytes behind it": {"issuer_v2": der.utf8(ISSUER) + b"\0"},
        "issuer v2 with a long length": {"issuer_v2": b"\x0c\x81" + bytes([len(ISSUER)]) + ISSUER.encode()},
        "issuer v1 with NUL": {"issuer_v1": ISSUER.encode() + b"\0.evil.example", "issuer_v2": False},
        "issuer v1 in DER": {"issuer_v1": der.utf8(ISSUER), "issuer_v2": False},
        "issuer v2 empty": {"issuer_v2": der.utf8(""), "issuer_v1": False},
        "name with NUL": {"san": mini.other_name(IDENTITY + "\0x")},
        "names, the second is ours": {"san": [mini.uri("https://forge.example/other"), mini.uri()]},
    }
    for name, options in leaves.items():
        yield make.case("certificate: " + name, twists=leaf(**options), reason="identity-mismatch" if name == "issuer v1 in DER" else unreadable)
    case = make.case("certificate: email where a URI is asked for", twists=leaf(san=mini.email("me@team.example")), reason="identity-mismatch")
    yield case
    for place, number in (("v1", ISSUER_V1), ("v2", ISSUER_V2)):
        raw = ISSUER.encode() if place == "v1" else der.utf8(ISSUER)
        again = x509.UnrecognizedExtension(ObjectIdentifier(number + ".1"), raw)
        yield make.case(f"certificate: issuer {place} under a longer number", reason=unreadable,
                        twists=leaf(issuer_v1=False, issuer_v2=False, extra=[(again, False)]))


def timestamp_cases(make: Maker):
    base, stranger = make.base, TimestampAuthority(START)
    stamp = lambda **options: {"stamp": lambda old: {**old, **options}}  # noqa: E731
    malformed = "timestamp-format"
    for name, twists, reason in (
            ("of other bytes", stamp(data=b"x"), "timestamp-mismatch"),
            ("of the artifact, not of the signature", stamp(data=ARTIFACT), "timestamp-mismatch"),
            ("imprint by SHA-1", stamp(digest="sha1"), "timestamp-mismatch"),
            ("imprint cut", stamp(imprint=bytes(31)), "timestamp-mismatch"),
            ("signature changed", stamp(spoil=flip), "timestamp-untrusted"),
            ("signed with another key", stamp(signer=stranger.key), "timestamp-untrusted"),
            ("attribute of other content", stamp(attribute_digest=bytes(32)), "timestamp-untrusted"),
            ("bound to another certificate (CVE-2026-39984)", stamp(bind=to_der(stranger.leaf)), "timestamp-untrusted"),
            ("refused by its maker", stamp(status=2), malformed), ("version 2", stamp(version=2), malformed),
            ("cut", {"stamp-bytes": lambda old: old[:-1]}, malformed), ("with bytes behind it", {"stamp-bytes": lambda old: old + b"\0"}, malformed),
            ("empty sequence", {"stamp-bytes": lambda old: b"\x30\x00"}, malformed),
            ("no DER", {"stamp-bytes": lambda old: b"now"}, malformed)):
        for kind in ("v2", "stamped"):
            yield make.case(f"{kind}: timestamp {name}", kind, twists=twists, reason=reason)
    untrusted = "timestamp-untrusted"
    yield make.case("timestamp of an unknown authority", "v2", instance=base.but(tsa=stranger), reason=untrusted)
    yield make.case("timestamp of an unknown authority that brings its chain", "v2", instance=base.but(tsa=stranger),
                    twists=stamp(embed_chain=stranger.chain), reason=untrusted)
    yield make.case("the authority's certificate beside a stranger's signature (CVE-2026-39984)", "v2", instance=base.but(tsa=stranger),
                    twists=stamp(embed_chain=[stranger.leaf, base.tsa.leaf]), reason=untrusted)
    yield make.case("no timestamp authority trusted", "v2", root=edit("timestampAuthorities", []), reason=untrusted)
    yield make.case("authority ended before", "v2", root=window("timestampAuthorities", 0, START, NOW - HOUR), reason="timestamp-authority-expired")
    yield make.case("authority began later", "v2", root=window("timestampAuthorities", 0, NOW + HOUR, None), reason="timestamp-authority-expired")
    for name, options, reason in (
            ("not for timestamps", {"eku": (CODE_SIGNING,)}, "timestamp-untrusted"),
            ("for timestamps and more", {"eku": (ExtendedKeyUsageOID.TIME_STAMPING, CODE_SIGNING)}, "timestamp-untrusted"),
            ("without a usage", {"eku": ()}, "timestamp-untrusted"),
            ("usage not critical", {"eku_critical": False}, "timestamp-untrusted"),
            ("expired", {"leaf_end": NOW - HOUR}, "timestamp-untrusted")):
        instance = base.but(tsa=TimestampAuthority(START, **options))
        yield make.case("authority's certificate: " + name, "v2", instance=instance, trust=instance, reason=reason)
    yield make.case("one of two timestamps bad", "v2", stamps=2, reason="timestamp-untrusted", twists={
        "bundle": edit(STAMP.replace(".0.", ".1."), flip64)})


def root_cases(make: Maker):
    """Trusted roots that are none."""
    bad = "trusted-root"
    yield make.case("root: not JSON", root=lambda old: b"{", reason=bad)
    yield make.case("root: empty", root=lambda old: b"", reason=bad)
    yield make.case("root: a key twice", root=lambda old: mini.to_bytes(old).replace(b'"tlogs"', b'"tlogs": [], "tlogs"', 1), reason=bad)
    for name, path, value in (
            ("media type absent", "mediaType", ...), ("media type of a bundle", "mediaType", mini.MEDIA_TYPE),
            ("log without a key", "tlogs.0.publicKey", ...), ("log's key no base64", "tlogs.0.publicKey.rawBytes", "!"),
            ("log's key no key", "tlogs.0.publicKey.rawBytes", b64(b"key")), ("log's key cut", "tlogs.0.publicKey.rawBytes", lambda old: b64(from_b64(old)[:-1])),
            ("log's id of another key", "tlogs.0.logId.keyId", flip64), ("log's window no time", "tlogs.0.publicKey.validFor.start", "yesterday"),
            ("log's window of month 13", "tlogs.0.publicKey.validFor.start", "2024-13-01T00:00:00Z"),
            ("CA without certificates", "certificateAuthorities.0.certChain.certificates", []),
            ("CA's certificate cut", "certificateAuthorities.0.certChain.certificates.0.rawBytes", lambda old: b64(from_b64(old)[:-1])),
            ("authority without certificates", "timestampAuthorities.0.certChain.certificates", []),
            ("logs an object", "tlogs", {})):
        yield make.case("root: " + name, root=edit(path, value), reason=bad)
    other = Key()
    yield make.case("root: another log's key under this id", reason="trusted-root",
                    root=edit("tlogs.0.publicKey.rawBytes", b64(other.der)))
