"""A miniature Fulcio, its certificate transparency log, and a timestamp authority (RFC 5280, RFC 6962, RFC 3161)."""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

import minisigstore.der as der
from minisigstore.keys import HASHES, Key, moment

FULCIO = "1.3.6.1.4.1.57264.1."
ISSUER_V1, ISSUER_V2, OTHER_NAME = FULCIO + "1", FULCIO + "8", FULCIO + "7"
SCT_LIST = "1.3.6.1.4.1.11129.2.4.2"
CODE_SIGNING, TIME_STAMPING = ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING

YEAR = 365 * 24 * 3600


def to_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def to_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def name(common: str | None) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mini"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
                     if common else [])


def usage(**on) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
             "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{item: on.get(item, False) for item in names})


def certificate(subject: str | None, public, signer: Key, issuer: x509.Name, start: int, end: int, extensions, serial=None,
                digest: str | None = None) -> x509.Certificate:
    """extensions: (extension, critical) in the order in which they are written."""
    builder = x509.CertificateBuilder(issuer, name(subject), public, serial or x509.random_serial_number(), moment(start), moment(end))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    algorithm = None if signer.kind == "Ed25519" else HASHES[digest or signer.hash]()
    return builder.sign(signer.private, algorithm)


class CtLog:
    """A certificate transparency log: it signs what it is shown."""

    def __init__(self, kind: str = "P-256"):
        self.key = Key(kind)

    def sct(self, tbs: bytes, issuer_key_hash: bytes, seconds: int, *, version: int = 0, log_id: bytes | None = None, signer: Key | None = None,
            extensions: bytes = b"", spoil=None) -> bytes:
        """An SCT for a precertificate (RFC 6962 §3.2); spoil(signature) changes the signature."""
        stamp = (seconds * 1000).to_bytes(8, "big")
        tail = len(extensions).to_bytes(2, "big") + extensions
        signed = bytes([0, 0]) + stamp + b"\x00\x01" + issuer_key_hash + len(tbs).to_bytes(3, "big") + tbs + tail
        signature = (signer or self.key).sign(signed, "sha256")
        signature = spoil(signature) if spoil else signature
        algorithm = b"\x04\x01" if (signer or self.key).kind.startswith("RSA") else b"\x04\x03"
        return bytes([version]) + (log_id or self.key.id) + stamp + tail + algorithm + len(signature).to_bytes(2, "big") + signature


def sct_extension(scts: list[bytes]) -> x509.UnrecognizedExtension:
    items = b"".join(len(sct).to_bytes(2, "big") + sct for sct in scts)
    return x509.UnrecognizedExtension(ObjectIdentifier(SCT_LIST), der.octets(len(items).to_bytes(2, "big") + items))


class Fulcio:
    """Root, intermediate, and the certificates that the intermediate issues to whoever asks.
    root, intermediate: x509.Certificate; chain: the CA's certificates as a trusted root has them."""

    def __init__(self, start: int, years: int = 10, intermediate_eku=(CODE_SIGNING,), intermediate_ca: bool = True,
                 root_end: int | None = None, intermediate_end: int | None = None, intermediate_usage: bool = True):
        self.root_key, self.key = Key(), Key()
        end = start + years * YEAR
        ca = (x509.BasicConstraints(True, None), True)
        issuing = (usage(key_cert_sign=True, crl_sign=True), True)
        self.root = certificate("mini root", self.root_key.public, self.root_key, name("mini root"), start, root_end or end, [ca, issuing])
        more = [(x509.ExtendedKeyUsage(list(intermediate_eku)), False)] if intermediate_eku else []
        self.intermediate = certificate(
            "mini intermediate", self.key.public, self.root_key, self.root.subject, start, intermediate_end or end,
            [(x509.BasicConstraints(True, 0) if intermediate_ca else x509.BasicConstraints(False, None), True),
             issuing if intermediate_usage else (usage(digital_signature=True), True), *more])
        self.chain = [self.intermediate, self.root]

    def issue(self, public, san, issuer: str, start: int, *, lifetime: int = 600, scts=(), eku=(CODE_SIGNING,), issuer_v1=True, issuer_v2=True,
              subject: str | None = None, ca: bool = False, key_usage=None, extra=(), san_critical: bool = True, signer: Key | None = None,
              digest: str | None = None) -> x509.Certificate:
        """A leaf for `public`. san: GeneralName, list of them or None. issuer_v1, issuer_v2: True writes `issuer`, bytes write themselves,
        False leaves the extension out. scts: callables (tbs, issuer key hash) → SCT."""
        sans = san if isinstance(san, list) else [san] if san else []
        extensions = [(key_usage or usage(digital_signature=True), True)]
        if eku:
            extensions.append((x509.ExtendedKeyUsage(list(eku)), False))
        if ca:
            extensions.append((x509.BasicConstraints(True, None), True))
        if sans:
            extensions.append((x509.SubjectAlternativeName(sans), san_critical))
        for number, value, plain in ((ISSUER_V1, issuer_v1, issuer.encode()), (ISSUER_V2, issuer_v2, der.utf8(issuer))):
            if value is not False:
                raw = plain if value is True else value
                extensions.append((x509.UnrecognizedExtension(ObjectIdentifier(number), raw), False))
        extensions += extra
        serial = x509.random_serial_number()
        arguments = (subject, public, signer or self.key, self.intermediate.subject, start, start + lifetime)
        precertificate = certificate(*arguments, extensions, serial, digest)
        issuer_hash = hashlib.sha256(self.key.der).digest()
        items = [make(precertificate.tbs_certificate_bytes, issuer_hash) for make in scts]
        if not items:
            return precertificate
        return certificate(*arguments, [*extensions, (sct_extension(items), False)], serial, digest)


class TimestampAuthority:
    """Signs RFC 3161 timestamps with any time that it is told."""

    POLICY = "1.3.6.1.4.1.57264.2"
    HASH_OIDS = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2",
                 "sha512": "2.16.840.1.101.3.4.2.3"}

    def __init__(self, start: int, years: int = 10, eku=(TIME_STAMPING,), eku_critical: bool = True, leaf_end: int | None = None):
        self.root_key, self.key = Key(), Key()
        end = start + years * YEAR
        self.root = certificate("mini tsa root", self.root_key.public, self.root_key, name("mini tsa root"), start, end,
                                [(x509.BasicConstraints(True, None), True), (usage(key_cert_sign=True, crl_sign=True), True)])
        more = [(x509.ExtendedKeyUsage(list(eku)), eku_critical)] if eku else []
        self.leaf = certificate("mini tsa", self.key.public, self.root_key, self.root.subject, start, leaf_end or end,
                                [(usage(digital_signature=True), True), *more])
        self.chain = [self.leaf, self.root]

    def stamp(self, data: bytes, seconds: int, *, digest: str = "sha256", imprint: bytes | None = None, embed: bool = True,
              embed_chain=None, signer: Key | None = None, attribute_digest: bytes | None = None, status: int = 0, version: int = 1,
              bind: bytes | None = None, spoil=None) -> bytes:
        """A TimeStampResp over `data`. imprint, attribute_digest, bind (the certificate that the signed attribute names) replace what is
        true; embed writes the certificate into it, embed_chain others; spoil(signature) changes the signature."""
        algorithm = der.sequence(der.oid(self.HASH_OIDS[digest]))
        info = der.sequence(
            der.integer(version), der.oid(self.POLICY),
            der.sequence(algorithm, der.octets(imprint or hashlib.new(digest, data).digest())),
            der.integer(1234567), der.generalized_time(seconds))
        sha256 = der.sequence(der.oid(self.HASH_OIDS["sha256"]))
        bound = hashlib.sha256(bind or to_der(self.leaf)).digest()
        attributes = der.set_of(
            der.sequence(der.oid("1.2.840.113549.1.9.3"), der.set_of(der.oid("1.2.840.113549.1.9.16.1.4"))),
            der.sequence(der.oid("1.2.840.113549.1.9.4"), der.set_of(der.octets(attribute_digest or hashlib.sha256(info).digest()))),
            der.sequence(der.oid("1.2.840.113549.1.9.16.2.47"),
                         der.set_of(der.sequence(der.sequence(der.sequence(der.octets(bound)))))))
        signature = (signer or self.key).sign(attributes, "sha256")
        signature = spoil(signature) if spoil else signature
        serial = der.integer(self.leaf.serial_number)
        signer_info = der.sequence(
            der.integer(1), der.sequence(self.leaf.issuer.public_bytes(), serial), sha256, b"\xa0" + attributes[1:],
            der.sequence(der.oid("1.2.840.10045.4.3.2")), der.octets(signature))
        certificates = embed_chain if embed_chain is not None else [self.leaf] if embed else []
        signed = der.sequence(
            der.integer(3), der.set_of(sha256), der.sequence(der.oid("1.2.840.113549.1.9.16.1.4"), der.context(0, der.octets(info))),
            *([der.context(0, *(to_der(item) for item in certificates))] if certificates else []), der.set_of(signer_info))
        content = der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed))
        return der.sequence(der.sequence(der.integer(status)), *([content] if status <= 1 else []))
